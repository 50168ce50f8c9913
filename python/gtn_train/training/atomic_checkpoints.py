"""AtomicCheckpoints: Fabric's files, written under a temporary name and renamed.

This module imports Fabric, which takes as long as torch: only a training does. Not here: reading a
checkpoint (checkpoint.py).
"""

from __future__ import annotations

import io
import os
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from gtn_label.io.atomic import atomic_file

__all__ = ["AtomicCheckpoints"]


class AtomicCheckpoints(TorchCheckpointIO):  # type: ignore[misc]
    """Fabric's files, whole or not at all: an OSError names the file, and the old one stays."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint."""
        buffer = io.BytesIO()  # torch.save turns an OSError into one about its own zip file
        torch.save(checkpoint, buffer)
        with atomic_file(path) as file:
            file.write(buffer.getbuffer())

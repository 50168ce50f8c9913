"""Checkpoints: the file that an interrupted training continues from.

Fabric decides which process writes and what a module's state is. The file is written here, under a
temporary name and renamed, and read without unpickling anything but tensors and plain values. Not
here: the content of the state (loop.py), the validity of a checkpoint (run/verdict.py).
"""

from __future__ import annotations

import errno
import io
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from gtn_label.io.atomic import atomic_file
from gtn_label.text import quoted

from ..files import brief
from ..run.manifest import versions
from ..run.store import RunFolder, fault_of_line

__all__ = ["FORMAT", "NEEDED", "AtomicCheckpoints", "read_checkpoint", "start_folder"]

FORMAT = "gtn-train checkpoint 1"

_PARTS = {
    **{"epoch": int, "model": dict, "optimizer": dict, "precision": dict, "best": dict},
    "history": list,
}
NEEDED = {"epoch", "train_loss", "seconds"}  # in each line of a history


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


def read_checkpoint(folder: RunFolder, load: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Read a folder's checkpoint by `load`.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    damaged = f"checkpoint {quoted(folder.checkpoint)} is damaged; delete it to start over"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about odd bytes that it then refuses
            state = load(folder.checkpoint)
    except Exception as error:  # damaged bytes raise anything; EINVAL is a bad offset
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{damaged}: {brief(error)}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{damaged}: gtn-train did not write it")
    if why := _fault(state):
        raise ValueError(f"{damaged}: {why}")
    return state


def _fault(state: dict[str, Any]) -> str:
    """Return why a state is none that a training saved, or nothing."""
    for name, kind in _PARTS.items():
        if not isinstance(state.get(name), kind):
            return f"{name} must be of type {kind.__name__}, and is {brief(repr(state.get(name)))}"
    history = state["history"]
    if len(history) != state["epoch"]:
        return f"epoch is {brief(state['epoch'])}, and its history has {len(history)}"
    for line in history:
        if not isinstance(line, dict) or not {*line} >= NEEDED:
            return f"a line of its history must have {', '.join(sorted(NEEDED))}"
        if why := fault_of_line(line):
            return f"in its history {why}"
    return ""


def start_folder(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Remove an earlier run's files, and write config.json."""
    folder.clear()
    folder.write_config({**config, "versions": versions()})

"""Checkpoints: what an interrupted run continues from, and whether it is the same run.

Fabric decides which process writes and what a module's state is; the file is written here, under a
temporary name and renamed, and read without unpickling anything but tensors and plain values. Not
here: what state there is (loop.py).
"""

from __future__ import annotations

import errno
import io
import json
import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from gtn_label.io.atomic import atomic_file

from ..run.store import RunFolder, versions
from .options import COMPUTING

__all__ = [
    "FORMAT",
    "AtomicCheckpoints",
    "differences",
    "has_weights_of",
    "one_line",
    "open_run",
    "start_folder",
]

FORMAT = "gtn-train checkpoint 1"


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


def open_run(
    folder: RunFolder,
    config: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool = False,
    load: Callable[[Path], dict[str, Any]],
) -> dict[str, Any] | None:
    """Find out where a run starts, before anything is changed.

    Parameters
    ----------
    folder : RunFolder
    config : dict
        Everything that decides the run, in JSON types.
    resume : bool
        Continue from the folder's checkpoint, if it has one.
    overwrite : bool
        Start from the beginning if that checkpoint is of another run, or if there is none and the
        folder holds weights.
    load : callable
        Reads a checkpoint.

    Returns
    -------
    dict or None
        The checkpoint's content; None to start from the beginning.

    Raises
    ------
    ValueError
        If the folder holds an unfinished run and `resume` is false, if that run is another one or
        has ended (unless `overwrite` is true), or if its files are damaged. A run is the same one
        wherever it computes (`options.COMPUTING`).
    """
    if not folder.checkpoint.exists():
        if folder.weights.exists() and not overwrite:
            raise ValueError(
                f"'{folder.path}' holds the weights of an earlier run: overwrite it, choose "
                f"another folder, or delete '{folder.weights}'"
            )
        return None
    if not resume:
        raise ValueError(
            f"'{folder.path}' holds an unfinished run: resume it, choose another folder, or delete "
            f"'{folder.checkpoint}' to start over"
        )
    earlier = folder.read_config()
    earlier.pop("versions", None)
    found = differences(_deciding(earlier), _deciding(json.loads(json.dumps(config))))
    if found and overwrite:
        return None
    if found:
        raise ValueError(
            f"'{folder.path}' holds another run, which cannot be resumed with these settings: "
            f"{'; '.join(found)}"
        )
    damaged = f"checkpoint '{folder.checkpoint}' is damaged; delete it to start over"
    try:
        state = load(folder.checkpoint)
    except Exception as error:  # whatever torch makes of damaged bytes; EINVAL is a bad offset
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{damaged}: {one_line(error)}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{damaged}: it is none of gtn-train's")
    return state


def has_weights_of(folder: RunFolder, config: Mapping[str, Any]) -> bool:
    """Whether a folder holds the weights of this very run, and no checkpoint any more."""
    if folder.checkpoint.exists() or not (folder.weights.exists() and folder.config.exists()):
        return False
    earlier = folder.read_config()
    earlier.pop("versions", None)
    return _deciding(earlier) == _deciding(json.loads(json.dumps(config)))


def start_folder(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Make the folder this run's: what an earlier one left is removed, and config.json written."""
    folder.clear()
    folder.write_config({**config, "versions": versions()})


def _deciding(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what another machine may do otherwise."""
    options = config.get("options")
    if not isinstance(options, dict):
        return config
    kept = {name: value for name, value in options.items() if name not in COMPUTING}
    return {**config, "options": kept}


def differences(was: Any, now: Any, name: str = "") -> list[str]:
    """Say in words where two configurations differ, by the path of each entry."""
    if isinstance(was, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted({*was, *now})
            for line in differences(was.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if was == now else [f"{name} was {_shown(was)} and is {_shown(now)}"]


def one_line(error: Exception) -> str:
    """Another library's message, as much of it as is readable."""
    return textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__


def _shown(value: Any) -> str:
    text = "not given" if value is None else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

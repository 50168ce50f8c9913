"""Checkpoints: the file that an interrupted training continues from.

Fabric decides which process writes and what a module's state is. The file is read without
unpickling anything but tensors and plain values. Not here: writing it (atomic_checkpoints.py), the
content of the state (loop.py), the validity of a checkpoint (run/verdict.py).
"""

from __future__ import annotations

import contextlib
import errno
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gtn_label.text import quoted

from ..files import brief
from ..run.manifest import versions
from ..run.store import RunFolder, fault_of_line
from .training_options import TrainingOptions

__all__ = [
    *("FORMAT", "NEEDED", "Pace"),
    *("continue_folder", "read_checkpoint", "start_folder"),
]

FORMAT = "gtn-train checkpoint 1"

_TIMES_AS_LONG = 20  # a run spends a twentieth of its time on checkpoints at most

_PARTS = {
    **{"epoch": int, "model": dict, "optimizer": dict, "precision": dict, "best": dict},
    "history": list,
}
_MORE_PARTS = {"average": dict, "schedule": dict, "callbacks": dict}  # of some runs alone
NEEDED = {"epoch", "train_loss", "seconds"}  # in each line of a history


class Pace:
    """Decides when a checkpoint is due: after enough epochs and enough time.

    Parameters
    ----------
    options : TrainingOptions
    epoch : int
        Epoch of the checkpoint that is there, or 0.

    Attributes
    ----------
    saved : int
        Epoch of the last checkpoint.
    """

    def __init__(self, options: TrainingOptions, epoch: int) -> None:
        self._epochs = options.checkpoint_every_epochs
        self._seconds = options.checkpoint_every_seconds
        self._took = 0.0
        self._at = time.monotonic()
        self.saved = epoch

    def due(self, epoch: int) -> bool:
        """True if a checkpoint of this epoch is due."""
        least = _TIMES_AS_LONG * self._took if self._seconds is None else self._seconds
        enough = time.monotonic() - self._at >= least
        return enough and epoch - self.saved >= self._epochs

    @contextlib.contextmanager
    def timed(self, epoch: int) -> Iterator[None]:
        """Within this block the checkpoint of an epoch is written."""
        began = time.monotonic()
        yield
        self._at = time.monotonic()
        self._took = self._at - began
        self.saved = epoch


def read_checkpoint(folder: RunFolder, load: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Read a folder's checkpoint by `load`, or the last state of a training that has ended.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    path = folder.state
    damaged = f"checkpoint {quoted(path)} is damaged; delete it to start over"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about odd bytes that it then refuses
            state = load(path)
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
    there = {name: kind for name, kind in _MORE_PARTS.items() if name in state}
    for name, kind in {**_PARTS, **there}.items():
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


def continue_folder(folder: RunFolder, config: Mapping[str, Any], epoch: int) -> None:
    """Let a folder's training go on from an epoch to another end, and record that."""
    earlier = folder.read_config()
    folder.reopen()
    before = [*earlier.get("continued", []), {"epoch": epoch, "options": earlier.get("options")}]
    folder.write_config({**config, "versions": versions(), "continued": before})

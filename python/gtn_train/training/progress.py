"""Watching a training: its bar with the time left, and TensorBoard's curves, both on request.

Not here: bars of other work, lines in a log (progress.py of the package), metrics.jsonl, which is
always written (run/store.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import progress
from ..run.store import RunFolder
from .training_options import TrainingOptions

__all__ = ["TensorBoard", "curve_names", "describe", "progress_bar"]


def curve_names(line: dict[str, Any]) -> list[str]:
    """Names of the figures in a line of metrics: losses and the metric."""
    return [name for name, value in line.items() if isinstance(value, float) and name != "seconds"]


def progress_bar(stage: str, steps: int, epoch: int, options: TrainingOptions, show: bool) -> Any:
    """Show progress over all epochs with the time left, or nothing."""
    if not show:
        return contextlib.nullcontext()
    bar = progress.progress_bar(
        True,
        desc=stage,
        total=options.max_epochs * steps,
        initial=epoch * steps,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    )
    bar.set_postfix_str(f"epoch {min(epoch + 1, options.max_epochs)}/{options.max_epochs}")
    return bar


def describe(line: dict[str, Any], options: TrainingOptions) -> str:
    """Put an epoch into words short enough to stand beside a bar in 80 columns."""
    figures = [f"{name.removesuffix('_loss')} {line[name]:.4g}" for name in curve_names(line)]
    return ", ".join([f"epoch {line['epoch']}/{options.max_epochs}", *figures])


class TensorBoard:
    """TensorBoard's files beside metrics.jsonl, on request.

    Attributes
    ----------
    loggers : list of TensorBoard
        Itself, or nothing if no files are wanted.
    """

    def __init__(self, folder: RunFolder, epoch: int, *, wanted: bool) -> None:
        self._writer: Any = None
        self.loggers: list[TensorBoard] = []
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ImportError(
                    "curves need TensorBoard: pip install 'gtn-label[train]'"
                ) from error

            # Hides the events that a killed run wrote after its checkpoint.
            self._writer = SummaryWriter(folder.path / "tensorboard", purge_step=epoch + 1)
            self.loggers.append(self)

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """Write the figures of an epoch."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)

    def log_image(self, name: str, image: NDArray[np.uint8], epoch: int) -> None:
        """Write an image."""
        self._writer.add_image(name, image, epoch, dataformats="HWC")

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

"""Job: a training as the loop sees it, and its step as a module.

Not here: the jobs of autoencoders and generators (train.py), epochs (loop.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .batches import Batches
from .steps import Step

__all__ = ["Job", "Loss"]


@dataclass(frozen=True)
class Job:
    """A training: the model, its data and its step.

    Attributes
    ----------
    stage : str
        Name in messages.
    model : torch.nn.Module
    step : Step
    batches : Batches
    validation : Batches or None
    config : dict
        Everything beside the options that decides the run, in JSON types.
    prepare : callable
        Called before the first epoch, except in a resumed run.
    save : callable (model, path)
        Writes the weights.
    load : callable (path) -> module
        Reads them.
    resumable : callable (epoch) -> bool
        True if a run can be resumed after this epoch: only then is a checkpoint written.
    follow : callable (model)
        Takes the model that drifting labels follow: the one trained, or its average.
    """

    stage: str
    model: Any
    step: Step
    batches: Batches
    validation: Batches | None
    config: dict[str, Any]
    prepare: Callable[[], None]
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]
    resumable: Callable[[int], bool] = lambda epoch: True
    follow: Callable[[Any], None] = lambda model: None


class Loss(torch.nn.Module):  # type: ignore[misc]
    """A model and its step as one module, so that autocast and DDP cover the whole step."""

    def __init__(self, model: Any, step: Step) -> None:
        super().__init__()
        self.model = model
        self.step = step

    def forward(self, *batch: Any) -> Any:
        """Compute the step's output."""
        return self.step(self.model, batch)

"""The exponential moving average of a model's weights (EMA), which replaces them in evaluation.

Not here: where the average is evaluated and kept (loop.py).
"""

from __future__ import annotations

import copy
from typing import Any

import torch

__all__ = ["Average", "decay_at"]


def decay_at(decay: float, step: int) -> float:
    """Decay of a step, from 1: `decay`, and less at first, so that the first weights fade soon.

    Examples
    --------
    >>> [round(decay_at(0.5, step), 3) for step in (1, 8, 100)]
    [0.182, 0.5, 0.5]
    """
    return min(decay, (1 + step) / (10 + step))


class Average:
    """A copy of a model that follows its weights: average = d · average + (1 - d) · weights.

    Buffers of floats, such as the statistics of batch normalisation, are averaged alike. Integers
    are copied.

    Parameters
    ----------
    model : torch.nn.Module
        On its device.
    decay : float
        In (0, 1).

    Attributes
    ----------
    model : torch.nn.Module
        The average, in evaluation mode and without gradients.
    """

    def __init__(self, model: Any, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        ours, theirs = _tensors(self.model), _tensors(model)
        floats = [tensor.is_floating_point() for tensor in ours]
        self._pairs = [
            [tensor for tensor, is_float in zip(tensors, floats, strict=True) if is_float]
            for tensors in (ours, theirs)
        ]
        self._copied = [
            pair
            for *pair, is_float in zip(ours, theirs, floats, strict=True)
            if not is_float  # counts of batches
        ]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, step: int) -> None:
        """Follow the model after a step, counted from 1 over all epochs."""
        torch._foreach_lerp_(*self._pairs, 1 - decay_at(self._decay, step))
        for ours, theirs in self._copied:
            ours.copy_(theirs)


def _tensors(model: Any) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]

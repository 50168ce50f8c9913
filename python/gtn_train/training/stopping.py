"""Early stopping: the best weights so far, and patience.

The weights are copied: a state dict refers to the tensors that training changes, so that without a
copy the best weights would be the last ones. Not here: the figures that are compared (loop.py).
"""

from __future__ import annotations

import math
from typing import Any

import torch

__all__ = ["Best"]


class Best:
    """The best evaluation so far, with a copy of its weights.

    Parameters
    ----------
    larger_is_better : bool
    patience : int or None
        Evaluations in a row without improvement after which `exhausted` is true.

    Attributes
    ----------
    epoch : int
        Epoch of the best evaluation; 0 before the first.
    value : float or None
    waited : int
        Number of evaluations since then.
    weights : dict of Tensor
        Copies, on the model's device.
    """

    def __init__(self, *, larger_is_better: bool, patience: int | None) -> None:
        self._sign = 1.0 if larger_is_better else -1.0
        self._patience = patience
        self.epoch = 0
        self.value: float | None = None
        self.waited = 0
        self.weights: dict[str, torch.Tensor] = {}

    def update(self, epoch: int, value: float, model: torch.nn.Module | None) -> bool:
        """Record an evaluation; if it is the best, copy the weights and return True. NaN never is.

        Without a model no weights are copied.
        """
        better = not math.isnan(value) and (
            self.value is None or self._sign * value > self._sign * self.value
        )
        if better:
            self.epoch, self.value, self.waited = epoch, value, 0
            state = {} if model is None else model.state_dict()
            self.weights = {name: tensor.detach().clone() for name, tensor in state.items()}
        else:
            self.waited += 1
        return better

    @property
    def exhausted(self) -> bool:
        """True if patience has run out."""
        return self._patience is not None and self.waited >= self._patience

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, for a checkpoint."""
        return {
            "epoch": self.epoch,
            "value": self.value,
            "waited": self.waited,
            "weights": self.weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`.

        Raises
        ------
        KeyError, TypeError
            If it is none.
        """
        for name, kinds in (
            ("epoch", int),
            ("value", (float, int, type(None))),
            ("waited", int),
            ("weights", dict),
        ):
            if not isinstance(state[name], kinds):
                raise TypeError(f"{name} of the best weights is {state[name]!r:.80}")
        self.epoch, self.value = state["epoch"], state["value"]
        self.waited, self.weights = state["waited"], state["weights"]

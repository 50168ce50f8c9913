"""Sums of losses and figures over the steps of an epoch, left on the device until its end."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["NotFinite", "Sums"]


class NotFinite(ValueError):
    """The loss of a step is not finite.

    Attributes
    ----------
    step : int
        From 1.
    value : float
    """

    def __init__(self, step: int, value: float) -> None:
        super().__init__(f"step {step} is {value}")
        self.step, self.value = step, value


class Sums:
    """Sums of an epoch's steps.

    Parameters
    ----------
    cuts : list of (begin, end)
        Rows of each step.
    """

    def __init__(self, cuts: list[tuple[int, int]]) -> None:
        self._cuts = cuts
        self._losses: list[torch.Tensor] = []
        self._figures: dict[str, list[torch.Tensor]] = {}

    def add(self, loss: torch.Tensor, figures: dict[str, torch.Tensor]) -> None:
        """Take the sums over a step's rows."""
        self._losses.append(loss.detach())
        for name, value in figures.items():
            self._figures.setdefault(name, []).append(value.detach())

    def means(self, fabric: Any, kind: str) -> dict[str, float]:
        """Means over the rows of all processes, by names such as "train_loss".

        Raises
        ------
        NotFinite
            For the first loss that is not finite.
        """
        columns = {"loss": self._losses, **self._figures}
        table = torch.stack([torch.stack(values) for values in columns.values()])
        if fabric.world_size > 1:
            table = fabric.all_reduce(table, reduce_op="sum")
        table = table.cpu().double()
        finite = torch.isfinite(table[0])
        if not bool(finite.all()):
            step = int(finite.int().argmin())
            begin, end = self._cuts[step]
            raise NotFinite(step + 1, float(table[0, step]) / (end - begin))
        means = (table.sum(dim=1) / self._cuts[-1][1]).tolist()
        return {f"{kind}_{name}": mean for name, mean in zip(columns, means, strict=True)}

"""The flow: a generator that follows a velocity from sources to latents in a few steps.

Flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023): the velocity v(x, t) learns
x₁ - x₀ at x = (1 - t) x₀ + t x₁ for pairs of a source x₀ and a label x₁. Optimal pairs make the
paths nearly straight, so that few steps suffice. Not here: the loss (training/steps.py), the
generator of one pass (generator.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gtn_label.checks import as_integer

from .generator import Generator

__all__ = ["Flow"]


class Flow(Generator):
    """A velocity network and Heun's method, in place of ĥ's single pass.

    The network has Linear and SiLU layers, and takes the time beside the position. It works in the
    space of standardised labels, as `Generator` does.

    Parameters
    ----------
    dim : int
        Dimension of sources and latents, >= 1.
    layers, width : int
        As in `Generator`.
    steps : int
        Steps of Heun's method, with two evaluations of the network each, >= 1. It may be changed
        after training.
    classes : int
        As in `Generator`.

    Examples
    --------
    >>> flow = Flow(5, layers=4, width=50, steps=2)
    >>> flow(torch.zeros(3, 5)).shape
    torch.Size([3, 5])
    """

    kind: ClassVar[str] = "flow"

    def __init__(
        self, dim: int, *, layers: int, width: int, steps: int = 4, classes: int = 0
    ) -> None:
        super().__init__(dim, layers=layers, width=width, batch_norm_layers=0, classes=classes)
        self.steps = as_integer(steps, "steps", 1)
        modules: list[nn.Module] = []
        into = self.dim + self.classes + 1
        for _ in range(self.layers - 1):
            modules += [nn.Linear(into, self.width), nn.SiLU()]
            into = self.width
        self.net = nn.Sequential(*modules, nn.Linear(into, self.out_dim))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        names = ("dim", "layers", "width", "steps", "classes")
        return {name: getattr(self, name) for name in names}

    def velocity(self, positions: Tensor, times: Tensor, classes: Tensor | None = None) -> Tensor:
        """Velocity in the space of standardised labels.

        Parameters
        ----------
        positions : Tensor float32 [n, dim]
        times : Tensor float32 [n, 1]
            0 at the sources, 1 at the labels.
        classes : Tensor int64 [n] or None

        Returns
        -------
        Tensor float32 [n, dim]
        """
        return self.net(torch.cat([self._inputs(positions, classes), times], dim=1))

    def normalized(self, sources: Tensor, classes: Tensor | None = None) -> Tensor:
        """Follow the velocity from sources to standardised latents, [n, dim]."""
        at, step = sources, 1 / self.steps
        for number in range(self.steps):
            begin = torch.full_like(sources[:, :1], number * step)
            first = self.velocity(at, begin, classes)
            second = self.velocity(at + step * first, begin + step, classes)
            at = at + (step / 2) * (first + second)
        return at

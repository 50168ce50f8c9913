"""Networks as a user writes them, for generators of other classes than the package's own."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """A residual network with tied weights, a constant outside its state dict, and batch norm."""

    def __init__(self, dim, width=8, classes=0, norm=False):
        super().__init__()
        self.into = nn.Linear(dim + classes, width)
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.out = nn.Linear(width, dim)
        self.again = self.out
        self.dim = dim
        self.register_buffer("weight_of_update", torch.tensor(0.5), persistent=False)

    def forward(self, sources):
        hidden = self.norm(self.into(sources).relu())
        return sources[:, : self.dim] + self.weight_of_update * (
            self.out(hidden) + self.again(hidden)
        )


class Narrow(nn.Linear):
    """A network that loses a column."""

    def __init__(self, dim):
        super().__init__(dim, dim - 1)


class Even(nn.Linear):
    """A network that asserts something of its arguments, as some of torch do."""

    def __init__(self, dim):
        assert dim % 2 == 0, "dim must be even"
        super().__init__(dim, dim)


def function():
    return nn.Linear(3, 3)

"""Multilayer perceptrons for vectors: an autoencoder, and the scale that its kind shares.

A vector's columns are centred and divided by one scale, so that its geometry stays. Not here:
autoencoders of images (autoencoder.py, vae.py).
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gtn_label.checks import as_integer

__all__ = ["WIDTH", "MLPAutoencoder", "perceptron", "set_scale"]

WIDTH = 256  # of each of three hidden layers


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Make three hidden layers of 256 units with ReLU, and a linear output.

    Parameters
    ----------
    inputs, outputs : int

    Examples
    --------
    >>> perceptron(3, 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """
    widths = (inputs, WIDTH, WIDTH, WIDTH)
    hidden = ((nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths))
    return nn.Sequential(*itertools.chain(*hidden), nn.Linear(WIDTH, outputs))


class MLPAutoencoder(nn.Module):  # type: ignore[misc]  # torch has no types here
    """An autoencoder of vectors: three hidden layers of 256 units on each side.

    Parameters
    ----------
    data_shape : sequence of 1 int
        [m], the columns of a vector.
    latent_dim : int
        >= 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its type or out of its range.

    Examples
    --------
    >>> model = MLPAutoencoder([3], 2)
    >>> model.decode(model.encode(torch.zeros(5, 3))).shape
    torch.Size([5, 3])
    """

    kind: ClassVar[str] = "mlp"

    def __init__(self, data_shape: Any, latent_dim: int) -> None:
        super().__init__()
        self.data_shape = check_data_shape(data_shape)
        self.latent_dim = as_integer(latent_dim, "latent_dim", 1)
        columns = self.data_shape[0]
        self.encoder = perceptron(columns, self.latent_dim)
        self.decoder = perceptron(self.latent_dim, columns)
        self.register_buffer("center", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(()))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        return {"data_shape": list(self.data_shape), "latent_dim": self.latent_dim}

    def encode(self, rows: Tensor) -> Tensor:
        """Map vectors [n, m] to latents [n, latent_dim]."""
        return self.encoder((rows - self.center) / self.scale)

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [n, latent_dim] to vectors [n, m]."""
        return self.decoder(latents) * self.scale + self.center

    def forward(self, rows: Tensor) -> Tensor:
        """Reconstruct vectors [n, m]."""
        return self.decode(self.encode(rows))


def set_scale(model: Any, rows: Any) -> None:
    """Let a model of vectors centre its columns and divide all by one deviation.

    Parameters
    ----------
    model : MLPAutoencoder or SpectralEncoder
    rows : float [n, m]
        Rows to train on.
    """
    spread = float(rows.std(axis=0, dtype="float64").max())
    model.center.copy_(torch.as_tensor(rows.mean(axis=0, dtype="float64")))
    model.scale.fill_(spread if spread > 0 else 1.0)


def check_data_shape(data_shape: Any) -> tuple[int]:
    """Check [m], with m >= 1."""
    shown = f"data_shape must be [m], got {data_shape!r}"
    if not isinstance(data_shape, (tuple, list)):
        raise TypeError(shown)
    if len(data_shape) != 1:
        raise ValueError(shown)
    return (as_integer(data_shape[0], "data_shape's m", 1),)

"""A β-VAE of vectors, of the size of a VDAE's networks: what Table 1 of the VDAE paper compares.

`Scaled` and `descend` are what all baselines share. Not here: the others (wgan.py,
spherical_vae.py, gtn.py), the studies that use them (vdae.py, vdae_methods.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from gtn_train.models.mlp import perceptron
from gtn_train.seeds import derive, random_numbers

__all__ = ["BetaVAE", "Scaled", "descend", "train_beta_vae"]

Rows = npt.NDArray[np.float32]
BATCH_SIZE = 256


class Scaled(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A model of centred rows over one scale, whose `decoder` makes rows of latents from N(0, I).

    Parameters
    ----------
    rows : float32 [n, m]
        Data, which give the mean and the one scale.
    dim : int
        Dimension of the latents.
    """

    decoder: nn.Module

    def __init__(self, rows: Rows, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.center = torch.from_numpy(rows.mean(axis=0))
        self.scale = float(rows.std(axis=0).max())
        self.variance = 0.1**2 * float((rows / self.scale).var(axis=0).mean())

    def scaled(self, rows: Tensor) -> Tensor:
        """Centre rows, [n, m], and divide them by the scale."""
        return (rows - self.center) / self.scale

    def squares(self, found: Tensor, given: Tensor) -> Tensor:
        """Sum -log p(x|z) over rows, but for a constant: the noise is a tenth of the data's."""
        return functional.mse_loss(found, given, reduction="sum") / (2 * self.variance)

    def latents(self, n: int, seed: int) -> Rows:
        """Draw latents, [n, dim], from N(0, I)."""
        return random_numbers(seed, "beta-vae").standard_normal((n, self.dim), np.float32)

    def sample(self, latents: Rows) -> Rows:
        """Decode latents, [n, dim], to rows."""
        with torch.inference_mode():
            found = self.decoder(torch.from_numpy(latents)) * self.scale + self.center
        rows: Rows = found.numpy()
        return rows


class BetaVAE(Scaled):
    """Three hidden layers of 256 units on each side, and a normal of diagonal covariance between.

    Parameters
    ----------
    rows, dim
        As in `Scaled`.
    """

    def __init__(self, rows: Rows, dim: int) -> None:
        super().__init__(rows, dim)
        self.encoder = perceptron(rows.shape[1], 2 * dim)
        self.decoder = perceptron(dim, rows.shape[1])

    def loss(self, rows: Tensor, beta: float) -> Tensor:
        """Mean of -log p(x|z) and β times the divergence from N(0, I)."""
        given = self.scaled(rows)
        mean, log = self.encoder(given).chunk(2, dim=1)
        found = self.decoder(mean + torch.exp(log / 2) * torch.randn_like(mean))
        kl = 0.5 * (mean.square() + log.exp() - 1 - log).sum()
        return (self.squares(found, given) + beta * kl) / len(rows)


def descend(
    parameters: Iterable[Tensor], loss: Callable[[Tensor], Tensor], rows: Rows, steps: int
) -> None:
    """Train by Adam at 1e-3, which falls along half a cosine, on batches drawn anew.

    Parameters
    ----------
    parameters : iterable of Tensor
    loss : callable (Tensor [256, m]) -> Tensor
    rows : float32 [n, m]
    steps : int
    """
    optimizer = torch.optim.Adam(parameters, 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    given = torch.from_numpy(rows)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(given[torch.randint(len(rows), (BATCH_SIZE,))]).backward()
        optimizer.step()
        schedule.step()


def train_beta_vae(rows: Rows, dim: int, steps: int, seed: int, beta: float = 1.0) -> BetaVAE:
    """Train a β-VAE as `descend` does.

    Parameters
    ----------
    rows : float32 [n, m]
    dim, steps, seed : int
    beta : float
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "beta-vae"))
        model = BetaVAE(rows, dim)
        descend(model.parameters(), lambda batch: model.loss(batch, beta), rows, steps)
    model.eval()
    return model

"""A β-VAE of vectors, of the size of a VDAE's networks: what Table 1 of the VDAE paper compares.

Not here: the studies that use it (vdae.py).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from gtn_train.models.mlp import perceptron
from gtn_train.seeds import derive

__all__ = ["BetaVAE", "train_beta_vae"]

Rows = npt.NDArray[np.float32]
BATCH_SIZE = 256


class BetaVAE(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Three hidden layers of 256 units on each side, and a normal of diagonal covariance between.

    Parameters
    ----------
    rows : float32 [n, m]
        Data, which give the mean and the one scale.
    dim : int
        Dimension of the latents.
    """

    def __init__(self, rows: Rows, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.encoder = perceptron(rows.shape[1], 2 * dim)
        self.decoder = perceptron(dim, rows.shape[1])
        self.center = torch.from_numpy(rows.mean(axis=0))
        self.scale = float(rows.std(axis=0).max())
        self.variance = 0.1**2 * float((rows / self.scale).var(axis=0).mean())

    def loss(self, rows: Tensor, beta: float) -> Tensor:
        """Mean of -log p(x|z) and β times the divergence from N(0, I)."""
        given = (rows - self.center) / self.scale
        mean, log = self.encoder(given).chunk(2, dim=1)
        found = self.decoder(mean + torch.exp(log / 2) * torch.randn_like(mean))
        squares = functional.mse_loss(found, given, reduction="sum") / (2 * self.variance)
        kl = 0.5 * (mean.square() + log.exp() - 1 - log).sum()
        return (squares + beta * kl) / len(rows)

    def sample(self, latents: Rows) -> Rows:
        """Decode latents, [n, dim], to rows."""
        with torch.inference_mode():
            found = self.decoder(torch.from_numpy(latents)) * self.scale + self.center
        rows: Rows = found.numpy()
        return rows


def train_beta_vae(rows: Rows, dim: int, steps: int, seed: int, beta: float = 1.0) -> BetaVAE:
    """Train a β-VAE by Adam at 1e-3, which falls along half a cosine.

    Parameters
    ----------
    rows : float32 [n, m]
    dim, steps, seed : int
    beta : float
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "beta-vae"))
        model = BetaVAE(rows, dim)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        given = torch.from_numpy(rows)
        for _ in range(steps):
            optimizer.zero_grad()
            model.loss(given[torch.randint(len(rows), (BATCH_SIZE,))], beta).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    return model

"""A VAE whose latents lie on a sphere (SVAE), a baseline of the VDAE paper's Table 1.

The posterior is the power-spherical law of De Cao and Aziz (The Power Spherical distribution). The
paper's SVAE has the von Mises-Fisher law, which this is not: the density is (1 + μ·z)^κ in place of
exp(κ μ·z). Both have a mean direction and a concentration. Samples of this one need no rejection.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from baselines import Rows, Scaled, descend
from torch import Tensor
from torch.nn import functional

from gtn_train.models.mlp import perceptron
from gtn_train.seeds import derive

__all__ = ["PowerSpherical", "SphericalVAE", "train_spherical_vae"]


class PowerSpherical:
    """The law on the unit sphere of R^d with density proportional to (1 + μ·z)^κ.

    Parameters
    ----------
    mean : Tensor [n, d]
        Unit vectors μ, d >= 2.
    concentration : Tensor [n]
        κ >= 0; 0 is the uniform law.
    """

    def __init__(self, mean: Tensor, concentration: Tensor) -> None:
        self.mean, self.concentration = mean, concentration
        self.dim = mean.shape[1]
        # (1 + μ·z) / 2 has the law Beta(α, β).
        self.beta = torch.full_like(concentration, (self.dim - 1) / 2)
        self.alpha = self.beta + concentration

    def rsample(self) -> Tensor:
        """Draw one z for each row, with gradients: around the first axis, then reflected to μ."""
        along = 2 * torch.distributions.Beta(self.alpha, self.beta).rsample()[:, None] - 1
        across = functional.normalize(torch.randn(len(along), self.dim - 1), dim=1)
        # A root has no derivative at 0.
        drawn = torch.cat([along, (1 - along.square()).clamp_min(1e-7).sqrt() * across], dim=1)
        first = functional.one_hot(torch.zeros(1, dtype=torch.int64), self.dim)
        mirror = functional.normalize(first - self.mean, dim=1)
        return drawn - 2 * (drawn * mirror).sum(dim=1, keepdim=True) * mirror

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence from the uniform law, [n]."""
        both = self.alpha + self.beta
        log_norm = both * math.log(2) + self.beta * math.log(math.pi)
        log_norm = log_norm + torch.lgamma(self.alpha) - torch.lgamma(both)
        mean_log = math.log(2) + torch.digamma(self.alpha) - torch.digamma(both)
        half = self.dim / 2
        log_area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)
        return self.concentration * mean_log - log_norm + log_area


class SphericalVAE(Scaled):
    """Three hidden layers of 256 units on each side, and a power-spherical law between.

    Parameters
    ----------
    rows : float32 [n, m]
    dim : int
        Dimension of the space of the sphere, >= 2. A circle has 2.
    """

    def __init__(self, rows: Rows, dim: int) -> None:
        super().__init__(rows, dim)
        self.encoder = perceptron(rows.shape[1], dim + 1)
        self.decoder = perceptron(dim, rows.shape[1])

    def posterior(self, given: Tensor) -> PowerSpherical:
        """Encode scaled rows."""
        mean, raw = self.encoder(given).split([self.dim, 1], dim=1)
        return PowerSpherical(functional.normalize(mean, dim=1), functional.softplus(raw[:, 0]))

    def loss(self, rows: Tensor) -> Tensor:
        """Mean of -log p(x|z) and the divergence from the uniform law."""
        given = self.scaled(rows)
        law = self.posterior(given)
        found = self.squares(self.decoder(law.rsample()), given)
        return (found + law.divergence().sum()) / len(rows)

    def latents(self, n: int, seed: int) -> Rows:
        """Draw latents, [n, dim], evenly from the unit sphere."""
        drawn = super().latents(n, seed)
        unit: Rows = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit


def train_spherical_vae(rows: Rows, dim: int, steps: int, seed: int) -> SphericalVAE:
    """Train as `baselines.descend` does.

    Parameters
    ----------
    rows : float32 [n, m]
    dim, steps, seed : int
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "spherical-vae"))
        model = SphericalVAE(rows, dim)
        descend(model.parameters(), model.loss, rows, steps)
    model.eval()
    return model

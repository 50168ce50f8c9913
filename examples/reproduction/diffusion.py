"""A denoising diffusion model of points in the plane, at the settings of the GTN paper's Fig. 4.

The baseline of swiss_roll.py: T = 40 steps, cosine schedule (s = 0.008), an MLP 3 → 64, 4 x (64,
ReLU), → 2 of a point and its time, mean squared error of the noise, Adam 1e-3, batches of 2,048,
100 epochs; the sampler is DDPM's, with variance β_t. The paper leaves the scale of points and the
input of time open. Here points are divided by one number, so that their mean variance is 1, like
that of the N(0, I) at the start of sampling; time is t / T. Plain torch, without gtn_train.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

STEPS = 40
OFFSET = 0.008
MAX_BETA = 0.999  # as the cosine schedule's authors clip it
BATCH = 2048

Rows = npt.NDArray[Any]


def cosine_betas() -> torch.Tensor:
    """Variances β_1 to β_T of the cosine schedule, float64 [T]."""
    time = torch.arange(STEPS + 1, dtype=torch.float64) / STEPS
    kept = torch.cos((time + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2
    return (1 - kept[1:] / kept[:-1]).clamp(max=MAX_BETA)


class Diffusion:
    """Train on points, then sample.

    Parameters
    ----------
    points : [n, 2]
    epochs : int
    seed : int
        Random seed of weights, order and noise; torch's own generators stay unchanged.
    """

    def __init__(self, points: Rows, *, epochs: int = 100, seed: int = 0) -> None:
        self._centre = points.mean(axis=0)
        self._scale = float(np.sqrt(points.var(axis=0).mean()))
        betas = cosine_betas()
        self._betas = betas.float()
        self._kept = torch.cumprod(1 - betas, dim=0).float()
        chance = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            widths = [3, 64, 64, 64, 64, 64]
            layers: list[nn.Module] = []
            for into, out in itertools.pairwise(widths):
                layers += [nn.Linear(into, out), nn.ReLU()]
            self._net = nn.Sequential(*layers, nn.Linear(64, 2))
        self._train(torch.tensor((points - self._centre) / self._scale).float(), epochs, chance)

    def _train(self, rows: torch.Tensor, epochs: int, chance: torch.Generator) -> None:
        optimizer = torch.optim.Adam(self._net.parameters(), 1e-3)
        for _ in range(epochs):
            order = torch.randperm(len(rows), generator=chance)
            for some in order.split(BATCH):
                step = torch.randint(STEPS, (len(some),), generator=chance)
                noise = torch.randn(len(some), 2, generator=chance)
                kept = self._kept[step][:, None]
                noisy = kept.sqrt() * rows[some] + (1 - kept).sqrt() * noise
                loss = nn.functional.mse_loss(self._noise_in(noisy, step), noise)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

    def _noise_in(self, points: torch.Tensor, step: torch.Tensor) -> Any:
        time = (step + 1).float()[:, None] / STEPS
        return self._net(torch.cat([points, time], dim=1))

    def sample(self, n: int, seed: int) -> Rows:
        """Draw n points, float32 [n, 2]."""
        chance = torch.Generator().manual_seed(seed)
        points = torch.randn(n, 2, generator=chance)
        with torch.no_grad():
            for step in reversed(range(STEPS)):
                beta, kept = self._betas[step], self._kept[step]
                noise = self._noise_in(points, torch.full((n,), step))
                points = (points - beta / (1 - kept).sqrt() * noise) / (1 - beta).sqrt()
                if step > 0:
                    points += beta.sqrt() * torch.randn(n, 2, generator=chance)
        return np.asarray(points.numpy() * self._scale + self._centre, np.float32)

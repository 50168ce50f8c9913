"""A Wasserstein GAN with gradient penalty (WGAN-GP), a baseline of the VDAE paper's Table 1.

Gulrajani et al., Improved Training of Wasserstein GANs, Algorithm 1, with networks of the size of
the other baselines. Not here: the studies that use it (vdae_methods.py).
"""

from __future__ import annotations

import torch
from baselines import Rows, Scaled
from torch import Tensor

from gtn_train.models.mlp import perceptron
from gtn_train.seeds import derive

__all__ = ["WGAN", "train_wgan"]

CRITIC_STEPS = 5  # of each step of the generator, as in that paper
# As there, for images. A step then sees 320 rows, and one of the other baselines 256.
BATCH_SIZE = 64
PENALTY = 0.1  # weight of that paper's code for sets of the plane; 10 for images
RATE, BETAS = 5e-4, (0.5, 0.9)


class WGAN(Scaled):
    """A generator and a critic, each with three hidden layers of 256 units.

    Parameters
    ----------
    rows, dim
        As in `baselines.Scaled`.
    """

    def __init__(self, rows: Rows, dim: int) -> None:
        super().__init__(rows, dim)
        self.decoder = perceptron(dim, rows.shape[1])
        self.critic = perceptron(rows.shape[1], 1)

    def critic_loss(self, rows: Tensor, penalty: float) -> Tensor:
        """Mean of the critic on samples, less that on rows, and the penalty."""
        given = self.scaled(rows)
        with torch.no_grad():
            made = self.decoder(torch.randn(len(rows), self.dim))
        return (
            self.critic(made).mean() - self.critic(given).mean() + penalty * self.slope(made, given)
        )

    def slope(self, made: Tensor, given: Tensor) -> Tensor:
        """Mean square of the gradient's norm less 1, at random points between samples and rows."""
        share = torch.rand(len(given), 1)
        between = (share * given + (1 - share) * made).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        # A norm has no derivative at 0.
        return ((gradient.square().sum(dim=1) + 1e-12).sqrt() - 1).square().mean()

    def loss(self, n: int) -> Tensor:
        """Less the mean of the critic on n samples."""
        return -self.critic(self.decoder(torch.randn(n, self.dim))).mean()


def train_wgan(rows: Rows, dim: int, steps: int, seed: int, penalty: float = PENALTY) -> WGAN:
    """Train by Adam, whose rate falls along half a cosine; a step has five of the critic.

    Parameters
    ----------
    rows : float32 [n, m]
    dim, steps, seed : int
    penalty : float
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "wgan"))
        model = WGAN(rows, dim)
        players = [model.critic, model.decoder]
        optimizers = [torch.optim.Adam(p.parameters(), RATE, BETAS) for p in players]
        schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, steps) for o in optimizers]
        given = torch.from_numpy(rows)
        for _ in range(steps):
            for _ in range(CRITIC_STEPS):
                optimizers[0].zero_grad()
                batch = given[torch.randint(len(rows), (BATCH_SIZE,))]
                model.critic_loss(batch, penalty).backward()
                optimizers[0].step()
            optimizers[1].zero_grad()
            model.loss(BATCH_SIZE).backward()
            optimizers[1].step()
            for schedule in schedules:
                schedule.step()
    model.eval()
    return model

"""Steps: plain functions that compute the loss of a model on a batch, one for each kind.

A step returns the sum over rows of each row's loss, the number of rows, and sums of other figures
by name. The loop divides by the rows of the whole batch, over all processes. Not here:
gradients and optimizers (loop.py), the rows of a batch (batches.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from ..data.images import to_model
from ..models.vae import vae_loss

__all__ = [
    *("Step", "StepOutput", "autoencoder_step", "flow_step", "generator_step"),
    *("vae_step", "vector_step"),
]

StepOutput: TypeAlias = tuple[torch.Tensor, int, dict[str, torch.Tensor]]
Step: TypeAlias = Callable[[Any, tuple[Any, ...]], StepOutput]


def generator_step(generator: Any, batch: tuple[Any, ...]) -> StepOutput:
    """Mean squared error of ĥ in the space of normalised labels.

    Each row's loss is mean((net(y) - (x_y - label_mean) / label_scale)²); with mean 0 and scale 1
    it is the paper's.

    Parameters
    ----------
    generator : Generator
    batch : (sources [b, dim], normalised labels [b, dim], classes [b] or None)
    """
    sources, targets, classes = batch
    errors = functional.mse_loss(generator.normalized(sources, classes), targets, reduction="sum")
    return errors / targets.shape[1], len(sources), {}


def flow_step(flow: Any, batch: tuple[Any, ...]) -> StepOutput:
    """Mean squared error of the velocity on straight paths, in the space of normalised labels.

    Parameters
    ----------
    flow : Flow
    batch : (sources [b, dim], normalised labels [b, dim], classes [b] or None, noise [b, 1])
        The noise, N(0, 1), becomes a uniform time.
    """
    sources, targets, classes, noise = batch
    times = torch.special.ndtr(noise)
    positions = sources + times * (targets - sources)
    velocity = flow.velocity(positions, times, classes)
    errors = functional.mse_loss(velocity, targets - sources, reduction="sum")
    return errors / targets.shape[1], len(sources), {}


def autoencoder_step(model: Any, batch: tuple[Any, ...]) -> StepOutput:
    """Mean squared error of the reconstruction.

    Parameters
    ----------
    model : Autoencoder
    batch : (images uint8 [b, c, h, w],)
    """
    images = to_model(batch[0])
    errors = functional.mse_loss(model.decode(model.encode(images)), images, reduction="sum")
    return errors / images[0].numel(), len(images), {}


def vector_step(model: Any, batch: tuple[Any, ...]) -> StepOutput:
    """Mean squared error of reconstructed vectors, in units of the model's one scale.

    Parameters
    ----------
    model : MLPAutoencoder
    batch : (vectors float32 [b, m],)
    """
    (rows,) = batch
    errors = functional.mse_loss(model.decode(model.encode(rows)), rows, reduction="sum")
    return errors / (rows.shape[1] * model.scale**2), len(rows), {}


def vae_step(model: Any, batch: tuple[Any, ...]) -> StepOutput:
    """The VAE's loss: mean squared error plus the weighted divergence from N(0, I).

    Parameters
    ----------
    model : VanillaVAE
    batch : (images uint8 [b, c, h, w], noise [b, latent_dim])
    """
    images = to_model(batch[0])
    losses = vae_loss(images, *model(images, batch[1]))
    n = len(images)
    return losses["loss"] * n, n, {name: losses[name].detach() * n for name in ("mse", "kl")}

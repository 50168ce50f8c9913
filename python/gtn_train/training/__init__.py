"""Training of autoencoders and generators: one loop, plain steps, runs that can be resumed.

- options.py: what can be asked for, and what comes back.
- train.py: `train_autoencoder` and `train_generator`, which put the parts together.
- loop.py: epochs, validation, when to stop. It knows modules, steps and batches, and no models.
- steps.py: one plain function a model, from a batch to its loss.
- batches.py: from images or pairs to the rows of a step.
- stopping.py: the best weights and patience. checkpoint.py: resuming.
- devices.py: Lightning Fabric's device, precision and processes. watching.py: a bar and curves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .training_options import Metric, TrainingOptions, TrainingResult

if TYPE_CHECKING:
    from .steps import autoencoder_step, generator_step, vae_step
    from .train import train_autoencoder, train_generator

__all__ = [
    "Metric",
    "TrainingOptions",
    "TrainingResult",
    "autoencoder_step",
    "generator_step",
    "train_autoencoder",
    "train_generator",
    "vae_step",
]

__getattr__ = lazy_names(
    __name__,
    {
        "autoencoder_step": "steps",
        "generator_step": "steps",
        "vae_step": "steps",
        "train_autoencoder": "train",
        "train_generator": "train",
    },
)

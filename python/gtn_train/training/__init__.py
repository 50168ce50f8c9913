"""Training of autoencoders and generators: one loop, plain steps, runs that can be resumed.

- training_options.py: `TrainingOptions`, `Metric` and `TrainingResult`.
- train.py: `train_autoencoder` and `train_generator`, which put the parts together.
- job.py, loop.py: epochs and validation. They know modules, steps and batches, and no models.
- steps.py: the loss of each kind of model on a batch.
- optimizers.py: Adam and the learning rate of each step. averaging.py: the average of the weights.
- callbacks.py: callbacks and loggers.
- batches.py: the rows of a step, from images or pairs.
- stopping.py: best weights and early stopping. checkpoint.py: the file of an interrupted run.
- fabric.py, accelerator.py: Lightning Fabric's device, precision and processes.
- processes.py: the processes that torchrun started. progress.py: a bar and curves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

from .training_options import Metric, TrainingOptions, TrainingResult

if TYPE_CHECKING:
    from .callbacks import Callback, ImageGrid, Logger, Training
    from .steps import autoencoder_step, flow_step, generator_step, vae_step, vector_step
    from .train import train_autoencoder, train_generator

__all__ = [
    "Callback",
    "ImageGrid",
    "Logger",
    "Metric",
    "Training",
    "TrainingOptions",
    "TrainingResult",
    "autoencoder_step",
    "flow_step",
    "generator_step",
    "train_autoencoder",
    "train_generator",
    "vae_step",
    "vector_step",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Callback": "callbacks",
        "ImageGrid": "callbacks",
        "Logger": "callbacks",
        "Training": "callbacks",
        "autoencoder_step": "steps",
        "flow_step": "steps",
        "generator_step": "steps",
        "vae_step": "steps",
        "vector_step": "steps",
        "train_autoencoder": "train",
        "train_generator": "train",
    },
)

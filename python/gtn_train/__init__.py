"""Train generators on pairs of noise and data, sample from them and evaluate them.

The layer on top of `gtn_label`, in plain PyTorch; matching needs none of it. The names below are
what a training script needs. Each is imported when it is first used, so that importing this package
does not import torch. Everything else lives in the subpackages: data, models, pairs, training,
sampling, evaluation, geometry, spectral, run, report, cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .data import open_images
    from .models.module import ModuleGenerator
    from .models.registry import make_model
    from .pairs import (
        Algorithm1,
        Clusters,
        DriftingPairs,
        FixedPairs,
        FreshPairs,
        Optimal,
        OptimalClusters,
        Quantile,
        Radial,
    )
    from .run.encoded_run import EncodedRun
    from .run.finished_run import FinishedRun, load_run
    from .run.store import RunFolder
    from .sampling.sample import sample_images, sample_latents
    from .training import (
        Callback,
        ImageGrid,
        Logger,
        TrainingOptions,
        train_autoencoder,
        train_generator,
    )

__all__ = [
    "Algorithm1",
    "Callback",
    "Clusters",
    "DriftingPairs",
    "EncodedRun",
    "FinishedRun",
    "FixedPairs",
    "FreshPairs",
    "ImageGrid",
    "Logger",
    "ModuleGenerator",
    "Optimal",
    "OptimalClusters",
    "Quantile",
    "Radial",
    "RunFolder",
    "TrainingOptions",
    "load_run",
    "make_model",
    "open_images",
    "sample_images",
    "sample_latents",
    "train_autoencoder",
    "train_generator",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Algorithm1": "pairs.labelings",
        "Callback": "training.callbacks",
        "Clusters": "pairs.labelings",
        "DriftingPairs": "pairs.drifting",
        "EncodedRun": "run.encoded_run",
        "FinishedRun": "run.finished_run",
        "FixedPairs": "pairs.fixed",
        "FreshPairs": "pairs.fresh",
        "ImageGrid": "training.callbacks",
        "Logger": "training.callbacks",
        "ModuleGenerator": "models.module",
        "Optimal": "pairs.optimal",
        "OptimalClusters": "pairs.optimal",
        "Quantile": "pairs.labelings",
        "Radial": "pairs.radial",
        "RunFolder": "run.store",
        "TrainingOptions": "training.training_options",
        "load_run": "run.finished_run",
        "make_model": "models.registry",
        "open_images": "data.sets",
        "sample_images": "sampling.sample",
        "sample_latents": "sampling.sample",
        "train_autoencoder": "training.train",
        "train_generator": "training.train",
    },
)

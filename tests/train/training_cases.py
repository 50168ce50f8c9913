"""Small runs that tests train, kill, resume and distribute.

As a script, with a folder as argument, this file trains the distributed ones.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from gtn_train.data.images import Images
from gtn_train.evaluation.latent_metric import latent_metric
from gtn_train.models.registry import make_model
from gtn_train.pairs import Algorithm1, DriftingPairs, FixedPairs, FreshPairs
from gtn_train.run.store import RunFolder
from gtn_train.training import (
    Callback,
    Metric,
    TrainingOptions,
    train_autoencoder,
    train_generator,
)


def latents(n=96, dim=3):
    rows = np.random.default_rng(5).normal(size=(n, dim)).astype(np.float32)
    return rows * np.array([1, 2, 0.5], np.float32)[:dim] + 3


def pairs(n=50):
    rows = latents(n)
    return FixedPairs((rows - 3) * 2, rows)


def images(n=41, shape=(1, 32, 32), seed=6):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return Images("noise", pixels)


def options(**changes):
    defaults = {"batch_size": 16, "learning_rate": 1e-3, "max_epochs": 6}
    defaults["checkpoint_every_seconds"] = 0  # tests need checkpoints where they expect them
    return TrainingOptions(**{**defaults, "accelerator": "cpu", "threads": 1, **changes})


def wiggle(model):
    """A metric without a trend: the best epoch is somewhere on the way."""
    total = sum(float(tensor.double().sum()) for tensor in model.parameters())
    return float(np.sin(1000 * total))


def wiggling(pause):
    """The metric of `wiggle`, after a pause in which a test can kill the run."""

    def metric(model):
        time.sleep(pause)
        return wiggle(model)

    return Metric("wiggle", metric, larger_is_better=True)


def generator(seed=1, **changes):
    return make_model("generator", {"dim": 3, "layers": 3, "width": 8, **changes}, seed)


def run_generator(folder, *, resume=False, pause=0.0, **changes):
    """Batch normalisation, fresh pairs that last two epochs, a metric, decaying learning rate."""

    model = generator()
    asked = options(learning_rate_decay=0.9, weight_decay=1e-3, **{"max_epochs": 12, **changes})
    with FreshPairs(latents(), Algorithm1(threads=1), every=2, seed=3) as pairs:
        result = train_generator(
            model,
            pairs,
            RunFolder(folder),
            asked,
            metric=wiggling(pause),
            resume=resume,
        )
    return model, result


def run_drifting(folder, *, resume=False, pause=0.0, **changes):
    """Labels that follow the generator, in rounds of two epochs, and batch normalisation."""

    model = generator()
    asked = options(learning_rate_decay=0.9, **{"max_epochs": 12, **changes})
    with DriftingPairs(latents(), every=2, batch=40, seed=3, threads=1) as pairs:
        result = train_generator(
            model,
            pairs,
            RunFolder(folder),
            asked,
            metric=wiggling(pause),
            resume=resume,
        )
    return model, result


def run_average(folder, *, resume=False, pause=0.0, **changes):
    """Labels that follow the average of the weights, whose validation loss selects the best."""

    model = generator()
    asked = options(ema=0.9, ema_labels=True, **{"max_epochs": 12, **changes})
    held_out = FixedPairs(
        latents(21) - 3, latents(21), latents_sha256=FixedPairs(latents(), latents()).latents_sha256
    )
    with DriftingPairs(latents(), every=2, batch=40, seed=3, threads=1) as pairs:
        result = train_generator(
            model,
            pairs,
            RunFolder(folder),
            asked,
            validation=held_out,
            metric=wiggling(pause),
            resume=resume,
        )
    return model, result


def run_cycle(folder, *, resume=False, pause=0.0, **changes):
    """A schedule of torch that goes on with each step, warm-up, clipped gradients, AdamW."""

    model = generator()
    asked = options(
        schedule="OneCycleLR",
        schedule_arguments={"max_lr": 0.01, "total_steps": 100},
        schedule_each="step",
        warmup_steps=20,
        clip_norm=0.5,
        optimizer="adamw",
        weight_decay=0.1,
        **{"max_epochs": 12, **changes},
    )
    rows = pairs(60)
    result = train_generator(
        model, rows, RunFolder(folder), asked, metric=wiggling(pause), resume=resume
    )
    return model, result


def run_flow(folder, *, resume=False, pause=0.0, **changes):
    """A time for each row, on fixed pairs with validation."""

    model = make_model("flow", {"dim": 3, "layers": 3, "width": 8}, 1)
    training, validation = pairs(60).split(0.2, 1)
    result = train_generator(
        model,
        training,
        RunFolder(folder),
        options(**{"max_epochs": 12, **changes}),
        validation=validation,
        metric=wiggling(pause),
        resume=resume,
    )
    return model, result


def run_vae(folder, *, resume=False, pause=0.0, **changes):
    """Noise, batch normalisation, checkpoints every other epoch."""

    model = make_model("vae", {"image_shape": [1, 32, 32], "latent_dim": 2}, 1)
    result = train_autoencoder(
        model,
        images(),
        RunFolder(folder),
        options(checkpoint_every_epochs=2, **{"max_epochs": 7, **changes}),
        validation=images(9, seed=7),
        metric=wiggling(pause),
        resume=resume,
    )
    return model, result


def run_distributed(folder):
    """Trainings in which two processes must equal one: ragged batches, classes, rounds."""
    model = generator(batch_norm_layers=0, classes=2)
    classes = np.arange(45) % 2
    held_out = FixedPairs(
        latents(21) - 3,
        latents(21),
        classes=classes[:21],
        latents_sha256=FixedPairs(latents(45), latents(45)).latents_sha256,
    )
    with FreshPairs(latents(45), Algorithm1(classes=classes, threads=1), seed=2) as pairs:
        first = train_generator(
            model,
            pairs,
            RunFolder(Path(folder) / "generator"),
            options(devices=_processes(), max_epochs=4, clip_norm=0.5, ema=0.9),
            validation=held_out,
            metric=Metric("wiggle", wiggle, larger_is_better=True, every=2),
            callbacks=[_StopAt(3)],
        )
    drifter = generator(batch_norm_layers=0, classes=2)
    with DriftingPairs(latents(45), classes=classes, tolerance=0.0, seed=2) as pairs:
        third = train_generator(
            drifter,
            pairs,
            RunFolder(Path(folder) / "drifting"),
            options(devices=_processes(), max_epochs=4, ema=0.9, ema_labels=True),
            validation=held_out,
        )
    autoencoder = make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}, 1)
    second = train_autoencoder(
        autoencoder,
        images(37, (1, 8, 8)),
        RunFolder(Path(folder) / "autoencoder"),
        options(devices=_processes(), max_epochs=2),
        validation=images(10, (1, 8, 8), seed=7),
    )
    flow = make_model("flow", {"dim": 3, "layers": 3, "width": 8, "classes": 2}, 1)
    fourth = train_generator(
        flow,
        FixedPairs(latents(45) - 3, latents(45), classes=classes),
        RunFolder(Path(folder) / "flow"),
        options(devices=_processes(), max_epochs=4),
        validation=held_out,
        metric=latent_metric(latents(45), latents(21), n=50, classes=classes),
    )
    return (model, first), (autoencoder, second), (drifter, third), (flow, fourth)


class _StopAt(Callback):
    """Stops all processes, of which one alone calls it."""

    def __init__(self, epoch):
        self._epoch = epoch

    def epoch_end(self, training, figures):
        if training.epoch == self._epoch:
            training.stop()


def _processes():
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def same(first, second):
    """True if two modules hold the same bits."""
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


if __name__ == "__main__":
    run_distributed(sys.argv[1])

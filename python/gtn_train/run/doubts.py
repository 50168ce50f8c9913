"""Doubts about a run, said before its work begins: trainings of hardly a step, odd dimensions.

A doubt is a warning. Not here: what cannot be trained at all, which is refused (context.py,
training/accelerator.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.cli.console import counted

from ..seeds import random_numbers
from ..training.training_options import TrainingOptions
from .preset_fields import Preset

__all__ = [
    "FEW_ROWS",
    "about_dimension",
    "about_drift",
    "about_equal_rows",
    "about_held_out",
    "about_precision",
    "about_steps",
    "two_nn",
]

FEW_STEPS = 12
FEW_ROWS = 20  # held out: the noise of figures of so few is as large as what trainings differ by
FAR_ABOVE = 8  # times the intrinsic dimension: 128 for CIFAR-10 (25) is below
MOST_ROWS = 1_000  # of the estimate: 0.3 s for images of 3 x 64 x 64
LEAST_ROWS = 50


def about_steps(preset: Preset, n: int, stages: Collection[str]) -> list[str]:
    """Warn of batches larger than the rows, a dozen steps in all, and a warm-up above half of them.

    Parameters
    ----------
    preset : Preset
    n : int
        Images or vectors to train on.
    stages : collection of str
        Stages that are to be trained.
    """
    held_out = _held_out(preset, n)
    found = []
    for stage, options, rows, batch in (
        ("autoencoder", preset.autoencoder_training, n - held_out, "--autoencoder-batch-size"),
        ("generator", preset.generator_training, _pairs(preset, n - held_out), "--batch-size"),
    ):
        if options is None or stage not in stages:
            continue
        steps = _steps(options, rows)
        if options.batch_size > rows:
            found.append(
                f"{batch} is {options.batch_size}, and the {stage} has {counted(rows, 'row')}: "
                "every epoch is one step"
            )
        if steps <= FEW_STEPS:
            found.append(
                f"the {stage} trains for {counted(steps, 'step')} in all, hardly a training: raise "
                f"--{stage}-epochs or lower {batch}"
            )
        if options.warmup_steps > steps / 2:
            found.append(
                f"{batch.replace('batch-size', 'warmup-steps')} is {options.warmup_steps:,}, and "
                f"the {stage} trains for {steps:,} steps in all: lower it"
            )
    return found


def about_held_out(preset: Preset, n: int) -> list[str]:
    """Warn of a handful of held-out latents that choose the generator's weights.

    Parameters
    ----------
    preset : Preset
    n : int
        Images or vectors to train on.
    """
    rows = _held_out(preset, n)
    if preset.stop_by == "energy":
        rows = (rows + 1) // 2  # the other half is for evaluate
    if rows >= FEW_ROWS or preset.stop_by not in ("energy", "loss"):
        return []
    return [
        f"{rows} held-out rows alone choose the generator's weights, fewer than {FEW_ROWS}: the "
        "choice is mostly chance, and more data or a larger --validation-share make it better"
    ]


def about_drift(preset: Preset) -> list[str]:
    """Warn of a constant learning rate, and of patience without a figure, for moving labels.

    Parameters
    ----------
    preset : Preset
    """
    if preset.pairs.labeling != "drift":
        return []
    options, found = preset.generator_training, []
    if options.schedule == "exponential" and options.learning_rate_decay == 1:
        found.append(
            "labels that follow the generator are noisy, and the learning rate stays as it is: "
            "--schedule linear lets it fall to 0"
        )
    if preset.stop_by == "loss" and options.patience is not None:
        found.append(
            "labels that follow the generator have no validation loss, so with --stop-by loss "
            f"every epoch runs, whatever --patience ({options.patience}) is"
        )
    return found


def _held_out(preset: Preset, n: int) -> int:
    return min(max(1, round(n * preset.validation_share)), n - 1)


def _pairs(preset: Preset, n: int) -> int:
    drifts = preset.pairs.labeling == "drift"
    return preset.pairs.round_size or n if drifts else n


def _steps(options: TrainingOptions, rows: int) -> int:
    return math.ceil(rows / options.batch_size) * options.max_epochs


def about_dimension(rows: NDArray[Any], latent_dim: int | None) -> list[str]:
    """Warn of latents of more dimensions than there are rows, or of many more than data vary along.

    Parameters
    ----------
    rows : [n, ...]
        Images or vectors.
    latent_dim : int or None
        Dimension of the latents; None if the vectors are the latents.
    """
    n = len(rows)
    chosen = random_numbers(0, "doubts").permutation(n)[:MOST_ROWS]
    some = np.asarray(rows[np.sort(chosen)], np.float32).reshape(len(chosen), -1)
    dim = some.shape[1] if latent_dim is None else latent_dim
    what = "vectors" if np.ndim(rows) == 2 else "images"
    if dim > n:
        if latent_dim is None:
            return [f"the {n} vectors have {dim} dimensions, more than there are vectors"]
        return [f"--latent-dim is {dim}, and there are {n} {what}: choose fewer latent dimensions"]
    intrinsic = two_nn(some)
    if intrinsic is None or dim <= FAR_ABOVE * max(intrinsic, 1.0):
        return []
    along = f"vary along about {intrinsic:.0f} (TwoNN of {len(some):,})"
    if latent_dim is None:
        return [f"the vectors have {dim} dimensions and {along}: fewer, as by PCA, train better"]
    return [f"--latent-dim is {dim}, and the {what} {along}: fewer latent dimensions train better"]


def about_equal_rows(rows: NDArray[Any]) -> list[str]:
    """Warn of images or vectors that are all equal.

    Parameters
    ----------
    rows : [n, ...]
        Images or vectors.
    """
    if any(not np.array_equal(row, rows[0]) for row in rows):  # mostly the second row decides
        return []
    return [f"all {len(rows):,} rows of the data are equal: there is nothing to learn"]


def about_precision(device: Any, precision: str) -> list[str]:
    """Warn of a precision that the device has no instructions for, and only imitates.

    Parameters
    ----------
    device : torch.device
    precision : str
    """
    if device.type != "cpu" or precision != "bf16-mixed":
        return []
    import torch

    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return []
    return ["this CPU has no instructions for --precision bf16-mixed: 32-true is faster"]


def two_nn(rows: NDArray[Any]) -> float | None:
    """Estimate the intrinsic dimension from each row's two nearest others; None if it has none.

    Facco et al. 2017, with the tenth of the largest ratios left out, as scikit-dimension has it.
    That package takes seconds to import, too long for a check.

    Parameters
    ----------
    rows : [n, dim]

    Examples
    --------
    >>> round(two_nn(np.random.default_rng(0).normal(size=(500, 3))))
    3
    """
    rows = rows - rows.mean(axis=0)
    norms = np.einsum("ij,ij->i", rows, rows)
    squared = norms[:, None] + norms - 2 * (rows @ rows.T)
    np.fill_diagonal(squared, np.inf)
    if len(rows) < LEAST_ROWS:
        return None
    nearest = np.partition(squared, 1, axis=1)[:, :2].astype(np.float64)
    apart = nearest[:, 0] > 1e-6 * norms.mean()  # equal rows, within rounding, say nothing
    if apart.sum() < LEAST_ROWS:
        return None
    ratios = np.sort(0.5 * np.log(nearest[apart, 1] / nearest[apart, 0]))
    share = np.arange(1, len(ratios) + 1) / len(ratios)
    kept = slice(0, int(0.9 * len(ratios)))
    x, y = ratios[kept], -np.log(1 - share[kept])
    return float(x @ y / (x @ x)) if x.any() else None

"""Latent dimension (Table 3's trend) and the decoded normal (Fig. 17), in minutes of a CPU.

For each dimension the vanilla autoencoder is trained on a part of the images, and a generator on
its codes, with labels that follow it as in the preset "vectors". Three sets of images are compared
with real ones: samples, reconstructions, and Fig. 17's baseline: decoded rows of a normal with the
mean and the deviation of each code. The features are EfficientNet-Lite0's (FD-Lite0, no FID) or
those of a classifier of the set (own_features.py). Latents are compared with the codes of test
images by the energy distance over √d. Trained autoencoders stay in --run, and the study goes on
with them. --quick has blobs in place of a data set. Not here: the order of methods at one dimension
(vae_comparison.py).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from own_features import own_features
from study import (
    circumstances,
    finite,
    network_of,
    options_of,
    read,
    sample_of,
    train_on,
    training_of,
    write_figure,
    write_numbers,
)

from gtn_train.data import Images, open_images
from gtn_train.evaluation.extractors import Extractor, lite0
from gtn_train.evaluation.images import extract, frechet_distance
from gtn_train.evaluation.latents import StandardizedDistance, Standardizer, norm_statistics
from gtn_train.models.autoencoder import decode_all, encode_all
from gtn_train.models.registry import make_model
from gtn_train.report import figures
from gtn_train.run.presets import PRESETS
from gtn_train.run.store import RunFolder
from gtn_train.seeds import random_numbers
from gtn_train.training import TrainingOptions, train_autoencoder

__all__ = [
    "Split",
    "add_options",
    "autoencoder_of",
    "checked",
    "extractor_of",
    "normal",
    "split_of",
]

Rows = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

PRESET = "vectors"  # whose pairs and network the generators have
N_LATENTS = 10_000  # of each kind, for the energy distance
N_OWN = 2_000  # images of each kind that a classifier of the set compares, in milliseconds each
COLUMNS = 16  # images of each kind in the figure


class Set(NamedTuple):
    """A data set of the study.

    Attributes
    ----------
    name : str
        Name in gtn_train.data.
    training : int
        Number of training images.
    dims : tuple of int
    batch_size, epochs : int
        Those of the autoencoder.
    compared : int
        Number of images of each kind that EfficientNet-Lite0 compares.
    """

    name: str
    training: int
    dims: tuple[int, ...]
    batch_size: int
    epochs: int
    compared: int


SETS = {
    "mnist": Set("mnist", 3000, (2, 5, 10, 20), 32, 6, 250),
    "cifar10": Set("cifar10-jpeg", 6000, (20,), 32, 6, 250),
    "faces": Set("array", 320, (10, 25, 50), 8, 15, 80),
    "blobs": Set("blobs", 120, (2, 3), 16, 2, 20),
}


class Split(NamedTuple):
    """Images of a set: those to train on, and others to compare with."""

    training: Images
    test: Images


def blobs(n: int, seed: int) -> Images:
    """Draw grey images of 16 x 16 with a bright spot; its half of the image is the class."""
    centres = random_numbers(seed, "blobs").uniform(3, 12, (n, 2, 1))
    lines = np.exp(-((np.arange(16) - centres) ** 2) / 8)
    pixels = 250 * lines[:, 0, :, None] * lines[:, 1, None, :]
    labels = (centres[:, 0, 0] > 7.5).astype(np.int64)
    return Images("blobs", pixels[:, None].astype(np.uint8), labels, ("upper", "lower"))


def normal(codes: Rows, n: int, seed: int) -> Rows:
    """Draw n rows of a normal with the mean and deviation of each column, without correlations."""
    drawn = random_numbers(seed, "normal").standard_normal((n, codes.shape[1]))
    rows: Rows = (codes.mean(axis=0) + codes.std(axis=0) * drawn).astype(np.float32)
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide data set, autoencoder and features."""
    parser.add_argument("--set", choices=[*SETS], help="required without --quick")
    parser.add_argument("--data", type=Path, help="folder or file of the data")
    parser.add_argument(
        "--run", type=Path, default=Path("runs/dims"), help="scratch folder (%(default)s)"
    )
    parser.add_argument(
        "--features",
        choices=["lite0", "own"],
        default="lite0",
        help="network that judges images (%(default)s)",
    )


def checked(parser: argparse.ArgumentParser) -> Any:
    """Read the options; --quick decides the set and its features."""
    asked = parser.parse_args()
    if asked.quick:
        asked.set, asked.features, asked.run = "blobs", "own", asked.out / "runs"
    elif asked.set is None or (asked.data is None and asked.set != "blobs"):
        parser.error("--set and --data are required")
    elif asked.features == "own" and asked.set not in ("mnist", "blobs"):
        parser.error(f"--features own needs grey images with classes: mnist, got {asked.set}")
    return asked


def split_of(asked: Any) -> Split:
    """Open the set; one without a test split has a part of its images for the test."""
    of = SETS[asked.set]
    chance = random_numbers(asked.seed, "subset")
    if asked.set == "blobs":
        return Split(blobs(of.training, asked.seed), blobs(2 * of.compared, asked.seed + 1))
    images = open_images(of.name, asked.data)
    order = chance.permutation(images.n)
    training = images.subset(np.sort(order[: of.training]))
    if of.name == "array":
        return Split(training, images.subset(np.sort(order[of.training :])))
    return Split(training, open_images(of.name, asked.data, split="test"))


def autoencoder_of(asked: Any, images: Images, dim: int) -> Any:
    """Train the vanilla autoencoder, or take the one that the scratch folder has."""
    of = SETS[asked.set]
    model = make_model("vanilla", {"image_shape": images.shape, "latent_dim": dim}, asked.seed)
    options = TrainingOptions(
        batch_size=of.batch_size,
        learning_rate=1e-3,
        weight_decay=1e-5,
        max_epochs=of.epochs,
        seed=asked.seed,
        accelerator="cpu",
        threads=1,
    )
    folder = RunFolder(asked.run / asked.set / str(dim))
    train_autoencoder(model, images, folder, options, resume=True)
    return model


def extractor_of(asked: Any, images: Images) -> Extractor:
    """EfficientNet-Lite0, or a classifier of the images, which the scratch folder keeps."""
    if asked.features == "lite0":
        return lite0()
    asked.run.mkdir(parents=True, exist_ok=True)
    return own_features(images, asked.run / f"own_{asked.set}.pt")


def main() -> None:
    """Run the study on one data set."""
    parser = options_of(__doc__)
    add_options(parser)
    parser.add_argument("--dim", type=int, action="append", help="default: those of the set")
    asked = checked(parser)
    torch.set_num_threads(1)
    of, (training, test) = SETS[asked.set], split_of(asked)
    network = extractor_of(asked, training)
    distance_name = f"FD-{network.name}"
    # Real images: the first are compared with, the others are the floor.
    n = min(N_OWN if asked.features == "own" else of.compared, test.n)
    order = random_numbers(asked.seed, "real").permutation(test.n)
    real = test.images[np.sort(order[:n])]
    others = training.images[:n] if test.n < 2 * n else test.images[np.sort(order[n : 2 * n])]
    cache = asked.run / "features"
    reference = extract(real, network, cache=cache).features

    def distance(images: Bytes) -> float:
        found = extract(images[:n], network, cache=cache).features
        return frechet_distance(found, reference)

    settings = {**of._asdict(), "features": network.name, "compared": n, "seed": asked.seed}
    settings["dims"] = [*of.dims]
    file = asked.out / "latent_dims.json"
    name_here = f"{asked.set}, {network.name}"
    here = read(file).get("sets", {}).get(name_here, {})
    results = here.get("results", {}) if here.get("settings") == settings else {}
    results.setdefault("real", finite({distance_name: distance(others)}))
    panels = [real[:COLUMNS]]
    for dim in asked.dim or of.dims:
        began = time.process_time()
        model = autoencoder_of(asked, training, dim)
        codes, held_out = (encode_all(model, part.images) for part in (training, test))
        preset = PRESETS[PRESET]
        epochs = 2 if asked.quick else preset.generator_training.max_epochs
        pairs_of = preset.pairs
        if len(codes) < 1000:
            pairs_of = replace(pairs_of, round_size=PRESETS["small-folder"].pairs.round_size)
        if asked.quick:
            pairs_of = replace(pairs_of, round_size=200)
        with pairs_of.make(codes, asked.seed, threads=1) as pairs:
            generator, _ = train_on(
                pairs, network_of(preset), training_of(preset, asked.seed, epochs), asked.seed
            )
        scale = Standardizer(codes)
        to_test = StandardizedDistance(held_out[:N_LATENTS], scale)
        again = decode_all(model, encode_all(model, real))
        found: dict[str, Any] = {
            "reconstructions": {
                distance_name: distance(again),
                "pixel_error": float(np.square((again - real.astype(np.float64)) / 127.5).mean()),
            },
            "training codes": {"energy_distance": to_test(codes[:N_LATENTS])},
        }
        panels.append(again[:COLUMNS])
        for name, latents in (
            ("samples", sample_of(generator, N_LATENTS, asked.seed)),
            ("normal", normal(codes, N_LATENTS, asked.seed)),
        ):
            images = decode_all(model, latents[:n])
            found[name] = {
                distance_name: distance(images),
                "energy_distance": to_test(latents),
                "norm_ratio": norm_statistics(scale(latents), scale(codes))["mean ratio"],
            }
            panels.append(images[:COLUMNS])
        found = {name: finite(measures) for name, measures in found.items()}
        results[str(dim)] = {**found, "cpu_seconds": round(time.process_time() - began, 1)}
        print(asked.set, dim, results[str(dim)], flush=True)
        this = {"results": results, "settings": settings, **circumstances()}
        # Read now: another run may have written another set.
        sets = {**read(file).get("sets", {}), name_here: this}
        write_numbers(file, {"study": "latent_dims", "sets": sets})
    rows = np.concatenate(panels)
    picture = figures.grid(rows, columns=COLUMNS)
    name_shown = "_".join([asked.set, *map(str, asked.dim or ())])
    write_figure(asked.out / f"latent_dims_{name_shown}.png", picture)


if __name__ == "__main__":
    main()

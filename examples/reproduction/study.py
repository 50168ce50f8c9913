"""Common parts of the studies: options, training in a scratch folder, files of results.

A study writes NAME.json (its numbers and their circumstances) and NAME.png, each whole or not at
all. Not here: the subject of each study, the measures (gtn_train.evaluation).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays.sources import draw_sources
from gtn_label.io.atomic import atomic_file
from gtn_train.models.registry import make_model
from gtn_train.pairs import FixedPairs, FreshPairs, Labeling, Pairs
from gtn_train.pairs.pair_options import one_round
from gtn_train.report import figures
from gtn_train.run.manifest import versions
from gtn_train.run.preset_fields import Preset
from gtn_train.run.store import RunFolder
from gtn_train.sampling.sample import generate_latents
from gtn_train.seeds import derive
from gtn_train.training import TrainingOptions, TrainingResult, train_generator

__all__ = [
    "Trained",
    "circumstances",
    "finite",
    "network_of",
    "options_of",
    "quick",
    "read",
    "sample_of",
    "train",
    "train_on",
    "training_of",
    "write_figure",
    "write_numbers",
]

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # the benchmarks describe a machine too
OUT = ROOT / "docs" / "reproduction"

Rows = npt.NDArray[Any]


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Give a parser with the options of all studies.

    Parameters
    ----------
    description : str
        The script's docstring; its first paragraph is shown.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument(
        "--out", type=Path, default=OUT, help="folder for figure and numbers (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="run a form of a few seconds, a mere test",
    )
    return parser


@dataclass(frozen=True)
class Trained:
    """A generator, its pairs and its training.

    Attributes
    ----------
    generator : gtn_train.models.generator.Generator
    sources, labels : float32 [n, dim]
        The first round of pairs.
    learnability : float or None
        10-nearest-neighbour R² of its labels.
    rounds : int
        Number of rounds of pairs.
    labeling_seconds, training_seconds : float
        Fresh rounds are labeled beside training, so that the two overlap.
    history : list of dict
        One entry per epoch.
    """

    generator: Any
    sources: Rows
    labels: Rows
    learnability: float | None
    rounds: int
    labeling_seconds: float
    training_seconds: float
    history: list[dict[str, Any]]

    def sample(self, n: int, seed: int) -> Rows:
        """Generate n latents, float32 [n, dim], from sources that no training saw."""
        return sample_of(self.generator, n, seed)


def sample_of(generator: Any, n: int, seed: int) -> Rows:
    """Generate n latents, float32 [n, dim], from sources that no training saw."""
    return generate_latents(generator, draw_sources(n, generator.dim, derive(seed, "samples")))


def train_on(
    pairs: Pairs, network: Mapping[str, float], options: TrainingOptions, seed: int, **more: Any
) -> tuple[Any, TrainingResult]:
    """Train a generator on pairs, and leave no files.

    Parameters
    ----------
    pairs : Pairs
    network : dict
        "layers", "width", "batch_norm_layers" and, perhaps, "slope".
    options : TrainingOptions
    seed : int
        Random seed of the weights.
    more
        Further arguments of `gtn_train.training.train_generator`.

    Returns
    -------
    generator : gtn_train.models.generator.Generator
    result : TrainingResult
    """
    generator = make_model("generator", {"dim": pairs.dim, **network}, seed)
    with tempfile.TemporaryDirectory() as scratch:
        return generator, train_generator(generator, pairs, RunFolder(scratch), options, **more)


def train(
    latents: Rows,
    labeling: Labeling,
    network: Mapping[str, int],
    options: TrainingOptions,
    *,
    every: int = 0,
    seed: int = 0,
) -> Trained:
    """Train a generator on pairs of one labeling, as `gtn-train` does, and leave no files.

    Parameters
    ----------
    latents : [n, dim]
    labeling : Labeling
    network : dict
        "layers", "width" and "batch_norm_layers".
    options : TrainingOptions
    every : int
        Number of epochs in a round of pairs; 0: one round for all.
    seed : int
        Random seed of pairs and weights.
    """
    latents = np.ascontiguousarray(latents, np.float32)
    began = time.perf_counter()
    pairs: FixedPairs | FreshPairs
    if every:
        pairs = FreshPairs(latents, labeling, every=every, seed=seed)
    else:
        pairs = one_round(latents, labeling, derive(seed, "round", 0))
    seconds = time.perf_counter() - began
    with pairs:
        rows = pairs.epoch(1)
        first = rows.sources.numpy(), rows.labels.numpy()
        generator, result = train_on(pairs, network, options, seed)
        rounds = pairs.round_of(result.epochs) + 1
        if isinstance(pairs, FreshPairs):
            seconds = sum(pairs.stats(number)["seconds"] for number in range(rounds))
        learnability = pairs.stats(0)["learnability"]
    return Trained(generator, *first, learnability, rounds, seconds, result.seconds, result.history)


def network_of(preset: Preset) -> dict[str, Any]:
    """Layers, width, batch normalisation and slope of a preset's generator."""
    return preset.architecture


def quick(preset: Preset) -> Preset:
    """Let a preset's generator train for two epochs."""
    training = replace(preset.generator_training, max_epochs=2)
    return replace(preset, generator_training=training)


def training_of(
    preset: Preset, seed: int, max_epochs: int | None = None, **changes: Any
) -> TrainingOptions:
    """Training of a preset's generator, for a study: on one thread of the CPU, all epochs.

    One thread is fastest for networks this small, by far if other programs use the CPU too.
    """
    epochs = preset.generator_training.max_epochs if max_epochs is None else max_epochs
    return replace(
        preset.generator_training,
        seed=seed,
        max_epochs=epochs,
        checkpoint_every_epochs=epochs,
        patience=None,
        accelerator="cpu",
        threads=1,
        **changes,
    )


def circumstances() -> dict[str, Any]:
    """Describe the command, commit and machine of a study's numbers, in JSON types."""
    import torch

    from benchmarks.machine import output, processor, usable_cores

    return {
        "command": shlex.join(["python", *(_relative(word) for word in sys.argv)]),
        "commit": output("git", "rev-parse", "HEAD"),
        "changed_since_commit": bool(
            output("git", "status", "--porcelain", "--", "python", "examples")
        ),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {
            "processor": processor(),
            "cores": usable_cores(),
            "torch_threads": torch.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "versions": versions(),
    }


def write_numbers(path: Path, content: Mapping[str, Any]) -> None:
    """Write a .json, whole or not at all; NaN and infinity are refused.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    text = json.dumps(content, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")


def write_figure(path: Path, figure: Any) -> None:
    """Write a .png, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.write(path, figure)


def read(path: Path) -> dict[str, Any]:
    """Read what `write_numbers` wrote; empty if there is no such file."""
    return json.loads(path.read_bytes()) if path.exists() else {}


def finite(measures: Mapping[str, float]) -> dict[str, float]:
    """Round measures to six digits, as JSON has them."""
    return {name: float(f"{value:.6g}") for name, value in measures.items()}


def _relative(word: str) -> str:
    """Name files of this repository from its root, and others by their last part alone.

    The place of somebody's data is private, and useless elsewhere.
    """
    path = Path(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(ROOT)) if ROOT in path.parents else path.name

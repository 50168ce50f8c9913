"""Common parts of the studies of latents: data sets, their held-out rows, files of runs.

Latents are synthetic, of a file, or the codes of a finished run of images, whose samples are then
judged as images too. Not here: what each study trains (label_study.py, drift_study.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from own_features import own_features
from study import circumstances, finite, options_of, read, write_numbers

from gtn_train.data import open_vectors
from gtn_train.data.sets import NoTestSplit
from gtn_train.evaluation.extractors import Extractor, lite0
from gtn_train.evaluation.images import extract, frechet_distance
from gtn_train.models.autoencoder import decode_all, encode_all
from gtn_train.run.finished_run import FinishedRun
from gtn_train.seeds import derive, random_numbers

__all__ = ["DATA", "N_TEST", "Decoded", "Given", "Runs", "data_sets", "options_of_latents", "split"]

Rows = npt.NDArray[Any]

N_TEST = 10_000
N_IMAGES = {"lite0": 1_000, "own": 5_000}


def gaussian(dim: int) -> Callable[[int, int], Rows]:
    """Give a sampler of N(0, I)."""
    return lambda n, seed: random_numbers(seed, "gaussian", dim).standard_normal((n, dim))


def clustered(dim: int) -> Callable[[int, int], Rows]:
    """Give a sampler of ten clusters of different widths, the same for all seeds."""
    fixed = random_numbers(5, "clusters", dim)
    centres = 3 * fixed.standard_normal((10, dim)) + 2
    widths = np.exp(0.5 * fixed.standard_normal((10, dim)))

    def sample(n: int, seed: int) -> Rows:
        chance = random_numbers(seed, "clustered", dim)
        which = chance.integers(10, size=n)
        return centres[which] + widths[which] * chance.standard_normal((n, dim))

    return sample


DATA: dict[str, Callable[[int, int], Rows]] = {
    "gaussian-2": gaussian(2),
    "gaussian-5": gaussian(5),
    "clustered-2": clustered(2),
    "clustered-5": clustered(5),
    "clustered-32": clustered(32),
}


class Decoded:
    """Samples as images: Fréchet distances of decoded samples to test images of a run.

    Parameters
    ----------
    run : path
        A finished run of gtn-train, whose autoencoder decodes.
    features : {"lite0", "own"}
        EfficientNet-Lite0's features of a thousand images, or those of a classifier of the run's
        grey images (own_features.py) of five thousand. The classifier is kept in the run's folder.
    seed : int
        Random seed of the choice of test images.

    Attributes
    ----------
    latents : [n, dim]
        Codes of the run's images.
    test : [m, dim] or None
        Codes of its test images, if its set has any.
    """

    def __init__(self, run: Path, features: str, seed: int) -> None:
        finished = FinishedRun(run, accelerator="cpu")
        self.latents = np.asarray(finished.latents)
        self.test: Rows | None = None
        self._autoencoder = finished.autoencoder
        training = finished.images()
        try:
            real = finished.images("test").images
            self.test = encode_all(self._autoencoder, real)
        except NoTestSplit:
            real = training.images
        self._network: Extractor = lite0()
        if features == "own":
            self._network = own_features(training, run / "own_features.pt")
        self._n = N_IMAGES[features]
        chosen = random_numbers(seed, "test images").permutation(len(real))[: self._n]
        self._real = extract(real[np.sort(chosen)], self._network).features

    def distance(self, latents: Rows) -> dict[str, float]:
        """Fréchet distance of the first latents, decoded."""
        images = decode_all(self._autoencoder, np.asarray(latents[: self._n], np.float32))
        found = frechet_distance(extract(images, self._network).features, self._real)
        return finite({f"fd_{self._network.name.lower()}": found})


def split(data: str, n: int, seed: int, rows: Rows | None) -> tuple[Rows, Rows, Rows]:
    """Training rows, and two samples of fresh rows: one to compare with, one for the floor.

    Given rows are shuffled; a fifth of them, at most 2 x 10,000, are the fresh ones.
    """
    if rows is None:
        sample = DATA[data]
        return (
            sample(n, derive(seed, "train")),
            sample(N_TEST, derive(seed, "test")),
            sample(N_TEST, derive(seed, "floor")),
        )
    rows = rows[random_numbers(seed, "split").permutation(len(rows))]
    half = min(N_TEST, len(rows) // 10)
    return rows[2 * half :][:n], rows[:half], rows[half : 2 * half]


def options_of_latents(
    description: str | None, data: Collection[str], **defaults: Any
) -> argparse.ArgumentParser:
    """Give a parser with the options of the studies of latents.

    Parameters
    ----------
    description : str
        The script's docstring.
    data : collection of str
        Names of the synthetic sets.
    defaults
        Defaults of the options width, seeds and features.
    """
    parser = options_of(description)
    parser.add_argument("--data", choices=[*data], action="append", help="default: the study's")
    parser.add_argument("--latents", type=Path, help="a .npy of latents to study instead")
    parser.add_argument("--run", type=Path, help="a finished run of images to study instead")
    parser.add_argument(
        "--features",
        choices=[*N_IMAGES],
        help="network that judges images of --run: EfficientNet-Lite0, or a classifier of the "
        "run's own grey images (%(default)s)",
    )
    parser.add_argument(
        "--name", default="latents", help="name of either in the results (%(default)s)"
    )
    parser.add_argument("--n", type=int, default=10_000, help="training rows (%(default)s)")
    parser.add_argument("--width", type=int, help="units in each hidden layer (%(default)s)")
    parser.add_argument("--seeds", type=int, help="number of seeds, from --seed on (%(default)s)")
    parser.set_defaults(**defaults)
    return parser


def data_sets(asked: Any) -> list[str]:
    """Names of the data sets that are asked for."""
    return [asked.name] if asked.latents or asked.run else asked.data or [*DATA]


class Given:
    """Latents of --latents or --run; none for a synthetic set.

    Attributes
    ----------
    rows : [n, dim] or None
    decoded : Decoded or None
    """

    def __init__(self, asked: Any) -> None:
        self.decoded = Decoded(asked.run, asked.features, asked.seed) if asked.run else None
        self.rows: Rows | None = None
        if self.decoded is not None:
            self.rows = self.decoded.latents
        elif asked.latents:
            self.rows = open_vectors(asked.latents)

    def distance(self, latents: Rows) -> dict[str, float]:
        """Fréchet distance of decoded latents; nothing without a run."""
        return {} if self.decoded is None else self.decoded.distance(latents)


class Runs:
    """A study's runs on one data set, in one file that is written after each run.

    Parameters
    ----------
    study, data : str
    asked : Namespace
        With `out` and `n`.
    settings : dict
        Settings of all runs; a file of other settings is begun anew.
    kind : str
        Name of the entry that tells runs of a seed apart.
    """

    def __init__(self, study: str, data: str, asked: Any, settings: Any, kind: str) -> None:
        self._file = asked.out / f"{study}_{data.replace('-', '_')}_{asked.n}.json"
        self._content = {"study": study, "data": data, "settings": settings}
        self._kind = kind
        known = read(self._file)
        self._runs = known.get("runs", []) if known.get("settings") == settings else []

    def has(self, kind: str, seed: int) -> bool:
        """Return True if the file has this run."""
        return any((run[self._kind], run["seed"]) == (kind, seed) for run in self._runs)

    def add(self, kind: str, seed: int, **found: Any) -> None:
        """Write the file with one run more."""
        self._runs.append({self._kind: kind, "seed": seed, **found, **_commit()})
        content = {**self._content, "runs": self._runs}
        write_numbers(self._file, {**content, **circumstances()})
        print(self._content["data"], self._runs[-1], flush=True)


def _commit() -> dict[str, str]:
    return {"commit": circumstances()["commit"][:7]}

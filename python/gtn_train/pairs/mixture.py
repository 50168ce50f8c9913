"""The source distribution of Fig. 9: one normal distribution for each cluster of latents.

`gtn_label.match_mixture` clusters latents, draws sources around each cluster and matches within
clusters. A `Mixture` keeps that distribution, so that new samples come from the same one. NumPy
only. Not here: clustering and matching, and the generator (sampling/sample.py).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays.convert import as_labels, refuse_non_finite
from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_integer, check_seed
from gtn_label.io.atomic import atomic_file
from gtn_label.text import quoted

from ..files import brief
from ..seeds import random_numbers

__all__ = ["Mixture", "divisors"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """Clusters with their share of the latents, and each one's mean and standard deviation.

    Attributes
    ----------
    weights : float64 [k]
        Positive, sum 1.
    means : float64 [k, dim]
    stds : float64 [k, dim]
        Column by column, >= 0.

    Raises
    ------
    ValueError
        If a shape or value is not as above.

    Examples
    --------
    >>> two = Mixture(np.array([0.5, 0.5]), np.array([[-9.0], [9.0]]), np.ones((2, 1)))
    >>> sources, clusters = two.draw(4, seed=0)
    >>> bool(((sources[:, 0] > 0) == (clusters == 1)).all())
    True
    """

    weights: Floats
    means: Floats
    stds: Floats

    def __post_init__(self) -> None:
        for name in ("weights", "means", "stds"):
            object.__setattr__(self, name, np.array(getattr(self, name), np.float64))
        if self.weights.ndim != 1 or len(self.weights) == 0:
            raise ValueError(f"weights must be 1-D [k >= 1], got shape {self.weights.shape}")
        k = len(self.weights)
        for name in ("means", "stds"):
            shape = getattr(self, name).shape
            if len(shape) != 2 or shape[0] != k or shape[1] == 0 or shape != self.means.shape:
                raise ValueError(f"{name} must be 2-D [{k}, dim] as weights say, got shape {shape}")
        for name in ("weights", "means", "stds"):
            refuse_non_finite(getattr(self, name), name)
        if (self.weights <= 0).any() or abs(self.weights.sum() - 1) > 1e-6:
            raise ValueError(f"weights must be positive with sum 1, got {self.weights.tolist()}")
        if (self.stds < 0).any():
            raise ValueError(f"stds must be >= 0, got {self.stds.min():g}")

    @property
    def dim(self) -> int:
        """Length of a source."""
        return int(self.means.shape[1])

    @classmethod
    def of_clusters(cls, latents: Any, clusters: Any) -> Mixture:
        """Measure clusters as `match_mixture` does: float64, divided by the count.

        Parameters
        ----------
        latents : [m, dim]
        clusters : int [m]
            Cluster of each latent: 0, 1, ..., each with at least one.
        """
        rows, cluster_of = np.asarray(latents), np.asarray(clusters)
        counts = np.bincount(cluster_of)
        if len(cluster_of) != len(rows) or (counts == 0).any():
            raise ValueError(
                f"clusters must give each of {len(rows)} latents a cluster, none of them empty, "
                f"got {len(cluster_of)} with counts {counts.tolist()}"
            )
        members = [rows[cluster_of == c].astype(np.float64) for c in range(len(counts))]
        return cls(
            counts / counts.sum(),
            np.stack([m.mean(axis=0) for m in members]),
            np.stack([m.std(axis=0) for m in members]),
        )

    @classmethod
    def from_matching(cls, matching: Any) -> Mixture:
        """Recover the distribution of `match_mixture`'s sources.

        Parameters
        ----------
        matching : gtn_label.Matching
            From `match_mixture`, not loaded from a file: a file holds no groups.

        Raises
        ------
        ValueError
            If it has no groups, or left latents without a source.
        """
        if matching.groups is None:
            raise ValueError(
                "matching must have groups, as match_mixture gives them, and has none; a Matching "
                "loaded from a file has lost them: save the Mixture beside it"
            )
        clusters = np.asarray(matching.groups[1])
        assignment = np.asarray(matching.assignment)
        if len(assignment) != len(clusters):
            raise ValueError(
                "matching must give every latent a source, as match_mixture does, got "
                f"{len(assignment)} sources for {len(clusters)} latents"
            )
        labels = np.asarray(matching.pairs()[1])
        latents = np.empty_like(labels)
        latents[assignment] = labels  # their own order: the sums are then match_mixture's bits
        return cls.of_clusters(latents, clusters)

    def draw(
        self, n: int, seed: int, clusters: Any = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Draw sources: mean + std z, with the z that `match` draws from this seed.

        Parameters
        ----------
        n : int
            Number of sources, >= 1.
        seed : int
            Random seed of the sources and, through `derive`, of their clusters; >= 0.
        clusters : int array [n], optional
            Cluster of each source; by default random, by weight.

        Returns
        -------
        sources : float32 [n, dim]
        clusters : int64 [n]
        """
        n, seed = as_integer(n, "n", 1), check_seed(seed)
        if clusters is None:
            chance = random_numbers(seed, "mixture", "clusters")
            weights = self.weights / self.weights.sum()
            clusters = chance.choice(len(weights), size=n, p=weights).astype(np.int64)
        else:
            clusters = as_labels(clusters, "clusters", n, "sources")
            k = len(self.weights)
            if clusters.min() < 0 or clusters.max() >= k:
                raise ValueError(
                    f"clusters must be in 0 to {k - 1}, got {clusters.min()} to {clusters.max()}"
                )
        return self.around(clusters, draw_sources(n, self.dim, seed)), clusters

    def around(
        self, clusters: npt.NDArray[np.int64], z: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Place standard normal rows in clusters: mean + std z, in float64, rounded to float32.

        Parameters
        ----------
        clusters : int64 [n]
        z : float32 [n, dim]

        Returns
        -------
        float32 [n, dim]
        """
        sources = z.copy()
        for cluster, (mean, std) in enumerate(zip(self.means, self.stds, strict=True)):
            inside = clusters == cluster
            sources[inside] = (mean + std * z[inside]).astype(np.float32)
        return sources

    def frames(self, clusters: npt.NDArray[np.int64], rows: npt.NDArray[Any]) -> Floats:
        """Undo `around`: rows seen from their cluster's mean, in units of its deviations.

        Parameters
        ----------
        clusters : int64 [n]
        rows : [n, dim]

        Returns
        -------
        float64 [n, dim]
            0 where a deviation is 0.
        """
        seen = np.empty(rows.shape, np.float64)
        for cluster, (mean, std) in enumerate(zip(self.means, self.stds, strict=True)):
            inside = clusters == cluster
            seen[inside] = (rows[inside] - mean) / divisors(mean, std)
        return seen

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mixture as JSON, whole or not at all; numbers come back bit for bit."""
        content = {"weights": self.weights, "means": self.means, "stds": self.stds}
        text = json.dumps({name: value.tolist() for name, value in content.items()}, indent=1)
        with atomic_file(path) as file:
            file.write(text.encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Mixture:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no mixture; it names the file.
        """
        try:
            content = json.loads(Path(path).read_bytes())
            return cls(content["weights"], content["means"], content["stds"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{quoted(path)} is not a mixture: {brief(repr(error))}") from error


def divisors(mean: Floats, deviation: Floats) -> Floats:
    """Divisors of centred columns: their deviations, or infinity for constant columns.

    Rounding gives a constant column a deviation of some 1e-16 of its value, not of zero.
    """
    return np.where(deviation > 1e-12 * np.abs(mean), deviation, np.inf)

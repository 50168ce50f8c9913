"""DiffusionMaps: a diffusion map of each component of the data. Embedding: its file in a run.

Where the graph falls into components, the first coordinates of one map would only tell them apart,
and each component would be a point. So each has a map of its own. Not here: one map (diffusion.py),
the network that learns the coordinates (training.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.io.files import read_pairs, write_pairs
from gtn_label.text import quoted

from ..seeds import random_numbers
from .diffusion import DiffusionMap
from .embedding_options import EmbeddingOptions
from .graph import NeighbourGraph, as_float64

__all__ = ["DiffusionMaps", "Embedding", "Projection", "as_rows", "told_apart"]

MOST_COLUMNS = 2_000  # whose covariance is decomposed whole
MOST_ROWS = 20_000  # that principal components are found from
BLOCK = 4_096  # rows that are projected at a time
PRINCIPAL = 50

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DiffusionMaps:
    """Diffusion maps of the components of a graph.

    Attributes
    ----------
    graph : NeighbourGraph
        With all rows.
    maps : tuple of DiffusionMap
        One for each component, the largest first; one alone if they are embedded jointly.
    part : int64 [n]
        Map of each row.
    """

    graph: NeighbourGraph
    maps: tuple[DiffusionMap, ...]
    part: Indices

    @classmethod
    def fit(cls, rows: Any, options: EmbeddingOptions) -> DiffusionMaps:
        """Embed rows.

        Parameters
        ----------
        rows : [n, m]
        options : EmbeddingOptions
            `on`, `method` and `epochs` have no influence.

        Raises
        ------
        TypeError, ValueError, ImportError
            As `NeighbourGraph.build` and `DiffusionMap.fit`.

        Notes
        -----
        A component of fewer than dim + 2 rows has no map, and is merged into the nearest.
        """
        separate = options.components == "separate"
        least = options.dim + 2 if separate else 1
        graph = NeighbourGraph.build(rows, options.neighbours, least_component=least)
        whole = not separate or len(graph.sizes) == 1
        parts = (graph,) if whole else map(graph.of_component, range(len(graph.sizes)))
        how = {"density_power": options.density_power, "time": options.time}
        maps = tuple(DiffusionMap.fit(part, options.dim, **how) for part in parts)
        return cls(graph, maps, np.zeros(graph.n, np.int64) if whole else graph.component)

    @property
    def coordinates(self) -> Floats:
        """Coordinates of each row within its component: float64 [n, dim]."""
        found = np.empty((self.graph.n, len(self.eigenvalues[0])))
        for number, one in enumerate(self.maps):
            found[self.part == number] = one.coordinates
        return found

    @property
    def eigenvalues(self) -> Floats:
        """Eigenvalues of each map: float64 [maps, dim]."""
        return np.stack([one.eigenvalues for one in self.maps])

    def nystroem(self, rows: Any) -> tuple[Floats, Indices]:
        """Extend the coordinates to new rows.

        Parameters
        ----------
        rows : [k, m]

        Returns
        -------
        coordinates : float64 [k, dim]
        part : int64 [k]
            Map of each row: that of the nearest row of the graph.
        """
        from sklearn.neighbors import NearestNeighbors

        new = as_float64(rows, "rows")
        nearest = NearestNeighbors(n_neighbors=1).fit(self.graph.rows)
        part = self.part[nearest.kneighbors(new, return_distance=False)[:, 0]]
        found = np.empty((len(new), len(self.eigenvalues[0])))
        for number, one in enumerate(self.maps):
            if (inside := part == number).any():
                found[inside] = one.nystroem(new[inside])
        return found, part


@dataclass(frozen=True, eq=False)
class Projection:
    """The first principal components of rows, without a change of scale.

    Attributes
    ----------
    mean : float64 [m]
    basis : float64 [m, k]
        Orthonormal columns.
    """

    mean: Floats
    basis: Floats

    @classmethod
    def fit(cls, rows: Any, components: int = PRINCIPAL) -> Projection:
        """Find the components of rows, [n, m], or of images; all if there are fewer.

        They are those of at most 20,000 rows, which are chosen at random.
        """
        few = np.sort(random_numbers(0, "components").permutation(len(rows))[:MOST_ROWS])
        read = as_float64(as_rows(rows[few]), "rows")
        mean = read.mean(axis=0)
        centred = read - mean
        k = min(components, *read.shape)
        if read.shape[1] <= MOST_COLUMNS:
            basis = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :k]
        else:
            from sklearn.utils.extmath import randomized_svd

            basis = randomized_svd(centred, k, random_state=0)[2].T
        return cls(mean, np.ascontiguousarray(basis))

    def __call__(self, rows: Any) -> Floats:
        """Project rows, [n, m], or images, to [n, k]."""
        found = np.empty((len(rows), self.basis.shape[1]))
        for first in range(0, len(rows), BLOCK):
            block = slice(first, first + BLOCK)
            found[block] = (as_rows(rows[block]) - self.mean) @ self.basis
        return found


@dataclass(frozen=True, eq=False)
class Embedding:
    """The embedding of a run's data, as embedding.npz holds it.

    Attributes
    ----------
    coordinates : float32 [n, dim]
        Within each row's component.
    eigenvalues : float64 [maps, dim]
    component : int64 [n]
        Component of each row in the graph of neighbours.
    bandwidths : float32 [n]
        Distance of each row to its 8th neighbour.
    meta : dict
        JSON types: "separate", "merged", "r2" and options.
    """

    coordinates: npt.NDArray[np.float32]
    eigenvalues: Floats
    component: Indices
    bandwidths: npt.NDArray[np.float32]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def separate(self) -> bool:
        """True if each of several components has coordinates of its own."""
        return bool(self.meta.get("separate")) and len(self.eigenvalues) > 1

    @property
    def latents(self) -> npt.NDArray[np.float32]:
        """Coordinates after one column for each component, where these are separate."""
        if not self.separate:
            return self.coordinates
        dim = self.coordinates.shape[1]
        told = np.eye(len(self.eigenvalues), dtype=np.float32)[self.component] * told_apart(dim)
        return np.hstack([told, self.coordinates]).astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the embedding as .npz, whole or not at all."""
        names = ("coordinates", "eigenvalues", "component", "bandwidths")
        write_pairs(path, {name: getattr(self, name) for name in names}, self.meta)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Embedding:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged or holds no embedding.
        """
        content, meta = read_pairs(path, name="embedding")
        names = ("coordinates", "eigenvalues", "component", "bandwidths")
        if missing := [name for name in names if name not in content]:
            raise ValueError(f"{quoted(path)} must hold an embedding, and lacks {missing[0]}")
        coordinates, component = content["coordinates"], content["component"]
        if coordinates.ndim != 2 or component.shape != coordinates.shape[:1]:
            raise ValueError(
                f"{quoted(path)} must hold coordinates [n, dim] and the component of each row, and "
                f"holds {coordinates.shape} and {component.shape}"
            )
        convert.refuse_non_finite(coordinates, f"embedding {quoted(path)}")
        return cls(**{name: content[name] for name in names}, meta=meta)


def as_rows(rows: Any) -> npt.NDArray[Any]:
    """Rows as they are, images as rows of values in [-1, 1]."""
    flat = np.asarray(rows).reshape(len(rows), -1)
    return flat / np.float32(127.5) - 1 if flat.dtype == np.uint8 else flat


def told_apart(dim: int) -> float:
    """Value of the column that tells a row's component.

    Coordinates lie about the root of dim from their mean. Rows of two components are √2 times this
    value apart, twice as far as most of one component are.

    Parameters
    ----------
    dim : int
        Number of coordinates.

    Examples
    --------
    >>> told_apart(4)
    4.0
    """
    return 2.0 * float(np.sqrt(dim))

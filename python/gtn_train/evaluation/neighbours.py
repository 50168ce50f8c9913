"""Nearest training rows of samples and of held-out real rows: a test for copies.

Distances are Euclidean, of latents, pixel values or any features, found by scikit-learn block by
block: neither the matrix of distances nor a float copy of the training set is ever held whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..report import figures

__all__ = ["Memorisation", "memorisation", "nearest"]

BLOCK_VALUES = 1 << 24  # of float64 at a time: 128 MB


def nearest(
    queries: npt.NDArray[Any], training: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Find each query's nearest row.

    Parameters
    ----------
    queries, training : [n, ...] and [m, ...]
        Rows of one shape, integers or floats; flattened. A memory map is read block by block.

    Returns
    -------
    indices : int64 [n]
        Row of `training`; the first of equally near ones.
    distances : float64 [n]

    Raises
    ------
    ValueError
        If there are no rows, or their shapes differ.

    Examples
    --------
    >>> nearest(np.array([[1.0]]), np.array([[5.0], [2.0]]))[1].tolist()
    [1.0]
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    if len(queries) == 0 or len(training) == 0 or queries.shape[1:] != training.shape[1:]:
        raise ValueError(
            "queries and training must be rows of one shape, at least one each, got shapes "
            f"{queries.shape} and {training.shape}"
        )
    step = max(1, BLOCK_VALUES // max(1, int(np.prod(training.shape[1:]))))
    indices = np.zeros(len(queries), np.int64)
    distances = np.full(len(queries), np.inf)
    for block in range(0, len(training), step):
        rows = _flat(training[block : block + step])
        for begin in range(0, len(queries), step):
            some = slice(begin, begin + step)
            found, distance = pairwise_distances_argmin_min(_flat(queries[some]), rows)
            nearer = distance < distances[some]
            indices[some][nearer] = found[nearer] + block
            distances[some][nearer] = distance[nearer]
    return indices, distances


@dataclass(frozen=True)
class Memorisation:
    """Distances of samples and of held-out real rows to the training set.

    Attributes
    ----------
    indices : int64 [n]
        Training row nearest to each sample.
    distances : float64 [n]
        Distance to that row.
    held_out_distances : float64 [k]
        From each held-out real row to its nearest training row.
    """

    indices: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    held_out_distances: npt.NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """Figures for a table, JSON types.

        "median distance" of samples and of held-out rows and their "ratio"; "copies", the share
        of samples nearer to a training row than 99 % of held-out rows are: 0.01 would be what
        real rows have, much more means that training rows come out again.
        """
        threshold = float(np.quantile(self.held_out_distances, 0.01))
        generated = float(np.median(self.distances))
        held_out = float(np.median(self.held_out_distances))
        return {
            "n": len(self.distances),
            "held-out n": len(self.held_out_distances),
            "median distance": generated,
            "held-out median distance": held_out,
            "ratio": generated / held_out if held_out > 0 else float("nan"),
            "copies": float(np.mean(self.distances < threshold)),
        }

    def grid(
        self, generated: npt.NDArray[np.uint8], training: npt.NDArray[np.uint8], count: int = 10
    ) -> npt.NDArray[np.uint8]:
        """Show the samples that are nearest to a training image, above that image.

        Returns
        -------
        uint8 [3, height, width]
            Two rows of `count` images, the most suspicious first.
        """
        chosen = np.argsort(self.distances, kind="stable")[:count]
        pairs = np.concatenate([generated[chosen], training[self.indices[chosen]]])
        return figures.grid(pairs, columns=len(chosen))

    def histogram(self) -> Any:
        """Draw both sets of distances: a figure of matplotlib's."""
        return figures.histograms(
            {"samples": self.distances, "held-out real rows": self.held_out_distances},
            label="distance to the nearest training row",
        )


def memorisation(
    generated: npt.NDArray[Any], training: npt.NDArray[Any], held_out: npt.NDArray[Any]
) -> Memorisation:
    """Look for each sample in the training set, and for real rows that are not in it.

    Parameters
    ----------
    generated, training, held_out : [n, ...]
        As in `nearest`: latents [n, dim], images uint8 [n, c, h, w], or features [n, f].
    """
    indices, distances = nearest(generated, training)
    return Memorisation(indices, distances, nearest(held_out, training)[1])


def _flat(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(rows, np.float64).reshape(len(rows), -1)

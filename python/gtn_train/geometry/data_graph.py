"""A graph of rows with known positions, and shortest paths along it, where a descent can start.

Neighbours are those of the positions, so that a step of a path is a short step on the surface. An
edge is as long as the latents of its rows are apart. Not here: the descent (geodesic.py), the
choice of a run's rows (run_geodesics.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.checks import as_integer
from gtn_label.errors import ArgumentError

__all__ = ["DataGraph"]

NEIGHBOURS = 10
LEAST_EDGE = 1e-12  # equal rows are joined too: SciPy takes an edge of length 0 for none

Floats = npt.NDArray[np.float64]


class DataGraph:
    """The graph of the k nearest neighbours of rows.

    Parameters
    ----------
    positions : [n >= 2, dim]
        Position of each row: its source, or the latent itself.
    latents : [n, d]
        Latent of each row. Columns of both are divided by their deviations.
    neighbours : int
        k, >= 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> angle = np.linspace(0, 3, 40)[:, None]
    >>> arc = np.hstack([np.cos(angle), np.sin(angle)])
    >>> path = DataGraph(arc, arc, 2).paths(arc[:1], arc[-1:], arc[:1], arc[-1:])[0]
    >>> bool(np.abs(np.linalg.norm(path, axis=1) - 1).max() < 1e-9)  # along the arc
    True
    """

    def __init__(self, positions: Any, latents: Any, neighbours: int = NEIGHBOURS) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._positions, self._latents = _rows(positions, "positions"), _rows(latents, "latents")
        n = len(self._positions)
        if n != len(self._latents) or n < 2:
            raise ArgumentError(
                ("positions", "latents"),
                "must be as many, and two at least",
                f"{n} and {len(self._latents)}",
            )
        self._k = min(as_integer(neighbours, "neighbours", 1), n - 1)
        self._units = [_unit(rows) for rows in (self._positions, self._latents)]
        scaled = self._positions / self._units[0]
        self._search = NearestNeighbors(n_neighbors=self._k).fit(scaled)
        self._nearest = self._search.kneighbors(return_distance=False)

    def paths(self, left: Any, right: Any, left_latents: Any, right_latents: Any) -> list[Floats]:
        """Find the shortest path between each pair of ends.

        Parameters
        ----------
        left, right : [k, dim]
            Positions of the ends; each is joined to its nearest rows.
        left_latents, right_latents : [k, d]

        Returns
        -------
        list of k arrays float64 [m, dim]
            Both ends and the rows between them; the ends alone where no path joins them.
        """
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import dijkstra

        ends = np.concatenate([_rows(left, "left"), _rows(right, "right")])
        of_ends = np.concatenate([_rows(left_latents, "left"), _rows(right_latents, "right")])
        n, k = len(self._positions), len(ends) // 2
        joined = self._search.kneighbors(ends / self._units[0], return_distance=False)
        begin = np.repeat(np.arange(n + 2 * k), self._k)
        end = np.concatenate([self._nearest, joined]).ravel()
        latents = np.concatenate([self._latents, of_ends]) / self._units[1]
        lengths = np.linalg.norm(latents[begin] - latents[end], axis=1) + LEAST_EDGE
        graph = csr_matrix((lengths, (begin, end)), shape=(n + 2 * k, n + 2 * k))
        _, before = dijkstra(
            graph, directed=False, indices=np.arange(n, n + k), return_predecessors=True
        )
        places = np.concatenate([self._positions, ends])
        found = []
        for line in range(k):
            node, nodes = n + k + line, []
            while node >= 0:  # the left end has none before it
                nodes.append(node)
                node = before[line, node]
            if nodes[-1] != n + line:
                nodes = [n + k + line, n + line]
            found.append(places[nodes[::-1]])
        return found


def _rows(values: Any, name: str) -> Floats:
    rows = convert.as_rows(values, name).rows.astype(np.float64)
    convert.refuse_non_finite(rows, name)
    return rows


def _unit(rows: Floats) -> Floats:
    spread = rows.std(axis=0)
    return np.where(spread > 1e-12 * np.abs(rows.mean(axis=0)), spread, 1.0)

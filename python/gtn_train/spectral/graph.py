"""NeighbourGraph: the k nearest neighbours of rows as a weighted graph, and its components.

Weights are W_ij = exp(-|x_i - x_j|² / (s_i s_j)), where s_i is the distance of row i to its 8th
neighbour (Zelnik-Manor and Perona, Self-Tuning Spectral Clustering). No one bandwidth fits sparse
and dense places alike. A row is a neighbour of another if either counts the other among its k
nearest. Distances and weights are float64. Not here: eigenvectors (diffusion.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.checks import as_integer
from gtn_label.errors import ArgumentError

__all__ = ["NEIGHBOURS", "NeighbourGraph", "distances"]

NEIGHBOURS = 16
BANDWIDTH_NEIGHBOUR = 8
LEAST_WEIGHT = 1e-10  # lighter edges join nothing: an eigenvalue 1e-10 below 1 counts as 1
FAR = 20.0  # least exponent of a row that is far from all others
BLOCK_VALUES = 1 << 23  # of float64 at a time: 64 MB

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """A weighted graph of rows.

    Attributes
    ----------
    rows : float64 [n, m]
    weights : scipy.sparse.csr_matrix [n, n]
        Symmetric; 1 on the diagonal.
    bandwidths : float64 [n]
        s_i, the distance of each row to its 8th neighbour, or to the k-th if k is smaller.
    reach : float64 [n]
        Distance of each row to its k-th neighbour.
    component : int64 [n]
        Component of each row; the largest component is 0.
    neighbours : int
        k.
    merged : tuple of int
        Sizes of the components that `build` merged into others.

    Examples
    --------
    >>> rows = np.concatenate([np.arange(5.0), np.arange(50.0, 54.0)])[:, None]
    >>> NeighbourGraph.build(rows, 2).sizes.tolist()
    [5, 4]
    """

    rows: Floats
    weights: Any
    bandwidths: Floats
    reach: Floats
    component: Indices
    neighbours: int
    merged: tuple[int, ...] = ()

    @classmethod
    def build(
        cls, rows: Any, neighbours: int = NEIGHBOURS, *, least_component: int = 1
    ) -> NeighbourGraph:
        """Join each row with its nearest neighbours.

        Parameters
        ----------
        rows : [n, m]
            Rows of one scale: columns are not standardised. Constant columns have no effect.
        neighbours : int
            k, 1 <= k < n. A row is no neighbour of its own; a copy of it is.
        least_component : int
            Components of fewer rows are merged into the component of the nearest other row.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, a row holds NaN or infinity, or all rows are equal.
        ImportError
            If SciPy or scikit-learn is missing.
        """
        import_scipy()
        from sklearn.neighbors import NearestNeighbors

        rows = as_float64(rows, "rows")
        n, k = len(rows), as_integer(neighbours, "neighbours", 1)
        if k >= n:
            raise ArgumentError("neighbours", f"must be below the {n} rows", str(k))
        if (rows == rows[0]).all():
            raise ArgumentError("rows", "must have two distinct ones", f"{n} equal rows")
        nearest = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors(return_distance=False)
        begin = np.repeat(np.arange(n), k)
        apart = distances(rows, rows, begin, nearest.ravel()).reshape(n, k)
        order = np.argsort(apart, axis=1, kind="stable")  # the search's own are a little off
        nearest, apart = (np.take_along_axis(of, order, axis=1) for of in (nearest, apart))
        bandwidths = _above_zero(apart[:, min(BANDWIDTH_NEIGHBOUR, k) - 1], apart)
        exponents = apart**2 / (bandwidths[:, None] * bandwidths[nearest])
        graph = cls(
            rows,
            _symmetric(n, begin, nearest.ravel(), np.exp(-exponents).ravel()),
            bandwidths,
            apart[:, -1],
            np.zeros(n, np.int64),
            k,
        )
        return graph._merged(as_integer(least_component, "least_component", 1))

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def sizes(self) -> Indices:
        """Rows of each component, [components], in descending order."""
        return np.bincount(self.component)

    def of_component(self, number: int) -> NeighbourGraph:
        """Return the graph of one component's rows, in their order."""
        rows = np.flatnonzero(self.component == number)
        return replace(
            self,
            rows=self.rows[rows],
            weights=self.weights[rows][:, rows],
            bandwidths=self.bandwidths[rows],
            reach=self.reach[rows],
            component=np.zeros(len(rows), np.int64),
        )

    def weights_of(self, rows: Any) -> Any:
        """Compute the weights between new rows and the graph's: csr_matrix [k, n].

        A row of the graph has its own weights again, with itself too, unless it belonged to a
        component that was merged. A new row has its k + 1 nearest neighbours, as a row of the
        graph has itself and k others, and those that would count it among their k nearest. A row
        far from all others has weights relative to its heaviest.

        Parameters
        ----------
        rows : [k, m]

        Raises
        ------
        TypeError, ValueError
            If the rows are not like the graph's, or hold NaN or infinity.
        """
        from scipy.sparse import csr_matrix

        queries = as_float64(rows, "rows")
        if queries.shape[1] != self.rows.shape[1]:
            raise ArgumentError(
                "rows", f"must have the graph's {self.rows.shape[1]} columns", str(queries.shape)
            )
        norms = np.einsum("ij,ij->i", self.rows, self.rows)
        own = np.einsum("ij,ij->i", queries, queries)
        slack = 1e-12 * (norms.max() + own.max(initial=0.0))  # of the differences of squares below
        k = min(self.neighbours + 1, self.n)
        at = min(BANDWIDTH_NEIGHBOUR, self.neighbours, k - 1)
        parts = []
        step = max(1, BLOCK_VALUES // self.n)
        for first in range(0, len(queries), step):
            block = slice(first, first + step)
            squares = own[block, None] - 2 * (queries[block] @ self.rows.T) + norms
            kth = np.partition(squares, k - 1, axis=1)[:, k - 1 : k]
            near = np.maximum(kth, self.reach**2) * (1 + 1e-9) + slack
            begin, end = np.nonzero(squares <= near)
            apart = distances(queries[block], self.rows, begin, end)
            parts.append(self._weigh(begin, end, apart, len(squares), k, at, first))
        begin, end, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        return csr_matrix((weights, (begin, end)), shape=(len(queries), self.n))

    def _weigh(
        self, begin: Indices, end: Indices, apart: Floats, rows: int, k: int, at: int, first: int
    ) -> tuple[Indices, Indices, Floats]:
        """Choose among candidates, sorted by their queries, and weigh those chosen."""
        order = np.lexsort((end, apart, begin))
        begin, end, apart = begin[order], end[order], apart[order]
        starts = np.searchsorted(begin, np.arange(rows))
        rank = np.arange(len(begin)) - starts[begin]
        bandwidths = _above_zero(apart[starts + at], self.bandwidths)
        chosen = (rank < k) | (apart <= self.reach[end])
        begin, end, apart = begin[chosen], end[chosen], apart[chosen]
        exponents = apart**2 / (bandwidths[begin] * self.bandwidths[end])
        least = np.full(rows, np.inf)
        np.minimum.at(least, begin, exponents)
        exponents -= np.where(least > FAR, least, 0.0)[begin]
        return begin + first, end, np.exp(-exponents)

    def _merged(self, least: int) -> NeighbourGraph:
        """Number the components, and merge the small ones into their neighbours."""
        from scipy.sparse.csgraph import connected_components

        graph, merged = self, list[int]()
        while True:
            _, found = connected_components(graph.weights, directed=False)
            sizes = np.bincount(found)
            small = int(sizes.argmin())
            if len(sizes) == 1 or sizes[small] >= least:
                break
            merged.append(int(sizes[small]))
            graph = graph._joined(found, small)
        first = np.unique(found, return_index=True)[1]
        order = np.lexsort((first, -sizes))  # equal sizes: by their first rows
        number = np.empty(len(sizes), np.int64)
        number[order] = np.arange(len(sizes))
        return replace(graph, component=number[found], merged=tuple(merged))

    def _joined(self, found: Indices, small: int) -> NeighbourGraph:
        """Join each row of a small component with rows of the nearest other one.

        The scale is the row's own distance to them. A bandwidth of the others would leave next to
        no weight, and the few rows an eigenvector of their own.
        """
        from sklearn.neighbors import NearestNeighbors

        few, others = np.flatnonzero(found == small), np.flatnonzero(found != small)
        search = NearestNeighbors(n_neighbors=1).fit(self.rows[others])
        apart, nearest = search.kneighbors(self.rows[few])
        others = np.flatnonzero(found == found[others[nearest[apart.argmin(), 0]]])
        k = min(self.neighbours, len(others))
        search = NearestNeighbors(n_neighbors=k).fit(self.rows[others])
        end = others[search.kneighbors(self.rows[few], return_distance=False)].ravel()
        begin = np.repeat(few, k)
        apart = distances(self.rows, self.rows, begin, end).reshape(-1, k)
        kth = np.sort(apart, axis=1)[:, min(BANDWIDTH_NEIGHBOUR, k) - 1]
        scale = _above_zero(kth, self.bandwidths)
        weights = np.exp(-((apart / scale[:, None]) ** 2)).ravel()
        joined = _symmetric(self.n, begin, end, weights)
        return replace(self, weights=self.weights.maximum(joined).tocsr())


def distances(left: Floats, right: Floats, begin: Indices, end: Indices) -> Floats:
    """Compute |left[begin] - right[end]| by differences, float64 [k], a block at a time."""
    found = np.empty(len(begin))
    step = max(1, BLOCK_VALUES // max(1, left.shape[1]))
    for first in range(0, len(begin), step):
        block = slice(first, first + step)
        difference = left[begin[block]] - right[end[block]]
        found[block] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return found


def as_float64(rows: Any, name: str) -> Floats:
    """Read rows, [n, m], as float64; refuse NaN and infinity."""
    read: Floats = convert.as_rows(rows, name).rows.astype(np.float64)
    convert.refuse_non_finite(read, name)
    return read


def import_scipy() -> None:
    """Fail early, and name the extra, where SciPy or scikit-learn is missing.

    Raises
    ------
    ImportError
    """
    for package, shown in (("scipy", "SciPy"), ("sklearn", "scikit-learn")):
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"an embedding needs {shown}, and it is not installed: pip install "
                "'gtn-label[train]'",
                name=package,
            ) from error


def _above_zero(values: Floats, of: Floats) -> Floats:
    """Raise zeros, which copies of rows lead to, to the least positive value of an array."""
    positive = of[of > 0]
    if not len(positive):
        k = of.shape[1]
        raise ArgumentError(
            "neighbours",
            "must be more than the copies that every row has, so that some neighbour is another",
            str(k),
            "remove the copies, or take more neighbours",
        )
    raised: Floats = np.maximum(values, positive.min())
    return raised


def _symmetric(n: int, begin: Indices, end: Indices, weights: Floats) -> Any:
    """Make max(W, Wᵀ), with 1 on the diagonal, without edges that weigh next to nothing."""
    from scipy.sparse import csr_matrix, identity

    heavy = weights >= LEAST_WEIGHT
    directed = csr_matrix((weights[heavy], (begin[heavy], end[heavy])), shape=(n, n))
    return directed.maximum(directed.T).maximum(identity(n, format="csr")).tocsr()

"""DiffusionMap: eigenvectors of a random walk on a graph, as coordinates of its rows.

Coifman and Lafon, Diffusion Maps. With weights W of a graph: q = W1; W <- W / (q_i q_j)^a; d = W1;
P = W / d, the walk. Its eigenvectors are f = D^-½ v, with v those of the symmetric D^-½ W D^-½, in
float64. Not here: the graph (graph.py), an encoder for new rows (network.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.checks import as_integer, as_number
from gtn_label.errors import ArgumentError

from ..seeds import random_numbers
from .graph import NeighbourGraph

__all__ = ["DiffusionMap"]

DENSE = 128  # rows up to which all eigenvectors are computed
RESTARTS = 60  # of the iteration, which takes thousands where eigenvalues crowd below 1
SHIFT = 1e-8  # above 1, the largest eigenvalue
LEAST_EIGENVALUE = 1e-6  # the extension to new rows divides by it

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DiffusionMap:
    """Diffusion coordinates of a graph's rows.

    Attributes
    ----------
    graph : NeighbourGraph
    functions : float64 [n, dim]
        f, eigenvectors of the walk without the constant one, by descending eigenvalue. The mean
        square of each, weighed by the walk's stationary law, is 1, and its largest entry in
        absolute value is positive.
    eigenvalues : float64 [dim]
    density_power : float
        a; the density of the rows has no influence at 1, in the limit of many rows.
    time : float
        t: Euclidean distances of coordinates are diffusion distances after t steps of the walk.
    """

    graph: NeighbourGraph
    functions: Floats
    eigenvalues: Floats
    density_power: float = 1.0
    time: float = 1.0

    @classmethod
    def fit(
        cls, graph: NeighbourGraph, dim: int, *, density_power: float = 1.0, time: float = 1.0
    ) -> DiffusionMap:
        """Compute the eigenvectors of a graph's walk.

        Parameters
        ----------
        graph : NeighbourGraph
            With several components, coordinates tell the components apart at first, and the rows
            within them only then: see `of_component`.
        dim : int
            Number of coordinates, 1 <= dim <= n - 2.
        density_power : float
            a, >= 0.
        time : float
            t, >= 0.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid.
        """
        dim = as_integer(dim, "dim", 1)
        if dim > graph.n - 2:
            raise ArgumentError("dim", f"must be at most the {graph.n} rows less 2", str(dim))
        power = as_number(density_power, "density_power", 0.0)
        time = as_number(time, "time", 0.0)
        weights = graph.weights.tocsr()
        scaled = _scaled(weights, _degrees(weights) ** -power)
        degrees = _degrees(scaled)
        if not (np.isfinite(scaled.data).all() and (degrees > 0).all()):
            raise ArgumentError(
                "density_power", "must leave weights that float64 can hold", f"{power:g}"
            )
        values, vectors = _largest(_scaled(scaled, degrees**-0.5), dim + 1)
        values, vectors = values[1:], vectors[:, 1:]
        if not (np.abs(values) ** time > 0).all():
            raise ArgumentError("time", "must leave coordinates that are not 0", f"{time:g}")
        functions = vectors * np.sqrt(degrees.sum() / degrees)[:, None]
        top = np.take_along_axis(functions, np.abs(functions).argmax(axis=0)[None], axis=0)
        return cls(graph, functions * np.sign(top), values, power, time)

    @property
    def coordinates(self) -> Floats:
        """Coordinates psi = lambda^t f of each row: float64 [n, dim]."""
        return self._at_time(self.functions)

    def nystroem(self, rows: Any) -> Floats:
        """Extend the coordinates to new rows: f(x) = sum_j p(x, x_j) f_j / lambda.

        Parameters
        ----------
        rows : [k, m]
            Rows like those of the graph. The graph's own have their coordinates again.

        Returns
        -------
        float64 [k, dim]

        Raises
        ------
        TypeError, ValueError
            If the rows are not like the graph's, or an eigenvalue is too small to divide by.
        """
        if (small := np.abs(self.eigenvalues).min()) < LEAST_EIGENVALUE:
            raise ArgumentError(
                "dim",
                f"must leave out eigenvalues below {LEAST_EIGENVALUE:g} for new rows",
                f"one of {small:.2g}",
            )
        q = _degrees(self.graph.weights) ** -self.density_power
        walk = self.graph.weights_of(rows).multiply(q[None, :]).tocsr()
        walk = walk.multiply(1 / _degrees(walk)[:, None]).tocsr()  # the row's own q cancels
        return self._at_time(walk @ self.functions / self.eigenvalues)

    def _at_time(self, functions: Floats) -> Floats:
        scaled: Floats = functions * np.abs(self.eigenvalues) ** self.time  # any power of one < 0
        return scaled


def _degrees(weights: Any) -> Floats:
    sums: Floats = np.asarray(weights.sum(axis=1)).ravel()
    return sums


def _scaled(weights: Any, by: Floats) -> Any:
    """Multiply W_ij by b_i b_j."""
    return weights.multiply(by[:, None]).multiply(by[None, :]).tocsr()


def _largest(matrix: Any, k: int) -> tuple[Floats, Floats]:
    """Compute the k largest eigenvalues of a symmetric matrix, descending, and their vectors.

    The start of the iteration is fixed: the same matrix has the same vectors. Ones would be an
    eigenvector themselves where all rows have as many neighbours, and leave nothing to iterate on.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    n = matrix.shape[0]
    if n <= max(DENSE, 3 * k):
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        start = random_numbers(0, "eigenvectors").standard_normal(n)
        size = min(n, max(4 * k, 40))
        try:
            values, vectors = eigsh(
                matrix, k, which="LA", v0=start, tol=0, ncv=size, maxiter=RESTARTS
            )
        except ArpackNoConvergence:
            values, vectors = eigsh(
                matrix, k, sigma=1 + SHIFT, v0=start, tol=0, ncv=size, OPinv=_inverse(matrix)
            )
    order = np.argsort(-values, kind="stable")[:k]
    return values[order], vectors[:, order]


def _inverse(matrix: Any) -> Any:
    """Factorise the matrix less 1 + SHIFT, whose largest inverse eigenvalues lie far apart.

    Eigenvalues crowd below 1 where the data have few dimensions. Factors are then sparse too.
    """
    from scipy.sparse import identity
    from scipy.sparse.linalg import LinearOperator, splu

    shifted = (matrix - (1 + SHIFT) * identity(matrix.shape[0])).tocsc()
    factors = splu(
        shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    return LinearOperator(matrix.shape, matvec=factors.solve, dtype=matrix.dtype)

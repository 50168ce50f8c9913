"""Exact optimal transport by lapx: Jonker and Volgenant's algorithm on a dense matrix.

The solver of lapx that was fastest on these matrices, in float64, so that its answer is the
optimum and not merely close. The matrix is made inside the timed run. One thread.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs, squared_distances


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Solve the whole assignment problem."""
    lap: Any = importlib.import_module("lap")
    pairs = lap.lapjvsa(
        squared_distances(sources, latents), return_cost=False, prefer_float32=False
    )
    assignment = np.full(len(sources), -1, dtype=np.int64)
    assignment[pairs[:, 0]] = pairs[:, 1]
    return Answer(assignment, note="one thread")


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Between n² and n³: 0.15 s at 2,000 rows, 1 s at 4,000. Two matrices are held."""
    return Cost((n / 4_000) ** 2.7, 16.0 * n * n)


def missing() -> str:
    """SciPy makes the matrix."""
    return needs("lap", "lapx")() or needs("scipy", "scipy")()


PEERS = (
    Peer(
        name="lapx",
        title="lapx lapjvsa",
        kind="optimal",
        match=match,
        what="exact optimal transport (squared distance) on a dense matrix",
        advice="shortest pairs there are, faster than SciPy; good to ten thousand rows or so",
        missing=missing,
        cost=cost,
    ),
)

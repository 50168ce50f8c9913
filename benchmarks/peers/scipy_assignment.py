"""Exact optimal transport between equal numbers of points: scipy.optimize.linear_sum_assignment.

The pairing of least mean squared distance, on a dense float64 matrix of all squared distances,
which is made inside the timed run. One thread: SciPy's solver has no other form.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs, squared_distances


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Solve the whole assignment problem."""
    optimize: Any = importlib.import_module("scipy.optimize")
    _, columns = optimize.linear_sum_assignment(squared_distances(sources, latents))
    return Answer(np.asarray(columns, dtype=np.int64), note="one thread")


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Between n² and n³: 0.7 s at 2,000 rows, 4.4 s at 4,000. The matrix is most of the memory."""
    return Cost(4.4 * (n / 4_000) ** 2.7, 8.0 * n * n)


PEERS = (
    Peer(
        name="scipy_assignment",
        title="scipy linear_sum_assignment",
        kind="optimal",
        match=match,
        what="exact optimal transport (squared distance) on a dense matrix",
        advice="shortest pairs there are; good to some thousand rows",
        missing=needs("scipy", "scipy"),
        cost=cost,
    ),
)

"""Exact optimal transport by OR-Tools: SimpleLinearSumAssignment on all edges.

Cost-scaling push-relabel on integers. Squared distances are rounded to 10⁻⁷ of their mean, so the
answer is the optimum up to that. All edges are made inside the timed run. One thread.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs, squared_distances

STEPS = 1e7  # integers from 0 to the mean squared distance


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Solve the whole assignment problem."""
    package: Any = importlib.import_module("ortools.graph.python.linear_sum_assignment")
    n = len(sources)
    distances = squared_distances(sources, latents)
    costs = np.rint(distances * (STEPS / distances.mean())).astype(np.int64).ravel()
    del distances
    solver = package.SimpleLinearSumAssignment()
    nodes = np.arange(n, dtype=np.int32)
    solver.add_arcs_with_cost(np.repeat(nodes, n), np.tile(nodes, n), costs)
    del costs
    if solver.solve() != solver.OPTIMAL:
        raise RuntimeError("OR-Tools found no optimum")
    pairs = [solver.right_mate(source) for source in range(n)]
    return Answer(np.array(pairs, dtype=np.int64), note="one thread")


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Between n² and n³, as the other exact solvers. Arcs are held several times."""
    return Cost(4 * (n / 3_000) ** 2.5, 64.0 * n * n)


PEERS = (
    Peer(
        name="ortools",
        title="OR-Tools SimpleLinearSumAssignment",
        kind="optimal",
        match=match,
        what="exact optimal transport (squared distance) on all edges, cost-scaling push-relabel",
        advice="where few edges are possible; on a sparse graph nothing is faster",
        missing=needs("ortools", "ortools", "transport"),
        cost=cost,
    ),
)

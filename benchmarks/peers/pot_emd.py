"""Exact optimal transport by POT's network simplex, ot.emd, with equal weights.

Its plan between equal numbers of equal weights is a permutation; each source takes the latent that
its row of the plan points at. The matrix is made inside the timed run. One thread.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs, squared_distances

NO_OTHER_BACKENDS = {  # POT would import these if they are installed, which takes seconds
    f"POT_BACKEND_DISABLE_{name}": "1" for name in ("PYTORCH", "JAX", "TENSORFLOW", "CUPY")
}
MOST_PIVOTS = 1_000_000_000  # the default, 100,000, ends early from some thousand rows on


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Solve the whole problem."""
    ot: Any = importlib.import_module("ot")
    weights = np.full(len(sources), 1 / len(sources))
    plan = ot.emd(weights, weights, squared_distances(sources, latents), numItermax=MOST_PIVOTS)
    return Answer(np.asarray(plan.argmax(axis=1), dtype=np.int64), note="one thread")


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Between n² and n³: 0.9 s at 2,000 rows, 5 s at 4,000. Costs, plan and arcs of the graph."""
    return Cost(5 * (n / 4_000) ** 2.7, 48.0 * n * n)


PEERS = (
    Peer(
        name="pot_emd",
        title="POT emd",
        kind="optimal",
        match=match,
        what="exact optimal transport (squared distance) by network simplex",
        advice="when weights are not equal, or a plan is wanted and not a pairing",
        missing=needs("ot", "POT"),
        cost=cost,
        environment=lambda: dict(NO_OTHER_BACKENDS),
    ),
)

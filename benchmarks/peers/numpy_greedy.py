"""The same greedy in NumPy with blocks of sources: what a careful user would write in an hour.

One float32 matrix product a block with the latents still free; inside the block each source, in
order, takes its argmax, and the column it took is closed for the sources after it. Taken latents
are dropped after every block. NumPy's BLAS runs on the same threads as gtn_label; argmax runs on
one.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, norm_order, unit_rows

BLOCK = 256  # 256 x 50,000 float32 scores are 51 MB; larger blocks were slower


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Run the whole; BLAS has its threads from the environment."""
    ranked = norm_order(latents)
    units = unit_rows(latents)[ranked]  # equal scores go to the lower rank, as argmax does
    order = norm_order(sources)
    narrow = sources.astype(np.float32, copy=False)[order]
    assignment = np.full(len(sources), -1, dtype=np.int64)
    for start in range(0, len(order), BLOCK):
        block = narrow[start : start + BLOCK]
        scores = block @ units.T  # [block, free]
        taken = np.empty(len(block), dtype=np.intp)
        for row in range(len(block)):
            column = int(scores[row].argmax())
            scores[row + 1 :, column] = -np.inf
            taken[row] = column
        assignment[order[start : start + len(block)]] = ranked[taken]
        keep = np.ones(len(units), dtype=bool)
        keep[taken] = False
        units, ranked = units[keep], ranked[keep]
    return Answer(assignment)


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Matrix products and argmax over n²/2 scores; a block of scores and float64 rows."""
    return Cost(n * n * (dim / 1.5e11 + 0.5e-9), 4 * BLOCK * n + 32 * n * dim)


PEERS = (
    Peer(
        name="numpy_greedy",
        title="greedy over NumPy blocks",
        kind="greedy",
        match=match,
        what="Algorithm 1 by blocks of float32 matrix products, taken latents dropped",
        advice="thirty lines that need nothing but NumPy; good for a few ten thousand rows",
        cost=cost,
    ),
)

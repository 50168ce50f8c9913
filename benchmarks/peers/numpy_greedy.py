"""The same greedy in NumPy with blocks of sources: what a careful user would write in an hour.

One float32 matrix product a block with the latents still free; inside the block each source, in
order, takes its argmax, and the column it took is closed for the sources after it. Taken latents
are dropped after every block. NumPy's BLAS runs on the same threads as gtn_label; argmax runs on
one.
"""

from __future__ import annotations

import numpy as np

from benchmarks.answer import Answer, Rows, norm_order, unit_rows

NAME = "blocks in NumPy"
BLOCK = 256  # 256 x 50,000 float32 scores are 51 MB; larger blocks were slower


def missing() -> str:
    """NumPy is always there."""
    return ""


def match(latents: Rows, sources: Rows, threads: int, limit: int) -> Answer:
    """Whole run; ``limit`` is ignored."""
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
    return Answer(assignment, len(sources))

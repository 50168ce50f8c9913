"""The algorithm of the GTN paper's authors, written plainly: one source at a time.

For every source, in the order of norms: one matrix-vector product with all latents, those already
taken masked, and an argmax. Kinder than the authors' own code, which computes the latents' norms
again for every source and copies all remaining latents after every choice: here the unit latents
are made once and nothing is copied. Scores are float32, by NumPy's BLAS on the same threads.

A step costs the same whether few or many latents are taken, so where the whole would take too
long the loop over the first sources stands for it: its seconds times n / visited, plus the
preparation once.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, norm_order, unit_rows

PART = 2_000  # sources that stand for the whole


def _whole_seconds(n: int, dim: int) -> float:
    return n * n * (dim + 2) / 4e9  # 40 s at 50,000 x 100, bound by memory


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Visit all sources if that fits into the budget's seconds, else the first ``PART``."""
    units = unit_rows(latents)  # [m, dim]
    narrow = sources.astype(np.float32, copy=False)
    order = norm_order(sources)
    visited = order if _whole_seconds(*latents.shape) <= budget.seconds else order[:PART]
    mask = np.zeros(len(latents), dtype=np.float32)  # -inf where taken
    assignment = np.full(len(sources), -1, dtype=np.int64)
    scores = np.empty(len(latents), dtype=np.float32)
    start = time.perf_counter()
    for source in visited:
        np.dot(units, narrow[source], out=scores)
        scores += mask
        latent = int(scores.argmax())
        assignment[source] = latent
        mask[latent] = -np.inf
    seconds = time.perf_counter() - start
    whole = len(visited) == len(sources)
    note = "" if whole else f"estimated from {len(visited):,} of {len(sources):,} sources"
    return Answer(assignment, loop_seconds=seconds, note=note)


def cost(n: int, dim: int, seconds: float) -> Cost:
    """All of it, or a part where all is too much."""
    whole = _whole_seconds(n, dim)
    return Cost(whole if whole <= seconds else whole * PART / n, 24 * n * dim)


PEERS = (
    Peer(
        name="authors_loop",
        title="the authors' loop in NumPy",
        kind="greedy",
        match=match,
        what="Algorithm 1 as the paper's authors run it: one source at a time, float32",
        advice="ten lines; good for a few thousand rows",
        cost=cost,
    ),
)

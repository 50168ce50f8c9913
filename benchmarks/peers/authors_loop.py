"""The algorithm of the GTN paper's authors, written plainly: one source at a time.

For every source, in the order of norms: one matrix-vector product with all latents, those already
taken masked, and an argmax. Kinder than the authors' own code, which computes the latents' norms
again for every source and copies all remaining latents after every choice: here the unit latents
are made once and nothing is copied. Scores are float32, by NumPy's BLAS on the same threads.

A step costs the same whether few or many latents are taken, so the loop over the first ``limit``
sources can stand for the whole: its seconds times n / limit, plus the preparation once.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.answer import Answer, Rows, norm_order, unit_rows

NAME = "authors' loop (NumPy)"


def missing() -> str:
    """NumPy is always there."""
    return ""


def match(latents: Rows, sources: Rows, threads: int, limit: int) -> Answer:
    """Visit the first ``limit`` sources, or all of them if it is 0."""
    units = unit_rows(latents)  # [m, dim]
    narrow = sources.astype(np.float32, copy=False)
    order = norm_order(sources)
    visited = order[:limit] if limit else order
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
    return Answer(assignment, len(visited), loop_seconds=seconds, note=note)

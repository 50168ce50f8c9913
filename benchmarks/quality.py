"""Measures an answer: one-to-one, share equal to the exact one, and the figures of its pairs.

Correlation and learnability come from the code that the gtn-label command uses. Distances and
cosines are computed here, in float64 and in blocks. Not here: the decision that an answer passes
(judge.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import internals
from benchmarks.peer import Assignment, Rows, norm_order

BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Quality:
    """Figures of one assignment; None where it gives none, as for a part of the sources."""

    one_to_one: bool
    visited: int  # sources with a latent
    identical: float  # share of them with the latent of the exact answer
    mean_cosine: float
    last_decile_cosine: float | None = None  # mean over the last tenth of sources, by norm
    mean_squared_distance: float | None = None
    norm_correlation: float | None = None  # Spearman, source norms and label norms
    learnability: float | None = None  # 10-NN R² of labels on sources, over a sample


def pair_figures(
    latents: Rows, sources: Rows, assignment: Assignment, rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], float]:
    """Cosine of each pair, and the mean squared distance, over the sources ``rows``."""
    cosine = np.empty(len(rows))
    total = 0.0
    step = max(1, BLOCK_ELEMENTS // sources.shape[1])
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        left = sources[block].astype(np.float64)
        right = latents[assignment[block]].astype(np.float64)
        # Scaled by the largest element: squares of data at scale 1e-20 or 1e15 stay in range.
        scale = np.abs(right).max() or 1.0
        scaled = right / scale
        dots = np.einsum("ij,ij->i", left, scaled)
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(scaled, axis=1)
        cosine[start : start + step] = dots / norms
        total += float(np.square(left - right).sum())
    return cosine, total / len(rows)


def measure(
    latents: Rows, sources: Rows, assignment: Assignment, exact: Assignment, whole: bool = True
) -> Quality:
    """Measure an assignment; ``exact`` is the answer of the contract.

    Figures of all pairs together are left out if not ``whole``, or if some sources have no latent.

    Raises
    ------
    ValueError
        An index is out of range.
    """
    if assignment.shape != (len(sources),):
        raise ValueError(f"{assignment.shape} is not one latent a source")
    if assignment.min() < -1 or assignment.max() >= len(latents):
        raise ValueError("an index is out of range")
    visited = np.flatnonzero(assignment >= 0)
    if not len(visited):
        raise ValueError("no source has a latent")
    one_to_one = len(np.unique(assignment[visited])) == len(visited)
    identical = float(np.mean(assignment[visited] == exact[visited]))
    cosine, distance = pair_figures(latents, sources, assignment, visited)
    if not whole or len(visited) < len(sources):
        return Quality(one_to_one, len(visited), identical, float(cosine.mean()))
    last = norm_order(sources)[-len(sources) // 10 :]
    sample = internals.sample_rows(len(sources), sources.shape[1])
    return Quality(
        one_to_one,
        len(visited),
        identical,
        float(cosine.mean()),
        float(cosine[last].mean()),
        distance,
        internals.spearman(internals.norms(sources), internals.norms(latents, assignment)),
        internals.learnability(sources[sample], latents[assignment[sample]]),
    )

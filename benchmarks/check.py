"""Checks that come before any timing.

``check_exact`` looks at an assignment without running the engine: it is one-to-one, and a sample
of its choices is the best among the latents still free, in float64. ``compare`` tells how far a
peer's float32 answer is from it. The project's tests hold the engine to its oracle bit for bit;
this is the benchmark's own guard, at sizes where the oracle takes too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.answer import Answer, Rows, norm_order

# Sums here run in another order than the contract's: scores differ by rounding, never by more.
ROUNDING = 1e-12


class WrongAnswer(AssertionError):
    """An assignment failed its check, so its time means nothing."""


@dataclass(frozen=True)
class Agreement:
    """How a peer's answer compares with the exact one, over the sources it visited."""

    equal: float  # share of sources with the same latent
    mean_cosine: float


def mean_cosine(latents: Rows, sources: Rows, assignment: NDArray[np.int64]) -> float:
    """Mean cosine of the pairs whose source was visited."""
    visited = np.flatnonzero(assignment >= 0)
    left = sources[visited].astype(np.float64, copy=False)
    right = latents[assignment[visited]].astype(np.float64, copy=False)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.mean(np.einsum("ij,ij->i", left, right) / norms))


def check_exact(latents: Rows, sources: Rows, answer: Answer, sample: int) -> None:
    """Check ``sample`` choices, half of them the first, half spread over the rest.

    Raises
    ------
    WrongAnswer
        A latent is taken twice, or a choice is not the best one free.
    """
    assignment = answer.assignment
    if assignment.min() < 0 or assignment.max() >= len(latents):
        raise WrongAnswer("an index is out of range")
    if len(np.unique(assignment)) != len(sources):
        raise WrongAnswer("a latent is taken twice")
    order = norm_order(sources)
    place = np.full(len(latents), len(sources))  # when each latent is taken; never: at the end
    place[assignment[order]] = np.arange(len(sources))
    wide = latents.astype(np.float64, copy=False)
    norms = np.linalg.norm(wide, axis=1)
    half = min(sample // 2, len(order))
    positions = np.unique(
        np.concatenate([np.arange(half), np.linspace(0, len(order) - 1, half).astype(np.intp)])
    )
    for position in positions:
        source = sources[order[position]].astype(np.float64)
        scores = wide @ source / norms
        best = scores[place >= position].max()
        chosen = scores[assignment[order[position]]]
        if chosen < best - ROUNDING * np.linalg.norm(source):
            raise WrongAnswer(f"visit {position} chose {chosen!r}, {best!r} was free")


def compare(latents: Rows, sources: Rows, answer: Answer, exact: Answer) -> Agreement:
    """Compare a peer's answer with the exact one.

    Raises
    ------
    WrongAnswer
        A latent is taken twice, or the mean cosine is off by more than 0.001: float32 rounding
        swaps near-ties and what follows from them, it does not change the quality of the pairs.
    """
    visited = np.flatnonzero(answer.assignment >= 0)
    if len(np.unique(answer.assignment[visited])) != len(visited):
        raise WrongAnswer("a latent is taken twice")
    if len(visited) != answer.visited:
        raise WrongAnswer(f"{answer.visited} sources visited, {len(visited)} assigned")
    same = float(np.mean(answer.assignment[visited] == exact.assignment[visited]))
    theirs = mean_cosine(latents, sources, answer.assignment)
    masked: Any = np.where(answer.assignment >= 0, exact.assignment, -1)
    ours = mean_cosine(latents, sources, masked)
    if abs(theirs - ours) > 1e-3:
        raise WrongAnswer(f"mean cosine {theirs:.4f}, the exact one is {ours:.4f}")
    return Agreement(same, theirs)

"""Checks the loss that approximate search reports, by the oracle.

gtn_label.match_approx makes a sample of its choices again, exactly, among the latents that were
free at that moment. It reports two figures: the share of sources that took another latent than the
exact choice, and the mean cosine lost. Here the tests' oracle computes the same two figures, over
all choices or a sample of its own. The report must agree with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.check import WrongAnswer
from benchmarks.peer import Assignment, Rows
from tests import oracle

# The oracle makes as many choices again as some seconds allow: each of them takes the time of
# dim + 30 products a latent.
WORK = 100_000_000_000
# A report fails if it is off by more than so many standard deviations of the two samples.
DEVIATIONS = 5
ROUNDING = 1e-9


@dataclass(frozen=True)
class Loss:
    """The loss that the mode reports, and the oracle's figures for the same answer."""

    sample: int  # choices that the report is about
    other_latent: float  # share of them that are not the exact choice
    cosine_lost: float  # mean over them
    checked: int  # choices that the oracle made again
    other_latent_checked: float
    cosine_lost_checked: float
    # Largest difference between the two that chance explains, for two samples.
    other_latent_tolerance: float
    cosine_lost_tolerance: float


def measure(latents: Rows, sources: Rows, assignment: Assignment, account: dict[str, Any]) -> Loss:
    """Compute both figures by the oracle, over all choices or a sample spread over the run.

    ``account`` is the report of the mode: ``stats["approx"]``.
    """
    n, dim = sources.shape
    problem = oracle.Problem(latents, sources)
    count = min(n, max(1, WORK // (len(latents) * (dim + 30))))
    positions = np.linspace(0, n - 1, count).astype(np.intp)
    exact = oracle.exact_choices(problem, assignment[problem.order], positions)
    checked = problem.order[positions]
    other = exact != assignment[checked]
    lost = problem.cosines(checked, exact) - problem.cosines(checked, assignment[checked])
    # Variance of the difference between the means of two samples without replacement.
    spread = (1 / account["sample"] - 1 / n) + (1 / count - 1 / n)
    share = (account["other_latent"] * account["sample"] + float(other.sum())) / (
        account["sample"] + count
    )
    # What one choice more, that only one of the samples has, can have lost.
    largest = float(lost.max()) if other.any() else 2.0
    return Loss(
        sample=account["sample"],
        other_latent=account["other_latent"],
        cosine_lost=account["cosine_lost"],
        checked=count,
        other_latent_checked=float(other.mean()),
        cosine_lost_checked=float(lost.mean()),
        other_latent_tolerance=tolerance(share * (1 - share), 1.0, spread),
        cosine_lost_tolerance=tolerance(float(np.square(lost).mean()), largest, spread),
    )


def tolerance(variance: float, largest: float, spread: float) -> float:
    """Largest difference that chance explains; ``largest`` is the most that one choice adds."""
    return DEVIATIONS * math.sqrt(variance * spread) + largest * spread + ROUNDING


def judge(loss: Loss) -> None:
    """Compare the reported loss with the oracle's.

    Raises
    ------
    WrongAnswer
        They differ by more than chance explains.
    """
    figures = (("share of other latents", "other_latent"), ("mean cosine lost", "cosine_lost"))
    for words, name in figures:
        told, found = getattr(loss, name), getattr(loss, f"{name}_checked")
        if not abs(told - found) <= getattr(loss, f"{name}_tolerance"):
            raise WrongAnswer(
                f"{words} told over {loss.sample:,} choices {told:.6g}, "
                f"the oracle finds {found:.6g} over {loss.checked:,}"
            )

"""Checks the certificate of optimal transport: the lower bound on the cost that prices prove.

gtn_label.match_optimal reports the cost of its pairs, a lower bound on the cost of all pairings,
and the relative gap between them. The bound follows from the prices alone: no source can gain more
than its slack, its best value at the prices less the value of its own latent. Here NumPy computes
cost, scale and slacks again in float64, over all sources or a sample spread over them. The report
must not promise more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import approximation
from benchmarks.check import WrongAnswer
from benchmarks.peer import Assignment, Rows

# Slacks are computed of as many sources as some seconds allow: each of them takes the time of
# dim + 30 products a latent.
WORK = 20_000_000_000
BLOCK_ELEMENTS = 1 << 23
ROUNDING = 1e-9  # of a gap, and of a cost relative to itself
PROVED = 1e-9  # largest gap that counts as the optimum, where the tolerance is 0


@dataclass(frozen=True)
class Certificate:
    """The report, and the figures of NumPy for the same pairs and prices."""

    tolerance: float
    gap: float  # relative, as reported
    lower_bound: float  # mean squared distance, as reported
    scale: float  # a gap of g means that the cost is at most g times this above the least
    checked: int  # sources whose slack was computed again
    gap_checked: float
    gap_error: float  # that a sample and rounding explain


def measure(
    latents: Rows,
    sources: Rows,
    assignment: Assignment,
    prices: NDArray[np.float64] | None,
    account: dict[str, Any],
) -> Certificate:
    """Compute scale and gap anew; ``account`` is the report of the peer.

    Raises
    ------
    ValueError
        There is no finite price for each latent.
    WrongAnswer
        The reported cost is not the cost of the pairs, or report and bound contradict each other.
    """
    n, dim = sources.shape
    if prices is None or prices.shape != (len(latents),) or not np.isfinite(prices).all():
        raise ValueError("a certificate needs a finite price for each latent")
    if n != len(latents):
        raise ValueError("certificates are checked for as many sources as latents")
    x, y = latents.astype(np.float64), sources.astype(np.float64)
    cost = float(np.square(y - x[assignment]).sum(axis=1).mean())
    x -= x.mean(axis=0)  # adds the same to all values of a source
    y_centred = y - y.mean(axis=0)
    moment = np.sqrt(np.square(x).sum() / n) * np.sqrt(np.square(y_centred).sum() / n)
    scale = 2 * float(moment - np.einsum("ij,ij->", y_centred, x[assignment]) / n)
    check_report(cost, scale, account)

    count = min(n, max(1, WORK // (n * (dim + 30))))
    slack = slacks(x, y, assignment, prices, np.linspace(0, n - 1, count).astype(np.intp))
    error = 0.0
    if count < n:
        spread = 1 / count - 1 / n
        error = approximation.tolerance(float(np.square(slack).mean()), float(slack.max()), spread)
    return Certificate(
        account["tolerance"],
        account["gap"],
        account["lower_bound"],
        scale,
        count,
        2 * float(slack.mean()) / scale,
        2 * error / scale + ROUNDING,
    )


def slacks(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    assignment: Assignment,
    prices: NDArray[np.float64],
    rows: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Compute the best value of some sources at the prices, less the value of their own latent."""
    found = np.empty(len(rows))
    step = max(1, BLOCK_ELEMENTS // len(x))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        values = y[block] @ x.T
        values -= prices
        own = values[np.arange(len(block)), assignment[block]]
        found[start : start + step] = values.max(axis=1) - own
    return found


def check_report(cost: float, scale: float, account: dict[str, Any]) -> None:
    """Compare the reported cost with that of the pairs, and bound and gap with each other.

    Raises
    ------
    WrongAnswer
        They contradict each other.
    """
    if not abs(account["cost"] - cost) <= ROUNDING * cost:
        raise WrongAnswer(f"cost {account['cost']:.12g} told, that of the pairs is {cost:.12g}")
    above = account["cost"] - account["lower_bound"]
    if not abs(account["gap"] * scale - above) <= ROUNDING * cost:
        raise WrongAnswer(
            f"cost less lower bound is {above:.9g}, the gap says {account['gap'] * scale:.9g}"
        )


def judge(found: Certificate) -> None:
    """Compare the reported gap with the tolerance and with the gap computed again.

    Raises
    ------
    WrongAnswer
        It is too large, or it promises more than the prices prove.
    """
    if not found.gap <= (found.tolerance or PROVED):
        raise WrongAnswer(f"gap {found.gap:.3g}, the tolerance is {found.tolerance:g}")
    if not found.gap_checked <= found.gap + found.gap_error:
        raise WrongAnswer(
            f"gap {found.gap:.9g} told, the prices prove {found.gap_checked:.9g} over "
            f"{found.checked:,} sources"
        )

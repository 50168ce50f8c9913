"""The certificate of optimal transport: prices prove that no assignment costs much less.

Here: the gap that the engine found, in the units of the rows (`certify`), the same gap computed
anew from prices (`duality_gap`), and sums by the contract. Not here: the auction
(csrc/core/auction.hpp).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

__all__ = ["Transport", "certify", "cosines", "duality_gap", "lane_sums"]

_BLOCK_VALUES = 1 << 17  # values of a block of rows in float64
_LANES = 8  # accumulators of the contract's dot product
_MEAN_BLOCK = 1024  # rows that its column mean adds up at a time
_EPSILON = float(np.finfo(np.float64).eps)

Groups = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None


@dataclass(frozen=True)
class Transport:
    """Holds what `match_optimal` adds to a result; `Matching` has the attributes."""

    prices: npt.NDArray[np.float64]
    gap: float
    cost: float
    lower_bound: float

    @classmethod
    def of_file(cls, content: Mapping[str, Any], meta: Mapping[str, Any]) -> Transport | None:
        """Return what a file of pairs holds, if `match_optimal` made them."""
        if meta.get("method") != "optimal":
            return None
        figures = {name: float(meta[name]) for name in ("gap", "cost", "lower_bound")}
        return cls(np.asarray(content["prices"]), **figures)


@dataclass(frozen=True)
class _Sums:
    """Holds what the gap of one group is compared with, and its sum of squared distances."""

    reference: float
    squared: float


def certify(
    latents: npt.NDArray[Any],
    sources: npt.NDArray[Any],
    assignment: npt.NDArray[np.int64],
    prices: npt.NDArray[np.float64],
    found: dict[str, Any],
    center: bool,
    groups: Groups,
) -> Transport:
    """Put the engine's duality gap into squared distances and into a relative gap.

    Parameters
    ----------
    latents, sources : [m, dim], [n, dim]
    assignment, prices
        Of the engine.
    found : dict
        Its record: "gap" is D - P, "rounding" by how much that may be wrong.
    center, groups
        As in `match_optimal`.
    """
    n = len(sources)
    mean = _mean(latents) if center else np.zeros(latents.shape[1])
    parts = [
        _sums(latents, sources, of_sources, of_latents, assignment, mean)
        for of_sources, of_latents in _rows_of(groups, n, len(latents))
    ]
    squared = math.fsum(part.squared for part in parts)
    reference = math.fsum(part.reference for part in parts)
    gap = found["gap"] + found["rounding"]
    return Transport(
        prices=prices,
        gap=gap / reference if gap < reference else float(gap > 0.0),
        cost=squared / n,
        lower_bound=max(0.0, (squared - 2.0 * gap) / n),
    )


def duality_gap(
    latents: npt.NDArray[Any],
    sources: npt.NDArray[Any],
    assignment: npt.NDArray[np.int64],
    prices: npt.NDArray[np.float64],
    center: bool,
    groups: Groups,
    threads: int,
    poll: Any,
) -> tuple[float, float]:
    """Compute D - P anew from prices, over all sources, and the rounding of this sum.

    The engine finds the best latent of every source at these prices; products and sums are float64.
    With n < m, v_j = p_j - |x_j|^2 / 2 is what a latent costs beyond its own length, and D has the
    n largest v_j in place of all.

    Parameters
    ----------
    latents, sources, assignment, center, groups
        As in `certify`.
    prices : float64 [m]
    threads
        Number of CPU threads.
    poll
        Called with the number of sources done, or None.

    Returns
    -------
    gap, rounding : float
        In units of <source, latent>.
    """
    gaps, roundings = [], []
    middle = _mean(latents)
    shift = middle if center else np.zeros(latents.shape[1])
    step = max(1, _BLOCK_VALUES // latents.shape[1])
    for of_sources, of_latents in _rows_of(groups, len(sources), len(latents)):
        whole = groups is None
        best = of_latents[
            _core.assign_rows(
                latents if whole else np.ascontiguousarray(latents[of_latents]),
                sources if whole else np.ascontiguousarray(sources[of_sources]),
                np.ascontiguousarray(prices[of_latents]),
                instruction_set="auto",
                threads=threads,
                poll=poll,
            )
        ]
        own = assignment[of_sources]
        longest_x = longest_y = 0.0
        for begin in range(0, len(of_sources), step):
            some = slice(begin, begin + step)
            y = sources[of_sources[some]].astype(np.float64)
            values = []
            for rows in (best[some], own[some]):
                x = latents[rows].astype(np.float64) - middle
                longest_x = max(longest_x, float((x * x).sum(axis=1).max()))
                values.append((y * x).sum(axis=1) - prices[rows])
            longest_y = max(longest_y, float((y * y).sum(axis=1).max()))
            gaps += [float(v) for v in values[0] - values[1]]
        n, m = len(of_sources), len(of_latents)
        if n < m:
            costs = np.empty(m)
            for begin in range(0, m, step):
                some = slice(begin, begin + step)
                x = latents[of_latents[some]].astype(np.float64) - middle
                squares = (x * x).sum(axis=1)
                longest_x = max(longest_x, float(squares.max()))
                costs[some] = prices[of_latents[some]] - 0.5 * squares - x @ (middle - shift)
            paid = costs[np.searchsorted(of_latents, own)]
            gaps.append(math.fsum(np.partition(costs, m - n)[m - n :]) - math.fsum(paid))
        size = math.sqrt(longest_x) * math.sqrt(longest_y) + float(np.abs(prices[of_latents]).max())
        if n < m:
            size += float(np.abs(costs).max()) + longest_x
        roundings.append(4.0 * n * (latents.shape[1] + 8) * _EPSILON * size)
    return math.fsum(gaps), math.fsum(roundings)


def _rows_of(
    groups: Groups, n: int, m: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield the rows of sources and of latents of each group, ascending."""
    if groups is None:
        yield np.arange(n), np.arange(m)
        return
    for label in np.unique(groups[0]):
        yield np.flatnonzero(groups[0] == label), np.flatnonzero(groups[1] == label)


def _sums(
    latents: npt.NDArray[Any],
    sources: npt.NDArray[Any],
    of_sources: npt.NDArray[np.int64],
    of_latents: npt.NDArray[np.int64],
    assignment: npt.NDArray[np.int64],
    mean: npt.NDArray[np.float64],
) -> _Sums:
    n, m = len(of_sources), len(of_latents)
    x_mean, y_mean = _mean(latents, of_latents), _mean(sources, of_sources)
    # Rows are added up by the contract and their sums without rounding: the same everywhere.
    squared: list[float] = []
    products: list[float] = []
    x_spread: list[float] = []
    y_spread: list[float] = []
    step = max(1, _BLOCK_VALUES // latents.shape[1])
    for begin in range(0, n, step):
        rows = of_sources[begin : begin + step]
        y = sources[rows].astype(np.float64)
        x = latents[assignment[rows]].astype(np.float64)
        squared += lane_sums((y - (x - mean)) ** 2).tolist()
        y -= y_mean
        products += lane_sums(y * (x - x_mean)).tolist()
        y_spread += lane_sums(y * y).tolist()
    if n < m:
        return _Sums(math.fsum(squared) / 2, math.fsum(squared))
    for begin in range(0, m, step):
        x = latents[of_latents[begin : begin + step]].astype(np.float64) - x_mean
        x_spread += lane_sums(x * x).tolist()
    moment = math.sqrt(math.fsum(x_spread)) * math.sqrt(math.fsum(y_spread))
    return _Sums(moment - math.fsum(products), math.fsum(squared))


def lane_sums(products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add up the columns by the contract: eight accumulators, added up in one order."""
    sums = np.zeros((len(products), _LANES))
    for column in range(0, products.shape[1], _LANES):
        part = products[:, column : column + _LANES]
        sums[:, : part.shape[1]] += part
    s = sums.T
    even, odd = (s[0] + s[4]) + (s[2] + s[6]), (s[1] + s[5]) + (s[3] + s[7])
    total: npt.NDArray[np.float64] = even + odd
    return total


def cosines(
    latents: npt.NDArray[Any],
    sources: npt.NDArray[Any],
    assignment: npt.NDArray[np.int64],
    center: bool,
) -> npt.NDArray[np.float64]:
    """Return the cosines of pairs by the contract; 0 where a row is 0."""
    mean = _mean(latents) if center else np.zeros(latents.shape[1])
    cosine = np.zeros(len(assignment))
    step = max(1, _BLOCK_VALUES // latents.shape[1])
    for begin in range(0, len(assignment), step):
        some = slice(begin, begin + step)
        x = latents[assignment[some]].astype(np.float64) - mean
        y = sources[some].astype(np.float64)
        x_norm, y_norm = np.sqrt(lane_sums(x * x)), np.sqrt(lane_sums(y * y))
        both = (x_norm > 0.0) & (y_norm > 0.0)
        cosine[some][both] = (lane_sums(x * y)[both] / x_norm[both]) / y_norm[both]
    return cosine


def _mean(
    rows: npt.NDArray[Any], which: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float64]:
    """Return the column means by the contract: blocks of rows, added up one row after the other."""
    count = len(rows) if which is None else len(which)
    total = np.zeros(rows.shape[1])
    for begin in range(0, count, _MEAN_BLOCK):
        some = slice(begin, begin + _MEAN_BLOCK)
        block = rows[some if which is None else which[some]].astype(np.float64)
        total = total + block.cumsum(axis=0)[-1]
    mean: npt.NDArray[np.float64] = total / count
    return mean

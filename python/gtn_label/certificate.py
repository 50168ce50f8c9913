"""The certificate of optimal transport: prices prove that no assignment costs much less.

Here: a gap in the units of the rows (`certify`), the gap computed anew from prices
(`duality_gap`), and sums by the contract. Not here: the auction
(csrc/core/auction.hpp).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core

__all__ = [
    "Center",
    "PriceError",
    "Transport",
    "certify",
    "cosines",
    "duality_gap",
    "lane_sums",
]

_BLOCK_VALUES = 1 << 17  # values of a block of rows in float64
_LANES = 8  # accumulators of the contract's dot product
_MEAN_BLOCK = 1024  # rows that its column mean adds up at a time
_EPSILON = float(np.finfo(np.float64).eps)
# The auction's prices end at 2^60 (kLargestPrice), and its scores at 2^53, on a grid of their size.
_MOST_SPREAD = 2048.0

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


class Center(NamedTuple):
    """Holds what is subtracted from the latents: their column mean by the contract, or 0.

    The contract's mean is rounded. `rest` is what that leaves out.
    """

    mean: npt.NDArray[np.float64]
    rest: npt.NDArray[np.float64]

    @classmethod
    def of(cls, latents: npt.NDArray[Any], center: bool) -> Center:
        """Compute it; 0 without `center`."""
        if not center:
            return cls(*np.zeros((2, latents.shape[1])))
        mean = _mean(latents)
        return cls(mean, _mean(latents, less=mean))

    def gap(self, latents: npt.NDArray[Any], n: int) -> float:
        """Return by how much the rest may change D - P.

        Only the choice of the latents depends on it: nothing changes where all are taken.
        """
        if n == len(latents) or not self.rest.any():
            return 0.0
        longest = math.sqrt(_largest_square(latents, np.arange(len(latents)), self.mean))
        return 2.0 * n * longest * float(np.linalg.norm(self.rest))


class _Sums(NamedTuple):
    """Holds what the gap of one group is compared with, and its sum of squared distances."""

    reference: float
    squared: float
    equal: bool  # every source is its label


def certify(
    latents: npt.NDArray[Any],
    sources: npt.NDArray[Any],
    assignment: npt.NDArray[np.int64],
    prices: npt.NDArray[np.float64],
    gap: float,
    center: Center,
    groups: Groups,
) -> Transport:
    """Put a duality gap into squared distances and into a relative gap.

    Parameters
    ----------
    latents, sources : [m, dim], [n, dim]
    assignment, prices
        Of the engine.
    gap : float
        D - P, with its rounding.
    center
        What `Center.of` found.
    groups
        As in `match_optimal`.
    """
    n = len(sources)
    parts = [
        _sums(latents, sources, of_sources, of_latents, assignment, center)
        for of_sources, of_latents in _rows_of(groups, n, len(latents))
    ]
    if all(part.equal for part in parts):  # no assignment costs less than nothing
        return Transport(prices, gap=0.0, cost=0.0, lower_bound=0.0)
    squared = math.fsum(part.squared for part in parts)
    reference = math.fsum(part.reference for part in parts)
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
    center: Center,
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
        Finite.
    threads
        Number of CPU threads.
    poll
        Called with the number of sources done, or None.

    Returns
    -------
    gap, rounding : float
        In units of <source, latent>.

    Raises
    ------
    PriceError
        If prices are further apart than those of a run can be. Their rounding would hide any gap.
    """
    gaps, roundings = [], [center.gap(latents, len(sources))]
    middle = _mean(latents)
    beyond = middle - center.mean
    step = max(1, _BLOCK_VALUES // latents.shape[1])
    for of_sources, of_latents in _rows_of(groups, len(sources), len(latents)):
        n, m = len(of_sources), len(of_latents)
        if n == m and (_all_equal(latents, of_latents) or _all_equal(sources, of_sources)):
            continue  # every assignment costs the same
        longest = math.sqrt(_largest_square(latents, of_latents, middle))
        size = longest * math.sqrt(_largest_square(sources, of_sources))
        if n < m:
            size += longest * (longest + 2.0 * float(np.linalg.norm(beyond)))
        given = prices[of_latents]
        spread = _spread(given, size)
        # A constant added to all prices of a group proves the same.
        price = given - (0.5 * given.min() + 0.5 * given.max())
        whole = groups is None
        best = _core.assign_rows(
            latents if whole else np.ascontiguousarray(latents[of_latents]),
            sources if whole else np.ascontiguousarray(sources[of_sources]),
            price,
            instruction_set="auto",
            threads=threads,
            poll=poll,
        )
        own = np.searchsorted(of_latents, assignment[of_sources])
        for begin in range(0, n, step):
            some = slice(begin, begin + step)
            y = sources[of_sources[some]].astype(np.float64)
            values = []
            for rows in (best[some], own[some]):
                x = latents[of_latents[rows]].astype(np.float64) - middle
                values.append((y * x).sum(axis=1) - price[rows])
            gaps += (values[0] - values[1]).tolist()
        if n < m:
            costs = np.empty(m)
            for begin in range(0, m, step):
                some = slice(begin, begin + step)
                x = latents[of_latents[some]].astype(np.float64) - middle
                costs[some] = price[some] - 0.5 * (x * x).sum(axis=1) - x @ beyond
            gaps.append(math.fsum(np.partition(costs, m - n)[m - n :]) - math.fsum(costs[own]))
        # Two values a source, from dot products; prices on the grid of the search, and their sums.
        roundings.append(n * _EPSILON * (4.0 * (latents.shape[1] + 10) * size + 16.0 * spread))
    return math.fsum(gaps), math.fsum(roundings)


class PriceError(ValueError):
    """Prices are not those of a run; `expected` and `found` say why."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected, self.found = expected, found


def _spread(prices: npt.NDArray[np.float64], size: float) -> float:
    """Return how far prices are apart, or raise PriceError if no run leaves them so."""
    bad = np.flatnonzero(~np.isfinite(prices))
    if len(bad):
        raise PriceError("finite prices", f"{prices[bad[0]]}")
    most = _MOST_SPREAD * (size if size > 0.0 else 1.0)
    half = 0.5 * float(prices.max()) - 0.5 * float(prices.min())
    if not half <= 0.5 * most:
        raise PriceError(
            f"prices at most {most:.3g} apart", f"{prices.min():.3g} to {prices.max():.3g}"
        )
    return 2.0 * half


def _all_equal(rows: npt.NDArray[Any], which: npt.NDArray[np.int64]) -> bool:
    """Return True if some rows are equal to the first of them."""
    step = max(1, _BLOCK_VALUES // rows.shape[1])
    first = rows[which[0]]
    return all(
        bool((rows[which[begin : begin + step]] == first).all())
        for begin in range(0, len(which), step)
    )


def _largest_square(
    rows: npt.NDArray[Any],
    which: npt.NDArray[np.int64],
    less: npt.NDArray[np.float64] | float = 0.0,
) -> float:
    """Return the largest squared norm of some rows, less a mean."""
    largest = 0.0
    step = max(1, _BLOCK_VALUES // rows.shape[1])
    for begin in range(0, len(which), step):
        x = rows[which[begin : begin + step]].astype(np.float64) - less
        largest = max(largest, float((x * x).sum(axis=1).max()))
    return largest


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
    center: Center,
) -> _Sums:
    n, m = len(of_sources), len(of_latents)
    x_mean, y_mean = _mean(latents, of_latents), _mean(sources, of_sources)
    # Rows are added up by the contract and their sums without rounding: the same everywhere.
    squared: list[float] = []
    products: list[float] = []
    x_spread: list[float] = []
    y_spread: list[float] = []
    equal = not center.mean.any()  # else the difference is rounded
    step = max(1, _BLOCK_VALUES // latents.shape[1])
    for begin in range(0, n, step):
        rows = of_sources[begin : begin + step]
        y = sources[rows].astype(np.float64)
        x = latents[assignment[rows]].astype(np.float64)
        apart = (y - (x - center.mean)) + center.rest
        equal = equal and not apart.any()
        squared += lane_sums(apart**2).tolist()
        y -= y_mean
        products += lane_sums(y * (x - x_mean)).tolist()
        y_spread += lane_sums(y * y).tolist()
    if n < m:
        return _Sums(math.fsum(squared) / 2, math.fsum(squared), equal)
    for begin in range(0, m, step):
        x = latents[of_latents[begin : begin + step]].astype(np.float64) - x_mean
        x_spread += lane_sums(x * x).tolist()
    moment = math.sqrt(math.fsum(x_spread)) * math.sqrt(math.fsum(y_spread))
    return _Sums(moment - math.fsum(products), math.fsum(squared), equal)


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
    rows: npt.NDArray[Any],
    which: npt.NDArray[np.int64] | None = None,
    less: npt.NDArray[np.float64] | float = 0.0,
) -> npt.NDArray[np.float64]:
    """Return the column means by the contract: blocks of rows, added up one row after the other."""
    count = len(rows) if which is None else len(which)
    total = np.zeros(rows.shape[1])
    for begin in range(0, count, _MEAN_BLOCK):
        some = slice(begin, begin + _MEAN_BLOCK)
        block = rows[some if which is None else which[some]].astype(np.float64) - less
        total = total + block.cumsum(axis=0)[-1]
    mean: npt.NDArray[np.float64] = total / count
    return mean

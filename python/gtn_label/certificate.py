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
    "Sums",
    "Transport",
    "certify",
    "cosines",
    "duality_gap",
    "expansion",
    "group_sums",
    "lane_sums",
    "largest_square",
    "rows_mean",
    "rows_of_groups",
    "transport_of",
]

_BLOCK_VALUES = 1 << 17  # values of a block of rows in float64
_LANES = 8  # accumulators of the contract's dot product
_MEAN_BLOCK = 1024  # rows that its column mean adds up at a time
_MOST_SUMMANDS = 1 << 16  # that wait for one exact sum
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
        """Return what a file of pairs holds, if `match_optimal` made them and has its prices."""
        if meta.get("method") != "optimal" or "prices" not in content:
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
        mean = rows_mean(latents)
        return cls(mean, rows_mean(latents, less=mean))

    def gap(self, latents: npt.NDArray[Any], n: int) -> float:
        """Return by how much the rest may change D - P.

        Only the choice of the latents depends on it: nothing changes where all are taken.
        """
        if not self.matters(n, len(latents)):
            return 0.0
        return self.slack(n, largest_square(latents, np.arange(len(latents)), self.mean))

    def matters(self, n: int, m: int) -> bool:
        """Return True if D - P may change."""
        return n < m and bool(self.rest.any())

    def slack(self, n: int, square: float) -> float:
        """Return by how much, `square` being the largest squared norm of a latent less the mean."""
        return 2.0 * n * math.sqrt(square) * float(np.linalg.norm(self.rest))


class Sums(NamedTuple):
    """Holds numbers to add up for one group: what its gap is compared with, and its cost."""

    squared: list[float]  # of sources less labels
    products: list[float]  # of both sides of the pairs, centred
    x_squares: list[float] | None  # of the latents, centred; None where some are left over
    y_squares: list[float]
    unequal: list[float]  # blocks of rows in which a source is not its label

    def reference(self) -> float:
        """Return what the gap of the group is compared with."""
        if self.x_squares is None:
            return math.fsum(self.squared) / 2
        moment = math.sqrt(math.fsum(self.x_squares)) * math.sqrt(math.fsum(self.y_squares))
        return moment - math.fsum(self.products)


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
    n, m = len(sources), len(latents)
    parts = [
        group_sums(
            latents,
            sources,
            (of_sources, assignment[of_sources]),
            of_latents,
            (rows_mean(latents, of_latents), rows_mean(sources, of_sources)),
            center,
            spare=len(of_sources) < len(of_latents),
        )
        for of_sources, of_latents in rows_of_groups(groups, n, m)
    ]
    return transport_of(parts, prices, gap, n)


def transport_of(
    parts: list[Sums], prices: npt.NDArray[np.float64], gap: float, n: int
) -> Transport:
    """Return the certificate of n sources from the sums of each group."""
    if not any(part.unequal for part in parts):  # no assignment costs less than nothing
        return Transport(prices, gap=0.0, cost=0.0, lower_bound=0.0)
    squared = math.fsum(math.fsum(part.squared) for part in parts)
    reference = math.fsum(part.reference() for part in parts)
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
    middle = rows_mean(latents)
    beyond = middle - center.mean
    step = max(1, _BLOCK_VALUES // latents.shape[1])
    for of_sources, of_latents in rows_of_groups(groups, len(sources), len(latents)):
        n, m = len(of_sources), len(of_latents)
        if n == m and (_all_equal(latents, of_latents) or _all_equal(sources, of_sources)):
            continue  # every assignment costs the same
        longest = math.sqrt(largest_square(latents, of_latents, middle))
        size = longest * math.sqrt(largest_square(sources, of_sources))
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


def largest_square(
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


def rows_of_groups(
    groups: Groups, n: int, m: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield the rows of sources and of latents of each group with sources, ascending."""
    if groups is None:
        yield np.arange(n), np.arange(m)
        return
    orders = [np.argsort(side, kind="stable") for side in groups]
    labels = [side[order] for side, order in zip(groups, orders, strict=True)]
    for label in np.unique(groups[0]):
        ends = [np.searchsorted(side, label, way) for side in labels for way in ("left", "right")]
        yield orders[0][ends[0] : ends[1]], orders[1][ends[2] : ends[3]]


def group_sums(
    latents: npt.NDArray[Any],
    sources: npt.NDArray[Any],
    pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    of_latents: npt.NDArray[np.int64],
    means: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    center: Center,
    *,
    spare: bool,
) -> Sums:
    """Add up one group, or the part of it that is here.

    Rows are added up by the contract and their sums without rounding: the same everywhere.

    Parameters
    ----------
    latents, sources : [m, dim], [n, dim]
    pairs : (int64 [k], int64 [k])
        Rows of sources, and the row of the latent that each takes.
    of_latents : int64 [j]
        Rows of the group's latents.
    means : (float64 [dim], float64 [dim])
        Of the group's latents and of its sources, by the contract.
    center : Center
    spare : bool
        True if latents of the group are left over.
    """
    x_mean, y_mean = means
    squares: list[float] | None = None if spare else []
    sums = Sums([], [], squares, [], [])
    if center.mean.any():  # the difference is rounded
        sums.unequal.append(1.0)
    step = max(1, _BLOCK_VALUES // latents.shape[1])
    for begin in range(0, len(pairs[0]), step):
        y = sources[pairs[0][begin : begin + step]].astype(np.float64)
        x = latents[pairs[1][begin : begin + step]].astype(np.float64)
        apart = (y - (x - center.mean)) + center.rest
        if apart.any():
            sums.unequal.append(1.0)
        _add(sums.squared, apart**2)
        y -= y_mean
        _add(sums.products, y * (x - x_mean))
        _add(sums.y_squares, y * y)
    if squares is not None:
        for begin in range(0, len(of_latents), step):
            x = latents[of_latents[begin : begin + step]].astype(np.float64) - x_mean
            _add(squares, x * x)
    return sums


def _add(sums: list[float], products: npt.NDArray[np.float64]) -> None:
    sums += lane_sums(products).tolist()
    if len(sums) > _MOST_SUMMANDS:
        sums[:] = expansion(sums)


def expansion(values: list[float]) -> list[float]:
    """Return a few numbers with the same sum, none of it rounded."""
    parts: list[float] = []
    while part := math.fsum([*values, *(-each for each in parts)]):
        parts.append(part)
        if not math.isfinite(part):
            break
    return parts


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
    mean = rows_mean(latents) if center else np.zeros(latents.shape[1])
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


def rows_mean(
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

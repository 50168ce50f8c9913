"""The sources of all ranks in visiting order, a chunk at a time, without a global sort.

Each rank sorts its own sources once. The end of a chunk is the exact quantile of the pairs (norm,
global row) of all ranks: counts of 256 buckets narrow one byte of the norm's bits at a time, then
of the row. The rows of a chunk are gathered, since every rank needs every source, and all sort them
alike. A rank keeps nothing beside its own sources and one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays.row_blocks import TakenRows
from .exchange import Exchange, gather, gather_parts, gather_rows

__all__ = ["Feed", "Part"]

U64 = npt.NDArray[np.uint64]

_FEW = 1024  # sources between two candidates for a cut, below which they are gathered and sorted
_SHIFTS = tuple(range(56, -8, -8))  # the bytes of a number, the highest first


@dataclass(frozen=True)
class Part:
    """Consecutive positions of the visiting order.

    Attributes
    ----------
    begin, end : int
        Positions.
    rows : float32 or float64 [end - begin, dim], or None
        The sources there, on every rank alike.
    mine : int64 [k]
        This rank's sources among them, as rows of the rank, in visiting order.
    places : int64 [k]
        Where they are in the part.
    """

    begin: int
    end: int
    rows: npt.NDArray[Any] | None
    mine: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


class Feed:
    """Hands out sources in visiting order; every call is collective.

    Parameters
    ----------
    exchange : Exchange
    rows : float32 or float64 [n, dim]
        This rank's sources; dtype and dim are the same on every rank.
    index : int64 [n]
        Their global rows, ascending.
    norms : float64 [n]
        Of the contract; finite and above zero.
    order : {"norm", "norm_desc", "index"}

    Attributes
    ----------
    own, total : int
        Sources of this rank, and of all.
    """

    def __init__(
        self,
        exchange: Exchange,
        rows: npt.NDArray[np.floating],
        index: npt.NDArray[np.int64],
        norms: npt.NDArray[np.float64],
        order: str,
    ) -> None:
        self._exchange = exchange
        self._rows = rows
        places = index.astype(np.uint64)
        keys = places if order == "index" else norms.view(np.uint64)  # positive: bits ascend
        if order == "norm_desc":
            keys = ~keys
        self._sorted = np.argsort(keys, kind="stable")  # equal norms stay by ascending row
        self._keys = (keys[self._sorted], places[self._sorted])
        self.own = len(rows)
        self.total = int(gather(exchange, np.int64(len(rows))).sum())
        self._cuts = {0: 0, self.total: len(rows)}  # own sources before a position

    def part(self, begin: int, end: int, with_rows: bool = True) -> Part:
        """Return the sources at the positions from `begin` to `end`, or whose they are."""
        first, last = self._cut(begin), self._cut(end)
        self._cuts = {0: 0, self.total: len(self._rows), end: last}
        keys, places = (each[first:last] for each in self._keys)
        counts = gather(self._exchange, np.int64(last - first))
        gathered = np.concatenate(gather_rows(self._exchange, np.stack([keys, places], axis=1)))
        order = _sorted(gathered[:, 0], gathered[:, 1])
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order))
        starts = np.concatenate([[0], np.cumsum(counts)])
        rank = self._exchange.rank
        mine = self._sorted[first:last]
        rows = None
        if with_rows and self._exchange.world == 1:
            rows = self._rows[mine]
        elif with_rows:
            rows = np.empty((end - begin, self._rows.shape[1]), self._rows.dtype)
            for owner, at, part in gather_parts(
                self._exchange, TakenRows(self._rows, mine), counts
            ):
                rows[position[starts[owner] + at :][: len(part)]] = part
        return Part(begin, end, rows, mine, position[starts[rank] : starts[rank + 1]])

    def _cut(self, position: int) -> int:
        """Return how many of this rank's sources come before a position of all ranks'."""
        if position not in self._cuts:
            self._cuts[position] = self._search(position)
        return self._cuts[position]

    def _search(self, position: int) -> int:
        low, high = 0, len(self._rows)  # the candidates of this rank
        target = position  # of the candidates of all ranks
        for values in self._keys:
            prefix = np.uint64(0)
            for shift in _SHIFTS:
                bounds = prefix + (np.arange(1, 256, dtype=np.uint64) << np.uint64(shift))
                offsets = np.searchsorted(values[low:high], bounds)
                offsets = np.concatenate([[0], offsets, [high - low]]).astype(np.int64)
                totals = gather(self._exchange, offsets).sum(axis=0)
                bucket = int(np.searchsorted(totals, target, side="right")) - 1
                low, high = low + int(offsets[bucket]), low + int(offsets[bucket + 1])
                target -= int(totals[bucket])
                if target == 0:
                    return low
                if totals[bucket + 1] - totals[bucket] <= _FEW:
                    return low + self._among_few(low, high, target)
                prefix += np.uint64(bucket) << np.uint64(shift)
        raise AssertionError("two sources have the same global row")

    def _among_few(self, low: int, high: int, target: int) -> int:
        """Return how many of this rank's candidates are among the first `target` of all."""
        own = np.stack([each[low:high] for each in self._keys], axis=1)
        parts = gather_rows(self._exchange, own)
        whole = np.concatenate(parts)
        owner = np.repeat(np.arange(len(parts)), [len(each) for each in parts])
        first = _sorted(whole[:, 0], whole[:, 1])[:target]
        return int((owner[first] == self._exchange.rank).sum())


def _sorted(keys: U64, places: U64) -> npt.NDArray[np.int64]:
    """Return the order by (key, place)."""
    order = np.argsort(keys, kind="stable")  # fast where the runs of the ranks ascend
    ascending = keys[order]
    if (ascending[1:] == ascending[:-1]).any():
        return np.lexsort((places, keys))
    return order

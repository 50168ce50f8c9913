"""The contract's column mean of latents that are dealt to ranks, the same bits for any dealing.

The contract adds the rows of each block of 1,024 global rows, then the sums of the blocks, both in
ascending order. A rank that holds a whole block adds its rows. Blocks that are split over ranks are
gathered, a few at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from ..arrays.row_blocks import RowsLike
from .exchange import Exchange, gather_rows

__all__ = ["column_mean"]

BLOCK = 1024  # global rows of a partial sum (numeric contract)
_BATCH_BYTES = 32 << 20  # rows of the blocks that are looked at together


def column_mean(
    exchange: Exchange,
    rows: RowsLike,
    index: npt.NDArray[np.int64],
    total: int,
    less: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the mean of all ranks' rows, float64 [dim]; not finite if the sums are not.

    Parameters
    ----------
    rows : float32 or float64 [n, dim]
        This rank's rows; dtype and dim are the same on every rank.
    index : int64 [n]
        Their global rows, ascending.
    total : int
        Number of rows of all ranks.
    less : float64 [dim], optional
        What is subtracted from each row before it is added.
    """
    dim = rows.shape[1]
    mean = np.zeros(dim)
    batch = BLOCK * max(1, _BATCH_BYTES // (BLOCK * dim * rows.dtype.itemsize))
    with np.errstate(invalid="ignore", over="ignore"):
        for begin in range(0, total, batch):
            for block_sum in _sums(exchange, rows, index, begin, min(total, begin + batch), less):
                mean = mean + block_sum
        return mean / total


def _sums(
    exchange: Exchange,
    rows: RowsLike,
    index: npt.NDArray[np.int64],
    begin: int,
    end: int,
    less: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.float64]:
    """Return the sums of the blocks from row `begin` to `end`, [blocks, dim]."""
    dim = rows.shape[1]
    first = int(np.searchsorted(index, begin))
    here = index[first : np.searchsorted(index, end)] - begin
    count = -(-(end - begin) // BLOCK)
    sizes = np.minimum(BLOCK, (end - begin) - np.arange(count) * BLOCK)
    owned = np.bincount(here // BLOCK, minlength=count)
    whole = np.flatnonzero(owned == sizes)
    starts = first + np.searchsorted(here, whole * BLOCK)
    own = np.zeros((len(whole), dim))
    for at, (block, start) in enumerate(zip(whole, starts, strict=True)):
        own[at] = _added(rows[start : start + sizes[block]], less)
    split = ~np.isin(here // BLOCK, whole)
    places = np.concatenate(gather_rows(exchange, here[split]))
    parts = np.concatenate(gather_rows(exchange, rows[first : first + len(here)][split]))
    sums = np.empty((count, dim))
    numbers = np.concatenate(gather_rows(exchange, whole))
    sums[numbers] = np.concatenate(gather_rows(exchange, own))
    order = np.argsort(places)
    ends = np.searchsorted(places[order], np.arange(count + 1) * BLOCK)
    for number in np.flatnonzero(np.diff(ends)):
        members = order[ends[number] : ends[number + 1]]
        sums[number] = _added(np.ascontiguousarray(parts[members]), less)
    return sums


def _added(rows: npt.NDArray[Any], less: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """Add up the rows of a block, one after the other."""
    return _core.column_sums(rows if less is None else rows - less)

"""One rank's latents or sources with their global rows, checked over all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from ..arrays import convert
from ..arrays.sources import draw_rows
from ..errors import ArgumentError
from .center import column_mean
from .checks import check_norms, check_partition
from .exchange import (
    Exchange,
    gather,
    gather_parts,
    gather_rows,
    gather_texts,
    ranks_named,
    settle,
)

__all__ = ["Side", "check_squares", "drawn", "mean_of", "norms_of", "side_of", "whole_of"]


@dataclass(frozen=True)
class Side:
    """One rank's part of the latents or of the sources.

    Attributes
    ----------
    given : array or tensor [n, dim]
        As handed in, or drawn.
    rows : float32 or float64 [n, dim]
        What the engine reads.
    index : int64 [n]
        Global rows, ascending.
    total : int
        Rows of all ranks.
    """

    given: Any
    rows: npt.NDArray[Any]
    index: npt.NDArray[np.int64]
    total: int


def side_of(
    exchange: Exchange,
    name: str,
    index_name: str,
    part: convert.Rows,
    index: npt.NDArray[np.int64] | None,
) -> Side:
    """Return a rank's part with its global rows, checked over all ranks."""
    rows = part.rows
    sizes = gather(exchange, np.array([len(rows), rows.itemsize if len(rows) else 0]))
    counts, widths = sizes[:, 0], sizes[:, 1]
    # A rank without rows has any dtype. Rows that are read alike are still written as given.
    dtypes = gather_texts(exchange, _dtype_name(part.given) if len(rows) else "")
    if len({each for each in dtypes if each}) > 1:
        got = ", ".join(
            f"{dtype} on {ranks_named([rank for rank, d in enumerate(dtypes) if d == dtype])}"
            for dtype in dict.fromkeys(each for each in dtypes if each)
        )
        rule = "must have the same dtype on all ranks"
        settle(exchange, ArgumentError(name, rule, got, "convert them alike"))
    if len(rows) == 0 and widths.max() == 8:
        rows = rows.astype(np.float64)
    total = int(counts.sum())
    if index is None:
        first = int(counts[: exchange.rank].sum())
        index = np.arange(first, first + len(rows))
    else:
        check_partition(exchange, index, index_name, total)
    return Side(part.given, rows, index, total)


def _dtype_name(rows: Any) -> str:
    """Name the dtype of an array or a tensor, in any byte order."""
    dtype = rows.dtype
    return dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")


def drawn(exchange: Exchange, n: int, dim: int, seed: int) -> Side:
    """Draw this rank's part of n sources."""
    begin, end = (part * n // exchange.world for part in (exchange.rank, exchange.rank + 1))
    rows = draw_rows(begin, end, dim, seed)
    return Side(rows, rows, np.arange(begin, end), n)


def norms_of(
    exchange: Exchange,
    name: str,
    side: Side,
    mean: npt.NDArray[np.float64] | None,
    threads: int,
) -> npt.NDArray[np.float64]:
    """Return the norms of a rank's rows; raise on all ranks if a row has none."""
    norms = _core.row_norms(side.rows, mean=mean, threads=int(threads))
    check_norms(exchange, name, side.rows, side.index, norms, mean, side.total)
    return norms


def check_squares(
    exchange: Exchange,
    name: str,
    side: Side,
    mean: npt.NDArray[np.float64] | None,
    threads: int,
) -> None:
    """Raise on all ranks if a row is not finite, or its squared norm; a row may be 0."""
    norms = _core.row_norms(side.rows, mean=mean, threads=int(threads))
    check_norms(exchange, name, side.rows, side.index, norms, mean, side.total, directions=False)


def mean_of(exchange: Exchange, name: str, side: Side, threads: int) -> npt.NDArray[np.float64]:
    """Return the column mean of all ranks' rows; raise on all ranks if their sums overflow."""
    mean = column_mean(exchange, side.rows, side.index, side.total)
    if not np.isfinite(mean).all():
        check_squares(exchange, name, side, None, threads)  # names rows that are the reason
        rule = "must have column sums that float64 can hold to be centred (rescale them), but "
        settle(exchange, ArgumentError(name, rule + "they overflow"))
    return mean


def whole_of(
    exchange: Exchange, rows: npt.NDArray[Any], index: npt.NDArray[np.int64], total: int
) -> npt.NDArray[Any]:
    """Return the rows of all ranks, [total, ...], in the order of their global rows."""
    if exchange.world == 1:
        return rows
    whole = np.empty((total, *rows.shape[1:]), rows.dtype)
    places = gather_rows(exchange, index)
    counts = np.array([len(each) for each in places])
    for rank, begin, part in gather_parts(exchange, rows, counts):
        whole[places[rank][begin : begin + len(part)]] = part
    return whole

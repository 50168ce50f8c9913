"""Checks of all ranks' rows at once: one message, the same on every rank, with global rows.

The rules and their words are those of csrc/core/norms.cpp, which sees one machine's rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError
from .exchange import Exchange, gather, ranks_named, settle, together
from .record import mixed, total_of

__all__ = ["check_index", "check_norms", "check_partition"]

_SMALLEST_NORM = 2.0**-511  # the root of the smallest square that is no subnormal number
_RULES = (
    "must be finite, but NaN or infinity was found in ",
    "must have a direction, but zero norm was found in ",
    "must have norms that float64 can hold (rescale them), but overflow was found in ",
    "must have norms that float64 can hold (rescale them), but underflow was found in ",
)
_CENTRED_ZERO = "must have a direction after centring, but zero norm was found in "
_SHOWN = 5  # rows in a message
_BLOCK = 1 << 23  # global rows whose owners are counted at once


def check_norms(
    exchange: Exchange,
    name: str,
    rows: npt.NDArray[np.floating],
    index: npt.NDArray[np.int64],
    norms: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64] | None,
    total: int,
    directions: bool = True,
) -> None:
    """Raise one error on all ranks if the contract defines no result for some row.

    Parameters
    ----------
    name : str
        "latents" or "sources".
    rows : float32 or float64 [n, dim]
    index : int64 [n]
        Their global rows, ascending.
    norms : float64 [n]
        As `_core.row_norms` computes them with the mean.
    mean : float64 [dim], optional
        What is subtracted from the rows.
    total : int
        Number of rows of all ranks.
    directions : bool
        False if rows may be 0, or as short as they like.

    Raises
    ------
    ArgumentError
        For the most basic fault, with its first rows.
    """
    short = directions & (norms < _SMALLEST_NORM)
    bad = np.flatnonzero(short | ~np.isfinite(norms))
    faults = _faults(rows, bad, norms, mean)
    found = np.full((len(_RULES), 1 + _SHOWN), -1, np.int64)
    for fault in range(len(_RULES)):
        where = index[bad[faults == fault]]
        found[fault, 0] = len(where)
        found[fault, 1 : 1 + _SHOWN][: len(where)] = where[:_SHOWN]
    every = gather(exchange, found)
    for fault, rule in enumerate(_RULES):
        count = int(every[:, fault, 0].sum())
        if count == 0:
            continue
        if mean is not None and fault == 1:
            rule = _CENTRED_ZERO
        first = np.sort(every[:, fault, 1:][every[:, fault, 1:] >= 0])[:_SHOWN]
        listed = ", ".join(str(row) for row in first) + (", ..." if count > len(first) else "")
        kind = "row" if count == 1 else "rows"
        # The same on all ranks, which have all gathered the same counts.
        settle(exchange, ArgumentError(name, f"{rule}{count} of {total} rows: {kind} {listed}"))


def _faults(
    rows: npt.NDArray[np.floating],
    bad: npt.NDArray[np.int64],
    norms: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.int64]:
    """Return the place in _RULES of each bad row's fault."""
    faults = np.empty(len(bad), np.int64)
    for at in range(0, len(bad), 1024):
        these = bad[at : at + 1024]
        plain = rows[these].astype(np.float64)
        finite = np.isfinite(plain).all(axis=1)
        with np.errstate(invalid="ignore", over="ignore"):
            seen = plain if mean is None else plain - mean
        zero = (seen == 0).all(axis=1)
        small = norms[these] < 1.0
        faults[at : at + 1024] = np.select([~finite, zero, ~small], [0, 1, 2], 3)
    return faults


def check_index(index: npt.ArrayLike, name: str, rows: int) -> npt.NDArray[np.int64]:
    """Return a rank's global rows as int64, checked as far as one rank can.

    Raises
    ------
    ArgumentError
        If they are not one integer for each of the rank's rows, from 0, in ascending order.
    """
    found = np.asarray(index)
    if found.ndim != 1 or len(found) != rows:
        rule = f"must have one global row for each of this rank's {rows} rows"
        raise ArgumentError(name, rule, f"shape {found.shape}")
    if len(found) == 0:
        return np.zeros(0, np.int64)
    if found.dtype.kind not in "iu":
        raise ArgumentError(name, "must hold integers", f"dtype {found.dtype}")
    if found.max() > np.iinfo(np.int64).max:
        raise ArgumentError(name, "must hold rows below 2^63", str(found.max()))
    found = np.ascontiguousarray(found, np.int64)
    if found[0] < 0:
        raise ArgumentError(name, "must hold rows >= 0", str(found[0]))
    falls = np.flatnonzero(np.diff(found) <= 0)
    if len(falls):
        at = int(falls[0])
        got = f"{found[at]} and then {found[at + 1]}"
        raise ArgumentError(name, "must ascend, each row once", got)
    return found


def check_partition(
    exchange: Exchange, index: npt.NDArray[np.int64], name: str, total: int
) -> None:
    """Raise one error on all ranks unless each of `total` global rows is on exactly one rank.

    Sums of mixed rows tell. Only if they are wrong are owners counted row by row.

    Raises
    ------
    ArgumentError
        With the first row that is missing, or on several ranks.
    """
    with together(exchange):
        if len(index) and index[-1] >= total:
            rule = f"must hold rows below the number of rows on all ranks, {total}"
            raise ArgumentError(name, rule, str(index[-1]))
    share = [part * total // exchange.world for part in (exchange.rank, exchange.rank + 1)]
    right = total_of(mixed(begin, end) for begin, end in _steps(*share))
    found = total_of(mixed(index[begin:end]) for begin, end in _steps(0, len(index)))
    sums = gather(exchange, np.stack([right, found])).sum(axis=0, dtype=np.uint64)
    if np.array_equal(sums[0], sums[1]):
        return
    for begin in range(0, total, _BLOCK):
        end = min(total, begin + _BLOCK)
        here = index[np.searchsorted(index, begin) : np.searchsorted(index, end)] - begin
        own = np.zeros(end - begin, bool)
        own[here] = True
        counts = np.zeros(end - begin, np.int64)
        packed = gather(exchange, np.packbits(own))
        for each in packed:
            counts += np.unpackbits(each, count=end - begin)
        wrong = np.flatnonzero(counts != 1)
        if len(wrong):
            at = int(wrong[0])
            holders = [
                rank for rank, each in enumerate(packed) if each[at // 8] >> (7 - at % 8) & 1
            ]
            got = f"row {begin + at} on {ranks_named(holders) if holders else 'no rank'}"
            rule = f"must give each of the {total} rows to one rank"
            settle(exchange, ArgumentError(name, rule, got))
    raise AssertionError("sums of rows differ, and every row is on one rank")


def _steps(begin: int, end: int) -> list[tuple[int, int]]:
    return [(at, min(end, at + (1 << 20))) for at in range(begin, end, 1 << 20)]

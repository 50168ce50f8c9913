"""Rows of latents come from the ranks that hold them to the ranks that ask for them.

Memory is bounded: a round moves as many rows as fit, and all ranks make the same number of rounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays.row_blocks import Array, RowsLike
from .exchange import Exchange, gather, settle

__all__ = ["fetch_rows"]

ROUND_BYTES = 64 << 20  # that a rank receives in a round


def fetch_rows(
    exchange: Exchange,
    rows: RowsLike,
    index: NDArray[np.int64],
    wanted: NDArray[np.int64],
    *,
    round_bytes: int = ROUND_BYTES,
) -> Array:
    """Return rows by their global numbers, in the order asked for. A collective call.

    Parameters
    ----------
    exchange : Exchange
        Its `all_to_all(send, recv)` is used if it has one: slice r of `send` goes to rank r.
        Otherwise all_gather brings all ranks the rows of all.
    rows : [m_r, dim]
        Rows that this rank holds.
    index : int64 [m_r]
        Global numbers of those rows, ascending.
    wanted : int64 [k_r]
        Global numbers of the rows that this rank asks for; every rank its own.
    round_bytes : int
        Bytes that a rank receives in a round, the same on all ranks.

    Returns
    -------
    [k_r, dim]

    Raises
    ------
    RuntimeError
        On all ranks, if nobody holds a row that somebody asks for.
    """
    out: Array = np.empty((len(wanted), *rows.shape[1:]), rows.dtype)
    world, width = exchange.world, int(np.prod(rows.shape[1:])) * rows.dtype.itemsize
    if world == 1:
        places = _held(index, wanted)
        if len(places) != len(wanted):
            settle(exchange, _missing(np.delete(wanted, places)))
        out[...] = rows[np.searchsorted(index, wanted)]
        return out
    step = max(1, round_bytes // (world * (width + 16)))
    longest = int(gather(exchange, np.int64(len(wanted))).max())
    for begin in range(0, longest, step):
        mine = wanted[begin : begin + step]
        asked = np.full(step, -1, np.int64)
        asked[: len(mine)] = mine
        _round(exchange, rows, index, gather(exchange, asked), out[begin : begin + step])
    return out


def _round(
    exchange: Exchange,
    rows: RowsLike,
    index: NDArray[np.int64],
    asked: NDArray[np.int64],
    out: Array,
) -> None:
    """Answer what all ranks ask for, [world, step] with -1 where nothing is, and fill `out`."""
    world = exchange.world
    places = [_held(index, each) for each in asked]
    counts = gather(exchange, np.array([len(each) for each in places], np.int64))  # [from, to]
    wanted = (asked >= 0).sum(axis=1)
    if (counts.sum(axis=0) != wanted).any():
        rank = int(np.flatnonzero(counts.sum(axis=0) != wanted)[0])
        settle(exchange, _missing(asked[rank][asked[rank] >= 0]))
    # A record is a place among all that is asked for, and the row. All ranks pad to one length.
    step = asked.shape[1]
    record = np.dtype([("place", np.int64), ("row", rows.dtype, rows.shape[1:])])
    direct = getattr(exchange, "all_to_all", None)
    most = int(counts.max() if direct else counts.sum(axis=1).max())
    piece = most if direct else min(most, 2 * step)  # of all_gather, which brings everyone's
    send = np.zeros((world, most) if direct else -(-most // max(piece, 1)) * piece, record)
    send["place"] = -1
    at = 0
    for rank, each in enumerate(places):
        target = send[rank, : len(each)] if direct else send[at : at + len(each)]
        target["place"] = rank * step + each
        target["row"] = rows[np.searchsorted(index, asked[rank][each])]
        at += len(each)
    received = np.empty((world, piece), record)
    for begin in range(0, most, max(piece, 1)):
        if direct:
            direct(_bytes(send), _bytes(received))
        else:
            exchange.all_gather(_bytes(send[begin : begin + piece]), _bytes(received))
        mine = received[received["place"] // step == exchange.rank]
        out[mine["place"] % step] = mine["row"]


def _held(index: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the places of a list whose rows are held here."""
    if len(index) == 0:
        return np.empty(0, np.intp)
    at = np.minimum(np.searchsorted(index, asked), len(index) - 1)
    return np.flatnonzero(index[at] == asked)


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _missing(asked: NDArray[np.int64]) -> RuntimeError:
    shown = ", ".join(map(str, asked[:5].tolist())) + (", ..." if len(asked) > 5 else "")
    return RuntimeError(f"no rank holds some of the latents asked for: rows {shown}")

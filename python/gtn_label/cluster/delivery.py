"""Records go to the ranks that their owners name; memory is bounded by a round.

Not here: rows that are asked for by their numbers (fetch.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.row_blocks import RowsLike, TakenRows
from .exchange import MOST_BYTES, Exchange, gather, gather_parts

__all__ = ["deliver"]


def deliver(
    exchange: Exchange, records: RowsLike, going: NDArray[np.int64], to: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Send records to other ranks, and return what arrives. A collective call.

    Parameters
    ----------
    exchange : Exchange
        Its `all_to_all` is used if it has one, otherwise all_gather.
    records : [k]
        This rank's records; the dtype is the same on every rank.
    going : int64 [j]
        Places of the records that travel.
    to : int64 [j]
        Rank that each of them goes to.

    Returns
    -------
    arrived : [i]
        Those of lower ranks first, and those of a rank in its order.
    counts : int64 [world]
        How many come from each rank.
    """
    world, me = exchange.world, exchange.rank
    order = going[np.argsort(to, kind="stable")]
    counts = gather(exchange, np.bincount(to, minlength=world).astype(np.int64))  # [from, to]
    arriving = counts[:, me]
    arrived = np.empty(int(arriving.sum()), records.dtype)
    starts = np.cumsum(arriving) - arriving
    first = np.cumsum(counts, axis=1) - counts  # where a rank's records for another begin
    direct = getattr(exchange, "all_to_all", None)
    if direct is None:
        sorted_records = TakenRows(records, order)
        for rank, begin, part in gather_parts(exchange, sorted_records, counts.sum(axis=1)):
            skipped = int(first[rank, me]) - begin
            piece = part[max(0, skipped) : max(0, skipped + int(arriving[rank]))]
            at = int(starts[rank]) + max(0, -skipped)
            arrived[at : at + len(piece)] = piece
        return arrived, arriving
    most = int(counts.max())
    step = max(1, min(most, MOST_BYTES // (records.dtype.itemsize * world)))
    sent = np.zeros((world, step), records.dtype)
    received = np.empty_like(sent)
    for begin in range(0, most, step):
        for rank in range(world):
            ends = min(int(counts[me, rank]), begin + step)
            mine = order[first[me, rank] + min(begin, ends) : first[me, rank] + ends]
            sent[rank, : len(mine)] = records[mine]
        direct(_bytes(sent), _bytes(received))
        for rank in range(world):
            count = min(step, int(arriving[rank]) - begin)
            if count > 0:
                at = int(starts[rank]) + begin
                arrived[at : at + count] = received[rank, :count]
    return arrived, arriving


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data

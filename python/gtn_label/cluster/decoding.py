"""Row groups of parquet and Arrow files: one rank decodes each, and sends the rows to their owners.

Ranks hold small blocks of rows from everywhere in the files, so that nearly every rank has rows of
nearly every row group. Whole groups are therefore split among the ranks, about as many rows each,
and rows travel in rounds of bounded size (delivery.py). Not here: files that are mapped, of which
each rank reads its own rows (shares.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .delivery import deliver
from .exchange import Exchange, together
from .inputs import RowFiles

__all__ = ["decoded_rounds", "rank_of_groups"]

Indices = NDArray[np.int64]

ROUND_BYTES = 64 << 20  # that a rank receives in a round, at most


def decoded_rounds(
    exchange: Exchange, rows: RowFiles, owner_of: Callable[[Indices], Indices]
) -> Iterator[tuple[Indices, NDArray[np.generic]]]:
    """Decode the row groups of all files, and yield the rows of this rank as they arrive.

    A collective call, at every step. A rank holds one decoded group and the rows of a round.

    Parameters
    ----------
    exchange : Exchange
    rows : RowFiles
    owner_of : callable
        Returns the rank that holds each of some global rows.

    Yields
    ------
    index : int64 [k]
        Global rows.
    rows : [k, dim]

    Raises
    ------
    Exception
        On all ranks, what the lowest failing rank raises, such as for a damaged group.
    """
    begins, counts = rows.row_groups()
    ranks = rank_of_groups(counts, exchange.world)
    loads = np.zeros(exchange.world, np.int64)
    np.add.at(loads, ranks, counts)
    mine = ranks == exchange.rank
    begins, counts = begins[mine], counts[mine]
    ends = np.cumsum(counts, dtype=np.int64)  # in the sequence of this rank's rows
    record = np.dtype([("index", np.int64), ("row", rows.dtype, rows.shape[1:])])
    step = max(1, ROUND_BYTES // (exchange.world * record.itemsize))
    for begin in range(0, int(loads.max()), step):
        with together(exchange):
            places = np.arange(begin, min(begin + step, int(counts.sum())))
            group = np.searchsorted(ends, places, side="right")
            index = begins[group] + places - (ends[group] - counts[group])
            sent = np.empty(len(index), record)
            sent["index"] = index
            sent["row"] = rows.take(index)  # ascends: a file decodes each of its groups once
            if len(index):
                rows.close(before=int(index[-1]))  # with the group that was decoded last
        arrived, _ = deliver(exchange, sent, np.arange(len(sent)), owner_of(index))
        yield arrived["index"], arrived["row"]


def rank_of_groups(counts: Indices, world: int) -> Indices:
    """Return the rank that decodes each row group: consecutive groups, about as many rows each.

    No rank has more than its even share and one group.

    Parameters
    ----------
    counts : int64 [k]
        Rows of each group.
    world : int
    """
    total = int(counts.sum())
    middles = 2 * np.cumsum(counts, dtype=np.int64) - counts
    ranks: Indices = np.minimum(middles * world // max(1, 2 * total), world - 1)
    return ranks

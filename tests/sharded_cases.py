"""Rows dealt to ranks, and sharded runs whose parts are put together again."""

from __future__ import annotations

import numpy as np

from gtn_label.cluster import match_sharded
from thread_exchange import run_ranks

DEALINGS = ("contiguous", "rows", "blocks", "last rank empty", "all on one rank")


def deal(dealing, n, world):
    """Global rows of each rank, ascending."""
    rows = np.arange(n)
    owner = {
        "contiguous": rows * world // max(n, 1),
        "rows": rows % world,
        "blocks": np.random.default_rng(5).permutation(n // 7 + 1)[rows // 7] % world,
        "last rank empty": rows % max(1, world - 1),
        "all on one rank": np.full(n, world // 2),
    }[dealing]
    return [np.flatnonzero(owner == rank) for rank in range(world)]


def parts_of(latents, sources, world, dealing="rows", **options):
    """The ShardedMatching of each rank."""
    index = deal(dealing, len(latents), world)
    given = [None] * world if sources is None else deal(dealing, len(sources), world)

    def work(exchange):
        mine, own = index[exchange.rank], given[exchange.rank]
        return match_sharded(
            latents[mine],
            None if own is None else sources[own],
            index=mine,
            source_index=own,
            exchange=exchange,
            **options,
        )

    return run_ranks(world, work)


def whole(parts):
    """Assignment and cosines of all sources."""
    n = parts[0].n
    assignment, cosine = np.full(n, -1), np.full(n, np.nan)
    for part in parts:
        assignment[part.source_index] = part.assignment
        cosine[part.source_index] = part.cosine
    return assignment, cosine


def assert_is(parts, expected):
    """The parts hold the bits of a Matching."""
    assignment, cosine = whole(parts)
    np.testing.assert_array_equal(assignment, expected.assignment)
    np.testing.assert_array_equal(cosine.view(np.int64), expected.cosine.view(np.int64))

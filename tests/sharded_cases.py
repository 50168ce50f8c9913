"""Rows dealt to ranks, and sharded runs whose parts are put together again."""

from __future__ import annotations

import numpy as np

from gtn_label.cluster import match_sharded
from thread_exchange import run_ranks

DEALINGS = ("contiguous", "rows", "blocks", "last rank empty", "all on one rank")


def deal(dealing, n, world):
    """Global rows of each rank, ascending; `dealing` is a name or a seed."""
    rows = np.arange(n)
    if not isinstance(dealing, str):  # a seed
        owner = np.random.default_rng(dealing).integers(0, world, n)
        return [np.flatnonzero(owner == rank) for rank in range(world)]
    owner = {
        "contiguous": rows * world // max(n, 1),
        "rows": rows % world,
        "blocks": np.random.default_rng(5).permutation(n // 7 + 1)[rows // 7] % world,
        "last rank empty": rows % max(1, world - 1),
        "all on one rank": np.full(n, world // 2),
    }[dealing]
    return [np.flatnonzero(owner == rank) for rank in range(world)]


def parts_of(
    latents, sources, world, dealing="rows", *, verb=match_sharded, groups=None, **options
):
    """The ShardedMatching of each rank; groups are labels of all rows."""
    index = deal(dealing, len(latents), world)
    given = [None] * world if sources is None else deal(dealing, len(sources), world)

    def work(exchange):
        mine, own = index[exchange.rank], given[exchange.rank]
        return verb(
            latents[mine],
            None if own is None else sources[own],
            index=mine,
            source_index=own,
            groups=None if groups is None else (groups[0][own], groups[1][mine]),
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


def assert_is_optimal(parts, expected):
    """The parts hold the bits of a Matching of match_optimal."""
    assert_is(parts, expected)
    prices = np.full(parts[0].m, np.nan)
    for part in parts:
        prices[part.latent_index] = part.prices
        for name in ("gap", "cost", "lower_bound"):
            assert getattr(part, name) == getattr(expected, name), name
    assert prices.tobytes() == np.asarray(expected.prices).tobytes()

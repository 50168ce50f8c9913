"""The dealing of rows: a partition, even, the same on all ranks and with every NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gtn_label.cluster.dealing import block_rows, rows_of_rank, share_of_rank


@pytest.mark.parametrize("rows", [1, 2, 5, 1000, 5000, 70_001])
@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_ranks_share_out_all_rows(rows: int, world: int) -> None:
    parts = [rows_of_rank(rows, rank, world, seed=7) for rank in range(world)]
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    counts = [len(part) for part in parts]
    assert max(counts) - min(counts) <= 2 * block_rows(rows, world) - 1
    bounds = [share_of_rank(rows, rank, world) for rank in range(world)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == rows
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))


@pytest.mark.parametrize(
    ("rows", "world", "step"),
    [
        (10, 2, 1),
        (1951, 2, 1),
        (3904, 2, 2),
        (10**6, 1, 1024),
        (8 * 10**6, 8, 1024),
        (10**9, 8, 1024),
    ],
)
def test_blocks_grow_with_the_rows(rows: int, world: int, step: int) -> None:
    assert block_rows(rows, world) == step


def test_blocks_are_spread_over_the_input() -> None:
    rows, world = 400_000, 4
    for rank in range(world):
        part = rows_of_rank(rows, rank, world)
        counts = np.bincount(part // (rows // 10), minlength=10)  # in each tenth of the input
        assert counts.min() > 0.8 * rows / 10 / world
        assert counts.max() < 1.2 * rows / 10 / world


def test_the_seed_shuffles() -> None:
    assert not np.array_equal(rows_of_rank(1000, 0, 2), rows_of_rank(1000, 0, 2, seed=1))


def test_the_shuffle_is_frozen() -> None:
    """Ranks with different versions of NumPy must deal alike."""
    assert rows_of_rank(12, 0, 3, seed=5).tolist() == FROZEN


FROZEN = [0, 3, 7, 11]

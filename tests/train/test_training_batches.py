"""Batches: how an epoch is cut, and shared by processes."""

from __future__ import annotations

import pytest

from gtn_train.training.batches import bounds, share


def test_batches_cover_every_row_once():
    for n in range(1, 40):
        for size in range(1, 12):
            for processes in (1, 2, 3):
                if min(n, size) < (2 * processes if processes > 1 else 1):
                    with pytest.raises(ValueError, match=f"{processes} processes need at least"):
                        bounds(n, size, processes)
                    continue
                cuts = bounds(n, size, processes)
                assert [row for begin, end in cuts for row in range(begin, end)] == list(range(n))
                for begin, end in cuts:
                    shares = [share(begin, end, rank, processes) for rank in range(processes)]
                    sizes = [last - first for first, last in shares]
                    assert [row for s in shares for row in range(*s)] == list(range(begin, end))
                    assert max(sizes) - min(sizes) <= 1
                    assert min(sizes) >= 2 or processes == 1
                    assert end - begin > 1 or size == 1 or n == 1
                assert all(end - begin == size for begin, end in cuts[:-1])

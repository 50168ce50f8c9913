"""Groups that one rank matches by itself: which of them go to the engine together."""

from __future__ import annotations

import numpy as np
import pytest

from datasets import make
from gtn_label import match
from gtn_label.cluster import batches, match_sharded
from gtn_label.errors import ArgumentError
from sharded_cases import assert_is
from thread_exchange import run_ranks


def records(groups, dim=3):
    """Records of shuffled rows with global rows and groups."""
    rng = np.random.default_rng(len(groups))
    made = np.zeros(len(groups), [("index", "i8"), ("group", "i8"), ("row", "f4", (dim,))])
    made["group"] = groups
    made["index"] = rng.permutation(len(groups))
    return made


def sizes(found):
    """Groups of each batch."""
    return [np.unique(batch.source_groups).tolist() for batch in found]


@pytest.fixture
def calls(monkeypatch):
    """Threads and number of groups of each call of `match`."""
    seen = []

    def counted(latents, sources, *, groups, threads, **options):
        count = 1 if groups is None else len(np.unique(groups[0]))
        seen.append((count, threads))
        return match(latents, sources, groups=groups, threads=threads, **options)

    monkeypatch.setattr(batches, "match", counted)
    return seen


def test_batches_hold_all_rows_in_order():
    sources, latents = records([5, 2, 2, 9, 5, 5]), records([9, 9, 5, 2, 2, 5, 5, 9, 2])
    (batch,) = batches.batches(sources, latents)
    for places, numbers, given in (
        (batch.sources, batch.source_groups, sources),
        (batch.latents, batch.latent_groups, latents),
    ):
        assert sorted(places) == list(range(len(given)))
        assert numbers.tolist() == sorted(given["group"])
        assert (given["group"][places] == numbers).all()
        for number in (2, 5, 9):
            assert (np.diff(given["index"][places[numbers == number]]) > 0).all()
    assert batch.work == 2 * 3 + 3 * 3 + 1 * 3
    assert list(batches.batches(sources[:0], latents[:0])) == []


def test_batches_are_bounded(monkeypatch):
    groups = np.repeat([1, 2, 3, 4, 5], [2, 2, 9, 2, 2])
    rows = records(groups)
    assert sizes(batches.batches(rows, rows)) == [[1, 2, 3, 4, 5]]
    with monkeypatch.context() as patch:
        patch.setattr(batches, "SMALL", 81)
        assert sizes(batches.batches(rows, rows)) == [[1, 2], [3], [4, 5]]
        patch.setattr(batches, "SMALL", 4)
        assert sizes(batches.batches(rows, rows)) == [[1], [2], [3], [4], [5]]
    with monkeypatch.context() as patch:
        patch.setattr(batches, "BATCH_WORK", 85)
        assert sizes(batches.batches(rows, rows)) == [[1, 2], [3, 4], [5]]
    with monkeypatch.context() as patch:
        patch.setattr(batches, "BATCH_BYTES", 4 * 24)
        assert sizes(batches.batches(rows, rows)) == [[1, 2], [3], [4, 5]]
    memory = (4 << 20) + 4 * (40 + 36 + 256)
    assert sizes(batches.batches(rows, rows, memory)) == [[1, 2], [3], [4, 5]]


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_groups_are_one_call(calls, center, dtype):
    latents, sources = make("gaussian", 200, 3)
    latents = (latents + 2).astype(dtype)
    labels = np.arange(200) % 50
    options = {"center": center, "threads": 2}

    def work(exchange):
        part = slice(100 * exchange.rank, 100 * exchange.rank + 100)
        groups = (labels[part], labels[part])
        return match_sharded(
            latents[part], sources[part], groups=groups, exchange=exchange, **options
        )

    assert_is(run_ranks(2, work), match(latents, sources, groups=(labels, labels), **options))
    assert calls == [(25, 1), (25, 1)]


def test_a_large_group_has_all_threads(calls, monkeypatch):
    monkeypatch.setattr(batches, "SMALL", 1000)
    latents, sources = make("gaussian", 60, 3)
    labels = np.minimum(np.arange(60), 30)
    result = match_sharded(latents, sources, groups=(labels, labels), threads=2)
    assert_is([result], match(latents, sources, groups=(labels, labels)))
    assert calls == [(31, 1)]
    monkeypatch.setattr(batches, "SMALL", 900)
    calls.clear()
    match_sharded(latents, sources, groups=(labels, labels), threads=2)
    assert calls == [(30, 1), (1, 2)]


def test_memory_is_that_of_a_group():
    latents, sources = make("gaussian", 4000, 4)
    labels = np.arange(4000) % 40
    least = (4 << 20) + 100 * (48 + 304)
    options = {"groups": (labels, labels), "memory": least}
    assert_is(
        [match_sharded(latents, sources, **options)],
        match(latents, sources, groups=(labels, labels)),
    )
    with pytest.raises(ArgumentError, match="memory must be at least"):
        match(latents, sources, **options)
    with pytest.raises(ArgumentError, match="memory must be at least"):
        match_sharded(latents, sources, groups=(labels, labels), memory=4 << 20)

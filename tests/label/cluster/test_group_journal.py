"""Journals of sharded runs with groups: what is saved, continued with other ranks, and refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from datasets import make
from gtn_label import match
from gtn_label.cluster import (
    RunJournal,
    apart,
    batches,
    groups,
    journal,
    match_sharded,
    matching,
)
from gtn_label.io.journal import CHOICES, GROUPED, Journal
from sharded_cases import assert_is, deal, parts_of
from thread_exchange import outcomes_of, run_ranks

N = 300


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Save and exchange often, in a small run."""
    monkeypatch.setattr(matching, "CHUNK", 32)
    monkeypatch.setattr(journal, "EVERY", 0.0)
    monkeypatch.setattr(apart, "EVERY", 0.0)
    monkeypatch.setattr(batches, "BATCH_WORK", 40)


@pytest.fixture
def rows():
    """Latents and sources; sources and latents are labelled by one large group and many small."""
    latents, sources = make("clusters 1e-3", N, 4)
    rng = np.random.default_rng(3)
    labels = np.where(rng.random(N) < 0.4, 7, rng.integers(-20, 20, N))
    return latents, sources, (labels, rng.permutation(labels))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


def work_of(rows, world, dealing="rows", **options):
    """A function of an exchange that matches a rank's part."""
    latents, sources, labels = rows
    index = deal(dealing, N, world)

    def work(exchange):
        own = index[exchange.rank]
        pair = None if labels is None else (labels[0][own], labels[1][own])
        return match_sharded(
            latents[own], sources[own], index=own, source_index=own, groups=pair,
            exchange=exchange, **options,
        )  # fmt: skip

    return work


def stopped(rows, path, at, world=3, error=KeyboardInterrupt, **options):
    """Stop a run when rank 0 has seen `at` sources decided; what each rank raised."""

    def progress(done, *_):
        if done >= at:
            raise error

    work = work_of(rows, world, journal=RunJournal(path, 0.0), progress=progress, **options)
    return outcomes_of(world, work)


def whole(rows, **options):
    latents, sources, labels = rows
    return match(latents, sources, groups=labels, **options)


def check_records(rows, path, **options):
    """All records of whole groups are right; return the number of sources, and by windows."""
    found, records = Journal.read(path, GROUPED)
    right = whole(rows, **options)
    alone = records[records["source"] >= 0]
    np.testing.assert_array_equal(alone["latent"], right.assignment[alone["source"]])
    np.testing.assert_array_equal(alone["cosine"], right.cosine[alone["source"]])
    of_sources = rows[2][0]
    for label in np.unique(of_sources[alone["source"]]):
        assert (of_sources[alone["source"]] == label).sum() == (of_sources == label).sum()
    return found.count, found.count - len(alone)


@pytest.mark.parametrize("at", [1, 60, 130, 200, 280])
@pytest.mark.parametrize("order", ["norm", "norm_desc", "index"])
def test_an_interrupted_run_continues_with_other_ranks(rows, path, at, order):
    outcomes = stopped(rows, path, at, order=order)
    assert all(isinstance(each, KeyboardInterrupt) for each in outcomes)
    count, by_windows = check_records(rows, path, order=order)
    large = int((rows[2][0] == 7).sum())
    assert (0 < by_windows < large) if 33 < at <= large - 33 else by_windows <= large
    assert at - 64 <= count <= N
    before, size = path.read_bytes(), path.stat().st_size
    for world, dealing in ((1, "rows"), (2, "blocks"), (5, "last rank empty")):
        path.write_bytes(before)
        seen = []
        work = work_of(rows, world, dealing, order=order, journal=path,
                       progress=lambda done, *_, seen=seen: seen.append(done))  # fmt: skip
        parts = run_ranks(world, work)
        assert_is(parts, whole(rows, order=order))
        assert {part.stats["resumed_at"] for part in parts} == {count}
        assert count <= seen[0] <= seen[-1] == N
        assert path.read_bytes()[:size] == before
        assert check_records(rows, path, order=order)[0] == N
        for part in parts:
            part.finish()
        assert list(path.parent.iterdir()) == []


def test_twice_interrupted_and_centred(rows, path):
    stopped(rows, path, 100, 2, center=True)
    counts = [check_records(rows, path, center=True)[0]]
    for world in (3, 1):
        stopped(rows, path, counts[-1] + 70, world, center=True)
        counts.append(check_records(rows, path, center=True)[0])
    assert counts == sorted(counts)
    parts = run_ranks(2, work_of(rows, 2, center=True, journal=path))
    assert_is(parts, whole(rows, center=True))
    assert parts[0].stats["resumed_at"] == counts[-1]


@pytest.mark.parametrize("world", [1, 3])
def test_a_complete_journal_needs_no_search(rows, path, world):
    for again in (False, True):
        parts = run_ranks(world, work_of(rows, world, journal=path))
        assert_is(parts, whole(rows))
        for part in parts:
            part.close()
        assert (parts[0].stats["windows"] == 0) == again or world == 3
    assert parts[0].stats["resumed_at"] == N


def test_a_rank_that_dies_loses_its_own_part_alone(rows, path, monkeypatch):
    """Records of other ranks reach the file while all are at work."""
    alone = batches.Alone.match
    calls = {}

    def dying(self, sources, latents, batch, report):
        calls[id(self)] = calls.get(id(self), 0) + 1
        if calls[id(self)] == 6:
            raise MemoryError("gone")
        return alone(self, sources, latents, batch, report)

    monkeypatch.setattr(batches.Alone, "match", dying)
    outcomes = outcomes_of(3, work_of(rows, 3, journal=RunJournal(path, 0.0)))
    assert {type(each) for each in outcomes} == {MemoryError}
    count, by_windows = check_records(rows, path)
    assert by_windows == (rows[2][0] == 7).sum()
    sources = Journal.read(path, GROUPED)[1]["source"]
    assert len(np.unique(rows[2][0][sources[sources >= 0]])) >= 4
    monkeypatch.setattr(batches.Alone, "match", alone)
    parts = run_ranks(2, work_of(rows, 2, journal=path))
    assert_is(parts, whole(rows))
    assert parts[0].stats["resumed_at"] == count


@pytest.mark.parametrize("world", [1, 2])
def test_a_large_group_is_saved_by_windows(rows, path, monkeypatch, world):
    """A rank by itself would lose all of it."""
    labels = rows[2][0] % 2, rows[2][1] % 2
    rows = rows[0], rows[1], labels
    large = int((labels[0] == 1).sum())
    monkeypatch.setattr(groups, "LARGE", 4 * 100**2)
    outcomes = stopped(rows, path, 70, world)
    assert all(isinstance(each, KeyboardInterrupt) for each in outcomes)
    count, by_windows = check_records(rows, path)
    assert 0 < count == by_windows < large
    monkeypatch.setattr(groups, "LARGE", 4 * N**2)
    parts = run_ranks(world, work_of(rows, world, journal=path))  # what was begun goes on like this
    assert_is(parts, whole(rows))
    assert parts[0].stats["groups_shared"] == 1
    for part in parts:
        part.finish()
    alone = run_ranks(1, work_of(rows, 1, journal=path))[0]
    assert alone.stats["groups_shared"] == 0


def test_a_torn_tail_is_cut_to_whole_saves(rows, path):
    stopped(rows, path, 280)
    content = path.read_bytes()
    count, blocks = 0, []
    for block in (opened := Journal.open(path, GROUPED)).blocks():
        count += len(block)
        blocks.append((opened._end, count))
    assert len(blocks) >= 3
    (_, kept), (end, _) = blocks[-2], blocks[-1]
    for size in (end - 1, end - 33, blocks[-2][0] + 1):
        path.write_bytes(content[:size])
        with pytest.warns(RuntimeWarning, match=f"no whole save.*continues at {kept:,} of 300"):
            parts = run_ranks(2, work_of(rows, 2, journal=path))
        assert_is(parts, whole(rows))
        assert parts[0].stats["resumed_at"] == kept
        parts[0].close()
        assert Journal.read(path, GROUPED)[0].spoilt == 0


def refused(rows, path, world=2, **options):
    """The message that all ranks raise for a journal, which stays as it was."""
    before = path.read_bytes()
    outcomes = outcomes_of(world, work_of(rows, world, journal=path, **options))
    assert {type(each) for each in outcomes} == {ValueError}, outcomes
    (message,) = {str(each) for each in outcomes}
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    return message


def test_a_journal_of_another_run_is_refused(rows, path):
    latents, sources, labels = rows
    stopped(rows, path, 100)
    other = labels[0].copy(), labels[1]
    places = [int(np.flatnonzero(labels[0] == label)[0]) for label in (1, 2)]
    other[0][places] = other[0][places[::-1]]
    for changed, options, message in (
        ((latents, sources, other), {}, "the source_groups: fingerprint was .{12} and is .{12}"),
        (rows, {"order": "index"}, "order was norm and is index"),
        ((latents, sources[::-1], labels), {}, "the sources: fingerprint was"),
        ((latents, sources, None), {}, "groups were given and are none"),
    ):
        found = refused(changed, path, **options)
        assert re.search(f"journal '.*' belongs to another run: {message}", found)


def test_a_journal_of_a_run_without_groups_is_refused(rows, path):
    latents, sources, _ = rows
    for part in parts_of(latents, sources, 2, journal=path):
        part.close()
    assert Journal.read(path, CHOICES)[0].count == N
    assert "belongs to another run: groups were none and are given" in refused(rows, path)


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize(
    ("sources", "latents", "message"),
    [
        ("group", "taken", ""),
        ("part", "taken", "holds a part of a group"),
        ("twice", "taken", "holds a source twice"),
        ("group", "same", "holds a latent twice"),
        ("group", "others", "gives sources latents of other groups"),
        ([300], [0], "holds rows that are no sources"),
        ([0], [300], "holds rows that are no latents"),
        ([0], [-1], "holds rows that are no latents"),
        ([-100], [0], "holds groups that there are not"),
        (range(301), [0] * 301, "holds 301 records of 300 sources"),
        ([-1] * 301, range(301), "holds 301 records of 300 sources"),
    ],
)
def test_records_that_no_run_writes(rows, path, sources, latents, message, world):
    stopped(rows, path, 0)
    made, _ = Journal.read(path, GROUPED)
    right = whole(rows)
    group = np.flatnonzero(rows[2][0] == 3)
    assert len(group) > 1
    if isinstance(sources, str):
        sources = {"group": group, "part": group[1:], "twice": [*group, group[0]]}[sources]
    if isinstance(latents, str):
        other = np.flatnonzero(rows[2][1] == 7)[: len(sources)]
        taken = right.assignment[np.asarray(sources)]
        same = np.full(len(sources), taken[0])
        latents = {"taken": taken, "same": same, "others": other}[latents]
    written = np.zeros(len(sources), GROUPED.record)
    written["source"], written["latent"] = sources, latents
    written["cosine"] = right.cosine[np.clip(written["source"], 0, N - 1)]
    Journal.create(path, made.fields, written, GROUPED)
    if not message:
        parts = run_ranks(world, work_of(rows, world, journal=path))
        assert_is(parts, right)
        return
    found = refused(rows, path, world)
    assert f"is damaged: it {message}; delete it to start over" in found


def test_the_file_stays_until_all_ranks_have_their_output(rows, path):
    def work(exchange):
        with work_of(rows, 2, journal=path)(exchange):
            if exchange.rank == 1:
                raise OSError("disk full")

    outcomes_of(2, work)
    assert Journal.read(path, GROUPED)[0].count == N
    with run_ranks(1, work_of(rows, 1, journal=path))[0] as part:
        assert len(part) == N
    assert not path.exists()

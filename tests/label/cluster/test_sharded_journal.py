"""Journals of sharded runs: what is saved, continued with other ranks, and refused."""

from __future__ import annotations

import errno
import re
import struct

import numpy as np
import pytest

from datasets import make
from gtn_label import match
from gtn_label.cluster import RunJournal, journal, match_sharded, matching
from gtn_label.cluster.search import Counted
from gtn_label.io.journal import CHOICES, Journal
from gtn_label.io.lock import FileLock
from gtn_label.io.temporary import lock_path
from sharded_cases import assert_is, deal, parts_of
from thread_exchange import outcomes_of, run_ranks

N = 300


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(matching, "CHUNK", 64)  # several saves in a small run
    monkeypatch.setattr(journal, "EVERY", 0.0)
    return make("clusters 1e-3", N, 4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


def stopped(rows, path, at, world=3, error=KeyboardInterrupt, **options):
    """Stop a run when rank 0 has decided `at` sources; what each rank raised."""
    latents, sources = rows
    index = deal("rows", len(latents), world)

    def work(exchange):
        def progress(done, *_):
            if done >= at:
                raise error

        own = index[exchange.rank]
        return match_sharded(
            latents[own], sources[own], index=own, source_index=own, exchange=exchange,
            journal=RunJournal(path, 0.0), progress=progress, **options,
        )  # fmt: skip

    return outcomes_of(world, work)


def records(path):
    return Journal.read(path, CHOICES)


def visited(rows, **options):
    """Latents and cosines in visiting order."""
    one = match(*rows, **options)
    places = np.argsort(one.visited)
    order = np.empty(len(places), np.int64)
    order[places[one.assignment]] = np.arange(len(places))
    return one.visited, one.cosine[order]


@pytest.mark.parametrize("order", ["norm", "norm_desc", "index"])
def test_an_interrupted_run_continues_with_other_ranks(rows, path, order):
    outcomes = stopped(rows, path, 100, order=order)
    assert all(isinstance(each, KeyboardInterrupt) for each in outcomes)
    assert str(outcomes[2]) == "rank 0 was interrupted"
    found, saved = records(path)
    latents, cosines = visited(rows, order=order)
    assert 64 <= found.count < N
    np.testing.assert_array_equal(saved["latent"], latents[: found.count])
    np.testing.assert_array_equal(saved["cosine"], cosines[: found.count])
    before, size = path.read_bytes(), path.stat().st_size
    for world, dealing in ((1, "rows"), (2, "blocks"), (5, "last rank empty")):
        path.write_bytes(before)
        parts = parts_of(*rows, world, dealing, order=order, journal=path)
        assert_is(parts, match(*rows, order=order))
        assert {part.stats["resumed_at"] for part in parts} == {found.count}
        assert path.read_bytes()[:size] == before
        assert records(path)[0].count == N
        for part in parts:
            part.finish()
        assert list(path.parent.iterdir()) == []


def test_a_complete_journal_needs_no_search(rows, path):
    for world in (2, 3):
        parts = parts_of(*rows, world, journal=path)
        assert_is(parts, match(*rows))
        for part in parts:
            part.close()
    assert parts[0].stats["resumed_at"] == N
    assert parts[0].stats["windows"] == 0


def test_drawn_sources_and_centring(path):
    latents, _ = make("gaussian", 200, 3)
    expected = match(latents, seed=3, center=True)
    for world in (3, 2):
        parts = parts_of(latents, None, world, "blocks", seed=3, center=True, journal=path)
        assert_is(parts, expected)
        for part in parts:
            part.close()


def test_the_file_stays_until_the_caller_has_the_output(rows, path):
    with pytest.raises(OSError, match="disk"), parts_of(*rows, 1, journal=path)[0]:
        raise OSError("disk full")
    assert records(path)[0].count == N
    with parts_of(*rows, 1, journal=path)[0] as part:
        assert len(part) == N
    assert not path.exists()


@pytest.mark.parametrize("fails", [-1, 0, 1])
def test_the_file_stays_until_all_ranks_have_their_output(rows, path, fails):
    latents, sources = rows
    index = deal("rows", N, 2)

    def work(exchange):
        own = index[exchange.rank]
        with match_sharded(
            latents[own], sources[own], index=own, source_index=own, exchange=exchange, journal=path
        ) as part:
            if exchange.rank == fails:
                raise OSError("disk full")
        return part

    outcomes = outcomes_of(2, work)
    assert path.exists() == (fails >= 0)
    if fails >= 0:
        assert isinstance(outcomes[fails], OSError)
        assert str(outcomes[1 - fails]) == f"rank {fails} has left the run: OSError: disk full"
        RunJournal(path).begin(records(path)[0].fields)  # nobody has it locked


def test_a_torn_tail_is_cut_at_any_byte(rows, path):
    stopped(rows, path, 200)
    whole = path.read_bytes()
    count, blocks = 0, []
    for block in (opened := Journal.open(path, CHOICES)).blocks():
        count += len(block)
        blocks.append((opened._end, count))
    assert len(blocks) >= 2
    (_, kept), (end, _) = blocks[-2], blocks[-1]
    for size in (end - 1, end - 33, end - 40, blocks[-2][0] + 1):
        path.write_bytes(whole[:size])
        with pytest.warns(RuntimeWarning, match=f"no whole save.*continues at {kept:,} of 300"):
            parts = parts_of(*rows, 2, journal=path)
        assert_is(parts, match(*rows))
        assert parts[0].stats["resumed_at"] == kept
        parts[0].close()
        assert records(path)[0].spoilt == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": "index"}, "order was norm and is index"),
        ({"cone": 2}, "cone was 1 and is 2"),
        ({"center": True}, "center was False and is True"),
        ("latents", "the latents: fingerprint was [0-9a-f]{12} and is [0-9a-f]{12}"),
        ("sources", "the sources: fingerprint was [0-9a-f]{12} and is [0-9a-f]{12}"),
        ("drawn", "seed was not given and is 0"),
    ],
)
def test_a_journal_of_another_run_is_refused(rows, path, change, message):
    stopped(rows, path, 100)
    before = path.read_bytes()
    latents, sources = rows
    if change == "latents":
        latents = latents.copy()
        latents[200, 1] += 1
    elif change == "sources":
        sources = sources[::-1]
    elif change == "drawn":
        sources = None
    options = change if isinstance(change, dict) else {}
    outcomes = []

    def work(exchange):
        index = deal("rows", N, 2)[exchange.rank]
        return match_sharded(
            latents[index], None if sources is None else sources[index], index=index,
            source_index=None if sources is None else index, exchange=exchange,
            journal=path, **options,
        )  # fmt: skip

    outcomes = outcomes_of(2, work)
    for found in outcomes:
        assert isinstance(found, ValueError)
        assert re.search(f"rank 0: journal '.*' belongs to another run: {message}", str(found))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_command_spells_its_own_options(rows, path):
    stopped(rows, path, 100)
    words = {"journal": "--journal", "order": "--order"}
    with pytest.raises(
        ValueError, match=r"^--journal .* another run: --order was norm and is index"
    ):
        match_sharded(*rows, order="index", journal=RunJournal(path, words=words))


def test_other_files_are_left_alone(rows, path):
    for content in (b"my data", b"gtn-label journal 1\n{}\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a journal of Algorithm 1 over many ranks"):
            match_sharded(*rows, journal=path)
        assert path.read_bytes() == content
    path.write_bytes(CHOICES.magic + b"{}\n" + bytes(32))
    with pytest.raises(ValueError, match="is damaged: its header is not what was saved"):
        match_sharded(*rows, journal=path)
    path.write_bytes(b"")
    match_sharded(*rows, journal=path).finish()


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize(
    ("latents", "message"),
    [
        ([3, 5, 3], "holds a latent twice"),
        ([300], "holds rows that are no latents"),
        ([-1], "holds rows that are no latents"),
        (range(301), "holds 301 records of 300 sources"),
    ],
)
def test_records_that_no_run_writes(rows, path, latents, message, world):
    stopped(rows, path, 0)
    made, _ = records(path)
    written = np.zeros(len(latents), CHOICES.record)
    written["latent"] = latents
    Journal.create(path, made.fields, written, CHOICES)
    with pytest.raises(ValueError, match=f"is damaged: it {message}; delete it to start over"):
        parts_of(*rows, world, journal=path)


def test_a_locked_journal_is_refused(rows, path):
    lock = FileLock(lock_path(path))
    lock.acquire()
    outcomes = stopped(rows, path, 0, world=2)
    assert {type(each) for each in outcomes} == {ValueError}
    assert "in use (this process)" in str(outcomes[1])
    lock.release()


def test_a_full_disk_stops_no_run(rows, path, monkeypatch):
    def full(self, records):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "append", full)
    with pytest.warns(RuntimeWarning, match="could not be written .No space left on device"):
        parts = parts_of(*rows, 2, journal=path)
    assert_is(parts, match(*rows))


def test_a_file_that_another_process_replaced_is_left_alone(rows, path):
    def progress(done, *_):
        if done >= 100:
            path.unlink(missing_ok=True)
            path.write_bytes(b"theirs")

    warned = []
    own = RunJournal(path, 0.0, warn=warned.append)
    match_sharded(*rows, journal=own, progress=progress).finish()
    assert [message.removeprefix(f"journal '{path}' ") for message in warned] == [
        "could not be written (it was removed, or changed by another process); the run goes on "
        "without",
        "is another file now, and is left alone",
    ]
    assert path.read_bytes() == b"theirs"


@pytest.mark.parametrize("at", [2, 5])
def test_only_what_all_ranks_agree_on_is_saved(rows, path, monkeypatch, at):
    """A rank that decides otherwise ends the run; the journal holds right choices alone."""
    latents, sources = rows
    index = deal("rows", N, 2)

    class Faulty(Counted):
        """The engine's exchange; a score is wrong on rank 1, as faulty memory gives it."""

        lists = 0

        def all_gather(self, sent, received):
            super().all_gather(sent, received)
            keys, header = divmod(len(sent) - 1, 24)  # of 24 bytes each, behind a header
            self.lists += keys > 0
            if self.rank == 1 and keys > 0 and self.lists == at + 1:
                received[header + 1 : header + 9] = struct.pack("<d", 1e9)

    monkeypatch.setattr(matching, "Counted", Faulty)

    def work(exchange):
        own = index[exchange.rank]
        return match_sharded(
            latents[own], sources[own], index=own, source_index=own, exchange=exchange,
            journal=RunJournal(path, 0.0),
        )  # fmt: skip

    for found in outcomes_of(2, work):
        assert isinstance(found, RuntimeError)
        assert "not all chose as rank 0 did: 1" in str(found)
    found, saved = records(path)
    assert found.count > 0
    np.testing.assert_array_equal(saved["latent"], visited(rows)[0][: found.count])


def test_journal_must_be_a_path():
    with pytest.raises(TypeError, match="journal must be a path, got int 3"):
        match_sharded(np.eye(3), journal=3)
    with pytest.raises(ValueError, match="journal must be the path of a file"):
        match_sharded(np.eye(3), journal="")


def test_ranks_need_not_see_the_file(rows, path):
    latents, sources = rows
    index = deal("rows", N, 2)

    def work(exchange):
        own = index[exchange.rank]
        place = path if exchange.rank == 0 else "/nowhere/at/all"
        return match_sharded(latents[own], sources[own], index=own, source_index=own,
                             exchange=exchange, journal=place)  # fmt: skip

    assert_is(run_ranks(2, work), match(*rows))

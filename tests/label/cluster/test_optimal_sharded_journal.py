"""Journals of match_optimal_sharded: what is saved, continued with other ranks, and refused."""

from __future__ import annotations

import functools
import re
import struct
import time

import pytest

from datasets import make, make_groups
from gtn_label import match, match_optimal
from gtn_label.cluster import Solo, auction_file, match_optimal_sharded, match_sharded
from gtn_label.cluster.search import Counted
from gtn_label.io.checkpoint import Checkpoint
from gtn_label.io.checkpoint_content import rounds_of
from gtn_label.io.checkpoint_file import digest_of
from gtn_label.io.lock import FileLock
from gtn_label.io.npy import read_npz, write_npz
from gtn_label.io.temporary import lock_path
from sharded_cases import assert_is_optimal, deal
from sharded_cases import parts_of as parts_of_any
from thread_exchange import outcomes_of, run_ranks

parts_of = functools.partial(parts_of_any, verb=match_optimal_sharded)

N, M = 120, 150
GROUPS = make_groups("two", N, M)
PROBLEMS = {
    "square": {"latents": make("clusters", M, 5)[0], "sources": make("gaussian", M, 5)[1]},
    "fewer": {"latents": make("lattice", M, 3)[0], "sources": make("gaussian", N, 3)[1]},
    "groups": {
        "latents": make("clusters", M, 4)[0],
        "sources": make("gaussian", N, 4)[1],
        "groups": GROUPS,
        "center": True,
    },
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


class Watched(Counted):
    """The engine's exchange, which calls `before` and `after` of the exchange under it."""

    def __init__(self, exchange):
        super().__init__(exchange)
        self._before = getattr(exchange, "before", lambda number: None)
        self._after = getattr(exchange, "after", lambda number, received: None)

    def all_gather(self, sent, received):
        number = self.count
        self._before(number)
        super().all_gather(sent, received)
        self._after(number, received)


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    monkeypatch.setattr(auction_file, "Counted", Watched)


def run(path, exchange, latents, sources, groups=None, dealing=1, **options):
    """Run one rank."""
    index = deal(dealing, len(latents), exchange.world)[exchange.rank]
    own = deal(dealing, len(sources), exchange.world)[exchange.rank]
    return match_optimal_sharded(
        latents[index],
        sources[own],
        index=index,
        source_index=own,
        groups=None if groups is None else (groups[0][own], groups[1][index]),
        exchange=exchange,
        journal=path,
        **options,
    )


def stopped(path, at, world=3, rank=0, error=KeyboardInterrupt, **problem):
    """Stop a run when a rank is about to send its `at`-th message; what each rank raised."""

    def work(exchange):
        def before(number):
            if number == at:
                raise error

        if exchange.rank == rank:
            exchange.before = before
        return run(path, exchange, **problem)

    return outcomes_of(world, work)


def messages_of(**problem):
    """How many messages a run takes."""
    return run_ranks(3, lambda exchange: run(None, exchange, **problem))[0].stats["collectives"]


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_interrupted_run_continues_with_other_ranks(path, name):
    problem = PROBLEMS[name]
    expected = match_optimal(**problem, tolerance=0)
    count = messages_of(**problem, tolerance=0)
    before = []
    for share, rank in ((0.4, 0), (0.3, 2)):
        outcomes = stopped(path, int(count * share), 3, rank, **problem, tolerance=0)
        assert all(isinstance(each, KeyboardInterrupt) for each in outcomes), outcomes
        saved = path.read_bytes()
        before.append(rounds_of(read_npz(path)[0]))
        for world in (1, 2, 5):
            path.write_bytes(saved)
            parts = parts_of(**problem, world=world, dealing=world, tolerance=0, journal=path)
            assert_is_optimal(parts, expected)
            assert {part.stats["resumed_at"] for part in parts} == {before[-1]}
            for part in parts:
                part.finish()
            assert list(path.parent.iterdir()) == []
        path.write_bytes(saved)
    assert 0 < before[0] < before[1] <= parts[0].stats["rounds"]


def test_a_complete_journal_needs_no_rounds(path):
    problem = PROBLEMS["square"]
    expected = match_optimal(**problem)
    for world in (2, 3):
        parts = parts_of(**problem, world=world, journal=path)
        assert_is_optimal(parts, expected)
        for part in parts:
            part.close()
    assert parts[0].stats["resumed_at"] == parts[0].stats["rounds"]


def test_the_file_stays_until_the_caller_has_the_output(path):
    problem = PROBLEMS["square"]
    with pytest.raises(OSError, match="disk"), run(path, Solo(), **problem):
        raise OSError("disk full")
    assert path.exists()
    with run(path, Solo(), **problem) as part:
        assert len(part) == M
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerance": 0.5}, "tolerance was 0.001 and is 0.5"),
        ({"center": True}, "center was False and is True"),
        ("latents", "the latents: fingerprint was [0-9a-f]{12} and is [0-9a-f]{12}"),
        ("sources", "the sources: fingerprint was [0-9a-f]{12} and is [0-9a-f]{12}"),
        ("groups", "source_groups: fingerprint was None and is [0-9a-f]{12}"),
    ],
)
def test_a_journal_of_another_run_is_refused(path, change, message):
    problem = dict(PROBLEMS["fewer"])
    stopped(path, 30, **problem)
    before = path.read_bytes()
    if change == "latents":
        problem["latents"] = problem["latents"][::-1].copy()
    elif change == "sources":
        problem["sources"] = problem["sources"][::-1].copy()
    elif change == "groups":
        problem["groups"] = GROUPS
    else:
        problem |= change
    for found in outcomes_of(2, lambda exchange: run(path, exchange, **problem)):
        assert isinstance(found, ValueError)
        assert re.search(f"rank 0: journal '.*' belongs to another run: {message}", str(found))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_files_of_other_functions_are_refused(path):
    problem = PROBLEMS["fewer"]
    rows = problem["latents"], problem["sources"]
    stopped(path, 30, **problem)
    one_machine = "it is of a run over many ranks, and this is of a run on one machine"
    with pytest.raises(ValueError, match=f"belongs to another run: {one_machine}"):
        match_optimal(*rows, checkpoint=path)
    with pytest.raises(ValueError, match="is not a journal of Algorithm 1 over many ranks"):
        match_sharded(*rows, journal=path)
    path.unlink()
    match_sharded(*rows, journal=path).close()
    many = "it holds Algorithm 1 over many ranks, and this is"
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{many} optimal transport"):
        match_optimal_sharded(*rows, journal=path)
    with pytest.raises(ValueError, match=f"{many} Algorithm 1"):
        match(*rows, checkpoint=path)
    assert path.read_bytes() == before
    state = Checkpoint(path.with_name("one"), remove_at_end=False)
    match_optimal(*rows, checkpoint=state)
    state.save()
    state.release()
    with pytest.raises(ValueError, match="it is of a run on one machine, and this is of a run ov"):
        match_optimal_sharded(*rows, journal=state.path)


@pytest.mark.parametrize("world", [1, 3])
def test_a_state_that_no_run_reaches(path, world):
    problem = PROBLEMS["square"]
    stopped(path, messages_of(**problem) // 2, **problem)
    arrays, fields = read_npz(path)
    arrays["holds"][:2] = 5
    fields["digest"] = digest_of(
        {name: fields[name] for name in fields if name not in ("run", "digest")}, arrays
    )
    write_npz(path, arrays, fields)
    before = path.read_bytes()
    outcomes = outcomes_of(world, lambda exchange: run(path, exchange, **problem))
    assert len({str(each) for each in outcomes}) == 1
    rule = "must give no latent to two sources; delete it to start over"
    assert re.fullmatch(f"(rank 0: )?journal '.*' {rule}", str(outcomes[0]))
    assert all(type(each) is ValueError for each in outcomes)
    assert path.read_bytes() == before


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_only_what_all_ranks_agree_on_is_saved(path, rank, told):
    """A rank that decides otherwise ends the run; the file holds a right state, or there is none.

    Slow messages let the engine poll between rounds. A rank may hear of the difference from one
    that has left.
    """
    problem = PROBLEMS["square"] | {"tolerance": 0}
    expected = match_optimal(**problem)
    at = messages_of(**problem) // 2

    def work(exchange):
        def before(number):
            if at - 6 < number < at + 6:
                time.sleep(0.06)

        def after(number, received):
            if exchange.rank == rank and number == at:
                received[16:24] = struct.pack("<q", 1 << 50)  # a value, as faulty memory gives it
            if told and exchange.rank == 0 and number == at + 1:
                difference = "ranks must choose alike, and not all chose as rank 0 did: 1"
                raise RuntimeError(f"rank 1 has left the run: RuntimeError: {difference}")

        exchange.before, exchange.after = before, after
        return run(Checkpoint(path, 0.0, remove_at_end=False), exchange, **problem)

    for found in outcomes_of(2, work):
        assert isinstance(found, RuntimeError)
        assert "not all chose as rank 0 did: 1" in str(found)
    assert path.exists()
    assert_is_optimal(parts_of(**problem, world=3, journal=path), expected)


def test_a_locked_journal_is_refused(path):
    lock = FileLock(lock_path(path))
    lock.acquire()
    outcomes = outcomes_of(2, lambda exchange: run(path, exchange, **PROBLEMS["fewer"]))
    assert {type(each) for each in outcomes} == {ValueError}
    assert "in use (this process)" in str(outcomes[1])
    lock.release()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_lock_is_free_after_a_stop_at_any_message(path, rank):
    count = 0

    def work(exchange, at):
        all_gather = exchange.all_gather

        def counted(sent, received):
            nonlocal count
            all_gather(sent, received)
            if exchange.rank == rank:
                count += 1
                if count == at:
                    raise KeyboardInterrupt

        exchange.all_gather = counted
        match_optimal_sharded(
            PROBLEMS["fewer"]["latents"][exchange.rank :: 20],
            PROBLEMS["fewer"]["sources"][exchange.rank :: 20],
            exchange=exchange,
            journal=path,
            tolerance=1.0,
        )

    run_ranks(2, lambda exchange: work(exchange, 0))
    path.unlink()
    for at in range(1, count + 1):
        count = 0
        outcomes_of(2, functools.partial(work, at=at))
        path.unlink(missing_ok=True)
        lock = FileLock(lock_path(path))
        lock.acquire()
        lock.release()


def test_ranks_need_not_see_the_file(path):
    def work(exchange):
        place = path if exchange.rank == 0 else "/nowhere/at/all"
        return run(place, exchange, **PROBLEMS["fewer"])

    assert_is_optimal(run_ranks(2, work), match_optimal(**PROBLEMS["fewer"]))

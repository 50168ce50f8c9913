"""The harness: it catches wrong answers, says what it lacks, and keeps what it measured.

Runs are tiny and nothing here looks at a time. Not here: exactness of the engine itself.
"""

from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pytest
from benchmark_cases import CASE, SCALAR, SETTINGS, Inside, entries, exact, made_up, rows, swapped

from benchmarks import modes
from benchmarks.check import WrongAnswer
from benchmarks.harness import Contest, Entry
from benchmarks.peer import Answer, Cost
from benchmarks.peers import BY_NAME
from benchmarks.process import Worker, WorkerFailed, environment

NUMPY = BY_NAME["numpy_greedy"]


@pytest.fixture
def known(monkeypatch):
    """Let the worker find peers that exist in a test alone."""

    def add(*peers):
        for one in peers:
            monkeypatch.setitem(BY_NAME, one.name, one)
        return peers

    return add


def contest(*peers, **changes) -> Contest:
    """A contest of peers inside this process."""
    found = [Entry(peer, CASE, 1) for peer in peers]
    return Contest(found, dataclasses.replace(SETTINGS, **changes), Inside())


def test_rows_carry_everything() -> None:
    ours, blocks = rows(entries(NUMPY))
    for row in (ours, blocks):
        assert len(row["seconds"]["runs"]) == 2
        assert row["pairs_a_second"]["runs"] == [100 / s for s in row["seconds"]["runs"]]
        assert row["cpu_seconds"]["median"] > 0
        assert row["peak_bytes"] > row["inputs_bytes"] == 2 * 100 * 4 * 4
        assert row["same_twice"]
        assert row["quality"]["one_to_one"]
        assert row["sgemm_ratio"]["median"] > 0
    assert (ours["checked"], blocks["checked"]) == ("identical to the oracle", "as good")
    quotients = [
        b / a for a, b in zip(*(r["seconds"]["runs"] for r in (ours, blocks)), strict=True)
    ]
    assert blocks["ratio"]["runs"] == pytest.approx(quotients)
    assert ours["int8_ratio"]["median"] > 0
    assert blocks["int8_ratio"] is None


def test_a_wrong_answer_is_an_error_and_the_others_are_timed(known) -> None:
    ran = contest(*known(made_up("right"), made_up("wrong", swapped), made_up("other")))
    with pytest.raises(WrongAnswer, match=r"^wrong, 100 × 4, isotropic: wrong, not timed: 2 of "):
        ran.run()
    right, wrong, other = ran.rows()
    assert (wrong["seconds"], wrong["wrong"]) == (None, True)
    assert right["seconds"]
    assert other["checked"] == "identical"


def test_the_next_exact_answer_is_the_reference_if_the_first_is_wrong(known) -> None:
    ran = contest(*known(made_up("wrong", swapped), made_up("right")))
    with pytest.raises(WrongAnswer, match="the oracle gives another"):
        ran.run()
    assert ran.rows()[1]["checked"] == "identical to the oracle"


def test_a_wrong_answer_of_a_peer_is_a_row(known) -> None:
    def first(latents, sources, budget):
        return Answer(np.arange(len(sources)))

    bad = dataclasses.replace(NUMPY, name="bad", match=first)
    ran = contest(*known(made_up("right"), bad))
    ran.run()
    row = ran.rows()[1]
    assert row["note"].startswith("wrong, not timed: mean cosine")
    assert (row["seconds"], row["wrong"]) == (None, False)
    (alone,) = rows([Entry(NUMPY, CASE, 1)])
    assert alone["note"] == "not run: there is no exact answer to compare it with"


def test_a_crash_of_this_project_is_an_error(known) -> None:
    def broken(latents, sources, budget):
        raise RuntimeError("an illegal memory access")

    ran = contest(*known(made_up("a"), made_up("broken", broken), made_up("b")))
    with pytest.raises(WrongAnswer, match="failed, not timed: RuntimeError: an illegal memory"):
        ran.run()
    assert ran.rows()[2]["seconds"]


def test_an_answer_that_changes_is_wrong(known) -> None:
    calls = []

    def fickle(latents, sources, budget):
        calls.append(len(sources))
        return (exact if len(calls) < 3 else swapped)(latents, sources, budget)

    ran = contest(*known(made_up("fickle", fickle)), warm_rows=64)
    with pytest.raises(WrongAnswer, match="another answer than in its checked run"):
        ran.run()
    assert calls == [64, 100, 100]  # the first rows warm it up
    assert ran.rows()[0]["seconds"] is None


def test_limits_and_missing_packages_are_rows() -> None:
    peers = [
        dataclasses.replace(NUMPY, cost=lambda n, dim, seconds: Cost(1e4, 0)),
        dataclasses.replace(BY_NAME["authors_loop"], cost=lambda n, dim, seconds: Cost(0, 1e18)),
        dataclasses.replace(BY_NAME["gtn_label:cuda"], missing=lambda: "nothing is not installed"),
    ]
    notes = [row["note"] for row in rows(entries(*peers))]
    assert notes[1] == "not run: would take about 2 h 47 min, the limit is 20.0 s (--limit)"
    assert notes[2].startswith("not run: would need about 1e+06 TB")
    assert notes[3] == "nothing is not installed"
    row = rows(entries(SCALAR), dataclasses.replace(SETTINGS, limit=1e-9))[1]
    assert (row["seconds"], row["note"]) == (None, "not timed: not finished within 0 s")


def test_data_sets_are_divided_by_isotropic() -> None:
    sections: list[dict] = []
    modes.datasets([(100, 4)], ["lattice", "isotropic", "swiss_roll"], SETTINGS, sections)
    found = sections[0]["rows"]
    assert [row["data"] for row in found] == ["isotropic", "lattice"]
    assert found[1]["against"] == ["gtn_label", "isotropic", 100, 1]
    assert found[1]["ratio"]["median"] > 0


class TestProcess:
    def test_a_slow_one_is_ended(self) -> None:
        with Worker(1, {}) as worker, pytest.raises(WorkerFailed, match="not finished within 0 s"):
            worker.ask("sgemm", 0.2, n=9, dim=2, block=[9, 9], seconds=60)

    def test_failures_are_told(self) -> None:
        with Worker(1, {}) as worker:
            with pytest.raises(WorkerFailed, match=r"KeyError: 'nothing'"):
                worker.ask("nothing")
            os.kill(worker._process.pid, signal.SIGKILL)
            with pytest.raises(WorkerFailed, match="killed, most likely for want of memory"):
                worker.ask("nothing")

    def test_environment_is_the_rows_own(self, monkeypatch) -> None:
        monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
        monkeypatch.setenv("GTN_LABEL_INSTRUCTION_SET", "scalar")
        env = environment(3, {})
        assert env["OMP_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == "3"
        assert "OPENBLAS_CORETYPE" not in env
        assert "GTN_LABEL_INSTRUCTION_SET" not in env
        assert environment(3, {"OPENBLAS_CORETYPE": "Haswell"})["OPENBLAS_CORETYPE"] == "Haswell"

    def test_large_arrays_are_mapped(self, monkeypatch, tmp_path) -> None:
        from benchmarks import worker

        np.save(tmp_path / "rows.npy", np.eye(3))
        for limit in (1, 1 << 20):
            monkeypatch.setattr(worker, "MAPPED_BYTES", limit)
            rows = worker.read(str(tmp_path / "rows.npy"))
            assert type(rows) is np.ndarray
            assert np.array_equal(rows, np.eye(3))

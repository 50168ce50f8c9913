"""The throughput: its plan, the runs that it does not start, and what it says of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from benchmark_cases import CASE, SCALAR, SETTINGS, Canned, CannedWorker

from benchmarks import harness, throughput
from benchmarks.harness import Case
from benchmarks.process import WorkerFailed
from benchmarks.session import Session
from benchmarks.targets import cuda
from benchmarks.targets.cuda import CUDA, FAISS_GPU, ON_DEVICE, TORCH_GPU
from benchmarks.throughput import Job

QUIET = dataclasses.replace(SETTINGS, core_types=(), whole=False, warm_rows=8)


class TestPlan:
    def test_the_targets_come_first_where_a_device_is(self, monkeypatch) -> None:
        for name in ("CUDA", "ON_DEVICE"):
            one = dataclasses.replace(getattr(cuda, name), missing=lambda: "")
            monkeypatch.setattr(cuda, name, one)
        shapes = ((200_000, 100), (10**6, 64), (1_281_167, 768), (10**7, 64))
        aims = [Case("isotropic", n, dim) for n, dim in shapes]
        gone = (CUDA.name, ON_DEVICE.name, "faiss_gpu", "torch_gpu")
        rest = [one for one in throughput.everybody() if one.name not in gone]
        here, greedy, best = [cuda.CUDA, cuda.ON_DEVICE], [FAISS_GPU, TORCH_GPU], cuda.best_cpu()
        grid = [aims[1], Case("isotropic", 100, 5)]
        jobs = throughput.jobs(grid, [*here, *rest, *greedy], 10, 1.0)
        assert [(job.case, job.limit) for job in jobs] == [
            *zip(aims, (15, 45, 45, 90), strict=True),
            *[(grid[1], 10), (grid[0], 10), (grid[1], 10), (grid[0], 10)],
        ]
        names = [{one.name for one in job.peers} for job in jobs]
        ours = {one.name for one in here}
        assert names[0] == ours | {best.name}
        assert names[1] == ours | {"faiss_gpu", "torch_gpu"}
        assert names[2] == names[3] == ours
        kernels = {one.name for one in rest if one.title.startswith("gtn_label, cuda:")}
        assert names[4] == ours | kernels | {best.name}
        assert names[5] == kernels | {best.name}  # nothing runs twice
        everyone = {one.name for one in [*here, *rest, *greedy]}
        assert names[6] | names[4] == everyone
        assert names[1] | names[5] | names[7] == everyone
        assert jobs[0].peers[0].kind == "contract"

    def test_without_a_device_there_is_the_grid_alone(self) -> None:
        if not CUDA.missing():
            pytest.skip("a device is here")
        jobs = throughput.jobs([CASE], [SCALAR, CUDA], 60, 1.0)
        assert jobs == [Job(CASE, (SCALAR, CUDA), 60)]


def test_a_backend_keeps_its_process() -> None:
    section: dict = {}
    cases = [Case("isotropic", n, 4) for n in (100, 200)]
    jobs = [Job(case, (SCALAR, CUDA), 20) for case in cases]
    throughput.throughput(jobs, QUIET, 60, None, section)
    rows = [row for row in section["rows"] if row["peer"] == SCALAR.name]
    assert [row["checked"] for row in rows] == ["identical to the oracle"] * 2
    assert all(row["seconds"] and row["quality"] is None for row in rows)
    with Session(60) as session:
        worker = session.take("key", 1, {})
        session.give_back("key", worker, True)
        assert session.take("key", 1, {}) is worker
        worker.close()


def test_a_later_turn_is_compared_with_the_first_answer() -> None:
    session = Canned(lambda n: 0.1)
    harness.Contest([harness.Entry(SCALAR, CASE, 1)], QUIET, session).run()
    session.digests[CASE] = "another"
    again = harness.Contest([harness.Entry(SCALAR, CASE, 1)], QUIET, session)
    with pytest.raises(harness.WrongAnswer, match="another answer than that of the backends"):
        again.run()


def test_a_device_that_cannot_be_rated_is_told() -> None:
    if not CUDA.missing():
        pytest.skip("a device is here")
    with Session(60) as session:
        shape = cuda.rated_shape(True, 0.01)
        assert "Error" in throughput.device_rates(session, shape)["failed"]


class TestForecast:
    def test_grows_as_the_last_two_sizes_did(self) -> None:
        session = Session(60)
        small, middle, large = (Case("isotropic", n, 5) for n in (10, 100, 1000))
        assert session.forecast(SCALAR, large) == 0
        session.learn(SCALAR, small, 2.0)
        assert session.forecast(SCALAR, small) == 0
        assert session.forecast(SCALAR, large) == pytest.approx(2e4)
        assert session.forecast(SCALAR, Case("isotropic", 1000, 6)) == 0
        session.learn(SCALAR, middle, 2.0 * 10**1.5)
        assert session.forecast(SCALAR, large) == pytest.approx(2.0 * 10**3)
        session.learn(SCALAR, middle, 1.0)  # faster than the smaller one: never less than n
        assert session.forecast(SCALAR, large) == pytest.approx(10)
        session.learn(SCALAR, middle, np.inf)
        assert session.forecast(SCALAR, large) == np.inf


class TestLimits:
    cases = tuple(Case("isotropic", n, 5) for n in (10, 100, 1000, 3000))

    def rows(self, seconds, budget: float = 1e4, limit: float = 60) -> list[dict]:
        self.session = Canned(seconds, budget)
        settings, found = dataclasses.replace(QUIET, limit=limit), []
        for case in self.cases:
            contest = harness.Contest([harness.Entry(SCALAR, case, 1)], settings, self.session)
            contest.run()
            found += contest.rows()
        return found

    def test_what_would_exceed_the_limit_is_not_started(self) -> None:
        small, middle, large, huge = self.rows(lambda n: n * n / 1e4)
        assert small["seconds"]["runs"] == [0.01, 0.01]
        assert middle["note"] == ""
        words = "not run: judged by smaller n, would exceed the limit of 1 min 00 s a row"
        assert (large["note"], large["seconds"], huge["seconds"]) == (words, None, None)
        assert set(self.session.ran) == {10, 100}

    def test_one_timed_run_must_do_where_two_would_exceed_it(self) -> None:
        row = self.rows(lambda n: 40.0)[0]
        assert row["seconds"]["runs"] == [40.0, None]
        assert self.session.ran == [10, 10]  # which larger ones would exceed too

    def test_the_checked_run_must_do_where_the_budget_ends(self) -> None:
        row = self.rows(lambda n: 20.0, budget=30)[0]
        assert row["note"] == "one run, the one that was checked"
        assert row["seconds"]["runs"] == [20.0, None]

    def test_what_was_ended_is_not_tried_at_larger_n(self) -> None:
        rows = self.rows(lambda n: 0.1 if n < 100 else 1e3)
        assert rows[1]["note"] == "not timed: not finished within 60 s"
        assert rows[2]["note"] == rows[3]["note"] == "not run: a smaller n exceeded the limit"

    def test_the_budget_ends_it(self) -> None:
        rows = self.rows(lambda n: 0.1, budget=1e-9)
        assert rows[0]["note"] == "not run: would exceed what is left of the budget of 1e-09 s"
        assert self.session.ran == []

    def test_memory_is_asked_for_first(self) -> None:
        entry = harness.Entry(SCALAR, Case("isotropic", 10**11, 768), 1)
        contest = harness.Contest([entry], QUIET, Canned(None))
        contest.run()
        assert contest.rows()[0]["note"].startswith("not run: would need about 1843 TB, ")

    def test_a_process_that_dies_later_is_told(self, monkeypatch) -> None:
        real = CannedWorker.ask

        def dying(self, what, patience=None, /, **arguments):
            if what == "run" and self.session.ran:
                raise WorkerFailed("its process died of SIGSEGV")
            return real(self, what, patience, **arguments)

        monkeypatch.setattr(CannedWorker, "ask", dying)
        contest = harness.Contest([harness.Entry(SCALAR, CASE, 1)], QUIET, Canned(lambda n: 0.1))
        with pytest.raises(harness.WrongAnswer, match="run 1 failed: its process died of SIGSEGV"):
            contest.run()
        assert contest.rows()[0]["seconds"] is None

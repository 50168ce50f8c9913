"""The throughput command: what it starts, what it refuses to time, and what it says of the rest.

Runs are tiny and nothing here looks at a time. Not here: the harness and the other command
(test_benchmarks.py), what is run by default and what is said of it
(test_benchmarks_throughput_plan.py), what needs a GPU (test_benchmarks_gpu.py).
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gtn_label
from benchmark_settings import SETTINGS
from benchmarks import __main__ as command
from benchmarks import (
    check,
    data,
    report,
    throughput_command,
    throughput_plan,
)
from benchmarks import throughput_report as tables
from benchmarks.answer import Answer
from benchmarks.harness import Case
from benchmarks.peer import Budget, Peer
from benchmarks.peers import BY_NAME
from benchmarks.process import OutOfTime, RequestFailed, WorkerFailed, environment
from benchmarks.throughput import Forecast, Job, Process, Throughput
from benchmarks.worker import Server, answer

ROOT = Path(__file__).resolve().parent.parent
SCALAR = BY_NAME["gtn_label:scalar"]
CASE = Case("isotropic", 300, 4)


def exact(latents, sources, budget: Budget) -> Answer:
    result = gtn_label.match(latents, sources, threads=budget.threads)
    return Answer(np.array(result.assignment), stats=dict(result.stats))


def swapped(latents, sources, budget: Budget) -> Answer:
    found = exact(latents, sources, budget)
    found.assignment[[3, 4]] = found.assignment[[4, 3]]
    return found


def peer(name: str, match=exact, **more) -> Peer:
    return Peer(name, f"the {name}", "contract", match, "", "", **more)


class Inside(Process):
    """The process is this one."""

    def _start(self):
        server = Server()

        def ask(request, seconds=None):
            reply = answer(server, json.loads(json.dumps(request)))
            if "error" in reply:
                raise RequestFailed(reply["error"], reply["wrong"])
            return reply

        return SimpleNamespace(ask=ask, close=lambda: None)


class Canned(Process):
    """Runs take as long as it is told, by name and n, and all answers agree."""

    def __init__(self, seconds):
        super().__init__(SETTINGS)
        self.seconds, self.ran = seconds, []

    def run(self, peer, case, save, seconds):
        self.ran.append((peer.name, case.n))
        takes = self.seconds(peer.name, case.n)
        if takes > seconds:
            raise OutOfTime(f"not finished within {seconds:.0f} s")
        if save:
            np.save(save, np.arange(3))
        return {"seconds": takes, "stats": {}, "digest": "same"}

    def ask(self, what, arguments, seconds=None):
        return {"passed": "identical"}


@pytest.fixture
def known(monkeypatch):
    """Let the worker find peers that exist in a test alone."""

    def add(*peers: Peer) -> tuple[Peer, ...]:
        for one in peers:
            monkeypatch.setitem(BY_NAME, one.name, one)
        return peers

    return add


def run(jobs, process=None, budget=1e4, **settings) -> list[dict]:
    section: dict = {"kind": "throughput", "title": "isotropic"}
    changed = dataclasses.replace(SETTINGS, **settings)
    Throughput(changed, budget, section, process).run(jobs)
    return section["rows"]


class TestForecast:
    def test_grows_as_the_last_two_sizes_did(self) -> None:
        forecast = Forecast()
        small, middle, large = (Case("isotropic", n, 5) for n in (10, 100, 1000))
        assert forecast.seconds(SCALAR, large) == 0
        forecast.learn(SCALAR, small, 2.0)
        assert forecast.seconds(SCALAR, small) == 0
        assert forecast.seconds(SCALAR, large) == pytest.approx(2e4)
        assert forecast.seconds(SCALAR, Case("isotropic", 1000, 6)) == 0
        forecast.learn(SCALAR, middle, 2.0 * 10**1.5)
        assert forecast.seconds(SCALAR, large) == pytest.approx(2.0 * 10**3)
        forecast.learn(SCALAR, middle, 1.0)  # faster than the smaller one: never less than n
        assert forecast.seconds(SCALAR, large) == pytest.approx(10)
        forecast.learn(SCALAR, middle, np.inf)
        assert forecast.seconds(SCALAR, large) == np.inf


class TestRuns:
    def test_rows_carry_everything(self) -> None:
        others = [peer for peer in throughput_plan.everybody() if peer.name != SCALAR.name]
        first, *rows = run([Job(CASE, (SCALAR, *others), 20)])
        assert first["checked"] == "identical to the oracle"
        assert first["process"] == 1
        assert first["pairs_a_second"]["runs"] == [300 / s for s in first["seconds"]["runs"]]
        assert len(first["seconds"]["runs"]) == 2
        assert first["stats"]["instruction_set"] == "scalar"
        assert first["threads"] == 1
        for one, row in zip(others, rows, strict=True):
            assert row["missing"] == one.missing()
            if row["missing"]:
                assert (row["seconds"], row["note"]) == (None, row["missing"])
                assert "not available here" in row["note"]
            else:
                assert row["checked"] in ("identical", "as good")
                assert row["pairs_a_second"]["median"] > 0
                coded = row["stats"].get("arithmetic", "").startswith("int8")
                assert (row["int8_ratio"] is not None) == (
                    coded and row["stats"].get("backend") == "cpu"
                )

    def test_a_wrong_answer_is_not_timed_and_the_others_are(self, known) -> None:
        peers = known(peer("right"), peer("wrong", swapped), peer("other"))
        section: dict = {"kind": "throughput", "title": "isotropic"}
        with pytest.raises(check.WrongAnswer, match="the wrong: wrong, not timed: 2 of 300"):
            Throughput(SETTINGS, 1e4, section, Inside(SETTINGS)).run([Job(CASE, peers, 20)])
        right, wrong, other = section["rows"]
        assert wrong["seconds"] is None
        assert "the first is source 3" in wrong["note"]
        assert right["seconds"]
        assert other["seconds"]

    def test_the_next_one_is_the_reference_if_the_first_is_wrong(self, known) -> None:
        peers = known(peer("wrong", swapped), peer("right"))
        section: dict = {"kind": "throughput", "title": "isotropic"}
        with pytest.raises(check.WrongAnswer, match="the oracle gives another"):
            Throughput(SETTINGS, 1e4, section, Inside(SETTINGS)).run([Job(CASE, peers, 20)])
        assert section["rows"][1]["checked"] == "identical to the oracle"

    def test_a_later_turn_is_held_to_the_first_answer(self, known) -> None:
        def late(latents, sources, budget):
            return swapped(latents, sources, budget)

        known(peer("right"), peer("late", late))
        server = Inside(SETTINGS)
        passed = server.ask

        def lenient(what, arguments, seconds=None):  # a sample that misses what is wrong
            return {"passed": "99"} if what == "check" else passed(what, arguments, seconds)

        server.ask = lenient
        section: dict = {"kind": "throughput", "title": "isotropic"}
        jobs = [Job(CASE, (BY_NAME[name],), 9) for name in ("right", "late")]
        with pytest.raises(check.WrongAnswer, match="another answer than that of the backends"):
            Throughput(SETTINGS, 1e4, section, server).run(jobs)

    def test_an_answer_that_changes_is_wrong(self, known) -> None:
        calls = []

        def fickle(latents, sources, budget):
            calls.append(len(sources))
            return (exact if len(calls) < 3 else swapped)(latents, sources, budget)

        (fickle_peer,) = known(peer("fickle", fickle))
        section: dict = {"kind": "throughput", "title": "isotropic"}
        with pytest.raises(check.WrongAnswer, match="another answer than in its checked run"):
            Throughput(SETTINGS, 1e4, section, Inside(SETTINGS)).run([Job(CASE, (fickle_peer,), 9)])
        assert calls == [256, 300, 300]  # the first rows warm it up
        assert section["rows"][0]["seconds"] is None

    def test_failures_start_a_new_process_and_are_told(self, known) -> None:
        def broken(latents, sources, budget):
            raise RuntimeError("an illegal memory access")

        process = Inside(SETTINGS)
        rows = run([Job(CASE, known(peer("a"), peer("broken", broken), peer("b")), 9)], process)
        assert rows[1]["note"] == "failed: RuntimeError: an illegal memory access"
        assert rows[1]["wrong"] is False
        assert rows[2]["checked"] == "identical"
        assert (rows[0]["process"], rows[2]["process"], process.starts) == (1, 2, 2)

    def test_greedy_in_float32_needs_an_answer_to_be_held_to(self, known) -> None:
        greedy = dataclasses.replace(BY_NAME["numpy_greedy"], name="greedy")
        bad = dataclasses.replace(
            greedy,
            name="bad",
            match=lambda latents, sources, budget: Answer(np.arange(len(sources))),
        )
        known(greedy, bad)
        (alone,) = run([Job(CASE, (greedy,), 9)], Inside(SETTINGS))
        assert alone["note"] == "not run: there is no exact answer to hold it to"
        _, row, wrong = run([Job(CASE, (SCALAR, greedy, bad), 9)], Inside(SETTINGS))
        assert row["checked"] == "as good"
        assert row["seconds"]
        assert wrong["note"].startswith("wrong, not timed: mean cosine")
        assert wrong["wrong"] is False  # of this project's rows alone that is an error


class TestLimits:
    sizes = tuple(Case("isotropic", n, 5) for n in (10, 100, 1000, 10_000))

    def rows(self, seconds, budget=1e4, limit=60) -> list[dict]:
        self.process = Canned(seconds)
        return run([Job(case, (SCALAR,), limit) for case in self.sizes], self.process, budget)

    def test_what_would_exceed_the_limit_is_not_started(self) -> None:
        small, middle, large, huge = self.rows(lambda name, n: n * n / 1e4)
        assert small["seconds"]["runs"] == [0.01, 0.01]
        assert middle["note"] == ""
        assert large["note"] == (
            "not run: judged by smaller n, would exceed the limit of 1 min 00 s a row"
        )
        assert (large["seconds"], huge["seconds"]) == (None, None)
        assert {n for _, n in self.process.ran} == {10, 100}

    def test_one_run_must_do_where_two_would_exceed_it(self) -> None:
        row = self.rows(lambda name, n: 40.0)[0]
        assert row["seconds"]["runs"] == [40.0, None]
        assert row["note"] == "one run, the one that was checked"
        assert self.process.ran == [(SCALAR.name, 10)]  # which larger ones would exceed too

    def test_what_was_ended_is_not_tried_at_larger_n(self) -> None:
        rows = self.rows(lambda name, n: 0.1 if n < 100 else 1e3)
        assert rows[1]["note"] == "not timed: not finished within 60 s"
        assert rows[2]["note"] == rows[3]["note"] == "not run: a smaller n exceeded the limit"

    def test_the_budget_ends_it(self, monkeypatch) -> None:
        rows = self.rows(lambda name, n: 0.1, budget=1e-9)
        assert rows[0]["note"] == "not run: would exceed what is left of the budget of 1e-09 s"
        assert self.process.ran == []

    def test_memory_is_asked_for_first(self) -> None:
        (row,) = run([Job(Case("isotropic", 10**11, 768), (SCALAR,), 9)], Canned(None))
        assert row["note"].startswith("not run: would need about 1843 TB, ")

    def test_a_process_that_dies_later_is_told(self, monkeypatch) -> None:
        process = Canned(lambda name, n: 0.1)
        real, runs = process.run, []

        def dying(*arguments):
            runs.append(arguments)
            if len(runs) > 1:
                raise WorkerFailed("its process died of SIGSEGV")
            return real(*arguments)

        process.run = dying
        (row,) = run([Job(CASE, (SCALAR,), 9)], process)
        assert row["note"] == "failed after its checked run: its process died of SIGSEGV"
        assert row["seconds"] is None


class TestChecks:
    @pytest.mark.parametrize("name", ["isotropic", "duplicated", "lattice", "tight_cone"])
    def test_in_blocks_it_finds_what_the_oracle_does(self, name: str, monkeypatch) -> None:
        monkeypatch.setattr(check, "WHOLE_WORK", 0)
        monkeypatch.setattr(check, "MOST_COPIED", 0)
        monkeypatch.setattr(check, "BLOCK_ELEMENTS", 200)
        latents, sources = data.latents(name, 400, 6), data.sources(400, 6)
        right = np.array(gtn_label.match(latents, sources).assignment)
        assert "choices are the contract's" in check.check_exact(latents, sources, right, 800)
        order = np.argsort(np.linalg.norm(sources.astype(np.float64), axis=1))
        for a, b in ((0, 1), (0, 399), (200, 333)):
            wrong = right.copy()
            wrong[order[[a, b]]] = wrong[order[[b, a]]]
            with pytest.raises(check.WrongAnswer, match=f"position {a}: source .* contract gives"):
                check.check_exact(latents, sources, wrong, 800)

    def test_memory_of_blocks_is_bounded(self) -> None:
        rows = np.zeros((10_000_000, 64), np.float16)
        blocks = check.blocks_of(rows)
        assert max(block.stop - block.start for block in blocks) * 64 <= check.BLOCK_ELEMENTS
        assert sum(len(rows[block]) for block in blocks) == len(rows)


class TestCommand:
    def test_end_to_end(self, tmp_path: Path) -> None:
        prefix = tmp_path / "small"
        arguments = ["--n", "300,600", "--dim", "5,20", "--peers", "gtn_label:scalar,*:cuda*"]
        arguments += ["--quick", "--threads", "1", "--out", str(prefix)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "throughput", *arguments],
            cwd=ROOT,
            env=environment(1, {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        record = json.loads(prefix.with_suffix(".json").read_text())
        (section,) = record["sections"]  # no targets where problems were named
        rows = [row for row in section["rows"] if row["peer"] == "gtn_label:scalar"]
        assert [(row["n"], row["dim"]) for row in rows] == [
            (300, 5),
            (300, 20),
            (600, 5),
            (600, 20),
        ]
        assert all(row["seconds"] for row in rows)
        assert done.stdout == prefix.with_suffix(".md").read_text()
        assert "| pairs a second | n = 300 | n = 600 |" in done.stdout
        assert "identical to the oracle" in done.stderr
        copy = tmp_path / "copy.json"
        copy.write_text(json.dumps(record))
        assert report.render(copy) == done.stdout.replace("small.svg", "copy.svg")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--peers", "bsp_ot"], "no peer of the throughput 'bsp_ot'"),
            (["--n", "1"], "an n under 2"),
            (["--n", "ten"], "at least 1"),
            (["--dim", "5,0"], "at least 1"),
            (["--budget", "0"], "not a positive number"),
            (["--shape", "10x2"], "unrecognized arguments"),
        ],
    )
    def test_wrong_usage(self, arguments, message, capsys) -> None:
        with pytest.raises(SystemExit) as stopped:
            command.main(["throughput", *arguments])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

    def test_nothing_timed_is_a_failure_and_leaves_no_plot(self, tmp_path: Path, capsys) -> None:
        absent = next(p for p in throughput_plan.everybody() if p.missing())
        picture = tmp_path / "t.svg"
        picture.write_text("of an earlier run")
        arguments = ["--quick", "--n", "50", "--dim", "3", "--peers", absent.name]
        assert throughput_command.main([*arguments, "--out", str(tmp_path / "t")]) == 1
        assert "nothing could be timed: the table says why" in capsys.readouterr().err
        text = (tmp_path / "t.md").read_text()
        assert "### dim" not in text
        assert absent.missing() in text
        assert not picture.exists()

    def test_targets_are_told_even_if_it_is_interrupted(self, monkeypatch) -> None:
        class Interrupted:
            def __init__(self, settings, budget, section) -> None:
                section["rows"] = []

            def rate_device(self, shape) -> None:
                pass

            def run(self, jobs) -> None:
                raise KeyboardInterrupt

        monkeypatch.setattr(throughput_command, "Throughput", Interrupted)
        sections: list[dict] = []
        options = throughput_command.parser().parse_args(["--quick"])
        with pytest.raises(KeyboardInterrupt):
            throughput_command.measure(options, SETTINGS, sections)
        assert [section["kind"] for section in sections] == ["throughput", "aims"]
        assert "Every n was multiplied by 0.002: a trial" in tables.text(sections[1:], "")

"""The throughput command: what it starts, what it refuses to time, and what it says of the rest.

Runs are tiny and nothing here looks at a time. Not here: the harness and the other command
(test_benchmarks.py), what needs a GPU (test_benchmarks_gpu.py).
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
    harness,
    plot,
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
from benchmarks.throughput_plan import CUDA, FAISS_GPU, ON_DEVICE
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


class TestPlan:
    def here(self, monkeypatch) -> None:
        """Let there be a device."""
        for name in ("CUDA", "ON_DEVICE", "FAISS_GPU", "TORCH_GPU"):
            one = dataclasses.replace(getattr(throughput_plan, name), missing=lambda: "")
            monkeypatch.setattr(throughput_plan, name, one)

    def test_the_issues_problems_come_first_where_a_device_is(self, monkeypatch) -> None:
        self.here(monkeypatch)
        aims = [Case("isotropic", n, dim) for n, dim in ((200_000, 100), (10**6, 64))]
        aims += [Case("isotropic", n, dim) for n, dim in ((10**7, 64), (1_281_167, 768))]
        peers = [*throughput_plan.everybody()]
        peers = [one for one in peers if one.name not in (CUDA.name, ON_DEVICE.name)]
        peers += [throughput_plan.CUDA, throughput_plan.ON_DEVICE]
        grid = [Case("isotropic", 10**6, 64), Case("isotropic", 100, 5)]
        jobs = throughput_plan.jobs(grid, peers, 60, 1.0)
        assert [job.case for job in jobs] == [*aims, grid[1], grid[0]]
        assert [job.limit for job in jobs] == [60, 60, 120, 60, 60, 60]
        names = [{one.name for one in job.peers} for job in jobs]
        assert names[0] >= {"gtn_label:cuda", "gtn_label:cuda_on_device"}
        assert throughput_plan.best_cpu().name in names[0]
        assert not names[1] & names[5]  # nothing runs twice
        assert names[1] | names[5] >= {one.name for one in peers} - {"faiss_gpu", "torch_gpu"}
        assert jobs[0].peers[0].kind == "contract"

    def test_without_a_device_there_is_the_grid_alone(self) -> None:
        if not CUDA.missing():
            pytest.skip("a device is here")
        jobs = throughput_plan.jobs([CASE], [SCALAR, CUDA], 60, 1.0)
        assert jobs == [Job(CASE, (SCALAR, CUDA), 60)]

    def row(self, one: Peer, n: int, dim: int, seconds: float, **more) -> dict:
        backend = "cuda" if one in (CUDA, ON_DEVICE) else "cpu"
        stats = {"backend": backend, "instruction_set": "mma", "peak_work_bytes": 60}
        row = {"peer": one.name, "kind": one.kind, "data": "isotropic", "n": n, "dim": dim}
        row |= {"threads": 16, "seconds": harness.spread([seconds]), "note": "", "wrong": False}
        return row | {"stats": stats, "inputs_bytes": 100} | more

    def test_lines_are_judged_by_the_rows(self) -> None:
        cpu = throughput_plan.best_cpu()
        rows = [
            self.row(CUDA, 200_000, 100, 0.4),
            self.row(ON_DEVICE, 200_000, 100, 0.3),
            self.row(cpu, 200_000, 100, 4.4),
            self.row(CUDA, 10**6, 64, 2.0),
            self.row(FAISS_GPU, 10**6, 64, 21.0),
            self.row(CUDA, 1_281_167, 768, 31.0),
        ]
        found = {
            (line["work"], line["measures"]): (
                line["result"],
                line["figure"] and line["figure"]["median"],
            )
            for line in throughput_plan.lines(rows, 16, 1.0)
        }
        judged = {" ".join(key): value for key, value in found.items()}
        assert judged["200,000 × 100 seconds, from the host"] == ("pass", 0.4)
        assert judged["200,000 × 100 seconds, rows on the device"] == ("pass", 0.3)
        slow = "200,000 × 100 times faster than the CPU backend with 16 threads"
        assert judged[slow] == ("FAIL", pytest.approx(11))
        flat = "1,000,000 × 64 times faster than greedy over FAISS flat blocks on a GPU"
        assert judged[flat] == ("pass", 10.5)
        assert judged["1,281,167 × 768 seconds, from the host"] == ("FAIL", 31.0)
        assert judged["10,000,000 × 64 seconds, from the host"] == ("not measured", None)

    def test_one_wrong_row_fails_the_line_on_equality(self) -> None:
        rows = [self.row(CUDA, 10, 5, 1.0), self.row(CUDA, 20, 5, 1.0, wrong=True)]
        assert throughput_plan.equality(rows)["result"] == "FAIL"
        assert throughput_plan.equality(rows)["figure"]["median"] == 0.5
        assert throughput_plan.equality(rows[:1])["result"] == "pass"
        assert throughput_plan.equality([])["result"] == "not measured"

    def test_lines_without_a_device_say_why(self) -> None:
        lines = throughput_plan.lines([], 2, 0.001)
        assert {line["result"] for line in lines} == {"not measured"}
        why = CUDA.missing() or "not run"
        assert {line["note"] for line in lines} == {why}
        assert {line["work"] for line in lines} >= {"200 × 100", "10,000 × 64", "all"}


class TestTables:
    def row(self, title: str, n: int, seconds: float | None, backend: str = "cpu", **more) -> dict:
        spread = harness.spread([seconds])
        rate = harness.spread([n / seconds]) if seconds else None
        row = {"peer": title, "title": title, "n": n, "dim": 5, "seconds": spread}
        row |= {"pairs_a_second": rate, "int8_ratio": None, "note": "", "missing": ""}
        row |= {"checked": "identical", "process": 1}
        return row | {"stats": {"backend": backend, "seconds": {"search": 0.5}}} | more

    def text(self, rows) -> str:
        section = {"kind": "throughput", "title": "isotropic", "rows": rows, "floors": []}
        return tables.text([section | {"limit": 60, "budget": 600}], "")

    def test_figures_by_hand(self) -> None:
        text = self.text(
            [
                self.row("slow", 1000, 2.0, int8_ratio=harness.spread([0.25])),
                self.row("fast", 1000, 0.004, "cuda"),
                self.row("slow", 10_000, None, note="not run: too long"),
                self.row("other", 10_000, None, note="not run: too long"),
                self.row("fast", 10_000, 0.01, "cuda"),
                self.row("gone", 1000, None, missing="no device", note="no device"),
            ]
        )
        assert "| pairs a second | n = 1,000 | n = 10,000 |" in text
        assert "\n| slow | 500 | – |\n| fast | 250,000 | 1,000,000 |\n" in text
        assert (
            "per cent | n = 1,000 | n = 10,000 |\n| --- | ---: | ---: |\n| slow | 25 | – |" in text
        )
        assert (
            "CPU backend | n = 1,000 | n = 10,000 |\n| --- | ---: | ---: |\n| fast | 500 | – |"
            in text
        )
        assert "- slow; other: n = 10,000: not run: too long.\n" in text
        assert "| gone | no device |" in text
        assert "| slow | 1 of 2 problems timed, 2 checked |" in text
        assert text.count("gone") == 1
        assert "| fast: 1,000 × 5 | 0.004 | 0.5 |" in text

    def test_ratios_are_of_one_process(self) -> None:
        rows = [self.row("slow", 1000, 2.0), self.row("fast", 1000, 0.5, "cuda", process=2)]
        assert tables.over_cpu(rows[1], rows) is None
        assert tables.over_cpu({**rows[1], "process": 1}, rows) == 4

    def test_rates_are_drawn(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        rows = [self.row("slow", 1000, 2.0), self.row("slow", 10_000, None)]
        section = {"kind": "throughput", "title": "isotropic", "rows": rows, "floors": []}
        assert plot.draw([section], tmp_path / "a.svg")
        drawn = (tmp_path / "a.svg").read_text()
        assert "pairs a second" in drawn
        assert "10,000" in drawn
        assert not plot.draw([{**section, "rows": rows[1:]}], tmp_path / "b.svg")


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

    def test_targets_are_told_even_if_it_is_interrupted(self, monkeypatch) -> None:
        class Interrupted:
            def __init__(self, settings, budget, section) -> None:
                section["rows"] = []

            def run(self, jobs) -> None:
                raise KeyboardInterrupt

        monkeypatch.setattr(throughput_command, "Throughput", Interrupted)
        sections: list[dict] = []
        options = throughput_command.parser().parse_args(["--quick"])
        with pytest.raises(KeyboardInterrupt):
            throughput_command.measure(options, SETTINGS, sections)
        assert [section["kind"] for section in sections] == ["throughput", "aims"]
        assert "Every n was multiplied by 0.002: a trial" in tables.text(sections[1:], "")

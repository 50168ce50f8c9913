"""Targets: every line can pass and fail, and none is judged by rows of another problem."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from benchmark_cases import SETTINGS
from test_markdown import DEVICE

from benchmarks import figures, results
from benchmarks.harness import Case, Entry
from benchmarks.peer import Peer
from benchmarks.peers import OURS
from benchmarks.targets import cpu, cuda
from benchmarks.targets.cuda import CUDA, FAISS_GPU, ON_DEVICE


class TestCpu:
    def row(self, entry: Entry, seconds: list[float], **more) -> dict:
        row = {"peer": entry.peer.name, "kind": entry.peer.kind, "data": entry.case.data}
        row |= {"n": entry.case.n, "dim": entry.case.dim, "threads": entry.threads, "note": ""}
        row |= {"seconds": figures.spread(seconds), "peak_bytes": 300, "inputs_bytes": 100}
        row["sgemm_ratio"] = figures.spread([6 / s for s in seconds])
        return row | {"stats": {"instruction_set": "avx2"}} | more

    def test_every_line_can_pass_and_fail(self) -> None:
        for _, entries, lines in cpu.plan(SETTINGS, 1.0):
            rows = [self.row(e, [1.0 * e.case.n, 2.0 * e.case.n]) for e in entries]
            for line in lines:
                judged = line.judge(rows)
                assert judged["figure"]["median"] > 0, line
                easy = dataclasses.replace(line, limit=1e-9 if line.at_least else 1e9)
                hard = dataclasses.replace(line, limit=1e9 if line.at_least else 1e-9)
                if judged["result"] == "not here":
                    assert line.instruction_set in judged["note"]
                    continue
                assert easy.judge(rows)["result"] == "pass"
                assert hard.judge(rows)["result"] == "FAIL"
                assert line.judge([])["result"] == "not measured"

    def test_figures_by_hand(self) -> None:
        base = Entry(OURS, Case("isotropic", 100, 4), 1)
        assert cpu.memory([self.row(base, [1.0])])["median"] == 3
        sizes = [
            self.row(dataclasses.replace(base, case=Case("isotropic", n, 4)), [n**2.0, n**1.0])
            for n in (10, 20, 40)
        ]
        assert cpu.growth(sizes)["runs"] == pytest.approx([2, 1])

    def test_faiss_is_divided_by_the_greedy_over_it(self) -> None:
        ((entries, line),) = [
            (entries, line)
            for _, entries, lines in cpu.plan(SETTINGS, 1.0)
            for line in lines
            if "faiss:python" in line.work
        ]
        assert (line.limit, line.at_least) == (1.2, False)
        rows = [self.row(e, [11.0 if e.peer.name == "gtn_label:faiss" else 10.0]) for e in entries]
        judged = line.judge(rows)
        assert (judged["figure"]["median"], judged["result"]) == (1.1, "pass")

    def test_the_issues_lines_are_all_there(self) -> None:
        plan = cpu.plan(SETTINGS, 1.0)
        works = {line.work for _, _, lines in plan for line in lines}
        for shape in ("100,000 × 100", "202,599 × 100", "50,000 × 768", "100,000 × 2"):
            assert any(work.startswith(shape) for work in works)
        assert {"1,000,000 × 3, clustered", "1,000,000 × 5, isotropic"} <= works
        small = cpu.plan(SETTINGS, 0.01)
        assert max(e.case.n for _, entries, _ in small for e in entries) == 10_000
        titles = [title for title, *_ in small]
        assert titles[-2:] == ["1,000 × 100, data sets", "2,000 × 5, data sets"]

    def test_a_shape_chooses_its_lines(self) -> None:
        titles = [title for title, *_ in cpu.chosen(SETTINGS, 0.1, [(50_000, 768)])]
        assert titles == ["5,000 × 768, isotropic"]
        with pytest.raises(ValueError, match="that a target is about, which are 50000x768"):
            cpu.chosen(SETTINGS, 0.1, [(5, 5)])

    def test_measured_lines_are_written(self, tmp_path: Path) -> None:
        record = results.new()
        cpu.targets(SETTINGS, 0.001, [(50_000, 768)], record["sections"])
        assert record["sections"][0]["lines"][0]["result"] in ("pass", "FAIL")
        text = results.write(tmp_path / "targets", record)
        assert "a trial" in text
        assert "| 64 × 768, isotropic | times faster than the sgemm floor | ≥ 4 |" in text


class TestCuda:
    def row(self, one: Peer, n: int, dim: int, seconds: float, **more) -> dict:
        backend = "cuda" if one in (CUDA, ON_DEVICE) else "cpu"
        stats = {"backend": backend, "instruction_set": "mma", "peak_work_bytes": 160}
        stats |= {"latents_mapped": False, "sources_mapped": False}
        row = {"peer": one.name, "kind": one.kind, "data": "isotropic", "n": n, "dim": dim}
        row |= {"threads": 16, "seconds": figures.spread([seconds]), "note": "", "wrong": False}
        return row | {"stats": stats, "inputs_bytes": 100} | more

    def test_lines_are_judged_by_the_rows(self) -> None:
        rows = [
            self.row(CUDA, 200_000, 100, 0.4),
            self.row(ON_DEVICE, 200_000, 100, 0.3),
            self.row(cuda.best_cpu(), 200_000, 100, 4.4),
            self.row(CUDA, 10**6, 64, 2.0),
            self.row(FAISS_GPU, 10**6, 64, 21.0),
            self.row(CUDA, 1_281_167, 768, 31.0),
        ]
        judged = {
            f"{line['work']} {line['measures']}": (
                line["result"],
                line["figure"] and line["figure"]["median"],
            )
            for line in cuda.lines(rows, DEVICE, 16, 1.0)
        }
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
        assert cuda.equality(rows)["result"] == "FAIL"
        assert cuda.equality(rows)["figure"]["median"] == 0.5
        assert cuda.equality(rows[:1])["result"] == "pass"
        assert cuda.equality([])["result"] == "not measured"

    def test_the_scan_is_held_to_its_least_share(self) -> None:
        line = cuda.scan(DEVICE)
        assert (line["result"], line["figure"]["median"]) == ("pass", pytest.approx(0.45))
        assert line["note"] == "with first"
        assert cuda.scan({**DEVICE, "int8_operations": 2.3e15})["result"] == "FAIL"
        assert cuda.scan({})["result"] == "not measured"
        assert cuda.scan({"failed": "no memory"})["note"] == "no memory"

    def test_memory_is_that_beyond_the_inputs(self) -> None:
        case = Case("isotropic", 10, 5)
        rows = [self.row(CUDA, 10, 5, 1.0), self.row(CUDA, 20, 5, 1.0)]
        rows[1]["stats"]["peak_work_bytes"] = 1000  # not one of the problems
        assert cuda.memory(rows, [case])["figure"]["median"] == pytest.approx(0.6)
        rows[0]["stats"]["latents_mapped"] = True
        assert cuda.memory(rows, [case])["result"] == "FAIL"
        assert cuda.beyond(rows[0]) == 110
        assert cuda.beyond(self.row(ON_DEVICE, 10, 5, 1.0)) == 160
        assert cuda.memory([], [case])["result"] == "not measured"

    def test_lines_without_a_device_say_why(self) -> None:
        lines = cuda.lines([], {}, 2, 0.001)
        assert {line["result"] for line in lines} == {"not measured"}
        assert {line["note"] for line in lines} == {CUDA.missing() or "not run"}
        assert {line["work"] for line in lines} >= {"200 × 100", "10,000 × 64", "all"}

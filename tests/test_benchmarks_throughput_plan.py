"""What the throughput command runs by default, its targets, and its tables and plot.

Rows are made by hand here; test_benchmarks_throughput.py makes real ones.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks import harness, plot, throughput_plan
from benchmarks import throughput_report as tables
from benchmarks.harness import Case
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME
from benchmarks.throughput import Job
from benchmarks.throughput_plan import CUDA, FAISS_GPU, ON_DEVICE, TORCH_GPU

SCALAR = BY_NAME["gtn_label:scalar"]
CASE = Case("isotropic", 300, 4)


class TestPlan:
    device = {  # noqa: RUF012  # nobody writes to it
        "name": "a device",
        "int8_operations": 2e15,
        "fp16_operations": 1e15,
        "copied_bytes": 3e12,
        "scans": [
            {"kernel": "first", "dim": 64, "operations": 1e15, "bytes": 1e12},
            {"kernel": "first", "dim": 100, "operations": 0.9e15, "bytes": 1e12},
            {"kernel": "other", "dim": 64, "operations": 1e12, "bytes": 1e12},
        ],
    }

    def here(self, monkeypatch) -> None:
        """Let there be a device."""
        for name in ("CUDA", "ON_DEVICE"):
            one = dataclasses.replace(getattr(throughput_plan, name), missing=lambda: "")
            monkeypatch.setattr(throughput_plan, name, one)

    def test_the_issues_problems_come_first_where_a_device_is(self, monkeypatch) -> None:
        self.here(monkeypatch)
        shapes = ((200_000, 100), (10**6, 64), (1_281_167, 768), (10**7, 64))
        aims = [Case("isotropic", n, dim) for n, dim in shapes]
        gone = (CUDA.name, ON_DEVICE.name, "faiss_gpu", "torch_gpu")
        rest = [one for one in throughput_plan.everybody() if one.name not in gone]
        here = [throughput_plan.CUDA, throughput_plan.ON_DEVICE]
        greedy = [FAISS_GPU, TORCH_GPU]
        best = throughput_plan.best_cpu()
        grid = [aims[1], Case("isotropic", 100, 5)]
        jobs = throughput_plan.jobs(grid, [*here, *rest, *greedy], 10, 1.0)
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
        jobs = throughput_plan.jobs([CASE], [SCALAR, CUDA], 60, 1.0)
        assert jobs == [Job(CASE, (SCALAR, CUDA), 60)]

    def row(self, one: Peer, n: int, dim: int, seconds: float, **more) -> dict:
        backend = "cuda" if one in (CUDA, ON_DEVICE) else "cpu"
        stats = {"backend": backend, "instruction_set": "mma", "peak_work_bytes": 160}
        stats |= {"latents_mapped": False, "sources_mapped": False}
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
            for line in throughput_plan.lines(rows, self.device, 16, 1.0)
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

    def test_the_scan_is_held_to_its_least_share(self) -> None:
        line = throughput_plan.scan(self.device)
        assert (line["result"], line["figure"]["median"]) == ("pass", pytest.approx(0.45))
        assert line["note"] == "with first"
        slow = {**self.device, "int8_operations": 2.3e15}
        assert throughput_plan.scan(slow)["result"] == "FAIL"
        assert throughput_plan.scan({})["result"] == "not measured"
        assert throughput_plan.scan({"failed": "no memory"})["note"] == "no memory"

    def test_memory_is_that_beyond_the_inputs(self) -> None:
        case = Case("isotropic", 10, 5)
        rows = [self.row(CUDA, 10, 5, 1.0), self.row(CUDA, 20, 5, 1.0)]
        rows[1]["stats"]["peak_work_bytes"] = 1000  # not one of the problems
        assert throughput_plan.memory(rows, [case])["figure"]["median"] == pytest.approx(0.6)
        rows[0]["stats"]["latents_mapped"] = True
        assert throughput_plan.memory(rows, [case])["result"] == "FAIL"
        assert throughput_plan.beyond(rows[0]) == 110
        assert throughput_plan.beyond(self.row(ON_DEVICE, 10, 5, 1.0)) == 160
        assert throughput_plan.memory([], [case])["result"] == "not measured"

    def test_lines_without_a_device_say_why(self) -> None:
        lines = throughput_plan.lines([], {}, 2, 0.001)
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
        stats = {"backend": backend, "instruction_set": "a", "scan_products": 0}
        return row | {"stats": stats | {"seconds": {"search": 0.5}}} | more

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
        assert "| fast: 1,000 × 5 | – | 0.004 | 0.5 | – |" in text

    def test_a_device_is_held_to_its_ceilings(self) -> None:
        stats = {"backend": "cuda", "instruction_set": "mma", "scan_products": 12.8e12}
        stats |= {"seconds": {"search": 0.1, "total": 0.3}}
        row = self.row("fast", 1000, 0.5, "cuda", dim=100, stats=stats)
        section = {"kind": "throughput", "title": "isotropic", "rows": [row], "floors": []}
        text = tables.text([section | {"limit": 60, "budget": 9, "device": TestPlan.device}], "")
        assert "a device: 2000 · 10¹² int8 and 1000 · 10¹² float16 operations a second" in text
        assert "| first, dim 64 | 1000 · 10¹² | 50 | 1 · 10¹² | 33 |" in text
        # 100 of 128 products are of use: 2 · 10¹³ operations in 0.1 s.
        assert "| fast: 1,000 × 100 | mma | 0.5 | 0.1 | 0.3 | 10 |" in text
        failed = tables.text([section | {"limit": 60, "budget": 9, "device": {"failed": "x"}}], "")
        assert "Not measured: x." in failed

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

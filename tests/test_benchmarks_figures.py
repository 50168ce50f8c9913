"""Figures of the benchmark suite: ratios, exponents, losses told in words, lines of the targets.

Rows are made by hand here; test_benchmarks.py runs the harness that makes real ones.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import benchmark_settings
from benchmarks import harness, losses, machine, report, suite, tables, targets
from benchmarks.harness import Case, Entry
from benchmarks.peers import OURS

SETTINGS = dataclasses.replace(benchmark_settings.SETTINGS, runs=1)


class TestFigures:
    def test_exponent(self) -> None:
        assert suite.exponent([(n, 3 * n**1.5) for n in (10, 20, 40, 80)]) == pytest.approx(1.5)
        assert suite.exponent([(10, 1.0), (10, 2.0)]) is None

    def test_ratios_are_taken_within_rounds(self) -> None:
        assert harness.ratios([2.0, None, 9.0], [1.0, 1.0, 3.0]) == [2, None, 3]
        assert harness.spread([2.0, None, 3.0, 10.0])["median"] == 3
        assert harness.spread([None]) is None

    def test_shown_numbers(self) -> None:
        assert tables.share(1.0) == "100.00 %"
        assert tables.share(1 - 1e-9) == "99.99+ %"
        assert tables.figure(1234567.0) == "1234567"
        assert tables.figure(None) == "–"

    def losing(self, title, ratio, distance, smooth, kind="pairing", n=9) -> dict:
        """Return a row as far as losses.py looks at it."""
        return {
            "peer": title,
            "title": title,
            "kind": kind,
            "advice": f"use {title}",
            "data": "isotropic",
            "n": n,
            "dim": 2,
            "ratio": {"median": ratio},
            "quality": {"mean_squared_distance": distance, "learnability": smooth},
        }

    def test_losses_are_told(self) -> None:
        row = self.losing
        ours = row("gtn_label", 1, 10.0, 0.5, "contract")
        rows = [ours, row("fast", 0.5, 20.0, 0.1), row("short", 2, 5.0, 0.9), row("no", 2, 9.95, 0)]
        text = losses.text([{"title": "a problem", "rows": rows}])
        assert "Faster: fast 2 times" in text
        assert "gtn_label 10): short 5" in text
        assert "gtn_label 0.500): short 0.900" in text
        assert "- fast: use fast." in text
        assert "- no: " not in text
        assert "no peer that ran" in losses.text([{"title": "t", "rows": [ours, rows[3]]}])

    def test_losses_at_every_n_of_the_scaling_are_told(self) -> None:
        rows = [
            self.losing("gtn_label", 1, 10.0, 0.5, "contract", n=10),
            self.losing("loop", 0.5, 10.0, 0.5, n=10),
            self.losing("gtn_label", 1, 8.0, 0.5, "contract", n=20),
            self.losing("loop", 2, 8.0, 0.5, n=20),
        ]
        text = losses.text([{"title": "dim 2, isotropic", "rows": rows}])
        assert "- 10 × 2, isotropic: Faster: loop 2 times.\n" in text
        assert "- 20 × 2, isotropic: no peer that ran was faster" in text

    def test_what_was_not_measured_is_no_win(self) -> None:
        ours = self.losing("gtn_label", 1, 10.0, 0.5, "contract")
        peer = self.losing("peer", 2, 10.0, 0.5)
        for rows, words in (
            ([{**ours, "quality": None}, {**peer, "quality": None}], "no other peer was measured"),
            ([ours, {**peer, "quality": None}], "no other peer was measured"),
            ([ours, {**peer, "ratio": None}], "Checked but not timed: peer"),
        ):
            text = losses.text([{"title": "t", "rows": rows}])
            assert f"- 9 × 2, isotropic: {words}.\n" in text
            assert "no peer that ran" not in text


class TestTargets:
    def row(self, entry: Entry, seconds: list[float], **more) -> dict:
        return {
            "peer": entry.peer.name,
            "kind": entry.peer.kind,
            "data": entry.case.data,
            "n": entry.case.n,
            "dim": entry.case.dim,
            "threads": entry.threads,
            "seconds": harness.spread(seconds),
            "sgemm_ratio": harness.spread([6 / s for s in seconds]),
            "peak_bytes": 300,
            "inputs_bytes": 100,
            "stats": {"instruction_set": "avx2"},
            "note": "",
            **more,
        }

    def test_every_line_can_pass_and_fail(self) -> None:
        for _, entries, lines in targets.plan(SETTINGS, 1.0):
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
        rows = [self.row(base, [1.0, 2.0]), self.row(base, [3.0, 8.0])]
        assert targets.quotient(rows)["runs"] == [3, 4]
        rows.append(self.row(base, [2.0, 9.0]))
        assert targets.quotient(rows)["runs"] == [2, 4]
        assert targets.memory(rows)["median"] == 3
        sizes = [
            self.row(dataclasses.replace(base, case=Case("isotropic", n, 4)), [n**2.0, n**1.0])
            for n in (10, 20, 40)
        ]
        assert targets.growth(sizes)["runs"] == pytest.approx([2, 1])

    def test_the_issues_lines_are_all_there(self) -> None:
        plan = targets.plan(SETTINGS, 1.0)
        works = {line.work for _, _, lines in plan for line in lines}
        for shape in ("100,000 × 100", "202,599 × 100", "50,000 × 768", "100,000 × 2"):
            assert any(work.startswith(shape) for work in works)
        for case in ("1,000,000 × 3, clustered", "1,000,000 × 5, isotropic"):
            assert case in works
        small = targets.plan(SETTINGS, 0.01)
        assert max(e.case.n for _, entries, _ in small for e in entries) == 10_000
        assert [title for title, *_ in small][-2:] == [
            *["1,000 × 100, data sets", "2,000 × 5, data sets"]
        ]

    def test_a_shape_chooses_its_lines(self) -> None:
        titles = [title for title, *_ in targets.chosen(SETTINGS, 0.1, [(50_000, 768)])]
        assert titles == ["5,000 × 768, isotropic"]
        with pytest.raises(ValueError, match="that a target is about, which are 50000x768"):
            targets.chosen(SETTINGS, 0.1, [(5, 5)])

    def test_measured_lines_are_written(self, monkeypatch, tmp_path: Path) -> None:
        title, entries, lines = targets.plan(SETTINGS, 0.001)[2]
        monkeypatch.setattr(targets, "plan", lambda settings, scale: [(title, entries, lines)])
        sections: list[dict] = []
        targets.targets(SETTINGS, 0.001, (), sections)
        assert sections[0]["lines"][0]["result"] in ("pass", "FAIL")
        record = {
            "schema": 2,
            "circumstances": machine.circumstances(),
            "ended": "",
            "sections": sections,
        }
        text = report.write(tmp_path / "targets", record)
        assert "a trial" in text
        assert "| 64 × 768, isotropic | times faster than the sgemm floor | ≥ 4 |" in text

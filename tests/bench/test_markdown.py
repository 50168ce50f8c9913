"""Tables, plots and merging of results. Rows are made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_cases import ROOT

from benchmarks import figures, machine, markdown, plot, results

RESULTS = ROOT / "benchmarks" / "results"

DEVICE = {
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


class TestFigures:
    def test_exponent(self) -> None:
        assert figures.exponent([(n, 3 * n**1.5) for n in (10, 20, 40, 80)]) == pytest.approx(1.5)
        assert figures.exponent([(10, 1.0), (10, 2.0)]) is None

    def test_ratios_are_taken_within_rounds(self) -> None:
        assert figures.ratios([2.0, None, 9.0], [1.0, 1.0, 3.0]) == [2, None, 3]
        assert figures.spread([2.0, None, 3.0, 10.0])["median"] == 3
        assert figures.spread([None]) is None
        rows = [{"seconds": figures.spread(runs)} for runs in ([1.0, 2.0], [3.0, 8.0], [2.0, 9.0])]
        assert figures.quotient(rows[:2])["runs"] == [3, 4]
        assert figures.quotient(rows)["runs"] == [2, 4]

    def test_shown_numbers(self) -> None:
        assert markdown.share(1.0) == "100.00 %"
        assert markdown.share(1 - 1e-9) == "99.99+ %"
        assert markdown.figure(1234567.0) == "1234567"
        assert markdown.figure(None) == "–"


class TestOthersWin:
    def row(self, title, ratio, distance, smooth, kind="pairing", n=9, **more) -> dict:
        """A row as far as the section looks at it."""
        row = {"peer": title, "title": title, "kind": kind, "advice": f"use {title}", "n": n}
        quality = {"mean_squared_distance": distance, "learnability": smooth}
        row |= {"data": "isotropic", "dim": 2, "ratio": {"median": ratio}, "quality": quality}
        return row | more

    def test_losses_are_told(self) -> None:
        ours = self.row("gtn_label", 1, 10.0, 0.5, "contract")
        none = self.row("no", 2, 9.95, 0)
        rows = [ours, self.row("fast", 0.5, 20.0, 0.1), self.row("short", 2, 5.0, 0.9), none]
        text = markdown.others_win([{"rows": rows}])
        assert "Faster: fast 2 times" in text
        assert "gtn_label 10): short 5" in text
        assert "gtn_label 0.500): short 0.900" in text
        assert "- fast: use fast." in text
        assert "- no: " not in text
        assert "no peer that ran" in markdown.others_win([{"rows": [ours, none]}])

    def test_losses_at_every_n_of_the_scaling_are_told(self) -> None:
        rows = [
            self.row("gtn_label", 1, 10.0, 0.5, "contract", n=10),
            self.row("loop", 0.5, 10.0, 0.5, n=10),
            self.row("gtn_label", 1, 8.0, 0.5, "contract", n=20),
            self.row("loop", 2, 8.0, 0.5, n=20),
        ]
        text = markdown.others_win([{"rows": rows}])
        assert "- 10 × 2, isotropic: Faster: loop 2 times.\n" in text
        assert "- 20 × 2, isotropic: no peer that ran was faster" in text

    def test_what_was_not_measured_is_no_win(self) -> None:
        ours = self.row("gtn_label", 1, 10.0, 0.5, "contract")
        peer = self.row("peer", 2, 10.0, 0.5)
        for rows, words in (
            ([{**ours, "quality": None}, {**peer, "quality": None}], "no other peer was measured"),
            ([ours, {**peer, "quality": None}], "no other peer was measured"),
            ([ours, {**peer, "ratio": None}], "Checked but not timed: peer"),
        ):
            text = markdown.others_win([{"rows": rows}])
            assert f"- 9 × 2, isotropic: {words}.\n" in text
            assert "no peer that ran" not in text


class TestThroughput:
    def row(self, title: str, n: int, seconds: float | None, backend: str = "cpu", **more) -> dict:
        rate = figures.spread([n / seconds]) if seconds else None
        row = {"peer": title, "title": title, "n": n, "dim": 5, "pairs_a_second": rate}
        row |= {"seconds": figures.spread([seconds]), "int8_ratio": None, "note": "", "missing": ""}
        stats = {"backend": backend, "instruction_set": "a", "scan_products": 0}
        stats |= {"seconds": {"search": 0.5}, "arithmetic": "int8"}
        return row | {"checked": "identical", "stats": stats} | more

    def text(self, rows, **more) -> str:
        return markdown.rates({"rows": rows, "limit": 60, "budget": 600, **more})

    def test_figures_by_hand(self) -> None:
        text = self.text(
            [
                self.row("slow", 1000, 2.0, int8_ratio=figures.spread([0.25])),
                self.row("fast", 1000, 0.004, "cuda"),
                self.row("slow", 10_000, None, note="not run: too long"),
                self.row("other", 10_000, None, note="not run: too long"),
                self.row("fast", 10_000, 0.01, "cuda"),
                self.row("gone", 1000, None, missing="no device", note="no device"),
            ]
        )
        rule = " | n = 1,000 | n = 10,000 |\n| --- | ---: | ---: |\n"
        assert f"| pairs a second{rule}| slow | 500 | – |\n| fast | 250,000 | 1,000,000 |\n" in text
        assert f"int8 rate, per cent{rule}| slow | 25 | – |" in text
        assert f"the fastest CPU backend{rule}| fast | 500 | – |" in text
        assert "- slow; other: n = 10,000: not run: too long.\n" in text
        assert "| gone | no device |" in text
        assert "| slow | 1 of 2 problems timed, 2 checked |" in text
        assert text.count("gone") == 1
        assert "| fast: 1,000 × 5 | – | 0.004 | 0.5 | – |" in text

    def test_a_device_is_held_to_its_ceilings(self) -> None:
        stats = {"backend": "cuda", "instruction_set": "mma", "scan_products": 12.8e12}
        stats |= {"seconds": {"search": 0.1, "total": 0.3}}
        row = self.row("fast", 1000, 0.5, "cuda", dim=100, stats=stats)
        text = self.text([row], device=DEVICE)
        assert "a device: 2000 · 10¹² int8 and 1000 · 10¹² float16 operations a second" in text
        assert "| first, dim 64 | 1000 · 10¹² | 50 | 1 · 10¹² | 33 |" in text
        # 100 of 128 products are of use: 2 · 10¹³ operations in 0.1 s.
        assert "| fast: 1,000 × 100 | mma | 0.5 | 0.1 | 0.3 | 10 |" in text
        assert "Not measured: x." in self.text([row], device={"failed": "x"})

    def test_rates_are_drawn(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        rows = [self.row("slow", 1000, 2.0), self.row("slow", 10_000, None)]
        section = {"kind": "throughput", "title": "isotropic", "rows": rows, "floors": []}
        assert plot.draw([section], tmp_path / "a.svg")
        assert "pairs a second" in (tmp_path / "a.svg").read_text()
        assert not plot.draw([{**section, "rows": rows[1:]}], tmp_path / "b.svg")


class TestResults:
    def record(self, commit: str, *sections: tuple[str, str]) -> dict:
        """A record of targets: work and result."""
        run = {**machine.circumstances(), "commit": commit}
        made = []
        for work, result in sections:
            line = {"work": work, "measures": "times", "limit": 2, "at_least": True, "note": ""}
            line |= {"figure": figures.spread([1.0 if result == "FAIL" else 3.0])}
            line["result"] = result
            made.append({"kind": "targets", "title": work, "scale": 1, "lines": [line], "run": 0})
        return {"schema": results.SCHEMA, "ended": "", "runs": [run], "sections": made}

    def test_later_sections_replace_earlier_ones(self, tmp_path: Path) -> None:
        results.write(tmp_path / "old", self.record("a" * 40, ("x", "FAIL"), ("y", "FAIL")))
        results.write(tmp_path / "new", self.record("b" * 40, ("x", "pass"), ("z", "pass")))
        paths = [tmp_path / "old.json", tmp_path / "new.json"]
        text = results.render(paths, tmp_path / "both")
        assert "| x | times | ≥ 2 | 3 | pass |  | bbbbbbbbbbbb |\n" in text
        assert "| y | times | ≥ 2 | 1 | FAIL |  | aaaaaaaaaaaa |\n" in text
        assert text.index("| y |") < text.index("| z |")
        assert results.render([tmp_path / "both.json"], None) == text
        last = self.record("c" * 40, ("x", "pass"), ("y", "pass"), ("z", "pass"))
        merged = results.merge([results.read(tmp_path / "both.json"), last])
        assert [run["commit"] for run in merged["runs"]] == ["c" * 40]  # the others left nothing

    def test_targets_are_drawn(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        results.write(tmp_path / "a", self.record("a", ("x", "FAIL"), ("y", "pass")))
        drawn = (tmp_path / "a.svg").read_text()
        assert "FAIL" in drawn
        assert "x: times" in drawn

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text(json.dumps({**self.record("a"), "schema": 1}))
        with pytest.raises(ValueError, match="schema 3"):
            results.read(path)
        path.write_text("nothing")
        with pytest.raises(ValueError, match="is not JSON"):
            results.read(path)

    @pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
    def test_committed_tables_are_those_of_the_json(self, path: Path) -> None:
        record = results.read(path)
        text = path.with_suffix(".md").read_text(encoding="utf-8")
        assert markdown.document(record, f"{path.stem}.svg") == text
        assert path.with_suffix(".svg").exists()

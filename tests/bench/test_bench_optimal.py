"""The modes about optimal transport: contests, tables, plots and targets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from benchmark_cases import SETTINGS, Inside, entries

from benchmarks import __main__ as command
from benchmarks import figures, harness, optimal, results, transport_tables
from benchmarks.check import WrongAnswer
from benchmarks.harness import Case, Contest
from benchmarks.peer import Answer
from benchmarks.peers import BY_NAME, OURS, hiref
from benchmarks.targets import optimal as targets
from benchmarks.targets.line import Row

QUIET = dataclasses.replace(SETTINGS, core_types=(), runs=1)
CASE = Case("clustered", 90, 3)


@pytest.fixture
def inside(monkeypatch):
    """Run every contest in this process."""
    monkeypatch.setattr(harness, "Session", Inside)


def row(peer: str, case: Case, seconds: list[float], cost: float = 1.0, **more) -> Row:
    """A row as far as tables and targets look at it."""
    one = BY_NAME[peer]
    made = {"peer": peer, "title": one.title, "kind": one.kind, "data": case.data, "n": case.n}
    made |= {"dim": case.dim, "threads": 2, "note": "", "seconds": figures.spread(seconds)}
    made |= {"quality": {"mean_squared_distance": cost}, "peak_bytes": 10**9, "stats": {}}
    made["cpu_seconds"] = figures.spread([7.0])
    made |= {"against": None if one is OURS else ["gtn_label"], "ratio": figures.spread([2.0])}
    proof = None
    if one.kind == "certified":
        tolerance = {"0": 0.0}.get(peer.rpartition("_")[2], 1e-3)
        proof = {"gap": tolerance / 2, "tolerance": tolerance, "scale": 2.0}
    return made | {"certificate": proof, "map": None, "estimated": False} | more


class TestModes:
    def test_solvers_are_checked_and_timed(self, inside) -> None:
        sections: list[dict] = []
        peers = optimal.peers_of((*optimal.CERTIFIED, "scipy_assignment", "bsp_ot_16"))
        peers = [peer for peer in peers if not peer.missing()]
        optimal.optimal([CASE], peers, True, QUIET, sections)
        (section,) = sections
        assert (section["kind"], section["title"]) == ("optimal", "90 × 3, clustered")
        assert [one["peer"] for one in section["rows"]] == ["gtn_label", *(p.name for p in peers)]
        proofs = [one["certificate"] for one in section["rows"][1:4]]
        assert [proof["tolerance"] for proof in proofs] == [1e-2, 1e-3, 0]
        assert proofs[2]["gap"] < 1e-9
        assert all(one["seconds"] for one in section["rows"])
        assert all(one["int8_ratio"] is None for one in section["rows"][1:])

    def test_growth_doubles(self, inside) -> None:
        sections: list[dict] = []
        optimal.growth([CASE], [], True, QUIET, sections)
        sizes = [one["n"] for one in sections[0]["rows"]]
        assert sizes == [90] * 3 + [180] * 3
        assert sections[0]["title"] == "dim 3, clustered"

    def test_maps_divide_by_the_first(self, inside) -> None:
        sections: list[dict] = []
        optimal.maps([CASE], optimal.peers_of(["gtn_label:assign"]), True, QUIET, sections)
        (one,) = sections[0]["rows"]
        assert one["checked"] == "labels follow from prices"
        assert one["map"]["sources"] == 16 * 90
        assert one["quality"] is None

    def test_a_wrong_certificate_is_an_error_and_the_rest_runs(self, inside, monkeypatch) -> None:
        name = "gtn_label:optimal_1e-3"
        peer = BY_NAME[name]

        def boast(latents, sources, budget) -> Answer:
            answer = peer.match(latents, sources, budget)
            answer.stats["certificate"]["gap"] /= 2
            return answer

        monkeypatch.setitem(BY_NAME, name, dataclasses.replace(peer, match=boast))
        sections: list[dict] = []
        cases = [CASE, Case("isotropic", 90, 3)]
        with pytest.raises(WrongAnswer, match="the gap says"):
            optimal.optimal(cases, optimal.peers_of([name]), True, QUIET, sections)
        assert [one["wrong"] for s in sections for one in s["rows"]] == [False, True] * 2

    def test_the_plan_is_the_issues(self) -> None:
        assert {case.dim for case in optimal.CASES if case.n == 3_000} == {2, 5, 16, 64, 100}
        assert {case.n for case in optimal.CASES} == {3_000, 10_000, 100_000, 1_000_000}
        assert {case.data for case in optimal.CASES} == {"clustered", "isotropic", "codes"}
        for case in optimal.CASES:
            assert not command.data.unfit(case.data, case.n, case.dim)
        aims = [case for case, _ in targets.OVER_EXACT]
        assert {*aims, targets.LARGE, targets.HUGE} <= set(optimal.CASES)
        assert optimal.GROWN[0].n << (optimal.SIZES - 1) == 160_000

    def test_a_long_run_is_not_repeated(self) -> None:
        found = Contest(entries(), dataclasses.replace(QUIET, runs=3, once=1e-9), Inside())
        found.run()
        (only,) = found.rows()
        assert only["note"] == "one run, the one that was checked"
        assert only["seconds"]["runs"][1:] == [None, None]

    def test_settings_of_the_command(self) -> None:
        options = command.parser().parse_args(["optimal"])
        settings = command.settings_of(options, print, "optimal")
        assert (settings.runs, settings.limit, settings.once) == (3, 600, optimal.ONCE)
        assert not settings.core_types
        usual = command.settings_of(options, print, "compare")
        assert usual.once == float("inf")


class TestTables:
    def section(self) -> dict:
        rows = [
            row("gtn_label", CASE, [1.0], 3.0),
            row("gtn_label:optimal_1e-3", CASE, [2.0], 1.01),
            row("gtn_label:optimal_0", CASE, [3.0], 1.0),
            row("lapx", CASE, [30.0], 1.0, note="one thread"),
            row("bsp_ot_16", CASE, [0.5], 1.5),
            row("ortools", CASE, [None], quality=None, note="not available here: x"),
        ]
        return {"kind": "optimal", "title": str(CASE), "rows": rows, "floors": []}

    def test_figures_by_hand(self) -> None:
        text = transport_tables.solvers(self.section())
        assert "| gtn_label, Algorithm 1 | 3 | 2 | – | 1 | 1 | 1 | 7 | 1 GB |" in text
        assert "tolerance 1e-3 | 1.01 | 0.01 | 0.0005 | 0.005 | 2 | 2 | 7 | 1 GB |" in text
        assert "| lapx lapjvsa | 1 | 0 | – | 0 | 30 | 2 | 7 | 1 GB | one thread |" in text
        assert "- OR-Tools SimpleLinearSumAssignment: not available here: x.\n" in text
        alone = self.section()
        alone["rows"] = [alone["rows"][0], alone["rows"][4]]  # nobody knows the optimum
        assert "| POT BSP-OT, 16 plans | 1.5 | 0 | – | – | 0.5 |" in transport_tables.solvers(alone)

    def test_maps(self) -> None:
        found = {"sources": 10, "mean_squared_distance": 2.0, "dual": 1.5, "imbalance": 0.25}
        found |= {"never": 0.5, "never_expected": 0.0}
        stats = {"solve_seconds": 3.0, "label_seconds": 0.1}
        rows = [row("gtn_label:assign", CASE, [1.0], map=found, stats=stats)]
        rows.append(row("ott_semidiscrete", CASE, [None], note="not available here: x"))
        text = transport_tables.maps({"rows": rows})
        assert "| 10 | 1.5 | 2 | 0.25 | 50.00 % | 0.00 % | 3 | 0.1 | 1 GB |" in text
        assert "- OTT-JAX semi-discrete: not available here: x.\n" in text

    def test_a_document_with_its_plot(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        record = results.new()
        record["sections"] = [self.section(), self.growth()]
        targets.judge_again(record["sections"])
        text = results.write(tmp_path / "optimal", record)
        assert "## Optimal transport\n" in text
        assert "## Optimal transport: growing n" in text
        assert "Where others win" not in text
        drawn = (tmp_path / "optimal.svg").read_text()
        assert "cost above the best known" in drawn
        again = results.render([tmp_path / "optimal.json"], None)
        assert again == text

    def growth(self) -> dict:
        rows = []
        for n in (100, 200):
            case = Case("clustered", n, 5)
            rows += [
                row("gtn_label", case, [n / 100]),
                row("gtn_label:optimal_1e-2", case, [n**1.1]),
                row("gtn_label:optimal_1e-3", case, [n**1.5]),
            ]
        return {"kind": "growth", "title": "dim 5, clustered", "rows": rows, "floors": []}


class TestTargets:
    def line(self, lines, work: str, measures: str) -> dict:
        (found,) = [x for x in lines if x["work"].startswith(work) and measures in x["measures"]]
        return found

    def test_lines_are_judged_by_the_rows(self) -> None:
        exact, large, huge = Case("clustered", 3_000, 5), targets.LARGE, targets.HUGE
        rows = [
            row("gtn_label:optimal_0", exact, [1.0, 2.0]),
            row("lapx", exact, [15.0, None]),
            row("scipy_assignment", exact, [40.0, None]),
            row("gtn_label", large, [1.0]),
            row("gtn_label:optimal_0", large, [16.0]),
            row("gtn_label:optimal_1e-3", large, [10.0]),
            row("gtn_label:optimal_1e-2", huge, [500.0], 0.9, peak_bytes=3 * 10**9),
            row("bsp_ot_64", huge, [100.0], 1.0),
        ]
        lines = targets.lines(
            [{"kind": "optimal", "title": "", "rows": rows}, TestTables().growth()]
        )

        def result(work: str, measures: str) -> tuple:
            found = self.line(lines, work, measures)
            return found["result"], found["figure"] and found["figure"]["median"]

        faster = "fastest exact solver"
        assert result("3,000 × 5", faster) == ("pass", 15)
        assert result("3,000 × 5", "SciPy, lapx and POT") == ("pass", 15)
        assert result("3,000 × 2", faster) == ("not measured", None)
        assert result("100,000 × 100", "tolerance 0") == ("FAIL", 16)
        assert result("100,000 × 100", "tolerance 1e-3") == ("pass", 10)
        assert result("100,000 × 100", "tolerance 1e-2") == ("not measured", None)
        assert result("1,000,000 × 5", "BSP-OT") == ("pass", 0.9)
        assert result("1,000,000 × 5", "seconds") == ("pass", 500)
        assert result("1,000,000 × 5", "GB") == ("FAIL", 3)
        assert result("dim 5", "tolerance 1e-2") == ("pass", pytest.approx(0.1))
        assert result("dim 5", "tolerance 1e-3") == ("FAIL", pytest.approx(0.5))
        assert result("all", "certified gap") == ("pass", 5e-4)
        assert result("all", "bears out") == ("pass", 1)
        assert result("all", "less 1, the most") == ("pass", 0)

    def test_certificates_can_fail(self) -> None:
        wide = {"gap": 2e-3, "tolerance": 1e-3, "scale": 2.0}
        rows = [
            row("gtn_label:optimal_1e-3", CASE, [1.0], 1.1, certificate=wide),
            row("gtn_label:optimal_0", CASE, [1.0], 1.01),
            row("lapx", CASE, [1.0], 1.0),
        ]
        lines = targets.lines([{"kind": "optimal", "title": "", "rows": rows}])
        for measures in ("certified gap", "bears out", "less 1, the most"):
            assert self.line(lines, "all", measures)["result"] == "FAIL"
        assert self.line(lines, "all", "bears out")["figure"]["median"] == 0

    def test_parts_of_two_files_are_judged_together(self, tmp_path: Path) -> None:
        for name, section in (("a", TestTables().section()), ("b", TestTables().growth())):
            record = results.new()
            record["sections"] = [section]
            results.write(tmp_path / name, record)
        paths = [tmp_path / "a.json", tmp_path / "b.json"]
        text = results.render(paths, tmp_path / "both")
        assert "| dim 5, clustered | exponent of time less that of Algorithm 1" in text
        assert "| all | certified gap at tolerance 1e-3 and 0, the largest |" in text
        sections = results.read(tmp_path / "both.json")["sections"]
        assert [s["kind"] for s in sections].count("targets") == 1
        assert results.render([tmp_path / "both.json"], None) == text


def test_hiref_says_how_it_can_be_had(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv(hiref.VARIABLE, raising=False)
    assert "must name a clone of github.com/peterhalmos/HiRef" in BY_NAME["hiref"].missing()
    monkeypatch.setenv(hiref.VARIABLE, str(tmp_path))
    assert "must name a clone" in BY_NAME["hiref"].missing()

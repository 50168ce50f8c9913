"""The targets of optimal transport: lines that are judged by the rows of the mode optimal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figures import Spread, exponent, quotient, spread
from benchmarks.harness import Case, Entry
from benchmarks.peers import BY_NAME, OURS
from benchmarks.targets.line import Line, Row, judged, took

Section = dict[str, Any]
OPTIMUM, MILLI, CENTI = (BY_NAME[f"gtn_label:optimal_{word}"] for word in ("0", "1e-3", "1e-2"))
DENSE = tuple(BY_NAME[name] for name in ("lapx", "scipy_assignment", "pot_emd"))
EXACT = (*DENSE, BY_NAME["ortools"])
OF_DENSE = "the fastest of SciPy, lapx and POT"
OVER_EXACT = (
    (Case("clustered", 10_000, 64), 30),
    (Case("clustered", 3_000, 2), 10),
    (Case("clustered", 3_000, 5), 10),
)
LARGE, HUGE = Case("clustered", 100_000, 100), Case("clustered", 1_000_000, 5)
OVER_MATCH = ((OPTIMUM, 15), (MILLI, 12), (CENTI, 6))
CERTIFIED_GAP = 1e-3  # for rows that were asked for no more
STEEPER = 0.15  # exponent of time less that of Algorithm 1
SAME_COST = 1e-6  # what exact solvers in float64 and integers may differ by


TITLE = "Optimal transport"


def judge_again(sections: list[Section]) -> None:
    """Replace the section of these lines by one that is judged by the sections of all modes."""
    mine = [section for section in sections if section["kind"] in ("optimal", "growth")]
    if mine:
        others = [s for s in sections if (s["kind"], s["title"]) != ("targets", TITLE)]
        run = max(section.get("run", 0) for section in mine)
        made = {"kind": "targets", "title": TITLE, "scale": 1.0, "run": run, "lines": lines(mine)}
        sections[:] = [*others, made]


def lines(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Judge every line by the rows of all sections."""
    rows = [row for section in sections for row in section.get("rows", ())]
    threads = max((row["threads"] for row in rows), default=1)
    compared = [
        row
        for section in sections
        if section["kind"] == "optimal"
        for row in section.get("rows", ())
    ]
    ran = {(row["peer"], row["data"], row["n"], row["dim"]) for row in compared if row["seconds"]}

    def entry(peer: Any, case: Case) -> Entry:
        return Entry(peer, case, threads)

    found: list[Line] = []
    for case, times in OVER_EXACT:
        here = [p for p in EXACT if (p.name, case.data, case.n, case.dim) in ran]
        dense = [peer for peer in here if peer in DENSE]
        for peers, least, word in ((here, times, "the fastest exact solver"), (dense, 0, OF_DENSE)):
            over = [entry(peer, case) for peer in (OPTIMUM, *peers)]
            faster = f"times faster to the proved optimum than {word}"
            figure = quotient if peers else nothing
            found.append(Line(f"{case}", faster, least, True, over, figure))
    for peer, times in OVER_MATCH:
        over = [entry(OURS, LARGE), entry(peer, LARGE)]
        word = peer.name.rpartition("_")[2]
        longer = f"times as long as Algorithm 1, tolerance {word}"
        found.append(Line(f"{LARGE}", longer, times, False, over, quotient))
    ours, bsp = entry(CENTI, HUGE), entry(BY_NAME["bsp_ot_64"], HUGE)
    found += [
        Line(f"{HUGE}", "cost at 1e-2 over that of BSP-OT with 64 plans", 1, False,
             [ours, bsp], cost_ratio),
        Line(f"{HUGE}", "seconds at 1e-2", 600, False, [ours], took),
        Line(f"{HUGE}", "GB of the process at 1e-2, the most", 2, False, [ours], gigabytes),
    ]  # fmt: skip
    judged_lines = [line.judge(compared) for line in found]
    for section in sections:
        if section["kind"] == "growth":
            judged_lines += steepness(section)
    return [*judged_lines, largest_gap(rows), *truths(rows)]


def nothing(rows: Sequence[Row]) -> None:
    """Return no figure: there is nothing to compare with."""


def cost_ratio(rows: Sequence[Row]) -> Spread | None:
    """Divide the cost of the first row by that of the second."""
    first, second = (row["quality"]["mean_squared_distance"] for row in rows)
    return spread([first / second])


def gigabytes(rows: Sequence[Row]) -> Spread | None:
    """Return the peak memory of the process in 10⁹ bytes."""
    return spread([rows[0]["peak_bytes"] / 1e9])


def steepness(section: Section) -> list[dict[str, Any]]:
    """Judge the exponents of time less that of Algorithm 1, over the sizes that both reached."""
    rows = section.get("rows", ())

    def medians(name: str) -> dict[int, float]:
        mine = (row for row in rows if row["peer"] == name and row["seconds"])
        return {row["n"]: row["seconds"]["median"] for row in mine}

    found = []
    greedy = medians(OURS.name)
    for peer in (CENTI, MILLI):
        optimal = medians(peer.name)
        sizes = sorted(set(greedy) & set(optimal))
        both = [exponent([(n, times[n]) for n in sizes]) for times in (optimal, greedy)]
        figure = None if None in both else spread([both[0] - both[1]])  # type: ignore[operator]
        measures = f"exponent of time less that of Algorithm 1, {peer.title.rpartition(', ')[2]}"
        reach = f"n = {sizes[0]:,} to {sizes[-1]:,}" if sizes else ""
        found.append(judged(section["title"], measures, STEEPER, False, figure, reach))
    return found


def certified(rows: Sequence[Row]) -> list[Row]:
    """Choose the rows that have a certificate."""
    return [row for row in rows if row.get("certificate")]


def largest_gap(rows: Sequence[Row]) -> dict[str, Any]:
    """Judge the largest certified gap of rows that asked for at most 1e-3."""
    gaps = [
        row["certificate"]["gap"]
        for row in certified(rows)
        if row["certificate"]["tolerance"] <= CERTIFIED_GAP
    ]
    measures = "certified gap at tolerance 1e-3 and 0, the largest"
    figure = spread([max(gaps)]) if gaps else None
    line = judged("all", measures, CERTIFIED_GAP, False, figure, f"{len(gaps)} rows")
    # The gap may be equal to the tolerance.
    return {**line, "result": "pass"} if gaps and max(gaps) <= CERTIFIED_GAP else line


def truths(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Judge certificates and optima by the exact solvers that ran on the same problem."""
    share, apart = [], []
    for row in certified(rows):
        same = [other for other in rows if problem(other) == problem(row)]
        exact = [other for other in same if other["kind"] == "optimal" and other["quality"]]
        if not exact:
            continue
        cost, *others = (one["quality"]["mean_squared_distance"] for one in [row, *exact])
        proof = row["certificate"]
        true = (cost - min(others)) / proof["scale"]
        share.append(float(true <= proof["gap"] + SAME_COST * cost / proof["scale"]))
        if not proof["tolerance"]:
            apart += [abs(cost / other - 1) for other in others]
    say: Callable[..., dict[str, Any]] = judged
    return [
        say(
            "all",
            "share of the certificates that an exact solver bears out",
            1,
            True,
            spread([sum(share) / len(share)]) if share else None,
            f"{len(share)} rows",
        ),
        say(
            "all",
            "cost of the proved optimum over an exact solver's, less 1, the most",
            SAME_COST,
            False,
            spread([max(apart)]) if apart else None,
            f"{len(apart)} comparisons",
        ),
    ]


def problem(row: Row) -> tuple[Any, ...]:
    """Return the problem of a row."""
    return row["data"], row["n"], row["dim"]

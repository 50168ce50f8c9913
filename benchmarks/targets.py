"""What this project sets out to reach, line by line: measured, and passed or failed.

A line is a figure taken from the rows of a contest: how many times faster than a floor, a peer or
another entry, a peak of memory, an exponent. A line about an instruction set that this machine
lacks is neither passed nor failed; it gives the figure of the best one that is here. ``scale``
shrinks every n, to try the lines out: their figures mean nothing then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Case, Contest, Entry, Settings, ratios, spread
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME, OURS
from benchmarks.peers.gtn_label import missing
from benchmarks.suite import Section, Sections, exponent, held

Row = dict[str, Any]
SMALLEST = 64
AWKWARD = ("clustered", "off_centre", "heavy_tails", "duplicated", "lattice")


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    work: str
    measures: str
    limit: float
    at_least: bool  # else the figure must stay under the limit
    rows: Callable[[Sequence[Row]], Sequence[Row]]  # those of the contest that it is about
    figure: Callable[[Sequence[Row]], dict[str, Any] | None]  # a spread, from those rows
    instruction_set: str = ""  # which must be here, if one is named

    def judge(self, all_rows: Sequence[Row]) -> dict[str, Any]:
        """Measure the line; rows that are not there, as after a break, give "not measured"."""
        absent = missing(f"cpu:{self.instruction_set}") if self.instruction_set else ""
        rows = self.rows(all_rows)
        figure = self.figure(rows) if rows and all(row["seconds"] for row in rows) else None
        ran = ", ".join(sorted({str(r["stats"]["instruction_set"]) for r in rows if ours(r)}))
        if absent:
            note = f"{self.instruction_set}: {absent}; the figure is with {ran}"
        elif figure is None:
            note = "; ".join(row["note"] for row in rows if not row["seconds"])
        else:
            note = ran and f"with {ran}"
        line = judged(self.work, self.measures, self.limit, self.at_least, figure, note)
        return {**line, "result": "not here"} if absent else line


def judged(
    work: str,
    measures: str,
    limit: float,
    at_least: bool,
    figure: dict[str, Any] | None,
    note: str,
) -> dict[str, Any]:
    """Pass, fail or not measured, as a line of the table."""
    result = "not measured"
    if figure is not None:
        reached = figure["median"] >= limit if at_least else figure["median"] < limit
        result = "pass" if reached else "FAIL"
    return {
        "work": work,
        "measures": measures,
        "limit": limit,
        "at_least": at_least,
        "figure": figure,
        "result": result,
        "note": note,
    }


def ours(row: Row) -> bool:
    """Whether a row is of this project, and ran."""
    return row["kind"] == "contract" and bool(row["stats"])


def here(instruction_set: str) -> Peer:
    """Return this project with an instruction set forced, or as it comes if that is not here."""
    peer = BY_NAME.get(f"gtn_label:{instruction_set}", OURS)
    return OURS if peer.missing() else peer


def pick(*entries: Entry) -> Callable[[Sequence[Row]], Sequence[Row]]:
    """Choose the rows of some entries."""

    def key(row: Row) -> tuple[Any, ...]:
        return row["peer"], row["data"], row["n"], row["dim"], row["threads"]

    wanted = [(e.peer.name, e.case.data, e.case.n, e.case.dim, e.threads) for e in entries]

    def choose(rows: Sequence[Row]) -> Sequence[Row]:
        found = {key(row): row for row in rows}
        return [found[one] for one in wanted if one in found]

    return choose


def sgemm(rows: Sequence[Row]) -> dict[str, Any] | None:
    """How many times faster than the sgemm floor."""
    figure: dict[str, Any] | None = rows[0]["sgemm_ratio"]
    return figure


def quotient(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Seconds of the fastest other row over those of the first, within rounds."""
    others = zip(*(row["seconds"]["runs"] for row in rows[1:]), strict=True)
    least = [min((run for run in runs if run is not None), default=None) for runs in others]
    return spread(ratios(least, rows[0]["seconds"]["runs"]))


def memory(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Peak of the whole process over the bytes of its inputs."""
    return spread([rows[0]["peak_bytes"] / rows[0]["inputs_bytes"]])


def growth(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Exponent of time, from the runs of each round."""
    sizes = [row["n"] for row in rows]
    rounds = zip(*(row["seconds"]["runs"] for row in rows), strict=True)
    return spread(
        [
            None if None in seconds else exponent(list(zip(sizes, seconds, strict=True)))
            for seconds in rounds
        ]
    )


def plan(settings: Settings, scale: float) -> list[tuple[str, list[Entry], list[Line]]]:
    """Contests with their lines."""
    threads = settings.threads

    def case(name: str, n: int, dim: int) -> Case:
        return Case(name, max(SMALLEST, round(n * scale)), dim)

    def entry(case: Case, peer: Peer = OURS, against: Entry | None = None) -> Entry:
        return Entry(peer, case, threads, against)

    def floor_line(at: Entry, limit: float, instruction_set: str = "") -> Line:
        word = f", {instruction_set}" if instruction_set else ""
        said = "times faster than the sgemm floor"
        work = f"{at.case}{word}"
        return Line(work, said, limit, True, pick(at), sgemm, instruction_set)

    contests: list[tuple[str, list[Entry], list[Line]]] = []

    at = case("isotropic", 100_000, 100)
    base = entry(at)
    faiss = [entry(at, BY_NAME[name], base) for name in ("faiss_tuned", "faiss_untuned")]
    over_faiss = entry(at, BY_NAME["gtn_label:faiss"], base)
    single = Entry(OURS, at, 1, base)
    forced = {name: entry(at, here(name), base) for name in ("amx_int8", "avx512_vnni", "avx2")}
    forced = {name: base if e.peer is OURS else e for name, e in forced.items()}
    lines = [
        floor_line(forced["amx_int8"], 5, "amx_int8"),
        Line(
            f"{at}, amx_int8",
            "times faster than greedy over FAISS, the faster of tuned and untuned",
            8,
            True,
            pick(forced["amx_int8"], *faiss),
            quotient,
            "amx_int8",
        ),
        floor_line(forced["avx512_vnni"], 2, "avx512_vnni"),
        floor_line(forced["avx2"], 1, "avx2"),
        Line(f"{at}", f"times faster on {threads} threads than on 1", 1.8, True,
             pick(base, single), quotient),
        Line(f"{at}, faiss:python", "times as long as greedy over FAISS, BLAS tuned", 1.2, False,
             pick(faiss[0], over_faiss), quotient),
    ]  # fmt: skip
    entries = list(dict.fromkeys([base, *forced.values(), over_faiss, *faiss, single]))
    contests.append((str(at), entries, lines))

    at = case("isotropic", 202_599, 100)
    base = entry(at)
    fast = here("amx_int8")
    best = base if fast is OURS else entry(at, fast, base)
    lines = [
        floor_line(best, 6, "amx_int8"),
        Line(f"{at}", "peak memory of the process over the inputs", 2.5, False, pick(base), memory),
    ]
    contests.append((str(at), list(dict.fromkeys([base, best])), lines))

    at = case("isotropic", 50_000, 768)
    contests.append((str(at), [entry(at)], [floor_line(entry(at), 4)]))

    for name in ("isotropic", "clustered"):
        at = case(name, 100_000, 2)
        contests.append((str(at), [entry(at)], [floor_line(entry(at), 0)]))
    for dim in (3, 5):
        for name in ("isotropic", "clustered"):
            sizes = [entry(case(name, n, dim)) for n in (250_000, 500_000, 1_000_000)]
            at, base = sizes[-1].case, sizes[-1]
            bsp = entry(at, BY_NAME["bsp_ot_16"], base)
            lines = [
                floor_line(base, 3),
                Line(f"{at}", "times faster than BSP-OT with 16 plans", 1, True,
                     pick(base, bsp), quotient),
                Line(f"{at}", f"exponent of time from n = {sizes[0].case.n:,}", 1.4, False,
                     pick(*sizes), growth),
            ]  # fmt: skip
            contests.append((str(at), [*sizes, bsp], lines))

    for n, dim in ((100_000, 100), (200_000, 5)):
        base = entry(case("isotropic", n, dim))
        others = [entry(case(name, n, dim), OURS, base) for name in AWKWARD]
        lines = [
            Line(f"{other.case}", "times as long as isotropic data", 2, False,
                 pick(base, other), quotient)
            for other in others
        ]  # fmt: skip
        contests.append((f"{base.case.n:,} × {dim}, data sets", [base, *others], lines))
    return contests


def shapes_of(entries: Sequence[Entry]) -> set[tuple[int, int]]:
    """Return the shapes that a contest is about."""
    return {(entry.case.n, entry.case.dim) for entry in entries}


def chosen(
    settings: Settings, scale: float, shapes: Sequence[tuple[int, int]]
) -> list[tuple[str, list[Entry], list[Line]]]:
    """Return the contests about some shapes (as they are before ``scale``), or all.

    Raises
    ------
    ValueError
        No line is about any of the shapes.
    """
    contests = [
        contest
        for contest, unscaled in zip(plan(settings, scale), plan(settings, 1.0), strict=True)
        if not shapes or not shapes_of(unscaled[1]).isdisjoint(shapes)
    ]
    if not contests:
        known = sorted(set().union(*(shapes_of(c[1]) for c in plan(settings, 1.0))))
        raise ValueError(
            "--shape must be one that a target is about, which are "
            + ", ".join(f"{n}x{dim}" for n, dim in known)
        )
    return contests


def targets(
    settings: Settings, scale: float, shapes: Sequence[tuple[int, int]], sections: Sections
) -> None:
    """Measure every line, or those about some shapes."""
    for title, entries, lines in chosen(settings, scale, shapes):
        section: Section = {"kind": "targets", "title": title, "scale": scale}
        sections.append(section)
        try:
            held(section, Contest(entries, settings))
        finally:
            section["lines"] = [line.judge(section["rows"]) for line in lines]

"""The targets of the CPU backend: contests, and the lines that are judged by their rows.

``scale`` shrinks every n, to try the lines out: their figures mean nothing then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.figures import Spread, exponent, quotient, spread
from benchmarks.harness import Case, Contest, Entry, Settings
from benchmarks.modes import Section, Sections, Shape, hold
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME, OURS
from benchmarks.targets.line import SMALLEST, Line, Row

AWKWARD = ("clustered", "off_centre", "heavy_tails", "duplicated", "lattice")
Plan = tuple[str, list[Entry], list[Line]]  # title of a contest, its entries, its lines


def here(instruction_set: str) -> Peer:
    """Return this project with an instruction set forced, or as it comes if that is not here."""
    peer = BY_NAME.get(f"gtn_label:{instruction_set}", OURS)
    return OURS if peer.missing() else peer


def sgemm(rows: Sequence[Row]) -> Spread | None:
    """Return how many times faster than the sgemm floor the first row is."""
    figure: Spread | None = rows[0]["sgemm_ratio"]
    return figure


def memory(rows: Sequence[Row]) -> Spread | None:
    """Divide the peak of the whole process by the bytes of its inputs."""
    return spread([rows[0]["peak_bytes"] / rows[0]["inputs_bytes"]])


def growth(rows: Sequence[Row]) -> Spread | None:
    """Fit the exponent of time to the runs of each round."""
    sizes = [row["n"] for row in rows]
    rounds: Any = zip(*(row["seconds"]["runs"] for row in rows), strict=True)
    return spread(
        [
            None if None in seconds else exponent(list(zip(sizes, seconds, strict=True)))
            for seconds in rounds
        ]
    )


def plan(settings: Settings, scale: float) -> list[Plan]:
    """Return the contests with their lines."""
    threads = settings.threads

    def case(name: str, n: int, dim: int) -> Case:
        return Case(name, max(SMALLEST, round(n * scale)), dim)

    def entry(case: Case, peer: Peer = OURS, against: Entry | None = None) -> Entry:
        return Entry(peer, case, threads, against)

    def floor_line(at: Entry, limit: float, instruction_set: str = "") -> Line:
        work = f"{at.case}, {instruction_set}" if instruction_set else str(at.case)
        measures = "times faster than the sgemm floor"
        return Line(work, measures, limit, True, [at], sgemm, instruction_set)

    contests: list[Plan] = []

    at = case("isotropic", 100_000, 100)
    base = entry(at)
    faiss = [entry(at, BY_NAME[name], base) for name in ("faiss_tuned", "faiss_untuned")]
    over_faiss = entry(at, BY_NAME["gtn_label:faiss"], base)
    single = Entry(OURS, at, 1, base)
    forced = {name: entry(at, here(name), base) for name in ("amx_int8", "avx512_vnni", "avx2")}
    forced = {name: base if e.peer is OURS else e for name, e in forced.items()}
    amx = forced["amx_int8"]
    faster = "times faster than greedy over FAISS, the faster of tuned and untuned"
    lines = [
        floor_line(amx, 5, "amx_int8"),
        Line(f"{at}, amx_int8", faster, 8, True, [amx, *faiss], quotient, "amx_int8"),
        floor_line(forced["avx512_vnni"], 2, "avx512_vnni"),
        floor_line(forced["avx2"], 1, "avx2"),
        Line(f"{at}", f"times faster on {threads} threads than on 1", 1.8, True,
             [base, single], quotient),
        Line(f"{at}, faiss:python", "times as long as greedy over FAISS, BLAS tuned", 1.2, False,
             [faiss[0], over_faiss], quotient),
    ]  # fmt: skip
    entries = list(dict.fromkeys([base, *forced.values(), over_faiss, *faiss, single]))
    contests.append((str(at), entries, lines))

    at = case("isotropic", 202_599, 100)
    base = entry(at)
    fast = here("amx_int8")
    best = base if fast is OURS else entry(at, fast, base)
    peak = "peak memory of the process over the inputs"
    lines = [floor_line(best, 6, "amx_int8"), Line(f"{at}", peak, 2.5, False, [base], memory)]
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
            grown = f"exponent of time from n = {sizes[0].case.n:,}"
            lines = [
                floor_line(base, 3),
                Line(f"{at}", "times faster than BSP-OT with 16 plans", 1, True,
                     [base, bsp], quotient),
                Line(f"{at}", grown, 1.4, False, sizes, growth),
            ]  # fmt: skip
            contests.append((str(at), [*sizes, bsp], lines))

    for n, dim in ((100_000, 100), (200_000, 5)):
        base = entry(case("isotropic", n, dim))
        others = [entry(case(name, n, dim), OURS, base) for name in AWKWARD]
        longer = "times as long as isotropic data"
        lines = [Line(f"{e.case}", longer, 2, False, [base, e], quotient) for e in others]
        contests.append((f"{base.case.n:,} × {dim}, data sets", [base, *others], lines))
    return contests


def shapes_of(entries: Sequence[Entry]) -> set[Shape]:
    """Return the shapes of a contest."""
    return {(entry.case.n, entry.case.dim) for entry in entries}


def chosen(settings: Settings, scale: float, shapes: Sequence[Shape]) -> list[Plan]:
    """Return the contests about some shapes (as they are before ``scale``), or all.

    Raises
    ------
    ValueError
        No line is about any of the shapes.
    """
    unscaled = [shapes_of(entries) for _, entries, _ in plan(settings, 1.0)]
    contests = [
        contest
        for contest, known in zip(plan(settings, scale), unscaled, strict=True)
        if not shapes or not known.isdisjoint(shapes)
    ]
    if not contests:
        raise ValueError(
            "--shape must be one that a target is about, which are "
            + ", ".join(f"{n}x{dim}" for n, dim in sorted(set().union(*unscaled)))
        )
    return contests


def targets(settings: Settings, scale: float, shapes: Sequence[Shape], sections: Sections) -> None:
    """Measure every line, or those about some shapes."""
    for title, entries, lines in chosen(settings, scale, shapes):
        section: Section = {"kind": "targets", "title": title, "scale": scale}
        try:
            hold(section, sections, Contest(entries, settings))
        finally:
            section["lines"] = [line.judge(section["rows"]) for line in lines]

"""One line of the table of targets: a figure of some rows, and its limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Spread
from benchmarks.harness import Entry
from benchmarks.peers.gtn_label import missing

Row = dict[str, Any]
SMALLEST = 64  # n of a problem that a scale shrinks


@dataclass(frozen=True)
class Line:
    """One line: the figure of ``rows`` must reach the limit, or stay below it.

    A line about an instruction set that this machine lacks neither passes nor fails; it shows the
    figure of the best one that is here.
    """

    work: str
    measures: str
    limit: float  # 0: reported only
    at_least: bool  # else the figure must stay below the limit
    entries: Sequence[Entry]  # those that the figure is about
    figure: Callable[[Sequence[Row]], Spread | None]  # from the rows of those entries
    instruction_set: str = ""  # which must be here, if one is named

    def judge(self, all_rows: Sequence[Row]) -> dict[str, Any]:
        """Measure the line; absent rows, as after a break, give "not measured"."""
        absent = missing(f"cpu:{self.instruction_set}") if self.instruction_set else ""
        rows = pick(all_rows, self.entries)
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
    work: str, measures: str, limit: float, at_least: bool, figure: Spread | None, note: str
) -> dict[str, Any]:
    """Return a line of the table: pass, FAIL or not measured."""
    result = "not measured"
    if figure is not None:
        reached = figure["median"] >= limit if at_least else figure["median"] < limit
        result = "pass" if reached else "FAIL"
    line = {"work": work, "measures": measures, "limit": limit, "at_least": at_least}
    return {**line, "figure": figure, "result": result, "note": note}


def ours(row: Row) -> bool:
    """Return true if a row is of this project, and ran."""
    return row["kind"] == "contract" and bool(row["stats"])


def pick(rows: Sequence[Row], entries: Sequence[Entry]) -> list[Row]:
    """Choose the rows of some entries, in the order of the entries."""
    found = {(r["peer"], r["data"], r["n"], r["dim"], r["threads"]): r for r in rows}
    wanted = [(e.peer.name, e.case.data, e.case.n, e.case.dim, e.threads) for e in entries]
    return [found[key] for key in wanted if key in found]


def took(rows: Sequence[Row]) -> Spread | None:
    """Return the seconds."""
    figure: Spread | None = rows[0]["seconds"]
    return figure

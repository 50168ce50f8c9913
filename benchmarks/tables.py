"""Figures as text, and Markdown tables: what all documents share (report.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def figure(value: float | None, digits: int = 3, ending: str = "") -> str:
    """Return a number with that many significant digits, a dash for nothing."""
    if value is None:
        return "–"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}{ending}"
    shown = f"{value:.{digits}g}"
    if "e" in shown:
        shown = f"{value:.0f}"
    return shown + ending


def share(value: float | None) -> str:
    """Return a share in per cent; 100 only if it is all."""
    if value is None:
        return "–"
    shown = f"{100 * value:.2f}"
    return (shown if value == 1 or shown != "100.00" else "99.99+") + " %"


def yes(value: bool | None) -> str:
    """Return yes, no or a dash."""
    return "–" if value is None else "yes" if value else "no"


def spread(value: dict[str, Any] | None, digits: int = 3) -> str:
    """Median, with least and largest in brackets where there are several."""
    if value is None:
        return "–"
    text = figure(value["median"], digits)
    if value["min"] != value["max"]:
        text += f" ({figure(value['min'], digits)} to {figure(value['max'], digits)})"
    return text


def median(value: dict[str, Any] | None, digits: int = 3, ending: str = "") -> str:
    """Median alone."""
    return figure(None if value is None else value["median"], digits, ending)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown table, first column to the left and numbers to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    rows = [head, rule, *lines]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def targets_table(sections: Sequence[dict[str, Any]]) -> str:
    """All lines of all contests."""
    lines = []
    for line in (line for section in sections for line in section.get("lines", ())):
        sign = "≥" if line["at_least"] else "<"
        wanted = f"{sign} {figure(line['limit'])}" if line["limit"] else "reported"
        result = line["result"] if line["limit"] or line["result"] != "pass" else "–"
        cells = [line["work"], line["measures"], wanted, spread(line["figure"]), result]
        lines.append([*cells, line["note"]])
    return table(["work", "figure", "target", "measured", "result", "note"], lines)

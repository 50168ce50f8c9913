"""Writes figures as text, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.figures import Spread


def figure(value: float | None, digits: int = 3, ending: str = "") -> str:
    """Return a number with that many significant digits, a dash for None."""
    if value is None:
        return "–"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}{ending}"
    shown = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e" in shown else shown) + ending


def share(value: float | None) -> str:
    """Return a share in per cent; 100 only if it is all."""
    if value is None:
        return "–"
    shown = f"{100 * value:.2f}"
    return (shown if value == 1 or shown != "100.00" else "99.99+") + " %"


def yes(value: bool | None) -> str:
    """Return yes, no or a dash."""
    return "–" if value is None else "yes" if value else "no"


def median(value: Spread | None, digits: int = 3) -> str:
    """Return the median alone."""
    return figure(value["median"] if value else None, digits)


def span(value: Spread | None) -> str:
    """Return the median, with least and largest in brackets where there are several."""
    if value is None or value["min"] == value["max"]:
        return median(value)
    return f"{median(value)} ({figure(value['min'])} to {figure(value['max'])})"


def whole(value: float) -> str:
    """Return three significant digits, in full."""
    return f"{float(f'{value:.2e}'):,.0f}" if value >= 100 else figure(value)


def tera(value: float) -> str:
    """Return a multiple of 10¹²."""
    return f"{figure(value / 1e12)} · 10¹²"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, first column to the left and numbers to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in [head, rule, *lines])

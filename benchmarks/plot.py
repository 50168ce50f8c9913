"""Draws the plot of a record: a panel for each contest, and one for all targets.

Dots show the seconds of peers on one problem, and how far each target was reached. A panel of
optimal transport has the cost above the best known over seconds. Curves show growth with n, a line
a peer. All axes are logarithmic.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import exponent, least_distance

Row = dict[str, Any]
Section = dict[str, Any]
Panel = tuple[str, float, Callable[[Any, dict[str, str]], None]]  # title, height in inches, drawing

COLUMNS = 3
MARKS = "os^Dv*P"  # not ten of them, so that peers of the same colour have another mark
AS_GOOD = 1e-6  # relative cost above the best known that is drawn as none
RESULTS = {"pass": "C2", "FAIL": "C3", "not here": "grey"}


def panels_of(sections: Sequence[Section]) -> list[Panel]:
    """Return the panels that have a figure to draw."""
    found: list[Panel] = []
    for section in sections:
        rows = [row for row in section.get("rows", ()) if row["seconds"]]
        kind, title = section["kind"], section["title"]
        if kind in ("compare", "datasets") and rows:
            found.append((title, 1.2 + 0.25 * len(rows), _seconds(rows, kind)))
        elif kind == "optimal" and any(row["quality"] for row in rows):
            found.append((title, 3.4, _above_best(section["rows"])))
        elif kind in ("scaling", "growth") and rows:
            found.append((title, 3.4, _seconds_over_n(rows, section["floors"])))
        elif kind == "throughput":
            for dim in sorted({row["dim"] for row in rows}):
                mine = [row for row in rows if row["dim"] == dim]
                found.append((f"dim {dim}", 3.4, _pairs_over_n(mine)))
    lines = [
        line
        for section in sections
        for line in section.get("lines", ())
        if line["limit"] and line["figure"] and line["figure"]["median"] > 0
    ]
    if lines:
        found.append(("targets", 1.2 + 0.25 * len(lines), _reached(lines)))
    return found


def draw(sections: Sequence[Section], path: Path) -> bool:
    """Draw the panels; return false if there are none, or no matplotlib."""
    panels = panels_of(sections)
    if not panels or importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib
    from matplotlib.figure import Figure

    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))
    heights = [
        max(height for _, height, _ in panels[at : at + columns])
        for at in range(0, len(panels), columns)
    ]
    titles = dict.fromkeys(
        row["title"] for section in sections for row in section.get("rows", ()) if row["seconds"]
    )
    colours = {title: f"C{number % 10}" for number, title in enumerate(titles)}
    size = max(8.0, 4.6 * columns), sum(heights) + 1
    with matplotlib.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none"}):
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(len(heights), columns, squeeze=False, height_ratios=heights).ravel()
        handles: dict[str, Any] = {}
        for axis, (title, _, show) in zip(grid, panels, strict=False):
            show(axis, colours)
            axis.set_title(title)
            axis.grid(alpha=0.3)
            found, labels = axis.get_legend_handles_labels()
            handles.update(zip(labels, found, strict=True))
        for axis in grid[len(panels) :]:
            axis.set_visible(False)
        if handles:
            keys = {"loc": "outside lower center", "ncols": 2, "fontsize": 8}
            drawn.legend(list(handles.values()), list(handles), **keys)
        drawn.savefig(path, metadata={"Date": None})
    return True


def _dots(axis: Any, names: Sequence[str], values: Sequence[float]) -> None:
    """Name the lines of a panel of dots, and let its axis end at powers of ten."""
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.invert_yaxis()
    ends = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    axis.set(xscale="log", xlim=(10 ** ends[0] / 1.2, 10 ** ends[1] * 1.2))
    powers = [10.0**power for power in range(ends[0], ends[1] + 1)]
    axis.set_xticks(powers, [f"{power:g}" for power in powers], fontsize=7)
    axis.minorticks_off()


def _seconds(rows: Sequence[Row], kind: str) -> Callable[[Any, dict[str, str]], None]:
    """Draw the seconds of each row, least and largest as whiskers; hollow dots are estimates."""

    def show(axis: Any, colours: dict[str, str]) -> None:
        for place, row in enumerate(rows):
            seconds, colour = row["seconds"], colours[row["title"]]
            axis.plot([seconds["min"], seconds["max"]], [place] * 2, color=colour)
            fill = "white" if row["estimated"] else colour
            axis.plot(seconds["median"], place, "o", color=colour, markerfacecolor=fill)
        names = [row["data" if kind == "datasets" else "title"] for row in rows]
        _dots(axis, names, [row["seconds"][end] for row in rows for end in ("min", "max")])
        axis.set(xlabel="seconds")

    return show


def _above_best(rows: Sequence[Row]) -> Callable[[Any, dict[str, str]], None]:
    """Draw the mean squared distance above the least of all over seconds.

    The optimum, and whatever is as good, lies on the lowest line. A curve joins the tolerances.
    """
    best = least_distance(rows) or 1.0
    shown = [row for row in rows if row["seconds"] and row["quality"]]

    def above(row: Row) -> float:
        return max(float(row["quality"]["mean_squared_distance"]) / best - 1, AS_GOOD)

    def show(axis: Any, colours: dict[str, str]) -> None:
        ours = [row for row in shown if row["kind"] == "certified"]
        seconds = [row["seconds"]["median"] for row in ours]
        axis.plot(seconds, [above(row) for row in ours], color="grey", linewidth=1)
        for row in shown:
            mark = MARKS[list(colours).index(row["title"]) % len(MARKS)]
            at = row["seconds"]["median"], above(row)
            axis.plot(*at, mark, color=colours[row["title"]], label=row["title"])
        axis.set(xscale="log", yscale="log", xlabel="seconds", ylabel="cost above the best known")
        axis.axhline(AS_GOOD, color="grey", linewidth=0.5, linestyle=":")

    return show


def _reached(lines: Sequence[Row]) -> Callable[[Any, dict[str, str]], None]:
    """Draw each figure over its limit, or the limit over it: at least 1 where it is reached."""

    def show(axis: Any, colours: dict[str, str]) -> None:
        reached = []
        for place, line in enumerate(lines):
            times = line["figure"]["median"] / line["limit"]
            reached.append(times if line["at_least"] else 1 / times)
            colour = RESULTS[line["result"]]
            axis.plot(reached[-1], place, "o", color=colour, label=line["result"])
        _dots(axis, [f"{line['work']}: {line['measures']}" for line in lines], reached)
        axis.axvline(1, color="black", linewidth=1)
        axis.set(xlabel="times the target (1: reached)")

    return show


def _curves(axis: Any, rows: Sequence[Row], key: str, colours: dict[str, str]) -> list[Any]:
    """Draw a line a peer; return title, n and value of the last point of each."""
    ends = []
    for title in dict.fromkeys(row["title"] for row in rows):
        mine = sorted((row for row in rows if row["title"] == title), key=lambda row: row["n"])
        ns, values = [row["n"] for row in mine], [row[key]["median"] for row in mine]
        width = 2.4 if "cuda" in title or "GPU" in title else 1.2
        axis.plot(ns, values, color=colours[title], linewidth=width, label=title)
        fill = ["white" if row.get("estimated") else colours[title] for row in mine]
        axis.scatter(ns, values, s=16, color=fill, edgecolors=colours[title], zorder=3)
        ends.append((title, ns, values))
    ticks = sorted({row["n"] for row in rows})
    axis.set(xscale="log", yscale="log", xlabel="n")
    axis.set_xticks(ticks, [f"{n:,}" for n in ticks], fontsize=7)
    axis.minorticks_off()
    return ends


def _pairs_over_n(rows: Sequence[Row]) -> Callable[[Any, dict[str, str]], None]:
    """Draw pairs a second; thick lines are backends on a GPU."""

    def show(axis: Any, colours: dict[str, str]) -> None:
        _curves(axis, rows, "pairs_a_second", colours)
        axis.set(ylabel="pairs a second")

    return show


def _seconds_over_n(
    rows: Sequence[Row], floors: Sequence[Row]
) -> Callable[[Any, dict[str, str]], None]:
    """Draw seconds with their exponents; hollow points are estimates, dashes the sgemm floor."""

    def show(axis: Any, colours: dict[str, str]) -> None:
        for title, ns, seconds in _curves(axis, rows, "seconds", colours):
            fitted = exponent(list(zip(ns, seconds, strict=True)))
            if fitted is not None:
                at = {"xytext": (4, -2), "textcoords": "offset points", "fontsize": 7}
                end = (ns[-1], seconds[-1])
                axis.annotate(f"{fitted:.1f}", end, color=colours[title], **at)
        known = sorted((f["n"], f["seconds"]["median"]) for f in floors if f["seconds"])
        if known:
            axis.plot(
                *zip(*known, strict=True), "--", color="grey", linewidth=1, label="sgemm floor"
            )
        axis.set(ylabel="seconds")

    return show

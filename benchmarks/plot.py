"""The plots: time against n of the scaling, pairs a second against n of the throughput.

Both axes are logarithmic, a dimension has a panel, a peer a line.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite import exponent

Panel = dict[str, Any]  # kind, title, rows that have a time, n with a tick, floors

COLUMNS = 3


def panels_of(sections: Sequence[dict[str, Any]]) -> list[Panel]:
    """What there is to draw; a record holds either of the two."""
    found = []
    for section in sections:
        rows = section.get("rows", ())
        if section["kind"] == "scaling":
            groups = {section["title"]: rows}
        elif section["kind"] == "throughput":
            dims = sorted({row["dim"] for row in rows})
            groups = {f"dim {dim}": [row for row in rows if row["dim"] == dim] for dim in dims}
        else:
            continue
        for title, mine in groups.items():
            timed = [row for row in mine if row["seconds"]]
            ticks = sorted({row["n"] for row in mine})
            if section["kind"] == "throughput":  # powers of ten alone, where there are any
                ticks = [n for n in ticks if str(n).strip("0") == "1"] or ticks
            common = {"kind": section["kind"], "title": title, "floors": section["floors"]}
            if timed:
                found.append({**common, "rows": timed, "ticks": ticks})
    return found


def draw(sections: Sequence[dict[str, Any]], path: Path) -> bool:
    """Draw what there is to draw.

    In the scaling hollow points are estimates and the dashed line is the sgemm floor; in the
    throughput thick lines are backends on a GPU.

    Returns
    -------
    bool
        Whether anything was drawn: not without matplotlib, nor without a time.
    """
    panels = panels_of(sections)
    if not panels or importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    if len(panels) == 4:
        columns = 2
    lines = -(-len(panels) // columns)
    titles = list(dict.fromkeys(row["title"] for panel in panels for row in panel["rows"]))
    colours = {title: f"C{number % 10}" for number, title in enumerate(titles)}
    with matplotlib.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none"}):
        figure = Figure(figsize=(max(5.6, 4.2 * columns), 3.4 * lines + 1), layout="constrained")
        alike = panels[0]["kind"] == "throughput"
        axes = figure.subplots(lines, columns, squeeze=False, sharey=alike).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            (_time if panel["kind"] == "scaling" else _pairs)(axis, panel, colours)
            axis.set(xscale="log", yscale="log", title=panel["title"], xlabel="n")
            axis.set_xticks(panel["ticks"], [f"{n:,}" for n in panel["ticks"]], fontsize=7)
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        handles: dict[str, Any] = {}
        for axis in axes[: len(panels)]:
            drawn = zip(*axis.get_legend_handles_labels(), strict=True)
            handles.update({label: handle for handle, label in drawn})
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=2, fontsize=8
        )
        figure.savefig(path, metadata={"Date": None})
    return True


def _of(panel: Panel, title: str) -> list[dict[str, Any]]:
    return sorted((row for row in panel["rows"] if row["title"] == title), key=lambda row: row["n"])


def _pairs(axis: Any, panel: Panel, colours: dict[str, str]) -> None:
    for title, colour in colours.items():
        mine = _of(panel, title)
        if not mine:
            continue
        ns, rates = [row["n"] for row in mine], [row["pairs_a_second"]["median"] for row in mine]
        width = 2.4 if "cuda" in title or "GPU" in title else 1.0
        axis.plot(ns, rates, "o-", color=colour, linewidth=width, markersize=4, label=title)
    axis.set(ylabel="pairs a second")


def _time(axis: Any, panel: Panel, colours: dict[str, str]) -> None:
    for title, colour in colours.items():
        mine = _of(panel, title)
        if not mine:
            continue
        ns, seconds = [row["n"] for row in mine], [row["seconds"]["median"] for row in mine]
        fill = ["white" if row["estimated"] else colour for row in mine]
        axis.plot(ns, seconds, color=colour, linewidth=1.2, label=title)
        axis.scatter(ns, seconds, s=16, color=fill, edgecolors=colour, zorder=3)
        fitted = exponent(list(zip(ns, seconds, strict=True)))
        if fitted is not None:
            axis.annotate(
                f"{fitted:.1f}",
                (ns[-1], seconds[-1]),
                xytext=(4, -2),
                textcoords="offset points",
                color=colour,
                fontsize=7,
            )
    floors = [(f["n"], f["seconds"]["median"]) for f in panel["floors"] if f["seconds"]]
    if floors:
        axis.plot(
            *zip(*sorted(floors), strict=True), "--", color="grey", linewidth=1, label="sgemm floor"
        )
    axis.set(ylabel="seconds")

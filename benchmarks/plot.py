"""The plot of the scaling: time against n, both logarithmic, one panel a dimension."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite import exponent

COLUMNS = 3


def scaling(sections: Sequence[dict[str, Any]], path: Path) -> bool:
    """Draw one line a peer; hollow points are estimates, the dashed line is the sgemm floor.

    Returns
    -------
    bool
        Whether anything was drawn: not without matplotlib, nor without a time.
    """
    panels = [
        (section, [row for row in section["rows"] if row["seconds"]])
        for section in sections
        if "rows" in section
    ]
    panels = [(section, rows) for section, rows in panels if rows]
    if not panels or importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    titles = list(dict.fromkeys(row["title"] for _, rows in panels for row in rows))
    colours = {title: f"C{number % 10}" for number, title in enumerate(titles)}
    with matplotlib.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none"}):
        figure = Figure(figsize=(max(5.6, 4.2 * columns), 3.4 * lines + 1), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, (section, rows) in zip(axes, panels, strict=False):
            _panel(axis, section, rows, colours)
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


def _panel(axis: Any, section: dict[str, Any], rows: list[Any], colours: dict[str, str]) -> None:
    sizes = sorted({row["n"] for row in section["rows"]})
    for title, colour in colours.items():
        mine = sorted((row for row in rows if row["title"] == title), key=lambda row: row["n"])
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
    floors = [(f["n"], f["seconds"]["median"]) for f in section["floors"] if f["seconds"]]
    if floors:
        axis.plot(
            *zip(*sorted(floors), strict=True), "--", color="grey", linewidth=1, label="sgemm floor"
        )
    axis.set(xscale="log", yscale="log", title=section["title"], xlabel="n", ylabel="seconds")
    axis.set_xticks(sizes, [f"{n:,}" for n in sizes], fontsize=7)
    axis.minorticks_off()
    axis.grid(alpha=0.3)

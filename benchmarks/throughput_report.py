"""Tables of the throughput: pairs a second over n, one table a dimension, and what that is worth.

Every figure is of a run; what did not run is a dash here and a line below that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from benchmarks.tables import figure, spread, table, targets_table
from gtn_label.quality import format_seconds

Section = dict[str, Any]
Row = dict[str, Any]

STRIDE = 32  # the cuda backend pads rows of codes to multiples of it
REMARK = """\
Pairs a second: n over the median seconds from arrays in memory, or on the device where a row says
so, to an assignment on the host. All backends run in one process, on the same arrays, after their
first answers were checked.
"""
AIMS_REMARK = "What the CUDA backend is to reach. Ratios are of one process."


def text(sections: Sequence[Section], picture: str) -> str:
    """Return the part of the document; ``picture`` is the file name of the plot, or empty."""
    parts = []
    for section in sections:
        if section["kind"] == "aims":
            trial = "" if section["scale"] == 1 else trial_of(section["scale"])
            parts.append(f"## Targets\n\n{AIMS_REMARK}\n{trial}\n{targets_table([section])}")
            continue
        parts.append(f"## Throughput, {section['title']}\n\n{REMARK}")
        parts.append(limits(section))
        if picture:
            parts.append(f"![pairs a second over n]({picture})\n")
        parts.append(backends(section["rows"]))
        for dim in sorted({row["dim"] for row in section["rows"]}):
            found = of_dimension([row for row in section["rows"] if row["dim"] == dim])
            if found:
                parts.append(f"### dim {dim}\n\n{found}")
        device = section.get("device", {})
        parts.append(ceilings(device))
        parts.append(phases(section["rows"], device))
    return "".join(f"\n{part}" for part in parts if part)


def trial_of(scale: float) -> str:
    """Warn of a trial."""
    return f"\n**Every n was multiplied by {scale:g}: a trial.**\n"


def limits(section: Section) -> str:
    """Return what a row and the whole were given."""
    return (
        f"At most {format_seconds(section['limit'])} for all runs of a row (more for a target's), "
        f"{format_seconds(section['budget'])} for the whole.\n"
    )


def backends(rows: Sequence[Row]) -> str:
    """Who ran, and why others did not."""
    lines = []
    for name in dict.fromkeys(row["peer"] for row in rows):
        mine = [row for row in rows if row["peer"] == name]
        ran = [row for row in mine if row["seconds"]]
        checked = sum(bool(row["checked"]) for row in mine)
        what = mine[0]["missing"] or f"{len(ran)} of {len(mine)} problems timed, {checked} checked"
        lines.append([mine[0]["title"], what])
    return table(["backend", "here"], lines)


def whole(value: float) -> str:
    """Three significant digits, in full."""
    return f"{float(f'{value:.2e}'):,.0f}" if value >= 100 else figure(value)


def of_dimension(rows: Sequence[Row]) -> str:
    """Pairs a second, then shares of the int8 rate, then what did not run."""
    sizes = sorted({row["n"] for row in rows})

    def cells(title: str, show: Callable[[Row], str]) -> list[str]:
        mine = {row["n"]: row for row in rows if row["title"] == title}
        return [title, *(show(mine[n]) if n in mine else "–" for n in sizes)]

    ran = list(dict.fromkeys(row["title"] for row in rows if row["seconds"]))
    head = ["pairs a second", *(f"n = {n:,}" for n in sizes)]
    parts = [table(head, [cells(title, pairs) for title in ran])] if ran else []
    rated = list(dict.fromkeys(row["title"] for row in rows if row["int8_ratio"]))
    if rated:
        head[0] = "of the kernel's int8 rate, per cent"
        parts.append(table(head, [cells(title, of_rate) for title in rated]))
    faster = [row for row in rows if over_cpu(row, rows)]
    if faster:
        head[0] = "times the fastest CPU backend"
        titles = dict.fromkeys(row["title"] for row in faster)
        parts.append(table(head, [cells(title, partial(times_cpu, rows)) for title in titles]))
    notes = noted(row for row in rows if row["note"] and not row["missing"])
    return "\n".join([*parts, *([notes] if notes else [])])


def pairs(row: Row) -> str:
    """Pairs a second."""
    return whole(row["pairs_a_second"]["median"]) if row["seconds"] else "–"


def of_rate(row: Row) -> str:
    """Share of n² · dim / 2 products at the bare kernel's rate."""
    return figure(100 * row["int8_ratio"]["median"], 2) if row["int8_ratio"] else "–"


def over_cpu(row: Row, rows: Sequence[Row]) -> float | None:
    """How many times faster a row on a GPU is than the fastest CPU backend of its process."""
    if not row["seconds"] or not on_gpu(row):
        return None
    others = [
        other["seconds"]["median"]
        for other in rows
        if other["n"] == row["n"]
        and other["seconds"]
        and other["process"] == row["process"]
        and other["stats"].get("backend") == "cpu"
    ]
    return min(others) / row["seconds"]["median"] if others else None


def on_gpu(row: Row) -> bool:
    """Whether a row computed on a GPU."""
    return "GPU" in row["title"] or row["stats"].get("backend") == "cuda"


def times_cpu(rows: Sequence[Row], row: Row) -> str:
    """Show how many times faster than the fastest CPU backend."""
    return figure(over_cpu(row, rows))


def noted(rows: Iterable[Row]) -> str:
    """Notes; rows that say the same of the same n together."""
    by_row: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        by_row.setdefault((row["title"], row["note"]), []).append(f"{row['n']:,}")
    alike: dict[tuple[str, str], list[str]] = {}
    for (title, note), sizes in by_row.items():
        alike.setdefault((" and ".join(sizes), note), []).append(title)
    return "".join(
        f"- {'; '.join(titles)}: n = {sizes}: {note}.\n" for (sizes, note), titles in alike.items()
    )


def ceilings(device: Row) -> str:
    """Return the rates of the device, and those of the scan kernels alone beside them."""
    if not device:
        return ""
    if "failed" in device:
        return f"### What the device can do\n\nNot measured: {device['failed']}.\n"
    int8, copied = device["int8_operations"], device["copied_bytes"]
    text = (
        f"### What the device can do\n\n{device['name']}: {tera(int8)} int8 and "
        f"{tera(device['fp16_operations'])} float16 operations a second in its matrix units (a "
        f"multiply-add is two), {tera(copied)} bytes a second copied within its memory, read and "
        "written. Beside that, the scan kernels alone; padding is no operation.\n\n"
    )
    lines = [
        [
            f"{one['kernel']}, dim {one['dim']:,}",
            tera(one["operations"]),
            figure(100 * one["operations"] / int8, 2),
            tera(one["bytes"]),
            figure(100 * one["bytes"] / copied, 2),
        ]
        for one in device["scans"]
    ]
    head = ["kernel", "operations a second", "% of the int8 rate", "bytes a second"]
    return text + table([*head, "% of the copy rate"], lines)


def tera(value: float) -> str:
    """Return so many 10¹²."""
    return f"{figure(value / 1e12)} · 10¹²"


def phases(rows: Sequence[Row], device: Row) -> str:
    """Where the time goes, for the rows on a device: the engine's own times, by device events."""
    ran = [row for row in rows if row["seconds"] and row["stats"].get("backend") == "cuda"]
    if not ran:
        return ""
    names = list(dict.fromkeys(name for row in ran for name in row["stats"]["seconds"]))
    lines = [
        [
            f"{row['title']}: {row['n']:,} × {row['dim']}",
            row["stats"]["instruction_set"] if row["stats"]["scan_products"] else "–",
            spread(row["seconds"]),
            *(figure(row["stats"]["seconds"].get(name)) for name in names),
            scanned(row, device),
        ]
        for row in ran
    ]
    return (
        "### Seconds on the device\n\nOf the last run: by events of the device, but for `prepare` "
        "and `total`. The scan is `search`; its products, without padding, over the int8 rate are "
        "the last column.\n\n"
        + table(["row", "kernel", "wall clock", *names, "% of the int8 rate"], lines)
    )


def scanned(row: Row, device: Row) -> str:
    """Share of the int8 matrix rate that the scans of a run reached, in per cent."""
    products, seconds = row["stats"]["scan_products"], row["stats"]["seconds"]["search"]
    if not products or not seconds or "int8_operations" not in device:
        return "–"
    useful = products * row["dim"] / (-(-row["dim"] // STRIDE) * STRIDE)
    return figure(100 * 2 * useful / seconds / device["int8_operations"], 2)

"""Results on disk: JSON for machines, and the Markdown made from it, from nothing else.

A record holds the circumstances and sections; a section holds the rows of one contest
(harness.py). Every table is made from the record as it is read back from JSON, so that
``--render`` gives the same tables again. Plots are plot.py's, tables of the throughput
throughput_report.py's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import losses, plot, throughput_report
from benchmarks.suite import exponent
from benchmarks.tables import figure, median, share, spread, table, targets_table, yes
from gtn_label.quality import format_bytes, format_seconds

Record = dict[str, Any]
Row = dict[str, Any]

SCHEMA = 2
HEADINGS = {
    "compare": (
        "Peers on the same problem",
        "Time relative to gtn_label, and speed relative to the sgemm floor, are medians of ratios "
        "within a round. Peak memory is that of the whole process: interpreter, libraries, inputs "
        "and work.",
    ),
    "datasets": (
        "gtn_label on every data set",
        "Time relative to isotropic data of the same shape, within a round.",
    ),
    "scaling": ("Growing n", "Median seconds, and the exponent fitted to log time over log n."),
    "targets": (
        "Targets",
        "Figures are medians of ratios within a round, least and largest in brackets.",
    ),
}


def floors(section: Record) -> str:
    """One line for each floor: what it is and how it was reached."""
    lines = []
    for floor in section["floors"]:
        if floor["seconds"] is None:
            continue
        n, dim, block = floor["n"], floor["dim"], floor["block"]
        rate = n * n * dim / floor["seconds"]["median"] / 1e9
        core_type = floor["core_type"] or "chosen by itself"
        lines.append(
            f"sgemm floor of {n:,} × {dim}: {format_seconds(floor['seconds']['median'])} "
            f"({rate:.0f} Gflop/s, blocks of {block[0]:,} × {block[1]:,}, OpenBLAS core type "
            f"{core_type}, {floor['threads']} threads).\n"
        )
    return "\n".join(lines)


def speed_table(rows: Sequence[Row], first: str, ratio: str) -> str:
    """Times and what they cost; ``first`` names the column that differs."""
    head = [first, "seconds: median (min to max)", "runs", "threads", "CPU seconds", "peak memory"]
    head += [ratio, "× sgemm floor", "of int8 rate", "note"]
    lines = []
    for row in rows:
        name = row["title"] if first == "peer" else row["data"]
        if row["seconds"] is None:
            lines.append([name, *["–"] * (len(head) - 2), row["note"]])
            continue
        runs = [run for run in row["seconds"]["runs"] if run is not None]
        share_of_rate = row["int8_ratio"] and row["int8_ratio"]["median"]
        lines.append(
            [
                name,
                spread(row["seconds"]),
                str(len(runs)),
                str(row["threads"]),
                median(row["cpu_seconds"]),
                format_bytes(row["peak_bytes"]),
                median(row["ratio"]) if row["against"] else "1",
                median(row["sgemm_ratio"]),
                figure(share_of_rate and 100 * share_of_rate, 2, " %" if share_of_rate else ""),
                row["note"],
            ]
        )
    return table(head, lines)


def quality_table(rows: Sequence[Row], first: str) -> str:
    """Figures of the pairs of those that were checked."""
    head = [first, "one-to-one", "identical", "mean cosine", "last decile", "mean ‖y − x‖²"]
    head += ["Spearman of norms", "10-NN R²", "same twice"]
    lines = []
    for row in rows:
        quality = row["quality"]
        if quality is None:
            continue
        lines.append(
            [
                row["title"] if first == "peer" else row["data"],
                yes(quality["one_to_one"]),
                share(quality["identical"]),
                figure(quality["mean_cosine"], 4),
                figure(quality["last_decile_cosine"], 4),
                figure(quality["mean_squared_distance"], 4),
                figure(quality["norm_correlation"], 2),
                figure(quality["learnability"]),
                yes(row["same_twice"]),
            ]
        )
    return table(head, lines)


def loss_table(rows: Sequence[Row]) -> str:
    """What approximate search lost, by its own account and by the oracle; empty without any."""
    lines = [
        [
            row["title"],
            row["note"],
            f"{loss['sample']:,}",
            share(loss["other_latent"]),
            figure(loss["cosine_lost"]),
            f"{loss['checked']:,}",
            share(loss["other_latent_checked"]),
            figure(loss["cosine_lost_checked"]),
        ]
        for row in rows
        if (loss := row.get("loss"))
    ]
    head = ["peer", "index", "choices it tells of", "not the exact one", "mean cosine lost"]
    head += ["choices the oracle made", "not the exact one", "mean cosine lost"]
    return "\n" + table(head, lines) if lines else ""


def scaling_table(rows: Sequence[Row]) -> str:
    """Median seconds of each peer at each n, and its exponent; notes of those that did not run."""
    sizes = sorted({row["n"] for row in rows})
    head = ["peer", *(f"n = {n:,}" for n in sizes), "exponent"]
    lines, notes = [], []
    for name in dict.fromkeys(row["peer"] for row in rows):
        mine = {row["n"]: row for row in rows if row["peer"] == name}
        title = next(iter(mine.values()))["title"]
        points = [(n, row["seconds"]["median"]) for n, row in mine.items() if row["seconds"]]
        cells = [
            median(mine[n]["seconds"]) + ("*" if mine[n]["estimated"] else "") if n in mine else "–"
            for n in sizes
        ]
        fitted = exponent(points)
        lines.append([title, *cells, "–" if fitted is None else f"{fitted:.2f}"])
        absent = {row["note"] for row in mine.values() if not row["seconds"] and row["note"]}
        notes += [f"- {title}: {note}" for note in sorted(absent)]
    text = table(head, lines)
    if any(row["estimated"] for row in rows):
        text += "\n\\* estimated from a part of the sources.\n"
    return text + ("\n" + "\n".join(notes) + "\n" if notes else "")


def heading(record: Record) -> str:
    """Return title and circumstances."""
    where = record["circumstances"]
    changed = " with changes" if where["changed_since_commit"] else ""
    versions = ", ".join(f"{name} {v}" for name, v in where["versions"].items() if v)
    gpu = f"{where['gpu']}, " if where.get("gpu") else ""
    commit = where["commit"][:12] or "unknown"
    text = (
        "# Benchmark results\n\n"
        f"`{where['command']}`\n\n"
        f"{where['processor']}, {where['cores']} cores, {gpu}{where['system']}, Python "
        f"{where['python']}, {versions}; commit {commit}{changed}; {where['date']}"
    )
    if where["load_average"] is not None:
        text += f"; load average at the start {where['load_average']:.1f}"
    text += ".\n"
    return text + (f"\n**{record['ended']}.**\n" if record["ended"] else "")


def markdown(record: Record, picture: str) -> str:
    """Return the whole document; ``picture`` is the file name of the plot, empty for none."""
    text = heading(record)
    for kind, (title, remark) in HEADINGS.items():
        sections = [section for section in record["sections"] if section["kind"] == kind]
        if not sections:
            continue
        text += f"\n## {title}\n\n{remark}\n"
        if kind == "targets":
            if sections[0]["scale"] != 1:
                text += f"\n**Every n was multiplied by {sections[0]['scale']:g}: a trial.**\n"
            text += "\n" + targets_table(sections)
        if kind == "scaling" and picture:
            text += f"\n![seconds over n]({picture})\n"
        for section in sections:
            text += f"\n### {section['title']}\n"
            rows = section.get("rows", [])
            if kind == "scaling":
                text += "\n" + scaling_table(rows)
                continue
            text += "\n" + floors(section)
            first = "data" if kind == "datasets" else "peer"
            ratio = "× isotropic" if kind == "datasets" else "× gtn_label"
            if kind == "targets":
                rows = [{**row, "title": f"{row['title']}: {case(row)}"} for row in rows]
                ratio = "× the first of its kind"
            text += "\n" + speed_table(rows, first, ratio)
            if kind != "targets":  # there the pairs are beside the point; the JSON has them
                text += "\n" + quality_table(rows, first) + loss_table(rows)
    fast = [s for s in record["sections"] if s["kind"] in ("throughput", "aims")]
    text += throughput_report.text(fast, picture) if fast else ""
    compared = [s for s in record["sections"] if s["kind"] in ("compare", "scaling")]
    return text + (losses.text(compared) if compared else "")


def case(row: Row) -> str:
    """Name the problem of a row."""
    return f"{row['n']:,} × {row['dim']}, {row['data']}"


def write(prefix: Path, record: Record) -> str:
    """Write PREFIX.json, PREFIX.md and, with what is drawn, PREFIX.svg; return the Markdown."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    path = prefix.with_name(prefix.name + ".json")
    text = json.dumps(record, default=str).replace('{"peer": ', '\n{"peer": ')  # a row a line
    path.write_text(text + "\n", encoding="utf-8")
    return render(path)


def render(path: Path) -> str:
    """Make the Markdown and the plot beside a JSON file from it; return the Markdown.

    Raises
    ------
    ValueError
        It is not a record of this version.
    OSError
        It cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path} must be results of this version (schema {SCHEMA})")
    picture = path.with_suffix(".svg")
    drawn = plot.draw(record["sections"], picture)
    if not drawn:
        picture.unlink(missing_ok=True)  # an earlier run's
    text = markdown(record, picture.name if drawn else "")
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    return text

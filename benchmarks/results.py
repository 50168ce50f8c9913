"""Reads, writes and merges results: JSON, and the Markdown and the plot made from it alone.

A record holds runs, each with its commit, machine and command, and sections, each with the number
of its run and the rows of its contests (harness.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, markdown, plot
from benchmarks.targets import optimal

Record = dict[str, Any]

SCHEMA = 3


def new() -> Record:
    """Return the record of a run that begins now."""
    return {"schema": SCHEMA, "ended": "", "runs": [machine.circumstances()], "sections": []}


def write(prefix: Path, record: Record) -> str:
    """Write PREFIX.json, PREFIX.md and, if there is a figure to draw, PREFIX.svg.

    Returns
    -------
    str
        The Markdown.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    path = named(prefix, ".json")
    text = json.dumps(record, default=str).replace('{"peer": ', '\n{"peer": ')  # a row a line
    path.write_text(text + "\n", encoding="utf-8")
    record = read(path)  # so that --render gives the same tables again
    picture = named(prefix, ".svg")
    drawn = plot.draw(record["sections"], picture)
    if not drawn:
        picture.unlink(missing_ok=True)  # an earlier run's
    text = markdown.document(record, picture.name if drawn else "")
    named(prefix, ".md").write_text(text, encoding="utf-8")
    return text


def named(prefix: Path, ending: str) -> Path:
    """Return the file of a prefix."""
    return prefix.with_name(prefix.name + ending)


def read(path: Path) -> Record:
    """Read a record.

    Raises
    ------
    ValueError
        The file is not a record of this version.
    OSError
        The file cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path} must be results of this version (schema {SCHEMA})")
    return record


def merge(records: Sequence[Record]) -> Record:
    """Join records: a later section replaces an earlier one of the same kind and title."""
    runs: list[Any] = []
    sections: dict[tuple[str, str], Record] = {}
    for record in records:
        for section in record["sections"]:
            moved = {**section, "run": section.get("run", 0) + len(runs)}
            sections[section["kind"], section["title"]] = moved
        runs += record["runs"]
    used = sorted({section["run"] for section in sections.values()})
    return {
        "schema": SCHEMA,
        "ended": " ".join(record["ended"] for record in records if record["ended"]),
        "runs": [runs[number] for number in used],
        "sections": [{**s, "run": used.index(s["run"])} for s in sections.values()],
    }


def render(paths: Sequence[Path], prefix: Path | None) -> str:
    """Make tables and plot of one or several JSON files again; return the Markdown.

    Several are merged into PREFIX, and the targets of optimal transport are judged by the rows of
    all. One is written beside itself if no prefix is given.
    """
    merged = merge([read(path) for path in paths])
    if len(paths) > 1:
        optimal.judge_again(merged["sections"])
    return write(prefix or paths[0].with_suffix(""), merged)

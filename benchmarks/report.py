"""Where and with what a benchmark ran, and its tables: JSON for machines, Markdown for people."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Row

ROOT = Path(__file__).resolve().parent.parent


def git(*arguments: str) -> str:
    """Output of a git command in this repository, empty if there is none."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version(package: str) -> str:
    """Version of an installed package, empty if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def circumstances() -> dict[str, Any]:
    """Return commit, machine and versions."""
    return {
        "commit": git("rev-parse", "HEAD"),
        "changed_since_commit": bool(git("status", "--porcelain", "--untracked-files=no")),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("gtn-label", "numpy", "faiss-cpu")},
    }


def number(value: float | None, digits: int, ending: str = "") -> str:
    """Return a number for a table, a dash for nothing."""
    return "–" if value is None else f"{value:.{digits}f}{ending}"


def table(rows: Sequence[Row], first: str, ratio: str) -> str:
    """Markdown table; ``first`` names the column that differs, ``peer`` or ``data``."""
    head = [first, "n × dim", "threads", "seconds: median (min to max)", ratio]
    head += ["same pairs", "mean cosine", "note"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        seconds = "not run"
        if row.seconds is not None:
            spread = f"{row.seconds.min:.2f} to {row.seconds.max:.2f}"
            seconds = f"{row.seconds.median:.2f} ({spread})"
        cells = [
            row.peer if first == "peer" else row.data,
            f"{row.n:,} × {row.dim}",
            str(row.threads),
            seconds,
            number(row.ratio, 1 if (row.ratio or 0) >= 10 else 2),
            number(None if row.equal is None else 100 * row.equal, 2, " %"),
            number(row.mean_cosine, 4),
            row.note,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(
    prefix: Path, settings: dict[str, Any], sections: Sequence[tuple[str, str, Sequence[Row]]]
) -> str:
    """Write ``prefix``.json and ``prefix``.md; return the Markdown.

    ``sections`` holds (column that differs, title of the ratio, rows) for every table.
    """
    where = circumstances()
    changed = " with changes" if where["changed_since_commit"] else ""
    versions = ", ".join(f"{name} {v}" for name, v in where["versions"].items() if v)
    text = (
        f"{where['processor']}, {where['cores']} cores, {where['system']}, "
        f"Python {where['python']}, {versions}; commit {where['commit'][:12]}{changed}; "
        f"{settings['runs']} runs after a warm-up, ratios are medians within a round.\n"
    )
    for first, ratio, rows in sections:
        text += "\n" + table(rows, first, ratio)
    record = {
        "schema": 1,
        "circumstances": where,
        "settings": settings,
        "rows": [row.as_json() for _, _, rows in sections for row in rows],
    }
    prefix.parent.mkdir(parents=True, exist_ok=True)
    json_text = json.dumps(record, indent=1, default=str)
    prefix.with_name(prefix.name + ".json").write_text(json_text + "\n", encoding="utf-8")
    prefix.with_name(prefix.name + ".md").write_text(text, encoding="utf-8")
    return text

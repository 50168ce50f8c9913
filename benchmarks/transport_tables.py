"""Makes the tables of optimal transport: cost, proof and time of each solver, and maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.figures import least_distance
from benchmarks.internals import format_bytes
from benchmarks.text import figure, median, share, span, table

Row = dict[str, Any]
Section = dict[str, Any]

HEADINGS = {
    "optimal": (
        "Optimal transport",
        "Cost is the mean squared distance of the pairs. *Above best* is the cost over the least "
        "in the table, less 1. The *certified gap* is the relative gap that the prices prove; "
        "NumPy computed it again, over all sources or a sample. The *true gap* is on the same "
        "scale: the cost above the optimum, which an exact solver or a proof must have found. "
        "Times are divided by that of Algorithm 1 (`match`), within a round. Peak memory is that "
        "of the whole process. A run of more than ten seconds was not repeated.",
    ),
    "maps": (
        "Maps for further sources",
        "Each further source takes the latent of its largest value at the prices. The dual value "
        "is a lower bound of the semi-discrete transport cost: larger is better. Imbalance is "
        "m Σ q² - 1 for the shares q of the m latents: 0 if all are taken equally often. The mean "
        "squared distance alone says nothing: nearest latents have the least.",
    ),
    "growth": (
        "Optimal transport: growing n",
        "Median seconds, and the exponent fitted to log time over log n.",
    ),
}


def known_optimum(rows: Sequence[Row]) -> float | None:
    """Return the cost of the optimum, where an exact solver or a proof found it."""
    proved = [
        row
        for row in rows
        if row["kind"] == "optimal" or (row["certificate"] and not row["certificate"]["tolerance"])
    ]
    return least_distance(proved)


def solvers(section: Section) -> str:
    """Return one line a solver: cost, gaps, time and memory; below it what did not run."""
    rows = section["rows"]
    best, optimum = least_distance(rows), known_optimum(rows)
    scale = next((row["certificate"]["scale"] for row in rows if row["certificate"]), None)
    head = ["solver", "cost", "above best", "certified gap", "true gap"]
    head += ["seconds: median (min to max)", "× match", "CPU seconds", "peak memory", "note"]
    lines, absent = [], []
    for row in rows:
        if not (row["quality"] and best):
            absent.append(f"- {row['title']}: {row['note']}.\n")
            continue
        cost, proof = row["quality"]["mean_squared_distance"], row["certificate"]
        true = None
        if optimum is not None and scale:
            # Costs within the rounding of an exact solver may be a little less.
            true = max(0.0, (cost - optimum) / scale)
        title = row["title"] + (", Algorithm 1" if row["kind"] == "contract" else "")
        cells = [title, figure(cost, 7), figure(cost / best - 1, 2)]
        cells += [figure(proof["gap"], 2) if proof else "–", figure(true, 2)]
        memory = format_bytes(row["peak_bytes"]) if row["peak_bytes"] else "–"
        cells += [span(row["seconds"]), median(row["ratio"]) if row["against"] else "1"]
        cells += [median(row["cpu_seconds"]), memory]
        lines.append([*cells, row["note"]])
    return table(head, lines) + ("\n" + "".join(absent) if absent else "")


def maps(section: Section) -> str:
    """Return one line a map."""
    head = ["map", "further sources", "dual value", "mean ‖y - x‖²", "imbalance"]
    head += ["latents never taken", "expected", "seconds to solve", "to label", "peak memory"]
    lines, absent = [], []
    for row in section["rows"]:
        if not row["map"] or not row["seconds"]:
            absent.append(f"- {row['title']}: {row['note']}.\n")
            continue
        found, stats = row["map"], row["stats"]
        cells = [row["title"], f"{found['sources']:,}", figure(found["dual"], 7)]
        cells += [figure(found["mean_squared_distance"], 6), figure(found["imbalance"])]
        cells += [share(found["never"]), share(found["never_expected"])]
        cells += [figure(stats["solve_seconds"]), figure(stats["label_seconds"])]
        lines.append([*cells, format_bytes(row["peak_bytes"])])
    return table(head, lines) + ("\n" + "".join(absent) if absent else "")

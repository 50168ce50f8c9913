"""Where a peer beats this project, in words and figures made from the rows, and what to do then.

A peer is faster if its time relative to gtn_label is below 1, and its pairs are better if their
mean squared distance is lower or their 10-NN R² is higher by more than the sample tells apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

CLEARLY_SHORTER = 0.99  # of this project's mean squared distance
CLEARLY_SMOOTHER = 0.01  # more R², which comes from a sample of a few thousand rows

INTRODUCTION = """
## Where others win

Algorithm 1 makes cosines large, one source after another; it is not optimal transport. Its time is
exact work that grows with n², as far as none of it can be skipped. Where a peer of the comparison
or of the scaling was faster, or its pairs were shorter or smoother, this section says so. Shorter
or smoother pairs are not by themselves a better generator: no single figure here predicts one, so
measure the generator.

"""


def of_problem(rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Sentences on one problem, and the rows they name."""
    ours = next((row for row in rows if row["peer"] == "gtn_label" and row["quality"]), None)
    others = [row for row in rows if row["kind"] != "contract" and row["quality"]]
    if ours is None or not others:
        return ["no other peer was measured"], []
    sentences: list[str] = []
    named: list[Row] = []

    def say(lead: str, lines: list[tuple[Row, str]]) -> None:
        if lines:
            sentences.append(lead + "; ".join(f"{row['title']} {words}" for row, words in lines))
            named.extend(row for row, _ in lines)

    say(
        "Faster: ",
        [
            (row, f"{1 / row['ratio']['median']:.3g} times")
            for row in others
            if row["ratio"] and row["ratio"]["median"] < 1
        ],
    )
    distance = ours["quality"]["mean_squared_distance"]
    shorter = [
        (row, f"{theirs:.4g}")
        for row in others
        if (theirs := row["quality"]["mean_squared_distance"]) is not None
        and theirs < CLEARLY_SHORTER * distance
    ]
    say(f"Shorter pairs (mean squared distance, gtn_label {distance:.4g}): ", shorter)
    smooth = ours["quality"]["learnability"]
    if smooth is not None:
        smoother = [
            (row, f"{theirs:.3f}")
            for row in others
            if (theirs := row["quality"]["learnability"]) is not None
            and theirs > smooth + CLEARLY_SMOOTHER
        ]
        say(f"Smoother labels (10-NN R², gtn_label {smooth:.3f}): ", smoother)
    untimed = [row["title"] for row in others if not row["ratio"]]
    if not sentences and len(untimed) < len(others):
        sentences.append("no peer that ran was faster or gave better pairs")
    if untimed:  # as after a break
        sentences.append("Checked but not timed: " + "; ".join(untimed))
    return sentences, named


def problems(sections: Sequence[dict[str, Any]]) -> list[tuple[str, list[Row]]]:
    """Titles and rows of the problems; a section of the scaling holds one problem for each n."""
    found: list[tuple[str, list[Row]]] = []
    for section in sections:
        of_shape: dict[str, list[Row]] = {}
        for row in section.get("rows", []):
            title = f"{row['n']:,} × {row['dim']}, {row['data']}"
            of_shape.setdefault(title, []).append(row)
        found += of_shape.items()
    return found


def text(sections: Sequence[dict[str, Any]]) -> str:
    """Return the section of the document."""
    lines = [INTRODUCTION]
    advice: dict[str, str] = {}
    for title, rows in problems(sections):
        sentences, named = of_problem(rows)
        advice.update({row["title"]: row["advice"] for row in named})
        lines.append(f"- {title}: {'. '.join(sentences)}.\n")
    if advice:
        lines.append("\nWhen to use them:\n\n")
        lines += [f"- {title}: {words}.\n" for title, words in advice.items()]
    return "".join(lines)

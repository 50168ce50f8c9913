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
exact work that grows with n², as far as none of it can be skipped. Where a peer below was faster,
or its pairs were shorter or smoother, this section says so. Shorter or smoother pairs are not by
themselves a better generator: no single figure here predicts one, so measure the generator.

"""


def of_problem(rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Sentences on one problem, and the rows they name."""
    ours = next((row for row in rows if row["peer"] == "gtn_label" and row["quality"]), None)
    if ours is None:
        return [], []
    sentences: list[str] = []
    named: list[Row] = []

    def say(lead: str, lines: list[tuple[Row, str]]) -> None:
        if lines:
            sentences.append(lead + "; ".join(f"{row['title']} {words}" for row, words in lines))
            named.extend(row for row, _ in lines)

    others = [row for row in rows if row["kind"] != "contract" and row["quality"]]
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
    return sentences, named


def text(sections: Sequence[dict[str, Any]]) -> str:
    """Return the section of the document."""
    lines = [INTRODUCTION]
    advice: dict[str, str] = {}
    for section in sections:
        sentences, named = of_problem(section.get("rows", []))
        advice.update({row["title"]: row["advice"] for row in named})
        words = ". ".join(sentences) or "no peer that ran was faster or gave better pairs"
        lines.append(f"- {section['title']}: {words}.\n")
    if advice:
        lines.append("\nWhen to use them:\n\n")
        lines += [f"- {title}: {words}.\n" for title, words in advice.items()]
    return "".join(lines)

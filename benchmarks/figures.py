"""Arithmetic on measured runs: spreads, ratios within rounds, the exponent of growth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

Runs = Sequence[float | None]  # one value a round; None where the round has none
Spread = dict[str, Any]


def spread(runs: Runs) -> Spread | None:
    """Return median, least and largest value with the runs; None if every run is missing."""
    values = [value for value in runs if value is not None]
    if not values:
        return None
    median = statistics.median(values)
    return {"median": median, "min": min(values), "max": max(values), "runs": list(runs)}


def ratios(above: Runs, below: Runs) -> list[float | None]:
    """Divide within rounds; None where either value is missing."""
    return [None if a is None or b is None else a / b for a, b in zip(above, below, strict=False)]


def quotient(rows: Sequence[dict[str, Any]]) -> Spread | None:
    """Divide the seconds of the fastest other row by those of the first, within rounds."""
    others = zip(*(row["seconds"]["runs"] for row in rows[1:]), strict=False)
    least = [min((run for run in runs if run is not None), default=None) for runs in others]
    return spread(ratios(least, rows[0]["seconds"]["runs"]))


def least_distance(rows: Sequence[dict[str, Any]]) -> float | None:
    """Return the least mean squared distance of checked one-to-one answers; None without any."""
    found = (row["quality"] and row["quality"]["mean_squared_distance"] for row in rows)
    return min((distance for distance in found if distance is not None), default=None)


def exponent(points: Sequence[tuple[int, float]]) -> float | None:
    """Fit the slope of log seconds over log n to (n, seconds); None for a single n."""
    if len({n for n, _ in points}) < 2:
        return None
    xs = [math.log(n) for n, _ in points]
    ys = [math.log(seconds) for _, seconds in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return above / sum((a - x) ** 2 for a in xs)

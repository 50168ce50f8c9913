"""A covering design: few test cases in which every pair of factor levels occurs together.

Faults of an engine are nearly always set off by one factor or by two together (a data set and a
dimension, a cone and a group), so all pairs find them at a small part of the full product's cost.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence

Case = dict[str, object]


def pairs_of(case: Case) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    """All pairs of (factor, level) of a case."""
    return set(itertools.combinations(sorted(case.items(), key=lambda item: item[0]), 2))


def complete(fixed: Iterable[Case], factors: Mapping[str, Sequence[object]]) -> list[Case]:
    """Give every partly fixed case the levels it lacks, so that new pairs are met early.

    For each case the best of a few dozen random completions is kept; the generator is seeded, the
    design is the same on every run. Whether all pairs are covered is for the caller to check.
    """
    rng = random.Random(2)
    met: set[object] = set()
    cases = []
    for part in fixed:
        draws = [
            {**{name: rng.choice(levels) for name, levels in factors.items()}, **part}
            for _ in range(40)
        ]
        best = max(draws, key=lambda case: len(pairs_of(case) - met))
        met |= pairs_of(best)
        cases.append(best)
    return cases

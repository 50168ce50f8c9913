"""The engine of optimal transport against its oracle (optimal_oracle.py), bit for bit.

Every instruction set present runs every case, with lists forced short. Not here: one dimension with
as many sources as latents, which is sorted (test_optimal.py).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import engine
from datasets import NAMES, make
from gtn_label import _core
from pair_cover import complete
from tests import optimal_oracle

SETS = [name.partition(":")[2] for name in engine.INSTRUCTION_SETS if name in engine.USABLE]

SHAPES = [(1, 40), (2, 60), (3, 20), (5, 90), (8, 3), (16, 60), (33, 33), (40, 90), (7, 1), (4, 2)]
OPTIONS = {
    "share": (1.0, 0.6),
    "center": (False, True),
    "tolerance": (0.0, 1e-3, 1e-1),
    "depth": (2, 8, 64),
    "threads": (1, 2, 7),
    "sample_from": (16, optimal_oracle.SAMPLE_FROM),
}


def design():
    """Three cases for each data set, all shapes in turn, and pairs of options early."""
    shapes = itertools.cycle(SHAPES)
    fixed = [
        {"data": name, "dim": dim, "n": n}
        for name, (dim, n) in zip(3 * NAMES, shapes, strict=False)
    ]
    for case in complete(fixed, OPTIONS):
        if case["dim"] == 1:  # as many sources as latents are sorted: test_optimal.py
            case |= {"share": 0.6}
        yield case


def wide(rows):
    """Rows as the engine takes them: float32 or float64."""
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def solved_by_engine(latents, sources, *, instruction_set, **options):
    assignment, _, prices, found = _core.optimal_rows(
        latents,
        sources,
        instruction_set=instruction_set,
        engine=_core.CpuEngine(),
        poll=None,
        **options,
    )
    return assignment, prices, found


def in_units(latents, sources, center, expected):
    """Prices by row and the gap, from the oracle's integers."""
    n, m = len(sources), len(latents)
    sides = optimal_oracle.Sides.of(latents, sources, center)
    q = optimal_oracle.integers(sides).q
    by_rank = optimal_oracle.ranks_of(sides.x)
    first_of = optimal_oracle.classes_of(latents) if n == m else np.arange(m)
    ids = {row: k for k, row in enumerate(dict.fromkeys(first_of[by_rank].tolist()))}
    real = [math.ldexp(float(price) / (m + 1), -q) for price in expected.prices]
    return np.array([real[ids[row]] for row in first_of.tolist()]), math.ldexp(
        expected.gap / (m + 1), -q
    )


def assert_is_oracles(
    latents, sources, *, tolerance=0.0, center=False, sample_from=4096, depth=8, threads=1
):
    """Compare pairs, prices and counts of every instruction set with the oracle's."""
    expected = optimal_oracle.solve(latents, sources, tolerance, center, sample_from)
    prices_expected, gap_expected = in_units(latents, sources, center, expected)
    for name in SETS:
        assignment, prices, found = solved_by_engine(
            latents,
            sources,
            tolerance=tolerance,
            center=center,
            sample_from=sample_from,
            depth=depth,
            threads=threads,
            instruction_set=name,
        )
        assert assignment.tolist() == expected.assignment.tolist()
        assert (found["phases"], found["rounds"]) == (expected.phases, expected.rounds)
        assert found["bids"] == expected.bids
        assert prices.tobytes() == prices_expected.tobytes()
        assert found["gap"] == pytest.approx(gap_expected, rel=1e-12)


def label(case):
    return f"{case['data']}, {case['n']}x{case['dim']}"


@pytest.mark.parametrize("case", list(design()), ids=label)
def test_engine_is_the_oracle(case):
    latents, sources = map(wide, make(case["data"], case["n"], case["dim"]))
    assert_is_oracles(
        latents,
        sources[: max(1, int(case["share"] * len(sources)))],
        **{name: case[name] for name in OPTIONS if name != "share"},
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "dim"), [(300, 300, 6), (200, 300, 24), (300, 300, 2)])
def test_hundreds_of_rows_are_the_oracles(n, m, dim, dtype):
    rng = np.random.default_rng(m + dim)
    latents, sources = rng.normal(size=(m, dim)).astype(dtype), rng.normal(size=(n, dim))
    assert_is_oracles(latents, sources, tolerance=1e-3, threads=2)


@pytest.mark.parametrize("dim", [2, 5, 9])
def test_first_prices_of_samples_of_samples_are_the_oracles(dim):
    rng = np.random.default_rng(dim)
    latents, sources = rng.normal(size=(2, 700, dim)).astype(np.float32)
    latents[::7] = latents[3]
    assert_is_oracles(latents, sources, tolerance=1e-2, sample_from=40, threads=2)


@pytest.mark.parametrize("far", [1e4, 1e9, 1e15])
def test_a_sample_far_from_the_mean_of_all_is_the_oracles(far):
    rng = np.random.default_rng(3)
    latents, sources = rng.normal(size=(2, 60, 3))
    latents[:, 2] = 0
    sources[1, 2] = far  # of no sample, but of the mean about which its spread is
    assert_is_oracles(latents, sources, tolerance=1e-2, sample_from=40)

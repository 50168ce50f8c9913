"""`match_optimal` against SciPy's optimum and a certificate made by brute force.

Not here: groups (test_optimal_groups.py), the oracle (test_optimal_oracle.py), files and the
command (io/test_pairs.py, cli/test_label_optimal.py), and `verify` (test_verification.py).
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import engine
from datasets import make
from gtn_label import ArgumentError, ArgumentTypeError, Matching, match, match_optimal

# ---------------------------------------------------------------- the optimum, and the certificate


def best_cost(latents, sources, center=False):
    """Least mean squared distance, by SciPy."""
    x, y = latents.astype(np.float64), sources.astype(np.float64)
    if center:
        x = x - x.mean(axis=0)
    squares = ((y[:, None] - x[None]) ** 2).sum(axis=2)
    rows, columns = linear_sum_assignment(squares)
    return float(squares[rows, columns].sum()) / len(y)


def by_brute_force(matching, latents, sources, center=False):
    """Gap, cost and lower bound of one group, from prices and all products in float64."""
    x, y = latents.astype(np.float64), sources.astype(np.float64)
    (m, dim), n = x.shape, len(y)
    x_mean = x.mean(axis=0)
    shift = x_mean if center else np.zeros(dim)
    squared = ((y - (x[matching.assignment] - shift)) ** 2).sum()
    # Value of a latent to a source: half the squared distance that it spares.
    values = (y @ (x - x_mean).T) - matching.prices
    rents = (
        matching.prices - 0.5 * ((x - x_mean) ** 2).sum(axis=1) - (x - x_mean) @ (x_mean - shift)
    )
    paid = rents[matching.assignment].sum()
    dearest = np.sort(rents)[m - n :].sum() if n < m else rents.sum()
    own = values[np.arange(n), matching.assignment]
    gap = (values.max(axis=1) - own).sum() + (dearest - paid)
    if n < m:
        reference = squared / 2
    else:
        x_c, y_c = x - x_mean, y - y.mean(axis=0)
        reference = math.sqrt((x_c**2).sum() * (y_c**2).sum())
        reference -= (y_c * x_c[matching.assignment]).sum()
    return gap / reference, squared / n, (squared - 2 * gap) / n


@pytest.mark.parametrize("tolerance", [0.0, 1e-3, 1e-1])
@pytest.mark.parametrize("square", [True, False])
def test_cost_is_scipys_within_the_certified_gap(square, tolerance):
    rng = np.random.default_rng([square, int(1e4 * tolerance)])
    for number in range(60):
        m = int(rng.integers(2, 300 if number % 10 == 0 else 60))
        n = m if square else int(rng.integers(1, m))
        dim, center = int(rng.integers(1, 41)), bool(rng.integers(2))
        latents, sources = rng.normal(size=(m, dim)), rng.normal(size=(n, dim))
        if number % 4 == 1:
            latents = rng.integers(-1, 2, size=(m, dim)).astype(np.float64)  # equal ones among them
        elif number % 4 == 2:
            latents = (rng.normal(size=(3, dim))[rng.integers(3, size=m)] + 0.1 * latents) + 1.0
        found = match_optimal(latents, sources, tolerance=tolerance, center=center, threads=1)
        gap, cost, bound = by_brute_force(found, latents, sources, center)
        best = best_cost(latents, sources, center)
        slack = 1e-9 * (cost + (latents**2).mean() * dim)
        assert found.cost == pytest.approx(cost, rel=1e-9)
        assert gap <= found.gap + 1e-9
        if square:  # otherwise the engine's bound of the spares is a coarser one
            assert found.gap <= max(gap, 0.0) + 1e-8
        assert found.lower_bound <= bound + slack
        assert found.lower_bound <= best + slack
        assert best <= found.cost + slack
        if found.gap < 1.0:
            assert found.gap <= max(tolerance, 1e-9)
        if tolerance == 0.0:
            assert found.cost <= best + slack


def test_a_set_matched_to_itself_costs_nothing():
    rows = np.random.default_rng(3).normal(size=(50, 4))
    for tolerance in (0.0, 1e-3):
        found = match_optimal(rows, rows, tolerance=tolerance)
        assert found.assignment.tolist() == list(range(50))
        assert (found.cost, found.lower_bound, found.gap) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_cost_within_rounding_of_nothing_has_no_gap(share):
    rows = np.random.default_rng(3).normal(size=(50, 4))
    sources = rows[: int(50 * share)] + 1e-9
    found = match_optimal(rows, sources, tolerance=1e-3)
    assert found.assignment.tolist() == list(range(len(sources)))
    assert 0.0 == found.lower_bound < found.cost
    assert found.gap == 1.0


ONE, OTHER = np.full((9, 3), 0.1), np.random.default_rng(19).normal(size=(9, 3))
SAME_COST = {
    "one row": (OTHER[:1], OTHER[1:2], None),
    "equal latents": (ONE, OTHER, None),
    "equal sources": (OTHER, ONE, None),
    "equal sources on a line": (OTHER[:, :1], ONE[:, :1], None),
    "groups of one": (OTHER, OTHER[::-1] + 2.0, (np.arange(9), np.arange(9)[::-1].copy())),
    "far and equal": (1e9 + ONE, OTHER, None),
}


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("name", SAME_COST)
def test_where_every_assignment_costs_the_same_the_gap_is_0(name, center):
    latents, sources, groups = SAME_COST[name]
    for tolerance in (0, 1e-3):
        found = match_optimal(latents, sources, tolerance=tolerance, groups=groups, center=center)
        assert found.gap == 0.0
        assert found.lower_bound == found.cost > 0.0
        assert found.verify(latents, groups=groups).choices == len(sources)


def test_a_group_of_equal_rows_adds_no_rounding():
    # The first group has large scores, whose rounding is large beside the other group's cost.
    rng = np.random.default_rng(20)
    latents, sources = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    latents[:20] = 1e9
    sources[:20] = 1e9 * np.concatenate([sources[:10], -sources[:10]])
    groups = (np.arange(40) // 20,) * 2
    found = match_optimal(latents, sources, tolerance=0, groups=groups)
    assert found.gap < 1e-2
    found.verify(latents, groups=groups)


@pytest.mark.parametrize("n", [50, 30])
def test_the_mean_of_far_latents_is_subtracted_in_full(n):
    rng = np.random.default_rng(21)
    latents, sources = 1e8 + rng.normal(size=(50, 3)), rng.normal(size=(n, 3))
    found = match_optimal(latents, sources, tolerance=0, center=True)
    mean = [sum(map(Fraction, column)) / 50 for column in latents.T.tolist()]
    exact = sum(
        (Fraction(y) - Fraction(x) + middle) ** 2
        for source, row in zip(sources, found.assignment, strict=True)
        for y, x, middle in zip(source.tolist(), latents[row].tolist(), mean, strict=True)
    )
    assert found.cost == pytest.approx(float(exact / n), rel=1e-14)
    assert found.lower_bound <= found.cost
    # Which latents are best depends on the mean where some are left over.
    assert found.gap < (1e-11 if n == 50 else 1e-5)
    assert found.verify(latents, sources).choices == n


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
def test_cost_and_bound_are_in_the_units_given(scale, share):
    rng = np.random.default_rng(4)
    latents, sources = scale * rng.normal(size=(50, 4)), scale * rng.normal(size=(50, 4))
    sources = sources[: int(share * 50)]
    found = match_optimal(latents, sources, tolerance=0)
    best = best_cost(latents / scale, sources / scale) * scale**2
    assert found.cost == pytest.approx(best, rel=1e-9)
    assert found.lower_bound == pytest.approx(best, rel=1e-9)
    assert found.gap < 1e-9


@pytest.mark.parametrize("name", ["clusters 1e-3", "heavy tails", "1e3 + noise", "lattice"])
def test_hard_rows_are_certified(name):
    latents, sources = make(name, 120, 5)
    found = match_optimal(latents, sources, tolerance=0)
    assert found.lower_bound <= found.cost
    assert found.cost == pytest.approx(best_cost(latents, sources), rel=1e-7)


# Without first prices, or with a first epsilon that says nothing of how far prices have to go, they
# would rise by a step of the grid a round.
PRICE_WARS = {
    "equal sources": lambda rng: (rng.normal(size=(40, 3)), np.ones((40, 3))),
    "equal sources, fewer": lambda rng: (rng.normal(size=(40, 3)), np.ones((30, 3))),
    "far latents, fewer sources": lambda rng: (
        1e6 + rng.normal(size=(60, 4)),
        rng.normal(size=(40, 4)),
    ),
    "far sources, fewer": lambda rng: (rng.normal(size=(60, 4)), 1e6 + rng.normal(size=(40, 4))),
    "both far": lambda rng: (1e6 + rng.normal(size=(60, 4)), 1e6 + rng.normal(size=(60, 4))),
    "long latents, fewer sources": lambda rng: (
        1e15 * rng.normal(size=(50, 4)),
        rng.normal(size=(30, 4)),
    ),
}


@pytest.mark.parametrize("name", PRICE_WARS)
def test_no_price_war_lasts(name):
    latents, sources = PRICE_WARS[name](np.random.default_rng(5))
    found = match_optimal(latents, sources, tolerance=0)
    assert found.stats["rounds"] < 100_000
    best = best_cost(latents, sources)
    scale = (latents**2).sum(axis=1).max()
    assert found.cost - best <= 1e-9 * scale
    assert found.lower_bound <= best + 1e-9 * scale


# --------------------------------------------------------------------------------- small and equal


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 2), (3, 3), (1, 2), (1, 3), (2, 3)])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_smallest(n, m, dim):
    rng = np.random.default_rng([n, m, dim])
    latents, sources = rng.normal(size=(m, dim)), rng.normal(size=(n, dim))
    found = match_optimal(latents, sources, tolerance=0)
    assert found.cost == pytest.approx(best_cost(latents, sources))


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_latents(value, share):
    sources = np.random.default_rng(6).normal(size=(40, 3))[: int(40 * share)]
    found = match_optimal(np.full((40, 3), value), sources, tolerance=0)
    assert len(set(found.assignment.tolist())) == len(sources)
    assert found.cost == pytest.approx(((sources - value) ** 2).sum() / len(sources))
    assert np.isfinite(found.cosine).all()
    if value == 0.0:
        assert not found.cosine.any()


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_of_equal_latents_is_proved(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(90, 8)).astype(np.float32)
    latents = rows[rng.integers(90, size=450)]
    sources = rng.normal(size=(450, 8)).astype(np.float32)
    m = match_optimal(latents, sources, tolerance=0)
    assert m.gap <= 1e-10
    assert m.cost == pytest.approx(best_cost(latents, sources), rel=1e-12)


def test_zero_rows_are_rows_like_others():
    rng = np.random.default_rng(7)
    latents, sources = rng.normal(size=(30, 3)), rng.normal(size=(30, 3))
    latents[4:9] = sources[10] = 0.0
    found = match_optimal(latents, sources, tolerance=0)
    assert found.cost == pytest.approx(best_cost(latents, sources))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("center", [False, True])
def test_one_dimension_is_sorting(dtype, center):
    rng = np.random.default_rng(8)
    latents = (rng.standard_t(1.5, size=(2000, 1)) + 3).astype(dtype)
    latents[::7] = latents[3]
    sources = rng.normal(size=(2000, 1)).astype(dtype)
    found = match_optimal(latents, sources, center=center)
    by_value = np.argsort(latents[:, 0], kind="stable")
    assert found.assignment[np.argsort(sources[:, 0], kind="stable")].tolist() == by_value.tolist()
    assert found.gap <= 1e-3


# ---------------------------------------------------------------------------------------- symmetry


def test_rows_in_another_order_give_the_same_pairs():
    rng = np.random.default_rng(9)
    latents, sources = rng.normal(size=(80, 4)), rng.normal(size=(60, 4))
    found = match_optimal(latents, sources, tolerance=0)
    of_latents, of_sources = rng.permutation(80), rng.permutation(60)
    other = match_optimal(latents[of_latents], sources[of_sources], tolerance=0)
    assert of_latents[other.assignment].tolist() == found.assignment[of_sources].tolist()


@pytest.mark.parametrize(("n", "of_latents", "of_sources"), [(80, 6, -3), (60, 5, 5)])
def test_powers_of_two_change_no_bit(n, of_latents, of_sources):
    rng = np.random.default_rng(10)
    latents, sources = rng.normal(size=(80, 4)), rng.normal(size=(n, 4))
    found = match_optimal(latents, sources, tolerance=1e-2)
    scaled = match_optimal(
        np.ldexp(latents, of_latents), np.ldexp(sources, of_sources), tolerance=1e-2
    )
    assert scaled.assignment.tolist() == found.assignment.tolist()
    assert scaled.prices.tolist() == np.ldexp(found.prices, of_latents + of_sources).tolist()
    assert scaled.stats["bids"] == found.stats["bids"]


@pytest.mark.parametrize("backend", [name for name in engine.USABLE if name.startswith("cpu:")])
def test_memory_and_threads_change_no_bit(backend):
    rng = np.random.default_rng(11)
    latents, sources = rng.normal(size=(700, 6)), rng.normal(size=(600, 6))
    found = match_optimal(latents, sources, threads=1)
    for threads, memory in ((2, None), (7, "900kB")):
        other = match_optimal(latents, sources, backend=backend, threads=threads, memory=memory)
        engine.assert_same(other, found)
        assert other.prices.tobytes() == found.prices.tobytes()
        assert (other.gap, other.cost) == (found.gap, found.cost)
        assert other.stats["instruction_set"] == backend.partition(":")[2]


# ---------------------------------------------------------------------------------------- refusals

ROWS = np.random.default_rng(14).normal(size=(6, 3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sources": np.ones((7, 3))}, ArgumentError, "sources must not exceed the 6 latents"),
        ({"sources": np.ones((6, 4))}, ArgumentError, "sources and latents must have the same dim"),
        ({"sources": np.full((2, 3), np.nan)}, ValueError, "sources"),
        ({"latents": np.where(ROWS > 1, np.nan, ROWS)}, ValueError, "latents"),
        ({"latents": np.full((6, 3), np.inf)}, ValueError, "latents"),
        ({"latents": np.full((6, 3), 1e200)}, ValueError, "latents"),
        ({"tolerance": -1e-3}, ArgumentError, "tolerance must be a finite number >= 0"),
        ({"tolerance": math.nan}, ArgumentError, "tolerance must be a finite number >= 0"),
        ({"tolerance": math.inf}, ArgumentError, "tolerance must be a finite number >= 0"),
        ({"tolerance": "1e-3"}, ArgumentTypeError, "tolerance must be a number, got str '1e-3'"),
        ({"tolerance": True}, ArgumentTypeError, "tolerance must be a number, got bool True"),
        ({"tolerance": None}, ArgumentTypeError, "tolerance must be a number"),
        ({"backend": "cpu:none"}, ArgumentError, "backend"),
        ({"backend": 3}, ArgumentTypeError, "backend must be a str"),
        ({"center": 1}, ArgumentTypeError, "center must be a bool"),
        ({"seed": -1}, ArgumentError, "seed must be >= 0"),
        ({"threads": 0}, ArgumentError, "threads must be >= 1"),
        ({"memory": 100}, ArgumentError, r"memory must be at least \d+ bytes for this input"),
        ({"memory": "0 bytes"}, ArgumentError, "memory"),
        ({"groups": np.zeros(6)}, ArgumentTypeError, "groups must be a pair"),
        ({"groups": ([0] * 6, [0] * 5 + [1])}, ArgumentError, "group"),
        ({"progress": "bar"}, ArgumentTypeError, "progress"),
    ],
)
def test_refused(options, error, message):
    given = {"latents": ROWS, "sources": ROWS[::-1], **options}
    with pytest.raises(error, match=message):
        match_optimal(given.pop("latents"), given.pop("sources"), **given)


@pytest.mark.parametrize("backend", ["faiss", "faiss:python", "cuda:dp4a"])
def test_other_backends_are_refused(backend):
    if backend not in {row.name for row in engine.gtn_label.backends() if row.available}:
        with pytest.raises(ArgumentError, match="backend"):
            match_optimal(ROWS, backend=backend)
        return
    with pytest.raises(ArgumentError, match=r"backend must be 'cpu', .* for optimal transport"):
        match_optimal(ROWS, backend=backend)


def test_epsilon_falls_with_the_tolerance():
    latents = np.random.default_rng(17).normal(size=(200, 3))
    coarse, fine = (match_optimal(latents, tolerance=t).stats["epsilon"] for t in (0.1, 0))
    assert 0 < fine < 1e-9 < coarse


def test_little_memory_makes_lists_short():
    rng = np.random.default_rng(16)
    latents, sources = rng.normal(size=(900, 12)), rng.normal(size=(700, 12))
    found = match_optimal(latents, sources, threads=1)
    depths = [found.stats["depth"]]
    for memory in (3_000_000, 2_000_000, 1_300_000):
        other = match_optimal(latents, sources, threads=1, memory=memory)
        engine.assert_same(other, found)
        assert other.prices.tobytes() == found.prices.tobytes()
        assert other.gap == found.gap
        depths.append(other.stats["depth"])
    assert depths == sorted(set(depths), reverse=True)
    assert depths[0] == 32


def test_memory_that_the_refusal_asks_for_is_enough():
    latents = np.random.default_rng(15).normal(size=(500, 5))
    with pytest.raises(ArgumentError) as caught:
        match_optimal(latents, memory=1000)
    least = int(caught.value.rule.split()[4])
    assert match_optimal(latents, memory=least).gap <= 1e-3


CHILD = """
import signal
import numpy as np
from gtn_label import match_optimal

signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
latents, sources = (rng.normal(size=(60_000, 64)).astype(np.float32) for _ in range(2))
try:
    print("started", flush=True)
    match_optimal(latents, sources, tolerance=0, backend="cpu:scalar", threads=1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("delay", [0.0, 1.5])
def test_ctrl_c_stops_a_run(delay):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert child.stdout.readline() == "started\n"
        time.sleep(delay)
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=10)
    finally:
        child.kill()
        child.wait()
    assert rest == "interrupted\n"


# ------------------------------------------------------------------------------------------ assign


def best_by_brute_force(latents, sources, prices):
    """The latent of largest <y, x> - p, ties by norm less the mean, then row."""
    x = latents.astype(np.float64) - latents.mean(axis=0, dtype=np.float64)
    values = sources.astype(np.float64) @ x.T - prices
    by_rank = np.lexsort((np.arange(len(x)), (x**2).sum(axis=1)))
    return by_rank[values[:, by_rank].argmax(axis=1)], values


@pytest.mark.parametrize("n", [1, 7, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_assign_is_the_best_at_these_prices(n, dtype):
    rng = np.random.default_rng(16)
    latents = rng.normal(size=(300, 5)).astype(dtype)
    found = match_optimal(latents, seed=1)
    fresh = rng.normal(size=(n, 5)).astype(dtype)
    chosen = found.assign(fresh)
    expected, values = best_by_brute_force(latents, fresh, found.prices)
    other = np.flatnonzero(chosen != expected)
    assert chosen.dtype == np.int64
    assert values[other, chosen[other]] == pytest.approx(values[other, expected[other]], abs=1e-9)
    assert len(other) <= n // 100
    assert found.assign(fresh, threads=2).tolist() == chosen.tolist()


def test_sources_of_an_optimum_get_the_latents_that_they_have():
    rng = np.random.default_rng(17)
    latents, sources = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    found = match_optimal(latents, sources, tolerance=0)
    values = best_by_brute_force(latents, sources, found.prices)[1]
    every = np.arange(200)
    assert values[every, found.assign(sources)] == pytest.approx(
        values[every, found.assignment], abs=1e-9
    )


def test_ties_go_by_rank():
    latents = np.array([[2.0, 0.0], [-2.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])
    found = match_optimal(latents, latents[:, ::-1].copy())
    # The mean is 0: at equal prices a source at 0 finds all alike, and the shortest is first.
    found._prices = np.zeros(5)
    assert found.assign(np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])).tolist() == [2, 0, 1]


def test_assign_of_a_loaded_result(tmp_path):
    rng = np.random.default_rng(18)
    latents, fresh = rng.normal(size=(50, 3)), rng.normal(size=(20, 3))
    found = match_optimal(latents, seed=2)
    for indices_only in (False, True):
        found.save(tmp_path / "pairs.npz", indices_only=indices_only)
        loaded = Matching.load(tmp_path / "pairs.npz")
        assert loaded.prices.tobytes() == found.prices.tobytes()
        assert loaded.assign(fresh, latents).tolist() == found.assign(fresh).tolist()
        with pytest.raises(ArgumentError, match="latents must be given, as the result was loaded"):
            loaded.assign(fresh)
        with pytest.raises(ArgumentError, match="latents must be those of the run, with SHA-256"):
            loaded.assign(fresh, latents + 1)
        with pytest.raises(ArgumentError, match="latents must be the 50 latents of the run"):
            loaded.assign(fresh, latents[:-1])
    with pytest.raises(ArgumentError, match="sources and latents must have the same dim"):
        found.assign(fresh[:, :2])
    with pytest.raises(ValueError, match="sources"):
        found.assign(np.full((2, 3), np.nan))


def test_only_optimal_transport_has_prices():
    found = match(ROWS)
    assert (found.prices, found.gap, found.cost, found.lower_bound) == (None, None, None, None)
    with pytest.raises(ValueError, match="needs prices, and only results of match_optimal have"):
        found.assign(ROWS)

"""Statistics of latents against their formulas, written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gtn_label import quality
from gtn_train.evaluation import latents as module
from gtn_train.evaluation.latents import (
    StandardizedDistance,
    Standardizer,
    coverage,
    energy_distance,
    intrinsic_dimension,
    ks_distance,
    learnability,
    norm_statistics,
    share_inside,
    uniformity,
)


def normal(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def test_norms_by_definition():
    real, generated = np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 2.0], [0.0, 3.0]])
    found = norm_statistics(generated, real)
    assert found == {
        "generated mean": 2.5,
        "generated std": 0.5,
        "real mean": 3.0,
        "real std": 2.0,
        "mean ratio": 2.5 / 3,
        "spread": 0.25,
    }


def test_norms_about_the_mean_see_a_shift_on_both_sides():
    real = normal(500, 3)
    shift = np.array([50.0, 0.0, 0.0])
    here = norm_statistics(real * 0.5, real - real.mean(axis=0))
    there = norm_statistics((real * 0.5) + shift, real - real.mean(axis=0) + shift, center=True)
    assert there["spread"] == pytest.approx(here["spread"])
    assert norm_statistics(real, real)["spread"] == 1


def test_a_sphere_has_no_spread_to_compare_with():
    assert math.isnan(norm_statistics(normal(5, 2), np.eye(2))["spread"])


def test_learnability_is_the_labelings():
    sources = normal(300, 2)
    smooth = learnability(sources, np.tanh(sources))
    assert smooth == quality.learnability(sources, np.tanh(sources))
    assert smooth > 0.9
    assert learnability(sources, normal(300, 2, seed=1)) < 0.1
    assert learnability(sources[:2], sources[:2]) is None


def brute_force(a, b):
    def mean(pairs):
        distances = [math.dist(x, y) for x, y in pairs]
        return sum(distances) / len(distances)

    within = [mean(itertools.permutations(rows.tolist(), 2)) for rows in (a, b)]
    return 2 * mean(itertools.product(a.tolist(), b.tolist())) - sum(within)


@pytest.mark.parametrize(("n", "m", "dim"), [(2, 2, 1), (13, 7, 3), (40, 61, 2)])
def test_energy_distance_is_the_loop(n, m, dim, monkeypatch):
    a, b = normal(n, dim), 1.5 * normal(m, dim, seed=1) + 0.3
    assert energy_distance(a, b) == pytest.approx(brute_force(a, b), rel=1e-12)
    whole = energy_distance(a, b)
    monkeypatch.setattr(module, "BLOCK_VALUES", 5 * m)  # several blocks
    assert energy_distance(a, b) == pytest.approx(whole, rel=1e-12)


def test_energy_distance_is_unbiased():
    found = [energy_distance(normal(20, 2, s), normal(30, 2, s + 1000)) for s in range(200)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)
    # The V-statistic would be larger by E|A - A'| / n + E|B - B'| / m = 0.15 on average.


def test_shares_of_a_box_and_of_two():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [1.02, 0.5], [1.009, -0.009], [5.0, 5.0]])
    assert share_inside(points, [0, 0], [1, 1]) == 0.4
    assert share_inside(points, [0, 0], [1, 1], margin=0.01) == 0.6
    assert share_inside(points, [[0, 0], [4, 4]], [[1, 1], [6, 6]]) == 0.6
    # The margin is a share of the box's own length, 2 here and 1 there.
    assert share_inside(np.array([[2.015], [5.015]]), [[0], [4]], [[2], [5]], margin=0.01) == 0.5


def test_coverage_counts_cells():
    corners = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.2], [7.0, 7.0]])
    assert coverage(corners, [0, 0], [1, 1], bins=2) == 0.5
    assert coverage(corners, [[0, 0], [6, 6]], [[1, 1], [8, 8]], bins=2) == 3 / 8
    rng = np.random.default_rng(0)
    cells, n = 400, 600
    found = np.mean([coverage(rng.uniform(size=(n, 2)), [0, 0], [1, 1]) for _ in range(100)])
    assert found == pytest.approx(1 - (1 - 1 / cells) ** n, abs=0.01)


def test_ks_distance_by_definition():
    values = np.array([0.1, 0.4, 0.7])
    steps = [max(abs(i / 3 - v), abs((i + 1) / 3 - v)) for i, v in enumerate(values)]
    assert ks_distance(values, stats.uniform.cdf) == pytest.approx(max(steps))
    assert ks_distance([1.0, 2.0], [1.5, 3.0, 4.0]) == pytest.approx(2 / 3)
    assert ks_distance([[1.0], [2.0]], [1.0, 2.0]) == 0


@pytest.mark.parametrize("method", ["TwoNN", "MLE", "lPCA"])
def test_a_plane_in_space_has_two_dimensions(method):
    plane = normal(600, 2) @ np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    assert intrinsic_dimension(plane, method) == pytest.approx(2, abs=0.3)
    assert intrinsic_dimension(np.repeat(plane, 3, axis=0), method) == intrinsic_dimension(
        plane, method
    )


def test_a_sample_of_the_rows_is_chosen_by_seed():
    rows = normal(400, 3)
    first = intrinsic_dimension(rows, most=100, seed=1)
    assert first == intrinsic_dimension(rows, most=100, seed=1)
    assert first != intrinsic_dimension(rows, most=100, seed=2)
    assert 2 < first < 5


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("real must be 2-D", lambda: norm_statistics(np.ones((2, 2)), np.ones(3))),
        ("same columns, got 2 and 3", lambda: norm_statistics(np.ones((2, 2)), np.ones((2, 3)))),
        ("generated must be finite", lambda: norm_statistics([[np.nan]], [[1.0]])),
        ("as many, got 3 and 4", lambda: learnability(np.ones((3, 1)), np.ones((4, 1)))),
        ("two rows at least", lambda: energy_distance(np.ones((1, 2)), np.ones((3, 2)))),
        ("a and b must have the same", lambda: energy_distance(np.ones((2, 2)), np.ones((2, 3)))),
        ("a must be finite", lambda: energy_distance([[np.inf], [1.0]], [[1.0], [2.0]])),
        (r"low and high must be \[2\]", lambda: share_inside(np.ones((2, 2)), [0], [1])),
        ("low must be below high", lambda: share_inside(np.ones((2, 1)), [1], [1])),
        ("bins must be >= 1", lambda: coverage(np.ones((2, 1)), [0], [1], bins=0)),
        ("values must be finite", lambda: ks_distance([np.nan], stats.norm.cdf)),
        ("reference must be finite", lambda: ks_distance([1.0], [np.nan])),
        ("one of TwoNN, MLE, lPCA, got 'PCA'", lambda: intrinsic_dimension(np.eye(30), "PCA")),
        ("25 distinct rows and 2 columns, got 1", lambda: intrinsic_dimension(np.ones((30, 3)))),
    ],
)
def test_errors(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_standardized_distance_by_definition():
    real, a, b = normal(50, 4) * [1, 2, 5, 10] + 3, normal(20, 4), normal(30, 4) + 1
    mean, deviation = real.mean(axis=0), real.std(axis=0)
    expected = energy_distance((a - mean) / deviation, (b - mean) / deviation) / 2
    found = StandardizedDistance(b, Standardizer(real))(a)
    assert found == pytest.approx(expected, rel=1e-12)


def test_constant_columns_are_only_centred():
    scale = Standardizer(np.column_stack([[1.0, 3.0], [0.1, 0.1]]))
    rows = np.array([[4.0, 1.1]])
    np.testing.assert_allclose(scale(rows), [[2.0, 1.0]])
    np.testing.assert_allclose(scale.undo(scale(rows)), rows)


def test_uniformity_by_definition():
    points = np.array([[0.1, 0.1], [0.2, 0.1], [0.9, 0.9], [2.1, 0.4], [7.0, 7.0]])
    low, high = [[0.0, 0.0], [2.0, 0.0]], [[1.0, 1.0], [3.0, 1.0]]
    counts = np.array([2, 0, 0, 1, 1, 0, 0, 0])
    expected = ((counts - 5 / 8) ** 2 / (5 / 8)).sum() / 7
    assert uniformity(points, low, high, bins=2) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least two cells, got 1"):
        uniformity(points, low[0], high[0], bins=1)


def test_uniformity_sees_a_hollow_that_coverage_does_not():
    rng = np.random.default_rng(1)
    points = rng.random((20_000, 2))
    assert uniformity(points, [0, 0], [1, 1]) == pytest.approx(1, abs=0.3)
    middle = (np.abs(points - 0.5) < 0.1).all(axis=1)
    hollow = points[~middle | (rng.random(20_000) < 0.1)]
    assert coverage(hollow, [0, 0], [1, 1]) == 1
    assert uniformity(hollow, [0, 0], [1, 1]) > 2

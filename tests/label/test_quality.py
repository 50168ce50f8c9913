"""The figures of the summary, each against a plain re-derivation or a case worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_label import quality
from gtn_label.cli import console


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def test_spearman_against_scipy_formula() -> None:
    a, b = gaussian(200), gaussian(200, seed=1)
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (a, b)]
    assert quality.spearman(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_spearman_ties_share_their_mean_rank() -> None:
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, squares 4.5 and 5
    found = quality.spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4]))
    assert found == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_spearman_undefined() -> None:
    assert quality.spearman(np.ones(5), np.arange(5.0)) is None
    assert quality.spearman(np.ones(1), np.ones(1)) is None


def test_norms() -> None:
    rows = gaussian(1000, 7).astype(np.float32)
    index = np.arange(1000)[::-1]
    expected = np.linalg.norm(rows.astype(np.float64), axis=1)
    np.testing.assert_allclose(quality.norms(rows), expected)
    np.testing.assert_allclose(quality.norms(rows, index), expected[index])


def test_last_decile_is_that_of_the_order_of_visits() -> None:
    # Source i takes latent i + 1; sources are visited 19, 18, ..., 0.
    assignment = np.arange(20) + 1
    cosine = np.arange(20.0)
    assert quality.last_decile(assignment, cosine, assignment[::-1], 30) == 0.5


def test_last_decile_of_each_group() -> None:
    # Group 0: sources 0 to 9, in this order, then group 1: 10 to 29. The tails: 9, and 28 and 29.
    assignment = np.arange(30)
    groups = np.repeat([0, 1], [10, 20])
    found = quality.last_decile(assignment, np.arange(30.0), assignment, 30, groups)
    assert found == pytest.approx((9 + 28 + 29) / 3)


def test_last_decile_of_few() -> None:
    one = np.arange(3)
    assert quality.last_decile(one, np.array([0.5, 0.25, 0.125]), one, 3) == 0.125


@pytest.mark.parametrize(("n", "dim"), [(12, 1), (300, 3), (700, 20)])
def test_learnability_against_sklearn(n: int, dim: int) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    sources = gaussian(n, dim)
    labels = np.tanh(sources) + 0.1 * gaussian(n, dim, seed=1)
    index = neighbors.NearestNeighbors(n_neighbors=11).fit(sources)
    nearest = index.kneighbors(return_distance=False, n_neighbors=10)
    error = np.sum((labels - labels[nearest].mean(axis=1)) ** 2)
    expected = 1 - error / np.sum((labels - labels.mean(axis=0)) ** 2)
    assert quality.learnability(sources, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-20, 1e15, 1e-150, 1e150])
def test_learnability_does_not_depend_on_scale(scale: float) -> None:
    sources, labels = gaussian(200, 3), gaussian(200, 3) ** 3
    expected = quality.learnability(sources, labels)
    assert quality.learnability(sources, labels * scale) == pytest.approx(expected)
    assert quality.learnability(sources * scale, labels) == pytest.approx(expected)


def test_learnability_undefined() -> None:
    assert quality.learnability(gaussian(2, 3), gaussian(2, 3)) is None
    assert quality.learnability(gaussian(50, 3), np.ones((50, 3))) is None


def test_learnability_of_a_map_and_of_noise() -> None:
    sources = gaussian(2000, 2)
    smooth = quality.learnability(sources, np.sin(sources))
    noise = quality.learnability(sources, gaussian(2000, 2, seed=1))
    assert smooth is not None
    assert smooth > 0.98
    assert noise is not None
    assert noise < 0.05


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (3999, 5), (4001, 5), (100_000, 5), (9000, 10_000)])
def test_sample_is_fixed_sorted_and_bounded(n: int, dim: int) -> None:
    sample = quality.sample_rows(n, dim)
    np.testing.assert_array_equal(sample, quality.sample_rows(n, dim))
    assert np.all(np.diff(sample) > 0)
    assert 0 <= sample[0] <= sample[-1] < n
    assert len(sample) == min(n, 4000, max(20, (1 << 22) // dim))


def test_summarize() -> None:
    sources = gaussian(500, 4).astype(np.float32)
    latents = np.concatenate([gaussian(10, 4, seed=2), sources * 2]).astype(np.float32)
    assignment = np.arange(500) + 10
    cosine = np.linspace(0, 1, 500)
    found = quality.summarize(sources, latents, assignment, cosine, assignment)
    assert found.mean_cosine == pytest.approx(0.5)
    assert found.last_decile_cosine == pytest.approx(np.mean(cosine[450:]))
    assert found.norm_correlation == pytest.approx(1)
    assert found.learnability == quality.learnability(sources, sources)
    assert found.learnability_sample == 500


def test_summarize_one_pair() -> None:
    one = np.zeros(1, np.int64)
    found = quality.summarize(np.ones((1, 1)), np.ones((1, 1)), one, np.ones(1), one)
    assert found == (1.0, 1.0, None, None, 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.01234, "0.0123 s"),
        (9.99, "9.99 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7620, "2 h 07 min"),
    ],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert console.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (812, "812 B"), (999, "999 B"), (1500, "1.5 kB"), (40_100_000, "40.1 MB")],
)
def test_format_bytes(count: int, text: str) -> None:
    assert console.format_bytes(count) == text


def test_table() -> None:
    assert console.table([("n", "5"), ("dim", "x")]) == ["n    5", "dim  x"]

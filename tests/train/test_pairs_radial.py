"""The radial map against closed forms, and other labelings against it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gtn_train.pairs import Algorithm1, FreshPairs, Optimal, PairOptions, Radial, RadialMap
from gtn_train.run.finished_run import FinishedRun


def normal(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def annulus(n, seed=0):
    """Even by area between the radii 1 and 2, whose norms have F(r) = (r² - 1) / 3."""
    numbers = np.random.default_rng(seed)
    angle, norm = numbers.uniform(0, 2 * np.pi, n), np.sqrt(numbers.uniform(1, 4, n))
    return np.stack([norm * np.cos(angle), norm * np.sin(angle)], axis=1)


ANNULUS = RadialMap(2, lambda shares: np.sqrt(1 + 3 * shares))

# ------------------------------------------------------------------------------------------- map


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_scaled_normal_is_scaled(dim):
    y = normal(50, dim)
    h = RadialMap(dim, lambda shares: 3 * stats.chi(dim).ppf(shares))
    np.testing.assert_allclose(h(y), 3 * y, rtol=1e-9)


def test_a_disk_and_an_interval():
    y = normal(50, 2)
    r2 = (y**2).sum(axis=1, keepdims=True)
    disk = RadialMap(2, lambda shares: 4 * np.sqrt(shares))
    np.testing.assert_allclose(disk(y), 4 * y * np.sqrt((1 - np.exp(-r2 / 2)) / r2))
    interval = RadialMap(1, lambda shares: shares)  # U(-1, 1), by Theorem 2.1
    np.testing.assert_allclose(interval(y[:, :1]), 2 * stats.norm.cdf(y[:, :1]) - 1)


def test_the_origin_stays():
    assert ANNULUS(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]


def test_norms_of_latents_give_an_estimate():
    y = normal(200, 2, seed=1)
    h = RadialMap.of_latents(annulus(20_000))
    assert np.abs(h(y) - ANNULUS(y)).max() < 0.02
    assert h.dim == 2


def test_the_map_refuses():
    with pytest.raises(ValueError, match="sources must have dimension 2, got 3"):
        ANNULUS(np.ones((4, 3)))
    with pytest.raises(ValueError, match="sources must be finite"):
        ANNULUS(np.full((1, 2), np.nan))
    with pytest.raises(ValueError, match="latents must be finite"):
        RadialMap.of_latents(np.full((1, 2), np.inf))
    with pytest.raises(ValueError, match="dim must be >= 1, got 0"):
        RadialMap(0, np.sqrt)


# -------------------------------------------------------------------------------------- labeling


def test_sources_have_directions_of_latents_and_norms_of_their_rank():
    latents = annulus(500)
    made = Radial().label(latents, seed=3)
    assert made.sources.dtype == np.float32
    assert made.assignment.tolist() == list(range(500))
    assert made.cosine.min() > 1 - 1e-6
    norms = np.linalg.norm(made.sources, axis=1)
    order = np.argsort(np.linalg.norm(latents, axis=1))
    assert (np.diff(norms[order]) >= -1e-6).all()
    again = Radial().label(latents, seed=3)
    np.testing.assert_array_equal(again.sources, made.sources)
    assert not np.array_equal(Radial().label(latents, seed=4).sources, made.sources)


def test_sources_are_normal_where_rotations_change_nothing():
    sources = Radial().label(annulus(4000), seed=0).sources.astype(float)
    for direction in ((1, 0), (0, 1), (0.6, 0.8)):
        assert stats.kstest(sources @ direction, "norm").statistic < 0.031  # 0.1 %


def test_equal_norms_and_a_row_of_zeros():
    made = Radial().label(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0]]), seed=0)
    assert made.sources[0].tolist() == [0, 0]
    assert made.cosine.round(6).tolist() == [0, 1, 1]
    norms = np.linalg.norm(made.sources, axis=1)
    assert norms[1] < norms[2], "ties go by index"


def test_the_closed_form_measures_other_labelings():
    """Optimal transport tends to the same map, the gradient of a convex function."""
    cases = ((3 * normal(1000, 2), lambda y: 3 * y), (annulus(1000), ANNULUS))
    for latents, exact in cases:
        errors = []
        for labeling in (Radial(), Optimal(), Algorithm1(cone=8), Algorithm1()):
            made = labeling.label(latents, 1)
            off = latents[made.assignment] - exact(made.sources)
            errors.append(np.linalg.norm(off, axis=1).mean())
        assert errors == sorted(errors)
        assert errors[0] < errors[1] / 2
        assert errors[1] < errors[3] / 2


# --------------------------------------------------------------------------------------- options


def test_options_make_the_pairs():
    latents = annulus(60)
    made = PairOptions("radial").make(latents, 5)
    with PairOptions("radial", every=1).make(latents, 5) as fresh:
        assert isinstance(fresh, FreshPairs)
        assert fresh.epoch(1).sources.equal(made.epoch(1).sources)
        assert not fresh.epoch(2).sources.equal(made.epoch(1).sources)
    assert PairOptions(cone=4, standardize=True).relabeled("radial") == PairOptions("radial")
    grid = PairOptions("optimal", clusters=25, by_class=True)
    assert grid.relabeled("radial") == PairOptions("radial")
    for name, value in (("standardize", True), ("by_class", True), ("clusters", 2)):
        with pytest.raises(ValueError, match=f"{name} needs labeling .*, got 'radial'"):
            PairOptions("radial", **{name: value})
    with pytest.raises(ValueError, match="labeling 'radial' has neither order nor cone"):
        PairOptions("radial", cone=2)


def test_a_run_by_radial_pairs(gtn_train, tmp_path):
    out = tmp_path / "run"
    given = ("--preset", "ring", "--n", 200, "--generator-epochs", 1, "--labeling", "radial")
    gtn_train.ok("fit", *given, "--out", out)
    run = FinishedRun(out)
    sources = np.load(out / "pairs" / "pairs.npz")["sources"]
    cosines = (sources * run.latents).sum(axis=1)
    cosines /= np.linalg.norm(sources, axis=1) * np.linalg.norm(run.latents, axis=1)
    assert cosines.min() > 1 - 1e-5
    assert set(gtn_train.ok("fit", "--out", out).stages.values()) == {"reused"}

"""Baselines: moments of the Gaussian, components of the mixture, copies that are near copies."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_train.evaluation.baselines import BASELINES, gaussian, gaussian_mixture, noisy_rows
from gtn_train.evaluation.neighbours import nearest


def correlated(n, seed=0):
    mix = np.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 3.0, 1e-3]])
    return np.random.default_rng(seed).normal(size=(n, 3)) @ mix + [5.0, -3.0, 100.0]


def test_a_gaussian_has_the_latents_mean_and_covariance():
    latents = correlated(2000)
    drawn = gaussian(latents, 40_000, seed=1)
    assert drawn.dtype == np.float32
    deviation = latents.std(axis=0)
    np.testing.assert_allclose(
        (drawn.mean(axis=0) - latents.mean(axis=0)) / deviation, 0, atol=0.03
    )
    np.testing.assert_allclose(
        np.cov(drawn.T.astype(float)) / np.outer(deviation, deviation),
        np.cov(latents.T) / np.outer(deviation, deviation),
        atol=0.03,
    )


def test_a_mixture_finds_clusters_that_one_gaussian_does_not():
    rng = np.random.default_rng(2)
    latents = rng.normal(size=(900, 2)) * 0.1 + rng.integers(3, size=(900, 1)) * [10.0, 1000.0]
    shares = {}
    for draw in (gaussian, gaussian_mixture):
        nearest_centre = np.abs(draw(latents, 3000, seed=3)[:, :1] - [[0, 10, 20]])
        shares[draw] = np.bincount(nearest_centre.argmin(axis=1)[nearest_centre.min(axis=1) < 1])
    assert shares[gaussian].sum() < 1500
    assert shares[gaussian_mixture].sum() == 3000
    np.testing.assert_allclose(shares[gaussian_mixture], 1000, atol=150)


def test_noisy_rows_are_copies():
    latents = correlated(400)
    standardized = (latents - latents.mean(axis=0)) / latents.std(axis=0)
    drawn = (noisy_rows(latents, 300, seed=4) - latents.mean(axis=0)) / latents.std(axis=0)
    others = (correlated(300, seed=5) - latents.mean(axis=0)) / latents.std(axis=0)
    ratio = np.median(nearest(drawn, standardized)[1]) / np.median(nearest(others, standardized)[1])
    assert 0.3 < ratio < 0.65


@pytest.mark.parametrize("draw", BASELINES.values(), ids=BASELINES.keys())
def test_draws_repeat_and_odd_latents_are_taken(draw):
    latents = correlated(50)
    np.testing.assert_array_equal(draw(latents, 20, seed=1), draw(latents, 20, seed=1))
    assert not np.array_equal(draw(latents, 20, seed=1), draw(latents, 20, seed=2))
    for odd in (latents[:1], latents[:3], latents[:, :1], np.repeat(latents[:2], 20, axis=0)):
        drawn = draw(odd, 7, seed=1)
        assert drawn.shape == (7, odd.shape[1])
        assert np.isfinite(drawn).all()
    constant = np.column_stack([latents, np.full(50, 7.0)])
    np.testing.assert_allclose(draw(constant, 9, seed=1)[:, 3], 7, atol=1e-2)

"""Sets of known topology against their formulas and their even densities."""

from __future__ import annotations

import numpy as np
import pytest
from test_data_synthetic import uniform_distance

from gtn_train.data import SYNTHETIC, SYNTHETIC_DIM, gaussian_grid, loop, ring, sphere, torus

N = 20_000
SURE = 0.0138  # Kolmogorov-Smirnov distance of 20,000 values, exceeded with a chance of 0.1 %


def angles(y, x):
    return (np.arctan2(y, x) / (2 * np.pi)) % 1


@pytest.mark.parametrize("name", SYNTHETIC)
def test_every_set_has_its_dimension_and_its_seed(name):
    draw = SYNTHETIC[name]
    points = draw(50, 1)
    assert points.shape == (50, SYNTHETIC_DIM[name])
    assert points.dtype == np.float32
    np.testing.assert_array_equal(draw(50, 1), points)
    assert not np.array_equal(draw(50, 2), points)
    for n, seed, kind in ((0, 1, ValueError), (2.5, 1, TypeError), (5, -3, ValueError)):
        with pytest.raises(kind, match="must be"):
            draw(n, seed)


def test_a_ring_is_a_circle_with_noise():
    circle = ring(N, 3, noise=0).astype(float)
    np.testing.assert_allclose(np.linalg.norm(circle, axis=1), 1, rtol=1e-6)
    assert uniform_distance(angles(circle[:, 1], circle[:, 0])) < SURE
    noise = ring(N, 3) - circle
    assert np.abs(noise.mean(axis=0)).max() < 0.003
    assert np.abs(noise.std(axis=0) - 0.1).max() < 0.003


def test_a_loop_is_its_curve():
    points = loop(500, 0).astype(float)
    grid = np.linspace(0, 2 * np.pi, 20_001)
    curve = np.stack([np.cos(grid), np.sin(2 * grid), np.sin(3 * grid)], axis=1)
    nearest = np.array([((curve - point) ** 2).sum(axis=1).argmin() for point in points])
    assert np.linalg.norm(points - curve[nearest], axis=1).max() < 1e-3
    assert uniform_distance(grid[nearest] / (2 * np.pi)) < 0.09


def test_a_torus_is_even_by_area():
    points = torus(N, 0).astype(float)
    from_axis = np.hypot(points[:, 0], points[:, 1])
    tube = np.hypot(from_axis - 2, points[:, 2])
    np.testing.assert_allclose(tube, 1, rtol=1e-5)
    assert uniform_distance(angles(points[:, 1], points[:, 0])) < SURE
    across = 2 * np.pi * angles(points[:, 2], from_axis - 2)
    area = (across + np.sin(across) / 2) / (2 * np.pi)  # share of the area up to this angle
    assert uniform_distance(area) < SURE
    assert (from_axis > 2).mean() == pytest.approx(0.5 + 1 / (2 * np.pi), abs=0.012)


def test_a_sphere_is_even_by_area():
    """Archimedes: each coordinate is uniform."""
    points = sphere(N, 0).astype(float)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-6)
    for column in points.T:
        assert uniform_distance((column + 1) / 2) < SURE


def test_a_grid_has_25_normals():
    points = gaussian_grid(N, 0).astype(float)
    means = np.rint(points)
    assert np.abs(means).max() == 2
    _, counts = np.unique(means, axis=0, return_counts=True)
    assert len(counts) == 25
    assert np.abs(counts - N / 25).max() < 4 * np.sqrt(N / 25)
    assert np.abs((points - means).std(axis=0) - 0.1).max() < 0.003
    apart = gaussian_grid(100, 0, deviation=0, spacing=3)
    assert {*np.unique(apart)} <= {-6.0, -3.0, 0.0, 3.0, 6.0}


@pytest.mark.parametrize(
    ("draw", "options", "message"),
    [
        (ring, {"noise": -1}, "noise must be a finite number >= 0, got -1"),
        (ring, {"noise": "wide"}, "noise must be a number, got str 'wide'"),
        (torus, {"minor": 3.0}, r"minor must be above 0 and below major, got 3\.0 and 2\.0"),
        (torus, {"minor": 0}, r"minor must be above 0"),
        (gaussian_grid, {"spacing": float("nan")}, "spacing must be a finite number"),
        (gaussian_grid, {"deviation": None}, "deviation must be a number, got NoneType None"),
    ],
)
def test_bad_sizes_are_refused(draw, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        draw(5, 0, **options)

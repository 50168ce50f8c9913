"""Synthetic sets against their formulas, and vectors from files."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_train.data import (
    SWISS_ROLL_RANGE,
    open_vectors,
    swiss_roll,
    swiss_roll_points,
    two_squares,
    uniform_square,
)

N = 20_000


def uniform_distance(values: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of values from U(0, 1)."""
    ordered = np.sort(values)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def test_swiss_roll_is_uniform_in_its_range() -> None:
    theta = swiss_roll(N, 1)
    assert theta.shape == (N, 1)
    assert theta.dtype == np.float32
    low, high = SWISS_ROLL_RANGE
    assert (low, high) == (1.5 * np.pi, 4.5 * np.pi)
    assert uniform_distance((theta[:, 0].astype(float) - low) / (high - low)) < 0.0138  # 0.1 %


def test_points_lie_on_the_roll() -> None:
    theta = swiss_roll(100, 0)
    points = swiss_roll_points(theta)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[:, :1], theta * np.cos(theta), atol=1e-5)
    np.testing.assert_allclose(points[:, 1:], theta * np.sin(theta), atol=1e-5)
    np.testing.assert_array_equal(swiss_roll_points(theta[:, 0]), points)


def test_noise_is_normal_and_seeded() -> None:
    theta = swiss_roll(N, 0)
    noise = swiss_roll_points(theta, 0.5, 1) - swiss_roll_points(theta)
    assert np.abs(noise.mean(axis=0)).max() < 0.015
    assert np.abs(noise.std(axis=0) - 0.5).max() < 0.01
    np.testing.assert_array_equal(
        swiss_roll_points(theta, 0.5, 1), swiss_roll_points(theta, 0.5, 1)
    )
    assert not np.array_equal(swiss_roll_points(theta, 0.5, 2), swiss_roll_points(theta, 0.5, 1))


def test_uniform_square() -> None:
    points = uniform_square(N, 5)
    assert points.shape == (N, 2)
    assert points.dtype == np.float32
    for column in points.T:
        assert uniform_distance(column) < 0.0138
    assert abs(np.corrcoef(points.T)[0, 1]) < 0.03


def test_two_squares() -> None:
    points = two_squares(N, 5, gap=0.25)
    assert points.dtype == np.float32
    right = points[:, 0] > 1.1
    assert abs(right.mean() - 0.5) < 0.02
    for side, offset in ((~right, 0), (right, 1.25)):
        assert uniform_distance(points[side, 0] - offset) < 0.02
        assert uniform_distance(points[side, 1]) < 0.02


@pytest.mark.parametrize("make", [swiss_roll, uniform_square, two_squares])
def test_sets_are_functions_of_the_seed(make) -> None:
    np.testing.assert_array_equal(make(50, 1), make(50, 1))
    assert not np.array_equal(make(50, 1), make(50, 2))
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        make(0, 1)
    with pytest.raises(TypeError, match=r"n must be an int, got float 2\.5"):
        make(2.5, 1)
    with pytest.raises(ValueError, match="seed must be >= 0, got -3"):
        make(5, -3)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gap must be finite and >= 0, got -1"):
        two_squares(5, 0, gap=-1)
    with pytest.raises(TypeError, match="gap must be a float, got str 'wide'"):
        two_squares(5, 0, gap="wide")
    with pytest.raises(ValueError, match="noise must be finite and >= 0, got nan"):
        swiss_roll_points([5.0], noise=float("nan"))
    with pytest.raises(ValueError, match="theta must be finite"):
        swiss_roll_points([5.0, np.nan])
    with pytest.raises(ValueError, match="theta must be one column"):
        swiss_roll_points(np.zeros((3, 2)))


def test_vectors(tmp_path) -> None:
    values = np.random.default_rng(0).standard_normal((6, 3))
    for dtype, wanted in [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8")]:
        np.save(tmp_path / "v.npy", values.astype(dtype))
        read = open_vectors(tmp_path / "v.npy")
        assert read.dtype == np.dtype(wanted)
        np.testing.assert_array_equal(read, values.astype(dtype))
    np.savez(tmp_path / "v.npz", a=values, b=2 * values)
    np.testing.assert_array_equal(open_vectors(tmp_path / "v.npz", "b"), 2 * values)


def test_bad_vectors_are_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"vectors '.*none.npy' does not exist"):
        open_vectors(tmp_path / "none.npy")
    np.save(tmp_path / "vast.npy", np.full((4, 2), -2e15))
    with pytest.raises(ValueError, match=r"must be at most 1e\+15 in size, .* got 2e\+15: rescale"):
        open_vectors(tmp_path / "vast.npy")
    with pytest.raises(ValueError, match=r"vectors '.*' must be a file, and is a folder"):
        open_vectors(tmp_path)
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"vectors '.*flat.npy' must be 2-D"):
        open_vectors(tmp_path / "flat.npy")
    np.save(tmp_path / "bad.npy", np.array([[0.0, 1], [np.nan, 0]]))
    with pytest.raises(ValueError, match=r"vectors '.*bad.npy' must be finite.*row 1"):
        open_vectors(tmp_path / "bad.npy")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="key is needed"):
        open_vectors(tmp_path / "two.npz")

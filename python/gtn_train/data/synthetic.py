"""The papers' synthetic sets, drawn from a seed.

Each is a pure function of its arguments: NumPy's Philox generator with a seed derived from the
user's and the set's name, so that two sets of one seed have nothing in common. Not here: curves,
surfaces and clusters of other papers (shapes.py), points on a mesh (mesh.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.checks import as_integer, check_seed
from gtn_train.seeds import random_numbers

from .shapes import gaussian_grid, loop, ring, sphere, torus

__all__ = [
    "SWISS_ROLL_RANGE",
    "SYNTHETIC",
    "SYNTHETIC_DIM",
    "swiss_roll",
    "swiss_roll_points",
    "two_squares",
    "uniform_square",
]

SWISS_ROLL_RANGE = (1.5 * math.pi, 4.5 * math.pi)  # of θ (GTN paper, appendix G)


def swiss_roll(n: int, seed: int) -> npt.NDArray[np.float32]:
    """Draw θ ~ U(1.5π, 4.5π), the swiss roll's one parameter (GTN paper, appendix G).

    Parameters
    ----------
    n : int
        Number of rows, >= 1; the paper has 50,000.
    seed : int
        >= 0.

    Returns
    -------
    ndarray float32 [n, 1]
    """
    theta = _generator("swiss_roll", n, seed).uniform(*SWISS_ROLL_RANGE, size=(n, 1))
    return theta.astype(np.float32)


def swiss_roll_points(
    theta: npt.ArrayLike, noise: float = 0.0, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Put θ on the roll: f(θ) = θ(cos θ, sin θ) (GTN paper, appendix G), perhaps with noise.

    Parameters
    ----------
    theta : array_like [n] or [n, 1]
        Any finite values.
    noise : float
        Standard deviation of normal noise on both coordinates, >= 0; Fig. 4's diffusion has 0.5.
    seed : int
        Random seed of the noise, >= 0.

    Returns
    -------
    ndarray float32 [n, 2]

    Raises
    ------
    TypeError, ValueError
        If `theta` is not a column of finite numbers, or `noise` is no number >= 0.
    """
    column = _finite_column(theta)
    noise = _number(noise, "noise")
    points = column[:, None] * np.stack([np.cos(column), np.sin(column)], axis=1)
    if noise:
        points += noise * _generator("swiss_roll_points", len(column), seed).standard_normal(
            points.shape
        )
    return np.asarray(points, np.float32)


def uniform_square(n: int, seed: int) -> npt.NDArray[np.float32]:
    """Draw from U((0, 1) × (0, 1)) (GTN paper, Fig. 3B).

    Parameters
    ----------
    n : int
        Number of rows, >= 1; the paper has 100,000.
    seed : int
        >= 0.

    Returns
    -------
    ndarray float32 [n, 2]
    """
    return _generator("uniform_square", n, seed).random((n, 2)).astype(np.float32)


def two_squares(n: int, seed: int, gap: float = 1.0) -> npt.NDArray[np.float32]:
    """Draw from two disjoint unit squares, each point from either with equal chance (Fig. 9).

    The squares are [0, 1]² and [1 + gap, 2 + gap] × [0, 1]. The paper does not say where its
    squares lie.

    Parameters
    ----------
    n : int
        Number of rows, >= 1.
    seed : int
        >= 0.
    gap : float
        Between the squares, >= 0.

    Returns
    -------
    ndarray float32 [n, 2]

    Raises
    ------
    TypeError, ValueError
        If `gap` is no number >= 0.
    """
    gap = _number(gap, "gap")
    generator = _generator("two_squares", n, seed)
    points = generator.random((n, 2))
    points[:, 0] += (1 + gap) * generator.integers(2, size=n)
    return points.astype(np.float32)


def _generator(name: str, n: Any, seed: Any) -> np.random.Generator:
    as_integer(n, "n", 1)
    return random_numbers(check_seed(seed), name)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        raise TypeError(f"{name} must be a float, got {type(value).__name__} {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and >= 0, got {value}")
    return float(value)


def _finite_column(theta: npt.ArrayLike) -> npt.NDArray[np.float64]:
    column = convert.as_column(theta, "theta").rows.astype(np.float64)
    convert.refuse_non_finite(column, "theta")
    return column


SYNTHETIC: dict[str, Callable[[int, int], npt.NDArray[np.float32]]] = {
    "swiss-roll": swiss_roll,
    "uniform": uniform_square,
    "two-squares": two_squares,
    "ring": ring,
    "loop": loop,
    "torus": torus,
    "sphere": sphere,
    "grid": gaussian_grid,
}
SYNTHETIC_DIM = dict.fromkeys(SYNTHETIC, 2) | {
    "swiss-roll": 1,
    "loop": 3,
    "torus": 3,
    "sphere": 3,
}

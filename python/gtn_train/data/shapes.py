"""Curves, surfaces and clusters whose topology is known, drawn from a seed.

Each is a pure function of its arguments, as the sets of synthetic.py are. Not here: the GTN paper's
own sets (synthetic.py), points on a mesh of the user's (mesh.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.checks import as_integer, as_number, check_seed

from ..seeds import random_numbers

__all__ = ["gaussian_grid", "loop", "ring", "sphere", "torus"]

Points = npt.NDArray[np.float32]


def ring(n: int, seed: int, noise: float = 0.1) -> Points:
    """Draw from the unit circle with normal noise: a set with one hole.

    Fig. 2 of the geodesic paper (Data Interpolations in Deep Generative Models under
    Non-Simply-Connected Manifold Topology) has such a circle.

    Parameters
    ----------
    n : int
        Number of rows, >= 1.
    seed : int
        >= 0.
    noise : float
        Standard deviation on both coordinates, >= 0; 0 for the circle itself.

    Returns
    -------
    ndarray float32 [n, 2]

    Examples
    --------
    >>> points = ring(4, 0, noise=0)
    >>> bool(np.allclose((points**2).sum(axis=1), 1))
    True
    """
    noise = as_number(noise, "noise", 0.0)
    generator = _generator("ring", n, seed)
    angle = generator.uniform(0, 2 * math.pi, n)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (points + noise * generator.standard_normal((n, 2))).astype(np.float32)


def loop(n: int, seed: int) -> Points:
    """Draw (cos t, sin 2t, sin 3t), t ~ U(0, 2π): a closed curve in space.

    The loop of the VDAE paper (Li et al., Variational Diffusion Autoencoders with Random Walk
    Sampling, Fig. 2); the formula is that of the authors' code. t is uniform, not the arc length.

    Parameters
    ----------
    n : int
        Number of rows, >= 1; the paper has 5,000.
    seed : int
        >= 0.

    Returns
    -------
    ndarray float32 [n, 3]
    """
    t = _generator("loop", n, seed).uniform(0, 2 * math.pi, n)
    return np.stack([np.cos(t), np.sin(2 * t), np.sin(3 * t)], axis=1).astype(np.float32)


def torus(n: int, seed: int, major: float = 2.0, minor: float = 1.0) -> Points:
    """Draw from a torus evenly by area (VDAE paper, Table 1).

    The authors' code has a grid of both angles, which is denser on the inner side.

    Parameters
    ----------
    n : int
        Number of rows, >= 1.
    seed : int
        >= 0.
    major, minor : float
        Radius of the circle in the middle of the tube, and of the tube: 0 < minor < major.

    Returns
    -------
    ndarray float32 [n, 3]

    Raises
    ------
    TypeError, ValueError
        If the radii are no numbers, or do not fit together.
    """
    major, minor = as_number(major, "major", 0.0), as_number(minor, "minor", 0.0)
    if not 0 < minor < major:
        raise ValueError(f"minor must be above 0 and below major, got {minor} and {major}")
    generator = _generator("torus", n, seed)
    around, across = generator.uniform(0, 2 * math.pi, (2, n))
    # Area is as 1 + e cos(across). The angles a and π - a have areas that add up to a constant, so
    # a uniform angle is kept with its share of both, and else replaced by the other.
    share = (1 + minor / major * np.cos(across)) / 2
    across = np.where(generator.random(n) < share, across, math.pi - across)
    radius = major + minor * np.cos(across)
    points = [radius * np.cos(around), radius * np.sin(around), minor * np.sin(across)]
    return np.stack(points, axis=1).astype(np.float32)


def sphere(n: int, seed: int) -> Points:
    """Draw from the unit sphere evenly by area (VDAE paper, Fig. 4).

    Parameters
    ----------
    n : int
        Number of rows, >= 1.
    seed : int
        >= 0.

    Returns
    -------
    ndarray float32 [n, 3]
    """
    points = _generator("sphere", n, seed).standard_normal((n, 3))
    unit: Points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return unit


def gaussian_grid(n: int, seed: int, deviation: float = 0.1, spacing: float = 1.0) -> Points:
    """Draw from 25 normals on a grid of 5 × 5, each with equal chance (VDAE paper, Fig. 6).

    The middle of the grid is the origin. The sizes are those of the authors' code.

    Parameters
    ----------
    n : int
        Number of rows, >= 1.
    seed : int
        >= 0.
    deviation : float
        Standard deviation of each normal, >= 0.
    spacing : float
        Between neighbouring means, >= 0.

    Returns
    -------
    ndarray float32 [n, 2]
    """
    deviation = as_number(deviation, "deviation", 0.0)
    spacing = as_number(spacing, "spacing", 0.0)
    generator = _generator("gaussian_grid", n, seed)
    means = spacing * (generator.integers(5, size=(n, 2)) - 2)
    return (means + deviation * generator.standard_normal((n, 2))).astype(np.float32)


def _generator(name: str, n: Any, seed: Any) -> np.random.Generator:
    as_integer(n, "n", 1)
    return random_numbers(check_seed(seed), name)

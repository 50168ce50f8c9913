"""Measures of squares, for uniform_square.py and two_squares.py.

Shares are taken of 20,000 samples. Coverage counts the cells of a 20 x 20 grid over each square
that hold a sample; uniform samples would leave none empty. A hollow place that a few samples reach
shows in the chi-squared of the same cells, over its degrees of freedom (uniform: 1), and in
`middle`, the share in the central square of a fifth of the side (uniform: 4 %). The energy distance
compares with as many fresh points of the data; its floor is the root mean square over ten pairs of
two samples of the data, and the other figures of the first pair stand beside it. Not here: pairs,
training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from study import finite

from gtn_train.evaluation.latents import coverage, energy_distance, share_inside, uniformity

__all__ = ["N_SAMPLES", "floor", "measure"]

Rows = npt.NDArray[Any]

N_SAMPLES = 20_000


def measure(points: Rows, fresh: Rows, low: Any, high: Any) -> dict[str, float]:
    """Measure points [n, 2] against fresh points of the data and its squares.

    Parameters
    ----------
    points, fresh : [n, 2] and [m, 2]
    low, high : [2] or [k, 2]
        Corners of the squares.
    """
    low, high = np.atleast_2d(low), np.atleast_2d(high)
    centre, reach = (low + high) / 2, (high - low) / 10
    return finite(
        {
            "outside": 1 - share_inside(points, low, high, margin=0.01),
            "coverage": coverage(points, low, high),
            "chi_squared": uniformity(points, low, high),
            "middle": share_inside(points, centre - reach, centre + reach),
            "energy_distance": energy_distance(points, fresh),
        }
    )


def floor(sample: Callable[[int], Rows], low: Any, high: Any) -> dict[str, float]:
    """Measure two samples of the data against each other, and ten such pairs by their distance.

    Parameters
    ----------
    sample : callable (number) -> [n, 2]
        A sample of the data, another one for each number.
    low, high : [2] or [k, 2]
        Corners of the squares.
    """
    found = [measure(sample(2 * pair), sample(2 * pair + 1), low, high) for pair in range(10)]
    squares = [one["energy_distance"] ** 2 for one in found]
    return {**found[0], **finite({"energy_distance": float(np.mean(squares)) ** 0.5})}

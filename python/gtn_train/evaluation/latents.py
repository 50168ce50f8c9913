"""Statistics of rows of numbers: latents, synthetic points, sources with their labels.

float64 throughout. NumPy, SciPy and scikit-dimension, each imported by the function that needs it
(scikit-dimension takes seconds). Not here: images (images.py, neighbours.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label import quality
from gtn_label.arrays.convert import refuse_non_finite
from gtn_label.checks import as_integer, check_seed

from ..seeds import random_numbers

__all__ = [
    "EnergyDistance",
    "StandardizedDistance",
    "Standardizer",
    "coverage",
    "energy_distance",
    "intrinsic_dimension",
    "ks_distance",
    "learnability",
    "norm_statistics",
    "share_inside",
    "uniformity",
]

Rows = npt.NDArray[Any]

BLOCK_VALUES = 1 << 22  # distances at a time: 32 MB
DIMENSION_ROWS = 10_000
ESTIMATORS = ("TwoNN", "MLE", "lPCA")


def norm_statistics(generated: Rows, real: Rows, *, center: bool = False) -> dict[str, float]:
    """Compare norms: where the generator has learnt the mean radius only, "spread" is far below 1.

    Parameters
    ----------
    generated, real : [n, dim] and [m, dim]
        Latents.
    center : bool
        Take norms about the real latents' mean, as sources are matched with `center`.

    Returns
    -------
    dict
        "generated mean", "generated std", "real mean", "real std"; "mean ratio", the mean of
        generated norms over that of real ones; and "spread", the same of the standard deviations.
        nan if real norms are all 0, or all alike.
    """
    pair = [_rows(generated, "generated"), _rows(real, "real")]
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ValueError(
            f"generated and real must have the same columns, got {pair[0].shape[1]} and "
            f"{pair[1].shape[1]}"
        )
    middle = pair[1].mean(axis=0) if center else 0.0
    ours, theirs = (quality.norms(rows - middle) for rows in pair)
    spread = float(theirs.std())
    return {
        "generated mean": float(ours.mean()),
        "generated std": float(ours.std()),
        "real mean": float(theirs.mean()),
        "real std": spread,
        "mean ratio": float(ours.mean() / theirs.mean()) if theirs.any() else float("nan"),
        "spread": float(ours.std()) / spread if spread > 0 else float("nan"),
    }


def learnability(sources: Rows, labels: Rows) -> float | None:
    """Leave-one-out 10-nearest-neighbour R² of the labels, within `gtn_label.quality`'s sample.

    1 is a smooth map, 0 or less noise; None for fewer than three rows or equal labels.
    """
    sources, labels = _rows(sources, "sources"), _rows(labels, "labels")
    if len(sources) != len(labels):
        raise ValueError(
            f"sources and labels must be as many, got {len(sources)} and {len(labels)}"
        )
    sample = quality.sample_rows(len(sources), labels.shape[1])
    return quality.learnability(sources[sample], labels[sample])


def intrinsic_dimension(
    latents: Rows, method: str = "TwoNN", *, most: int = DIMENSION_ROWS, seed: int = 0
) -> float:
    """Estimate along how many dimensions latents vary, by scikit-dimension.

    Parameters
    ----------
    latents : [n, dim]
        Equal rows count once: an estimate from distances has no use for zeros.
    method : {"TwoNN", "MLE", "lPCA"}
        Its estimator of this name, with its own defaults.
    most : int
        Rows to use; if there are more, `seed` chooses.
    seed : int
        >= 0.

    Raises
    ------
    ImportError
        If scikit-dimension is missing.
    ValueError
        If the method is none of these, or fewer than 25 distinct rows or 2 columns are left.
    """
    if method not in ESTIMATORS:
        raise ValueError(f"method must be one of {', '.join(ESTIMATORS)}, got {method!r}")
    rows = np.unique(_rows(latents, "latents"), axis=0)
    most, seed = as_integer(most, "most", 25), check_seed(seed)
    if len(rows) > most:
        generator = random_numbers(seed, "intrinsic dimension")
        rows = rows[generator.permutation(len(rows))[:most]]
    if len(rows) < 25 or rows.shape[1] < 2:
        raise ValueError(
            f"latents must have at least 25 distinct rows and 2 columns, got {len(rows)} distinct "
            f"rows and {rows.shape[1]}"
        )
    try:
        import skdim
    except ImportError as error:
        raise ImportError(
            "intrinsic_dimension needs scikit-dimension: pip install 'gtn-label[train]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(getattr(skdim.id, method)().fit(rows).dimension_)


def energy_distance(a: Rows, b: Rows) -> float:
    """Energy distance 2 E|A - B| - E|A - A'| - E|B - B'| of two samples; 0 for one distribution.

    The U-statistic: pairs of a row with itself are left out and each mean divided by its own
    number of pairs, so it is unbiased, and may come out slightly below 0. (The V-statistic,
    which counts them as zeros, is never below 0 and larger by about (E|A - A'|/n + E|B - B'|/m).)

    Parameters
    ----------
    a, b : [n >= 2, dim] and [m >= 2, dim]

    Examples
    --------
    >>> energy_distance(np.array([[0.0], [2.0]]), np.array([[5.0], [7.0]]))
    6.0
    """
    return EnergyDistance(b)(a)


class EnergyDistance:
    """Energy distance to one sample, whose own distances are computed once.

    Parameters
    ----------
    b : [m >= 2, dim]
        As in `energy_distance`.
    """

    def __init__(self, b: Rows) -> None:
        self._b = _rows(b, "b")
        self._within = _within(self._b)

    def __call__(self, a: Rows) -> float:
        """Measure another sample, [n >= 2, dim]."""
        a, b = _rows(a, "a"), self._b
        if a.shape[1] != b.shape[1] or len(a) < 2 or len(b) < 2:
            raise ValueError(
                f"a and b must have the same columns and two rows at least, got shapes {a.shape} "
                f"and {b.shape}"
            )
        return 2 * _distances(a, b) / (len(a) * len(b)) - _within(a) - self._within


class Standardizer:
    """Columns in units of their deviation, about their mean; constant columns are only centred.

    Parameters
    ----------
    latents : [n, dim]
        The rows that give means and deviations.

    Examples
    --------
    >>> scale = Standardizer(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scale(np.array([[4.0, 6.0]])).tolist()
    [[2.0, 1.0]]
    """

    def __init__(self, latents: Rows) -> None:
        rows = _rows(latents, "latents")
        self._mean = rows.mean(axis=0)
        deviation = rows.std(axis=0)
        # Rounding gives a constant column a deviation of some 1e-16 of its value.
        self._scale = np.where(deviation > 1e-12 * np.abs(self._mean), deviation, 1.0)

    def __call__(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Standardise rows [n, dim]."""
        standardized: npt.NDArray[np.float64] = (_rows(rows, "rows") - self._mean) / self._scale
        return standardized

    def undo(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Return standardised rows [n, dim] to their own units."""
        raw: npt.NDArray[np.float64] = _rows(rows, "rows") * self._scale + self._mean
        return raw


class StandardizedDistance:
    """Energy distance to one sample in standardised columns, over the root of the dimension.

    Neither the unit nor the dimension of the latents changes its order of magnitude.

    Parameters
    ----------
    b : [m >= 2, dim]
        As in `EnergyDistance`.
    scale : Standardizer
        Of the training rows.
    """

    def __init__(self, b: Rows, scale: Standardizer) -> None:
        self._scale = scale
        self._distance = EnergyDistance(scale(b))

    def __call__(self, a: Rows) -> float:
        """Measure another sample, [n >= 2, dim]."""
        return self._distance(self._scale(a)) / float(np.sqrt(np.shape(a)[1]))


def share_inside(points: Rows, low: Any, high: Any, *, margin: float = 0.0) -> float:
    """Share of points inside a box, or inside any of several.

    Parameters
    ----------
    points : [n, dim]
    low, high : [dim] or [k, dim]
        Corners of the box, or of k boxes; the border is inside.
    margin : float
        Moves each side out by this share of the box's length: 0.01 turns [0, 1] into
        [-0.01, 1.01].

    Examples
    --------
    >>> share_inside(np.array([[0.5], [1.005], [2.0], [3.0]]), [0.0], [1.0], margin=0.01)
    0.5
    """
    points = _rows(points, "points")
    inside = np.zeros(len(points), bool)
    for corner, opposite in _boxes(low, high, points.shape[1]):
        wider = margin * (opposite - corner)
        inside |= ((points >= corner - wider) & (points <= opposite + wider)).all(axis=1)
    return float(inside.mean())


def coverage(points: Rows, low: Any, high: Any, *, bins: int = 20) -> float:
    """Share of equal cells of a box, or of several, that hold at least one point.

    n independent uniform points are expected to miss a share (1 - 1/c)^n of c cells: give n >> c.

    Parameters
    ----------
    points : [n, dim]
    low, high : [dim] or [k, dim]
        As in `share_inside`.
    bins : int
        Cells along each dimension of each box: bins^dim in all, so for few dimensions.

    Examples
    --------
    >>> coverage(np.array([[0.1], [0.2], [0.9]]), [0.0], [1.0], bins=4)
    0.5
    """
    points, bins = _rows(points, "points"), as_integer(bins, "bins", 1)
    counts = _cell_counts(points, low, high, bins)
    return int(np.count_nonzero(counts)) / counts.size


def uniformity(points: Rows, low: Any, high: Any, *, bins: int = 20) -> float:
    """Pearson's χ² of the counts in equal cells, over its degrees of freedom.

    Independent uniform points of the boxes have 1 on average, and a set with thin or hollow places
    has more. Points outside the boxes count in n, and so make it larger.

    Parameters
    ----------
    points : [n, dim]
    low, high, bins
        As in `coverage`; give several points a cell. At least two cells in all.

    Examples
    --------
    >>> uniformity(np.array([[0.1], [0.2], [0.6], [0.9]]), [0.0], [1.0], bins=2)
    0.0
    """
    points, bins = _rows(points, "points"), as_integer(bins, "bins", 1)
    counts = _cell_counts(points, low, high, bins)
    if counts.size < 2:
        raise ValueError("uniformity needs at least two cells, got 1")
    expected = len(points) / counts.size
    return float(((counts - expected) ** 2 / expected).sum() / (counts.size - 1))


def _cell_counts(
    points: npt.NDArray[np.float64], low: Any, high: Any, bins: int
) -> npt.NDArray[np.float64]:
    """Points in each cell of each box."""
    counts = [
        np.histogramdd(points, bins, list(zip(corner, opposite, strict=True)))[0].ravel()
        for corner, opposite in _boxes(low, high, points.shape[1])
    ]
    return np.concatenate(counts)


def ks_distance(
    values: npt.NDArray[Any], reference: Callable[[Any], Any] | npt.NDArray[Any]
) -> float:
    """Kolmogorov-Smirnov distance of numbers [n] from a CDF, or from another sample [m]."""
    from scipy import stats

    numbers = np.asarray(values, np.float64).reshape(-1)
    refuse_non_finite(numbers, "values")
    if callable(reference):
        return float(stats.ks_1samp(numbers, reference, method="asymp").statistic)
    other = np.asarray(reference, np.float64).reshape(-1)
    refuse_non_finite(other, "reference")
    return float(stats.ks_2samp(numbers, other, method="asymp").statistic)


def _distances(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Sum of all distances between rows, a block of rows at a time."""
    from scipy.spatial.distance import cdist

    step = max(1, BLOCK_VALUES // len(b))
    return float(sum(cdist(a[i : i + step], b).sum() for i in range(0, len(a), step)))


def _within(a: npt.NDArray[np.float64]) -> float:
    """Mean distance of two rows of one sample."""
    return _distances(a, a) / max(1, len(a) * (len(a) - 1))


def _rows(values: Any, name: str) -> npt.NDArray[np.float64]:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} must be 2-D [n >= 1, dim >= 1], got shape {rows.shape}")
    refuse_non_finite(rows, name)
    return rows


def _boxes(low: Any, high: Any, dim: int) -> list[tuple[Any, Any]]:
    corners, opposites = (np.atleast_2d(np.asarray(v, np.float64)) for v in (low, high))
    if corners.shape != opposites.shape or corners.shape[1] != dim:
        raise ValueError(
            f"low and high must be [{dim}] or [k, {dim}] and alike, got shapes "
            f"{np.shape(low)} and {np.shape(high)}"
        )
    if not (corners < opposites).all():
        raise ValueError(f"low must be below high, got {corners.tolist()} and {opposites.tolist()}")
    return list(zip(corners, opposites, strict=True))

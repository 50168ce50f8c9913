"""Baselines: simple models of the same latents, which a generator must beat.

A Gaussian and a mixture of Gaussians are fitted to the rows that the generator was trained on, in
units of the columns' deviations. `noisy_rows` gives training rows with a little noise, which shows
the figures of a copy. Not here: the figures (latents.py, neighbours.py, images.py).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.checks import as_integer, check_seed

from ..seeds import derive, random_numbers
from .latents import Standardizer

__all__ = ["BASELINES", "gaussian", "gaussian_mixture", "noisy_rows"]

Rows = npt.NDArray[Any]

COMPONENTS = 10
FIT_ROWS = 20_000  # of a mixture: 10 components of 128 dimensions have 83,000 parameters
MOST_STEPS = 200


def gaussian(latents: Rows, n: int, seed: int) -> npt.NDArray[np.float32]:
    """Fit one Gaussian with full covariance to latents [m, dim] and draw n rows.

    Examples
    --------
    >>> gaussian(np.eye(3), 5, seed=0).shape
    (5, 3)
    """
    scale = Standardizer(latents)
    rows = scale(latents)
    covariance = rows.T @ rows / len(rows)
    chance = random_numbers(check_seed(seed), "gaussian")
    drawn = chance.standard_normal((as_integer(n, "n", 1), rows.shape[1])) @ _root(covariance)
    return scale.undo(drawn).astype(np.float32)


def gaussian_mixture(
    latents: Rows, n: int, seed: int, *, components: int = COMPONENTS
) -> npt.NDArray[np.float32]:
    """Fit a mixture of Gaussians with full covariances (scikit-learn) and draw n rows.

    Parameters
    ----------
    latents : [m, dim]
        At most 20,000 of them, chosen by the seed, are fitted to.
    n : int
        Number of rows to draw.
    seed : int
        Random seed of the fit and the rows.
    components : int
        Number of Gaussians; at most one for every two latents.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    n, seed = as_integer(n, "n", 1), check_seed(seed)
    scale = Standardizer(latents)
    chosen = random_numbers(seed, "mixture", "rows").permutation(len(latents))[:FIT_ROWS]
    rows = scale(latents[np.sort(chosen)])
    if len(rows) == 1:
        return gaussian(latents, n, seed)
    model = GaussianMixture(
        max(1, min(components, len(rows) // 2)),
        max_iter=MOST_STEPS,
        random_state=derive(seed, "mixture", "fit") % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal rows, or too few steps
        model.fit(rows)
    chance = random_numbers(seed, "mixture", "samples")
    which = chance.choice(len(model.weights_), size=n, p=model.weights_ / model.weights_.sum())
    drawn = chance.standard_normal((n, rows.shape[1]))
    for one, (mean, covariance) in enumerate(zip(model.means_, model.covariances_, strict=True)):
        inside = which == one
        drawn[inside] = mean + drawn[inside] @ _root(covariance)
    return scale.undo(drawn).astype(np.float32)


def noisy_rows(latents: Rows, n: int, seed: int) -> npt.NDArray[np.float32]:
    """Draw n latents with replacement, and add noise: a copy, and no model.

    The noise has, on average, half the length of the distance to the nearest other latent.
    """
    from sklearn.neighbors import NearestNeighbors

    chance = random_numbers(check_seed(seed), "noisy rows")
    scale = Standardizer(latents)
    rows = scale(latents)
    drawn = rows[chance.integers(len(rows), size=as_integer(n, "n", 1))]
    distances, _ = NearestNeighbors(n_neighbors=min(2, len(rows))).fit(rows).kneighbors(drawn)
    noise = chance.standard_normal(drawn.shape) / np.sqrt(drawn.shape[1])
    noise *= rows.std(axis=0)  # 1, or 0 in a constant column
    return scale.undo(drawn + 0.5 * distances[:, -1:] * noise).astype(np.float32)


# Under the names that tables show.
BASELINES = {
    "one Gaussian": gaussian,
    f"mixture of {COMPONENTS} Gaussians": gaussian_mixture,
    "training rows with noise (a copy)": noisy_rows,
}


def _root(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Symmetric root of a covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root: npt.NDArray[np.float64] = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    return root

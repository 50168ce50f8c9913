"""The radial map of the GTN paper's Eq. 4: exact labels of a rotation-invariant distribution.

No matching is needed: a source and its label have one direction, and norms of one rank. Not here:
the quantile map in one dimension, and labelings of any distribution (labelings.py, optimal.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_integer

from ..seeds import derive
from .labelings import Labeled, Progress, Rows
from .rows import cosines_of

__all__ = ["Radial", "RadialMap"]


class RadialMap:
    """The homeomorphism h(y) = h₁(|y|) y / |y|, h(0) = 0, from N(0, I) (GTN paper, Eq. 4).

    h₁ = F⁻¹ ∘ G leads norms of sources to norms of latents: G is the distribution function of the
    chi distribution, and F that of the latents' norms.

    Parameters
    ----------
    dim : int
        Dimension, >= 1.
    quantile : callable
        F⁻¹: probabilities float64 [n] to norms [n]. It must rise from 0.

    Examples
    --------
    The uniform disk of radius 1 has F(r) = r²:

    >>> h = RadialMap(2, np.sqrt)
    >>> h(np.array([[0.0, 0.0], [3.0, 4.0]])).round(5).tolist()
    [[0.0, 0.0], [0.6, 0.8]]
    """

    def __init__(self, dim: int, quantile: Callable[[NDArray[np.float64]], Any]) -> None:
        self.dim = as_integer(dim, "dim", 1)
        self._quantile = quantile

    @classmethod
    def of_latents(cls, latents: Rows) -> RadialMap:
        """Take the quantiles of the norms of latents [m, dim], linear between two of them."""
        rows = convert.as_rows(latents, "latents").rows
        convert.refuse_non_finite(rows, "latents")
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        return cls(rows.shape[1], lambda shares: np.quantile(norms, shares))

    def __call__(self, sources: Rows) -> NDArray[np.float64]:
        """Map sources [n, dim] to labels float64 [n, dim].

        Raises
        ------
        ValueError
            If the sources have another dimension, or NaN or infinity is among them.
        """
        from scipy.special import gammainc

        rows = convert.as_rows(sources, "sources").rows.astype(np.float64)
        convert.refuse_non_finite(rows, "sources")
        if rows.shape[1] != self.dim:
            raise ValueError(f"sources must have dimension {self.dim}, got {rows.shape[1]}")
        norms = np.linalg.norm(rows, axis=1)
        found = np.asarray(self._quantile(gammainc(self.dim / 2, norms**2 / 2)), np.float64)
        return _with_norms(rows, norms, found)


class Radial:
    """Pairs of the radial map (Eq. 4): one direction, and norms of one rank.

    The norms of n = m sources drawn from N(0, I) are sorted, and so are those of the latents. The
    source of a latent x is h⁻¹(x) of `RadialMap`, with ranks in place of distribution functions.
    These sources are a sample of N(0, I) where the latents' distribution is invariant under
    rotations about the origin. Elsewhere their directions are those of the latents, and samples
    from N(0, I) are wrong.

    Examples
    --------
    >>> found = Radial().label(np.array([[3.0, 4.0], [0.0, -1.0]]), seed=0)
    >>> found.cosine.round(9).tolist()
    [1.0, 1.0]
    """

    conditional = False

    def config(self) -> dict[str, Any]:
        """Its name."""
        return {"labeling": "radial"}

    def check(self, latents: Rows) -> None:
        """Accept any latents: their distribution is not tested."""

    def label(self, latents: Rows, seed: int, progress: Progress | None = None) -> Labeled:
        """Draw the norms of n = m sources from N(0, I) and pair them by rank; ties go by index."""
        rows = convert.as_rows(latents, "latents").rows.astype(np.float64)
        convert.refuse_non_finite(rows, "latents")
        n, dim = rows.shape
        drawn = draw_sources(n, dim, derive(seed, "sources")).astype(np.float64)
        norms = np.linalg.norm(rows, axis=1)
        wanted = np.empty(n)
        wanted[np.argsort(norms, kind="stable")] = np.sort(np.linalg.norm(drawn, axis=1))
        sources = _with_norms(rows, norms, wanted).astype(np.float32)
        cosine = cosines_of(sources, rows.astype(np.float32))
        return Labeled(sources, np.arange(n), cosine, None, "radial")


def _with_norms(
    rows: NDArray[np.float64], norms: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give rows other norms; the row 0 has no direction, and stays."""
    divisors = np.where(norms > 0, norms, 1.0)
    scaled: NDArray[np.float64] = rows / divisors[:, None] * wanted[:, None]
    return scaled

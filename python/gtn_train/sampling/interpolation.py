"""Interpolation (Fig. 8): decode ĥ along straight lines between sources.

A line runs between two random sources, or between the sources matched with the latents of two real
images. Not here: geodesics (geometry/run_geodesics.py), generating (sample.py), decoding
(models/autoencoder.py), files (report/figures.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_integer

from ..models.autoencoder import decode_all
from ..pairs.mixture import Mixture
from ..report import figures
from .sample import generate_latents, sampling_seed

if TYPE_CHECKING:
    from ..geometry.geodesic import Paths

__all__ = ["Interpolation", "interpolate", "lines", "matched_sources", "random_ends"]

STEPS = 20  # of Fig. 8


@dataclass(frozen=True)
class Interpolation:
    """The points of k lines, `steps` each, the left end first.

    Attributes
    ----------
    weights : float64 [steps]
        λ of each point: 1 (left) down to 0 (right). Along a geodesic, the share of its length that
        is left.
    sources : float32 [k, steps, dim] or None
        None where the lines are those of latents.
    latents : float32 [k, steps, d]
    images : uint8 [k, steps, c, h, w] or None
        None without an autoencoder. One of vectors gives float32 [k, steps, m].
    path : str
        "straight" or "geodesic".
    curves : geometry.Paths or None
        Curves that were measured, with more points; None for plain straight lines.
    """

    weights: npt.NDArray[np.float64]
    sources: npt.NDArray[np.float32] | None
    latents: npt.NDArray[np.float32]
    images: npt.NDArray[Any] | None
    path: str = "straight"
    curves: Paths | None = None

    @property
    def length(self) -> npt.NDArray[np.float64] | None:
        """Length of each line on the surface, float64 [k]; None if it was not measured."""
        return None if self.curves is None else self.curves.length

    @property
    def energy(self) -> npt.NDArray[np.float64] | None:
        """Energy of each line, float64 [k]; None if it was not measured."""
        return None if self.curves is None else self.curves.energy

    @property
    def surprisal(self) -> npt.NDArray[np.float64] | None:
        """Mean -log density along each line, float64 [k]; None if there was no density."""
        return None if self.curves is None else self.curves.surprisal

    def grid(self) -> npt.NDArray[np.uint8]:
        """Lay the images out, a line a row: uint8 [3, height, width].

        Raises
        ------
        ValueError
            If there are no images.
        """
        if self.images is None or self.images.dtype != np.uint8:
            raise ValueError("a grid needs images, and this interpolation has latents only")
        steps = len(self.weights)
        return figures.grid(self.images.reshape(-1, *self.images.shape[2:]), columns=steps)


def interpolate(
    generator: Any,
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
    autoencoder: Any = None,
    *,
    steps: int = STEPS,
    classes: Any = None,
    batch_size: int = 256,
    device: Any = None,
    progress: bool = False,
) -> Interpolation:
    """Generate along the lines λ y_left + (1 - λ) y_right.

    Parameters
    ----------
    generator, device, progress
        As in `sampling.sample_latents`.
    left, right : [k, dim]
        Sources at the ends: from `random_ends` or `matched_sources`.
    autoencoder : optional
        As in `sampling.sample_images`; left out, there are no images.
    steps : int
        Points of a line, both ends included, >= 2.
    classes : int or int array [k], optional
        Class of all lines, or of each, for a conditional generator.
    batch_size : int
        Points at a time.

    Raises
    ------
    TypeError, ValueError
        As in `sampling.sample_latents`; also if the ends do not fit each other.
    """
    weights, sources = lines(left, right, steps)
    flat = sources.reshape(-1, sources.shape[2])
    per_point = classes if np.ndim(classes) == 0 else np.repeat(classes, len(weights))
    latents = generate_latents(
        generator, flat, classes=per_point, batch_size=batch_size, device=device, progress=progress
    )
    images = None
    if autoencoder is not None:
        images = decode_all(autoencoder, latents, batch_size, device, progress)
        images = images.reshape(*sources.shape[:2], *images.shape[1:])
    return Interpolation(weights, sources, latents.reshape(*sources.shape[:2], -1), images)


def lines(
    left: npt.NDArray[Any], right: npt.NDArray[Any], steps: int = STEPS
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Points λ y_left + (1 - λ) y_right for evenly spaced λ from 1 to 0.

    Parameters
    ----------
    left, right : [k, dim]
    steps : int
        >= 2.

    Returns
    -------
    weights : float64 [steps]
        λ.
    sources : float32 [k, steps, dim]
        The first is `left` and the last `right`, exactly as float32.

    Examples
    --------
    >>> weights, sources = lines(np.array([[1.0]]), np.array([[3.0]]), 3)
    >>> sources[0, :, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    steps = as_integer(steps, "steps", 2)
    left, right = np.asarray(left), np.asarray(right)
    if left.ndim != 2 or left.shape != right.shape:
        raise ValueError(
            f"left and right must be 2-D [k, dim] and alike, got shapes {left.shape} "
            f"and {right.shape}"
        )
    weights = np.linspace(1, 0, steps)
    share = weights[:, None]
    return weights, (share * left[:, None] + (1 - share) * right[:, None]).astype(np.float32)


def random_ends(
    n: int, dim: int, seed: int, *, mixture: Mixture | None = None, classes: Any = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw the ends of n lines: N(0, I), or from a mixture; float32 [n, dim] each.

    They are the first 2 n sources of `sample_latents` from this seed.
    Classes [n], or one of all, are a mixture's clusters: both ends of a line are then in its own.
    """
    n, own = as_integer(n, "n", 1), sampling_seed(seed)
    if mixture is None:
        sources = draw_sources(2 * n, as_integer(dim, "dim", 1), own)
    else:
        clusters = None if classes is None else np.tile(np.broadcast_to(classes, n), 2)
        sources, _ = mixture.draw(2 * n, own, clusters)
    return sources[:n], sources[n:]


def matched_sources(matching: Any, latent_rows: Any) -> npt.NDArray[Any]:
    """Sources whose labels are these latents: how a real image gets into the space of sources.

    Parameters
    ----------
    matching : gtn_label.Matching
        Or anything with `assignment` [n] and `sources` [n, dim].
    latent_rows : int array [k]
        Rows of the latents, which are rows of the images they were encoded from.

    Returns
    -------
    [k, dim]

    Raises
    ------
    ValueError
        If a latent was given to no source (there were fewer sources than latents), or if the
        matching holds no rows.

    Examples
    --------
    >>> from gtn_label import match
    >>> m = match(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.1, 1.0], [3.0, 1.0]]))
    >>> matched_sources(m, [0]).tolist()
    [[3.0, 1.0]]
    """
    rows = np.asarray(latent_rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0:
        raise ValueError(
            f"latent_rows must be 1-D integers [k >= 1], got {rows.dtype} of shape {rows.shape}"
        )
    if matching.sources is None:
        raise ValueError("matching must hold its sources, and was loaded from a file of indices")
    assignment = np.asarray(matching.assignment)
    order = np.argsort(assignment, kind="stable")
    place = np.searchsorted(assignment[order], rows).clip(max=len(order) - 1)
    missing = rows[assignment[order[place]] != rows]
    if len(missing):
        raise ValueError(
            "latent_rows must be latents that a source was matched with, and there is none for "
            f"{', '.join(str(row) for row in missing[:5])}{', ...' if len(missing) > 5 else ''}"
        )
    sources = np.asarray(matching.sources)
    found: npt.NDArray[Any] = sources.reshape(len(sources), -1)[order[place]]
    return found

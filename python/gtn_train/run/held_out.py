"""HeldOut: the latents that no generator of a run trains on, and their two uses.

One half chooses the best weights and the end of training, the other half measures the result. The
two never share a row. Not here: test images and fresh draws, which measure better where they exist
(evaluation/evaluate_run.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pairs.fixed import split_rows
from .preset_fields import Preset

__all__ = ["HeldOut", "divide", "hold_out", "trains_on_all"]


@dataclass(frozen=True)
class HeldOut:
    """Rows of the latents or of their pairs, each part ascending; together all of them.

    Attributes
    ----------
    training, stopping, reported : int64 [k]
        To train on, to stop training by, and to measure with.
    """

    training: NDArray[np.int64]
    stopping: NDArray[np.int64]
    reported: NDArray[np.int64]


def divide(n: int, share: float, seed: int) -> HeldOut:
    """Divide n pairs; arguments as of `hold_out`."""
    training, held_out = split_rows(n, share, seed)
    half = (len(held_out) + 1) // 2
    return HeldOut(*(np.sort(rows) for rows in (training, held_out[:half], held_out[half:])))


def hold_out(assignment: Any, share: float, seed: int) -> HeldOut:
    """Divide the latents as `divide` does their pairs.

    Parameters
    ----------
    assignment : int64 [n]
        Latent of each pair of the first round, one-to-one.
    share : float
        Share held out, between 0 and 1.
    seed : int
        The run's seed.

    Examples
    --------
    >>> parts = hold_out(np.arange(20), 0.2, seed=0)
    >>> [len(rows) for rows in (parts.training, parts.stopping, parts.reported)]
    [16, 2, 2]
    """
    latent_of = np.asarray(assignment)
    of_pairs = divide(len(latent_of), share, seed)
    parts = of_pairs.training, of_pairs.stopping, of_pairs.reported
    return HeldOut(*(np.sort(latent_of[rows]).astype(np.int64) for rows in parts))


def trains_on_all(preset: Preset) -> bool:
    """Return True if a run's pairs come back to latents that its first round held out.

    New rounds leave those out if labels follow the generator, or if the energy distance stops the
    training. Clusters are found among all latents, and their rounds keep all.
    """
    leaves_out = preset.stop_by == "energy" or preset.pairs.labeling == "drift"
    return preset.pairs.every > 0 and not (leaves_out and not preset.pairs.clusters)

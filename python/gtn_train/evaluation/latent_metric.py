"""Early stopping by samples: the energy distance of generated latents to held-out ones.

The validation loss of ĥ is no criterion: where labels are noise it stays flat while samples get
better. The distance takes hundredths of a second an epoch and needs no network. Not here: figures
of decoded images (stop_metric.py), the choice of the held-out rows (run/held_out.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.checks import as_integer, check_seed

from ..pairs.classes import as_in_data
from ..pairs.mixture import Mixture
from ..sampling.sample import sample_latents
from ..seeds import random_numbers
from ..training.training_options import Metric
from .latents import StandardizedDistance, Standardizer

__all__ = ["latent_metric"]

COMPARED = 1000  # rows of each kind: a million distances


def latent_metric(
    training: npt.NDArray[Any],
    held_out: npt.NDArray[Any],
    *,
    n: int = COMPARED,
    classes: npt.NDArray[np.int64] | None = None,
    mixture: Mixture | None = None,
    seed: int = 0,
    every: int = 1,
) -> Metric:
    """Make a metric for `train_generator`: the energy distance to held-out latents.

    Columns are standardised by the training rows, and the distance is divided by the root of the
    dimension, as in `gtn-train evaluate`.

    Parameters
    ----------
    training, held_out : [m, dim] and [k >= 2, dim]
        Latents. Measure the result by others than the held-out ones: those have chosen it.
    n : int
        Generated latents, of the same sources each time, and held-out ones, chosen by `seed` if
        there are more; >= 2.
    classes : int64 [m], optional
        Class of each latent of the data, for a conditional generator. Samples have the classes as
        often.
    mixture : Mixture, optional
        Distribution of the sources; N(0, I) by default.
    seed : int
        Random seed of sources and choices.
    every : int
        As in `Metric`.

    Examples
    --------
    >>> latent_metric(np.eye(3), np.eye(3)).name
    'energy distance of 1000'
    """
    n, seed = as_integer(n, "n", 2), check_seed(seed)
    chosen = np.sort(random_numbers(seed, "metric", "latents").permutation(len(held_out))[:n])
    distance = StandardizedDistance(held_out[chosen], Standardizer(training))
    asked = None if classes is None else as_in_data(classes, n, seed)

    def measured(generator: Any) -> float:
        return distance(sample_latents(generator, n, seed, classes=asked, mixture=mixture))

    about = {
        "seed": seed,
        "training_sha256": convert.sha256(np.asarray(training)),
        "held_out_sha256": convert.sha256(np.asarray(held_out)),
        "classes_sha256": None if classes is None else convert.sha256(classes),
    }
    name = f"energy distance of {n}"
    return Metric(name, measured, larger_is_better=False, every=every, about=about)

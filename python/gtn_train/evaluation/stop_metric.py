"""Figures of generated images for early stopping of the generator: Inception Score and FID.

The paper stops CelebA's and HaP's generators by the Inception Score of 200 samples. Not here: the
figures themselves (images.py), latents (latent_metric.py), patience and best weights (`training`).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.checks import as_integer, check_seed

from ..pairs.classes import as_in_data
from ..pairs.mixture import Mixture
from ..sampling.sample import sample_images
from ..seeds import random_numbers
from ..training.training_options import Metric
from . import OF_IMAGES
from .extractors import Extractor, figure_names, inception, lite0
from .images import check_pictures, extract, frechet_distance, inception_score

__all__ = ["extractor_of", "image_metric", "named_metric"]

SCORED = 200  # samples of an Inception Score, as in the paper
COMPARED = 1000  # samples of a Fréchet distance


def image_metric(
    kind: str,
    extractor: Extractor,
    autoencoder: Any,
    *,
    n: int,
    real: npt.NDArray[np.uint8] | None = None,
    classes: npt.NDArray[np.int64] | None = None,
    mixture: Mixture | None = None,
    seed: int = 0,
    every: int = 1,
) -> Metric:
    """Make a metric for `train_generator`: a score or a distance of n generated images.

    Parameters
    ----------
    kind : {"score", "distance"}
        Inception Score, in one part, or Fréchet distance.
    extractor : Extractor
        Network; the figure carries its name, as in `evaluate_images`.
    autoencoder : Autoencoder
        Decodes the generator's latents.
    n : int
        Images, of the same sources each time; >= 2.
    real : uint8 [m, c, h, w], optional
        Images to compare with, for a distance only: at least n, of which n are chosen.
    classes : int64 [m], optional
        Class of each latent of the data, for a conditional generator. Samples have the classes as
        often.
    mixture : Mixture, optional
        Distribution of the sources; N(0, I) by default.
    seed : int
        Random seed of sources and choices.
    every : int
        As in `Metric`.

    Returns
    -------
    Metric
        Its name says figure, network and n, such as "FD-Lite0 of 1000".

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its type or out of range.
    """
    n, seed = as_integer(n, "n", 2), check_seed(seed)
    if kind not in ("score", "distance"):
        raise ValueError(f"kind must be 'score' or 'distance', got {kind!r}")
    if (kind == "distance") != (real is not None):
        raise ValueError(f"real images are what a distance needs, and a score not, for {kind!r}")
    if isinstance(extractor, type) or not (callable(extractor) and hasattr(extractor, "key")):
        raise TypeError(f"extractor must be an Extractor, such as lite0(), got {extractor!r}")
    if real is not None:
        check_pictures(real, "real")
    if classes is not None:
        if np.ndim(classes) != 1 or len(classes) == 0:
            raise ValueError(f"classes must be 1-D, not empty, got shape {np.shape(classes)}")
        classes = convert.as_labels(classes, "classes", len(classes), "latents")
    distance, score = figure_names(extractor)
    about = {
        "seed": seed,
        "extractor": extractor.key,
        "real_sha256": None if real is None else convert.sha256(real),
        "classes_sha256": None if classes is None else convert.sha256(classes),
    }
    asked = None if classes is None else as_in_data(classes, n, seed)

    def drawn(generator: Any) -> npt.NDArray[np.uint8]:
        return sample_images(generator, autoencoder, n, seed, classes=asked, mixture=mixture)

    def scored(generator: Any) -> float:
        return inception_score(drawn(generator), extractor)

    if real is None:
        return Metric(f"{score} of {n}", scored, larger_is_better=True, every=every, about=about)
    if len(real) < n:
        raise ValueError(f"real must have at least n = {n} images, got {len(real)}")
    chosen = np.sort(random_numbers(seed, "metric", "real").permutation(len(real))[:n])
    reference = extract(real[chosen], extractor).features

    def compared(generator: Any) -> float:
        return frechet_distance(extract(drawn(generator), extractor).features, reference)

    return Metric(f"{distance} of {n}", compared, larger_is_better=False, every=every, about=about)


def extractor_of(
    figure: str, weights: str | os.PathLike[str] | None = None, *, device: Any = "cpu"
) -> Extractor:
    """Make the network of a figure in `evaluation.OF_IMAGES`.

    Parameters
    ----------
    figure : str
    weights : path, optional
        Inception's, as in `extractors.inception`.
    device : optional

    Raises
    ------
    ValueError, ImportError, FileNotFoundError, OSError
        If there is no such figure, or the network is not available.
    """
    if figure not in OF_IMAGES:
        raise ValueError(f"figure must be one of {', '.join(OF_IMAGES)}, got {figure!r}")
    return lite0(device=device) if "Lite0" in figure else inception(weights, device=device)


def named_metric(
    figure: str,
    extractor: Extractor,
    autoencoder: Any,
    real: npt.NDArray[np.uint8],
    **more: Any,
) -> Metric:
    """Make the metric of `image_metric` that a preset names.

    Parameters
    ----------
    figure : str
        One of `evaluation.OF_IMAGES`: of 200 samples if it is a score, else of 1,000 or as
        many as there are real ones.
    extractor : Extractor
        From `extractor_of`.
    autoencoder : Autoencoder
    real : uint8 [m, c, h, w]
    more
        Other parameters of `image_metric`.
    """
    scored = figure.startswith("IS")
    return image_metric(
        "score" if scored else "distance",
        extractor,
        autoencoder,
        n=SCORED if scored else min(COMPARED, len(real)),
        real=None if scored else real,
        **more,
    )

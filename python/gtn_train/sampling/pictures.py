"""Pictures of what a model can do while it trains, for `ImageGrid`: samples and reconstructions.

Not here: the sheets of a finished run (report/sheets.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.autoencoder import decode_all, encode_all
from ..pairs.classes import in_turn
from ..pairs.mixture import Mixture
from ..report import figures
from .sample import sample_images

__all__ = ["reconstructions_picture", "samples_picture"]

SHOWN = 64  # images of a picture


def samples_picture(
    autoencoder: Any,
    *,
    n: int = SHOWN,
    seed: int = 0,
    classes: NDArray[np.int64] | None = None,
    mixture: Mixture | None = None,
) -> Callable[[Any], NDArray[np.uint8]]:
    """Make a function that draws a generator's samples, of the same sources each time.

    Parameters
    ----------
    autoencoder : Autoencoder
        Decodes the latents.
    n, seed : int
        As in `sample_images`.
    classes : int64 [m], optional
        Class of each latent of the data, for a conditional generator: samples show them in turn.
    mixture : Mixture, optional
        As in `sample_images`.

    Returns
    -------
    callable (generator) -> uint8 [height, width, 3]
    """
    turns = None if classes is None else in_turn(classes, n)

    def draw(generator: Any) -> NDArray[np.uint8]:
        drawn = sample_images(generator, autoencoder, n, seed, classes=turns, mixture=mixture)
        return _rows_first(figures.grid(drawn))

    return draw


def reconstructions_picture(
    images: NDArray[np.uint8], *, n: int = SHOWN
) -> Callable[[Any], NDArray[np.uint8]]:
    """Make a function that draws images, and beside each what an autoencoder makes of it.

    Parameters
    ----------
    images : uint8 [m, c, h, w]
        The first n // 2 are shown.
    n : int
        Images of the picture, originals included.

    Returns
    -------
    callable (autoencoder) -> uint8 [height, width, 3]
    """
    real = np.array(images[: max(1, n // 2)])

    def draw(autoencoder: Any) -> NDArray[np.uint8]:
        again = decode_all(autoencoder, encode_all(autoencoder, real))
        beside = np.stack([real, again], axis=1).reshape(-1, *real.shape[1:])
        return _rows_first(figures.grid(beside, columns=min(16, len(beside))))

    return draw


def _rows_first(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture.transpose(1, 2, 0))

"""Files of the samples stage: sheets of samples, reconstructions and lines between sources.

Images become PNG grids, vectors .npy and, in one or two dimensions, a scatter plot. Not here:
drawing samples (sampling/sample.py), figures of merit (`evaluation`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import swiss_roll_points
from ..files import save_array
from ..models.autoencoder import decode_all, encode_all
from ..pairs.classes import as_in_data, in_turn
from ..pairs.mixture import Mixture
from ..sampling.interpolation import interpolate, random_ends
from ..sampling.sample import sample_images, sample_latents
from ..seeds import derive, random_numbers
from . import figures

__all__ = ["sheet_columns", "sheet_names", "write_samples"]

SHEET = 64  # images of a sheet
MOST_COLUMNS = 32  # of a sheet, one a class
LINES = 8  # interpolations
LATENTS = 10_000  # generated latents that are kept and compared


def write_samples(
    folder: Path,
    generator: Any,
    autoencoder: Any,
    *,
    latents: NDArray[Any],
    images: NDArray[np.uint8] | None,
    classes: NDArray[np.int64] | None,
    mixture: Mixture | None,
    seed: int,
    roll: bool = False,
) -> None:
    """Write samples and sheets into a folder, as the files that `sheet_names` lists.

    Parameters
    ----------
    folder : path
    generator : Generator
    autoencoder : Autoencoder or None
    latents : [n, dim]
        Real latents.
    images : uint8 [n, c, h, w] or None
        Real images, in the order of the latents.
    classes : int64 [n] or None
        Class of each latent, for a conditional generator.
    mixture : Mixture or None
        Distribution of the sources; None for N(0, I).
    seed : int
    roll : bool
        Draw latents, which are θ, on the swiss roll too.
    """
    drawn = None if classes is None else as_in_data(classes, LATENTS, seed)
    generated = sample_latents(generator, LATENTS, seed, classes=drawn, mixture=mixture)
    save_array(folder / "latents.npy", generated)
    centre = latents.mean(axis=0)
    norms = {
        "generated": np.linalg.norm(generated - centre, axis=1),
        "real": np.linalg.norm(latents - centre, axis=1),
    }
    pictures: dict[str, Any] = {
        "norms.png": figures.histograms(norms, label="distance of a latent from the real mean")
    }
    if latents.shape[1] <= 2:
        pictures["scatter.png"] = figures.scatter({"generated": generated, "real": latents})
    if roll:
        thetas = {"generated": generated[:, 0], "real": np.asarray(latents[:, 0])}
        pictures["roll.png"] = figures.scatter(
            {name: swiss_roll_points(theta) for name, theta in thetas.items()}, colours=thetas
        )
    if autoencoder is not None and images is not None:
        columns = None if classes is None else sheet_columns(classes)
        n_shown = SHEET if columns is None else SHEET - SHEET % columns
        turns = None if classes is None else in_turn(classes, n_shown)
        shown = sample_images(generator, autoencoder, n_shown, seed, classes=turns, mixture=mixture)
        pictures["samples.png"] = figures.grid(shown, columns=columns)
        chosen = random_numbers(seed, "real").permutation(len(images))
        real = images[np.sort(chosen[: SHEET // 2])]
        again = decode_all(autoencoder, encode_all(autoencoder, real))
        above = np.stack([real, again], axis=1).reshape(-1, *real.shape[1:])
        pictures["reconstructions.png"] = figures.grid(above, columns=16)
        of_line = None if classes is None else in_turn(classes, LINES)
        line_seed = derive(seed, "lines")
        ends = random_ends(LINES, generator.dim, line_seed, mixture=mixture, classes=of_line)
        found = interpolate(generator, *ends, autoencoder, classes=of_line)
        pictures["interpolation.png"] = found.grid()
    for name, picture in pictures.items():
        figures.write(folder / name, picture)


def sheet_names(dim: int, *, of_images: bool, roll: bool = False) -> tuple[str, ...]:
    """Names of the files that `write_samples` makes.

    Parameters
    ----------
    dim : int
        Dimension of the latents.
    of_images : bool
        True if the latents are decoded to images.
    roll : bool
        As in `write_samples`.
    """
    images = ("interpolation.png", "reconstructions.png", "samples.png") if of_images else ()
    plots = (*(("roll.png",) if roll else ()), *(("scatter.png",) if dim <= 2 else ()))
    return ("latents.npy", "norms.png", *images, *plots)


def sheet_columns(classes: NDArray[np.int64]) -> int | None:
    """Columns of a sheet with one column per class; None for one class or too many.

    Parameters
    ----------
    classes : int64 [n]
        Class of each latent.
    """
    count = len(np.unique(classes))
    return count if 2 <= count <= MOST_COLUMNS else None

"""Samples: sources through the generator ĥ, latents through the decoder, in batches.

Sources come from a Philox stream of their own: `match` draws other ones from any seed that people
count with, so samples never repeat training inputs. Row i of seed s is the same row on every
machine and for every batch size. Its latent is the same up to rounding, because a matrix product
may add in another order for another number of rows. Not here: sources of a mixture
(pairs/mixture.py), lines between sources (interpolation.py), decoding (models/autoencoder.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_integer, check_seed

from ..data.images import refuse_non_finite
from ..models.autoencoder import decode_all, evaluating
from ..models.generator import Generator
from ..pairs.mixture import Mixture
from ..progress import progress_bar
from ..seeds import derive

__all__ = ["generate_latents", "sample_images", "sample_latents", "sampling_seed"]

LATENT_BATCH = 4096  # the widest generator of Table 2 holds 50 MB of activations a layer with it
IMAGE_BATCH = 256


def sample_latents(
    generator: Any,
    n: int,
    seed: int,
    *,
    batch_size: int = LATENT_BATCH,
    classes: Any = None,
    mixture: Mixture | None = None,
    device: Any = None,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Draw sources and generate: ĥ(y) for y ~ N(0, I), or for y from a mixture (Fig. 9).

    Parameters
    ----------
    generator : callable
        float32 sources [b, dim] to latents [b, d]; with an attribute `dim`, unless there is a
        mixture. A conditional one is called with (sources, classes).
    n : int
        Number of samples, >= 1.
    seed : int
        Random seed of the sources, >= 0. `match` draws other sources from the same seed.
    batch_size : int
        Sources at a time, >= 1.
    classes : int or int array [n], optional
        Class of all samples, or of each.
    mixture : Mixture, optional
        Distribution of the sources, instead of N(0, I). The classes of a conditional generator are
        then its clusters, by default those of the sources.
    device : optional
        Device of the generator; by default that of its first parameter.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    float32 [n, d]

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or out of range, or if a latent is NaN or infinite: it
        says in which row.
    """
    n = as_integer(n, "n", 1)
    own = sampling_seed(seed)
    if mixture is None:
        sources = draw_sources(n, as_integer(_dim(generator), "generator.dim", 1), own)
    else:
        sources, clusters = mixture.draw(n, own, _classes(classes, n))
        if getattr(generator, "classes", 0):
            classes = clusters
    return generate_latents(
        generator, sources, batch_size=batch_size, classes=classes, device=device, progress=progress
    )


def sample_images(
    generator: Any,
    autoencoder: Any,
    n: int,
    seed: int,
    *,
    batch_size: int = IMAGE_BATCH,
    classes: Any = None,
    mixture: Mixture | None = None,
    device: Any = None,
    progress: bool = False,
) -> npt.NDArray[np.uint8]:
    """Sample latents and decode them; arguments and errors as in `sample_latents`.

    Parameters
    ----------
    autoencoder : autoencoder.Autoencoder
        Decodes the generator's latents.

    Returns
    -------
    uint8 [n, c, h, w]
    """
    latents = sample_latents(
        generator,
        n,
        seed,
        batch_size=batch_size,
        classes=classes,
        mixture=mixture,
        device=device,
        progress=progress,
    )
    return decode_all(autoencoder, latents, batch_size, device, progress)


def generate_latents(
    generator: Any,
    sources: npt.NDArray[Any],
    *,
    batch_size: int = LATENT_BATCH,
    classes: Any = None,
    device: Any = None,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Map given sources [n, dim] to latents float32 [n, d]; all else as in `sample_latents`."""
    rows = convert.as_rows(sources, "sources").rows
    convert.refuse_non_finite(rows, "sources")
    n, step = len(rows), as_integer(batch_size, "batch_size", 1)
    per_row = _classes(classes, n)
    if per_row is not None and isinstance(generator, Generator) and generator.classes:
        generator.check_classes(torch.tensor(per_row))
    where = _device(generator) if device is None else device
    latents = np.empty((0, 0), np.float32)
    with (
        evaluating(generator),
        torch.inference_mode(),
        progress_bar(progress, total=n, unit=" latents", desc="sampling") as bar,
    ):
        for begin in range(0, n, step):
            some = slice(begin, min(begin + step, n))
            given = [torch.tensor(rows[some], dtype=torch.float32, device=where)]
            if per_row is not None:
                given.append(torch.tensor(per_row[some], device=where))
            batch = generator(*given)
            if batch.ndim != 2 or len(batch) != len(given[0]):
                raise ValueError(
                    f"the generator must give [{len(given[0])}, d] for as many sources, "
                    f"got {tuple(batch.shape)}"
                )
            refuse_non_finite(batch, "the generator's latents", begin)
            if begin == 0:  # the first to tell d
                latents = np.empty((n, batch.shape[1]), np.float32)
            latents[some] = batch.float().cpu().numpy()
            bar.update(len(batch))
    return latents


def sampling_seed(seed: Any) -> int:
    """Seed of the sources of samples, for the seed that a user gives; >= 0."""
    return derive(check_seed(seed), "sampling")


def _dim(generator: Any) -> Any:
    if not hasattr(generator, "dim"):
        raise TypeError(
            "generator must say the length of its sources as `dim`, and "
            f"{type(generator).__name__} has none; draw sources yourself for generate_latents"
        )
    return generator.dim


def _classes(classes: Any, n: int) -> npt.NDArray[np.int64] | None:
    if classes is None:
        return None
    if np.ndim(classes) == 0:
        return np.full(n, as_integer(classes, "classes", 0), np.int64)
    return convert.as_labels(classes, "classes", n, "samples")


def _device(model: Any) -> Any:
    """Device for a model's inputs: that of its first parameter, or the CPU."""
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device

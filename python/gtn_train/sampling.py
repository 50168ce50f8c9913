"""Samples: sources through the generator ĥ, latents through the decoder, in batches.

Sources come from `gtn_label`'s Philox stream, as in `match`: row i of seed s is the same row on
every machine and for every batch size. Its latent is the same up to rounding, because a matrix
product may add in another order for another number of rows. Not here: sources of a mixture
(mixture.py), lines between sources (interpolation.py), grids (figures.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from gtn_label import arrays
from gtn_label.checks import as_integer, check_seed

from .data.images import refuse_non_finite, to_bytes
from .mixture import Mixture

__all__ = ["decode_images", "generate_latents", "inference", "sample_images", "sample_latents"]

LATENT_BATCH = 4096  # the widest generator of Table 2 holds 50 MB of activations a layer with it
IMAGE_BATCH = 256

Latents = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@contextlib.contextmanager
def inference(*models: Any) -> Iterator[None]:
    """Within this block no gradients are kept and modules evaluate: no dropout, fixed batch norm.

    Each submodule's own training mode is restored afterwards, also after an exception. What is
    no `torch.nn.Module`, such as a plain function, is left alone.
    """
    modules = [
        part for model in models if isinstance(model, torch.nn.Module) for part in model.modules()
    ]
    modes = [part.training for part in modules]
    try:
        for part in modules:
            part.training = False
        with torch.inference_mode():
            yield
    finally:
        for part, mode in zip(modules, modes, strict=True):
            part.training = mode


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
) -> Latents:
    """Draw sources and generate: ĥ(y) for y ~ N(0, I), or for y from a mixture (Fig. 9).

    Parameters
    ----------
    generator : callable
        float32 sources [b, dim] to latents [b, d]; with an attribute `dim`, unless there is a
        mixture. A conditional one is called with (sources, classes).
    n : int
        How many, >= 1.
    seed : int
        Of the sources, >= 0. They are `gtn_label`'s: those that `match` draws from this seed.
    batch_size : int
        Sources at a time, >= 1.
    classes : int or int array [n], optional
        Class of all samples, or of each.
    mixture : Mixture, optional
        Where sources come from instead of N(0, I).
    device : optional
        Where the generator is; by default where its first parameter is.
    progress : bool
        Show a tqdm bar on stderr.

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
    seed = check_seed(seed)
    if mixture is None:
        sources = arrays.draw_sources(n, as_integer(_dim(generator), "generator.dim", 1), seed)
    else:
        sources, _ = mixture.draw(n, seed)
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
) -> Bytes:
    """Sample latents and decode them; arguments and errors as in `sample_latents`.

    Parameters
    ----------
    autoencoder : object
        With `decode`: float32 latents [b, d] to images [b, c, h, w] in [-1, 1].

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
    return decode_images(
        autoencoder, latents, batch_size=batch_size, device=device, progress=progress
    )


def generate_latents(
    generator: Any,
    sources: npt.NDArray[Any],
    *,
    batch_size: int = LATENT_BATCH,
    classes: Any = None,
    device: Any = None,
    progress: bool = False,
) -> Latents:
    """Map given sources [n, dim] to latents float32 [n, d]; all else as in `sample_latents`."""
    arrays.refuse_non_finite(sources, "sources")
    per_row = _classes(classes, len(sources))

    def generate(begin: int, end: int) -> torch.Tensor:
        batch = torch.tensor(sources[begin:end], dtype=torch.float32, device=where)
        if per_row is None:
            return generator(batch)
        return generator(batch, torch.tensor(per_row[begin:end], device=where))

    where = _device(generator, device)
    with inference(generator):
        return _in_batches(generate, len(sources), batch_size, "latents", "generator", progress)


def decode_images(
    autoencoder: Any,
    latents: npt.NDArray[Any],
    *,
    batch_size: int = IMAGE_BATCH,
    device: Any = None,
    progress: bool = False,
) -> Bytes:
    """Decode latents [n, d] to images uint8 [n, c, h, w]; all else as in `sample_images`."""
    arrays.refuse_non_finite(latents, "latents")

    def decode(begin: int, end: int) -> torch.Tensor:
        batch = torch.tensor(latents[begin:end], dtype=torch.float32, device=where)
        return autoencoder.decode(batch)

    where = _device(autoencoder, device)
    with inference(autoencoder):
        return _in_batches(decode, len(latents), batch_size, "images", "autoencoder", progress)


def _in_batches(
    compute: Callable[[int, int], torch.Tensor],
    n: int,
    batch_size: int,
    what: str,
    model: str,
    progress: bool,
) -> npt.NDArray[Any]:
    """Fill one array, float32 or for images uint8, with what `compute` gives for rows [a, b)."""
    batch_size = as_integer(batch_size, "batch_size", 1)
    out: npt.NDArray[Any] | None = None
    with tqdm(total=n, unit=f" {what}", disable=not progress) as bar:
        for begin in range(0, n, batch_size):
            end = min(begin + batch_size, n)
            values = compute(begin, end)
            if values.ndim < 2 or len(values) != end - begin:
                raise ValueError(
                    f"{model} must give one row for each of {end - begin}, "
                    f"got shape {tuple(values.shape)}"
                )
            refuse_non_finite(values, f"the {model}'s {what}", first=begin)
            rows = (to_bytes(values) if what == "images" else values.float()).cpu().numpy()
            if out is None:
                out = np.empty((n, *rows.shape[1:]), rows.dtype)
            out[begin:end] = rows
            bar.update(end - begin)
    if out is None:
        raise ValueError(f"there must be at least one row to make {what} from, got none")
    return out


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
    return arrays.as_labels(classes, "classes", n, "samples")


def _device(model: Any, device: Any) -> torch.device:
    """Where a model's inputs belong: as said, or with its first parameter, or on the CPU."""
    if device is not None:
        return torch.device(device)
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device

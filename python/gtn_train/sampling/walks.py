"""Random walks of a VDAE: samples that start at rows of the data and stay near them.

A step draws z from N(ψ(x), C(x)), with ψ the encoder, and decodes z (Alg. 2 of Li et al.,
Variational Diffusion Autoencoders with Random Walk Sampling). The decoder's noise is not added.
Step t of walk i has its own noise, whatever the batches. Not here: the model (models/vdae.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gtn_label.arrays import convert
from gtn_label.checks import as_integer, check_seed
from gtn_label.errors import ArgumentError

from ..data.images import check_images, refuse_non_finite, to_bytes, to_model
from ..models.autoencoder import evaluating
from ..models.vdae import VDAE
from ..progress import progress_bar
from ..seeds import random_numbers

__all__ = ["Moved", "burst", "mixing_steps", "trajectory", "walk"]

BATCH_SIZE = 2_000  # rows at a time
MIXED = 2.0  # times the distance of two halves of the data
SPLITS = 10  # of the data into halves
MOST_STEPS = 300
WALKERS = 1_000  # at most, and rows of the data in each half
BLOCK_VALUES = 1 << 22  # numbers at a time

Rows = npt.NDArray[Any]


class Moved(NamedTuple):
    """The rows of all walks after a step.

    Attributes
    ----------
    latents : float32 [n, latent_dim]
        Drawn latents, which were decoded.
    rows : float32 [n, m] or uint8 [n, c, h, w]
    """

    latents: npt.NDArray[np.float32]
    rows: Rows


def trajectory(
    model: VDAE,
    rows: Rows,
    seed: int = 0,
    *,
    snap_to: Rows | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Moved]:
    """Walk from each row, and give all walks after each step, without an end.

    Parameters
    ----------
    model : VDAE
    rows : float [n, m] or uint8 [n, c, h, w]
        Starts, one for each walk.
    seed : int
        Random seed of the steps, >= 0.
    snap_to : float [k, latent_dim], optional
        Latents of the training data: each step then starts at the nearest of them. Errors of
        encoder and decoder do not add up so.
    batch_size : int
        Rows at a time.

    Yields
    ------
    Moved

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or shape, or a row is NaN or infinite.
    """
    if not isinstance(model, VDAE):
        raise TypeError(f"model must be a VDAE, got {type(model).__name__}")
    batch_size = as_integer(batch_size, "batch_size", 1)
    seed = check_seed(seed)
    now = _starts(model, rows)
    known = None
    if snap_to is not None:
        known = torch.from_numpy(np.array(convert.as_rows(snap_to, "snap_to").rows, np.float32))
        if known.shape[1] != model.latent_dim:
            raise ValueError(
                f"snap_to must have the model's {model.latent_dim} columns, got "
                f"{tuple(known.shape)}"
            )
    return _steps(model, now, seed, known, batch_size)


def _steps(
    model: VDAE, now: torch.Tensor, seed: int, known: torch.Tensor | None, batch_size: int
) -> Iterator[Moved]:
    device = next(model.parameters()).device
    latents = np.empty((len(now), model.latent_dim), np.float32)
    for number in itertools.count(1):
        draw = random_numbers(seed, "walk", number)
        noise = torch.from_numpy(draw.standard_normal((len(now), model.dim), np.float32))
        with evaluating(model), torch.inference_mode():
            for first in range(0, len(now), batch_size):
                some = slice(first, first + batch_size)
                at = model.encode(now[some].to(device))
                if known is not None:
                    at = _nearest(at, known.to(device))
                moved = model.moved(at, noise[some].to(device))
                decoded = model.decode(moved)
                refuse_non_finite(decoded, f"rows of step {number}", first)
                latents[some] = moved.float().cpu().numpy()
                now[some] = decoded.float().cpu()
        yield Moved(latents.copy(), _as_data(model, now))


def walk(
    model: VDAE,
    rows: Rows,
    steps: int,
    seed: int = 0,
    *,
    snap_to: Rows | None = None,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
) -> Rows:
    """Walk some steps from each row, and give the last rows.

    Parameters
    ----------
    model, rows, seed, snap_to, batch_size
        As in `trajectory`, with its errors.
    steps : int
        >= 1.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    float32 [n, m] or uint8 [n, c, h, w]
    """
    steps = as_integer(steps, "steps", 1)
    walks = trajectory(model, rows, seed, snap_to=snap_to, batch_size=batch_size)
    with progress_bar(progress, total=steps, unit=" steps", desc="walking") as bar:
        for _ in range(steps):
            rows = next(walks).rows
            bar.update()
    return rows


def burst(model: VDAE, row: Rows, n: int, seed: int = 0) -> Rows:
    """Take one step from a row n times (Fig. 4 of the paper).

    Parameters
    ----------
    model : VDAE
    row : float [m] or uint8 [c, h, w]
    n : int
        >= 1.
    seed : int

    Returns
    -------
    float32 [n, m] or uint8 [n, c, h, w]
    """
    return walk(model, np.repeat(np.asarray(row)[None], as_integer(n, "n", 1), axis=0), 1, seed)


def mixing_steps(
    model: VDAE,
    rows: Rows,
    row: int = 0,
    seed: int = 0,
    *,
    most: int = MOST_STEPS,
    snap_to: Rows | None = None,
) -> int | None:
    """Count the steps after which walks from one row are spread as the data are.

    Parameters
    ----------
    model : VDAE
    rows : float [n >= 4, m] or uint8 [n, c, h, w]
        Data.
    row : int
        Where all walks start.
    seed : int
        Random seed of walks and halves.
    most : int
        Steps to take at most, >= 1.
    snap_to : float [k, latent_dim], optional
        As in `trajectory`.

    Returns
    -------
    int or None
        Least number of steps after which the energy distance of the walks to one half of the data
        is at most twice that of two halves, the mean of ten splits; None if it stays above. Pairs
        of a row with itself count, so that both distances are positive.
    """
    n, most = len(rows), as_integer(most, "most", 1)
    row = as_integer(row, "row", 0)
    if n < 4:
        raise ValueError(f"rows must be four at least, got {n}")
    if row >= n:
        raise ArgumentError("row", f"must be below the {n} rows", str(row))
    size = min(n // 2, WALKERS)
    draw = random_numbers(check_seed(seed), "mixing")
    floors = []
    for _ in range(SPLITS):
        order = draw.permutation(n)[: 2 * size]
        data, other = (_flat(rows[np.sort(part)]) for part in np.split(order, 2))
        within = _mean_distance(data, data)
        floors.append(_apart(other, data, within))
    floor = float(np.mean(floors))
    starts = np.repeat(np.asarray(rows[row])[None], size, axis=0)
    for number, moved in enumerate(trajectory(model, starts, seed, snap_to=snap_to), 1):
        if _apart(_flat(moved.rows), data, within) <= MIXED * floor:
            return number
        if number == most:
            return None
    raise AssertionError("a trajectory has no end")


def _starts(model: VDAE, rows: Rows) -> torch.Tensor:
    """Rows as the model sees them; a copy."""
    shape = tuple(model.data_shape)
    given: Rows
    if model.of_images:
        given = rows
        check_images(given)
    else:
        given = convert.as_rows(rows, "rows").rows
        convert.refuse_non_finite(given, "rows")
    if tuple(given.shape[1:]) != shape:
        listed = ", ".join(map(str, shape))
        raise ValueError(f"rows must have the model's shape (n, {listed}), got {given.shape}")
    found = torch.from_numpy(np.array(given))
    return to_model(found) if model.of_images else found.float()


def _as_data(model: VDAE, rows: torch.Tensor) -> Rows:
    found: Rows = to_bytes(rows).numpy() if model.of_images else rows.numpy().copy()
    return found


def _nearest(latents: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    step = max(1, BLOCK_VALUES // len(known))
    parts = [
        torch.cdist(part, known, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
        for part in latents.split(step)
    ]
    return known[torch.cat(parts)]


def _flat(rows: Rows) -> npt.NDArray[np.float64]:
    flat: npt.NDArray[np.float64] = np.asarray(rows, np.float64).reshape(len(rows), -1)
    return flat


def _apart(a: Any, b: Any, within_b: float) -> float:
    return 2 * _mean_distance(a, b) - _mean_distance(a, a) - within_b


def _mean_distance(a: Any, b: Any) -> float:
    from scipy.spatial.distance import cdist

    return float(cdist(a, b).mean())

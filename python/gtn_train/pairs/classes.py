"""Classes for samples of a conditional generator.

Only classes present in the training data can be sampled. Not here: drawing the classes of pairs
(labelings.py), a generator's input (models/generator.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.io.files import read_pairs
from gtn_label.text import quoted

from ..seeds import random_numbers

__all__ = ["as_in_data", "in_turn", "of_latents", "read_made"]

Classes = npt.NDArray[np.int64]
_MOST_CLASSES = 1 << 31  # of which a generator is told one, one-hot


def read_made(pairs: Path) -> dict[str, npt.NDArray[Any]]:
    """Read a run's pairs.

    Raises
    ------
    ValueError
        If the file holds none, or no assignment that uses each latent once.
    """
    content, _ = read_pairs(pairs)
    for name in ("sources", "labels", "assignment", "cosine"):
        if name not in content:
            raise ValueError(f"{quoted(pairs)} must hold a run's pairs, and lacks {name}")
    assignment = content["assignment"]
    m = assignment.size
    whole = assignment.ndim == 1 and m > 0 and assignment.dtype.kind in "iu"
    if not whole or not np.array_equal(np.sort(assignment), np.arange(m)):
        raise ValueError(f"{quoted(pairs)} must give each latent one source, and does not")
    return content


def of_latents(pairs: Path) -> Classes | None:
    """Class of each latent, int64 [m], from a run's pairs; None if they have no classes.

    Raises
    ------
    ValueError
        As in `read_made`, or if a class is none that a run can have.
    """
    content = read_made(pairs)
    if "classes" not in content:
        return None
    assignment, found = content["assignment"], content["classes"]
    if found.shape != assignment.shape or found.dtype.kind not in "iu" or found.min() < 0:
        raise ValueError(
            f"{quoted(pairs)} must hold a class >= 0 of each of its {len(assignment)} pairs, and "
            f"holds {found.dtype} of shape {found.shape}"
        )
    if found.max() >= _MOST_CLASSES:
        raise ValueError(f"{quoted(pairs)} must have classes below {_MOST_CLASSES:,}")
    classes = np.empty(len(assignment), np.int64)
    classes[assignment] = found
    return classes


def in_turn(known: Classes, n: int) -> Classes:
    """List n classes of the data in turn, from the first again after the last: for sheets.

    Parameters
    ----------
    known : int64 [m]
        Class of each latent.
    n : int

    Examples
    --------
    >>> in_turn(np.array([5, 5, 2]), 4).tolist()
    [2, 5, 2, 5]
    """
    there = np.unique(known)
    return np.asarray(there[np.arange(n) % len(there)], np.int64)


def as_in_data(known: Classes, n: int, seed: int) -> Classes:
    """Draw n classes with their frequency in the data: for figures that compare with the data.

    Parameters
    ----------
    known : int64 [m]
        Class of each latent.
    n, seed : int
    """
    return np.asarray(random_numbers(seed, "classes").choice(known, size=n), np.int64)

"""Classes for samples of a conditional generator.

Only classes present in the training data can be sampled. Not here: drawing the classes of pairs
(labelings.py), a generator's input (models/generator.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gtn_label.io.files import read_pairs

from ..seeds import random_numbers

__all__ = ["as_in_data", "in_turn", "of_latents"]

Classes = npt.NDArray[np.int64]


def of_latents(pairs: Path) -> Classes | None:
    """Class of each latent, int64 [m], from a run's pairs; None if they have no classes."""
    content, _ = read_pairs(pairs)
    if "classes" not in content:
        return None
    classes = np.empty(len(content["assignment"]), np.int64)
    classes[content["assignment"]] = content["classes"]
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

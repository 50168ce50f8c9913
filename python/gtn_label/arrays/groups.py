"""Group labels of sources and latents: integers as they are, names as codes that both sides share.

Names are strings or bytes: arrays, lists, pandas' and polars' columns, categories. The code of a
name is its place among the sorted names of both sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, ArgumentTypeError
from . import convert

__all__ = ["NAMES", "read_groups"]

NAMES = ("source_groups", "latent_groups")

Labels = npt.NDArray[Any]


def read_groups(groups: tuple[Any, Any], n: int, m: int) -> tuple[Labels, Labels]:
    """Check the labels of n sources and m latents, and return integers.

    Parameters
    ----------
    groups : (source_groups, latent_groups)
        In CPU memory: integers, or both of them names.
    n, m : int
        Number of sources and of latents.

    Returns
    -------
    source_groups, latent_groups : [n], [m]
        Integers keep their dtype: a checkpoint holds the hash of the labels as given.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        As `convert.read_labels`; also if one side has names and the other integers.

    Examples
    --------
    >>> read_groups((["b", "a"], ["a", "c", "b"]), 2, 3)
    (array([1, 0]), array([0, 2, 1]))
    """
    sides = [
        convert.read_labels(labels, name, length, rows, names=True)
        for labels, name, length, rows in zip(
            groups, NAMES, (n, m), ("sources", "latents"), strict=True
        )
    ]
    kinds = ["integers" if side.dtype.kind in "iu" else _kind(side) for side in sides]
    if kinds[0] != kinds[1]:
        rule = "must both hold integers, or both strings"
        raise ArgumentTypeError(NAMES, rule, f"{kinds[0]} and {kinds[1]}")
    if kinds[0] != "integers":
        found, codes = np.unique(np.concatenate(sides), return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        sides = [codes[:n], codes[n:]]
        _check_counts(found, *sides)
    return sides[0], sides[1]


def _check_counts(names: Labels, sources: Labels, latents: Labels) -> None:
    """Refuse what the engine refuses too, which does not know the names."""
    asked, there = (np.bincount(side, minlength=len(names)) for side in (sources, latents))
    few = np.flatnonzero(asked > there)
    if len(few):
        rule = ": a group must have at least as many latents as sources"
        name = str(names[few[0]])
        counts = f"group {name!r:.60} with {asked[few[0]]} sources and {there[few[0]]} latents"
        raise ArgumentError("groups", rule, counts)


def _kind(names: Labels) -> str:
    return "bytes" if names.dtype.kind == "S" else "strings"

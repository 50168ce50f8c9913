"""RawData: the rows of a run whose data are no images, and what tells them from others.

Not here: images (data/sets.py), the stages that take rows (stages.py, embedding.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import SYNTHETIC, mesh_points, open_vectors
from ..files import file_sha256
from ..seeds import random_numbers
from .settings import RunSettings

__all__ = ["RawData", "hold_out_rows"]


@dataclass(frozen=True)
class RawData:
    """Rows of a file, of a mesh, or drawn.

    Attributes
    ----------
    inputs : dict of str to str
        SHA-256 of the file.
    options : dict
        Everything else that decides the rows.
    n : int
    make : callable () -> [n, m]
        Reads or draws the rows.
    """

    inputs: dict[str, str]
    options: dict[str, Any]
    n: int
    make: Callable[[], NDArray[Any]]

    @classmethod
    def open(cls, settings: RunSettings) -> RawData:
        """Open the data of a run without images; rows of a file are checked at once.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            As `data.open_vectors` and `data.mesh_points`.
        """
        data, seed, place = settings.preset.data, settings.seed, str(settings.data)
        n = data.n or 0
        drawn = {"set": data.name, "n": data.n, "seed": seed}
        if data.synthetic:
            return cls({}, drawn, n, lambda: SYNTHETIC[data.name](n, seed))
        rows = mesh_points(place, n, seed) if data.drawn else open_vectors(place, data.key)
        inputs = {"data": file_sha256(place)}
        return cls(inputs, drawn if data.drawn else {"key": data.key}, len(rows), lambda: rows)

    @cached_property
    def rows(self) -> NDArray[Any]:
        """The rows, [n, m]."""
        return self.make()

    def split(self, share: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Split the rows at random into those to train on and those held out.

        Parameters
        ----------
        share : float
            Share held out.
        seed : int
        """
        held_out = hold_out_rows(self.n, share, seed)
        return np.delete(self.rows, held_out, axis=0), self.rows[held_out]


def hold_out_rows(n: int, share: float, seed: int) -> NDArray[np.int64]:
    """Choose rows as `Images.split` does: those held out, ascending.

    Parameters
    ----------
    n : int
        >= 2.
    share : float
    seed : int
    """
    held = min(max(1, round(n * share)), n - 1)
    return np.sort(random_numbers(seed, "split").permutation(n)[:held])

"""Pairs as a map-style dataset of torch. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from .pairs_folder import Pairs

__all__ = ["PairsDataset"]


class PairsDataset(Dataset):  # type: ignore[misc]
    """Entry i holds row i of some arrays of `Pairs`, as tensors in memory.

    A list of rows as the index gives tensors of all these rows, in one read.

    Parameters
    ----------
    pairs : Pairs
    names : tuple of str
        Arrays to read.
    """

    def __init__(self, pairs: Pairs, names: tuple[str, ...]) -> None:
        self.pairs = pairs
        self.names = names

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int | Sequence[int]) -> tuple[Any, ...]:
        index = np.asarray(row)
        if index.size == 0:
            index = index.astype(np.int64)
        rows = np.atleast_1d(np.where(index < 0, index + len(self), index))
        tensors = [torch.from_numpy(array) for array in self.pairs.take(rows, self.names)]
        return tuple(each[0] for each in tensors) if index.ndim == 0 else tuple(tensors)

    def __getitems__(self, rows: list[int]) -> list[tuple[Any, ...]]:
        """Return some entries at once: a DataLoader asks for a whole batch."""
        return list(zip(*self[rows], strict=True))

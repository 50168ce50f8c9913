"""Pairs as a map-style dataset of torch. Importing this module imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from .pairs_folder import Pairs

__all__ = ["PairsDataset"]


class PairsDataset(Dataset):  # type: ignore[misc]
    """Entry i holds row i of some arrays of `Pairs`, as tensors in memory.

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

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[tuple[Any, ...]]:
        """Return some entries at once: a DataLoader asks for a whole batch."""
        n = len(self)
        index = [int(row) + (n if row < 0 else 0) for row in rows]
        arrays = [torch.from_numpy(array) for array in self.pairs.take(index, self.names)]
        return list(zip(*arrays, strict=True))

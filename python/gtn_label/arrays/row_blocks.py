"""Rows in blocks, which the writers and the hashes read, so that neither copies an array.

Bytes are little-endian and C-ordered whatever the array's layout. Not here: file formats (io/).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "RowsLike", "StrPath", "TakenRows", "little_endian", "row_blocks"]

Array = NDArray[Any]
StrPath = str | os.PathLike[str]

_BLOCK_BYTES = 4 << 20  # bytes of a block: large enough for the disk, small in memory


class RowsLike(Protocol):
    """An array, or an object that returns its rows by a slice or an index."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, ...]."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""

    def __getitem__(self, rows: Any, /) -> Any: ...


class TakenRows:
    """`rows[index]` without the copy: rows are gathered block by block as they are written.

    Parameters
    ----------
    rows
        [m, dim], for example latents in a memory-mapped file.
    index
        int64 [n], the row at each place.
    """

    def __init__(self, rows: RowsLike, index: NDArray[np.int64]) -> None:
        self._rows = rows
        self._index = index

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, dim]."""
        return (len(self._index), *self._rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The rows' element type."""
        return self._rows.dtype

    def __getitem__(self, rows: slice, /) -> Array:
        return np.asarray(self._rows[self._index[rows]])


def little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the element type as files store it."""
    return dtype.newbyteorder("<") if dtype.byteorder != "|" else dtype


def row_blocks(array: RowsLike) -> Iterator[memoryview]:
    """Yield the array's little-endian C-order bytes, a few rows at a time."""
    dtype = little_endian(array.dtype)
    if math.prod(array.shape) == 0:
        return
    if not array.shape:
        yield memoryview(np.asarray(array).astype(dtype).tobytes())
        return
    step = max(1, _BLOCK_BYTES // (dtype.itemsize * math.prod(array.shape[1:])))
    for begin in range(0, array.shape[0], step):
        block = np.ascontiguousarray(array[begin : begin + step], dtype)
        yield block.reshape(-1).view(np.uint8).data

"""Results become arrays of the caller's kind: NumPy, or torch on the same device.

The way in, from the caller to the engine, is in convert.py and on_gpu.py. torch is never imported:
the module of a tensor is already loaded.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import on_gpu
from .convert import Rows, locked, numpy_of
from .narrow import NarrowRows, bits_dtype, narrow_name, narrow_rows
from .row_blocks import RowsLike


class Given(Protocol):
    """One input as the caller has it, kept by reference and never modified."""

    @property
    def whole(self) -> Any:
        """The caller's array; NumPy arrays as read-only views."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as given, [n, dim] for rows."""

    @property
    def blocks(self) -> RowsLike:
        """The values as files hold them, copied slice by slice where they are elsewhere."""

    def array(self) -> npt.NDArray[Any]:
        """Return all values in CPU memory, in their own dtype (bfloat16 as float32)."""

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Convert an array of the engine to this kind."""

    def adopt(self, other: Given) -> Any:
        """Convert another input to this kind."""

    def fresh(self, rows: Any) -> Any:
        """Return a writable copy of rows that `adopt` returned."""

    def take(self, index: npt.NDArray[np.int64]) -> Any:
        """Return a copy of these rows, in this order."""

    def in_memory(self) -> Given:
        """Return a copy that maps no file."""


def given(rows: Rows | on_gpu.Rows) -> Given:
    """Wrap a checked input by its kind."""
    if isinstance(rows.given, np.ndarray):
        return GivenArray(rows.given)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(rows.given, torch.Tensor):
        return GivenTensor(rows.given)
    return GivenOnGpu(rows.given, rows.rows.shape)


class GivenArray:
    """A NumPy array; lists and the like have become one.

    `blocks` are the values as a file holds them, if they were read from one.
    """

    def __init__(self, array: npt.NDArray[Any], blocks: RowsLike | None = None) -> None:
        self._array = locked(array)
        self._blocks = blocks

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._array = locked(self._array)  # NumPy pickles and copies no array as read-only

    @property
    def whole(self) -> Any:
        """A read-only view."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._array.shape

    @property
    def blocks(self) -> RowsLike:
        """The array itself; narrow floats by their bits."""
        return narrow_rows(self._array) if self._blocks is None else self._blocks

    def array(self) -> npt.NDArray[Any]:
        """Return a read-only view."""
        return self._array

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Return the array as it is."""
        return array

    def adopt(self, other: Given) -> Any:
        """Return the other's values in CPU memory, read-only."""
        return locked(other.array())

    def fresh(self, rows: Any) -> Any:
        """Copy an array."""
        return np.array(rows)

    def take(self, index: npt.NDArray[np.int64]) -> Any:
        """Gather rows."""
        return self._array[index]

    def in_memory(self) -> Given:
        """Copy the array."""
        blocks = self._blocks
        if isinstance(blocks, NarrowRows):
            blocks = NarrowRows(np.array(blocks.bits[...]), blocks.name)
            return GivenArray(blocks.array(), blocks)
        return GivenArray(np.array(self._array))


class GivenTensor:
    """A torch tensor, detached, on any device."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor.detach()

    @property
    def whole(self) -> Any:
        """The tensor."""
        return self._tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self._tensor.shape)

    @property
    def blocks(self) -> RowsLike:
        """Rows of the tensor, moved to the CPU block by block; narrow floats by their bits."""
        name = narrow_name(self._tensor.dtype)
        if name is None:
            return _TensorBlocks(self._tensor)
        torch = sys.modules["torch"]
        dtype = bits_dtype(name)
        # torch has no unsigned integers of 16 bits before 2.3.
        bits = self._tensor.view(torch.uint8 if dtype.itemsize == 1 else torch.int16)
        return NarrowRows(_TensorBlocks(bits, dtype), name)

    def array(self) -> npt.NDArray[Any]:
        """Return a view if the tensor is in CPU memory and NumPy has its dtype, else a copy."""
        return numpy_of(self._tensor)

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Copy the array into a tensor on this one's device."""
        return _tensor_on(self._tensor.device, array)

    def adopt(self, other: Given) -> Any:
        """Return a tensor on this one's device: the other itself if it is one."""
        if isinstance(other, GivenTensor):
            return other.whole.to(self._tensor.device)
        return self.like(other.array())

    def fresh(self, rows: Any) -> Any:
        """Copy a tensor."""
        return rows.clone()

    def take(self, index: npt.NDArray[np.int64]) -> Any:
        """Gather rows on the tensor's device."""
        return self._tensor[self.like(index)]

    def in_memory(self) -> Given:
        """Copy the tensor."""
        return GivenTensor(self._tensor.clone())


class GivenOnGpu:
    """An array of another library in a GPU's memory; results are NumPy arrays."""

    def __init__(self, array: Any, shape: tuple[int, ...]) -> None:
        self._array = array
        self._shape = shape

    @property
    def whole(self) -> Any:
        """The array."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._shape

    @property
    def blocks(self) -> RowsLike:
        """A copy of all values."""
        return self.array()

    def array(self) -> npt.NDArray[Any]:
        """Copy the values to CPU memory."""
        array: npt.NDArray[Any] = on_gpu.in_cpu_memory(self._array, "the array")
        return array

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Return the array as it is: only its library can make an array of its kind."""
        return array

    def adopt(self, other: Given) -> Any:
        """Return the other input as it was given."""
        return other.whole

    def fresh(self, rows: Any) -> Any:
        """Refuse, as `take` does."""
        raise self._refusal()

    def take(self, index: npt.NDArray[np.int64]) -> Any:
        """Refuse: only the caller knows how to index an array of that library."""
        raise self._refusal()

    def in_memory(self) -> Given:
        """Return the array as it is: no GPU maps a file."""
        return self

    def _refusal(self) -> TypeError:
        return TypeError(
            "pairs() gathers rows of NumPy arrays and torch tensors, got latents of type "
            f"{type(self._array).__name__}; use m.sources and latents[m.assignment]"
        )


class _TensorBlocks:
    """Rows of a tensor as NumPy arrays, a block at a time; seen as `dtype` if that is given."""

    def __init__(self, tensor: Any, dtype: np.dtype[Any] | None = None) -> None:
        self._tensor = tensor
        self._seen_as = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self._tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the blocks."""
        return self._seen_as or numpy_of(self._tensor[:0]).dtype

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        if isinstance(rows, np.ndarray):
            rows = _tensor_on(self._tensor.device, rows)
        array = numpy_of(self._tensor[rows])
        return array if self._seen_as is None else array.view(self._seen_as)


def _tensor_on(device: Any, array: npt.NDArray[Any]) -> Any:
    native = array.astype(array.dtype.newbyteorder("="))  # copied: torch has no read-only tensors
    return sys.modules["torch"].from_numpy(native).to(device)

"""What the caller handed in, and how results become the same kind of array on the same device.

Here: NumPy arrays, which lists and the like are read into, and torch tensors. Not here: checks of
what is handed in and its way to the engine (convert.py).

torch is never imported: a tensor's own module is already loaded.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .row_blocks import RowsLike


class Given(Protocol):
    """One input as the caller has it; kept by reference, never modified."""

    @property
    def whole(self) -> Any:
        """The caller's array; NumPy arrays as read-only views."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, dim], or what else was given."""

    @property
    def blocks(self) -> RowsLike:
        """The values in CPU memory, copied slice by slice where they are not there yet."""

    def array(self) -> npt.NDArray[Any]:
        """Return all values in CPU memory, in their own dtype (bfloat16 as float32)."""

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Return a result of the engine as an array of this kind."""

    def adopt(self, other: Given) -> Any:
        """Return another input as an array of this kind."""

    def fresh(self, rows: Any) -> Any:
        """Return a writable copy of what `adopt` returned."""

    def take(self, index: npt.NDArray[np.int64]) -> Any:
        """Return a copy of these rows, in this order."""


class GivenArray:
    """A NumPy array, or what was read into one."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = read_only(array)

    @property
    def whole(self) -> Any:
        """A read-only view."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array."""
        return self._array.shape

    @property
    def blocks(self) -> RowsLike:
        """The array itself."""
        return self._array

    def array(self) -> npt.NDArray[Any]:
        """Return a read-only view."""
        return self._array

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Return it as it is."""
        return array

    def adopt(self, other: Given) -> Any:
        """Return its values in CPU memory, read-only."""
        return read_only(other.array())

    def fresh(self, rows: Any) -> Any:
        """Copy an array."""
        return np.array(rows)

    def take(self, index: npt.NDArray[np.int64]) -> Any:
        """Gather rows."""
        return self._array[index]


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
        """As of the tensor."""
        return tuple(self._tensor.shape)

    @property
    def blocks(self) -> RowsLike:
        """The tensor's rows, moved when asked for."""
        return _TensorBlocks(self._tensor)

    def array(self) -> npt.NDArray[Any]:
        """Return a view if the tensor is in CPU memory and NumPy has its dtype, else a copy."""
        return numpy_of(self._tensor)

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Copy it into a tensor on this one's device."""
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


class _TensorBlocks:
    """Rows of a tensor as NumPy arrays, a few at a time."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the tensor."""
        return tuple(self._tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As NumPy has it."""
        return numpy_of(self._tensor[:0]).dtype

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        if isinstance(rows, np.ndarray):
            rows = _tensor_on(self._tensor.device, rows)
        return numpy_of(self._tensor[rows])


def numpy_of(tensor: Any) -> npt.NDArray[Any]:
    """Return a tensor's values in CPU memory, without a copy where they are there already.

    Raises
    ------
    TypeError
        If NumPy lacks the dtype, but for bfloat16, all of whose values are float32.
    """
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    array: npt.NDArray[Any] = tensor.resolve_conj().resolve_neg().numpy()
    return array


def _tensor_on(device: Any, array: npt.NDArray[Any]) -> Any:
    native = array.astype(array.dtype.newbyteorder("="))  # a copy: torch has no read-only tensors
    return sys.modules["torch"].from_numpy(native).to(device)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View an array so that nobody writes to it."""
    view = array.view()
    view.flags.writeable = False
    return view

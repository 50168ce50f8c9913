"""Arrays on a GPU: which one it is, and their way to the engine without a trip to the host.

torch CUDA tensors, and other objects whose `__dlpack__` is in CUDA's memory. Not here: arrays in
CPU memory (convert.py), which GPUs there are and which computes (backend/cuda.py). torch is never
imported: a tensor's own module is already loaded.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from . import convert
from .kinds import Given, GivenTensor, read_only
from .row_blocks import RowsLike

CUDA_DLPACK_DEVICES = (2, 13)  # kDLCUDA and kDLCUDAManaged
DEFAULT_STREAM = 1  # as CUDA and DLPack number it; torch has 0 for it
_DTYPES = r"float(16|32|64)|bfloat16|u?int(8|16|32|64)"


@dataclass(frozen=True)
class Location:
    """Where an input lies.

    Attributes
    ----------
    device : int
        Number of the GPU.
    name : str
        The argument.
    what : str
        What was given, for messages.
    is_tensor : bool
        Whether it is torch's.
    """

    device: int
    name: str
    what: str
    is_tensor: bool


@dataclass(frozen=True)
class Rows:
    """One checked input on a GPU, as `convert.Rows` is one in CPU memory."""

    given: Given
    rows: _core.DeviceRows


class Gpu:
    """A GPU for the time of a run, and the stream on which its inputs are ready.

    Parameters
    ----------
    device : str
        Such as "cuda:0".
    *inputs
        What will be read there: with a torch tensor among them, the stream is torch's current one,
        else one of our own.
    """

    def __init__(self, device: str, *inputs: Any) -> None:
        self.device = int(device.removeprefix("cuda:"))
        here = [value for value in inputs if device_of(value) is not None]
        if any(_is_tensor(value) for value in here):
            current = sys.modules["torch"].cuda.current_stream(self.device)
            self.stream = current.cuda_stream or DEFAULT_STREAM
        else:
            self._own = _core.CudaStream(self.device)
            self.stream = self._own.handle

    def borrow(self, value: Any, name: str) -> _core.DeviceTensor:
        """Ask an array on this GPU for itself, ready on the stream."""
        try:
            if not _is_tensor(value):
                return _core.DeviceTensor(value, self.stream)
            # torch lends tensors of its current device only.
            with sys.modules["torch"].cuda.device(self.device):
                plain = value.detach().resolve_conj().resolve_neg()
                return _core.DeviceTensor(plain, self.stream)
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(
                f"{name} must be readable through __dlpack__, got {type(value).__name__}: {error}"
            ) from error


class GivenOnGpu:
    """An array of a library that is not torch, in a GPU's memory. Results are NumPy arrays."""

    def __init__(self, array: Any, shape: tuple[int, ...]) -> None:
        self._array = array
        self._shape = shape

    @property
    def whole(self) -> Any:
        """The array."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array."""
        return self._shape

    @property
    def blocks(self) -> RowsLike:
        """A copy of all values."""
        return self.array()

    def array(self) -> npt.NDArray[Any]:
        """Copy the values to CPU memory."""
        array: npt.NDArray[Any] = in_cpu_memory(self._array, "the array")
        return array

    def like(self, array: npt.NDArray[Any]) -> Any:
        """Return it as it is: how to make an array of that library, only the library knows."""
        return array

    def adopt(self, other: Given) -> Any:
        """Return the other input as it was given."""
        return other.whole

    def fresh(self, rows: Any) -> Any:
        """Refuse, as `take` does."""
        raise self._refusal()

    def take(self, index: npt.NDArray[np.int64]) -> Any:
        """Refuse: how to index an array of that library, only the caller knows."""
        raise self._refusal()

    def _refusal(self) -> TypeError:
        return TypeError(
            "pairs() gathers rows of NumPy arrays and torch tensors, got latents of type "
            f"{type(self._array).__name__}; use m.sources and latents[m.assignment]"
        )


def device_of(value: Any) -> int | None:
    """Return the number of the GPU whose memory an array is in; None for everything else."""
    if isinstance(value, np.ndarray) or (_is_tensor(value) and value.device.type != "cuda"):
        return None
    if not (hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")):
        return None
    kind, device = value.__dlpack_device__()
    return int(device) if int(kind) in CUDA_DLPACK_DEVICES else None


def locate(**inputs: Any) -> Location | None:
    """Find the GPU that inputs are on; None if all are elsewhere.

    Raises
    ------
    ValueError
        If they are on several.
    """
    found: Location | None = None
    for name, value in inputs.items():
        device = device_of(value)
        if device is None:
            continue
        is_tensor = _is_tensor(value)
        what = f"{'a tensor' if is_tensor else type(value).__name__} on cuda:{device}"
        here = Location(device, name, what, is_tensor)
        if found is not None and found.device != device:
            raise ValueError(
                f"{name} must be on the GPU of {found.name}, cuda:{found.device}, got {here.what}"
            )
        found = found or here
    return found


def as_rows(value: Any, name: str, gpu: Gpu) -> Rows:
    """Check a two-dimensional array of rows on a GPU, and convert it there if need be.

    Parameters
    ----------
    value : torch.Tensor or object with `__dlpack__` [n, dim]
        Of any layout.
    name : str
        What to call it in messages: "latents" or "sources".
    gpu : Gpu
        The one it is on.

    Raises
    ------
    TypeError, ValueError
        As `convert.as_rows`.
    MemoryError
        If the GPU has no memory for a converted copy.
    """
    if _is_tensor(value):
        convert.check_dense(value, name)
    tensor = gpu.borrow(value, name)
    if not re.fullmatch(_DTYPES, tensor.dtype):
        raise TypeError(convert.dtype_message(name, tensor.dtype))
    convert.check_shape(tensor.shape, name)
    given = GivenTensor(value) if _is_tensor(value) else GivenOnGpu(value, tensor.shape)
    return Rows(given, tensor.rows(name))


def in_cpu_memory(value: Any, name: str) -> Any:
    """Copy an array to CPU memory if it is on a GPU that can be reached.

    A tensor becomes a tensor, any other array NumPy's, with bfloat16 as float32.
    """
    device = device_of(value)
    if device is not None and _is_tensor(value):
        return value.cpu()
    if device is None or _core.cuda_missing():
        return value
    gpu = Gpu(f"cuda:{device}", value)  # whose stream must outlive what it is used for
    tensor = gpu.borrow(value, name)
    array = tensor.to_host()
    if tensor.dtype == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return read_only(array)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)

"""Arrays on a GPU are found here, and handed to the engine without a trip to the host.

They are torch CUDA tensors, and other objects whose `__dlpack__` is in CUDA's memory. Not here:
arrays in CPU memory (convert.py), and the choice of the GPU that computes (backend/cuda.py). torch
is never imported: the module of a tensor is already loaded.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core
from ..errors import ArgumentError
from . import convert, refusals
from .narrow import narrow_name

CUDA_DLPACK_DEVICES = (2, 13)  # kDLCUDA and kDLCUDAManaged
DEFAULT_STREAM = 1  # as CUDA and DLPack number it; torch has 0 for it
_DTYPES = r"float(16|32|64)|bfloat16|u?int(8|16|32|64)"


@dataclass(frozen=True)
class Location:
    """The place of an input on a GPU.

    Attributes
    ----------
    device : int
        Number of the GPU.
    name : str
        Name of the argument.
    what : str
        Description of the array for messages.
    is_tensor : bool
        True for a torch tensor.
    """

    device: int
    name: str
    what: str
    is_tensor: bool


@dataclass(frozen=True)
class Rows:
    """One checked input on a GPU: the caller's array, and its rows as the engine reads them."""

    given: Any
    rows: _core.DeviceRows


class Gpu:
    """A GPU for the time of a run, and the stream on which its inputs are ready.

    Parameters
    ----------
    device : str
        Name of the GPU, such as "cuda:0".
    *inputs
        Arrays that will be read there. If one is a torch tensor, the stream is torch's current
        one, else a stream of our own.
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
        """Borrow an array on this GPU through `__dlpack__`, ready on the stream."""
        try:
            if not _is_tensor(value):
                return _core.DeviceTensor(value, self.stream)
            # torch lends tensors of its current device only.
            with sys.modules["torch"].cuda.device(self.device):
                plain = value.detach().resolve_conj().resolve_neg()
                return _core.DeviceTensor(plain, self.stream)
        except (BufferError, RuntimeError, TypeError) as error:
            raise convert.unreadable(value, name, error) from error

    def as_rows(self, value: Any, name: str) -> Rows | convert.Rows:
        """Check and convert a two-dimensional array of rows where it is: on the GPU, or on the CPU.

        Parameters
        ----------
        value : array_like [n, dim]
        name : str
            Name of the argument in messages: "latents" or "sources".

        Raises
        ------
        ArgumentTypeError, ArgumentError
            As `convert.as_rows`.
        MemoryError
            If the GPU has no memory for a converted copy.
        """
        if device_of(value) is None:
            return convert.as_rows(value, name)
        if _is_tensor(value):
            refusals.check_dense(value, name)
        plain = value
        if _is_tensor(value) and narrow_name(value.dtype) not in (None, "bfloat16"):
            plain = value.detach().float()  # the engine reads no float8
        tensor = self.borrow(plain, name)
        if not re.fullmatch(_DTYPES, tensor.dtype):
            raise refusals.dtype_error(name, tensor.dtype)
        convert.check_shape(tensor.shape, name)
        return Rows(value.detach() if _is_tensor(value) else value, tensor.rows(name))


def device_of(value: Any) -> int | None:
    """Return the number of the GPU whose memory an array is in; None for everything else."""
    if isinstance(value, np.ndarray) or (_is_tensor(value) and value.device.type != "cuda"):
        return None
    if not (hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")):
        return None
    kind, device = value.__dlpack_device__()
    return int(device) if int(kind) in CUDA_DLPACK_DEVICES else None


def locate(**inputs: Any) -> Location | None:
    """Find the GPU that inputs are on; return None if all are elsewhere.

    Raises
    ------
    ArgumentError
        If the inputs are on several GPUs.
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
            raise ArgumentError(
                name, f"must be on the GPU of {found.name}, cuda:{found.device}", here.what
            )
        found = found or here
    return found


def in_cpu_memory(value: Any, name: str) -> Any:
    """Copy an array to CPU memory if it is on a GPU that can be reached.

    A tensor becomes a tensor, any other array NumPy's, with bfloat16 as float32.
    """
    device = device_of(value)
    if device is not None and _is_tensor(value):
        return value.cpu()
    if device is None or _core.cuda_missing():
        return value
    gpu = Gpu(f"cuda:{device}", value)  # a name: its stream must outlive the copy
    tensor = gpu.borrow(value, name)
    array = tensor.to_host()
    if tensor.dtype == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return convert.read_only(array)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)

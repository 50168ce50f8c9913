"""A double of torch whose GPUs are emulated devices: what gtn_label touches of tensors there.

Like torch it lends tensors of its current device only, mixes no devices in one operation and gives
NumPy nothing that lies on a GPU. Needs a build with GTN_CUDA=EMULATED.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from device_double import DeviceArray
from gtn_label import _core


class Device(NamedTuple):
    type: str
    index: int

    def __str__(self) -> str:
        return f"{self.type}:{self.index}" if self.type == "cuda" else self.type


CPU = Device("cpu", 0)


class Tensor:
    layout = "torch.strided"

    def __init__(self, torch: Torch, array: np.ndarray, device: Device = CPU) -> None:
        self._torch, self._array, self.device = torch, array, device
        self._there = DeviceArray(array, device=device.index) if device.type == "cuda" else None

    @property
    def shape(self):
        return self._array.shape

    @property
    def dtype(self):
        return f"torch.{self._array.dtype}"

    @property
    def asked(self) -> list[dict]:
        return self._there.asked

    def __dlpack_device__(self):
        return (2 if self.device.type == "cuda" else 1, self.device.index)

    def __dlpack__(self, **asked):
        if self.device.index != self._torch.current:
            raise BufferError("Can't export tensors on a different CUDA device index.")
        return self._there.__dlpack__(**asked)

    def detach(self):
        return self

    resolve_conj = resolve_neg = detach

    def to(self, device):
        return self if device == self.device else Tensor(self._torch, self._array.copy(), device)

    def cpu(self):
        return self.to(CPU)

    def cuda(self, index: int = 0):
        return self.to(Device("cuda", index))

    def clone(self):
        return Tensor(self._torch, self._array.copy(), self.device)

    def numpy(self):
        if self.device.type != "cpu":
            raise TypeError("can't convert a cuda tensor to numpy")
        return self._array

    def __getitem__(self, rows):
        if isinstance(rows, Tensor):
            assert rows.device == self.device, "indices should be on the same device"
            rows = rows._array
        return Tensor(self._torch, self._array[rows], self.device)


class Torch:
    """The module. `current` is the current device; each device has a stream of its own."""

    def __init__(self, devices: int = 1) -> None:
        self.current = 0
        self.streams = [_core.CudaStream(index) for index in range(devices)]
        self.default_stream = False  # whether that is the current one of each device
        self.Tensor = Tensor
        self.cuda = SimpleNamespace(current_stream=self._current_stream, device=self._device)

    def from_numpy(self, array: np.ndarray) -> Tensor:
        assert array.flags.writeable
        return Tensor(self, array)

    def _current_stream(self, index: int):
        return SimpleNamespace(cuda_stream=0 if self.default_stream else self.streams[index].handle)

    @contextlib.contextmanager
    def _device(self, index: int):
        before, self.current = self.current, index
        try:
            yield
        finally:
            self.current = before

"""The cuda backend: the GPUs and kernels there are, the choice of one, and its engine.

The compiled engine asks the driver. Nothing here is called before a caller asks for a GPU, or for
the list of backends. Not here: arrays on a GPU (arrays/on_gpu.py).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from .. import _core
from ..arrays.on_gpu import Gpu, Location
from ..errors import ArgumentError


def missing(kernel: str = "") -> str:
    """Say why no GPU here can run a kernel ("": any kernel); return "" if one can."""
    reason = _core.cuda_missing()
    if reason:
        return reason
    reasons = [_lacks(device, kernel) for device in _core.cuda_devices()]
    return "" if "" in reasons else "; ".join(reasons)


def describe() -> str:
    """Name the GPUs of this machine: "cuda:0 (NVIDIA H100 80GB HBM3)"."""
    return ", ".join(_name(device) for device in _core.cuda_devices())


def choose_device(device: str | None, located: Location | None, kernel: str) -> str:
    """Return the GPU to compute on, such as "cuda:0": by default that of the inputs, or the first.

    Raises
    ------
    ArgumentError
        If there is no such GPU, if the inputs are on another, or it cannot run the kernel.
    """
    if device == "cpu":
        raise ArgumentError("device", "must be 'cuda' or 'cuda:N' for {backend} 'cuda'", "'cpu'")
    if device in (None, "cuda"):
        number = 0 if located is None else located.device
    else:
        number = int(device.removeprefix("cuda:"))
        if located is not None and number != located.device:
            raise ArgumentError(
                "device", f"must be that of {located.name}, 'cuda:{located.device}'", repr(device)
            )
    devices = {entry["index"]: entry for entry in _core.cuda_devices()}
    if number not in devices:
        raise ArgumentError("device", f"'cuda:{number}' is not there: CUDA finds {describe()}")
    reason = _lacks(devices[number], kernel)
    if reason:
        name = f"cuda:{kernel}" if kernel else "cuda"
        raise ArgumentError("backend", f"{name!r} is not available on 'cuda:{number}': {reason}")
    return f"cuda:{number}"


def engine(gpu: Gpu, kernel: str) -> tuple[_core.Engine, dict[str, Any]]:
    """Make the engine of a GPU, and the entry of `Matching.stats` that describes the GPU."""
    entry = next(entry for entry in _core.cuda_devices() if entry["index"] == gpu.device)
    driver, runtime = _core.cuda_versions()
    record = {
        "device": f"cuda:{gpu.device}",
        "name": entry["name"],
        "capability": f"{entry['capability'] // 10}.{entry['capability'] % 10}",
        "driver": _version(driver),
        "runtime": _version(runtime),
    }
    return _core.CudaEngine(gpu.device, kernel, gpu.stream, Host(gpu.device)), {"cuda": record}


class Host:
    """The process around the engine: its caches on a GPU, and its warnings."""

    def __init__(self, device: int) -> None:
        self._device = device

    def free_cached(self) -> bool:
        """Give torch's unused memory back to the GPU; return False if torch holds none."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return False
        held = torch.cuda.memory_reserved(self._device)
        if held <= torch.cuda.memory_allocated(self._device):
            return False
        torch.cuda.empty_cache()
        return bool(torch.cuda.memory_reserved(self._device) < held)

    def warn(self, message: str) -> None:
        """Show a sentence of the engine's as a RuntimeWarning."""
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def _name(device: _core.CudaDevice) -> str:
    return f"cuda:{device['index']} ({device['name']})"


def _lacks(device: _core.CudaDevice, kernel: str) -> str:
    """Say why a GPU cannot run a kernel ("": any kernel); return "" if it can."""
    if kernel:
        return device["missing"][kernel]
    if "" in device["missing"].values():
        return ""
    return next(iter(device["missing"].values()))  # all kernels but 9.0's need the same


def _version(number: int) -> str:
    """Write one of CUDA's versions: 12040 is "12.4"."""
    return f"{number // 1000}.{number % 1000 // 10}"

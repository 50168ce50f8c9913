"""An array on an emulated device, as a library that is not torch would have it.

Its only way out is `__dlpack__`, by a definition of the protocol of its own; its values then are
ready on the stream that was asked for, and on no other. It notes what it was asked and what became
of what it lent. Needs a build with GTN_CUDA=EMULATED.
"""

from __future__ import annotations

import ctypes

import numpy as np

from gtn_label import _core

EMULATED = hasattr(_core, "EmulatedMemory")

CUDA, CUDA_MANAGED = 2, 13
BFLOAT16 = "bfloat16"
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_LENT = []  # kept for ever: whoever borrowed may outlive the array, and calls what is in here

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class DeviceArray:
    """A copy of a NumPy array, with its strides, on an emulated device.

    Parameters
    ----------
    array
        bfloat16 is uint16, with `dtype=BFLOAT16`.
    device, kind
        Its number, and what DLPack calls the memory.
    version
        Of the protocol; 0 for one from before version 1.
    no_strides
        Leave strides out, which only C-contiguous arrays may.
    code
        DLPack's code of the type, if not the array's.
    """

    def __init__(
        self,
        array: np.ndarray,
        *,
        device: int = 0,
        kind: int = CUDA,
        dtype: str = "",
        version: int = 1,
        no_strides: bool = False,
        code: int | None = None,
    ) -> None:
        self.shape, self.device, self.kind = array.shape, device, kind
        self.asked = []  # arguments of each __dlpack__
        self.lent = []  # the capsules
        self.returned = 0
        self._version = version
        self._code = 4 if dtype == BFLOAT16 else _CODES[array.dtype.kind] if code is None else code
        self._bits = 8 * array.itemsize
        self._strides = None if no_strides else [s // array.itemsize for s in array.strides]
        reach = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
        first = sum(r for r in reach if r < 0)
        size = sum(r for r in reach if r > 0) - first + array.itemsize
        # Some bytes before, so that nobody forgets the offset.
        self._offset = 64 - first
        self._content = bytes(64) + ctypes.string_at(array.ctypes.data + first, size)
        self._memory = _core.EmulatedMemory(len(self._content), device)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, self.device

    def __dlpack__(self, **asked):
        if self._version == 0 and set(asked) - {"stream"}:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        self.asked.append(asked)
        # Its values are there when the stream gets there, and no sooner.
        self._memory.write(self._content, asked["stream"])
        versioned = "max_version" in asked
        managed = _Versioned() if versioned else _Managed()
        if versioned:
            managed.major = self._version
        tensor = managed.tensor
        tensor.data = self._memory.address
        tensor.byte_offset = self._offset
        tensor.device_type, tensor.device_id = self.kind, self.device
        tensor.code, tensor.bits, tensor.lanes = self._code, self._bits, 1
        tensor.ndim = len(self.shape)
        lengths = ctypes.c_int64 * len(self.shape)
        tensor.shape = lengths(*self.shape)
        if self._strides is not None:
            tensor.strides = lengths(*self._strides)
        managed.deleter = _Deleter(self._take_back)
        _LENT.append(managed)
        name = b"dltensor_versioned" if versioned else b"dltensor"
        self.lent.append(_new_capsule(ctypes.addressof(managed), name, None))
        return self.lent[-1]

    def _take_back(self, address: int) -> None:
        self.returned += 1

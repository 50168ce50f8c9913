"""The .pt and .pth formats: a tensor, or one of a dict of tensors, read by torch.

torch is imported on the call, and unpickles weights only.
"""

from __future__ import annotations

import mmap
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..arrays.narrow import narrow_name
from ..arrays.on_disk import Files
from ..arrays.row_blocks import Array
from ..text import quoted
from .reading import pick, reading

__all__ = ["read_torch"]


def read_torch(path: Path | IO[bytes], key: str | None, shown: str, key_name: str) -> Array:
    """Read one tensor of a file as a NumPy array; bfloat16 and float8 become float32."""
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{shown} needs PyTorch to be read, and it is not installed: pip install torch, or "
            "save the tensor as .npy or .safetensors"
        ) from None
    with reading(f"{shown} is truncated or not a file that torch.load can read"):
        try:
            content = _load_torch(path, shown)
        except pickle.UnpicklingError as error:
            if not re.search("GLOBAL|Trying to|blocked", str(error)):
                raise
            content = error
        except RuntimeError as error:
            if "requires grad" not in str(error):
                raise
            content = error
    if isinstance(content, pickle.UnpicklingError):
        raise TypeError(
            f"{shown} must hold a tensor or a dict of tensors, and holds other Python objects, "
            "which are never unpickled (torch.load with weights_only=True refuses them)"
        )
    if isinstance(content, RuntimeError):
        raise TypeError(
            f"{shown} must hold a dense tensor of a type that NumPy has, and holds "
            f"{_torch_dtype(path, shown)} that requires grad, which torch.load cannot rebuild"
        )
    tensor: Any = content
    if isinstance(content, Mapping):
        tensors = {
            str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)
        }
        tensor = tensors[pick(list(tensors), key, shown, key_name)]
    elif not isinstance(content, torch.Tensor):
        raise TypeError(
            f"{shown} must hold a tensor or a dict of tensors, and holds a {type(content).__name__}"
        )
    elif key is not None:
        raise ValueError(
            f"{key_name} {quoted(key)} has no meaning for {shown}, which holds a single tensor"
        )
    tensor = tensor.detach()
    if narrow_name(tensor.dtype):
        with Files(**{shown: tensor}).reading():
            tensor = tensor.float()
    try:
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError):
        raise TypeError(
            f"{shown} must hold a dense tensor of a type that NumPy has, and holds {tensor.dtype} "
            f"in layout {tensor.layout}"
        ) from None


def _load_torch(path: Path | IO[bytes], shown: str) -> Any:
    import torch

    if not isinstance(path, Path):
        return _load_torch_through_map(path, shown)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files of the format before torch 1.6 cannot be mapped by torch
        with path.open("rb") as file:
            return _load_torch_through_map(file, shown)


def _load_torch_through_map(file: IO[bytes], shown: str) -> Any:
    """Read an open file. Reads of a file itself allocate all that damaged bytes ask for."""
    import torch

    with (
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        Files(**{shown: np.frombuffer(content, np.uint8)}).reading(),
    ):
        return torch.load(content, map_location="cpu", weights_only=True)


def _torch_dtype(path: Path | IO[bytes], shown: str) -> str:
    """Return the element types of a file that torch.load cannot rebuild."""
    with reading(f"{shown} is damaged"), zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        found = re.findall(rb"ctorch\n((?:float|uint|int|bits)\w+)\n", archive.read(pickled))
    return " and ".join(sorted({f"torch.{name.decode()}" for name in found})) or "another type"

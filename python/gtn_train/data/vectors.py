"""Vectors from a file, such as latents of another program's autoencoder.

Not here: file formats and damaged files (`gtn_label.io.files`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.io.files import read_array
from gtn_label.text import quoted

__all__ = ["open_vectors"]

LARGEST = 1e15


def open_vectors(path: str | os.PathLike[str], key: str | None = None) -> npt.NDArray[Any]:
    """Read vectors, [n, dim], from .npy, .npz, .safetensors or .pt.

    Parameters
    ----------
    path
        The file. A .npy of float32 or float64 stays memory-mapped.
    key
        Name of the array, in a file with several.

    Returns
    -------
    ndarray float32 or float64 [n, dim]
        float16 and bfloat16 become float32, integers float64.

    Raises
    ------
    FileNotFoundError, OSError
        If the file cannot be opened.
    TypeError
        If its elements are not real numbers.
    ValueError
        If it is a folder, is damaged, is not 2-D, or holds NaN, infinity or more than 1e15.
    """
    name = f"vectors {quoted(path)}"
    if Path(path).is_dir():
        raise ValueError(
            f"{name} must be a file, and is a folder; the preset 'small-folder' takes a folder of "
            "images"
        )
    rows = convert.as_rows(read_array(path, key, name="vectors"), name).rows
    convert.refuse_non_finite(rows, name)
    largest = max(float(rows.max()), -float(rows.min()))
    if largest > LARGEST:
        raise ValueError(
            f"{name} must be at most {LARGEST:g} in size, so that float32 holds sums of squares, "
            f"got {largest:.3g}: rescale them"
        )
    return rows

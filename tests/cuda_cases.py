"""Rows for the tests of the cuda backend's surface, in every layout."""

from __future__ import annotations

import numpy as np


def gaussian(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


LATENTS, SOURCES = gaussian(120, 6), gaussian(90, 6, 1)

LAYOUTS = {
    "as it is": lambda rows: rows,
    "Fortran order": np.asfortranarray,
    "every other row": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "every third column": lambda rows: np.repeat(rows, 3, axis=1)[:, ::3],
    "negative strides": lambda rows: np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1],
    "one row for all": lambda rows: np.broadcast_to(rows[3], rows.shape),
    "one column": lambda rows: rows[:, 2:3],
    "one row": lambda rows: rows[2:3],
    "a column as a row": lambda rows: rows[:, 2:3].T,
}


def bfloat16_of(rows: np.ndarray) -> np.ndarray:
    """The upper halves of float32's bits."""
    return (rows.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def float32_of(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)

"""Exhaustive search with FAISS's Python package, as the engine calls it.

csrc/bindings/python_index.hpp asks for `reads_rows`, `concurrent`, `most_k`, `load` and `search`.
The engine masks, bounds and decides; nothing here does. Not here: FAISS's import and settings
(faiss_package.py), and the choice of a backend (names.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError
from . import faiss_package

Floats = npt.NDArray[np.float32]
Found = tuple[Floats, npt.NDArray[np.int64]]

MOST_K = 2**31 - 1
MOST_K_GPU = 2048  # of FAISS's selection kernels; those of cuVS take more
TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"


class Index(Protocol):
    """The methods that the engine calls.

    Attributes
    ----------
    reads_rows : bool
        True if `search` reads the rows it is given; False if it reads those of the last `load`.
    concurrent : bool
        True if several threads may call `search` at once.
    most_k : int
        Largest k of `search`.
    """

    reads_rows: bool
    concurrent: bool
    most_k: int

    def load(self, rows: Floats) -> None:
        """Copy the rows [count, dim] to be searched from now on."""

    def search(self, rows: Floats | None, queries: Floats, k: int) -> Found:
        """Find k rows for each query: inner products and positions [queries, k], any order."""


class FlatIndex:
    """Exhaustive search on the CPU, over the engine's own rows."""

    reads_rows = True
    concurrent = True
    most_k = MOST_K

    def __init__(self, faiss: ModuleType) -> None:
        self._faiss = faiss

    def load(self, rows: Floats) -> None:
        """Never called: `search` is given the rows."""
        raise NotImplementedError

    def search(self, rows: Floats | None, queries: Floats, k: int) -> Found:
        """Find the k rows of largest inner product, by faiss.knn."""
        faiss = self._faiss
        with faiss_package.threads(faiss, 1), faiss_package.blas_for_all(faiss, len(queries)):
            found: Found = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
            return found


class GpuFlatIndex:
    """Exhaustive search on a GPU, over a copy of the rows in its memory.

    FAISS multiplies with cuBLAS in float32. FAISS never asks for TF32, which has 10 of float32's 23
    bits, but the environment variable NVIDIA_TF32_OVERRIDE forces TF32 on every program. The
    engine's bounds would then not hold, so the products are tried once.

    Parameters
    ----------
    faiss : module
        A FAISS package built for GPUs.
    number : int
        Number of the GPU.
    dim : int
        Columns of the rows.

    Raises
    ------
    ArgumentError
        If that GPU's products are not those of float32.
    MemoryError
        If the GPU has too little memory for FAISS's own buffers.
    """

    reads_rows = False
    concurrent = False  # FAISS's GPU resources serve one call at a time
    most_k = MOST_K_GPU

    def __init__(self, faiss: ModuleType, number: int, dim: int) -> None:
        self._name = f"cuda:{number}"
        config = faiss.GpuIndexFlatConfig()
        config.device = number
        config.useFloat16 = False
        if hasattr(config, "use_cuvs"):
            config.use_cuvs = False  # its arithmetic is not documented, and scores are bounded
        with self._memory_for("FAISS's buffers"):
            self._resources = faiss.StandardGpuResources()
            self._index = faiss.GpuIndexFlatIP(self._resources, dim, config)
        self._try_products(dim)

    def load(self, rows: Floats) -> None:
        """Copy the rows to the GPU in place of those that are there."""
        count, dim = rows.shape
        with self._memory_for(f"{count} x {dim} latents in float32 ({rows.nbytes} bytes)"):
            self._index.reset()
            self._index.add(rows)

    def search(self, rows: Floats | None, queries: Floats, k: int) -> Found:
        """Find the k rows of largest inner product among those loaded."""
        with self._memory_for(f"a search of {len(queries)} sources for {k} latents each"):
            found: Found = self._index.search(queries, k)
            return found

    @contextlib.contextmanager
    def _memory_for(self, what: str) -> Iterator[None]:
        """Make MemoryError of FAISS's RuntimeError for failed allocations, with their purpose."""
        try:
            yield
        except RuntimeError as error:
            if "alloc" not in str(error).lower():  # cudaMalloc, cudaHostAlloc, "alloc fail"
                raise
            raise MemoryError(
                f"device '{self._name}' has too little free memory for {what}: {error}"
            ) from error

    def _try_products(self, dim: int) -> None:
        """Multiply numbers of 24 bits by 1 and add zeros, which is exact in float32 alone."""
        rows = np.random.default_rng(0).random((256, dim), dtype=np.float32)
        axes = np.eye(min(dim, 256), dim, dtype=np.float32)
        self.load(rows)
        scores, _ = self.search(None, axes, 1)
        if not np.array_equal(scores[:, 0], rows.max(axis=0)[: len(axes)]):
            setting = os.environ.get(TF32_VARIABLE, "not set")
            raise ArgumentError(
                "device",
                f"'{self._name}' must multiply in float32, but rounds to fewer bits; the "
                f"environment variable {TF32_VARIABLE} is {setting}",
            )


def flat_index(device: str, dim: int) -> tuple[Index, dict[str, Any]]:
    """Make the index on a device, and the entry of `Matching.stats` that describes FAISS.

    Parameters
    ----------
    device : str
        "cpu", "cuda" or "cuda:N".
    dim : int
        Columns of the rows.

    Returns
    -------
    index : Index
    record : dict
        "way", "version" and "device", which is "cuda:0" for "cuda".

    Raises
    ------
    ArgumentError
        If FAISS cannot be imported, or finds no such device.
    MemoryError
        If a GPU has too little memory for FAISS's own buffers.
    """
    faiss = faiss_package.load()
    record = {"way": "python", "version": str(faiss.__version__), "device": device}
    if device == "cpu":
        return FlatIndex(faiss), record
    number = gpu_number(faiss, device)
    return GpuFlatIndex(faiss, number, dim), record | {"device": f"cuda:{number}"}


def gpu_number(faiss: ModuleType, device: str) -> int:
    """Return N of "cuda:N" (0 for "cuda") if FAISS can use that GPU; ArgumentError otherwise."""
    installed = faiss_package.describe()
    if not hasattr(faiss, "StandardGpuResources"):
        raise ArgumentError(
            "device",
            f"{device!r} needs a FAISS built for GPUs, and {installed} is not: "
            f"{faiss_package.INSTALL_GPU}",
        )
    count = faiss.get_num_gpus()
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        seen = {0: "none", 1: "cuda:0"}.get(count, f"cuda:0 to cuda:{count - 1}")
        raise ArgumentError("device", f"{device!r} is not there: {installed} finds GPUs: {seen}")
    return number

"""The objects through which the engine searches with FAISS's Python package.

Each has what csrc/bindings/python_index.hpp asks for: `reads_rows`, `concurrent`, `most_k`, `load`
and `search`. The engine masks, bounds and decides; nothing here does. Not here: importing FAISS and
its settings (faiss_package.py), the choice of a backend (backend.py).
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import faiss_package

Floats = npt.NDArray[np.float32]
Found = tuple[Floats, npt.NDArray[np.int64]]

MOST_K = 2**31 - 1
MOST_K_GPU = 2048  # of the selection kernels of GpuIndexFlat
MOST_ROWS_GPU = 2**31 - 1


class Index(Protocol):
    """What the engine calls.

    Attributes
    ----------
    reads_rows : bool
        Whether `search` reads the rows it is given; otherwise those of the last `load`.
    concurrent : bool
        Whether several threads may call `search` at once.
    most_k : int
        Largest k.
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
        with faiss_package.one_thread(faiss), faiss_package.blas_for_all(faiss, len(queries)):
            found: Found = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
            return found


class GpuFlatIndex:
    """Exhaustive search on a GPU, over a copy of the rows in its memory."""

    reads_rows = False
    concurrent = False  # FAISS's GPU resources serve one call at a time
    most_k = MOST_K_GPU

    def __init__(self, faiss: ModuleType, number: int, dim: int) -> None:
        config = faiss.GpuIndexFlatConfig()
        config.device = number
        config.useFloat16 = False
        if hasattr(config, "use_cuvs"):
            config.use_cuvs = False  # its arithmetic is not documented, and scores are bounded
        self._name = f"cuda:{number}"
        self._resources = faiss.StandardGpuResources()
        self._index = faiss.GpuIndexFlatIP(self._resources, dim, config)

    def load(self, rows: Floats) -> None:
        """Copy the rows to the GPU in place of those that are there."""
        if len(rows) > MOST_ROWS_GPU:
            raise ValueError(
                f"latents must have at most {MOST_ROWS_GPU} rows for FAISS on a GPU, "
                f"got {len(rows)}"
            )
        self._index.reset()
        try:
            self._index.add(rows)
        except RuntimeError as error:
            raise MemoryError(
                f"FAISS could not copy the latents to {self._name} "
                f"({len(rows)} x {rows.shape[1]} float32, {rows.nbytes} bytes): {error}"
            ) from error

    def search(self, rows: Floats | None, queries: Floats, k: int) -> Found:
        """Find the k rows of largest inner product among those loaded."""
        found: Found = self._index.search(queries, k)
        return found


def flat_index(device: str, dim: int) -> tuple[Index, dict[str, Any]]:
    """Return the index that searches exhaustively on a device, and what to record of it.

    Raises
    ------
    ValueError
        If FAISS is not there, or knows no such device.
    """
    faiss = faiss_package.load()
    record = {"way": "python", "version": str(faiss.__version__), "device": device}
    if device == "cpu":
        return FlatIndex(faiss), record
    number = gpu_number(faiss, device)
    return GpuFlatIndex(faiss, number, dim), record | {"device": f"cuda:{number}"}


def gpu_number(faiss: ModuleType, device: str) -> int:
    """Check that FAISS can use the GPU that `device` ("cuda" or "cuda:N") names."""
    found = re.fullmatch(r"cuda(?::(\d+))?", device)
    if found is None:
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    installed = faiss_package.describe()
    if not hasattr(faiss, "StandardGpuResources"):
        raise ValueError(
            f"device {device!r} needs a FAISS built for GPUs, and {installed} is not: "
            f"{faiss_package.INSTALL_GPU}"
        )
    count = faiss.get_num_gpus()
    number = int(found[1] or 0)
    if number >= count:
        seen = "none" if count == 0 else f"cuda:0 to cuda:{count - 1}"
        raise ValueError(f"device {device!r} is not there: {installed} finds GPUs: {seen}")
    return number

"""The installed FAISS package: whether it is there, importing it, and calling it politely.

FAISS keeps settings for a whole process: threads of OpenMP, and from which size on it multiplies
matrices. What is changed here for a call is put back after it. Not here: what is searched
(faiss_index.py).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

from . import _core

INSTALL = "pip install 'gtn-label[faiss]'"
INSTALL_GPU = "pip install 'gtn-label[faiss-gpu]' (Linux on x86-64)"
DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss")
CORE_TYPE_VARIABLE = "OPENBLAS_CORETYPE"

# For fewer queries FAISS's own loop over rows is faster than a matrix product.
_FEWEST_QUERIES_FOR_BLAS = 16


def missing() -> str:
    """Say why FAISS's Python package cannot be used; empty if it can."""
    if importlib.util.find_spec("faiss") is None:
        return f"the package faiss is not installed: {INSTALL}"
    return ""


def describe() -> str:
    """Name the installed package and its version, without importing it."""
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name} {importlib.metadata.version(name)}"
    return "faiss of unknown version"


def load() -> ModuleType:
    """Import FAISS, its matrix products fit for this processor.

    The wheels bring an OpenBLAS of 2021 that takes later processors for one of 2004, which is
    three to ten times slower, and asks an environment variable once, when it is loaded. So the
    variable is set for the import, unless it is set or FAISS has been imported before; other
    libraries have an OpenBLAS of their own.

    Raises
    ------
    ValueError
        If it cannot be imported.
    """
    given = os.environ.get(CORE_TYPE_VARIABLE)
    core_type = "" if given is not None or "faiss" in sys.modules else _core_type()
    if core_type:
        os.environ[CORE_TYPE_VARIABLE] = core_type
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ValueError(
            f"backend 'faiss': the package faiss cannot be imported: {error}"
        ) from error
    finally:
        if core_type:
            del os.environ[CORE_TYPE_VARIABLE]


def _core_type() -> str:
    """Name of OpenBLAS's kernels for this processor, empty to leave the choice to it."""
    here = {row["name"] for row in _core.instruction_sets() if row["supported"]}
    if "avx512_vnni" in here:
        return "SkylakeX"
    return "Haswell" if "avx2" in here else ""


@contextlib.contextmanager
def one_thread(faiss: ModuleType) -> Iterator[None]:
    """Let FAISS use one thread in calls from this one. OpenMP has this number by thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class _BlasForAll:
    """While any thread is inside, FAISS multiplies matrices for batches of any size."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 0

    @contextlib.contextmanager
    def __call__(self, faiss: ModuleType, queries: int) -> Iterator[None]:
        if queries < _FEWEST_QUERIES_FOR_BLAS:
            yield
            return
        with self._lock:
            if self._inside == 0:
                self._before = faiss.cvar.distance_compute_blas_threshold
                faiss.cvar.distance_compute_blas_threshold = 1
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    faiss.cvar.distance_compute_blas_threshold = self._before


blas_for_all = _BlasForAll()

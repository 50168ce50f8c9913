"""The installed FAISS package: whether it is there, importing it, and calling it politely.

FAISS keeps settings for a whole process: threads of OpenMP, and from which size on it multiplies
matrices. What is changed here for a call is put back after it, however it ends. Not here: what is
searched (faiss_exact.py).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from types import ModuleType

from .. import _core

INSTALL = "pip install 'gtn-label[faiss]'"
INSTALL_GPU = "pip install 'gtn-label[faiss-gpu]' (Linux on x86-64)"
DISTRIBUTIONS = (
    *("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss-gpu-cu12", "faiss-gpu-cu11"),
    "faiss",
)
CORE_TYPE_VARIABLE = "OPENBLAS_CORETYPE"

# For fewer queries FAISS's own loop over rows is faster than a matrix product.
FEWEST_QUERIES_FOR_BLAS = 16

_importing = threading.Lock()


def missing() -> str:
    """Say why FAISS's Python package cannot be used; empty if it can."""
    try:
        spec = importlib.util.find_spec("faiss")
    except ValueError:  # what is imported under that name has no origin either
        spec = None
    if spec is None or spec.origin is None:  # nor has a mere folder of that name
        return f"the package faiss is not installed: {INSTALL}, for a GPU {INSTALL_GPU}"
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

    Returns
    -------
    module
        The package faiss.

    Raises
    ------
    ValueError
        If it cannot be imported.
    """
    with _importing, _fit_for_this_processor():
        try:
            return importlib.import_module("faiss")
        except Exception as error:  # compiled for another NumPy or CUDA, it may raise anything
            instead = (
                "" if _core.linked_faiss["missing"] else " (backend='faiss:linked' needs none)"
            )
            raise ValueError(
                f"backend 'faiss': {describe()} is installed, but cannot be imported{instead}: "
                f"{type(error).__name__}: {error}"
            ) from error


@contextlib.contextmanager
def _fit_for_this_processor() -> Iterator[None]:
    """Tell an OpenBLAS that is loaded meanwhile which kernels to use, if nobody else does."""
    name = _core_type()
    if not name or CORE_TYPE_VARIABLE in os.environ or "faiss" in sys.modules:
        yield
        return
    try:
        os.environ[CORE_TYPE_VARIABLE] = name
        yield
    finally:
        os.environ.pop(CORE_TYPE_VARIABLE, None)


def _core_type() -> str:
    """Name of OpenBLAS's kernels for this processor, empty to leave the choice to it."""
    here = {row["name"] for row in _core.instruction_sets() if row["supported"]}
    if "avx512_vnni" in here:
        return "SkylakeX"
    return "Haswell" if "avx2" in here else ""


@contextlib.contextmanager
def threads(faiss: ModuleType, count: int) -> Iterator[None]:
    """Let FAISS use so many in calls from this thread. OpenMP has this number by thread."""
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(count)
        yield
    finally:
        faiss.omp_set_num_threads(before)


class _Visit:
    """One time that someone was inside; it ends with the last reference to it."""


class _BlasForAll:
    """While any thread is inside, FAISS multiplies matrices for batches of any size.

    Ctrl-C may strike between any two steps, the last ones too. A visit that could not be signed off
    is forgotten all the same, and what was found is kept until it has been put back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: weakref.WeakSet[_Visit] = weakref.WeakSet()
        self._found: int | None = None

    @contextlib.contextmanager
    def __call__(self, faiss: ModuleType, queries: int) -> Iterator[None]:
        if queries < FEWEST_QUERIES_FOR_BLAS:
            yield
            return
        visit = _Visit()
        try:
            with self._lock:
                if self._found is None:
                    self._found = faiss.cvar.distance_compute_blas_threshold
                self._inside.add(visit)
                faiss.cvar.distance_compute_blas_threshold = 1
            yield
        finally:
            with self._lock:
                self._inside.discard(visit)
                if not self._inside and self._found is not None:
                    faiss.cvar.distance_compute_blas_threshold = self._found
                    self._found = None


blas_for_all = _BlasForAll()

"""The installed FAISS package: finding it, importing it, and settings for the time of a call.

FAISS keeps settings for a whole process: the number of OpenMP threads, and the batch size from
which on it multiplies matrices. A setting changed here for a call is restored when the call ends.
Not here: the searches themselves (faiss_exact.py, faiss_approx.py).
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
from ..errors import ArgumentError

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
    """Say why FAISS's Python package cannot be used; return "" if it can."""
    try:
        spec = importlib.util.find_spec("faiss")
    except ValueError:  # a module of that name without a spec
        spec = None
    if spec is None or spec.origin is None:  # a mere folder of that name has no origin
        return f"the package faiss is not installed: {INSTALL}, for a GPU {INSTALL_GPU}"
    return ""


def describe() -> str:
    """Name the installed package and its version, without importing it."""
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name} {importlib.metadata.version(name)}"
    return "faiss of unknown version"


def load() -> ModuleType:
    """Import FAISS so that its matrix products suit this processor.

    The wheels bring an OpenBLAS of 2021. On later processors it uses kernels of 2004, which are
    three to ten times slower, unless an environment variable says otherwise when it is loaded. The
    variable is set here for the time of the import, unless the user has set it or FAISS has been
    imported before. Other libraries bring an OpenBLAS of their own, which this does not touch.

    Returns
    -------
    module
        The package faiss.

    Raises
    ------
    ArgumentError
        If FAISS cannot be imported.
    """
    with _importing, _fit_for_this_processor():
        try:
            return importlib.import_module("faiss")
        except Exception as error:  # compiled for another NumPy or CUDA, it may raise anything
            instead = (
                "" if _core.linked_faiss["missing"] else " ({backend} 'faiss:linked' needs none)"
            )
            raise ArgumentError(
                "backend",
                f"'faiss': {describe()} is installed, but cannot be imported{instead}: "
                f"{type(error).__name__}: {error}",
            ) from error


@contextlib.contextmanager
def _fit_for_this_processor() -> Iterator[None]:
    """Name the kernels for an OpenBLAS loaded within this block, unless the user names them."""
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
    """Return OpenBLAS's name of the kernels for this processor; "" leaves the choice to it."""
    here = {row["name"] for row in _core.instruction_sets() if row["supported"]}
    if "avx512_vnni" in here:
        return "SkylakeX"
    return "Haswell" if "avx2" in here else ""


@contextlib.contextmanager
def threads(faiss: ModuleType, count: int) -> Iterator[None]:
    """Let FAISS use `count` OpenMP threads in calls from this thread."""
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(count)
        yield
    finally:
        faiss.omp_set_num_threads(before)


class _Visit:
    """One thread's time inside `blas_for_all`; it ends with the last reference to it."""


class _BlasForAll:
    """While any thread is inside, FAISS multiplies matrices for batches of any size.

    Ctrl-C may interrupt any step, those of leaving too. A visit that was not signed off is then
    forgotten with its last reference, and FAISS's own setting is kept until it has been restored.
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

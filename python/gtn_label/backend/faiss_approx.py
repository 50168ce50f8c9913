"""Approximate search: any index that FAISS's factory makes, as the engine calls it.

csrc/bindings/python_index.hpp lists the methods. Not here: exhaustive search (faiss_exact.py), and
the loss of the approximation (approx_quality.py).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..checks import as_integer, as_text
from ..errors import ArgumentError
from . import faiss_package
from .faiss_exact import MOST_K, MOST_K_GPU, Floats, Found, gpu_number

_TRAINED_A_CELL = 64  # training rows for each cell of an inverted file: more hardly move the cells
_TRAINED = 65_536  # training rows of any index, at least
_DEFAULT_NPROBE = 16
# FAISS divides by these numbers, or reads past arrays that they size: PQ8x0, HNSW0, HNSW1.
_DEADLY = re.compile(r"(?<![0-9.])0+(?![0-9.])|HNSW1(?![0-9])")
# Rows that one call adds: FAISS compares them with all cells, and Ctrl-C waits for the call's end.
_ADDED = 16_384


@dataclass(frozen=True)
class Approx:
    """Options of an approximate search, checked as far as FAISS is not needed.

    Attributes
    ----------
    index : str
        FAISS's factory string, such as "IVF4096,Flat".
    nprobe : int or None
        Number of cells of an inverted file that a search visits.
    parameters : str or None
        Other parameters of the search as FAISS writes them, such as "efSearch=64".
    sample : int
        Number of sources on which the loss is measured.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If one is of the wrong type, or out of range.
    """

    index: str
    nprobe: int | None
    parameters: str | None
    sample: int

    def __post_init__(self) -> None:
        _check_text(self.index, "index")
        if self.parameters is not None:
            _check_text(self.parameters, "parameters")
        if self.nprobe is not None:
            object.__setattr__(self, "nprobe", as_integer(self.nprobe, "nprobe", 1))
        object.__setattr__(self, "sample", as_integer(self.sample, "sample", 1))


def _check_text(value: Any, name: str) -> None:
    if not as_text(value, name).strip():
        raise ArgumentError(name, "must not be empty")


class FactoryIndex:
    """An approximate index over a copy of the rows.

    Parameters
    ----------
    faiss : module
    asked : Approx
    dim : int
    number : int or None
        GPU that holds the index; None for the CPU.
    threads : int
        Threads for training and filling.

    Attributes
    ----------
    nprobe : int or None
        Cells that a search visits, as asked for or by default; None for an index without cells.

    Raises
    ------
    ArgumentError
        If FAISS cannot make the index, or the index lacks a parameter.
    """

    reads_rows = False

    def __init__(
        self, faiss: ModuleType, asked: Approx, dim: int, number: int | None, threads: int
    ) -> None:
        self.concurrent = number is None
        self.most_k = MOST_K if number is None else MOST_K_GPU
        self._faiss = faiss
        self._asked = asked
        self._dim = dim
        self._number = number
        self._threads = threads
        self._resources = None if number is None else faiss.StandardGpuResources()
        self._index = self._make()
        self.nprobe = self._choose_nprobe()
        self._set_parameters(faiss.ParameterSpace())

    def _make(self) -> Any:
        faiss = self._faiss
        text = "".join(self._asked.index.split())
        with _refused(
            "index",
            f"must be a factory string of FAISS's for {self._dim} dimensions and inner products, "
            f"such as 'IVF4096,Flat', got {self._asked.index!r}",
        ):
            if _DEADLY.search(text):
                raise RuntimeError("FAISS would crash on this number")
            return faiss.index_factory(self._dim, text, faiss.METRIC_INNER_PRODUCT)

    def _cells(self) -> Any:
        """Return the inverted file inside the index, None if there is none."""
        return self._faiss.try_extract_index_ivf(self._index)

    def _choose_nprobe(self) -> int | None:
        cells, asked = self._cells(), self._asked
        if cells is None:
            if asked.nprobe is not None:
                got = f"{asked.nprobe} for index {asked.index!r}"
                raise ArgumentError("nprobe", "is for an index with cells (IVF...)", got)
            return None
        if asked.nprobe is not None and asked.nprobe > cells.nlist:
            rule = f"must be at most the {cells.nlist} cells of index {asked.index!r}"
            raise ArgumentError("nprobe", rule, str(asked.nprobe))
        return min(_DEFAULT_NPROBE, cells.nlist) if asked.nprobe is None else asked.nprobe

    def _set_parameters(self, space: Any) -> None:
        if self.nprobe is not None:
            space.set_index_parameter(self._index, "nprobe", self.nprobe)
        parameters = self._asked.parameters
        if parameters is None:
            return
        for name in (part.partition("=")[0].strip() for part in parameters.split(",")):
            if name in ("nprobe", "verbose"):
                why = "it is an argument of its own" if name == "nprobe" else "it prints"
                raise ArgumentError("parameters", f"must not set {name}: {why}", repr(parameters))
        with _refused(
            "parameters",
            "must be FAISS's for this index, such as 'efSearch=64', got "
            f"{parameters!r} for index {self._asked.index!r}",
        ):
            space.set_index_parameters(self._index, parameters)

    def train(self, rows: Floats) -> None:
        """Train cells and codes on a sample of the rows."""
        faiss = self._faiss
        self._index = self._make()
        cells = self._cells()
        count = _TRAINED
        if cells is not None:
            if cells.nlist > len(rows):
                fitting = 2 ** round(math.log2(4 * math.sqrt(len(rows))))
                raise ArgumentError(
                    "index",
                    f"{self._asked.index!r} has {cells.nlist} cells, and there must be at least as "
                    "many latents",
                    str(len(rows)),
                    f"'IVF{fitting},Flat' would fit",
                )
            cells.cp.min_points_per_centroid = 1  # or FAISS prints warnings
            count = max(count, _TRAINED_A_CELL * cells.nlist)
        sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(np.int64)]
        with self._at_full_speed(len(sample)):
            with self._fails(f"cannot be trained on {len(rows)} latents"):
                self._index.train(sample)
            space = faiss.ParameterSpace()
            if self._number is not None:
                self._index = faiss.index_cpu_to_gpu(self._resources, self._number, self._index)
                space = faiss.GpuParameterSpace()
            self._set_parameters(space)

    def load(self, rows: Floats) -> None:
        """Fill the index with the rows in place of those that are there."""
        with self._at_full_speed(len(rows)):
            try:
                self._fill(rows, _ADDED)
            except RuntimeError:  # some, such as NSG, take their rows at one time only
                with self._fails(f"cannot be filled with {len(rows)} latents"):
                    self._fill(rows, len(rows))

    def _fill(self, rows: Floats, step: int) -> None:
        self._index.reset()
        for first in range(0, len(rows), step):
            self._index.add(rows[first : first + step])

    def search(self, rows: Floats | None, queries: Floats, k: int) -> Found:
        """Find up to k rows for each query."""
        with faiss_package.threads(self._faiss, 1), self._fails("cannot be searched"):
            found: Found = self._index.search(queries, k)
            return found

    @contextlib.contextmanager
    def _at_full_speed(self, rows: int) -> Iterator[None]:
        """Let FAISS train on rows, or add them, as fast as it can."""
        faiss = self._faiss
        with (
            faiss_package.threads(faiss, self._threads),
            faiss_package.blas_for_all(faiss, rows),
        ):
            yield

    def _fails(self, how: str) -> contextlib.AbstractContextManager[None]:
        return _refused("index", f"{self._asked.index!r} {how}")


@contextlib.contextmanager
def _refused(name: str, rule: str) -> Iterator[None]:
    """Make errors of FAISS's into errors about an argument, with FAISS's reason at the end."""
    try:
        yield
    except RuntimeError as error:
        raise ArgumentError(name, f"{rule}: {_reason(error)}") from error
    except MemoryError as error:
        raise MemoryError(f"{name} {rule}: not enough memory ({error})") from error


def factory_index(
    asked: Approx, device: str, dim: int, threads: int
) -> tuple[FactoryIndex, dict[str, Any]]:
    """Make the index on a device, and the entry of `Matching.stats` that describes FAISS.

    Raises
    ------
    ArgumentError
        If FAISS cannot be imported, finds no such device, or cannot make the index.
    """
    faiss = faiss_package.load()
    number = None if device == "cpu" else gpu_number(faiss, device)
    where = "cpu" if number is None else f"cuda:{number}"
    record = {"way": "python", "version": str(faiss.__version__), "device": where}
    return FactoryIndex(faiss, asked, dim, number, threads), {"faiss": record}


def _reason(error: RuntimeError) -> str:
    """Return FAISS's message without the C++ function and the file at its start."""
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?", "", str(error).strip().splitlines()[0])

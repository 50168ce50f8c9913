"""The object through which the engine searches approximately: any index FAISS's factory can make.

It has what csrc/bindings/python_index.hpp asks for. Not here: exhaustive search (faiss_exact.py),
and what the approximation costs (approx_quality.py).
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

from . import faiss_package
from .faiss_exact import MOST_K, MOST_K_GPU, Floats, Found, gpu_number

# Rows that an inverted file is trained on, for each of its cells: more hardly moves them.
_TRAINED_A_CELL = 64
_TRAINED = 65_536  # at least, of any index
_DEFAULT_NPROBE = 16
# FAISS divides by such numbers, or reads past the end of what they size: PQ8x0, HNSW0, HNSW1.
_DEADLY = re.compile(r"(?<![0-9.])0+(?![0-9.])|HNSW1(?![0-9])")
# Rows a call adds: FAISS compares them with all cells, and Ctrl-C waits for the end of a call.
_ADDED = 16_384


@dataclass(frozen=True)
class Approx:
    """An approximate search, as asked for.

    Attributes
    ----------
    index : str
        FAISS's factory string, such as "IVF4096,Flat".
    nprobe : int or None
        Cells of an inverted file that a search visits.
    parameters : str or None
        Other parameters of the search as FAISS writes them, such as "efSearch=64".
    sample : int
        Sources on which its loss is measured.
    """

    index: str
    nprobe: int | None
    parameters: str | None
    sample: int


class FactoryIndex:
    """An approximate index over a copy of the rows.

    Parameters
    ----------
    faiss : module
    asked : Approx
    dim : int
    number : int or None
        GPU that holds it; None for the CPU.
    threads : int
        For training and filling.

    Attributes
    ----------
    nprobe : int or None
        What the index searches with: as asked for, or chosen; None if it has no cells.

    Raises
    ------
    ValueError
        If FAISS cannot make such an index, or it knows no such parameter.
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
        with self._says(
            f"index must be a factory string of FAISS's for {self._dim} dimensions and inner "
            f"products, such as 'IVF4096,Flat', got {self._asked.index!r}"
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
                raise ValueError(
                    f"nprobe is for an index with cells (IVF...), got {asked.nprobe} for index "
                    f"{asked.index!r}"
                )
            return None
        if asked.nprobe is not None and asked.nprobe > cells.nlist:
            raise ValueError(
                f"nprobe must be at most the {cells.nlist} cells of index {asked.index!r}, "
                f"got {asked.nprobe}"
            )
        return min(_DEFAULT_NPROBE, cells.nlist) if asked.nprobe is None else asked.nprobe

    def _set_parameters(self, space: Any) -> None:
        if self.nprobe is not None:
            space.set_index_parameter(self._index, "nprobe", self.nprobe)
        parameters = self._asked.parameters
        if parameters is None:
            return
        for name in (part.partition("=")[0].strip() for part in parameters.split(",")):
            if name in ("nprobe", "verbose"):
                raise ValueError(
                    f"parameters must not set {name}: "
                    + ("it is an argument of its own" if name == "nprobe" else "it prints")
                    + f", got {parameters!r}"
                )
        with self._says(
            "parameters must be FAISS's for this index, such as 'efSearch=64', got "
            f"{parameters!r} for index {self._asked.index!r}"
        ):
            space.set_index_parameters(self._index, parameters)

    def train(self, rows: Floats) -> None:
        """Learn cells and codes from a sample of the rows."""
        faiss = self._faiss
        self._index = self._make()
        cells = self._cells()
        count = _TRAINED
        if cells is not None:
            if cells.nlist > len(rows):
                fitting = 2 ** round(math.log2(4 * math.sqrt(len(rows))))
                raise ValueError(
                    f"index {self._asked.index!r} has {cells.nlist} cells, and there must be at "
                    f"least as many latents, got {len(rows)}; 'IVF{fitting},Flat' would fit"
                )
            cells.cp.min_points_per_centroid = 1  # or FAISS prints warnings
            count = max(count, _TRAINED_A_CELL * cells.nlist)
        sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(np.int64)]
        with self._at_full_speed(len(sample)):
            with self._says(
                f"index {self._asked.index!r} cannot be trained on {len(rows)} latents"
            ):
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
                with self._says(
                    f"index {self._asked.index!r} cannot be filled with {len(rows)} latents"
                ):
                    self._fill(rows, len(rows))

    def _fill(self, rows: Floats, step: int) -> None:
        self._index.reset()
        for first in range(0, len(rows), step):
            self._index.add(rows[first : first + step])

    def search(self, rows: Floats | None, queries: Floats, k: int) -> Found:
        """Find up to k rows for each query."""
        with (
            faiss_package.threads(self._faiss, 1),
            self._says(f"index {self._asked.index!r} cannot be searched"),
        ):
            found: Found = self._index.search(queries, k)
            return found

    @contextlib.contextmanager
    def _at_full_speed(self, rows: int) -> Iterator[None]:
        """Let FAISS train on rows, or take them in, as fast as it can."""
        faiss = self._faiss
        with (
            faiss_package.threads(faiss, self._threads),
            faiss_package.blas_for_all(faiss, rows),
        ):
            yield

    @contextlib.contextmanager
    def _says(self, what: str) -> Iterator[None]:
        """Give FAISS's errors a beginning that names the argument."""
        try:
            yield
        except RuntimeError as error:
            raise ValueError(f"{what}: {_reason(error)}") from error
        except MemoryError as error:
            raise MemoryError(f"{what}: not enough memory ({error})") from error


def factory_index(
    asked: Approx, device: str, dim: int, threads: int
) -> tuple[FactoryIndex, dict[str, Any]]:
    """Return the index asked for on a device, and what to record of it.

    Raises
    ------
    ValueError
        If FAISS is not there, knows no such device, or cannot make the index.
    """
    faiss = faiss_package.load()
    number = None if device == "cpu" else gpu_number(faiss, device)
    where = "cpu" if number is None else f"cuda:{number}"
    record = {"way": "python", "version": str(faiss.__version__), "device": where}
    return FactoryIndex(faiss, asked, dim, number, threads), {"faiss": record}


def _reason(error: RuntimeError) -> str:
    """FAISS's message without the C++ function and the file that it leads with."""
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?", "", str(error).strip().splitlines()[0])

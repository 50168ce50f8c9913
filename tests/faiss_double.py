"""A double of FAISS's GPU API, on the CPU, that is as unhelpful as FAISS may be.

Scores are off by as much as float32 allows, differently in each call; ties and the order of what is
returned are random; what was compared is not what is returned; k is limited. Handed anything but
float32 in rows, used by two threads at once or short of memory, it raises. Of the package it has
what gtn_label.backend.faiss_exact touches; nothing here is from FAISS's code.
"""

from __future__ import annotations

import functools
import threading
import time
from types import SimpleNamespace

import numpy as np

from gtn_label.backend import faiss_package

MOST_K = 2048
NAME = "faiss-gpu 9.8.7"


class FaissForGpus:
    """The module, as `import faiss` would give it.

    `error` scales the errors of scores: 1 is all that float32 allows, 0 gives the nearest float32.
    `memory` is the GPU's in bytes, of rows; `searches` is how many searches it has memory for.
    With `tf32` factors are rounded to 11 bits.
    """

    __version__ = "9.8.7"

    def __init__(
        self,
        gpus: int = 1,
        *,
        error: float = 1.0,
        most_k: int = MOST_K,
        memory: int = 2**40,
        searches: int = 2**40,
        tf32: bool = False,
    ):
        self.gpus, self.error, self.most_k = gpus, error, most_k
        self.memory, self.searches, self.tf32 = memory, searches, tf32
        self.loaded = []  # rows of each load
        self.asked = []  # (queries, k) of each search
        self.indexes = []
        self.random = np.random.default_rng(1)
        self.StandardGpuResources = Resources
        self.GpuIndexFlatConfig = functools.partial(
            SimpleNamespace, device=0, useFloat16=True, use_cuvs=True
        )
        self.GpuIndexFlatIP = functools.partial(Index, self)

    def get_num_gpus(self) -> int:
        return self.gpus


class Resources:
    def __init__(self):
        self.busy = threading.Lock()


class Index:
    def __init__(self, faiss, resources, dim, config):
        assert config.device < faiss.gpus
        assert not config.useFloat16
        assert not config.use_cuvs
        self.faiss, self.resources, self.dim, self.device = faiss, resources, dim, config.device
        self.rows = np.empty((0, dim), np.float32)
        faiss.indexes.append(self)
        if faiss.memory == 0:
            raise out_of_memory("TemporaryMemoryBuffer", 1536 * 2**20)

    def check(self, array):
        assert type(array) is np.ndarray
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.ndim == 2
        assert array.shape[1] == self.dim

    def reset(self):
        self.rows = self.rows[:0]

    def add(self, rows):
        self.check(rows)
        size = self.rows.nbytes + rows.nbytes
        if size > self.faiss.memory:
            raise out_of_memory("FlatData", size)
        self.faiss.loaded.append(len(rows))
        self.rows = np.concatenate([self.rows, rows])  # copied: the engine's rows may go

    def search(self, queries, k):
        self.check(queries)
        if not 0 < k <= self.faiss.most_k:
            raise RuntimeError(
                "Error: 'k > 0 && k <= getMaxKSelection()' failed: GPU index only supports "
                f"min/max-K selection up to {self.faiss.most_k} (requested {k})"
            )
        if not self.resources.busy.acquire(blocking=False):
            raise RuntimeError("two threads use the same GPU resources")
        try:
            time.sleep(0)  # lets another thread in, as FAISS does
            if len(self.faiss.asked) == self.faiss.searches:
                raise out_of_memory("TemporaryMemoryOverflow", 4 * len(queries) * len(self.rows))
            self.faiss.asked.append((len(queries), k))
            return self.select(queries, k)
        finally:
            self.resources.busy.release()

    def select(self, queries, k):
        compared, returned = self.scores(queries), self.scores(queries)
        random = self.faiss.random
        order = np.lexsort((random.random(compared.shape), -compared))[:, :k]
        order = random.permuted(order, axis=1)
        scores = np.take_along_axis(returned, order, axis=1)
        missing = k - order.shape[1]
        order = np.pad(order, ((0, 0), (0, missing)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=np.finfo(np.float32).min)
        return np.ascontiguousarray(scores), np.ascontiguousarray(order)

    def scores(self, queries):
        """Float32 scores [queries, rows], each within the bound of csrc/faiss/unit_rows.hpp."""
        a, b = queries.astype(np.float64), self.rows.astype(np.float64)
        if self.faiss.tf32:
            a, b = rounded(a), rounded(b)
        exact = a @ b.T
        bound = self.faiss.error * error_bound(queries, self.rows)
        wanted = exact + bound * self.faiss.random.choice([-1.0, -0.5, 0.5, 1.0], exact.shape)
        scores = wanted.astype(np.float32)
        above, below = np.float32(np.inf), np.float32(-np.inf)
        if self.faiss.error:  # rounding must not lead out of the bound
            scores = np.where(scores > exact + bound, np.nextafter(scores, below), scores)
            scores = np.where(scores < exact - bound, np.nextafter(scores, above), scores)
        return scores


def error_bound(queries, rows):
    """Largest error of float32 sums in any order; a single product by 1 has none."""
    u = queries.shape[1] * 2.0**-24
    norms = [np.linalg.norm(a.astype(np.float64), axis=1) for a in (queries, rows)]
    norms[0][np.count_nonzero(queries, axis=1) == 1] = 0
    return u / (1 - u) * np.outer(*norms)


def rounded(a):
    """To the 11 bits of TF32."""
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.round(mantissa * 2**11), exponent - 11)


def out_of_memory(kind, size):
    return RuntimeError(
        f"Error: 'err == cudaSuccess' failed: StandardGpuResources: alloc fail type {kind} dev 0 "
        f"space Device size {size} bytes (cudaMalloc error out of memory [2])"
    )


def install(monkeypatch, *arguments, **habits) -> FaissForGpus:
    """Let gtn_label find the double where it looks for FAISS's package."""
    faiss = FaissForGpus(*arguments, **habits)
    monkeypatch.setattr(faiss_package, "missing", lambda: "")
    monkeypatch.setattr(faiss_package, "describe", lambda: NAME)
    monkeypatch.setattr(faiss_package, "load", lambda: faiss)
    return faiss

"""The same greedy over FAISS: flat inner-product search of blocks of sources among free latents.

Each block is searched for its K best free latents; its sources, in order, take the best one not
taken inside the block. A source whose K are all taken ends the block there, and the next block
starts with it. Taken latents are dropped after every block.

Tuned as far as the wheel allows: its OpenBLAS does not know recent processors and is told the core
type before the import; FAISS uses BLAS only for large batches unless its threshold is lowered.
Scores are float32, so near-ties may fall differently than in gtn_label: the table says how many.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.answer import Answer, Rows, norm_order, unit_rows

NAME = "blocks over FAISS, BLAS tuned"
BLOCK = 1024
K = 16  # 1,024 and 16 were the fastest of 512 to 2,048 and 4 to 32 at 50,000 x 100, two threads


def missing() -> str:
    """FAISS is an extra."""
    if importlib.util.find_spec("faiss") is None:
        return "faiss is not installed (extra: bench)"
    return ""


def openblas_core_type() -> str:
    """Name of the OpenBLAS core type for this processor, empty to leave the choice to it."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    if "avx512vl" in flags:
        return "SkylakeX"
    return "Haswell" if "avx2" in flags else ""


def load(threads: int) -> Any:
    """Import FAISS with its BLAS tuned; the first call decides the core type."""
    core_type = openblas_core_type()
    if core_type:
        os.environ.setdefault("OPENBLAS_CORETYPE", core_type)
    faiss = importlib.import_module("faiss")
    faiss.cvar.distance_compute_blas_threshold = 1
    faiss.omp_set_num_threads(threads)
    return faiss


def match(latents: Rows, sources: Rows, threads: int, limit: int) -> Answer:
    """Whole run; ``limit`` is ignored."""
    faiss = load(threads)
    ranked = norm_order(latents)
    units = unit_rows(latents)[ranked]
    order = norm_order(sources)
    narrow = np.ascontiguousarray(sources.astype(np.float32, copy=False)[order])
    assignment = np.full(len(sources), -1, dtype=np.int64)
    searches = start = 0
    while start < len(order):
        block = narrow[start : start + BLOCK]
        k = min(K, len(units))
        _, candidates = faiss.knn(block, units, k, metric=faiss.METRIC_INNER_PRODUCT)
        searches += 1
        keep = np.ones(len(units), dtype=bool)
        decided = 0
        for best_first in candidates.tolist():
            column = next((c for c in best_first if keep[c]), None)
            if column is None:
                break
            keep[column] = False
            assignment[order[start + decided]] = ranked[column]
            decided += 1
        start += decided
        units, ranked = units[keep], ranked[keep]
    core_type = os.environ.get("OPENBLAS_CORETYPE", "")
    stats = {"searches": searches, "block": BLOCK, "k": K, "openblas_core_type": core_type}
    return Answer(assignment, len(sources), stats=stats)

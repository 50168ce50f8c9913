"""HiRef (Halmos, Gold, Liu, Raphael, ICML 2025): optimal transport by hierarchical refinement.

It is no package: ``HIREF`` names the folder of a clone of github.com/peterhalmos/HiRef, the JAX
port that its authors recommend. Settings are those of its README. The port may give a latent to
two sources; the sources without a latent of their own are paired by SciPy (benchmarks/pairs.py),
and the note says how many there were. n must be a product of small factors.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import complete
from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs

VARIABLE = "HIREF"
MOST = 1 << 14  # rows that a CPU pairs in minutes


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Refine, and complete the pairs."""
    folder = os.environ[VARIABLE]
    if folder not in sys.path:
        sys.path.insert(0, folder)
    schedules: Any = importlib.import_module("src.rank_annealing")
    package: Any = importlib.import_module("src.HiRef_fast")
    arrays: Any = importlib.import_module("jax.numpy")
    n = len(sources)
    ranks = schedules.optimal_rank_schedule(n=n, hierarchy_depth=6, max_Q=64, max_rank=16)
    found = package.hiref_lr_fast(
        arrays.asarray(np.float32(sources)),
        arrays.asarray(np.float32(latents)),
        rank_schedule=ranks,
        base_rank=1,
        iters_per_level=100,
        gamma=40.0,
        rescale_cost=False,
        return_coupling=False,
    )
    assignment = np.full(n, -1, dtype=np.int64)
    for of_sources, of_latents in found:
        assignment[np.asarray(of_sources)] = np.asarray(of_latents)
    whole, lonely = complete(latents, sources, assignment)
    note = f"{lonely:,} of {n:,} sources had no latent of their own, SciPy paired them"
    return Answer(whole, note=note if lonely else "", stats={"left_to_scipy": lonely})


def missing() -> str:
    """Say how it can be had."""
    if not (Path(os.environ.get(VARIABLE, "")) / "src" / "HiRef_fast.py").is_file():
        return f"not available here: {VARIABLE} must name a clone of github.com/peterhalmos/HiRef"
    return needs("ott", "ott-jax", "transport")()


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Nearly linear in n: 16 s at 4,096 rows."""
    return Cost(16 * n / 4_096 if n <= MOST else float("inf"), 1e4 * n)


PEERS = (
    Peer(
        name="hiref",
        title="HiRef, JAX port",
        kind="pairing",
        match=match,
        what="hierarchical low-rank optimal transport (ICML 2025), completed to pairs",
        advice="for millions of rows on a GPU, where no proof of quality is needed",
        missing=missing,
        cost=cost,
    ),
)

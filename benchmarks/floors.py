"""Measures rates of the machine, inside a worker, in the run whose times they are compared with.

- sgemm: float32 matrix products by NumPy's BLAS. A greedy over shrinking sets multiplies each
  source with half the latents on average: n² · dim floating-point operations (a multiply-add is
  two). No method built on this BLAS can take less time than that number over the rate. The shape
  of blocks and the BLAS core type are the fastest here, so the floor is as low as BLAS can make it.
- int8: multiply-adds a second of the engine's own scan kernel in a bare loop over panels that
  stay in the cache, with thresholds that no score reaches. Padding does no useful work and is not
  counted. n² · dim / 2 over that rate is the time of the products alone.
- cuda: rates of an idle device, by its own clock: operations a second of its matrix units, bytes a
  second of a copy, and each scan kernel of the engine alone.
"""

from __future__ import annotations

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.internals import core

SOURCE_BLOCKS = (256, 1024, 4096)
LATENT_BLOCKS = (1024, 4096, 16384, 65536)
MOST_SCORES = 1 << 26


def core_types() -> tuple[str, ...]:
    """List the values of OPENBLAS_CORETYPE worth trying: BLAS's own choice first."""
    if platform.machine() in ("x86_64", "AMD64"):
        return ("", "Haswell", "SkylakeX")
    return ("",)


def sgemm_rate(rows: int, columns: int, dim: int, seconds: float) -> float:
    """Measure floating-point operations a second of products [rows, dim] x [dim, columns]."""
    rng = np.random.Generator(np.random.Philox(0))
    left = rng.standard_normal((rows, dim), dtype=np.float32)
    right = rng.standard_normal((columns, dim), dtype=np.float32).T
    out = np.empty((rows, columns), np.float32)
    np.matmul(left, right, out=out)
    done = 0
    start = now = time.perf_counter()
    while now - start < seconds:
        np.matmul(left, right, out=out)
        done += 1
        now = time.perf_counter()
    return 2 * done * rows * columns * dim / (now - start)


def sgemm(n: int, dim: int, block: list[int] | None, seconds: float) -> dict[str, Any]:
    """Measure ``block`` for ``seconds``; without one, find the best block, each tried so long."""
    if block is not None:
        return {"block": block, "rate": sgemm_rate(block[0], block[1], dim, seconds)}
    best: tuple[float, list[int]] = (0.0, [])
    for rows in sorted({min(n, rows) for rows in SOURCE_BLOCKS}):
        for columns in sorted({min(n, columns) for columns in LATENT_BLOCKS}):
            if rows * columns <= MOST_SCORES:
                rate = sgemm_rate(rows, columns, dim, seconds)
                best = max(best, (rate, [rows, columns]))
    return {"block": best[1], "rate": best[0]}


def int8(instruction_set: str, dim: int, threads: int, seconds: float) -> dict[str, Any]:
    """Measure multiply-adds a second of ``threads`` threads at once."""

    def one(_: int) -> float:
        return core.int8_rate(instruction_set, dim, seconds)

    with ThreadPoolExecutor(threads) as pool:
        return {"rate": sum(pool.map(one, range(threads)))}


def cuda(
    dims: list[int], latents: int, sources: int, copied: int, seconds: float
) -> dict[str, Any]:
    """Measure the first device, and its kernels on so many latents and sources a scan."""
    device = core.cuda_devices()[0]
    usable = [name for name, reason in device["missing"].items() if not reason]
    scans = [
        {"kernel": name, "dim": dim}
        | core.cuda_kernel_rate(0, name, dim, latents, sources, seconds)
        for name in usable
        for dim in dims
    ]
    rates = core.cuda_rates(0, copied, seconds)
    return {"name": device["name"], **rates, "scans": scans}

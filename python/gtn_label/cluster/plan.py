"""Plans a run: its windows, bytes between ranks, memory and hours, and a refusal if it cannot fit.

Counts follow from the sizes. Hours follow from the time that a sample of the latents takes here and
from assumptions on the network, which the plan names. Not here: the command (command.py).
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cli.console import format_bytes, format_seconds

__all__ = ["Plan", "Rate", "available_memory", "make_plan", "measure", "shortage"]

KEY_BYTES = 24  # of a latent in a list: score, norm, row
SPARE_KEYS = 1  # that one of several ranks lists beyond its share of a source's list
FIRST_WINDOW, SMALLEST_WINDOW = 128, 32  # sources
WINDOW_BYTES = 64 << 20
PROCESS_BYTES = 80 << 20  # of Python and its libraries
TORCH_BYTES = 220 << 20  # of torch, which several processes need
WINDOW_SHARE = 16  # a window has at most one source in so many free latents
CHUNK_ROWS, CHUNK_BYTES = 1 << 20, 256 << 20  # of sources that a rank holds for all ranks
NETWORK_BYTES = 1e9  # a second into a rank: assumed
COLLECTIVE_SECONDS = 2e-3  # of a round without bytes: assumed
DISK_BYTES = 1e9  # a second that a rank reads and writes: assumed

_SAMPLE_SECONDS = 0.7  # of the larger of two timed runs, at least
_SMALLEST_SAMPLE, _LARGEST_SAMPLE = 2048, 1 << 17  # latents


@dataclass(frozen=True)
class Rate:
    """Time of one rank: seconds a source, and seconds a source and latent of its shard."""

    source: float
    pair: float
    threads: int
    sample: int

    def seconds(self, n: int, m: int, world: int) -> float:
        """Return the time of a rank's search for n sources, while its share of m latents falls."""
        pairs = n * (m - n / 2) / world
        return n * self.source + pairs * self.pair


@dataclass(frozen=True)
class Plan:
    """A run before it is made; bytes and seconds are of one rank if nothing else is said."""

    n: int
    m: int
    dim: int
    dtype: str
    ranks: int
    machines: int
    windows: int
    collectives: int
    exchanged: int
    rows_memory: int
    work_memory: int
    out_bytes: int
    search_seconds: float
    exchange_seconds: float
    disk_seconds: float
    threads: int
    sample: int

    @property
    def memory(self) -> int:
        """Bytes that a rank needs."""
        return self.rows_memory + self.work_memory

    @property
    def seconds(self) -> float:
        """Time of the run."""
        return self.search_seconds + self.exchange_seconds + self.disk_seconds

    def figures(self) -> dict[str, Any]:
        """Return the figures by their names in `--json`."""
        return {**vars(self), "memory": self.memory, "seconds": self.seconds}

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the plan for a reader."""
        ranks = f"{self.ranks:,} on {self.machines:,} machine{'s' if self.machines > 1 else ''}"
        hours = f"{format_seconds(self.seconds)} ({self.seconds / 3600:.2f} h)"
        return [
            ("n", f"{self.n:,}"),
            ("latents", f"{self.m:,} ({self.dtype})"),
            ("dim", f"{self.dim:,}"),
            ("processes", f"{ranks}, {self.threads} thread{'s' if self.threads > 1 else ''} each"),
            ("windows", f"{self.windows:,}"),
            ("exchanged", f"{format_bytes(self.exchanged)} into each process"),
            (
                "memory",
                f"{format_bytes(self.memory)} a process: {format_bytes(self.rows_memory)} of rows, "
                f"{format_bytes(self.work_memory)} of work",
            ),
            ("pairs", format_bytes(self.out_bytes)),
            (
                "search",
                f"{format_seconds(self.search_seconds)} (by {self.sample:,} of the latents)",
            ),
            (
                "exchange",
                f"{format_seconds(self.exchange_seconds)} (assumed: 1 GB/s, 2 ms a round)",
            ),
            ("files", f"{format_seconds(self.disk_seconds)} (assumed: 1 GB/s a process)"),
            ("in all", hours),
        ]


def make_plan(
    n: int,
    m: int,
    dim: int,
    dtype: np.dtype[Any],
    *,
    ranks: int,
    machines: int,
    cone: int,
    indices_only: bool,
    memory: int | None,
    rate: Rate,
) -> Plan:
    """Compute the figures of a run of n sources and m latents."""
    keys = keys_of(ranks, cone)
    count = windows(n, m, ranks, cone)
    read = np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)
    lists = n * ranks * keys * KEY_BYTES
    sources = n * (4 * dim + 16)  # every rank needs every source
    labels = 0 if indices_only or ranks == 1 else n * (dim * dtype.itemsize + 8)
    exchanged = 0 if ranks == 1 else lists + sources + labels
    collectives = count + 40 * math.ceil(n / (1 << 20))
    share, sources_share = -(-m // ranks), -(-n // ranks)
    rows = share * (dim * dtype.itemsize + 16) + sources_share * (4 * dim + 16)
    if read != dtype:
        rows += share * dim * read.itemsize  # a copy that the engine reads
    # int8 codes or, where those are too coarse, int16, both for a moment; norms, ids and orders.
    work = PROCESS_BYTES + (TORCH_BYTES if ranks > 1 else 0)
    work += share * (3 * dim + 96) + sources_share * 32 + 4 * _chunk(n, dim) + 3 * WINDOW_BYTES
    if memory is not None:
        work = min(work, memory + 4 * _chunk(n, dim))
    out = n * (16 + (0 if indices_only else dim * (4 + dtype.itemsize)))
    exchange = 0.0 if ranks == 1 else exchanged / NETWORK_BYTES + collectives * COLLECTIVE_SECONDS
    return Plan(
        n=n,
        m=m,
        dim=dim,
        dtype=dtype.name,
        ranks=ranks,
        machines=machines,
        windows=count,
        collectives=collectives,
        exchanged=exchanged,
        rows_memory=rows,
        work_memory=work,
        out_bytes=out,
        search_seconds=rate.seconds(n, m, ranks),
        exchange_seconds=exchange,
        disk_seconds=(m * dim * dtype.itemsize + out) / ranks / DISK_BYTES,
        threads=rate.threads,
        sample=rate.sample,
    )


def _chunk(n: int, dim: int) -> int:
    """Return the bytes of the sources that a rank holds for all ranks at a time."""
    return min(CHUNK_BYTES, 4 * dim * min(n, CHUNK_ROWS))


def keys_of(ranks: int, cone: int) -> int:
    """Return the latents that a rank lists for a source."""
    return math.ceil((cone + cone // 2 + 3) / ranks) + (SPARE_KEYS if ranks > 1 else 0)


def windows(n: int, m: int, ranks: int, cone: int) -> int:
    """Count the windows of a run without conflicts, as csrc/core/greedy.cpp cuts them."""
    keys = keys_of(ranks, cone)
    largest = min(65_536, max(1024, WINDOW_BYTES // (KEY_BYTES * ranks * keys)))
    done = count = 0
    while done < n:
        free = m - done
        most = largest if count else FIRST_WINDOW
        size = max(SMALLEST_WINDOW, min(free // WINDOW_SHARE, most))
        if size == largest:
            # Whole runs of largest windows at once.
            more = max(1, min((n - done) // size, (free - WINDOW_SHARE * size) // size))
            done, count = done + more * size, count + more
        else:
            done, count = done + size, count + 1
    return count


def measure(
    sample: Callable[[int], NDArray[Any]],
    most: int,
    run: Callable[[NDArray[Any]], int],
    seconds: float = _SAMPLE_SECONDS,
) -> Rate:
    """Time two runs on this machine, of s latents and of s / 2, and tell both rates from them.

    Parameters
    ----------
    sample : callable
        Returns so many latents, spread over the input.
    most : int
        Latents that there are.
    run : callable
        Matches an array of latents, and returns the number of threads.
    seconds : float
        Time that the larger run should take, at least.
    """
    most = min(most, _LARGEST_SAMPLE)
    count = min(most, _SMALLEST_SAMPLE)
    rows = sample(most)
    spent = _timed(run, rows[:count])[0]
    while count < most and spent < seconds:
        # A run takes up to four times as long with twice the latents.
        count = min(most, 2 * count if spent > seconds / 4 else 4 * count)
        spent = _timed(run, rows[:count])[0]
    half = max(1, count // 2)
    shorter = min(_timed(run, rows[:half])[0] for _ in range(2))
    longer, threads = _timed(run, rows[:count])
    longer = min(longer, spent)
    # T(s) = s * source + s * s / 2 * pair
    pair, ratio = 0.0, count / half
    if count > half:
        pair = 2 * (longer - ratio * shorter) / (count * count - ratio * half * half)
        pair = max(0.0, min(pair, 2 * longer / count**2))
    source = max(0.0, longer - pair * count * count / 2) / count
    return Rate(source, pair, threads, count)


def _timed(run: Callable[[NDArray[Any]], int], rows: NDArray[Any]) -> tuple[float, int]:
    began = time.perf_counter()
    threads = run(rows)
    return time.perf_counter() - began, threads


def shortage(plan: Plan, local_ranks: int, folder: Path, free_memory: int | None) -> str:
    """Say what does not fit on this machine; an empty text if all does.

    Parameters
    ----------
    plan : Plan
    local_ranks : int
        Ranks on this machine.
    folder : Path
        The folder of the pairs, which need not exist.
    free_memory : int or None
        Bytes; None if nobody knows.
    """
    needed = plan.memory * local_ranks
    if free_memory is not None and needed > free_memory:
        fit = max(1, math.ceil(plan.machines * needed / max(1, free_memory)))
        return (
            f"{local_ranks} process{'es' if local_ranks > 1 else ''} on this machine would need "
            f"{format_bytes(needed)} of memory, and {format_bytes(free_memory)} are free; "
            f"about {fit} machines like this could hold the run"
        )
    near = folder.absolute()
    while not near.exists() and near != near.parent:
        near = near.parent
    free = shutil.disk_usage(near).free
    if plan.out_bytes > free:
        return (
            f"the pairs take {format_bytes(plan.out_bytes)}, and the disk of --out has "
            f"{format_bytes(free)} free; --indices-only leaves out the rows"
        )
    return ""


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process could have: of the system, or what its container allows.

    Parameters
    ----------
    root : Path
        Folder that holds `proc` and `sys`.
    """
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        line = next(each for each in lines if each.startswith("MemAvailable:"))
        found.append(1024 * int(line.split()[1]))
    group = root / "sys/fs/cgroup"
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int((group / most).read_text()) - int((group / used).read_text()))
    return max(0, min(found)) if found else None

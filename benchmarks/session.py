"""Shares processes, deadline, forecasts and right answers among the contests of one run.

A session with a budget of seconds keeps idle processes for later problems, and leaves out what
would exceed the limit of a row or the budget, judged by the same row's times at smaller n. A
session without one judges by the peers' expected costs.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data
from benchmarks.internals import format_bytes, format_seconds
from benchmarks.peer import Peer, Rows
from benchmarks.process import Worker, WorkerFailed

COPIES = 3  # of the inputs: the harness has one, the peer another, and needs memory to work in
ROWS_A_SECOND = 1e8  # coordinates that data.py draws in a second, at least


@dataclass(frozen=True)
class Case:
    """One problem: latents of a data set or a file, and Gaussian sources."""

    data: str
    n: int
    dim: int
    file: Path | None = None

    def __str__(self) -> str:
        """Name shape and data, as a title."""
        return f"{self.n:,} × {self.dim}, {self.data}"

    def make(self) -> tuple[Rows, Rows]:
        """Make latents and sources."""
        if self.file is not None:
            return data.read(self.file), data.sources(self.n, self.dim)
        return data.latents(self.data, self.n, self.dim), data.sources(self.n, self.dim)


def available_bytes() -> float:
    """Return the memory that can be had without swapping, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024.0
    except OSError:
        pass
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


class Session:
    """Shared state of the contests of one run; a context manager that ends its processes."""

    def __init__(self, budget: float = math.inf) -> None:
        self.budget = budget  # seconds for all contests
        self.digests: dict[Case, str] = {}  # of the right answers so far
        self._deadline = time.monotonic() + budget
        self._runs: dict[tuple[str, int], dict[int, float]] = {}  # by peer and dim: n -> seconds
        self._idle: dict[Hashable, Worker] = {}

    def __enter__(self) -> Session:
        """Return the session."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End idle processes."""
        for worker in self._idle.values():
            worker.close()
        self._idle.clear()

    def take(self, key: Hashable, threads: int, environment: dict[str, str]) -> Worker:
        """Return the idle process of ``key``, or start one."""
        return self._idle.pop(key, None) or Worker(threads, environment)

    def give_back(self, key: Hashable, worker: Worker, idle: bool) -> None:
        """Keep an idle process for a later contest, without its arrays; else end it."""
        try:
            if idle and self.budget < math.inf:
                worker.ask("forget")
                self._idle[key] = worker
                return
        except WorkerFailed:  # the process has died since its last run
            pass
        worker.close()

    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self._deadline - time.monotonic()

    def learn(self, peer: Peer, case: Case, seconds: float) -> None:
        """Remember a run; infinity for one that was ended."""
        self._runs.setdefault((peer.name, case.dim), {})[case.n] = seconds

    def forecast(self, peer: Peer, case: Case) -> float:
        """Expect the growth of the last two sizes, or n² after one size; 0 after none.

        A forecast decides that a run starts. No table shows one.
        """
        known = self._runs.get((peer.name, case.dim), {})
        sizes = sorted(n for n in known if n < case.n)[-2:]
        if not sizes:
            return 0.0
        last, growth = known[sizes[-1]], 2.0
        if len(sizes) == 2 and last < math.inf:
            grown = math.log(last / known[sizes[0]]) / math.log(sizes[1] / sizes[0])
            growth = min(max(grown, 1.0), 2.0)
        return float(last * (case.n / sizes[-1]) ** growth)

    def refusal(self, peer: Peer, case: Case, limit: float) -> str:
        """Say why a run of at most ``limit`` seconds is not even started; empty if it is."""
        cost = peer.cost(case.n, case.dim, limit)
        allowed = format_seconds(limit)
        if self.budget == math.inf and cost.seconds > limit:
            about = format_seconds(cost.seconds)
            return f"not run: would take about {about}, the limit is {allowed} (--limit)"
        needed, there = max(cost.bytes, COPIES * 8 * case.n * case.dim), available_bytes()
        if needed > there:
            about, here = format_bytes(int(needed)), format_bytes(int(there))
            return f"not run: would need about {about}, {here} are available"
        if self.budget == math.inf:
            return ""
        expected = self.forecast(peer, case)
        if expected == math.inf:
            return "not run: a smaller n exceeded the limit"
        if expected > limit:
            return f"not run: judged by smaller n, would exceed the limit of {allowed} a row"
        if 2 * case.n * case.dim / ROWS_A_SECOND + expected > self.left():
            budget = format_seconds(self.budget)
            return f"not run: would exceed what is left of the budget of {budget}"
        return ""

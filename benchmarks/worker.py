"""The process that runs peers: ``python -m benchmarks.worker``, started by process.py.

It reads one request a line from stdin and answers each with one line of JSON on what was stdout;
what libraries print goes to stderr. Requests: ``read`` or ``make`` (the arrays), ``load`` (a peer
on them), ``run`` (one timed run), ``check`` (its answer), and rates of the machine (floors.py).
Several peers may be loaded at once. It ends when stdin does.

What a run costs is read here, in the process that does the work:
- seconds: wall clock, from arrays in memory to an assignment in memory.
- cpu_seconds: of all threads of this process, user and system.
- peak_bytes: the most that was resident during the run, everything included: interpreter,
  libraries, the inputs and the work. The kernel's high-water mark (VmHWM), set back before the
  run; where it cannot be read, the process's largest ever (ru_maxrss).
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import check, data, device, floors
from benchmarks.answer import Answer, Assignment, Rows
from benchmarks.peer import Budget, Peer
from benchmarks.peers import BY_NAME

Reply = dict[str, Any]


def reset_peak() -> None:
    """Set the kernel's high-water mark back to what is resident now, where it has one."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes() -> int:
    """Return the largest resident size since ``reset_peak``."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


class Loaded:
    """A peer with its arrays, which lie where it wants them."""

    def __init__(self, peer: Peer, latents: Rows, sources: Rows, budget: Budget) -> None:
        self.peer = peer
        self.latents = peer.place(latents)
        self.sources = peer.place(sources)
        self.budget = budget
        self.assignment: Assignment | None = None  # of the last run

    def warm(self, rows: int) -> None:
        """Run on the first rows: what is loaded or made on first use is there then."""
        if rows:
            self.peer.match(self.latents[:rows], self.sources[:rows], self.budget)

    def run(self, save: str) -> Reply:
        """Run once and measure; write the assignment to ``save`` if that is not empty."""
        reset_peak()
        cpu, start = time.process_time(), time.perf_counter()
        answer = self.peer.match(self.latents, self.sources, self.budget)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        peak = peak_bytes()
        self.assignment = answer.assignment
        if save:
            np.save(save, answer.assignment)
        return {
            "peak_bytes": peak,
            "digest": hashlib.sha256(answer.assignment.tobytes()).hexdigest(),
            "note": answer.note,
            "stats": answer.stats,
            **scaled(answer, seconds, cpu_seconds),
        }


def scaled(answer: Answer, seconds: float, cpu_seconds: float) -> Reply:
    """Times of the whole, where a part of the sources stands for it."""
    visited = int(np.count_nonzero(answer.assignment >= 0))
    left_out = len(answer.assignment) / max(visited, 1) - 1
    added = answer.loop_seconds * left_out
    return {
        "seconds": seconds + added,
        "cpu_seconds": cpu_seconds * (1 + added / seconds),
        "estimated": left_out > 0,
    }


class Server:
    """The arrays and the peers on them, between requests."""

    def __init__(self) -> None:
        self.arrays: tuple[Rows, Rows] | None = None  # latents, sources
        self.loaded: dict[str, Loaded] = {}
        self.answers: dict[str, Callable[..., Reply]] = {
            **{"read": self.read, "make": self.make, "load": self.load},
            **{"run": self.run, "check": self.check},
            **{"sgemm": floors.sgemm, "int8": floors.int8, "cuda": floors.cuda},
        }

    def read(self, latents: str, sources: str) -> Reply:
        """Take the arrays from files."""
        return self._hold(lambda: (np.load(latents), np.load(sources)))

    def make(self, name: str, n: int, dim: int) -> Reply:
        """Take latents of a data set, and sources."""
        return self._hold(lambda: (data.latents(name, n, dim), data.sources(n, dim)))

    def _hold(self, arrays: Callable[[], tuple[Rows, Rows]]) -> Reply:
        self.loaded.clear()
        self.arrays = None  # both old and new might not fit
        device.release()
        self.arrays = arrays()
        return {"inputs_bytes": sum(rows.nbytes for rows in self.arrays)}

    def load(self, peer: str, threads: int, seconds: float, warm_rows: int) -> Reply:
        """Prepare a peer; its first ``warm_rows`` rows are matched to warm it up."""
        named = BY_NAME[peer]
        assert self.arrays is not None
        self.loaded[peer] = Loaded(named, *self.arrays, Budget(threads, seconds))
        self.loaded[peer].warm(warm_rows)
        return {}

    def run(self, peer: str, save: str) -> Reply:
        """Run a peer once."""
        return self.loaded[peer].run(save)

    def check(self, peer: str, reference: str, sample: int) -> Reply:
        """Hold a peer's last answer to the oracle, or to the one in the file ``reference``."""
        assert self.arrays is not None
        loaded = self.loaded[peer]
        assert loaded.assignment is not None
        if not reference:
            return {"passed": check.check_exact(*self.arrays, loaded.assignment, sample)}
        check.check_same(loaded.peer.kind, *self.arrays, loaded.assignment, np.load(reference))
        return {"passed": "identical" if loaded.peer.kind == "contract" else "as good"}

    def serve(self, request: Reply) -> Reply:
        """Answer one request."""
        return self.answers[request["do"]](**request.get("arguments", {}))


def answer(server: Server, request: Reply) -> Reply:
    """Answer a request; whatever a peer raises becomes its row."""
    try:
        return server.serve(request)
    except Exception as error:
        lines = str(error).splitlines()
        words = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
        wrong = str(error) if isinstance(error, check.WrongAnswer) else ""
        return {"error": words, "wrong": wrong}


def main() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        json.dump(answer(server, json.loads(line)), replies, default=str)
        replies.write("\n")
        replies.flush()


if __name__ == "__main__":
    main()

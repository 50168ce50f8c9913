"""The process that runs peers: ``python -m benchmarks.worker``, started by process.py.

It reads one request a line from stdin and answers each with one line of JSON on what was stdout;
what libraries print goes to stderr. Requests: ``load`` (arrays from files, and a peer on them),
``run`` (one timed run), ``forget``, and rates of the machine (floors.py). It ends when stdin does.

The costs of a run are measured here, in the process that does the work:
- seconds: wall clock, from arrays in memory to an assignment in memory; of the whole problem, where
  a peer answered for a part of the sources. wall_seconds: of the part that ran.
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

from benchmarks import device, floors
from benchmarks.peer import Answer, Budget, Peer, Rows
from benchmarks.peers import BY_NAME

Reply = dict[str, Any]

# Arrays of so many bytes are mapped from their file: processes share the pages.
MAPPED_BYTES = 1 << 30


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
        self.latents, self.sources = peer.place(latents), peer.place(sources)
        self.budget = budget

    def match(self, rows: int | None = None) -> Answer:
        """Match all rows or the first ``rows``."""
        return self.peer.match(self.latents[:rows], self.sources[:rows], self.budget)

    def run(self, save: str) -> Reply:
        """Run once and measure; write the assignment to ``save`` unless that is empty."""
        reset_peak()
        cpu, start = time.process_time(), time.perf_counter()
        answer = self.match()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        peak = peak_bytes()
        prices = ""
        if save:
            np.save(save, answer.assignment)
            if answer.prices is not None:
                prices = f"{save}.prices.npy"
                np.save(prices, answer.prices)
        return {
            "prices": prices,
            "peak_bytes": peak,
            "digest": hashlib.sha256(answer.assignment.tobytes()).hexdigest(),
            "note": answer.note,
            "stats": answer.stats,
            "wall_seconds": seconds,
            **scaled(answer, seconds, cpu_seconds),
        }


def scaled(answer: Answer, seconds: float, cpu_seconds: float) -> Reply:
    """Scale the times to the whole problem where a part of the sources stands for it."""
    visited = int(np.count_nonzero(answer.assignment >= 0))
    left_out = len(answer.assignment) / max(visited, 1) - 1
    added = answer.loop_seconds * left_out
    return {
        "seconds": seconds + added,
        "cpu_seconds": cpu_seconds * (1 + added / seconds),
        "estimated": left_out > 0,
    }


def read(path: str) -> Rows:
    """Read an array, or map it if it is large."""
    large = Path(path).stat().st_size >= MAPPED_BYTES
    return np.asarray(np.load(path, mmap_mode="c" if large else None))


class Server:
    """Holds a peer and its arrays between requests."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None
        self.answers: dict[str, Callable[..., Reply]] = {
            **{"load": self.load, "forget": self.forget, "run": self.run},
            **{"sgemm": floors.sgemm, "int8": floors.int8, "cuda": floors.cuda},
        }

    def load(
        self,
        peer: str,
        latents: str,
        sources: str,
        threads: int,
        limit: float,
        warm_rows: int,
    ) -> Reply:
        """Prepare a peer on the arrays of two files; match the first rows to warm it up."""
        self.forget()  # both old and new arrays might not fit
        arrays = read(latents), read(sources)
        self.loaded = Loaded(BY_NAME[peer], *arrays, Budget(threads, limit))
        if warm_rows:
            self.loaded.match(warm_rows)
        return {"inputs_bytes": sum(rows.nbytes for rows in arrays)}

    def forget(self) -> Reply:
        """Free the peer and its arrays."""
        self.loaded = None
        device.release()
        return {}

    def run(self, save: str) -> Reply:
        """Run the peer once."""
        assert self.loaded is not None
        return self.loaded.run(save)

    def answer(self, request: Reply) -> Reply:
        """Answer a request; an exception of a peer becomes the note of its row."""
        try:
            return self.answers[request["do"]](**request.get("arguments", {}))
        except Exception as error:
            lines = str(error).splitlines()
            return {"error": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"}


def main() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        json.dump(server.answer(json.loads(line)), replies, default=str)
        replies.write("\n")
        replies.flush()


if __name__ == "__main__":
    main()

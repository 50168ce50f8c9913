"""The process that runs one peer: ``python -m benchmarks.worker``, started by process.py.

It reads one request a line from stdin and answers each with one line of JSON on what was stdout;
what libraries print goes to stderr. Requests: ``load`` (a peer and its arrays), ``run`` (one
timed run), ``sgemm`` and ``int8`` (the floors). It ends when stdin does.

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

from benchmarks import floors
from benchmarks.answer import Answer, Rows
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
    """A peer with its arrays."""

    def __init__(self, peer: Peer, latents: Rows, sources: Rows, budget: Budget) -> None:
        self.peer = peer
        self.latents = latents
        self.sources = sources
        self.budget = budget

    def run(self, save: str) -> Reply:
        """Run once and measure; write the assignment to ``save`` if that is not empty."""
        reset_peak()
        cpu, start = time.process_time(), time.perf_counter()
        answer = self.peer.match(self.latents, self.sources, self.budget)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        peak = peak_bytes()
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


def serve(request: Reply, state: dict[str, Loaded]) -> Reply:
    """Answer one request."""
    what = request["do"]
    if what == "load":
        peer = BY_NAME[request["peer"]]
        latents, sources = np.load(request["latents"]), np.load(request["sources"])
        budget = Budget(request["threads"], request["seconds"])
        state["loaded"] = Loaded(peer, latents, sources, budget)
        return {"inputs_bytes": latents.nbytes + sources.nbytes}
    if what == "run":
        return state["loaded"].run(request["save"])
    measures: dict[str, Callable[..., Reply]] = {"sgemm": floors.sgemm, "int8": floors.int8}
    return measures[what](**request["arguments"])


def main() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    state: dict[str, Loaded] = {}
    for line in sys.stdin:
        try:
            reply = serve(json.loads(line), state)
        except Exception as error:  # whatever a peer raises becomes its row
            lines = str(error).splitlines()
            reply = {"error": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"}
        json.dump(reply, replies, default=str)
        replies.write("\n")
        replies.flush()


if __name__ == "__main__":
    main()

"""This project over several processes of this machine: gtn_label.cluster.match_sharded on gloo.

The processes live as long as the peer's own. Each holds its rows before the clock starts: every
second (third, ...) latent, and a slice of the sources. They share the threads that one process of
``match`` gets. CPU seconds and peak memory of a row are those of the peer's own process, which only
waits: the time is what counts here.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import socket
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer import Answer, Budget, Peer, Rows, needs

PHASES = ("search", "decide", "exchange", "merge", "walk", "remove")


@dataclass(frozen=True)
class Placed:
    """Rows in a file, from which each process takes its part."""

    path: str
    count: int

    def __getitem__(self, rows: slice) -> Placed:
        """Return the first rows."""
        return replace(self, count=len(range(*rows.indices(self.count))))


class Ranks:
    """The processes of one world, and the files of their rows."""

    def __init__(self, world: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        for rank in range(world):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(rank, world, port, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        atexit.register(self.close)

    def match(self, latents: Placed, sources: Placed, threads: int) -> Answer:
        """Match on all ranks, and put their parts together."""
        for pipe in self._pipes:
            pipe.send((latents, sources, threads))
        assignment = np.full(sources.count, -1, dtype=np.int64)
        parts: list[dict[str, Any]] = []
        for pipe in self._pipes:
            rows, taken, stats = pipe.recv()
            assignment[rows] = taken
            parts.append(stats)
        slowest = {name: max(part["seconds"][name] for part in parts) for name in PHASES}
        note = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest.items())
        return Answer(assignment, note=f"of the slowest rank: {note}", stats=parts[0])

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()


def serve(rank: int, world: int, port: int, pipe: Connection) -> None:
    """Match whenever asked, as one rank."""
    from gtn_label.cluster import TorchExchange, match_sharded

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    held: tuple[Any, ...] = ()
    with TorchExchange() as exchange:
        while True:
            try:
                latents, sources, threads = pipe.recv()
            except EOFError:
                return
            if held[:2] != (latents, sources):
                index = np.arange(rank, latents.count, world)
                slices = np.arange(
                    sources.count * rank // world, sources.count * (rank + 1) // world
                )
                held = (
                    latents,
                    sources,
                    read(latents, index),
                    index,
                    read(sources, slices),
                    slices,
                )
            _, _, x, index, y, slices = held
            result = match_sharded(
                x, y, index=index, source_index=slices, threads=threads, exchange=exchange
            )
            pipe.send((slices, result.assignment, dict(result.stats)))


def read(placed: Placed, index: np.ndarray[Any, Any]) -> Rows:
    """Read rows of a file."""
    return np.asarray(np.load(placed.path, mmap_mode="r")[index])


RANKS: dict[int, Ranks] = {}
FILES: list[tempfile.TemporaryDirectory[str]] = []


def place(rows: Rows) -> Placed:
    """Write rows to a file of the session."""
    if not FILES:
        FILES.append(tempfile.TemporaryDirectory())
    path = Path(FILES[0].name) / f"{len(list(Path(FILES[0].name).iterdir()))}.npy"
    np.save(path, rows)
    return Placed(str(path), len(rows))


def match(world: int, latents: Placed, sources: Placed, budget: Budget) -> Answer:
    """Match exactly by the numeric contract, on so many processes."""
    if world not in RANKS:
        RANKS[world] = Ranks(world)
    return RANKS[world].match(latents, sources, max(1, budget.threads // world))


PEERS = tuple(
    Peer(
        name=f"gtn_label:ranks_{world}",
        title=f"gtn_label, {world} rank{'s' if world > 1 else ''} over gloo",
        kind="contract",
        match=partial(match, world),
        what=f"match_sharded on {world} process{'es' if world > 1 else ''} that share the threads",
        advice="when the latents do not fit one machine",
        missing=needs("torch", "torch", "torch"),
        place=place,
    )
    for world in (1, 2)
)

"""Ranks as threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class _Room:
    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=20)
        self.sent: list[bytes] = [b""] * world
        self.received = 0


class ThreadExchange:
    def __init__(self, room: _Room, rank: int, world: int) -> None:
        self._room, self.rank, self.world = room, rank, world
        self.received = 0

    def all_gather(self, send: memoryview, recv: memoryview) -> None:
        room = self._room
        room.sent[self.rank] = bytes(send)
        room.barrier.wait()
        joined = b"".join(room.sent)
        room.barrier.wait()
        recv[:] = joined
        self.received += len(joined)


class DirectExchange(ThreadExchange):
    def all_to_all(self, send: memoryview, recv: memoryview) -> None:
        room, each = self._room, len(send) // self.world
        room.sent[self.rank] = bytes(send)
        room.barrier.wait()
        joined = b"".join(part[self.rank * each : (self.rank + 1) * each] for part in room.sent)
        room.barrier.wait()
        recv[:] = joined
        self.received += len(joined)


def on_ranks(world: int, work: Callable[[Any], Any], kind: type = ThreadExchange) -> list[Any]:
    """Run `work(exchange)` on ranks, and return what each returned or raised."""
    room = _Room(world)
    found: list[Any] = [None] * world

    def run(rank: int) -> None:
        try:
            found[rank] = work(kind(room, rank, world))
        except BaseException as error:
            found[rank] = error
            if not getattr(error, "_on_all_ranks", False):
                room.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found

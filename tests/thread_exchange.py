"""Threads of one process as the ranks of a sharded run.

`run_ranks` calls a function on each rank. The first error ends the other ranks, and is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gtn_label.cluster.exchange import departure, leave, left

SECONDS = 60.0  # a rank that waits longer for the others has been left alone by a fault


class Meeting:
    """What the ranks share."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.barrier = threading.Barrier(world, timeout=SECONDS)
        self.sent: list[bytes] = [b""] * world
        self.reason: str | None = None
        self.lock = threading.Lock()


class ThreadExchange:
    """The exchange of one thread; counts its collectives and the bytes it receives."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self._meeting = meeting
        self.rank, self.world = rank, meeting.world
        self.collectives = self.received = 0

    def all_gather(self, send: memoryview, recv: memoryview) -> None:
        """Wait for all threads, and take the bytes of each."""
        meeting = self._meeting
        meeting.sent[self.rank] = bytes(send)
        self._wait()
        assert {len(part) for part in meeting.sent} == {len(send)}
        assert len(recv) == self.world * len(send)
        recv[:] = b"".join(meeting.sent)
        self.collectives += 1
        self.received += len(recv)
        self._wait()

    def abort(self, error: BaseException) -> None:
        """End the waits of all threads."""
        with self._meeting.lock:
            if self._meeting.reason is None:
                self._meeting.reason = departure(self.rank, error)
        self._meeting.barrier.abort()

    def _wait(self) -> None:
        try:
            self._meeting.barrier.wait()
        except threading.BrokenBarrierError:
            if self._meeting.reason is None:
                raise
            raise left(self._meeting.reason) from None


def run_ranks(world: int, work: Callable[[Any], Any]) -> list[Any]:
    """Return what each rank returns; raise the error of the rank that failed first."""
    outcomes = outcomes_of(world, work)
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    if errors:
        raise next((each for each in errors if not _by_another(each)), errors[0])
    return outcomes


def outcomes_of(world: int, work: Callable[[Any], Any]) -> list[Any]:
    """Return what each rank returns or raises."""
    meeting = Meeting(world)
    outcomes: list[Any] = [None] * world

    def call(rank: int) -> None:
        exchange = ThreadExchange(meeting, rank)
        try:
            outcomes[rank] = work(exchange)
        except BaseException as error:
            outcomes[rank] = error
            leave(exchange, error)

    threads = [threading.Thread(target=call, args=(rank,), daemon=True) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
        assert not thread.is_alive(), "a rank hangs"
    return outcomes


def _by_another(error: BaseException) -> bool:
    return "has left the run" in str(error) or "was interrupted" in str(error)

"""Work that each rank does by itself, for as long as it takes.

A rank that waits for another gives up after a time limit, and knows nothing of an error there.
Therefore all ranks exchange a few bytes from time to time until all have come to their end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from .exchange import Exchange, gather, settle

__all__ = ["Beats", "apart"]

EVERY = 20.0  # seconds between two exchanges
_AT_WORK, _ENDED, _FAILED = 0, 1, 2


class _OtherFailedError(Exception):
    """Another rank has failed, and waits to tell why."""


class Beats:
    """The exchanges of ranks that work by themselves.

    Parameters
    ----------
    exchange : Exchange
    every : float, optional
        Most seconds between two exchanges, if that is less than `EVERY`.
    then : callable, optional
        Called on all ranks in each exchange, unless a rank has failed; may exchange more.

    Attributes
    ----------
    own : int
        What this rank has done, by its own count; the work writes it.
    others : int
        What all other ranks had done at the last exchange.
    broken : bool
        True if an exchange failed, so that no further one can follow.
    """

    def __init__(
        self,
        exchange: Exchange,
        every: float | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        self._exchange = exchange
        self._every = EVERY if every is None else min(every, EVERY)
        self._then = then
        self._next = time.monotonic() + self._every
        self.own = self.others = 0
        self.broken = False

    def keep(self) -> None:
        """Exchange if the time has come; the work calls this often."""
        if time.monotonic() >= self._next:
            self.exchange(_AT_WORK)

    def exchange(self, state: int) -> bool:
        """Tell this rank's state, and return True if all ranks have ended."""
        self.broken = True
        found = gather(self._exchange, np.array([self.own, state], np.int64))
        failed = (found[:, 1] == _FAILED).any()
        if self._then is not None and not failed:
            self._then()
        self.broken = False
        self._next = time.monotonic() + self._every
        self.others = int(found[:, 0].sum()) - self.own
        if state != _FAILED and failed:
            raise _OtherFailedError
        return bool((found[:, 1] == _ENDED).all())


def apart(
    exchange: Exchange,
    work: Callable[[Beats], None],
    every: float | None = None,
    then: Callable[[], None] | None = None,
) -> None:
    """Let each rank do its work, in which nothing else is exchanged. A collective call.

    Parameters
    ----------
    exchange : Exchange
    work : callable
        Called with `Beats`, whose `keep` it calls often.
    every, then
        As for `Beats`.

    Raises
    ------
    Exception
        On all ranks, what the work of the lowest failing rank raises.
    """
    beats = Beats(exchange, every, then)
    error: Exception | None = None
    try:
        work(beats)
        while not beats.exchange(_ENDED):
            pass
    except _OtherFailedError:
        pass
    except Exception as found:
        if beats.broken:
            raise
        error = found
        beats.exchange(_FAILED)
    settle(exchange, error)

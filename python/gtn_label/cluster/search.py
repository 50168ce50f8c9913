"""The search of one sharded run: what its journal restores, then all other sources, by chunks.

The engine compares a hash of all choices in each exchange. What it has not compared yet is not
saved, so that a rank with faulty memory spoils no journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from ..io.journal import CHOICES
from ..progress import Progress, ProgressCallback
from ..run import in_turn
from .exchange import Exchange, together
from .feed import Feed
from .group_journal import Windows
from .journal import RunJournal, records_of_all

__all__ = ["Counted", "Search"]

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class Counted:
    """An exchange for the engine, which counts its collectives."""

    def __init__(self, exchange: Exchange) -> None:
        self.rank, self.world = exchange.rank, exchange.world
        self._all_gather = exchange.all_gather
        self.count = 0

    def all_gather(self, send: memoryview, recv: memoryview) -> None:
        """Exchange, and count that."""
        self._all_gather(send, recv)
        self.count += 1


class Search:
    """Decides the sources of all ranks, and keeps what this rank's sources took.

    Parameters
    ----------
    exchange : Exchange
    counted : Counted
        The exchange that the engine has.
    engine : _core.ShardedMatch
    feed : Feed
    longest : int
        Sources of a chunk.
    journal : RunJournal or Windows, optional
        On all ranks or on none; rank 0 uses the file.

    Attributes
    ----------
    engine : _core.ShardedMatch
    assignment : int64 [n_r]
    cosine : float64 [n_r]
    start : int
        Number of sources that the journal had decided.
    seconds_of_feed : float
    """

    def __init__(
        self,
        exchange: Exchange,
        counted: Counted,
        engine: _core.ShardedMatch,
        feed: Feed,
        longest: int,
        journal: RunJournal | Windows | None,
    ) -> None:
        self._exchange, self._counted, self.engine = exchange, counted, engine
        self._feed, self._longest, self._journal = feed, longest, journal
        self.assignment = np.full(feed.own, -1, np.int64)
        self.cosine = np.full(feed.own, np.nan)
        self.start = 0
        self.seconds_of_feed = 0.0

    def restore(self, fields: dict[str, Any], index: Indices, m: int) -> None:
        """Open the journal, and take its records for decided.

        Parameters
        ----------
        fields
            The run's `run_fields`.
        index : int64 [m_r]
            Global rows of this rank's latents, ascending.
        m
            Number of latents of all ranks.

        Raises
        ------
        ValueError, OSError
            On all ranks, if the journal is of no use.
        """
        if self._journal is None:
            return
        pieces: Iterator[npt.NDArray[Any]] = iter(())
        with together(self._exchange):
            if self._exchange.rank == 0:
                self._journal.begin(fields)
                pieces = self._journal.records(self._feed.total)
        taken = np.zeros(len(index), bool)
        for piece in records_of_all(self._exchange, pieces, CHOICES):
            latents, cosines = (np.ascontiguousarray(piece[each]) for each in ("latent", "cosine"))
            with together(self._exchange):
                self._check(latents, index, m, taken)
            self.engine.remove(latents)
            for begin in range(0, len(piece), self._longest):
                here = slice(begin, min(len(piece), begin + self._longest))
                self._keep(self.start + begin, latents[here], cosines[here])
            self.start += len(piece)

    def run(
        self,
        progress: bool | ProgressCallback | None,
        m: int,
        check: Callable[[], None] | None,
    ) -> None:
        """Search for all sources that are not decided yet; save what was decided if that fails.

        Parameters
        ----------
        progress
            As in `match`; shown by rank 0.
        m
            Number of latents of all ranks.
        check
            Called about every 50 ms; raises if this rank's input has changed.
        """
        total, first = self._feed.total, self._exchange.rank == 0
        with Progress(progress if first else None, total, m, self.start) as bar:
            for begin in range(self.start, total, self._longest):
                end = min(total, begin + self._longest)
                since = time.perf_counter()
                part = self._feed.part(begin, end)
                self.seconds_of_feed += time.perf_counter() - since
                assert part.rows is not None
                latents, cosines = np.empty(end - begin, np.int64), np.empty(end - begin)
                saved = self._saver(latents, cosines) if first else None
                poll = in_turn(check, saved, _shifted(bar, begin) if first else None)
                self.engine.run(part.rows, latent=latents, cosine=cosines, poll=poll)
                if saved is not None:
                    saved(end - begin, True)
                self.assignment[part.mine] = latents[part.places]
                self.cosine[part.mine] = cosines[part.places]
        if first and self._journal is not None:
            self._journal.ended()

    def _saver(self, latents: Indices, cosines: Values) -> Callable[..., None] | None:
        """Make the function that notes in the journal what all ranks are known to agree on."""
        journal = self._journal
        if journal is None:
            return None
        noted = reported = 0  # sources in the journal; sources decided at the last collective
        compared = self._counted.count

        def save(done: int, agreed: bool = False) -> None:
            nonlocal noted, reported, compared
            if agreed:
                reported = done
            elif self._counted.count == compared:
                return
            journal.add(latents[noted:reported], cosines[noted:reported])
            noted, reported, compared = reported, done, self._counted.count

        return save

    def _keep(self, begin: int, latents: Indices, cosines: Values) -> None:
        """Keep what this rank's sources took, of records from position `begin`."""
        part = self._feed.part(begin, begin + len(latents), with_rows=False)
        self.assignment[part.mine] = latents[part.places]
        self.cosine[part.mine] = cosines[part.places]

    def _check(
        self, latents: Indices, index: Indices, m: int, taken: npt.NDArray[np.bool_]
    ) -> None:
        """Mark this rank's rows among those of records; raise for what no run can have written."""
        assert self._journal is not None
        if latents.min() < 0 or latents.max() >= m:
            raise self._journal.refusal("holds rows that are no latents")
        if len(index) == 0:
            return
        places = np.searchsorted(index, latents).clip(max=len(index) - 1)
        places = places[index[places] == latents]
        if taken[places].any() or len(np.unique(places)) < len(places):
            raise self._journal.refusal("holds a latent twice")
        taken[places] = True


def _shifted(bar: Progress, begin: int) -> Callable[[int], None]:
    """Report positions of a chunk as those of the run."""
    return lambda done: bar(begin + done)

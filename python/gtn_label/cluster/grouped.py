"""A sharded run with groups: each group whole on one rank, without messages while that searches.

Rows of a group travel to the rank that matches it (delivery.py), and what its sources took travels
back. A group with more work than a rank's share is matched by all ranks as a run without groups is,
by the places of its latents within the group. Not here: the match of a rank's own groups
(batches.py) and the journal (group_journal.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..progress import Progress, ProgressCallback
from .apart import Beats, apart
from .batches import Alone, Batch, batches
from .delivery import deliver
from .exchange import Exchange, gather_rows
from .fetch import ROUND_BYTES, fetch_rows
from .group_journal import GroupJournal
from .groups import SHARED, Groups, most_alone, plan_of
from .journal import RunJournal
from .search import Search
from .sides import Side

__all__ = ["GroupedSearch"]

Indices = npt.NDArray[np.int64]

_BLOCK = 1 << 20  # global rows that are numbered at once
_ANSWER = np.dtype([("latent", np.int64), ("cosine", np.float64)])
_COUNTS = (  # of `match` that are added up
    *("instruction_set", "arithmetic", "threads", "windows", "distinct_latents", "candidates"),
    *("retries", "conflicts", "rescans", "full_scans"),
)
_SECONDS = ("encode", "search", "decide", "walk", "remove")


class GroupedSearch:
    """Decides the sources of all groups, and keeps what this rank's sources took.

    Parameters
    ----------
    exchange : Exchange
    groups : Groups
    sources, latents : Side
    norms : float64 [n_r]
        Of this rank's sources.
    threads : int
    search_of : callable
        Makes a `Search` of (exchange, latents, sources, norms of the sources, threads, journal).
    alone : Alone
        Matches the groups that go to one rank.
    journal : RunJournal, optional

    Attributes
    ----------
    assignment : int64 [n_r]
        Global rows of latents.
    cosine : float64 [n_r]
    stats : dict
        Counts and seconds of this rank, over all its groups.
    start : int
        Number of sources that the journal had decided.
    """

    def __init__(
        self,
        exchange: Exchange,
        groups: Groups,
        sources: Side,
        latents: Side,
        norms: npt.NDArray[np.float64],
        threads: int,
        search_of: Callable[..., Search],
        alone: Alone,
        journal: RunJournal | None,
    ) -> None:
        self._exchange, self._groups = exchange, groups
        self._sources, self._latents, self._norms = sources, latents, norms
        self._threads, self._search_of, self._alone = threads, search_of, alone
        self._journal: GroupJournal | None = None
        if journal is not None:
            self._journal = GroupJournal(exchange, journal, groups, sources, latents)
        self.assignment = np.full(len(sources.rows), -1, np.int64)
        self.cosine = np.full(len(sources.rows), np.nan)
        self.stats: dict[str, Any] = {
            "threads": threads,
            **dict.fromkeys(("instruction_set", "arithmetic"), "none"),  # without a group here
            **dict.fromkeys(("windows", "collectives", "bytes_received", "rescans"), 0),
            "seconds": {"feed": 0.0, "travel": 0.0},
        }
        self.start = 0
        self._done = 0  # sources of all ranks that are decided

    def restore(self, fields: dict[str, Any]) -> None:
        """Open the journal, and take its records for decided. A collective call.

        Parameters
        ----------
        fields
            The run's `run_fields`.

        Raises
        ------
        ValueError, OSError
            On all ranks, if the journal is of no use.
        """
        if self._journal is not None:
            self._journal.restore(fields, self.assignment, self.cosine)
            self.start = self._done = self._journal.records

    def run(
        self, progress: bool | ProgressCallback | None, check: Callable[[], None] | None
    ) -> None:
        """Match all groups. A collective call; arguments as for `Search.run`."""
        n, m = self._sources.total, self._latents.total
        sizes = [_Records(side, np.zeros(0)).dtype.itemsize for side in self._sides()]
        known: dict[str, Any] = {}
        if self._journal is not None:
            # All ranks together save by windows; a group of one rank is saved when it has ended.
            known = {
                "decided": self._journal.whole,
                "begun": self._journal.begun,
                "most_work": most_alone(self._latents.rows.shape[1]),
            }
        plan = plan_of(self._groups, self._exchange.world, (sizes[0], sizes[1]), **known)
        shared = np.flatnonzero(plan.rank == SHARED)
        self.stats["groups"] = len(plan.rank)
        self.stats["groups_shared"] = len(shared)
        self.stats["groups_here"] = int((plan.rank == self._exchange.rank).sum())
        first = self._exchange.rank == 0
        with Progress(progress if first else None, n, m, self.start) as bar:
            for number in shared.tolist():
                self._match_together(number, bar, check)
            for number in range(plan.rounds):
                self._match_apart(plan.rank, plan.round == number, bar, check)
            if self._journal is not None:
                self._journal.ended()
            bar(n)

    def _sides(self) -> tuple[Side, Side]:
        return self._sources, self._latents

    def _match_together(self, number: int, bar: Progress, check: Callable[[], None] | None) -> None:
        """Match one group through the loop of all ranks."""
        n, m = int(self._groups.n[number]), int(self._groups.m[number])
        own, candidates = (
            np.flatnonzero(each == number) for each in (self._groups.sources, self._groups.latents)
        )
        rows = self._latents.index[candidates]
        places = _places(self._exchange, rows, self._latents.total)
        latents = Side(None, self._latents.rows[candidates], places, m)
        sources = Side(None, self._sources.rows[own], self._sources.index[own], n)
        journal = None if self._journal is None else self._journal.windows(number)
        search = self._search_of(
            self._exchange, latents, sources, self._norms[own], self._threads, journal
        )
        search.restore({}, places, m)
        begin = self._done - search.start
        search.run(lambda done, *_: bar(begin + done), m, check)
        self._done = begin + n
        _add(self.stats, search.engine.stats())
        self.stats["seconds"]["feed"] += search.seconds_of_feed
        self.cosine[own] = search.cosine
        most = min(ROUND_BYTES, self._exchange.world * 24 * n)
        self.assignment[own] = fetch_rows(
            self._exchange, rows, places, search.assignment, round_bytes=most
        )

    def _match_apart(
        self,
        rank: Indices,
        now: npt.NDArray[np.bool_],
        bar: Progress,
        check: Callable[[], None] | None,
    ) -> None:
        """Match the groups of a round, each on its rank."""
        journal = self._journal
        since = time.perf_counter()
        arrived, counts, gone = [], [], []
        for side, numbers in zip(
            self._sides(), (self._groups.sources, self._groups.latents), strict=True
        ):
            going = np.flatnonzero(now[numbers])
            to = rank[numbers[going]]
            parts = deliver(self._exchange, _Records(side, numbers), going, to)
            arrived.append(parts[0])
            counts.append(parts[1])
            gone.append(going[np.argsort(to, kind="stable")])
        sources, latents = arrived
        answers = np.empty(len(sources), _ANSWER)
        self.stats["seconds"]["travel"] += time.perf_counter() - since

        def work(beats: Beats) -> None:
            for batch in batches(sources, latents, self._alone.memory):
                self._match_alone(sources, latents, batch, answers, beats, bar, check)

        if journal is None:
            apart(self._exchange, work)
        else:
            apart(self._exchange, work, journal.every, journal.collect)
            journal.collect()
        self._done += int(self._groups.n[now].sum())
        since = time.perf_counter()
        back = np.repeat(np.arange(self._exchange.world), counts[0])
        taken, _ = deliver(self._exchange, answers, np.arange(len(answers)), back)
        self.assignment[gone[0]] = taken["latent"]
        self.cosine[gone[0]] = taken["cosine"]
        self.stats["seconds"]["travel"] += time.perf_counter() - since

    def _match_alone(
        self,
        sources: npt.NDArray[Any],
        latents: npt.NDArray[Any],
        batch: Batch,
        answers: npt.NDArray[Any],
        beats: Beats,
        bar: Progress,
        check: Callable[[], None] | None,
    ) -> None:
        """Match the groups of a batch on this rank, and note the answers."""
        begin = beats.own

        def report(done: int, *_: Any) -> None:
            if check is not None:
                check()
            beats.own = begin + done
            beats.keep()
            bar(self._done + beats.own + beats.others)

        taken, cosines, stats = self._alone.match(sources, latents, batch, report)
        if check is not None:
            check()  # before the journal holds choices by rows that have changed
        if self._journal is not None:
            self._journal.note(sources["index"][batch.sources], taken, cosines)
        report(len(taken))
        seconds = {each: stats["seconds"].get(each, 0.0) for each in _SECONDS}
        _add(self.stats, {each: stats[each] for each in _COUNTS if each in stats})
        _add(self.stats["seconds"], seconds)
        answers["latent"][batch.sources] = taken
        answers["cosine"][batch.sources] = cosines


class _Records:
    """A rank's rows with global rows and groups, made when they are sent."""

    def __init__(self, side: Side, numbers: npt.NDArray[Any]) -> None:
        self._side, self._numbers = side, numbers
        row = ("row", side.rows.dtype, side.rows.shape[1:])
        self.dtype = np.dtype([("index", np.int64), ("group", np.int64), row])
        self.shape = (len(side.rows),)

    def __getitem__(self, which: Any, /) -> npt.NDArray[Any]:
        index = self._side.index[which]
        made = np.empty(len(index), self.dtype)
        made["index"], made["group"] = index, self._numbers[which]
        made["row"] = self._side.rows[which]
        return made


def _places(exchange: Exchange, rows: Indices, total: int) -> Indices:
    """Return the place of each of a rank's global rows among those of all ranks.

    Parameters
    ----------
    exchange : Exchange
    rows : int64 [k]
        Ascending.
    total : int
        All global rows are below.
    """
    places = np.empty(len(rows), np.int64)
    before = 0
    for begin in range(0, total, _BLOCK):
        first, last = np.searchsorted(rows, [begin, begin + _BLOCK])
        every = np.sort(np.concatenate(gather_rows(exchange, rows[first:last])))
        places[first:last] = before + np.searchsorted(every, rows[first:last])
        before += len(every)
    return places


def _add(total: dict[str, Any], part: dict[str, Any]) -> None:
    """Add counts and seconds of one search to those of all."""
    for name, value in part.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        elif name == "threads":
            total[name] = max(total[name], value)
        elif isinstance(value, str):
            total[name] = value
        else:
            total[name] = total.get(name, 0) + value

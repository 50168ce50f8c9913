"""The journal of a run with groups: what the sources of whole groups took, on rank 0's disk.

A record names its source, so that groups may end in any order and on any rank. A group that one
rank matches is saved whole, once it has ended: other ranks keep its records until the next exchange
and then hand them to rank 0. A group of all ranks together is saved by windows. Its records hold
the group's number in place of a source (-1 for group 0, -2 for group 1, ...) and the place of the
latent within the group, in visiting order. Not here: the file (journal.py, io/journal.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..io.journal import GROUPED
from .delivery import deliver
from .exchange import Exchange, gather, settle, together
from .groups import Groups
from .journal import RunJournal, records_of_all
from .sides import Side

__all__ = ["GroupJournal", "Windows"]

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

_STEP = 1 << 20  # numbers that are gathered at once


class GroupJournal:
    """The journal of a grouped run, on all ranks; rank 0 uses the file.

    Parameters
    ----------
    exchange : Exchange
    journal : RunJournal
    groups : Groups
    sources, latents : Side

    Attributes
    ----------
    every : float
        Seconds between two exchanges of what was decided.
    whole : bool [k]
        Groups whose sources are all decided by records of whole groups.
    begun : bool [k]
        Groups that have records by windows.
    records : int
        Number of records that the file had.
    """

    def __init__(
        self,
        exchange: Exchange,
        journal: RunJournal,
        groups: Groups,
        sources: Side,
        latents: Side,
    ) -> None:
        self._exchange, self._journal, self._groups = exchange, journal, groups
        self._sources, self._latents = sources, latents
        self._kept: list[npt.NDArray[Any]] = []  # for rank 0
        self.every = journal.every / 2
        self.whole = np.zeros(len(groups.labels), bool)
        self.begun = np.zeros(len(groups.labels), bool)
        self.records = 0

    # --------------------------------------------------------------------------------- to go on

    def restore(self, fields: dict[str, Any], assignment: Indices, cosine: Values) -> None:
        """Open the file, and take its whole groups for decided. A collective call.

        Parameters
        ----------
        fields
            The run's `run_fields`.
        assignment, cosine : [n_r]
            Of this rank's sources; filled for whole groups.

        Raises
        ------
        ValueError, OSError
            On all ranks, if the journal is of no use.
        """
        pieces: Iterator[npt.NDArray[Any]] = iter(())
        with together(self._exchange):
            if self._exchange.rank == 0:
                self._journal.begin(fields, GROUPED)
                pieces = self._journal.records(self._sources.total)
        taken = np.zeros(len(self._latents.index), bool)
        for piece in records_of_all(self._exchange, pieces, GROUPED):
            self.records += len(piece)
            whole = piece[piece["source"] >= 0]
            windows = np.unique(-1 - piece["source"][piece["source"] < 0])
            with together(self._exchange):
                if windows.max(initial=0) >= len(self.begun):
                    raise self._journal.refusal("holds groups that there are not")
                self._take(whole, assignment, cosine, taken)
            self.begun[windows] = True
        self._check(assignment, taken)

    def _take(
        self,
        records: npt.NDArray[Any],
        assignment: Indices,
        cosine: Values,
        taken: npt.NDArray[np.bool_],
    ) -> None:
        """Keep what this rank's sources took, and mark its latents."""
        for name, side in (("source", self._sources), ("latent", self._latents)):
            if records[name].max(initial=0) >= side.total or records[name].min(initial=0) < 0:
                raise self._journal.refusal(f"holds rows that are no {name}s")
        mine, at = _own(self._sources.index, records["source"])
        if len(np.unique(at)) < len(at) or (assignment[at] >= 0).any():
            raise self._journal.refusal("holds a source twice")
        assignment[at], cosine[at] = records["latent"][mine], records["cosine"][mine]
        _, at = _own(self._latents.index, records["latent"])
        if len(np.unique(at)) < len(at) or taken[at].any():
            raise self._journal.refusal("holds a latent twice")
        taken[at] = True

    def _check(self, assignment: Indices, taken: npt.NDArray[np.bool_]) -> None:
        """Find the groups that are whole; raise on all ranks if others have some records."""
        count, groups = len(self.whole), self._groups
        mine = np.stack(
            [
                np.bincount(groups.sources[assignment >= 0], minlength=count),
                np.bincount(groups.latents[taken], minlength=count),
            ],
            axis=1,
        )
        step = max(1, _STEP // self._exchange.world)
        for begin in range(0, count, step):
            here = slice(begin, begin + step)
            of_sources, of_latents = gather(self._exchange, mine[here]).sum(axis=0).T
            self.whole[here] = (of_sources == groups.n[here]) & (of_sources > 0)
            error = None
            if (of_sources != of_latents).any():
                error = self._journal.refusal("gives sources latents of other groups")
            elif ((of_sources > 0) & (~self.whole[here] | self.begun[here])).any():
                error = self._journal.refusal("holds a part of a group")
            settle(self._exchange, error)

    def windows(self, group: int) -> Windows:
        """Return the journal of one group that all ranks match together."""
        return Windows(self._journal, group, bool(self.begun[group]))

    # ----------------------------------------------------------------------------- what is new

    def note(self, sources: Indices, latents: Indices, cosines: Values) -> None:
        """Note what the sources of whole groups took, by global rows."""
        if self._exchange.rank == 0:
            self._journal.add(latents, cosines, sources)
            return
        records = np.empty(len(sources), GROUPED.record)
        records["source"], records["latent"], records["cosine"] = sources, latents, cosines
        self._kept.append(records)

    def collect(self) -> None:
        """Bring what was noted to rank 0, which saves if it is time. A collective call."""
        kept = np.concatenate([np.empty(0, GROUPED.record), *self._kept])
        to = np.zeros(len(kept), np.int64)
        found, _ = deliver(self._exchange, kept, np.arange(len(kept)), to)
        self._kept = []
        if self._exchange.rank == 0:
            self._journal.add(found["latent"], found["cosine"], found["source"])

    def ended(self) -> None:
        """Save all that is left, on rank 0."""
        if self._exchange.rank == 0:
            self._journal.ended()


class Windows:
    """The records of one group, in the place of a `RunJournal` for `Search`."""

    def __init__(self, journal: RunJournal, group: int, begun: bool) -> None:
        self._journal, self._source, self._begun = journal, -1 - group, begun
        self.refusal = journal.refusal

    def begin(self, fields: dict[str, Any]) -> None:
        """Do nothing: the file is open."""

    def records(self, most: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the group's records."""
        return self._journal.records_of(self._source, most) if self._begun else iter(())

    def add(self, latents: Indices, cosines: Values) -> None:
        """Note what the group's next sources took, by places within the group."""
        self._journal.add(latents, cosines, self._source)

    def ended(self) -> None:
        """Save all that is left."""
        self._journal.ended()


def _own(index: Indices, rows: Indices) -> tuple[Indices, Indices]:
    """Return which of some global rows this rank has, and where."""
    if len(index) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(index, rows), len(index) - 1)
    mine = np.flatnonzero(index[at] == rows)
    return mine, at[mine]

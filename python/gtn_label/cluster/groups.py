"""Groups of a sharded run: labels of all ranks' rows, and which rank matches which group.

The table of groups is on every rank, and labels stay with the rows. Rules and words are those of
`match` (arrays/groups.py, csrc/core/problem.cpp), with counts of all ranks.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import convert
from ..arrays.groups import NAMES
from ..arrays.on_gpu import in_cpu_memory
from ..errors import ArgumentError, ArgumentTypeError
from .exchange import Exchange, gather_rows, gather_texts, ranks_named, settle, together
from .record import fingerprint_of
from .sides import Side

__all__ = [
    "SHARED",
    "UNUSED",
    "Groups",
    "Plan",
    "group_fingerprints",
    "most_alone",
    "plan_of",
    "read_sharded_groups",
]

Indices = npt.NDArray[np.int64]

SHARED, UNUSED = -1, -2  # in place of a rank: all ranks match the group together, or nobody
ROUND_BYTES = 1 << 30  # rows that a rank receives before it searches, unless one group has more
LARGE = 1 << 48  # multiply-adds of a group that are too many to lose: ten minutes of two cores


@dataclass(frozen=True)
class Groups:
    """The groups of all ranks.

    Attributes
    ----------
    labels : int64 [k]
        The table's labels, ascending: integers as given, or places of sorted names.
    n, m : int64 [k]
        Sources and latents of each group on all ranks.
    sources, latents : int64
        Place in the table of each of this rank's sources and latents.
    """

    labels: Indices
    n: Indices
    m: Indices
    sources: Indices
    latents: Indices

    def check(self, exchange: Exchange) -> None:
        """Raise ArgumentError on all ranks if a group has more sources than latents."""
        few = np.flatnonzero(self.n > self.m)
        if len(few):
            label, n, m = (int(each[few[0]]) for each in (self.labels, self.n, self.m))
            rule = ": a group must have at least as many latents as sources, but group "
            rule += f"{label} has {n} sources and {m} latents"
            settle(exchange, ArgumentError("groups", rule))


@dataclass(frozen=True)
class Plan:
    """Who matches what, the same on every rank.

    Attributes
    ----------
    rank : int64 [k]
        Rank that matches each group, or SHARED or UNUSED.
    round : int64 [k]
        Round in which its rows travel; -1 if they stay.
    rounds : int
    """

    rank: Indices
    round: Indices
    rounds: int


def read_sharded_groups(
    exchange: Exchange, groups: tuple[Any, Any], sources: Side, latents: Side
) -> Groups:
    """Read the labels of a rank's rows, and count those of all ranks. A collective call.

    Parameters
    ----------
    exchange : Exchange
    groups : (source_groups, latent_groups)
        Labels of this rank's rows: integers, or both names.
    sources, latents : Side

    Raises
    ------
    ArgumentError, ArgumentTypeError
        On all ranks, for labels that `match` refuses. Groups of integers with too few latents are
        left to `Groups.check`, as the engine refuses them after the rows.
    """
    with together(exchange):
        sides = [
            _read(labels, name, len(side.rows), rows)
            for labels, name, side, rows in zip(
                groups, NAMES, (sources, latents), ("sources", "latents"), strict=True
            )
        ]
    names = _names(exchange, sides)
    if names is not None:
        empty = np.zeros(0, np.int64)
        sides = [empty if len(side) == 0 else np.searchsorted(names, side) for side in sides]
    own = [np.ascontiguousarray(side, np.int64) for side in sides]
    found = [np.unique(side, return_counts=True) for side in own]
    parts = [np.stack(pair, axis=1) for pair in found]
    tables = [np.concatenate(gather_rows(exchange, part)) for part in parts]
    labels = np.unique(np.concatenate([table[:, 0] for table in tables]))
    counts = [np.zeros(len(labels), np.int64) for _ in tables]
    for count, table in zip(counts, tables, strict=True):
        np.add.at(count, np.searchsorted(labels, table[:, 0]), table[:, 1])
    few = np.flatnonzero(counts[0] > counts[1])
    if names is not None and len(few):
        name = str(names[labels[few[0]]])
        rule = ": a group must have at least as many latents as sources"
        n, m = (int(count[few[0]]) for count in counts)
        got = f"group {name!r:.60} with {n} sources and {m} latents"
        settle(exchange, ArgumentError("groups", rule, got))
    places = [np.searchsorted(labels, side) for side in own]
    return Groups(labels, counts[0], counts[1], places[0], places[1])


def _read(labels: Any, name: str, length: int, rows: str) -> npt.NDArray[Any]:
    """Return a rank's labels as integers or names; a rank may have none."""
    labels = in_cpu_memory(labels, name)
    if length == 0 and np.shape(labels) == (0,):
        return np.zeros(0, np.int64)
    return convert.read_labels(labels, name, length, f"{rows} of this rank", names=True)


def _names(exchange: Exchange, sides: list[npt.NDArray[Any]]) -> npt.NDArray[Any] | None:
    """Return the sorted names of all ranks, or None if labels are integers."""
    own = {name: _kind(side) for name, side in zip(NAMES, sides, strict=True)}
    kinds = [json.loads(text) for text in gather_texts(exchange, json.dumps(own))]
    of_side = []
    for name in NAMES:
        holders: dict[str, list[int]] = {}
        for rank, each in enumerate(kinds):
            if each[name]:
                holders.setdefault(each[name], []).append(rank)
        if len(holders) > 1:
            got = ", ".join(f"{kind} on {ranks_named(ranks)}" for kind, ranks in holders.items())
            rule = "must hold integers on all ranks, or strings on all ranks"
            settle(exchange, ArgumentTypeError(name, rule, got))
        of_side.append(next(iter(holders)))
    if of_side[0] != of_side[1]:
        rule = "must both hold integers, or both strings"
        got = f"{of_side[0]} and {of_side[1]}"
        settle(exchange, ArgumentTypeError(NAMES, rule, got))
    if of_side[0] == "integers":
        return None
    # Bytes travel as the characters of the same numbers, which sort alike.
    code = "latin-1" if of_side[0] == "bytes" else ""
    here = {name for side in sides if _kind(side) for name in np.unique(side).tolist()}
    texts = json.dumps([name.decode(code) if code else name for name in here])
    every = {name for text in gather_texts(exchange, texts) for name in json.loads(text)}
    return np.array([name.encode(code) if code else name for name in sorted(every)])


def _kind(side: npt.NDArray[Any]) -> str:
    if len(side) == 0:
        return ""
    return {"S": "bytes", "U": "strings"}.get(side.dtype.kind, "integers")


def group_fingerprints(
    exchange: Exchange, groups: Groups, sources: Side, latents: Side
) -> dict[str, str]:
    """Return the fingerprints of the labels of both sides, by the names of `groups`."""
    return {
        name: fingerprint_of(exchange, groups.labels[places][:, None], side.index, side.total)
        for name, side, places in zip(
            NAMES, (sources, latents), (groups.sources, groups.latents), strict=True
        )
    }


def most_alone(dim: int) -> int:
    """Return the most work of a group that a run with a journal gives to one rank."""
    return LARGE // dim


def plan_of(
    groups: Groups,
    world: int,
    row_bytes: tuple[int, int],
    decided: npt.NDArray[np.bool_] | None = None,
    begun: npt.NDArray[np.bool_] | None = None,
    most_work: int | None = None,
) -> Plan:
    """Give groups to ranks, those with the most work first, each to the rank with the least.

    A group whose work is above a rank's share of the whole is matched by all ranks together. Work
    is sources times latents, in whole numbers, so that all ranks plan alike.

    Parameters
    ----------
    groups : Groups
    world : int
    row_bytes : (int, int)
        Bytes of a source and of a latent on the way.
    decided : bool [k], optional
        Groups of which nothing is left to do.
    begun : bool [k], optional
        Groups that all ranks together have begun, and go on with.
    most_work : int, optional
        Most work of a group that goes to one rank.
    """
    count = len(groups.labels)
    rank, round_ = np.full(count, UNUSED, np.int64), np.full(count, -1, np.int64)
    n, m = groups.n.tolist(), groups.m.tolist()
    work = [a * b for a, b in zip(n, m, strict=True)]
    for at in [] if decided is None else np.flatnonzero(decided).tolist():
        work[at] = 0
    together = set() if begun is None else set(np.flatnonzero(begun).tolist())
    total = sum(work)
    loads = [(0, each) for each in range(world)]
    rounds, filled = [0] * world, [0] * world  # of each rank: its last round, bytes in that
    for at in sorted(range(count), key=lambda at: (-work[at], at)):
        if work[at] == 0:
            continue
        above = world > 1 and work[at] * world > total
        if at in together or above or (most_work is not None and work[at] > most_work):
            rank[at] = SHARED
            continue
        load, taker = heapq.heappop(loads)
        heapq.heappush(loads, (load + work[at], taker))
        size = n[at] * row_bytes[0] + m[at] * row_bytes[1]
        if filled[taker] and filled[taker] + size > ROUND_BYTES:
            rounds[taker], filled[taker] = rounds[taker] + 1, 0
        filled[taker] += size
        rank[at], round_[at] = taker, rounds[taker]
    return Plan(rank, round_, int(round_.max(initial=-1)) + 1)

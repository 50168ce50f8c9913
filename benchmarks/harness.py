"""Check first, then time: all peers in one process, on the same data, in turn.

A round runs every peer once, so that a slow spell of the machine hits all of them; ratios are
taken within a round. The first round only warms up and is where answers are checked. Times are
wall-clock seconds from arrays in memory to an assignment in memory; a peer that visited only part
of the sources is scaled up and its row says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import check, data
from benchmarks.answer import Answer, Rows
from benchmarks.peers import OURS, Peer


@dataclass(frozen=True)
class Timing:
    """Seconds of the timed runs."""

    median: float
    min: float
    max: float
    runs: tuple[float, ...]

    @staticmethod
    def of(runs: Sequence[float]) -> Timing:
        """Summarise ``runs``, at least one."""
        return Timing(statistics.median(runs), min(runs), max(runs), tuple(runs))


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    peer: str
    data: str
    n: int
    dim: int
    threads: int
    seconds: Timing | None  # None: not run, and ``note`` says why
    ratio: float | None = None  # to this project (peers) or to isotropic data (data sets)
    equal: float | None = None  # share of sources with the exact answer's latent
    mean_cosine: float | None = None
    note: str = ""
    stats: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


# Threads of BLAS and OpenMP spin for a while after their work is done, on cores that the next peer
# needs: each run waits for the one before it to settle.
SETTLE_SECONDS = 0.2


def timed(action: Callable[[], Answer]) -> tuple[Answer, float]:
    """Run ``action`` once; return its answer and its seconds."""
    time.sleep(SETTLE_SECONDS)
    start = time.perf_counter()
    answer = action()
    return answer, time.perf_counter() - start


def run_peers(
    peers: Sequence[Peer],
    n: int,
    dim: int,
    *,
    threads: int,
    runs: int,
    limit: int,
    sample: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Compare the peers on isotropic latents [n, dim]; ``peers`` holds this project's own.

    Raises
    ------
    WrongAnswer
        This project's own answer failed its check. A peer's failed check is a row that says so.
    """
    latents = data.latents("isotropic", n, dim)
    sources = data.sources(n, dim)

    def call(peer: Peer) -> tuple[Answer, float]:
        answer, seconds = timed(lambda: peer.match(latents, sources, threads, limit))
        left_out = len(sources) / answer.visited - 1
        return answer, seconds + answer.loop_seconds * left_out

    say(f"{OURS.NAME}: check")
    exact, _ = call(OURS)
    check.check_exact(latents, sources, exact, sample)
    first: dict[str, Answer] = {OURS.NAME: exact}
    agreements: dict[str, check.Agreement] = {
        OURS.NAME: check.compare(latents, sources, exact, exact)
    }
    refused: dict[str, str] = {}
    for peer in peers:
        if peer is OURS:
            continue
        reason = peer.missing()
        if reason:
            refused[peer.NAME] = reason
            continue
        say(f"{peer.NAME}: check")
        answer, _ = call(peer)
        try:
            agreements[peer.NAME] = check.compare(latents, sources, answer, exact)
            first[peer.NAME] = answer
        except check.WrongAnswer as error:
            refused[peer.NAME] = f"wrong answer, not timed: {error}"

    seconds: dict[str, list[float]] = {name: [] for name in first}
    for round_ in range(runs):
        for peer in peers:
            if peer.NAME in first:
                say(f"{peer.NAME}: run {round_ + 1} of {runs}")
                seconds[peer.NAME].append(call(peer)[1])

    rows = []
    for peer in peers:
        name = peer.NAME
        if name in refused:
            rows.append(Row(name, "isotropic", n, dim, threads, None, note=refused[name]))
            continue
        pairs = zip(seconds[name], seconds[OURS.NAME], strict=True)
        rows.append(
            Row(
                name,
                "isotropic",
                n,
                dim,
                threads,
                Timing.of(seconds[name]),
                ratio=statistics.median(theirs / ours for theirs, ours in pairs),
                equal=agreements[name].equal,
                mean_cosine=agreements[name].mean_cosine,
                note=first[name].note,
                stats=first[name].stats,
            )
        )
    return rows


def run_datasets(
    n: int,
    dim: int,
    *,
    threads: int,
    runs: int,
    sample: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Time this project on every data set at one shape, each relative to isotropic data.

    Raises
    ------
    WrongAnswer
        An answer failed its check.
    """
    sources = data.sources(n, dim)
    isotropic = data.latents("isotropic", n, dim)
    call(isotropic, sources, threads)  # warm-up
    rows = []
    for name in data.DATASETS:
        latents = data.latents(name, n, dim)
        say(f"{name}: check")
        answer, _ = call(latents, sources, threads)
        check.check_exact(latents, sources, answer, sample)
        seconds, ratios = [], []
        for round_ in range(runs):
            say(f"{name}: run {round_ + 1} of {runs}")
            _, base = call(isotropic, sources, threads)
            _, spent = call(latents, sources, threads)
            seconds.append(spent)
            ratios.append(spent / base)
        rows.append(
            Row(
                OURS.NAME,
                name,
                n,
                dim,
                threads,
                Timing.of(seconds),
                ratio=statistics.median(ratios),
                mean_cosine=check.mean_cosine(latents, sources, answer.assignment),
                stats=answer.stats,
            )
        )
    return rows


def call(latents: Rows, sources: Rows, threads: int) -> tuple[Answer, float]:
    """Run this project once."""
    return timed(lambda: OURS.match(latents, sources, threads, 0))

"""`match_optimal_sharded`: optimal transport over the latents of many ranks.

Every rank runs the same auction. Its state and the rows of all sources are on every rank, the
latents on the rank that holds them. Not here: the auction (csrc/core), the certificate
(certified.py), the file to continue from (auction_file.py), and Algorithm 1 (matching.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from ..backend.names import resolve
from ..checks import as_number
from ..errors import ArgumentError
from ..list_depths import list_depths
from ..match_options import DEFAULT_TOLERANCE
from ..optimal import best_instruction_set
from ..progress import PhaseProgress, ProgressCallback
from ..run import in_turn
from ..threads import check_threads
from .auction_file import AuctionFile, as_checkpoint, auction_fields
from .call import Call
from .certified import certify_sharded
from .exchange import Exchange, Solo, check_exchange, settle, together
from .groups import Groups, group_fingerprints, read_sharded_groups
from .record import side_fingerprints
from .result import ShardedMatching
from .sides import Side, check_squares, mean_of, whole_of

__all__ = ["match_optimal_sharded"]

_MOST_LATENTS = 2**31 - 65  # the engine counts rows in 32 bits

Labels = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None


def match_optimal_sharded(
    latents: Any,
    sources: Any = None,
    *,
    index: npt.ArrayLike | None = None,
    source_index: npt.ArrayLike | None = None,
    seed: int = 0,
    tolerance: float = DEFAULT_TOLERANCE,
    center: bool = False,
    groups: tuple[Any, Any] | None = None,
    backend: str = "auto",
    threads: int | None = None,
    memory: int | str | None = None,
    exchange: Exchange | None = None,
    journal: str | os.PathLike[str] | None = None,
    progress: bool | ProgressCallback | None = False,
) -> ShardedMatching:
    """Give every source of all ranks a latent of its own, at the least mean squared distance.

    Every rank calls this function with its own part of the rows and the same options. Pairs,
    prices, `gap`, `cost` and `lower_bound` are those that `match_optimal` gives for all rows on one
    machine, bit for bit, whatever the number of ranks and whichever rank holds which rows.

    Latents stay on their ranks. Every rank needs memory for the rows of all sources, and for some
    100 bytes a source and 100 a latent of all ranks.

    Parameters
    ----------
    latents : array_like [m_r, dim]
        As in `match_sharded`; here a latent may be 0.
    sources, index, source_index, seed
        As in `match_sharded`.
    tolerance, center
        As in `match_optimal`.
    groups : (source_groups, latent_groups), optional
        Labels of this rank's sources and latents, as in `match`; all ranks together solve one group
        after the other.
    backend : str
        "auto", "cpu" or an instruction set, such as "cpu:avx2".
    threads : int, optional
        As in `match_sharded`.
    memory : int or str, optional
        Largest number of bytes for this rank's engine and for the rows of all sources, beside its
        own rows; by default no limit. Little memory makes lists shorter and the run longer.
    exchange : Exchange, optional
        As in `match_sharded`.
    journal : path, optional
        File on the disk of rank 0 for the state of the auction, saved every 30 seconds and when the
        run is stopped. If the file exists, the run continues from it, with any number of ranks:
        rows and options that decide the pairs must be the same. `ShardedMatching.finish` deletes
        the file. Other ranks do not read the path, but must have some.
    progress : bool or callable
        As in `match_optimal`; shown by rank 0.

    Returns
    -------
    ShardedMatching
        What this rank's sources took, with `prices` of this rank's latents, `gap`, `cost` and
        `lower_bound`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        On all ranks with one message, for rows and options that `match_optimal` refuses, for
        options, dims or dtypes that differ between ranks, and for global rows that are missing or
        twice.
    ValueError
        If the journal is another run's, damaged, or in use.
    OSError
        If the journal cannot be read or written.
    RuntimeError
        If ranks choose differently, as with faulty memory, or another rank has left.
    KeyboardInterrupt
        On Ctrl-C here or, with a `TorchExchange`, on another rank. The journal is then saved.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label.cluster import match_optimal_sharded
    >>> result = match_optimal_sharded(np.eye(3), np.eye(3)[::-1] + 0.1, tolerance=0)
    >>> result.assignment
    array([2, 1, 0])

    Under torchrun, each process with its own rows:

    >>> from gtn_label.cluster import TorchExchange
    >>> with TorchExchange() as exchange:  # doctest: +SKIP
    ...     result = match_optimal_sharded(my_rows, exchange=exchange, journal="run.journal")
    """
    call = _Call(
        tolerance,
        latents,
        sources,
        index,
        source_index,
        seed,
        journal,
        center=center,
        groups=groups,
        backend=backend,
        threads=threads,
        memory=memory,
        progress=progress,
    )
    return call.run(check_exchange(exchange), _matched)


class _Call(Call):
    """Arguments of one rank."""

    method = "optimal"

    def __init__(self, tolerance: Any, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.tolerance = tolerance

    def check_own(self) -> None:
        """Check tolerance, journal and backend."""
        self.tolerance = as_number(self.tolerance, "tolerance", 0.0)
        self.journal = as_checkpoint(self.journal)
        self.chosen = resolve(self.checked.backend)
        if self.chosen.name != "cpu":
            rule = "must be 'cpu' for optimal transport"
            raise ArgumentError("backend", rule, repr(self.chosen.name))

    def decides(self) -> dict[str, Any]:
        """Return the options that decide the pairs."""
        return {"tolerance": self.tolerance, "center": self.checked.center}


def _matched(call: _Call, exchange: Exchange, check: Callable[[], None] | None) -> ShardedMatching:
    """Do what `match_optimal_sharded` says, over inputs whose files are watched."""
    began = time.perf_counter()
    latents, sources = call.sides(exchange)
    options, threads = call.checked, check_threads(call.checked.threads)
    n, m, dim = sources.total, latents.total, latents.rows.shape[1]
    if m > _MOST_LATENTS:
        settle(exchange, ArgumentError("latents", "must have fewer than 2^31 - 64 rows", str(m)))
    groups = None
    if options.groups is not None:
        groups = read_sharded_groups(exchange, options.groups, sources, latents)
    with together(exchange):
        depth, longest = list_depths(
            options.memory,
            n,
            m,
            dim,
            saves=call.journal is not None and exchange.rank == 0,
            held=len(latents.rows),
            ranks=exchange.world,
            more=sources.rows.itemsize * dim * n if exchange.world > 1 else 0,
        )
    mean = mean_of(exchange, "latents", latents, threads)
    everyone = whole_of(exchange, sources.rows, sources.index, n)
    _check_rows(exchange, latents, everyone, mean, threads)
    labels = None if groups is None else _labels(exchange, groups, sources, latents)
    prints = side_fingerprints(exchange, latents, sources)
    if groups is not None:
        prints |= group_fingerprints(exchange, groups, sources, latents)
    file = AuctionFile(exchange, call.journal, n)
    file.begin(auction_fields(prints, seed=call.seed, **call.decides()))
    prepared = time.perf_counter()
    bar = PhaseProgress(
        options.progress if exchange.rank == 0 else None, n, lambda: file.state.stage
    )
    with file.running(check), bar:
        assignment, cosine, prices, found = _core.sharded_optimal_rows(
            latents.rows,
            latents.index,
            everyone,
            total=m,
            mean=mean,
            tolerance=call.tolerance,
            center=options.center,
            source_groups=None if labels is None else labels[0],
            latent_groups=None if labels is None else labels[1],
            instruction_set=call.chosen.instruction_set,
            threads=int(threads),
            depth=depth,
            longest=longest,
            exchange=file.exchange,
            state=file.state,
            poll=in_turn(check, file.poll, bar),
        )
        transport = certify_sharded(
            exchange,
            latents,
            everyone,
            assignment,
            prices[latents.index],
            found["gap"] + found["rounding"],
            mean,
            options.center,
            labels,
        )
        settle(exchange, None)  # a rank returns once all have come so far
    figures = {name: getattr(transport, name) for name in ("gap", "cost", "lower_bound")}
    stats = {
        "n": n,
        "m": m,
        "dim": dim,
        "backend": call.chosen.name,
        "instruction_set": best_instruction_set(call.chosen.instruction_set),
        "resumed_at": file.resumed_at,
        "threads_from": "system limit" if found["threads"] < threads else threads.decided_by,
        "distinct_latents": found.pop("distinct"),
        "depth": depth,
        **_counted(groups),
        **{name: value for name, value in found.items() if name not in ("gap", "rounding")},
    }
    stats["seconds"] = {
        "prepare": prepared - began,
        **found["seconds"],
        "total": time.perf_counter() - began,
    }
    meta = call.meta(n, exchange, prints, None if groups is None else len(groups.labels))
    return ShardedMatching(
        latents,
        sources,
        assignment[sources.index],
        cosine[sources.index],
        meta | figures,
        stats,
        exchange,
        call.journal if exchange.rank == 0 else None,
        transport,
    )


def _counted(groups: Groups | None) -> dict[str, int]:
    """Count the groups, and those with sources, which all ranks solve together."""
    if groups is None:
        return {}
    return {"groups": len(groups.labels), "groups_shared": int((groups.n > 0).sum())}


def _check_rows(
    exchange: Exchange,
    latents: Side,
    sources: npt.NDArray[Any],
    mean: npt.NDArray[np.float64],
    threads: int,
) -> None:
    """Raise on all ranks for rows that the engine refuses; the sources are those of all ranks."""
    every = Side(None, sources, np.arange(len(sources)), len(sources))
    source_mean = mean_of(Solo(), "sources", every, threads)
    check_squares(exchange, "latents", latents, mean, threads)
    check_squares(Solo(), "sources", every, None, threads)
    check_squares(Solo(), "sources", every, source_mean, threads)


def _labels(exchange: Exchange, groups: Groups, sources: Side, latents: Side) -> Labels:
    """Return the labels of all ranks' rows; raise if a group has too few latents."""
    groups.check(exchange)
    both = ((groups.sources, sources), (groups.latents, latents))
    found = [
        whole_of(exchange, groups.labels[places], side.index, side.total) for places, side in both
    ]
    return found[0], found[1]

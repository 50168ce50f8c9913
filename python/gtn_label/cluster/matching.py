"""`match_sharded`: Algorithm 1 over the latents of many ranks, to the bits of `match`.

Every rank runs this code on its own rows. What decides the pairs is agreed on before the search,
and whatever is refused is refused by all ranks with one message. Not here: the search
(search.py, csrc/core/sharded_pool.cpp), the visiting order (feed.py), the journal (journal.py).
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import __version__, _core
from ..arrays import convert
from ..arrays.on_disk import Files
from ..arrays.sources import seed_record
from ..backend.engines import check_device
from ..backend.names import Chosen, resolve
from ..checks import check_seed
from ..errors import ArgumentError, ArgumentTypeError, too_many_sources
from ..io.checkpoint import CONTRACT
from ..match_options import MatchOptions
from ..progress import ProgressCallback
from ..run import named
from ..threads import OPENMP_VARIABLE, OWN_VARIABLE, Threads, check_threads, machine_threads
from .center import column_mean
from .checks import check_index
from .exchange import (
    Exchange,
    agree,
    check_exchange,
    check_order,
    leave,
    settle,
    together,
)
from .feed import Feed
from .grouped import GroupedSearch
from .groups import group_fingerprints, read_sharded_groups
from .journal import RunJournal, as_journal, run_fields
from .record import fingerprint_of
from .search import Counted, Search
from .sides import Side, drawn, norms_of, side_of

__all__ = ["ShardedMatching", "match_sharded"]

FORMAT = "gtn-label sharded pairs"
CHUNK = 1 << 20  # sources that are gathered at once
_CHUNK_BYTES = 256 << 20  # of their rows, but no fewer than a window has
_WINDOW = 1 << 16  # sources of the largest window


class ShardedMatching:
    """One rank's part of a sharded matching: what its sources took.

    The journal of the run stays locked until `finish` or `close`. As a context manager, on all
    ranks, the object calls `finish` once all ranks have come to the end of the block, and `close`
    if the block raises on some rank.

    Attributes
    ----------
    assignment : int64 [n_r]
        Global row of the latent that each of this rank's sources takes.
    cosine : float64 [n_r]
        Cosine of each of this rank's sources with its latent.
    source_index : int64 [n_r]
        Global rows of this rank's sources, ascending.
    sources : array [n_r, dim]
        This rank's sources, as handed in or as drawn.
    latents : array [m_r, dim]
        This rank's latents, as handed in.
    latent_index : int64 [m_r]
        Global rows of this rank's latents, ascending.
    n, m, dim : int
        Sources and latents of all ranks, and their dim.
    meta : dict
        What the result depends on, and which version made the pairs; the same on every rank.
    stats : dict
        Counts and seconds of this rank.
    exchange : Exchange
        How the ranks talk.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label.cluster import match_sharded
    >>> result = match_sharded(np.eye(3), np.eye(3)[::-1] + 0.1)
    >>> result.assignment
    array([2, 1, 0])
    """

    def __init__(
        self,
        latents: Side,
        sources: Side,
        assignment: npt.NDArray[np.int64],
        cosine: npt.NDArray[np.float64],
        meta: Mapping[str, Any],
        stats: Mapping[str, Any],
        exchange: Exchange,
        journal: RunJournal | None,
    ) -> None:
        self.latents, self.latent_index, self.m = latents.given, latents.index, latents.total
        self.sources, self.source_index, self.n = sources.given, sources.index, sources.total
        self.dim: int = latents.rows.shape[1]
        self.assignment, self.cosine = assignment, cosine
        self.meta, self.stats = dict(meta), dict(stats)
        self.exchange = exchange
        self._journal = journal

    def finish(self) -> None:
        """Delete the journal: the caller has the whole output of all ranks on its disk.

        The first rank deletes the file. Call this after an exchange that follows the last write.
        """
        if self._journal is not None:
            self._journal.remove()

    def close(self) -> None:
        """Leave the journal to a run that writes the output again, and free its lock."""
        if self._journal is not None:
            self._journal.release()

    def __enter__(self) -> ShardedMatching:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                settle(self.exchange, None)  # all ranks have come so far
                self.finish()
            else:
                leave(self.exchange, error)
        finally:
            self.close()

    def __len__(self) -> int:
        return len(self.assignment)

    def __repr__(self) -> str:
        return (
            f"<ShardedMatching: rank {self.exchange.rank} of {self.exchange.world}, "
            f"{len(self):,} of {self.n:,} sources to {self.m:,} latents, dim {self.dim}>"
        )


def match_sharded(
    latents: Any,
    sources: Any = None,
    *,
    index: npt.ArrayLike | None = None,
    source_index: npt.ArrayLike | None = None,
    seed: int = 0,
    order: str = "norm",
    cone: int = 1,
    center: bool = False,
    groups: tuple[Any, Any] | None = None,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    memory: int | str | None = None,
    exchange: Exchange | None = None,
    journal: str | os.PathLike[str] | RunJournal | None = None,
    progress: bool | ProgressCallback | None = False,
) -> ShardedMatching:
    """Match the sources of all ranks to the latents of all ranks: Algorithm 1, exact to the bit.

    Every rank calls this function with its own part of the rows and the same options. The pairs are
    those that `match` gives for all rows on one machine, whatever the number of ranks and whichever
    rank holds which rows.

    Parameters
    ----------
    latents : array_like [m_r, dim]
        This rank's latents, of any kind in CPU memory that `match` takes. A rank may have none:
        an array of shape (0, dim).
    sources : array_like [n_r, dim], optional
        This rank's sources. Left out on all ranks, as many as there are latents are drawn by the
        seed; rank r of W draws and keeps the rows from r n / W to (r + 1) n / W.
    index : int array [m_r], optional
        Global rows of the latents, ascending; by default consecutive rows, after those of lower
        ranks. Each row from 0 to m - 1 is on one rank.
    source_index : int array [n_r], optional
        The same for the sources, if they are given.
    seed : int
        Seed of the sources, >= 0; unused when they are given. The sources are those of `match`.
    order, cone, center
        As in `match`.
    groups : (source_groups, latent_groups), optional
        Labels of this rank's sources and latents, as in `match`: sources are matched within their
        group. Each group goes to one rank, which needs memory for its rows. A group that is more
        than a rank's share of the work is matched by all ranks together. A run with groups keeps
        no journal. Sources that are drawn need the labels of this rank's share.
    backend : str
        "auto" or "cpu", or "cpu:" and an instruction set; or "cuda", or "cuda:" and a kernel.
        "auto" is the CPU.
    device : str, optional
        This rank's GPU, "cuda:N", for the backend "cuda"; by default that of the rank's number on
        its machine (LOCAL_RANK). Rows are copied there from CPU memory.
    threads : int, optional
        CPU threads of this rank. By default GTN_NUM_THREADS says the number, else
        OMP_NUM_THREADS, else the ranks of a machine (LOCAL_WORLD_SIZE) share its CPUs. The
        OMP_NUM_THREADS=1 that torchrun sets for several ranks on a machine does not count.
    memory : int or str, optional
        Largest number of bytes for this rank's engine, beside its rows; by default no limit.
    exchange : Exchange, optional
        How the ranks talk, such as a `TorchExchange`; by default this process is the only rank.
    journal : path or RunJournal, optional
        File on the disk of rank 0 for what the sources took, saved every 30 seconds and when the
        run is stopped. If the file exists, the run continues from it, with any number of ranks:
        rows and options that decide the pairs must be the same. `ShardedMatching.finish` deletes
        the file. Other ranks do not read the path, but must have some.
    progress : bool or callable
        As in `match`; shown by rank 0.

    Returns
    -------
    ShardedMatching
        What this rank's sources took.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        On all ranks with one message, for rows and options that `match` refuses, for options,
        dims or dtypes that differ between ranks, and for global rows that are missing or twice.
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
    Under torchrun, each process with its own rows:

    >>> from gtn_label.cluster import TorchExchange, match_sharded
    >>> with TorchExchange() as exchange:  # doctest: +SKIP
    ...     result = match_sharded(my_rows, exchange=exchange, journal="run.journal")
    """
    exchange = check_exchange(exchange)
    options = {
        "order": order,
        "cone": cone,
        "center": center,
        "groups": groups,
        "backend": backend,
        "device": device,
        "threads": threads,
        "memory": memory,
        "progress": progress,
    }
    call = _Call(latents, sources, index, source_index, seed, journal, options)
    labels = groups if isinstance(groups, (tuple, list)) and len(groups) == 2 else (None, None)
    files = Files(
        latents=latents, sources=sources, source_groups=labels[0], latent_groups=labels[1]
    )
    try:
        with files.reading() if files else contextlib.nullcontext() as check:
            return _matched(call, exchange, check)
    except BaseException as error:
        leave(exchange, error)
        raise


@dataclass
class _Call:
    """Arguments of one rank, checked as far as one rank can."""

    latents: Any
    sources: Any
    index: Any
    source_index: Any
    seed: Any
    journal: Any
    options: dict[str, Any]

    def check(self) -> None:
        """Replace each argument by what was checked; raise ArgumentError or ArgumentTypeError."""
        self.options["threads"] = _threads(self.options["threads"])
        self.checked = MatchOptions(**self.options)
        self.journal = as_journal(self.journal)
        if self.journal is not None and self.checked.groups is not None:
            raise ArgumentError("journal", "must be left out with {groups}: such a run keeps none")
        self.chosen, self.device = _chosen(self.checked)
        self.latents = _slice(self.latents, "latents")
        self.index = _checked_index(self.index, "index", self.latents)
        if isinstance(self.seed, np.random.Generator):
            rule = "must be an int, from which each rank draws its own rows"
            raise ArgumentTypeError("seed", rule, "a numpy.random.Generator")
        self.seed = check_seed(self.seed)
        if self.sources is None:
            if self.source_index is not None:
                raise ArgumentError("source_index", "needs {sources}")
            return
        self.seed = None
        self.sources = _slice(self.sources, "sources")
        self.source_index = _checked_index(self.source_index, "source_index", self.sources)
        dims = self.sources.rows.shape[1], self.latents.rows.shape[1]
        if dims[0] != dims[1]:
            got = f"sources {self.sources.rows.shape} and latents {self.latents.rows.shape}"
            raise ArgumentError(("sources", "latents"), "must have the same dim", got)

    def record(self) -> dict[str, Any]:
        """Return what must be the same on all ranks, by names for messages."""
        return {
            "the version of gtn-label": __version__,
            "the numeric contract": CONTRACT,
            **self.checked.deciding(),
            "groups": "none" if self.checked.groups is None else "given",
            "seed": self.seed,
            "sources": "drawn" if self.sources is None else "given",
            "dim": self.latents.rows.shape[1],
            "index": "default" if self.index is None else "given",
            "source_index": "default" if self.source_index is None else "given",
            "journal": "none" if self.journal is None else "given",
        }


def _slice(value: Any, name: str) -> convert.Rows:
    """Return a rank's rows as the engine reads them; there may be none."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape) == 2 and shape[0] == 0 and shape[1] > 0:
        return convert.Rows(value, np.empty((0, int(shape[1])), np.float32))
    return convert.as_rows(value, name)


def _checked_index(index: Any, name: str, rows: convert.Rows) -> npt.NDArray[np.int64] | None:
    return None if index is None else check_index(index, name, len(rows.rows))


def _chosen(options: MatchOptions) -> tuple[Chosen, int | None]:
    """Return the backend and the number of the GPU that this rank searches with, if any."""
    chosen = resolve(options.backend)
    if chosen.name == "faiss":
        rule = "must be 'auto', 'cpu' or 'cuda' for sharded matching"
        raise ArgumentError("backend", rule, repr(options.backend))
    if chosen.name == "cpu":
        check_device(options.device, chosen, None)
        return chosen, None
    rank = os.environ.get("LOCAL_RANK", "0")
    device = options.device
    if device in (None, "cuda"):
        device = f"cuda:{rank}"
    return chosen, int(check_device(device, chosen, None).removeprefix("cuda:"))


def _threads(threads: Any) -> Threads:
    """Return the number of threads of a rank, which shares its machine with other ranks."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    ranks = int(local) if local.isdigit() else 1
    named = os.environ.get(OWN_VARIABLE, "").strip()
    # torchrun sets OMP_NUM_THREADS=1 where it starts several ranks and the user has not set it.
    openmp = os.environ.get(OPENMP_VARIABLE, "").strip() not in ("", "1")
    if threads is not None or ranks < 2 or named or openmp:
        return check_threads(threads)
    found = machine_threads()
    return Threads(max(1, found // ranks), found.decided_by)


def _matched(call: _Call, exchange: Exchange, check: Callable[[], None] | None) -> ShardedMatching:
    """Do what `match_sharded` says, over inputs whose files are watched."""
    began = time.perf_counter()
    check_order(exchange)
    with together(exchange):
        call.check()
    agree(exchange, call.record())
    options, threads = call.checked, check_threads(call.checked.threads)
    latents = side_of(exchange, "latents", "index", call.latents, call.index)
    if latents.total == 0:
        rule = "must have at least one row (n >= 1)"
        settle(exchange, ArgumentError("latents", rule, f"none on all {exchange.world} ranks"))
    if call.sources is None:
        sources = drawn(exchange, latents.total, latents.rows.shape[1], call.seed)
    else:
        sources = side_of(exchange, "sources", "source_index", call.sources, call.source_index)
    n, m, dim = sources.total, latents.total, latents.rows.shape[1]
    if n == 0:
        rule = "must have at least one row (n >= 1)"
        settle(exchange, ArgumentError("sources", rule, f"none on all {exchange.world} ranks"))
    if n > m:
        settle(exchange, too_many_sources(n, m))
    groups = None
    if options.groups is not None:
        groups = read_sharded_groups(exchange, options.groups, sources, latents)
    mean = None
    if options.center:
        mean = column_mean(exchange, latents.rows, latents.index, m)
        if not np.isfinite(mean).all():
            norms_of(exchange, "latents", latents, None, threads)
            rule = "must have column sums that float64 can hold to be centred (rescale them), but "
            settle(exchange, ArgumentError("latents", rule + "they overflow"))
    norms_of(exchange, "latents", latents, mean, threads)
    norms = norms_of(exchange, "sources", sources, None, threads)
    if groups is not None:
        groups.check(exchange)
    prints = {
        name: fingerprint_of(exchange, side.rows, side.index, side.total)
        for name, side in (("latents", latents), ("sources", sources))
    }
    search_of = functools.partial(_search_of, call, mean)
    search: Search | GroupedSearch
    if groups is not None:
        search = GroupedSearch(exchange, groups, sources, latents, norms, int(threads), search_of)
        prints |= group_fingerprints(exchange, groups, sources, latents)
    else:
        search = search_of(exchange, latents, sources, norms, int(threads))
    prepared = time.perf_counter()
    start = 0
    try:
        if isinstance(search, GroupedSearch):
            search.run(options.progress, check)
            stats = search.stats
        else:
            fields = run_fields(
                prints["latents"], prints["sources"], seed=call.seed, **options.deciding()
            )
            search.restore(fields, latents.index, m)
            search.run(options.progress, m, check)
            start, stats = search.start, search.engine.stats()
            stats["seconds"]["feed"] = search.seconds_of_feed
        settle(exchange, None)  # a rank returns once all have come so far
    except BaseException:
        if call.journal is not None:
            call.journal.stopped()
        raise
    stats["seconds"] = {
        "prepare": prepared - began,
        **stats["seconds"],
        "total": time.perf_counter() - began,
    }
    record = {"n": n, "m": m, "dim": dim, "backend": call.chosen.name}
    if call.device is not None:
        record["device"] = f"cuda:{call.device}"
    meta = {
        "format": FORMAT,
        "version": __version__,
        "contract": CONTRACT,
        "method": "match",
        **seed_record(call.seed, n),
        **options.deciding(),
        "backend": call.chosen.name,
        "fingerprints": prints,
        "world": exchange.world,
        **({} if groups is None else {"groups": {"count": len(groups.labels)}}),
    }
    stats = {**record, "resumed_at": start, "threads_from": threads.decided_by, **stats}
    return ShardedMatching(
        latents, sources, search.assignment, search.cosine, meta, stats, exchange, call.journal
    )


def _search_of(
    call: _Call,
    mean: npt.NDArray[np.float64] | None,
    exchange: Exchange,
    latents: Side,
    sources: Side,
    norms: npt.NDArray[np.float64],
    threads: int,
) -> Search:
    """Make the search over the latents and sources of an exchange's ranks."""
    dim, item = latents.rows.shape[1], sources.rows.itemsize
    longest = min(sources.total, CHUNK, max(_WINDOW, _CHUNK_BYTES // (dim * item)))
    counted = Counted(exchange)
    with together(exchange), named():
        engine = _core.ShardedMatch(
            latents.rows,
            latents.index,
            total=latents.total,
            mean=mean,
            order=call.checked.order,
            cone=min(call.checked.cone, latents.total),
            instruction_set=call.chosen.instruction_set,
            threads=threads,
            memory=int(call.checked.memory or 0),
            most_sources=longest,
            float64_sources=sources.rows.dtype == np.float64,
            device=call.device,
            kernel=call.chosen.way,
            exchange=counted,
        )
    feed = Feed(exchange, sources.rows, sources.index, norms, call.checked.order)
    return Search(exchange, counted, engine, feed, longest, call.journal)

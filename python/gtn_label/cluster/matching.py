"""`match_sharded`: Algorithm 1 over the latents of many ranks, to the bits of `match`.

Every rank runs this code on its own rows. What decides the pairs is agreed on before the search,
and whatever is refused is refused by all ranks with one message. Not here: the search
(search.py, csrc/core/sharded_pool.cpp), the visiting order (feed.py), the journal (journal.py).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from ..backend.engines import check_device
from ..backend.names import Chosen, resolve
from ..errors import ArgumentError
from ..match_options import MatchOptions
from ..progress import ProgressCallback
from ..run import named
from ..threads import check_threads
from .batches import Alone
from .call import Call
from .exchange import Exchange, check_exchange, settle, together
from .feed import Feed
from .group_journal import Windows
from .grouped import GroupedSearch
from .groups import group_fingerprints, read_sharded_groups
from .journal import RunJournal, as_journal, run_fields
from .record import side_fingerprints
from .result import ShardedMatching
from .search import Counted, Search
from .sides import Side, mean_of, norms_of

__all__ = ["match_sharded"]

CHUNK = 1 << 20  # sources that are gathered at once
_CHUNK_BYTES = 256 << 20  # of their rows, but no fewer than a window has
_WINDOW = 1 << 16  # sources of the largest window


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
        than a rank's share of the work is matched by all ranks together. Sources that are drawn
        need the labels of this rank's share.
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
        the file. Other ranks do not read the path, but must have some. With groups, those that go
        to one rank are saved whole, and what other ranks than rank 0 have decided reaches the file
        in at most 20 seconds more; a run that is stopped loses that part.
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
    call = _Call(
        latents,
        sources,
        index,
        source_index,
        seed,
        journal,
        order=order,
        cone=cone,
        center=center,
        groups=groups,
        backend=backend,
        device=device,
        threads=threads,
        memory=memory,
        progress=progress,
    )
    return call.run(check_exchange(exchange), _matched)


class _Call(Call):
    """Arguments of one rank."""

    device: int | None  # number of the GPU that this rank searches with

    def check_own(self) -> None:
        """Check the journal, and choose backend and device."""
        self.journal = as_journal(self.journal)
        self.chosen, self.device = _chosen(self.checked)


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


def _matched(call: _Call, exchange: Exchange, check: Callable[[], None] | None) -> ShardedMatching:
    """Do what `match_sharded` says, over inputs whose files are watched."""
    began = time.perf_counter()
    latents, sources = call.sides(exchange)
    options, threads = call.checked, check_threads(call.checked.threads)
    n, m, dim = sources.total, latents.total, latents.rows.shape[1]
    groups = None
    if options.groups is not None:
        groups = read_sharded_groups(exchange, options.groups, sources, latents)
    mean = mean_of(exchange, "latents", latents, threads) if options.center else None
    norms_of(exchange, "latents", latents, mean, threads)
    norms = norms_of(exchange, "sources", sources, None, threads)
    if groups is not None:
        groups.check(exchange)
    prints = side_fingerprints(exchange, latents, sources)
    search_of = functools.partial(_search_of, call, mean)
    search: Search | GroupedSearch
    labels: dict[str, str] = {}
    if groups is not None:
        alone = Alone(options, call.device, mean, int(threads))
        search = GroupedSearch(
            exchange, groups, sources, latents, norms, int(threads), search_of, alone, call.journal
        )
        labels = group_fingerprints(exchange, groups, sources, latents)
    else:
        search = search_of(exchange, latents, sources, norms, int(threads), call.journal)
    prepared = time.perf_counter()
    fields = run_fields(
        prints["latents"],
        prints["sources"],
        seed=call.seed,
        labels=labels,
        **options.deciding(),
    )
    prints |= labels
    try:
        if isinstance(search, GroupedSearch):
            search.restore(fields)
            search.run(options.progress, check)
            stats = search.stats
        else:
            search.restore(fields, latents.index, m)
            search.run(options.progress, m, check)
            stats = search.engine.stats()
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
    meta = call.meta(n, exchange, prints, None if groups is None else len(groups.labels))
    stats = {**record, "resumed_at": search.start, "threads_from": threads.decided_by, **stats}
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
    journal: RunJournal | Windows | None,
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
    return Search(exchange, counted, engine, feed, longest, journal)

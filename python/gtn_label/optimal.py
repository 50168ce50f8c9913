"""`match_optimal`: optimal transport, one latent to each source, with a certificate.

The engine solves it by auction (csrc/core/auction.hpp). Here: the arrays of a run, and `assign`.
Not here: the certificate in the units of the rows (certificate.py), and Algorithm 1 (matching.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _core
from .arrays import convert, on_gpu
from .arrays.on_disk import FileChangedError, Files
from .arrays.row_blocks import RowsLike
from .arrays.sources import check_source_seed, draw_sources, seed_record
from .arrays.to_caller import given
from .backend.engines import check_device, check_place, make_engine
from .backend.names import Chosen, resolve
from .certificate import Center, certify
from .checks import as_number
from .errors import ArgumentError, too_many_sources
from .list_depths import list_depths
from .match_options import DEFAULT_TOLERANCE, MatchOptions
from .progress import PhaseProgress, Progress, ProgressCallback, check_progress
from .result import Matching
from .run import in_turn, named
from .threads import check_threads

if TYPE_CHECKING:
    from .io.checkpoint import Checkpoint
    from .io.checkpoint_content import AuctionContent


def match_optimal(
    latents: Any,
    sources: Any = None,
    *,
    seed: int | np.random.Generator = 0,
    tolerance: float = DEFAULT_TOLERANCE,
    center: bool = False,
    groups: tuple[Any, Any] | None = None,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    memory: int | str | None = None,
    progress: bool | ProgressCallback | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
) -> Matching:
    """Give every source a latent of its own, at the least mean squared distance.

    Minimises sum_i |y_i - x_a(i)|^2 over the one-to-one assignments a, by auction (Bertsekas
    1988). The result carries a proof of its quality: prices p_j of the latents, for which no
    assignment can cost less than `lower_bound`. It is a pure function of rows and tolerance: the
    same for every backend, instruction set, number of threads and memory budget.

    Parameters
    ----------
    latents : array_like [m, dim]
        As in `match`; here a latent may be 0.
    sources : array_like [n, dim], n <= m, optional
        As in `match`. With n < m, the latents of the cheapest assignment are chosen as well.
    seed : int or numpy.random.Generator
        As in `match`.
    tolerance : float
        Relative gap at which the run may stop: `gap` of the result is at most this, but for the
        bound of the rounding that `gap` contains. Where rounding alone keeps `gap` above the
        tolerance, as with 0, the run ends with an optimum on the grid of its scores, and `gap` is
        that bound, some 1e-12. Where the least cost is within rounding of 0 but not 0, `gap` is 1.
    center : bool
        Subtract the latents' column mean before distances are taken. With n = m this changes
        `cost`, but no pair, up to rounding.
    groups : (source_groups, latent_groups), optional
        As in `match`; each group is solved by itself.
    backend : str
        "auto", "cpu", an instruction set, such as "cpu:avx2", or "cuda": a GPU searches and
        scores, and the CPU bids. "auto" is "cuda" for inputs on a GPU that the backend can use,
        and "cpu" for all others.
    device : str, optional
        "cuda" or "cuda:N" for the backend "cuda"; by default the GPU of the inputs, or the first.
    threads
        As in `match`.
    progress
        As in `match`; `done` counts the sources that hold a latent, and falls when a phase begins.
        The bar shows the phase, about how many there will be, and the gap once one is measured;
        before the first phase, the phases of a sample that makes first prices.
    memory : int or str, optional
        As in `match`. Little memory makes the lists of the sources shorter and the run longer. On a
        GPU, also the most that a search takes of its memory.
    checkpoint : path, optional
        As in `match`. The file holds prices and owners of the latents. A run that continues ends
        with the bytes of an uninterrupted one. The sources search for their lists again.

    Returns
    -------
    Matching
        With `prices`, `gap`, `cost` and `lower_bound`; `assign` labels further sources.

    Raises
    ------
    TypeError, ValueError
        As `match` does. A backend that cannot do this is a ValueError.
    OSError
        If the checkpoint cannot be read or written, or a file that an argument maps is changed.
    MemoryError, RuntimeError
        If the GPU has too little free memory, or CUDA fails; the run does not move to the CPU.
    KeyboardInterrupt
        On Ctrl-C, within a second.

    Notes
    -----
    The gap is (D - P) / (n dim s_x s_y - P') for n = m, with P = sum <y_i, x_a(i)>, the dual bound
    D = sum p_j + sum_i max_j (<y_i, x_j> - p_j), P' as P with both sides centred, and s^2 the mean
    of the columns' variances: the distance to the bound in terms of the cost of both sides
    centred and brought to unit variance, which neither a shift nor a scale makes small. For n < m
    it is (cost - lower_bound) / cost.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label import match_optimal
    >>> latents = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> m = match_optimal(latents, np.array([[0.1, 2.0], [1.0, 0.2]]), tolerance=0)
    >>> m.assignment
    array([1, 0])
    """
    options = MatchOptions(
        center=center,
        groups=groups,
        backend=backend,
        device=device,
        threads=threads,
        memory=memory,
        progress=progress,
        checkpoint=checkpoint,
    )
    limit = as_number(tolerance, "tolerance", 0.0)
    seed = check_source_seed(seed)
    pair = options.groups or (None, None)
    files = Files(latents=latents, sources=sources, source_groups=pair[0], latent_groups=pair[1])
    with files.reading() as check:
        return _run(latents, sources, seed, limit, options, files, check if files else None)


def _run(
    latents: Any,
    sources: Any,
    seed: int | np.random.Generator,
    tolerance: float,
    options: MatchOptions,
    files: Files,
    check: Callable[[], None] | None,
) -> Matching:
    """Do what `match_optimal` says, over inputs whose files are watched."""
    began = time.perf_counter()
    located = on_gpu.locate(latents=latents, sources=sources)
    chosen = _resolve(options.backend, located)
    check_place(located, chosen, choice=True)
    device = check_device(options.device, chosen, located)
    gpu = on_gpu.Gpu(device) if chosen.name == "cuda" else None
    latent_rows = _host_rows(latents, "latents")
    m, dim = latent_rows.rows.shape
    drawn = sources is None
    origin = seed_record(seed if drawn else None, m)  # before a generator moves on
    source_rows = _host_rows(draw_sources(m, dim, seed) if drawn else sources, "sources")
    n = source_rows.rows.shape[0]
    if source_rows.rows.shape[1] != dim:
        shapes = f"sources {source_rows.rows.shape} and latents {latent_rows.rows.shape}"
        raise ArgumentError(("sources", "latents"), "must have the same dim", shapes)
    if n > m:
        raise too_many_sources(n, m)
    rows: dict[str, RowsLike] = {
        "latents": given(latent_rows).blocks,
        "sources": given(source_rows).blocks,
    }
    files.hash(**rows)
    groups = options.labels(n, m)
    labels = None if groups is None else (_int64(groups[0]), _int64(groups[1]))
    asked = check_threads(options.threads)
    saved: Checkpoint | None = options.checkpoint
    depth, longest = list_depths(options.memory, n, m, dim, saves=saved is not None)
    engine, record = make_engine(chosen, device, dim, 1, gpu)
    state = _core.OptimalState(keeps=saved is not None)
    content, save = None, None
    if saved is not None:
        from .io.checkpoint import fingerprint
        from .io.checkpoint_content import AuctionContent

        fields = fingerprint(
            rows["latents"],
            rows["sources"],
            groups,
            seed=origin["seed"],
            method="optimal",
            tolerance=tolerance,
            center=options.center,
        )
        content = AuctionContent(state, n)
        saved.begin(fields, content)
        save = functools.partial(_save, saved, content)
    prepared = time.perf_counter()
    with (
        kept(saved, check),
        named(saved),
        PhaseProgress(options.progress, n, lambda: state.stage) as bar,
    ):
        solve = functools.partial(
            _core.optimal_rows,
            latent_rows.rows,
            source_rows.rows,
            tolerance=tolerance,
            center=options.center,
            source_groups=None if labels is None else labels[0],
            latent_groups=None if labels is None else labels[1],
            instruction_set=chosen.instruction_set,
            engine=engine,
            threads=asked,
            memory=0 if options.memory is None else int(options.memory),
            depth=depth,
            longest=longest,
            poll=in_turn(check, save, bar),
        )
        try:
            assignment, cosine, prices, found = solve(state=state)
        except _core.WrongKernel:
            # Bids so far may rest on wrong bounds. The same call has another kernel, and warns.
            state = _core.OptimalState(keeps=saved is not None)
            if saved is not None and content is not None:
                saved.restart()
                content.begin_again(state)
            assignment, cosine, prices, found = solve(state=state)
        around = Center.of(latent_rows.rows, options.center)
        gap = found["gap"] + found["rounding"] + around.gap(latent_rows.rows, n)
        transport = certify(
            latent_rows.rows, source_rows.rows, assignment, prices, gap, around, labels
        )
        if check is not None:
            check()
            try:
                files.compare(**rows)
            except FileChangedError:
                if saved is not None:
                    saved.roll_back()
                raise
    stats = {
        "n": n,
        "m": m,
        "dim": dim,
        "backend": chosen.name,
        "instruction_set": best_instruction_set(chosen.instruction_set),
        **record,
        "threads_from": "system limit" if found["threads"] < asked else asked.decided_by,
        "distinct_latents": found.pop("distinct"),
        "depth": depth,
        **{name: value for name, value in found.items() if name not in ("gap", "rounding")},
    }
    stats["seconds"] = {
        "prepare": prepared - began,
        **found["seconds"],
        "total": time.perf_counter() - began,
    }
    return Matching(
        assignment,
        cosine,
        sources=given(source_rows),
        latents=given(latent_rows),
        groups=labels,
        provenance={
            "method": "optimal",
            **origin,
            "tolerance": tolerance,
            "center": options.center,
            "backend": chosen.name,
            "gap": transport.gap,
            "cost": transport.cost,
            "lower_bound": transport.lower_bound,
        },
        stats=stats,
        files=files,
        transport=transport,
    )


def _resolve(backend: str, located: on_gpu.Location | None) -> Chosen:
    """Return the backend that runs; raise ArgumentError for one that cannot do this."""
    chosen = resolve(backend, on_gpu=located is not None)
    rule = "must be 'cpu', 'cpu:' and an instruction set, or 'cuda' for optimal transport"
    if chosen.name not in ("cpu", "cuda"):
        raise ArgumentError("backend", rule, repr(backend))
    if chosen.name == "cuda" and chosen.way:
        rule += ", whose search has one kernel on a GPU"
        raise ArgumentError("backend", rule, repr(backend))
    return chosen


def _host_rows(value: Any, name: str) -> convert.Rows:
    """Check and convert rows in CPU memory: the engine computes exact scores there."""
    if on_gpu.device_of(value) is None:
        return convert.as_rows(value, name)
    rows = convert.as_rows(on_gpu.in_cpu_memory(value, name), name)
    return dataclasses.replace(rows, given=value)


def _save(checkpoint: Checkpoint, content: AuctionContent, placed: int) -> None:
    """Report the steps of the run to its checkpoint."""
    checkpoint.poll(content.whole())


@contextlib.contextmanager
def kept(checkpoint: Checkpoint | None, check: Callable[[], None] | None) -> Iterator[None]:
    """Tell the checkpoint how the run ended; no state goes there that changed rows led to."""
    if checkpoint is None:
        yield
        return
    try:
        yield
    except BaseException:
        try:
            if check is not None:
                check()
        except FileChangedError:
            checkpoint.keep()
        checkpoint.stopped()
        raise
    checkpoint.ended()


def best_instruction_set(asked: str) -> str:
    """Return the instruction set that runs: the one asked for, or the best."""
    usable = [row["name"] for row in _core.instruction_sets() if row["built"] and row["supported"]]
    return usable[0] if asked == "auto" else asked


def _int64(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(labels, dtype=np.int64)


def assign(
    matching: Matching,
    sources: Any,
    latents: Any,
    threads: int | None,
    progress: bool | ProgressCallback | None,
) -> Any:
    """Do what `Matching.assign` says."""
    prices = matching._prices
    if prices is None:
        raise ValueError("assign() needs prices, and only results of match_optimal have them")
    if latents is None:
        if matching._latents is None:
            raise ArgumentError("latents", "must be given, as the result was loaded from a file")
        latents = matching._latents.whole
    latent_rows = _host_rows(latents, "latents")
    source_rows = _host_rows(sources, "sources")
    (m, dim), (n, source_dim) = latent_rows.rows.shape, source_rows.rows.shape
    if m != len(prices):
        raise ArgumentError("latents", f"must be the {len(prices)} latents of the run", str(m))
    if dim != source_dim:
        shapes = f"sources {source_rows.rows.shape} and latents {latent_rows.rows.shape}"
        raise ArgumentError(("sources", "latents"), "must have the same dim", shapes)
    made_from, found = (
        matching.meta.get("latents_sha256"),
        convert.sha256(given(latent_rows).blocks),
    )
    if made_from != found:
        rule = f"must be those of the run, with SHA-256 {str(made_from)[:12]}"
        raise ArgumentError("latents", rule, found[:12])
    with named(), Progress(check_progress(progress), n, m) as bar:
        assignment = _core.assign_rows(
            latent_rows.rows,
            source_rows.rows,
            np.asarray(prices),
            instruction_set="auto",
            threads=check_threads(threads),
            poll=bar,
        )
    return given(latent_rows).like(assignment)

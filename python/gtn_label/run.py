"""One run: check the arrays, hand them to the engine, wrap what comes back.

The verbs (matching.py, approx.py, mixture.py) call `run` with their options, and the command calls
the verbs. Not here: checks of options (match_options.py), reading arrays (arrays/), the choice of
an engine (backend/), and checks of values, which the engine makes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _core, approx_quality
from .arrays import convert, on_gpu
from .arrays.on_disk import FileChangedError, Files
from .arrays.row_blocks import RowsLike
from .arrays.sources import Seed, check_source_seed, draw_sources, seed_record
from .arrays.to_caller import given
from .backend.engines import check_device, check_place, make_engine
from .backend.faiss_approx import Approx, factory_index
from .backend.names import resolve
from .errors import ArgumentError, too_many_sources
from .match_options import MatchOptions
from .progress import Progress
from .result import Matching
from .resumed import SAMPLE, wrong_choice
from .threads import check_threads

if TYPE_CHECKING:
    from .io.checkpoint import Checkpoint

# Names of arguments that messages of the engine begin with.
ENGINE_ARGUMENTS = frozenset(
    ["latents", "sources", "groups", "visited", "auction", "memory", "cone", "device", "backend"]
)


def run(
    latents: Any,
    sources: Any,
    seed: Any,
    options: MatchOptions,
    *,
    approx: Approx | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Matching:
    """Match sources to latents.

    Parameters
    ----------
    latents, sources, seed
        As in `match`.
    options : MatchOptions
    approx : Approx, optional
        Options of an approximate search, with backend "faiss:python"; its loss is measured.
    provenance : mapping, optional
        Entries of `Matching.meta` to override.
    """
    seed = check_source_seed(seed)
    groups = options.groups or (None, None)
    files = Files(
        latents=latents, sources=sources, source_groups=groups[0], latent_groups=groups[1]
    )
    if not files:
        return _run(latents, sources, seed, options, approx, provenance, files, None)
    with files.reading() as check:
        return _run(latents, sources, seed, options, approx, provenance, files, check)


def _run(
    latents: Any,
    sources: Any,
    seed: Seed,
    options: MatchOptions,
    approx: Approx | None,
    provenance: Mapping[str, Any] | None,
    files: Files,
    check: Callable[[], None] | None,
) -> Matching:
    """Do what `run` says, over inputs whose files are watched."""
    began = time.perf_counter()
    located = on_gpu.locate(latents=latents, sources=sources)
    chosen = resolve(options.backend, on_gpu=located is not None)
    check_place(located, chosen, choice=approx is None)
    device = check_device(options.device, chosen, located)
    gpu = on_gpu.Gpu(device, latents, sources) if chosen.name == "cuda" else None

    as_rows = convert.as_rows if gpu is None else gpu.as_rows
    latent_rows = as_rows(latents, "latents")
    m, dim = latent_rows.rows.shape
    drawn = sources is None
    origin = seed_record(seed if drawn else None, m)  # before a generator moves on
    source_rows = as_rows(draw_sources(m, dim, seed) if drawn else sources, "sources")
    n = source_rows.rows.shape[0]
    _check_shapes(source_rows.rows.shape, latent_rows.rows.shape)
    checkpoint: Checkpoint | None = options.checkpoint
    rows: dict[str, RowsLike] = {}  # to be hashed
    if check is not None or checkpoint is not None:
        rows = {"latents": given(latent_rows).blocks, "sources": given(source_rows).blocks}
    files.hash(**rows)
    groups = options.labels(n, m)
    labels = None if groups is None else (_int64(groups[0]), _int64(groups[1]))
    problem: dict[str, Any] = {
        "latents": latent_rows.rows,
        "sources": source_rows.rows,
        "source_groups": None if labels is None else labels[0],
        "latent_groups": None if labels is None else labels[1],
        "instruction_set": chosen.instruction_set,
        **options.for_engine(m),
    }
    engine: _core.Engine
    if approx is None:
        engine, record = make_engine(chosen, device, dim, problem["cone"], gpu)
    else:
        factory, record = factory_index(approx, device, dim, problem["threads"])
        engine = _core.ApproxEngine(_core.PythonIndex(factory))

    visited = np.full(n, -1, dtype=np.int64)
    poll, start = None, 0
    if checkpoint is not None:
        from .io.checkpoint import fingerprint

        fields = fingerprint(
            rows["latents"],
            rows["sources"],
            groups,
            seed=origin["seed"],
            approx=approx,
            **options.deciding(),
        )
        poll, start = checkpoint.poll, checkpoint.open(fields, visited, m)
    prepared = time.perf_counter()

    settings: dict[str, Any] = {
        "method": "match",
        **origin,
        **options.deciding(),
        "backend": chosen.name,
        **(provenance or {}),
    }
    with _saved(checkpoint), named(checkpoint):
        if checkpoint is not None and not checkpoint.hashed:
            checked = 0
            if approx is None and gpu is None:
                checked = min(start, SAMPLE)
                wrong = wrong_choice(visited, start, **problem)
                if wrong is not None:
                    rule = f"is damaged: entry {wrong} is not what its source takes"
                    raise checkpoint.refusal(rule)
            checkpoint.warn_of_unchecked(checked)

        def match_rows() -> tuple[Any, Any, dict[str, Any]]:
            with Progress(options.progress, n, m, start) as bar:
                return _core.match_rows(
                    **problem,
                    engine=engine,
                    visited=visited,
                    start=start,
                    poll=in_turn(check, poll, bar),
                )

        try:
            assignment, cosine, stats = match_rows()
        except _core.WrongKernel:
            # What was decided so far may be wrong. The same call has another kernel, and warns.
            visited[start:] = -1
            if checkpoint is not None:
                checkpoint.restart()
            assignment, cosine, stats = match_rows()
        if approx is not None:
            approx = replace(approx, nprobe=factory.nprobe)
            lost = approx_quality.measure(
                visited, assignment, cosine, approx.sample, _repeat(check, poll, n), **problem
            )
            stats["seconds"]["loss"] = lost.pop("seconds")
            settings |= {"method": "match_approx", "approx": {**asdict(approx), **lost}}
            record["approx"] = settings["approx"]
        if check is not None:
            check()
            try:
                files.compare(**rows)
            except FileChangedError:
                if checkpoint is not None:
                    checkpoint.roll_back()
                raise

    asked = check_threads(options.threads)
    record["threads_from"] = "system limit" if stats["threads"] < asked else asked.decided_by
    stats = {"n": n, "m": m, "dim": dim, "backend": chosen.name, **record, **stats}
    stats["seconds"] = {
        "prepare": prepared - began,
        **stats["seconds"],
        "total": time.perf_counter() - began,
    }
    return Matching(
        assignment,
        cosine,
        visited=visited,
        sources=given(source_rows),
        latents=given(latent_rows),
        groups=labels,
        provenance=settings,
        stats=stats,
        files=files,
    )


def _check_shapes(sources: tuple[int, int], latents: tuple[int, int]) -> None:
    """Raise ArgumentError unless dims are equal and there are latents for all sources."""
    if sources[1] != latents[1]:
        raise ArgumentError(
            ("sources", "latents"),
            "must have the same dim",
            f"sources {sources} and latents {latents}",
        )
    if sources[0] > latents[0]:
        raise too_many_sources(sources[0], latents[0])


def _int64(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(labels, dtype=np.int64)


@contextlib.contextmanager
def _saved(checkpoint: Checkpoint | None) -> Iterator[None]:
    """Tell the checkpoint how the run ended."""
    try:
        yield
    except BaseException:
        if checkpoint is not None:
            checkpoint.stopped()
        raise
    if checkpoint is not None:
        checkpoint.ended()


@contextlib.contextmanager
def named(checkpoint: Checkpoint | None = None) -> Iterator[None]:
    """Make errors of the engine's about rows and options into ArgumentError.

    The engine's messages begin with the argument's name, followed by a space or a colon, and end
    with the value after ", got " and the advice after "; ". They are split here and nowhere else.
    Errors of other beginnings stay what they are.
    """
    try:
        yield
    except ValueError as error:
        message = str(error)
        name = message.partition(" ")[0].rstrip(":")
        if type(error) is not ValueError or name not in ENGINE_ARGUMENTS:
            raise
        rest = message.removeprefix(name).lstrip()
        if name in ("visited", "auction") and checkpoint is not None:
            raise checkpoint.refusal(rest) from None
        rule, _, found = rest.partition(", got ")
        got, _, advice = found.partition("; ")
        raise ArgumentError(name, rule, got, advice).with_traceback(error.__traceback__) from None


def _repeat(
    check: Callable[[], None] | None, poll: Callable[[int], None] | None, n: int
) -> Callable[[int], None]:
    """Keep the checkpoint up to date while the loss is measured: all n sources are decided."""
    both = in_turn(check, poll)
    return lambda looked_at: both(n)


def in_turn(
    check: Callable[[], None] | None, *reports: Callable[[int], None] | None
) -> Callable[[int], None]:
    """Check files, then report to the checkpoint and last to a bar, which shows what is safe."""
    wanted = [report for report in reports if report is not None]

    def report_all(done: int) -> None:
        if check is not None:
            check()
        for report in wanted:
            report(done)

    return report_all

"""run: the one path to the engine. Checks what was given, hands it over, wraps what comes back.

`match`, `match_mixture` and `match_approx` call it, and so does the gtn-label command, which also
passes the state of a checkpoint. Not here: single checks (options.py), reading arrays (convert.py,
on_gpu.py), names of backends (backend/names.py), and checks of values, which the engine makes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core, approx_quality
from .arrays import convert, on_gpu
from .backend.engines import check_device, check_place, make_engine
from .backend.faiss_approx import Approx, factory_index
from .backend.names import resolve
from .options import as_bool, as_integer, check_groups, check_order, check_seed, check_threads
from .progress import Progress, ProgressCallback, check_progress
from .result import Matching

LARGEST_INT64 = 2**63 - 1

_Rows: TypeAlias = convert.Rows | on_gpu.Rows


def run(
    latents: Any,
    sources: Any = None,
    *,
    seed: int = 0,
    order: str = "norm",
    cone: int = 1,
    center: bool = False,
    groups: tuple[Any, Any] | None = None,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: bool | ProgressCallback | None = None,
    visited: npt.NDArray[np.int64] | None = None,
    start: int = 0,
    poll: Callable[[int], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
    approx: Approx | None = None,
) -> Matching:
    """`match` for callers inside the package: with a state to resume from and to watch.

    Parameters
    ----------
    visited : int64 [n], writable, optional
        Filled as the run goes: the latent row taken by the p-th source in visiting order.
    start : int
        How many entries of `visited` an earlier run decided.
    poll : callable, optional
        Called with `done` now and then, and at the end: `visited[:done]` is final then. What it
        raises stops the run.
    provenance : mapping, optional
        Entries of `Matching.meta` to override, where the caller drew the sources.
    approx : Approx, optional
        Search approximately, with backend "faiss:python", and measure what that lost.

    Others as in `match`.
    """
    began = time.perf_counter()
    check_seed(seed)
    check_order(order)
    cone = as_integer(cone, "cone", 1)
    center = as_bool(center, "center")
    located = on_gpu.locate(latents=latents, sources=sources)
    chosen = resolve(backend, on_gpu=located is not None)
    check_place(located, chosen, choice=approx is None)
    device = check_device(device, chosen, located)
    threads = check_threads(threads)
    memory_limit = 0 if memory is None else as_integer(memory, "memory", 1, " (bytes)")
    check_progress(progress)
    gpu = None
    if chosen.name == "cuda":
        gpu = on_gpu.Gpu(device, latents, sources)
    latent_rows, source_rows = _read(latents, sources, seed, gpu)
    (m, dim), n = latent_rows.rows.shape, source_rows.rows.shape[0]
    labels = check_groups(groups, n, m)
    source_groups, latent_groups = (None, None) if labels is None else labels
    if visited is None:
        visited = np.full(n, -1, dtype=np.int64)
    engine: _core.Engine
    if approx is None:
        engine, record = make_engine(chosen, device, dim, min(cone, m), gpu)
    else:
        factory, record = factory_index(approx, device, dim, threads)
        engine = _core.ApproxEngine(_core.PythonIndex(factory))
        approx = replace(approx, nprobe=factory.nprobe)
    problem: dict[str, Any] = {
        "latents": latent_rows.rows,
        "sources": source_rows.rows,
        "order": order,
        "cone": min(cone, m),
        "center": center,
        "source_groups": source_groups,
        "latent_groups": latent_groups,
        "instruction_set": chosen.instruction_set,
        "threads": threads,
        "memory": min(memory_limit, LARGEST_INT64),
    }
    prepared = time.perf_counter()

    with Progress(progress, n, m, start) as bar:
        assignment, cosine, stats = _core.match_rows(
            **problem,
            engine=engine,
            visited=visited,
            start=start,
            poll=_listen(bar, poll),
        )

    settings: dict[str, Any] = {
        "method": "match",
        "seed": int(seed) if sources is None else None,
        "order": order,
        "cone": cone,
        "center": center,
        "backend": chosen.name,
        **(provenance or {}),
    }
    if approx is not None:
        # Ctrl-C stops here too, and what was decided stays in `visited`.
        lost = approx_quality.measure(
            visited, assignment, cosine, approx.sample, _listen_to_end(n, poll), **problem
        )
        stats["seconds"]["loss"] = lost.pop("seconds")
        settings |= {"method": "match_approx", "approx": {**asdict(approx), **lost}}
        record["approx"] = settings["approx"]
    stats = {"n": n, "m": m, "dim": dim, "backend": chosen.name, **record, **stats}
    stats["seconds"] = {
        "prepare": prepared - began,
        **stats["seconds"],
        "total": time.perf_counter() - began,
    }
    return Matching(
        assignment,
        cosine,
        sources=source_rows.given,
        latents=latent_rows.given,
        groups=labels,
        provenance=settings,
        stats=stats,
    )


def _read(latents: Any, sources: Any, seed: int, gpu: on_gpu.Gpu | None) -> tuple[_Rows, _Rows]:
    """Return the rows of both, drawing the sources if there are none."""
    latent_rows = _read_one(latents, "latents", gpu)
    m, dim = latent_rows.rows.shape
    if sources is None:
        sources = convert.draw_sources(m, dim, seed)
    source_rows = _read_one(sources, "sources", gpu)
    n = source_rows.rows.shape[0]
    if source_rows.rows.shape[1] != dim:
        raise ValueError(
            "sources and latents must have the same dim, "
            f"got sources {source_rows.rows.shape} and latents {latent_rows.rows.shape}"
        )
    if n > m:
        raise ValueError(f"{n} sources must not exceed {m} latents; draw or pass fewer sources")
    return latent_rows, source_rows


def _read_one(value: Any, name: str, gpu: on_gpu.Gpu | None) -> _Rows:
    if gpu is not None and on_gpu.device_of(value) is not None:
        return on_gpu.as_rows(value, name, gpu)
    return convert.as_rows(value, name)


def _listen_to_end(n: int, poll: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Keep the checkpoint awake while what was lost is measured: all sources are decided."""
    return None if poll is None else lambda looked_at: poll(n)


def _listen(bar: Progress, poll: Callable[[int], None] | None) -> Callable[[int], None]:
    """One callable for the engine: the checkpoint's first, so that a bar shows what is safe."""
    if poll is None:
        return bar

    def both(done: int) -> None:
        poll(done)
        bar(done)

    return both

"""match(): check every argument, hand the rows to the engine, wrap what comes back.

`run` is the one path to the engine: `match` and `match_mixture` call it, and so does the
gtn-label command, which also passes the state of a checkpoint. Not here: reading arrays
(arrays.py), names of backends (backend.py), and checks of values, which the engine makes.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, arrays, loss
from .backend import check_device, make_index, resolve
from .faiss_factory import Approx, factory_index
from .progress import Progress, ProgressCallback, check_progress
from .result import Matching

ORDERS = ("norm", "norm_desc", "index")
MOST_THREADS = 64  # or four a CPU, if that is more: others would only be created and joined
LARGEST_INT64 = 2**63 - 1


def match(
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
) -> Matching:
    """Give every source a latent of its own: Algorithm 1 of the GTN paper, exact to the bit.

    Sources are visited by ascending norm; each takes the free latent of largest cosine. Scores
    are float64 in a fixed order of summation, so the assignment is the same for every backend,
    instruction set, thread count and machine.

    Parameters
    ----------
    latents : array_like [m, dim]
        Rows of float16, float32, float64, bfloat16 or integers: NumPy (memory maps are not
        copied), torch CPU tensors, objects with `__dlpack__`, nested lists. Never modified.
    sources : array_like [n, dim], n <= m, optional
        Rows to label. Left out, m rows of N(0, I) are drawn in float32 by NumPy's Philox
        generator from `seed`: the same on every machine.
    seed : int
        Seed of the sources, >= 0; unused when they are given.
    order : {"norm", "norm_desc", "index"}
        Which sources choose first: small norms, large norms, or as given.
    cone : int
        Among this many free latents of largest cosine take the one of smallest norm (largest,
        under "norm_desc"). 1 is Algorithm 1.
    center : bool
        Subtract the latents' column mean before matching. Labels stay the rows as given.
    groups : (source_groups, latent_groups), optional
        Integer labels, [n] and [m]: a source takes only latents of its own group.
    backend : str
        "auto", or a name that `backends()` lists.
    device : str, optional
        Where a backend that can use a GPU shall compute: "cpu" (the default), "cuda" or "cuda:N".
        That is "faiss" with a FAISS package built for GPUs.
    threads : int, optional
        Threads to use; by default as many as CPUs this process may run on. At most 64, or four
        a CPU if that is more, are started; the answer does not depend on it.
    memory : int, optional
        Most bytes the engine may use for its own work, beside the inputs.
    progress : None, True or callable
        True shows a bar on stderr; a callable is called with (done, total, seconds_left),
        seconds_left being None at first.

    Returns
    -------
    Matching

    Raises
    ------
    TypeError
        If an argument is of the wrong type, or an array of a dtype that is not listed above.
    ValueError
        If shapes or values do not fit: NaN or infinity, rows without a direction, norms outside
        float64, more sources than latents (in all or in a group), options out of range.
    KeyboardInterrupt
        On Ctrl-C, within a second.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label import match
    >>> latents = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> match(latents, np.array([[0.1, 2.0], [1.0, 0.2]])).assignment
    array([1, 0])
    """
    return run(
        latents,
        sources,
        seed=seed,
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
    if order not in ORDERS:
        known = ", ".join(repr(name) for name in ORDERS)
        raise ValueError(f"order must be one of {known}, got {order!r}")
    cone = as_integer(cone, "cone", 1)
    if not isinstance(center, (bool, np.bool_)):
        raise TypeError(f"center must be a bool, got {type(center).__name__} {center!r}")
    chosen = resolve(backend)
    device = check_device(device, chosen)
    threads = usable_cpus() if threads is None else as_integer(threads, "threads", 1)
    memory_limit = 0 if memory is None else as_integer(memory, "memory", 1, " (bytes)")
    check_progress(progress)

    latent_rows = arrays.as_rows(latents, "latents")
    m, dim = latent_rows.rows.shape
    if sources is None:
        source_rows = arrays.as_rows(arrays.draw_sources(m, dim, seed), "sources")
    else:
        source_rows = arrays.as_rows(sources, "sources")
    n = source_rows.rows.shape[0]
    if source_rows.rows.shape[1] != dim:
        raise ValueError(
            "sources and latents must have the same dim, "
            f"got sources {source_rows.rows.shape} and latents {latent_rows.rows.shape}"
        )
    if n > m:
        raise ValueError(f"{n} sources must not exceed {m} latents; draw or pass fewer sources")
    source_groups, latent_groups = _check_groups(groups, n, m)
    if visited is None:
        visited = np.full(n, -1, dtype=np.int64)
    threads = min(threads, max(MOST_THREADS, 4 * usable_cpus()))
    index: _core.InnerProductIndex | None
    if approx is None:
        index, record = make_index(chosen, device, dim, min(cone, m))
    else:
        factory, record = factory_index(approx, device, dim, threads)
        index = _core.PythonIndex(factory)
        approx = replace(approx, nprobe=factory.nprobe)
    problem: dict[str, Any] = {
        "latents": latent_rows.rows,
        "sources": source_rows.rows,
        "order": order,
        "cone": min(cone, m),
        "center": bool(center),
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
            index=index,
            approx=approx is not None,
            visited=visited,
            start=start,
            poll=_listen(bar, poll),
        )

    settings: dict[str, Any] = {
        "method": "match",
        "seed": int(seed) if sources is None else None,
        "order": order,
        "cone": cone,
        "center": bool(center),
        "backend": chosen.name,
        **(provenance or {}),
    }
    if approx is not None:
        # Ctrl-C stops here too, and what was decided stays in `visited`.
        lost = loss.measure(
            visited, assignment, cosine, approx.sample, _listen_to_end(n, poll), **problem
        )
        stats["seconds"]["loss"] = lost.pop("seconds")
        settings |= {"method": "match_approx", "approx": {**asdict(approx), **lost}}
        record["approx"] = settings["approx"]
    stats = {"n": n, "m": m, "dim": dim, "backend": chosen.name, **record, **stats}
    stats["seconds"] = {
        "prepare": prepared - began,
        **stats.get("seconds", {}),
        "total": time.perf_counter() - began,
    }
    return Matching(
        assignment,
        cosine,
        sources=source_rows,
        latents=latent_rows,
        groups=None
        if source_groups is None or latent_groups is None
        else (source_groups, latent_groups),
        provenance=settings,
        stats=stats,
    )


def as_integer(value: Any, name: str, least: int, unit: str = "") -> int:
    """Check an integer option: TypeError if it is no int (bool is none), ValueError if small."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an int{unit}, got bool {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an int{unit}, got {type(value).__name__} {value!r}"
        ) from None
    if number < least:
        raise ValueError(f"{name} must be >= {least}, got {number}")
    return number


def check_seed(seed: Any) -> int:
    """Check a seed: an int >= 0."""
    return as_integer(seed, "seed", 0)


def usable_cpus() -> int:
    """CPUs this process may run on: its affinity where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_groups(
    groups: Any, n: int, m: int
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64] | None]:
    if groups is None:
        return None, None
    if not isinstance(groups, (tuple, list)) or len(groups) != 2:
        got = type(groups).__name__
        if isinstance(groups, (tuple, list)):
            got += f" of length {len(groups)}"
        raise TypeError(f"groups must be a pair (source_groups, latent_groups), got {got}")
    return (
        arrays.as_labels(groups[0], "source_groups", n, "sources"),
        arrays.as_labels(groups[1], "latent_groups", m, "latents"),
    )


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

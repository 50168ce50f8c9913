"""match_approx: the same greedy over what an approximate FAISS index finds.

For n beyond exact reach, and never chosen by "auto". Not here: the index (backend/faiss_approx.py),
the measure of what was lost (approx_quality.py), the run itself (run.py).
"""

from __future__ import annotations

from typing import Any

from .backend.faiss_approx import Approx
from .options import as_integer
from .progress import ProgressCallback
from .result import Matching
from .run import run

DEFAULT_INDEX = "IVF4096,Flat"
DEFAULT_SAMPLE = 1000


def match_approx(
    latents: Any,
    sources: Any = None,
    *,
    index: str = DEFAULT_INDEX,
    nprobe: int | None = None,
    parameters: str | None = None,
    sample: int = DEFAULT_SAMPLE,
    seed: int = 0,
    order: str = "norm",
    cone: int = 1,
    center: bool = False,
    groups: tuple[Any, Any] | None = None,
    device: str | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: bool | ProgressCallback | None = None,
) -> Matching:
    """Label sources with latents, one to one, as an approximate FAISS index finds them.

    Algorithm 1 as in `match`, but each source takes the free latent of largest cosine among those
    that the index finds for it, which may not be the best there is. No latent is taken twice. What
    that lost is measured on a sample and reported. Unlike those of `match`, the pairs may differ
    from one machine, FAISS version or number of threads to another.

    Parameters
    ----------
    latents, sources, seed, order, cone, center, groups, threads, progress
        As in `match`. With groups, each has an index of its own.
    index : str
        FAISS's factory string, of an index for inner products. An inverted file should have about
        4 sqrt(m) cells, and cannot have more than there are latents.
    nprobe : int, optional
        Cells of an inverted file that a search visits: more lose less and take longer. Left out,
        16; FAISS's own default is 1.
    parameters : str, optional
        Other parameters of FAISS's search, such as "efSearch=64" for HNSW.
    sample : int
        Sources on which the loss is measured, >= 1, spread evenly over the visiting order.
    device : str, optional
        "cpu" (the default), or "cuda" or "cuda:N" for an index that FAISS can keep on a GPU.
    memory : int, optional
        Most bytes the engine may use for its own work, beside the inputs and FAISS's index.

    Returns
    -------
    Matching
        `stats["approx"]` and `meta["approx"]` have "index", "nprobe" and "parameters" as used,
        and the loss: "sample" (sources looked at), "other_latent" (share of them that have another
        latent than the exact choice among those free at that moment), "other_latent_95" (a 95 %
        interval of that share in the whole run), "cosine_lost" (mean cosine lost to that choice)
        and "cosine_lost_error" (its standard error). `stats["retries"]` counts the sources for
        which the index found too few free latents, and which were searched exactly.

    Raises
    ------
    TypeError, ValueError, KeyboardInterrupt
        As `match`; also if FAISS's Python package is not installed, or it cannot make, train or
        search the index.

    Notes
    -----
    Few latents (under 200) and the last of many are searched exactly. FAISS trains with OpenMP, so
    in a process forked after that only `threads=1` works. Ctrl-C is served within a second but
    where FAISS itself does not listen, such as while it trains LSQ or builds NSG.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label import match_approx
    >>> latents = np.random.default_rng(0).normal(size=(5000, 8))
    >>> m = match_approx(latents, index="IVF64,Flat", nprobe=8)
    >>> len(set(m.assignment.tolist()))
    5000
    """
    return run(
        latents,
        sources,
        seed=seed,
        order=order,
        cone=cone,
        center=center,
        groups=groups,
        backend="faiss:python",
        device=device,
        threads=threads,
        memory=memory,
        progress=progress,
        approx=check_approx(index, nprobe, parameters, sample),
    )


def check_approx(index: Any, nprobe: Any, parameters: Any, sample: Any) -> Approx:
    """Check what can be checked before FAISS is asked.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong type, or out of range.
    """
    for name, value in (("index", index), ("parameters", parameters)):
        if not isinstance(value, str) and not (name == "parameters" and value is None):
            raise TypeError(f"{name} must be a str, got {type(value).__name__} {value!r}")
        if value is not None and not value.strip():
            raise ValueError(f"{name} must not be empty")
    if nprobe is not None:
        nprobe = as_integer(nprobe, "nprobe", 1)
    return Approx(index, nprobe, parameters, as_integer(sample, "sample", 1))

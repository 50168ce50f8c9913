"""`match_approx`: the same greedy over the latents that an approximate FAISS index finds.

For n beyond the reach of exact search; the backend "auto" never chooses it. Not here: the index
(backend/faiss_approx.py), the measure of the loss (approx_quality.py), the run (run.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .backend.faiss_approx import Approx
from .match_options import ApproxOptions, MatchOptions, takes_options
from .result import Matching
from .run import run

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEFAULT_INDEX = "IVF4096,Flat"
DEFAULT_SAMPLE = 1000


@takes_options(ApproxOptions)
def match_approx(
    latents: Any,
    sources: Any = None,
    *,
    index: str = DEFAULT_INDEX,
    nprobe: int | None = None,
    parameters: str | None = None,
    sample: int = DEFAULT_SAMPLE,
    seed: int | np.random.Generator = 0,
    **options: Unpack[ApproxOptions],
) -> Matching:
    """Label sources with latents, one to one, as an approximate FAISS index finds them.

    Algorithm 1 as in `match`, but each source takes the free latent of largest cosine among those
    that the index finds for it, which may not be the best there is. No latent is taken twice. The
    loss is measured on a sample and reported. Unlike those of `match`, the pairs may differ from
    one machine, FAISS version or number of threads to another.

    Parameters
    ----------
    latents, sources, seed
        As in `match`.
    index : str
        FAISS's factory string of an index for inner products. An inverted file should have about
        4 sqrt(m) cells, and cannot have more than there are latents.
    nprobe : int, optional
        Number of cells of an inverted file that a search visits, by default 16 (FAISS's own default
        is 1). More cells lose less and take longer.
    parameters : str, optional
        Other parameters of FAISS's search, such as "efSearch=64" for HNSW.
    sample : int
        Number of sources on which the loss is measured, >= 1, spread evenly over the visiting
        order.
    **options
        order, cone, center, groups, threads, progress and checkpoint as in `match`; each group has
        an index of its own. `device` is "cpu" (the default), or "cuda" or "cuda:N" for an index
        that FAISS can keep on a GPU. `memory` is the largest number of bytes for the engine's own
        work, beside the inputs and FAISS's index.

    Returns
    -------
    Matching
        `stats["approx"]` and `meta["approx"]` have "index", "nprobe" and "parameters" as used,
        and the loss: "sample" (sources looked at), "other_latent" (share of them that have another
        latent than the exact choice among those free at that moment), "other_latent_95" (a 95 %
        interval of that share in the whole run), "cosine_lost" (mean cosine lost to that choice)
        and "cosine_lost_error" (standard error of that mean). `stats["retries"]` counts the sources
        for which the index found too few free latents, and which were searched exactly.

    Raises
    ------
    TypeError, ValueError, KeyboardInterrupt
        As `match`; also if FAISS's Python package is not installed, or it cannot make, train or
        search the index.

    Notes
    -----
    Few latents (under 200) and the last of many are searched exactly. FAISS trains with OpenMP: in
    a process forked after that only `threads=1` works. Ctrl-C is served within a second, except
    where FAISS itself does not listen, such as while it trains LSQ or builds NSG. A checkpoint of
    an approximate run may end in other pairs than the run alone, since the index is trained anew.

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
        seed,
        MatchOptions(backend="faiss:python", **options),
        approx=Approx(index, nprobe, parameters, sample),
    )

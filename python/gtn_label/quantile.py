"""`match_quantile`: the one-dimensional labeling of Theorem 2.1, sorted sources to sorted latents.

In one dimension the cosine is only a sign, so Algorithm 1 does not give the quantile map. Two sorts
in NumPy do. Not here: rows of two or more columns (matching.py).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import convert
from .arrays.on_disk import Files
from .arrays.sources import Seed, check_source_seed, draw_sources, seed_record
from .arrays.to_caller import given
from .errors import too_many_sources
from .result import Matching


def match_quantile(
    latents: Any, sources: Any = None, *, seed: int | np.random.Generator = 0
) -> Matching:
    """Label numbers with numbers: h = F_X^-1 o F_Y (Theorem 2.1), estimated from the samples.

    The source of rank r (from 0) sits at the probability p = (r + 1/2) / n of its own sample and
    takes the latents' p-quantile F_X^-1(p) = min {x : F_X(x) >= p}, which is the latent of rank
    ceil(p m) - 1. With n = m that is rank r: sorted against sorted. With n < m no latent is taken
    twice, since p m grows by m / n >= 1 from one source to the next. Equal values rank by index.

    Parameters
    ----------
    latents : array_like [m] or [m, 1]
        Numbers, dtypes as in `match`.
    sources : array_like [n] or [n, 1], n <= m, optional
        By default m numbers of N(0, 1), drawn as in `match`, in the latents' shape.
    seed : int or numpy.random.Generator
        Seed of the sources, >= 0, or a generator as in `match`; unused when they are given.

    Returns
    -------
    Matching
        Its cosine is that of two numbers: 1 if the signs agree, -1 if not, 0 if either is zero.

    Raises
    ------
    TypeError
        If a dtype or the type of the seed is wrong.
    ValueError
        If a shape is wrong, a value is NaN or infinite, or there are more sources than latents.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label import match_quantile
    >>> match_quantile(np.array([30.0, 10.0, 20.0]), np.array([0.5, 1.5, -1.0])).assignment
    array([2, 0, 1])
    """
    seed = check_source_seed(seed)
    files = Files(latents=latents, sources=sources)
    with files.reading():
        return _run(latents, sources, seed, files)


def _run(latents: Any, sources: Any, seed: Seed, files: Files) -> Matching:
    """Do what `match_quantile` says, over inputs whose files are watched."""
    began = time.perf_counter()
    latent_rows = convert.as_column(latents, "latents")
    m = len(latent_rows.rows)
    origin = seed_record(seed if sources is None else None, m)  # before a generator moves on
    if sources is None:
        drawn = draw_sources(m, 1, seed).reshape(tuple(latent_rows.given.shape))
        source_rows = convert.as_column(drawn, "sources")
    else:
        source_rows = convert.as_column(sources, "sources")
    rows = {"latents": given(latent_rows).blocks, "sources": given(source_rows).blocks}
    files.hash(**rows)
    x, y = latent_rows.rows, source_rows.rows
    n = len(y)
    if n > m:
        raise too_many_sources(n, m)
    convert.refuse_non_finite(x, "latents")
    convert.refuse_non_finite(y, "sources")

    assignment, cosine = quantile_pairs(x, y)
    files.compare(**rows)
    return Matching(
        assignment,
        cosine,
        sources=given(source_rows),
        latents=given(latent_rows),
        provenance={
            "method": "quantile",
            **origin,
            "order": None,
            "cone": None,
            "center": False,
            "backend": "cpu",
        },
        stats={
            "n": n,
            "m": m,
            "dim": 1,
            "backend": "cpu",
            "seconds": {"total": time.perf_counter() - began},
        },
        files=files,
    )


def quantile_pairs(
    x: npt.NDArray[Any], y: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return assignment and cosine [n] of n sources y and m latents x, which are numbers."""
    m, n = len(x), len(y)
    rank = np.arange(n, dtype=np.int64)
    quantile = -(-(2 * rank + 1) * m // (2 * n)) - 1  # ceil((r + 1/2) m / n) - 1, in integers
    assignment = np.empty(n, dtype=np.int64)
    x_keys, y_keys = _keys(x), _keys(y)
    assignment[np.argsort(y_keys, kind="stable")] = np.argsort(x_keys, kind="stable")[quantile]
    cosine = (np.sign(y_keys) * np.sign(x_keys[assignment])).astype(np.float64)
    return assignment, cosine


def _keys(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return integers in the order of the floats, with their signs; both zeros become 0.

    Under flush-to-zero, which other libraries can set, NumPy takes small floats for zeros.
    """
    keys = values.view(f"i{values.itemsize}")
    most = np.iinfo(keys.dtype).max
    return np.where(keys < 0, -(keys & most), keys)

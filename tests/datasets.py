"""Named data sets of the differential tests: what latents can look like at their worst.

`make(name, n, dim)` gives (latents [n, dim], sources [n, dim]), a pure function of its arguments.
Numbers come from a seeded NumPy generator; nothing is read from disk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

Maker = Callable[[np.random.Generator, int, int], np.ndarray]


def _gaussian(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return rng.standard_normal((n, dim), dtype=np.float32)


def _uniform(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return (rng.random((n, dim)) + 0.1).astype(np.float32)


def _clusters(spread: float, dtype: type = np.float32) -> Maker:
    """Ten centres at distance about sqrt(dim); `spread` is relative to it."""

    def make(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
        centres = rng.standard_normal((10, dim)) + 0.2
        which = rng.integers(10, size=n)
        return (centres[which] + spread * rng.standard_normal((n, dim))).astype(dtype)

    return make


def _lattice(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Small integers: many exact ties of scores and of norms."""
    rows = rng.integers(-2, 3, size=(n, dim)).astype(np.float32)
    rows[~rows.any(axis=1), 0] = 1
    return rows


def _repeated(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    rows = _gaussian(rng, -(-n // 50), dim)
    return rng.permutation(np.repeat(rows, 50, axis=0)[:n])


def _all_equal(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return np.repeat(_gaussian(rng, 1, dim), n, axis=0)


def _heavy_tails(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return rng.standard_t(1.5, size=(n, dim)).astype(np.float32)


def _heavy_rows(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Directions in which single coordinates dominate, norms over 60 orders of magnitude."""
    rows = rng.standard_t(1.5, size=(n, dim)) ** 3
    return rows * 10.0 ** rng.uniform(-30, 30, size=(n, 1))


def _offset(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return np.float32(1e3) + _gaussian(rng, n, dim)


def _scaled(scale: float, dtype: type = np.float32) -> Maker:
    def make(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
        return (scale * rng.standard_normal((n, dim))).astype(dtype)

    return make


def _collinear(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Multiples of one vector, in float64: scores that differ only by rounding, if at all."""
    return rng.uniform(-2, 2, size=(n, 1)) * rng.standard_normal((1, dim))


def _antipodes(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    half = rng.standard_normal((-(-n // 2), dim))
    return rng.permutation(np.concatenate([half, -half])[:n])


def _axes(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Multiples of signed unit vectors: nearly all scores are zero, all angles are right."""
    rows = np.zeros((n, dim), dtype=np.float32)
    rows[np.arange(n), rng.integers(dim, size=n)] = rng.choice([-2, -1, 1, 2, 3], size=n)
    return rows


def _float16(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((n, dim)).astype(np.float16)
    rows[~rows.any(axis=1), 0] = 1
    return rows


def _int64(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Integers beyond 2^53, which float64 must round."""
    return rng.integers(-(2**62), 2**62, size=(n, dim))


def _near_duplicates(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Float64 rows of a few directions, moved in their last bits only."""
    rows = rng.standard_normal((7, dim))[rng.integers(7, size=n)]
    return rows * (1 + rng.integers(-4, 5, size=(n, dim)) * 2.0**-52)


# name: (latents, sources)
_MAKERS: dict[str, tuple[Maker, Maker]] = {
    "gaussian": (_gaussian, _gaussian),
    "uniform": (_uniform, _gaussian),
    "clusters": (_clusters(0.3), _gaussian),
    "clusters 1e-3": (_clusters(1e-3), _gaussian),
    "clusters 1e-6": (_clusters(1e-6), _gaussian),
    "clusters 1e-6 float64": (_clusters(1e-6, np.float64), _gaussian),
    "lattice": (_lattice, _lattice),
    "lattice, gaussian sources": (_lattice, _gaussian),
    "repeated 50 times": (_repeated, _gaussian),
    "all equal": (_all_equal, _gaussian),
    "heavy tails": (_heavy_tails, _gaussian),
    "heavy rows float64": (_heavy_rows, _heavy_rows),
    "1e3 + noise": (_offset, _gaussian),
    "scale 1e-20": (_scaled(1e-20), _gaussian),
    "scale 1e15": (_scaled(1e15), _scaled(1e15)),
    "scale 1e-150 float64": (_scaled(1e-150, np.float64), _scaled(1e-150, np.float64)),
    "scale 1e150 float64": (_scaled(1e150, np.float64), _gaussian),
    "float64": (_scaled(1.0, np.float64), _scaled(1.0, np.float64)),
    "float32 latents, float64 sources": (_gaussian, _scaled(1.0, np.float64)),
    "float64 latents, float32 sources": (_scaled(1.0, np.float64), _gaussian),
    "float16": (_float16, _gaussian),
    "int64": (_int64, _gaussian),
    "identical sources": (_gaussian, _all_equal),
    "collinear": (_collinear, _scaled(1.0, np.float64)),
    "antipodes": (_antipodes, _gaussian),
    "axes": (_axes, _lattice),
    "near duplicates float64": (_near_duplicates, _gaussian),
    "sources are latents": (_gaussian, _gaussian),
}

NAMES = tuple(_MAKERS)


def make(name: str, n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents and sources of the named data set, n rows of dim columns each."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), n, dim])
    make_latents, make_sources = _MAKERS[name]
    latents = make_latents(rng, n, dim)
    if name == "sources are latents":
        return latents, rng.permutation(latents)
    return latents, make_sources(rng, n, dim)


def make_groups(kind: str, n_sources: int, n_latents: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Group labels: "none", "two" (one with spare latents) or "many" (small, negative labels too).

    Every source's group has at least as many latents as sources.
    """
    if kind == "none":
        return None
    rng = np.random.default_rng([n_sources, n_latents])
    if kind == "two":
        labels = (rng.random(n_latents) < 0.3).astype(np.int64)
    else:
        labels = rng.integers(-5, 12, size=n_latents) * 3
    # Sources take the labels of some latents, so no group can run short.
    return rng.permutation(labels)[:n_sources], labels

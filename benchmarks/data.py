"""Data sets of the benchmarks: latents of any shape from a seed. No files, no downloads.

The list is that of the tests' differential cases: isotropic Gaussian first, the one all others are
compared with, then shapes of data that could defeat a certificate, a threshold or a tie rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Latents = NDArray[np.floating[Any]]
Maker = Callable[[np.random.Generator, int, int], Latents]


def generator(*key: int) -> np.random.Generator:
    """Return a Philox generator; the same numbers on every machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def sources(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Gaussian sources, float32 [n, dim]."""
    return generator(seed, 1).standard_normal((n, dim), dtype=np.float32)


def isotropic(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Draw standard normal latents."""
    return rng.standard_normal((n, dim), dtype=np.float32)


def uniform(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Uniform in [0, 1), so off-centre."""
    return rng.random((n, dim), dtype=np.float32)


def clustered(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Twenty tight clusters."""
    centres = 5 * rng.standard_normal((20, dim))
    noise = 0.3 * rng.standard_normal((n, dim))
    return (centres[rng.integers(20, size=n)] + noise).astype(np.float32)


def lattice(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Coordinates in -2..2: many exact ties."""
    rows = rng.integers(-2, 3, size=(n, dim)).astype(np.float32)
    rows[~rows.any(axis=1), 0] = 1  # a zero row has no direction
    return rows


def repeated(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Every latent fifty times, shuffled."""
    distinct = rng.standard_normal((-(-n // 50), dim), dtype=np.float32)
    return rng.permutation(np.repeat(distinct, 50, axis=0)[:n])


def equal(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """All latents the same row."""
    return np.repeat(rng.standard_normal((1, dim), dtype=np.float32), n, axis=0)


def heavy_tails(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Student t with 1.5 degrees of freedom in every coordinate."""
    return rng.standard_t(1.5, size=(n, dim)).astype(np.float32)


def tight_cone(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """A thousand plus noise in every coordinate: all directions nearly the same."""
    return (1e3 + rng.standard_normal((n, dim))).astype(np.float32)


def tiny(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Isotropic at scale 1e-20."""
    return (1e-20 * rng.standard_normal((n, dim))).astype(np.float32)


def huge(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Isotropic at scale 1e15."""
    return (1e15 * rng.standard_normal((n, dim))).astype(np.float32)


def double(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Isotropic in float64."""
    return rng.standard_normal((n, dim))


DATASETS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        isotropic,
        uniform,
        clustered,
        lattice,
        repeated,
        equal,
        heavy_tails,
        tight_cone,
        tiny,
        huge,
        double,
    )
}


def latents(name: str, n: int, dim: int, seed: int = 0) -> Latents:
    """Latents [n, dim] of the data set ``name``; float32 but for ``double``."""
    return DATASETS[name](generator(seed, 2), n, dim)

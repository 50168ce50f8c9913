"""Data sets of the benchmarks: latents of any shape from a seed, or the rows of a file.

``isotropic`` is the one all others are compared with; then come shapes of data that people have,
and shapes that could defeat a certificate, a threshold or a tie rule. Sources are always Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import oracle

Latents = NDArray[np.floating[Any]]
Maker = Callable[[np.random.Generator, int, int], Latents]

BLOCK = 10_000  # rows of a file whose norms are checked at a time
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "latents.npy"


def generator(*key: int) -> np.random.Generator:
    """Return a Philox generator; the same numbers on every machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def sources(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Gaussian sources, float32 [n, dim]."""
    return generator(seed, 1).standard_normal((n, dim), dtype=np.float32)


def isotropic(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Standard normal."""
    return rng.standard_normal((n, dim), dtype=np.float32)


def off_centre(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Standard normal moved by one standard deviation in every coordinate."""
    rows = rng.standard_normal((n, dim), dtype=np.float32)
    rows += 1
    return rows


def clustered(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Twenty tight clusters whose common mean is as far from the origin as they are apart."""
    centres = 5 * (1 + rng.standard_normal((20, dim)))
    noise = 0.3 * rng.standard_normal((n, dim))
    return (centres[rng.integers(20, size=n)] + noise).astype(np.float32)


def heavy_tails(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Student t with 1.5 degrees of freedom in every coordinate."""
    return rng.standard_t(1.5, size=(n, dim)).astype(np.float32)


def uniform(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Uniform in a cube, standardised; at dim 2 the square of the GTN paper."""
    return ((rng.random((n, dim)) - 0.5) * 12**0.5).astype(np.float32)


def swiss_roll(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """The angle of the GTN paper's swiss roll, uniform in 1.5π to 4.5π, standardised; dim 1."""
    if dim != 1:
        raise ValueError(f"the data set swiss_roll has dim 1, got {dim}")
    return uniform(rng, n, dim)


def duplicated(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Every latent fifty times, shuffled."""
    distinct = rng.standard_normal((-(-n // 50), dim), dtype=np.float32)
    return np.repeat(distinct, 50, axis=0)[rng.permutation(n)]


def lattice(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Coordinates in -2..2: many exact ties."""
    rows = rng.integers(-2, 3, size=(n, dim)).astype(np.float32)
    rows[~rows.any(axis=1), 0] = 1  # a zero row has no direction
    return rows


def equal(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """All latents the same row."""
    return np.repeat(rng.standard_normal((1, dim), dtype=np.float32), n, axis=0)


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
        off_centre,
        clustered,
        heavy_tails,
        uniform,
        swiss_roll,
        duplicated,
        lattice,
        equal,
        tight_cone,
        tiny,
        huge,
        double,
    )
}


def describe(name: str) -> str:
    """One line on a data set."""
    return (DATASETS[name].__doc__ or "").splitlines()[0]


def latents(name: str, n: int, dim: int, seed: int = 0) -> Latents:
    """Latents [n, dim] of the data set ``name``; float32 but for ``double``."""
    return DATASETS[name](generator(seed, 2), n, dim)


def read(path: Path) -> Latents:
    """Rows of a .npy file as the peers take them: float32, or float64 where they are.

    Raises
    ------
    ValueError
        The file holds no finite numbers in two dimensions, too few of them, or rows that have no
        norm in the contract's sense.
    OSError
        It cannot be read.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path.name} is not a .npy file of numbers: {error}") from None
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise ValueError(f"{path.name} must hold one array of numbers [n, dim]")
    if len(rows) < 2 or not rows.shape[1]:
        shape = f"[{rows.shape[0]}, {rows.shape[1]}]"
        raise ValueError(f"{path.name} must hold [n, dim] with n > 1 and dim > 0, got {shape}")
    rows = np.ascontiguousarray(rows, np.float64 if rows.dtype == np.float64 else np.float32)
    if not np.isfinite(rows).all():
        raise ValueError(f"{path.name} holds NaN or infinity")
    for begin in range(0, len(rows), BLOCK):
        part = oracle.pad(rows[begin : begin + BLOCK])
        squares = oracle.dots(part, part)
        refused = np.flatnonzero(~(np.isfinite(squares) & (squares >= oracle.SMALLEST_SQUARE)))
        if refused.size:
            raise ValueError(
                f"{path.name} must hold rows with norms that are not zero and that float64 can "
                f"hold, but row {begin + refused[0]} has none"
            )
    return rows

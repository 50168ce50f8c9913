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
    """Draw standard normal rows, float32."""
    return rng.standard_normal((n, dim), dtype=np.float32)


def clustered(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Draw twenty tight clusters."""
    centres = 5 * (1 + rng.standard_normal((20, dim)))
    noise = 0.3 * rng.standard_normal((n, dim))
    return (centres[rng.integers(20, size=n)] + noise).astype(np.float32)


def uniform(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Draw from a cube, standardised."""
    return ((rng.random((n, dim)) - 0.5) * 12**0.5).astype(np.float32)


def swiss_roll(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Draw the angle of the swiss roll."""
    if dim != 1:
        raise ValueError(f"the data set swiss_roll has dim 1, got {dim}")
    return uniform(rng, n, dim)


def duplicated(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Draw distinct rows, and repeat each."""
    return np.repeat(isotropic(rng, -(-n // 50), dim), 50, axis=0)[rng.permutation(n)]


def lattice(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Draw small integers."""
    rows = rng.integers(-2, 3, size=(n, dim)).astype(np.float32)
    rows[~rows.any(axis=1), 0] = 1  # a zero row has no direction
    return rows


def codes(rng: np.random.Generator, n: int, dim: int) -> Latents:
    """Draw rows of the examples' PCA codes of images, without repeats: the first components."""
    rows = np.load(EXAMPLE)
    if n > rows.shape[0] or dim > rows.shape[1]:
        raise ValueError(f"the data set codes has {rows.shape}, got n {n} and dim {dim}")
    return np.ascontiguousarray(rows[rng.permutation(len(rows))[:n], :dim])


def scaled(shift: float, scale: float) -> Maker:
    """Make a data set of normal rows in float64, moved and scaled, then cut to float32."""
    return lambda rng, n, dim: (shift + scale * rng.standard_normal((n, dim))).astype(np.float32)


# By name: a description, and the function that draws the rows.
DATASETS: dict[str, tuple[str, Maker]] = {
    "isotropic": ("Standard normal.", isotropic),
    "off_centre": (
        "Standard normal moved by one standard deviation in every coordinate.",
        lambda rng, n, dim: isotropic(rng, n, dim) + np.float32(1),
    ),
    "clustered": (
        "Twenty tight clusters whose common mean is as far from the origin as they are apart.",
        clustered,
    ),
    "heavy_tails": (
        "Student t with 1.5 degrees of freedom in every coordinate.",
        lambda rng, n, dim: rng.standard_t(1.5, size=(n, dim)).astype(np.float32),
    ),
    "uniform": ("Uniform in a cube, standardised; at dim 2 the square of the GTN paper.", uniform),
    "swiss_roll": (
        "The angle of the GTN paper's swiss roll, uniform in 1.5π to 4.5π, standardised; dim 1.",
        swiss_roll,
    ),
    "codes": (
        "PCA codes of images, the first components: rows of examples/latents.npy, whose "
        "components have unequal variance.",
        codes,
    ),
    "duplicated": ("Every latent fifty times, shuffled.", duplicated),
    "lattice": ("Coordinates in -2..2: many exact ties.", lattice),
    "equal": (
        "All latents the same row.",
        lambda rng, n, dim: np.repeat(isotropic(rng, 1, dim), n, axis=0),
    ),
    "tight_cone": (
        "A thousand plus noise in every coordinate: all directions nearly the same.",
        scaled(1e3, 1),
    ),
    "tiny": ("Isotropic at scale 1e-20.", scaled(0, 1e-20)),
    "huge": ("Isotropic at scale 1e15.", scaled(0, 1e15)),
    "double": ("Isotropic in float64.", lambda rng, n, dim: rng.standard_normal((n, dim))),
}


MOST_DIM = {"swiss_roll": 1, "codes": 24}  # of data sets that do not exist in any dimension
MOST_ROWS = {"codes": 10_000}


def unfit(name: str, n: int, dim: int) -> str:
    """Say why a data set does not exist in that shape; empty if it does."""
    if name == "swiss_roll" and dim != 1:
        return f"the data set swiss_roll has dim 1, got dim {dim}"
    for word, got, most in (("dim", dim, MOST_DIM), ("n", n, MOST_ROWS)):
        if got > most.get(name, got):
            return f"the data set {name} has at most {word} {most[name]}, got {word} {got}"
    return ""


def describe(name: str) -> str:
    """Describe a data set in one line."""
    return DATASETS[name][0]


def latents(name: str, n: int, dim: int, seed: int = 0) -> Latents:
    """Latents [n, dim] of the data set ``name``; float32 but for ``double``."""
    return DATASETS[name][1](generator(seed, 2), n, dim)


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

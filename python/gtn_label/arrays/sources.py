"""Random sources: rows of N(0, I), from a seed the same on every machine, or from a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_seed
from ..errors import ArgumentTypeError

__all__ = ["Seed", "check_source_seed", "draw_sources", "redraw", "seed_record"]

Seed = int | np.random.Generator

_DRAW_VALUES = 1 << 20  # values a call draws, in some milliseconds


def check_source_seed(seed: Any) -> Seed:
    """Return an int >= 0 or a NumPy Generator; say how to make one of other sources of chance."""
    if isinstance(seed, np.random.Generator):
        return seed
    advice = ""
    if isinstance(seed, np.random.BitGenerator):
        advice = "pass numpy.random.Generator(seed)"
    elif isinstance(seed, np.random.SeedSequence):
        advice = "pass numpy.random.default_rng(seed)"
    elif isinstance(seed, np.random.RandomState):
        advice = "pass numpy.random.default_rng(seed.randint(2**31))"
    elif hasattr(seed, "initial_seed"):  # torch's
        advice = "pass seed.initial_seed()"
    elif str(getattr(seed, "dtype", "")).startswith("key<"):  # jax.random.key's
        data = "numpy.asarray(jax.random.key_data(seed))"
        advice = f"pass the int that the key is made of, or numpy.random.default_rng({data})"
    if advice:
        kind = type(seed)
        rule = "must be an int or a numpy.random.Generator"
        raise ArgumentTypeError("seed", rule, f"{kind.__module__}.{kind.__name__}", advice)
    return check_seed(seed)


def draw_sources(n: int, dim: int, seed: Seed) -> npt.NDArray[np.float32]:
    """Draw `n` rows of N(0, I), float32, row after row [n, dim].

    A seed is one of NumPy's Philox generator; a generator given is drawn from as it stands. The
    rows are drawn in blocks, so that Ctrl-C is served between two of them. The numbers are those
    of a single call.
    """
    generator = seed
    if isinstance(seed, int):
        generator = np.random.Generator(np.random.Philox(seed))
    assert isinstance(generator, np.random.Generator)
    rows = np.empty((n, dim), dtype=np.float32)
    step = max(1, _DRAW_VALUES // max(dim, 1))
    for begin in range(0, n, step):
        generator.standard_normal(out=rows[begin : begin + step], dtype=np.float32)
    return rows


def seed_record(seed: Seed | None) -> dict[str, Any]:
    """Describe the origin of sources in JSON types: the seed, or the generator before it draws."""
    if not isinstance(seed, np.random.Generator):
        return {"seed": seed}
    return {"seed": None, "generator": _plain(seed.bit_generator.state)}


def redraw(record: Mapping[str, Any], n: int, dim: int) -> npt.NDArray[np.float32] | None:
    """Draw the sources that a `seed_record` describes; None if sources were given.

    Raises
    ------
    ValueError
        If this NumPy lacks the generator, or the state is not one of its own.
    """
    if record.get("seed") is not None:
        return draw_sources(n, dim, record["seed"])
    if record.get("generator") is None:
        return None
    name = record["generator"].get("bit_generator")
    kind = getattr(np.random, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, np.random.BitGenerator)):
        raise ValueError(f"meta names the generator {name!r}, which this NumPy lacks")
    bits = kind(0)
    try:
        bits.state = _like(bits.state, record["generator"])
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"meta holds no state of the generator {name}: {error}") from None
    return draw_sources(n, dim, np.random.Generator(bits))


def _plain(state: Any) -> Any:
    """Return a generator's state with lists and ints for NumPy's arrays and numbers."""
    if isinstance(state, Mapping):
        return {str(key): _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state


def _like(pattern: Any, plain: Any) -> Any:
    """Return a plain state with arrays where the pattern has them."""
    if isinstance(pattern, Mapping):
        return {key: _like(value, plain[key]) for key, value in pattern.items()}
    if isinstance(pattern, np.ndarray):
        return np.array(plain, pattern.dtype).reshape(pattern.shape)
    return plain

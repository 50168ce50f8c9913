"""Random sources: rows of N(0, I), from a seed the same on every machine, or from a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_seed
from ..errors import ArgumentTypeError

__all__ = [
    "BLOCK_ROWS",
    "Seed",
    "check_source_seed",
    "draw_rows",
    "draw_sources",
    "redraw",
    "seed_record",
]

Seed = int | np.random.Generator

BLOCK_ROWS = 1 << 16  # rows with a generator of their own; decides the bits of the rows after them
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
    """Draw `n` rows of N(0, I), float32 [n, dim].

    A seed gives rows 0 to n of `draw_rows`. A generator is drawn from as it stands, row after row.
    """
    if isinstance(seed, np.random.Generator):
        return _stream(seed, n, dim)
    return draw_rows(0, n, dim, seed)


def draw_rows(begin: int, end: int, dim: int, seed: int) -> npt.NDArray[np.float32]:
    """Draw rows `begin` to `end` of a seed's N(0, I), float32 [end - begin, dim].

    Block b of `BLOCK_ROWS` rows is drawn row after row by NumPy's Philox generator, jumped b times:
    any part can be drawn alone. The normals reject, so the rows of a block before `begin` are drawn
    too, and dropped.
    """
    rows = np.empty((end - begin, dim), dtype=np.float32)
    first = begin
    while first < end:
        block, dropped = divmod(first, BLOCK_ROWS)
        last = min(end, (block + 1) * BLOCK_ROWS)
        generator = np.random.Generator(np.random.Philox(seed).jumped(block))
        _drop(generator, dropped * dim)
        _fill(generator, rows[first - begin : last - begin])
        first = last
    return rows


def _stream(generator: np.random.Generator, n: int, dim: int) -> npt.NDArray[np.float32]:
    """Draw `n` rows from one generator, row after row."""
    rows = np.empty((n, dim), dtype=np.float32)
    _fill(generator, rows)
    return rows


def _fill(generator: np.random.Generator, rows: npt.NDArray[np.float32]) -> None:
    """Fill rows in calls of some milliseconds, between which Ctrl-C is served.

    The numbers are those of a single call.
    """
    step = max(1, _DRAW_VALUES // max(rows.shape[1], 1))
    for begin in range(0, len(rows), step):
        generator.standard_normal(out=rows[begin : begin + step], dtype=np.float32)


def _drop(generator: np.random.Generator, values: int) -> None:
    """Draw values that nobody wants, a few at a time."""
    scratch = np.empty((min(values, _DRAW_VALUES), 1), dtype=np.float32)
    for begin in range(0, values, _DRAW_VALUES):
        _fill(generator, scratch[: values - begin])


def seed_record(seed: Seed | None, n: int) -> dict[str, Any]:
    """Describe the origin of `n` drawn sources in JSON types.

    "seed" is None if there was none. A generator is recorded in the state before it draws. Sources
    of more than one block have "source_block", the rows of a block: earlier versions drew all rows
    of a seed from one stream, and recorded nothing.
    """
    if isinstance(seed, np.random.Generator):
        return {"seed": None, "generator": _plain(seed.bit_generator.state)}
    blocks = {"source_block": BLOCK_ROWS} if seed is not None and n > BLOCK_ROWS else {}
    return {"seed": seed, **blocks}


def redraw(record: Mapping[str, Any], n: int, dim: int) -> npt.NDArray[np.float32] | None:
    """Draw the sources that a `seed_record` describes; None if sources were given.

    Raises
    ------
    ValueError
        If this NumPy lacks the generator, the state is not one of its own, or sources were drawn
        by other blocks.
    """
    if record.get("seed") is not None:
        block = record.get("source_block")
        if block is None:  # of one block, or of an earlier version
            return _stream(np.random.Generator(np.random.Philox(record["seed"])), n, dim)
        if block != BLOCK_ROWS:
            raise ValueError(
                f"meta says that sources were drawn by blocks of {block!r:.60} rows, and this "
                f"gtn-label draws them by blocks of {BLOCK_ROWS}"
            )
        return draw_rows(0, n, dim, record["seed"])
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
    return _stream(np.random.Generator(bits), n, dim)


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

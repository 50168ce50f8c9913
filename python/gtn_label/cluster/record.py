"""Fingerprints of rows that are dealt to ranks: the same for every dealing, and for one rank.

The fingerprint is a sum, modulo 2^64, of a hash of each row and its global place. It has two lanes
of 64 bits with keys of their own. A hash is multilinear in the row's 64-bit words, mixed at the
end. It finds other inputs and damage, not an adversary's choice of rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .exchange import Exchange, gather

if TYPE_CHECKING:
    from .sides import Side

__all__ = ["fingerprint_of", "mixed", "side_fingerprints", "total_of"]

U64 = npt.NDArray[np.uint64]

_LANES = 2
_GOLDEN = 0x9E3779B97F4A7C15  # of SplitMix64, and its two multipliers
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BLOCK_BYTES = 4 << 20  # of rows that are hashed at once


def fingerprint_of(
    exchange: Exchange, rows: npt.NDArray[Any], index: npt.NDArray[np.int64], total: int
) -> str:
    """Return the fingerprint of all ranks' rows, 32 hexadecimal digits.

    Parameters
    ----------
    rows : float32, float64 or int64 [n, dim]
        This rank's rows; dtype and dim are the same on every rank.
    index : int64 [n]
        Their global rows.
    total : int
        Number of rows of all ranks.
    """
    sums = gather(exchange, _sum(rows, index)).sum(axis=0, dtype=np.uint64)
    shape = np.array([total, rows.shape[1], rows.dtype.itemsize], np.uint64)
    for value in shape:
        sums = _mix(sums ^ _mix(value + _lanes()))
    return "".join(f"{int(lane):016x}" for lane in sums)


def side_fingerprints(exchange: Exchange, latents: Side, sources: Side) -> dict[str, str]:
    """Return the fingerprints of the rows of both sides, by name."""
    return {
        name: fingerprint_of(exchange, side.rows, side.index, side.total)
        for name, side in (("latents", latents), ("sources", sources))
    }


def mixed(begin: int | npt.NDArray[np.int64], end: int = 0) -> U64:
    """Return the mix of each global row in both lanes, [2, n], of rows or of a range."""
    rows = np.arange(begin, end) if isinstance(begin, int) else begin
    return _mix(rows.astype(np.uint64)[None, :] * np.uint64(_GOLDEN) + _lanes()[:, None])


def total_of(parts: Iterable[U64]) -> U64:
    """Return the sums of both lanes, modulo 2^64."""
    total = np.zeros(_LANES, np.uint64)
    for part in parts:
        total += part.sum(axis=1, dtype=np.uint64)
    return total


def _sum(rows: npt.NDArray[Any], index: npt.NDArray[np.int64]) -> U64:
    """Return the sums of the hashes of some rows."""
    size = rows.shape[1] * rows.itemsize
    words = -(-size // 8)
    keys = _keys(words)
    step = max(1, _BLOCK_BYTES // (8 * words))

    def hashes(begin: int) -> U64:
        part = rows[begin : begin + step]
        padded = np.zeros((len(part), 8 * words), np.uint8)
        little = np.ascontiguousarray(part, part.dtype.newbyteorder("<"))
        padded[:, :size] = little.view(np.uint8).reshape(len(part), size)
        values = padded.view("<u8").astype(np.uint64, copy=False)
        made = mixed(index[begin : begin + step])
        for lane in range(_LANES):
            made[lane] += values @ keys[lane]
        return _mix(made)

    return total_of(hashes(begin) for begin in range(0, len(rows), step))


def _lanes() -> U64:
    """Return a number for each lane."""
    return np.arange(1, _LANES + 1, dtype=np.uint64) << np.uint64(56)


def _keys(words: int) -> U64:
    """Return odd keys, [2, words]: a change of one word always changes the hash."""
    counters = np.arange(1, words + 1, dtype=np.uint64)[None, :] * np.uint64(_GOLDEN)
    return _mix(counters + (_lanes() * np.uint64(3))[:, None]) | np.uint64(1)


def _mix(values: U64) -> U64:
    """Mix bits as SplitMix64 does; a bijection."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))

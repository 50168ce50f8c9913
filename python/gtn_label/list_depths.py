"""Lengths of the lists of latents that sources keep in an auction, by a memory budget.

The lengths change no bit of the result (csrc/core/source_lists.hpp holds the lists).
"""

from __future__ import annotations

from .errors import ArgumentError

__all__ = ["list_depths"]

_DEPTH = 64  # latents that a source's list holds at first
_LONGEST = 512  # where sources are searched again and again
_BYTES_OF_LONG_LISTS = 1 << 28  # of all sources, where no budget is given
_DEPTHS_IN_FEW = {8: 16, 16: 32}  # in so many dimensions at most: a tree makes short lists cheap
_TREE_DIMS = max(_DEPTHS_IN_FEW)
_LEAST_DEPTH = 8
_BYTES_A_LISTED = 12
_AT_ONCE = 4096  # sources searched at a time
_BYTES_FOUND = 130  # of each latent that their searches list


def list_depths(
    memory: int | str | None,
    n: int,
    m: int,
    dim: int,
    *,
    saves: bool,
    held: int | None = None,
    ranks: int = 1,
    more: int = 0,
) -> tuple[int, int]:
    """Return how long lists are at first and may become.

    Lists that become twice as long are copied: both lengths are there for a while.

    Parameters
    ----------
    memory : int or None
        Bytes beside the rows; None for no limit.
    n, m, dim : int
        Sources, latents, columns.
    saves : bool
        True if the state of the auction is saved.
    held : int, optional
        Latents that are searched here, of all m; by default all.
    ranks : int
        Number of processes that share the latents: each lists its own.
    more : int
        Bytes that are used beside.

    Raises
    ------
    ArgumentError
        If the memory is too small.
    """
    held = m if held is None else held
    usual = next((depth for few, depth in _DEPTHS_IN_FEW.items() if dim <= few), _DEPTH)
    usual = max(_LEAST_DEPTH, -(-usual // ranks))
    most = max(usual, -(-_LONGEST // ranks))
    if memory is None:
        room = _BYTES_OF_LONG_LISTS // (_BYTES_A_LISTED * n) * 2 // 3
        return usual, max(usual, min(most, room))
    budget = int(memory)
    # Prices, owners, norms and ranks; codes, or a tree, of float32 at most; the state in a save.
    fixed = 100 * m + 80 * n + (4 * dim + 30) * held + (40 * (n + m) if saves else 0) + more
    if dim <= _TREE_DIMS:  # first prices of a sample, and what lies below prices in a tree
        fixed += 8 * dim * m + 10 * held + (dim + 4) ** 2 * held // 7
    listed = _BYTES_A_LISTED * n + _BYTES_FOUND * min(n, _AT_ONCE)
    depth = (budget - fixed) // listed
    if depth < _LEAST_DEPTH:
        needed = fixed + _LEAST_DEPTH * listed
        raise ArgumentError(
            "memory", f"must be at least {needed} bytes for this input", str(memory)
        )
    return int(min(usual, depth)), int(min(most, max(depth * 2 // 3, min(usual, depth))))

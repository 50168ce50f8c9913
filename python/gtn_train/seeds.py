"""Seeds for every use of randomness, all derived from the one seed a user gives.

Each random part of a run (weights, the order of rows in an epoch, the sources of a round) has its
own seed, a function of the user's seed and of its use. No part depends on the numbers that another
part drew, so that a resumed run draws the same as the interrupted one would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["derive", "random_numbers"]


def derive(seed: int, *use: str | int) -> int:
    """Seed for one use.

    Parameters
    ----------
    seed : int
        The user's seed, >= 0.
    use : str or int
        The use, such as "epoch", 3.

    Returns
    -------
    int
        0 <= value < 2^63: the first 63 bits of the SHA-256 of the words, the same everywhere.

    Examples
    --------
    >>> derive(0, "epoch", 1) == derive(0, "epoch", 1)
    True
    >>> derive(0, "epoch", 1) == derive(0, "epoch", 2)
    False
    """
    words = "\x1f".join(f"{type(word).__name__}:{word}" for word in (seed, *use))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1


def random_numbers(seed: int, *use: str | int) -> np.random.Generator:
    """NumPy's Philox generator for one use of a seed; arguments as in `derive`."""
    return np.random.Generator(np.random.Philox(derive(seed, *use)))

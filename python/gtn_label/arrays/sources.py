"""Random sources: rows of N(0, I), the same for a seed on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_DRAW_VALUES = 1 << 20  # values a call draws, in some milliseconds


def draw_sources(n: int, dim: int, seed: int) -> npt.NDArray[np.float32]:
    """Draw `n` rows of N(0, I) with NumPy's Philox generator, float32, row after row [n, dim].

    The rows are drawn in blocks, so that Ctrl-C is served between two of them. The numbers are
    those of a single call.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    rows = np.empty((n, dim), dtype=np.float32)
    step = max(1, _DRAW_VALUES // max(dim, 1))
    for begin in range(0, n, step):
        generator.standard_normal(out=rows[begin : begin + step], dtype=np.float32)
    return rows

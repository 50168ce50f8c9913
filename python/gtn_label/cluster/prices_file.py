"""The prices of all latents as one file of the folder of pairs, which rank 0 writes.

Prices come in pieces from the ranks that hold their latents, so that memory is bounded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays.row_blocks import Array
from ..io.atomic import atomic_file
from ..io.npy import npy_header
from ..text import quoted
from .exchange import gather_json, gather_rows, together
from .pairs_format import PricesFile, file_sha256, naming, prices_name

if TYPE_CHECKING:
    from .result import ShardedMatching

__all__ = ["write_prices"]

PIECE = 1 << 20  # latents whose prices are gathered at once


def write_prices(matching: ShardedMatching, folder: Path, run: str) -> PricesFile | None:
    """Write the prices of all ranks, and return the file; None if there are none.

    A collective call.

    Parameters
    ----------
    matching : ShardedMatching
    folder : Path
    run : str
        What the names of the run's files have in common.

    Raises
    ------
    OSError
        On all ranks, if rank 0 cannot write.
    """
    exchange, prices = matching.exchange, matching.prices
    if prices is None:
        return None
    first, total = exchange.rank == 0, int(matching.m)
    index = np.asarray(matching.latent_index, np.int64)
    path = folder / prices_name(run)
    made: dict[str, Any] = {}
    with contextlib.closing(_pieces_to(path, total)) as writer:
        with together(exchange):
            if first:
                next(writer)
        for begin in range(0, total, PIECE):
            end = min(total, begin + PIECE)
            here = slice(*np.searchsorted(index, (begin, end)))
            places = gather_rows(exchange, index[here] - begin)
            piece = np.empty(end - begin)
            piece[np.concatenate(places)] = np.concatenate(gather_rows(exchange, prices[here]))
            with together(exchange):
                if first:
                    writer.send(piece)
        with together(exchange):
            if first:
                next(writer, None)
                made = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    return PricesFile(path.name, **gather_json(exchange, made)[0])


def _pieces_to(path: Path, total: int) -> Generator[None, Array | None]:
    """Write float64 [total] to a .npy file from pieces that are sent, until None is."""
    with naming(f"prices {quoted(path)}"), atomic_file(path) as file:
        file.write(npy_header(np.broadcast_to(np.float64(0), (total,))))
        while (piece := (yield)) is not None:
            file.write(piece.astype("<f8").tobytes())

"""Reads the share of one rank: its rows of the files, and the labels of their groups.

Rows of mapped files are read by the rank that holds them. Row groups of parquet and Arrow files are
decoded once, by one rank each (decoding.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.groups import NAMES
from ..arrays.row_blocks import Array
from ..errors import ArgumentError
from ..io.files import read_array
from ..progress import progress_bar
from .dealing import owners_of_rows, rows_of_rank
from .decoding import decoded_rounds
from .exchange import Exchange, Solo, together
from .inputs import RowFiles

if TYPE_CHECKING:
    from .options import Options

__all__ = ["labels_of", "open_labels", "read_rows", "read_share"]

_READ_BYTES = 64 << 20  # of rows between two looks at signals


def open_labels(asked: Options, n: int, m: int) -> tuple[Any, Any] | None:
    """Open the labels of n sources and m latents; None without groups. A .npy file is mapped."""
    if asked.source_groups is None or asked.latent_groups is None:
        return None
    paths = asked.source_groups, asked.latent_groups
    found = []
    for path, name, length, rows in zip(paths, NAMES, (n, m), ("sources", "latents"), strict=True):
        option = f"--{name.replace('_', '-')}"
        labels = read_array(path, None, name=option, key_name="key")
        if tuple(labels.shape) != (length,):
            rule = f"must be 1-D with one label for each of the {length} {rows}"
            raise ArgumentError(name, rule, f"shape {tuple(labels.shape)}")
        found.append(labels)
    return found[0], found[1]


def labels_of(
    labels: tuple[Any, Any] | None, sources: NDArray[np.int64], latents: NDArray[np.int64]
) -> tuple[Any, Any] | None:
    """Return the labels of a process's rows."""
    return None if labels is None else (labels[0][sources], labels[1][latents])


def read_share(
    rows: RowFiles, exchange: Exchange | None = None, *, seed: int = 0
) -> tuple[Array, NDArray[np.int64]]:
    """Read the rows that `rows_of_rank` deals to this rank. A collective call.

    Each row group of a parquet or Arrow file is decoded by one rank, which sends the rows to the
    ranks that hold them. Rows of other files are read by the rank that holds them.

    Parameters
    ----------
    rows : RowFiles
        The same files on every rank.
    exchange : Exchange, optional
        How the ranks talk; by default this process is the only rank.
    seed : int
        Seed of the dealing.

    Returns
    -------
    rows : [m_r, dim]
        This rank's rows.
    index : int64 [m_r]
        Their global rows, ascending.

    Raises
    ------
    OSError, ValueError
        On all ranks, if a rank cannot read.

    Examples
    --------
    >>> from gtn_label.cluster import match_sharded, open_rows, read_share
    >>> latents, index = read_share(open_rows("latents/*.parquet"), exchange)  # doctest: +SKIP
    >>> result = match_sharded(latents, index=index, exchange=exchange)  # doctest: +SKIP
    """
    exchange = Solo() if exchange is None else exchange
    index = rows_of_rank(len(rows), exchange.rank, exchange.world, seed)
    owner_of = owners_of_rows(len(rows), exchange.world, seed)
    return read_rows(exchange, rows, index, owner_of), index


def read_rows(
    exchange: Exchange,
    rows: RowFiles,
    index: NDArray[np.int64],
    owner_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    shows: bool = False,
    what: str = "rows",
) -> Array:
    """Read a rank's rows into memory. A collective call.

    Parameters
    ----------
    exchange : Exchange
    rows : RowFiles
    index : int64 [k]
        Global rows of this rank, ascending.
    owner_of : callable
        Returns the rank that holds each of some global rows, whichever rank that is.
    shows : bool
        Show a bar on stderr.
    what : str
        Name of the rows in the bar.
    """
    out: Array = np.empty((len(index), *rows.shape[1:]), rows.dtype)
    step = max(1, _READ_BYTES // max(1, rows.shape[1] * rows.dtype.itemsize))
    alone = exchange.world == 1
    here = np.arange(len(index)) if alone else np.flatnonzero(~rows.decoded(index))
    with progress_bar(shows, total=len(index), desc=f"reading {what}", unit=" rows") as bar:
        with together(exchange):
            for begin in range(0, len(here), step):
                places = here[begin : begin + step]
                out[places] = rows.take(index[places])
                bar.update(len(places))
        if not alone:
            for found, part in decoded_rounds(exchange, rows, owner_of):
                out[np.searchsorted(index, found)] = part
                bar.update(len(found))
    rows.close()
    return out

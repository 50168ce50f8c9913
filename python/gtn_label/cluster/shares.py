"""Reads the share of one process of the command: its rows, and the labels of their groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.groups import NAMES
from ..errors import ArgumentError
from ..io.files import read_array
from ..progress import progress_bar

if TYPE_CHECKING:
    from .inputs import RowFiles
    from .options import Options

__all__ = ["labels_of", "open_labels", "read_rows"]

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


def read_rows(rows: RowFiles, index: Any, shows: bool, what: str) -> Any:
    """Read a rank's rows into memory."""
    out = np.empty((len(index), rows.shape[1]), rows.dtype)
    step = max(1, _READ_BYTES // max(1, rows.shape[1] * rows.dtype.itemsize))
    with progress_bar(shows, total=len(index), desc=f"reading {what}", unit=" rows") as bar:
        for begin in range(0, len(index), step):
            part = index[begin : begin + step]
            out[begin : begin + len(part)] = rows.take(part)
            bar.update(len(part))
    return out

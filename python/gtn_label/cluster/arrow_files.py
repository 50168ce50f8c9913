"""One column of a parquet or Arrow file as rows [n, dim], decoded by row groups or record batches.

pyarrow is imported here and nowhere else, and only when such a file is opened (extra "parquet").
Lists of numbers are rows: fixed_size_list, or list whose entries are all of one length.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.row_blocks import Array
from ..io.reading import pick, reading
from ..text import quoted
from .inputs import Part

__all__ = ["open_column", "require_pyarrow"]

_MAGIC = b"ARROW1"  # of the file format; a stream begins otherwise


def require_pyarrow(shown: str) -> Any:
    """Import pyarrow, or say how to install it; `shown` needs it."""
    try:
        import pyarrow
    except ImportError:
        raise ImportError(
            f"{shown} needs pyarrow, and it is not installed: pip install 'gtn-label[parquet]', or "
            "use .npy files"
        ) from None
    return pyarrow


def open_column(
    path: Path, key: str | None, name: str, key_name: str, *, scalar: bool = False
) -> Part:
    """Read the schema of a file and choose its column of rows.

    Parameters
    ----------
    path : Path
        A .parquet, .arrow or .feather file.
    key : str or None
        Name of the column; None for the only column of lists of numbers.
    name, key_name : str
        Names of path and key in messages.
    scalar : bool
        True for a column of single numbers, which is 1-D.
    """
    shown = f"{name} {quoted(path)}"
    require_pyarrow(shown)
    with reading(f"{shown} is damaged, or not a {path.suffix} file"):
        groups = _open(path, None)
    columns = _columns(groups.schema, scalar)
    column = pick(list(columns), key, shown, key_name)
    shown = f"column {quoted(column[:60])} of {shown}"
    dtype = np.dtype(columns[column][0])
    tail: tuple[int, ...] = ()
    if not scalar:
        tail = (columns[column][1] or _first_length(path, column, shown),)
    opener = functools.partial(_Column, path, column, tail, dtype, shown)
    return Part(path, (sum(groups.counts), *tail), dtype, opener, name, groups.counts)


class _Groups:
    """Row groups or record batches of a file: schema, rows of each, and readers of one column.

    `read(i)` returns group i as a list of arrays, and `first(i)` an array with its first row.
    """

    def __init__(self, schema: Any, counts: Sequence[int], read: Any, first: Any) -> None:
        self.schema = schema
        self.counts = counts
        self.read = read
        self.first = first


def _open(path: Path, column: str | None) -> _Groups:
    """Open a file to read one column."""
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        file = parquet.ParquetFile(path)  # reads the footer
        meta = file.metadata
        counts = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]

        def read(i: int) -> list[Any]:
            # One thread: a pool of threads does not outlive the fork of a DataLoader's workers.
            table = file.read_row_group(i, columns=[column], use_threads=False)
            return list(table.column(0).chunks)

        def first(i: int) -> Any:
            # A page, not the whole group, which another rank decodes.
            options = {"row_groups": [i], "columns": [column], "use_threads": False}
            return next(file.iter_batches(batch_size=1, **options)).column(0)

        return _Groups(file.schema_arrow, counts, read, first)
    import pyarrow

    source = pyarrow.memory_map(str(path))
    if source.read(len(_MAGIC)) == _MAGIC:
        source.seek(0)
        file = pyarrow.ipc.open_file(source)
        batches = [file.get_batch(i) for i in range(file.num_record_batches)]
    else:
        source.seek(0)
        file = pyarrow.ipc.open_stream(source)
        batches = list(file)
    # Batches refer to the map. Those of a compressed file are in memory.
    return _Groups(
        file.schema,
        [batch.num_rows for batch in batches],
        lambda i: [batches[i].column(column)],
        lambda i: batches[i].column(column),
    )


def _columns(schema: Any, scalar: bool) -> dict[str, tuple[Any, int | None]]:
    """Return the columns that can be rows: element type, and length if the schema fixes it."""
    import pyarrow

    types = pyarrow.types
    found: dict[str, tuple[Any, int | None]] = {}
    for field in schema:
        kind = _storage(field.type)
        length = None
        if not scalar:
            if types.is_fixed_size_list(kind):
                length = kind.list_size
            elif not (types.is_list(kind) or types.is_large_list(kind)):
                continue
            kind = kind.value_type
        if types.is_floating(kind) or types.is_integer(kind):
            found[field.name] = (kind.to_pandas_dtype(), length)
    return found


def _storage(kind: Any) -> Any:
    """Return the type that an extension type, such as a tensor's, stores."""
    return kind.storage_type if hasattr(kind, "storage_type") else kind


def _first_length(path: Path, column: str, shown: str) -> int:
    """Return the length of a column's first list."""
    groups = _open(path, column)
    for i, count in enumerate(groups.counts):
        if count:
            entry = groups.first(i)[0]
            if entry.is_valid:
                return len(entry)
            break
    raise ValueError(f"{shown} must begin with a list of numbers, and does not")


class _Column:
    """A column of an open file, decoded group by group; the group used last is kept."""

    def __init__(
        self, path: Path, column: str, tail: tuple[int, ...], dtype: np.dtype[Any], shown: str
    ) -> None:
        self._tail = tail
        self._dtype = dtype
        self._shown = shown
        self._groups = _open(path, column)
        self._ends = np.cumsum(self._groups.counts, dtype=np.int64)
        self._kept: tuple[int, Array] | None = None

    def take(self, index: NDArray[np.int64]) -> Array:
        """Return rows; each group that holds some is decoded once."""
        out: Array = np.empty((len(index), *self._tail), self._dtype)
        group = np.searchsorted(self._ends, index, side="right")
        for number in np.unique(group):
            places = np.flatnonzero(group == number)
            begin = int(self._ends[number]) - self._groups.counts[number]
            out[places] = self._decoded(int(number))[index[places] - begin]
        return out

    def _decoded(self, number: int) -> Array:
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # before the next group needs the memory
            with reading(f"{self._shown} is damaged"):
                chunks = self._groups.read(number)
            values = [self._values(chunk) for chunk in chunks if len(chunk)]
            rows = values[0] if len(values) == 1 else np.concatenate(values)
            self._kept = (number, rows)
        return self._kept[1]

    def _values(self, chunk: Any) -> Array:
        """Return the numbers of a chunk as an array, without a copy where Arrow allows."""
        chunk = getattr(chunk, "storage", chunk)
        flat = chunk
        if self._tail:
            if chunk.null_count:
                raise ValueError(f"{self._shown} must have no missing rows (null)")
            lengths = chunk.value_lengths() if hasattr(chunk, "value_lengths") else None
            if lengths is not None:
                unequal = np.flatnonzero(np.asarray(lengths) != self._tail[0])
                if len(unequal):
                    raise ValueError(
                        f"{self._shown} must have lists of one length: the first has "
                        f"{self._tail[0]} numbers, and another has {lengths[int(unequal[0])]}"
                    )
            flat = chunk.flatten()
        if flat.null_count:
            raise ValueError(f"{self._shown} must have no missing numbers (null)")
        rows: Array = flat.to_numpy(zero_copy_only=False)
        return rows.reshape(len(chunk), *self._tail)

"""Rows in many files: one array by its files' order, read part by part.

`open_rows` reads headers only. A file is mapped, or read by row groups, when somebody asks for its
rows, and only a few files are open at a time. The formats are those of gtn-label that can be read
in part, and parquet and Arrow (arrow_files.py). Not here: which rows a rank reads (dealing.py).
"""

from __future__ import annotations

import functools
import glob
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays.convert import check_shape
from ..arrays.narrow import STORED
from ..arrays.on_disk import FileChangedError, Files
from ..arrays.refusals import dtype_error
from ..arrays.row_blocks import Array, RowsLike, StrPath
from ..errors import ArgumentError
from ..io.files import check_named, read_array
from ..io.reading import file_size, pick
from ..io.safetensors import map_safetensor, open_safetensors
from ..text import quoted

__all__ = ["ROW_SUFFIXES", "Opened", "Part", "RowFiles", "mapped", "open_rows"]

_MAPPED = (".npy", ".safetensors", ".pt", ".pth")
_ARROW = (".parquet", ".arrow", ".feather")
ROW_SUFFIXES = (*_MAPPED, *_ARROW)
_MOST_OPEN = 32  # files; a map keeps a descriptor, and systems allow some hundreds
_GLOB = "*?["


def open_rows(
    patterns: StrPath | Sequence[StrPath],
    key: str | None = None,
    *,
    name: str = "patterns",
    key_name: str = "key",
) -> RowFiles:
    """Open files of rows as one array [n, dim], in the order of the patterns.

    The files of a pattern are in the order of their names, character by character: `a-10.npy` comes
    before `a-2.npy`. Only headers are read.

    Parameters
    ----------
    patterns : path or list of paths
        Paths, or patterns with `*`, `?`, `[...]` and `**` (any folders). Files: .npy, .safetensors,
        .pt, .pth, .parquet, .arrow and .feather. Parquet and Arrow need the extra "parquet".
    key : str, optional
        Name of the array or column, in files that hold several.
    name, key_name : str
        Names of the two arguments in messages.

    Returns
    -------
    RowFiles

    Raises
    ------
    FileNotFoundError
        If a path does not exist, or a pattern matches no file.
    ValueError
        If files are damaged, have another suffix, appear twice, or differ in dim or dtype.
    TypeError
        If a file holds no numbers.
    ImportError
        If pyarrow or torch is needed and not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for i in range(2):
    ...     np.save(folder / f"{i}.npy", np.full((3, 2), i, np.float32))
    >>> rows = open_rows(folder / "*.npy")
    >>> rows.shape
    (6, 2)
    >>> rows.take([5, 0])
    array([[1., 1.],
           [0., 0.]], dtype=float32)
    """
    given = [patterns] if isinstance(patterns, (str, os.PathLike)) else list(patterns)
    paths = [path for pattern in given for path in _matching(os.fspath(pattern), name)]
    if not paths:
        raise ArgumentError(name, "must name at least one file", "none")
    _refuse_repeated(paths, name)
    # Files of .npy, which have no key, may stand beside files that have one.
    alone = all(path.suffix.lower() == ".npy" for path in paths)
    keys = [key if alone or path.suffix.lower() != ".npy" else None for path in paths]
    parts = [_part(path, own, name, key_name) for path, own in zip(paths, keys, strict=True)]
    return RowFiles(parts, name)


def _matching(pattern: str, name: str) -> list[Path]:
    """Return the files of a pattern, by name; a path that exists is taken as it is."""
    if Path(pattern).exists() or not any(letter in pattern for letter in _GLOB):
        file_size(Path(pattern), name)
        return [Path(pattern)]
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 (an absolute pattern too)
    found = sorted(path for path in found if Path(path).is_file())
    if not found:
        raise FileNotFoundError(f"{name} {quoted(pattern)} matches no file")
    return [Path(path) for path in found]


def _refuse_repeated(paths: Sequence[Path], name: str) -> None:
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            raise ValueError(f"{name} must name each file once, and {quoted(path)} comes twice")
        seen.add(real)


class Opened(Protocol):
    """A file that is open for reading."""

    def take(self, index: NDArray[np.int64]) -> Array:
        """Return a copy of these rows of the file."""


class Part:
    """One file of rows: its header, and how to open it.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        [rows, ...].
    dtype : numpy.dtype
        Element type of the rows as they are read.
    opener : callable
        Opens the file; called again when the file was closed meanwhile.
    name : str
        The argument in messages.
    groups : sequence of int, optional
        Rows of each row group, of a file whose groups have to be decoded whole.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        opener: Callable[[], Opened],
        name: str,
        groups: Sequence[int] | None = None,
    ) -> None:
        self.path = path
        self.groups = groups
        self.shape = shape
        self.dtype = dtype.newbyteorder("=")
        self.name = name
        self._opener = opener
        self._status = _status(path)

    def open(self) -> Opened:
        """Open the file, if it is still the one whose header was read."""
        self.check()
        return self._opener()

    def check(self) -> None:
        """Raise FileChangedError if the file is no longer the one whose header was read."""
        try:
            status = _status(self.path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.name}: the file {quoted(self.path)} was removed, or replaced by a later run"
            ) from None
        if status != self._status:
            raise FileChangedError(
                f"{self.name}: the file {quoted(self.path)} was changed while it was being read"
            )


def _status(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _part(path: Path, key: str | None, name: str, key_name: str) -> Part:
    """Read the header of one file."""
    suffix, shown = path.suffix.lower(), f"{name} {quoted(path)}"
    check_named(path, ROW_SUFFIXES, name)
    if suffix not in ROW_SUFFIXES:
        advice = "; save its array as .npy, which can be read in part" if suffix == ".npz" else ""
        raise ValueError(
            f"{shown} must be one of {', '.join(ROW_SUFFIXES)}, and its suffix is "
            f"{quoted(path.suffix)}{advice}"
        )
    if file_size(path, name) == 0:
        raise ValueError(f"{shown} is empty (0 bytes), and must hold an array")
    if suffix in _ARROW:
        from .arrow_files import open_column  # here: pyarrow is an extra

        part = open_column(path, key, name, key_name)
    else:
        rows = _map(path, key, name, key_name)

        opener = functools.partial(_open_map, path, key, name, key_name)
        part = Part(path, rows.shape, rows.dtype, opener, name)
    if not (part.dtype.kind in "iu" or (part.dtype.kind == "f" and part.dtype.itemsize <= 8)):
        raise dtype_error(shown, str(part.dtype))
    if not (len(part.shape) == 2 and part.shape[0] == 0 and part.shape[1] > 0):
        check_shape(part.shape, shown)  # a file without rows adds none
    return part


def _open_map(path: Path, key: str | None, name: str, key_name: str) -> Opened:
    return _Mapped(_map(path, key, name, key_name), name)


def _map(path: Path, key: str | None, name: str, key_name: str) -> RowsLike:
    """Map the rows of a file; narrow floats by their bits, so that slices alone are widened."""
    shown = f"{name} {quoted(path)}"
    if path.suffix.lower() == ".safetensors":
        tensors, _ = open_safetensors(path, shown)
        picked = pick(list(tensors), key, shown, key_name)
        if tensors[picked].dtype in STORED:
            return map_safetensor(path, tensors[picked], f"tensor {quoted(picked)} of {shown}")
    return read_array(path, key, name=name, key_name=key_name)


def mapped(rows: RowsLike, name: str) -> Opened:
    """Wrap rows that are mapped into memory; `name` stands in messages about their file."""
    return _Mapped(rows, name)


class _Mapped:
    """Rows of a file that is mapped into memory."""

    def __init__(self, rows: RowsLike, name: str) -> None:
        self._rows = rows
        self._files = Files(**{name: rows})

    def take(self, index: NDArray[np.int64]) -> Array:
        """Copy rows, and raise FileChangedError if the file was truncated meanwhile."""
        consecutive = len(index) and index[-1] - index[0] == len(index) - 1 and _ascending(index)
        with self._files.reading():
            if consecutive:
                return np.array(self._rows[int(index[0]) : int(index[-1]) + 1])
            if isinstance(self._rows, np.ndarray):
                return np.asarray(np.take(self._rows, index, axis=0))  # faster than an index
            return np.asarray(self._rows[index])


def _ascending(index: NDArray[np.int64]) -> bool:
    return bool((index[1:] > index[:-1]).all())


class RowFiles:
    """Files of rows as one array [n, dim].

    Slices and indices give copies in memory. A pickled object opens its files anew.

    Parameters
    ----------
    parts : sequence of Part
        The files in order.
    name : str
        The argument in messages.

    Attributes
    ----------
    files : list of (str, int)
        Path and rows of each file, in order.
    """

    def __init__(self, parts: Sequence[Part], name: str) -> None:
        first = parts[0]
        for part in parts[1:]:
            for what, mine, other in (
                ("dim", part.shape[1:], first.shape[1:]),
                ("dtype", part.dtype, first.dtype),
            ):
                if mine != other:
                    raise ValueError(
                        f"{name} must be files of one {what}: {quoted(first.path)} has "
                        f"{_plain(other)}, and {quoted(part.path)} has {_plain(mine)}"
                    )
        self._parts = list(parts)
        self._name = name
        counts = [part.shape[0] for part in parts]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._opened: OrderedDict[int, Opened] = OrderedDict()
        if self._ends[-1] == 0:
            raise ArgumentError(name, "must have at least one row (n >= 1)", "files without rows")
        self.files = [(os.fspath(part.path), part.shape[0]) for part in parts]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": OrderedDict()}  # maps and decoded rows stay here

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, dim]."""
        return (len(self), *self._parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the rows as they are read; narrow floats are float32."""
        return self._parts[0].dtype

    def __getitem__(self, rows: Any, /) -> Array:
        if isinstance(rows, slice):
            begin, end, step = rows.indices(len(self))
            return self.take(np.arange(begin, end, step))
        return self.take(rows)

    def read(self, begin: int, end: int) -> Array:
        """Return rows `begin` to `end`."""
        return self.take(np.arange(begin, end, dtype=np.int64))

    def take(self, index: Any) -> Array:
        """Return rows by their numbers, in any order.

        Raises
        ------
        IndexError
            If there is no such row, or the index is no list of integers.
        OSError
            If a file cannot be read, or was changed since it was opened.
        """
        index = _checked(index, self._name)
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"{self._name}: rows must be 0 to {len(self) - 1}")
        out: Array = np.empty((len(index), *self.shape[1:]), self.dtype)
        for number, places in self._places(index):
            begin = int(self._ends[number]) - self._parts[number].shape[0]
            out[places] = self._open(number).take(index[places] - begin)
            self._parts[number].check()
        return out

    def row_groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first row and the number of rows of each group that has to be decoded."""
        begins, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for part, end in zip(self._parts, self._ends, strict=True):
            if part.groups is not None:
                here = np.asarray(part.groups, np.int64)
                begins.append(end - part.shape[0] + np.cumsum(here) - here)
                counts.append(here)
        return np.concatenate(begins), np.concatenate(counts)

    def decoded(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows are in groups that have to be decoded."""
        kinds = np.array([part.groups is not None for part in self._parts])
        return kinds[np.searchsorted(self._ends, index, side="right")]

    def close(self, before: int | None = None) -> None:
        """Close the files, and free what they hold in memory. They open again when needed.

        Parameters
        ----------
        before : int, optional
            Close the files before that of this row, and no others.
        """
        first = len(self._parts)
        if before is not None:
            first = int(np.searchsorted(self._ends, before, side="right"))
        for number in [each for each in self._opened if each < first]:
            del self._opened[number]

    def _places(self, index: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """Yield the files that hold rows of an index, and the places of those rows in it."""
        part = np.searchsorted(self._ends, index, side="right")
        if not (part[1:] >= part[:-1]).all():
            order = np.argsort(part, kind="stable")
            bounds = np.flatnonzero(np.diff(part[order])) + 1
            for places in np.split(order, bounds):
                yield int(part[places[0]]), places
            return
        begin = 0
        while begin < len(index):
            end = int(np.searchsorted(part, part[begin], side="right"))
            yield int(part[begin]), slice(begin, end)
            begin = end

    def _open(self, number: int) -> Opened:
        """Return an open file; the one that was not used for longest is closed."""
        opened = self._opened.pop(number, None)
        if opened is None:
            opened = self._parts[number].open()
        self._opened[number] = opened
        if len(self._opened) > _MOST_OPEN:
            self._opened.popitem(last=False)
        return opened


def _checked(index: Any, name: str) -> NDArray[np.int64]:
    """Return row numbers; a mask would be read as rows 0 and 1, and fractions would be cut off."""
    found = np.asarray(index)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        got = f"{found.ndim}-D {found.dtype}"
        raise IndexError(f"{name}: rows must be a list of integers, got {got}")
    return found.astype(np.int64, copy=False)


def _plain(value: Any) -> str:
    return str(value[0]) if isinstance(value, tuple) else str(value)

"""Inputs that map files: nobody may change or truncate a file while its rows are read.

Pairs from such a run would fit neither the old rows nor the new ones, and reading behind the end of
a file is SIGBUS. `Files` looks at the files before, meanwhile and after; SIGBUS becomes an error by
csrc/core/guarded_range.hpp. A file that another one replaces under its name is no change: the map
keeps the old rows. Not here: reading files (io/).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from ..text import quoted
from .convert import sha256
from .narrow import NarrowRows
from .row_blocks import Array, RowsLike

__all__ = ["FileChangedError", "Files", "checked"]

_MAPS = Path("/proc/self/maps")  # of Linux: the file behind each range of memory
_LEAST_TO_LOOK_UP = 1 << 20  # bytes; below, a matching can take less time than reading _MAPS


class FileChangedError(OSError):
    """A file that an argument maps was changed or truncated while it was read."""


class Files:
    """The files that inputs map.

    They are NumPy maps, views of such maps, and on Linux larger memory of other libraries, such as
    torch's, that maps a file. A pickled or copied object knows no files: rows are then in memory.

    Parameters
    ----------
    **inputs
        Arguments by their names; those that map no file are left out.
    """

    def __init__(self, **inputs: Any) -> None:
        self._maps: dict[str, _Map] = {}
        for name, value in inputs.items():
            if value is not None and (place := _find(value)) is not None:
                self._maps[name] = _Map(name, *place)

    def __reduce__(self) -> tuple[type[Files], tuple[()]]:
        return Files, ()

    def __bool__(self) -> bool:
        return bool(self._maps)

    def __contains__(self, name: str) -> bool:
        return name in self._maps

    @contextlib.contextmanager
    def reading(self, *names: str, last: bool = True) -> Iterator[Callable[[], None]]:
        """Guard the maps while they are read, and check the files at the end.

        Parameters
        ----------
        *names
            Inputs that are read; all of them by default.
        last
            False if the caller has checked everything before the end, and a change is then none of
            its business: a file that was written is complete.

        Yields
        ------
        callable
            Raises FileChangedError if a file was changed or truncated so far.
        """
        guards = [
            (each, each.guard()) for name, each in self._maps.items() if not names or name in names
        ]

        def check() -> None:
            for each, guard in guards:
                if guard.broken:
                    each.broken = True
                if each.broken:
                    raise each.error("was truncated, or could not be read from its disk,")
                each.check()

        try:
            yield check
            if last:
                check()
        except FileChangedError:
            raise
        except Exception:
            check()  # a changed file explains all other errors
            raise
        finally:
            for _, guard in guards:
                guard.close()

    def hash(self, **rows: RowsLike) -> None:
        """Remember the SHA-256 of the inputs named, where they map files."""
        for name, each in self._maps.items():
            if name in rows:
                each.sha256 = sha256(rows[name])

    def compare(self, **rows: RowsLike) -> None:
        """Raise FileChangedError if an input is not what it was at `hash`."""
        for name, each in self._maps.items():
            if name in rows and sha256(rows[name]) != each.sha256:
                raise each.error("was changed")

    def sha256(self, name: str) -> str | None:
        """Return the SHA-256 of an input at `hash`; None if it maps no file."""
        return self._maps[name].sha256 if name in self._maps else None


def checked(rows: RowsLike, check: Callable[[], None]) -> RowsLike:
    """Return rows that are copied as they are sliced, and checked after each copy.

    Parameters
    ----------
    rows : [n, dim]
        Narrow floats keep their type.
    check : callable
        Of `Files.reading`.
    """
    if isinstance(rows, NarrowRows):
        return NarrowRows(_CheckedRows(rows.bits, check), rows.name)
    return _CheckedRows(rows, check)


class _CheckedRows:
    """Rows of `checked`."""

    def __init__(self, rows: RowsLike, check: Callable[[], None]) -> None:
        self._rows = rows
        self._check = check

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, dim]."""
        return self._rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The rows' element type."""
        return self._rows.dtype

    def __getitem__(self, rows: Any, /) -> Array:
        copy = np.array(self._rows[rows])
        self._check()
        return copy


class _Map:
    """The memory of one input, and the state of the file that it maps."""

    def __init__(self, name: str, path: str | None, address: int, size: int) -> None:
        self._name = name
        self._path = path
        self._memory = (address, size)
        self._status = self._file_status()
        self.sha256: str | None = None
        self.broken = False  # for good: zeros stay in the place of its pages

    def guard(self) -> _core.GuardedRange:
        return _core.GuardedRange(*self._memory)

    def check(self) -> None:
        was, now = self._status, self._file_status()
        # Another inode, or none: the name was moved, removed or replaced, and the map was not.
        if was is None or now is None or was[:2] != now[:2] or was == now:
            return
        raise self.error("was truncated" if now[2] < was[2] else "was changed")

    def error(self, what: str) -> FileChangedError:
        file = "its file" if self._path is None else f"the file {quoted(self._path)}"
        return FileChangedError(f"{self._name}: {file} {what} while it was being read")

    def _file_status(self) -> tuple[int, int, int, int] | None:
        try:
            status = None if self._path is None else Path(self._path).stat()
        except OSError:
            return None
        if status is None:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _find(value: Any) -> tuple[str | None, int, int] | None:
    """Return path, address and bytes of a map of a file; None for all other memory."""
    path = None
    torch = sys.modules.get("torch")
    if isinstance(value, NarrowRows):
        value = value.bits
    if isinstance(value, np.ndarray):
        owner: Any = value
        while isinstance(owner, np.ndarray):
            path = path or getattr(owner, "filename", None)
            owner = owner.base
        if owner is None:  # NumPy's own memory
            return None
        address, size = _span(value)
        if isinstance(owner, memoryview):
            owner = owner.obj
        if isinstance(owner, mmap.mmap) and size:
            path = _looked_up(address) if path is None else os.fspath(path)
            return path, address, size
    elif torch is not None and isinstance(value, torch.Tensor) and value.device.type == "cpu":
        try:
            storage = value.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
        except Exception:  # a tensor without memory of its own: convert.py says so
            return None
    else:
        return None
    if size < _LEAST_TO_LOOK_UP:
        return None
    path = _looked_up(address)
    return None if path is None else (path, address, size)


def _span(array: Array) -> tuple[int, int]:
    """Return the address and the number of bytes from an array's first byte to its last."""
    if array.size == 0:
        return array.ctypes.data, 0
    reach = [
        (length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True)
    ]
    first = sum(each for each in reach if each < 0)
    last = sum(each for each in reach if each > 0)
    return array.ctypes.data + first, last - first + array.itemsize


def _looked_up(address: int) -> str | None:
    """Return the path of the file that is mapped at an address, if the system tells."""
    with (
        contextlib.suppress(OSError),
        _MAPS.open(encoding="utf-8", errors="surrogateescape") as maps,
    ):
        for line in maps:
            span, _, rest = line.partition(" ")
            begin, _, end = span.partition("-")
            if int(begin, 16) <= address < int(end, 16):
                path = rest.rstrip("\n").split(None, 4)[4:]
                return path[0].removesuffix(" (deleted)") if path and path[0][0] == "/" else None
    return None

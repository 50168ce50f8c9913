"""Journals: files of int64 records that only grow, each part under a hash.

A journal begins with a magic line, a line of JSON and their SHA-256. Blocks follow: the number of
records (8 bytes), the records (8 bytes each), and the SHA-256 of the block before, the number and
the records. All numbers are little-endian. A block is on the disk before the next one is begun, so
that a killed process or machine can only spoil the last one: its remains are cut off. A record is
believed only if all hashes up to its block are right.

Not here: what the fields mean, and whose file may be written (checkpoint.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic_file
from .reading import parse_meta

__all__ = ["MAGIC", "Journal", "is_journal"]

MAGIC = b"gtn-label journal 1\n"
_MOST_FIELDS = 1 << 20  # bytes of the line of JSON
_HASH_BYTES = 32
_RECORD = np.dtype("<i8")
_STEP = 1 << 20  # records that are hashed at once


class Journal:
    """A journal on disk, as far as its hashes are right.

    Attributes
    ----------
    fields : dict
        What the header holds.
    count : int
        Number of records.
    spoilt : int
        Bytes behind the last right block, which the next `append` cuts off.
    """

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        self._path = path
        self.fields = fields
        self.count = self.spoilt = 0
        self._end, self._last = 0, b""

    @classmethod
    def create(cls, path: Path, fields: Mapping[str, Any], records: NDArray[np.int64]) -> Journal:
        """Write a journal that replaces `path`, whole or not at all."""
        journal = cls(path, dict(fields))
        header = MAGIC + json.dumps(journal.fields, sort_keys=True).encode() + b"\n"
        last = hashlib.sha256(header).digest()
        with atomic_file(path) as file:
            file.write(header + last)
            if len(records):
                last = _write_block(file, records, last)
            journal._end = file.tell()
        journal._last, journal.count = last, len(records)
        return journal

    @classmethod
    def read(cls, path: Path) -> tuple[Journal, NDArray[np.int64]]:
        """Read a journal and its records.

        Raises
        ------
        ValueError
            If the header is damaged.
        """
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            header = file.read(len(MAGIC)) + file.readline(_MOST_FIELDS)
            last = file.read(_HASH_BYTES)
            if last != hashlib.sha256(header).digest():
                raise ValueError("its header is not what was saved (SHA-256)")
            journal = cls(path, parse_meta(header[len(MAGIC) :].decode(), "its header"))
            records = np.empty(max(0, size - file.tell()) // _RECORD.itemsize, _RECORD)
            journal._end, journal._last = file.tell(), last
            while journal._take_block(file, size, records):
                pass
        journal.spoilt = size - journal._end
        return journal, records[: journal.count].astype(np.int64, copy=False)

    def append(self, records: NDArray[np.int64]) -> None:
        """Write records behind those that are there, and wait until they are on the disk.

        Raises
        ------
        OSError
            If that fails. The records that were there still are.
        """
        with self._path.open("r+b") as file:
            file.truncate(self._end)
            file.seek(self._end)
            try:
                last = _write_block(file, records, self._last)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), self._end)
                raise
            self._end, self._last = file.tell(), last
        self.count += len(records)
        self.spoilt = 0

    def _take_block(self, file: BinaryIO, size: int, records: NDArray[np.int64]) -> bool:
        """Read the next block into `records`; return False if there is no right one."""
        head = file.read(_RECORD.itemsize)
        count = int.from_bytes(head, "little")
        end = self._end + _RECORD.itemsize * (1 + count) + _HASH_BYTES
        if len(head) < _RECORD.itemsize or count == 0 or end > size:
            return False
        found = hashlib.sha256(self._last + head)
        block = records[self.count : self.count + count]
        for begin in range(0, count, _STEP):
            part = block[begin : begin + _STEP]
            raw = file.read(part.nbytes)
            part[:] = np.frombuffer(raw, _RECORD)
            found.update(raw)
        if file.read(_HASH_BYTES) != found.digest():
            return False
        self.count += count
        self._end, self._last = end, found.digest()
        return True


def is_journal(path: Path) -> bool:
    """Tell by the first bytes if a file is a journal."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _write_block(file: BinaryIO, records: NDArray[np.int64], last: bytes) -> bytes:
    """Write a block, and return its hash."""
    head = len(records).to_bytes(_RECORD.itemsize, "little")
    made = hashlib.sha256(last + head)
    file.write(head)
    for begin in range(0, len(records), _STEP):
        part = np.ascontiguousarray(records[begin : begin + _STEP], _RECORD).tobytes()
        made.update(part)
        file.write(part)
    file.write(made.digest())
    return made.digest()

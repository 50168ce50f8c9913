"""Journals: files of equal records that only grow, each part under a hash.

A journal begins with a magic line, a line of JSON and their SHA-256. The magic line says what a
record is: a latent (8 bytes), a latent and a cosine (16 bytes), or a source before these (24
bytes). Blocks follow: the number of records (8 bytes), the records, and the SHA-256 of the block
before, the number and the records. All numbers are little-endian. A block is on the disk before the
next one is begun, so that a killed process or machine can only spoil the last one: its remains are
cut off. A record is believed only if all hashes up to its block are right.

Not here: what the fields mean, and whose file may be written (checkpoint.py, cluster/journal.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic_file
from .reading import parse_meta

__all__ = [
    "CHOICES",
    "GROUPED",
    "LATENTS",
    "MAGIC",
    "Journal",
    "Kind",
    "is_journal",
    "sharded_kind",
]


class Kind(NamedTuple):
    """The first line of a journal, and the type of its records."""

    magic: bytes
    record: np.dtype[Any]


LATENTS = Kind(b"gtn-label journal 1\n", np.dtype("<i8"))  # of one process
CHOICES = Kind(  # of a sharded run
    b"gtn-label sharded journal 1\n", np.dtype([("latent", "<i8"), ("cosine", "<f8")])
)
GROUPED = Kind(  # of a sharded run with groups
    b"gtn-label grouped journal 1\n",
    np.dtype([("source", "<i8"), ("latent", "<i8"), ("cosine", "<f8")]),
)
MAGIC = LATENTS.magic
_MOST_FIELDS = 1 << 20  # bytes of the line of JSON
_HASH_BYTES = 32
_COUNT_BYTES = 8
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

    def __init__(self, path: Path, fields: dict[str, Any], kind: Kind = LATENTS) -> None:
        self._path = path
        self._kind = kind
        self.fields = fields
        self.count = self.spoilt = 0
        self._end, self._last = 0, b""

    @classmethod
    def create(
        cls,
        path: Path,
        fields: Mapping[str, Any],
        records: NDArray[Any],
        kind: Kind = LATENTS,
    ) -> Journal:
        """Write a journal that replaces `path`, whole or not at all."""
        journal = cls(path, dict(fields), kind)
        header = kind.magic + json.dumps(journal.fields, sort_keys=True).encode() + b"\n"
        last = hashlib.sha256(header).digest()
        with atomic_file(path) as file:
            file.write(header + last)
            if len(records):
                last = _write_block(file, records, last, kind)
            journal._end = file.tell()
        journal._last, journal.count = last, len(records)
        return journal

    @classmethod
    def open(cls, path: Path, kind: Kind = LATENTS) -> Journal:
        """Read the header of a journal, whose records `blocks` then reads.

        Raises
        ------
        ValueError
            If the header is damaged.
        """
        with path.open("rb") as file:
            header = file.read(len(kind.magic)) + file.readline(_MOST_FIELDS)
            last = file.read(_HASH_BYTES)
            if last != hashlib.sha256(header).digest():
                raise ValueError("its header is not what was saved (SHA-256)")
            fields = parse_meta(header[len(kind.magic) :].decode(), "its header")
            journal = cls(path, fields, kind)
            journal._end, journal._last = file.tell(), last
        return journal

    @classmethod
    def read(cls, path: Path, kind: Kind = LATENTS) -> tuple[Journal, NDArray[Any]]:
        """Read a journal and its records.

        Raises
        ------
        ValueError
            If the header is damaged.
        """
        journal = cls.open(path, kind)
        size = path.stat().st_size
        records = np.empty(max(0, size - journal._end) // kind.record.itemsize, kind.record)
        for _ in journal.blocks(records):
            pass
        found = records[: journal.count]
        return journal, found.astype(kind.record.newbyteorder("="), copy=False)

    def blocks(self, into: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
        """Yield the records of each right block, once after `open`; then `spoilt` is known.

        With `into`, an array for all records, the blocks are views of that array.
        """
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(self._end)
            while (block := self._next_block(file, size, into)) is not None:
                yield block
            self.spoilt = size - self._end

    def append(self, records: NDArray[Any]) -> None:
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
                last = _write_block(file, records, self._last, self._kind)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), self._end)
                raise
            self._end, self._last = file.tell(), last
        self.count += len(records)
        self.spoilt = 0

    def _next_block(
        self, file: BinaryIO, size: int, into: NDArray[Any] | None
    ) -> NDArray[Any] | None:
        """Read the next block; return None if there is no right one."""
        record = self._kind.record
        head = file.read(_COUNT_BYTES)
        count = int.from_bytes(head, "little")
        end = self._end + _COUNT_BYTES + record.itemsize * count + _HASH_BYTES
        if len(head) < _COUNT_BYTES or count == 0 or end > size:
            return None
        found = hashlib.sha256(self._last + head)
        place = slice(self.count, self.count + count)
        block = np.empty(count, record) if into is None else into[place]
        for begin in range(0, count, _STEP):
            part = block[begin : begin + _STEP]
            raw = file.read(part.nbytes)
            part[:] = np.frombuffer(raw, record)
            found.update(raw)
        if file.read(_HASH_BYTES) != found.digest():
            return None
        self.count += count
        self._end, self._last = end, found.digest()
        return block


def is_journal(path: Path, kind: Kind = LATENTS) -> bool:
    """Tell by the first bytes if a file is a journal of this kind."""
    with path.open("rb") as file:
        return file.read(len(kind.magic)) == kind.magic


def sharded_kind(path: Path) -> Kind | None:
    """Return the kind of a journal of Algorithm 1 over many ranks; None for any other file."""
    return next((kind for kind in (CHOICES, GROUPED) if is_journal(path, kind)), None)


def _write_block(file: BinaryIO, records: NDArray[Any], last: bytes, kind: Kind) -> bytes:
    """Write a block, and return its hash."""
    head = len(records).to_bytes(_COUNT_BYTES, "little")
    made = hashlib.sha256(last + head)
    file.write(head)
    for begin in range(0, len(records), _STEP):
        part = np.ascontiguousarray(records[begin : begin + _STEP], kind.record).tobytes()
        made.update(part)
        file.write(part)
    file.write(made.digest())
    return made.digest()

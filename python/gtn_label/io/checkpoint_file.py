"""The bytes of a checkpoint: a journal of latents, or an archive of the state of an auction.

Not here: whether the content is this run's (checkpoint.py), and what its arrays mean
(checkpoint_content.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..text import quoted
from .journal import MAGIC, Journal, is_journal
from .npy import read_npz
from .reading import file_size

__all__ = ["FORMAT", "Saved", "digest_of", "read_saved", "was_ours"]

FORMAT = "gtn-label checkpoint"
_TAIL_BYTES = 1 << 16  # the end of an archive, which holds the meta and the zip directory


class Saved(NamedTuple):
    """A checkpoint as it was read from its file.

    Attributes
    ----------
    arrays : dict
        State of the run.
    fields : dict
        Fingerprint of the run.
    signed : str or None
        Id of the run that made the file.
    hashed : bool
        True if the content is under a hash. Files of earlier versions have none.
    sound : bool
        False if the hash is wrong or missing.
    journal : Journal or None
        Where further records of the run are appended; None for an archive.
    """

    arrays: dict[str, NDArray[Any]]
    fields: dict[str, Any]
    signed: str | None
    hashed: bool
    sound: bool
    journal: Journal | None


def read_saved(path: Path, name: str = "checkpoint") -> Saved:
    """Read a checkpoint, or an archive that is none; `name` names it in messages.

    Raises
    ------
    ValueError, TypeError
        If the file is neither, or damaged.
    OSError
        If it cannot be read.
    """
    file_size(path, name)
    if is_journal(path):
        try:
            journal, records = Journal.read(path)
        except ValueError as error:
            raise ValueError(f"{name} {quoted(path)} is damaged: {error}") from None
        fields = dict(journal.fields)
        return Saved({"visited": records}, fields, fields.pop("run", None), True, True, journal)
    arrays, fields = read_npz(path, name=name)
    signed, digest = fields.pop("run", None), fields.pop("digest", None)
    # Earlier versions, which knew no auction, wrote neither.
    unsigned = not (signed or digest or "auction" in arrays)
    sound = unsigned or digest == digest_of(fields, arrays)
    return Saved(arrays, fields, signed, digest is not None, sound, None)


def digest_of(fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of an archive's content."""
    text = json.dumps(fields, sort_keys=True)  # of any JSON: a file can hold NaN
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        if name != "visited":  # alone in its file
            found.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        found.update(arrays[name].tobytes())
    return found.hexdigest()


def was_ours(path: Path) -> bool:
    """Tell by its two ends whether a damaged file was a checkpoint.

    Nobody is told to delete any other file: a path given by mistake can be the user's own data.
    """
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    # Our first member, right after its zip header; our meta, in the characters of NumPy.
    first = head[:4] == b"PK\3\4" and head[30:].startswith((b"visited.npy", b"auction.npy"))
    return head.startswith(MAGIC) or first or FORMAT.encode("utf-32-le") in tail

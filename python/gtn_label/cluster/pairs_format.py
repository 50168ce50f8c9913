"""The folder of pairs that many ranks write: its names, its manifest and the rules of both.

A folder holds shards, which are files of pairs, and `manifest.json`. Optimal transport adds a file
of the prices of all latents. The manifest is written last, and a folder without one is not
finished. Not here: writing (output.py), reading (pairs_folder.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..text import quoted

__all__ = [
    "FORMAT",
    "FORMATS",
    "MANIFEST",
    "VERSION",
    "PricesFile",
    "Shard",
    "file_sha256",
    "is_prices_name",
    "is_shard_name",
    "prices_name",
    "prices_of",
    "read_manifest",
    "shard_name",
]

FORMAT, VERSION = "gtn-label pairs folder", 1
MANIFEST = "manifest.json"
FORMATS = ("npz", "parquet")
_LARGEST_MANIFEST = 1 << 30  # bytes
_PRICES_NAME = re.compile(r"prices-[0-9a-f]{8}\.npy")
_NAME = re.compile(r"pairs-[0-9a-f]{8}-r\d{5,}-\d{5,}\.(npz|parquet)")


class Shard(NamedTuple):
    """One file of a folder: `rows` pairs, from pair `begin` of the folder on."""

    file: str
    begin: int
    rows: int
    bytes: int
    sha256: str


class PricesFile(NamedTuple):
    """The file of the prices of all latents, float64 [m]."""

    file: str
    bytes: int
    sha256: str


_KINDS = {"file": str, "begin": int, "rows": int, "bytes": int, "sha256": str}


def shard_name(run: str, rank: int, number: int, form: str) -> str:
    """Name a shard by its run, its rank and its number on that rank."""
    return f"pairs-{run}-r{rank:05d}-{number:05d}.{form}"


def prices_name(run: str) -> str:
    """Name the file of the latents' prices by its run."""
    return f"prices-{run}.npy"


def is_prices_name(name: str) -> bool:
    """Return True for a name that `prices_name` makes."""
    return _PRICES_NAME.fullmatch(name) is not None


def is_shard_name(name: str) -> bool:
    """Return True for a name that `shard_name` makes."""
    return _NAME.fullmatch(name) is not None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def read_manifest(folder: Path, shown: str) -> tuple[dict[str, Any], list[Shard]]:
    """Read and check the manifest of a folder; `shown` names the folder in messages.

    Raises
    ------
    FileNotFoundError
        If there is no manifest: the folder is not finished, or none of pairs.
    ValueError
        If the manifest breaks a rule.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise ValueError(f"{shown} has a manifest of more than {_LARGEST_MANIFEST:,} bytes")
        text = path.read_bytes()
    except FileNotFoundError:
        unfinished = any(is_shard_name(each.name) for each in folder.iterdir())
        reason = "is not finished" if unfinished else "holds no pairs"
        raise FileNotFoundError(f"{shown} {reason}: it has no {MANIFEST}") from None
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError("it names another format")
        if found.get("version") != VERSION:
            raise ValueError(
                f"its format has version {found.get('version')!r:.40}, and this gtn-label reads "
                f"{VERSION}"
            )
        return found, _shards(found)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown} has a damaged {MANIFEST}: {error}") from None


def prices_of(found: Mapping[str, Any], shown: str) -> PricesFile | None:
    """Return the file of prices that a manifest names; None if it names none.

    Raises
    ------
    ValueError
        If the entry breaks a rule.
    """
    entry = found.get("prices")
    if entry is None:
        return None
    kinds = {name: _KINDS[name] for name in PricesFile._fields}
    sound = isinstance(entry, dict) and all(type(entry.get(k)) is kinds[k] for k in kinds)
    if not sound or not is_prices_name(entry["file"]):
        raise ValueError(f"{shown} has a damaged {MANIFEST}: its prices are {entry!r:.80}")
    return PricesFile(**{name: entry[name] for name in kinds})


def _shards(found: Mapping[str, Any]) -> list[Shard]:
    """Check the entries of a manifest and return its shards."""
    if not isinstance(found.get("meta"), dict):
        raise ValueError("it has no meta")
    entries = found.get("shards")
    if not isinstance(entries, list) or not entries:
        raise ValueError("it has no shards")
    shards: list[Shard] = []
    begin = 0
    for entry in entries:
        if not isinstance(entry, dict) or any(
            type(entry.get(name)) is not kind for name, kind in _KINDS.items()
        ):
            raise ValueError(f"a shard is {entry!r:.80}")
        shard = Shard(**{name: entry[name] for name in Shard._fields})
        # A name with a folder could lead out of this one.
        if not is_shard_name(shard.file):
            raise ValueError(f"a shard is named {quoted(shard.file[:80])}")
        if shard.begin != begin or shard.rows < 1:
            raise ValueError(
                f"shard {quoted(shard.file)} has {shard.rows} pairs from {shard.begin} on, and "
                f"must begin at {begin}"
            )
        begin += shard.rows
        shards.append(shard)
    if found.get("pairs") != begin:
        raise ValueError(f"it says {found.get('pairs')!r:.40} pairs, and its shards have {begin}")
    if len({shard.file for shard in shards}) != len(shards):
        raise ValueError("it names a shard twice")
    return shards

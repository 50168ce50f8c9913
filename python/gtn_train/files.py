"""Files that every part of the package reads and writes: JSON objects, arrays, and their hashes.

Writing is whole or not at all. Not here: formats of vectors and pairs (`gtn_label.io.files`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtn_label.io.atomic import atomic_file

__all__ = ["file_sha256", "parse_json", "read_json", "save_array", "write_json"]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_array(path: Path, rows: Any) -> None:
    """Write a NumPy array as .npy, whole or not at all."""
    with atomic_file(path) as file:
        np.save(file, rows, allow_pickle=False)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises ValueError if the file is damaged."""
    return parse_json(path.read_bytes(), str(path))


def parse_json(text: str | bytes, shown: str) -> dict[str, Any]:
    """Parse a JSON object; `shown` names its place in messages."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{shown}' is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"'{shown}' is damaged: it must hold a JSON object")
    return content

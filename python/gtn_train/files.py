"""Files that every part of the package reads and writes: JSON objects, arrays, and their hashes.

Writing is whole or not at all. Not here: formats of vectors and pairs (`gtn_label.io.files`).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gtn_label.io.atomic import atomic_file
from gtn_label.text import brief as shortened
from gtn_label.text import quoted, visible

__all__ = [
    "DAMAGED",
    "INVALID",
    "brief",
    "file_sha256",
    "is_number",
    "parse_json",
    "read_json",
    "read_toml",
    "save_array",
    "write_json",
]

_MOST_CHARACTERS = 300  # of a text out of a file in a message
_MOST_LEVELS = 50  # of nesting; what the package writes has six


DAMAGED = "is damaged"  # a file that the package has written
INVALID = "is not valid"  # a text that a person has written


def brief(told: object, most: int = _MOST_CHARACTERS) -> str:
    """Return a value out of a file, or another library's error, as one short line."""
    text = visible(" ".join(str(told).split()))
    return shortened(text, most) or type(told).__name__


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


def read_json(path: Path, fault: str = DAMAGED) -> dict[str, Any]:
    """Read a JSON object; raises ValueError if the file holds none."""
    return parse_json(path.read_bytes(), quoted(path), fault)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises ValueError if the file is not valid, and below Python 3.11."""
    if sys.version_info < (3, 11):
        raise ValueError(f"{quoted(path)}: TOML needs Python 3.11; write the file as JSON")
    import tomllib

    try:
        content = tomllib.loads(path.read_text("utf-8"))
        _check_levels(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{quoted(path)} {INVALID}: {brief(error)}") from None
    return content


def parse_json(text: str | bytes, shown: str, fault: str = DAMAGED) -> dict[str, Any]:
    """Parse a JSON object; messages say that the place `shown` has the fault."""
    try:
        content = json.loads(text, parse_constant=_constant)
        _check_levels(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown} {fault}: {brief(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{shown} {fault}: it must hold a JSON object")
    return content


def is_number(value: Any) -> bool:
    """Return True for a finite number of JSON that fits a float; bools are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _check_levels(content: Any) -> None:
    """Refuse deep nesting, on which later code would run out of stack."""
    level = [content]
    for _ in range(_MOST_LEVELS):
        level = [
            below
            for value in level
            if isinstance(value, (dict, list))
            for below in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply")

"""The JSON of a .safetensors header, as strictly as the format's own reader takes it.

Python's parser is lenient: it guesses encodings, takes NaN and lone surrogates, the last of two
equal keys, and any depth. Not here: what the entries say (safetensors.py).
"""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["parse_header"]

_DEPTH = 127  # levels of nesting that the format's reader takes
_DIGITS = 20  # of the largest number, 2**64 - 1


def parse_header(raw: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the entries and the metadata of a header.

    Raises
    ------
    ValueError
        If the bytes are not the JSON they must be.
    """
    if not raw.startswith(b"{"):
        raise ValueError("its header does not start with '{'")
    try:
        header = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        _check_strings_and_depth(header)
    except (ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise ValueError(f"its header is not the JSON it must be ({reason})") from None
    metadata = header.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise ValueError("its __metadata__ must be an object of strings")
    return header, metadata


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r:.60} appears twice")
    return found


def _integer(text: str) -> int | float:
    """Return an int from 0 to 2**64 - 1; any other is as good as a float: no shape or offset."""
    if text.startswith("-") or len(text) > _DIGITS or int(text) >= 2**64:
        return _float(text)
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is out of range")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _check_strings_and_depth(header: Any) -> None:
    """Refuse halves of surrogate pairs, and objects nested deeper than the format's reader goes."""
    level, depth = [header], 0
    while level:
        depth += 1
        if depth > _DEPTH and any(isinstance(value, (dict, list)) for value in level):
            raise ValueError("it is nested too deeply")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                for key in value:
                    key.encode()
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                value.encode()
        level = [value for value in below if isinstance(value, (dict, list, str))]

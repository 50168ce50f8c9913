"""Sections of run.json, and the dataclasses that they become.

Not here: what the fields must be, which each dataclass checks itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from gtn_label.errors import ArgumentTypeError

from ..files import brief

__all__ = ["from_section"]

Section = TypeVar("Section")


def from_section(kind: type[Section], content: Any, name: str) -> Section:
    """Make a dataclass from a section of run.json.

    Parameters
    ----------
    kind : type
        A dataclass.
    content
        The section.
    name : str
        The section's path, such as "preset.pairs", for messages; "" for the whole file.

    Raises
    ------
    TypeError, ValueError
        If the section is no mapping, lacks a field, has an unknown one, or has one that the
        dataclass refuses. The message names the section and the field.
    """
    if not isinstance(content, Mapping):
        raise ArgumentTypeError(name, "must be a mapping", f"{type(content).__name__} {content!r}")
    shown = name or "it"
    known = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(content) - set(known)):
        raise ValueError(
            f"{shown} has no field {brief(', '.join(unknown))}; its fields are {', '.join(known)}"
        )
    missing = [
        entry.name
        for entry in fields(kind)  # type: ignore[arg-type]
        if entry.default is entry.default_factory is MISSING and entry.name not in content
    ]
    if missing:
        raise ValueError(f"{shown} lacks {', '.join(missing)}")
    try:
        return kind(**content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from None

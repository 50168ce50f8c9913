"""Text for a terminal: names out of files, paths and arguments cannot steer the terminal.

Only the standard library is imported here, so that every module may import this one.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["brief", "plain", "quoted", "visible"]

MOST_CHARACTERS = 400  # of a value in a message

# C0, DEL and C1; marks without a width, and marks of direction; separators of lines and paragraphs;
# overrides of direction; halves of surrogate pairs, which are bytes of a path without an encoding.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Write every character that a terminal would obey or hide as its escape in Python.

    Examples
    --------
    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _HIDDEN.sub(lambda found: repr(found[0])[1:-1], text)


def brief(text: str, most: int = MOST_CHARACTERS) -> str:
    """Shorten a text that is long: a value out of a file can have megabytes.

    Examples
    --------
    >>> brief("a" * 2000, 10)
    'aaaaa ... (2,000 characters)'
    """
    return text if len(text) <= most else f"{text[: most // 2]} ... ({len(text):,} characters)"


def quoted(name: object) -> str:
    r"""Quote a name out of a file, or a path, for a message.

    Examples
    --------
    >>> print(quoted("z\n"))
    'z\n'
    """
    return f"'{visible(str(name))}'"


def plain(value: Any) -> str:
    """Write a value as Python does, numbers and strings of NumPy's without their type.

    Examples
    --------
    >>> plain("a"), plain(2.5)
    ("'a'", '2.5')
    """
    of_numpy = type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
    return repr(value.item() if of_numpy else value)

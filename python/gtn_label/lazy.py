"""Names of a package that are imported when they are first used.

torch takes seconds to load. A command that shows its help or refuses an argument, and a program
that needs plain options only, must not wait for torch, and gtn-label serves signals before NumPy is
loaded. Each package's __init__.py lists its own names.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing, see cli/entry.py
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and the `__dir__` of a package.

    Parameters
    ----------
    package : str
        Its `__name__`.
    homes : mapping of str to str
        Module of each name, within the package.

    Examples
    --------
    >>> get, names = lazy_names("gtn_label", {"ArgumentError": "errors"})
    >>> "ArgumentError" in names()
    True
    >>> get("ArgumentError").__module__
    'gtn_label.errors'
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".{homes[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names

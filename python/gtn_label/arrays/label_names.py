"""Names of groups: Python's strings and bytes become NumPy's, and what is no name is refused.

NumPy makes a name of anything: "nan" of a gap, "1" of a number, "a" of "a" and a null character.
Such names would join groups that are not one. Not here: codes of names (groups.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, ArgumentTypeError
from ..text import plain

__all__ = ["names_of"]


def names_of(labels: npt.NDArray[Any], argument: str) -> npt.NDArray[Any]:
    """Return NumPy's strings or bytes for an array of Python's; other arrays as they are.

    Parameters
    ----------
    labels : ndarray [n]
    argument : str
        Name of the argument in messages.

    Raises
    ------
    ArgumentError
        If a label is missing, or a name ends in a null character.
    ArgumentTypeError
        If objects are neither all strings nor all bytes.
    """
    if labels.dtype.kind in "fM":
        _refuse_missing(labels, np.flatnonzero(labels != labels), argument)
    if labels.dtype.kind not in "OT":
        return labels
    objects = labels.astype(object)
    kinds = set(map(type, objects))
    for kind in (str, bytes):
        if all(issubclass(each, kind) for each in kinds):
            # A str() of its own, as an Enum has, is not the name.
            names = np.array([kind.__getitem__(label, slice(None)) for label in objects])
            cut = np.flatnonzero(names != objects)
            if len(cut):
                rule = "must hold names that end in no null character, which NumPy drops"
                raise ArgumentError(argument, rule, f"{plain(objects[cut[0]])} in row {cut[0]}")
            return names
    _refuse_missing(objects, [row for row, each in enumerate(objects) if _missing(each)], argument)
    first = {_kind(label): row for row, label in reversed(list(enumerate(objects)))}
    rows = sorted((row, kind) for kind, row in first.items())
    rule = "must hold strings or integers"
    if len(rows) == 1:
        got = f"dtype {labels.dtype} of {rows[0][1]}"
        advice = f"pass {argument}.astype(int)" if rows[0][1] in ("int", "bool") else ""
        raise ArgumentTypeError(argument, rule, got, advice)
    got = ", ".join(f"{kind} in row {row}" for row, kind in rows[:5])
    raise ArgumentTypeError(argument, f"{rule}, all of one type", got)


def _refuse_missing(labels: npt.NDArray[Any], rows: Any, argument: str) -> None:
    if len(rows) == 0:
        return
    rule = "must have no missing labels"
    got = f"{labels[rows[0]]!s:.20} in row {rows[0]} ({len(rows):,} of {len(labels):,})"
    advice = "drop those rows, or give them a label of their own"
    raise ArgumentError(argument, rule, got, advice)


def _missing(label: Any) -> bool:
    """Tell if a label is None, NaN, NaT or pandas' NA."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, (float, np.floating, np.datetime64)) and bool(label != label)


def _kind(label: Any) -> str:
    if isinstance(label, (str, bytes)):
        return "str" if isinstance(label, str) else "bytes"
    return type(label).__name__

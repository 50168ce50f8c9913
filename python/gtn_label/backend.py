"""Which backends there are, which can run here, and what a backend's name asks for.

A backend's name is "cpu", or "cpu:" and an instruction set to force it. What exists is asked of
the compiled engine, which knows its build and its CPU; no list of instruction sets is kept here.
The environment variable GTN_LABEL_INSTRUCTION_SET forces one where the name leaves it open.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from . import _core

INSTRUCTION_SET_VARIABLE = "GTN_LABEL_INSTRUCTION_SET"


class Backend(NamedTuple):
    """One line of `backends()`.

    Attributes
    ----------
    name : str
        What to pass as `backend=`.
    available : bool
        Whether it can run here.
    reason : str
        Why it cannot; empty when it can.
    description : str
        What it is.
    """

    name: str
    available: bool
    reason: str
    description: str


def backends() -> list[Backend]:
    """List the backends of this build, the best instruction set first.

    Every backend gives the same assignment, bit for bit; they differ in speed.

    Returns
    -------
    list of Backend
        "cpu" (the best instruction set there is), then each instruction set by name.

    Examples
    --------
    >>> from gtn_label import backends
    >>> backends()[0].name
    'cpu'
    """
    sets = _core.instruction_sets()
    usable = [entry["name"] for entry in sets if entry["built"] and entry["supported"]]
    rows = [Backend("cpu", True, "", f"this CPU's best instruction set: {usable[0]}")]
    for entry in sets:
        available = entry["built"] and entry["supported"]
        reason = "" if available else entry["reason"]
        rows.append(Backend(f"cpu:{entry['name']}", available, reason, entry["description"]))
    return rows


def resolve(backend: str) -> tuple[str, str]:
    """Turn a backend's name into the backend that runs and its instruction set.

    Parameters
    ----------
    backend : str
        "auto", or a name that `backends()` lists.

    Returns
    -------
    (str, str)
        "cpu", and the instruction set or "auto".

    Raises
    ------
    TypeError
        If `backend` is not a str.
    ValueError
        If it is unknown or cannot run here, or the environment variable forces such a one.
    """
    if not isinstance(backend, str):
        raise TypeError(f"backend must be a str, got {type(backend).__name__} {backend!r}")
    rows = {row.name: row for row in backends()}
    if backend != "auto" and backend not in rows:
        known = ", ".join(["auto", *rows])
        raise ValueError(f"unknown backend {backend!r}; known: {known}")
    if backend not in ("auto", "cpu"):
        row = rows[backend]
        if not row.available:
            raise ValueError(f"backend {backend!r} is not available here: {row.reason}")
        return "cpu", backend.removeprefix("cpu:")
    return "cpu", _from_environment(rows)


def _from_environment(rows: dict[str, Backend]) -> str:
    forced = os.environ.get(INSTRUCTION_SET_VARIABLE, "")
    if forced in ("", "auto"):
        return "auto"
    row = rows.get(f"cpu:{forced}")
    if row is None:
        known = ", ".join(["auto", *(name[4:] for name in rows if name.startswith("cpu:"))])
        raise ValueError(
            f"environment variable {INSTRUCTION_SET_VARIABLE} is {forced!r}; known: {known}"
        )
    if not row.available:
        raise ValueError(
            f"environment variable {INSTRUCTION_SET_VARIABLE} is {forced!r}, "
            f"which is not available here: {row.reason}"
        )
    return forced

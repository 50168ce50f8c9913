"""Which backends there are, which can run here, and what a backend's name asks for.

A backend's name is "cpu", or "cpu:" and an instruction set to force it; or "faiss", or "faiss:"
and the way to that library: "python", its installed package, or "linked", the C++ library that the
engine was built with. What exists is asked of the compiled engine, which knows its build and its
CPU; no list of instruction sets is kept here. The environment variable GTN_LABEL_INSTRUCTION_SET
forces one where the name leaves it open.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from . import _core, faiss_index, faiss_package

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


class Chosen(NamedTuple):
    """The backend that runs.

    Attributes
    ----------
    name : str
        "cpu" or "faiss".
    instruction_set : str
        Of the engine's own arithmetic; "auto" for the best.
    way : str
        To FAISS: "python" or "linked"; empty for "cpu".
    """

    name: str
    instruction_set: str
    way: str = ""


def backends() -> list[Backend]:
    """List the backends of this build, the best instruction set first.

    Every backend gives the same assignment, bit for bit; they differ in speed.

    Returns
    -------
    list of Backend
        "cpu" (the best instruction set there is), then each instruction set by name; "faiss" (by
        the first way to FAISS that there is), then each way by name.

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
    return rows + _faiss_rows()


def _faiss_rows() -> list[Backend]:
    text = "FAISS's exhaustive search"
    python, linked = faiss_package.missing(), _core.linked_faiss["missing"]
    package = "its Python package" if python else f"the package {faiss_package.describe()}"
    library = "its C++ library" if linked else f"the C++ library {_core.linked_faiss['version']}"
    ways = [
        Backend(
            "faiss:python",
            not python,
            python,
            f"{text} through {package}, which is also what --approx and match_approx search with",
        ),
        Backend("faiss:linked", not linked, linked, f"{text} through {library}, linked"),
    ]
    first = next((row for row in ways if row.available), None)
    if first is None:
        return [Backend("faiss", False, python, text), *ways]
    return [Backend("faiss", True, "", f"the same as {first.name}"), *ways]


def resolve(backend: str) -> Chosen:
    """Turn a backend's name into the backend that runs and its instruction set.

    Parameters
    ----------
    backend : str
        "auto", or a name that `backends()` lists.

    Returns
    -------
    Chosen

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
    if backend == "auto":
        return Chosen("cpu", _from_environment(rows))
    row = rows[backend]
    if not row.available:
        raise ValueError(f"backend {backend!r} is not available here: {row.reason}")
    name, _, detail = backend.partition(":")
    if name == "faiss":
        way = detail or ("linked" if faiss_package.missing() else "python")
        return Chosen("faiss", _from_environment(rows), way)
    return Chosen("cpu", detail or _from_environment(rows))


def check_device(device: Any, chosen: Chosen) -> str:
    """Check where a backend shall compute.

    Returns
    -------
    str
        "cpu" or a GPU's name, such as "cuda:0"; a backend's own default for None.

    Raises
    ------
    TypeError
        If `device` is neither None nor a str.
    ValueError
        If that backend cannot compute there.
    """
    if device is None:
        return "cpu"
    if not isinstance(device, str):
        raise TypeError(f"device must be a str, got {type(device).__name__} {device!r}")
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", device):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    if device != "cpu" and chosen.way != "python":
        which = f"{chosen.name}:{chosen.way}" if chosen.way else chosen.name
        missing = faiss_package.missing()
        raise ValueError(
            f"device {device!r} needs backend='faiss:python': backend {which!r} runs on the CPU"
            + (f"; {missing}" if missing else "")
        )
    return device


def make_engine(
    chosen: Chosen, device: str, dim: int, cone: int
) -> tuple[_core.Engine, dict[str, Any]]:
    """Return what computes, and what to record of it.

    Raises
    ------
    ValueError
        If FAISS knows no such device, or cannot find as many latents as the cone asks for.
    """
    if chosen.name == "cpu":
        return _core.CpuEngine(), {}
    if chosen.way == "linked":
        record = {"way": "linked", "version": _core.linked_faiss["version"], "device": "cpu"}
        return _core.FaissEngine(_core.LinkedFlatIndex()), {"faiss": record}
    index, record = faiss_index.flat_index(device, dim)
    if cone > index.most_k:
        raise ValueError(
            f"cone must be at most {index.most_k} for FAISS on {record['device']}, which finds no "
            f"more latents at a time, got {cone}"
        )
    return _core.FaissEngine(_core.PythonIndex(index)), {"faiss": record}


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

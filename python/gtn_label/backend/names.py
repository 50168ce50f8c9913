"""Names of backends: the list of them, which can run here, and what each name asks for.

Not here: the device a backend computes on, and the engine made for it (engines.py).

A name is "cpu", or "cpu:" and an instruction set to force it; "cuda", or "cuda:" and a kernel to
force it; "faiss", or "faiss:" and the way to that library: "python" for its installed package,
"linked" for the C++ library that the engine was built with. The compiled engine knows its build and
its CPU, and lists both; no list of instruction sets or kernels is kept here. The environment
variable GTN_LABEL_INSTRUCTION_SET forces an instruction set where the name leaves it open.

The driver of a GPU is asked nothing before a caller names a GPU, hands in an array on one, or asks
for the list: a process forked after that cannot use the GPU.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from .. import _core
from ..checks import as_text
from ..errors import ArgumentError
from . import cuda, faiss_package

INSTRUCTION_SET_VARIABLE = "GTN_LABEL_INSTRUCTION_SET"


class Backend(NamedTuple):
    """One line of `backends()`.

    Attributes
    ----------
    name : str
        Value of the option `backend`.
    available : bool
        True if the backend can run here.
    reason : str
        Why the backend cannot run here; empty when it can.
    description : str
        Processor and library that compute.
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
        "cpu", "cuda" or "faiss".
    instruction_set : str
        Instruction set of the engine's own arithmetic on the CPU; "auto" for the best.
    way : str
        Way to FAISS, "python" or "linked"; kernel on a GPU, empty for the best; empty for "cpu".
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
        "cpu" (the best instruction set there is), then each instruction set by name; "cuda" (the
        best kernel for the GPU), then each kernel by name; "faiss" (by the first way to FAISS that
        there is), then each way by name.

    Examples
    --------
    >>> from gtn_label import backends
    >>> backends()[0].name
    'cpu'
    """
    return [row for rows in _FAMILIES.values() for row in rows()]


def _cpu_rows() -> list[Backend]:
    sets = _core.instruction_sets()
    usable = [entry["name"] for entry in sets if entry["built"] and entry["supported"]]
    rows = [Backend("cpu", True, "", f"this CPU's best instruction set: {usable[0]}")]
    for entry in sets:
        available = entry["built"] and entry["supported"]
        reason = "" if available else entry["reason"]
        rows.append(Backend(f"cpu:{entry['name']}", available, reason, entry["description"]))
    return rows


def _cuda_rows() -> list[Backend]:
    reason = cuda.missing()
    text = "on a GPU, by its best kernel"
    rows = [Backend("cuda", not reason, reason, text if reason else f"{text}: {cuda.describe()}")]
    for entry in _core.cuda_kernels():
        reason = cuda.missing(entry["name"])
        rows.append(Backend(f"cuda:{entry['name']}", not reason, reason, entry["description"]))
    return rows


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


_FAMILIES = {"cpu": _cpu_rows, "cuda": _cuda_rows, "faiss": _faiss_rows}


def resolve(backend: str, on_gpu: bool = False) -> Chosen:
    """Turn a backend's name into the backend that runs.

    "auto" is "cuda" for inputs on a GPU, where that backend can run, and "cpu" for all others: the
    cuda backend has not been measured, so a GPU that happens to be there is not chosen.

    Parameters
    ----------
    backend : str
        "auto", or a name that `backends()` lists.
    on_gpu : bool
        True if inputs lie on a GPU.

    Returns
    -------
    Chosen

    Raises
    ------
    ArgumentTypeError
        If `backend` is not a str.
    ArgumentError
        If the name is unknown, or the backend cannot run here.
    ValueError
        If the environment variable forces an instruction set that cannot run here.
    """
    if as_text(backend, "backend") == "auto":
        if on_gpu and not cuda.missing():
            return Chosen("cuda", "auto")
        return Chosen("cpu", _from_environment())
    name, _, detail = backend.partition(":")
    rows = {row.name: row for row in _FAMILIES[name]()} if name in _FAMILIES else {}
    if backend not in rows:
        if re.fullmatch(r"cuda:[0-9]+", backend):
            rule = f"must be 'cuda', with {{device}} {backend!r}"
            raise ArgumentError("backend", rule, repr(backend))
        known = ", ".join(["auto", *(row.name for row in backends())])
        raise ArgumentError("backend", f"must be one of {known}", repr(backend))
    row = rows[backend]
    if not row.available:
        raise ArgumentError("backend", f"{backend!r} is not available here: {row.reason}")
    if name == "cuda":
        return Chosen("cuda", "auto", detail)
    if name == "faiss":
        way = detail or ("linked" if faiss_package.missing() else "python")
        return Chosen("faiss", _from_environment(), way)
    return Chosen("cpu", detail or _from_environment())


def _from_environment() -> str:
    forced = os.environ.get(INSTRUCTION_SET_VARIABLE, "")
    if forced in ("", "auto"):
        return "auto"
    rows = {row.name: row for row in _cpu_rows()}
    row = rows.get(f"cpu:{forced}")
    if row is None:
        known = ", ".join(["auto", *(name[4:] for name in rows if ":" in name)])
        raise ValueError(
            f"environment variable {INSTRUCTION_SET_VARIABLE} is {forced!r}; known: {known}"
        )
    if not row.available:
        raise ValueError(
            f"environment variable {INSTRUCTION_SET_VARIABLE} is {forced!r}, "
            f"which is not available here: {row.reason}"
        )
    return forced

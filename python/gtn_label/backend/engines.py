"""The engine for a backend's name and a device: both are checked here, and the engine is made.

Not here: names of backends (names.py), FAISS's indexes (faiss_exact.py, faiss_approx.py), GPUs
(cuda.py).
"""

from __future__ import annotations

from typing import Any

from .. import _core
from ..arrays.on_gpu import Gpu, Location
from ..errors import ArgumentError
from . import cuda, faiss_exact, faiss_package
from .names import Chosen


def check_device(device: str | None, chosen: Chosen, located: Location | None) -> str:
    """Return the device that a backend computes on.

    Parameters
    ----------
    device : str or None
        "cpu", "cuda" or "cuda:N"; None for the backend's default.
    chosen : Chosen
        The backend.
    located : Location or None
        The GPU that inputs lie on, if any.

    Returns
    -------
    str
        "cpu" or a GPU's name, such as "cuda:0".

    Raises
    ------
    ArgumentError
        If the backend cannot compute there, or inputs lie elsewhere.
    """
    if chosen.name == "cuda":
        return cuda.choose_device(device, located, chosen.way)
    name = "cpu" if device is None else device
    if name != "cpu" and chosen.way != "python":
        which = f"{chosen.name}:{chosen.way}" if chosen.way else chosen.name
        rule = (
            f"{device!r} needs {{backend}} 'cuda' or 'faiss:python', and {which!r} runs on the CPU"
        )
        for other, missing in (
            ("cuda", cuda.missing()),
            ("faiss:python", faiss_package.missing()),
        ):
            if missing:
                rule += f"; {other!r} is not available here: {missing}"
        raise ArgumentError("device", rule)
    return name


def check_place(located: Location | None, chosen: Chosen, choice: bool) -> None:
    """Raise ArgumentError for inputs on a GPU if the backend reads CPU memory.

    Parameters
    ----------
    located : Location or None
        The GPU that inputs lie on, if any.
    chosen : Chosen
        The backend.
    choice : bool
        True if the caller could have named another backend.
    """
    if located is None or chosen.name == "cuda":
        return
    advice = f"pass {located.name}.cpu()" if located.is_tensor else "copy it to the CPU first"
    if choice:
        missing = cuda.missing()
        advice += " or backend='cuda'" + (
            f", which is not available here: {missing}" if missing else ""
        )
    raise ArgumentError(located.name, "must be in CPU memory", located.what, advice)


def make_engine(
    chosen: Chosen, device: str, dim: int, cone: int, gpu: Gpu | None = None
) -> tuple[_core.Engine, dict[str, Any]]:
    """Make the engine, and the entries of `Matching.stats` that describe what it computes with.

    `gpu` is for the backend "cuda" alone.

    Raises
    ------
    ArgumentError
        If FAISS finds no such device, or cannot find as many latents as the cone asks for.
    """
    if chosen.name == "cpu":
        return _core.CpuEngine(), {}
    if gpu is not None:
        return cuda.engine(gpu, chosen.way)
    if chosen.way == "linked":
        record = {"way": "linked", "version": _core.linked_faiss["version"], "device": "cpu"}
        return _core.FaissEngine(_core.LinkedFlatIndex()), {"faiss": record}
    index, record = faiss_exact.flat_index(device, dim)
    if cone > index.most_k:
        raise ArgumentError(
            "cone",
            f"must be at most {index.most_k} for FAISS on {record['device']}, which finds no more "
            "latents at a time",
            str(cone),
        )
    return _core.FaissEngine(_core.PythonIndex(index)), {"faiss": record}

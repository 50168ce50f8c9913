"""From a chosen backend to what runs: the device it computes on, and the engine made for that.

Not here: names of backends (names.py), FAISS's indexes (faiss_exact.py), GPUs (cuda.py).
"""

from __future__ import annotations

import re
from typing import Any

from .. import _core
from ..arrays.on_gpu import Gpu, Location
from . import cuda, faiss_exact, faiss_package
from .names import Chosen


def check_device(device: str | None, chosen: Chosen, located: Location | None) -> str:
    """Check where a backend shall compute.

    Parameters
    ----------
    device : str or None
        As the caller gave it.
    chosen : Chosen
        The backend.
    located : Location or None
        Where inputs lie, if that is on a GPU.

    Returns
    -------
    str
        "cpu" or a GPU's name, such as "cuda:0"; a backend's own default for None.

    Raises
    ------
    TypeError
        If `device` is neither None nor a str.
    ValueError
        If that backend cannot compute there, or inputs lie elsewhere.
    """
    if device is not None:
        if not isinstance(device, str):
            raise TypeError(f"device must be a str, got {type(device).__name__} {device!r}")
        if not re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", device):
            raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    if chosen.name == "cuda":
        return cuda.choose_device(device, located, chosen.way)
    name = "cpu" if device is None else device
    if name != "cpu" and chosen.way != "python":
        which = f"{chosen.name}:{chosen.way}" if chosen.way else chosen.name
        message = (
            f"device {device!r} needs backend='cuda' or 'faiss:python': "
            f"backend {which!r} runs on the CPU"
        )
        for other, missing in (
            ("cuda", cuda.missing()),
            ("faiss:python", faiss_package.missing()),
        ):
            if missing:
                message += f"; {other!r} is not available here: {missing}"
        raise ValueError(message)
    return name


def check_place(located: Location | None, chosen: Chosen, choice: bool) -> None:
    """Refuse inputs on a GPU for a backend that reads CPU memory.

    Parameters
    ----------
    located : Location or None
        Where inputs lie, if that is on a GPU.
    chosen : Chosen
        The backend.
    choice : bool
        Whether the caller could have named another one.
    """
    if located is None or chosen.name == "cuda":
        return
    message = f"{located.name} must be in CPU memory, got {located.what}; "
    message += f"pass {located.name}.cpu()" if located.is_tensor else "copy it to the CPU first"
    if choice:
        missing = cuda.missing()
        message += " or backend='cuda'" + (
            f", which is not available here: {missing}" if missing else ""
        )
    raise ValueError(message)


def make_engine(
    chosen: Chosen, device: str, dim: int, cone: int, gpu: Gpu | None = None
) -> tuple[_core.Engine, dict[str, Any]]:
    """Return what computes, and what to record of it. `gpu` is for the cuda backend.

    Raises
    ------
    ValueError
        If FAISS knows no such device, or cannot find as many latents as the cone asks for.
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
        raise ValueError(
            f"cone must be at most {index.most_k} for FAISS on {record['device']}, which finds no "
            f"more latents at a time, got {cone}"
        )
    return _core.FaissEngine(_core.PythonIndex(index)), {"faiss": record}

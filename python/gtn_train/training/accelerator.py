"""The device that an accelerator's name means on this machine.

Not here: several devices, and precision (fabric.py).
"""

from __future__ import annotations

import torch

from gtn_label.errors import ArgumentError

__all__ = ["device_of"]


def device_of(accelerator: str) -> torch.device:
    """Device of an accelerator by name; "auto" is the best one available.

    Parameters
    ----------
    accelerator : {"auto", "cpu", "cuda", "mps"}

    Raises
    ------
    ValueError
        If it is not available here.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if accelerator == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    if not there[accelerator]:
        raise ArgumentError("accelerator", f"{accelerator!r} is not available here")
    return torch.device(accelerator)

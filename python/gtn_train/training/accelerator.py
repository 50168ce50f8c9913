"""The device that an accelerator's name means on this machine, and what it can train with.

Not here: setting Fabric up on it (fabric.py).
"""

from __future__ import annotations

import torch

from gtn_label.errors import ArgumentError

from .processes import processes_here

__all__ = ["check_trainable", "device_of"]


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


def check_trainable(device: torch.device, precision: str, devices: int) -> None:
    """Refuse a precision, or a number of devices, that training cannot have here.

    Parameters
    ----------
    device : torch.device
        From `device_of`.
    precision : str
    devices : int
        As in `TrainingOptions`.

    Raises
    ------
    ValueError
        If the device lacks the precision, or `devices` is not the number of processes that torchrun
        started on this machine.
    """
    if precision == "16-mixed" and device.type == "cpu":
        raise ArgumentError(
            "precision", "'16-mixed' needs a GPU", advice="on the CPU use 'bf16-mixed'"
        )
    if precision == "bf16-mixed" and device.type == "cuda" and not _has_bf16():
        raise ArgumentError(
            "precision",
            "'bf16-mixed' needs a GPU of compute capability 8.0",
            advice="on this GPU use '16-mixed'",
        )
    here = processes_here()
    if devices != here:
        raise ValueError(
            f"devices must be the number of processes on this machine, got {devices}, and "
            f"there {'is 1' if here == 1 else f'are {here}'}; start the program by "
            f"torchrun --nproc-per-node {devices}"
        )


def _has_bf16() -> bool:
    """Return True if the GPU has instructions for bfloat16, which torch imitates elsewhere."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))

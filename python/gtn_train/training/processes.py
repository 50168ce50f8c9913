"""The processes that torchrun started for a run, as its environment variables tell.

Importing this module does not import torch, so that a wrong option is refused at once. Not here:
where the processes meet (run/barrier.py).
"""

from __future__ import annotations

import os

__all__ = ["by_torchrun", "is_first_process", "leave_group", "processes", "processes_here"]


def by_torchrun() -> bool:
    """Return True if torchrun started this process; other launchers set some of its variables."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Return True for the only process, or the first that torchrun started."""
    return not by_torchrun() or int(os.environ.get("RANK", "0")) == 0


def processes() -> int:
    """Number of processes on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1")) if by_torchrun() else 1


def processes_here() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if by_torchrun() else 1


def leave_group() -> None:
    """Leave torch's process group, if this process has joined one.

    Gloo's threads, if they still run when the interpreter goes, now and then abort a process whose
    work was done. After an error the other processes must not wait for this one in a collective.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

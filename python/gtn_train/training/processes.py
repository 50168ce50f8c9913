"""The processes of a run that torchrun started, as its environment variables tell.

Torch is not imported here: what is asked for wrongly is refused without waiting for it.
"""

from __future__ import annotations

import os

__all__ = ["by_torchrun", "is_first_process", "processes", "processes_here"]


def by_torchrun() -> bool:
    """Whether torchrun started this process; other launchers set some of the same variables."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Whether this is the only process, or the first that torchrun started."""
    return not by_torchrun() or int(os.environ.get("RANK", "0")) == 0


def processes() -> int:
    """How many there are, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1")) if by_torchrun() else 1


def processes_here() -> int:
    """How many there are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if by_torchrun() else 1

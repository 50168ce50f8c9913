"""Lightning Fabric, set up from options: device, precision, processes started by torchrun.

Not here: the computation on them (loop.py).
"""

from __future__ import annotations

import atexit
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch

from gtn_label.cli import console

from .accelerator import check_trainable, device_of
from .processes import leave_group, processes, processes_here
from .training_options import TrainingOptions

__all__ = ["cpu_threads", "make_fabric", "seeded"]


def make_fabric(options: TrainingOptions) -> Any:
    """Set up Fabric, and join the other processes where torchrun started several.

    Raises
    ------
    ValueError
        If the device or precision is not available here, or `devices` is not the number of
        processes that torchrun started on this machine.
    """
    device = device_of(options.accelerator)
    check_trainable(device, options.precision, options.devices)
    with console.held():  # as long as torch itself: only a training waits for it
        from lightning_fabric import Fabric

        from .atomic_checkpoints import AtomicCheckpoints

    everywhere, here = processes(), processes_here()
    with _quiet():
        fabric = Fabric(
            accelerator=device.type,
            strategy="ddp" if everywhere > 1 else "auto",
            devices=here,
            num_nodes=everywhere // here,
            precision=options.precision,
            plugins=[AtomicCheckpoints()],
        )
        fabric.launch()
    if everywhere > 1:
        atexit.unregister(leave_group)  # Fabric leaves the group for NCCL alone
        atexit.register(leave_group)
    return fabric


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Fabric's lines about the hardware."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators for a block, and restore them afterwards.

    Dropout draws from them, and so may a metric.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.random.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch use this many threads for a block; None leaves them as they are."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

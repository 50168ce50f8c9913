"""The optimizer of a training, and the learning rate of each of its steps.

A schedule of `TrainingOptions` is a function of the epoch. One of `torch.optim.lr_scheduler` runs
on an optimizer of its own, which trains nothing. Its learning rate and momentum are copied, and the
learning rate is multiplied by the warm-up. Its state goes into checkpoints.
Not here: gradients and steps (loop.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import lr_scheduler

from gtn_label.errors import ArgumentError

from ..files import brief
from .training_options import SCHEDULES, TrainingOptions

__all__ = ["Schedule", "check_schedule", "make_optimizer"]

_COPIED = ("lr", "betas")  # entries that a scheduler of torch may change


def make_optimizer(model: Any, options: TrainingOptions) -> torch.optim.Optimizer:
    """Make Adam or AdamW, fused where this torch has a kernel for the device."""
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    settings = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
    try:
        return kind(model.parameters(), **settings, fused=True)
    except RuntimeError:
        return kind(model.parameters(), **settings)


class Schedule:
    """The learning rate, set before each step.

    Parameters
    ----------
    options : TrainingOptions
    optimizer : torch.optim.Optimizer
        Its learning rate is set; for a schedule of torch the momentum as well.

    Raises
    ------
    ValueError
        If torch has no such schedule, or its class refuses the arguments.
    """

    def __init__(self, options: TrainingOptions, optimizer: Any) -> None:
        self._options = options
        self._optimizer = optimizer
        self._shadow: Any = None
        if options.schedule not in SCHEDULES:
            self._shadow = make_optimizer(torch.nn.Linear(1, 1, device="cpu"), options)
            self._scheduler = _scheduler(options, self._shadow)

    def before_step(self, epoch: int, step: int) -> None:
        """Set the learning rate of a step; epochs and steps count from 1."""
        options = self._options
        warm = min(1.0, step / options.warmup_steps) if options.warmup_steps else 1.0
        for group in self._optimizer.param_groups:
            if self._shadow is None:
                group["lr"] = options.rate(epoch)
            else:
                group |= {name: self._shadow.param_groups[0][name] for name in _COPIED}
            group["lr"] *= warm

    def after_step(self) -> None:
        """Let a schedule of torch go on, if it changes with each step."""
        if self._shadow is not None and self._options.schedule_each == "step":
            self._advance()

    def after_epoch(self, value: float | None) -> None:
        """Let a schedule of torch go on after an epoch; one may wait for the monitored figure.

        Parameters
        ----------
        value : float or None
            Figure that selects the best weights; None if the epoch has none.
        """
        if self._shadow is None or self._options.schedule_each == "step":
            return
        if not isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            self._advance()
        elif value is not None:
            self._advance(value)

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a schedule of torch; nothing for other schedules."""
        if self._shadow is None:
            return {}
        group = self._shadow.param_groups[0]
        return {
            "scheduler": self._scheduler.state_dict(),
            "optimizer": {name: group[name] for name in _COPIED},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`.

        Raises
        ------
        KeyError, TypeError
            If it is none.
        """
        if self._shadow is None:
            return
        own = self.state_dict()
        for part, known in own.items():
            for name, value in known.items():  # torch would take any attribute of any type
                if not _alike(state[part][name], value):
                    raise TypeError(f"{name} of the schedule is {state[part][name]!r:.80}")
        scheduler = {name: state["scheduler"][name] for name in own["scheduler"]}
        self._scheduler.load_state_dict(scheduler)
        self._shadow.param_groups[0].update({n: state["optimizer"][n] for n in _COPIED})

    def _advance(self, *value: float) -> None:
        try:
            _step(self._shadow, self._scheduler, *value)
        except ValueError as error:
            raise ArgumentError(
                "schedule_arguments",
                f"must let {self._options.schedule} last for the whole training",
                advice=brief(error),
            ) from None


def _alike(value: Any, known: Any) -> bool:
    """True for values of one type, where numbers are one type, and for lists of as many."""
    numbers = (int, float)
    if isinstance(known, numbers) or known is None:
        return value is None or isinstance(value, numbers)
    if isinstance(known, (list, tuple)):
        return type(value) is type(known) and len(value) == len(known)
    return type(value) is type(known)


def check_schedule(options: TrainingOptions, prefix: str = "") -> None:
    """Refuse a schedule that torch lacks, or that fails with its arguments.

    The schedule takes one step on an optimizer of its own: torch checks few arguments before.

    Parameters
    ----------
    options : TrainingOptions
    prefix : str
        Text before the names of options in messages, such as "autoencoder_".

    Raises
    ------
    ValueError
        The message names the option.
    """
    if options.schedule in SCHEDULES:
        return
    try:
        optimizer = make_optimizer(torch.nn.Linear(1, 1, device="cpu"), options)
        scheduler = _scheduler(options, optimizer)
        value = (0.0,) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else ()
        try:
            _step(optimizer, scheduler, *value)
        except Exception as error:  # arithmetic of any kind with arguments of any type
            raise _refusal(options, error) from None
    except ArgumentError as error:
        names = tuple(f"{prefix}{name}" for name in error.names)
        raise ArgumentError(names, error.rule, error.got, error.advice) from None


def _step(optimizer: Any, scheduler: Any, *value: float) -> None:
    optimizer.step()  # without gradients, and so without effect: torch wants the order
    scheduler.step(*value)


def _scheduler(options: TrainingOptions, optimizer: Any) -> Any:
    kind = getattr(lr_scheduler, options.schedule, None)
    bases = (lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau)
    whole = options.schedule not in ("LRScheduler", "_LRScheduler")  # bases without a schedule
    if not (whole and isinstance(kind, type) and issubclass(kind, bases)):
        raise ArgumentError(
            "schedule",
            f"must be one of {', '.join(SCHEDULES)}, or a class of torch.optim.lr_scheduler",
            repr(options.schedule),
        )
    try:
        return kind(optimizer, **options.schedule_arguments)
    except Exception as error:  # torch computes with the arguments, of any type, at once
        raise _refusal(options, error) from None


def _refusal(options: TrainingOptions, error: Exception) -> ArgumentError:
    return ArgumentError(
        "schedule_arguments",
        f"must be arguments of torch's {options.schedule} in JSON types",
        brief(repr(options.schedule_arguments)),
        brief(error),
    )

"""TrainingOptions, checked by name, the metric of early stopping, and the result of a training.

Not here: the model's architecture (`models`), pairs (`pairs`) and images (`data`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from gtn_label.checks import as_bool, as_integer, as_number, check_seed
from gtn_label.errors import ArgumentError, ArgumentTypeError

from ..files import is_number

__all__ = [
    *("ACCELERATORS", "OPTIMIZERS", "PRECISIONS", "SCHEDULES"),
    *("Metric", "TrainingOptions", "TrainingResult"),
]

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
SCHEDULES = ("exponential", "linear", "cosine")
OPTIMIZERS = ("adam", "adamw")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
MOST_THREADS = 1024  # torch crashes where the system has no room for as many as it is asked for

# Options that set where and how fast a run computes. A run may be resumed with other values: the
# result is the same within rounding.
COMPUTING = (
    *("accelerator", "devices", "threads", "checkpoint_every_epochs"),
    *("checkpoint_every_seconds", "keep_last"),
)


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training: Adam on minibatches until nothing improves.

    Parameters
    ----------
    batch_size : int
        Rows in a step, over all processes together.
    learning_rate : float
        Learning rate of Adam, > 0.
    max_epochs : int
    weight_decay : float
        L2 penalty of Adam, or decay of AdamW, >= 0.
    learning_rate_decay : float
        Factor on the learning rate after each epoch, in (0, 1].
    patience : int, optional
        Stop after this many evaluations in a row without improvement; None for never.
    seed : int
        Random seed of the order of rows and of all noise; the weights come with the model.
    precision : {"32-true", "bf16-mixed", "16-mixed"}
        As Lightning Fabric names them. "16-mixed" needs a GPU.
    accelerator : {"auto", "cpu", "cuda", "mps"}
    devices : int
        Processes on each machine, one per device. For more than one, start the program by torchrun.
    threads : int, optional
        CPU threads of torch during training, at most 1024; None for torch's own setting. A small
        network is fastest with 1, by far if other programs use the CPU too. Another number may
        change the last bits.
    checkpoint_every_epochs : int
        Epochs between checkpoints. A resumed run repeats the epochs after the last one.
    schedule : str
        "exponential": `learning_rate_decay` after each epoch; the others need a decay of 1.
        "linear": the learning rate falls by the same amount after each epoch, and would be 0 after
        the last. "cosine": it falls along half a cosine to the same end. Or a class of
        torch.optim.lr_scheduler, such as "OneCycleLR".
    ema : float
        Decay of an exponential moving average of the weights (EMA), in [0, 1); 0 for none. The
        average is evaluated and kept in place of the weights. After t steps its decay is at most
        (1 + t) / (10 + t).
    ema_labels : bool
        Let the labels of `DriftingPairs` follow the average in place of the weights.
    optimizer : {"adam", "adamw"}
        "adamw" decays weights apart from the gradient.
    clip_norm : float, optional
        Largest norm of the gradient of all weights together, > 0; longer ones are scaled to it.
    warmup_steps : int
        Number of steps over which the learning rate rises evenly to that of the schedule.
    schedule_arguments : dict
        Arguments of a schedule of torch, in JSON types.
    schedule_each : {"epoch", "step"}
        When a schedule of torch goes on. `ReduceLROnPlateau` sees the figure that selects the best
        weights, or the training loss if there is none.
    checkpoint_every_seconds : float, optional
        Least time between two checkpoints; None: twenty times as long as the last one took.
    keep_last : bool
        Keep the state of the last epoch beside the weights, about four times as large, so that the
        run can be continued to more epochs.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid; the message names it.

    Examples
    --------
    >>> TrainingOptions(batch_size=128, learning_rate=1e-3, max_epochs=100, patience=3).seed
    0
    """

    batch_size: int
    learning_rate: float
    max_epochs: int
    weight_decay: float = 0.0
    learning_rate_decay: float = 1.0
    patience: int | None = None
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    threads: int | None = None
    checkpoint_every_epochs: int = 1
    schedule: str = "exponential"
    ema: float = 0.0
    ema_labels: bool = False
    optimizer: str = "adam"
    clip_norm: float | None = None
    warmup_steps: int = 0
    schedule_arguments: dict[str, Any] = field(default_factory=dict)
    schedule_each: str = "epoch"
    checkpoint_every_seconds: float | None = None
    keep_last: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_epochs", "devices", "checkpoint_every_epochs"):
            as_integer(getattr(self, name), name, 1)
        for name in ("patience", "threads"):
            if getattr(self, name) is not None:
                as_integer(getattr(self, name), name, 1)
        if self.threads is not None and self.threads > MOST_THREADS:
            raise ArgumentError("threads", f"must be <= {MOST_THREADS}", str(self.threads))
        check_seed(self.seed)
        if not _number(self.learning_rate, "learning_rate") > 0:
            raise ArgumentError("learning_rate", "must be > 0", repr(self.learning_rate))
        if not _number(self.weight_decay, "weight_decay") >= 0:
            raise ArgumentError("weight_decay", "must be >= 0", repr(self.weight_decay))
        if not 0 < _number(self.learning_rate_decay, "learning_rate_decay") <= 1:
            raise ArgumentError(
                "learning_rate_decay", "must be in (0, 1]", repr(self.learning_rate_decay)
            )
        if not 0 <= _number(self.ema, "ema") < 1:
            raise ArgumentError("ema", "must be in [0, 1)", repr(self.ema))
        if as_bool(self.ema_labels, "ema_labels") and not self.ema:
            raise ArgumentError("ema_labels", "needs {ema} above 0", "0")
        for name, known in (
            ("precision", PRECISIONS),
            ("accelerator", ACCELERATORS),
            ("optimizer", OPTIMIZERS),
            ("schedule_each", ("epoch", "step")),
        ):
            if getattr(self, name) not in known:
                listed = ", ".join(repr(value) for value in known)
                raise ArgumentError(name, f"must be one of {listed}", repr(getattr(self, name)))
        if self.clip_norm is not None and not _number(self.clip_norm, "clip_norm") > 0:
            raise ArgumentError("clip_norm", "must be > 0", repr(self.clip_norm))
        as_integer(self.warmup_steps, "warmup_steps", 0)
        if self.checkpoint_every_seconds is not None:
            as_number(self.checkpoint_every_seconds, "checkpoint_every_seconds", 0.0)
        as_bool(self.keep_last, "keep_last")
        self._check_schedule()

    def _check_schedule(self) -> None:
        own = self.schedule in SCHEDULES
        # torch, which knows its classes, is not imported here (optimizers.py).
        if not own and not (isinstance(self.schedule, str) and self.schedule[:1].isupper()):
            listed = ", ".join(repr(value) for value in SCHEDULES)
            raise ArgumentError(
                "schedule",
                f"must be one of {listed}, or a class of torch.optim.lr_scheduler",
                repr(self.schedule),
            )
        if not isinstance(self.schedule_arguments, dict):
            raise ArgumentTypeError(
                "schedule_arguments", "must be a dict", repr(self.schedule_arguments)
            )
        for name, plain in (("schedule_arguments", {}), ("schedule_each", "epoch")):
            if own and getattr(self, name) != plain:
                raise ArgumentError(
                    name, "needs a {schedule} of torch.optim.lr_scheduler", repr(self.schedule)
                )
        if self.schedule == "ReduceLROnPlateau" and self.schedule_each != "epoch":
            raise ArgumentError(
                "schedule_each",
                "must be 'epoch' with {schedule} ReduceLROnPlateau, which waits for a figure of "
                "an epoch",
                repr(self.schedule_each),
            )
        if self.schedule != "exponential" and self.learning_rate_decay != 1:
            raise ArgumentError(
                "learning_rate_decay",
                f"must be 1 with {{schedule}} {self.schedule!r}",
                repr(self.learning_rate_decay),
            )

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, from 1, by a schedule that is not torch's, after warm-up.

        Examples
        --------
        >>> TrainingOptions(128, 1e-3, max_epochs=4, schedule="linear").rate(4)
        0.00025
        """
        if self.schedule == "linear":
            return self.learning_rate * (1 - (epoch - 1) / self.max_epochs)
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / self.max_epochs)) / 2
        return self.learning_rate * self.learning_rate_decay ** (epoch - 1)

    def config(self) -> dict[str, Any]:
        """All options, in JSON types; runs of versions that lacked one stay valid."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _LATER or value != _LATER[name]
        }

    def deciding(self) -> dict[str, Any]:
        """Options that decide the result: all except those of place and speed."""
        return {name: value for name, value in self.config().items() if name not in COMPUTING}


# Options that earlier versions lacked, with the value that stands for what those did.
_LATER: dict[str, Any] = {
    **{"schedule": "exponential", "schedule_arguments": {}, "schedule_each": "epoch"},
    **{"ema": 0.0, "ema_labels": False, "optimizer": "adam", "clip_norm": None, "warmup_steps": 0},
    **{"checkpoint_every_seconds": None, "keep_last": True},
}


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentTypeError(name, "must be a number", f"{type(value).__name__} {value!r}")
    if not is_number(value):
        raise ArgumentError(name, "must be finite", repr(value))
    return value


@dataclass(frozen=True)
class Metric:
    """A figure that selects the best weights, in place of the validation loss.

    Parameters
    ----------
    name : str
        Name in metrics.jsonl and in the result.
    function : callable (model) -> float
        Called with the model in evaluation mode, without gradients and with torch's generator
        seeded; by one process only.
    larger_is_better : bool
    every : int
        Epochs between evaluations; `patience` counts evaluations. The last epoch is evaluated too.
    about : dict, optional
        Everything else that decides the values, in JSON types. Another `about` makes another run.

    Examples
    --------
    >>> Metric("norm", lambda model: 1.0, larger_is_better=False).every
    1
    """

    name: str
    function: Callable[[Any], float]
    larger_is_better: bool
    every: int = 1
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or self.name in _RESERVED:
            raise ValueError(
                f"metric name must be a word other than {', '.join(_RESERVED)}, got {self.name!r}"
            )
        if not callable(self.function):
            raise TypeError(f"metric function must be callable, got {self.function!r}")
        if not isinstance(self.larger_is_better, bool):
            raise TypeError(
                f"metric larger_is_better must be a bool, got {self.larger_is_better!r}"
            )
        as_integer(self.every, "metric every", 1)

    def measure(self, model: Any) -> float:
        """Call the function.

        Raises
        ------
        TypeError
            If the function returns no number.
        """
        found: Any = self.function(model)
        try:
            if isinstance(found, str):
                raise TypeError
            return float(found)
        except (TypeError, ValueError, RuntimeError):  # the last: a tensor of many numbers
            raise TypeError(
                f"metric {self.name!r} must give a number, got {type(found).__name__}"
            ) from None

    def config(self) -> dict[str, Any]:
        """Entries that a resumed run must have in common, in JSON types; not the function."""
        return {
            "name": self.name,
            "larger_is_better": self.larger_is_better,
            "every": self.every,
            **self.about,
        }


# The other entries in a line of metrics.jsonl.
_RESERVED = ("epoch", "train_loss", "validation_loss", "seconds", "round", "labels", "stopped")


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run, resumed parts included.

    Attributes
    ----------
    epochs : int
        Number of epochs trained.
    best_epoch : int
        Epoch of the weights that the model holds now; the last one if nothing was evaluated.
    best_value : float
        Best metric, else best validation loss, else training loss of the last epoch.
    history : list of dict
        The lines of metrics.jsonl.
    seconds : float
        Seconds of all epochs.
    stopped : {"patience", "callback", "max_epochs"}
        Reason of the end.
    """

    epochs: int
    best_epoch: int
    best_value: float
    history: list[dict[str, Any]]
    seconds: float
    stopped: str

"""Callbacks and loggers: a user's own code within a training, and where its figures go.

Both are called on process 0 alone. Not here: TensorBoard's files and the bar (progress.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gtn_label.checks import as_integer
from gtn_label.errors import ArgumentError, ArgumentTypeError

__all__ = ["Callback", "Callbacks", "ImageGrid", "Logger", "Training", "check_hooks"]


@runtime_checkable
class Logger(Protocol):
    """A place for a training's figures and images; any object with these two methods.

    The caller opens it and closes it.

    Examples
    --------
    For Weights and Biases, with `wandb.init()` before the training:

    >>> class Wandb:
    ...     def log(self, figures, epoch):
    ...         wandb.log(figures, step=epoch)
    ...     def log_image(self, name, image, epoch):
    ...         wandb.log({name: wandb.Image(image)}, step=epoch)
    """

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """Take the figures of an epoch: losses, the metric, and "learning_rate"."""

    def log_image(self, name: str, image: NDArray[np.uint8], epoch: int) -> None:
        """Take an image, uint8 [height, width, 3]."""


class Training:
    """A running training, as a callback sees it.

    Attributes
    ----------
    stage : str
        "autoencoder" or "generator".
    model : torch.nn.Module
        The model as it is evaluated: the average of the weights if there is one. A callback must
        not change it.
    folder : path
        The training's folder.
    epoch : int
        Number of epochs that are complete.
    max_epochs : int
    loggers : tuple of Logger
    stopped : bool
        True once a callback has called `stop`.
    """

    def __init__(
        self, stage: str, model: Any, folder: Path, max_epochs: int, loggers: Iterable[Logger]
    ) -> None:
        self.stage, self.model, self.folder = stage, model, folder
        self.epoch, self.max_epochs = 0, max_epochs
        self.loggers = tuple(loggers)
        self.stopped = False

    def log(self, figures: Mapping[str, float]) -> None:
        """Send figures of this epoch to all loggers."""
        for logger in self.loggers:
            logger.log(figures, self.epoch)

    def log_image(self, name: str, image: NDArray[np.uint8]) -> None:
        """Send an image, uint8 [height, width, 3], to all loggers."""
        for logger in self.loggers:
            logger.log_image(name, image, self.epoch)

    def stop(self) -> None:
        """End the training after this epoch; the best weights so far are kept."""
        self.stopped = True


class Callback:
    """Base class of callbacks, whose methods do nothing.

    They may draw random numbers: training has seeds of its own. A callback that decides something
    from more than the current epoch must keep that in its state, so that a resumed run goes on as
    the interrupted one would have.

    Examples
    --------
    >>> class StopAt(Callback):
    ...     def epoch_end(self, training, figures):
    ...         if figures["train_loss"] < 0.1:
    ...             training.stop()
    """

    def start(self, training: Training) -> None:
        """Called before the first epoch of this process, resumed or not."""

    def epoch_end(self, training: Training, figures: Mapping[str, Any]) -> None:
        """Called after each epoch, before its checkpoint.

        Parameters
        ----------
        training : Training
        figures : mapping
            The epoch's line of metrics.jsonl.
        """

    def end(self, training: Training) -> None:
        """Called when the training has ended; the model holds the weights that are kept."""

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: tensors, numbers, strings, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""


class ImageGrid(Callback):
    """Sends a picture of what the model can do to the loggers, such as a sheet of samples.

    Parameters
    ----------
    name : str
    draw : callable (model) -> uint8 [height, width, 3]
    every : int
        Epochs between two pictures. The first epoch has one too.

    Raises
    ------
    TypeError, ValueError
        After an epoch, if the picture has another shape or dtype.

    Examples
    --------
    >>> grid = ImageGrid("black", lambda model: np.zeros((8, 8, 3), np.uint8), every=5)
    """

    def __init__(self, name: str, draw: Callable[[Any], NDArray[np.uint8]], every: int = 1) -> None:
        self.name, self.draw = name, draw
        self.every = as_integer(every, "every", 1)

    def epoch_end(self, training: Training, figures: Mapping[str, Any]) -> None:
        """Draw and send the picture, if any logger wants it."""
        if training.loggers and (training.epoch == 1 or training.epoch % self.every == 0):
            picture = self.draw(training.model)
            _check_picture(self.name, picture)
            training.log_image(self.name, picture)


def _check_picture(name: str, picture: Any) -> None:
    rule = f"of the picture {name!r} must give uint8 [height, width, 3]"
    if not isinstance(picture, np.ndarray):
        raise ArgumentTypeError("draw", rule, type(picture).__name__)
    if picture.dtype != np.uint8:
        raise ArgumentTypeError("draw", rule, str(picture.dtype))
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ArgumentError("draw", rule, f"shape {picture.shape}")


class Callbacks:
    """All callbacks of a training, and their states by class and place."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._named: dict[str, Callback] = {}
        for callback in callbacks:
            kind = type(callback).__qualname__
            same = sum(type(other).__qualname__ == kind for other in self._named.values())
            self._named[f"{kind} {same + 1}"] = callback

    def __iter__(self) -> Any:
        return iter(self._named.values())

    def state_dict(self) -> dict[str, Any]:
        """States that are not empty, by name."""
        states = {name: callback.state_dict() for name, callback in self._named.items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Restore the states of those that are still there; a logging one may be left out."""
        for name, callback in self._named.items():
            if name in states:
                callback.load_state_dict(states[name])


def check_hooks(callbacks: Any, loggers: Any) -> None:
    """Refuse what is no sequence of callbacks, or of loggers.

    Raises
    ------
    TypeError
        The message names the argument.
    """
    for name, values, kind in (("callbacks", callbacks, Callback), ("loggers", loggers, Logger)):
        if not isinstance(values, Sequence):
            raise ArgumentTypeError(name, "must be a list", type(values).__name__)
        for value in values:
            if not isinstance(value, kind):
                needs = "log and log_image" if kind is Logger else "the base class Callback"
                raise ArgumentTypeError(name, f"must have {needs}", type(value).__name__)

"""The checkpoint of an auction over many ranks: rank 0 has the file, and all ranks the state.

The state is the same on every rank, so that any number of ranks can continue it. The file is that
of one machine's auction (io/checkpoint.py), with the fingerprints of rows that are dealt to ranks.
The engine compares a hash of all choices in each exchange. A state that is saved on the way waits
for the next exchange, so that a rank with faulty memory spoils no file. A run that is stopped saves
its last state at once, which nothing has compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from ..checks import as_path
from ..io.checkpoint import SCHEDULE, SHARDED, Checkpoint
from ..io.checkpoint_content import AuctionContent, rounds_of
from ..io.checkpoint_file import FORMAT
from ..optimal import kept
from .exchange import Exchange, gather, hand_out, settle, together
from .search import Counted

__all__ = ["AuctionFile", "as_checkpoint", "auction_fields"]

_ARRAYS = {
    "auction": np.int64,
    "holds": np.int64,
    "price": np.int64,
    "prices": np.float64,
    "gap": np.float64,
}


def as_checkpoint(value: Any, name: str = "journal") -> Checkpoint | None:
    """Return a path as a Checkpoint that stays until its run has the output.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If the value is no path.
    """
    if value is None or isinstance(value, Checkpoint):
        return value
    return Checkpoint(as_path(value, name), words={"checkpoint": name}, remove_at_end=False)


def auction_fields(
    fingerprints: Mapping[str, str], *, seed: int | None, **options: Any
) -> dict[str, Any]:
    """Describe a run by everything that its result depends on.

    Parameters
    ----------
    fingerprints
        Of "latents" and "sources", and of "source_groups" and "latent_groups" if there are groups.
    seed : int or None
        None if the sources were given.
    **options
        Options that decide the pairs.
    """
    options |= {"seed": seed}
    names = ("latents", "sources", "source_groups", "latent_groups")
    return {
        "format": FORMAT,
        "method": SHARDED,
        "contract": SCHEDULE,
        **{f"--{name}": value for name, value in options.items()},
        **{name: fingerprints.get(name) for name in names},
    }


_DIFFER = "ranks must choose alike"  # in the engine's error, here or on a rank that has left
_STATE = "auction "  # of a state that no run has reached
_ALIKE = (_STATE, "prices left their range")  # what all ranks raise, as they have the same state


class _Content(AuctionContent):
    """The state of now, or the one that waits for the next exchange."""

    waits: dict[str, npt.NDArray[Any]] | None = None

    def arrays(self, reported: int) -> Mapping[str, npt.NDArray[Any]]:
        """Return what is to be saved."""
        return super().arrays(reported) if self.waits is None else self.waits


class AuctionFile:
    """The state of one auction on a rank, and its file on rank 0.

    Parameters
    ----------
    exchange : Exchange
    checkpoint : Checkpoint or None
        On all ranks or on none; rank 0 uses the file.
    n : int
        Number of sources.

    Attributes
    ----------
    state : _core.OptimalState
        What the engine takes, as `exchange`.
    exchange : Counted
    resumed_at : int
        Rounds that an earlier run had behind it.
    """

    def __init__(self, exchange: Exchange, checkpoint: Checkpoint | None, n: int) -> None:
        self._exchange, self.exchange = exchange, Counted(exchange)
        self._checkpoint = checkpoint if exchange.rank == 0 else None
        self._shared = checkpoint is not None
        self.state = _core.OptimalState(keeps=self._checkpoint is not None)
        self._content = _Content(self.state, n)
        self._compared = 0  # exchanges after which a state that waits may be saved
        self.resumed_at = 0

    def begin(self, fields: dict[str, Any]) -> None:
        """Read the file, if there is one, and hand its state to all ranks. A collective call.

        Raises
        ------
        ValueError, OSError
            On all ranks, if the file is of no use.
        """
        if not self._shared:
            return
        try:
            with together(self._exchange):
                if self._checkpoint is not None:
                    self._checkpoint.begin(fields, self._content)
            self._hand_out()
        except BaseException:
            if self._checkpoint is not None:
                self._checkpoint.release()
            raise

    def _hand_out(self) -> None:
        """Give all ranks the state that rank 0 has read."""
        arrays: dict[str, npt.NDArray[Any]] = dict(self._content.resumed or {})
        own = [len(arrays[name]) if name in arrays else -1 for name in _ARRAYS]
        lengths = gather(self._exchange, np.array(own))[0].tolist()
        if lengths[0] < 0:
            return
        for (name, dtype), length in zip(_ARRAYS.items(), lengths, strict=True):
            array = np.empty(length, dtype)
            if name in arrays:
                array[:] = arrays[name]
            hand_out(self._exchange, array)
            arrays[name] = array
        self.resumed_at = rounds_of(arrays)
        if self._checkpoint is None:
            self.state.resume(arrays)

    def poll(self, placed: int) -> None:
        """Save if it is time; called between two rounds."""
        checkpoint, content = self._checkpoint, self._content
        if checkpoint is None:
            return
        if content.waits is None:
            if checkpoint.is_due(self.state.steps):
                content.waits, self._compared = self.state.arrays(), self.exchange.count + 1
        elif self.exchange.count >= self._compared:
            checkpoint.try_to_save()
            content.waits = None

    @contextmanager
    def running(self, check: Callable[[], None] | None) -> Iterator[None]:
        """Save at the end of the run, also where an exception ends it."""
        try:
            with kept(self._checkpoint, check), self._agreed():
                yield
        except BaseException as error:
            if self._checkpoint is not None:
                self._checkpoint.release()
            if isinstance(error, (ValueError, RuntimeError)) and str(error).startswith(_ALIKE):
                settle(self._exchange, self._in_words(error))
            raise
        if self._checkpoint is not None:
            self._checkpoint.try_to_save()

    @contextmanager
    def _agreed(self) -> Iterator[None]:
        """Leave the file as it is if the ranks differ: nobody knows which of them is right."""
        try:
            yield
        except RuntimeError as error:
            if self._checkpoint is not None and _DIFFER in str(error):
                self._checkpoint.keep()
            raise
        finally:
            self._content.waits = None

    def _in_words(self, error: Exception) -> Exception:
        """Name the file in the engine's refusal of a state."""
        rule = str(error).removeprefix(_STATE)
        if self._checkpoint is None or rule == str(error):
            return error
        return self._checkpoint.refusal(rule)

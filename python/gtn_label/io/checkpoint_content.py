"""Hold the arrays of a checkpoint: the decided prefix of Algorithm 1, or the state of an auction.

checkpoint.py writes, signs and compares the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .. import _core

__all__ = ["AuctionContent", "Content", "PrefixContent", "kind_of", "progress_of", "rounds_of"]

Arrays = Mapping[str, NDArray[Any]]


class Content(Protocol):
    """The state of one run, as arrays."""

    kind: str  # in words
    total: int  # number of sources
    continued_at: int  # sources that were decided, or rounds that were over

    def restore(self, arrays: Arrays) -> int:
        """Take over a file's arrays and return their progress; ValueError names what is wrong."""

    def reached(self, reported: int) -> int:
        """Return the progress of `arrays`, which grows; `reported` is that of the last poll."""

    def whole(self) -> int:
        """Return the progress of a run at its end."""

    def arrays(self, reported: int) -> Arrays:
        """Return what is to be saved."""

    def roll_back(self) -> None:
        """Return to what `restore` took over."""

    def decided(self, progress: int) -> bool:
        """Return True if some source has a latent."""

    def described(self, progress: int) -> str:
        """Say in a message how far a run has come."""


class PrefixContent:
    """`visited`: the latent taken by each source in visiting order, as far as decided.

    Parameters
    ----------
    visited : int64 [n]
        The array that the run fills.
    m
        Number of latents.
    """

    kind = "Algorithm 1"

    def __init__(self, visited: NDArray[np.int64], m: int) -> None:
        self._visited, self._m = visited, m
        self.total = len(visited)
        self.continued_at = 0

    def restore(self, arrays: Arrays) -> int:
        """Fill the start of `visited`."""
        prefix = arrays["visited"]
        done = len(prefix) if prefix.ndim == 1 else -1
        if (
            prefix.dtype != np.int64
            or not 0 <= done <= len(self._visited)
            or (done and not 0 <= prefix.min() <= prefix.max() < self._m)
        ):
            raise ValueError("its rows are no latents")
        self._visited[:done] = prefix
        self.continued_at = done
        return done

    def reached(self, reported: int) -> int:
        """Return the number of sources decided, as reported."""
        return reported

    def whole(self) -> int:
        """Return the number of sources."""
        return self.total

    def arrays(self, reported: int) -> Arrays:
        """Return the decided sources."""
        return {"visited": self._visited[:reported]}

    def roll_back(self) -> None:
        """Do nothing: entries of the earlier run are as they were."""

    def decided(self, progress: int) -> bool:
        """Return True if some source has a latent."""
        return progress > 0

    def described(self, progress: int) -> str:
        """Count the sources."""
        return f"at {progress:,} of {self.total:,} sources"


class AuctionContent:
    """Prices, owners and counts of an auction between two rounds.

    Parameters
    ----------
    state : _core.OptimalState
        Of the run that begins.
    n
        Number of sources.

    Attributes
    ----------
    resumed : mapping or None
        The arrays of the file that the run continues from.
    """

    kind = "optimal transport"

    def __init__(self, state: _core.OptimalState, n: int) -> None:
        self._state = state
        self.resumed: Arrays | None = None
        self._rolled_back = False
        self.total = n
        self.continued_at = 0

    def restore(self, arrays: Arrays) -> int:
        """Hand the arrays to the engine, which checks them against the input."""
        self._state.resume(dict(arrays))
        self.resumed = arrays
        self.continued_at = rounds_of(arrays)
        return self._state.steps

    def reached(self, reported: int) -> int:
        """Return the number of rounds, phases and groups so far."""
        return self._state.steps

    def whole(self) -> int:
        """Return the same: the state of a run that has ended is its last one."""
        return self._state.steps

    def arrays(self, reported: int) -> Arrays:
        """Return the state of now, which is whole in every poll."""
        if self._rolled_back and self.resumed is not None:
            return self.resumed
        return self._state.arrays()

    def roll_back(self) -> None:
        """Save what `restore` took over, from now on."""
        self._rolled_back = True

    def begin_again(self, state: _core.OptimalState) -> None:
        """Follow another run, which begins with what `restore` took over."""
        if self.resumed is not None:
            state.resume(dict(self.resumed))
        self._state, self._rolled_back = state, False

    def decided(self, progress: int) -> bool:
        """Return True if some source has a latent; in the first search none has."""
        return bool((self.arrays(progress)["holds"] >= 0).any())

    def described(self, progress: int) -> str:
        """Count the rounds."""
        return f"after {rounds_of(self.arrays(progress)):,} rounds of bids"


def kind_of(arrays: Arrays) -> str:
    """Name in words what a file's arrays belong to; nothing for no checkpoint."""
    kinds = {"visited": PrefixContent.kind, "auction": AuctionContent.kind}
    return next((kind for name, kind in kinds.items() if name in arrays), "")


def progress_of(arrays: Arrays) -> int:
    """Return the progress of a file, in the unit of `Content.reached`."""
    if "auction" in arrays:
        groups, phases, rounds = arrays["auction"][:3].tolist()
        return int(groups + phases + rounds)
    return len(arrays["visited"])


def rounds_of(arrays: Arrays) -> int:
    """Return the number of rounds in the state of an auction."""
    return int(arrays["auction"][2])

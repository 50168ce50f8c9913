"""Checkpoints: the decided part of a long run, and the fingerprint of that run.

A checkpoint is a .npz file of the decided prefix (`visited`: the latent taken by each source in
visiting order) and a fingerprint of everything that decides the result. Threads, memory, backend
and output are no part of it: they may change when a run is continued. The engine checks the prefix
once more.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.convert import sha256
from ..arrays.row_blocks import RowsLike, StrPath
from .atomic import check_target
from .npy import read_npz, write_npz

if TYPE_CHECKING:
    from ..backend.faiss_approx import Approx

__all__ = ["CONTRACT", "Checkpoint", "fingerprint"]

CONTRACT = 1  # version of the numeric contract: a prefix decided under another one is no prefix
FORMAT = "gtn-label checkpoint"
EVERY = 30.0  # seconds between two saves
_TAIL_BYTES = 1 << 16  # the end of a file, which holds the meta and the zip directory

_ARRAYS = ("latents", "sources", "source_groups", "latent_groups")


def fingerprint(
    latents: RowsLike,
    sources: RowsLike,
    groups: tuple[RowsLike, RowsLike] | None,
    *,
    seed: int | None,
    approx: Approx | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Describe a run by everything that its result depends on.

    Parameters
    ----------
    latents : [m, dim]
    sources : [n, dim]
        As given, or as drawn: hashed in both cases, so that nothing hangs on the generator.
    groups : (source labels [n], latent labels [m]) or None
        As given, since their dtype is part of the hash.
    seed : int or None
        None if the sources were given.
    approx : Approx or None
        Options of an approximate search; None for an exact one.
    **options
        Options of `match` that decide the pairs.

    Returns
    -------
    dict
        Values of JSON types. Options have the names of the command ("--cone").
    """
    options |= {
        "seed": seed,
        "approx": getattr(approx, "index", None),
        "nprobe": getattr(approx, "nprobe", None),
        "parameters": getattr(approx, "parameters", None),
    }
    arrays = (latents, sources, *(groups or (None, None)))
    return {
        "format": FORMAT,
        "contract": CONTRACT,
        **{f"--{name}": value for name, value in options.items()},
        **{
            name: None if array is None else sha256(array)
            for name, array in zip(_ARRAYS, arrays, strict=True)
        },
    }


class Checkpoint:
    """The checkpoint file of one run.

    Parameters
    ----------
    path
        The file.
    every
        Seconds between two saves.
    warn
        Called once with a message when a save on the way fails, and the run goes on. By default
        the message is a RuntimeWarning.
    words
        Spelling of arguments in messages, by name in Python; by default the name itself.
    remove_at_end
        Delete the file when the matching ends. False leaves that to the caller, who has the pairs
        still to write.

    Attributes
    ----------
    done : int
        Number of sources decided, as last reported.
    total : int or None
        Number of sources; None until the run has begun.
    resumed_at : int
        Number of sources that an earlier run decided.
    """

    def __init__(
        self,
        path: StrPath,
        every: float = EVERY,
        warn: Callable[[str], None] | None = None,
        words: Mapping[str, str] | None = None,
        remove_at_end: bool = True,
    ) -> None:
        self.path = Path(path)
        self.done = self.resumed_at = 0
        self.total: int | None = None
        self.remove_at_end = remove_at_end
        self._every = every
        self._warn = warn or _warn
        self._words = words or {}
        self._name = self._word("checkpoint")
        self._warned = False

    def open(self, fields: dict[str, Any], visited: NDArray[np.int64], m: int) -> int:
        """Begin a run: read the file, if there is one, into the start of `visited`.

        Parameters
        ----------
        fields
            The run's `fingerprint`.
        visited : int64 [n]
            The array that the run fills.
        m
            Number of latents.

        Returns
        -------
        int
            Number of sources that the file had decided.

        Raises
        ------
        ValueError
            If the file is damaged, no checkpoint, or belongs to a run with other input or options.
        OSError
            If the file cannot be read, or could not be written later.
        """
        check_target(self.path, self._name)
        self._fields, self._visited = fields, visited
        self.done = self._saved = self.resumed_at = self._read(m)
        self._saved_at = time.monotonic()
        self.total = len(visited)
        return self.done

    def _read(self, m: int) -> int:
        """Fill the start of `visited` from the file, and return the number of entries."""
        if not self.path.exists():
            return 0
        name = f"{self._name} '{self.path}'"
        try:
            arrays, fields = read_npz(self.path, name=self._name)
        except (ValueError, TypeError) as error:
            if _was_ours(self.path):
                raise ValueError(f"{error}; delete it to start over") from None
            arrays, fields = {}, {}
        if fields.get("format") != FORMAT or "visited" not in arrays:
            raise ValueError(f"{name} is not a checkpoint of gtn-label, and is left alone")
        differences = self._differences(fields)
        if differences:
            raise ValueError(
                f"{name} belongs to another run: {'; '.join(differences)}. Give that run's input "
                "and options to continue it, another file, or delete this one to start over"
            )
        prefix = arrays["visited"]
        done = len(prefix) if prefix.ndim == 1 else -1
        if (
            prefix.dtype != np.int64
            or not 0 <= done <= len(self._visited)
            or (done and not 0 <= prefix.min() <= prefix.max() < m)
        ):
            raise ValueError(f"{name} is damaged: its rows are no latents; delete it to start over")
        self._visited[:done] = prefix
        return done

    def refusal(self, rule: str) -> ValueError:
        """Return the error for a prefix that breaks a rule of the engine's."""
        return ValueError(f"{self._name} '{self.path}' {rule}; delete it to start over")

    def poll(self, done: int) -> None:
        """Note that `visited[:done]` is final, and save if it is time."""
        self.done = done
        if done == self._saved or time.monotonic() - self._saved_at < self._every:
            return
        try:
            self.save()
        except OSError as error:
            # Hours of work are not thrown away because a copy of them could not be made.
            if not self._warned:
                self._warn(
                    f"{self._name} '{self.path}' could not be written ({error.strerror or error}); "
                    "the run goes on without"
                )
            self._warned = True
        self._saved_at = time.monotonic()

    def save(self) -> None:
        """Write the decided sources, whole or not at all.

        Raises
        ------
        OSError
            If that fails. An earlier checkpoint is then as it was.
        """
        done = self.done
        write_npz(self.path, {"visited": self._visited[:done]}, self._fields)
        self._saved = done

    def stopped(self) -> None:
        """Save what a run decided that ends with an exception; a failure to save hides nothing."""
        if self.remove_at_end and self.done > self._saved:
            with contextlib.suppress(OSError):
                self.save()

    def ended(self) -> None:
        """Note that all sources are decided, and delete the file if that is left to the run."""
        self.done = len(self._visited)
        if self.remove_at_end:
            self.remove()

    def remove(self) -> bool:
        """Delete the file, and return True if there was one."""
        existed = self.path.exists()
        self.path.unlink(missing_ok=True)
        return existed

    def _differences(self, theirs: dict[str, Any]) -> list[str]:
        """Describe each difference between the file's fingerprint and this run's."""
        ours = self._fields
        if theirs.get("contract") != ours["contract"]:
            contract = theirs.get("contract")
            return [f"it follows numeric contract {contract}, this is {ours['contract']}"]
        found = []
        for entry in (entry for entry in ours if entry.startswith("--")):
            was, now = theirs.get(entry), ours[entry]
            if was != now:
                word = self._word(entry.removeprefix("--"))
                found.append(f"{word} was {_shown(was)} and is {_shown(now)}")
        for name in _ARRAYS:
            was, now = theirs.get(name), ours[name]
            # Other seeds mean other sources: one reason is enough.
            if was != now and not (name == "sources" and theirs.get("--seed") != ours["--seed"]):
                shown = f"the {name}" if name in ("latents", "sources") else self._word(name)
                found.append(f"{shown}: SHA-256 was {str(was)[:12]} and is {str(now)[:12]}")
        return found

    def _word(self, name: str) -> str:
        return self._words.get(name, name)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def _was_ours(path: Path) -> bool:
    """Tell by its two ends whether a damaged file was a checkpoint.

    Nobody is told to delete any other file: a path given by mistake can be the user's own data.
    """
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    # Our first member, right after its zip header; our meta, in the characters of NumPy.
    first = head[:4] == b"PK\3\4" and head[30:].startswith(b"visited.npy")
    return first or FORMAT.encode("utf-32-le") in tail


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)

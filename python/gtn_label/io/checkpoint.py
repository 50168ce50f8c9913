"""Checkpoints: what a long run has decided so far, and which run that is.

A checkpoint is a .npz file of the prefix decided (`visited`, the latent taken by each source in
visiting order) and of a fingerprint of everything that decides the result. Threads, memory, backend
and the output are no part of it: they may differ when a run is continued. When to save is decided
here; what the prefix means is the engine's business, which checks it once more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.convert import sha256
from .files import read_npz, write_npz

__all__ = ["CONTRACT", "Checkpoint", "fingerprint"]

CONTRACT = 1  # of the numeric contract: a prefix decided under another one is no prefix
FORMAT = "gtn-label checkpoint"
_TAIL_BYTES = 1 << 16  # in which the meta and the zip directory end a file

_OPTIONS = ("--order", "--cone", "--center", "--seed", "--approx", "--nprobe", "--parameters")
_ARRAYS = {
    "latents": "the latents",
    "sources": "the sources",
    "source_groups": "--source-groups",
    "latent_groups": "--latent-groups",
}


def fingerprint(
    latents: NDArray[Any],
    sources: NDArray[Any],
    groups: tuple[NDArray[Any], NDArray[Any]] | None,
    *,
    seed: int | None,
    order: str,
    cone: int,
    center: bool,
    approx: str | None = None,
    nprobe: int | None = None,
    parameters: str | None = None,
) -> dict[str, Any]:
    """Describe a run by everything its result depends on.

    Parameters
    ----------
    latents : [m, dim]
    sources : [n, dim]
        As given, or as drawn: hashed in both cases, so that nothing hangs on the generator.
    groups : (source labels [n], latent labels [m]) or None
    seed : int or None
        None if the sources were given.
    approx, nprobe, parameters
        Of an approximate search; None for an exact one.

    Returns
    -------
    dict
        Of JSON types.
    """
    return {
        "format": FORMAT,
        "contract": CONTRACT,
        "--order": order,
        "--cone": cone,
        "--center": center,
        "--seed": seed,
        "--approx": approx,
        "--nprobe": nprobe,
        "--parameters": parameters,
        "latents": sha256(latents),
        "sources": sha256(sources),
        "source_groups": None if groups is None else sha256(groups[0]),
        "latent_groups": None if groups is None else sha256(groups[1]),
    }


class Checkpoint:
    """One run's checkpoint file.

    Parameters
    ----------
    path
        The file.
    fields
        The run's `fingerprint`.
    visited : int64 [n]
        The array that the run fills.
    m
        Number of latents.
    every
        Seconds between saves.
    warn
        Called with a message, once, when a save on the way fails: the run goes on.

    Attributes
    ----------
    done : int
        Sources decided, as last heard of.
    """

    def __init__(
        self,
        path: Path,
        fields: dict[str, Any],
        visited: NDArray[np.int64],
        m: int,
        every: float,
        warn: Callable[[str], None],
    ) -> None:
        self.path = path
        self.done = 0
        self._fields = fields
        self._visited = visited
        self._m = m
        self._every = every
        self._warn = warn
        self._warned = False
        self._saved = 0  # of `done`, in the file
        self._saved_at = time.monotonic()

    def resume(self) -> int:
        """Read the file, if there is one, into the start of ``visited``; return how many it had.

        Raises
        ------
        ValueError
            If it is damaged, no checkpoint, or of a run with other input or options.
        OSError
            If it cannot be read.
        """
        if not self.path.exists():
            return 0
        name = f"--checkpoint '{self.path}'"
        try:
            arrays, fields = read_npz(self.path, name="--checkpoint")
        except (ValueError, TypeError) as error:
            if _was_ours(self.path):
                raise ValueError(f"{error}; delete it to start over") from None
            arrays, fields = {}, {}
        if fields.get("format") != FORMAT or "visited" not in arrays:
            raise ValueError(f"{name} is not a checkpoint of gtn-label, and is left alone")
        differences = _differences(fields, self._fields)
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
            or (done and not 0 <= prefix.min() <= prefix.max() < self._m)
        ):
            raise ValueError(f"{name} is damaged: its rows are no latents; delete it to start over")
        self._visited[:done] = prefix
        self.done = self._saved = done
        return done

    def poll(self, done: int) -> None:
        """Note that ``visited[:done]`` is final, and save if it is time."""
        self.done = done
        if done == self._saved or time.monotonic() - self._saved_at < self._every:
            return
        try:
            self.save()
        except OSError as error:
            # Hours of work are not thrown away because the copy of them could not be made.
            if not self._warned:
                self._warn(
                    f"--checkpoint '{self.path}' could not be written ({error.strerror or error}); "
                    "the run goes on without"
                )
            self._warned = True
        self._saved_at = time.monotonic()

    def save(self) -> None:
        """Write what has been decided, whole or not at all.

        Raises
        ------
        OSError
            If that fails. An earlier checkpoint is then as it was.
        """
        done = self.done
        write_npz(self.path, {"visited": self._visited[:done]}, self._fields)
        self._saved = done

    def remove(self) -> bool:
        """Delete the file; return whether there was one."""
        existed = self.path.exists()
        self.path.unlink(missing_ok=True)
        return existed


def _was_ours(path: Path) -> bool:
    """Whether a file that cannot be read bears the marks of a checkpoint at one of its ends.

    Only then may anyone be told to delete it: a path given by mistake can be the user's own data.
    """
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    # Our first member, right after its zip header; our meta, in the characters of NumPy.
    first = head[:4] == b"PK\3\4" and head[30:].startswith(b"visited.npy")
    return first or FORMAT.encode("utf-32-le") in tail


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Say in words what differs between two fingerprints."""
    if theirs.get("contract") != ours["contract"]:
        return [f"it follows numeric contract {theirs.get('contract')}, this is {ours['contract']}"]
    found = [
        f"{option} was {_shown(theirs.get(option))} and is {_shown(ours[option])}"
        for option in _OPTIONS
        if theirs.get(option) != ours[option]
    ]
    for field, words in _ARRAYS.items():
        was, now = theirs.get(field), ours[field]
        # Other seeds mean other sources: one reason is enough.
        if was != now and not (field == "sources" and theirs.get("--seed") != ours["--seed"]):
            found.append(f"{words}: SHA-256 was {str(was)[:12]} and is {str(now)[:12]}")
    return found


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)

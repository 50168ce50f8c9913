"""Checkpoints: the decided part of a long run, and the fingerprint of that run.

A checkpoint holds the run's state (checkpoint_content.py) and a fingerprint of everything that
decides the result. Threads, memory, backend and output are no part of it: they may change when a
run is continued. Algorithm 1 writes a journal (journal.py): a save appends the sources decided
since the last one. An auction writes a .npz file, whole each time.

A run locks its checkpoint from before it is read until it is removed or left. Each run signs the
file with an id of its own, and neither replaces nor removes a file that another run signed.

A resumed run must end with the pairs of an uninterrupted one, so that state is believed only if
its SHA-256 is right, which covers the fingerprint: that finds any change by accident or by hand. A
sample of the choices is made again for files of earlier versions, which have none (resumed.py). The
engine refuses a state that no run can have reached (a latent taken twice, or of another group).
Nothing but a second search can find a state whose author made it up and computed the hash anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.convert import sha256
from ..arrays.row_blocks import RowsLike, StrPath
from ..text import quoted, visible
from .atomic import telling
from .checkpoint_content import Content, PrefixContent, kind_of, progress_of
from .checkpoint_file import FORMAT, Saved, digest_of, read_saved, was_ours
from .claim import claim, identity
from .journal import Journal, sharded_kind
from .lock import FileLock
from .npy import write_npz
from .progress_words import (
    contract_difference,
    not_written,
    of_another_run,
    option_differences,
)

if TYPE_CHECKING:
    from ..backend.faiss_approx import Approx

__all__ = ["CONTRACT", "SCHEDULE", "SHARDED", "Checkpoint", "fingerprint"]

CONTRACT = 1  # version of the numeric contract: a prefix decided under another one is no prefix
SCHEDULE = 2  # version of the contract of optimal transport (docs/optimal.md)
SHARDED = "optimal sharded"  # method of an auction over many ranks, whose rows have fingerprints
EVERY = 30.0  # seconds between two saves

_ARRAYS = ("latents", "sources", "source_groups", "latent_groups")


def fingerprint(
    latents: RowsLike,
    sources: RowsLike,
    groups: tuple[RowsLike, RowsLike] | None,
    *,
    seed: int | None,
    approx: Approx | None = None,
    method: str | None = None,
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
    method : str or None
        "optimal" for `match_optimal`; None for Algorithm 1.
    **options
        Options of `match` or `match_optimal` that decide the pairs.

    Returns
    -------
    dict
        Values of JSON types. Options have the names of the command ("--cone").
    """
    options |= {"seed": seed}
    if method is None:
        options |= {
            "approx": getattr(approx, "index", None),
            "nprobe": getattr(approx, "nprobe", None),
            "parameters": getattr(approx, "parameters", None),
        }
    arrays = (latents, sources, *(groups or (None, None)))
    return {
        "format": FORMAT,
        **({"contract": CONTRACT} if method is None else {"method": method, "contract": SCHEDULE}),
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
        The file. An empty one counts as none. A symbolic link is followed, and stays.
    every
        Seconds between two saves.
    warn
        Called with a message when a save on the way fails and the run goes on (once), and when
        the file cannot be locked, replaced or removed. By default the message is a RuntimeWarning.
    words
        Spelling of arguments in messages, by name in Python; by default the name itself.
    remove_at_end
        Delete the file when the matching ends. False leaves that to the caller, who has the pairs
        still to write.

    Attributes
    ----------
    done : int
        Number of sources decided, as last reported; of an auction, its rounds, phases and groups.
    total : int or None
        Number of sources; None until the run has begun.
    resumed_at : int
        What an earlier run had reached, in the unit of `done`.
    hashed : bool
        False if the file that they come from carries no hash of its content.
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
        self.hashed = True
        self.remove_at_end = remove_at_end
        self._every = every
        self._warn = warn or _warn
        self._words = words or {}
        self._name = self._word("checkpoint")
        self._shown = f"{self._name} {quoted(self.path)}"
        self._warned = False
        self._id = secrets.token_hex(8)
        self._signed: str | None = None  # the id in the file that this run read or wrote
        self._seen: tuple[int, ...] | None = None  # and which file that is
        self._removed = False
        self._kept = False
        self._lock: FileLock | None = None
        self._journal: Journal | None = None  # the file, if it is one that this run goes on with

    def acquire(self) -> None:
        """Check that the file can be written, and lock it; once is enough.

        Raises
        ------
        ValueError
            If another run has locked it.
        OSError
            If it could not be written later.
        """
        if self._lock is not None:
            return
        self._file, self._lock = claim(self.path, self._name, self._warn)

    def release(self) -> None:
        """Free the lock, and leave the file."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

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
            If the file is damaged, no checkpoint, in use by another run, or belongs to a run with
            other input or options.
        OSError
            If the file cannot be read, or could not be written later.
        """
        return self.begin(fields, PrefixContent(visited, m))

    def begin(self, fields: dict[str, Any], content: Content) -> int:
        """Begin a run as `open` does, with any content; return what the file had reached."""
        self.acquire()
        self._fields, self._content = fields, content
        try:
            self.done = self._saved = self.resumed_at = self._read()
        except BaseException:
            self.release()
            raise
        self._saved_at = time.monotonic()
        self.total = content.total
        return self.done

    def _read(self) -> int:
        """Restore the content from the file, and return its progress."""
        if self._is_none():
            return 0
        name = self._shown
        if sharded_kind(self._file) is not None:
            theirs = "Algorithm 1 over many ranks"
            differences = [f"it holds {theirs}, and this is {self._content.kind}"]
            raise ValueError(of_another_run(name, differences))
        seen = identity(self._file)
        saved: Saved | None = None
        try:
            saved = read_saved(self.path, self._name)
        except (ValueError, TypeError) as error:
            if was_ours(self.path):
                raise ValueError(f"{error}; delete it to start over") from None
        theirs = "" if saved is None else kind_of(saved.arrays)
        if saved is None or saved.fields.get("format") != FORMAT or not theirs:
            raise ValueError(f"{name} is not a checkpoint of gtn-label, and is left alone")
        self.hashed = saved.hashed
        if not saved.sound:
            raise ValueError(
                f"{name} is damaged: its content is not what was saved (SHA-256); delete it to "
                "start over"
            )
        differences = self._differences(saved.fields)
        if theirs != self._content.kind:
            differences = [f"it holds {theirs}, and this is {self._content.kind}"]
        if differences:
            raise ValueError(of_another_run(name, differences))
        try:
            done = self._content.restore(saved.arrays)
        except ValueError as error:
            raise ValueError(f"{name} is damaged: {error}; delete it to start over") from None
        self._signed, self._seen, self._journal = saved.signed, seen, saved.journal
        if saved.journal is not None and saved.journal.spoilt:
            self._warn(
                f"{name} ends in {saved.journal.spoilt:,} bytes that are no whole save, as a run "
                f"that is killed leaves them; it continues {self._content.described(done)}"
            )
        return done

    def refusal(self, rule: str) -> ValueError:
        """Return the error for a state that breaks a rule of the engine's."""
        return ValueError(f"{self._shown} {rule}; delete it to start over")

    def warn_of_unchecked(self, checked: int) -> None:
        """Warn that of a file without a hash only so many choices were made again."""
        if checked < self.resumed_at:
            self._warn(
                f"{self._shown} has no hash, as earlier versions left it: {checked:,} of its "
                f"{self.resumed_at:,} choices were checked, and the others are believed; delete "
                "it to start over if it may have been changed"
            )

    def poll(self, done: int) -> None:
        """Note that so much is final, and save if it is time. Counts below are ignored."""
        if self.is_due(done):
            self.try_to_save()

    def is_due(self, done: int) -> bool:
        """Note that so much is final, and return True if it is time to save."""
        self.done = max(self.done, done)
        return self.done > self._saved and time.monotonic() - self._saved_at >= self._every

    def try_to_save(self) -> None:
        """Save; the first failure is a warning, and the run goes on."""
        try:
            self.save()
        except OSError as error:
            # Hours of work are not thrown away because a copy of them could not be made.
            if not self._warned:
                self._warn(not_written(self._shown, error))
            self._warned = True
        self._saved_at = time.monotonic()

    def save(self) -> None:
        """Save the decided sources, or an auction; never less than is saved already.

        Nothing is written once the file was removed or left, and may be another run's.

        Raises
        ------
        OSError
            If that fails. An earlier checkpoint is then as it was.
        """
        if self._lock is None or self._kept or self.done < self._saved:
            return
        if not self._is_ours():
            raise OSError(
                errno.EEXIST,
                "another run's file has appeared there, and is left alone",
                str(self.path),
            )
        arrays = self._content.arrays(self.done)
        done = progress_of(arrays)
        if done < self._saved:
            return
        try:
            with telling(lambda message: None):  # it is known since the run began
                self._write(arrays)
        finally:  # also where half of it was written in place
            self._seen = identity(self._file)
        self._saved = done

    def _write(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append to the journal where this run left it; else write the file anew."""
        journal, self._journal = self._journal, None
        if "visited" not in arrays:
            digest = digest_of(self._fields, arrays)
            write_npz(self._file, arrays, self._fields | {"run": self._id, "digest": digest})
            self._signed = self._id
            return
        visited = arrays["visited"]
        untouched = identity(self._file) == self._seen
        if journal is not None and untouched and journal.count <= len(visited):
            self._journal = journal  # as good as before if the next line fails
            if journal.count < len(visited):
                journal.append(visited[journal.count :])
            return
        self._journal = Journal.create(self._file, self._fields | {"run": self._id}, visited)
        self._signed = self._id

    def stopped(self) -> None:
        """Save what a run decided that ends with an exception; a failure to save hides nothing."""
        self.done = max(self.done, self._content.reached(self.done))
        if self.done > self._saved:
            with contextlib.suppress(OSError):
                self.save()
        if self.remove_at_end:
            self.release()

    def ended(self) -> None:
        """Note that all sources are decided, and delete the file if that is left to the run."""
        self.done = self._content.whole()
        if self.remove_at_end:
            self.remove()

    def remove(self) -> bool:
        """Delete this run's file and free the lock; return False if nothing was deleted.

        A failure is a warning: the run has its result.
        """
        try:
            if not self._file.exists():
                return False
            if self._is_ours():
                self._removed = True
                self._unlink()
                return True
            self._warn(f"{self._shown} is another run's file now, and is left alone")
        except OSError as error:
            self._warn(f"{self._shown} could not be removed ({error.strerror}); delete it")
        finally:
            self.release()
        return False

    def roll_back(self) -> None:
        """Return to the entries of an earlier run: nobody knows which rows this one looked at."""
        self._content.roll_back()
        self.done = self._saved = self.resumed_at
        if self.done:
            self.save()
        else:
            self.remove()

    def restart(self) -> None:
        """Begin anew where this run began: what it has decided since is wrong."""
        self.roll_back()
        self.acquire()  # which removing the file has freed
        self._removed = False
        self._saved_at = time.monotonic()

    def keep(self) -> None:
        """Leave the file as it is from now on: the run's rows have changed since the last save."""
        self._kept = True

    @property
    def continued_at(self) -> int:
        """Where this run continued: sources decided, or rounds of an auction."""
        return 0 if self.total is None else self._content.continued_at

    def described(self) -> str:
        """Say how far the run has come, as the end of a sentence on its interruption."""
        return self._content.described(self.done)

    @property
    def has_decisions(self) -> bool:
        """True if some source has a latent."""
        return self._content.decided(self.done)

    @property
    def removed(self) -> bool:
        """True if this run has deleted its file, since all that needed it is done."""
        return self._removed and self._is_none()

    def _unlink(self) -> None:
        try:
            self._file.unlink()
        except OSError:  # a mount point, or another user's in a folder with the sticky bit
            os.truncate(self._file, 0)

    def _is_none(self) -> bool:
        """Tell if there is no file, or an empty one such as mktemp makes."""
        try:
            return self._file.stat().st_size == 0
        except FileNotFoundError:
            return True

    def _is_ours(self) -> bool:
        """Tell if the file, if there is one, may be replaced or deleted by this run."""
        if self._is_none() or identity(self._file) == self._seen:
            return True
        if self._signed is None:
            return False
        try:  # perhaps only touched, or copied back
            saved = read_saved(self._file)
            return saved.signed == self._signed and progress_of(saved.arrays) <= self.done
        except (ValueError, TypeError, KeyError, OSError):
            return False

    def _differences(self, theirs: dict[str, Any]) -> list[str]:
        """Describe each difference between the file's fingerprint and this run's."""
        ours = self._fields
        if other := contract_difference(theirs, ours):
            return other
        sharded = ours.get("method") == SHARDED
        if sharded != (theirs.get("method") == SHARDED):
            one, many = "of a run on one machine", "of a run over many ranks"
            return [f"it is {one if sharded else many}, and this is {many if sharded else one}"]
        digest = "fingerprint" if sharded else "SHA-256"
        found = option_differences(theirs, ours, self._word)
        for name in _ARRAYS:
            was, now = theirs.get(name), ours[name]
            # Other seeds mean other sources: one reason is enough.
            if was == now or (name == "sources" and theirs.get("--seed") != ours["--seed"]):
                continue
            same_draw = ours.get("--seed") is not None and theirs.get("latents") == ours["latents"]
            if name == "sources" and same_draw:
                word = f"{self._word('seed')} {ours['--seed']}"
                found.append(
                    f"the version that wrote it drew other sources from {word}, and can continue it"
                )
            else:
                shown = f"the {name}" if name in ("latents", "sources") else self._word(name)
                found.append(
                    f"{shown}: {digest} was {visible(str(was)[:12])} and is {str(now)[:12]}"
                )
        return found

    def _word(self, name: str) -> str:
        return self._words.get(name, name)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)

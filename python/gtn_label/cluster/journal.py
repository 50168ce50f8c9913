"""RunJournal: what the sources of a sharded run took, on rank 0's disk, to continue from.

Records are in visiting order, so that they fit any number of ranks and any dealing of rows. The
format is that of io/journal.py, with the cosine beside the latent. Records of a run with groups
name their sources (group_journal.py). Only `records_of_all` exchanges.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.row_blocks import StrPath
from ..checks import as_path
from ..io.atomic import telling
from ..io.checkpoint import CONTRACT
from ..io.claim import claim, identity
from ..io.journal import CHOICES, GROUPED, Journal, Kind, sharded_kind
from ..io.lock import FileLock
from ..io.progress_words import (
    contract_difference,
    not_written,
    of_another_run,
    option_differences,
)
from ..text import quoted, visible
from .exchange import Exchange, gather, hand_out, together

__all__ = ["FORMAT", "RunJournal", "records_of_all", "run_fields"]

FORMAT = "gtn-label sharded journal"
EVERY = 30.0  # seconds between two saves
_PIECE = 1 << 20  # records of a block, unless what was noted at once has more


def run_fields(
    latents: str,
    sources: str,
    *,
    seed: int | None,
    labels: Mapping[str, str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Describe a run by everything that its result depends on.

    Parameters
    ----------
    latents, sources : str
        Fingerprints (record.py).
    labels : mapping, optional
        Fingerprints of the labels of groups, by their names.
    seed : int or None
        None if the sources were given.
    **options
        Options that decide the pairs.
    """
    options |= {"seed": seed}
    return {
        "format": FORMAT,
        "contract": CONTRACT,
        **{f"--{name}": value for name, value in options.items()},
        "latents": latents,
        "sources": sources,
        **(labels or {}),
    }


class RunJournal:
    """The journal of one sharded run; rank 0 alone uses the file.

    Parameters
    ----------
    path
        The file. An empty one counts as none. A symbolic link is followed, and stays.
    every
        Seconds between two saves, by default 30.
    warn
        Called with a message when a save fails and the run goes on (once), when the file ends in a
        spoilt part, and when it cannot be locked or removed. By default the message is a
        RuntimeWarning.
    words
        Spelling of arguments in messages, by name in Python; by default the name itself.

    Attributes
    ----------
    path : Path
    every : float
    done : int
        Number of records, saved or not.
    resumed_at : int
        Number of records that an earlier run had left.

    Examples
    --------
    >>> from gtn_label.cluster import RunJournal, match_sharded
    >>> journal = RunJournal("run.journal", words={"journal": "--journal"})
    >>> result = match_sharded(my_rows, exchange=exchange, journal=journal)  # doctest: +SKIP
    """

    def __init__(
        self,
        path: StrPath,
        every: float | None = None,
        warn: Callable[[str], None] | None = None,
        words: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.done = self.resumed_at = 0
        self.every = EVERY if every is None else every
        self._warn = warn or _warn
        self._words = words or {}
        self._name = self._word("journal")
        self._shown = f"{self._name} {quoted(self.path)}"
        self._lock: FileLock | None = None
        self._journal: Journal | None = None
        self._kind = CHOICES
        self._seen: tuple[int, ...] | None = None  # the file as this run read or wrote it
        self._pending: list[NDArray[Any]] = []
        self._saved_at = time.monotonic()
        self._warned = False

    def begin(self, fields: dict[str, Any], kind: Kind = CHOICES) -> None:
        """Lock the file, and read its header or write one.

        Parameters
        ----------
        fields
            The run's `run_fields`.
        kind
            Type of the records.

        Raises
        ------
        ValueError
            If the file is in use, damaged, no journal, or of a run with other input or options.
        OSError
            If the file cannot be read or written.
        """
        self._kind = kind
        self._file, self._lock = claim(self.path, self._name, self._warn)
        try:
            if _is_none(self._file):
                made = fields | {"run": secrets.token_hex(8)}
                with telling(lambda message: None):  # known since the claim
                    empty = np.empty(0, kind.record)
                    self._journal = Journal.create(self._file, made, empty, kind)
            else:
                self._journal = self._opened(fields)
        except BaseException:
            self.release()
            raise
        self._seen = identity(self._file)
        self._saved_at = time.monotonic()

    def _opened(self, fields: Mapping[str, Any]) -> Journal:
        kind = sharded_kind(self._file)
        if kind is None:
            raise ValueError(
                f"{self._shown} is not a journal of Algorithm 1 over many ranks, and is left alone"
            )
        try:
            journal = Journal.open(self._file, kind)
        except ValueError as error:
            raise ValueError(
                f"{self._shown} is damaged: {error}; delete it to start over"
            ) from None
        differences = self._differences(journal.fields, fields)
        if kind != self._kind:
            was, now = ("none", "given") if kind == CHOICES else ("given", "none")
            differences = [f"{self._word('groups')} were {was} and are {now}"]
        if differences:
            raise ValueError(of_another_run(self._shown, differences))
        return journal

    def records(self, most: int) -> Iterator[NDArray[Any]]:
        """Yield the records of the file, in pieces; right after `begin`.

        Parameters
        ----------
        most
            Number of sources of the run.

        Raises
        ------
        ValueError
            If there are more records than sources.
        """
        assert self._journal is not None
        for block in self._journal.blocks():
            if self.done + len(block) > most:
                raise self.refusal(f"holds {self.done + len(block):,} records of {most:,} sources")
            for begin in range(0, len(block), _PIECE):
                piece = block[begin : begin + _PIECE]
                self.done += len(piece)
                yield piece
        self.resumed_at = self.done
        if self._journal.spoilt:
            self._warn(
                f"{self._shown} ends in {self._journal.spoilt:,} bytes that are no whole save, as "
                f"a run that is killed leaves them; it continues at {self.done:,} of {most:,} "
                "sources"
            )

    def records_of(self, source: int, most: int) -> Iterator[NDArray[Any]]:
        """Yield latents and cosines of the records with one entry `source`, in pieces.

        Parameters
        ----------
        source
        most
            Number that there can be.

        Raises
        ------
        ValueError
            If there are more.
        """
        found = 0
        for block in Journal.open(self._file, self._kind).blocks():
            piece = block[block["source"] == source][["latent", "cosine"]]
            found += len(piece)
            if found > most:
                raise self.refusal(f"holds {found:,} records of {most:,} sources")
            for begin in range(0, len(piece), _PIECE):
                yield piece[begin : begin + _PIECE]

    def refusal(self, rule: str) -> ValueError:
        """Return the error for records that no run can have written."""
        return ValueError(f"{self._shown} is damaged: it {rule}; delete it to start over")

    def add(
        self,
        latents: NDArray[np.int64],
        cosines: NDArray[np.float64],
        sources: NDArray[np.int64] | int = 0,
    ) -> None:
        """Note what the next sources took, and save if it is time. A block holds them all.

        Parameters
        ----------
        latents, cosines : [k]
        sources : [k] or int
            Of a run with groups.
        """
        if len(latents):
            records = np.empty(len(latents), self._kind.record)
            records["latent"], records["cosine"] = latents, cosines
            if self._kind == GROUPED:
                records["source"] = sources
            self._pending.append(records)
            self.done += len(records)
        if self._pending and time.monotonic() - self._saved_at >= self.every:
            self._try_to_save()

    def ended(self) -> None:
        """Save all that is left: every source is decided."""
        if self._pending:
            self._try_to_save()

    def _try_to_save(self) -> None:
        """Save; hours of work are not thrown away because a copy of them could not be made."""
        try:
            self.save()
        except OSError as error:
            if not self._warned:
                self._warn(not_written(self._shown, error))
            self._warned = True
        self._saved_at = time.monotonic()

    def save(self) -> None:
        """Append what is not on the disk yet, and wait until it is.

        Raises
        ------
        OSError
            If that fails. Records that were there still are, and the others are kept for the next
            save.
        """
        if self._lock is None or self._journal is None:
            return
        while self._pending:
            if identity(self._file) != self._seen:
                what = "it was removed, or changed by another process"
                raise OSError(errno.EEXIST, what, str(self.path))
            count, length = 1, len(self._pending[0])
            for records in self._pending[1:]:
                length += len(records)
                if length > _PIECE:
                    break
                count += 1
            try:
                self._journal.append(np.concatenate(self._pending[:count]))
            finally:
                self._seen = identity(self._file)
            del self._pending[:count]

    def stopped(self) -> None:
        """Save what a run decided that ends with an exception, and free the lock."""
        with contextlib.suppress(OSError):
            self.save()
        self.release()

    def release(self) -> None:
        """Free the lock, and leave the file."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    def remove(self) -> None:
        """Delete the file, whose run has its output, and free the lock.

        A failure is a warning.
        """
        try:
            if self._lock is None or _is_none(self._file):
                return
            if identity(self._file) != self._seen:
                self._warn(f"{self._shown} is another file now, and is left alone")
                return
            try:
                self._file.unlink()
            except OSError:  # a mount point, or another user's in a folder with the sticky bit
                os.truncate(self._file, 0)
        except OSError as error:
            self._warn(f"{self._shown} could not be removed ({error.strerror}); delete it")
        finally:
            self.release()

    def _differences(self, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
        """Describe each difference between the file's run and this one."""
        if other := contract_difference(theirs, ours):
            return other
        found = option_differences(theirs, ours, self._word)
        for entry, now in ours.items():
            was = theirs.get(entry)
            if was == now or entry.startswith("--") or (entry == "sources" and found):
                continue  # other seeds or latents mean other sources: one reason is enough
            shown = f"{visible(str(was)[:12])} and is {str(now)[:12]}"
            found.append(f"the {entry}: fingerprint was {shown}")
        return found

    def _word(self, name: str) -> str:
        return self._words.get(name, name)


def records_of_all(
    exchange: Exchange, pieces: Iterator[NDArray[Any]], kind: Kind
) -> Iterator[NDArray[Any]]:
    """Yield on every rank the pieces of records that rank 0 reads. A collective call.

    What the reader raises is raised on all ranks.
    """
    while True:
        with together(exchange):
            piece = next(pieces, None)
        count = int(gather(exchange, np.int64(0 if piece is None else len(piece)))[0])
        if count == 0:
            return
        records = np.empty(count, kind.record.newbyteorder("="))
        if piece is not None:
            records[:] = piece
        hand_out(exchange, records)
        yield records


def as_journal(value: Any, name: str = "journal") -> RunJournal | None:
    """Return a path as a RunJournal.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If the value is no path.
    """
    if value is None or isinstance(value, RunJournal):
        return value
    return RunJournal(as_path(value, name))


def _is_none(path: Path) -> bool:
    """Tell if there is no file, or an empty one such as mktemp makes."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)

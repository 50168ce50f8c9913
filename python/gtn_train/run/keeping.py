"""When a stage of a run is made, continued, used again or refused, and which process makes it.

A finished stage is used again if its manifest (store.py) agrees with what is asked for and its
files are the ones it made. Otherwise it would have to be made anew, and whatever it cost would be
lost: that is refused, in words that say what differs, unless the caller asked to resume. Not here:
what the stages are and need (pipeline.py).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from ..training.checkpoint import differences
from ..training.processes import is_first_process
from .settings import STAGES
from .store import RunFolder, Stage, file_sha256

__all__ = ["LOCK_FILE", "Keeper"]

LOCK_FILE = ".lock"  # in a run's folder, which one process at a time works in

Make = Callable[[RunFolder], "tuple[list[str], float]"]


class Keeper:
    """Makes the stages of one run, or uses them again.

    Parameters
    ----------
    out : path
        The run's folder.
    resume : bool
        Continue a stage that was interrupted, and make anew one that is no longer what is asked
        for. Without it both are refused.
    say : callable
        Takes a line about each stage.
    before : callable
        Called before anything is written.
    """

    def __init__(
        self,
        out: Path,
        *,
        resume: bool,
        say: Callable[[str], None],
        before: Callable[[], None],
    ) -> None:
        self._out = out
        self._resume = resume
        self._say = say
        self._before = before
        self.wrote = False
        self._lock: BaseFileLock | None = None
        self._made: list[Path] = []

    def stage(
        self,
        name: str,
        inputs: Mapping[str, str],
        options: Mapping[str, Any],
        make: Make,
        *,
        together: bool = False,
    ) -> Stage:
        """Make a stage, or use it again.

        Parameters
        ----------
        name : str
            Its subfolder.
        inputs, options
            What it must have been made from, as in `Stage`.
        make : callable (folder) -> (names of files, seconds)
            Makes it; the seconds are those that earlier calls spent on it too, or 0.
        together : bool
            All processes that torchrun started take part; otherwise the first makes it and the
            others wait.

        Raises
        ------
        ValueError
            If it was made from something else or its files have changed, or it is unfinished, and
            the caller did not ask to resume; if another process is at work in the run's folder.
        """
        path = self._out / name
        first = is_first_process()
        finished, why = self._state(path, inputs, options)
        if first and (finished is None or why):
            self.own()
            finished, why = self._state(path, inputs, options)  # another may just have made it
        if isinstance(finished, Stage) and not why:
            self._say(f"{name}: finished earlier, used again")
            return finished
        if why and not self._resume:
            raise ValueError(
                f"'{path}' is not what is asked for now: {'; '.join(why)}. --resume makes it anew; "
                "another --out leaves it as it is"
            )
        begun = any((path / file).exists() for file in ("checkpoint.ckpt", "weights.safetensors"))
        if finished is None and begun and not self._resume:
            raise ValueError(
                f"'{path}' is unfinished: --resume goes on with it; another --out, or to delete "
                f"'{path}', starts over"
            )
        if first and not self.wrote:
            self._before()
            self.wrote = True
        while not first and not path.is_dir():
            time.sleep(0.2)  # the first may be refused, and nothing must be left
        folder = RunFolder(path)
        if first and why:
            _remove(folder, finished)
            self._say(f"{name}: made anew: {'; '.join(why)}")
        if first or together:
            began = time.monotonic()
            try:
                outputs, seconds = make(folder)
            except BaseException:
                if first:
                    with contextlib.suppress(OSError):
                        path.rmdir()  # if nothing is in it
                raise
            seconds = max(seconds, time.monotonic() - began)
            if first:
                return folder.finish(name, inputs, options, outputs, seconds)
        while not folder.is_finished(name, inputs, options):
            time.sleep(0.2)
        return folder.stage()  # type: ignore[return-value]

    def own(self) -> None:
        """Keep the run's folder for this process until `release`, before anything is written.

        Raises
        ------
        ValueError
            If another process has it.
        """
        if self._lock is not None:
            return
        new = [path for path in (self._out, *self._out.parents) if not path.exists()]
        path = RunFolder(self._out).path / LOCK_FILE
        self._made = [*([] if path.exists() else [path]), *new]
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(
                f"'{self._out}' is in use: another gtn-train is at work there; wait for it, or "
                "choose another --out"
            ) from None
        self._lock = lock
        for name in (*STAGES, "images"):
            if (self._out / name).is_dir():
                RunFolder(self._out / name).sweep()

    def release(self) -> None:
        """Let other processes work in the folder; leave none behind in which nothing was made."""
        if self._lock is None:
            return
        if not self.wrote:
            with contextlib.suppress(OSError):
                for path in self._made:
                    path.unlink() if path.name == LOCK_FILE else path.rmdir()
        self._lock.release()
        self._lock = None

    def _state(
        self, path: Path, inputs: Mapping[str, str], options: Mapping[str, Any]
    ) -> tuple[Stage | str | None, list[str]]:
        """What there is of a stage, as `_finished` says, and why it cannot be used."""
        finished = self._finished(path)
        why = [] if finished is None else self._disagreements(path, finished, inputs, options)
        return finished, why

    def _finished(self, path: Path) -> Stage | str | None:
        """Manifest of a stage, None if there is none, or in words how it is damaged."""
        if not (path / "stage.json").exists():
            return None
        try:
            return RunFolder(path).stage()
        except ValueError as error:
            return str(error)

    def _disagreements(
        self,
        path: Path,
        finished: Stage | str,
        inputs: Mapping[str, str],
        options: Mapping[str, Any],
    ) -> list[str]:
        """Say why a finished stage cannot be used."""
        if isinstance(finished, str):
            return [finished]
        why = [
            f"its input {key!r} has changed (SHA-256 {_short(finished.inputs.get(key))}, now "
            f"{_short(inputs.get(key))})"
            for key in sorted({*finished.inputs, *inputs})
            if finished.inputs.get(key) != inputs.get(key)
        ]
        why += differences(finished.options, json.loads(json.dumps(dict(options))))
        for file, known in finished.outputs.items():
            if not (path / file).is_file():
                why.append(f"its file {file} is missing")
            elif not why and file_sha256(path / file) != known:
                why.append(f"its file {file} is not the one it made")
        return why


def _remove(folder: RunFolder, finished: Stage | str | None) -> None:
    """Remove a stage's files: the next one may have fewer, and none must be taken for its own."""
    outputs = list(finished.outputs) if isinstance(finished, Stage) else []
    folder.clear()
    for file in outputs:
        (folder.path / file).unlink(missing_ok=True)


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:12]}..."

"""Builder: carries out the verdict on each stage of a run, in one process or several.

A complete stage is reused. A partial one is resumed, a training with a later end continued, and a
stage that is no longer valid rebuilt, only if the caller said so: all would lose what a long
computation left. Not here: the verdict
itself (verdict.py), the stages (stages.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from gtn_label.text import quoted

from .barrier import Barrier
from .lock import RunLock
from .manifest import Manifest, StageSpec
from .settings import STAGES
from .store import RunFolder
from .verdict import Verdict, verdict

__all__ = ["Builder"]


class Builder:
    """Builds the stages of one run, or reuses them; holds the run's lock from the first write on.

    Parameters
    ----------
    out : path
        The run's folder.
    barrier : Barrier
        Process 0 judges and writes for all processes.
    resume : bool
        Resume a partial stage, and rebuild one that is no longer valid. Without it both are
        refused.
    say : callable
        Takes a line about each stage.
    before : callable
        Called once, before anything is written.

    Attributes
    ----------
    wrote : bool
        True once a stage has been built, at least in part.
    decoded : path or None
        File of decoded images that this run made.
    """

    def __init__(
        self,
        out: Path,
        barrier: Barrier,
        *,
        resume: bool,
        say: Callable[[str], None],
        before: Callable[[], None],
    ) -> None:
        self._out = out
        self._barrier = barrier
        self._resume = resume
        self._say = say
        self._before = before
        self._lock = RunLock(out)
        self.wrote = False
        self.decoded: Path | None = None

    def build(
        self,
        spec: StageSpec,
        make: Callable[[RunFolder], float],
        *,
        together: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> Manifest:
        """Build a stage, or reuse it.

        Parameters
        ----------
        spec : StageSpec
        make : callable (folder) -> seconds
            Makes the stage's files; returns the seconds that it took in all, interrupted parts
            included, or 0 to have this call timed.
        together : bool
            All processes make the stage; otherwise process 0 does, and the others wait.
        check : callable
            Called before a stage is made or cleared; raises if it cannot be made here.

        Raises
        ------
        ValueError
            If the verdict is to refuse, or another process is at work in the run's folder.
        """
        reused = self._barrier.tell(lambda: self._begin(spec, check))
        if reused is not None:
            return Manifest(**reused)
        first = self._barrier.first_process
        folder = RunFolder(self._out / spec.name, create=False)
        began = time.monotonic()
        seconds = 0.0
        if first or together:
            try:
                seconds = make(folder)
            except BaseException:
                if first:
                    with contextlib.suppress(OSError):
                        folder.path.rmdir()  # if nothing is in it
                raise
        seconds = max(seconds, time.monotonic() - began)
        return Manifest(**self._barrier.tell(lambda: asdict(folder.write_manifest(spec, seconds))))

    def _begin(self, spec: StageSpec, check: Callable[[], None]) -> dict[str, Any] | None:
        """Return the manifest of a stage to be reused; else prepare its folder."""
        folder = RunFolder(self._out / spec.name, create=False)
        judged = self._judge(folder, spec)
        if judged.action != "reuse":
            self.own()
            judged = self._judge(folder, spec)  # another process may just have built the stage
        if judged.action == "reuse":
            self._say(f"{spec.name}: complete, reused")
            return asdict(Manifest.read(folder.manifest))
        if judged.action == "refuse":
            remedy = (
                f"--resume {'continues' if judged.continues else 'rebuilds'} it; another --out "
                "leaves it as it is"
                if folder.manifest.exists()
                else f"--resume continues it; to start over, delete {quoted(folder.path)} or "
                "choose another --out"
            )
            raise ValueError(f"{quoted(folder.path)} {judged.why}. {remedy}")
        check()
        if not self.wrote:
            self._before()
            self.wrote = True
        if judged.action == "rebuild" and judged.why:
            folder.clear()
            self._say(f"{spec.name}: rebuilt: {judged.why}")
        if judged.action == "resume" and folder.manifest.exists():
            folder.reopen()  # training goes on to another end, or says why it starts over
        RunFolder(folder.path)
        return None

    def _judge(self, folder: RunFolder, spec: StageSpec) -> Verdict:
        return verdict(folder, spec, resume=self._resume, overwrite=self._resume)

    @property
    def first(self) -> bool:
        """True for the process that writes."""
        return self._barrier.first_process

    def own(self) -> None:
        """Lock the run's folder, and remove what a killed process left half-written."""
        if self._lock.acquire():
            for name in ("", *STAGES, "images"):  # "": run.json is in the run's folder itself
                RunFolder(self._out / name, create=False).sweep()

    def own_for_decoding(self, target: Path) -> None:
        """Lock the run's folder before decoded images are written there."""
        self.own()
        self.decoded = target

    def __enter__(self) -> Builder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self.decoded is not None and not self.wrote:
            # The run was refused: the decoded images are of no use.
            self.decoded.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.decoded.parent.rmdir()
        self._lock.release(keep=self.wrote)

"""The command gtn-label: starts the job, and reports what an interruption leaves.

console.py holds exit codes and messages, options.py the command line, job.py the work. The latter
two are imported late: signals are served from the start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from . import console

if TYPE_CHECKING:
    from .job import Run

__all__ = ["main"]

PROGRAM = "gtn-label"


def main(argv: Sequence[str] | None = None, *, earlier: Sequence[int] = ()) -> NoReturn:
    """Run the command and leave the process with its exit code.

    Parameters
    ----------
    argv
        Arguments after the program's name; those of the process by default.
    earlier
        Numbers of signals that came before; the command then ends at once.
    """
    command = _Command(argv)
    load, interrupted = command.load, command.interrupted
    sys.exit(console.run(PROGRAM, load, interrupted, last=argv is None, earlier=earlier))


class _Command:
    """One call of the command."""

    def __init__(self, argv: Sequence[str] | None) -> None:
        self._argv = None if argv is None else list(argv)
        self._run: Run | None = None

    def load(self) -> Callable[[], None]:
        from . import job, options, pairs_file  # noqa: F401

        return self._work

    def _work(self) -> None:
        from .job import Run, describe_backends
        from .options import Options, ShowBackends, cli
        from .pairs_file import PairsFile
        from .sections import STREAM

        # In standalone mode click prints usage, hints and a blank line on Ctrl-C.
        asked = cli.main(args=self._argv, prog_name=PROGRAM, standalone_mode=False)
        if isinstance(asked, ShowBackends):
            console.print_lines(describe_backends(asked))
        elif isinstance(asked, Options):
            stored = asked.verify is not None or asked.apply is not None
            self._run = (PairsFile if stored else Run)(asked, self._warn)
            lines = self._run.execute()
            console.print_lines(lines, on_stderr=asked.out == STREAM)

    def _warn(self, message: str) -> None:
        console.say(PROGRAM, f"warning: {message}")

    def interrupted(self) -> str:
        """Save the checkpoint, and say where it is."""
        checkpoint = None if self._run is None else self._run.checkpoint
        if self._run is None or checkpoint is None or checkpoint.total is None:
            return "; nothing was written"
        return f" {checkpoint.described()}; {self._run.keep()}"

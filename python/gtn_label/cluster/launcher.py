"""`gtn-label-cluster`: starts the processes of a run on this machine, and restarts them.

It wraps torch.distributed.run, so that a user needs to know neither its options nor the environment
variable without which restarted processes do not find each other. One process on one machine runs
here, without torch. Not here: what a process does (command.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..cli import console
from ..text import quoted
from .command import LEFT, OUTCOME, Command

if TYPE_CHECKING:
    from .options import Options

__all__ = ["agent_arguments", "main"]

PROGRAM = "gtn-label-cluster"
SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
_AGENT = "torch.distributed.elastic"  # its logger
_RESTARTS = 3  # with a journal, which keeps what was decided


def main(argv: Sequence[str] | None = None, *, earlier: Sequence[int] = ()) -> NoReturn:
    """Run the command and leave the process with its exit code.

    Parameters
    ----------
    argv
        Arguments after the program's name; those of the process by default.
    earlier
        Numbers of signals that came before; the command then ends at once.
    """
    launcher = _Launcher(sys.argv[1:] if argv is None else argv)
    sys.exit(launcher.run(last=argv is None, earlier=earlier))


class _Launcher:
    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = list(argv)
        self._code = console.EXIT_DONE
        self._journal: Path | None = None
        self._command: Command | None = None  # of a single process, in this one

    def run(self, last: bool, earlier: Sequence[int]) -> int:
        """Start the processes, wait for them, and return the exit code of the run."""
        code = console.run(PROGRAM, self._load, self._left, last=last, earlier=earlier)
        return code or self._code

    def _load(self) -> Callable[[], None]:
        from . import options  # noqa: F401

        return self._work

    def _left(self) -> str:
        return "; nothing was written" if self._command is None else self._command.left()

    def _work(self) -> None:
        from .options import parse, split

        launch, rest = split(self._argv)
        asked = parse([*launch, *rest])
        if asked is None:
            return
        local = asked.launch.get("--nproc-per-node", 1)
        machines = asked.launch.get("--nnodes", 1)
        alone = local * machines == 1 and not asked.launch.get("--max-restarts")
        if asked.plan or alone:
            self._command = Command(rest, world=local * machines, local=local)
            self._command.work()
            return
        self._journal = asked.journal
        self._start(agent_arguments(asked), rest)

    def _start(self, options: list[str], rest: list[str]) -> None:
        """Run the processes under torch's agent in this process."""
        os.environ[SHARED_STORE] = "1"
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # what torchrun would set, with a warning
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # stacks where a process has died
        with console.held():
            try:
                from torch.distributed import run as torchrun
            except ImportError:
                raise ImportError(
                    "several processes need torch, and it is not installed: pip install "
                    "'gtn-label[torch]'"
                ) from None
            from torch.distributed.elastic.multiprocessing.api import SignalException
            from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        with tempfile.TemporaryDirectory(prefix="gtn-label-") as folder, _told(self._say):
            os.environ[OUTCOME] = folder
            arguments = [*options, "-m", "gtn_label.cluster", "--", *rest]
            try:
                torchrun.run(torchrun.parse_args(arguments))
            except SignalException as error:
                self._code = 128 + int(error.sigval)
                note = Path(folder) / LEFT
                self._say(f"interrupted{note.read_text() if note.exists() else ''}")
            except ChildFailedError as error:
                self._code = self._failed(error)
            finally:
                os.environ.pop(OUTCOME, None)
            codes = [int(each.read_text()) for each in Path(folder).glob("code-*")]
        if not self._code and codes:
            self._code = max(codes)

    def _failed(self, error: Any) -> int:
        """Say how the run ended if its process could not, and return the exit code."""
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        name = failure.signal_name()
        after = ""
        if self._journal is not None:
            after = f"; the same command continues from {quoted(self._journal)}"
        self._say(f"error: process {rank} was ended by {name}, and no restart is left{after}")
        return console.EXIT_FAILED

    def _say(self, message: str) -> None:
        console.say(PROGRAM, message)


def agent_arguments(asked: Options) -> list[str]:
    """Return the options of torch.distributed.run for a run."""
    launch = asked.launch
    restarts = launch.get("--max-restarts", 0 if asked.journal is None else _RESTARTS)
    arguments = [
        f"--nproc-per-node={launch.get('--nproc-per-node', 1)}",
        f"--nnodes={launch.get('--nnodes', 1)}",
        f"--max-restarts={restarts}",
    ]
    endpoint = launch.get("--rdzv-endpoint")
    if endpoint is None:
        return [*arguments, "--standalone"]
    arguments += ["--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
    arguments.append(f"--rdzv-id={launch.get('--rdzv-id', 'gtn-label')}")
    if "--local-addr" in launch:
        arguments.append(f"--local-addr={launch['--local-addr']}")
    return arguments


class _Told(logging.Handler):
    """Turns the agent's reports of a death and of a restart into one line of this command."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._say = say
        self._who = "a process has ended"

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            text = record.getMessage()
            if died := re.search(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)", text):
                code = int(died[1])
                how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
                self._who = f"local process {died[2]} has ended with {how}"
            elif left := re.search(r"(\d+)/(\d+) attempts left", text):
                self._say(f"warning: {self._who}; all start again ({left[1]} restarts were left)")
                self._who = "a process has ended"


@contextlib.contextmanager
def _told(say: Callable[[str], None]) -> Iterator[None]:
    """Replace the logs of torch's agent by lines of this command."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith(_AGENT)]
    loggers = [logging.getLogger(name) for name in (_AGENT, *names)]
    before = [(each, each.level, each.propagate, each.handlers[:]) for each in loggers]
    handler = _Told(say)
    for each in loggers:
        each.setLevel(logging.INFO)
        each.propagate = False
        each.handlers[:] = [handler]
    try:
        yield
    finally:
        for each, level, propagates, handlers in before:
            each.setLevel(level)
            each.propagate = propagates
            each.handlers[:] = handlers

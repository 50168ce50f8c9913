"""The entry point of the gtn-train command, and the message after an interruption.

The command group (group.py) is imported late, and torch by the work alone: signals are served from
the start, and neither help nor a refusal waits for torch. Not here: exit codes and the form of
messages (`gtn_label.cli.console`), the commands (make.py, use.py).
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from gtn_label.cli import console

__all__ = ["PROGRAM", "main"]

PROGRAM = "gtn-train"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit code.

    Parameters
    ----------
    argv
        Arguments after the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)

    def load() -> Callable[[], None]:
        with _extra_named():
            from .group import cli

        def work() -> None:
            # Not standalone: click would print usage and hints. The commands return a job, which
            # is done here: within click, Ctrl-C would print a blank line.
            with _extra_named():
                asked = cli.main(args=words or ["--help"], prog_name=PROGRAM, standalone_mode=False)
                if callable(asked):
                    _check_working_folder()
                    console.print_lines(asked())

        return work

    code = console.run(PROGRAM, load, lambda: _interrupted(words), last=argv is None)
    # Without a word the help is printed, and nothing was done.
    sys.exit(code if words else max(code, console.EXIT_WRONG))


def _check_working_folder() -> None:
    """Refuse to work in a folder that is gone: importing torch there ends the process."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise FileNotFoundError(
            "the working folder no longer exists; change to another folder"
        ) from None


@contextlib.contextmanager
def _extra_named() -> Iterator[None]:
    """Say how to install a package that this block's work needs and does not find."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        ours = ("", "gtn_label", "gtn_train")
        if package in ours or package in sys.stdlib_module_names:
            raise
        raise ImportError(f"{package} is missing: pip install 'gtn-label[train]'") from error


def _interrupted(words: Sequence[str]) -> str:
    """Say what an interrupted command leaves behind."""
    if any(word in ("sample", "interpolate", "evaluate", "report", "export") for word in words[:1]):
        return "; nothing was written"
    named = [
        after if word == "--out" else word.removeprefix("--out=")
        for word, after in itertools.pairwise((*words, ""))
        if word == "--out" or word.startswith("--out=")
    ]
    if not any(Path(out).exists() for out in named):
        return "; nothing was written"
    return (
        "; complete stages and the last checkpoint are kept: the same command with --resume "
        "continues"
    )

"""The gtn-label command: how it starts, what it says, and how it ends.

Every refusal is one line on stderr and exit code 2, an interruption one line and 130. What it
accepts is in options.py, and what it does is in labeling.py. Both are imported late: signals are
served from the start, and NumPy takes its time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .interrupts import Interrupts

if TYPE_CHECKING:
    from .labeling import Run

__all__ = ["main"]

EXIT_DONE, EXIT_WRONG, EXIT_INTERRUPTED = 0, 2, 130


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit code.

    Parameters
    ----------
    argv
        Arguments after the program's name; those of the process by default.
    """
    sys.exit(_command(argv))


def _command(argv: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a path may hold bytes that no encoding has
            stream.reconfigure(errors="backslashreplace")
    with Interrupts() as interrupts:
        try:
            with interrupts.held():
                from . import labeling, options  # noqa: F401
        except KeyboardInterrupt:
            return _interrupted(None)
        except ImportError as error:
            return _refuse(str(error))
        return _serve(argv)


def _serve(argv: Sequence[str] | None) -> int:
    """Do what is asked; the imports are done already."""
    import click

    from .labeling import Run, describe_backends, os_message
    from .options import Options, ShowBackends, cli

    run: Run | None = None
    try:
        # Not standalone: click would print usage, hints and a blank line on Ctrl-C.
        asked = cli.main(
            args=None if argv is None else list(argv),
            prog_name="gtn-label",
            standalone_mode=False,
        )
        if isinstance(asked, ShowBackends):
            _print(describe_backends(asked))
        elif isinstance(asked, Options):
            run = Run(asked, _warn)
            _print(run.execute())
    except SystemExit:
        # click's, when the reader of --help or --version left early: no error, as for the summary.
        _forget_stdout()
    except click.Abort:
        return _interrupted(None)
    except click.ClickException as error:
        return _refuse(f"{error.format_message()} See gtn-label --help")
    except KeyboardInterrupt:
        return _interrupted(run)
    except OSError as error:
        return _refuse(os_message(error))
    except MemoryError as error:
        return _refuse(f"not enough memory: {error}" if str(error) else "not enough memory")
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        return _refuse(str(error))
    return EXIT_DONE


def _interrupted(run: Run | None) -> int:
    """Save what there is, and say where it is."""
    if run is None or run.checkpoint is None:
        return _say("interrupted; nothing was written", EXIT_INTERRUPTED)
    far = f"interrupted at {run.checkpoint.done:,} of {run.total:,} sources"
    return _say(f"{far}; {run.keep()}", EXIT_INTERRUPTED)


def _refuse(message: str) -> int:
    return _say(f"error: {message}", EXIT_WRONG)


def _warn(message: str) -> None:
    _say(f"warning: {message}", EXIT_DONE)


def _say(message: str, code: int) -> int:
    """One line on stderr, whatever line breaks other libraries put into their messages."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"gtn-label: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def _print(text: str) -> None:
    """Print on stdout and find out that it arrived; a reader that left early is no error."""
    if not text or sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except OSError as error:
        _forget_stdout()
        if not isinstance(error, BrokenPipeError):
            raise OSError(f"stdout could not be written: {error.strerror}") from None


def _forget_stdout() -> None:
    """Leave nothing in the buffer, or the interpreter complains when it exits."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

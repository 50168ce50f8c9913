"""What the commands gtn-label and gtn-train have in common: one line a failure, and exit codes.

Every refusal is one line on stderr and exit code 2, an interruption one line and 130. What a
command does is its own business. Only the standard library is imported here: signals are served
from the start, and NumPy takes its time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .interrupts import Interrupts

__all__ = [
    "EXIT_DONE",
    "EXIT_INTERRUPTED",
    "EXIT_WRONG",
    "counted",
    "held",
    "os_message",
    "print_text",
    "run",
    "say",
]

EXIT_DONE, EXIT_WRONG, EXIT_INTERRUPTED = 0, 2, 130

_serving: Interrupts | None = None  # while `run` does its work


def run(
    program: str,
    load: Callable[[], Callable[[], object]],
    interrupted: Callable[[], str],
) -> int:
    """Do a command's work and say how it ended.

    Parameters
    ----------
    program : str
        What messages begin with.
    load : callable
        Imports what the work needs, which no signal breaks, and returns the work.
    interrupted : callable
        What a Ctrl-C leaves: a clause for the line that reports it.

    Returns
    -------
    int
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a path may hold bytes that no encoding has
            stream.reconfigure(errors="backslashreplace")
    with Interrupts() as interrupts, _known(interrupts):
        try:
            with interrupts.held():
                work = load()
        except KeyboardInterrupt:
            return say(program, "interrupted; nothing was written", EXIT_INTERRUPTED)
        except ImportError as error:
            return _refuse(program, str(error))
        return _serve(program, work, interrupted)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within this block of a command's work a signal waits for its end: for late imports."""
    if _serving is None:
        yield
        return
    with _serving.held():
        yield


@contextlib.contextmanager
def _known(interrupts: Interrupts) -> Iterator[None]:
    global _serving
    _serving = interrupts
    try:
        yield
    finally:
        _serving = None


def _serve(program: str, work: Callable[[], object], interrupted: Callable[[], str]) -> int:
    """Do it; the imports are done already."""
    import click

    try:
        work()
    except SystemExit:
        # click's, when the reader of --help or --version left early: no error, as for the summary.
        _forget_stdout()
    except (click.Abort, KeyboardInterrupt):
        return say(program, f"interrupted{interrupted()}", EXIT_INTERRUPTED)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = program if context is None else context.command_path
        return _refuse(program, f"{error.format_message()} See {command} --help")
    except OSError as error:
        return _refuse(program, os_message(error))
    except MemoryError as error:
        return _refuse(
            program, f"not enough memory: {error}" if str(error) else "not enough memory"
        )
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        return _refuse(program, str(error))
    return EXIT_DONE


def os_message(error: OSError) -> str:
    """Say what the system says, and of which file."""
    if error.strerror is None:
        return str(error)
    return f"'{error.filename}': {error.strerror}" if error.filename else error.strerror


def say(program: str, message: str, code: int = EXIT_DONE) -> int:
    """One line on stderr, whatever line breaks other libraries put into their messages."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"{program}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def print_text(text: str) -> None:
    """Print on stdout and find out that it arrived; a reader that left early is no error."""
    if not text or sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except OSError as error:
        _forget_stdout()
        if not isinstance(error, BrokenPipeError):
            raise OSError(f"stdout could not be written: {error.strerror}") from None


def counted(n: int, what: str) -> str:
    """Say how many, with the plural's s: "1 epoch", "12,000 images"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _refuse(program: str, message: str) -> int:
    return say(program, f"error: {message}", EXIT_WRONG)


def _forget_stdout() -> None:
    """Leave nothing in the buffer, or the interpreter complains when it exits."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

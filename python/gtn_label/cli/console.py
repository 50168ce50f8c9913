"""The frame of the commands gtn-label and gtn-train: exit codes, errors in one line, formatting.

A refusal is one line on stderr and exit code 2, an interruption one line and 130. Only the standard
library is imported here: signals are served from the start, and importing NumPy takes a moment.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .interrupts import Interrupts

__all__ = [
    "EXIT_DONE",
    "EXIT_INTERRUPTED",
    "EXIT_WRONG",
    "counted",
    "format_bytes",
    "format_seconds",
    "held",
    "os_message",
    "print_text",
    "run",
    "say",
    "table",
]

EXIT_DONE, EXIT_WRONG, EXIT_INTERRUPTED = 0, 2, 130

_serving: Interrupts | None = None  # the handlers of `run`, while that does its work


def run(
    program: str,
    load: Callable[[], Callable[[], object]],
    interrupted: Callable[[], str],
) -> int:
    """Run a command's work, and report an error or an interruption on stderr.

    Parameters
    ----------
    program : str
        Name of the command, with which messages begin.
    load : callable
        Imports the modules of the work while signals wait, and returns the work.
    interrupted : callable
        Returns the end of the line that reports a Ctrl-C: the state that was left.

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
    """Make signals wait for the end of this block of a command's work: for late imports."""
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
    """Run the work, whose imports are done, and return the exit code."""
    import click

    try:
        work()
    except SystemExit:
        # click raises it when the reader of --help or --version left early, which is no error.
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
    """Return the system's message, with the file that it is about."""
    if error.strerror is None:
        return str(error)
    return f"'{error.filename}': {error.strerror}" if error.filename else error.strerror


def say(program: str, message: str, code: int = EXIT_DONE) -> int:
    """Print a message as one line on stderr, and return the exit code."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"{program}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def print_text(text: str) -> None:
    """Print on stdout, and raise OSError if that fails; a reader that left early is no error."""
    if not text or sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except OSError as error:
        _forget_stdout()
        if not isinstance(error, BrokenPipeError):
            raise OSError(f"stdout could not be written: {error.strerror}") from None


def counted(n: int, what: str) -> str:
    """Write a count and its noun, with the plural's s: "1 epoch", "12,000 images"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Lay out names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def format_seconds(seconds: float) -> str:
    """Write a duration: `0.034 s`, `12.3 s`, `4 min 05 s`, `2 h 07 min`."""
    if seconds < 9.995:
        return f"{seconds:.3g} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_bytes(count: int) -> str:
    """Write a size in decimal units: `812 B`, `40.1 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def _refuse(program: str, message: str) -> int:
    return say(program, f"error: {message}", EXIT_WRONG)


def _forget_stdout() -> None:
    """Send the rest of stdout nowhere, or the interpreter complains when it exits."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

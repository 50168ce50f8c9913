"""The frame of the commands gtn-label and gtn-train: exit codes, errors in one line, formatting.

All text goes to the terminal through `say` and `print_lines`, which escape control characters. A
failure is one line on stderr. Only the standard library is imported here: signals are served from
the start, and importing NumPy takes a moment.

Exit codes: 0 done; 1 the machine failed; 2 another command or input is needed; 3 a check found a
difference; 128 + n a signal. docs/options.md has the list for users.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from ..text import quoted, visible
from .interrupts import Interrupted, Interrupts

__all__ = [
    "EXIT_CODES",
    "EXIT_DIFFERENT",
    "EXIT_DONE",
    "EXIT_FAILED",
    "EXIT_PIPE",
    "EXIT_WRONG",
    "Refused",
    "counted",
    "exit_code",
    "format_bytes",
    "format_seconds",
    "held",
    "is_terminal",
    "json_text",
    "os_message",
    "print_lines",
    "run",
    "say",
    "table",
]

EXIT_DONE, EXIT_FAILED, EXIT_WRONG, EXIT_DIFFERENT = 0, 1, 2, 3
EXIT_PIPE = 128 + 13  # SIGPIPE, which Windows lacks

EXIT_CODES = """\
0 done
1 the machine failed: disk, memory, threads, GPU
2 wrong usage or input: change the command or its files
{more}128 + n ended by signal n: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP"""

# Errors of the system that another path or another mode of a file mends; all others are failures.
_WRONG_PATHS = (
    *(FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError),
)
_WRONG_PATH_NUMBERS = frozenset(
    [errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EROFS, errno.ENXIO, errno.ESPIPE]
)

_serving: Interrupts | None = None  # the handlers of `run`, while that does its work


class Refused(Exception):
    """An end of the command with a message and an exit code of its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code


def run(
    program: str,
    load: Callable[[], Callable[[], object]],
    interrupted: Callable[[], str],
    *,
    last: bool = False,
    earlier: Sequence[int] = (),
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
    last : bool
        True if the process ends after this call, with the exit code returned: signals that come
        after it are ignored.
    earlier : sequence of int
        Signals that came before this call: they end the command at once.

    Returns
    -------
    int
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and not stream.closed:
            stream.reconfigure(errors="backslashreplace")  # for letters that an encoding lacks
    with Interrupts(last) as interrupts, _known(interrupts), _warnings_said(program):
        try:
            if earlier:
                raise Interrupted(earlier[0])
            with interrupts.held():
                work = load()
        except KeyboardInterrupt as error:
            return say(program, "interrupted; nothing was written", exit_code(error))
        except ImportError as error:
            return _refuse(program, error)
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


@contextlib.contextmanager
def _warnings_said(program: str) -> Iterator[None]:
    """Show Python's warnings as all other messages are shown."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        say(program, f"warning: {_on_one_line(str(message))}")

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _serve(program: str, work: Callable[[], object], interrupted: Callable[[], str]) -> int:
    """Run the work, whose imports are done, and return the exit code."""
    import click

    try:
        work()
    except SystemExit:
        # click raises it when the reader of --help or --version left early, which is no error.
        _forget_stdout()
    except (click.Abort, KeyboardInterrupt) as error:
        return say(program, f"interrupted{interrupted()}", exit_code(error))
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = program if context is None else context.command_path
        return say(program, f"error: {error.format_message()} See {command} --help", EXIT_WRONG)
    except Refused as error:
        return say(program, f"error: {error.message}", error.code)
    except (OSError, MemoryError, ValueError, TypeError, ImportError, RuntimeError) as error:
        if isinstance(error, OSError) and _printed_by_click(error):
            _forget_stdout()
            error = _of_stdout(error)
        return _refuse(program, error)
    return EXIT_DONE


def _printed_by_click(error: OSError) -> bool:
    """Return True for an error of printing --help or --version."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__") == "click.utils"


def _of_stdout(error: OSError) -> OSError:
    return OSError(error.errno, f"stdout could not be written: {error.strerror}")


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that an exception ends.

    An exception tells with an attribute `exit_code` if the failure happened elsewhere.
    """
    if hasattr(error, "exit_code"):
        return int(error.exit_code)
    if isinstance(error, Refused):
        return error.code
    if type(error).__name__ == "Abort":  # click's, for a signal while it reads the command line
        error = error.__cause__ or error
    if isinstance(error, Interrupted):
        return 128 + error.signal
    if type(error).__name__ == "Abort" or isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, TimeoutError):
        return EXIT_FAILED
    if isinstance(error, OSError):
        wrong = isinstance(error, _WRONG_PATHS) or error.errno in (None, *_WRONG_PATH_NUMBERS)
        return EXIT_WRONG if wrong else EXIT_FAILED
    return EXIT_WRONG if isinstance(error, (ValueError, TypeError, ImportError)) else EXIT_FAILED


def os_message(error: OSError) -> str:
    """Return the system's message, with the file that it is about."""
    if error.strerror is None:
        return str(error)
    return f"{quoted(error.filename)}: {error.strerror}" if error.filename else error.strerror


def say(program: str, message: str, code: int = EXIT_DONE) -> int:
    """Print a message as one line on stderr, and return the exit code."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # the latter: it is closed
            print(f"{program}: {visible(message)}", file=sys.stderr, flush=True)
    return code


def print_lines(lines: Iterable[str], *, on_stderr: bool = False) -> None:
    """Print lines on stdout, or on stderr; a reader that left early is no error.

    Raises
    ------
    OSError
        If stdout cannot be written.
    """
    stream = sys.stderr if on_stderr else sys.stdout
    text = "\n".join(visible(line) for line in lines)
    if not text or stream is None or stream.closed:
        return
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if on_stderr:
            return
        _forget_stdout()
        if not isinstance(error, BrokenPipeError):
            raise _of_stdout(error) from None


def is_terminal(stream: Any) -> bool:
    """Return True for a stream that somebody reads as it is written; it may be None or closed."""
    with contextlib.suppress(OSError, ValueError):
        return stream is not None and bool(stream.isatty())
    return False


def json_text(value: Any, **options: Any) -> list[str]:
    """Return lines of JSON in which `visible` finds nothing to escape."""
    import json

    # JSON escapes all of ASCII's control characters but the last.
    return json.dumps(value, **options).replace("\x7f", "\\u007f").splitlines()


def counted(n: int, what: str) -> str:
    """Write a count and its noun, with the plural's s: "1 epoch", "12,000 images"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lay out names and values in two columns, a line each."""
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


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


def _refuse(program: str, error: Exception) -> int:
    if isinstance(error, OSError):
        message = os_message(error)
    elif isinstance(error, MemoryError):
        message = f"not enough memory: {error}" if str(error) else "not enough memory"
    else:
        message = str(error)
    if isinstance(error, (RuntimeError, ImportError, MemoryError)):
        message = _on_one_line(message)
    return say(program, f"error: {message}", exit_code(error))


def _on_one_line(message: str) -> str:
    """Join the lines of a message that another library wrote; in ours a line's end is a name's."""
    return re.sub(r"[ \t]*\n[ \t]*", " ", message.strip(" \t\n"))


def _forget_stdout() -> None:
    """Send the rest of stdout nowhere, or the interpreter complains when it exits."""
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

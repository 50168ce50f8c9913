"""The property that every reader obeys on any bytes: a sound value, or one documented exception.

A reader may raise ValueError, TypeError, OSError or ImportError, with a message that names the
file. Anything else is a `Finding`: another exception, a value that its target rejects, a warning,
text on stdout or stderr, a file left open or changed, code or a command that was executed, memory
beyond a limit. Crashes and hangs end the process, and worker.py sees to them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .targets import TARGETS, Target

__all__ = ["Finding", "Harness", "minimised", "missing"]

REFUSALS = (ValueError, TypeError, OSError, ImportError)
LONGEST_MESSAGE = 2000

# Audit events by which bytes would act. NumPy, zipfile and torch raise none of them while reading.
ACTS = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.kill", "os.putenv"),
    *("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate"),
    *("shutil.rmtree", "subprocess.Popen", "pickle.find_class", "webbrowser.open"),
    *("socket.connect", "socket.bind", "ctypes.dlopen"),
)

_acts: list[str] | None = None  # events seen, while a reader is at work


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _acts is None:
        return
    if event == "os.truncate" and isinstance(arguments[0], int):  # say which file that is
        with contextlib.suppress(OSError):
            arguments = (str(Path(f"/proc/self/fd/{arguments[0]}").readlink()), *arguments[1:])
    compiled = event == "exec" and getattr(arguments[0], "co_filename", "").startswith("<")
    if event in ACTS or compiled:
        _acts.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_hook)  # one for the life of the process: hooks cannot be removed


class Finding(NamedTuple):
    """A fault of a reader.

    Attributes
    ----------
    key
        Tells this fault from others: its kind, and the place in the sources.
    detail
        A line for people.
    data
        The input.
    """

    key: str
    detail: str
    data: bytes


def missing(name: str) -> str:
    """Return why a target cannot be tested here, or nothing."""
    needs = TARGETS[name].needs
    try:
        if needs:
            importlib.import_module(needs)
    except ImportError as error:
        return f"{needs} cannot be imported ({error})"
    return ""


class Harness:
    """Feeds inputs to one reader, in a folder of its own.

    Parameters
    ----------
    target
        The reader.
    folder
        Folder for the input.
    """

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self.path = folder / target.file
        self.values = self.refused = 0

    def check(self, data: bytes) -> Finding | None:
        """Read `data`; return the fault that this showed, if any."""
        for left in self.folder.iterdir():
            left.unlink()
        self.path.write_bytes(data)
        open_before = _open_files()
        fault = self._read(data)
        if fault is None and (left_open := _open_files() - open_before) > 0:
            fault = ("left open", f"{left_open} files left open")
        if fault is None and self.target.keeps and self.path.read_bytes() != data:
            fault = ("file changed", "the reader changed the file")
        return None if fault is None else Finding(*fault, data)

    def _read(self, data: bytes) -> tuple[str, str] | None:
        printed = io.StringIO()
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("always")
            fault = self._call(data)
        if fault is None and warned:
            first = warned[0]
            fault = (f"{first.category.__name__} shown", f"warns: {first.message}")
        if fault is None and printed.getvalue():
            fault = ("printed", f"prints: {printed.getvalue()[:200]!r}")
        return fault

    def _call(self, data: bytes) -> tuple[str, str] | None:
        try:
            with _watching() as acts:
                value = self.target.read(self.path)
        except REFUSALS as error:
            self.refused += 1
            fault = self._refusal(error)
        except Exception as error:
            fault = (_place(error), _line(error))
        else:
            self.values += 1
            fault = _wrong(self.target.inspect, data, value)
            del value
        if not self.target.keeps:  # this reader writes in its folder
            acts = [act for act in acts if str(self.folder) not in act]
        return (f"executed {acts[0].split()[0]}", f"executes: {acts[0]}") if acts else fault

    def _refusal(self, error: Exception) -> tuple[str, str] | None:
        """A message names the file, or its folder, in one piece of reasonable length."""
        text = str(error)
        if str(self.folder) not in text:
            return f"file not named: {_place(error)}", f"does not name the file: {_line(error)}"
        if len(text) > LONGEST_MESSAGE:
            return f"message too long: {_place(error)}", f"message of {len(text)} characters"
        return None


def _open_files() -> int:
    """Count the open files of this process; 0 where the system does not list them."""
    files = Path("/proc/self/fd")
    return sum(1 for _ in files.iterdir()) if files.is_dir() else 0


@contextlib.contextmanager
def _watching() -> Iterator[list[str]]:
    global _acts
    seen = _acts = []
    try:
        yield seen
    finally:
        _acts = None


def _wrong(
    inspect: Callable[[bytes, Any], None], data: bytes, value: Any
) -> tuple[str, str] | None:
    try:
        inspect(data, value)
    except AssertionError as error:
        what = str(error).splitlines()[0] if str(error) else _place(error)
        kind = re.sub(r"[^\x20-\x7e]|[\d.]+|\(.*\)|'.*'", "", what.split(":")[0])
        return f"wrong value: {kind[:80].strip()}", f"reads what is no sound value: {what[:300]}"
    except Exception as error:
        return f"value unusable: {_place(error)}", f"the value read is unusable: {_line(error)}"
    return None


def _place(error: BaseException) -> str:
    """Return the exception's type and the innermost line of this project that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/gtn_" in frame.filename] or frames[-1:]
    where = f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "?"
    return f"{type(error).__name__} in {where}"


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def minimised(harness: Harness, finding: Finding, tries: int = 400) -> Finding:
    """Drop pieces of an input, large ones first, while it shows the same fault."""
    best = finding
    size = len(finding.data) // 2
    while size and tries > 0:
        at = 0
        while at < len(best.data) and tries > 0:
            tries -= 1
            found = harness.check(best.data[:at] + best.data[at + size :])
            if found is not None and found.key == finding.key:
                best = found
            else:
                at += size
        size //= 2
    return best


@contextlib.contextmanager
def harness(name: str) -> Iterator[Harness]:
    """Make a harness for a target, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="gtn-fuzz-") as folder:
        yield Harness(TARGETS[name], Path(folder))

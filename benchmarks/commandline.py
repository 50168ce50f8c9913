"""What both commands share: values of options, a clock for progress, and how a run ends.

Not here: the options themselves (__main__.py, throughput_command.py).
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import check, machine, report
from benchmarks.suite import Sections

OUT = Path("benchmarks/out")


def shape(text: str) -> tuple[int, int]:
    """Parse ``50000x100``."""
    n, _, dim = text.partition("x")
    if not (n.isdigit() and dim.isdigit() and int(n) > 1 and int(dim) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 50000x100, with n > 1")
    return int(n), int(dim)


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def seconds(text: str) -> float:
    """Parse a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def chosen(text: str, known: dict[str, Any], word: str) -> list[str]:
    """Names that a comma-separated list of names or patterns stands for, in the list's order."""
    names: list[str] = []
    for pattern in filter(None, (part.strip() for part in text.split(","))):
        found = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            near = difflib.get_close_matches(pattern, known, 1, 0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise argparse.ArgumentTypeError(
                f"no {word} {pattern!r}; {hint}python -m benchmarks --list shows them"
            )
        names += [name for name in found if name not in names]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no {word}")
    return names


def clock() -> Callable[[str], None]:
    """Return what writes a line to stderr with the time since now."""
    began = time.monotonic()

    def say(line: str) -> None:
        elapsed = time.monotonic() - began
        print(f"[{elapsed:6.0f} s] {line}", file=sys.stderr, flush=True)

    return say


def end(signum: int, frame: object) -> NoReturn:
    """End as for Ctrl-C."""
    raise KeyboardInterrupt


def recorded(prefix: Path, steps: Sequence[Callable[[Sections], None]]) -> int:
    """Run the steps, each of which adds sections, and write what is known, however it ends.

    Returns
    -------
    int
        The exit code: 0, 1 after a wrong answer of this project, 130 after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, end)
    record: dict[str, Any] = {
        "schema": report.SCHEMA,
        "circumstances": machine.circumstances(),
        "ended": "",
        "sections": [],
    }
    code, text = 0, ""
    try:
        for step in steps:
            step(record["sections"])
            text = report.write(prefix, record)
    except KeyboardInterrupt:
        record["ended"], code = "interrupted: only what was measured by then is here", 130
    except check.WrongAnswer as error:
        record["ended"], code = f"WRONG ANSWER: {error}", 1
    if code:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not lose the rows
        text = report.write(prefix, record)
    print(text, end="")
    print(f"wrote {os.fspath(prefix)}.json and .md", file=sys.stderr)
    if record["ended"]:
        print(record["ended"], file=sys.stderr)
    return code

"""Running gtn-label: in this process, or in one of its own as a shell does.

A process of its own costs most of a second for imports. Only tests of what a process alone has
(signals, file descriptors, limits, modules loaded) start one.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from gtn_label.cli.main import main

COMMAND = [sys.executable, "-m", "gtn_label"]


def gtn_label(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(cwd)
    try:
        with (
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            mock.patch.dict(os.environ, environment(), clear=True),
        ):
            main([str(arg) for arg in args])
    except SystemExit as end:
        code = end.code
    finally:
        os.chdir(before)
    assert isinstance(code, int)
    return subprocess.CompletedProcess(list(args), code, stdout.getvalue(), stderr.getvalue())


def interruptible() -> None:
    """Let Ctrl-C through: a background job of a shell ignores it, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GTN_LABEL")}
    return {**kept, **extra}


def shell(*args: object, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder and in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        cwd=cwd,
        env=kwargs.pop("env", environment()),
        stdout=kwargs.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        preexec_fn=kwargs.pop("preexec_fn", interruptible),
        **kwargs,
    )


def start(*args: object, cwd: Path) -> subprocess.Popen[str]:
    """Start the command in a folder, for signals to be sent to it."""
    return subprocess.Popen(
        [*COMMAND, *map(str, args)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=interruptible,
    )


def child(script: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that prepares something and then calls the command's main()."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=interruptible,
    )


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


def gaussian(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.standard_normal(shape).astype(dtype)


def one_line(text: str) -> str:
    """The one message on stderr, without its prefix."""
    assert text.startswith("gtn-label: "), text
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text.removeprefix("gtn-label: ").rstrip("\n")

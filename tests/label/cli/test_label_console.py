"""The frame of both commands: exit codes, what reaches the terminal, and signals at the end."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import click
import numpy as np
import pytest

from command import COMMAND, child, environment, gaussian, gtn_label, interruptible, one_line, shell
from gtn_label import ArgumentError, ArgumentTypeError
from gtn_label.cli import console
from gtn_label.cli.interrupts import Interrupted, Interrupts

STEERING = "\x1b[2J\x07\x9b\x7f\u202e\u2028\r"
ESCAPED = r"\x1b[2J\x07\x9b\x7f\u202e\u2028\r"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "latents.npy", gaussian(50, 3))
    return tmp_path


def run(work: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = console.run("x", lambda: work, lambda: "; kept")
    return code, capsys.readouterr().err


# ------------------------------------------------------------------------------------ exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        # Another command or input mends it.
        (ValueError("v"), 2),
        (TypeError("t"), 2),
        (ArgumentError("cone", "must be >= 1", "0"), 2),
        (ArgumentTypeError("cone", "must be an int"), 2),
        (ImportError("i"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file", "f"), 2),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "f"), 2),
        (NotADirectoryError("worded"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 2),
        (FileExistsError("worded"), 2),
        (OSError(errno.ENAMETOOLONG, "File name too long"), 2),
        (OSError(errno.EROFS, "Read-only file system"), 2),
        (OSError("--out must be a regular file, and 'p' is none"), 2),
        (click.UsageError("u"), 2),
        # The machine failed.
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1),
        (OSError(errno.EFBIG, "File too large"), 1),
        (OSError(errno.EIO, "Input/output error"), 1),
        (OSError(errno.EMFILE, "Too many open files"), 1),
        (MemoryError(), 1),
        (TimeoutError("worded"), 1),
        (RuntimeError("CUDA error: out of order"), 1),
        (RuntimeError("can't start new thread"), 1),
        # It says so itself.
        (console.Refused("they differ", 3), 3),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (Interrupted(signal.SIGTERM), 143),
        (Interrupted(signal.SIGHUP), 129),
    ],
    ids=repr,
)
def test_exit_code_of_each_kind(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise error

    found, said = run(work, capsys)
    assert found == code
    assert said.count("\n") == 1


def test_a_failure_elsewhere_brings_its_code() -> None:
    error = RuntimeError("process 0 failed")
    error.exit_code = 2  # type: ignore[attr-defined]
    assert console.exit_code(error) == 2


def test_a_signal_while_click_reads_the_command_line() -> None:
    error = click.Abort()
    error.__cause__ = Interrupted(signal.SIGTERM)
    assert console.exit_code(error) == 143


@pytest.mark.parametrize("module", ["gtn_label", "gtn_train"])
def test_help_lists_the_codes(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
    )
    for line in console.EXIT_CODES.format(more="").splitlines():
        assert f"  {line}\n" in done.stdout


# ------------------------------------------------------------------------- what reaches the reader


def test_messages_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise ValueError(f"'{STEERING}\n' does not exist")

    assert run(work, capsys) == (2, f"x: error: '{ESCAPED}\\n' does not exist\n")


def test_messages_of_libraries_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise RuntimeError(f"CUDA error: {STEERING}\n  compile with DSA\n")

    assert run(work, capsys) == (1, f"x: error: CUDA error: {ESCAPED} compile with DSA\n")


def test_warnings_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"odd {STEERING}", RuntimeWarning, stacklevel=1)

    before = warnings.showwarning
    assert run(work, capsys) == (0, f"x: warning: odd {ESCAPED}\n")
    assert warnings.showwarning is before


def test_lines_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_lines([f"a{STEERING}", "b\nc"])
    assert capsys.readouterr().out == f"a{ESCAPED}\nb\\nc\n"


def test_json_is_visible_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {STEERING: "a\nb\x7f"}
    console.print_lines(console.json_text(value, indent=1))
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("where", ["path", "key", "option", "value", "output", "table", "json"])
def test_no_control_character_reaches_the_terminal(folder: Path, where: str) -> None:
    name = STEERING.replace("\x9b", "")  # some file systems refuse it
    arguments = {
        "path": [f"{name}.npy"],
        "key": ["keys.npz"],
        "option": ["latents.npy", f"--{STEERING}"],
        "value": ["latents.npy", "--order", STEERING],
        "output": ["latents.npy", "-o", f"{name}/pairs.npz"],
        "table": ["latents.npy", "-o", f"{name}.npz"],
        "json": ["latents.npy", "-o", f"{name}.npz", "--json"],
    }[where]
    np.savez(folder / "keys.npz", **{f"a{STEERING}": np.ones((3, 2)), "b": np.ones((3, 2))})
    done = gtn_label(*arguments, cwd=folder)
    assert done.returncode == (0 if where in ("table", "json") else 2)
    shown = done.stdout + done.stderr
    assert "1b[2J" in shown
    assert shown.replace("\n", "").isprintable(), repr(shown)


def test_bytes_of_a_path_without_an_encoding(folder: Path) -> None:
    name = os.fsdecode(b"\x9b31m\xff.npz")
    done = shell("latents.npy", "-o", name, cwd=folder)
    assert done.returncode == 0
    assert r"\udc9b31m\udcff.npz" in done.stdout


@pytest.mark.parametrize("stream", ["None", "closed"])
def test_without_streams(folder: Path, stream: str) -> None:
    """As under pythonw, and after a daemon has closed them."""
    script = f"""
import sys
if {stream == "None"}:
    sys.stdout = sys.stderr = None
else:
    sys.stdout.close(), sys.stderr.close()
from gtn_label.cli.main import main
main(sys.argv[1:])
"""
    for arguments, code in (((), 0), (("--cone", 0), 2)):
        done = child(script, "latents.npy", "-o", "pairs.npz", *arguments, cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_nul_in_an_argument(folder: Path) -> None:
    for option in ([], ["latents.npy", "--out"], ["latents.npy", "--sources"]):
        done = gtn_label(*option, "a\0b.npz", cwd=folder)
        assert done.returncode == 2
        assert "'a\\x00b.npz' holds a NUL character" in one_line(done.stderr)


# --------------------------------------------------------------------------------------- signals


def test_handlers_come_back_in_a_process_that_goes_on() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_last_signal_is_known() -> None:
    with Interrupts() as interrupts:
        assert interrupts.signal is None
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert caught.value.signal == interrupts.signal == signal.SIGTERM


AT_THE_END = """
import atexit, os, signal, sys
from gtn_label.cli import console
def late(what):
    os.write(2, what)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
class Late:
    def __del__(self):
        late(b"finalized\\n")
kept = Late()
kept.cycle = sys.modules["late"] = kept  # until modules are torn down
atexit.register(late, b"atexit\\n")
def work():
    if sys.argv[1] == "interrupted":
        signal.raise_signal(signal.SIGTERM)
code = console.run("x", lambda: work, lambda: "", last=True)
late(b"after\\n")
sys.exit(code)
"""


@pytest.mark.parametrize(("how", "code"), [("interrupted", 143), ("done", 0)])
def test_signals_while_the_process_ends_change_nothing(tmp_path: Path, how: str, code: int) -> None:
    done = child(AT_THE_END, how, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    said = "x: interrupted\n" if how == "interrupted" else ""
    assert done.stderr.startswith(f"{said}after\natexit\n")
    assert "Traceback" not in done.stderr


def test_a_process_that_waits_for_its_threads_can_be_ended(tmp_path: Path) -> None:
    script = """
import os, signal, sys, threading, time
from gtn_label.cli import console, interrupts
interrupts.GRACE_SECONDS = 0.2
def work():
    threading.Thread(target=time.sleep, args=(60,)).start()
    signal.raise_signal(signal.SIGINT)
code = console.run("x", lambda: work, lambda: "", last=True)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
sys.exit(code)
"""
    began = time.monotonic()
    done = child(script, cwd=tmp_path)
    assert done.returncode == 143
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("pause", [0.0, 0.02, 0.1])
def test_ctrl_c_again_and_again(tmp_path: Path, pause: float) -> None:
    """Signals that come until the process has gone, as from an impatient reader."""
    np.save(tmp_path / "latents.npy", gaussian(100_000, 64))
    process = subprocess.Popen(
        [*COMMAND, "latents.npy", "--backend", "cpu:scalar", "--threads", "1"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    time.sleep(2)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert stderr.count("interrupted") == 1
    assert "Traceback" not in stderr

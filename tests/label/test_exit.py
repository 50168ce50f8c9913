"""The end of the interpreter while other threads match: the program's own exit code, no abort.

Before Python 3.14 a daemon thread that asks for the GIL then is ended by the interpreter
(csrc/bindings/gil.hpp). Runs are ended a little earlier, by an atexit callback. Each case runs
several times, since the moment matters.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import command
from gtn_label.io.checkpoint_file import read_saved

PROGRAM = """
import sys, threading, time
from multiprocessing.pool import ThreadPool
import numpy as np
from gtn_label import match, match_approx, match_mixture, match_quantile

what, way, end, delay = sys.argv[1:]
latents = np.random.default_rng(0).standard_normal((60_000, 64), dtype=np.float32)
started = threading.Event()

def busy(done, total, seconds_left):  # gives the GIL away and takes it again, many times
    started.set()
    until = time.perf_counter() + 0.05
    while time.perf_counter() < until:
        time.sleep(0.0001)

def run():
    if what != "callback":
        started.set()
    if what == "cpu":
        match(latents, backend="cpu:scalar", threads=2)
    elif what == "callback":
        match(latents, backend="cpu:scalar", threads=2, progress=busy)
    elif what == "faiss:python":
        match(latents, backend="faiss:python", threads=4)
    elif what == "approx":
        match_approx(latents, index="IVF64,Flat", threads=2)
    elif what == "mixture":
        match_mixture(latents, 3, backend="cpu:scalar", threads=2)
    elif what == "quantile":
        while True:
            match_quantile(latents[:, 0])
    elif what == "numpy":  # the control
        while True:
            np.sort(latents, axis=None)

if way == "pool":
    pool = ThreadPool(2)
    pool.apply_async(run)
else:
    threading.Thread(target=run, daemon=True).start()
started.wait()
time.sleep(float(delay))
if end == "error":
    raise ValueError("the program's own")
if end == "exit":
    raise SystemExit(7)
if end == "ctrl-c":
    signal = __import__("signal")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
"""
EXIT_CODES = {"error": 1, "exit": 7, "ctrl-c": -signal.SIGINT, "return": 0}
DELAYS = ("0", "0.013", "0.13", "0.32")


@pytest.mark.skipif(sys.platform == "win32", reason="threads are not unwound there")
@pytest.mark.parametrize(
    ("what", "way", "end"),
    [
        *(("callback", "thread", end) for end in EXIT_CODES),
        ("callback", "pool", "error"),
        ("cpu", "thread", "exit"),
        ("cpu", "pool", "ctrl-c"),
        ("faiss:python", "thread", "error"),
        ("approx", "thread", "error"),
        ("mixture", "thread", "return"),
        ("quantile", "pool", "error"),
        ("numpy", "thread", "error"),
    ],
)
def test_the_exit_code_is_the_programs(what, way, end):
    if what in ("faiss:python", "approx"):
        pytest.importorskip("faiss")
    if what == "mixture":
        pytest.importorskip("sklearn")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, what, way, end, delay],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=command.environment(OMP_NUM_THREADS="2"),
        )
        for delay in (DELAYS if what == "callback" else DELAYS[-2:])
    ]
    try:
        outputs = [child.communicate(timeout=60) for child in children]
    finally:
        for child in children:
            child.kill()
    last = {"error": "ValueError: the program's own", "ctrl-c": "KeyboardInterrupt"}.get(end)
    for child, (out, err) in zip(children, outputs, strict=True):
        assert child.returncode == EXIT_CODES[end], err
        assert out == ""
        lines = err.splitlines()
        if last is None:
            assert lines == []
        else:  # one traceback and nothing after it
            assert lines[0] == "Traceback (most recent call last):"
            assert err.count("Traceback") == 1
            assert lines[-1] == last


AT_EXIT = """
import atexit, threading, time
import numpy as np

latents = np.random.default_rng(0).standard_normal((40_000, 32), dtype=np.float32)
lock = threading.Lock()

def last():  # registered first, called last
    with lock:
        print("free", len(match(latents[:500], backend=small).assignment))

atexit.register(last)
import gtn_label
from gtn_label import match
usable = [row.name for row in gtn_label.backends() if row.available]
small = "faiss:python" if "faiss:python" in usable else "cpu"
begun = threading.Event()

def run():
    with lock:
        match(
            latents,
            backend="cpu:scalar",
            threads=1,
            checkpoint="checkpoint",
            progress=lambda done, total, left: done and begun.set(),
        )

threading.Thread(target=run, daemon=True).start()
begun.wait()
"""


def test_runs_end_before_other_atexit_callbacks(tmp_path):
    # A run that ends lets go of its thread's locks and saves its checkpoint. Later runs work.
    ended = command.child(AT_EXIT, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "free 500\n", "")
    visited = read_saved(tmp_path / "checkpoint").arrays["visited"]
    assert 0 < len(visited) < 40_000

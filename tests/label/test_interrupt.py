"""Stopping a matching, and what other Python threads can do meanwhile.

No assertion is about seconds alone: a run that was stopped says how far it came, and it must not
have come to its end.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import engine
from datasets import make
from gtn_label import match

CHILD = """
import signal, sys
import numpy as np
import gtn_label

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
backend, listens = sys.argv[1], sys.argv[2] == "listens"
rng = np.random.default_rng(0)
latents = rng.standard_normal((150_000, 128), dtype=np.float32)
sources = rng.standard_normal((150_000, 128), dtype=np.float32)
far = [0]
def progress(done, total, seconds_left):
    far[0] = done
match = gtn_label.match  # imported before the signal can come
print("started", flush=True)
try:
    match(
        latents, sources, backend=backend, threads=1, progress=progress if listens else None
    )
except KeyboardInterrupt:
    print("interrupted", far[0], flush=True)
else:
    print("finished", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("listens", ["listens", "silent"])
@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_sigint_stops_a_run(delay, listens):
    # Scalar and one thread: minutes of work, so that only a stop can end it soon.
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, "cpu:scalar", listens], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "started\n"
        time.sleep(delay)
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=10)
    finally:
        child.kill()
        child.wait()
    word, _, far = rest.strip().partition(" ")
    assert word == "interrupted"
    assert int(far) < 150_000
    assert child.returncode == 0


class Stop(Exception):
    """Raised by a progress callback."""


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_of_the_progress_callback_stops_the_run(threads):
    latents, sources = make("gaussian", 30_000, 64)
    calls = []

    def progress(done, total, seconds_left):
        calls.append((done, total))
        raise Stop("enough")

    with pytest.raises(Stop, match="enough"):
        match(latents, sources, backend="cpu:scalar", threads=threads, progress=progress)
    assert len(calls) == 1
    assert calls[0][1] == 30_000
    assert calls[0][0] < 30_000


def test_an_exception_at_the_last_report_propagates():
    latents, sources = make("gaussian", 50, 3)

    def progress(done, total, seconds_left):
        if done == total:
            raise Stop

    with pytest.raises(Stop):
        match(latents, sources, progress=progress)


def test_a_run_after_a_stopped_one_is_right():
    latents, sources = make("gaussian", 5000, 16)

    def progress(done, total, seconds_left):
        raise Stop

    expected = match(latents, sources)
    with pytest.raises(Stop):
        match(latents, sources, progress=progress)
    engine.assert_same(match(latents, sources), expected)


def test_progress_counts_up_to_the_total():
    latents, sources = make("gaussian", 8000, 64)
    calls = []
    match(
        latents,
        sources[:7000],
        backend="cpu:scalar",
        progress=lambda done, total, seconds_left: calls.append((done, total, seconds_left)),
    )
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert done[-1] == 7000
    assert {call[1] for call in calls} == {7000}
    assert all(call[2] is None or call[2] >= 0 for call in calls)


def test_several_python_threads_match_at_once():
    problems = [make("gaussian", 1500 + 100 * i, 8 + i) for i in range(4)]
    expected = [match(latents, sources) for latents, sources in problems]
    results = [None] * len(problems)

    def work(at):
        for _ in range(3):
            results[at] = match(*problems[at], threads=2)

    workers = [threading.Thread(target=work, args=(at,)) for at in range(len(problems))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result, right in zip(results, expected, strict=True):
        engine.assert_same(result, right)


def test_other_python_threads_run_meanwhile():
    latents, sources = make("gaussian", 12_000, 64)
    ticks = 0
    finished = threading.Event()

    def tick():
        nonlocal ticks
        while not finished.wait(0.001):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        before = ticks
        match(latents, sources, backend="cpu:scalar", threads=1)
        during = ticks - before
    finally:
        finished.set()
        ticker.join()
    # A run that kept the interpreter to itself would let one or two through at its ends.
    assert during >= 10


def test_a_callback_may_match_too():
    latents, sources = make("gaussian", 400, 3)
    inner = []

    def progress(done, total, seconds_left):
        inner.append(match(latents, sources).assignment)

    outer = match(latents, sources, progress=progress)
    assert inner
    for assignment in inner:
        assert np.array_equal(assignment, outer.assignment)

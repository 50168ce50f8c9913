"""FAISS's process-wide settings: the user's other work with FAISS finds them as they were.

After success, errors and Ctrl-C, and with two matches at once.
"""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import engine
import gtn_label
from command import interruptible
from datasets import make
from gtn_label.backend import faiss_package

LATENTS, SOURCES = make("gaussian", 3000, 33)


@pytest.fixture
def faiss():
    """The installed package, with settings that are neither its defaults nor the engine's."""
    engine.forced("faiss:python")
    faiss = faiss_package.load()
    before = faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    faiss.cvar.distance_compute_blas_threshold = 33
    faiss.omp_set_num_threads(3)
    yield faiss
    faiss.cvar.distance_compute_blas_threshold = before[0]
    faiss.omp_set_num_threads(before[1])


def assert_restored(faiss) -> None:
    assert faiss.cvar.distance_compute_blas_threshold == 33
    assert faiss.omp_get_max_threads() == 3


class TestSettings:
    @pytest.fixture
    def seen(self, faiss, monkeypatch):
        """Settings during each call: (queries, threshold, threads)."""
        seen = []
        knn = faiss.knn

        def noting(queries, *arguments, **options):
            threshold = faiss.cvar.distance_compute_blas_threshold
            seen.append((len(queries), threshold, faiss.omp_get_max_threads()))
            return knn(queries, *arguments, **options)

        monkeypatch.setattr(faiss, "knn", noting)
        return seen

    @pytest.mark.parametrize("threads", [1, 2])
    def test_restored_after_success(self, faiss, seen, threads):
        gtn_label.match(LATENTS, SOURCES, backend="faiss:python", threads=threads)
        assert_restored(faiss)
        assert {call[2] for call in seen} == {1}
        assert {call[1] for call in seen if call[0] >= 16} == {1}

    def test_few_queries_need_no_setting(self, faiss, seen):
        gtn_label.match(LATENTS, SOURCES[:9], backend="faiss:python")
        assert {call[1] for call in seen} == {33}
        assert_restored(faiss)

    @pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_restored_after_an_error(self, faiss, monkeypatch, error, threads):
        knn, calls = faiss.knn, []

        def failing(*arguments, **options):
            calls.append(faiss.cvar.distance_compute_blas_threshold)
            if len(calls) == 3:
                raise error("third call")
            return knn(*arguments, **options)

        monkeypatch.setattr(faiss, "knn", failing)
        with pytest.raises(error, match="third call"):
            gtn_label.match(LATENTS, SOURCES, backend="faiss:python", threads=threads)
        assert 1 in calls
        assert_restored(faiss)

    def test_two_matches_at_once(self, faiss, monkeypatch):
        """The first to end must not restore what the other still needs."""
        knn = faiss.knn
        both = threading.Barrier(2, timeout=60)
        ended = threading.Event()
        inside, after = threading.local(), []

        def meeting(queries, rows, *arguments, **options):
            if not hasattr(inside, "met"):
                inside.met = True
                both.wait()
                if len(rows) == len(LATENTS):  # the one that stays
                    assert ended.wait(60)
                    after.append(faiss.cvar.distance_compute_blas_threshold)
            return knn(queries, rows, *arguments, **options)

        monkeypatch.setattr(faiss, "knn", meeting)

        def match(count):
            return gtn_label.match(
                LATENTS[:count], SOURCES[:count], backend="faiss:python", threads=1
            )

        with ThreadPoolExecutor(2) as pool:
            long, short = pool.submit(match, 3000), pool.submit(match, 500)
            short.result()
            ended.set()
            long.result()
        assert after == [1]
        assert_restored(faiss)

    def test_restored_by_the_next_call_if_a_restoring_was_cut_short(self):
        faiss = SimpleNamespace(cvar=SimpleNamespace(distance_compute_blas_threshold=20))
        settings = faiss_package._BlasForAll()

        class Cut:
            """A lock during whose second use Ctrl-C arrives."""

            uses = 0

            def __enter__(self):
                self.uses += 1
                if self.uses == 2:
                    raise KeyboardInterrupt

            def __exit__(self, *error):
                pass

        settings._lock = Cut()
        with pytest.raises(KeyboardInterrupt), settings(faiss, 100):
            pass
        assert faiss.cvar.distance_compute_blas_threshold == 1
        gc.collect()  # the exception, and with it the call
        with settings(faiss, 100):
            pass
        assert faiss.cvar.distance_compute_blas_threshold == 20


CHILD = """
import signal, sys
import numpy as np
import gtn_label
from gtn_label.backend import faiss_package

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
way, threads = sys.argv[1], int(sys.argv[2])
if way == "faiss:python":
    faiss = faiss_package.load()
    faiss.cvar.distance_compute_blas_threshold = 33
    faiss.omp_set_num_threads(3)
rng = np.random.default_rng(0)
latents = rng.standard_normal((400_000, 128), dtype=np.float32)
sources = rng.standard_normal((400_000, 128), dtype=np.float32)
far = [-1]
def progress(done, total, seconds_left):
    if far[0] < 0:
        print("started", flush=True)
    far[0] = done
try:
    gtn_label.match(latents, sources, backend=way, threads=threads, progress=progress)
except KeyboardInterrupt:
    print("interrupted", far[0], flush=True)
if way == "faiss:python":
    print(faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("way", ["faiss:python", "faiss:linked"])
@pytest.mark.parametrize("threads", [1, 2])
def test_sigint_stops_a_run_and_leaves_settings(way, threads):
    engine.forced(way)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, way, str(threads)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    try:
        assert child.stdout.readline() == "started\n"
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=10)
    finally:
        child.kill()
        child.wait()
    words = rest.split()
    assert words[0] == "interrupted", rest
    assert int(words[1]) < 400_000
    assert words[2:] == (["33", "3"] if way == "faiss:python" else [])
    assert child.returncode == 0

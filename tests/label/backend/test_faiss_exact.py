"""The Python object that the engine searches by: what it is given, and what it may return.

Objects of the tests take FAISS's place, which therefore need not be installed.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

import engine
import gtn_label
from datasets import make
from gtn_label.backend import faiss_exact, faiss_package

LATENTS, SOURCES = make("gaussian", 3000, 33)


class Search(faiss_exact.FlatIndex):
    """FAISS's search, in NumPy, for what is returned to be changed."""

    def __init__(self, change=lambda scores, positions: (scores, positions)):
        self.change = change

    def search(self, rows, queries, k):
        scores = queries @ rows.T
        positions = np.argsort(-scores, axis=1, kind="stable")[:, :k].copy()
        return self.change(np.take_along_axis(scores, positions, axis=1), positions)


@pytest.fixture
def install(monkeypatch):
    """Let an object search in place of the package."""
    monkeypatch.setattr(faiss_package, "missing", lambda: "")

    def install(index):
        record = {"way": "python", "version": "0", "device": "cpu"}
        monkeypatch.setattr(faiss_exact, "flat_index", lambda device, dim: (index, record))

    return install


def match_by_object(threads=1):
    return gtn_label.match(LATENTS, SOURCES, backend="faiss:python", threads=threads)


class TestObject:
    def test_one_that_keeps_to_the_rules(self, install):
        install(Search())
        engine.assert_same(match_by_object(), gtn_label.match(LATENTS, SOURCES))

    def test_missing_positions_cost_time_only(self, install):
        def change(scores, positions):
            positions[::7, 0] = -1  # of the best
            return scores, positions

        install(Search(change))
        engine.assert_same(match_by_object(), gtn_label.match(LATENTS, SOURCES))

    @pytest.mark.parametrize(
        ("change", "kind", "message"),
        [
            (lambda s, p: (s.astype(float), p), TypeError, "C-contiguous float32 scores"),
            (lambda s, p: (s, p.astype(np.int32)), TypeError, "C-contiguous int64 positions"),
            (lambda s, p: (np.asfortranarray(s), p), TypeError, "C-contiguous float32 scores"),
            (lambda s, p: (s.tolist(), p), TypeError, "C-contiguous float32 scores"),
            (lambda s, p: (s[:, :-1].copy(), p), ValueError, r"float32 scores of shape \(\d+, "),
            (lambda s, p: (s, p[:-1]), ValueError, r"int64 positions of shape \(\d+, \d+\)"),
            (lambda s, p: (s, p.ravel()), ValueError, r"int64 positions of shape \(\d+, \d+\)"),
            (lambda s, p: (s, p, p), TypeError, r"must return \(scores, positions\)"),
            (lambda s, p: None, TypeError, "NoneType"),
            (lambda s, p: (s, p + 3000), RuntimeError, r"FAISS returned row \d+ with"),
            (lambda s, p: (s, p * 0 - 2), RuntimeError, "FAISS returned row -2 with"),
            (lambda s, p: (s * np.nan, p), RuntimeError, "with inner product nan"),
            (lambda s, p: (s * 0 + 9, p), RuntimeError, "with inner product 9.0"),
        ],
    )
    @pytest.mark.parametrize("threads", [1, 2])
    def test_one_that_breaks_them(self, change, kind, message, threads, install):
        install(Search(change))
        with pytest.raises(kind, match=message):
            match_by_object(threads)

    @pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
    def test_what_it_raises_in_a_worker_thread_reaches_the_caller(self, kind, install):
        error = kind("in a worker")
        raised = threading.Event()
        caller = threading.get_ident()

        class Raising(Search):
            def search(self, rows, queries, k):
                if threading.get_ident() == caller:
                    assert raised.wait(60)  # the worker thread must get a part
                    return super().search(rows, queries, k)
                raised.set()
                raise error

        install(Raising())
        with pytest.raises(kind) as caught:
            match_by_object(threads=2)
        assert caught.value is error

    def test_rows_cannot_be_written(self, install):
        class Writing(Search):
            def search(self, rows, queries, k):
                rows[0, 0] = 5

        install(Writing())
        with pytest.raises(ValueError, match="read-only"):
            match_by_object()

    def test_one_that_reads_no_rows_is_given_none(self, install):
        class Copying(Search):
            reads_rows = concurrent = False

            def load(self, rows):
                self.rows = rows.copy()

            def search(self, rows, queries, k):
                assert rows is None
                assert threading.get_ident() == caller
                return super().search(self.rows, queries, k)

        caller = threading.get_ident()
        install(Copying())
        engine.assert_same(match_by_object(threads=2), gtn_label.match(LATENTS, SOURCES))

    def test_most_k_is_kept_to(self, install):
        class Narrow(Search):
            most_k = 5
            largest = 0

            def search(self, rows, queries, k):
                self.largest = max(self.largest, k)
                return super().search(rows, queries, k)

        index = Narrow()
        install(index)
        engine.assert_same(match_by_object(), gtn_label.match(LATENTS, SOURCES))
        assert index.largest == 5
        with pytest.raises(
            ValueError, match=r"^cone must be at most 5 for FAISS on cpu, .* got 6$"
        ):
            gtn_label.match(LATENTS, SOURCES, backend="faiss:python", cone=6)

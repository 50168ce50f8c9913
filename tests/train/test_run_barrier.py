"""Barrier: process 0 works, the others wait for it, hear of its error, and give up at last.

Threads stand for processes here, with torch's store in memory between them; two real ones are in
test_cli_processes.py.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from gtn_label.cli.console import exit_code
from gtn_label.cli.interrupts import Interrupted
from gtn_train.run import barrier
from gtn_train.run.barrier import VARIABLE, Barrier, FirstProcessFailed


@pytest.fixture(autouse=True)
def prompt(monkeypatch):
    monkeypatch.setattr(barrier, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(barrier, "LEAVE_SECONDS", 2.0)


def meet(*works, seconds=5.0):
    """Run one function a process, the first of them in process 0; returns results or errors."""
    store = torch.distributed.HashStore()

    def run(rank):
        try:
            place = Barrier(store, first=rank == 0, count=len(works), seconds=seconds)
            with place:
                return works[rank](place)
        except BaseException as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, range(len(works))))


def test_alone_it_only_calls():
    with Barrier() as place:
        assert place.tell(lambda: (1, 2)) == (1, 2)
        assert place.first(lambda: "x") == "x"


def test_others_wait_for_the_word_of_the_first():
    begun = threading.Event()

    def first(place):
        assert begun.wait(5)
        return place.tell(lambda: {"a": [1, None]}), place.first(lambda: object) is object

    def other(place):
        begun.set()
        return place.tell(pytest.fail), place.first(pytest.fail)

    found = meet(first, other, other)
    assert found == [({"a": [1, None]}, True), ({"a": [1, None]}, None), ({"a": [1, None]}, None)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no such data"), "process 0 failed: no such data"),
        (OSError(28, "No space left on device", "x.npy"), "process 0 failed: 'x.npy': No space"),
        (KeyError(), "process 0 failed: KeyError"),
    ],
)
def test_an_error_of_the_first_reaches_all(error, message):
    def fails():
        raise error

    ours, *theirs = meet(lambda place: place.tell(fails), *[lambda place: place.tell(None)] * 2)
    assert ours is error
    for found in theirs:
        assert isinstance(found, FirstProcessFailed)
        assert str(found).startswith(message)
        assert exit_code(found) == exit_code(error)


def test_an_interruption_of_the_first_interrupts_all():
    def interrupted():
        raise KeyboardInterrupt

    found = meet(lambda place: place.tell(interrupted), lambda place: place.tell(None))
    assert [type(error) for error in found] == [KeyboardInterrupt, Interrupted]


def test_the_signal_that_ended_the_first_ends_all():
    def terminated():
        raise Interrupted(signal.SIGTERM)

    found = meet(lambda place: place.tell(terminated), lambda place: place.tell(None))
    assert [exit_code(error) for error in found] == [143, 143]


def test_an_error_that_follows_from_the_first_one_is_told_as_that():
    """As in a collective, whose other end has gone."""
    gone = threading.Event()

    def first(place):
        gone.set()
        raise ValueError("disk full")

    def other(place):
        assert gone.wait(5)
        raise RuntimeError("connection closed by peer")

    _, found = meet(first, other)
    assert str(found) == "process 0 failed: disk full"


def test_an_error_after_the_last_barrier_reaches_all_too():
    def first(place):
        raise ValueError("late")

    assert str(meet(first, lambda place: None)[1]) == "process 0 failed: late"


def test_an_error_of_another_process_stays_its_own(monkeypatch):
    monkeypatch.setattr(barrier, "LEAVE_SECONDS", 0.2)

    def other(place):
        raise ValueError("mine")

    ours, theirs = meet(lambda place: "done", other)
    assert ours == "done"
    assert str(theirs) == "mine"


def test_waiting_has_a_limit(monkeypatch):
    monkeypatch.setattr(barrier, "LEAVE_SECONDS", 0.1)
    release = threading.Event()

    def other(place):
        try:
            place.tell(pytest.fail)
        finally:
            release.set()

    _, found = meet(lambda place: release.wait(5), other, seconds=0.1)
    assert isinstance(found, TimeoutError)
    assert f"within 0.1 s; the environment variable {VARIABLE} sets this limit" in str(found)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
def test_a_limit_that_is_none(monkeypatch, given):
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(ValueError, match=f"{VARIABLE} must be a number of seconds > 0, got"):
        Barrier()

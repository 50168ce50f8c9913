"""What is built on all_gather: arrays of unequal length, agreement, errors that all ranks raise."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_label import ArgumentError, ArgumentTypeError
from gtn_label.cluster import Solo, exchange, match_sharded
from gtn_label.cluster.exchange import (
    agree,
    gather,
    gather_rows,
    gather_texts,
    hand_out,
    leave,
    on_all_ranks,
    ranks_named,
    settle,
    together,
)
from thread_exchange import outcomes_of, run_ranks


@pytest.fixture(params=[16 << 20, 48], ids=["whole", "pieces"])
def pieces(request, monkeypatch):
    """Bytes of a collective: many calls must give what one gives."""
    monkeypatch.setattr(exchange, "MOST_BYTES", request.param)


@pytest.mark.parametrize("world", [1, 2, 5])
def test_rows_of_unequal_length(pieces, world):
    counts = [0, 7, 1, 30, 2][-world:]
    rows = [np.arange(2 * count).reshape(count, 2) + 100 * count for count in counts]
    for found in run_ranks(world, lambda e: gather_rows(e, rows[e.rank])):
        for part, expected in zip(found, rows, strict=True):
            np.testing.assert_array_equal(part, expected)
            assert part.dtype == expected.dtype


def test_single_values_texts_and_nothing(pieces):
    def work(e):
        assert gather(e, np.int64(e.rank)).tolist() == [0, 1, 2]
        assert gather(e, np.empty((0, 4))).shape == (3, 0, 4)
        texts = ["", "latents: π", "x" * 100]
        assert gather_texts(e, texts[e.rank]) == texts

    run_ranks(3, work)


@pytest.mark.parametrize("broadcast", [False, True])
def test_hand_out(pieces, broadcast):
    def work(e):
        if broadcast:

            def send(buffer, root):
                parts = bytearray(e.world * len(buffer))
                e.all_gather(buffer, memoryview(parts))
                buffer[:] = parts[root * len(buffer) :][: len(buffer)]

            e.broadcast = send
        array = np.full((5, 3), e.rank, np.float64)
        hand_out(e, array, root=2)
        assert (array == 2).all()
        hand_out(e, np.empty(0))

    run_ranks(3, work)
    alone = np.arange(3)
    hand_out(Solo(), alone)
    assert alone.tolist() == [0, 1, 2]


def test_ranks_named():
    assert ranks_named([0, 1]) == "ranks 0 and 1"
    assert ranks_named([4, 2, 3]) == "ranks 2 to 4"
    assert ranks_named(range(0, 40, 2)) == ("ranks 0, 2, 4, 6, 8, 10, 12, 14 and 20 in all")


def test_an_exchange_in_another_order_is_refused():
    def work(e):
        send = e.all_gather

        def turned(sent, received):
            parts = bytearray(len(received))
            send(sent, memoryview(parts))
            received[:] = bytes(parts[len(sent) :]) + bytes(parts[: len(sent)])

        e.all_gather = turned
        match_sharded(np.eye(3), exchange=e)

    for found in outcomes_of(2, work):
        assert str(found) == (
            "exchange must receive from all ranks, in their order, got rank 1 of 2; rank 0 of 2"
        )


def test_agreement():
    def work(e, last):
        agree(e, {"a": [1, None], "b": last if e.rank == 2 else "x", "c": e.rank})

    run_ranks(1, lambda e: work(e, "x"))
    for found in outcomes_of(3, lambda e: work(e, None)):
        assert isinstance(found, ArgumentError)
        assert str(found) == (
            "b must be the same on all ranks, got x on ranks 0 and 1, none on rank 2"
        )
        assert on_all_ranks(found)

    def lacks(e):
        agree(e, {"a": 1} if e.rank else {"a": 1, "b": 2})

    assert str(outcomes_of(2, lacks)[1]).endswith("got 2 on rank 0, nothing on rank 1")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ArgumentError("cone", "must be >= 1", "0", "pass {order}"),
         "cone must be >= 1, got 0 on rank 1; pass order"),
        (ArgumentTypeError(("a", "b"), "must be ints"), "a and b must be ints (on rank 1)"),
        (ValueError("no"), "rank 1: no"),
        (FileNotFoundError(2, "gone", "x"), "rank 1: gone: 'x'"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "UnicodeDecodeError: rank 1: 'utf-8'"),
        (KeyError("k"), "rank 1: 'k'"),
    ],
)  # fmt: skip
def test_one_error_on_all_ranks(error, message):
    def work(e):
        with together(e):
            if e.rank == 1:
                raise error

    outcomes = outcomes_of(3, work)
    assert {type(each) for each in outcomes} <= {type(error), RuntimeError}
    for found in outcomes:
        assert message in str(found)
        assert on_all_ranks(found)
        assert getattr(found, "errno", None) == getattr(error, "errno", None)
    assert outcomes[1].__cause__ is error
    with pytest.raises(type(error)) as alone:
        settle(Solo(), error)
    assert alone.value is error


def test_the_same_error_on_all_ranks_names_none():
    outcomes = outcomes_of(2, lambda e: settle(e, ValueError("no rows")))
    assert [str(each) for each in outcomes] == ["no rows"] * 2


def test_an_interrupted_rank_interrupts_the_others():
    def work(e):
        if e.rank == 1:
            raise KeyboardInterrupt
        with together(e):
            pass

    outcomes = outcomes_of(3, work)
    assert all(isinstance(each, KeyboardInterrupt) for each in outcomes)
    assert str(outcomes[2]) == "rank 1 was interrupted"


def test_an_exchange_without_abort_is_left_alone():
    leave(Solo(), ValueError("x"))

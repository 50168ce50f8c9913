"""match_sharded gives the bits of match, for any number of ranks and any dealing of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import make
from gtn_label import ArgumentError, ArgumentTypeError, match
from gtn_label.cluster import ShardedMatching, call, match_sharded, matching
from sharded_cases import DEALINGS, assert_is, deal, parts_of, whole
from thread_exchange import outcomes_of, run_ranks

WORLDS = (1, 2, 3, 5)


@pytest.mark.parametrize("dealing", DEALINGS)
@pytest.mark.parametrize("world", WORLDS)
def test_number_of_ranks_and_dealing(world, dealing):
    latents, sources = make("gaussian", 150, 6)
    assert_is(parts_of(latents, sources, world, dealing), match(latents, sources))


@pytest.mark.parametrize("order", ["norm", "norm_desc", "index"])
@pytest.mark.parametrize("cone", [1, 4, 500])
def test_orders_and_cones(order, cone):
    latents, sources = make("lattice", 120, 3)
    options = {"order": order, "cone": cone}
    for world, dealing in ((1, "rows"), (3, "blocks")):
        parts = parts_of(latents, sources[:100], world, dealing, **options)
        assert_is(parts, match(latents, sources[:100], **options))


@pytest.mark.parametrize("dealing", ["contiguous", "blocks", "rows"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_centred(dealing, dtype):
    rng = np.random.default_rng(3)
    latents = (rng.normal(size=(2500, 3)) * rng.uniform(0, 9, (2500, 1)) + 7).astype(dtype)
    sources = rng.normal(size=(60, 3))
    expected = match(latents, sources, center=True)
    for world in (1, 3):
        assert_is(parts_of(latents, sources, world, dealing, center=True), expected)


def test_equal_rows_on_all_ranks():
    latents, sources = make("repeated 50 times", 150, 3)
    for world in (2, 5):
        assert_is(parts_of(latents, sources, world), match(latents, sources))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int32", "big-endian", "torch"])
def test_dtypes(kind):
    rng = np.random.default_rng(1)
    latents = rng.integers(-9, 9, (60, 4)).astype(np.float32) + np.float32(0.25)
    if kind == "torch":
        latents = pytest.importorskip("torch").tensor(latents)
    elif kind == "bfloat16":
        latents = latents.astype(pytest.importorskip("ml_dtypes").bfloat16)
    else:
        latents = latents.astype(">f8" if kind == "big-endian" else kind)
        latents[(latents == 0).all(axis=1)] = 1
    for sources in (None, rng.normal(size=(40, 4))):
        expected = match(latents, sources, seed=4)
        parts = parts_of(latents, sources, 3, "blocks", seed=4)
        assignment, cosine = whole(parts)
        np.testing.assert_array_equal(assignment, np.asarray(expected.assignment))
        np.testing.assert_array_equal(cosine, np.asarray(expected.cosine))
        assert parts[0].latents.dtype == latents.dtype


def test_drawn_sources_are_those_of_match():
    latents, _ = make("gaussian", 90, 4)
    expected = match(latents, seed=7)
    parts = parts_of(latents, None, 4, "blocks", seed=7)
    assert_is(parts, expected)
    np.testing.assert_array_equal(np.concatenate([p.sources for p in parts]), expected.sources)
    assert [len(part) for part in parts] == [22, 23, 22, 23]


def test_more_ranks_than_rows():
    latents, sources = make("gaussian", 3, 2)
    assert_is(parts_of(latents, sources, 5), match(latents, sources))
    assert_is(parts_of(latents, None, 5), match(latents))


def test_consecutive_rows_need_no_index():
    latents, sources = make("gaussian", 70, 3)
    cuts = (0, 10, 10, 70)

    def work(exchange):
        begin, end = cuts[exchange.rank : exchange.rank + 2]
        return match_sharded(latents[begin:end], sources[begin:end], exchange=exchange)

    parts = run_ranks(3, work)
    assert_is(parts, match(latents, sources))
    np.testing.assert_array_equal(parts[2].latent_index, np.arange(10, 70))


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_change_nothing(monkeypatch, chunk):
    monkeypatch.setattr(matching, "CHUNK", chunk)
    latents, sources = make("lattice", 100, 3)
    for order in ("norm", "norm_desc"):
        parts = parts_of(latents, sources, 3, "contiguous", order=order)
        assert_is(parts, match(latents, sources, order=order))


@settings(max_examples=40)
@given(data=st.data())
def test_any_dealing(data):
    """Integers of few values: ties of scores and norms, and equal rows on several ranks."""
    world, m, dim = (data.draw(st.integers(1, most)) for most in (5, 40, 3))
    n = data.draw(st.integers(1, m))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    latents, sources = (rng.integers(1, 4, (rows, dim)).astype("f4") for rows in (m, n))
    owner, visitor = rng.integers(0, world, m), rng.integers(0, world, n)
    options = {
        "order": data.draw(st.sampled_from(["norm", "norm_desc", "index"])),
        "cone": data.draw(st.integers(1, 5)),
    }

    def work(exchange):
        mine, own = (np.flatnonzero(each == exchange.rank) for each in (owner, visitor))
        return match_sharded(
            latents[mine], sources[own], index=mine, source_index=own, exchange=exchange, **options
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "CHUNK", data.draw(st.integers(1, 50)))
        assert_is(run_ranks(world, work), match(latents, sources, **options))


def test_the_result_describes_itself():
    latents, sources = make("gaussian", 40, 3)
    parts = parts_of(latents, sources, 2, cone=2, backend="cpu", threads=1)
    one = parts_of(latents, sources, 1, cone=2)[0]
    for part in parts:
        assert isinstance(part, ShardedMatching)
        assert (part.n, part.m, part.dim, len(part)) == (40, 40, 3, 20)
        assert part.meta == parts[0].meta
        assert part.meta["fingerprints"] == one.meta["fingerprints"]
        assert part.meta["seed"] is None
        assert {
            "cone": 2,
            "method": "match",
            "contract": 1,
            "world": 2,
        }.items() <= part.meta.items()
        assert part.stats["threads_from"] == "argument"
        np.testing.assert_array_equal(part.latents, latents[part.latent_index])
        np.testing.assert_array_equal(part.sources, sources[part.source_index])
    assert repr(parts[1]) == (
        "<ShardedMatching: rank 1 of 2, 20 of 40 sources to 40 latents, dim 3>"
    )


def test_progress_is_shown_by_rank_0():
    latents, sources = make("gaussian", 50, 3)
    calls = []

    def work(exchange):
        def progress(*values, rank=exchange.rank):
            calls.append((rank, *values))

        return match_sharded(latents, sources, exchange=exchange, progress=progress)

    run_ranks(1, work)
    assert calls[-1][:3] == (0, 50, 50)


def test_threads_of_a_rank(monkeypatch):
    cpus = call.machine_threads()
    for variables, expected in (
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, max(1, cpus // 2)),
        ({"LOCAL_WORLD_SIZE": "2"}, max(1, cpus // 2)),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3"}, 3),
        ({"LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}, 1),
        ({"LOCAL_WORLD_SIZE": "2", "GTN_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, 2),
    ):
        for name in ("LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "GTN_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert call.rank_threads(None) == expected
    assert call.rank_threads(1).decided_by == "argument"


# -------------------------------------------------------------------------------- what is refused


def refused(latents, sources=None, world=3, dealing="rows", **options):
    """The message that all ranks raise."""
    latents = np.asarray(latents)
    index = deal(dealing, len(latents), world)

    def work(exchange):
        own = None if sources is None else deal(dealing, len(sources), world)[exchange.rank]
        each = {
            name: value[exchange.rank] if isinstance(value, tuple) else value
            for name, value in options.items()
        }
        return match_sharded(
            latents[index[exchange.rank]],
            None if own is None else sources[own],
            exchange=exchange,
            **({"index": index[exchange.rank], "source_index": own} | each),
        )

    outcomes = outcomes_of(world, work)
    messages = {f"{type(each).__name__}: {each}" for each in outcomes}
    assert len(messages) == 1, messages
    return messages.pop()


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("fault", ["nan", "zero", "overflow", "underflow", "two", "many"])
def test_bad_rows_in_the_words_of_match(fault, world):
    latents, sources = (np.array(rows, np.float64) for rows in make("gaussian", 40, 3))
    bad = {"nan": np.nan, "zero": 0, "overflow": 1e200, "underflow": 1e-200}
    if fault in bad:
        sources[17] = bad[fault]
    elif fault == "two":
        latents[[31, 5, 8], :] = 0
        sources[3] = np.inf
        latents[9, 1] = np.inf
    else:
        latents[7:29] = 0
    with pytest.raises(ArgumentError) as one:
        match(latents, sources)
    assert refused(latents, sources, world) == f"ArgumentError: {one.value}"


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("fault", ["nan", "mean row", "huge"])
def test_bad_rows_when_centred(fault, world):
    latents = np.array(np.random.default_rng(2).integers(-3, 3, (40, 2)), np.float64)
    if fault == "nan":
        latents[33, 1] = np.nan
    elif fault == "mean row":
        latents[-1] = 0
        latents[:39] = np.repeat([[1, 2], [-1, -2], [0, 0]], 13, axis=0)
    else:
        latents[:] = 1e307 * (np.abs(latents) + 9)
        latents[3] = 0  # which is fine, as the mean is not
    with pytest.raises(ArgumentError) as one:
        match(latents, latents[:5] + 1, center=True)
    assert fault != "huge" or "overflow was found in 39 of 40 rows: rows 0, 1, 2, 4" in str(
        one.value
    )
    message = refused(latents, latents[:5] + 1, world, center=True)
    assert message == f"ArgumentError: {one.value}"


def test_more_sources_than_latents():
    latents, sources = make("gaussian", 20, 2)
    with pytest.raises(ArgumentError) as one:
        match(latents[:19], sources)
    assert refused(latents[:19], sources) == f"ArgumentError: {one.value}"


def test_options_that_differ_name_the_ranks():
    latents, _ = make("gaussian", 20, 2)
    for options, message in (
        ({"order": ("norm", "index", "norm")}, "order must be the same on all ranks, got norm on "
         "ranks 0 and 2, index on rank 1"),
        ({"cone": (1, 1, 2)}, "cone must be the same on all ranks, got 1 on ranks 0 and 1, "
         "2 on rank 2"),
        ({"seed": (0, 1, 1)}, "seed must be the same on all ranks, got 0 on rank 0, "
         "1 on ranks 1 and 2"),
        ({"center": (False, True, False)}, "center must be the same on all ranks, got False on "
         "ranks 0 and 2, True on rank 1"),
    ):  # fmt: skip
        assert refused(latents, **options) == f"ArgumentError: {message}"


def test_sources_on_one_rank_alone():
    def work(exchange):
        return match_sharded(np.eye(3), np.eye(3) if exchange.rank else None, exchange=exchange)

    messages = {str(error) for error in outcomes_of(2, work)}
    assert messages == {
        "sources must be the same on all ranks, got drawn on rank 0, given on rank 1"
    }


def test_versions_that_differ_name_the_ranks(monkeypatch):
    latents, _ = make("gaussian", 20, 2)
    versions = iter(["1.0", "1.0", "2.0"])
    record = call.Call.record
    monkeypatch.setattr(
        call.Call,
        "record",
        lambda call: record(call) | {"the version of gtn-label": next(versions)},
    )
    message = refused(latents)
    assert message.startswith(
        "ArgumentError: the version of gtn-label must be the same on all ranks, got "
    )


def test_an_option_that_one_rank_has_wrong():
    latents, _ = make("gaussian", 20, 2)
    assert refused(latents, cone=(1, 0, 1)) == "ArgumentError: cone must be >= 1, got 0 on rank 1"
    assert refused(latents, cone=0) == "ArgumentError: cone must be >= 1, got 0"
    assert refused(latents, order=("norm", "norm", 3)).endswith("got 3 on rank 2")
    assert refused(latents, threads=("x", 1, 1)).startswith("ArgumentTypeError: threads must be ")
    message = refused(latents, backend="faiss")
    assert "must be 'auto', 'cpu' or 'cuda'" in message or "available" in message
    rng = np.random.default_rng(0)
    assert refused(latents, seed=rng) == (
        "ArgumentTypeError: seed must be an int, from which each rank draws its own rows, got a "
        "numpy.random.Generator"
    )


def test_rows_that_do_not_fit_together():
    latents, sources = make("gaussian", 20, 2)
    index = deal("rows", 20, 3)
    twice = (index[0], index[1], np.append(index[2][:-1], 18))
    assert refused(latents, index=twice) == (
        "ArgumentError: index must give each of the 20 rows to one rank, got row 17 on no rank"
    )
    twice = (index[0], index[1], np.concatenate([[0], index[2][1:]]))
    assert refused(latents, index=twice) == (
        "ArgumentError: index must give each of the 20 rows to one rank, got row 0 on ranks 0 and 2"
    )
    falling = (index[0], index[1][::-1], index[2])
    assert refused(latents, index=falling) == (
        "ArgumentError: index must ascend, each row once, got 19 and then 16 on rank 1"
    )
    large = (index[0], np.append(index[1][:-1].astype(np.uint64), np.uint64(2**63)), index[2])
    assert refused(latents, index=large) == (
        "ArgumentError: index must hold rows below 2^63, got 9223372036854775808 on rank 1"
    )
    beyond = (index[0], np.append(index[1][:-1], 20), index[2])
    assert refused(latents, index=beyond) == (
        "ArgumentError: index must hold rows below the number of rows on all ranks, 20, got 20 on "
        "rank 1"
    )
    assert refused(latents, index=(index[0], index[0], None)).startswith("ArgumentError: index")
    assert refused(latents, sources, source_index=(index[0], index[1], index[1])).startswith(
        "ArgumentError: source_index must"
    )


def test_dims_and_dtypes_that_differ():
    latents, _ = make("gaussian", 20, 4)

    def work(exchange, change):
        return match_sharded(change(latents, exchange.rank), exchange=exchange)

    def messages(change):
        return {str(each) for each in outcomes_of(3, lambda e: work(e, change))}

    assert messages(lambda rows, rank: rows[:, : 3 + (rank > 0)]) == {
        "dim must be the same on all ranks, got 3 on rank 0, 4 on ranks 1 and 2"
    }
    assert messages(lambda rows, rank: rows.astype("f8" if rank == 1 else "f4")) == {
        "latents must have the same dtype on all ranks, got float32 on ranks 0 and 2, float64 on "
        "rank 1; convert them alike"
    }
    # Both are read as float32, and yet written as they are.
    assert messages(lambda rows, rank: rows.astype("f2" if rank == 1 else "f4")) == {
        "latents must have the same dtype on all ranks, got float32 on ranks 0 and 2, float16 on "
        "rank 1; convert them alike"
    }
    assert messages(lambda rows, rank: rows[:0]) == {
        "latents must have at least one row (n >= 1), got none on all 3 ranks"
    }


def test_a_rank_that_fails_ends_the_others():
    latents, _ = make("gaussian", 60, 3)

    def work(exchange):
        def progress(*_):
            raise OSError("no terminal")

        return match_sharded(latents, exchange=exchange, index=deal("rows", 180, 3)[exchange.rank],
                             progress=progress)  # fmt: skip

    outcomes = outcomes_of(3, work)
    assert isinstance(outcomes[0], OSError)
    for other in outcomes[1:]:
        assert isinstance(other, RuntimeError)
        assert str(other) == "rank 0 has left the run: OSError: no terminal"


def test_an_exchange_that_is_none():
    for exchange, message in (
        (3, "exchange must have the integers rank and world and the method all_gather"),
        (type("E", (), {"rank": 2, "world": 2}), "exchange must have a rank of 0 to world - 1"),
        (type("E", (), {"rank": 0, "world": 2}), "exchange must have the method all_gather"),
    ):
        with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
            match_sharded(np.eye(3), exchange=exchange)


def test_lists_that_run_out_one_by_one_stay_short():
    latents = make("gaussian", 60, 5)[0]
    parts = parts_of(latents, None, 8, "all on one rank", cone=60, threads=1)
    assert_is(parts, match(latents, cone=60, threads=1))
    stats = parts[0].stats
    assert stats["rescans"] > 50
    assert stats["bytes_received"] < 24 * 8 * (2 * 60 + 1) * (stats["rescans"] + 60)

"""match_optimal_sharded gives the bits of match_optimal for any number of ranks, any dealing."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import make, make_groups
from gtn_label import (
    ArgumentError,
    ArgumentTypeError,
    Matching,
    _core,
    match_optimal,
    open_pairs,
)
from gtn_label.certificate import expansion
from gtn_label.cluster import ShardedMatching, match_optimal_sharded, prices_file, save_pairs
from gtn_label.cluster.exchange import on_all_ranks
from sharded_cases import DEALINGS, assert_is_optimal, deal
from sharded_cases import parts_of as parts_of_any
from thread_exchange import outcomes_of, run_ranks

WORLDS = (1, 2, 3, 5)
parts_of = functools.partial(parts_of_any, verb=match_optimal_sharded)


def check(latents, sources, dealing=0, worlds=(1, 3), groups=None, **options):
    """Compare with `match_optimal`, and return the parts of the last world."""
    expected = match_optimal(latents, sources, groups=groups, threads=1, **options)
    for world in worlds:
        parts = parts_of(latents, sources, world, dealing, groups=groups, threads=1, **options)
        assert_is_optimal(parts, expected)
    return parts


@pytest.mark.parametrize("dealing", [*DEALINGS, 1, 2])
@pytest.mark.parametrize("world", WORLDS)
def test_number_of_ranks_and_dealing(world, dealing):
    latents, sources = make("gaussian", 90, 5)
    check(latents, sources, dealing, [world])
    check(latents, sources[:60], dealing, [world], tolerance=1e-2)


@pytest.mark.parametrize("tolerance", [0, 1e-2])
@pytest.mark.parametrize("dim", [1, 2, 5, 24])
@pytest.mark.parametrize("n", [80, 50])
def test_dims_and_tolerances(n, dim, tolerance):
    latents, sources = make("float64", 80, dim)
    check(latents, sources[:n], 3, WORLDS, tolerance=tolerance)


ROWS = ["repeated 50 times", "all equal", "identical sources", "lattice", "heavy tails", "float16"]


@pytest.mark.parametrize("name", [*ROWS, "1e3 + noise", "scale 1e-150 float64"])
@pytest.mark.parametrize("n", [60, 45])
def test_rows_of_many_kinds(name, n):
    latents, sources = make(name, 60, 3)
    check(latents, sources[:n], 4, [3], tolerance=1e-2)


def test_a_row_may_be_0():
    latents, sources = (np.array(rows) for rows in make("gaussian", 40, 3))
    latents[3:9] = sources[5] = 0
    check(latents, sources, tolerance=0)
    check(np.zeros((7, 2)), np.zeros((7, 2)))


@pytest.mark.parametrize("n", [1100, 400])  # a block of the mean has 1,024 rows
@pytest.mark.parametrize("dealing", ["blocks", "contiguous"])
def test_centred(n, dealing):
    rng = np.random.default_rng(3)
    latents = (rng.normal(size=(1100, 3)) * rng.uniform(0, 9, (1100, 1)) + 7).astype("f4")
    check(latents, rng.normal(size=(n, 3)), dealing, [3], center=True, tolerance=0.3)


def test_first_prices_come_from_a_sample():
    latents, sources = make("clusters", 2100, 3)
    check(latents, sources, 6, [2], tolerance=0.5)


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("kind", ["two", "many"])
@pytest.mark.parametrize(("n", "dim"), [(120, 4), (70, 4), (120, 1)])
def test_groups(n, dim, kind, names):
    latents, sources = make("1e3 + noise", 120, dim)
    groups = make_groups(kind, n, 120)
    if names:
        groups = tuple(np.array([f"label {each}" for each in side]) for side in groups)
    parts = check(latents, sources[:n], 7, WORLDS, groups, center=True)
    assert parts[0].meta["groups"] == {"count": len(np.unique(groups[1]))}


def test_more_ranks_than_rows():
    latents, sources = make("gaussian", 3, 2)
    check(latents, sources, "rows", [5])
    check(latents, sources[:1], "rows", [5])
    check(latents, None, "rows", [5])


@pytest.mark.parametrize("kind", ["bfloat16", "int32", "torch"])
def test_dtypes_and_drawn_sources(kind):
    latents = np.random.default_rng(1).integers(-9, 9, (60, 4)).astype("f4")
    if kind == "torch":
        latents = pytest.importorskip("torch").tensor(latents)
    elif kind == "bfloat16":
        latents = latents.astype(pytest.importorskip("ml_dtypes").bfloat16)
    else:
        latents = latents.astype(kind)
    expected = match_optimal(latents, seed=4)
    parts = parts_of(latents, None, 3, "blocks", seed=4)
    for name in ("assignment", "sources"):
        found = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(found, np.asarray(getattr(expected, name)))
    assert parts[0].gap == expected.gap
    assert parts[0].latents.dtype == latents.dtype


def test_groups_of_one_dimension_are_exchanged_once():
    latents, sources = make("gaussian", 2000, 1)

    def received(groups):
        labels = np.arange(2000) % groups
        parts = check(latents, sources, "rows", [2], (labels, labels))
        return parts[0].stats["bytes_received"]

    rows = 2 * 16 * 1000  # values of all latents, with their rows
    assert received(41) - received(1) < 40 * rows


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_dealing(data):
    """Integers of few values: ties of bids and of norms, and equal rows on several ranks."""
    world, m, dim = (data.draw(st.integers(1, most)) for most in (5, 24, 3))
    n = data.draw(st.one_of(st.just(m), st.integers(1, m)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    latents, sources = (rng.integers(-2, 3, (rows, dim)).astype("f4") for rows in (m, n))
    groups = None
    if data.draw(st.booleans()):
        labels = rng.integers(0, data.draw(st.integers(1, 4)), m)
        groups = rng.permutation(labels)[:n], labels
    options = {
        "tolerance": data.draw(st.sampled_from([0.0, 1e-3, 0.3])),
        "center": data.draw(st.booleans()),
    }
    check(latents, sources, int(rng.integers(1 << 30)), [world], groups, **options)


@given(parts=st.lists(st.lists(st.floats(-1e300, 1e300)), max_size=4))
def test_sums_of_parts_are_not_rounded(parts):
    whole = math.fsum(value for part in parts for value in part)
    assert math.fsum(value for part in parts for value in expansion(part)) == whole


def test_little_memory_makes_lists_short():
    latents, sources = make("gaussian", 300, 24)
    expected = match_optimal(latents, sources)
    ample = parts_of(latents, sources, 2)
    depth = ample[0].stats["depth"]
    parts = parts_of(latents, sources, 2, memory=700_000)
    assert_is_optimal(ample, expected)
    assert_is_optimal(parts, expected)
    assert 8 <= parts[0].stats["depth"] < depth
    outcomes = outcomes_of(2, lambda e: match_optimal_sharded(latents, exchange=e, memory=1000))
    assert len({str(each) for each in outcomes}) == 1
    assert "memory must be at least" in str(outcomes[0])


def test_the_result_describes_itself():
    latents, sources = make("gaussian", 40, 3)
    parts = parts_of(latents, sources, 2, threads=1, tolerance=0.1)
    one = parts_of(latents, sources, 1)
    for part in parts:
        assert isinstance(part, ShardedMatching)
        assert (part.n, part.m, part.dim, len(part)) == (40, 40, 3, 20)
        assert part.meta == parts[0].meta
        assert part.meta["fingerprints"] == one[0].meta["fingerprints"]
        figures = {name: getattr(part, name) for name in ("gap", "cost", "lower_bound")}
        settings_of = {"method": "optimal", "tolerance": 0.1, "center": False, "world": 2}
        assert (settings_of | figures).items() <= part.meta.items()
        assert part.stats["threads_from"] == "argument"
        assert part.stats["phases"] >= 1
        assert part.stats["collectives"] > 0
        np.testing.assert_array_equal(part.latents, latents[part.latent_index])


def test_progress_is_shown_by_rank_0():
    latents, sources = make("gaussian", 50, 3)
    calls = []

    def work(exchange):
        def progress(*values, rank=exchange.rank):
            calls.append((rank, *values))

        own = deal("rows", 50, 2)[exchange.rank]
        return match_optimal_sharded(
            latents[own], sources[own], index=own, source_index=own, exchange=exchange,
            progress=progress,
        )  # fmt: skip

    run_ranks(2, work)
    assert calls[-1][:3] == (0, 50, 50)
    assert {rank for rank, *_ in calls} == {0}


# ------------------------------------------------------------------------------ the folder of pairs


@pytest.mark.parametrize("form", ["npz", "parquet"])
@pytest.mark.parametrize("indices_only", [False, True])
@pytest.mark.parametrize("world", [1, 3])
def test_the_folder_holds_the_prices(tmp_path, monkeypatch, world, indices_only, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(prices_file, "PIECE", 7)
    latents, sources = make("gaussian", 50, 3)
    expected = match_optimal(latents, sources[:40])
    index, own = deal("blocks", 50, world), deal("contiguous", 40, world)

    def work(exchange):
        mine, given = index[exchange.rank], own[exchange.rank]
        part = match_optimal_sharded(
            latents[mine], sources[given], index=mine, source_index=given, exchange=exchange
        )
        options = {"indices_only": indices_only, "format": form, "shard_rows": 15}
        save_pairs(part, tmp_path / "other", **options)  # whose files are replaced
        return save_pairs(part, tmp_path / "pairs", **options)

    run_ranks(world, work)
    pairs = open_pairs(tmp_path / "pairs", check=True)
    assert pairs.prices.tobytes() == expected.prices.tobytes()
    np.testing.assert_array_equal(pairs.read(0, 40, ("assignment",))[0], expected.assignment)
    assert {name: pairs.meta[name] for name in ("gap", "cost")} == {
        "gap": expected.gap,
        "cost": expected.cost,
    }
    named = {each["file"] for each in [*pairs.manifest["shards"], pairs.manifest["prices"]]}
    assert {each.name for each in (tmp_path / "pairs").iterdir()} == named | {"manifest.json"}
    if form == "npz":
        shard = Matching.load(tmp_path / "pairs" / pairs.manifest["shards"][0]["file"])
        assert shard.prices is None
        assert shard.meta["gap"] == expected.gap


@pytest.fixture
def folder(tmp_path):
    save_pairs(match_optimal_sharded(*make("gaussian", 20, 2)), tmp_path / "pairs")
    return tmp_path / "pairs"


def test_prices_that_are_damaged(folder):
    (prices,) = folder.glob("prices-*.npy")
    content = bytearray(prices.read_bytes())
    content[-1] ^= 0x80
    prices.write_bytes(content)
    with pytest.raises(ValueError, match=r"'prices-.*\.npy' is not what its manifest says"):
        open_pairs(folder, check=True)
    content[-8:] = np.float64(np.nan).tobytes()
    prices.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: 'prices' must be finite"):
        _ = open_pairs(folder).prices
    content[-8:] = b""
    prices.write_bytes(content)
    with pytest.raises(ValueError, match=r"has \d+ bytes, and its manifest says"):
        open_pairs(folder)
    prices.unlink()
    with pytest.raises(FileNotFoundError, match="lacks the prices 'prices-"):
        open_pairs(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"prices": {', '"price": {', "it names no prices"),
        ("prices-", "../rices-", "its prices are"),
        ('"latents": 20', '"latents": 21', r"is float64 of shape \(20,\), and must be float64"),
    ],
)
def test_a_manifest_with_other_prices(folder, old, new, message):
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        open_pairs(folder)


def test_an_earlier_folder_is_replaced(folder):
    save_pairs(match_optimal_sharded(*make("gaussian", 30, 2)), folder)
    assert len(open_pairs(folder, check=True).prices) == 30
    assert len(list(folder.iterdir())) == 3


def test_prices_of_a_single_file(tmp_path):
    expected = match_optimal(*make("gaussian", 20, 2))
    for suffix in (".npz", ".safetensors"):
        expected.save(tmp_path / f"pairs{suffix}")
        pairs = open_pairs(tmp_path / f"pairs{suffix}")
        assert pairs.prices.tobytes() == expected.prices.tobytes()
        assert "prices" not in pairs.names


def test_a_disk_that_is_full_for_the_prices(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prices_file, "npy_header", full)
    parts = parts_of(*make("gaussian", 20, 2), 2, "contiguous")
    outcomes = outcomes_of(2, lambda e: save_pairs(_with(parts[e.rank], e), tmp_path / "pairs"))
    for error in outcomes:
        assert isinstance(error, OSError)
        assert error.errno == 28
        assert "rank 0: prices " in str(error)
    assert not list((tmp_path / "pairs").glob("prices*"))


def _with(part, exchange):
    part.exchange = exchange
    return part


# -------------------------------------------------------------------------------- what is refused


def refused(latents, sources, world=3, groups=None, **options):
    """The message that all ranks raise."""
    latents, sources = np.asarray(latents), np.asarray(sources)
    index, own = deal("rows", len(latents), world), deal("rows", len(sources), world)

    def work(exchange):
        mine, given = index[exchange.rank], own[exchange.rank]
        each = {
            name: value[exchange.rank] if isinstance(value, tuple) else value
            for name, value in options.items()
        }
        return match_optimal_sharded(
            latents[mine],
            sources[given],
            index=mine,
            source_index=given,
            groups=None if groups is None else (groups[0][given], groups[1][mine]),
            exchange=exchange,
            **each,
        )

    messages = {f"{type(each).__name__}: {each}" for each in outcomes_of(world, work)}
    assert len(messages) == 1, messages
    return messages.pop()


def bad_rows(fault):
    latents, sources = (np.array(rows, np.float64) for rows in make("gaussian", 40, 3))
    latents[[3, 30]] = sources[[4, 20]] = 0  # which are fine
    if fault == "nan":
        sources[17] = np.nan
    elif fault == "infinite latents":
        latents[[31, 5], 1] = np.inf
    elif fault == "overflow":
        sources[17] = 1e200
    elif fault == "sums overflow":
        latents[:] = 1e307 * (np.abs(latents) + 9)
    elif fault == "sums of sources overflow":
        sources[:] = 1e307 * (np.abs(sources) + 9)
    elif fault == "far apart":
        latents[:] = 0
        latents[0, 0], latents[1, 0] = 1.3e154, -1.3e154
        latents[2:] = [1e-3, 0, 0]
        latents[3:, 0] += 1.3e154
    else:
        sources = np.concatenate([sources, sources])
    return latents, sources


FAULTS = ["nan", "infinite latents", "overflow", "sums overflow", "sums of sources overflow"]


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("fault", [*FAULTS, "far apart", "too many"])
def test_bad_rows_in_the_words_of_match_optimal(fault, world):
    latents, sources = bad_rows(fault)
    with np.errstate(over="ignore"), pytest.raises(ArgumentError) as one:
        match_optimal(latents, sources)
    assert refused(latents, sources, world) == f"ArgumentError: {one.value}"
    if fault == "overflow":  # and not that two rows are 0
        assert "overflow was found in 1 of 40 rows: row 17" in str(one.value)


@pytest.mark.parametrize("world", [1, 3])
def test_an_error_of_the_auction_is_everybodys(monkeypatch, world):
    def fails(*_, **__):
        raise RuntimeError("prices left their range")

    monkeypatch.setattr(_core, "sharded_optimal_rows", fails)
    latents, _ = make("gaussian", 12, 2)
    outcomes = outcomes_of(world, lambda each: match_optimal_sharded(latents, exchange=each))
    assert {str(each) for each in outcomes} == {"prices left their range"}
    assert all(on_all_ranks(each) for each in outcomes)


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("names", [False, True])
def test_groups_with_too_few_latents(world, names):
    latents, sources = make("gaussian", 40, 3)
    groups = np.arange(40) % 4, np.arange(40) % 4
    groups[1][9] = 3
    if names:
        groups = tuple(np.array(list("dcba"))[each] for each in groups)
    with pytest.raises(ArgumentError) as one:
        match_optimal(latents, sources, groups=groups)
    assert refused(latents, sources, world, groups) == f"ArgumentError: {one.value}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tolerance": (0.1, 0.2, 0.1)},
            "ArgumentError: tolerance must be the same on all ranks, got 0.1 on ranks 0 and 2, "
            "0.2 on rank 1",
        ),
        (
            {"tolerance": (0.1, -1, 0.1)},
            "ArgumentError: tolerance must be a finite number >= 0, got -1.0 on rank 1",
        ),
        ({"tolerance": "1"}, "ArgumentTypeError: tolerance must be a number, got str '1'"),
        (
            {"center": (True, True, False)},
            "ArgumentError: center must be the same on all ranks, got True on ranks 0 and 1, "
            "False on rank 2",
        ),
        ({"journal": 3}, "ArgumentTypeError: journal must be a path, got int 3"),
        ({"seed": np.random.default_rng(0)}, "ArgumentTypeError: seed must be an int, from which"),
    ],
)
def test_options_that_are_refused(options, message):
    assert refused(*make("gaussian", 12, 2), **options).startswith(message)


def test_other_backends_are_refused():
    with pytest.raises(ArgumentError, match="backend"):
        match_optimal_sharded(np.eye(3), backend="faiss")
    with pytest.raises((ArgumentError, ArgumentTypeError), match="backend"):
        match_optimal_sharded(np.eye(3), backend="cuda")
    with pytest.raises(TypeError, match="order"):
        match_optimal_sharded(np.eye(3), order="norm")

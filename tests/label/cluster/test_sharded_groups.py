"""match_sharded with groups gives the bits of match with groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import make
from gtn_label import ArgumentError, ArgumentTypeError, match
from gtn_label.cluster import apart, batches, delivery, grouped, groups, match_sharded
from sharded_cases import DEALINGS, assert_is, deal
from thread_exchange import outcomes_of, run_ranks


def calls(latents, sources, labels, world, dealing="rows", source_dealing=None, **options):
    """A function of an exchange that matches a rank's part of the rows and labels."""
    index = deal(dealing, len(latents), world)
    if sources is None:
        cuts = np.arange(world + 1) * len(latents) // world
        given = [np.arange(*cuts[rank : rank + 2]) for rank in range(world)]
    else:
        given = deal(source_dealing or dealing, len(sources), world)

    def work(exchange):
        mine, own = index[exchange.rank], given[exchange.rank]
        pair = tuple(
            [side[row] for row in rows] if isinstance(side, list) else side[rows]
            for side, rows in zip(labels, (own, mine), strict=True)
        )
        return match_sharded(
            latents[mine],
            None if sources is None else sources[own],
            index=mine,
            source_index=None if sources is None else own,
            groups=pair,
            exchange=exchange,
            **options,
        )

    return work


def check(latents, sources, labels, world, dealing="rows", seed=0, **options):
    """Compare with `match`, and return the ranks' results."""
    expected = match(latents, sources, groups=labels, seed=seed, **options)
    work = calls(latents, sources, labels, world, dealing, seed=seed, **options)
    parts = run_ranks(world, work)
    assert_is(parts, expected)
    return parts


def skewed(n, seed=0):
    """Labels of one huge group and many small ones, of which each has a source to spare."""
    rng = np.random.default_rng(seed)
    sources = np.where(rng.random(n) < 0.5, 7, rng.integers(-20, 20, n))
    return sources, np.concatenate([rng.permutation(sources), np.arange(-20, 25)])


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("dealing", DEALINGS)
def test_one_huge_group_and_many_small(world, dealing):
    labels = skewed(160)
    latents, _ = make("gaussian", len(labels[1]), 5)
    sources = make("gaussian", 160, 5)[1]
    parts = check(latents, sources, labels, world, dealing)
    counts = [part.stats["groups_here"] for part in parts]
    assert [part.stats["groups_shared"] for part in parts] == [int(world > 1)] * world
    assert sum(counts) == len(np.unique(labels[0])) - (world > 1)
    assert parts[0].stats["groups"] == len(np.unique(labels[1]))
    assert bool(parts[0].stats["collectives"]) == (world > 1)


@pytest.mark.parametrize("order", ["norm", "norm_desc", "index"])
@pytest.mark.parametrize("cone", [1, 3, 500])
def test_orders_cones_and_ties(order, cone):
    labels = skewed(120)
    latents, sources = make("lattice", len(labels[1]), 3)
    for world in (1, 3):
        check(latents, sources[:120], labels, world, order=order, cone=cone)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mean_is_that_of_all_latents(dtype):
    rng = np.random.default_rng(3)
    labels = skewed(90)
    latents = (rng.normal(size=(len(labels[1]), 3)) * 3 + 7).astype(dtype)
    for world in (1, 3):
        check(latents, rng.normal(size=(90, 3)), labels, world, "blocks", center=True)


def test_groups_of_which_some_ranks_have_nothing():
    latents, sources = make("gaussian", 90, 4)
    labels = np.arange(90) // 30
    for world in (2, 3):
        check(latents, sources, (labels, labels), world, "contiguous")
    check(latents, sources, (labels, labels[::-1].copy()), 3, "contiguous")
    check(latents, sources[:5], (labels[:5], labels), 3, "last rank empty")
    check(latents, sources, (labels * 0, labels * 0), 3)


def test_drawn_sources():
    latents, _ = make("gaussian", 100, 4)
    labels = np.random.default_rng(1).integers(0, 6, 100)
    check(latents, None, (labels, labels[::-1].copy()), 3, "blocks", seed=5)


@pytest.mark.parametrize("kind", ["strings", "bytes", "objects", "uint8", "list"])
def test_kinds_of_labels(kind):
    latents, sources = make("gaussian", 60, 3)
    numbers = np.random.default_rng(1).integers(0, 5, 60)
    names = np.array(["b", "ä", "a longer name", "", "Z"])[numbers]
    labels = {
        "strings": names,
        "bytes": np.char.encode(names, "latin-1"),
        "objects": names.astype(object),
        "uint8": numbers.astype(np.uint8),
        "list": names.tolist(),
    }[kind]
    check(latents, sources, (labels, labels[::-1]), 3, "last rank empty")


@settings(max_examples=30)
@given(data=st.data())
def test_any_groups(data):
    """Few integers, dealt at random; small rounds and batches, frequent beats, either delivery."""
    world, count, dim = (data.draw(st.integers(1, most)) for most in (4, 6, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    weights = rng.dirichlet(np.full(count, 0.6))
    latent_groups = rng.choice(count, 40, p=weights)
    source_groups = rng.permutation(latent_groups)[: data.draw(st.integers(1, 40))]
    latents, sources = (rng.integers(1, 4, (rows, dim)).astype("f4") for rows in (40, 40))
    sources = sources[: len(source_groups)]
    owner, visitor = (rng.integers(0, world, len(each)) for each in (latents, sources))
    options = {"center": False, "cone": data.draw(st.integers(1, 4))}
    direct = data.draw(st.booleans())

    def work(exchange):
        if direct:
            exchange.all_to_all = lambda send, recv: all_to_all(exchange, send, recv)
        mine, own = (np.flatnonzero(each == exchange.rank) for each in (owner, visitor))
        return match_sharded(
            latents[mine],
            sources[own],
            index=mine,
            source_index=own,
            groups=(source_groups[own], latent_groups[mine]),
            exchange=exchange,
            **options,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "ROUND_BYTES", data.draw(st.sampled_from([1, 500, 1 << 30])))
        patch.setattr(batches, "BATCH_WORK", data.draw(st.sampled_from([1, 30, 1 << 26])))
        patch.setattr(apart, "EVERY", data.draw(st.sampled_from([0.0, 20.0])))
        patch.setattr(grouped, "_BLOCK", data.draw(st.integers(1, 50)))
        patch.setattr(delivery, "MOST_BYTES", data.draw(st.sampled_from([1, 300, 1 << 20])))
        expected = match(latents, sources, groups=(source_groups, latent_groups), **options)
        assert_is(run_ranks(world, work), expected)


def all_to_all(exchange, send, recv):
    """Slices for each rank, by all_gather."""
    every = bytearray(exchange.world * len(send))
    exchange.all_gather(send, memoryview(every))
    size = len(send) // exchange.world
    for rank in range(exchange.world):
        at = rank * len(send) + exchange.rank * size
        recv[rank * size : (rank + 1) * size] = every[at : at + size]


def test_the_search_of_a_rank_sends_nothing():
    latents, sources = make("gaussian", 80, 4)
    few, many = (np.arange(80) % count for count in (8, 40))

    def collectives(labels):
        def work(exchange):
            calls(latents, sources, (labels, labels), 2)(exchange)
            return exchange.collectives

        return run_ranks(2, work)

    assert collectives(few) == collectives(many)


def test_the_plan_is_even_and_bounded():
    n = np.array([9, 1, 8, 3, 0, 4, 4])
    table = groups.Groups(np.arange(7), n, n + 1, n[:0], n[:0])
    plan = groups.plan_of(table, 2, (10, 10))
    assert plan.rank.tolist() == [0, 1, 1, 1, groups.UNUSED, 1, 0]
    assert plan.rounds == 1
    known = n == 9, n == 8
    plan = groups.plan_of(table, 2, (10, 10), *known)
    assert plan.rank.tolist()[:3] == [groups.UNUSED, 1, groups.SHARED]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "ROUND_BYTES", 260)
        assert groups.plan_of(table, 2, (10, 10)).rounds == 2
    table = groups.Groups(np.arange(2), np.array([9, 1]), np.array([9, 1]), n[:0], n[:0])
    assert groups.plan_of(table, 2, (10, 10)).rank.tolist() == [groups.SHARED, 0]
    assert groups.plan_of(table, 1, (10, 10)).rank.tolist() == [0, 0]


def test_the_result_describes_its_groups():
    latents, sources = make("gaussian", 40, 3)
    labels = np.arange(40) % 4
    one, many = (
        run_ranks(world, calls(latents, sources, (labels, labels), world)) for world in (1, 3)
    )
    for part in many:
        assert part.meta["groups"] == {"count": 4}
        assert part.meta["fingerprints"] == one[0].meta["fingerprints"]
    other = run_ranks(3, calls(latents, sources, (labels, labels[::-1].copy()), 3))
    prints = [each[0].meta["fingerprints"] for each in (one, other)]
    differs = {name for name in prints[0] if prints[0][name] != prints[1][name]}
    assert differs == {"latent_groups"}


def test_progress_reaches_the_end():
    seen = []
    latents, sources = make("gaussian", 60, 3)
    labels = np.minimum(np.arange(60) // 10, 2)

    def work(exchange):
        match_part = calls(
            latents,
            sources,
            (labels, labels),
            2,
            progress=lambda done, total, left: seen.append((done, total)),
        )
        return match_part(exchange)

    run_ranks(2, work)
    assert seen[-1] == (60, 60)
    assert seen == sorted(seen)


# -------------------------------------------------------------------------------- what is refused


def refused(latents, sources, labels, world=3, **options):
    """The message that all ranks raise."""
    outcomes = outcomes_of(world, calls(latents, sources, labels, world, **options))
    messages = {f"{type(each).__name__}: {each}" for each in outcomes}
    assert len(messages) == 1, messages
    return messages.pop()


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("names", [False, True])
def test_too_few_latents_in_the_words_of_match(world, names):
    latents, sources = make("gaussian", 40, 3)
    of_sources, of_latents = np.arange(40) % 4, np.arange(40) % 4
    of_latents[[9, 14]] = 3  # groups 1 and 2 lack one each
    if names:
        of_sources, of_latents = (np.array(list("dcba"))[each] for each in (of_sources, of_latents))
    with pytest.raises(ArgumentError) as one:
        match(latents, sources, groups=(of_sources, of_latents))
    message = refused(latents, sources, (of_sources, of_latents), world)
    assert message == f"ArgumentError: {one.value}"
    with pytest.raises(ArgumentError) as one:
        match(latents, sources, groups=(of_sources, of_latents[[3] * 40]))
    message = refused(latents, sources, (of_sources, of_latents[[3] * 40]), world)
    assert message == f"ArgumentError: {one.value}"


def test_labels_that_no_rank_can_use():
    latents, sources = make("gaussian", 12, 2)
    numbers = np.arange(12) % 2
    names = np.array(["a", "b"])[numbers]
    for labels, error in (
        ((numbers, names), "ArgumentTypeError: source_groups and latent_groups must both hold "
         "integers, or both strings, got integers and strings"),
        ((numbers / 2, numbers), "ArgumentTypeError: source_groups must hold strings or integers, "
         "got dtype float64; pass source_groups.astype(int)"),
    ):  # fmt: skip
        assert refused(latents, sources, labels, 1) == error
        assert refused(latents, sources, labels).startswith(error.partition(",")[0])


def one_rank_differs(change):
    """The messages of three ranks, of which rank 1 hands in other groups."""
    latents, sources = make("gaussian", 12, 2)

    def work(exchange):
        part = slice(4 * exchange.rank, 4 * exchange.rank + 4)
        labels = [np.arange(4) % 2, np.arange(4) % 2]
        pair = change(labels) if exchange.rank == 1 else tuple(labels)
        return match_sharded(latents[part], sources[part], groups=pair, exchange=exchange)

    outcomes = outcomes_of(3, work)
    assert all(isinstance(each, (ArgumentError, ArgumentTypeError)) for each in outcomes)
    return {str(each) for each in outcomes}


def test_labels_that_one_rank_has_wrong():
    for change, message in (
        (lambda each: (each[0], each[1][:3]), "latent_groups must be 1-D with one label for each "
         "of the 4 latents of this rank, got shape (3,) on rank 1"),
        (lambda each: None, "groups must be the same on all ranks, got given on ranks 0 and 2, "
         "none on rank 1"),
        (lambda each: each[:1], "groups must be a pair (source_groups, latent_groups), got list "
         "of length 1 on rank 1"),
        (lambda each: (each[0].astype(str), each[1]), "source_groups must hold integers on all "
         "ranks, or strings on all ranks, got integers on ranks 0 and 2, strings on rank 1"),
    ):  # fmt: skip
        assert one_rank_differs(change) == {message}


@pytest.mark.parametrize("every", [0.0, 20.0])
def test_an_error_in_the_search_of_one_rank(monkeypatch, every):
    monkeypatch.setattr(apart, "EVERY", every)
    latents, sources = make("gaussian", 40, 3)
    labels = np.arange(40) % 8
    fault = grouped.GroupedSearch._match_alone

    def match_alone(search, *arguments):
        if search._exchange.rank == 1:
            raise MemoryError("no memory for this group")
        fault(search, *arguments)

    monkeypatch.setattr(grouped.GroupedSearch, "_match_alone", match_alone)
    message = refused(latents, sources, (labels, labels))
    assert message == "MemoryError: rank 1: no memory for this group"

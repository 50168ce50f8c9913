"""Properties of every matching, with examples drawn by Hypothesis (settings in conftest.py).

Small rows of few distinct values make ties the rule; rows from a seeded generator have none.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import engine
import oracle
from gtn_label import match

ORDERS = st.sampled_from(["norm", "norm_desc", "index"])
CONES = st.sampled_from([1, 2, 3, 64])


def with_direction(rows):
    """Give zero rows a direction."""
    rows = np.array(rows)
    rows[~rows.any(axis=1), 0] = 1
    return rows


def lattice_rows(n, dim, low=-2, high=2):
    """Rows of small integers: ties everywhere."""
    return hnp.arrays(np.float32, (n, dim), elements=st.integers(low, high)).map(with_direction)


def wild_rows(n, dim):
    """Any float64 of moderate size, including values that nearly cancel."""
    values = st.floats(-1e30, 1e30, allow_nan=False, allow_subnormal=False)
    kept = values.filter(lambda v: v == 0 or abs(v) > 1e-30)
    return hnp.arrays(np.float64, (n, dim), elements=kept).map(with_direction)


@st.composite
def problems(draw, spare=True):
    """Latents and at most as many sources, of lattice or wild rows."""
    dim = draw(st.integers(1, 10))
    m = draw(st.integers(1, 24))
    n = draw(st.integers(1, m)) if spare else m
    kind = draw(st.sampled_from([lattice_rows, wild_rows]))
    return draw(kind(m, dim)), draw(kind(n, dim))


@st.composite
def generic_problems(draw):
    """Rows from a seeded generator, where no two scores and no two norms are equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    m, dim = draw(st.integers(1, 200)), draw(st.integers(2, 20))
    n = draw(st.integers(1, m))
    return rng.standard_normal((m, dim)), rng.standard_normal((n, dim)), rng


@given(problems(), ORDERS, CONES, st.sampled_from(engine.USABLE))
def test_the_engine_is_the_literal_contract(rows, order, cone, backend):
    latents, sources = rows
    matching = engine.run(latents, sources, backend=backend, order=order, cone=cone)
    engine.assert_same(matching, oracle.solve_literal(latents, sources, order=order, cone=cone))


@given(problems(), ORDERS, CONES)
def test_no_latent_is_taken_twice(rows, order, cone):
    latents, sources = rows
    taken = match(latents, sources, order=order, cone=cone).assignment
    assert len(taken) == len(sources)
    assert len(set(taken.tolist())) == len(taken)
    assert set(taken.tolist()) <= set(range(len(latents)))


@given(problems(spare=False), ORDERS)
def test_as_many_sources_as_latents_make_a_bijection(rows, order):
    latents, sources = rows
    assert sorted(match(latents, sources, order=order).assignment) == list(range(len(latents)))


@given(generic_problems(), ORDERS)
def test_each_choice_is_the_best_still_free(rows, order):
    """No source would rather have a latent that was free when it chose: plain cosines."""
    latents, sources, _ = rows
    matching = match(latents, sources, order=order)
    x_norm, y_norm = (np.linalg.norm(part, axis=1) for part in (latents, sources))
    cosines = (sources @ latents.T) / y_norm[:, None] / x_norm
    visits = {
        "norm": np.argsort(y_norm),
        "norm_desc": np.argsort(-y_norm),
        "index": np.arange(len(sources)),
    }[order]
    free = np.ones(len(latents), dtype=bool)
    for source in visits:
        taken = matching.assignment[source]
        assert free[taken]
        assert cosines[source, taken] >= cosines[source, free].max() - 1e-12
        assert matching.cosine[source] == pytest.approx(cosines[source, taken], abs=1e-12)
        free[taken] = False


@given(problems(), ORDERS, CONES, st.integers(-40, 40), st.integers(-40, 40))
def test_scaling_by_powers_of_two_changes_no_bit(rows, order, cone, k, l):  # noqa: E741
    latents, sources = (part.astype(np.float64) for part in rows)
    engine.assert_same(
        match(latents * 2.0**k, sources * 2.0**l, order=order, cone=cone),
        match(latents, sources, order=order, cone=cone),
    )


@given(problems(), ORDERS, CONES)
def test_zero_columns_at_a_multiple_of_eight_change_no_bit(rows, order, cone):
    """Eight zero columns in front leave every product in its accumulator."""
    latents, sources = rows
    wide = [np.concatenate([np.zeros((len(p), 8), p.dtype), p], axis=1) for p in rows]
    engine.assert_same(
        match(*wide, order=order, cone=cone), match(latents, sources, order=order, cone=cone)
    )


@given(generic_problems(), ORDERS, CONES)
def test_permuting_latents_permutes_the_assignment(rows, order, cone):
    latents, sources, rng = rows
    shuffle = rng.permutation(len(latents))
    plain = match(latents, sources, order=order, cone=cone)
    shuffled = match(latents[shuffle], sources, order=order, cone=cone)
    assert shuffle[shuffled.assignment].tolist() == plain.assignment.tolist()
    assert shuffled.cosine.tobytes() == plain.cosine.tobytes()


@given(generic_problems(), st.sampled_from(["norm", "norm_desc"]), CONES)
def test_permuting_sources_permutes_the_assignment(rows, order, cone):
    latents, sources, rng = rows
    shuffle = rng.permutation(len(sources))
    plain = match(latents, sources, order=order, cone=cone)
    shuffled = match(latents, sources[shuffle], order=order, cone=cone)
    assert shuffled.assignment.tolist() == plain.assignment[shuffle].tolist()
    assert shuffled.cosine.tobytes() == plain.cosine[shuffle].tobytes()


@given(problems(), ORDERS, CONES)
def test_of_identical_latents_the_first_goes_first(rows, order, cone):
    latents, sources = rows
    latents = np.concatenate([latents, latents[::-1], latents])
    sources = np.concatenate([sources, sources])
    assignment = match(latents, sources, order=order, cone=cone).assignment
    visits = oracle.visiting_order(oracle.row_norms(oracle.pad(sources)), order)
    when = np.full(len(latents), len(sources))
    when[assignment[visits]] = np.arange(len(sources))
    same_row = {}
    for j, row in enumerate(latents + 0.0):  # + 0.0: -0.0 equals 0.0 in every score
        same_row.setdefault(row.tobytes(), []).append(j)
    for indices in same_row.values():
        taken = when[indices].tolist()
        assert taken == sorted(taken)


@given(problems(), st.sampled_from(["norm", "norm_desc"]))
def test_a_cone_of_everything_goes_by_rank_alone(rows, order):
    latents, sources = rows
    assignment = match(latents, sources, order=order, cone=len(latents)).assignment
    visits = oracle.visiting_order(oracle.row_norms(oracle.pad(sources)), order)
    ranks = oracle.latent_ranks(oracle.row_norms(oracle.pad(latents)), order)
    assert ranks[assignment[visits]].tolist() == list(range(len(sources)))


@given(problems(), ORDERS, CONES, st.data())
def test_groups_equal_each_group_alone(rows, order, cone, data):
    latents, sources = rows
    latent_groups = data.draw(
        hnp.arrays(np.int64, len(latents), elements=st.sampled_from([-(2**62), -1, 0, 3, 2**62]))
    )
    source_groups = latent_groups[: len(sources)][::-1].copy()
    together = match(
        latents, sources, order=order, cone=cone, groups=(source_groups, latent_groups)
    )
    for group in set(source_groups.tolist()):
        source_rows = np.flatnonzero(source_groups == group)
        latent_rows = np.flatnonzero(latent_groups == group)
        alone = match(latents[latent_rows], sources[source_rows], order=order, cone=cone)
        assert latent_rows[alone.assignment].tolist() == together.assignment[source_rows].tolist()
        assert alone.cosine.tobytes() == together.cosine[source_rows].tobytes()


@given(problems(), ORDERS, CONES, st.data())
def test_later_sources_do_not_change_earlier_choices(rows, order, cone, data):
    latents, sources = rows
    visits = oracle.visiting_order(oracle.row_norms(oracle.pad(sources)), order)
    # Kept in their order, so that ties of norms still go the same way.
    first = np.sort(visits[: data.draw(st.integers(1, len(visits)))])
    every = match(latents, sources, order=order, cone=cone)
    some = match(latents, sources[first], order=order, cone=cone)
    assert some.assignment.tolist() == every.assignment[first].tolist()
    assert some.cosine.tobytes() == every.cosine[first].tobytes()


@given(problems(), ORDERS, CONES)
def test_centring_is_matching_the_centred_rows(rows, order, cone):
    latents, sources = rows
    moved = oracle.centered(latents)
    try:
        oracle.row_norms(oracle.pad(moved))
    except oracle.Refused:
        with pytest.raises(ValueError, match="latents"):
            match(latents, sources, order=order, cone=cone, center=True)
        return
    engine.assert_same(
        match(latents, sources, order=order, cone=cone, center=True),
        match(moved, sources, order=order, cone=cone),
    )

"""The oracle against cases worked by hand, and against its own literal version.

Nothing here runs the engine. A judge that accepts everything is no judge: the second half holds
assignments that `check_choices` must reject.
"""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import oracle_answers
from datasets import NAMES, make, make_groups


def solve_both(latents, sources, **options):
    """Fast solution, after the literal one gave the same bits."""
    fast = oracle.solve(latents, sources, **options)
    slow = oracle.solve_literal(latents, sources, **options)
    assert fast.assignment.tolist() == slow.assignment.tolist()
    assert fast.cosine.tobytes() == slow.cosine.tobytes()
    assert fast.visited.tolist() == slow.visited.tolist()
    return fast


# -------------------------------------------------------------------------------- hand-worked


def test_points_on_one_line_of_the_plane():
    """Appendix B of the paper: four and four points, two on each side of the origin.

    Numbers in the figure are the order of matching: nearest source first, and each side's
    smallest source gets the smallest latent of its side.
    """
    latents = np.array([[4.0, 0], [-1, 0], [2, 0], [-3, 0]])
    sources = np.array([[1.5, 0], [-0.5, 0], [0.7, 0], [-2.5, 0]])
    outcome = solve_both(latents, sources)
    # Visits by norm: -0.5 (takes -1), 0.7 (takes 2), 1.5 (takes 4), -2.5 (takes -3).
    assert outcome.visited.tolist() == [1, 2, 0, 3]
    assert outcome.assignment.tolist() == [0, 1, 2, 3]
    assert outcome.cosine.tolist() == [1, 1, 1, 1]


def test_points_on_an_oblique_line():
    """The same on a line through (3, 4), whose norms are whole numbers, so all cosines are 1."""
    direction = np.array([3.0, 4.0])
    latents = np.array([2.0, -1, 1, -2])[:, None] * direction
    sources = np.array([-4.0, 8, -16, 4])[:, None] * direction
    outcome = solve_both(latents, sources)
    assert outcome.assignment.tolist() == [1, 0, 3, 2]
    assert outcome.cosine.tolist() == [1, 1, 1, 1]


def test_one_dimension_unequal_sides():
    """Three sources on the right, one latent there: the rest go left, lowest rank first."""
    latents = np.array([[-5.0], [-1], [3], [-2]])
    sources = np.array([[1.0], [4], [2], [-3]])
    outcome = solve_both(latents, sources)
    # 1 takes 3. 2 finds only the left side, cosine -1 everywhere: rank decides, so -1.
    # -3 takes -2, the smallest left. 4 is left with -5.
    assert outcome.visited.tolist() == [2, 1, 3, 0]
    assert outcome.assignment.tolist() == [2, 0, 1, 3]
    assert outcome.cosine.tolist() == [1, -1, -1, 1]


def test_visiting_orders():
    latents = np.array([[1.0], [2], [3]])
    sources = np.array([[2.0], [1], [3]])
    assert solve_both(latents, sources).assignment.tolist() == [1, 0, 2]
    # Largest source first, and the largest latent ranks lowest: again 3 to 3.
    by_descending = solve_both(latents, sources, order="norm_desc")
    assert by_descending.visited.tolist() == [2, 1, 0]
    assert by_descending.assignment.tolist() == [1, 0, 2]
    assert solve_both(latents, sources, order="index").assignment.tolist() == [0, 1, 2]


def test_equal_norms_go_by_index_in_both_directions():
    latents = np.array([[0.0, 1], [1, 0], [0, 1], [1, 0]])
    sources = np.array([[1.0, 1], [1, 1], [-1, -1], [1, 1]])
    # Every score ties; sources and latents go by index under both orders.
    for order in ("norm", "norm_desc", "index"):
        assert solve_both(latents, sources, order=order).assignment.tolist() == [0, 1, 2, 3]


def test_norms_are_compared_after_the_square_root():
    """Squares one ulp apart can share a square root; the norms tie and the index decides."""
    square = 1.0 + 3 * 2.0**-52
    other = 1.0 + 2 * 2.0**-52
    assert square != other
    assert np.sqrt(square) == np.sqrt(other)
    tiny = 2.0**-26
    # 1 + 3 tiny^2 and 1 + 2 tiny^2, exact in float64.
    rows = np.array([[1.0, tiny, tiny, tiny], [1.0, tiny, tiny, 0.0]])
    assert oracle.dots(oracle.pad(rows), oracle.pad(rows)).tolist() == [square, other]
    norms = oracle.row_norms(oracle.pad(rows))
    assert norms[0] == norms[1]
    assert oracle.visiting_order(norms, "norm").tolist() == [0, 1]
    assert oracle.visiting_order(norms[::-1], "norm_desc").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("a", "total"),
    [
        # Ascending: (1e16 + 1) - 1e16 = 0. Contract: (1e16 - 1e16) + 1.
        ([1e16, 1, -1e16], 1.0),
        # In pairs (s0 + s1) + (s2 + s3): 0. Contract: s1 and s3 meet last, 1 + 1.
        ([1e16, 1, -1e16, 1], 2.0),
        # s0 meets s4 first, so both ones survive beside them.
        ([1e16, 1, 1, 0, -1e16], 2.0),
        # s0 takes products 0 and 8 in this order: 1e16 + 1 is lost, whatever follows.
        ([1e16, 0, 0, 0, -1e16, 0, 0, 0, 1], 0.0),
        # The halves (even, odd) are added last: 1e16 is in the even one, 1 in the odd one.
        ([1e16, 1, 0, 0, 0, 0, 0, -1e16], 0.0),
        # s0 + s4 before s2 + s6: 1 + 1e16 rounds to 1e16, then -1e16 + 1 rounds to -1e16.
        ([1, 0, -1e16, 0, 1e16, 0, 1, 0], 0.0),
    ],
)
def test_order_of_additions(a, total):
    a = [float(v) for v in a]
    ones = [1.0] * len(a)
    assert oracle.dot_literal(a, ones) == total
    assert oracle.dots(oracle.pad(np.array([a])), oracle.pad(np.array([ones]))).item() == total


def test_products_are_rounded_before_they_are_added():
    """(1 + e)(1 - e) = 1 - e^2 rounds to 1; a fused multiply-add would keep -e^2."""
    e = 2.0**-30
    a = np.array([[1.0, 0, 0, 0, 0, 0, 0, 0, 1 + e]])
    b = np.array([[-1.0, 0, 0, 0, 0, 0, 0, 0, 1 - e]])
    assert oracle.dots(oracle.pad(a), oracle.pad(b)).item() == 0.0
    assert oracle.dot_literal(a[0], b[0]) == 0.0


def test_ties_go_to_the_lower_rank_not_to_the_lower_index():
    latents = np.array([[8.0, 0], [2, 0], [4, 0], [0, 1]])
    sources = np.array([[1.0, 0], [3, 0], [2, 0]])
    assert solve_both(latents, sources).assignment.tolist() == [1, 0, 2]
    assert solve_both(latents, sources, order="norm_desc").assignment.tolist() == [1, 0, 2]
    assert solve_both(latents, sources, order="index").assignment.tolist() == [1, 2, 0]
    # Only norm_desc ranks the largest lowest.
    assert solve_both(latents, sources[:1], order="norm_desc").assignment.tolist() == [0]


def test_cone_takes_the_lowest_rank_of_the_k_best():
    latents = np.array([[0.0, 1], [3, 3], [8, 1], [5, 0], [-1, 0]])
    sources = np.array([[1.0, 0]])
    # Cosines 0, .71, .99, 1, -1; norms 1, 4.2, 8.06, 5, 1.
    for cone, taken in ((1, 3), (2, 3), (3, 1), (4, 0), (5, 0), (64, 0)):
        assert solve_both(latents, sources, cone=cone).assignment.tolist() == [taken]
    for cone, taken in ((1, 3), (2, 2), (3, 2), (4, 2), (5, 2)):
        outcome = solve_both(latents, sources, cone=cone, order="norm_desc")
        assert outcome.assignment.tolist() == [taken]


def test_cone_boundary_ties_go_by_rank():
    """Three scores tie for two places: the two of lower rank are in, norms 3 and 1."""
    latents = np.array([[3.0, 0], [4, 0], [1, 0], [0, 0.5]])
    outcome = solve_both(latents, np.array([[1.0, 0], [2, 0]]), cone=2)
    assert outcome.visited.tolist() == [2, 0]


def test_groups_keep_to_themselves_in_ascending_label_order():
    latents = np.array([[1.0], [2], [3], [4], [9]])
    sources = np.array([[4.0], [3], [2], [1]])
    groups = (np.array([7, -2, 7, -2]), np.array([7, -2, -2, 7, 5]))
    outcome = solve_both(latents, sources, groups=groups)
    # Group -2: source 3 (norm 1) takes latent 1, source 1 takes latent 2; then group 7.
    assert outcome.visited.tolist() == [1, 2, 0, 3]
    assert outcome.assignment.tolist() == [3, 2, 0, 1]


def test_center_subtracts_the_column_mean_of_all_latents():
    latents = np.array([[10.0, 1], [12, 1], [11, 2], [11, 0]])
    sources = np.array([[0.5, 0], [-1, 0], [0, 2], [0, -3]])
    outcome = solve_both(latents, sources, center=True)
    assert outcome.assignment.tolist() == [1, 0, 2, 3]
    assert outcome.cosine.tolist() == [1, 1, 1, 1]


def test_center_adds_blocks_of_1024_rows():
    """2^53 loses the 1,023 ones of its own block one by one, but not the sum of the next block."""
    latents = np.zeros((1030, 1))
    latents[0] = 2.0**53
    latents[1:1024] = 1.0
    latents[1024:] = 1.0
    shift = latents[5, 0] - oracle.centered(latents)[5, 0]
    assert shift == (2.0**53 + 6) / 1030
    assert shift != latents.sum() / 1030


def test_cosine_is_score_over_norm_of_the_source():
    latents = np.array([[3.0, 4.0]])
    sources = np.array([[1.0, 2.0]])
    outcome = solve_both(latents, sources)
    assert outcome.cosine.tolist() == [11.0 / 5.0 / np.sqrt(5.0)]


def test_fewer_sources():
    latents = np.array([[1.0], [2], [-1]])
    assert solve_both(latents, np.array([[-7.0]])).assignment.tolist() == [2]


@pytest.mark.parametrize(
    ("latents", "sources"),
    [
        ([[1.0], [np.nan]], [[1.0]]),
        ([[1.0]], [[np.inf]]),
        ([[0.0, 0.0]], [[1.0, 0.0]]),
        ([[1e-160]], [[1.0]]),
        ([[1e160]], [[1.0]]),
        ([[1.0]], [[1.0], [2.0]]),
    ],
)
def test_undefined_input_is_refused(latents, sources):
    for solve in (oracle.solve, oracle.solve_literal):
        with pytest.raises(oracle.Refused):
            solve(np.array(latents), np.array(sources))


# ------------------------------------------------------------------------ fast against literal


@pytest.mark.parametrize("dim", [1, 2, 8, 17])
@pytest.mark.parametrize("name", NAMES)
def test_fast_equals_literal(name, dim):
    latents, sources = make(name, 41, dim)
    variants = [
        {},
        {"order": "norm_desc", "cone": 4},
        {"order": "index", "groups": make_groups("many", 30, 41)},
        {"center": True, "cone": 3, "groups": make_groups("two", 30, 41)},
    ]
    for options in variants:
        chosen = sources[:30]
        try:
            expected = oracle.solve_literal(latents, chosen, **options)
        except oracle.Refused:
            with pytest.raises(oracle.Refused):
                oracle.solve(latents, chosen, **options)
            continue
        outcome = solve_both(latents, chosen, **options)
        assert outcome.assignment.tolist() == expected.assignment.tolist()
        checked = oracle.check_choices(
            latents, chosen, outcome.visited, range(30), cosine=outcome.cosine, **options
        )
        assert checked == 30


# ------------------------------------------------------------------------- what must be caught


@pytest.fixture
def solved():
    latents, sources = make("gaussian", 300, 3)
    return latents, sources, oracle.solve(latents, sources)


def test_check_accepts_a_prefix(solved):
    latents, sources, outcome = solved
    assert oracle.check_choices(latents, sources, outcome.visited[:100], [0, 50, 99]) == 3
    assert oracle.check_choices(latents, sources, outcome.visited[:0], []) == 0


def test_check_rejects_every_swap(solved):
    latents, sources, outcome = solved
    for at in (0, 100, 250):
        visited = outcome.visited.copy()
        visited[[at, at + 1]] = visited[[at + 1, at]]
        with pytest.raises(AssertionError, match=f"position {at}: source"):
            oracle.check_choices(latents, sources, visited, [at])


def test_check_rejects_a_latent_taken_twice(solved):
    latents, sources, outcome = solved
    visited = outcome.visited.copy()
    visited[7] = visited[200]
    with pytest.raises(AssertionError, match="twice"):
        oracle.check_choices(latents, sources, visited, [3])


@pytest.mark.parametrize("wrong", [-1, 300])
def test_check_rejects_a_latent_that_is_not_there(solved, wrong):
    latents, sources, outcome = solved
    visited = outcome.visited.copy()
    visited[7] = wrong
    with pytest.raises(AssertionError, match="does not exist"):
        oracle.check_choices(latents, sources, visited, [3])


def test_check_rejects_positions_outside_the_prefix(solved):
    latents, sources, outcome = solved
    with pytest.raises(AssertionError, match="prefix"):
        oracle.check_choices(latents, sources, outcome.visited[:10], [10])


def test_check_rejects_the_wrong_one_of_tied_latents():
    latents = np.array([[2.0, 0], [1, 0], [0, 1]])
    sources = np.array([[1.0, 0], [3, 0]])
    assert oracle.check_choices(latents, sources, np.array([1, 0]), [0, 1]) == 2
    with pytest.raises(AssertionError, match="latent 0, the contract gives 1"):
        oracle.check_choices(latents, sources, np.array([0, 1]), [0])


def test_check_rejects_another_group():
    latents = np.array([[2.0, 0], [1, 0], [1, 1]])
    sources = np.array([[1.0, 0]])
    groups = (np.array([1]), np.array([1, 0, 1]))
    with pytest.raises(AssertionError, match="latent 1, the contract gives 0"):
        oracle.check_choices(latents, sources, np.array([1]), [0], groups=groups)


def test_check_rejects_a_cosine_one_ulp_off(solved):
    latents, sources, outcome = solved
    cosine = outcome.cosine.copy()
    oracle.check_choices(latents, sources, outcome.visited, range(300), cosine=cosine)
    cosine[5] = np.nextafter(cosine[5], 2)
    with pytest.raises(AssertionError, match="cosine"):
        oracle.check_choices(latents, sources, outcome.visited, range(300), cosine=cosine)


def test_check_rejects_options_of_another_run(solved):
    latents, sources, outcome = solved
    for options in ({"order": "norm_desc"}, {"order": "index"}, {"cone": 4}, {"center": True}):
        with pytest.raises(AssertionError):
            oracle.check_choices(latents, sources, outcome.visited, range(300), **options)


def test_answers_are_stored_and_found(tmp_path, monkeypatch):
    rows = np.random.default_rng(3).normal(size=(20, 3))
    cases = [
        (("rows", 20), (rows, rows[:7], {})),
        (("zeros", 1), (rows, np.zeros((1, 3)), {})),
    ]
    oracle_answers.store(cases, tmp_path / "answers.npz")
    assert oracle_answers.find(("rows", 20)) is oracle_answers.UNKNOWN  # without the variable
    monkeypatch.setenv("GTN_ORACLE_ANSWERS", str(tmp_path / "answers.npz"))
    found, expected = oracle_answers.find(("rows", 20)), oracle.solve(rows, rows[:7])
    for part in ("assignment", "cosine", "visited"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
    assert oracle_answers.find(("zeros", 1)) is None
    assert oracle_answers.find(("rows", 21)) is oracle_answers.UNKNOWN

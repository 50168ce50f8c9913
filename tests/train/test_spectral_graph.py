"""The neighbour graph: against brute force, components, new rows, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_train.data import gaussian_grid
from gtn_train.spectral import NeighbourGraph

ROWS = np.random.default_rng(0).normal(size=(60, 3))


def brute_force(rows, k):
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.fill_diagonal(apart, np.inf)
    ranked = np.sort(apart, axis=1)
    scale = ranked[:, min(8, k) - 1]
    near = apart <= ranked[:, k - 1 : k]
    weights = np.where(near | near.T, np.exp(-(apart**2) / np.outer(scale, scale)), 0)
    np.fill_diagonal(weights, 1)
    return weights, scale


@pytest.mark.parametrize("k", [1, 5, 16, 59])
def test_weights_are_those_of_all_pairs(k):
    graph = NeighbourGraph.build(ROWS, k)
    weights, scale = brute_force(ROWS, k)
    found = graph.weights.toarray()
    np.testing.assert_allclose(found, np.where(weights >= 1e-10, weights, 0), atol=1e-12)
    np.testing.assert_allclose(graph.bandwidths, scale)
    assert (found == found.T).all()


def test_rows_of_the_graph_have_their_weights_again():
    graph = NeighbourGraph.build(ROWS, 6)
    again = graph.weights_of(ROWS).toarray()
    np.testing.assert_allclose(again, graph.weights.toarray(), atol=1e-10)
    assert again.shape == (60, 60)


def test_new_rows_have_nearly_the_weights_of_a_row_beside_them():
    graph = NeighbourGraph.build(ROWS, 6)
    beside = graph.weights_of(ROWS[:5] + 1e-7).toarray()
    np.testing.assert_allclose(beside, graph.weights[:5].toarray(), atol=1e-5)
    far = graph.weights_of(np.full((1, 3), 1e6)).toarray()
    assert far.max() == 1, "weights of a row far away are relative to its heaviest"


def test_components_are_numbered_by_their_size():
    rows = gaussian_grid(2_000, 0)
    graph = NeighbourGraph.build(rows)
    assert len(graph.sizes) == 25
    assert (np.diff(graph.sizes) <= 0).all()
    cell = np.rint(rows).astype(int)
    for number in range(25):
        assert len(np.unique(cell[graph.component == number], axis=0)) == 1
    one = graph.of_component(3)
    assert one.n == graph.sizes[3]
    assert one.weights.shape == (one.n, one.n)


def test_small_components_join_the_nearest_other():
    rows = np.concatenate([ROWS, ROWS + 100, [[50.0, 50, 50], [50, 50, 51], [50.1, 50, 50]]])
    graph = NeighbourGraph.build(rows, 2, least_component=10)
    assert graph.merged == (3,)
    assert graph.sizes.tolist() == [63, 60]
    joined = graph.weights[120:, :120]
    assert (joined[:, :60].nnz == 0) != (joined[:, 60:].nnz == 0), "joined with one other"
    assert joined.max(axis=1).toarray().min() > 0.3, "joined as heavily as neighbours are"


def test_copies_of_rows_have_a_bandwidth():
    rows = np.concatenate([ROWS, np.repeat(ROWS[:1], 20, axis=0)])
    graph = NeighbourGraph.build(rows, 8)
    assert graph.bandwidths.min() > 0
    assert graph.bandwidths[60:].max() == graph.bandwidths.min()
    assert np.isfinite(graph.weights.data).all()
    np.testing.assert_allclose(graph.weights[0, 60], 1)


def test_rows_that_all_have_copies_need_more_neighbours():
    rows = np.repeat(ROWS[:30], 20, axis=0)
    with pytest.raises(ValueError, match="neighbours must be more than the copies that every row"):
        NeighbourGraph.build(rows, 16)
    assert NeighbourGraph.build(rows, 21).bandwidths.min() > 0


def test_constant_columns_have_no_effect():
    padded = np.hstack([ROWS, np.full((60, 1), 3.0)])
    left, right = NeighbourGraph.build(ROWS, 5), NeighbourGraph.build(padded, 5)
    assert (left.weights != right.weights).nnz == 0


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS, {"neighbours": 60}, "neighbours must be below the 60 rows, got 60"),
        (ROWS, {"neighbours": 0}, "neighbours must be >= 1, got 0"),
        (ROWS[:1], {"neighbours": 1}, "neighbours must be below the 1 rows, got 1"),
        (np.ones((30, 2)), {}, "rows must have two distinct ones, got 30 equal rows"),
        (np.where(ROWS[4, 1] == ROWS, np.nan, ROWS), {}, "rows.*NaN"),
        (ROWS[:, 0], {}, "rows must be 2-D"),
    ],
)
def test_what_is_no_graph_is_refused(rows, options, message):
    with pytest.raises(ValueError, match=message):
        NeighbourGraph.build(rows, **options)


def test_new_rows_must_have_the_columns_of_the_graph():
    graph = NeighbourGraph.build(ROWS, 5)
    with pytest.raises(ValueError, match=r"rows must have the graph's 3 columns, got \(2, 2\)"):
        graph.weights_of(np.zeros((2, 2)))


@pytest.mark.parametrize(("package", "shown"), [("scipy", "SciPy"), ("sklearn", "scikit-learn")])
def test_a_missing_package_names_the_extra(monkeypatch, package, shown):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {shown}.*pip install 'gtn-label\[train\]'"):
        NeighbourGraph.build(ROWS)

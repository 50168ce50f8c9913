"""Diffusion maps: against dense eigenvectors and known curves, and extended to new rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gtn_train.data import loop, ring, torus
from gtn_train.spectral import DiffusionMap, NeighbourGraph, diffusion

RING = ring(300, 0, noise=0.05)


def explained(basis, targets):
    """R² of a linear fit of each target."""
    basis = np.column_stack([np.ones(len(basis)), basis])
    rest = targets - basis @ np.linalg.lstsq(basis, targets, rcond=None)[0]
    return 1 - (rest**2).sum(axis=0) / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)


def dense(graph, dim, power):
    weights = graph.weights.toarray()
    q = weights.sum(axis=1)
    weights = weights / np.outer(q, q) ** power
    d = weights.sum(axis=1)
    values, vectors = np.linalg.eigh(weights / np.sqrt(np.outer(d, d)))
    values, vectors = values[::-1][1 : dim + 1], vectors[:, ::-1][:, 1 : dim + 1]
    functions = vectors / np.sqrt(d / d.sum())[:, None]
    top = functions[np.abs(functions).argmax(axis=0), np.arange(dim)]
    return values, functions * np.sign(top), weights / d[:, None], d / d.sum()


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("time", [0.0, 1.0, 3.5])
def test_it_is_the_dense_eigenvectors(power, time):
    graph = NeighbourGraph.build(RING)
    found = DiffusionMap.fit(graph, 4, density_power=power, time=time)
    values, functions, walk, law = dense(graph, 4, power)
    np.testing.assert_allclose(found.eigenvalues, values, atol=1e-8)
    np.testing.assert_allclose(found.functions, functions, atol=1e-8)
    np.testing.assert_allclose(found.coordinates, functions * values**time, atol=1e-8)
    np.testing.assert_allclose(walk @ found.functions, found.functions * values, atol=1e-8)
    np.testing.assert_allclose(law @ found.functions**2, 1)


def test_the_other_ways_to_eigenvectors_are_no_others(monkeypatch):
    graph = NeighbourGraph.build(RING)
    found = DiffusionMap.fit(graph, 4)
    monkeypatch.setattr(diffusion, "RESTARTS", 1)  # too few to converge
    inverted = DiffusionMap.fit(graph, 4)
    monkeypatch.setattr(diffusion, "DENSE", 1_000)
    for other in (inverted, DiffusionMap.fit(graph, 4)):
        np.testing.assert_allclose(other.functions, found.functions, atol=1e-8)
        np.testing.assert_allclose(other.eigenvalues, found.eigenvalues, atol=1e-10)


def test_a_circle_has_its_sine_and_cosine():
    points = ring(2_000, 0, noise=0)
    found = DiffusionMap.fit(NeighbourGraph.build(points), 4)
    assert explained(found.coordinates[:, :2], points).min() >= 0.99
    assert (np.diff(found.eigenvalues) <= 0).all()


def test_rows_of_the_graph_have_their_coordinates_again():
    for rows in (RING, torus(500, 0)):
        found = DiffusionMap.fit(NeighbourGraph.build(rows), 3)
        np.testing.assert_allclose(found.nystroem(rows), found.coordinates, atol=1e-6)


def test_new_rows_lie_between_their_neighbours():
    found = DiffusionMap.fit(NeighbourGraph.build(ring(2_000, 0, noise=0)), 2)
    angle = np.linspace(0, 6, 40)
    new = np.column_stack([np.cos(angle), np.sin(angle)])
    assert explained(found.nystroem(new), new).min() >= 0.99
    far = found.nystroem([[100.0, 0.0]])
    np.testing.assert_allclose(far, found.nystroem([[1.0, 0.0]]), atol=0.1)


def test_permuted_rows_have_permuted_coordinates():
    rows, order = loop(400, 0), np.random.default_rng(1).permutation(400)
    left = DiffusionMap.fit(NeighbourGraph.build(rows), 3)
    right = DiffusionMap.fit(NeighbourGraph.build(rows[order]), 3)
    np.testing.assert_allclose(left.eigenvalues, right.eigenvalues, atol=1e-9)
    sign = np.sign((left.functions[order] * right.functions).sum(axis=0))
    np.testing.assert_allclose(left.functions[order], right.functions * sign, atol=1e-6)


def test_pairs_of_equal_eigenvalues_keep_their_plane():
    angle = np.arange(200) * 2 * np.pi / 200  # an even circle, whose eigenvalues are in pairs
    rows, order = np.column_stack([np.cos(angle), np.sin(angle)]), np.arange(200)[::-1]
    left = DiffusionMap.fit(NeighbourGraph.build(rows, 4), 2)
    right = DiffusionMap.fit(NeighbourGraph.build(rows[order], 4), 2)
    assert explained(left.functions[order], right.functions).min() > 1 - 1e-9


@pytest.mark.parametrize(
    ("dim", "options", "message"),
    [
        (0, {}, "dim must be >= 1, got 0"),
        (299, {}, "dim must be at most the 300 rows less 2, got 299"),
        (2, {"density_power": -1}, "density_power must be a finite number >= 0, got -1"),
        (2, {"time": float("nan")}, "time must be a finite number >= 0, got nan"),
    ],
)
def test_what_has_no_map_is_refused(dim, options, message):
    with pytest.raises(ValueError, match=message):
        DiffusionMap.fit(NeighbourGraph.build(RING), dim, **options)


def test_new_rows_need_eigenvalues_to_divide_by():
    map_ = DiffusionMap.fit(NeighbourGraph.build(RING), 2)
    fast = replace(map_, eigenvalues=map_.eigenvalues * 1e-9)
    with pytest.raises(ValueError, match="dim must leave out eigenvalues below 1e-06"):
        fast.nystroem(RING)

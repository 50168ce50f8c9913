"""DataGraph: shortest paths along rows, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_train.geometry import DataGraph


def test_paths_follow_the_rows():
    angle = np.linspace(0, 1.5 * np.pi, 100)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    left, right = rows[:1] * 1.01, rows[-1:] * 1.01
    (path,) = DataGraph(rows, rows, 3).paths(left, right, left, right)
    np.testing.assert_array_equal(path[[0, -1]], np.concatenate([left, right]))
    assert np.linalg.norm(path, axis=1).min() > 0.99
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert length == pytest.approx(1.5 * np.pi, rel=0.02)


def test_latents_measure_the_edges():
    """Of two ways round, the one whose latents are closer together is taken."""
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    warped = rows * np.where(np.sin(angle) > 0, 0.1, 1)[:, None]
    ends = [rows[[4]], rows[[45]]], [warped[[4]], warped[[45]]]
    (path,) = DataGraph(rows, warped, 2).paths(*ends[0], *ends[1])
    assert path[1:-1, 1].mean() > 0.5
    (path,) = DataGraph(rows, rows[:, :1] * 0, 2).paths(*ends[0], *(e[:, :1] for e in ends[0]))
    assert len(path) >= 2


def test_where_no_path_is_the_ends_stay_alone():
    rows = np.concatenate([np.zeros((5, 2)), np.full((5, 2), 9.0)]) + np.eye(10)[:, :2] * 0.1
    (path,) = DataGraph(rows, rows, 2).paths(rows[:1], rows[-1:], rows[:1], rows[-1:])
    np.testing.assert_array_equal(path, rows[[0, -1]])


def test_equal_rows_are_joined():
    rows = np.zeros((6, 2))
    rows[3:] = 1
    (path,) = DataGraph(rows, rows, 4).paths(rows[:1], rows[-1:], rows[:1], rows[-1:])
    assert len(path) > 2


@pytest.mark.parametrize(
    ("rows", "latents", "k", "message"),
    [
        (np.zeros((1, 2)), np.zeros((1, 2)), 1, "must be as many, and two at least, got 1 and 1"),
        (np.zeros((3, 2)), np.zeros((2, 2)), 1, "got 3 and 2"),
        (np.zeros((3, 2)), np.zeros((3, 2)), 0, "neighbours must be >= 1"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), 1, "positions"),
    ],
)
def test_what_makes_no_graph_is_refused(rows, latents, k, message):
    with pytest.raises(ValueError, match=message):
        DataGraph(rows, latents, k)

"""Classes for samples of a conditional generator: those of its data, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_label.io.files import write_pairs
from gtn_train.pairs.classes import as_in_data, in_turn, of_latents


def test_classes_in_turn_are_those_there_are():
    assert in_turn(np.array([7, 3, 3, 7, 9]), 5).tolist() == [3, 7, 9, 3, 7]
    assert in_turn(np.array([4]), 2).tolist() == [4, 4]


def test_classes_as_in_the_data():
    known = np.repeat([2, 5], [900, 100])
    drawn = as_in_data(known, 5000, 1)
    assert set(drawn.tolist()) == {2, 5}
    assert abs((drawn == 5).mean() - 0.1) < 0.02
    assert np.array_equal(drawn, as_in_data(known, 5000, 1))
    assert not np.array_equal(drawn, as_in_data(known, 5000, 2))


def pairs(**changes):
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    content = {
        "sources": rows,
        "labels": rows,
        "assignment": np.array([2, 0, 1, 3]),
        "cosine": np.ones(4),
        "classes": np.array([5, 0, 1, 2]),
    }
    return {name: rows for name, rows in (content | changes).items() if rows is not None}


def test_classes_of_latents_follow_the_assignment(tmp_path):
    write_pairs(tmp_path / "pairs.npz", pairs(), {"seed": 0})
    assert of_latents(tmp_path / "pairs.npz").tolist() == [0, 1, 5, 2]
    write_pairs(tmp_path / "pairs.npz", pairs(classes=None), {"seed": 0})
    assert of_latents(tmp_path / "pairs.npz") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"assignment": None}, "must hold a run's pairs, and lacks assignment"),
        ({"assignment": np.array(3)}, "must give each latent one source"),
        ({"assignment": np.array([0, 0, 1, 2])}, "must give each latent one source"),
        ({"assignment": np.arange(4.0)}, "must give each latent one source"),
        ({"classes": np.array([0, 1])}, "must hold a class >= 0 of each of its 4 pairs"),
        ({"classes": np.array([0, 1, -1, 2])}, "must hold a class >= 0 of each of its 4 pairs"),
        ({"classes": np.zeros(4)}, "must hold a class >= 0 of each of its 4 pairs"),
        ({"classes": np.full(4, 2**63, np.uint64)}, "must have classes below"),
    ],
)
def test_classes_that_no_run_has(tmp_path, changes, message):
    path = tmp_path / "pairs.npz"
    write_pairs(path, pairs(**changes), {"seed": 0})
    with pytest.raises(ValueError, match=rf"pairs\.npz' {message}"):
        of_latents(path)

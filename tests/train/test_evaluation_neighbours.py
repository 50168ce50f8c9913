"""Nearest training images: the definition, blocks that change nothing, copies that are found."""

from __future__ import annotations

import numpy as np
import pytest
from stand_ins import images

from gtn_train.evaluation import neighbours as module
from gtn_train.evaluation.neighbours import memorisation, nearest


def test_nearest_is_the_definition(monkeypatch):
    queries, training = images(7, seed=1), images(50, seed=2)
    differences = queries[:, None].astype(float) - training[None].astype(float)
    distances = np.sqrt((differences**2).sum(axis=(2, 3, 4)))
    for block in (module.BLOCK_VALUES, 6 * training[0].size):  # in one, and in several
        monkeypatch.setattr(module, "BLOCK_VALUES", block)
        found, distance = nearest(queries, training)
        np.testing.assert_array_equal(found, distances.argmin(axis=1))
        np.testing.assert_allclose(distance, distances.min(axis=1), rtol=1e-12)


def test_the_first_of_equals_is_taken_whatever_the_blocks(monkeypatch):
    training = np.array([[5], [1], [1], [1]])
    monkeypatch.setattr(module, "BLOCK_VALUES", 2)
    assert nearest(np.array([[0]]), training)[0].tolist() == [1]


def test_a_memory_map_will_do(tmp_path):
    np.save(tmp_path / "training.npy", images(20))
    mapped = np.load(tmp_path / "training.npy", mmap_mode="r")
    assert nearest(images(20)[3:4], mapped)[0].tolist() == [3]


def test_copies_are_found():
    training, held_out = images(300, seed=0), images(200, seed=1)
    honest = memorisation(images(200, seed=2), training, held_out).figures()
    assert honest["copies"] < 0.05
    assert honest["ratio"] == pytest.approx(1, abs=0.1)
    copied = images(200, seed=2)
    copied[:100] = training[50:150]
    found = memorisation(copied, training, held_out)
    np.testing.assert_array_equal(found.indices[:100], np.arange(50, 150))
    assert found.distances[:100].max() == 0
    assert 0.5 <= found.figures()["copies"] < 0.55
    assert found.figures()["n"] == found.figures()["held-out n"] == 200


def test_the_most_suspicious_are_shown_above_their_neighbours():
    training = images(30, seed=0)
    generated = images(10, seed=1)
    generated[7] = training[12]
    found = memorisation(generated, training, images(10, seed=2))
    grid = found.grid(generated, training, count=3)
    side = training.shape[2]
    assert grid.shape == (3, 2 * (side + 2) + 2, 3 * (side + 2) + 2)
    np.testing.assert_array_equal(grid[:, 2 : 2 + side, 2 : 2 + side], training[12])
    np.testing.assert_array_equal(grid[:, 4 + side : 4 + 2 * side, 2 : 2 + side], training[12])
    assert len(found.histogram().axes) == 1


def test_rows_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"rows of one shape.*\(2, 3\) and \(2, 4\)"):
        nearest(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="at least one each"):
        nearest(np.ones((2, 3)), np.ones((0, 3)))

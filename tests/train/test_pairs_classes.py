"""Classes for samples of a conditional generator: those of its data, and no others."""

from __future__ import annotations

import numpy as np

from gtn_train.pairs.classes import as_in_data, in_turn


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

"""Interpolation (Fig. 8): the line's formula, its ends, and sources of real images."""

from __future__ import annotations

import numpy as np
import pytest
from stand_ins import Affine, Tiles

from gtn_label import match
from gtn_label.arrays.sources import draw_sources
from gtn_train.pairs.mixture import Mixture
from gtn_train.sampling.interpolation import interpolate, lines, matched_sources, random_ends
from gtn_train.sampling.sample import sampling_seed


def test_points_are_the_papers_formula():
    left, right = np.array([[1.0, -2.0], [0.0, 5.0]]), np.array([[3.0, 4.0], [8.0, 5.0]])
    weights, sources = lines(left, right)
    assert len(weights) == 20
    np.testing.assert_allclose(weights, [1 - i / 19 for i in range(20)], atol=1e-15)
    for line in range(2):
        for point, share in enumerate(weights):
            expected = share * left[line] + (1 - share) * right[line]
            np.testing.assert_allclose(sources[line, point], expected, rtol=1e-6, atol=1e-6)


def test_ends_are_exact():
    left, right = draw_sources(6, 4, 0).reshape(2, 3, 4)
    _, sources = lines(left, right, 7)
    np.testing.assert_array_equal(sources[:, 0], left)
    np.testing.assert_array_equal(sources[:, -1], right)


def test_random_ends_are_drawn_once_for_both_sides():
    left, right = random_ends(3, 2, 9)
    np.testing.assert_array_equal(
        np.concatenate([left, right]), draw_sources(6, 2, sampling_seed(9))
    )
    mixture = Mixture([1.0], [[100.0]], [[1.0]])
    left, right = random_ends(3, 1, 9, mixture=mixture)
    assert min(left.min(), right.min()) > 90


def test_both_ends_are_in_the_lines_cluster():
    mixture = Mixture([0.5, 0.5], [[100.0], [-100.0]], [[1.0], [1.0]])
    for classes, signs in (([0, 1, 1], [1, -1, -1]), (1, [-1, -1, -1])):
        for end in random_ends(3, 1, 9, mixture=mixture, classes=classes):
            assert np.sign(end[:, 0]).tolist() == signs


def test_images_lie_along_the_line_and_make_one_row_each():
    left, right = np.array([[-1.0, -1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.0, -1.0]])
    found = interpolate(Affine(2), left, right, Tiles(2), steps=3, batch_size=2)
    np.testing.assert_allclose(found.latents, 2 * found.sources + 1, rtol=1e-6)
    assert found.images.shape == (2, 3, 1, 2, 2)
    # latents -1, 0, 1 are bytes 0, 128 (127.5 to the even neighbour) and 255
    np.testing.assert_array_equal(found.images[0, :, 0, 0, 0], [0, 128, 255])
    grid = found.grid()
    assert grid.shape == (3, 2 * 4 + 2, 3 * 4 + 2)
    np.testing.assert_array_equal(grid[0, 2, 2::4], [0, 128, 255])


def test_classes_hold_along_a_line():
    left, right = np.zeros((2, 1)), np.ones((2, 1))
    plain = interpolate(Affine(1), left, right, steps=4).latents
    each = interpolate(Affine(1), left, right, steps=4, classes=[1, 2]).latents
    np.testing.assert_allclose(each - plain, [[[100.0]] * 4, [[200.0]] * 4], rtol=1e-5)
    same = interpolate(Affine(1), left, right, steps=4, classes=1).latents
    np.testing.assert_allclose(same - plain, 100, rtol=1e-5)


def test_without_an_autoencoder_there_is_no_grid():
    found = interpolate(Affine(1), np.zeros((1, 1)), np.ones((1, 1)))
    assert found.images is None
    with pytest.raises(ValueError, match="a grid needs images"):
        found.grid()


def test_a_real_image_goes_to_the_source_whose_label_it_is():
    latents = np.random.default_rng(0).normal(size=(30, 3))
    matching = match(latents, seed=1)
    rows = np.array([4, 29, 0, 4])
    sources = matched_sources(matching, rows)
    where = [matching.assignment.tolist().index(row) for row in rows]
    np.testing.assert_array_equal(sources, matching.sources[where])


def test_latents_that_no_source_took_are_named():
    latents = np.random.default_rng(0).normal(size=(9, 3))
    matching = match(latents, latents[:4] + 0.1)
    free = sorted(set(range(9)) - set(matching.assignment.tolist()))
    taken = int(matching.assignment[0])
    assert matched_sources(matching, [taken]).shape == (1, 3)
    with pytest.raises(ValueError, match=f"there is none for {free[0]}, {free[1]}$"):
        matched_sources(matching, [free[0], taken, free[1]])
    with pytest.raises(ValueError, match=r"there is none for 9, -1$"):
        matched_sources(matching, [9, -1])


def test_a_matching_of_indices_alone_is_refused(tmp_path):
    matching = match(np.eye(3), seed=0)
    matching.save(tmp_path / "pairs.npz", indices_only=True)
    with pytest.raises(ValueError, match="matching must hold its sources"):
        matched_sources(type(matching).load(tmp_path / "pairs.npz"), [0])


@pytest.mark.parametrize("rows", [[], [0.5], [[1]]])
def test_rows_must_be_indices(rows):
    with pytest.raises(ValueError, match=r"latent_rows must be 1-D integers \[k >= 1\]"):
        matched_sources(match(np.eye(3), seed=0), rows)


@pytest.mark.parametrize(
    ("left", "right", "steps", "message"),
    [
        (np.ones((1, 2)), np.ones((1, 2)), 1, "steps must be >= 2, got 1"),
        (np.ones((1, 2)), np.ones((2, 2)), 5, r"alike, got shapes \(1, 2\) and \(2, 2\)"),
        (np.ones(2), np.ones(2), 5, r"must be 2-D \[k, dim\]"),
    ],
)
def test_ends_that_do_not_fit_are_refused(left, right, steps, message):
    with pytest.raises(ValueError, match=message):
        lines(left, right, steps)

"""Random walks of a VDAE: what a step is, what decides the noise, and when walks are mixed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from gtn_train.data import ring
from gtn_train.models import make_model
from gtn_train.models.vdae import VDAE
from gtn_train.sampling import burst, mixing_steps, trajectory, walk
from gtn_train.seeds import random_numbers


class Plane(VDAE):
    """The plane as its own latents: exact coordinates, steps of one deviation, exact decoder."""

    def __init__(self, deviation=0.1):
        super().__init__({"data_shape": [2], "latent_dim": 2})
        self.encoder.network = nn.Identity()
        self.encoder.mix[0] = torch.eye(2)
        self.decoder = nn.Identity()
        self.step_scale.fill_(deviation)

    def factor(self, latents):
        return self.step_scale * torch.eye(2).expand(len(latents), 2, 2)


def of_images():
    model = make_model("vdae", {"encoder": {"data_shape": [1, 8, 8], "latent_dim": 2}}, 0)
    return model, np.random.default_rng(0).integers(0, 255, (5, 1, 8, 8)).astype(np.uint8)


def test_a_walk_adds_its_steps():
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    found = walk(Plane(), rows, 3, seed=7)
    noise = sum(random_numbers(7, "walk", t).standard_normal((3, 2), np.float32) for t in (1, 2, 3))
    np.testing.assert_allclose(found, rows + 0.1 * noise, rtol=1e-5)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(rows[0], [1, 2], "the starts are not changed")


def test_batches_and_other_walks_change_nothing():
    rows = ring(50, 0)
    whole = walk(Plane(), rows, 4)
    np.testing.assert_array_equal(walk(Plane(), rows, 4, batch_size=7), whole)
    np.testing.assert_array_equal(walk(Plane(), rows[:9], 4), whole[:9])
    assert not np.array_equal(walk(Plane(), rows, 4, seed=1), whole)


def test_a_trajectory_has_the_walk_of_each_length():
    rows = ring(9, 0)
    steps = list(itertools.islice(trajectory(Plane(), rows), 3))
    for number, moved in enumerate(steps, 1):
        np.testing.assert_array_equal(moved.rows, walk(Plane(), rows, number))
        np.testing.assert_array_equal(moved.latents, moved.rows)  # the decoder is the identity


def test_snapped_steps_start_at_the_nearest_latent():
    known = np.array([[0.0, 0.0], [10.0, 10.0]])
    (moved,) = itertools.islice(trajectory(Plane(1e-6), [[1.0, 2.0], [8.0, 7.0]], snap_to=known), 1)
    np.testing.assert_allclose(moved.rows, known, atol=1e-4)


def test_images_stay_images():
    model, images = of_images()
    found = walk(model, images, 2)
    assert (found.shape, found.dtype) == (images.shape, np.uint8)


def test_a_burst_is_one_step_from_one_row():
    found = burst(Plane(), np.array([3.0, 4.0]), 2_000)
    np.testing.assert_allclose(found.mean(axis=0), [3, 4], atol=0.02)
    np.testing.assert_allclose(found.std(axis=0), 0.1, rtol=0.1)


def test_walks_mix_once_they_are_spread_as_the_data_are():
    rows = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    steps = mixing_steps(Plane(0.25), rows, row=int((rows**2).sum(axis=1).argmin()))
    assert 10 <= steps <= 18  # variances add up: sixteen steps of 1/16
    assert mixing_steps(Plane(0.25), rows, most=3) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: walk(nn.Identity(), [[1.0]], 1), "model must be a VDAE, got Identity"),
        (lambda: walk(Plane(), [[1.0, 2.0]], 0), "steps must be >= 1, got 0"),
        (lambda: walk(Plane(), [[1.0]], 1), r"rows must have the model's shape \(n, 2\), got \(1"),
        (lambda: walk(Plane(), [[1.0, np.nan]], 1), "NaN"),
        (lambda: walk(Plane(), [[1.0, 2.0]], 1, -1), "seed must be"),
        (
            lambda: walk(Plane(), [[1.0, 2.0]], 1, snap_to=[[1.0]]),
            "snap_to must have the model's 2",
        ),
        (lambda: walk(Plane(np.inf), [[1.0, 2.0]], 1), "rows of step 1"),
        (lambda: walk(of_images()[0], np.zeros((1, 1, 8, 8)), 1), "uint8"),
        (lambda: mixing_steps(Plane(), np.zeros((3, 2))), "rows must be four at least, got 3"),
        (lambda: mixing_steps(Plane(), np.zeros((9, 2)), 9), "row must be below the 9 rows, got 9"),
        (lambda: mixing_steps(Plane(), np.zeros((9, 2)), most=0), "most must be >= 1, got 0"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

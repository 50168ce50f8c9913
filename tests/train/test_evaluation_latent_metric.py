"""The energy distance to held-out latents as what a generator's training stops by."""

from __future__ import annotations

import numpy as np
import pytest
from stand_ins import Affine

from gtn_train.evaluation.latent_metric import latent_metric
from gtn_train.evaluation.latents import StandardizedDistance, Standardizer
from gtn_train.pairs.classes import as_in_data
from gtn_train.pairs.mixture import Mixture
from gtn_train.sampling.sample import sample_latents


def latents(n, seed):
    """What Affine makes of N(0, I): 2 y + 1."""
    return (2 * np.random.default_rng(seed).normal(size=(n, 3)) + 1).astype(np.float32)


def test_it_is_the_distance_of_the_same_samples_each_time():
    training, held_out = latents(300, 1), latents(50, 2)
    metric = latent_metric(training, held_out, n=60, seed=3, every=5)
    assert (metric.name, metric.larger_is_better) == ("energy distance of 60", False)
    assert metric.every == 5
    wanted = StandardizedDistance(held_out, Standardizer(training))(
        sample_latents(Affine(3), 60, 3)
    )
    assert metric.measure(Affine(3)) == metric.measure(Affine(3)) == wanted


def test_a_right_generator_is_near_and_a_shrunken_one_is_not():
    metric = latent_metric(latents(800, 1), latents(800, 2), seed=3)

    class Shrunken(Affine):
        def forward(self, sources, classes=None):
            return 0.6 * (super().forward(sources, classes) - 1) + 1

    assert abs(metric.measure(Affine(3))) < 0.005
    assert metric.measure(Shrunken(3)) > 0.05


def test_more_held_out_rows_than_it_takes_are_chosen_from():
    training, held_out = latents(300, 1), latents(80, 2)
    by_seed = [latent_metric(training, held_out, n=40, seed=seed) for seed in (3, 4)]
    assert by_seed[0].measure(Affine(3)) != by_seed[1].measure(Affine(3))


def test_classes_are_as_frequent_as_in_the_data_and_sources_may_be_a_mixtures():
    training, held_out = latents(300, 1), latents(20, 2)
    distance = StandardizedDistance(held_out, Standardizer(training))
    known = np.repeat([0, 2], [5, 15])
    found = latent_metric(training, held_out, n=20, classes=known, seed=3).measure(Affine(3))
    drawn = as_in_data(known, 20, 3)
    assert found == distance(sample_latents(Affine(3), 20, 3, classes=drawn))
    mixture = Mixture([1.0], [[5.0, 5.0, 5.0]], [[1.0, 1.0, 1.0]])
    found = latent_metric(training, held_out, n=20, mixture=mixture, seed=3).measure(Affine(3))
    assert found == distance(sample_latents(Affine(3), 20, 3, mixture=mixture)) > 1


def test_everything_that_decides_it_makes_another_run():
    training, held_out = latents(30, 1), latents(20, 2)
    plain = latent_metric(training, held_out).config()
    for other in (
        latent_metric(training + 1, held_out),
        latent_metric(training, held_out + 1),
        latent_metric(training, held_out, seed=1),
        latent_metric(training, held_out, n=5),
        latent_metric(training, held_out, classes=np.zeros(30, np.int64)),
    ):
        assert other.config() != plain
    with pytest.raises(ValueError, match="n must be >= 2, got 1"):
        latent_metric(training, held_out, n=1)

"""Inception Score and Fréchet distance as what a generator's training stops by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stand_ins import Affine, Moments, Tiles

from gtn_train.evaluation.images import extract, frechet_distance, inception_score
from gtn_train.evaluation.stop_metric import extractor_of, image_metric
from gtn_train.pairs.classes import as_in_data
from gtn_train.pairs.mixture import Mixture
from gtn_train.sampling.sample import sample_images


class Colours(Tiles):
    """Each coordinate is the brightness of a colour."""

    image_shape = (3, 2, 2)

    def __init__(self):
        super().__init__(3)

    def decode(self, latents):
        return (0.2 * latents).repeat_interleave(4, dim=1).reshape(-1, *self.image_shape)


def real(n=40):
    return np.random.default_rng(0).integers(0, 256, (n, 3, 2, 2), dtype=np.uint8)


def test_a_score_is_that_of_the_same_samples_each_time():
    metric = image_metric("score", Moments(), Colours(), n=20, seed=3, every=5)
    assert (metric.name, metric.larger_is_better, metric.every) == ("IS-Moments of 20", True, 5)
    wanted = inception_score(sample_images(Affine(3), Colours(), 20, 3), Moments())
    assert metric.measure(Affine(3)) == metric.measure(Affine(3)) == wanted > 1


def test_a_distance_is_from_as_many_real_images():
    images = real()
    metric = image_metric("distance", Moments(), Colours(), n=40, real=images, seed=3)
    assert (metric.name, metric.larger_is_better) == ("FD-Moments of 40", False)
    some = extract(sample_images(Affine(3), Colours(), 40, 3), Moments()).features
    wanted = frechet_distance(some, extract(images, Moments()).features)
    assert metric.measure(Affine(3)) == wanted > 0
    fewer = image_metric("distance", Moments(), Colours(), n=20, real=images, seed=3)
    assert fewer.measure(Affine(3)) != wanted


def test_classes_are_as_frequent_as_in_the_data():
    known = np.repeat([0, 2], [5, 15])
    metric = image_metric("score", Moments(), Colours(), n=20, classes=known, seed=3)
    drawn = as_in_data(known, 20, 3)
    images = sample_images(Affine(3), Colours(), 20, 3, classes=drawn)
    assert metric.measure(Affine(3)) == inception_score(images, Moments())


def test_sources_may_come_from_a_mixture():
    mixture = Mixture([1.0], [[-0.5, 0.1, 1]], [[0.1, 0.2, 1]])
    metric = image_metric("score", Moments(), Colours(), n=20, mixture=mixture, seed=3)
    images = sample_images(Affine(3), Colours(), 20, 3, mixture=mixture)
    assert metric.measure(Affine(3)) == inception_score(images, Moments())


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("loss", {}, "kind must be 'score' or 'distance', got 'loss'"),
        ("score", {"real": real()}, "real images are what a distance needs, and a score not"),
        ("distance", {}, "real images are what a distance needs, and a score not"),
        ("distance", {"real": real(9)}, "real must have at least n = 20 images, got 9"),
        ("score", {"n": 1}, "n must be >= 2, got 1"),
        ("score", {"classes": []}, r"classes must be 1-D, not empty, got shape \(0,\)"),
    ],
)
def test_what_makes_no_metric(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        image_metric(kind, Moments(), Colours(), **{"n": 20, **changes})


def test_a_figure_must_be_a_known_one():
    with pytest.raises(ValueError, match="figure must be one of IS, FID, IS-Lite0, FD-Lite0, got"):
        extractor_of("loss")


def test_any_module_may_be_an_extractor():
    class Net:
        name, key = "Net", "1"

        def __init__(self):
            self.layer = torch.nn.Linear(12, 8)

        def __call__(self, images):
            features = self.layer(images.flatten(1).float() / 255)
            return features, features

    metric = image_metric("distance", Net(), Colours(), n=20, real=real())
    assert metric.measure(Affine(3)) > 0
    with pytest.raises(TypeError, match="extractor must be an Extractor, such as lite0"):
        image_metric("distance", Net, Colours(), n=20, real=real())


def test_what_decides_a_metric_is_in_its_config():
    def config(**given):
        return image_metric("score", Moments(), Colours(), n=20, **given).config()

    assert config() != config(seed=1)
    assert config() != config(classes=[0, 1])
    assert config(classes=[0, 1]) != config(classes=[1, 1])

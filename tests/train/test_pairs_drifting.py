"""DriftingPairs: labels are ĥ(y) + x - z' by optimal transport, and follow a generator."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_train.pairs import DriftingPairs, Optimal
from gtn_train.pairs.optimal import draw
from gtn_train.seeds import derive

LATENTS = (np.random.default_rng(0).normal([1, 0, -2], [1, 5, 0.5], size=(60, 3))).astype("f4")
CLASSES = np.arange(60) % 3 + 4


def half(sources, classes):
    """A generator whose samples are too near a point."""
    return (sources * 0.5 + 1).astype(np.float32)


def drifting(generate=half, **options):
    pairs = DriftingPairs(LATENTS, **{"tolerance": 0.0, **options})
    pairs.follow(generate)
    return pairs


def best(a, b):
    """Row of b that each row of a takes, at the least sum of squared distances."""
    return linear_sum_assignment(-a.astype(np.float64) @ b.astype(np.float64).T)[1]


def standard(rows):
    wide = LATENTS.astype(np.float64)
    return (rows - wide.mean(0)) / wide.std(0)


def test_round_0_has_optimal_pairs():
    for options in ({}, {"standardize": False}, {"classes": CLASSES}, {"batch": 16}):
        pairs = drifting(every=2, seed=7, **options)
        options = {"standardize": True, **options}
        wanted = Optimal(tolerance=0, **options).label(LATENTS, derive(7, "round", 0))
        for epoch in (1, 2):
            rows = pairs.epoch(epoch)
            assert np.array_equal(rows.sources, wanted.sources)
            assert np.array_equal(rows.labels, LATENTS[wanted.assignment])
            if "classes" in options:
                assert np.array_equal(rows.classes, wanted.classes)
        assert pairs.stats(0)["mean_cosine"] == wanted.cosine.mean()
        assert "learnability" in pairs.stats(0)


@pytest.mark.parametrize("standardize", [True, False])
def test_labels_are_the_sample_and_its_drift(standardize):
    pairs = drifting(seed=7, standardize=standardize)
    rows = pairs.epoch(3)
    seed = derive(7, "round", 2)
    sources = draw_sources(60, 3, derive(seed, "sources"))
    z, z2 = half(sources, None), half(draw_sources(60, 3, derive(seed, "others")), None)
    seen = standard if standardize else (lambda rows: rows)
    attracting, repelling = best(seen(z), seen(LATENTS)), best(seen(z), seen(z2))
    assert np.array_equal(rows.sources, sources)
    assert np.allclose(rows.labels, z + LATENTS[attracting] - z2[repelling], atol=1e-5)
    stats = pairs.stats(2)
    drift = LATENTS[attracting] - z2[repelling]
    unit = LATENTS.std(0) if standardize else 1
    assert stats["drift"] == pytest.approx(np.sqrt(((drift / unit) ** 2).mean()), rel=1e-5)
    to_data = ((seen(z) - seen(LATENTS)[attracting]) ** 2).mean()
    to_others = ((seen(z) - seen(z2)[repelling]) ** 2).mean()
    assert stats["excess"] == pytest.approx(to_data - to_others, rel=1e-5)
    json.dumps(stats)


def test_the_mean_drift_is_zero_where_samples_are_data():
    """Each sample alone is drawn to the middle; the second transport takes that away."""
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(2000, 4)).astype(np.float32)
    pairs = DriftingPairs(latents, standardize=False)
    pairs.follow(lambda sources, classes: sources)
    rows = pairs.epoch(2)
    y, labels = rows.sources.numpy(), rows.labels.numpy()
    slope = (y * labels).sum() / (y * y).sum()
    assert slope == pytest.approx(1, abs=0.02)
    assert abs(pairs.stats(1)["excess"]) < 0.02
    pairs.follow(lambda sources, classes: sources * np.float32(0.5))
    rows = pairs.epoch(3)
    y, labels = rows.sources.numpy(), rows.labels.numpy()
    assert (y * labels).sum() / (y * y).sum() > 0.8, "the drift widens samples that are too narrow"
    assert pairs.stats(2)["excess"] > 0.1


def test_classes_are_transported_alone():
    seen = []

    def generate(sources, classes):
        seen.append(classes)
        return half(sources, classes) + 100 * classes[:, None].astype(np.float32)

    pairs = drifting(generate, classes=CLASSES, standardize=False)
    rows = pairs.epoch(2)
    classes = rows.classes.numpy()
    assert pairs.conditional
    assert np.array_equal(np.bincount(classes), np.bincount(CLASSES))
    assert all(np.array_equal(one, classes) for one in seen)
    z = generate(rows.sources.numpy(), classes)
    seed = derive(0, "round", 1)
    z2 = generate(draw_sources(60, 3, derive(seed, "others")), classes)
    for one in (4, 5, 6):
        mine, theirs = classes == one, np.equal(CLASSES, one)
        attracting = LATENTS[theirs][best(z[mine], LATENTS[theirs])]
        repelling = z2[mine][best(z[mine], z2[mine])]
        wanted = z[mine] + attracting - repelling
        assert np.allclose(rows.labels.numpy()[mine], wanted, atol=1e-3)


def test_batches_are_transported_alone():
    pairs = drifting(batch=25, standardize=False)
    rows = pairs.epoch(2)
    seed = derive(0, "round", 1)
    drawn = draw((60, 3), seed, None, shuffle=True)
    z, z2 = half(drawn.sources, None), half(draw_sources(60, 3, derive(seed, "others")), None)
    assert sorted(drawn.rows) == list(range(60))
    assert list(drawn.rows) != list(range(60))
    for some in (slice(0, 20), slice(20, 40), slice(40, 60)):  # even, none above 25
        data = LATENTS[drawn.rows[some]]
        moved = z[some] + data[best(z[some], data)] - z2[some][best(z[some], z2[some])]
        assert np.allclose(rows.labels[some], moved, atol=1e-5)


@pytest.mark.parametrize("size", [1, 45, 60, 130])
def test_a_round_may_have_any_number_of_sources(size):
    for options in ({}, {"batch": 20}, {"classes": CLASSES, "batch": 20}):
        pairs = drifting(lambda sources, classes: sources * 0, size=size, **options)
        assert pairs.n == size
        for epoch in (1, 2):
            rows = pairs.epoch(epoch)
            assert rows.sources.shape == rows.labels.shape == (size, 3)
            taken = [
                int(np.flatnonzero((row == LATENTS).all(axis=1))[0]) for row in rows.labels.numpy()
            ]
            counts = np.bincount(taken, minlength=60)
            assert counts.max() - counts.min() <= 1, "each latent as often as any other"
            if rows.classes is not None:
                assert np.array_equal(rows.classes, CLASSES[taken])


def test_a_round_is_a_function_of_seed_number_and_generator():
    one, other, another = drifting(seed=1), drifting(seed=1), drifting(seed=2)
    expected = [one.epoch(epoch) for epoch in (1, 2, 3)][2]
    found = other.epoch(3)
    assert torch.equal(found.sources, expected.sources)
    assert torch.equal(found.labels, expected.labels)
    assert one.epoch(3) is expected
    assert not torch.equal(another.epoch(3).sources, expected.sources)
    moved = drifting(lambda sources, classes: sources, seed=1).epoch(3)
    assert torch.equal(moved.sources, expected.sources)
    assert not torch.equal(moved.labels, expected.labels)


def test_a_constant_column_stays():
    latents = LATENTS.copy()
    latents[:, 1] = 5
    pairs = DriftingPairs(latents)
    pairs.follow(lambda sources, classes: np.asarray(sources * [1, 0, 1] + [0, 5, 0], np.float32))
    labels = pairs.epoch(2).labels.numpy()
    assert np.isfinite(labels).all()
    assert (labels[:, 1] == 5).all()


def test_config_names_what_decides_the_pairs():
    pairs = drifting(seed=3, every=2, batch=20, size=50, classes=CLASSES)
    assert pairs.config() == {
        "kind": "drifting",
        "every": 2,
        "size": 50,
        "batch": 20,
        "tolerance": 0.0,
        "standardize": True,
        "seed": 3,
        "latents_sha256": convert.sha256(LATENTS),
        "classes_sha256": convert.sha256(CLASSES),
    }
    assert pairs.latents_sha256 == convert.sha256(LATENTS)
    assert (pairs.dim, pairs.round_of(2), pairs.round_of(3)) == (3, 0, 1)


def test_later_rounds_need_a_generator():
    with DriftingPairs(LATENTS) as pairs:
        pairs.epoch(1)
        with pytest.raises(RuntimeError, match="drifting pairs need a generator from round 1 on"):
            pairs.epoch(2)


@pytest.mark.parametrize(
    ("generate", "message"),
    [
        (lambda y, c: y[:, :1], r"the shape \[60, 3\] of the sources, got \[60, 1\]"),
        (lambda y, c: y[:5], r"the shape \[60, 3\] of the sources, got \[5, 3\]"),
        (lambda y, c: None, "generate"),
        (lambda y, c: y * np.nan, "must be finite, but NaN or infinity was found in 60 of 60"),
    ],
)
def test_what_a_generator_gives_is_checked(generate, message):
    with drifting(generate) as pairs, pytest.raises((TypeError, ValueError), match=message):
        pairs.epoch(2)


def test_labels_are_float32_whatever_a_generator_gives():
    with drifting(lambda y, c: torch.from_numpy(y).double()) as pairs:
        assert pairs.epoch(2).labels.dtype == torch.float32
    with DriftingPairs(LATENTS) as pairs, pytest.raises(TypeError, match="generate must be call"):
        pairs.follow(3)


@pytest.mark.parametrize("epoch", [0, -5, 1.5])
def test_epochs_are_counted_from_1(epoch):
    with drifting() as pairs, pytest.raises((TypeError, ValueError), match="epoch must be"):
        pairs.epoch(epoch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": 0}, "every must be >= 1, got 0"),
        ({"size": 0}, "size must be >= 1, got 0"),
        ({"batch": -1}, "batch must be >= 0, got -1"),
        ({"tolerance": -1.0}, "tolerance must be a finite number >= 0"),
        ({"standardize": 1}, "standardize must be a bool, got int 1"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"threads": 0}, "threads"),
        ({"classes": [1]}, "classes must be 1-D with one label for each of the 60"),
    ],
)
def test_options_are_refused_at_once(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        DriftingPairs(LATENTS, **changes)
    with pytest.raises(ValueError, match="latents must be finite"):
        DriftingPairs(LATENTS * np.inf)

"""Labelings and their options: what they pair, by formulas written down again, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_label import match, match_mixture
from gtn_label.arrays.sources import draw_sources
from gtn_train.pairs import Algorithm1, Clusters, FixedPairs, FreshPairs, PairOptions, Quantile
from gtn_train.pairs.labelings import standardized
from gtn_train.pairs.pair_options import one_round
from gtn_train.seeds import derive


def rows(n=60, dim=3, seed=1):
    scale = np.arange(1, dim + 1)
    return (np.random.default_rng(seed).normal(size=(n, dim)) * scale + 2).astype(np.float32)


def two_clumps(n=40):
    latents = rows(n, 2) * np.float32(0.1)
    latents[::2] += np.float32(9)
    return latents


def test_algorithm_1_is_match():
    latents = rows()
    made = Algorithm1(order="norm_desc", cone=3, center=True).label(latents, 7)
    sources = draw_sources(60, 3, derive(7, "sources"))
    wanted = match(latents, sources, order="norm_desc", cone=3, center=True)
    assert np.array_equal(made.sources, sources)
    assert np.array_equal(made.assignment, wanted.assignment)
    assert np.array_equal(made.cosine, wanted.cosine)
    assert made.classes is None


def test_standardized_latents_are_matched_and_their_labels_are_not():
    latents = rows()
    made = Algorithm1(standardize=True).label(latents, 7)
    wide = latents.astype(np.float64)
    unit = (wide - wide.mean(0)) / wide.std(0)
    assert np.allclose(standardized(latents), unit, rtol=1e-12)
    wanted = match(standardized(latents), made.sources)
    assert np.array_equal(made.assignment, wanted.assignment)
    pairs = one_round(latents, Algorithm1(standardize=True), 7)
    assert np.array_equal(pairs.epoch(1).labels.numpy(), latents[made.assignment])


def test_a_constant_column_has_no_deviation():
    latents = rows()
    for value in (5, 0.1):  # the mean of which is rounded
        for given in (latents, latents.astype(np.float64)):
            given[:, 1] = value
            assert (standardized(given)[:, 1] == 0).all()
            assert np.isfinite(standardized(given)).all()


def test_classes_are_kept_apart():
    latents, classes = rows(), np.arange(60) % 3
    labeling = Algorithm1(classes=classes)
    made = labeling.label(latents, 7)
    assert labeling.conditional
    assert np.array_equal(np.bincount(made.classes), np.bincount(classes))
    assert np.array_equal(classes[made.assignment], made.classes)
    assert not np.array_equal(made.classes, classes), "the sources get a shuffle of the classes"
    other = labeling.label(latents, 8)
    assert not np.array_equal(other.classes, made.classes)
    classes[:] = 0
    assert np.array_equal(labeling.label(latents, 7).classes, made.classes), "they were copied"


def test_classes_must_be_as_many_as_latents():
    with pytest.raises(ValueError, match="classes"):
        Algorithm1(classes=[0, 1]).check(rows())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": "best"}, "order"),
        ({"cone": 0}, "cone must be >= [12], got 0"),
        ({"center": 1}, "center"),
        ({"standardize": 1}, "standardize must be a bool, got int 1"),
        ({"threads": 0}, "threads"),
        ({"backend": "quantum"}, "backend"),
        ({"classes": 5}, r"classes must be 1-D, one for each latent, got shape \(\)"),
        ({"classes": []}, r"classes must be 1-D, one for each latent, got shape \(0,\)"),
        ({"classes": [[1]]}, r"classes must be 1-D, one for each latent, got shape \(1, 1\)"),
    ],
)
def test_algorithm_1_refuses(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Algorithm1(**changes)


def test_quantile_labels_pair_by_rank():
    latents = rows(50, 1)
    made = Quantile().label(latents, 7)
    assert np.array_equal(made.sources, draw_sources(50, 1, derive(7, "sources")))
    ranks = np.argsort(np.argsort(made.sources[:, 0]))
    assert np.array_equal(latents[made.assignment][:, 0], np.sort(latents[:, 0])[ranks])


def test_quantile_labels_are_of_one_dimension():
    with pytest.raises(ValueError, match="quantile labels need latents of dimension 1, got dim"):
        one_round(rows(), Quantile(), 0)
    with pytest.raises(ValueError, match="got dimension 3"):
        FreshPairs(rows(), Quantile())


def test_clusters_are_those_of_match_mixture():
    latents = two_clumps()
    labeling = Clusters(latents, 2, seed=4, cone=2)
    wanted = match_mixture(latents, 2, seed=4).groups[1]
    made = labeling.label(latents, 7)
    mixture = labeling.mixture
    assert np.array_equal(mixture.weights, np.bincount(wanted) / 40)
    for cluster in range(2):
        members = latents[wanted == cluster].astype(np.float64)
        assert np.allclose(mixture.means[cluster], members.mean(0), rtol=1e-12)
        assert np.allclose(mixture.stds[cluster], members.std(0), rtol=1e-12)
    z = draw_sources(40, 2, derive(7, "sources"))
    placed = (mixture.means[wanted] + mixture.stds[wanted] * z).astype(np.float32)
    assert np.array_equal(made.sources, placed)
    assert np.array_equal(wanted[made.assignment], wanted), "pairs stay within their clusters"
    within = match(latents, placed, groups=(wanted, wanted), cone=2)
    assert np.array_equal(made.assignment, within.assignment)
    assert labeling.config() == {
        "labeling": "clusters",
        "clusters": 2,
        "seed": 4,
        "order": "norm",
        "cone": 2,
        "standardize": False,
        "by_class": False,
    }
    assert made.classes is None


def test_standardized_clusters_are_matched_from_their_means():
    latents = two_clumps() * np.float32([1, 30])
    labeling = Clusters(latents, 2, seed=4, cone=2, standardize=True, by_class=True)
    made = labeling.label(latents, 7)
    wanted = match_mixture(latents, 2, seed=4)
    clusters = wanted.groups[1]
    z = draw_sources(40, 2, derive(7, "sources"))
    frames, wide = np.empty((40, 2)), latents.astype(np.float64)
    for cluster in range(2):
        inside = clusters == cluster
        frames[inside] = (wide[inside] - wide[inside].mean(0)) / wide[inside].std(0)
    assert np.array_equal(made.sources, Clusters(latents, 2, seed=4).label(latents, 7).sources)
    matched = match(frames, z, groups=(clusters, clusters), cone=2)
    assert np.array_equal(made.assignment, matched.assignment)
    assert np.allclose(made.cosine, matched.cosine, rtol=1e-6)
    assert labeling.conditional
    assert np.array_equal(made.classes, clusters)


@pytest.mark.parametrize(
    "labeling", [Algorithm1(classes=np.arange(60)), Clusters(rows(), 2), Quantile()]
)
def test_latents_of_another_number_or_dimension_are_refused(labeling):
    with pytest.raises(ValueError, match=r"\b60\b|dimension 1|among other latents"):
        labeling.label(rows()[:10], 1)


def test_a_cluster_of_equal_latents_needs_no_direction():
    latents = np.array([[0.1, 1], [1, 0.1], [99.3, 99.3], [99.3, 99.3]])
    made = Clusters(latents, 2, standardize=True).label(latents, 0)
    assert sorted(made.assignment) == [0, 1, 2, 3]
    assert set(made.assignment[2:]) == {2, 3}


def test_what_cannot_be_standardized_is_refused():
    with pytest.raises(ValueError, match="and row 1 is the mean of all, or of its cluster"):
        Algorithm1(standardize=True).label(np.array([[1.0], [3.0], [5.0]]), 0)
    middle = np.array([[98.0], [99], [0], [1], [2]])
    labeling = Clusters(middle, 2, standardize=True)
    with pytest.raises(ValueError, match="and row 3 is the mean of all, or of its cluster"):
        labeling.label(middle, 0)
    huge = np.array([[1.0, 2e300], [2.0, -1e300]])
    with pytest.raises(ValueError, match="and column 1 has values too large for one"):
        Algorithm1(standardize=True).label(huge, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 41}, "n_clusters must not exceed the 40 latents, got 41"),
        ({"n_clusters": 0}, "n_clusters must be >= [12], got 0"),
        ({"seed": -1}, "seed"),
        ({"cone": 0}, "cone must be >= [12], got 0"),
        ({"order": "best"}, "order"),
        ({"threads": 0}, "threads"),
    ],
)
def test_clusters_refuse(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Clusters(two_clumps(), **options)


def test_clusters_belong_to_their_latents():
    labeling = Clusters(two_clumps(), 2)
    for other in (two_clumps()[:39], -two_clumps()):
        with pytest.raises(ValueError, match="clusters were found among other latents: SHA-256"):
            one_round(other, labeling, 0)


def test_a_round_is_a_function_of_latents_and_seed():
    latents = two_clumps()
    for labeling in (Algorithm1(cone=2), Clusters(latents, 2)):
        one, again, other = (labeling.label(latents, seed) for seed in (1, 1, 2))
        assert np.array_equal(one.sources, again.sources)
        assert np.array_equal(one.assignment, again.assignment)
        assert not np.array_equal(one.sources, other.sources)


# --------------------------------------------------------------------------------------- options


def test_options_make_fixed_or_fresh_pairs():
    latents = rows()
    fixed = PairOptions(cone=4).make(latents, 5)
    assert isinstance(fixed, FixedPairs)
    with PairOptions(cone=4, every=2).make(latents, 5) as fresh:
        assert isinstance(fresh, FreshPairs)
        assert [fresh.round_of(epoch) for epoch in (1, 2, 3)] == [0, 0, 1]
        first = fresh.epoch(1)
        assert fixed.epoch(1).labels.equal(first.labels), "the first round is the same"
        assert not fresh.epoch(3).sources.equal(first.sources)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labeling": "best"},
            "labeling must be one of algorithm1, quantile, clusters, opt",
        ),
        ({"order": "best"}, "order"),
        ({"cone": 0}, "cone must be >= [12], got 0"),
        ({"every": -1}, "every must be >= 0, got -1"),
        ({"center": 1}, "center must be a bool, got 1"),
        ({"by_class": "yes"}, "by_class must be a bool, got 'yes'"),
        ({"labeling": "clusters"}, "clusters must be >= [12], got 0"),
        ({"clusters": 2}, "clusters needs labeling 'clusters' or 'optimal', got 'algorithm1'"),
        ({"labeling": "optimal", "clusters": 1}, "clusters must be 0 or >= 2, got 1"),
        (
            {"labeling": "quantile", "standardize": True},
            "standardize needs labeling 'algorithm1' or 'clusters' or 'optimal' or 'drift', got",
        ),
        (
            {"labeling": "clusters", "clusters": 2, "center": True},
            "center needs labeling 'algorithm1', got 'clusters'",
        ),
        (
            {"labeling": "quantile", "cone": 4},
            "labeling 'quantile' has neither order nor cone, got 'norm' and 4",
        ),
    ],
)
def test_options_refuse(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PairOptions(**changes)


def test_classes_go_with_by_class():
    with pytest.raises(ValueError, match="classes: pairs need classes, and there are none"):
        PairOptions(by_class=True).make(rows(), 0)
    with pytest.raises(ValueError, match="classes: pairs have no use for them"):
        PairOptions().make(rows(), 0, classes=np.zeros(60, int))
    made = PairOptions(by_class=True).make(rows(), 0, classes=np.arange(60) % 2)
    assert made.conditional
    assert PairOptions("clusters", clusters=2, by_class=True).make(rows(), 0).conditional


def test_another_labeling_keeps_what_it_has():
    start = PairOptions(cone=4, order="norm_desc", center=True, by_class=True, every=3)
    assert start.relabeled("algorithm1") is start
    assert start.relabeled("clusters") == PairOptions(
        "clusters", order="norm_desc", cone=4, clusters=2, every=3
    )
    assert start.relabeled("quantile") == PairOptions("quantile", every=3)
    by_cluster = PairOptions("optimal", clusters=2, by_class=True)
    assert by_cluster.relabeled("clusters").by_class
    assert not by_cluster.relabeled("algorithm1").by_class
    assert PairOptions(by_class=True).relabeled("optimal").by_class
    assert start.relabeled("clusters").relabeled("algorithm1").clusters == 0

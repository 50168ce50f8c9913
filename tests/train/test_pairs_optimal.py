"""Optimal: the pairs are match_optimal's, class by class, and later rounds go by its prices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gtn_train.pairs.optimal as optimal_module
from gtn_label import match_optimal
from gtn_label.arrays.sources import draw_sources
from gtn_train.pairs import (
    Clusters,
    DriftingPairs,
    FreshPairs,
    Optimal,
    OptimalClusters,
    PairOptions,
)
from gtn_train.pairs.pair_options import one_round
from gtn_train.pairs.rows import cosines_of
from gtn_train.seeds import derive

CLASSES = np.arange(60) % 3 + 4


def rows(n=60, dim=3, seed=1):
    scale = np.arange(1, dim + 1)
    return (np.random.default_rng(seed).normal(size=(n, dim)) * scale + 2).astype(np.float32)


def standard(latents):
    wide = latents.astype(np.float64)
    return (wide - wide.mean(0)) / wide.std(0)


def cost(sources, labels):
    return ((sources.astype(np.float64) - labels) ** 2).sum()


def test_pairs_are_those_of_match_optimal():
    latents = rows()
    made = Optimal(tolerance=1e-2).label(latents, 7)
    sources = draw_sources(60, 3, derive(7, "sources"))
    wanted = match_optimal(latents, sources, tolerance=1e-2)
    assert np.array_equal(made.sources, sources)
    assert np.array_equal(made.assignment, wanted.assignment)
    assert np.allclose(made.cosine, wanted.cosine, atol=1e-6)
    assert made.classes is None


def test_standardized_latents_are_matched_and_their_labels_are_not():
    from scipy.optimize import linear_sum_assignment

    latents = rows()
    made = Optimal(tolerance=0, standardize=True).label(latents, 7)
    unit = standard(latents)
    best = linear_sum_assignment(-made.sources.astype(np.float64) @ unit.T)[1]
    assert cost(made.sources, unit[made.assignment]) == pytest.approx(
        cost(made.sources, unit[best]), rel=1e-9
    )
    pairs = one_round(latents, Optimal(tolerance=0, standardize=True), 7)
    assert np.array_equal(pairs.epoch(1).labels.numpy(), latents[made.assignment])
    wanted = cosines_of(made.sources, unit[made.assignment].astype(np.float32))
    assert np.array_equal(made.cosine, wanted)


def test_classes_are_matched_alone():
    latents, classes = rows(), CLASSES.copy()
    labeling = Optimal(tolerance=0, classes=classes)
    classes[:] = 0  # they were copied
    made = labeling.label(latents, 7)
    assert labeling.conditional
    assert np.array_equal(CLASSES[made.assignment], made.classes)
    assert sorted(made.assignment) == list(range(60))
    assert not np.array_equal(made.classes, CLASSES), "the sources get a shuffle of the classes"
    for one in (4, 5, 6):
        mine, theirs = made.classes == one, np.equal(CLASSES, one)
        alone = match_optimal(latents[theirs], made.sources[mine], tolerance=0)
        assert np.array_equal(made.assignment[mine], np.flatnonzero(theirs)[alone.assignment])


def test_other_rounds_go_by_the_prices_of_one_matching():
    latents = rows()
    labeling = Optimal(tolerance=1e-2, prices_of=7)
    matched = labeling.label(latents, 7)
    assert np.array_equal(matched.assignment, Optimal(tolerance=1e-2).label(latents, 7).assignment)
    matching = match_optimal(latents, matched.sources, tolerance=1e-2)
    fresh = labeling.label(latents, 8)
    assert np.array_equal(fresh.sources, draw_sources(60, 3, derive(8, "sources")))
    values = fresh.sources.astype(np.float64) @ latents.T.astype(np.float64) - matching.prices
    assert np.array_equal(fresh.assignment, values.argmax(axis=1))
    alone = Optimal(tolerance=1e-2, prices_of=7).label(latents, 8)
    assert np.array_equal(alone.assignment, fresh.assignment), "no earlier round is needed"


def test_prices_keep_classes_apart():
    labeling = Optimal(tolerance=1e-2, prices_of=7, classes=CLASSES)
    for seed in (7, 8):
        made = labeling.label(rows(), seed)
        assert np.array_equal(CLASSES[made.assignment], made.classes)


def test_prices_belong_to_their_latents():
    labeling = Optimal(prices_of=7)
    labeling.label(rows(), 8)
    other = labeling.label(rows(seed=2), 8)
    wanted = Optimal(prices_of=7).label(rows(seed=2), 8)
    assert np.array_equal(other.assignment, wanted.assignment)


def test_batches_are_matched_alone():
    latents = rows()
    made = Optimal(tolerance=0, batch=25).label(latents, 7)
    assert sorted(made.assignment) == list(range(60))
    for some in (slice(0, 20), slice(20, 40), slice(40, 60)):
        theirs = np.sort(made.assignment[some])
        alone = match_optimal(latents[theirs], made.sources[some], tolerance=0)
        assert np.array_equal(made.assignment[some], theirs[alone.assignment])
    whole = Optimal(tolerance=0).label(latents, 7)
    assert np.array_equal(made.sources, whole.sources)
    assert not np.array_equal(made.assignment, whole.assignment)


@pytest.mark.parametrize("standardize", [True, False])
def test_clusters_are_transported_alone(standardize):
    latents = np.concatenate([rows(), rows(seed=2) * np.float32(3) + 50])
    common = {"standardize": standardize, "by_class": True}
    options = PairOptions("optimal", clusters=2, tolerance=0.0, **common)
    made = options.labeling_of(latents, 4).label(latents, 7)
    labeling = Clusters(latents, 2, seed=derive(4, "clusters"), **common)
    wanted = labeling.label(latents, 7)
    assert np.array_equal(made.sources, wanted.sources)
    assert np.array_equal(made.classes, wanted.classes)
    for one in (0, 1):
        inside = np.flatnonzero(made.classes == one)
        seen, sources = latents[inside].astype(np.float64), made.sources[inside]
        if standardize:
            seen = (seen - seen.mean(0)) / seen.std(0)
            sources = draw_sources(120, 3, derive(7, "sources"))[inside]
        alone = match_optimal(seen, sources, tolerance=0)
        assert np.array_equal(made.assignment[inside], inside[alone.assignment])
        assert np.allclose(made.cosine[inside], alone.cosine, rtol=1e-5)
    batches = OptimalClusters(latents, 2, batch=20, tolerance=0.0).label(latents, 7)
    assert sorted(batches.assignment) == list(range(120))
    assert batches.classes is None


def test_progress_counts_all_classes(monkeypatch):
    real, heard = optimal_module.match_optimal, []

    def speaking(latents, sources, *, progress, **options):
        made = real(latents, sources, **options)
        progress(len(latents), len(latents), None)
        return made

    monkeypatch.setattr(optimal_module, "match_optimal", speaking)
    Optimal(classes=CLASSES).label(rows(), 1, lambda done, total, left: heard.append((done, total)))
    assert heard == [(20, 60), (40, 60), (60, 60)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": -1}, "tolerance must be a finite number >= 0, got -1"),
        ({"tolerance": "small"}, "tolerance must be a number"),
        ({"standardize": 1}, "standardize must be a bool, got int 1"),
        ({"threads": 0}, "threads"),
        ({"prices_of": -1}, "seed"),
        ({"batch": -1}, "batch must be >= 0, got -1"),
        ({"batch": 9, "prices_of": 1}, "prices_of needs batch 0"),
        ({"classes": [[1]]}, r"classes must be 1-D, one for each latent, got shape \(1, 1\)"),
    ],
)
def test_it_refuses(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Optimal(**changes)
    with pytest.raises(ValueError, match="classes must be 1-D with one label for each of the 60"):
        FreshPairs(rows(), Optimal(classes=[0, 1]))


def test_options_make_it():
    latents = rows()
    options = PairOptions("optimal", tolerance=1e-2, standardize=True, every=2, by_prices=True)
    with options.make(latents, 5) as pairs:
        first, second = pairs.epoch(1), pairs.epoch(3)
    seeds = [derive(5, "round", number) for number in (0, 1)]
    labeling = Optimal(tolerance=1e-2, standardize=True, prices_of=seeds[0])
    for found, seed in zip((first, second), seeds, strict=True):
        wanted = labeling.label(latents, seed)
        assert np.array_equal(found.sources, wanted.sources)
        assert np.array_equal(found.labels, latents[wanted.assignment])
    assert PairOptions("optimal", by_class=True).needs_classes
    made = PairOptions("optimal", by_class=True).make(latents, 0, classes=CLASSES)
    assert made.conditional


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": 1e-2}, "tolerance needs labeling 'optimal' or 'drift', got 'algorithm1'"),
        ({"transport_batch": 9}, "transport_batch needs labeling 'optimal' or 'drift', got"),
        ({"round_size": 9, "labeling": "optimal"}, "round_size needs labeling 'drift', got 'opt"),
        (
            {"labeling": "optimal", "every": 1, "by_prices": True, "transport_batch": 9},
            "by_prices needs transport_batch 0, got 9",
        ),
        (
            {"labeling": "optimal", "every": 1, "by_prices": True, "clusters": 2},
            "by_prices needs clusters 0, got 2",
        ),
        ({"labeling": "drift"}, "labeling 'drift' needs every >= 1, got 0"),
        ({"labeling": "drift", "every": 1, "round_size": -1}, "round_size must be >= 0, got -1"),
        ({"by_prices": True}, "by_prices needs labeling 'optimal', got 'algorithm1'"),
        ({"labeling": "optimal", "by_prices": True}, "by_prices needs every >= 1, got 0"),
        ({"labeling": "optimal", "tolerance": -1.0}, "tolerance must be a finite number >= 0"),
        (
            {"labeling": "optimal", "cone": 4},
            "labeling 'optimal' has neither order nor cone, got 'norm' and 4",
        ),
        ({"labeling": "optimal", "center": True}, "center needs labeling 'algorithm1', got 'opt"),
    ],
)
def test_options_refuse(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PairOptions(**changes)


def test_options_make_pairs_that_follow_the_generator():
    latents = rows()
    options = PairOptions("drift", every=2, tolerance=1e-2, transport_batch=20, round_size=50)
    pairs = options.make(latents, 5, classes=None)
    assert isinstance(pairs, DriftingPairs)
    wanted = DriftingPairs(
        latents, every=2, size=50, batch=20, tolerance=1e-2, standardize=False, seed=5
    )
    assert pairs.config() == wanted.config()
    assert PairOptions("drift", every=1, by_class=True).needs_classes
    assert (
        PairOptions("drift", every=1, by_class=True).make(latents, 0, classes=CLASSES).conditional
    )
    first = PairOptions("drift", every=2, transport_batch=20).labeling_of(latents, 5)
    seed = derive(5, "round", 0)
    rows_of = PairOptions("drift", every=2, transport_batch=20).make(latents, 5).epoch(1)
    assert np.array_equal(rows_of.labels, latents[first.label(latents, seed).assignment])


def test_options_of_other_labelings_are_those_of_earlier_versions():
    assert "tolerance" not in PairOptions().config()
    assert PairOptions("optimal").config()["tolerance"] == 1e-3
    start = PairOptions(cone=4, order="norm_desc", standardize=True, every=3)
    optimal = start.relabeled("optimal")
    assert optimal == PairOptions("optimal", standardize=True, every=3)
    changed = replace(optimal, tolerance=1e-2, transport_batch=9, every=0)
    assert changed.relabeled("drift") == PairOptions(
        "drift", standardize=True, every=3, tolerance=1e-2, transport_batch=9
    )
    assert changed.relabeled("algorithm1") == PairOptions(standardize=True)
    assert changed.relabeled("drift").relabeled("algorithm1").every == 0

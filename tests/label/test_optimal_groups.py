"""`match_optimal` within groups: each is an optimum of its own, whatever the others are like."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from datasets import make_groups
from gtn_label import match_optimal


@pytest.mark.parametrize("kind", ["two", "many"])
@pytest.mark.parametrize("n", [120, 70])
def test_each_group_is_solved_alone(n, kind):
    # The mean that is taken off scores is that of all latents: a group of its own has another, and
    # other rounding on the grid. Optima that are unique are the same pairs all the same.
    rng = np.random.default_rng(12)
    latents, sources = rng.normal(size=(120, 4)), rng.normal(size=(n, 4))
    groups = make_groups(kind, n, 120)
    found = match_optimal(latents, sources, tolerance=0, groups=groups)
    total = 0.0
    for group in np.unique(groups[0]):
        of_sources, of_latents = (np.flatnonzero(labels == group) for labels in groups)
        alone = match_optimal(latents[of_latents], sources[of_sources], tolerance=0)
        assert found.assignment[of_sources].tolist() == of_latents[alone.assignment].tolist()
        total += alone.cost * len(of_sources)
    assert found.cost == pytest.approx(total / n)
    assert found.lower_bound <= found.cost
    assert found.gap < 1e-9


def test_labels_of_groups_are_only_names():
    rng = np.random.default_rng(13)
    latents, sources = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    one = match_optimal(latents, sources, groups=(np.zeros(60, int), np.zeros(60, int)))
    found = match_optimal(latents, sources, groups=(["a"] * 60, ["a"] * 60))
    alone = match_optimal(latents, sources)
    assert alone.assignment.tolist() == found.assignment.tolist() == one.assignment.tolist()
    assert alone.prices.tobytes() == found.prices.tobytes()


@pytest.mark.parametrize("far", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("share", [1, 2])
def test_sources_far_from_the_mean_of_all_groups(far, share):
    # The spread of a group is about the mean of all sources, and can be any multiple of its scores:
    # as the first epsilon, it took prices out of int64.
    for seed in range(4):
        rng = np.random.default_rng(seed)
        latents, sources = rng.normal(size=(2, 60, 3))
        # Across the line on which the other group's sources are far away, and so is the mean.
        latents[:30, 2] = 0
        latents[45:, 2] = -latents[30:45, 2]
        sources[30:, 2] += far
        group = np.repeat([0, 1], 30)
        groups = group[::share], group
        sources = sources[::share]
        found = match_optimal(latents, sources, groups=groups, tolerance=0, threads=1)
        near, own = np.flatnonzero(groups[0] == 0), latents[:30]
        squares = ((sources[near][:, None] - own[None]) ** 2).sum(axis=2)
        best = squares[linear_sum_assignment(squares)].sum()
        assert squares[near, found.assignment[near]].sum() == pytest.approx(best, rel=1e-9)
        assert found.stats["phases"] <= 2 * 30  # epsilon from the largest score to 1, by fours
        assert found.lower_bound <= found.cost


def test_time_is_linear_in_the_number_of_groups():
    def seconds(groups):
        rng = np.random.default_rng(0)
        latents, sources = rng.normal(size=(2, 3 * groups, 8))
        labels = np.repeat(np.arange(groups), 3)
        begun = time.process_time()
        match_optimal(latents, sources, groups=(labels, labels), tolerance=0, threads=1)
        return time.process_time() - begun

    few, many = (min(seconds(groups) for _ in range(2)) for groups in (1_000, 8_000))
    assert many < 16 * few  # 8 if linear; 25 to 30 where each group looked at the rows of all

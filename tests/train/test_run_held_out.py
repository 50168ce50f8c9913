"""Rows that stop a training, and rows that measure it, are never the same."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_train.pairs import FixedPairs
from gtn_train.run.finished_run import FinishedRun
from gtn_train.run.held_out import hold_out


@pytest.mark.parametrize(("n", "share"), [(2, 0.5), (3, 0.2), (50, 0.2), (51, 0.5), (400, 0.1)])
def test_each_latent_has_one_use(n, share):
    assignment = np.random.default_rng(n).permutation(n)
    parts = hold_out(assignment, share, seed=3)
    together = np.concatenate([parts.training, parts.stopping, parts.reported])
    np.testing.assert_array_equal(np.sort(together), np.arange(n))
    assert len(parts.stopping) - len(parts.reported) in (0, 1)
    assert len(parts.training) >= 1
    assert len(parts.stopping) >= 1


def test_they_are_the_latents_of_the_held_out_pairs():
    rng = np.random.default_rng(1)
    latents, assignment = rng.normal(size=(60, 2)).astype("f4"), rng.permutation(60)
    pairs = FixedPairs(rng.normal(size=(60, 2)), latents[assignment])
    training, validation = (part.epoch(1).labels.numpy() for part in pairs.split(0.2, seed=5))
    parts = hold_out(assignment, 0.2, seed=5)
    held_out = np.concatenate([parts.stopping, parts.reported])
    for rows, labels in ((parts.training, training), (held_out, validation)):
        assert {row.tobytes() for row in latents[rows]} == {row.tobytes() for row in labels}


def test_a_finished_run_knows_them(vectors):
    run = FinishedRun(vectors)
    wanted = hold_out(run.matching.assignment, 0.2, run.settings.seed)
    np.testing.assert_array_equal(run.held_out.reported, wanted.reported)
    assert len(run.held_out.training) == round(0.8 * len(run.latents))

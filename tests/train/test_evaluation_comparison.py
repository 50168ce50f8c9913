"""The comparison: baselines are measured as the generator is, and a copy or a loss shows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gtn_train.evaluation.comparison import (
    ENERGY,
    FLOOR,
    GAUSSIAN,
    GENERATOR,
    MMD,
    Real,
    compare,
    few_held_out,
    worse_than_gaussian,
)
from gtn_train.run.finished_run import FinishedRun


def rows(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 3)) * [1, 10, 100] + 5


@pytest.fixture
def real():
    return Real(np.arange(500), rows(500, 1), rows(300, 2), "held-out rows")


def test_figures_of_honest_shrunken_and_copied_samples(real):
    shrunken = 5 + 0.5 * (rows(400, 3) - 5)
    table, nearest = compare(
        {GENERATOR: shrunken, "honest": rows(400, 3), "copied": real.training[:400]}, real, 0
    )
    assert list(table) == [GENERATOR, "honest", "copied", FLOOR]
    assert table[GENERATOR]["mean norm ratio"] == pytest.approx(0.5, rel=0.1)
    assert table[GENERATOR]["spread of norms"] == pytest.approx(0.5, rel=0.1)
    assert table["honest"]["mean norm ratio"] == pytest.approx(1, rel=0.1)
    assert table["honest"]["nearest row ratio"] == pytest.approx(1, rel=0.2)
    assert table["copied"]["nearest row ratio"] == 0
    assert table[GENERATOR][ENERGY] > 0.1
    assert max(abs(table[name][ENERGY]) for name in ("honest", "copied", FLOOR)) < 0.02
    assert table[GENERATOR][MMD] > 30
    assert max(abs(table[name][MMD]) for name in ("honest", "copied", FLOOR)) < 5
    assert table[FLOOR]["nearest row ratio"] == 1
    assert len(nearest.indices) == 400


def test_the_floor_is_of_training_rows(real):
    shifted = Real(real.rows, real.training, real.held_out + 3 * real.training.std(0), real.what)
    table, _ = compare({GENERATOR: shifted.held_out}, shifted, 0)
    assert table[FLOOR][ENERGY] > 1
    assert table[FLOOR][MMD] > 100


def test_a_unit_changes_nothing_but_norms(real):
    unit = np.array([1000.0, 1.0, 0.01])
    scaled = Real(real.rows, real.training * unit, real.held_out * unit, real.what)
    for name in (ENERGY, MMD, "nearest row ratio"):
        found = [
            compare({GENERATOR: rows(100, 4) * factor}, data, 0)[0][GENERATOR][name]
            for factor, data in ((1.0, real), (unit, scaled))
        ]
        assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_too_few_rows_give_no_distance(real):
    single = Real(real.rows, real.training, real.held_out[:1], real.what)
    table, _ = compare({GENERATOR: rows(10, 1)}, single, 0)
    assert math.isnan(table[GENERATOR][ENERGY])
    assert math.isnan(table[FLOOR][ENERGY])
    assert math.isnan(table[GENERATOR][MMD])


def test_losing_to_a_gaussian_is_said():
    table = {
        GENERATOR: {ENERGY: 0.058, "FID": 30.0, "IS": 1.0, "spread of norms": 1.1},
        GAUSSIAN: {ENERGY: 0.0024, "FID": 31.0, "IS": 2.0, "spread of norms": 1.0},
    }
    assert worse_than_gaussian(table) == [
        "the generator is worse than one Gaussian fitted to the same latents: "
        "energy distance / √d 0.058 against 0.0024"
    ]
    table[FLOOR] = {ENERGY: -0.05}
    assert len(worse_than_gaussian(table)) == 1
    table[FLOOR] = {ENERGY: -0.06}
    assert worse_than_gaussian(table) == [], "within the noise of so few rows"
    table[GENERATOR][ENERGY] = float("nan")
    assert worse_than_gaussian(table) == []


def real_of(run, stop_by, **pairs):
    """Real latents of a run that was made with other options."""
    settings = json.loads((run / "run.json").read_text())
    settings["preset"]["pairs"] |= pairs
    settings["preset"]["stop_by"] = stop_by
    (run / "run.json").write_text(json.dumps(settings))
    return Real.of_run(FinishedRun(run), None, 0)


@pytest.mark.parametrize(
    ("stop_by", "pairs"),
    [
        ("energy", {"every": 0}),
        ("energy", {"every": 1}),
        ("loss", {"every": 0}),
        ("loss", {"every": 1, "labeling": "drift"}),
    ],
)
def test_rows_that_measure_were_neither_trained_on_nor_stopped_by(vectors, stop_by, pairs):
    real, parts = real_of(vectors, stop_by, **pairs), FinishedRun(vectors).held_out
    assert real.what == "held-out rows"
    latents = FinishedRun(vectors).latents
    np.testing.assert_array_equal(real.held_out, latents[parts.reported])
    np.testing.assert_array_equal(real.training, latents[parts.training])
    known = {row.tobytes() for row in latents[np.append(parts.training, parts.stopping)]}
    assert known.isdisjoint(row.tobytes() for row in real.held_out)


@pytest.mark.parametrize(
    ("stop_by", "pairs", "rows", "what"),
    [
        ("loss", {"every": 1, "labeling": "optimal"}, (80, 8), "rows that were trained on too"),
        ("energy", {"every": 1, "labeling": "clusters", "clusters": 2}, (80, 8), "rows that were"),
    ],
)
def test_what_is_not_held_out_is_said(vectors, stop_by, pairs, rows, what):
    real = real_of(vectors, stop_by, **pairs)
    assert real.what.startswith(what)
    assert (len(real.training), len(real.held_out)) == rows


def test_synthetic_data_are_drawn_anew(gtn_train, tmp_path):
    given = ("--n", 60, "--generator-epochs", 1, "--out", tmp_path / "run", "--quiet")
    gtn_train.ok("fit", "--preset", "uniform", *given)
    run = FinishedRun(tmp_path / "run")
    real = Real.of_run(run, None, 0)
    assert real.what == "fresh draws"
    assert real.held_out.shape == (60, 2)
    every = {row.tobytes() for row in run.latents}
    assert every.isdisjoint(row.tobytes() for row in real.held_out)


def test_test_images_are_encoded(images):
    run = FinishedRun(images)
    real = Real.of_run(run, run.images("test"), 0)
    assert real.what == "test images"
    assert real.held_out.shape == (30, 3)


def test_a_handful_of_held_out_rows_is_warned_of():
    rows = np.zeros((20, 2))
    assert few_held_out(Real(np.arange(20), rows, rows, "held-out rows")) == []
    (line,) = few_held_out(Real(np.arange(20), rows, rows[:3], "held-out rows"))
    assert "compare with 3 held-out rows, fewer than 20: they decide nothing" in line

"""Shape of a run's generator and samples: which sources and rows are measured."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from gtn_label.arrays.sources import draw_sources
from gtn_train.evaluation import bilipschitz, orientation
from gtn_train.evaluation import run_geometry as module
from gtn_train.evaluation.comparison import Real
from gtn_train.evaluation.run_geometry import _orientation_rows as rows_of
from gtn_train.evaluation.run_geometry import run_geometry
from gtn_train.models.flow import Flow
from gtn_train.models.generator import Generator
from gtn_train.run.finished_run import FinishedRun
from gtn_train.sampling.sample import generate_latents, sampling_seed
from gtn_train.seeds import derive


def test_the_shape_of_the_map_and_of_the_samples_is_measured(vectors, monkeypatch):
    run = FinishedRun(vectors)
    real = Real.of_run(run, None, 3)
    shape = run_geometry(run, run.latents, real, 3)
    sources = draw_sources(2000, run.generator.dim, sampling_seed(derive(3, "geometry")))
    outputs = generate_latents(run.generator, sources)
    assert shape["bi-Lipschitz constant, k = 20"] == bilipschitz(sources, outputs)
    assert shape["orientation changes"] == orientation(run.generator, sources[:1000])
    monkeypatch.setitem(sys.modules, "ot", None)
    without = run_geometry(run, run.latents, real, 3)
    for name in ("", " of two real samples"):
        assert without[f"Gromov-Wasserstein × 1,000{name}"].startswith("none: gromov_wasserstein")


def test_gromov_wasserstein_is_a_mean_over_disjoint_draws(vectors, monkeypatch):
    pytest.importorskip("ot")
    monkeypatch.setattr(module, "GROMOV_ROWS", 3)
    run = FinishedRun(vectors)
    real = Real.of_run(run, None, 0)
    shape = run_geometry(run, real.training, real, 0)
    found = shape["Gromov-Wasserstein × 1,000"]
    assert (found["rows"], found["draws"]) == (3, min(5, len(real.held_out) // 3))
    assert 0 < found["deviation"] < found["mean"]


def test_a_large_generator_is_measured_at_fewer_sources():
    small, large = Generator(2, layers=2, width=4), Generator(10, layers=4, width=1000)
    flow = Flow(10, layers=4, width=1000, steps=4)
    assert rows_of(small) == 1000
    weights = sum(weight.numel() for weight in flow.parameters())
    assert rows_of(flow) == 10**11 // (weights * 10 * 8)
    assert 32 < rows_of(flow) < rows_of(large) == 1000
    assert rows_of(Generator(100, layers=5, width=4000)) == 32


def test_what_cannot_be_measured_has_a_reason(vectors):
    run = FinishedRun(vectors)
    real = Real.of_run(run, None, 0)
    alike = np.repeat(run.latents[:1], 10, axis=0)
    pytest.importorskip("ot")
    found = run_geometry(run, alike, real, 0)["Gromov-Wasserstein × 1,000"]
    assert re.fullmatch(r"none: a must have two distinct rows, got \d+ equal ones", found)

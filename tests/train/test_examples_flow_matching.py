"""examples/flow_matching.py: it runs in small form, and what it measures is right."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Forked, run_script

from gtn_train.evaluation.latents import energy_distance

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytest.importorskip("ot")
pytest.importorskip("torchcfm")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("flow_matching")
    sys.modules.pop("flow_matching", None)


def test_it_measures_each_kind_of_pairs(tmp_path):
    process = Forked(
        tmp_path, run_script, EXAMPLES / "flow_matching.py", "--quick", "--out", tmp_path / "out"
    )
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert (tmp_path / "out/flow_matching.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    content = json.loads((tmp_path / "out/flow_matching.json").read_text())
    kinds = ["independent", "minibatch transport", "optimal transport"]
    assert [result["pairs"] for result in content["results"]] == kinds
    assert all({*r["energy distance"]} == {"1", "2", "4", "100"} for r in content["results"])


def test_energy_distance_is_that_of_the_package(example):
    a, b = (torch.randn(size, 4, generator=torch.Generator().manual_seed(1)) for size in (60, 90))
    expected = energy_distance(a.numpy(), 2 * b.numpy()) / 2
    assert example.energy_distance(a, 2 * b) == pytest.approx(expected, rel=1e-4)


def test_curvature_is_zero_on_straight_paths_of_one_speed(example):
    sources = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))

    def constant(inputs):
        return torch.ones(len(inputs), 3)

    def accelerating(inputs):
        return 2 * inputs[:, 3:].expand(-1, 3)

    samples, curvature = example.sample(constant, sources, 10)
    assert torch.allclose(samples, sources + 1, atol=1e-5)
    assert curvature == pytest.approx(0, abs=1e-10)
    # |2t - 1|² of three columns, over a uniform t: 3 · 1/3
    assert example.sample(accelerating, sources, 1000)[1] == pytest.approx(1, rel=1e-2)


def test_pairs_of_an_epoch_are_rows_of_the_data_once_each(example):
    data = torch.from_numpy(np.random.default_rng(3).normal(size=(512, 2)).astype("f4"))
    for kind in ("independent", "optimal transport"):
        torch.manual_seed(0)
        given = list(example.batches(kind, data, seed=0, count=2))
        targets = torch.cat([targets for _, targets in given])
        assert torch.equal(targets.sort(dim=0).values, data.sort(dim=0).values)
    sources = torch.cat([sources for sources, _ in given])
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(sources.double(), data.double()).square().numpy()
    best = cost[linear_sum_assignment(cost)].mean()
    found = ((sources - targets) ** 2).sum(dim=1).mean()
    assert found == pytest.approx(best, rel=2e-3)

"""Sets larger than the oracle can do whole: single choices checked against the free set.

The first 1,000 choices, the last 100 (few latents are left then, and leftovers are far off) and a
random sample of the rest.
"""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from datasets import make
from gtn_label import match


@pytest.mark.parametrize(
    ("name", "n", "dim", "options"),
    [
        pytest.param("gaussian", 200_000, 50, {}, marks=pytest.mark.exhaustive),
        ("gaussian", 50_000, 50, {}),
        ("gaussian", 100_000, 2, {}),
        ("clusters", 60_000, 8, {}),
        ("clusters 1e-3", 40_000, 33, {"order": "norm_desc", "cone": 4}),
        ("lattice", 40_000, 5, {}),
        ("uniform", 40_000, 64, {"center": True, "order": "index"}),
    ],
)
def test_choices_of_a_large_run(name, n, dim, options):
    latents, sources = make(name, n, dim)
    matching = match(latents, sources, **options)
    assert np.array_equal(np.sort(matching.assignment), np.arange(n))
    order = oracle.visiting_order(
        oracle.row_norms(oracle.pad(sources)), options.get("order", "norm")
    )
    sample = np.random.default_rng(1).choice(np.arange(1000, n - 100), size=200, replace=False)
    positions = np.concatenate([np.arange(1000), sample, np.arange(n - 100, n)])
    checked = oracle.check_choices(
        latents,
        sources,
        matching.assignment[order],
        positions,
        cosine=matching.cosine,
        **options,
    )
    assert checked == 1300

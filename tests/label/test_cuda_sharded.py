"""match_sharded with each rank on a device of its own, over the emulator (GTN_CUDA=EMULATED)."""

from __future__ import annotations

import numpy as np
import pytest

import gtn_label
from device_double import EMULATED
from gtn_label import ArgumentError
from gtn_label.cluster import match_sharded
from thread_exchange import run_ranks

RNG = np.random.default_rng(3)
LATENTS = (RNG.normal(size=(160, 12)) + 3 * RNG.normal(size=(5, 12))[np.arange(160) % 5]).astype(
    "f4"
)
SOURCES = RNG.normal(size=(160, 12)).astype("f4")

pytestmark = pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")


@pytest.mark.parametrize("options", [{}, {"cone": 4, "order": "norm_desc"}, {"center": True}])
def test_ranks_on_devices_give_the_pairs_of_match(two_devices, options):
    expected = gtn_label.match(LATENTS, SOURCES, **options)
    index = np.arange(160)

    def rank(exchange):
        # The third is on the CPU.
        where = {"backend": "cuda", "device": f"cuda:{exchange.rank}"} if exchange.rank < 2 else {}
        mine = index[exchange.rank :: 3]
        return match_sharded(
            *(LATENTS[mine], SOURCES[mine]),
            **{"index": mine, "source_index": mine, "exchange": exchange, **where, **options},
        )

    for result in run_ranks(3, rank):
        assert np.array_equal(result.assignment, expected.assignment[result.source_index])
        assert np.array_equal(result.cosine, expected.cosine[result.source_index])
        if result.exchange.rank < 2:
            assert result.stats["device"] == f"cuda:{result.exchange.rank}"
            assert result.stats["instruction_set"] == "mma"


def test_a_rank_takes_the_device_of_its_number(two_devices, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert match_sharded(LATENTS, backend="cuda:dp4a").stats["device"] == "cuda:1"
    monkeypatch.setenv("LOCAL_RANK", "7")
    with pytest.raises(ArgumentError, match="'cuda:7' is not there"):
        match_sharded(LATENTS, backend="cuda")


@pytest.mark.parametrize("center", [False, True])
def test_groups_on_devices(two_devices, center):
    labels = np.minimum(np.arange(160) % 24, 12)  # one group of all ranks, and small ones
    expected = gtn_label.match(LATENTS, SOURCES, groups=(labels, labels), center=center)

    def rank(exchange):
        part = slice(80 * exchange.rank, 80 * exchange.rank + 80)
        return match_sharded(
            *(LATENTS[part], SOURCES[part]),
            groups=(labels[part], labels[part]),
            center=center,
            backend="cuda",
            device=f"cuda:{exchange.rank}",
            exchange=exchange,
        )

    for result in run_ranks(2, rank):
        assert np.array_equal(result.assignment, expected.assignment[result.source_index])
        assert np.array_equal(result.cosine, expected.cosine[result.source_index])
        assert result.stats["device"] == f"cuda:{result.exchange.rank}"
        assert result.stats["groups_shared"] == 1

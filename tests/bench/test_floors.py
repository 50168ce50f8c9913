"""Rates of the machine and of a device."""

from __future__ import annotations

import pytest

from benchmarks import floors
from gtn_label import _core


def test_sgemm_finds_a_block_and_measures_it() -> None:
    found = floors.sgemm(300, 5, None, 0.001)
    assert found["block"] in ([256, 300], [300, 300])
    assert floors.sgemm(300, 5, found["block"], 0.001)["rate"] > 0


def test_int8_rate_of_every_instruction_set() -> None:
    for row in _core.instruction_sets():
        if row["supported"]:
            for dim in (1, 7, 100, 4096):
                assert floors.int8(row["name"], dim, 2, 0.001)["rate"] > 1e6
    with pytest.raises(ValueError, match="must be auto or one of"):
        _core.int8_rate("none", 4, 0.001)
    with pytest.raises(ValueError, match="dim must be >= 1, got 0"):
        _core.int8_rate("scalar", 0, 0.001)


@pytest.mark.gpu
def test_rates_of_a_device() -> None:
    found = floors.cuda([64, 100], 1 << 16, 1024, 1 << 24, 0.001)
    assert found["int8_operations"] > found["fp16_operations"] > 0
    assert found["copied_bytes"] > 0
    assert found["name"] == _core.cuda_devices()[0]["name"]
    for one in found["scans"]:
        assert 0 < one["operations"] <= 1.05 * found["int8_operations"]
        assert one["bytes"] > 0


def test_rates_of_what_is_not_there_are_refused() -> None:
    if not hasattr(_core, "cuda_rates"):
        pytest.skip("this build has no CUDA")
    with pytest.raises(ValueError, match=r"kernel must be one of cuda_kernels\(\), got none"):
        _core.cuda_kernel_rate(0, "none", 4, 10, 10, 0.001)
    with pytest.raises(ValueError, match="dim, latents and sources must be >= 1, got 0, 1 and 2"):
        _core.cuda_kernel_rate(0, "mma", 0, 1, 2, 0.001)
    with pytest.raises(ValueError, match="copied must be >= 1, got 0"):
        _core.cuda_rates(0, 0, 0.001)

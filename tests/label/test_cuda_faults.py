"""Kernels that are wrong and memory that others hold, on emulated devices (GTN_CUDA=EMULATED).

The engine's side of it is in tests/cpp/test_cuda_trust.cpp and test_cuda_memory.cpp. A verdict on a
kernel lasts as long as the process, so these runs have processes of their own.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import command
import engine
import gtn_label
from cuda_cases import LATENTS, SOURCES
from device_double import EMULATED
from gtn_label import Matching, _core
from gtn_label.backend import cuda

pytestmark = pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")

ROWS = np.random.default_rng(5).normal(size=(900, 24)).astype(np.float32)
RUN = """
import json, sys, warnings
import numpy as np
import gtn_label
from gtn_label.io.checkpoint import Checkpoint

rows = np.load("rows.npy")
checkpoint = Checkpoint("run.ckpt", every=0) if sys.argv[1:] == ["checkpoint"] else None
counts = []
found = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        matching = gtn_label.match(
            rows,
            backend="cuda:mma",
            checkpoint=checkpoint,
            progress=lambda done, total, left: counts.append(done),
        )
        matching.save("pairs.npz")
        found.append([matching.stats["instruction_set"], matching.stats["kernel_fault"]])
        checkpoint = None
print(json.dumps([found, [str(w.message) for w in caught], counts]))
"""
FAULTS = {
    "1": r"its self-test differs from dp4a in ",
    "2": r"the scan kernel mma found other bounds than its codes give",
}


def run_with(lie: str, folder, *options: str):
    """Run twice with tensor cores that lie from a launch on; return what happened."""
    np.save(folder / "rows.npy", ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GTN_EMULATOR_LIE", lie)
        done = command.child(RUN, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("lie", sorted(FAULTS))
def test_dp4a_takes_the_place_of_a_wrong_kernel(lie, tmp_path):
    found, warnings, _ = run_with(lie, tmp_path, *(["checkpoint"] if lie == "2" else []))
    for kernel, fault in found:
        assert kernel == "dp4a"
        assert fault.startswith(f"mma: {FAULTS[lie]}")
    assert len(warnings) == 2  # one a run
    for warning in warnings:
        assert warning.startswith(f"the scan kernel mma is wrong on cuda:0 ({FAULTS[lie]}")
        assert warning.endswith("dp4a takes its place, which is slower. Please report this device")
    expected = gtn_label.match(ROWS, backend="cpu")
    loaded = Matching.load(tmp_path / "pairs.npz")
    np.testing.assert_array_equal(loaded.assignment, expected.assignment)
    assert not (tmp_path / "run.ckpt").exists()


OPTIMAL = """
import json, sys, warnings
import numpy as np
import gtn_label
from gtn_label.io.checkpoint import Checkpoint

rows = np.load("rows.npy")
found = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name in sys.argv[1:] + [None]:
        checkpoint = None if name is None else Checkpoint(name, every=0)
        matching = gtn_label.match_optimal(
            rows, tolerance=0, backend="cuda", checkpoint=checkpoint
        )
        matching.save("pairs.npz")
        found.append([matching.stats["instruction_set"], matching.stats["kernel_fault"]])
print(json.dumps([found, [str(w.message) for w in caught]]))
"""


@pytest.mark.parametrize("begun", [None, "run.ckpt"], ids=["anew", "resumed"])
@pytest.mark.parametrize("lie", ["1", "7", "31"])
def test_a_plain_kernel_takes_the_place_of_a_wrong_search(lie, begun, tmp_path):
    rows = ROWS[:300, :4]
    np.save(tmp_path / "rows.npy", rows)
    if begun is not None:

        def stop(done, total, left):
            if done > 0:
                raise LookupError("enough")

        options = {"backend": "cuda", "checkpoint": tmp_path / begun, "progress": stop}
        with pytest.raises(LookupError, match="enough"):
            gtn_label.match_optimal(rows, tolerance=0, **options)
        assert (tmp_path / begun).exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GTN_EMULATOR_LIE_FLOAT", lie)
        done = command.child(OPTIMAL, begun or "new.ckpt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, warnings = json.loads(done.stdout)
    assert found == [["plain", "float32: it found other bounds than the selection"]] * 2
    assert len(warnings) == 2  # one a run
    expected = gtn_label.match_optimal(rows, tolerance=0, backend="cpu")
    loaded = Matching.load(tmp_path / "pairs.npz")
    np.testing.assert_array_equal(loaded.assignment, expected.assignment)
    assert loaded.prices.tobytes() == expected.prices.tobytes()
    assert not list(tmp_path.glob("*.ckpt"))


def test_right_kernels_leave_no_line():
    stats = gtn_label.match(ROWS[:100], backend="cuda:mma").stats
    assert stats["kernel_fault"] == ""
    assert stats["instruction_set"] == "mma"
    assert stats["cache_freed"] is False


def test_environment_forbids_kernels(monkeypatch):
    monkeypatch.setenv("GTN_CUDA_FORBID_KERNELS", "mma,wgmma")
    assert gtn_label.match(ROWS[:100], backend="cuda").stats["instruction_set"] == "dp4a"
    reason = "the environment variable GTN_CUDA_FORBID_KERNELS forbids it"
    assert {row.name: row.reason for row in gtn_label.backends()}["cuda:mma"] == reason
    with pytest.raises(ValueError, match=f"^backend 'cuda:mma' is not available here: {reason}$"):
        gtn_label.match(ROWS[:100], backend="cuda:mma")


class TestScanCheck:
    def test_finds_nothing_wrong(self):
        found = _core.cuda_scan_check("mma", dim=33, latents=500, sources=20)
        assert found == {"bounds": found["bounds"], "wrong": 0, "first": None}
        assert found["bounds"] % 20 == 0

    def test_finds_what_is_wrong(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_LIE", "1")
        found = _core.cuda_scan_check("mma", dim=33, latents=500, sources=20, seed=2)
        assert 0 < found["wrong"] < found["bounds"]
        assert found["first"]["found"] != found["first"]["expected"]

    @pytest.mark.parametrize(
        ("kernel", "device", "dim", "message"),
        [
            ("none", 0, 9, r"^kernel must be one of cuda_kernels\(\), got none$"),
            ("mma", 7, 9, r"^device must be one of the 1 CUDA devices here, got 7$"),
            ("wgmma", 0, 9, r"^kernel 'wgmma' cannot run: cuda:0 .* compute capability 9\.0$"),
            ("mma", 0, 0, r"^dim, latents and sources must be >= 1, got 0, 5 and 5$"),
        ],
    )
    def test_refusals(self, kernel, device, dim, message):
        with pytest.raises(ValueError, match=message):
            _core.cuda_scan_check(kernel, dim, 5, 5, device)


class TestCachedMemory:
    """A double of torch's allocator: memory of the device that it keeps and does not use."""

    FEW = SOURCES[:30]  # as many as the smallest window
    # The last of three devices: other tests keep arrays on the first two.
    ON = {"backend": "cuda", "device": "cuda:2"}  # noqa: RUF012

    @pytest.fixture
    def torch(self, monkeypatch):
        # A device with room for all, but for a thirtieth that is left to others.
        rows = LATENTS.nbytes + self.FEW.nbytes
        whole = engine.least_memory(LATENTS, self.FEW, backend="cuda:dp4a") + rows
        monkeypatch.setenv("GTN_EMULATOR_DEVICES", "3")
        kept = [_core.EmulatedMemory(500, 2)]
        monkeypatch.setenv("GTN_EMULATOR_MEMORY", str(whole * 32 // 31 + 64))
        double = SimpleNamespace(
            is_initialized=lambda: True,
            memory_reserved=lambda device: 500 * len(kept),
            memory_allocated=lambda device: 0,
            empty_cache=kept.clear,
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=double, Tensor=tuple))
        return kept

    def test_is_freed_before_rows_stay_on_the_host(self, torch):
        stats = gtn_label.match(LATENTS, self.FEW, **self.ON).stats
        assert not torch
        assert stats["cache_freed"] is True
        assert not stats["sources_mapped"]

    def test_a_warning_says_that_they_stay(self, torch, monkeypatch):
        monkeypatch.setattr(cuda.Host, "free_cached", lambda self: False)
        with pytest.warns(RuntimeWarning, match=r"^sources .*stay in the host's memory and are r"):
            stats = gtn_label.match(LATENTS, self.FEW, **self.ON).stats
        assert stats["cache_freed"] is False
        assert stats["sources_mapped"]

    def test_torch_that_holds_nothing_is_not_asked(self, torch):
        torch.clear()
        assert not cuda.Host(2).free_cached()

    def test_without_torch(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        assert not cuda.Host(2).free_cached()

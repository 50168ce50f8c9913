"""`match_optimal(backend="cuda")` on emulated devices (GTN_CUDA=EMULATED): the bits of the CPU.

The lists that the device makes are in tests/cpp/test_cuda_priced.cpp, `match` is in test_cuda.py.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import command
import engine
from cuda_cases import gaussian
from datasets import make, make_groups
from device_double import EMULATED, DeviceArray
from gtn_label import ArgumentError, Matching, _core, match_optimal

pytestmark = pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")

LATENTS, SOURCES = gaussian(120, 6), gaussian(90, 6, 1)


def solve(latents, sources=None, backend="cuda", **options):
    return match_optimal(latents, sources, backend=backend, **options)


def assert_same_bits(found, expected):
    engine.assert_same(found, expected)
    assert found.prices.tobytes() == expected.prices.tobytes()
    for name in ("gap", "cost", "lower_bound"):
        assert getattr(found, name) == getattr(expected, name), name


class TestBits:
    @pytest.mark.parametrize("tolerance", [0, 0.01])
    @pytest.mark.parametrize("n", [70, 110])
    @pytest.mark.parametrize("dim", [1, 2, 5, 16, 33, 200])
    def test_of_any_width(self, dim, n, tolerance):
        latents, sources = gaussian(110, dim), gaussian(n, dim, 1)
        found = solve(latents, sources, tolerance=tolerance)
        assert_same_bits(found, solve(latents, sources, "cpu", tolerance=tolerance))
        searched = dim > 1 or n < 110  # the line is sorted
        assert (found.stats["scan_products"] > 0) == searched

    @pytest.mark.parametrize("share", [0.6, 1.0])
    @pytest.mark.parametrize(
        "kind",
        [
            "repeated 50 times",
            "heavy tails",
            "1e3 + noise",
            "clusters 1e-6",
            "near duplicates float64",
            "lattice",
            "identical sources",
            "scale 1e-20",
            "scale 1e150 float64",
        ],
    )
    def test_of_hard_rows(self, kind, share):
        latents, sources = make(kind, 150, 5)
        sources = sources[: int(share * len(latents))]
        found = solve(latents, sources, tolerance=0.01, center=share < 1.0)
        assert_same_bits(found, solve(latents, sources, "cpu", tolerance=0.01, center=share < 1.0))

    def test_of_groups(self):
        groups = make_groups("many", 90, 120)
        assert_same_bits(
            solve(LATENTS, SOURCES, groups=groups), solve(LATENTS, SOURCES, "cpu", groups=groups)
        )

    def test_of_first_prices_of_a_sample(self):
        latents, sources = gaussian(300, 3), gaussian(300, 3, 1)
        options = {"instruction_set": "auto", "threads": 1, "depth": 16, "poll": None}
        stream = _core.CudaStream(0)
        (*found, of_cuda), (*expected, of_cpu) = (
            _core.optimal_rows(
                latents, sources, tolerance=0.1, sample_from=64, engine=searcher, **options
            )
            for searcher in (_core.CudaEngine(0, "", stream.handle), _core.CpuEngine())
        )
        assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]
        for name in ("gap", "phases", "rounds", "bids"):
            assert of_cuda[name] == of_cpu[name]


class TestInputs:
    @pytest.mark.parametrize("latents_there", [False, True])
    @pytest.mark.parametrize("sources_there", [False, True])
    def test_wherever_they_lie(self, latents_there, sources_there):
        expected = solve(LATENTS, SOURCES, "cpu")
        found = solve(
            DeviceArray(LATENTS) if latents_there else LATENTS,
            DeviceArray(SOURCES) if sources_there else SOURCES,
        )
        assert_same_bits(found, expected)
        fresh = gaussian(30, 6, 2)
        np.testing.assert_array_equal(found.assign(fresh), expected.assign(fresh))

    def test_auto_searches_where_they_lie(self):
        assert solve(DeviceArray(LATENTS), backend="auto").stats["backend"] == "cuda"
        assert solve(LATENTS, backend="auto").stats["backend"] == "cpu"

    def test_the_cpu_backend_reads_none_on_a_gpu(self):
        with pytest.raises(ArgumentError, match=r"^latents must be in CPU memory, got "):
            solve(DeviceArray(LATENTS), backend="cpu")

    def test_a_device_that_is_named_searches(self, monkeypatch, tmp_path):
        monkeypatch.setenv("GTN_EMULATOR_DEVICES", "2")
        expected = solve(LATENTS, backend="cpu")
        for latents in (LATENTS, DeviceArray(LATENTS, device=1)):
            found = solve(latents, device="cuda:1")
            assert found.stats["cuda"]["device"] == "cuda:1"
            assert_same_bits(found, expected)
        assert solve(LATENTS, device="cuda").stats["cuda"]["device"] == "cuda:0"
        np.save(tmp_path / "latents.npy", LATENTS)
        where = ("--optimal", "--backend", "cuda", "--device", "cuda:1", "--json")
        variables = command.environment(GTN_EMULATOR_DEVICES="2")
        done = command.shell("latents.npy", *where, cwd=tmp_path, env=variables)
        assert json.loads(done.stdout)["stats"]["cuda"]["device"] == "cuda:1", done.stderr

    @pytest.mark.parametrize(
        ("backend", "device", "message"),
        [
            ("cuda", "cuda:3", r"^device 'cuda:3' is not there: CUDA finds cuda:0 "),
            ("cuda", "cpu", r"^device must be 'cuda' or 'cuda:N' for backend 'cuda'"),
            ("cpu", "cuda:0", r"^device 'cuda:0' needs backend 'cuda' or "),
        ],
    )
    def test_a_device_that_cannot_is_refused(self, backend, device, message):
        with pytest.raises(ArgumentError, match=message):
            solve(LATENTS, backend=backend, device=device)
        with pytest.raises(ArgumentError, match=r"^device must be that of latents, 'cuda:0'"):
            solve(DeviceArray(LATENTS), device="cuda:1")

    @pytest.mark.parametrize("kernel", ["mma", "dp4a"])
    def test_no_kernel_of_match_is_taken(self, kernel):
        message = (
            r"^backend must be 'cpu', 'cpu:' and an instruction set, or 'cuda' for optimal "
            rf"transport, whose search has one kernel on a GPU, got 'cuda:{kernel}'$"
        )
        with pytest.raises(ArgumentError, match=message):
            solve(LATENTS, backend=f"cuda:{kernel}")

    def test_stats_say_what_ran(self):
        stats = solve(LATENTS, SOURCES).stats
        assert stats["cuda"]["device"] == "cuda:0"
        assert stats["instruction_set"] == "float32"
        assert stats["device_bytes"] > 0
        assert stats["cache_freed"] is False
        assert stats["device_scores"] >= stats["depth"] * (stats["scans"] - stats["full_scans"]) > 0


class TestMemory:
    def test_too_small_a_budget_says_what_is_needed(self):
        latents, sources = gaussian(300, 200), gaussian(10, 200, 1)
        memory, refusals = 1000, 0
        while refusals < 3:
            try:
                found = solve(latents, sources, memory=memory)
                break
            except ArgumentError as error:
                memory = int(re.match(r"memory must be at least (\d+) bytes", str(error))[1])
                refusals += 1
        assert refusals == 2  # for lists on the host, for the device
        assert found.stats["device_scores"] == 0  # by the host, where rows do not fit
        assert 300 * 200 * 4 < found.stats["device_bytes"] <= memory
        assert_same_bits(found, solve(latents, sources, "cpu"))
        with pytest.raises(ArgumentError, match=r"^memory must be at least"):
            solve(latents, sources, memory=memory - 1)

    def test_too_small_a_device_says_what_is_needed(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_MEMORY", "20000")
        message = (
            r"^cuda:0 is out of memory: this input needs at least \d+ bytes, but of its 20000 "
        )
        with pytest.raises(MemoryError, match=message):
            solve(LATENTS)

    @pytest.mark.parametrize("call", ["cudaMalloc", "cudaHostAlloc"])
    @pytest.mark.parametrize("count", range(1, 5))
    def test_memory_that_somebody_else_took_meanwhile(self, call, count, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_FAIL", f"{call}:{count}")
        with pytest.raises(MemoryError, match=r"out of memory|cannot pin"):
            solve(LATENTS)
        monkeypatch.delenv("GTN_EMULATOR_FAIL")
        assert_same_bits(solve(LATENTS), solve(LATENTS, backend="cpu"))

    @pytest.mark.parametrize("count", [1, 2, 3, 5])
    def test_failures_of_cuda(self, count, monkeypatch):
        monkeypatch.setenv(
            "GTN_EMULATOR_FAIL", f"cudaStreamSynchronize:{count}:cudaErrorIllegalAddress"
        )
        with pytest.raises(RuntimeError, match=r"^CUDA: .*: cudaErrorIllegalAddress, "):
            solve(LATENTS, tolerance=0)


class TestRun:
    def test_a_callback_can_stop_it(self):
        def stop(done, total, left):
            raise LookupError("enough")

        with pytest.raises(LookupError, match="enough"):
            solve(gaussian(600, 4), progress=stop)

    @pytest.mark.parametrize("backend", ["cpu", "cuda"])
    def test_a_checkpoint_goes_on_with_any_backend(self, backend, tmp_path):
        def stop(done, total, left):
            if done > 0:
                raise LookupError("enough")

        latents, path = gaussian(500, 3), tmp_path / "run.ckpt"
        with pytest.raises(LookupError, match="enough"):
            solve(latents, tolerance=0, checkpoint=path, progress=stop)
        assert path.exists()
        found = solve(latents, None, backend, tolerance=0, checkpoint=path)
        assert_same_bits(found, solve(latents, None, "cpu", tolerance=0))


def test_the_command(tmp_path):
    np.save(tmp_path / "latents.npy", LATENTS)
    asked = ("latents.npy", "--optimal", "--backend", "cuda", "--out")
    done = command.gtn_label(*asked, "p.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = r"^backend +cuda, float32 on cuda:0 \(emulated device 0\)$"
    assert re.search(line, done.stdout, re.M), done.stdout
    expected = solve(LATENTS, backend="cpu")
    np.testing.assert_array_equal(Matching.load(tmp_path / "p.npz").assignment, expected.assignment)
    told = command.gtn_label(*asked, "q.npz", "--json", cwd=tmp_path)
    assert json.loads(told.stdout)["optimal"]["gap"] == expected.gap
    wrong = command.gtn_label("latents.npy", "--optimal", "--backend", "cuda:mma", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--backend must be 'cpu'" in wrong.stderr

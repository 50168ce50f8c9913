"""The cuda backend behind `match` and the command, on emulated devices (GTN_CUDA=EMULATED).

Here: wherever inputs lie, what comes back, memory, interruption, checkpoints. Its pairs are held to
the oracle by test_differential.py, as every backend's. How arrays reach the engine is in
test_cuda_arrays.py, names and devices in test_cuda_names.py, what needs a GPU in test_gpu.py.
"""

from __future__ import annotations

import json
import pickle
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import command
import engine
import gtn_label
import oracle
from cuda_cases import LATENTS, LAYOUTS, SOURCES, bfloat16_of, float32_of, gaussian
from device_double import BFLOAT16, EMULATED, DeviceArray
from gtn_label import Matching
from gtn_label.arrays import convert
from memory_checkpoint import Prefix

pytestmark = pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")


class TestMatch:
    @pytest.mark.parametrize("latents_there", [False, True])
    @pytest.mark.parametrize("sources_there", [False, True])
    def test_wherever_inputs_lie(self, latents_there, sources_there):
        options = {"order": "norm_desc", "cone": 3, "center": True}
        latents = DeviceArray(LATENTS) if latents_there else LATENTS
        sources = DeviceArray(SOURCES) if sources_there else SOURCES
        matching = gtn_label.match(latents, sources, backend="cuda", **options)
        engine.assert_same(matching, oracle.solve(LATENTS, SOURCES, **options))

    def test_auto_computes_where_the_inputs_lie(self):
        for pair in (
            (DeviceArray(LATENTS), None),
            (LATENTS, DeviceArray(SOURCES)),
            (DeviceArray(LATENTS), DeviceArray(SOURCES)),
        ):
            assert gtn_label.match(*pair).stats["backend"] == "cuda"
        assert gtn_label.match(LATENTS).stats["backend"] == "cpu"

    def test_drawn_sources_are_those_of_the_cpu(self):
        engine.assert_same(
            gtn_label.match(DeviceArray(LATENTS), seed=3), gtn_label.match(LATENTS, seed=3)
        )

    def test_groups_may_lie_anywhere(self):
        parts = np.arange(120) % 3
        expected = gtn_label.match(LATENTS, groups=(parts, parts))
        for labels in (parts, DeviceArray(parts), DeviceArray(parts.astype(np.uint8))):
            matching = gtn_label.match(DeviceArray(LATENTS), groups=(labels, parts))
            engine.assert_same(matching, expected)
            np.testing.assert_array_equal(matching.groups[0], parts)
        engine.assert_same(gtn_label.match(LATENTS, groups=(DeviceArray(parts), parts)), expected)

    @pytest.mark.usefixtures("two_devices")
    def test_device_is_where_it_runs(self):
        for array, device, expected in (
            (LATENTS, None, "cuda:0"),
            (LATENTS, "cuda", "cuda:0"),
            (LATENTS, "cuda:1", "cuda:1"),
            (DeviceArray(LATENTS, device=1), None, "cuda:1"),
            (DeviceArray(LATENTS, device=1), "cuda", "cuda:1"),
            (DeviceArray(LATENTS, device=1), "cuda:1", "cuda:1"),
        ):
            matching = gtn_label.match(array, SOURCES, backend="cuda", device=device)
            assert matching.stats["cuda"]["device"] == expected
            engine.assert_same(matching, gtn_label.match(LATENTS, SOURCES))

    def test_stats_say_what_ran(self):
        stats = gtn_label.match(LATENTS, backend="cuda:dp4a").stats
        assert stats["backend"] == "cuda"
        assert stats["instruction_set"] == "dp4a"
        assert stats["cuda"] == {
            "device": "cuda:0",
            "name": "emulated device 0",
            "capability": "8.0",
            "driver": "12.4",
            "runtime": "12.4",
        }
        assert stats["peak_work_bytes"] > LATENTS.nbytes
        assert stats["scan_products"] >= 0
        assert stats["latents_mapped"] is stats["sources_mapped"] is False
        assert "distinct_latents" not in stats
        json.dumps(stats)

    @pytest.mark.usefixtures("two_devices")
    def test_several_threads_on_several_devices(self):
        expected = gtn_label.match(LATENTS, SOURCES)

        def run(number: int):
            device = number % 2
            latents = DeviceArray(LATENTS, device=device) if number % 3 else LATENTS
            return gtn_label.match(latents, SOURCES, backend="cuda", device=f"cuda:{device}")

        with ThreadPoolExecutor(4) as pool:
            for matching in pool.map(run, range(8)):
                engine.assert_same(matching, expected)


class TestResult:
    @pytest.fixture
    def matching(self):
        return gtn_label.match(DeviceArray(LATENTS), DeviceArray(SOURCES))

    def test_arrays_are_numpys(self, matching):
        for array in (matching.assignment, matching.cosine):
            assert type(array) is np.ndarray
            assert not array.flags.writeable

    def test_sources_are_as_given_or_drawn(self, matching):
        assert isinstance(matching.sources, DeviceArray)
        assert isinstance(gtn_label.match(DeviceArray(LATENTS)).sources, np.ndarray)

    def test_pairs_are_left_to_the_caller(self, matching):
        message = (
            r"^pairs\(\) gathers rows of NumPy arrays and torch tensors, got latents of type "
            r"DeviceArray; use m\.sources and latents\[m\.assignment\]$"
        )
        with pytest.raises(TypeError, match=message):
            matching.pairs()

    def test_numpy_latents_get_numpy_sources(self):
        matching = gtn_label.match(LATENTS, DeviceArray(SOURCES))
        sources, labels = matching.pairs()
        np.testing.assert_array_equal(sources, SOURCES)
        np.testing.assert_array_equal(labels, LATENTS[matching.assignment])
        assert not matching.sources.flags.writeable

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", ["f2", "f4", "i8"])
    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_file_is_that_of_numpy_rows(self, layout, dtype, suffix, tmp_path):
        value = LAYOUTS[layout]((gaussian(70, 5) * 40 + 200).astype(dtype))
        sources = SOURCES[: len(value), : value.shape[1]]
        if sources.shape[1] != value.shape[1]:
            sources = np.ones((1, value.shape[1]), np.float32)
        one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
        gtn_label.match(value, sources, backend="cuda").save(one)
        gtn_label.match(DeviceArray(value), DeviceArray(sources.copy())).save(two)
        assert one.read_bytes() == two.read_bytes()

    def test_bfloat16_is_saved_as_float32(self, tmp_path):
        bits = bfloat16_of(LATENTS)
        matching = gtn_label.match(DeviceArray(bits, dtype=BFLOAT16), SOURCES)
        matching.save(tmp_path / "pairs.npz")
        labels = Matching.load(tmp_path / "pairs.npz").pairs()[1]
        np.testing.assert_array_equal(labels, float32_of(bits)[matching.assignment])

    def test_hash_is_made_when_asked_for(self):
        value = DeviceArray(LATENTS)
        matching = gtn_label.match(value)
        assert len(value.lent) == 1
        assert matching.meta == gtn_label.match(LATENTS).meta | {"backend": "cuda"}
        assert matching.meta["latents_sha256"] == convert.sha256(LATENTS)
        assert len(value.lent) == value.returned == 2

    def test_repr(self, matching):
        assert repr(matching).startswith("<Matching: 90 sources to 120 latents, dim 6, mean cosi")

    def test_numpy_inputs_pickle(self):
        matching = gtn_label.match(LATENTS, backend="cuda")
        engine.assert_same(pickle.loads(pickle.dumps(matching)), matching)


# ------------------------------------------------------------------------------------- the memory


class TestMemory:
    def test_too_small_a_budget_says_what_is_needed(self):
        latents = gaussian(1000, 8)
        needed = engine.least_memory(latents, None, backend="cuda")
        matching = gtn_label.match(latents, backend="cuda", memory=needed)
        engine.assert_same(matching, gtn_label.match(latents))
        assert matching.stats["peak_work_bytes"] <= needed

    def test_too_small_a_device_says_what_is_needed(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_MEMORY", "20000")
        message = (
            r"^cuda:0 is out of memory: this input needs at least \d+ bytes, but of its 20000 "
        )
        with pytest.raises(MemoryError, match=message):
            gtn_label.match(gaussian(1000, 8), backend="cuda")

    @pytest.mark.parametrize("call", range(1, 12))
    def test_memory_that_somebody_else_took_meanwhile(self, call, monkeypatch):
        value = DeviceArray(LATENTS)
        monkeypatch.setenv("GTN_EMULATOR_FAIL", f"cudaMalloc:{call}")
        with pytest.raises(MemoryError, match=r"^cuda:0 is out of memory: .* needs \d+ bytes, b"):
            gtn_label.match(value)
        monkeypatch.delenv("GTN_EMULATOR_FAIL")
        engine.assert_same(gtn_label.match(value), gtn_label.match(LATENTS))

    def test_failures_of_cuda(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_FAIL", "cudaStreamSynchronize:1:cudaErrorIllegalAddress")
        with pytest.raises(RuntimeError, match=r"^CUDA: .*: cudaErrorIllegalAddress, "):
            gtn_label.match(LATENTS, backend="cuda")


# ------------------------------------------------------------------------ while it runs, and after


class TestRun:
    def test_progress(self):
        seen = []
        latents = gaussian(600, 4)
        gtn_label.match(latents, backend="cuda", progress=lambda *call: seen.append(call))
        assert seen[-1][:2] == (600, 600)

    def test_a_callback_can_stop_it(self):
        def stop(done, total, left):
            raise LookupError("enough")

        value = DeviceArray(gaussian(600, 4))
        with pytest.raises(LookupError, match="enough"):
            gtn_label.match(value, progress=stop)
        assert value.returned == 1

    def test_ctrl_c(self):
        latents = gaussian(6000, 4)
        timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            gtn_label.match(latents, backend="cuda")
        timer.join()

    @pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("first", ["cpu", "cuda"])
    def test_is_continued_by_any_backend(self, first, share):
        """What a run decided so far is the same for all, and so is what follows."""
        expected = gtn_label.match(LATENTS, SOURCES, backend=first)
        prefix = Prefix(expected.visited[: int(share * len(SOURCES))])
        second = "cuda" if first == "cpu" else "cpu"
        again = gtn_label.match(LATENTS, SOURCES, backend=second, checkpoint=prefix)
        engine.assert_same(again, expected)
        np.testing.assert_array_equal(prefix.visited, expected.visited)

    def test_a_wrong_prefix_is_refused(self):
        with pytest.raises(ValueError, match=r"^visited "):
            gtn_label.match(LATENTS, SOURCES, backend="cuda", checkpoint=Prefix([0, 0]))


class TestCommand:
    @pytest.fixture(autouse=True)
    def latents(self, tmp_path):
        np.save(tmp_path / "latents.npy", LATENTS)

    def test_says_what_ran(self, tmp_path):
        done = command.gtn_label("latents.npy", "--backend", "cuda:mma", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        line = r"^backend +cuda, mma on cuda:0 \(emulated device 0\)$"
        assert re.search(line, done.stdout, re.M), done.stdout
        engine.assert_same(Matching.load(tmp_path / "pairs.npz"), gtn_label.match(LATENTS))

    def test_json(self, tmp_path):
        where = ("--backend", "cuda", "--device", "cuda:1", "--json", "--memory", "500MB")
        variables = command.environment(GTN_EMULATOR_DEVICES="2")
        done = command.shell("latents.npy", *where, cwd=tmp_path, env=variables)
        figures = json.loads(done.stdout)
        assert figures["backend"] == "cuda"
        assert figures["stats"]["cuda"]["device"] == "cuda:1"

    def test_lists_the_backend(self, tmp_path):
        done = command.gtn_label("--backends", cwd=tmp_path)
        assert re.search(r"^cuda +on a GPU, .*cuda:0 \(emulated device 0\)$", done.stdout, re.M)
        assert re.search(r"^cuda:dp4a +[a-z]", done.stdout, re.M)
        assert re.search(r"^cuda:wgmma +not available: .* 8\.0, and wgmma ", done.stdout, re.M)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--device", "cuda:3"], "--device 'cuda:3' is not there: CUDA finds cuda:0 (emulat"),
            (["--device", "cpu"], "--device must be 'cuda' or 'cuda:N' for --backend 'cuda', got"),
            (["--memory", "1kB"], "--memory must be at least "),
            (["--cone", "5000"], "--cone must be at most "),
        ],
    )
    def test_refusals(self, options, message, tmp_path):
        np.save(tmp_path / "many.npy", gaussian(6000, 2))
        done = command.gtn_label("many.npy", "--backend", "cuda", *options, cwd=tmp_path)
        assert done.returncode == 2
        assert command.one_line(done.stderr).startswith(f"error: {message}")

    def test_too_little_memory(self, tmp_path):
        variables = command.environment(GTN_EMULATOR_MEMORY="20000")
        where = ("latents.npy", "--backend", "cuda")
        done = command.shell(*where, cwd=tmp_path, env=variables)
        assert done.returncode == 1
        message = r".*error: not enough memory: cuda:0 is out of memory: this input needs at l"
        assert re.match(message, command.one_line(done.stderr)), done.stderr

    def test_continues_a_run_of_the_cpu(self, tmp_path):
        np.save(tmp_path / "latents.npy", gaussian(2000, 16))
        options = ("--checkpoint", "run.ckpt", "--checkpoint-every", 0, "--out")
        whole = command.gtn_label("latents.npy", "--out", "whole.npz", cwd=tmp_path)
        assert whole.returncode == 0
        process = command.start(
            "latents.npy", "--backend", "cuda", *options, "pairs.npz", cwd=tmp_path
        )
        while process.poll() is None and not (tmp_path / "run.ckpt").exists():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        done = command.gtn_label("latents.npy", *options, "pairs.npz", cwd=tmp_path)
        assert re.search(r"^checkpoint .*continued at [1-9]", done.stdout, re.M), done.stdout
        assert (tmp_path / "pairs.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()

"""The cuda backend between Python and the engine, on emulated devices (a build with
GTN_CUDA=EMULATED): arrays that lie there, results, errors, interruption, checkpoints, the command.

Its pairs are held to the oracle by test_differential.py, as every backend's. Names and devices are
in test_cuda_names.py, what needs a GPU in test_gpu.py.
"""

from __future__ import annotations

import ctypes
import gc
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
from device_double import BFLOAT16, CUDA_MANAGED, EMULATED, DeviceArray
from gtn_label import Matching, _core, arrays, device_arrays, running

pytestmark = pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")


def gaussian(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


LATENTS, SOURCES = gaussian(120, 6), gaussian(90, 6, 1)


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setenv("GTN_EMULATOR_DEVICES", "2")


# ------------------------------------------------------------------------- arrays on the way in


def bfloat16_of(rows: np.ndarray) -> np.ndarray:
    """The upper halves of float32's bits."""
    return (rows.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def float32_of(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read(array: DeviceArray) -> np.ndarray:
    """What the engine is handed of an array on a device."""
    gpu = device_arrays.Gpu(f"cuda:{array.device}", array)
    return _core.read_rows(device_arrays.as_rows(array, "latents", gpu).rows)


LAYOUTS = {
    "as it is": lambda rows: rows,
    "Fortran order": np.asfortranarray,
    "every other row": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "every third column": lambda rows: np.repeat(rows, 3, axis=1)[:, ::3],
    "negative strides": lambda rows: np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1],
    "one row for all": lambda rows: np.broadcast_to(rows[3], rows.shape),
    "one column": lambda rows: rows[:, 2:3],
    "one row": lambda rows: rows[2:3],
    "a column as a row": lambda rows: rows[:, 2:3].T,
}
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


class TestConversion:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_gives_the_rows_that_numpy_would(self, layout, dtype):
        value = LAYOUTS[layout]((gaussian(70, 5) * 40 + 60).clip(0, 120).astype(dtype))
        expected = arrays.as_rows(value, "latents").rows
        actual = read(DeviceArray(value))
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_bfloat16(self, layout):
        value = LAYOUTS[layout](bfloat16_of(gaussian(70, 5)))
        actual = read(DeviceArray(value, dtype=BFLOAT16))
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, float32_of(np.ascontiguousarray(value)))

    def test_float16_over_its_whole_range(self):
        every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
        actual = read(DeviceArray(every))
        np.testing.assert_array_equal(actual, every.astype(np.float32))
        np.testing.assert_array_equal(np.signbit(actual), np.signbit(every))

    def test_bfloat16_over_its_whole_range(self):
        every = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 64)
        actual = read(DeviceArray(every, dtype=BFLOAT16))
        np.testing.assert_array_equal(actual.view(np.uint32), every.astype(np.uint32) << 16)

    @pytest.mark.parametrize("dtype", ["i8", "u8"])
    def test_integers_that_float64_must_round(self, dtype):
        info = np.iinfo(dtype)
        near = [2**k + step for k in (53, 54, 60, 62) for step in range(-3, 4)]
        value = np.array([info.min, info.max, info.max - 1, 0, *near], dtype=dtype)[:, None]
        np.testing.assert_array_equal(read(DeviceArray(value)), value.astype(np.float64))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("layout", ["as it is", "one column", "one row"])
    def test_what_the_engine_can_take_is_not_copied(self, layout, dtype, monkeypatch):
        value = DeviceArray(np.ascontiguousarray(LAYOUTS[layout](LATENTS.astype(dtype))))
        monkeypatch.setenv("GTN_EMULATOR_FAIL", "cudaMalloc:0")
        read(value)

    def test_no_memory_for_the_copy(self, monkeypatch):
        value = DeviceArray(LATENTS.astype(np.float16))
        monkeypatch.setenv("GTN_EMULATOR_FAIL", "cudaMalloc:1")
        message = r"^device 0 is out of memory: a converted copy of latents needs 2880 bytes"
        with pytest.raises(MemoryError, match=message):
            gtn_label.match(value)
        assert value.returned == 1


class TestProtocol:
    @pytest.mark.parametrize("version", [0, 1])
    @pytest.mark.parametrize("no_strides", [False, True])
    @pytest.mark.parametrize("kind", [2, CUDA_MANAGED])
    def test_what_was_lent_is_returned_once(self, version, no_strides, kind):
        value = DeviceArray(LATENTS, version=version, no_strides=no_strides, kind=kind)
        np.testing.assert_array_equal(read(value), LATENTS)
        gc.collect()
        assert len(value.lent) == value.returned == 1
        name = "used_dltensor_versioned" if version else "used_dltensor"
        assert f'"{name}"' in repr(value.lent[0])

    def test_is_returned_after_a_match_and_after_a_refusal(self):
        latents, sources = DeviceArray(LATENTS), DeviceArray(SOURCES)
        gtn_label.match(latents, sources)
        with pytest.raises(ValueError, match=r"^memory must be at least"):
            gtn_label.match(latents, sources, memory=1)
        assert (latents.returned, sources.returned) == (2, 2)

    def test_one_stream_of_our_own_for_all_inputs(self):
        latents, sources = DeviceArray(LATENTS), DeviceArray(SOURCES)
        for _ in range(2):
            gtn_label.match(latents, sources)
        streams = [[asked["stream"] for asked in array.asked] for array in (latents, sources)]
        assert streams[0] == streams[1]
        assert all(isinstance(stream, int) and stream > 2 for stream in streams[0])

    def test_a_later_protocol_is_refused_and_returned(self):
        value = DeviceArray(LATENTS, version=2)
        message = (
            "^latents must be readable through __dlpack__, got DeviceArray: __dlpack__ gave "
            "version 2 of the protocol, not 1$"
        )
        with pytest.raises(TypeError, match=message):
            gtn_label.match(value)
        assert value.returned == 1

    @pytest.mark.parametrize(
        ("lent", "message"),
        [
            (lambda: None, "__dlpack__ must return a capsule that holds a DLPack tensor"),
            (
                lambda: ctypes.pythonapi.PyCapsule_New,
                "__dlpack__ must return a capsule that holds a DLPack tensor",
            ),
            (lambda: 1 / 0, None),
            (lambda: (_ for _ in ()).throw(BufferError("in use")), "in use"),
        ],
    )
    def test_owners_that_do_not_lend(self, lent, message):
        class Owner(DeviceArray):
            def __dlpack__(self, **asked):
                return lent()

        error = TypeError if message else ZeroDivisionError
        with pytest.raises(error, match=message and f"latents must be readable .*: {message}$"):
            gtn_label.match(Owner(LATENTS))

    def test_spent_capsules_are_refused(self):
        value = DeviceArray(LATENTS)
        read(value)

        class Owner(DeviceArray):
            def __dlpack__(self, **asked):
                return value.lent[0]

        with pytest.raises(TypeError, match=r"must return a capsule that holds a DLPack tensor$"):
            gtn_label.match(Owner(LATENTS))

    def test_memory_of_the_cpu_is_refused(self):
        class Owner(DeviceArray):
            def __dlpack_device__(self):
                return (2, 0)

        message = "__dlpack__ gave a tensor on a device of type 1, not on CUDA's$"
        with pytest.raises(TypeError, match=message):
            gtn_label.match(Owner(LATENTS, kind=1))


class TestRefusals:
    """As of arrays in CPU memory, in their words."""

    def refused(self, error, message, latents=LATENTS, sources=None, **options):
        with pytest.raises(error, match=message) as caught:
            gtn_label.match(latents, sources, backend="cuda", **options)
        assert type(caught.value) is error
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("which", ["latents", "sources"])
    @pytest.mark.parametrize(
        ("value", "code", "found"),
        [
            (np.ones((6, 3), np.complex64), None, "complex64"),
            (np.ones((6, 3), bool), None, "bool"),
            (np.ones((6, 3), np.uint8), 10, "DLPack type 10 of 8 bits"),
            (np.ones((6, 3), np.longdouble), None, "float128; convert it yourself"),
        ],
    )
    def test_dtype(self, which, value, code, found):
        given = {which: DeviceArray(value, code=code)}
        message = f"^{which} must have dtype float16, .*got {re.escape(found)}"
        self.refused(TypeError, message, **given)

    @pytest.mark.parametrize("which", ["latents", "sources"])
    @pytest.mark.parametrize(
        ("shape", "found"),
        [
            ((), "2-D .*got a single value"),
            ((6,), r"2-D .*got 1-D shape \(6,\); use {which}\.reshape\(-1, 1\)"),
            ((6, 2, 3), r"2-D .*got 3-D shape \(6, 2, 3\)"),
            ((0, 3), r"at least one row \(n >= 1\), got shape \(0, 3\)"),
            ((6, 0), r"at least one column \(dim >= 1\), got shape \(6, 0\)"),
        ],
    )
    def test_shape(self, which, shape, found):
        given = {which: DeviceArray(np.ones(shape, np.float32))}
        self.refused(ValueError, f"^{which} must .*{found.format(which=which)}", **given)

    def test_dims_and_counts(self):
        message = r"must have the same dim, got sources \(90, 5\) and latents \(120, 6\)$"
        self.refused(ValueError, message, DeviceArray(LATENTS), DeviceArray(SOURCES[:, :5].copy()))
        message = "^120 sources must not exceed 90 latents"
        self.refused(ValueError, message, DeviceArray(SOURCES), DeviceArray(LATENTS))

    @pytest.mark.parametrize("on_device", [False, True])
    @pytest.mark.parametrize("which", ["latents", "sources"])
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (np.nan, r"must be finite.*\b1\b.*\b17\b"),
            (np.inf, r"must be finite.*\b1\b.*\b17\b"),
            (0.0, r"zero.*\b1\b.*\b17\b"),
        ],
    )
    def test_values(self, which, bad, message, on_device):
        value = gaussian(90, 6)
        value[17] = bad
        expected = {}
        for wrap in (lambda rows: rows, DeviceArray if on_device else np.array):
            with pytest.raises(ValueError, match=f"^{which} .*{message}") as caught:
                gtn_label.match(**{"latents": LATENTS, which: wrap(value)})
            expected[str(caught.value)] = None
        assert len(expected) == 1

    def test_unaligned(self):
        class Odd(DeviceArray):
            def __dlpack__(self, **asked):
                self._offset += 2
                return super().__dlpack__(**asked)

        self.refused(ValueError, "^latents must be aligned to its elements of 4 byt", Odd(LATENTS))

    @pytest.mark.usefixtures("two_devices")
    def test_devices(self):
        there, here = DeviceArray(LATENTS, device=1), DeviceArray(SOURCES)
        message = "^sources must be on the GPU of latents, cuda:1, got DeviceArray on cuda:0$"
        self.refused(ValueError, message, there, here)
        message = "^device must be that of sources, 'cuda:0', got 'cuda:1'$"
        self.refused(ValueError, message, LATENTS, here, device="cuda:1")

    def test_kernel_of_another_gpu(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_CAPABILITY", "75")
        with pytest.raises(
            ValueError, match=r"'cuda:wgmma' is not available here: .* 7\.5, and wg"
        ):
            gtn_label.match(LATENTS, backend="cuda:wgmma")

    def test_no_device(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_DEVICES", "0")
        message = "^backend 'cuda' is not available here: no CUDA device is visible here"
        with pytest.raises(ValueError, match=message):
            gtn_label.match(LATENTS, backend="cuda")

    def test_driver_too_old(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_FAIL", "cudaGetDeviceCount:0:cudaErrorInsufficientDriver")
        message = "^backend 'cuda' is not available here: the NVIDIA driver here is for CUDA 12.4"
        with pytest.raises(ValueError, match=message):
            gtn_label.match(LATENTS, backend="cuda")

    def test_rows_on_a_device_are_for_this_backend_alone(self):
        gpu = device_arrays.Gpu("cuda:0")
        rows = device_arrays.as_rows(DeviceArray(LATENTS), "latents", gpu).rows
        with pytest.raises(TypeError, match="rows on a device are for the cuda backend alone"):
            _core.match_rows(
                rows,
                SOURCES,
                order="norm",
                cone=1,
                center=False,
                source_groups=None,
                latent_groups=None,
                instruction_set="auto",
                engine=_core.CpuEngine(),
                threads=1,
                memory=0,
                visited=np.zeros(90, np.int64),
                start=0,
                poll=None,
            )


# ------------------------------------------------------------------------------------- the pairs


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
        assert matching.meta["latents_sha256"] == arrays.sha256(LATENTS)
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
        message = r"^memory must be at least (\d+) bytes for this input, got 1$"
        with pytest.raises(ValueError, match=message) as caught:
            gtn_label.match(latents, backend="cuda", memory=1)
        needed = int(re.match(message, str(caught.value))[1])
        matching = gtn_label.match(latents, backend="cuda", memory=needed)
        engine.assert_same(matching, gtn_label.match(latents))
        assert matching.stats["peak_work_bytes"] <= needed

    def test_too_small_a_device_says_what_is_needed(self, monkeypatch):
        monkeypatch.setenv("GTN_EMULATOR_MEMORY", "20000")
        message = r"^device 0 needs at least \d+ bytes for this input, but \d+ of its 20000 are fr"
        with pytest.raises(MemoryError, match=message):
            gtn_label.match(gaussian(1000, 8), backend="cuda")

    @pytest.mark.parametrize("call", range(1, 12))
    def test_memory_that_somebody_else_took_meanwhile(self, call, monkeypatch):
        value = DeviceArray(LATENTS)
        monkeypatch.setenv("GTN_EMULATOR_FAIL", f"cudaMalloc:{call}")
        with pytest.raises(MemoryError, match=r"^device 0 is out of memory: .* needs \d+ bytes, b"):
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
        latents = gaussian(20_000, 4)
        timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            gtn_label.match(latents, backend="cuda")
        timer.join()

    @pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("first", ["cpu", "cuda"])
    def test_is_continued_by_any_backend(self, first, share):
        """What a run decided so far is the same for all, and so is what follows."""
        n = len(SOURCES)
        whole = np.full(n, -1, np.int64)
        expected = running.run(LATENTS, SOURCES, backend=first, visited=whole)
        start = int(share * n)
        visited = np.where(np.arange(n) < start, whole, -1)
        second = "cuda" if first == "cpu" else "cpu"
        again = running.run(LATENTS, SOURCES, backend=second, visited=visited, start=start)
        engine.assert_same(again, expected)
        np.testing.assert_array_equal(visited, whole)

    def test_a_wrong_prefix_is_refused(self):
        visited = np.zeros(len(SOURCES), np.int64)
        with pytest.raises(ValueError, match=r"^visited "):
            running.run(LATENTS, SOURCES, backend="cuda", visited=visited, start=2)


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
        done = command.gtn_label("latents.npy", *where, cwd=tmp_path, env=variables)
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
            (["--device", "cpu"], "--device must be 'cuda' or 'cuda:N' for backend 'cuda', got"),
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
        done = command.gtn_label(*where, cwd=tmp_path, env=variables)
        assert done.returncode == 2
        message = r"error: not enough memory: device 0 needs at least \d+ bytes for this input"
        assert re.match(message, command.one_line(done.stderr))

    def test_continues_a_run_of_the_cpu(self, tmp_path):
        np.save(tmp_path / "latents.npy", gaussian(4000, 16))
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

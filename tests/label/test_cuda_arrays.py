"""Arrays on emulated devices (a build with GTN_CUDA=EMULATED), on their way to the engine.

What the engine is handed, how the DLPack protocol is kept, and what is refused. What comes back is
in test_cuda.py.
"""

from __future__ import annotations

import ctypes
import gc
import re

import numpy as np
import pytest

import gtn_label
from cuda_cases import LATENTS, LAYOUTS, SOURCES, bfloat16_of, float32_of, gaussian
from device_double import BFLOAT16, CUDA_MANAGED, EMULATED, DeviceArray
from gtn_label import _core
from gtn_label.arrays import convert, on_gpu

pytestmark = pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")


def read(array: DeviceArray) -> np.ndarray:
    """The fields that the engine gets of an array on a device."""
    gpu = on_gpu.Gpu(f"cuda:{array.device}", array)
    return _core.read_rows(gpu.as_rows(array, "latents").rows)


DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


class TestConversion:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_gives_the_rows_that_numpy_would(self, layout, dtype):
        value = LAYOUTS[layout]((gaussian(70, 5) * 40 + 60).clip(0, 120).astype(dtype))
        expected = convert.as_rows(value, "latents").rows
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
        message = r"^cuda:0 is out of memory: a converted copy of latents needs 2880 bytes"
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
        value = Owner(LATENTS, kind=1)
        with pytest.raises(TypeError, match=message):
            gtn_label.match(value)
        gc.collect()
        assert value.returned == 1


class TestRefusals:
    """As of arrays in CPU memory, in their words."""

    def refused(self, error, message, latents=LATENTS, sources=None, **options):
        with pytest.raises(error, match=message) as caught:
            gtn_label.match(latents, sources, backend="cuda", **options)
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
            ((6,), r"2-D .*got 1-D shape \(6,\): rows of one value have"),
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
        message = "^sources must not exceed the 90 latents, got 120 sources"
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
        gpu = on_gpu.Gpu("cuda:0")
        rows = gpu.as_rows(DeviceArray(LATENTS), "latents").rows
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

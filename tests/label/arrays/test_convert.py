"""Reading array-likes: every layout and dtype gives the rows NumPy would, copied only if needed.

Here: gtn_label.arrays.convert on its own. test_matching.py has match() on such rows, test_errors.py
what match() refuses.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from gtn_label import match
from gtn_label.arrays import convert, to_caller
from gtn_label.arrays.convert import read_only
from gtn_label.arrays.to_caller import GivenTensor


def rows_f32(n: int = 7, dim: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, dim)).astype(np.float32)


def unaligned(rows: np.ndarray) -> np.ndarray:
    raw = np.zeros(rows.nbytes + 1, dtype=np.uint8)
    shifted = raw[1:].view(rows.dtype).reshape(rows.shape)
    shifted[:] = rows
    assert rows.itemsize == 1 or not shifted.flags.aligned
    return shifted


LAYOUTS = {
    "as it is": lambda rows: rows,
    "Fortran order": np.asfortranarray,
    "every other row": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "every third column": lambda rows: np.repeat(rows, 3, axis=1)[:, ::3],
    "negative strides": lambda rows: np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1],
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda rows: rows.astype(rows.dtype.newbyteorder(">")),
    "matrix subclass": lambda rows: rows.view(np.matrix),
    "masked array without masks": np.ma.asarray,
    "nested lists": lambda rows: rows.tolist(),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8, np.uint32])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows(layout, dtype):
    expected = (rows_f32() * 10).clip(0, 100).astype(dtype)
    before = expected.copy()
    read = convert.as_rows(LAYOUTS[layout](expected), "latents")
    assert type(read.rows) is np.ndarray
    assert read.rows.flags.c_contiguous
    assert read.rows.flags.aligned
    assert read.rows.dtype.isnative
    np.testing.assert_array_equal(read.rows, expected)
    np.testing.assert_array_equal(to_caller.given(read).array(), expected)
    np.testing.assert_array_equal(expected, before)


@pytest.mark.parametrize(
    ("given", "engine"),
    [
        ("f2", np.float32),
        ("f4", np.float32),
        ("f8", np.float64),
        (">f2", np.float32),
        (">f4", np.float32),
        (">f8", np.float64),
        ("i1", np.float64),
        ("u1", np.float64),
        ("<i4", np.float64),
        (">i8", np.float64),
        ("u8", np.float64),
    ],
)
def test_dtypes_are_widened_and_kept_as_given(given, engine):
    value = np.arange(12).reshape(4, 3).astype(given)
    read = convert.as_rows(value, "latents")
    assert read.rows.dtype == engine
    assert read.rows.dtype.isnative
    assert to_caller.given(read).array().dtype == value.dtype


def test_float16_is_widened_exactly_over_its_whole_range():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape(-1, 8)
    np.testing.assert_array_equal(convert.as_rows(every, "latents").rows, every.astype(np.float64))


def test_signaling_nan_gives_no_warning():
    value = np.array([[0x7C01]], dtype=np.uint16).view(np.float16)
    assert np.isnan(convert.as_rows(value, "latents").rows).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 5), (7, 1), (1, 5)])
def test_usable_rows_are_not_copied(dtype, shape):
    value = np.ones(shape, dtype=dtype)
    read = convert.as_rows(value, "latents")
    assert np.shares_memory(read.rows, value)
    assert np.shares_memory(to_caller.given(read).array(), value)


def test_memory_map_is_not_copied(tmp_path):
    np.save(tmp_path / "latents.npy", rows_f32())
    mapped = np.load(tmp_path / "latents.npy", mmap_mode="r")
    read = convert.as_rows(mapped, "latents")
    assert np.shares_memory(read.rows, mapped)
    assert np.shares_memory(to_caller.given(read).array(), mapped)


def test_given_is_read_only_and_the_callers_array_stays_writable():
    value = rows_f32()
    read = convert.as_rows(value, "latents")
    assert not to_caller.given(read).array().flags.writeable
    assert value.flags.writeable


def test_dlpack_object_without_array_protocol():
    class Exported:
        def __init__(self, array):
            self._array = array

        def __dlpack__(self, **options):
            return self._array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self._array.__dlpack_device__()

    value = rows_f32()
    read = convert.as_rows(Exported(value), "latents")
    np.testing.assert_array_equal(read.rows, value)
    assert np.shares_memory(read.rows, value)


def test_dlpack_on_another_device_is_refused():
    class OnGpu:
        def __dlpack__(self, **options):
            raise AssertionError("must not be asked")

        def __dlpack_device__(self):
            return (2, 0)

    with pytest.raises(ValueError, match=r"sources must be in CPU memory, got OnGpu .*\(2, 0\)"):
        convert.as_rows(OnGpu(), "sources")


def test_dlpack_of_a_dtype_numpy_lacks_is_refused():
    class Odd:
        def __dlpack__(self, **options):
            raise BufferError("no such dtype")

        def __dlpack_device__(self):
            return (1, 0)

    with pytest.raises(TypeError, match="latents must be readable through __dlpack__, got Odd"):
        convert.as_rows(Odd(), "latents")


class TestTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    @pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int16", "uint8", "int64"])
    def test_dtypes_numpy_has_share_memory(self, dtype):
        tensor = self.torch.arange(12).reshape(4, 3).to(getattr(self.torch, dtype))
        read = convert.as_rows(tensor, "latents")
        assert to_caller.given(read).array().dtype == np.dtype(dtype)
        assert to_caller.given(read).array().ctypes.data == tensor.data_ptr()
        np.testing.assert_array_equal(read.rows, np.arange(12).reshape(4, 3))
        assert read.given.data_ptr() == tensor.data_ptr()

    def test_bfloat16_is_widened_exactly(self):
        tensor = self.torch.from_numpy(rows_f32()).bfloat16()
        read = convert.as_rows(tensor, "latents")
        assert read.rows.dtype == np.float32
        assert self.torch.equal(self.torch.from_numpy(read.rows).bfloat16(), tensor)
        assert read.given.dtype == self.torch.bfloat16

    def test_requires_grad(self):
        tensor = self.torch.ones(3, 2, requires_grad=True)
        read = convert.as_rows(tensor, "latents")
        assert not read.given.requires_grad
        assert tensor.requires_grad

    def test_layouts(self):
        rows = self.torch.from_numpy(rows_f32())
        for tensor in (
            rows.T.contiguous().T,
            rows.repeat(2, 2)[::2, ::3],
            rows[:, :1].expand(7, 4),
        ):
            assert not tensor.is_contiguous()
            np.testing.assert_array_equal(
                convert.as_rows(tensor, "latents").rows, tensor.contiguous().numpy()
            )

    def test_lazily_negated_view(self):
        tensor = self.torch.complex(self.torch.zeros(2, 2), self.torch.ones(2, 2)).conj().imag
        assert tensor.is_neg()
        np.testing.assert_array_equal(convert.as_rows(tensor, "latents").rows, -np.ones((2, 2)))

    @pytest.mark.parametrize("dtype", ["complex64", "bool"])
    def test_other_dtypes_are_refused(self, dtype):
        tensor = self.torch.ones(2, 2).to(getattr(self.torch, dtype))
        with pytest.raises(TypeError, match=f"latents must have dtype float16.*got .*{dtype}"):
            convert.as_rows(tensor, "latents")

    def test_meta_is_refused(self):
        tensor = self.torch.ones(2, 2, device="meta")
        message = "^latents must hold values, got a tensor on meta; make it on a device"
        with pytest.raises(ValueError, match=message):
            convert.as_rows(tensor, "latents")

    def test_sparse_is_refused(self):
        tensor = self.torch.eye(3).to_sparse()
        with pytest.raises(TypeError, match=r"latents must be a dense tensor.*latents\.to_dense"):
            convert.as_rows(tensor, "latents")

    def test_results_are_copied_to_native_order(self):
        source = np.arange(3, dtype=">i8")
        source.flags.writeable = False
        tensor = GivenTensor(self.torch.zeros(1)).like(source)
        assert tensor.tolist() == [0, 1, 2]
        tensor[0] = 9
        assert source[0] == 0


class TestColumn:
    @pytest.mark.parametrize("shape", [(4,), (4, 1)])
    def test_shape_is_kept_as_given(self, shape):
        read = convert.as_column(np.arange(4).reshape(shape), "latents")
        assert read.given.shape == shape
        assert read.rows.shape == (4,)
        assert read.rows.dtype == np.float64

    @pytest.mark.parametrize("shape", [(4, 2), (1, 4), (2, 2, 1), ()])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(
            ValueError, match=r"latents must be one column, shape \[n\] or \[n, 1\]"
        ):
            convert.as_column(np.zeros(shape), "latents")

    @pytest.mark.parametrize("shape", [(0,), (0, 1)])
    def test_empty_is_refused(self, shape):
        with pytest.raises(ValueError, match="latents must have at least one row"):
            convert.as_column(np.zeros(shape), "latents")


class TestLabels:
    @pytest.mark.parametrize(
        "labels", [[3, -1, 3], (0, 1, 2), np.array([1, 2, 3], ">u2"), np.arange(6)[::2]]
    )
    def test_integers_become_int64(self, labels):
        read = convert.as_labels(labels, "source_groups", 3, "sources")
        assert read.dtype == np.int64
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, np.asarray(labels).astype(np.int64))

    def test_torch_tensor(self):
        torch = pytest.importorskip("torch")
        read = convert.as_labels(torch.tensor([1, 2]), "source_groups", 2, "sources")
        assert read.tolist() == [1, 2]


class TestSha256:
    def test_is_header_and_bytes(self):
        rows = rows_f32(3, 2)
        expected = hashlib.sha256(b"<f4 3 2\n" + rows.tobytes()).hexdigest()
        assert convert.sha256(rows) == expected

    @pytest.mark.parametrize("layout", ["Fortran order", "every other row", "big-endian"])
    def test_ignores_layout_and_byte_order(self, layout):
        rows = rows_f32()
        assert convert.sha256(LAYOUTS[layout](rows)) == convert.sha256(rows)

    def test_tells_shape_dtype_and_values_apart(self):
        rows = rows_f32(6, 2)
        changed = rows.copy()
        changed[5, 1] = np.nextafter(changed[5, 1], np.float32(9))
        variants = [rows, rows.reshape(3, 4), rows.view(np.int32), rows.reshape(-1), changed]
        assert len({convert.sha256(variant) for variant in variants}) == len(variants)


def test_refuse_non_finite_counts_rows_and_names_five():
    rows = np.zeros((9, 2))
    rows[2:9, 0] = np.inf
    rows[3, 1] = np.nan
    message = r"latents must be finite.*in 7 of 9 rows: rows 2, 3, 4, 5, 6, \.\.\.$"
    with pytest.raises(ValueError, match=message):
        convert.refuse_non_finite(rows, "latents")
    convert.refuse_non_finite(np.zeros((2, 2)), "latents")
    with pytest.raises(ValueError, match=r"sources must be finite.*in 1 of 3 rows: row 1$"):
        convert.refuse_non_finite(np.array([0.0, -np.inf, 1.0]), "sources")


def test_memory_that_runs_out_names_the_argument():
    rows = np.broadcast_to(np.ones((1, 8), np.float32), (10**12, 8))
    with pytest.raises(
        MemoryError, match=r"^latents: shape \(1000000000000, 8\) needs 32,000,000,"
    ):
        match(rows)
    with pytest.raises(MemoryError, match=r"^sources: shape"):
        match(np.eye(8), rows)

"""What is no array of rows is refused with the way to make one; match() is asked, as users do."""

from __future__ import annotations

import sys
import types
from collections import UserDict

import numpy as np
import pytest

import gtn_label


def refused(value: object, message: str, kind: type[Exception] = TypeError) -> None:
    with pytest.raises(kind, match=message) as caught:
        gtn_label.match(value)
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


class Items:
    """Rows one by one, as a data set of torch's has them."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.ones(3), index


class DataLoader:
    def __iter__(self):
        yield np.ones(3)


def of_library(name: str, **content: object) -> object:
    """Make an object whose class lives in a library that need not be installed."""
    return type("Made", (), {"__module__": name, **content})()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got None; pass a NumPy array"),
        ({"z": np.ones((3, 2))}, r"got dict with the keys 'z'; pass latents\[key\]"),
        ({}, r"got dict with the keys \(none\)"),
        (UserDict({"z": 1}), "got collections.UserDict with the keys 'z'"),
        ({1.0, 2.0}, "got set; a set has no order of rows"),
        (iter([[1.0, 2.0]]), r"got list_iterator; pass numpy\.stack\(list\(latents\)\)"),
        ((row for row in [[1.0]]), "got generator; pass numpy.stack"),
        (map(float, "12"), "got map; pass numpy.stack"),
        (Items(), r"got .*Items; pass numpy\.stack\(\[latents\[i\] for i in range"),
        (DataLoader(), r"got .*DataLoader; pass numpy\.concatenate\(\[batch"),
        (of_library("datasets.arrow_dataset"), r"with_format\('numpy'\)\['column'\]"),
        (of_library("polars.lazy", collect=None), r"pass latents\.collect\(\)"),
        (type("Column", (), {"__module__": "datasets.d"})(), r"numpy\.asarray\(latents\[:\]\)"),
        (object(), "got object; pass a NumPy array"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_objects(value, message):
    refused(value, f"^latents must be an array, .*{message}")


def frame(library: str, array: np.ndarray) -> object:
    return of_library(f"{library}.core", __array__=lambda self, dtype=None, copy=None: array)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (frame("pandas", np.array([[1, None]], object)), r"latents\.to_numpy\(dtype='float32'\)"),
        (frame("polars", np.array([[1, "a"]], object)), r"latents\.to_numpy\(\) of numeric"),
        (
            frame("pandas", np.array([[1.0], [2.0, 3.0]], object)),
            r"its entries are lists: pass numpy\.stack\(list\(latents\)\)",
        ),
        (np.full((3, 2), 1.0, object), r"is float; .* pass latents\.astype\('float64'\)"),
        ([[None, 1.0]], r"is None; .* pass numpy\.asarray\(latents\)\.astype"),
        (np.ones((3, 2), complex), r"numpy\.hstack\(\[latents\.real, latents\.imag\]\)"),
        (np.zeros((3, 2), "datetime64[s]"), r"latents\.astype\('int64'\)"),
        (np.ones((3, 2), bool), r"latents\.astype\('float32'\)"),
    ],
)
def test_dtypes(value, message):
    refused(value, f"^latents must have dtype float16.*{message}")


def test_long_values_are_shortened():
    with pytest.raises(ValueError, match=r"^order must be") as caught:
        gtn_label.match(np.ones((2, 2)), order=np.arange(10**6))
    assert len(str(caught.value)) < 500
    refused("x" * 10**7, "^latents must be an array, got str 'xxx.* characters")


class TestTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    @pytest.mark.filterwarnings("ignore")
    def test_nested(self):
        rows = [self.torch.ones(2), self.torch.ones(2)]
        refused(self.torch.nested.nested_tensor(rows), "got a nested tensor; pass torch.cat")

    def test_fake(self):
        fake = pytest.importorskip("torch._subclasses.fake_tensor")
        with fake.FakeTensorMode():
            refused(self.torch.ones(3, 2), "got a fake tensor; make it on a device", ValueError)

    def test_inside_a_transform(self):
        def call(tensor):
            refused(tensor, r"got Tensor: .*; call this function outside torch\.func")
            return tensor

        self.torch.func.vmap(call)(self.torch.ones(3, 2, 2))

    @pytest.mark.filterwarnings("ignore")
    def test_quantized(self):
        if "fbgemm" not in self.torch.backends.quantized.supported_engines:
            pytest.skip("this torch quantizes nothing")
        tensor = self.torch.quantize_per_tensor(self.torch.ones(3, 2), 0.1, 0, self.torch.qint8)
        refused(tensor, r"got a quantized one of torch\.qint8; pass latents\.dequantize\(\)")

    def test_a_list_of_tensors_that_numpy_cannot_read(self):
        rows = [self.torch.ones(2, requires_grad=True)] * 2
        refused(rows, r"; pass torch\.stack\(latents\)$", ValueError)

    def test_a_data_set(self):
        data = self.torch.utils.data.TensorDataset(self.torch.ones(3, 2))
        refused(data, r"TensorDataset; pass numpy\.stack")
        refused(self.torch.utils.data.DataLoader(data), r"DataLoader; pass numpy\.concatenate")


def test_torch_is_not_imported_for_a_message(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    refused([np.ones(2), np.ones(3)], "^latents must be a rectangular array", ValueError)
    assert not isinstance(sys.modules.get("torch"), types.ModuleType)


def test_a_tracer_of_jax():
    def fail(self, dtype=None, copy=None):
        raise TypeError("called on a traced array")

    tracer = type("DynamicJaxprTracer", (), {"__array__": fail})()
    refused(tracer, r"^latents must hold values, got a tracer .* outside jax\.jit", ValueError)


@pytest.mark.parametrize("name", ["index", "parameters"])
def test_a_null_character_in_an_index(name):
    options = {"index": "Flat", name: "Flat\0"}
    with pytest.raises(ValueError, match=rf"^{name} must have no null character, got 'Flat\\x00'$"):
        gtn_label.match_approx(np.ones((3, 2)), **options)

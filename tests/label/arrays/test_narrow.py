"""Narrow floats: their bits become float32 as ml_dtypes and torch say, without either package."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import gtn_label
from gtn_label import Matching
from gtn_label.arrays import convert, narrow, to_caller
from gtn_label.io import files

NAMES = ["bfloat16", *narrow._FORMATS]


def every_value(name: str) -> np.ndarray:
    bits = narrow.bits_dtype(name)
    return np.arange(1 << 8 * bits.itemsize).astype(bits)


def double(name: str, n: int = 12, dim: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of ml_dtypes, and the same as float32."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    drawn = 1 + np.random.default_rng(3).random((n, dim)).astype(np.float32)
    rows = drawn.astype(getattr(ml_dtypes, name))
    return rows, rows.astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_that_of_ml_dtypes(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = every_value(name)
    width = {"float6": 64, "float4": 16}.get(name.partition("_")[0], len(bits))
    bits = bits[:width]
    theirs = bits.view(getattr(ml_dtypes, name)).astype(np.float32)
    ours = narrow.widen(bits, name)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        np.signbit(ours)[~np.isnan(ours)], np.signbit(theirs)[~np.isnan(theirs)]
    )


@pytest.mark.parametrize("name", narrow.STORED.values())
def test_every_value_is_that_of_torch(name):
    torch = pytest.importorskip("torch")
    bits = every_value(name)
    if not hasattr(torch, name):
        pytest.skip(f"this torch has no {name}")
    held = torch.from_numpy(bits.view(np.int16 if bits.itemsize == 2 else np.uint8).copy())
    theirs = held.view(getattr(torch, name)).float().numpy()
    np.testing.assert_array_equal(narrow.widen(bits, name), theirs)


@pytest.mark.parametrize("name", NAMES)
def test_match_reads_them_and_labels_keep_them(name):
    rows, wide = double(name)
    found, known = gtn_label.match(rows), gtn_label.match(wide)
    np.testing.assert_array_equal(found.assignment, known.assignment)
    np.testing.assert_array_equal(found.cosine, known.cosine)
    _, labels = found.pairs()
    assert labels.dtype == rows.dtype
    np.testing.assert_array_equal(labels.astype(np.float32), wide[known.assignment])
    # Hashed as float32, as those of torch always were.
    assert found.meta["latents_sha256"] == convert.sha256(wide)
    assert found.meta["dtypes"] == {"labels": name}


@pytest.mark.parametrize("name", ["int4", "uint4", "int2"])
def test_small_integers_are_integers(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rows = np.array([[1, 0], [0, 1], [1, 1]], np.int8)
    found = gtn_label.match(rows.astype(getattr(ml_dtypes, name)))
    known = gtn_label.match(rows.astype("uint8" if name[0] == "u" else "int8"))
    np.testing.assert_array_equal(found.assignment, known.assignment)
    assert found.meta == known.meta
    assert found.pairs()[1].dtype == np.dtype(getattr(ml_dtypes, name))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_torch_float8(name):
    torch = pytest.importorskip("torch")
    tensor = (1 + torch.arange(12.0).reshape(4, 3)).to(getattr(torch, name))
    found, known = gtn_label.match(tensor), gtn_label.match(tensor.float())
    assert torch.equal(found.assignment, known.assignment)
    labels = found.pairs()[1]
    assert labels.dtype == tensor.dtype
    assert torch.equal(labels.float(), known.pairs()[1])


@pytest.mark.parametrize("kind", ["ml_dtypes", "torch"])
@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn"])
def test_safetensors_keeps_them(tmp_path, kind, name):
    rows, wide = double(name)
    latents = rows
    if kind == "torch":
        torch = pytest.importorskip("torch")
        latents = torch.from_numpy(wide).to(getattr(torch, name))
    m = gtn_label.match(latents, latents)
    path = tmp_path / "pairs.safetensors"
    m.save(path)
    safetensors_torch = pytest.importorskip("safetensors.torch")
    assert str(safetensors_torch.load_file(path)["labels"].dtype) == f"torch.{name}"
    back = Matching.load(path)
    assert back.sources.dtype == back.pairs()[1].dtype == rows.dtype
    np.testing.assert_array_equal(back.pairs()[1].astype(np.float32), wide[back.assignment])
    assert back.meta == m.meta
    assert back.meta["dtypes"] == {"sources": name, "labels": name}
    back.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_without_ml_dtypes_the_file_stays_as_it_is(tmp_path, monkeypatch):
    rows, wide = double("bfloat16")
    path, again = tmp_path / "pairs.safetensors", tmp_path / "again.safetensors"
    gtn_label.match(rows).save(path)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    back = Matching.load(path)
    assert back.pairs()[1].dtype == np.float32
    np.testing.assert_array_equal(back.pairs()[1], wide[back.assignment])
    back.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_npz_holds_float32_and_says_what_it_was(tmp_path):
    rows, wide = double("bfloat16")
    gtn_label.match(rows).save(tmp_path / "pairs.npz")
    back = Matching.load(tmp_path / "pairs.npz")
    np.testing.assert_array_equal(back.pairs()[1], wide[back.assignment])
    assert back.pairs()[1].dtype == np.float32
    assert back.meta["dtypes"] == {"labels": "bfloat16"}


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_a_type_fit_it_and_others_do_not(name):
    _, wide = double(name)
    assert narrow.fits(wide, name).all()
    assert not narrow.fits(np.nextafter(wide, np.float32(np.inf)), name).any()


def test_a_file_of_another_narrow_type_than_its_meta_names(tmp_path):
    rows, _ = double("bfloat16")
    path = tmp_path / "x.safetensors"
    gtn_label.match(rows).save(path)
    arrays, meta, _ = files.open_pairs(path, (), None)
    files.write_pairs(path, arrays, {**meta, "dtypes": {"labels": "float8_e5m2"}})
    with pytest.raises(ValueError, match="dtype float8_e5m2 of 'labels', which is bfloat16"):
        Matching.load(path)


def test_raw_bytes_are_refused_with_advice():
    message = r"^latents must have dtype float16.*got \|V2; .*latents\.view\(ml_dtypes\.bfloat16\)"
    with pytest.raises(TypeError, match=message):
        gtn_label.match(np.zeros((3, 2), "V2"))


def test_an_array_that_dlpack_cannot_lend_is_read_through_numpy():
    """As JAX's arrays of bfloat16 are."""
    rows, wide = double("bfloat16")

    class Like:
        def __dlpack__(self, **options):
            raise BufferError("no such dtype")

        def __dlpack_device__(self):
            return (1, 0)

        def __array__(self, dtype=None, copy=None):
            return rows

    read = convert.as_rows(Like(), "latents")
    np.testing.assert_array_equal(read.rows, wide)
    assert to_caller.given(read).whole.dtype == rows.dtype

"""Images in memory: their checks, parts of them, and the two ways between bytes and models."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from gtn_label.arrays import convert
from gtn_train.data import Images, to_bytes, to_model


def pixels(n: int = 10, shape: tuple[int, ...] = (1, 4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def images(n: int = 10) -> Images:
    return Images("made up", pixels(n), np.arange(n) % 3, ("a", "b", "c"))


def test_every_byte_comes_back() -> None:
    every = np.arange(256, dtype=np.uint8)
    seen = to_model(every)
    assert seen.dtype == torch.float32
    np.testing.assert_allclose(seen, every.astype(float) / 127.5 - 1, atol=1e-7)
    assert to_bytes(seen).dtype == torch.uint8
    np.testing.assert_array_equal(to_bytes(seen), every)


def test_values_of_a_model_are_rounded_and_clamped() -> None:
    values = torch.tensor([-7.0, -1.0, -1 + 0.6 / 127.5, -1 + 1.4 / 127.5, 1.0, 1.2])
    assert to_bytes(values).tolist() == [0, 0, 1, 1, 255, 255]
    assert to_bytes(values.bfloat16())[[0, 4]].tolist() == [0, 255]
    assert values[0] == -7  # unchanged
    assert to_bytes(torch.zeros(1, requires_grad=True)).tolist() == [128]


def test_read_only_and_strided_bytes_are_taken(tmp_path) -> None:
    np.save(tmp_path / "x.npy", pixels())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    wanted = to_model(pixels())
    assert torch.equal(to_model(mapped), wanted)
    turned = np.ascontiguousarray(pixels().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    seen = to_model(turned)
    assert torch.equal(seen, wanted)
    assert seen.is_contiguous()
    assert torch.equal(to_model(torch.from_numpy(turned)), wanted)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(TypeError, match="images must be a uint8 ndarray or tensor, got ndarray of"):
        to_model(np.zeros(3))
    with pytest.raises(TypeError, match=r"images must be a uint8.*got Tensor of dtype torch.float"):
        to_model(torch.zeros(3))
    with pytest.raises(TypeError, match=r"images must be a floating-point tensor, got Tensor of"):
        to_bytes(torch.zeros(3, dtype=torch.uint8))
    bad = torch.zeros(4, 2)
    bad[1, 1] = torch.nan
    bad[3, 0] = torch.inf
    with pytest.raises(ValueError, match=r"images must be finite, but .* in rows 1, 3$"):
        to_bytes(bad)


def test_properties() -> None:
    made = images()
    assert (made.n, made.shape) == (10, (1, 4, 5))
    assert made.sha256 == convert.sha256(pixels())
    assert made.sha256 != images(9).sha256


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((pixels().astype(float),), TypeError, "images must be a uint8 ndarray, got ndarray of"),
        (([[1]],), TypeError, "images must be a uint8 ndarray, got list"),
        ((pixels()[:, 0],), ValueError, r"images must be \[n, c, h, w\].*got shape \(10, 4, 5\)"),
        ((pixels()[:0],), ValueError, r"each at least 1, got shape \(0, 1, 4, 5\)"),
        ((pixels(), np.zeros(10)), TypeError, "labels must be an int64 ndarray, got .* float64"),
        ((pixels(), np.zeros(9, int)), ValueError, r"labels must have shape \(10,\), got \(9,\)"),
        ((pixels(), np.full(10, 2), ("a", "b")), ValueError, r"labels must be in \[0, 2\).*2 to 2"),
        ((pixels(), None, ("a",)), ValueError, "classes need labels"),
    ],
)
def test_bad_sets_are_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        Images("bad", *arguments)


def test_subset() -> None:
    part = images().subset([7, 0, 7])
    np.testing.assert_array_equal(part.images, pixels()[[7, 0, 7]])
    np.testing.assert_array_equal(part.labels, [1, 0, 1])
    assert part.classes == ("a", "b", "c")
    for bad, error, message in [
        ([], ValueError, "indices must be 1-D and at least one"),
        ([[0]], ValueError, r"got shape \(1, 1\)"),
        ([0.0], TypeError, "indices must be integers, got dtype float64"),
        ([True], TypeError, "indices must be integers, got dtype bool"),
        ([-1], ValueError, r"indices must be in \[0, 10\).*got -1 to -1"),
        ([3, 10], ValueError, "got 3 to 10"),
    ]:
        with pytest.raises(error, match=message):
            images().subset(bad)


def test_split_is_a_partition_and_a_function_of_the_seed() -> None:
    whole = Images("numbered", np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1))
    train, validation = whole.split(0.2, seed=3)
    assert (train.n, validation.n) == (80, 20)
    rows = [part.images.ravel() for part in (train, validation)]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(100))
    assert all((np.diff(part.astype(int)) > 0).all() for part in rows)
    np.testing.assert_array_equal(whole.split(0.2, seed=3)[1].images.ravel(), rows[1])
    assert not np.array_equal(whole.split(0.2, seed=4)[1].images.ravel(), rows[1])
    # At least one on either side.
    assert [part.n for part in images(2).split(0.01, 0)] == [1, 1]
    assert [part.n for part in images(2).split(0.99, 0)] == [1, 1]


def test_bad_splits_are_refused() -> None:
    for share in (0, 1, -0.5, float("nan")):
        message = re.escape(f"share must be between 0 and 1, got {share}")
        with pytest.raises(ValueError, match=message):
            images().split(share, 0)
    with pytest.raises(TypeError, match=r"share must be a float, got str '0\.1'"):
        images().split("0.1", 0)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        images().split(0.1, -1)
    with pytest.raises(ValueError, match="a split needs at least 2 images, got 1"):
        images(1).split(0.5, 0)

"""Sets by name, on small files of their formats made here."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gtn_train.data import SETS, open_images
from gtn_train.data.sets import NoTestSplit
from gtn_train.data.vision import torchvision

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = (np.arange(7) % 10).astype(np.uint8)
PLACES = [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]


def idx(array: np.ndarray) -> bytes:
    """The bytes of an array of uint8 in the format of MNIST's files."""
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_idx(folder: Path, prefix: str = "train", suffix: str = "", n: int = 7) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3", DIGITS[:n]), ("labels-idx1", LABELS[:n])):
        content = idx(array)
        path = folder / f"{prefix}-{name}-ubyte{suffix}"
        path.write_bytes(gzip.compress(content) if suffix else content)


# ----------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("imagenet", {}, ValueError, "name must be one of mnist, .*, array, got 'imagenet'"),
        ("mnist", {"split": "valid"}, ValueError, "split must be 'train' or 'test', got 'valid'"),
        ("mnist", {"size": 32}, ValueError, "size has no meaning for 'mnist', got 32"),
        ("array", {"channels": 3}, ValueError, "channels has no meaning for 'array', got 3"),
        ("mnist", {"key": "a"}, ValueError, "key has no meaning for 'mnist', got 'a'"),
        ("folder", {}, ValueError, "size is needed for 'folder'"),
        ("folder", {"size": 3}, ValueError, "size must be >= 4, got 3"),
        ("folder", {"size": 8.0}, TypeError, r"size must be an int, got float 8\.0"),
        ("folder", {"size": 8, "channels": 4}, ValueError, "channels must be 1 or 3, got 4"),
        ("folder", {"size": 8, "split": "test"}, ValueError, "split must be 'train' for 'folder'"),
        ("array", {"split": "test"}, ValueError, "split must be 'train' for 'array' in"),
        ("celeba", {"split": "test"}, ValueError, "split must be 'train' for 'celeba' in"),
    ],
)
def test_bad_arguments(tmp_path, name, options, error, message) -> None:
    with pytest.raises(error, match=message):
        open_images(name, tmp_path, **options)


@pytest.mark.parametrize("name", SETS)
def test_a_missing_set_says_where_it_was_looked_for(tmp_path, name) -> None:
    options = {"size": 8} if name == "folder" else {}
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "data"))):
        open_images(name, tmp_path / "data", **options)


# ----------------------------------------------------------------------------------------- IDX


@pytest.mark.parametrize(("name", "folder"), PLACES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inside", [True, False], ids=["torchvision's layout", "files in root"])
def test_idx(tmp_path, name, folder, suffix, inside) -> None:
    where = tmp_path / folder / "raw" if inside else tmp_path
    write_idx(where, "train", suffix)
    write_idx(where, "t10k", suffix, n=4)
    train = open_images(name, tmp_path)
    np.testing.assert_array_equal(train.images, DIGITS[:, None])
    np.testing.assert_array_equal(train.labels, LABELS)
    assert (train.name, len(train.classes)) == (name, 10)
    assert open_images(name, tmp_path, split="test").n == 4
    assert sorted(tmp_path.rglob("*ubyte*")) == sorted(where.iterdir())  # nothing was unpacked


def test_missing_idx_files_are_named(tmp_path) -> None:
    write_idx(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"mnist needs train-images-idx3-ubyte and train-labels-idx1-ubyte, or both with "
        r"\.gz: looked in '.*MNIST/raw' and '.*'; nothing is downloaded",
    ):
        open_images("mnist", tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", idx(DIGITS)[:-1], idx(DIGITS) + b"\0", idx(LABELS), b"<html></html>" * 9],
    ids=["empty", "one byte", "truncated", "too long", "labels", "text"],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files_are_named(tmp_path, content, suffix) -> None:
    write_idx(tmp_path, suffix=suffix)
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(ValueError, match=rf"images-idx3-ubyte{suffix}' is truncated or not an IDX"):
        open_images("mnist", tmp_path)


def test_damaged_gz_files_are_named(tmp_path) -> None:
    write_idx(tmp_path, suffix=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], b"plain", whole[:middle] + b"damage" + whole[middle + 6 :]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"ubyte\.gz' is truncated or not an IDX file: \w"):
            open_images("mnist", tmp_path)


def test_images_and_labels_that_do_not_go_together(tmp_path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:5]))
    with pytest.raises(ValueError, match=r"must go together, and hold 7 images and 5 labels"):
        open_images("mnist", tmp_path)


# ------------------------------------------------------------------------------------ CIFAR-10


@pytest.fixture
def cifar10(tmp_path, monkeypatch) -> tuple[Path, np.ndarray]:
    """Batches of 2 images in CIFAR-10's format, whose MD5 torchvision then wants."""
    kind = torchvision.datasets.CIFAR10
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    pixels = RNG.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)

    def write(name: str, content: dict) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5(pickle.dumps(content)).hexdigest()]

    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    batches = []
    for number, name in enumerate(names):
        rows = pixels[2 * number : 2 * number + 2].reshape(2, -1)
        batches.append(write(name, {"data": rows, "labels": [number, 9 - number]}))
    meta = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(kind, "train_list", batches[:5])
    monkeypatch.setattr(kind, "test_list", batches[5:])
    monkeypatch.setattr(kind, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return tmp_path, pixels


def test_cifar10(cifar10) -> None:
    root, pixels = cifar10
    train = open_images("cifar10", root)
    np.testing.assert_array_equal(train.images, pixels[:10])
    assert train.images.flags.c_contiguous
    assert train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert train.classes == tuple("abcdefghij")
    np.testing.assert_array_equal(open_images("cifar10", root, split="test").images, pixels[10:])


def test_cifar10_that_is_incomplete_or_another(cifar10) -> None:
    root, _ = cifar10
    batch = root / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes() + b"\0")  # never unpickled
    with pytest.raises(ValueError, match=r"data_batch_3' is damaged or another file .* MD5 must"):
        open_images("cifar10", root)
    batch.unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"cifar10 needs data_batch_1, .* in '.*cifar-10-batches-py', where data_batch_3 is",
    ):
        open_images("cifar10", root)


def test_cifar10_jpeg(tmp_path) -> None:
    arrays: dict[str, np.ndarray] = {"classes": np.array(["cat", "dog"])}
    for split, n in (("train", 5), ("test", 3)):
        files = []
        for number in range(n):
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (20 * number, 100, 200)).save(file, "JPEG", quality=95)
            files.append(file.getvalue())
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{split}_offset"] = np.cumsum([0, *map(len, files)])
        arrays[f"{split}_label"] = np.arange(n, dtype=np.uint8) % 2
    path = tmp_path / "cifar.npz"
    np.savez(path, **arrays)
    train = open_images("cifar10-jpeg", path)
    assert (train.n, train.shape, train.classes) == (5, (3, 32, 32), ("cat", "dog"))
    assert train.labels.tolist() == [0, 1, 0, 1, 0]
    wanted = np.stack([20 * np.arange(5), np.full(5, 100), np.full(5, 200)], axis=1)
    assert np.abs(train.images - wanted[:, :, None, None]).max() <= 3
    assert open_images("cifar10-jpeg", path, split="test").n == 3

    damaged = arrays["train_jpeg"].copy()
    begin, end = arrays["train_offset"][2:4]
    damaged[begin + 10 : end] = 0
    np.savez(path, **{**arrays, "train_jpeg": damaged})
    with pytest.raises(ValueError, match=r"image 2 of 'train_jpeg' of '.*cifar.npz' is truncated"):
        open_images("cifar10-jpeg", path)
    for offset in (arrays["train_offset"][:-1], arrays["train_offset"] + 1):
        np.savez(path, **{**arrays, "train_offset": offset})
        with pytest.raises(ValueError, match=r"'train_offset' of '.*' must hold 6 ascending"):
            open_images("cifar10-jpeg", path)
    odd_text = np.frombuffer(np.uint32([2**31, 65]).tobytes(), "<U1")
    for name, rows, rule in (
        ("train_jpeg", damaged[None], "must be 1-D and of bytes"),
        ("train_offset", arrays["train_offset"].astype(str), "must be 1-D and of integers"),
        ("train_label", np.array(3), "must be 1-D and of integers"),
        ("train_label", arrays["train_label"] + 1, "must hold numbers of its 2 classes"),
        ("classes", np.arange(2), "must be 1-D and of text"),
        ("classes", odd_text, "must hold text"),
    ):
        np.savez(path, **{**arrays, name: rows})
        with pytest.raises(ValueError, match=rf"'{name}' of '.*cifar\.npz' {rule}"):
            open_images("cifar10-jpeg", path)
    np.savez(path, train_jpeg=damaged)
    with pytest.raises(ValueError, match="'train_offset' is not in root"):
        open_images("cifar10-jpeg", path)


# -------------------------------------------------------------------------------- CelebA, arrays


def test_celeba_in_torchvisions_layout(tmp_path, monkeypatch) -> None:
    kind = torchvision.datasets.CelebA
    base = tmp_path / "celeba"
    (base / "img_align_celeba").mkdir(parents=True)
    names = [f"{number:06}.jpg" for number in range(6)]
    for number, name in enumerate(names):
        Image.new("RGB", (178, 218), (40 * number, 0, 0)).save(base / "img_align_celeba" / name)
    rows = {
        "list_eval_partition.txt": [f"{name} {number // 2}" for number, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} 1" for name in names],
        "list_bbox_celeba.txt": ["6", "image x y", *(f"{name} 1 2" for name in names)],
        "list_landmarks_align_celeba.txt": ["6", "x y", *(f"{name} 1 2" for name in names)],
        "list_attr_celeba.txt": ["6", "Hat Smile", *(f"{name} -1 1" for name in names)],
    }
    for name, lines in rows.items():
        (base / name).write_text("\n".join(lines) + "\n")
    md5 = {name: hashlib.md5((base / name).read_bytes()).hexdigest() for name in rows}
    listed = [("", md5.get(name), name) for _, _, name in kind.file_list]
    with pytest.raises(ValueError, match=r"list_\w+\.txt' is damaged or another file"):
        open_images("celeba", tmp_path)
    monkeypatch.setattr(kind, "file_list", listed)
    for split, reds in (("train", (0, 40)), ("test", (160, 200))):
        images = open_images("celeba", tmp_path, split=split)
        assert (images.n, images.shape, images.labels) == (2, (3, 64, 64), None)
        assert np.abs(images.images[:, 0, 0, 0].astype(int) - reds).max() <= 3
    (base / "identity_CelebA.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"celeba needs .*identity_CelebA\.txt is missing"):
        open_images("celeba", tmp_path)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((5, 8, 9), (1, 8, 9)),
        ((5, 8, 9, 3), (3, 8, 9)),
        ((5, 8, 9, 1), (1, 8, 9)),
        ((5, 3, 8, 9), (3, 8, 9)),
        ((5, 1, 8, 9), (1, 8, 9)),
    ],
)
def test_array(tmp_path, shape, wanted) -> None:
    values = RNG.integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "faces.npy", values)
    images = open_images("array", tmp_path / "faces.npy")
    assert (images.name, images.shape, images.n) == ("faces", wanted, 5)
    if shape[-1] == 3:
        values = values.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(images.images, values.reshape(5, *wanted))


def test_one_array_of_several(tmp_path) -> None:
    values = RNG.integers(0, 256, (5, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", a=values, b=255 - values)
    images = open_images("array", tmp_path / "faces.npz", key="b")
    np.testing.assert_array_equal(images.images[:, 0], 255 - values)
    with pytest.raises(ValueError, match="key is needed"):
        open_images("array", tmp_path / "faces.npz")


def test_some_images_are_kept_for_tests(tmp_path) -> None:
    values = RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "faces.npy", values)
    (tmp_path / "files").mkdir()
    for number, image in enumerate(values):
        folder = tmp_path / "files" / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02}.png")
    given = {"size": 8, "channels": 1}
    for name, root, more in (("array", "faces.npy", {}), ("folder", "files", given)):
        both = [
            open_images(name, tmp_path / root, split=split, test_share=0.2, **more)
            for split in ("train", "test")
        ]
        assert [part.n for part in both] == [32, 8]
        rows = np.concatenate([part.images[:, 0] for part in both])
        assert {row.tobytes() for row in rows} == {row.tobytes() for row in values}
        assert name == "array" or both[1].classes == ("a", "b")
    folder = tmp_path / "files"
    for part, split in zip(both, ("train", "test"), strict=True):
        again = open_images("folder", folder, split=split, test_share=0.2, **given)
        np.testing.assert_array_equal(again.labels, part.labels)
        means = {values[n].tobytes(): n % 2 for n in range(40)}
        assert [means[image.tobytes()] for image in part.images] == part.labels.tolist()
    np.save(tmp_path / "few.npy", values[:9])
    assert open_images("array", tmp_path / "few.npy", test_share=0.2).n == 9
    with pytest.raises(NoTestSplit, match="has too few images to keep some for tests"):
        open_images("array", tmp_path / "few.npy", split="test", test_share=0.2)
    with pytest.raises(ValueError, match=r"test_share must be between 0 and 1, got 1\.0"):
        open_images("array", tmp_path / "faces.npy", test_share=1.0)
    with pytest.raises(ValueError, match=r"test_share has no meaning for 'mnist', got 0\.1"):
        open_images("mnist", tmp_path, test_share=0.1)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((5, 8, 8)), TypeError, "must hold uint8, and holds float64"),
        (np.zeros((5, 8), np.uint8), ValueError, r"its shape is \(5, 8\)"),
        (np.zeros((5, 8, 8, 2), np.uint8), ValueError, r"its shape is \(5, 8, 8, 2\)"),
        (np.zeros((5, 3, 8, 3), np.uint8), ValueError, "its shape .* fits both"),
        (np.zeros((0, 8, 8), np.uint8), ValueError, r"holds no image: its shape is \(0, 8, 8\)"),
        (np.array([[{}]]), TypeError, "Python objects"),
    ],
)
def test_bad_arrays(tmp_path, value, error, message) -> None:
    np.save(tmp_path / "a.npy", value)
    with pytest.raises(error, match=message):
        open_images("array", tmp_path / "a.npy")

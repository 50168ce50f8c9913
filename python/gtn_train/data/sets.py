"""Sets of images by name, from files that are already on the disk.

Each set has a name, places where its files are looked for, and the papers' preprocessing.
torchvision reads its own formats. Nothing is downloaded. Not here: decoding image files
(folder.py).

torchvision unpickles the batches of CIFAR-10, and does so only if their MD5 is the published one.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.checks import as_integer
from gtn_label.io.files import read_array
from gtn_label.text import quoted

from ..files import brief
from ..seeds import random_numbers
from .folder import Cache, Decoding, Encoded, class_of_each, decode, decode_files, list_images
from .images import Images
from .vision import torchvision

__all__ = ["SETS", "NoTestSplit", "open_images"]

CELEBA_CROP, CELEBA_SIZE = 148, 64  # the authors' preprocessing
SPLITS = ("train", "test")
LEAST_SPLIT = 10  # images that are divided


class NoTestSplit(ValueError):
    """The set has no test split, as no folder of images has by itself."""


@dataclass(frozen=True)
class _Request:
    """A checked request; `size` and `channels` are None if not given."""

    name: str
    root: Path
    split: str
    size: int | None
    channels: int | None
    test_share: float | None
    key: str | None
    cache: str | os.PathLike[str] | Cache | None
    progress: bool


def open_images(
    name: str,
    root: str | os.PathLike[str],
    *,
    split: str = "train",
    size: int | None = None,
    channels: int | None = None,
    test_share: float | None = None,
    key: str | None = None,
    cache: str | os.PathLike[str] | Cache | None = None,
    progress: bool = False,
) -> Images:
    """Open a set of images.

    Parameters
    ----------
    name : str
        - "mnist", "fashion-mnist": the four IDX files, or their .gz, in ROOT/MNIST/raw or
          ROOT/FashionMNIST/raw (torchvision's layout), or in ROOT itself. [n, 1, 28, 28]
        - "cifar10": torchvision's files, in ROOT/cifar-10-batches-py. [n, 3, 32, 32]
        - "cifar10-jpeg": ROOT is an .npz of JPEG files: `train_jpeg` and `test_jpeg` (uint8, all
          files one after another), `*_offset` (their n + 1 bounds), `*_label` and `classes`.
          [n, 3, 32, 32]
        - "celeba": torchvision's layout in ROOT/celeba, or ROOT is a folder of the aligned images
          (which has no test split); centre crop 148, resized to `size`, 64 by default.
        - "folder": all images in ROOT and its subfolders, which are the classes if all images lie
          in them. The shorter side is resized to `size`, and the centre kept.
        - "array": ROOT is a .npy, .npz, .safetensors or .pt of uint8, [n, h, w], [n, h, w, c] or
          [n, c, h, w], c = 1 or 3.
    root : path
        Place of the files.
    split : {"train", "test"}
        "folder" and "array" have no test split without a `test_share`.
    size : int, optional
        Height and width of the images, for "celeba" and "folder" (which needs it); >= 4.
    channels : {1, 3}, optional
        For "celeba" and "folder": 3 (RGB, the default) or 1 (grey).
    test_share : float, optional
        Share of the images that make the test split of "folder", "array" and a "celeba" of images
        alone; between 0 and 1. The choice is always the same. Fewer than 10 images are not split.
    key : str, optional
        For "array": name of the array, in a file with several.
    cache : path or folder.Cache, optional
        A folder in which decoded images of "celeba" and "folder" are kept; they are then
        memory-mapped. Other sets need none.
    progress : bool
        Show a bar on stderr while images are decoded.

    Raises
    ------
    FileNotFoundError
        If the set is not there: the message says which files were looked for, and where.
    TypeError, ValueError
        If an argument is unknown, missing or has no meaning for this set, or a file is damaged.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "faces.npy"
    >>> np.save(file, np.zeros((10, 8, 8), np.uint8))
    >>> open_images("array", file).shape
    (1, 8, 8)
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}, got {name!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if name not in ("celeba", "folder"):
        for option, value in (("size", size), ("channels", channels)):
            if value is not None:
                raise ValueError(f"{option} has no meaning for '{name}', got {value!r}")
    if key is not None and name != "array":
        raise ValueError(f"key has no meaning for '{name}', got {key!r}")
    if size is not None:
        size = as_integer(size, "size", 4)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    if test_share is not None:
        if name not in ("celeba", "folder", "array"):
            raise ValueError(f"test_share has no meaning for '{name}', got {test_share!r}")
        if not 0 < test_share < 1:
            raise ValueError(f"test_share must be between 0 and 1, got {test_share!r}")
    asked = _Request(name, Path(root), split, size, channels, test_share, key, cache, progress)
    return SETS[name](asked)


# --------------------------------------------------------------------------------- IDX, CIFAR-10


def _open_idx(request: _Request, kind: Any) -> Images:
    """Open MNIST or a set of its format; `kind` is torchvision's class."""
    prefix = "train" if request.split == "train" else "t10k"
    names = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
    folders = [request.root / kind.__name__ / "raw", request.root]
    for folder in folders:
        paths = [_plain_or_gz(folder / name) for name in names]
        if all(path is not None for path in paths):
            break
    else:
        raise FileNotFoundError(
            f"{request.name} needs {' and '.join(names)}, or both with .gz: looked in "
            f"{' and '.join(repr(str(folder)) for folder in folders)}; nothing is downloaded"
        )
    mnist = torchvision.datasets.mnist
    images = _read_idx(paths[0], mnist.read_image_file)
    labels = _read_idx(paths[1], mnist.read_label_file)
    if len(images) != len(labels):
        raise ValueError(
            f"{quoted(paths[0])} and {quoted(paths[1])} must go together, and hold {len(images)} "
            f"images and {len(labels)} labels"
        )
    return Images(request.name, images[:, None], labels, tuple(kind.classes))


def _plain_or_gz(path: Path) -> Path | None:
    return next((file for file in (path, Path(f"{path}.gz")) if file.is_file()), None)


def _read_idx(path: Any, read: Callable[[str], Any]) -> npt.NDArray[Any]:
    """Read a file by torchvision, which takes no .gz."""
    try:
        if path.suffix != ".gz":
            return np.asarray(read(str(path)).numpy())
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder, path.stem)
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            return np.asarray(read(str(plain)).numpy())
    # Damaged bytes raise any of these in torchvision or gzip; an OSError of the disk has a number.
    except (ArithmeticError, AssertionError, EOFError, LookupError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _damaged(path, error) from None
    except (RuntimeError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{quoted(path)} is truncated or not an IDX file: {brief(error)}")


def _open_cifar10(request: _Request) -> Images:
    kind = torchvision.datasets.CIFAR10
    files = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    _check_published(request, kind, request.root / kind.base_folder, files)
    data = kind(request.root, train=request.split == "train", download=False)
    pixels = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    return Images(request.name, pixels, np.array(data.targets, np.int64), tuple(data.classes))


def _check_published(request: _Request, kind: Any, folder: Path, files: list[Any]) -> None:
    """Find out whether the files of a set are there and have the MD5 that torchvision wants."""
    missing = [name for name, _ in files if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{request.name} needs {', '.join(name for name, _ in files)} in {quoted(folder)}, "
            f"where {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; nothing "
            "is downloaded"
        )
    for name, md5 in files:
        if not torchvision.datasets.utils.check_integrity(str(folder / name), md5):
            raise ValueError(
                f"{quoted(folder / name)} is damaged or another file than torchvision's "
                f"{kind.__name__}: its MD5 must be {md5}"
            )


def _open_cifar10_jpeg(request: _Request) -> Images:
    path, split = request.root, request.split
    jpeg = _row_of(path, f"{split}_jpeg", "u")
    offset, label = (_row_of(path, f"{split}_{part}", "iu") for part in ("offset", "label"))
    classes = _row_of(path, "classes", "SU")
    n = len(label)
    bounds = np.concatenate([[0], offset, [len(jpeg)]])
    if offset.shape != (n + 1,) or (np.diff(bounds) < 0).any():
        raise ValueError(
            f"array '{split}_offset' of {quoted(path)} must hold {n + 1} ascending bounds, one "
            f"more than there are labels, within the {len(jpeg)} bytes of '{split}_jpeg'"
        )
    if n and not 0 <= label.min() <= label.max() < len(classes):
        raise ValueError(
            f"array '{split}_label' of {quoted(path)} must hold numbers of its {len(classes)} "
            f"classes, and holds {label.min()} to {label.max()}"
        )
    try:
        names = tuple(str(name) for name in classes)
    except SystemError:  # NumPy's, for numbers that are no characters
        raise ValueError(
            f"array 'classes' of {quoted(path)} must hold text, and does not"
        ) from None
    encoded = Encoded(
        n,
        lambda row: BytesIO(jpeg[offset[row] : offset[row + 1]].tobytes()),
        lambda row: f"image {row} of '{split}_jpeg' of {quoted(path)}",
    )
    pixels = decode(encoded, Decoding(32), request.progress)
    return Images(request.name, pixels, label.astype(np.int64), names)


def _row_of(path: Path, key: str, kinds: str) -> npt.NDArray[Any]:
    """Read an array that must have one dimension, and one of NumPy's kinds of dtype."""
    row = read_array(path, key, name="root")
    if row.ndim != 1 or row.dtype.kind not in kinds:
        raise ValueError(
            f"array '{key}' of {quoted(path)} must be 1-D and {_KINDS[kinds]}, and is "
            f"{row.dtype} of shape {row.shape}"
        )
    return row


_KINDS = {"u": "of bytes", "iu": "of integers", "SU": "of text"}


# ------------------------------------------------------------------------------ folders, arrays


def _open_celeba(request: _Request) -> Images:
    decoding = Decoding(request.size or CELEBA_SIZE, CELEBA_CROP, request.channels or 3)
    kind = torchvision.datasets.CelebA
    base = request.root / kind.base_folder
    if base.is_dir():
        folder = base / "img_align_celeba"
        texts = [(name, md5) for _, md5, name in kind.file_list if name.endswith(".txt")]
        _check_published(request, kind, base, texts)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"celeba needs the folder {quoted(folder)}, which does not exist"
            )
        files = list(kind(request.root, request.split, target_type=[], download=False).filename)
    else:
        folder = request.root
        _refuse_missing_split(request)
        files = list_images(folder)
        files = [files[row] for row in _rows_of_split(request, len(files))]
    pixels = decode_files(folder, files, decoding, request.cache, request.progress)
    return Images(request.name, pixels)


def _open_folder(request: _Request) -> Images:
    if request.size is None:
        raise ValueError("size is needed for 'folder': height and width of the images, such as 64")
    _refuse_missing_split(request)
    decoding = Decoding(request.size, channels=request.channels or 3)
    files = list_images(request.root)
    labels, classes = class_of_each(files)
    rows = _rows_of_split(request, len(files))
    files = [files[row] for row in rows]
    labels = None if labels is None else labels[rows]
    pixels = decode_files(request.root, files, decoding, request.cache, request.progress)
    return Images(request.root.resolve().name, pixels, labels, classes)


def _open_array(request: _Request) -> Images:
    _refuse_missing_split(request)
    pixels = read_array(request.root, request.key, name="root")
    shown = f"root {quoted(request.root)}"
    if pixels.dtype != np.uint8:
        raise TypeError(f"{shown} must hold uint8, and holds {pixels.dtype}")
    shape = pixels.shape
    if len(shape) == 3:
        pixels = pixels[:, None]
    elif len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
        pixels = pixels.transpose(0, 3, 1, 2)
    elif not (len(shape) == 4 and shape[1] in (1, 3)):
        raise ValueError(
            f"{shown} must be [n, h, w], [n, h, w, c] or [n, c, h, w] with c 1 or 3, and its shape "
            f"is {shape}"
        )
    elif shape[3] in (1, 3):
        raise ValueError(
            f"{shown} may be [n, h, w, c] or [n, c, h, w], as its shape {shape} fits both"
        )
    if 0 in shape:
        raise ValueError(f"{shown} holds no image: its shape is {shape}")
    rows = _rows_of_split(request, len(pixels))
    return Images(request.root.stem, pixels if len(rows) == len(pixels) else pixels[rows])


def _rows_of_split(request: _Request, n: int) -> npt.NDArray[np.int64]:
    """Choose the images of a split, in their order: all of them if none are kept for tests."""
    share = request.test_share
    if share is None:
        return np.arange(n)
    if n < LEAST_SPLIT:
        if request.split == "test":
            raise NoTestSplit(f"{quoted(request.root)} has too few images to keep some for tests")
        return np.arange(n)
    held = min(max(1, round(n * share)), n - 1)
    order = random_numbers(0, "test images").permutation(n)  # the same test images for every seed
    return np.sort(order[:held] if request.split == "test" else order[held:])


def _refuse_missing_split(request: _Request) -> None:
    if request.split != "train" and request.test_share is None:
        raise NoTestSplit(
            f"split must be 'train' for '{request.name}' in {quoted(request.root)}, which has no "
            f"other, got {request.split!r}; open the test images as a set of their own"
        )


SETS: dict[str, Callable[[_Request], Images]] = {
    "mnist": lambda request: _open_idx(request, torchvision.datasets.MNIST),
    "fashion-mnist": lambda request: _open_idx(request, torchvision.datasets.FashionMNIST),
    "cifar10": _open_cifar10,
    "cifar10-jpeg": _open_cifar10_jpeg,
    "celeba": _open_celeba,
    "folder": _open_folder,
    "array": _open_array,
}

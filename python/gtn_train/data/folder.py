"""Image files, decoded in threads into one uint8 array, which a cache can keep.

Pillow decodes, and torchvision's transforms crop and resize; both leave the interpreter to other
threads. Every file becomes 8-bit RGB or grey: 16-bit values are scaled, palettes looked up,
transparent pixels turn white, and EXIF orientation is applied. An error names the damaged file.
Not here: the files that make up a set (sets.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageOps

from gtn_label.io.atomic import atomic_file
from gtn_label.io.files import read_array
from gtn_label.text import quoted
from gtn_label.threads import default_threads

from ..files import brief
from ..progress import progress_bar
from .vision import torchvision

__all__ = ["Decoding", "Encoded", "class_of_each", "decode", "decode_files", "list_images"]

SUFFIXES = tuple(torchvision.datasets.folder.IMG_EXTENSIONS)
_BLOCK = 32  # images a task: large against a task's cost, small against a second
_AHEAD = 4  # tasks a thread that may wait for an earlier one

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoding:
    """The way from a file to pixels.

    Attributes
    ----------
    size : int
        Height and width: the shorter side is resized to it, and the centre kept.
    crop : int or None
        Side of the centre square that is cut out first.
    channels : int
        3 (RGB) or 1 (grey).
    """

    size: int
    crop: int | None = None
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        return self.channels, self.size, self.size

    def transform(self) -> Callable[[Image.Image], Image.Image]:
        """Build the crop and the resize."""
        v2 = torchvision.transforms.v2
        steps = [] if self.crop is None else [v2.CenterCrop(self.crop)]
        resize = v2.Resize(self.size, antialias=True)
        return v2.Compose([*steps, resize, v2.CenterCrop(self.size)])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Encoded:
    """Image files, in a folder or elsewhere.

    Attributes
    ----------
    n : int
        Number of files.
    open : callable
        Opens the i-th for reading.
    shown : callable
        Names the i-th in messages.
    """

    n: int
    open: Callable[[int], BinaryIO]
    shown: Callable[[int], str]


def list_images(root: Path) -> list[str]:
    """List the image files in a folder and its subfolders, as sorted paths relative to it.

    Links to folders are not followed; names that start with a dot are left out.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist, or holds no image.
    NotADirectoryError
        If it is no folder.
    OSError
        If a folder in it cannot be read.
    """
    if not root.exists():
        raise FileNotFoundError(
            f"root {quoted(root)} does not exist, and must be a folder of images"
        )
    if not root.is_dir():
        raise NotADirectoryError(
            f"root must be a folder of images, and {quoted(root)} is not a folder"
        )
    found, others = [], 0
    for folder, _, names in os.walk(root, onerror=_raise):
        for name in names:
            if name.startswith("."):
                continue
            if name.lower().endswith(SUFFIXES):
                found.append(Path(folder, name).relative_to(root).as_posix())
            else:
                others += 1
    if not found:
        raise FileNotFoundError(
            f"root {quoted(root)} holds no image: looked there and in its subfolders for files "
            f"that end in {', '.join(SUFFIXES)}, and found {others} other files"
        )
    return sorted(found)


def class_of_each(
    files: Sequence[str],
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]] | tuple[None, None]:
    """Take the first folder of each path as its class, if all have one and there are at least two.

    Returns
    -------
    labels : ndarray int64 [n] or None
    classes : tuple of str or None
        Sorted.
    """
    folders = [name.split("/")[0] for name in files if "/" in name]
    classes = tuple(sorted(set(folders)))
    if len(folders) < len(files) or len(classes) < 2:
        return None, None
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[name] for name in folders], np.int64), classes


def decode(encoded: Encoded, decoding: Decoding, progress: bool = False) -> Pixels:
    """Decode images into memory.

    Returns
    -------
    ndarray uint8 [n, c, size, size]

    Raises
    ------
    ValueError
        If one cannot be decoded; its name is in the message.
    OSError
        If one cannot be read.
    """
    pixels: Pixels = np.empty((encoded.n, *decoding.shape), np.uint8)
    begin = 0
    with contextlib.closing(_blocks(encoded, decoding, progress)) as blocks:
        for block in blocks:
            pixels[begin : begin + len(block)] = block
            begin += len(block)
    return pixels


@dataclass(frozen=True)
class Cache:
    """A folder of decoded images that other processes may want too.

    Attributes
    ----------
    folder : path
    before : callable
        Called with the path of a missing file of decoded images, before they are decoded.
    """

    folder: Path
    before: Callable[[Path], None]


def decode_files(
    root: Path,
    files: Sequence[str],
    decoding: Decoding,
    cache: str | os.PathLike[str] | Cache | None = None,
    progress: bool = False,
) -> Pixels:
    """Decode files of a folder, or map what an earlier call left in the cache.

    Parameters
    ----------
    root : Path
        The folder.
    files : sequence of str
        Paths relative to it.
    decoding : Decoding
    cache : path, Cache or None
        A folder, made if need be. The array is kept there under a name made from the list of
        files, their sizes and times of change, `decoding` and Pillow's version.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    ndarray uint8 [n, c, size, size]
        A read-only memory map if it is cached.

    Raises
    ------
    ValueError
        If a file cannot be decoded, or the cached array is not the one expected.
    OSError
        If a file cannot be read, or the cache not written. Nothing half-written is left.
    """
    paths = [root / name for name in files]
    encoded = Encoded(len(paths), lambda row: paths[row].open("rb"), lambda row: quoted(paths[row]))
    if cache is None:
        return decode(encoded, decoding, progress)
    folder = cache.folder if isinstance(cache, Cache) else Path(cache)
    target = folder / f"images-{_key(root, files, decoding)[:32]}.npy"
    shape = (encoded.n, *decoding.shape)
    if not target.exists():
        if isinstance(cache, Cache):
            cache.before(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        with (
            atomic_file(target) as file,
            contextlib.closing(_blocks(encoded, decoding, progress)) as blocks,
        ):
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(block.data)
    pixels = read_array(target, name="cached images")
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise ValueError(
            f"cached images {quoted(target)} must be uint8 of shape {shape}, and are "
            f"{pixels.dtype} of shape {pixels.shape}; remove the file to have it made again"
        )
    return pixels


def _key(root: Path, files: Sequence[str], decoding: Decoding) -> str:
    digest = hashlib.sha256(json.dumps([PIL.__version__, asdict(decoding)]).encode())
    for name in files:
        status = (root / name).stat()
        digest.update(json.dumps([name, status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()


def _blocks(encoded: Encoded, decoding: Decoding, progress: bool) -> Generator[Pixels, None, None]:
    """Yield the decoded images in order, a few at a time, while threads decode the next ones.

    A closed or interrupted generator lets each thread finish the one image it is at.
    """
    transform = decoding.transform()
    stopped = threading.Event()

    def block(begin: int) -> Pixels:
        rows = range(begin, min(begin + _BLOCK, encoded.n))
        pixels: Pixels = np.empty((len(rows), *decoding.shape), np.uint8)
        for place, row in enumerate(rows):
            if stopped.is_set():
                raise CancelledError
            pixels[place] = _decode_one(encoded, row, decoding, transform)
        return pixels

    begins = iter(range(0, encoded.n, _BLOCK))
    threads = default_threads()
    with (
        ThreadPoolExecutor(threads) as pool,
        progress_bar(progress, total=encoded.n, unit=" images", desc="decoding") as bar,
    ):
        waiting: deque[Future[Pixels]] = deque()
        try:
            for begin in itertools.islice(begins, _AHEAD * threads):
                waiting.append(pool.submit(block, begin))
            while waiting:
                rows = waiting.popleft().result()  # of the first begun, so errors come in order
                waiting.extend(pool.submit(block, begin) for begin in itertools.islice(begins, 1))
                bar.update(len(rows))
                yield rows
        finally:
            stopped.set()
            for task in waiting:
                task.cancel()


def _decode_one(
    encoded: Encoded,
    row: int,
    decoding: Decoding,
    transform: Callable[[Image.Image], Image.Image],
) -> Pixels:
    try:
        with encoded.open(row) as file, Image.open(file) as image:
            image.load()  # all of it: a truncated file is found here
            whole = _eight_bits(ImageOps.exif_transpose(image), decoding.channels)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise exceptions of any class
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's error, which names the file
        raise ValueError(
            f"{encoded.shown(row)} is truncated or not an image that can be read: {brief(error)}"
        ) from None
    if decoding.crop is not None and min(whole.size) < decoding.crop:
        width, height = whole.size
        raise ValueError(
            f"{encoded.shown(row)} must be at least {decoding.crop} × {decoding.crop} pixels for "
            f"the centre crop, and is {width} × {height}"
        )
    pixels = np.asarray(transform(whole))
    return pixels[None] if decoding.channels == 1 else pixels.transpose(2, 0, 1)


def _eight_bits(image: Image.Image, channels: int) -> Image.Image:
    """Give any image as RGB or grey."""
    if image.mode == "I" or image.mode.startswith("I;16"):  # PNG, TIFF and PGM of 16 bits
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values, {values.min()} to {values.max()}, are beyond 16 bits")
        image = Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its values are floating-point, whose white is not known")
    elif image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return image.convert("RGB" if channels == 3 else "L")


def _raise(error: Any) -> None:
    raise error

"""gtn-train in this process, as main() runs it, and the tiny data it is given."""

from __future__ import annotations

import gzip
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gtn_train.cli.main import main

COMMAND = [sys.executable, "-m", "gtn_train"]
AUTOENCODER = ("--autoencoder-epochs", 1, "--latent-dim", 3)
IMAGE_RUN = (*AUTOENCODER, "--generator-epochs", 2)
VECTOR_RUN = (
    *("--labeling", "algorithm1", "--batch-norm-layers", 2, "--generator-epochs", 3),
    *("--layers", 3, "--width", 8),
)


@dataclass(frozen=True)
class Done:
    """The end of a command: exit code and output."""

    code: int
    out: str
    err: str

    @property
    def stages(self):
        """The fate of each stage, from the lines about it: made, reused, continued or anew."""
        found = {}
        for line in self.err.splitlines():
            _, name, what = line.split(": ", 2)
            if name in ("run", "warning") or " an epoch, up to " in what:  # a training's plan
                continue
            word = {"complete, reused": "reused"}.get(what, "made")
            if what.startswith("rebuilt"):
                word = "anew"
            if what.startswith("continued"):
                word = "continued"
            found.setdefault(name, word)
        return found


class Runner:
    """Runs gtn-train in this process, with the terminal's streams captured."""

    def __init__(self, capfd):
        self._capfd = capfd

    def __call__(self, *args):
        self._capfd.readouterr()
        code = None
        try:
            main([str(arg) for arg in args])
        except SystemExit as left:
            code = left.code
        out, err = self._capfd.readouterr()
        return Done(code, out, err)

    def ok(self, *args):
        done = self(*args)
        assert done.code == 0, done.err
        return done

    def refused(self, *args, code=2):
        """The one line that says why."""
        done = self(*args)
        assert done.code == code, (done.out, done.err)
        assert done.out == ""
        *lines, last = done.err.splitlines()
        assert all(": error: " not in line for line in lines)
        assert "Traceback" not in done.err
        assert last.startswith("gtn-train: error: ")
        return last.removeprefix("gtn-train: error: ")


def write_mnist(root, n=60, seed=0, test=30, size=8):
    """MNIST's files with smaller images, the test images with .gz."""
    raw = Path(root) / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for prefix, count in (("train", n), ("t10k", test)):
        labels = np.arange(count) % 10
        pixels = rng.integers(0, 60, (count, size, size), dtype=np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[label % size, 1 + label // 2 :] = rng.integers(100, 256)
        images = struct.pack(">iiii", 2051, count, size, size) + pixels.tobytes()
        of_labels = struct.pack(">ii", 2049, count) + labels.astype(np.uint8).tobytes()
        for name, content in (("images-idx3", images), ("labels-idx1", of_labels)):
            path = raw / f"{prefix}-{name}-ubyte"
            if prefix == "train":
                path.write_bytes(content)
            else:
                Path(f"{path}.gz").write_bytes(gzip.compress(content))
    return Path(root)


def write_folder(root, n=24, seed=0):
    """PNGs in two subfolders."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        folder = Path(root) / ("cats", "dogs")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return Path(root)


def write_vectors(path, n=80, dim=3, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    np.save(path, rows * np.arange(1, dim + 1, dtype=np.float32) + 1)
    return Path(path)


def files(folder):
    """Every file below a folder by its path, with its bytes."""
    folder = Path(folder)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

"""Make examples/latents.npy: PCA codes of the 10,000 Fashion-MNIST test images.

This script reads one gzipped IDX file of images, projects the images on their leading
principal components and writes the codes, float32 [n, dim], one row per image, in file order.
The codes are centred, as PCA codes are, and not standardised. It needs NumPy only.

Numeric facts: pixels are scaled to [0, 1]; mean, covariance and projection are float64; the sign
of a component makes its largest loading positive. LAPACK may round the last bits differently on
another machine, so a new file is close to the one in the tree (1e-4), not always identical to it.

Source and licence of the data: see examples/README.md.
"""

from __future__ import annotations

import argparse
import gzip
import os
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

IDX_UINT8_RANK_3 = 0x00000803  # magic number of an IDX file of unsigned bytes with three dimensions


def read_idx_images(path: Path) -> np.ndarray:
    """Read a gzipped IDX image file.

    Parameters
    ----------
    path
        The file, for example ``t10k-images-idx3-ubyte.gz``.

    Returns
    -------
    numpy.ndarray
        uint8 [n, rows * columns], one row per image.

    Raises
    ------
    OSError
        The file cannot be read or is not gzip.
    ValueError
        The file is not an IDX file of images, or its length does not fit its header.
    """
    with gzip.open(path, "rb") as file:
        content = file.read()
    if len(content) < 16:
        raise ValueError(f"{path}: {len(content)} bytes, an IDX image file has at least 16")
    magic, n, rows, columns = struct.unpack(">IIII", content[:16])
    if magic != IDX_UINT8_RANK_3:
        raise ValueError(f"{path}: magic number {magic:#010x}, must be {IDX_UINT8_RANK_3:#010x}")
    if len(content) - 16 != n * rows * columns:
        raise ValueError(
            f"{path}: the header promises {n} x {rows} x {columns} bytes of pixels, "
            f"the file has {len(content) - 16}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=16).reshape(n, rows * columns)


def pca_codes(images: np.ndarray, dim: int) -> tuple[np.ndarray, float]:
    """Project images on their leading principal components.

    Parameters
    ----------
    images
        uint8 [n, pixels].
    dim
        Number of components, 1 <= dim <= pixels.

    Returns
    -------
    codes : numpy.ndarray
        float32 [n, dim], columns in order of falling variance.
    explained : float
        Share of the images' variance that the codes keep.

    Raises
    ------
    ValueError
        ``dim`` is out of range.
    """
    pixels = images.shape[1]
    if not 1 <= dim <= pixels:
        raise ValueError(f"dim == {dim}, must be in 1..{pixels}")
    centred = images.astype(np.float64) / 255.0
    centred -= centred.mean(axis=0)
    variances, components = np.linalg.eigh(centred.T @ centred / len(centred))  # ascending
    leading = components[:, ::-1][:, :dim]
    largest = np.abs(leading).argmax(axis=0)
    leading = leading * np.sign(leading[largest, np.arange(dim)])
    explained = float(variances[::-1][:dim].sum() / variances.sum())
    return (centred @ leading).astype(np.float32), explained


def save_npy(path: Path, array: np.ndarray) -> None:
    """Write ``array`` to ``path`` in one step: a temporary file beside it, then a rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array, allow_pickle=False)
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main(arguments: list[str] | None = None) -> int:
    """Run the script; return its exit code (0 done, 2 wrong usage or input)."""
    parser = argparse.ArgumentParser(
        description="PCA codes of the images in a gzipped IDX file, as a float32 .npy file.",
        epilog="Debian's package dataset-fashion-mnist installs the file as "
        "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz.",
    )
    parser.add_argument("images", type=Path, help="gzipped IDX file of images")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).with_name("latents.npy"),
        help="file to write (default: latents.npy beside this script)",
    )
    parser.add_argument(
        "--dim", type=int, default=24, help="components to keep (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        images = read_idx_images(options.images)
        codes, explained = pca_codes(images, options.dim)
        save_npy(options.out, codes)
    except (OSError, EOFError, ValueError) as error:
        print(f"make_latents.py: {error}", file=sys.stderr)
        return 2
    print(
        f"{options.out}: {codes.shape[0]} x {codes.shape[1]} float32, "
        f"{100 * explained:.1f} % of the variance, {options.out.stat().st_size} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

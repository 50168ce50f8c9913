"""PCA codes of a set's images, training and test images together, as latents for drift_study.py.

They stand in for an autoencoder's codes where dimensions are many, and nothing must be trained. The
axes are those of the first 20,000 training images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_train.data import SET_NAMES, open_images

N_FITTED = 20_000


def main() -> None:
    """Write the codes, float32 [images, dim]."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--set", choices=[*SET_NAMES], required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder or file of the data")
    parser.add_argument("--dim", type=int, default=128, help="dimensions (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the .npy to write")
    asked = parser.parse_args()
    parts = [open_images(asked.set, asked.data, split=split).images for split in ("train", "test")]
    rows = np.concatenate([part.reshape(len(part), -1) for part in parts]).astype(np.float32) / 255
    codes, share = pca_codes(rows, asked.dim)
    np.save(asked.out, codes)
    print(f"{len(codes):,} codes, {share:.1%} of the variance")


def pca_codes(rows: npt.NDArray[Any], dim: int) -> tuple[npt.NDArray[Any], float]:
    """Project centred rows [n, pixels] on their first axes; give the share of the variance too."""
    rows = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(rows[:N_FITTED].astype(np.float64).T))
    kept = slice(-1, -dim - 1, -1)  # eigh has the smallest first
    return rows @ axes[:, kept].astype(np.float32), variances[kept].sum() / variances.sum()


if __name__ == "__main__":
    main()

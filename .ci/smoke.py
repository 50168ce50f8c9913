"""Run gtn-label on a file of latents and check the pairs it wrote, with NumPy alone.

Usage: smoke.py LATENTS [--out FILE | --pairs FILE]

--pairs checks a file written before and runs nothing. The check: every key is there, no latent is
taken twice, labels are the latents' rows bit for bit, cosines are those of the pairs, and each of
the first sources in the order of norms took its best latent still free. Used for wheels, so it
needs nothing but the installed package.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

CHECKED_GREEDILY = 200


def run(latents: Path, out: Path) -> None:
    """Run the installed command, not whatever else is on PATH."""
    command = Path(sysconfig.get_path("scripts")) / "gtn-label"
    subprocess.run([str(command), str(latents), "--out", str(out)], check=True)


def check(latents_file: Path, pairs_file: Path) -> str:
    """Check the pairs; return one line on them, raise AssertionError at the first fault."""
    latents = np.load(latents_file)
    with np.load(pairs_file, allow_pickle=False) as pairs:
        assert set(pairs.files) == {"sources", "labels", "assignment", "cosine", "meta"}
        sources, labels = pairs["sources"], pairs["labels"]
        assignment, cosine = pairs["assignment"], pairs["cosine"]
        meta = json.loads(str(pairs["meta"][()]))
    n = len(sources)
    assert sources.shape == labels.shape == latents[:n].shape
    assert assignment.dtype == np.int64
    assert assignment.shape == cosine.shape == (n,)
    assert len(np.unique(assignment)) == n, "a latent was taken twice"
    assert labels.tobytes() == latents[assignment].tobytes(), "labels are not the latents' rows"
    assert meta["version"], meta

    sources = sources.astype(np.float64)
    wide = latents.astype(np.float64)
    source_norms = np.linalg.norm(sources, axis=1)
    units = wide / np.linalg.norm(wide, axis=1)[:, None]
    expected = np.einsum("ij,ij->i", sources, units[assignment]) / source_norms
    assert np.allclose(cosine, expected, rtol=0, atol=1e-12), np.abs(cosine - expected).max()

    free = np.ones(len(wide), dtype=bool)
    for source in np.argsort(source_norms, kind="stable")[:CHECKED_GREEDILY]:
        scores = np.where(free, units @ sources[source], -np.inf)
        taken = assignment[source]
        # Sums in another order than the contract's: equal up to rounding is all this can ask.
        assert free[taken], f"source {source} took latent {taken}, which was not free"
        assert scores[taken] >= scores.max() - 1e-12, f"source {source} took a worse latent"
        free[taken] = False
    return f"{pairs_file}: {n} pairs checked, mean cosine {cosine.mean():.6f}"


def main() -> int:
    """Run and check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("latents", type=Path)
    parser.add_argument("--out", type=Path, help="where gtn-label writes (default: a temporary)")
    parser.add_argument("--pairs", type=Path, help="check this file and run nothing")
    options = parser.parse_args()
    if options.pairs is not None:
        print(check(options.latents, options.pairs))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder) / "pairs.npz"
        run(options.latents, out)
        print(check(options.latents, out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

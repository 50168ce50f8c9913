"""Label examples/latents.npy from Python, look at the pairs, save them.

The script loads latents, matches them, reads cosine and pairs, and saves. Nothing is trained here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from gtn_label import Matching, match

HERE = Path(__file__).parent


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("latents", type=Path, nargs="?", default=HERE / "latents.npy")
    parser.add_argument("--out", type=Path, help="file for the pairs (.npz)")
    options = parser.parse_args()

    latents = np.load(options.latents, mmap_mode="r")
    matching = match(latents, seed=0)

    sources, labels = matching.pairs()  # sources[i] is to be mapped to labels[i]
    assert np.array_equal(labels, latents[matching.assignment])
    assert len(np.unique(matching.assignment)) == len(sources)  # no latent is taken twice

    print(f"{len(sources)} pairs of dimension {sources.shape[1]}")
    print(f"mean cosine {matching.cosine.mean():.3f}, smallest {matching.cosine.min():.3f}")
    print(f"ran on: {matching.stats['instruction_set']}, {matching.stats['threads']} threads")

    if options.out is not None:
        matching.save(options.out)
        again = Matching.load(options.out)
        assert np.array_equal(again.assignment, matching.assignment)
        print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

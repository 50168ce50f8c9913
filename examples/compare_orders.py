"""Compares matching options on the same latents by cosine, norm and distance.

Prints one row per option: mean cosine of the pairs; Spearman correlation of the norms of sources
and labels; mean squared distance of the pairs after both sides are scaled to unit mean square.
None of the three predicts a generator's quality alone; they show the effect of the option.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from gtn_label import match

HERE = Path(__file__).parent
OPTIONS: dict[str, dict[str, Any]] = {
    "Algorithm 1": {},
    "cone of 4": {"cone": 4},
    "cone of 16": {"cone": 16},
    "descending norm": {"order": "norm_desc"},
}


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, 0 for the smallest; ``values`` [n]."""
    order = np.argsort(values, kind="stable")
    result = np.empty(len(values))
    result[order] = np.arange(len(values))
    return result


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("latents", type=Path, nargs="?", default=HERE / "latents.npy")
    options = parser.parse_args()
    latents = np.load(options.latents)
    latents = latents / np.sqrt(np.mean(latents**2))

    print(f"{'option':<18}{'mean cosine':>12}{'norm correlation':>18}{'squared distance':>18}")
    for name, keywords in OPTIONS.items():
        matching = match(latents, seed=0, **keywords)
        sources, labels = matching.pairs()
        norms = (np.linalg.norm(sources, axis=1), np.linalg.norm(labels, axis=1))
        correlation = np.corrcoef(ranks(norms[0]), ranks(norms[1]))[0, 1]
        distance = np.mean(np.sum((sources - labels) ** 2, axis=1))
        print(f"{name:<18}{matching.cosine.mean():>12.3f}{correlation:>18.3f}{distance:>18.2f}")


if __name__ == "__main__":
    main()

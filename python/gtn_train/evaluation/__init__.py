"""How good samples are: images by features of a network, latents by plain statistics.

- `extractors`: networks that give features: Inception, EfficientNet-Lite0, a user's own.
- `images`: FID and Inception Score, of samples and reconstructions, precision and recall.
- `neighbours`: the nearest training image of each sample: are samples copies?
- `latents`: norms, learnability, intrinsic dimension, energy distance, supports and coverage.
- `of_run`: all of that for one finished run.
- `metrics`: Inception Score or FID as what training stops by.

Importing this package imports none of them.
"""

from __future__ import annotations

__all__ = ["EXTRACTORS", "STOP_BY"]

EXTRACTORS = ("inception", "lite0", "none")  # by which a run can be measured
STOP_BY = ("loss", "IS", "FID", "IS-Lite0", "FD-Lite0")  # what a generator's training can go by

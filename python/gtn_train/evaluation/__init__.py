"""Evaluation of samples: images by features of a network, latents by plain statistics.

- `extractors`: networks that compute features: Inception, EfficientNet-Lite0, a user's own.
- `images`: FID, Inception Score, precision and recall of samples and reconstructions.
- `neighbours`: the nearest training row of each sample, to find copies.
- `latents`: norms, learnability, intrinsic dimension, energy distance, supports and coverage.
- `geometry`, `run_geometry`: bi-Lipschitz constant, orientation, MMD and Gromov-Wasserstein.
- `baselines`, `comparison`: simple models of the same latents, and the same figures for all.
- `evaluate_run`: all these figures for one finished run.
- `latent_metric`, `stop_metric`: energy distance of latents, Inception Score or FID, for early
  stopping.

Importing this package imports none of them. The measures of `geometry` are names of this package,
imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .geometry import bilipschitz, gromov_wasserstein, mmd, orientation

__all__ = [
    "EXTRACTORS",
    "OF_IMAGES",
    "STOP_BY",
    "bilipschitz",
    "gromov_wasserstein",
    "mmd",
    "orientation",
]

EXTRACTORS = ("inception", "lite0", "none")  # that can measure a run
OF_IMAGES = ("IS", "FID", "IS-Lite0", "FD-Lite0")  # figures that need decoded images
STOP_BY = ("energy", "loss", *OF_IMAGES)  # figures for early stopping

__getattr__, __dir__ = lazy_names(
    __name__,
    dict.fromkeys(("bilipschitz", "gromov_wasserstein", "mmd", "orientation"), "geometry"),
)

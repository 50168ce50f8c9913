"""Samples of a generator, interpolations between sources, and random walks of a VDAE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .interpolation import interpolate
    from .sample import generate_latents, sample_images, sample_latents
    from .walks import burst, mixing_steps, trajectory, walk

__all__ = [
    "burst",
    "generate_latents",
    "interpolate",
    "mixing_steps",
    "sample_images",
    "sample_latents",
    "trajectory",
    "walk",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "generate_latents": "sample",
        "interpolate": "interpolation",
        "sample_images": "sample",
        "sample_latents": "sample",
        **dict.fromkeys(("burst", "mixing_steps", "trajectory", "walk"), "walks"),
    },
)

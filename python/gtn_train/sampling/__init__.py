"""Samples of a generator, and interpolations between sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .interpolation import interpolate
    from .sample import generate_latents, sample_images, sample_latents

__all__ = ["generate_latents", "interpolate", "sample_images", "sample_latents"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "generate_latents": "sample",
        "interpolate": "interpolation",
        "sample_images": "sample",
        "sample_latents": "sample",
    },
)

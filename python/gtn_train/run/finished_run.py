"""FinishedRun: a run's folder, opened for sampling, interpolation, evaluation or the report.

Opening checks the manifests of all stages by their verdicts: a generator is refused with latents of
another autoencoder. Not here: building the stages (pipeline.py).
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label import Matching
from gtn_label.arrays import convert
from gtn_label.io.files import read_array
from gtn_label.text import quoted, visible

from ..data import Images, open_images
from ..files import brief
from ..models import registry
from ..pairs.classes import of_latents
from ..pairs.mixture import Mixture
from ..training.accelerator import device_of
from .held_out import HeldOut, hold_out
from .manifest import Manifest, StageSpec
from .settings import STAGES, RunSettings
from .store import RunFolder
from .verdict import verdict

__all__ = ["FinishedRun"]


class FinishedRun:
    """A run whose generator is trained.

    Parameters
    ----------
    out : path
        The run's folder.
    accelerator : {"auto", "cpu", "cuda", "mps"}
        Device of the models.

    Attributes
    ----------
    settings : RunSettings
    autoencoder : Autoencoder or None
    generator : Generator or Flow
    mixture : Mixture or None
        Distribution of the sources; None for N(0, I).

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.
    ValueError
        If a stage is missing or no longer valid, or the accelerator is not available.
    """

    def __init__(self, out: str | os.PathLike[str], *, accelerator: str = "auto") -> None:
        self.out = Path(out)
        self.settings = RunSettings.read(self.out)
        device = device_of(accelerator)
        self.autoencoder: Any = None
        made_by = {}
        if self.settings.preset.autoencoder is not None:
            self._check("autoencoder")
            self.autoencoder = self._model("autoencoder", registry.AUTOENCODERS, device)
            made_by["autoencoder"] = registry.weights_sha256(self.autoencoder)
        self._check("latents", **made_by)
        self._check("pairs")
        pairs = self.stages["pairs"].outputs
        self._check(
            "generator", latents=convert.sha256(self.latents), pairs=pairs.get("pairs.npz", "none")
        )
        self.generator = self._model("generator", registry.GENERATORS, device)
        dim = self.latents.shape[1]
        if (self.generator.dim, self.generator.out_dim) != (dim, dim):
            raise ValueError(
                f"{quoted(self.out)}: its generator makes latents of dimension "
                f"{self.generator.out_dim} from {self.generator.dim}, and its latents have {dim}; "
                f"{self._remedy()}"
            )
        self.mixture = None
        if "mixture.json" in pairs:
            self.mixture = Mixture.load(self.out / "pairs" / "mixture.json")

    def _model(self, stage: str, expected: Any, device: Any) -> Any:
        path = self.out / stage / "weights.safetensors"
        return registry.load_model(path, expected=expected).to(device)

    def _check(self, name: str, **inputs: str) -> None:
        """Refuse a stage that is not complete, or whose inputs are not the ones found here."""
        if name not in self.stages:
            raise ValueError(
                f"{quoted(self.out)} is not finished: it has no {name} yet; gtn-train fit --out "
                f"{visible(str(self.out))} --resume makes it"
            )
        made = self.stages[name]
        spec = StageSpec(made.name, {**made.inputs, **inputs}, made.options)
        judged = verdict(self.folder(name), spec)
        if judged.action != "reuse":
            raise ValueError(f"{quoted(self.out / name)} {judged.why}; {self._remedy()}")

    def _remedy(self) -> str:
        return f"gtn-train fit --out {visible(str(self.out))} --resume rebuilds it"

    @functools.cached_property
    def latents(self) -> NDArray[Any]:
        """Latents of the training data: [n, dim], a memory map."""
        path = self.out / "latents" / "latents.npy"
        rows = read_array(path)
        if rows.ndim != 2 or rows.dtype.kind != "f":
            raise ValueError(
                f"{quoted(path)} must hold latents, float [n, dim], and holds {rows.dtype} of "
                f"shape {rows.shape}"
            )
        return rows

    @functools.cached_property
    def classes(self) -> NDArray[np.int64] | None:
        """Class of each latent, in a conditional run: [n]."""
        return of_latents(self.out / "pairs" / "pairs.npz")

    @functools.cached_property
    def matching(self) -> Matching:
        """The first round of pairs."""
        return Matching.load(self.out / "pairs" / "pairs.npz")

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """Rows of the latents that stop the training, and rows that measure it."""
        settings = self.settings
        return hold_out(self.matching.assignment, settings.preset.validation_share, settings.seed)

    def images(self, split: str = "train") -> Images:
        """The run's images.

        Raises
        ------
        ValueError
            If its data are no images, or have changed since.
        FileNotFoundError, ValueError
            As `open_images`; `NoTestSplit` if there is no such split.
        """
        data = self.settings.preset.data
        if not data.images:
            raise ValueError(f"{quoted(self.out)} has no images: it was made from {data.name!r}")
        images = open_images(
            data.name,
            str(self.settings.data),
            split=split,
            size=data.size,
            channels=data.channels,
            test_share=data.test_share,
            cache=self.out / "images" if data.decoded else None,
        )
        wanted = self.stages["latents"].inputs.get("images")
        if split == "train" and images.sha256 != wanted:
            raise ValueError(
                f"{quoted(self.settings.data)} is not what {quoted(self.out)} was made from: "
                f"SHA-256 {brief(wanted)}, found {images.sha256}"
            )
        return images

    @functools.cached_property
    def stages(self) -> dict[str, Manifest]:
        """Manifests of the complete stages."""
        try:
            found = {name: self.folder(name).read_manifest() for name in STAGES}
        except ValueError as error:
            raise ValueError(f"{error}; {self._remedy()}") from None
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    def folder(self, name: str) -> RunFolder:
        """Folder of a stage."""
        return RunFolder(self.out / name, create=False)

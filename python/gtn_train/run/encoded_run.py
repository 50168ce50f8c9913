"""EncodedRun: a run's folder whose latents are made, opened for its autoencoder and its walks.

Not here: the generator (finished_run.py), building the stages (pipeline.py).
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gtn_label.checks import as_integer, check_seed
from gtn_label.errors import ArgumentError
from gtn_label.io.files import read_array
from gtn_label.text import quoted, visible

from ..data import Images, open_images
from ..files import brief
from ..models import registry
from ..models.autoencoder import decode_all, encode_all, encode_rows
from ..sampling.walks import walk
from ..seeds import random_numbers
from ..spectral import Embedding
from ..training.accelerator import device_of
from .embedding import EMBEDDING_FILE, ENCODER_FILE
from .manifest import Manifest, StageSpec
from .preset_fields import ON_EMBEDDING
from .raw_data import RawData
from .settings import STAGES, RunSettings
from .store import RunFolder
from .verdict import verdict

__all__ = ["EncodedRun"]

_BARE = "its data are its latents"


class EncodedRun:
    """A run whose data are encoded; it may have no generator yet.

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
        self._device = device_of(accelerator)
        self.autoencoder: Any = None
        made_by = {}
        if self.settings.preset.autoencoder is not None:
            given = {}
            if self.settings.preset.autoencoder == ON_EMBEDDING:
                self._check("embedding")
                given["encoder"] = self.stages["embedding"].outputs.get(ENCODER_FILE, "none")
            self._check("autoencoder", **given)
            self.autoencoder = self._model("autoencoder", registry.AUTOENCODERS, self._device)
            made_by["autoencoder"] = registry.weights_sha256(self.autoencoder)
        if self.settings.preset.latents_from == "embedding":
            self._check("embedding")
            made_by["embedding"] = self.stages["embedding"].outputs.get(EMBEDDING_FILE, "none")
        self._check("latents", **made_by)

    def encode(self, images: Any) -> NDArray[np.float32]:
        """Map images, uint8 [n, c, h, w], or vectors, [n, m], to latents, float32 [n, latent_dim].

        An array or a tensor of torch on any device will do. Latents that are diffusion coordinates
        come from the embedding's encoder.

        Raises
        ------
        TypeError, ValueError
            As `models.encode_all`; also if the run has no encoder.
        """
        if self.autoencoder is None and self.settings.preset.latents_from == "embedding":
            return encode_rows(self.embedder, _as_array(images))
        return encode_all(self._autoencoder(), _as_array(images))

    def decode(self, latents: Any) -> NDArray[Any]:
        """Map latents, float [n, latent_dim], to images, uint8 [n, c, h, w], or to vectors.

        An array or a tensor of torch on any device will do.

        Raises
        ------
        TypeError, ValueError
            As `models.decode_all`; also if the run has no autoencoder.
        """
        return decode_all(self._autoencoder(), _as_array(latents))

    def walk(
        self,
        steps: int,
        n: int = 64,
        seed: int = 0,
        *,
        start: int | None = None,
        snap: bool = False,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Walk at random from rows of the training data, in a run with a VDAE.

        The rows are those of `gtn-train sample --walk STEPS --out FILE.npy` with the same n and
        seed.

        Parameters
        ----------
        steps : int
            >= 1.
        n : int
            Number of walks, >= 1.
        seed : int
            Random seed of starts and steps.
        start : int, optional
            Row of the training data at which all walks start; by default rows at random, each as
            often as others.
        snap : bool
            Start each step at the nearest latent of the training data.
        progress : bool
            Show a bar on stderr.

        Returns
        -------
        uint8 [n, c, h, w] or float32 [n, m]

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong type or out of range, or the run has no VDAE.
        """
        kind = self.settings.preset.autoencoder
        if kind != ON_EMBEDDING:
            raise ValueError(
                f"a walk needs a run with an autoencoder 'vdae', and {quoted(self.out)} has "
                + ("none" if kind is None else repr(kind))
            )
        n, total = as_integer(n, "n", 1), len(self.latents)
        if start is None:
            chosen = random_numbers(check_seed(seed), "walk starts").permutation(total)
            chosen = np.resize(chosen, n)
        elif as_integer(start, "start", 0) >= total:
            raise ArgumentError("start", f"must be below the {total} rows", str(start))
        else:
            chosen = np.full(n, start)
        rows = np.array(self.rows[chosen])
        known = self.latents if snap else None
        return walk(self.autoencoder, rows, steps, seed, snap_to=known, progress=progress)

    @functools.cached_property
    def rows(self) -> NDArray[Any]:
        """Training data of the run: images uint8 [n, c, h, w], or vectors [n, m].

        Raises
        ------
        FileNotFoundError, ValueError
            If the data are no longer there, or have changed since.
        """
        if self.settings.preset.data.images:
            return self.images().images
        raw, made = RawData.open(self.settings), self.stages["latents"].inputs
        for name, digest in raw.inputs.items():
            if digest != made.get(name):
                raise ValueError(
                    f"{quoted(self.settings.data)} is not what {quoted(self.out)} was made from: "
                    f"SHA-256 {brief(made.get(name))}, found {digest}"
                )
        return raw.rows

    def _autoencoder(self) -> Any:
        if self.autoencoder is None:
            source = self.settings.preset.latents_from
            are = "its latents are an embedding" if source == "embedding" else _BARE
            raise ValueError(f"{quoted(self.out)} has no autoencoder: {are}")
        return self.autoencoder

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
    def embedding(self) -> Embedding:
        """The embedding of the training data.

        Raises
        ------
        ValueError
            If the run has none, or not yet.
        """
        self._check("embedding")
        return Embedding.load(self.out / "embedding" / EMBEDDING_FILE)

    @functools.cached_property
    def embedder(self) -> Any:
        """The encoder of the embedding, a `spectral.SpectralEncoder`; errors as `embedding`."""
        self._check("embedding")
        return self._model("embedding", "spectral", self._device)

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
            key=data.key,
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


def _as_array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values

"""The stages of a run: autoencoder, latents, pairs, generator, samples; each made, or reused.

A stage has a folder with a manifest of what went in and what came out, as SHA-256 (run_folder.py).
It is reused only if both still agree with what is asked for and with what lies on the disk; so a
generator is never used with latents of another autoencoder. Not here: what a run was asked for
(settings.py), training itself (`training`), what reads a finished run (finished.py).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label import arrays
from gtn_label.files import read_pairs, write_pairs

from . import models
from .autoencoder import encode_all
from .data import SYNTHETIC, Images, open_images, open_vectors
from .mixture import Mixture
from .pairs import Clusters, FixedPairs, FreshPairs, Labeling
from .pairs.options import one_round
from .run_folder import RunFolder, file_sha256, save_array
from .samples import write_samples
from .seeds import derive
from .settings import RunSettings
from .training import train_autoencoder, train_generator

__all__ = ["STAGES", "Stages"]

STAGES = ("autoencoder", "encode", "label", "generator", "samples")


class Stages:
    """The stages of one run, each making what it needs of the ones before.

    Parameters
    ----------
    out : path
        The run's folder; run.json is written into it.
    settings : RunSettings
    say : callable
        Takes a line about each stage.
    progress : bool
        Show bars.
    resume : bool
        Continue a stage that was interrupted, and make anew what other settings than the folder's
        change; without it both are refused.
    tensorboard : bool
        Write event files.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings, unless `resume` is true.
    """

    def __init__(
        self,
        out: Path,
        settings: RunSettings,
        *,
        say: Callable[[str], None] = lambda line: None,
        progress: bool = False,
        resume: bool = False,
        tensorboard: bool = False,
    ) -> None:
        self.out = out
        self.settings = settings
        self.preset = settings.preset
        self._say = say
        self._progress = progress
        self._training: dict[str, Any] = {
            "progress": progress,
            "resume": resume,
            "tensorboard": tensorboard,
        }
        settings.write(out, change=resume)

    def run(self, stage: str) -> None:
        """Make or reuse a stage, and before it whatever it needs.

        Parameters
        ----------
        stage : str
            One of `STAGES`.
        """
        made: dict[str, Callable[[], Any]] = {
            "autoencoder": lambda: self.autoencoder,
            "encode": lambda: self.latents,
            "label": lambda: self.pairs,
            "generator": lambda: self.generator,
            "samples": self.samples,
        }
        if stage == "autoencoder" and self.preset.autoencoder is None:
            raise ValueError(
                f"'{self.out}' has no autoencoder: its data, {self.preset.data.name!r}, are latents"
            )
        made[stage]()

    @functools.cached_property
    def images(self) -> Images:
        """The training images."""
        data = self.preset.data
        return open_images(
            data.name,
            str(self.settings.data),
            size=data.size,
            cache=self.out / "images" if data.name in ("celeba", "folder") else None,
            progress=self._progress,
        )

    @functools.cached_property
    def autoencoder(self) -> Any:
        """Train the autoencoder, or load it; None where the data are the latents."""
        preset = self.preset
        if preset.autoencoder is None:
            return None
        training = self.settings.training(preset.autoencoder_training)  # type: ignore[arg-type]
        share = preset.validation_share
        options = {
            "kind": preset.autoencoder,
            "latent_dim": preset.latent_dim,
            "training": training.config(),
            "validation_share": share,
        }

        def make(folder: RunFolder) -> list[str]:
            model = models.make_model(
                preset.autoencoder,  # type: ignore[arg-type]
                {"image_shape": self.images.shape, "latent_dim": preset.latent_dim},
                derive(self.settings.seed, "autoencoder"),
            )
            train, validation = self.images.split(share, self.settings.seed)
            result = train_autoencoder(
                model, train, folder, training, validation=validation, **self._training
            )
            self._say(
                f"autoencoder: {result.epochs} epochs, validation loss {result.best_value:.4g} "
                f"at epoch {result.best_epoch}"
            )
            return [folder.weights.name, folder.metrics.name, folder.config.name]

        folder = self._stage("autoencoder", {"images": self.images.sha256}, options, make)
        return models.load_model(folder.weights, expected=models.AUTOENCODERS)

    @functools.cached_property
    def latents(self) -> NDArray[Any]:
        """Encode the images, or take the data as they are: [n, dim]."""
        autoencoder = self.autoencoder
        inputs: dict[str, str] = {}
        options: dict[str, Any] = {}
        if autoencoder is not None:
            inputs = {
                "images": self.images.sha256,
                "autoencoder": models.weights_sha256(autoencoder),
            }
            if self.preset.pairs.by_class:
                inputs["classes"] = arrays.sha256(self._classes())
        elif self.preset.data.synthetic:
            options = {"set": self.preset.data.name, "n": self.preset.data.n}
            options["seed"] = self.settings.seed
        else:
            inputs = {"data": file_sha256(str(self.settings.data))}

        def make(folder: RunFolder) -> list[str]:
            rows = self._rows(autoencoder)
            save_array(folder.path / "latents.npy", rows)
            made = ["latents.npy"]
            if self.preset.pairs.by_class:
                save_array(folder.path / "classes.npy", self._classes())
                made.append("classes.npy")
            self._say(f"latents: {rows.shape[0]:,} of dimension {rows.shape[1]}")
            return made

        folder = self._stage("latents", inputs, options, make)
        rows: NDArray[Any] = np.load(folder.path / "latents.npy", allow_pickle=False)
        return rows

    def _rows(self, autoencoder: Any) -> NDArray[Any]:
        data = self.preset.data
        if autoencoder is not None:
            return encode_all(autoencoder, self.images.images, progress=self._progress)
        if data.synthetic:
            return SYNTHETIC[data.name](data.n, self.settings.seed)  # type: ignore[arg-type]
        return open_vectors(str(self.settings.data))

    def _classes(self) -> NDArray[np.int64]:
        labels = self.images.labels if self.preset.data.images else None
        if labels is None:
            raise ValueError(
                f"pairs by class need classes, and {self.preset.data.name!r} has none here"
            )
        return labels

    @functools.cached_property
    def pairs(self) -> FixedPairs:
        """Label the first round's sources, or load them: pairs.npz, as `gtn-label` writes it."""
        latents = self.latents
        inputs = {"latents": arrays.sha256(latents)}

        def make(folder: RunFolder) -> list[str]:
            labeling = self._labeling(latents)
            round_seed = derive(self.settings.seed, "round", 0)
            began = time.perf_counter()
            made = labeling.label(latents, round_seed)
            seconds = time.perf_counter() - began
            meta = {
                "method": "gtn-train",
                "seed": round_seed,
                **labeling.config(),
                "backend": made.backend,
                "latents_sha256": inputs["latents"],
            }
            content = {
                "sources": made.sources,
                "labels": latents[made.assignment],
                "assignment": made.assignment,
                "cosine": made.cosine,
            }
            if made.classes is not None:
                content["classes"] = made.classes
            write_pairs(folder.path / "pairs.npz", content, meta)
            written = ["pairs.npz"]
            if isinstance(labeling, Clusters):
                labeling.mixture.save(folder.path / "mixture.json")
                written.append("mixture.json")
            self._say(f"labels: {len(made.sources):,} pairs in {seconds:.2f} s")
            return written

        folder = self._stage("pairs", inputs, self.preset.pairs.config(), make)
        content, meta = read_pairs(folder.path / "pairs.npz")
        return FixedPairs(
            content["sources"],
            content["labels"],
            classes=content.get("classes"),
            latents_sha256=meta["latents_sha256"],
            cosine=content["cosine"],
        )

    def _labeling(self, latents: NDArray[Any]) -> Labeling:
        classes = self._classes() if self.preset.pairs.by_class else None
        return self.preset.pairs.labeling_of(
            latents, self.settings.seed, classes=classes, threads=self.settings.computing.threads
        )

    @functools.cached_property
    def generator(self) -> Any:
        """Train the generator, or load it."""
        preset, seed = self.preset, self.settings.seed
        first = self.pairs
        training = self.settings.training(preset.generator_training)
        pairs_file = self.out / "pairs" / "pairs.npz"
        inputs = {"latents": first.latents_sha256, "pairs": file_sha256(pairs_file)}
        architecture = {
            "layers": preset.layers,
            "width": preset.width,
            "batch_norm_layers": preset.batch_norm_layers,
        }
        options = {
            **architecture,
            "training": training.config(),
            "pairs": preset.pairs.config(),
            "validation_share": preset.validation_share,
        }

        def make(folder: RunFolder) -> list[str]:
            classes = int(self._classes().max()) + 1 if preset.pairs.by_class else 0
            generator = models.make_model(
                "generator",
                {"dim": first.dim, **architecture, "classes": classes},
                derive(seed, "generator"),
            )
            if preset.pairs.every == 0:
                pairs, validation = first.split(preset.validation_share, seed)
                result = train_generator(
                    generator, pairs, folder, training, validation=validation, **self._training
                )
            else:
                latents = self.latents
                labeling = self._labeling(latents)
                held_out = one_round(latents, labeling, derive(seed, "validation"))
                _, validation = held_out.split(preset.validation_share, seed)
                with FreshPairs(
                    latents, labeling, every=preset.pairs.every, seed=seed
                ) as pairs_by_round:
                    result = train_generator(
                        generator,
                        pairs_by_round,
                        folder,
                        training,
                        validation=validation,
                        **self._training,
                    )
            self._say(
                f"generator: {result.epochs} epochs, validation loss {result.best_value:.4g} "
                f"at epoch {result.best_epoch}"
            )
            return [folder.weights.name, folder.metrics.name, folder.config.name]

        folder = self._stage("generator", inputs, options, make)
        return models.load_model(folder.weights, expected="generator")

    def samples(self) -> None:
        """Draw samples, reconstructions and interpolations, or leave them as they are."""
        generator, autoencoder = self.generator, self.autoencoder
        inputs = {"generator": models.weights_sha256(generator)}
        if autoencoder is not None:
            inputs["autoencoder"] = models.weights_sha256(autoencoder)
        mixture_file = self.out / "pairs" / "mixture.json"
        mixture = Mixture.load(mixture_file) if mixture_file.exists() else None

        def make(folder: RunFolder) -> list[str]:
            images = None if autoencoder is None else self.images.images
            return write_samples(
                folder.path,
                generator,
                autoencoder,
                latents=self.latents,
                images=images,
                mixture=mixture,
                seed=derive(self.settings.seed, "samples"),
            )

        self._stage("samples", inputs, {"seed": self.settings.seed}, make)

    def _stage(
        self,
        name: str,
        inputs: Mapping[str, str],
        options: Mapping[str, Any],
        make: Callable[[RunFolder], list[str]],
    ) -> RunFolder:
        """Reuse a finished stage, or make it and write its manifest.

        Of the processes that torchrun starts, the first makes what only one can make; the others
        take part in training and wait for the rest.
        """
        folder = RunFolder(self.out / name)
        if folder.is_finished(name, inputs, options):
            self._say(f"{name}: finished earlier, reused")
            return folder
        first = int(os.environ.get("RANK", "0")) == 0
        if first and folder.manifest.exists():
            folder.clear()
            self._say(f"{name}: made anew, as what it was made from has changed")
        began = time.monotonic()
        if first or name in ("autoencoder", "generator"):
            outputs = make(folder)
        if first:
            folder.finish(name, inputs, options, outputs, time.monotonic() - began)
        while not first and not folder.is_finished(name, inputs, options):
            time.sleep(0.2)
        return folder

"""The stages of a run: autoencoder, latents, pairs, generator, samples.

Here is what each is made from and how. Whether it is made or used again is keeping.py's business,
by the SHA-256 of what went in and what came out; so a generator is never used with latents of
another autoencoder. Not here: what a run was asked for (settings.py), training itself (`training`),
what reads a finished run (opened.py).
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gtn_label.arrays import convert
from gtn_label.cli import console
from gtn_label.io.files import read_array, read_pairs, write_pairs

from ..data import SYNTHETIC, Images, open_images, open_vectors
from ..data.folder import Cache
from ..models import registry
from ..models.autoencoder import encode_all
from ..pairs import Clusters, FixedPairs, FreshPairs, Labeling
from ..pairs.classes import of_latents
from ..pairs.mixture import Mixture
from ..pairs.options import one_round
from ..report.sheets import write_samples
from ..seeds import derive
from ..training import Metric, TrainingResult, train_autoencoder, train_generator
from ..training.accelerator import device_of
from ..training.processes import is_first_process
from .keeping import Keeper
from .settings import RUN_FILE, STAGES, RunSettings
from .store import RunFolder, Stage, file_sha256, save_array

__all__ = ["Stages"]


class Stages:
    """The stages of one run, each making what it needs of the ones before.

    Parameters
    ----------
    out : path
        The run's folder. run.json is written into it when the first stage is made, and not before.
    settings : RunSettings
    say : callable
        Takes a line about each stage.
    progress : bool
        Show bars.
    resume : bool
        Continue a stage that was interrupted, and make anew those that the settings or the data no
        longer agree with; without it both are refused.
    tensorboard : bool
        Write event files.

    Raises
    ------
    ValueError
        If the accelerator cannot be had.
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
        self._device = device_of(settings.computing.accelerator)
        first = is_first_process()
        self._say = say if first else lambda line: None
        self._progress = progress and first
        self._training: dict[str, Any] = {
            "progress": self._progress,
            "resume": resume,
            "overwrite": resume,
            "tensorboard": tensorboard,
        }
        self._decoded: Path | None = None
        self._keeper = Keeper(out, resume=resume, say=self._say, before=lambda: settings.write(out))

    def run(self, stage: str) -> None:
        """Make a stage or use it again, and before it whatever it needs.

        Parameters
        ----------
        stage : str
            One of `settings.STAGES`.

        Raises
        ------
        ValueError
            If a stage would have to be made anew or is unfinished, and `resume` is false; if
            another process is at work in the folder; if there is no such stage; as the parts do.
        FileNotFoundError
            If the data are not there.
        RuntimeError
            If a loss is not finite.
        """
        if stage not in STAGES:
            raise ValueError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}")
        if stage == "autoencoder" and self.preset.autoencoder is None:
            raise ValueError(
                f"a run of {self.preset.data.name!r} has no autoencoder: its data are its latents"
            )
        made: dict[str, Callable[[], Any]] = {
            "autoencoder": lambda: self.autoencoder,
            "latents": lambda: self.latents,
            "pairs": lambda: self._pairs_stage,
            "generator": lambda: self.generator,
            "samples": self.samples,
        }
        try:
            if self.preset.stop_by != "loss" and stage in ("generator", "samples"):
                self._check_extractor()
            made[stage]()
        except BaseException:
            self._forget_decoded()
            raise
        finally:
            self._keeper.release()
        if not self._keeper.wrote and is_first_process():  # the same data may lie elsewhere now
            earlier = RunSettings.read(self.out) if (self.out / RUN_FILE).exists() else None
            if earlier is None or earlier.data != self.settings.data:
                replace(earlier or self.settings, data=self.settings.data).write(self.out)

    # -------------------------------------------------------------------------------- autoencoder

    @functools.cached_property
    def images(self) -> Images:
        """The training images."""
        data = self.preset.data
        images = open_images(
            data.name,
            str(self.settings.data),
            size=data.size,
            cache=Cache(self.out / "images", self._before_decoding) if data.decoded else None,
            progress=self._progress,
        )
        self._check_count(images.n)
        if self.preset.pairs.needs_classes and images.labels is None:
            raise ValueError(
                f"pairs by class need classes, and the images of '{self.settings.data}' have none: "
                "a folder's are its subfolders, of which there must be two, with all images in them"
            )
        return images

    def _before_decoding(self, target: Path) -> None:
        """Let one process decode image files; others of the same run wait for it."""
        if is_first_process():
            self._keeper.own()
            self._decoded = target
        while not is_first_process() and not target.exists():
            time.sleep(0.2)

    def _forget_decoded(self) -> None:
        """Remove what was decoded for a run that was then refused."""
        if self._decoded is not None and not self._keeper.wrote:
            self._decoded.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._decoded.parent.rmdir()

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
            "training": training.deciding(),
            "validation_share": share,
        }

        def make(folder: RunFolder) -> tuple[list[str], float]:
            if self._decoded is not None:  # of other sizes, or of other files
                for other in set(self._decoded.parent.glob("images-*.npy")) - {self._decoded}:
                    other.unlink()
            model = registry.make_model(
                preset.autoencoder,  # type: ignore[arg-type]
                {"image_shape": self.images.shape, "latent_dim": preset.latent_dim},
                derive(self.settings.seed, "autoencoder"),
            )
            train, validation = self.images.split(share, self.settings.seed)
            result = train_autoencoder(
                model, train, folder, training, validation=validation, **self._training
            )
            return self._trained("autoencoder", folder, result)

        self._keeper.stage(
            "autoencoder", {"images": self.images.sha256}, options, make, together=True
        )
        return registry.load_model(
            self.out / "autoencoder" / "weights.safetensors", expected=registry.AUTOENCODERS
        ).to(self._device)

    def _trained(
        self, stage: str, folder: RunFolder, result: TrainingResult, metric: Metric | None = None
    ) -> tuple[list[str], float]:
        """What a trained stage made, and how long that took, interrupted parts included."""
        best = "validation loss" if metric is None else metric.name
        self._say(
            f"{stage}: {console.counted(result.epochs, 'epoch')} in {result.seconds:.1f} s, {best} "
            f"{result.best_value:.4g} at epoch {result.best_epoch}"
        )
        return [folder.weights.name, folder.metrics.name, folder.config.name], result.seconds

    # ------------------------------------------------------------------------------------ latents

    @functools.cached_property
    def latents(self) -> NDArray[Any]:
        """Encode the images, or take the data as they are: [n, dim], a memory map."""
        preset, autoencoder = self.preset, self.autoencoder
        inputs: dict[str, str] = {}
        options: dict[str, Any] = {}
        if autoencoder is not None:
            inputs["images"] = self.images.sha256
            inputs["autoencoder"] = registry.weights_sha256(autoencoder)
            if self.images.labels is not None:
                inputs["classes"] = convert.sha256(self.images.labels)
        elif preset.data.synthetic:
            options = {"set": preset.data.name, "n": preset.data.n, "seed": self.settings.seed}
        else:
            inputs["data"] = file_sha256(str(self.settings.data))
            options = {"key": preset.data.key}

        def make(folder: RunFolder) -> tuple[list[str], float]:
            made: dict[str, Any] = {"latents.npy": rows() if callable(rows) else rows}
            if "classes" in inputs:
                made["classes.npy"] = self.images.labels
            for name, array in made.items():
                save_array(folder.path / name, array)
            n, dim = made["latents.npy"].shape
            self._say(f"latents: {n:,} of dimension {dim}")
            return sorted(made), 0.0

        rows = self._rows(autoencoder)
        self._keeper.stage("latents", inputs, options, make)
        return read_array(self.out / "latents" / "latents.npy")

    def _rows(self, autoencoder: Any) -> Any:
        """Rows of vectors, looked at before anything is written; otherwise how to make them."""
        data = self.preset.data
        if autoencoder is not None:
            images = self.images.images
            return lambda: encode_all(autoencoder, images, progress=self._progress)
        if data.synthetic:
            self._check_count(data.n)  # type: ignore[arg-type]
            return lambda: SYNTHETIC[data.name](data.n, self.settings.seed)  # type: ignore[arg-type]
        rows = open_vectors(str(self.settings.data), data.key)
        self._check_count(len(rows))
        if self.preset.pairs.labeling == "quantile" and rows.shape[1] != 1:
            raise ValueError(
                f"quantile labels need vectors of dimension 1, and '{self.settings.data}' has "
                f"dimension {rows.shape[1]}"
            )
        if self.preset.pairs.labeling == "algorithm1":
            self.preset.pairs.labeling_of(rows, self.settings.seed).check(rows)
        return rows

    def _check_count(self, n: int) -> None:
        """Refuse data of which too few are left once some are held out."""
        least = 3 if self.preset.batch_norm_layers else 2
        if n < least:
            where = self.settings.data or self.preset.data.name
            raise ValueError(
                f"a run needs at least {least} images or vectors, of which one is held out, and "
                f"'{where}' has {n}"
            )

    # -------------------------------------------------------------------------------------- pairs

    @functools.cached_property
    def pairs(self) -> FixedPairs:
        """The first round of pairs, from pairs.npz, which is as `gtn-label` writes it."""
        latents_sha256 = self._pairs_stage.inputs["latents"]
        content, _ = read_pairs(self.out / "pairs" / "pairs.npz")
        return FixedPairs(
            content["sources"],
            content["labels"],
            classes=content.get("classes"),
            latents_sha256=latents_sha256,
            cosine=content["cosine"],
        )

    @functools.cached_property
    def _classes(self) -> NDArray[np.int64] | None:
        """Class of each latent, if the generator is told classes."""
        return of_latents(self.out / "pairs" / "pairs.npz")

    @functools.cached_property
    def _mixture(self) -> Mixture | None:
        """Where sources come from, if not from N(0, I)."""
        if "mixture.json" not in self._pairs_stage.outputs:
            return None
        return Mixture.load(self.out / "pairs" / "mixture.json")

    @functools.cached_property
    def _pairs_stage(self) -> Stage:
        latents = self.latents
        inputs = {"latents": convert.sha256(latents)}
        if self.preset.pairs.needs_classes and self.images.labels is not None:
            inputs["classes"] = convert.sha256(self.images.labels)

        def make(folder: RunFolder) -> tuple[list[str], float]:
            labeling = self._labeling()
            labeling.check(latents)
            round_seed = derive(self.settings.seed, "round", 0)
            began = time.perf_counter()
            with tqdm(
                total=len(latents), unit=" sources", desc="matching", disable=not self._progress
            ) as bar:
                made = labeling.label(
                    latents, round_seed, lambda done, total, left: bar.update(done - bar.n)
                )
                bar.update(len(made.sources) - bar.n)
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
            self._say(f"pairs: {len(made.sources):,} in {seconds:.2f} s, by {made.backend}")
            return written, 0.0

        options = self.preset.pairs.config()
        del options["every"]  # how long a round lasts, which the first one does not depend on
        return self._keeper.stage("pairs", inputs, {**options, "seed": self.settings.seed}, make)

    def _labeling(self) -> Labeling:
        return self.preset.pairs.labeling_of(
            self.latents,
            self.settings.seed,
            classes=self.images.labels if self.preset.pairs.needs_classes else None,
            threads=self.settings.computing.threads,
        )

    # ---------------------------------------------------------------------------------- generator

    @functools.cached_property
    def generator(self) -> Any:
        """Train the generator, or load it."""
        preset, seed = self.preset, self.settings.seed
        pairs_stage = self._pairs_stage
        training = self.settings.training(preset.generator_training)
        inputs = {
            "latents": pairs_stage.inputs["latents"],
            "pairs": pairs_stage.outputs["pairs.npz"],
        }
        architecture = {
            "layers": preset.layers,
            "width": preset.width,
            "batch_norm_layers": preset.batch_norm_layers,
        }
        options = {
            **architecture,
            "training": training.deciding(),
            "pairs": preset.pairs.config(),
            "stop_by": preset.stop_by,
            "validation_share": preset.validation_share,
        }

        def make(folder: RunFolder) -> tuple[list[str], float]:
            known = self._classes
            classes = 0 if known is None else int(known.max()) + 1
            config = {"dim": self.latents.shape[1], **architecture, "classes": classes}
            generator = registry.make_model("generator", config, derive(seed, "generator"))
            metric = self._metric()
            share = preset.validation_share
            rounds: FixedPairs | FreshPairs
            if preset.pairs.every == 0:
                rounds, validation = self.pairs.split(share, seed)
            else:
                labeling = self._labeling()
                held_out = one_round(self.latents, labeling, derive(seed, "validation"))
                _, validation = held_out.split(share, seed)
                rounds = FreshPairs(self.latents, labeling, every=preset.pairs.every, seed=seed)
            with rounds:
                result = train_generator(
                    generator,
                    rounds,
                    folder,
                    training,
                    validation=validation,
                    metric=metric,
                    **self._training,
                )
            return self._trained("generator", folder, result, metric)

        self._keeper.stage("generator", inputs, options, make, together=True)
        return registry.load_model(
            self.out / "generator" / "weights.safetensors", expected="generator"
        ).to(self._device)

    def _check_extractor(self) -> None:
        """Find out now whether there is the network that the generator is to be stopped by."""
        if not (self.out / "generator" / "stage.json").exists():
            self._extractor  # noqa: B018  (made here, and kept)

    @functools.cached_property
    def _extractor(self) -> Any:
        from ..evaluation.metrics import extractor_of  # torch-fidelity, only where it is needed

        weights = self.settings.computing.weights
        return extractor_of(self.preset.stop_by, weights, device=self._device)

    def _metric(self) -> Metric | None:
        """What decides which weights are best, where it is not the validation loss."""
        if self.preset.stop_by == "loss":
            return None
        from ..evaluation.metrics import named_metric

        return named_metric(
            self.preset.stop_by,
            self._extractor,
            self.autoencoder,
            self.images.images,
            classes=self._classes,
            mixture=self._mixture,
            seed=derive(self.settings.seed, "metric"),
        )

    # ------------------------------------------------------------------------------------ samples

    def samples(self) -> None:
        """Draw samples, reconstructions and interpolations, or leave them as they are."""
        generator, autoencoder = self.generator, self.autoencoder
        inputs = {"generator": registry.weights_sha256(generator)}
        if autoencoder is not None:
            inputs["autoencoder"] = registry.weights_sha256(autoencoder)

        def make(folder: RunFolder) -> tuple[list[str], float]:
            return (
                write_samples(
                    folder.path,
                    generator,
                    autoencoder,
                    latents=self.latents,
                    images=None if autoencoder is None else self.images.images,
                    classes=self._classes,
                    mixture=self._mixture,
                    seed=derive(self.settings.seed, "samples"),
                ),
                0.0,
            )

        self._keeper.stage("samples", inputs, {"seed": self.settings.seed}, make)

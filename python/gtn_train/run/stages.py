"""The stages of a run after its embedding, one plain function each, in their order.

Each function describes its stage by a `StageSpec` (name, inputs, options, outputs), has the builder
build or reuse it, and returns the result for the next stages. SHA-256 identifies each input, so
that a generator is never used with latents of another autoencoder. Not here: the embedding
(embedding.py) and the autoencoder on it (vdae.py), the order of stages (pipeline.py), the decision
to rebuild one (verdict.py), training itself (`training`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.arrays import convert
from gtn_label.arrays.sources import seed_record
from gtn_label.cli import console
from gtn_label.errors import ArgumentError
from gtn_label.io.files import read_array, write_pairs
from gtn_label.text import quoted

from ..data import Images
from ..evaluation.latent_metric import latent_metric
from ..files import save_array
from ..models import registry
from ..models.autoencoder import encode_all
from ..models.pretrained import PretrainedAutoencoder, pretrained_sha256
from ..pairs import Clusters, DriftingPairs, FixedPairs, FreshPairs, Labeling
from ..pairs.classes import of_latents, read_made
from ..pairs.mixture import Mixture
from ..pairs.pair_options import one_round
from ..progress import progress_bar
from ..report.sheets import sheet_names, write_samples
from ..sampling.pictures import reconstructions_picture, samples_picture
from ..seeds import derive
from ..spectral import Embedding
from ..training import (
    Callback,
    ImageGrid,
    Metric,
    TrainingOptions,
    TrainingResult,
    train_autoencoder,
    train_generator,
)
from .context import Context
from .embedding import EMBEDDING_FILE
from .held_out import HeldOut, divide, hold_out, trains_on_all
from .manifest import Manifest, StageSpec
from .store import RunFolder

__all__ = [
    *("MadePairs", "autoencoder", "generator", "latents", "pairs", "samples"),
    *("TRAINED", "every", "remove_other_images", "say_plan", "say_trained"),  # of trainings
]

TRAINED = ("config.json", "metrics.jsonl", "weights.safetensors")  # outputs of a training


# ------------------------------------------------------------------------------------ autoencoder


def autoencoder(ctx: Context) -> Any:
    """Train the autoencoder and load its best weights; None where the data are the latents."""
    preset, images = ctx.preset, ctx.images
    if preset.autoencoder is None:
        return None
    if preset.autoencoder_training is None:
        assert images is not None, "what is not trained is of images"
        return _pretrained(ctx, images)
    kind, share = preset.autoencoder, preset.validation_share
    training = ctx.settings.training(preset.autoencoder_training)
    spec = StageSpec(
        "autoencoder",
        inputs=dict(ctx.raw.inputs) if images is None else {"images": images.sha256},
        options={
            **(ctx.raw.options if images is None else {}),
            "kind": kind,
            "latent_dim": preset.latent_dim,
            "training": training.deciding(),
            "validation_share": share,
        },
        outputs=TRAINED,
    )

    def make(folder: RunFolder) -> float:
        remove_other_images(ctx.builder.decoded)
        train: Any
        validation: Any
        seed, shown = ctx.settings.seed, list[Callback]()
        if images is None:
            config: dict[str, Any] = {"data_shape": list(ctx.raw.rows.shape[1:])}
            train, validation = ctx.raw.split(share, seed)
            n, counted = len(train), console.counted(len(train), "vector")
        else:
            config = {"image_shape": images.shape}
            train, validation = images.split(share, seed)
            n, counted = train.n, console.counted(train.n, "image")
            draw = reconstructions_picture(validation.images)
            shown.append(ImageGrid("reconstructions", draw, every(training)))
        config["latent_dim"] = preset.latent_dim
        model = registry.make_model(kind, config, derive(seed, "autoencoder"))
        say_plan(ctx, spec.name, counted, n, training)
        result = train_autoencoder(
            model,
            train,
            folder,
            training,
            validation=validation,
            callbacks=shown,
            **ctx.training,
        )
        return say_trained(ctx, spec.name, result)

    ctx.builder.build(spec, make, together=True, check=ctx.check_trainable)
    return ctx.load_model(spec.name, registry.AUTOENCODERS)


def _pretrained(ctx: Context, images: Images) -> Any:
    """Copy a pretrained autoencoder into the run, which then needs its folder no more."""
    name, source = "autoencoder", str(ctx.settings.pretrained)
    made = RunFolder(ctx.out / name, create=False).read_manifest()
    if made is not None and not Path(source).exists():
        found = made.inputs.get("pretrained", "")
    else:
        found = pretrained_sha256(source)
    shape = list(images.shape)
    options = {"kind": ctx.preset.autoencoder, "image_shape": shape}
    spec = StageSpec(name, {"pretrained": found}, options, ("weights.safetensors",))

    loaded: list[PretrainedAutoencoder] = []

    def load() -> None:
        loaded.append(PretrainedAutoencoder.from_folder(source, shape))

    def make(folder: RunFolder) -> float:
        remove_other_images(ctx.builder.decoded)
        model = loaded.pop()
        registry.save_model(model, folder.weights)
        latent = " x ".join(map(str, model.latent_shape))
        ctx.say(f"{name}: from {quoted(source)}, latents {latent} = {model.latent_dim}")
        return 0.0

    ctx.builder.build(spec, make, check=load)
    return ctx.load_model(name, registry.AUTOENCODERS)


def every(training: TrainingOptions) -> int:
    """Epochs between two pictures for TensorBoard: about 50 pictures in all."""
    return max(1, training.max_epochs // 50)


def remove_other_images(decoded: Path | None) -> None:
    """Remove images decoded from other files or to other sizes."""
    if decoded is not None:
        for other in set(decoded.parent.glob("images-*.npy")) - {decoded}:
            other.unlink()


def say_plan(ctx: Context, stage: str, data: str, n: int, training: TrainingOptions) -> None:
    """Say what a training is about to do, so that a log begins before its first epoch ends."""
    steps = console.counted(-(-n // training.batch_size), "step")
    epochs = console.counted(training.max_epochs, "epoch")
    ctx.say(f"{stage}: {data}, {steps} an epoch, up to {epochs}, on {ctx.device.type}")


def say_trained(
    ctx: Context, stage: str, result: TrainingResult, metric: Metric | None = None
) -> float:
    """Say how a training ended; return its seconds."""
    best = "training loss" if metric is None else f"{metric.name} samples"
    if metric is None and "validation_loss" in result.history[-1]:
        best = "validation loss"
    ctx.say(
        f"{stage}: {console.counted(result.epochs, 'epoch')} in {result.seconds:.1f} s, {best} "
        f"{result.best_value:.4g} at epoch {result.best_epoch}"
    )
    return result.seconds


# ---------------------------------------------------------------------------------------- latents


def latents(ctx: Context, autoencoder: Any, embedded: Manifest | None) -> NDArray[Any]:
    """Encode the data, or take them or their embedding as they are: [n, dim], a memory map."""
    images = ctx.images
    inputs: dict[str, str] = {}
    options: dict[str, Any] = {}
    outputs = ["latents.npy"]
    labels = None if images is None else images.labels
    if images is not None:
        inputs["images"] = images.sha256
    else:
        inputs, options = dict(ctx.raw.inputs), ctx.raw.options
    if autoencoder is not None:
        inputs["autoencoder"] = registry.weights_sha256(autoencoder)
    if labels is not None:
        inputs["classes"] = convert.sha256(labels)
        outputs.append("classes.npy")
    if ctx.preset.latents_from == "embedding" and embedded is not None:
        inputs["embedding"] = embedded.outputs[EMBEDDING_FILE]
    make_rows = _checked_rows(ctx, autoencoder)

    def make(folder: RunFolder) -> float:
        rows = make_rows()
        save_array(folder.path / "latents.npy", rows)
        if labels is not None:
            save_array(folder.path / "classes.npy", labels)
        n, dim = rows.shape
        ctx.say(f"latents: {n:,} of dimension {dim}")
        return 0.0

    spec = StageSpec("latents", inputs, options, tuple(outputs))
    ctx.builder.build(spec, make)
    return read_array(ctx.out / "latents" / "latents.npy")


def _checked_rows(ctx: Context, autoencoder: Any) -> Callable[[], NDArray[Any]]:
    """Return a function that makes the latents; those of a file are checked at once."""
    if ctx.preset.latents_from == "embedding":
        return lambda: Embedding.load(ctx.out / "embedding" / EMBEDDING_FILE).latents
    if autoencoder is not None:
        rows = ctx.raw.rows if ctx.images is None else ctx.images.images
        return lambda: encode_all(autoencoder, rows, progress=ctx.progress)
    if not ctx.preset.data.drawn:
        rows, pairs = ctx.raw.rows, ctx.preset.pairs
        if pairs.labeling == "quantile" and rows.shape[1] != 1:
            raise ValueError(
                f"quantile labels need vectors of dimension 1, and {quoted(ctx.settings.data)} has "
                f"dimension {rows.shape[1]}"
            )
        if pairs.labeling in ("algorithm1", "optimal", "drift") and not pairs.clusters:
            pairs.labeling_of(rows, ctx.settings.seed).check(rows)
    return lambda: ctx.raw.rows


# ------------------------------------------------------------------------------------------ pairs


@dataclass(frozen=True)
class MadePairs:
    """The pairs stage: the first round of pairs, as `gtn-label` writes them.

    Attributes
    ----------
    path : path
        pairs.npz.
    manifest : Manifest
    classes : int64 [m] or None
        Class of each latent, for a conditional generator.
    mixture : Mixture or None
        Distribution of the sources; None for N(0, I).
    """

    path: Path
    manifest: Manifest
    classes: NDArray[np.int64] | None
    mixture: Mixture | None

    def load(self) -> FixedPairs:
        """Read the pairs."""
        content = read_made(self.path)
        return FixedPairs(
            content["sources"],
            content["labels"],
            classes=content.get("classes"),
            latents_sha256=self.manifest.inputs["latents"],
            cosine=content["cosine"],
        )


def pairs(ctx: Context, latents: NDArray[Any]) -> MadePairs:
    """Draw sources and match them with the latents."""
    preset, seed = ctx.preset, ctx.settings.seed
    inputs = {"latents": convert.sha256(latents)}
    if ctx.classes is not None:
        inputs["classes"] = convert.sha256(ctx.classes)
    options = {**preset.pairs.config(), "seed": seed}
    for name in ("every", "by_prices", "round_size"):  # options of later rounds
        options.pop(name, None)
    clustered = preset.pairs.clusters > 0
    spec = StageSpec(
        "pairs", inputs, options, ("pairs.npz", "mixture.json") if clustered else ("pairs.npz",)
    )

    def make(folder: RunFolder) -> float:
        labeling = _labeling(ctx, latents, ctx.classes)
        labeling.check(latents)
        round_seed = derive(seed, "round", 0)
        began = time.perf_counter()
        with progress_bar(
            ctx.progress, total=len(latents), unit=" sources", desc="matching"
        ) as bar:
            made = labeling.label(
                latents, round_seed, lambda done, total, left: bar.update(done - bar.n)
            )
            bar.update(len(made.sources) - bar.n)
        seconds = time.perf_counter() - began
        meta = {
            "method": "gtn-train",
            **seed_record(round_seed, len(latents)),
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
        if isinstance(labeling, Clusters):
            labeling.mixture.save(folder.path / "mixture.json")
        ctx.say(f"pairs: {len(made.sources):,} in {seconds:.2f} s, by {made.backend}")
        return 0.0

    manifest = ctx.builder.build(spec, make)
    path = ctx.out / "pairs" / "pairs.npz"
    return MadePairs(
        path,
        manifest,
        classes=of_latents(path) if preset.pairs.by_class else None,
        mixture=Mixture.load(path.with_name("mixture.json")) if clustered else None,
    )


def _labeling(ctx: Context, latents: NDArray[Any], classes: NDArray[np.int64] | None) -> Labeling:
    return ctx.preset.pairs.labeling_of(
        latents,
        ctx.settings.seed,
        classes=classes,
        threads=ctx.settings.computing.threads,
    )


# -------------------------------------------------------------------------------------- generator


def generator(ctx: Context, autoencoder: Any, latents: NDArray[Any], pairs: MadePairs) -> Any:
    """Train the generator on pairs and load its best weights."""
    preset, seed = ctx.preset, ctx.settings.seed
    training = ctx.settings.training(preset.generator_training)
    if preset.pairs.labeling == "drift" and preset.stop_by == "loss":
        training = replace(training, patience=None)  # labels that move have no validation loss
    architecture = preset.architecture
    kind = "generator" if preset.generator == "network" else preset.generator
    spec = StageSpec(
        "generator",
        inputs={
            "latents": pairs.manifest.inputs["latents"],
            "pairs": pairs.manifest.outputs["pairs.npz"],
        },
        options={
            **architecture,
            "training": training.deciding(),
            "pairs": preset.pairs.config(),
            "stop_by": preset.stop_by,
            "validation_share": preset.validation_share,
            **({} if preset.scale_labels else {"scale_labels": False}),
            **({} if kind == "generator" else {"generator": kind}),
        },
        outputs=TRAINED,
    )

    def make(folder: RunFolder) -> float:
        classes = 0 if pairs.classes is None else int(pairs.classes.max()) + 1
        config = {"dim": latents.shape[1], **architecture, "classes": classes}
        model = registry.make_model(kind, config, derive(seed, "generator"))
        metric = _metric(ctx, autoencoder, latents, pairs)
        rounds, validation = _rounds(ctx, latents, pairs)
        say_plan(ctx, spec.name, console.counted(rounds.n, "pair"), rounds.n, training)
        with rounds:
            result = train_generator(
                model,
                rounds,
                folder,
                training,
                validation=validation,
                metric=metric,
                scale_labels=preset.scale_labels,
                callbacks=_pictures(ctx, autoencoder, pairs, training),
                **ctx.training,
            )
        return say_trained(ctx, spec.name, result, metric)

    ctx.builder.build(spec, make, together=True, check=ctx.check_trainable)
    return ctx.load_model(spec.name, kind)


def _pictures(
    ctx: Context, autoencoder: Any, pairs: MadePairs, training: TrainingOptions
) -> list[Callback]:
    """Samples for TensorBoard, where latents can be seen."""
    if not ctx.preset.makes_images:
        return []
    seed = derive(ctx.settings.seed, "pictures")
    draw = samples_picture(autoencoder, seed=seed, classes=pairs.classes, mixture=pairs.mixture)
    return [ImageGrid("samples", draw, every(training))]


def _rounds(
    ctx: Context, latents: NDArray[Any], pairs: MadePairs
) -> tuple[FixedPairs | FreshPairs | DriftingPairs, FixedPairs | None]:
    """Pairs to train on, and pairs held out for validation, if labels stay while ĥ moves."""
    preset, seed = ctx.preset, ctx.settings.seed
    if preset.pairs.every == 0:
        made = pairs.load()
        parts = divide(made.n, preset.validation_share, seed)
        return made.take(parts.training), made.take(parts.stopping)
    classes = ctx.classes
    if not trains_on_all(preset):
        rows = _held_out(ctx, pairs).training
        latents, classes = latents[rows], None if classes is None else classes[rows]
    if preset.pairs.labeling == "drift":
        threads = ctx.settings.computing.threads
        return preset.pairs.make(latents, seed, classes=classes, threads=threads), None
    labeling = _labeling(ctx, latents, classes)
    held_out = one_round(latents, labeling, derive(seed, "validation"))
    _, validation = held_out.split(preset.validation_share, seed)
    return FreshPairs(latents, labeling, every=preset.pairs.every, seed=seed), validation


def _held_out(ctx: Context, pairs: MadePairs) -> HeldOut:
    assignment = read_made(pairs.path)["assignment"]
    return hold_out(assignment, ctx.preset.validation_share, ctx.settings.seed)


def _metric(
    ctx: Context, autoencoder: Any, latents: NDArray[Any], pairs: MadePairs
) -> Metric | None:
    """The figure that decides which weights are best; None for the validation loss."""
    common: dict[str, Any] = {
        "classes": pairs.classes,
        "mixture": pairs.mixture,
        "seed": derive(ctx.settings.seed, "metric"),
    }
    if ctx.preset.stop_by == "energy":
        parts = _held_out(ctx, pairs)
        if len(parts.stopping) < 2:
            raise ArgumentError(
                "stop_by",
                "must not be 'energy' with fewer than 3 held-out latents",
                f"{len(latents)} latents in all",
                "stop by 'loss'",
            )
        return latent_metric(latents[parts.training], latents[parts.stopping], **common)
    if ctx.images is None or ctx.preset.stop_by == "loss":
        return None
    from ..evaluation.stop_metric import named_metric

    ctx.load_extractor()
    return named_metric(ctx.preset.stop_by, ctx.extractor, autoencoder, ctx.images.images, **common)


# ---------------------------------------------------------------------------------------- samples


def samples(
    ctx: Context, autoencoder: Any, latents: NDArray[Any], pairs: MadePairs, generator: Any
) -> None:
    """Draw samples, reconstructions and interpolations."""
    inputs = {"generator": registry.weights_sha256(generator)}
    if autoencoder is not None:
        inputs["autoencoder"] = registry.weights_sha256(autoencoder)
    bare = autoencoder is None and ctx.preset.latents_from == "data"
    roll = bare and ctx.preset.data.name == "swiss-roll"
    spec = StageSpec(
        "samples",
        inputs,
        options={"seed": ctx.settings.seed},
        outputs=sheet_names(latents.shape[1], of_images=ctx.preset.makes_images, roll=roll),
    )

    def make(folder: RunFolder) -> float:
        write_samples(
            folder.path,
            generator,
            autoencoder,
            latents=latents,
            images=None if ctx.images is None else ctx.images.images,
            classes=pairs.classes,
            mixture=pairs.mixture,
            seed=derive(ctx.settings.seed, "samples"),
            roll=roll,
        )
        return 0.0

    ctx.builder.build(spec, make)

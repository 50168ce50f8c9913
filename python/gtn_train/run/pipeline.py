"""The pipeline: a run's stages in their order, and the checks before the first one.

embedding → autoencoder → latents → pairs → generator → samples. Few runs have an embedding, and
vectors need no autoencoder. Not here: the stages themselves (stages.py, embedding.py, vdae.py),
their verdicts (verdict.py), reading a complete run (finished_run.py).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gtn_label.cli import console
from gtn_label.errors import ArgumentError
from gtn_label.text import quoted

from ..models.module import import_network
from ..training.accelerator import device_of
from ..training.optimizers import check_schedule
from ..training.processes import is_first_process
from . import stages
from .barrier import Barrier
from .builder import Builder
from .context import Context
from .embedding import embedding
from .preset_fields import ON_EMBEDDING
from .settings import RUN_FILE, STAGES, RunSettings
from .store import RunFolder
from .vdae import vdae

if TYPE_CHECKING:
    from ..data import Images

__all__ = ["run_pipeline"]


def run_pipeline(
    out: Path,
    settings: RunSettings,
    last: str = "samples",
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    resume: bool = False,
    tensorboard: bool = False,
) -> None:
    """Build the stages of a run up to one of them; complete stages are reused.

    Parameters
    ----------
    out : path
        The run's folder. run.json is written there together with the first stage.
    settings : RunSettings
    last : str
        One of `settings.STAGES`.
    say : callable
        Takes a line about each stage.
    progress : bool
        Show bars.
    resume : bool
        Resume a partial stage, and rebuild the stages that settings or data have made invalid.
        Without it both are refused.
    tensorboard : bool
        Write event files.

    Raises
    ------
    ValueError
        If there is no such stage; if the accelerator is not available, or a stage cannot be trained
        there with this precision or number of devices; if a stage would be resumed
        or rebuilt and `resume` is false; if another process is at work in the folder.
    FileNotFoundError
        If the data are missing.
    RuntimeError
        If a loss is not finite, or process 0 of several failed.
    TimeoutError
        If process 0 of several keeps the others waiting for too long (barrier.py).
    """
    preset = settings.preset
    if last not in STAGES:
        raise ValueError(f"stage must be one of {', '.join(STAGES)}, got {last!r}")
    if last == "autoencoder" and preset.autoencoder is None:
        raise ValueError(
            f"a run of {preset.data.name!r} has no autoencoder: its data are its latents"
        )
    if last == "embedding" and preset.embedding is None:
        raise ValueError(
            f"a run of {preset.data.name!r} has no embedding, and its stage was asked for"
        )
    device = device_of(settings.computing.accelerator)
    first = is_first_process()
    heard = say if first else lambda line: None
    with Barrier() as barrier:
        with Builder(
            out, barrier, resume=resume, say=heard, before=lambda: settings.write(out)
        ) as builder:
            ctx = Context(
                out,
                settings,
                builder,
                device,
                say=heard,
                progress=progress and first,
                training={
                    "progress": progress and first,
                    "resume": resume,
                    "overwrite": resume,
                    "tensorboard": tensorboard,
                    "say": heard,
                },
            )
            if first:
                ctx.trained = _check_training(ctx, last)
            complete = RunFolder(out / "generator", create=False).manifest.exists()
            if last in ("generator", "samples") and not complete:
                ctx.load_extractor()  # fail early, before hours of training
            if preset.data.images:
                ctx.images = _open_images(ctx, barrier)
            _run_stages(ctx, last)
        if first and not builder.wrote:
            _note_moved_data(out, settings)


def _check_training(ctx: Context, last: str) -> frozenset[str]:
    """Refuse a stage that cannot be trained on this device before anything is built or cleared.

    Return the stages that are to be trained, and not complete.

    A complete stage of the same precision may have been trained on another machine.
    """
    if ctx.preset.generator_training.ema_labels and ctx.preset.pairs.labeling != "drift":
        raise ArgumentError("ema_labels", "needs {labeling} 'drift'")
    if ctx.preset.generator_class is not None:
        import_network(ctx.preset.generator_class)
    if ctx.preset.autoencoder_training is not None:
        check_schedule(ctx.preset.autoencoder_training, "autoencoder_")
    check_schedule(ctx.preset.generator_training)
    trained = {"embedding"} if ctx.preset.embedding is not None else set()
    if ctx.preset.autoencoder_training is not None and last != "embedding":
        trained.add("autoencoder")
    if last in ("generator", "samples"):
        trained.add("generator")
    for name in trained:
        try:
            made = RunFolder(ctx.out / name, create=False).read_manifest()
        except ValueError:  # damaged: the builder says so
            made = None
        options = {} if made is None else made.options.get("training")
        precision = options.get("precision") if isinstance(options, dict) else None
        if precision != ctx.settings.computing.precision:
            ctx.check_trainable()
    _try_own_network(ctx)
    left = frozenset(
        name for name in trained if not RunFolder(ctx.out / name, create=False).manifest.exists()
    )
    if left and importlib.util.find_spec("lightning_fabric") is None:  # imported late
        raise ModuleNotFoundError("No module named 'lightning_fabric'", name="lightning_fabric")
    return left


def _try_own_network(ctx: Context) -> None:
    """Fail early: the autoencoder may train for hours before the generator's stage."""
    preset = ctx.preset
    if preset.generator_class is not None and preset.latent_dim and not preset.pairs.by_class:
        from ..models.registry import make_model  # here: torch is the first package to be missed

        config = {"dim": preset.latent_dim, **preset.architecture}
        make_model("module", config, ctx.settings.seed)


def _run_stages(ctx: Context, last: str) -> None:
    embedded = embedding(ctx)
    if last == "embedding":
        return
    if ctx.preset.autoencoder == ON_EMBEDDING and embedded is not None:
        model = vdae(ctx, embedded)
    else:
        model = stages.autoencoder(ctx)
    if last == "autoencoder":
        return
    latents = stages.latents(ctx, model, embedded)
    if last == "latents":
        return
    pairs = stages.pairs(ctx, latents)
    if last == "pairs":
        return
    generator = stages.generator(ctx, model, latents, pairs)
    if last == "generator":
        return
    stages.samples(ctx, model, latents, pairs, generator)


def _open_images(ctx: Context, barrier: Barrier) -> Images:
    """Open the training images; process 0 decodes image files, and the others read its cache."""
    with console.held():  # vectors need no torchvision
        from ..data import open_images
        from ..data.folder import Cache
    data = ctx.preset.data

    def open_them() -> Images:
        cache = Cache(ctx.out / "images", ctx.builder.own_for_decoding)
        return open_images(
            data.name,
            str(ctx.settings.data),
            size=data.size,
            channels=data.channels,
            test_share=data.test_share,
            key=data.key,
            cache=cache if data.decoded else None,
            progress=ctx.progress,
        )

    images = barrier.first(open_them) or open_them()
    ctx.images = images
    ctx.check_rows(images.images)
    if ctx.preset.pairs.needs_classes and images.labels is None:
        raise ValueError(
            f"pairs by class need classes, and the images of {quoted(ctx.settings.data)} have "
            "none: a folder needs at least two subfolders, which are the classes, with all images "
            "in them"
        )
    return images


def _note_moved_data(out: Path, settings: RunSettings) -> None:
    """Let run.json name the place of the data in this call: the same data may have moved."""
    earlier = RunSettings.read(out) if (out / RUN_FILE).exists() else None
    if earlier is None or earlier.data != settings.data:
        replace(earlier or settings, data=settings.data).write(out)

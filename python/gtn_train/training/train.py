"""train_autoencoder and train_generator: a model, its data and its step, handed to the loop.

Not here: epochs (loop.py), the stages of a run (run/stages.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.arrays import convert
from gtn_label.errors import ArgumentError

from ..data.images import Images
from ..models import registry
from ..models.flow import Flow
from ..models.mlp import MLPAutoencoder, set_scale
from ..models.vae import VanillaVAE
from ..models.vdae import VDAE
from ..pairs import DriftingPairs, FixedPairs, Pairs
from ..pairs.drifting import Generate
from ..run.store import RunFolder
from ..sampling.sample import generate_latents
from .batches import ImageBatches, PairBatches, SharedPairs, VectorBatches
from .callbacks import Callback, Logger
from .fabric import cpu_threads, make_fabric
from .job import Job
from .loop import Diverged, train
from .steps import Step, autoencoder_step, flow_step, generator_step, vae_step, vector_step
from .training_options import Metric, TrainingOptions, TrainingResult

__all__ = ["train_autoencoder", "train_generator"]


def train_autoencoder(
    model: Any,
    images: Any,
    folder: RunFolder,
    options: TrainingOptions,
    *,
    validation: Any = None,
    metric: Metric | None = None,
    progress: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    say: Callable[[str], None] | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> TrainingResult:
    """Train an autoencoder, or a VAE, to reconstruct images, or vectors.

    Parameters
    ----------
    model : torch.nn.Module
        An autoencoder of `gtn_train.models.registry.KINDS`. It is trained in place and afterwards
        holds the best weights, on the device, in evaluation mode.
    images : Images or float [n, m]
        Vectors for an `MLPAutoencoder`.
    folder : RunFolder
    options : TrainingOptions
    validation : Images or float [k, m], optional
        Held-out rows. Their loss selects the best weights, unless there is a metric.
    metric : Metric, optional
    progress : bool
        Show a bar with the time left.
    resume : bool
        Continue from the folder's checkpoint, or take over the weights of the same run if it has
        ended there. Without either the run starts from the beginning. With more epochs, fewer, or
        another patience the run goes on from its last state, unless that is past the new end.
    overwrite : bool
        Start from the beginning even if the folder holds the weights of an ended run that is not
        resumed, or a checkpoint of another run. Both are refused otherwise. Options that set where
        and how fast to compute do not make another run.
    tensorboard : bool
        Write event files beside metrics.jsonl; needs the package tensorboard.
    say : callable, optional
        Takes the reason, if `overwrite` starts a run over or `resume` continues one to another end.
    callbacks : sequence of Callback
        The user's own code after each epoch.
    loggers : sequence of Logger
        Places for figures and images.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit, or the folder holds an unfinished or another run.
    RuntimeError
        If a loss or the metric is not finite: names the epoch and the step.
    OSError
        If a file cannot be written; earlier ones stay whole.
    KeyboardInterrupt
        On Ctrl-C; the last checkpoint stands, and the run can be resumed.

    Notes
    -----
    Under torchrun each process takes its share of every batch. The result is that of one process
    within rounding, except for batch normalisation on the CPU, where each process normalises by its
    own share (GPUs share their statistics). All processes must see the folder.
    """
    _check(model, folder, options, metric)
    if isinstance(model, VDAE):
        raise TypeError("model must not be a VDAE, which train_vdae trains")
    vectors = isinstance(model, MLPAutoencoder)
    images = _read(images, "images", model)
    if validation is not None:
        validation = _read(validation, "validation", model)
    if options.ema_labels:
        raise ArgumentError("ema_labels", "is for generators")
    variational = isinstance(model, VanillaVAE)
    step: Step = vector_step if vectors else vae_step if variational else autoencoder_step
    noise_dim = model.latent_dim if variational else 0

    def batches(rows: Any) -> ImageBatches:
        return VectorBatches(rows) if vectors else ImageBatches(rows.images, noise_dim)

    job = Job(
        stage="autoencoder",
        model=model,
        step=step,
        batches=batches(images),
        validation=None if validation is None else batches(validation),
        config={
            "model": _model_config(model),
            "data": {"name": "vectors" if vectors else images.name, **_count(images)},
            "validation": None if validation is None else _count(validation),
        },
        prepare=partial(set_scale, model, images) if vectors else lambda: None,
        save=registry.save_model,
        load=registry.load_model,
    )
    return train(
        job,
        folder,
        options,
        make_fabric(options),
        metric=metric,
        progress=progress,
        resume=resume,
        overwrite=overwrite,
        tensorboard=tensorboard,
        say=say,
        callbacks=callbacks,
        loggers=loggers,
    )


def train_generator(
    generator: Any,
    pairs: Pairs,
    folder: RunFolder,
    options: TrainingOptions,
    *,
    validation: FixedPairs | None = None,
    metric: Metric | None = None,
    scale_labels: bool = True,
    progress: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    say: Callable[[str], None] | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> TrainingResult:
    """Train a generator ĥ to map sources to their labels, or a flow to lead there.

    Parameters
    ----------
    generator : Generator or Flow
    pairs : Pairs
        The caller closes them.
    validation : FixedPairs, optional
        Held-out pairs. Their loss, in the same normalised space, selects the best weights, unless
        there is a metric.
    scale_labels : bool
        Call `generator.set_scale` with the first round's labels, unless the generator has a scale
        already. With False and no scale the loss is the paper's.

    folder, options, metric, progress, resume, overwrite, tensorboard, say, callbacks, loggers
        As in `train_autoencoder`, with its errors and notes.

    Returns
    -------
    TrainingResult

    Notes
    -----
    In a distributed run process 0 makes the pairs and sends them to the others. `DriftingPairs`
    follow the generator: checkpoints are then written at the ends of rounds.
    """
    _check(generator, folder, options, metric)
    for name, value in (("pairs", pairs), ("validation", validation)):
        if value is None:
            continue
        if not all(hasattr(value, need) for need in ("epoch", "round_of", "dim", "conditional")):
            kind = type(value).__name__
            raise TypeError(f"{name} must be pairs, such as FixedPairs or FreshPairs, got {kind}")
        if not (value.dim == generator.dim == generator.out_dim):
            raise ValueError(
                f"{name} must have the generator's dim {generator.dim} and out_dim "
                f"{generator.out_dim}, got dim {value.dim}"
            )
        if value.conditional != (generator.classes > 0):
            raise ValueError(
                f"{name} must {'' if generator.classes else 'not '}have classes, as the generator "
                f"{'has' if generator.classes else 'has none'}"
            )
    if validation is not None and validation.latents_sha256 != pairs.latents_sha256:
        raise ValueError(
            f"validation pairs were made from other latents: SHA-256 {pairs.latents_sha256}, "
            f"found {validation.latents_sha256}"
        )
    rows = min(pairs.n, options.batch_size)
    if generator.batch_norm_layers and rows < 2:
        raise ValueError(f"batch normalisation needs batches of at least 2 pairs, got {rows}")
    fabric = make_fabric(options)
    is_flow = isinstance(generator, Flow)
    noise_dim = 1 if is_flow else 0  # a time for each row
    following = pairs if isinstance(pairs, DriftingPairs) else None
    if options.ema_labels and following is None:
        raise ArgumentError("ema_labels", "needs labels that follow the generator: DriftingPairs")
    if fabric.world_size > 1:
        pairs = SharedPairs(pairs, fabric.global_rank, fabric.device)

    def resumable(epoch: int) -> bool:
        """After a round's last epoch alone, if the next labels need the generator of that time."""
        return following is None or pairs.round_of(epoch + 1) != pairs.round_of(epoch)

    def follow(model: Any) -> None:
        if following is not None:
            following.follow(_generating(model, options))

    def prepare() -> None:
        unscaled = not bool(generator.label_mean.any()) and bool((generator.label_scale == 1).all())
        if scale_labels and unscaled:
            generator.set_scale(pairs.epoch(1).labels)

    job = Job(
        stage="generator",
        model=generator,
        step=flow_step if is_flow else generator_step,
        batches=PairBatches(pairs, generator, noise_dim),
        validation=None if validation is None else PairBatches(validation, generator, noise_dim),
        config={
            "model": _model_config(generator),
            "pairs": pairs.config(),
            "latents_sha256": pairs.latents_sha256,
            "validation": None if validation is None else validation.config(),
            "scale_labels": scale_labels,
        },
        prepare=prepare,
        save=registry.save_model,
        load=registry.load_model,
        resumable=resumable,
        follow=follow,
    )
    return train(
        job,
        folder,
        options,
        fabric,
        metric=metric,
        progress=progress,
        resume=resume,
        overwrite=overwrite,
        tensorboard=tensorboard,
        say=say,
        callbacks=callbacks,
        loggers=loggers,
    )


def _generating(generator: Any, options: TrainingOptions) -> Generate:
    """Return the generator as a function of arrays, on its own device."""

    def generate(
        sources: NDArray[np.float32], classes: NDArray[np.int64] | None
    ) -> NDArray[np.float32]:
        try:
            with cpu_threads(options.threads):
                return generate_latents(generator, sources, classes=classes)
        except ValueError as error:  # not finite
            raise Diverged(
                f"generator: {error}. A smaller learning rate than {options.learning_rate:g} may "
                "help, or look for odd values in the data"
            ) from None

    return generate


def _read(rows: Any, name: str, model: Any) -> Any:
    """Check the rows that an autoencoder is trained on: Images, or float32 [n, m]."""
    if isinstance(model, MLPAutoencoder):
        read = convert.as_rows(rows, name).rows
        convert.refuse_non_finite(read, name)
        if read.shape[1:] != model.data_shape:
            raise ValueError(
                f"{name} must have the model's {model.data_shape[0]} columns, got {read.shape}"
            )
        return np.asarray(read, np.float32)
    if not isinstance(rows, Images):
        raise TypeError(f"{name} must be Images, got {type(rows).__name__}")
    if tuple(rows.shape) != tuple(model.image_shape):
        raise ValueError(
            f"{name} must have the model's shape {tuple(model.image_shape)}, got {rows.shape}"
        )
    return rows


def _count(rows: Any) -> dict[str, Any]:
    if isinstance(rows, Images):
        return {"n": rows.n, "sha256": rows.sha256}
    return {"n": len(rows), "sha256": convert.sha256(rows)}


def _check(model: Any, folder: Any, options: Any, metric: Any) -> None:
    if type(model) not in registry.KINDS.values():
        raise TypeError(
            f"model must be one of {', '.join(kind.__name__ for kind in registry.KINDS.values())}, "
            f"whose weights can be saved, got {type(model).__name__}"
        )
    wanted = (("folder", folder, RunFolder), ("options", options, TrainingOptions))
    for name, value, kind in wanted:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    if metric is not None and not isinstance(metric, Metric):
        raise TypeError(f"metric must be a Metric, got {type(metric).__name__}")


def _model_config(model: Any) -> dict[str, Any]:
    return {"kind": model.kind, **model.config()}

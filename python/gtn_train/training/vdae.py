"""train_vdae: covariances of the walk's steps, and the training of a VDAE on them.

The encoder is not trained. A step leads from a row's latent to a point near by; the decoder learns
the training row whose latent is nearest there (Alg. 1 of the paper, which looks in the batch
alone). Not here: the model and its loss (models/vdae.py).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from gtn_label.arrays import convert
from gtn_label.errors import ArgumentError

from ..data.images import to_model
from ..models import registry
from ..models.autoencoder import encode_rows
from ..models.vdae import VDAE, vdae_loss
from ..run.store import RunFolder
from .fabric import make_fabric
from .job import Job
from .loop import train
from .steps import StepOutput
from .training_options import TrainingOptions, TrainingResult

if TYPE_CHECKING:
    from ..run.vdae_options import VDAEOptions

__all__ = ["local_factors", "train_vdae", "vdae_step"]

SINGULAR = 1e-9  # least eigenvalue over the mean variance
BLOCK_VALUES = 1 << 24  # numbers at a time

Floats = npt.NDArray[np.float32]


def local_factors(
    latents: npt.NDArray[Any], among: npt.NDArray[Any], options: VDAEOptions, told: int = 0
) -> Floats:
    """Compute the Cholesky factor of each step's covariance: step · (S + ridge · tr(S)/d · I).

    S is the covariance of the nearest latents about their own mean.

    Parameters
    ----------
    latents : float [n, told + d]
    among : float [m, told + d]
        Where neighbours are sought: only among those whose first columns are equal.
    options : VDAEOptions
        Neighbours are fewer in components that have not as many.
    told : int
        Columns in front that tell the component.

    Returns
    -------
    float32 [n, d, d]

    Raises
    ------
    ValueError
        If a covariance is not positive definite, or a component has fewer than two rows among
        which to seek.
    """
    from sklearn.neighbors import NearestNeighbors

    new, known = np.asarray(latents, np.float64), np.asarray(among, np.float64)
    d = new.shape[1] - told
    found = np.empty((len(new), d, d))
    of_new, of_known = (
        rows[:, :told].argmax(axis=1) if told else np.zeros(len(rows), np.int64)
        for rows in (new, known)
    )
    for part in np.unique(of_new):
        mine, theirs = new[of_new == part, told:], known[of_known == part, told:]
        if len(theirs) < 2:
            raise ValueError(
                f"component {part} must have two rows to train on, and has {len(theirs)}: raise "
                "--neighbours, so that components join"
            )
        k = min(options.neighbours, len(theirs))
        nearest = NearestNeighbors(n_neighbors=k).fit(theirs)
        own = np.empty((len(mine), d, d))
        step = max(1, BLOCK_VALUES // (k * d))
        for first in range(0, len(mine), step):
            some = slice(first, first + step)
            near = theirs[nearest.kneighbors(mine[some], return_distance=False)]
            near -= near.mean(axis=1, keepdims=True)
            own[some] = np.einsum("nki,nkj->nij", near, near) / k
        found[of_new == part] = own
    variance = np.trace(found, axis1=1, axis2=2) / d
    if not (variance > 0).any():
        raise ValueError("latents must have two distinct rows near each other, got equal ones")
    variance = np.maximum(variance, variance[variance > 0].min())  # equal rows have none
    found += options.ridge * variance[:, None, None] * np.eye(d)
    least = np.linalg.eigvalsh(found)[:, 0] / variance
    if (singular := least < SINGULAR).any():
        raise ArgumentError(
            "vdae_ridge",
            "must be larger where the covariance of a step is not positive definite",
            f"{options.ridge} for {int(singular.sum())} of {len(found)} rows",
        )
    factors: Floats = np.linalg.cholesky(options.step * found).astype(np.float32)
    return factors


class _Steps:
    """Rows with their latents and factors, and the training rows that steps may lead to."""

    def __init__(
        self,
        latents: Floats,
        factors: Floats,
        known: npt.NDArray[Any],
        known_latents: Floats,
        more: tuple[Any, ...],
        *,
        own: bool,
    ) -> None:
        self._latents, self._factors = latents, factors
        self._known, self._known_latents = known, known_latents
        self._more, self._own = more, own
        self.noise_dim = factors.shape[1]
        self._on: tuple[torch.Tensor, ...] = ()

    @property
    def n(self) -> int:
        return len(self._latents)

    def start(self, epoch: int, device: Any) -> dict[str, Any]:
        if not self._on or self._on[0].device != device:
            parts = (self._latents, self._factors, self._known, self._known_latents)
            self._on = tuple(torch.from_numpy(np.array(part)).to(device) for part in parts)
        return {}

    def take(self, rows: torch.Tensor) -> tuple[Any, ...]:
        latents, factors, known, known_latents = self._on
        rows = rows.to(latents.device)
        itself = rows if self._own else None
        return latents[rows], factors[rows], itself, known, known_latents, *self._more


def vdae_step(model: Any, batch: tuple[Any, ...]) -> StepOutput:
    """Loss of a VDAE for one step of the walk from each row.

    Vectors are in units of the encoder's one scale.

    Parameters
    ----------
    model : VDAE
    batch : tuple
        latents [b, latent_dim], Cholesky factors of their covariances [b, dim, dim], rows that they
        are themselves, int64 [b] or None, training rows [n, ...], their latents [n, latent_dim],
        c float, couple bool, noise [b, dim].
    """
    latents, targets, itself, known, known_latents, variance, couple, noise = batch
    factor = model.factor(latents).to(targets.dtype)
    moved = model.moved(latents, noise, factor)
    if not couple:
        moved = moved.detach()
    with torch.no_grad():
        # Differences: inner products round the small distances of dense rows to 0.
        apart = torch.cdist(
            moved.detach().to(known_latents.dtype),
            known_latents,
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        if itself is not None:
            apart.scatter_(1, itself[:, None], torch.inf)
        rows = known[apart.argmin(dim=1)]
    wanted, decoded = rows, model.decode(moved)
    if model.of_images:
        wanted = to_model(rows)
    else:
        wanted, decoded = wanted / model.encoder.scale, decoded / model.encoder.scale
    losses = vdae_loss(factor, targets, wanted, decoded, variance)
    n = len(latents)
    figures = {
        "kl": losses["kl"].detach().sum(),
        "mse": losses["squares"].detach().sum() / rows[0].numel(),
    }
    return losses["loss"].sum(), n, figures


def train_vdae(
    model: VDAE,
    rows: npt.NDArray[Any],
    validation: npt.NDArray[Any],
    vdae: VDAEOptions,
    folder: RunFolder,
    options: TrainingOptions,
    **training: Any,
) -> TrainingResult:
    """Train a VDAE's covariance network and decoder; its encoder stays as it is.

    Parameters
    ----------
    model : VDAE
        With a trained encoder. It is trained in place, and holds the weights of least validation
        loss afterwards.
    rows : float [n, m] or uint8 [n, c, h, w]
    validation : float [k, m] or uint8 [k, c, h, w]
        Held-out rows, which choose the weights.
    vdae : VDAEOptions
    folder : RunFolder
    options : TrainingOptions
    **training
        `progress`, `resume`, `overwrite`, `tensorboard`, `say`, `callbacks` and `loggers`, as in
        `train_autoencoder`, with its errors.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TypeError, ValueError
        As `local_factors`, or if the model is no VDAE.
    """
    if not isinstance(model, VDAE):
        raise TypeError(f"model must be a VDAE, got {type(model).__name__}")
    if not model.of_images:
        rows, validation = (np.asarray(part, np.float32) for part in (rows, validation))
    told = model.latent_dim - model.dim
    latents, held_out = encode_rows(model, rows), encode_rows(model, validation)
    factors = local_factors(latents, latents, vdae, told)
    values = _columns(rows, model)
    variance = vdae.noise**2 * (float(values.var(axis=0, dtype=np.float64).mean()) or 1.0)
    more = (variance, vdae.couple)
    batches = _Steps(latents, factors, rows, latents, more, own=True)
    of_held_out = local_factors(held_out, latents, vdae, told)
    measured = _Steps(held_out, of_held_out, rows, latents, more, own=False)

    def prepare() -> None:
        spread = latents.std(axis=0, dtype=np.float64)
        model.latent_mean.copy_(torch.as_tensor(latents.mean(axis=0, dtype=np.float64)))
        model.latent_scale.copy_(torch.as_tensor(np.where(spread > 0, spread, 1.0)))
        squares = np.einsum("nij,nij->n", factors, factors, dtype=np.float64)
        model.step_scale.fill_(float(np.sqrt(squares.mean() / model.dim)))

    job = Job(
        stage="autoencoder",
        model=model,
        step=vdae_step,
        batches=batches,
        validation=measured,
        config={
            "model": {"kind": model.kind, **model.config()},
            "encoder": registry.weights_sha256(model.encoder),
            "data": {"n": len(rows), "sha256": convert.sha256(rows)},
            "validation": {"n": len(validation), "sha256": convert.sha256(validation)},
            "vdae": asdict(vdae),
        },
        prepare=prepare,
        save=registry.save_model,
        load=registry.load_model,
    )
    how = {"progress": False, "resume": False, "tensorboard": False, **training}
    return train(job, folder, options, make_fabric(options), metric=None, **how)


def _columns(rows: npt.NDArray[Any], model: VDAE) -> npt.NDArray[Any]:
    """Rows as the loss sees them: images in [-1, 1], vectors in units of the encoder's scale."""
    if model.of_images:
        return rows.reshape(len(rows), -1) / np.float32(127.5) - 1
    return rows / float(model.encoder.scale)

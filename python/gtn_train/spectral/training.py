"""Training of a SpectralEncoder: on coordinates that eigenvectors gave, or as SpectralNet.

Both are trainings of `training.loop`, with its checkpoints. Not here: the losses (network.py), the
eigenvectors (diffusion.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gtn_label.arrays import convert

from ..data.images import to_model
from ..models import registry
from ..models.autoencoder import evaluating
from ..models.mlp import set_scale
from ..run.store import RunFolder
from ..seeds import random_numbers
from ..training.fabric import make_fabric
from ..training.job import Job
from ..training.loop import train
from ..training.training_options import TrainingOptions, TrainingResult
from .graph import NeighbourGraph
from .network import SpectralEncoder, encoder_step, spectral_step

__all__ = ["explained", "outputs_of", "ritz", "train_encoder", "train_spectral_net"]

NETWORK_ROWS = 2_000  # at a time where nothing is learnt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass
class _Targets:
    """Rows, standardised coordinates and components, as batches."""

    rows: npt.NDArray[Any]
    targets: npt.NDArray[np.float32]
    component: Indices
    noise_dim: int = 0
    device: Any = None

    @property
    def n(self) -> int:
        return len(self.rows)

    def start(self, epoch: int, device: Any) -> dict[str, Any]:
        self.device = device
        return {}

    def take(self, rows: torch.Tensor) -> tuple[Any, ...]:
        chosen = rows.numpy()
        parts = (self.rows[chosen], self.targets[chosen], self.component[chosen])
        return tuple(torch.from_numpy(np.array(part)).to(self.device) for part in parts)


@dataclass
class _Pairs:
    """Rows and as many other rows, with their places: all batches of an epoch are as large."""

    rows: npt.NDArray[Any]
    places: npt.NDArray[np.float32]
    neighbours: int
    density_power: float
    batch_size: int
    seed: int
    noise_dim: int = 0
    device: Any = None
    order: Indices | None = None

    @property
    def n(self) -> int:
        """Rows of an epoch: those left over have their turn in another one."""
        size = min(self.batch_size, len(self.rows))
        return len(self.rows) // size * size

    def start(self, epoch: int, device: Any) -> dict[str, Any]:
        self.device = device
        draw = random_numbers(self.seed, "spectral-net", epoch)
        self.order = np.stack([draw.permutation(len(self.rows)) for _ in range(2)])
        return {}

    def take(self, rows: torch.Tensor) -> tuple[Any, ...]:
        assert self.order is not None
        parts = []
        for order in self.order:
            chosen = order[rows.numpy()]
            for of in (self.rows, self.places):
                parts.append(torch.from_numpy(np.array(of[chosen])).to(self.device))
        return (*parts, self.neighbours, self.density_power)


def train_encoder(
    encoder: SpectralEncoder,
    rows: npt.NDArray[Any],
    coordinates: Floats,
    component: Indices,
    held_out: Indices,
    folder: RunFolder,
    options: TrainingOptions,
    **training: Any,
) -> TrainingResult:
    """Train an encoder to map rows to coordinates that are known.

    Parameters
    ----------
    encoder : SpectralEncoder
        Trained in place; holds the weights of least validation loss afterwards.
    rows : float [n, m] or uint8 [n, c, h, w]
    coordinates : float64 [n, dim]
        Standardised within each component for the training.
    component : int64 [n]
    held_out : int64 [k]
        Rows that choose the weights.
    folder : RunFolder
    options : TrainingOptions
    **training
        `progress`, `resume`, `overwrite`, `tensorboard`, `say`, `callbacks` and `loggers`, as in
        `training.train_autoencoder`.

    Returns
    -------
    TrainingResult
    """
    rows = _input(rows)
    targets = encoder.normalize(coordinates, component).astype(np.float32)
    given = np.setdiff1d(np.arange(len(rows)), held_out)
    parts = [_Targets(rows[some], targets[some], component[some]) for some in (given, held_out)]

    def prepare() -> None:
        if not encoder.of_images:
            set_scale(encoder, rows[given])

    config = {
        "data": convert.sha256(rows),
        "targets": convert.sha256(targets),
        "component": convert.sha256(component),
        "held_out": len(held_out),
    }
    job = _job(encoder, encoder_step, parts[0], parts[1], config, prepare)
    return _train(job, folder, options, training)


def train_spectral_net(
    encoder: SpectralEncoder,
    rows: npt.NDArray[Any],
    graph: NeighbourGraph,
    density_power: float,
    folder: RunFolder,
    options: TrainingOptions,
    **training: Any,
) -> TrainingResult:
    """Train an encoder as SpectralNet; `ritz` then orders its outputs.

    Parameters
    ----------
    encoder : SpectralEncoder
        Of one component.
    rows : float [n, m] or uint8 [n, c, h, w]
    graph : NeighbourGraph
        Of all rows. Its rows are the places that batches find neighbours by, and its number of
        neighbours is that of a batch.
    density_power : float
    folder, options, **training
        As in `train_encoder`; `options` without patience.

    Returns
    -------
    TrainingResult
    """
    rows = _input(rows)
    places = graph.rows.astype(np.float32)
    k, size = graph.neighbours, options.batch_size
    batches = _Pairs(rows, places, k, density_power, size, options.seed)

    def prepare() -> None:
        if not encoder.of_images:
            set_scale(encoder, rows)

    config = {
        "data": convert.sha256(rows),
        "places": convert.sha256(places),
        "neighbours": graph.neighbours,
        "density_power": density_power,
    }
    job = _job(encoder, spectral_step, batches, None, config, prepare)
    return _train(job, folder, options, training)


def ritz(
    encoder: SpectralEncoder,
    rows: npt.NDArray[Any],
    graph: NeighbourGraph,
    *,
    density_power: float = 1.0,
    time: float = 1.0,
) -> tuple[Floats, Floats]:
    """Turn an encoder's outputs into the eigenvectors that their span holds (Rayleigh-Ritz).

    The outputs of all rows, less their mean, become orthonormal under the stationary law of the
    graph's walk, and are then put in the order of the walk's eigenvalues among them. The encoder
    keeps the turn.

    Parameters
    ----------
    encoder : SpectralEncoder
    rows : float [n, m] or uint8 [n, c, h, w]
    graph : NeighbourGraph
        Of all rows.
    density_power, time : float
        As in `DiffusionMap`.

    Returns
    -------
    functions : float64 [n, dim]
        Of mean square 1 under pi.
    eigenvalues : float64 [dim]
    """
    outputs = outputs_of(encoder, rows)[0][:, 0]
    weights = graph.weights
    power = np.asarray(weights.sum(axis=1)).ravel() ** -density_power
    weights = weights.multiply(power[:, None]).multiply(power[None, :]).tocsr()
    degrees = np.asarray(weights.sum(axis=1)).ravel()
    total = degrees.sum()
    shares = (degrees / total)[:, None]
    mean = (outputs * shares).sum(axis=0)
    outputs = outputs - mean
    sizes, axes = np.linalg.eigh(outputs.T @ (outputs * shares))
    kept = sizes > 1e-12 * sizes[-1]  # outputs that are no others' sums
    if kept.sum() < encoder.dim:
        raise RuntimeError(
            f"SpectralNet has {int(kept.sum())} independent outputs, and {encoder.dim} are "
            "needed: train it longer, or take the method 'exact'"
        )
    turn = axes[:, kept] / np.sqrt(sizes[kept])
    whitened = outputs @ turn
    values, vectors = np.linalg.eigh(whitened.T @ (weights @ whitened) / total)
    order = np.argsort(-values)[: encoder.dim]
    mix = turn @ vectors[:, order]
    functions = outputs @ mix
    sign = np.sign(np.take_along_axis(functions, np.abs(functions).argmax(axis=0)[None], axis=0))
    scale = sign[0] * np.abs(values[order]) ** time
    encoder.mix[0] = torch.as_tensor(mix * scale)
    encoder.shift[0] = torch.as_tensor(-mean @ mix * scale)
    return functions * sign, values[order]


def outputs_of(encoder: SpectralEncoder, rows: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Compute an encoder's outputs and logits of all rows, in evaluation mode, as float64."""
    rows = _input(rows)
    device = next(encoder.parameters()).device
    found: list[tuple[Any, Any]] = []
    with evaluating(encoder), torch.inference_mode():
        for first in range(0, len(rows), NETWORK_ROWS):
            batch = torch.from_numpy(np.array(rows[first : first + NETWORK_ROWS])).to(device)
            parts = encoder(to_model(batch) if encoder.of_images else batch)
            found.append(tuple(part.double().cpu().numpy() for part in parts))
    outputs, logits = (np.concatenate(part) for part in zip(*found, strict=True))
    return outputs, logits


def explained(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Floats:
    """Share of the variance of each column that is explained, R²: float64 [dim]."""
    rest = ((np.asarray(found, np.float64) - wanted) ** 2).sum(axis=0)
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)
    share: Floats = 1 - rest / np.where(spread > 0, spread, 1.0)
    return share


def _train(job: Job, folder: RunFolder, options: TrainingOptions, given: Any) -> TrainingResult:
    how = {"progress": False, "resume": False, "tensorboard": False, **given}
    return train(job, folder, options, make_fabric(options), metric=None, **how)


def _job(encoder: Any, step: Any, batches: Any, validation: Any, config: Any, prepare: Any) -> Job:
    return Job(
        stage="embedding",
        model=encoder,
        step=step,
        batches=batches,
        validation=validation,
        config={"model": {"kind": encoder.kind, **encoder.config()}, **config},
        prepare=prepare,
        save=registry.save_model,
        load=registry.load_model,
    )


def _input(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Images as bytes, vectors as float32."""
    return rows if rows.dtype == np.uint8 else np.asarray(rows, np.float32)

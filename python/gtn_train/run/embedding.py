"""The stage "embedding": coordinates that follow the shape of the data, and their encoder.

It comes before the others, in runs whose preset asks for it. Not here: the coordinates themselves
(`spectral`), the other stages (stages.py).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.arrays import convert
from gtn_label.cli import console
from gtn_label.errors import ArgumentError
from gtn_label.io.files import read_array
from gtn_label.text import quoted

from ..files import file_sha256
from ..models import registry
from ..models.autoencoder import encode_rows
from ..seeds import derive
from ..spectral import DiffusionMaps, Embedding, EmbeddingOptions, NeighbourGraph
from ..spectral.embedding import Projection, as_rows, told_apart
from ..spectral.embedding_options import BATCH_SIZE
from ..spectral.graph import NEIGHBOURS, import_scipy
from ..spectral.training import explained, outputs_of, ritz, train_encoder, train_spectral_net
from ..training import TrainingOptions, TrainingResult
from .context import Context
from .manifest import Manifest, StageSpec
from .raw_data import hold_out_rows
from .store import RunFolder

__all__ = ["EMBEDDING_FILE", "ENCODER_FILE", "embedding"]

EMBEDDING_FILE = "embedding.npz"
ENCODER_FILE = "weights.safetensors"
_OUTPUTS = ("config.json", EMBEDDING_FILE, "metrics.jsonl", ENCODER_FILE)


def embedding(ctx: Context) -> Manifest | None:
    """Embed the data and train the encoder; None where the preset has no embedding."""
    options, images = ctx.preset.embedding, ctx.images
    if options is None:
        return None
    raw = None if images is not None else ctx.raw
    n = images.n if images is not None else ctx.raw.n
    inputs = dict(raw.inputs) if raw is not None else {"images": images.sha256 if images else ""}
    if options.file is not None:
        if not Path(options.file).is_file():
            raise FileNotFoundError(
                f"an embedding is made on the latents of {quoted(options.file)}, which is no file"
            )
        inputs["on"] = file_sha256(options.file)
    share, seed = ctx.preset.validation_share, ctx.settings.seed
    held_out = hold_out_rows(n, share, seed)
    training = ctx.settings.training(_training(ctx, options, n - len(held_out)))
    decided = options.deciding()
    decided["on"] = "latents of a file" if options.file is not None else options.on
    spec = StageSpec(
        "embedding",
        inputs,
        {
            **decided,
            **({} if raw is None else raw.options),
            "training": training.deciding(),
            "validation_share": share,
        },
        _OUTPUTS,
    )

    def make(folder: RunFolder) -> float:
        began = time.perf_counter()
        rows = images.images if images is not None else np.asarray(ctx.raw.rows, np.float32)
        places = _places(options, rows)
        if options.method == "exact":
            found, result = _exact(ctx, folder, options, training, rows, places, held_out)
        else:
            found, result = _spectral_net(ctx, folder, options, training, rows, places)
        if ctx.builder.first:
            found.save(folder.path / EMBEDDING_FILE)
        seconds = time.perf_counter() - began
        epochs = console.counted(result.epochs, "epoch")
        ctx.say(f"embedding: {epochs} in {result.seconds:.1f} s, {seconds:.1f} s in all")
        return seconds

    return ctx.builder.build(spec, make, together=True, check=lambda: _check(ctx, options, n))


def _check(ctx: Context, options: EmbeddingOptions, n: int) -> None:
    """Refuse what cannot be embedded here, before anything is written."""
    import_scipy()
    ctx.check_trainable()
    if options.method == "exact" and options.neighbours >= n:
        raise ArgumentError("neighbours", f"must be below the {n} rows", str(options.neighbours))
    if options.dim > n - 2:
        raise ArgumentError(
            "embedding_dim", f"must be at most the {n} rows less 2", str(options.dim)
        )
    if options.file is not None:
        _of_file(options.file, n)
    elif ctx.images is None and (ctx.raw.rows == ctx.raw.rows[0]).all():
        raise ValueError(f"the data must have two distinct rows, and all {n} are equal")


def _of_file(file: str, n: int) -> NDArray[Any]:
    """Read the rows of --embed-on: finite, distinct, one for each of the n rows of the data."""
    shown = quoted(file)
    places = convert.as_rows(read_array(Path(file)), "embed_on").rows
    if len(places) != n:
        rule = f"must have a row for each of the {n} rows of the data"
        raise ArgumentError("embed_on", rule, f"{len(places)} in {shown}")
    if not np.isfinite(places).all():
        raise ArgumentError("embed_on", "must be finite", f"NaN or infinity in {shown}")
    if (places == places[0]).all():
        raise ArgumentError("embed_on", "must have two distinct rows", f"{n} equal ones in {shown}")
    return places


def _training(ctx: Context, options: EmbeddingOptions, n: int) -> TrainingOptions:
    """Options of the network's training; its pace is that of the generator's."""
    images, pace = ctx.images is not None, ctx.preset.generator_training
    usual = 1 if options.method == "exact" and not images else None
    return TrainingOptions(
        batch_size=BATCH_SIZE[options.method],
        learning_rate=1e-3,
        max_epochs=options.epochs_for(n, images=images),
        schedule="cosine",
        threads=usual if options.threads is None else options.threads or None,
        checkpoint_every_seconds=pace.checkpoint_every_seconds,
        keep_last=pace.keep_last,
    )


def _places(options: EmbeddingOptions, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows in which neighbours are sought: float [n, d]."""
    if options.file is not None:
        return _of_file(options.file, len(rows))
    return Projection.fit(rows)(rows) if options.on == "pca50" else as_rows(rows)


def _exact(
    ctx: Context,
    folder: RunFolder,
    options: EmbeddingOptions,
    training: TrainingOptions,
    rows: NDArray[Any],
    places: NDArray[Any],
    held_out: NDArray[np.int64],
) -> tuple[Embedding, TrainingResult]:
    """Compute eigenvectors, and let the encoder learn them."""
    began = time.perf_counter()
    maps = DiffusionMaps.fit(places, options)
    _say_graph(ctx, maps.graph, time.perf_counter() - began)
    encoder = _encoder(ctx, rows, options.dim, len(maps.maps))
    coordinates = maps.coordinates
    result = train_encoder(
        encoder, rows, coordinates, maps.part, held_out, folder, training, **ctx.training
    )
    # With the components known: which one a row belongs to is a question of its own.
    outputs, logits = outputs_of(encoder, rows[held_out])
    part = maps.part[held_out]
    own = outputs[np.arange(len(part)), part]
    wanted = encoder.normalize(coordinates, maps.part)[held_out]
    right = 1.0 if len(maps.maps) == 1 else float((logits.argmax(axis=1) == part).mean())
    meta = _meta(options, maps.graph, explained(own, wanted), right)
    return _embedding(maps.graph, coordinates, maps.eigenvalues, meta), result


def _spectral_net(
    ctx: Context,
    folder: RunFolder,
    options: EmbeddingOptions,
    training: TrainingOptions,
    rows: NDArray[Any],
    places: NDArray[Any],
) -> tuple[Embedding, TrainingResult]:
    """Train SpectralNet, and order its outputs."""
    began = time.perf_counter()
    graph = NeighbourGraph.build(places, min(NEIGHBOURS, len(places) - 1))
    _say_graph(ctx, graph, time.perf_counter() - began)
    if len(graph.sizes) > 1 and options.components == "separate":
        raise ArgumentError(
            "components",
            "must be 'joint' with {embedding_method} 'spectral-net', which has one network for all",
            f"{len(graph.sizes)} components",
            "{embedding_method} 'exact' embeds each by itself",
        )
    encoder = _encoder(ctx, rows, options.dim, 1)
    in_batch = replace(graph, neighbours=options.neighbours)
    result = train_spectral_net(
        encoder, rows, in_batch, options.density_power, folder, training, **ctx.training
    )
    _, values = ritz(encoder, rows, graph, density_power=options.density_power, time=options.time)
    if ctx.builder.first:
        registry.save_model(encoder, folder.weights)
    coordinates = encode_rows(encoder, rows)
    meta = _meta(options, graph, None, 1.0)
    return _embedding(graph, coordinates, values[None], meta), result


def _encoder(ctx: Context, rows: NDArray[Any], dim: int, components: int) -> Any:
    config = {
        "data_shape": list(rows.shape[1:]),
        "latent_dim": dim,
        "components": components,
        "apart": told_apart(dim),
    }
    return registry.make_model("spectral", config, derive(ctx.settings.seed, "embedding"))


def _say_graph(ctx: Context, graph: NeighbourGraph, seconds: float) -> None:
    parts = console.counted(len(graph.sizes), "component")
    ctx.say(f"embedding: {graph.n:,} rows fall into {parts}, in {seconds:.1f} s")
    few = len(graph.merged)
    if few == 1:
        ctx.say(
            f"warning: a component of {graph.merged[0]} rows had too few for coordinates of its "
            "own, and was merged into the nearest"
        )
    elif few:
        ctx.say(
            f"warning: {few} components of {min(graph.merged)} to {max(graph.merged)} rows had too "
            "few for coordinates of their own, and were merged into the nearest"
        )


def _meta(
    options: EmbeddingOptions, graph: NeighbourGraph, r2: Any, right: float
) -> dict[str, Any]:
    return {
        **options.deciding(),
        "separate": options.components == "separate",
        "merged": list(graph.merged),
        "r2": None if r2 is None else [float(value) for value in r2],
        "components_told": right,
    }


def _embedding(
    graph: NeighbourGraph, coordinates: NDArray[Any], eigenvalues: NDArray[Any], meta: Any
) -> Embedding:
    return Embedding(
        coordinates.astype(np.float32),
        eigenvalues,
        graph.component,
        graph.bandwidths.astype(np.float32),
        meta,
    )

"""Diffusion coordinates: their encoder on known shapes, and SpectralNet beside eigenvectors.

The figures are R² of each coordinate, on rows that the encoder was not trained on. Numbers go to
embedding.json after each case, and cases that the file has are not repeated.

- `circle`, `loop`, `torus`: exact eigenvectors and the encoder that learns them, on held-out rows
  and on new ones, whose coordinates are extended (Nyström).
- `grid`: 25 normals, each component with coordinates of its own.
- `moons`: SpectralNet, and the share of rows whose moon its first coordinate tells.
- `loop, SpectralNet` and `torus, SpectralNet`: R² of the first exact coordinates in the span of
  SpectralNet's outputs.

Torch has one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from study import circumstances, options_of, read, write_figure, write_numbers

from gtn_train.data import gaussian_grid, loop, ring, torus
from gtn_train.models.registry import make_model
from gtn_train.report import figures
from gtn_train.run.raw_data import hold_out_rows
from gtn_train.run.store import RunFolder
from gtn_train.seeds import derive
from gtn_train.spectral import DiffusionMap, DiffusionMaps, EmbeddingOptions, NeighbourGraph
from gtn_train.spectral.embedding_options import BATCH_SIZE
from gtn_train.spectral.training import (
    explained,
    outputs_of,
    ritz,
    train_encoder,
    train_spectral_net,
)
from gtn_train.training import TrainingOptions

Rows = npt.NDArray[Any]

SHAPES: dict[str, tuple[Callable[[int, int], Rows], int]] = {
    "circle": (partial(ring, noise=0), 2),
    "loop": (loop, 3),
    "torus": (torus, 4),
    "grid": (gaussian_grid, 2),
}
CASES = [*SHAPES, "moons", "loop, SpectralNet", "torus, SpectralNet"]
NEW_ROWS = 1_000
MOON_EPOCHS = 50  # of four steps
IN_BATCH = 32  # neighbours in a batch of SpectralNet


def training(epochs: int, batch_size: int, seed: int) -> TrainingOptions:
    """Options of an encoder's training, as the stage has them."""
    return TrainingOptions(
        batch_size=batch_size,
        learning_rate=1e-3,
        max_epochs=epochs,
        schedule="cosine",
        accelerator="cpu",
        threads=1,
        seed=seed,
        checkpoint_every_seconds=1e6,
        keep_last=False,
    )


def exact(name: str, n: int, seed: int, epochs: int | None) -> tuple[dict[str, Any], Rows]:
    """Embed a shape, train the encoder, and measure it."""
    draw, dim = SHAPES[name]
    rows, new = draw(n, seed), draw(NEW_ROWS, derive(seed, "new"))
    options = EmbeddingOptions(dim=dim, epochs=epochs)
    began = time.perf_counter()
    maps = DiffusionMaps.fit(rows, options)
    seconds = time.perf_counter() - began
    config = {"data_shape": [rows.shape[1]], "latent_dim": dim, "components": len(maps.maps)}
    encoder = make_model("spectral", config, seed)
    held_out = hold_out_rows(n, 0.2, seed)
    how = training(options.epochs_for(n - len(held_out)), BATCH_SIZE["exact"], seed)
    with tempfile.TemporaryDirectory() as scratch:
        given = (rows, maps.coordinates, maps.part, held_out, RunFolder(scratch), how)
        result = train_encoder(encoder, *given)
    wanted, part = maps.nystroem(new)
    found = {
        "components": len(maps.maps),
        "1 - eigenvalue": [float(f"{1 - value:.3g}") for value in maps.eigenvalues[0]],
        "R2, held-out rows": r2(
            encoder, rows[held_out], maps.coordinates[held_out], maps.part[held_out]
        ),
        "R2, new rows": r2(encoder, new, wanted, part),
        "map, seconds": round(seconds, 1),
        "encoder, seconds": round(result.seconds, 1),
    }
    if len(maps.maps) > 1:
        told = outputs_of(encoder, new)[1].argmax(axis=1)
        found["component told, new rows"] = float((told == part).mean())
    return found, maps.coordinates


def r2(encoder: Any, rows: Rows, wanted: Rows, part: Rows) -> list[float]:
    """R² of coordinates in units of their deviations within each component."""
    outputs, _ = outputs_of(encoder, rows)
    own = outputs[np.arange(len(rows)), part]
    scale = encoder.mix.diagonal(dim1=1, dim2=2).double().numpy()[part]
    target = (wanted - encoder.shift.double().numpy()[part]) / scale
    return [round(float(value), 4) for value in explained(own, target)]


def spectral_net(
    rows: Rows, dim: int, seed: int, epochs: int | None, batch_size: int = 1_024
) -> tuple[Any, Rows, NeighbourGraph, float]:
    """Train SpectralNet; return the encoder, its coordinates, the graph and seconds."""
    graph = NeighbourGraph.build(rows, IN_BATCH)
    options = EmbeddingOptions(dim=dim, method="spectral-net", epochs=epochs)
    encoder = make_model("spectral", {"data_shape": [rows.shape[1]], "latent_dim": dim}, seed)
    how = training(options.epochs_for(len(rows)), batch_size, seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = train_spectral_net(encoder, rows, graph, 1.0, RunFolder(scratch), how)
    whole = NeighbourGraph.build(rows)
    functions, _ = ritz(encoder, rows, whole)
    return encoder, functions, whole, result.seconds


def moons(n: int, seed: int, epochs: int | None) -> dict[str, Any]:
    """Tell two moons apart by SpectralNet's first coordinate."""
    from sklearn.cluster import KMeans
    from sklearn.datasets import make_moons

    rows, moon = make_moons(n, noise=0.05, random_state=seed)
    how = (1, seed, epochs or MOON_EPOCHS, n // 4)
    _, functions, graph, seconds = spectral_net(rows.astype(np.float32), *how)
    cluster = KMeans(2, n_init=5, random_state=0).fit_predict(functions)
    share = float((cluster == moon).mean())
    gram = functions.T @ (functions * law(graph)[:, None])
    return {
        "accuracy": max(share, 1 - share),
        "largest entry of YᵀY/n - I": float(np.abs(gram - np.eye(len(gram))).max()),
        "seconds": round(seconds, 1),
    }


def in_span(name: str, n: int, seed: int, epochs: int | None) -> dict[str, Any]:
    """Explain exact coordinates by SpectralNet's, which span them at best."""
    draw, dim = SHAPES[name]
    rows = draw(n, seed)
    _, functions, graph, seconds = spectral_net(rows, dim, seed, epochs)
    wanted = DiffusionMap.fit(graph, dim).functions
    basis = np.column_stack([np.ones(n), functions])
    fitted = basis @ np.linalg.lstsq(basis, wanted, rcond=None)[0]
    gram = functions.T @ (functions * law(graph)[:, None])
    return {
        "R2 in the span": [round(float(value), 3) for value in explained(fitted, wanted)],
        "largest entry of YᵀY/n - I": float(np.abs(gram - np.eye(len(gram))).max()),
        "seconds": round(seconds, 1),
    }


def law(graph: NeighbourGraph) -> Rows:
    """Compute the stationary law of a graph's walk, with the density divided out."""
    weights = graph.weights
    q = np.asarray(weights.sum(axis=1)).ravel()
    degrees = (1 / q) * (weights @ (1 / q))
    found: Rows = degrees / degrees.sum()
    return found


def main() -> None:
    """Run the cases that the file lacks."""
    parser = options_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds (%(default)s)")
    parser.add_argument("--case", action="append", choices=CASES, help="case to run (all)")
    parser.add_argument("--n", type=int, default=2_000, help="rows of a shape (%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    n, epochs, seeds = (400, 3, 1) if asked.quick else (asked.n, None, asked.seeds)
    path = asked.out / "embedding.json"
    settings = {"n": n, "new rows": NEW_ROWS, "neighbours in a batch": IN_BATCH}
    cases = read(path).get("cases", {}) if read(path).get("settings") == settings else {}
    panels: dict[str, Rows] = {}
    for seed in range(asked.seed, asked.seed + seeds):
        for name in asked.case or CASES:
            known = cases.setdefault(name, {})
            if str(seed) in known:
                continue
            if name in SHAPES:
                known[str(seed)], coordinates = exact(name, n, seed, epochs)
                if seed == asked.seed and name != "grid":
                    panels[name] = coordinates[:, :2].astype(np.float32)
            elif name == "moons":
                known[str(seed)] = moons(n, seed, epochs)
            else:
                known[str(seed)] = in_span(name.partition(",")[0], n, seed, epochs)
            print(name, seed, known[str(seed)], flush=True)
            told = {"study": "embedding", "settings": settings, **circumstances()}
            write_numbers(path, {**told, "cases": cases})
    if panels:
        write_figure(asked.out / "embedding.png", figures.scatter(panels))


if __name__ == "__main__":
    main()

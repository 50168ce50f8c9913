"""This project's generator ĥ as a baseline beside a VDAE's walks, of the other baselines' size.

Algorithm 1 and transport pair sources with latents of the same dimension. So the source has the
rows' own (ambient) dimension where that is not above the latents', and the rows are the latents.
Rows of more columns, such as images, first go through an autoencoder of the same size, as in the
GTN paper, and the source has the dimension of the codes. Not here: the studies (vdae_methods.py).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import torch
from study import Rows, train_on
from vdae import training

from gtn_label.arrays.sources import draw_sources
from gtn_train.models.autoencoder import encode_rows
from gtn_train.models.registry import make_model
from gtn_train.pairs import PairOptions
from gtn_train.pairs.pair_options import one_round
from gtn_train.run.store import RunFolder
from gtn_train.sampling.sample import generate_latents
from gtn_train.seeds import derive
from gtn_train.training import train_autoencoder

__all__ = ["GTN", "sample_clusters", "train_gtn"]

# Three hidden layers, as all baselines have; the slope is that of the project's presets.
NETWORK = {"layers": 4, "width": 256, "batch_norm_layers": 0, "slope": 0.1}

# The labels that docs/reproduction.md found best in few dimensions, and from 5 on.
PLANE = PairOptions(labeling="optimal", tolerance=1e-2, standardize=True)
FOLLOWING = PairOptions(
    labeling="drift", every=3, tolerance=1e-2, transport_batch=1_000, standardize=True
)
MOST_OF_PLANE = 4  # dimensions of the first


@dataclass(frozen=True)
class GTN:
    """A generator, and the decoder behind it.

    Attributes
    ----------
    generator : gtn_train.models.generator.Generator
    autoencoder : MLPAutoencoder or None
        None where the generator makes rows.
    """

    generator: Any
    autoencoder: Any

    def latents(self, n: int, seed: int) -> Rows:
        """Draw sources, [n, dim], from N(0, I)."""
        return draw_sources(n, self.generator.dim, derive(seed, "samples"))

    def sample(self, latents: Rows) -> Rows:
        """Map sources, [n, dim], to rows."""
        found = generate_latents(self.generator, latents)
        if self.autoencoder is None:
            return found
        with torch.inference_mode():
            rows: Rows = self.autoencoder.decode(torch.from_numpy(found)).numpy()
        return rows


def train_gtn(rows: Rows, dim: int, steps: int, seed: int) -> GTN:
    """Train the autoencoder, if rows have more than `dim` columns, and the generator.

    Parameters
    ----------
    rows : float32 [n, m]
    dim, steps, seed : int
    """
    how = training(steps, len(rows), seed)
    autoencoder = None
    if rows.shape[1] > dim:
        config = {"data_shape": [rows.shape[1]], "latent_dim": dim}
        autoencoder = make_model("mlp", config, seed)
        with tempfile.TemporaryDirectory() as scratch:
            train_autoencoder(autoencoder, rows, RunFolder(scratch), how)
        rows = encode_rows(autoencoder, rows)
    options = PLANE if rows.shape[1] <= MOST_OF_PLANE else FOLLOWING
    with options.make(rows, seed, threads=1) as pairs:
        generator, _ = train_on(pairs, NETWORK, how, seed)
    return GTN(generator, autoencoder)


def sample_clusters(rows: Rows, clusters: int, n: int, steps: int, seed: int) -> Rows:
    """Train a generator on transport within clusters, whose numbers it is told, and draw n rows.

    Parameters
    ----------
    rows : float32 [m, dim]
    clusters, n, steps, seed : int
    """
    options = replace(PLANE, clusters=clusters, by_class=True)
    labeling: Any = options.labeling_of(rows, seed, threads=1)
    with one_round(rows, labeling, derive(seed, "round", 0)) as pairs:
        network = {**NETWORK, "classes": clusters}
        generator, _ = train_on(pairs, network, training(steps, len(rows), seed), seed)
    sources, told = labeling.mixture.draw(n, derive(seed, "samples"))
    return generate_latents(generator, sources, classes=told)

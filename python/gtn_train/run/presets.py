"""Whole runs by name, as `gtn-train fit --preset` has them.

Architectures, batch sizes and first learning rates of autoencoders are the papers' (appendix F of
the GTN paper) unless a line says otherwise. Pairs, generators and the end of training are what the
studies in docs/reproduction.md found best; paper.py has the paper's. Not here: the fields
(preset_fields.py), the stages (stages.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..pairs import PairOptions
from ..spectral.embedding_options import EmbeddingOptions
from ..training import TrainingOptions
from .data_options import DataOptions
from .preset_fields import ON_EMBEDDING, TEST_SHARE, Preset
from .vdae_options import VDAEOptions

__all__ = ["OF_VECTORS_TRAINING", "PRESETS", "VDAE_TRAINING", "preset"]


def _vanilla(
    latent_dim: int, batch_size: int, learning_rate: float, max_epochs: int
) -> dict[str, Any]:
    return {
        "autoencoder": "vanilla",
        "latent_dim": latent_dim,
        "autoencoder_training": TrainingOptions(
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=1e-5,
            max_epochs=max_epochs,
            patience=3,
        ),
    }


# Of an autoencoder that --autoencoder mlp adds to a preset of vectors.
OF_VECTORS_TRAINING = TrainingOptions(
    batch_size=128, learning_rate=1e-3, max_epochs=100, patience=10, threads=1
)

# Measured at 5 to 128 dimensions (docs/reproduction.md): labels that follow the generator. They are
# noisy, so the learning rate falls to 0.
_FOLLOWING = PairOptions(
    labeling="drift", every=3, tolerance=1e-2, transport_batch=1000, standardize=True
)
_FOLLOWING_TRAINING = TrainingOptions(
    batch_size=256, learning_rate=1e-3, max_epochs=90, schedule="linear", threads=1
)
# At 5 to 32 dimensions a LeakyReLU that bends more than the paper's is better.
_FOLLOWER: dict[str, Any] = {
    "pairs": _FOLLOWING,
    "layers": 7,
    "width": 256,
    "batch_norm_layers": 0,
    "slope": 0.1,
    "generator_training": _FOLLOWING_TRAINING,
}
# At 128 dimensions the deep network cannot follow. A wide and shallow one does.
_WIDE_FOLLOWER: dict[str, Any] = {
    **_FOLLOWER,
    "layers": 3,
    "width": 512,
    "slope": 0.5,
    "generator_training": replace(_FOLLOWING_TRAINING, threads=None),
}

# Measured on both sets of the plane (docs/reproduction.md): optimal transport leaves no hollow. Its
# labels are a smooth map, so the validation loss is the better judge of weights.
_PLANE = PairOptions(labeling="optimal", tolerance=1e-2, transport_batch=10_000, standardize=True)
_OF_PLANE: dict[str, Any] = {
    "layers": 4,
    "width": 100,
    "batch_norm_layers": 0,
    "slope": 0.1,
    "stop_by": "loss",
    "generator_training": TrainingOptions(
        batch_size=250,
        learning_rate=1e-3,
        max_epochs=40,
        schedule="linear",
        threads=1,
    ),
}

# Sets of known topology; no study has sought a network for them. No homeomorphism leads from the
# normal to most of them, so that labels jump, and their validation loss says little.
_OF_SHAPES: dict[str, Any] = {"pairs": _PLANE, **_OF_PLANE, "stop_by": "energy"}

# Of a VDAE that --autoencoder vdae puts into any preset.
VDAE_TRAINING = TrainingOptions(
    batch_size=256, learning_rate=1e-3, max_epochs=100, schedule="cosine"
)


def _vdae(embedding: EmbeddingOptions, max_epochs: int, threads: int | None = 1) -> dict[str, Any]:
    return {
        "autoencoder": ON_EMBEDDING,
        "vdae": VDAEOptions(),
        "embedding": embedding,
        "autoencoder_training": replace(VDAE_TRAINING, max_epochs=max_epochs, threads=threads),
    }


PRESETS: dict[str, Preset] = {
    "swiss-roll": Preset(
        summary="θ of the swiss roll from N(0, 1), by quantile labels (Fig. 3A)",
        data=DataOptions("swiss-roll", n=50_000),
        pairs=PairOptions(labeling="quantile", every=0),
        layers=4,  # Table 2's
        width=6,
        batch_norm_layers=0,
        generator_training=TrainingOptions(
            batch_size=250, learning_rate=1e-3, max_epochs=60, threads=1
        ),
    ),
    "uniform": Preset(
        summary="the uniform square from N(0, I) (Fig. 3B)",
        data=DataOptions("uniform", n=100_000),
        pairs=_PLANE,
        **_OF_PLANE,
    ),
    "two-squares": Preset(
        summary="two disjoint squares from a mixture of two normals, which the generator is told "
        "apart (Fig. 9, but for that)",
        data=DataOptions("two-squares", n=100_000),
        pairs=replace(_PLANE, clusters=2, by_class=True),
        **_OF_PLANE,
    ),
    "ring": Preset(
        summary="a noisy circle in the plane, by optimal transport",
        data=DataOptions("ring", n=10_000),
        **_OF_SHAPES,
    ),
    "loop": Preset(
        summary="the curve (cos t, sin 2t, sin 3t), by optimal transport",
        data=DataOptions("loop", n=10_000),
        **_OF_SHAPES,
    ),
    "torus": Preset(
        summary="a torus, evenly by area, by optimal transport",
        data=DataOptions("torus", n=10_000),
        **_OF_SHAPES,
    ),
    "sphere": Preset(
        summary="the unit sphere, evenly by area, by optimal transport",
        data=DataOptions("sphere", n=10_000),
        **_OF_SHAPES,
    ),
    "grid": Preset(
        summary="25 normals on a grid of 5 x 5, by optimal transport within each; the generator is "
        "told them apart",
        data=DataOptions("grid", n=10_000),
        **{**_OF_SHAPES, "pairs": replace(_PLANE, clusters=25, by_class=True)},
    ),
    "mesh": Preset(
        summary="points of a mesh of yours (.obj, .ply), evenly by area, by optimal transport",
        data=DataOptions("mesh", n=10_000),
        **_OF_SHAPES,
    ),
    "vdae-loop": Preset(
        summary="the loop with a random walk on it, in 3 diffusion coordinates (VDAE)",
        data=DataOptions("loop", n=2_000),
        **_vdae(EmbeddingOptions(dim=3), 250),
        **_OF_SHAPES,
    ),
    "vdae-torus": Preset(
        summary="the torus with a random walk on it, in 4 diffusion coordinates (VDAE)",
        data=DataOptions("torus", n=2_000),
        **_vdae(EmbeddingOptions(dim=4), 250),
        **_OF_SHAPES,
    ),
    "vdae-bunny": Preset(
        summary="points of a mesh of yours with a random walk on them (VDAE)",
        data=DataOptions("mesh", n=2_000),
        **_vdae(EmbeddingOptions(dim=4), 250),
        **_OF_SHAPES,
    ),
    "vdae-grid": Preset(
        summary="25 normals with a random walk within each (VDAE)",
        data=DataOptions("grid", n=7_500),
        **{**_vdae(EmbeddingOptions(dim=2), 80), "vdae": VDAEOptions(step=4.0)},
        **{**_OF_SHAPES, "pairs": replace(_PLANE, clusters=25, by_class=True)},
    ),
    "vectors": Preset(
        summary="any file of vectors, such as latents of an autoencoder of yours",
        data=DataOptions("vectors"),
        **_FOLLOWER,
    ),
    "mnist": Preset(
        summary="MNIST, 5 latent dimensions (Fig. 6)",
        data=DataOptions("mnist"),
        **_vanilla(5, batch_size=128, learning_rate=1e-3, max_epochs=12),
        **_FOLLOWER,
    ),
    "diffusion-mnist": Preset(
        summary="MNIST, 10 diffusion coordinates in place of an autoencoder's latents",
        data=DataOptions("mnist"),
        embedding=EmbeddingOptions(dim=10, on="pca50"),
        latents_from="embedding",
        **_FOLLOWER,
    ),
    "vdae-mnist": Preset(
        summary="MNIST with a random walk on it, in 10 diffusion coordinates (VDAE)",
        data=DataOptions("mnist"),
        **_vdae(EmbeddingOptions(dim=10, on="pca50"), 10, None),
        **_FOLLOWER,
    ),
    "fashion-mnist": Preset(
        summary="Fashion-MNIST, as MNIST, with 10 latent dimensions",
        data=DataOptions("fashion-mnist"),
        **_vanilla(10, batch_size=128, learning_rate=1e-3, max_epochs=12),
        **_FOLLOWER,
    ),
    "celeba": Preset(
        summary="CelebA, 64 x 64, 100 latent dimensions (Fig. 1, Table 3); wants a GPU",
        data=DataOptions("celeba", size=64, test_share=TEST_SHARE),
        **_vanilla(100, batch_size=200, learning_rate=1e-4, max_epochs=100),
        **_WIDE_FOLLOWER,
    ),
    # Few images have few latents: rounds of many sources make enough steps of them. Measured on 400
    # faces (docs/reproduction.md), where new pairs by Algorithm 1 shrank the norms.
    "small-folder": Preset(
        summary="a folder of a few hundred images, 64 x 64, 16 latent dimensions; minutes on a CPU",
        data=DataOptions("folder", size=64, test_share=TEST_SHARE),
        autoencoder="vanilla",
        latent_dim=16,
        autoencoder_training=TrainingOptions(
            batch_size=32,
            learning_rate=1e-3,
            weight_decay=1e-5,
            max_epochs=100,
            patience=10,
        ),
        **{**_FOLLOWER, "pairs": replace(_FOLLOWING, round_size=2_000)},
    ),
    "hap": Preset(
        summary="a folder of images such as Hands and Palm, 64 x 64 (Table 3); wants a GPU",
        data=DataOptions("folder", size=64, test_share=TEST_SHARE),
        **_vanilla(100, batch_size=200, learning_rate=1e-4, max_epochs=300),
        **_WIDE_FOLLOWER,
    ),
    "cifar10": Preset(
        summary="CIFAR-10, 128 latent dimensions of the VAE's twin (Table 1); wants a GPU",
        data=DataOptions("cifar10"),
        autoencoder="vae-twin",
        latent_dim=128,
        autoencoder_training=TrainingOptions(
            batch_size=64,
            learning_rate=5e-3,
            learning_rate_decay=0.95,
            max_epochs=100,
            patience=10,
        ),
        **_WIDE_FOLLOWER,
    ),
}


def preset(name: str, **changes: Any) -> Preset:
    """Look a preset up, with changes.

    Parameters
    ----------
    name : str
        One of `PRESETS`.
    changes
        Fields of `Preset` to replace.

    Raises
    ------
    ValueError
        If there is no such preset.

    Examples
    --------
    >>> preset("mnist", latent_dim=8).latent_dim
    8
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return replace(PRESETS[name], **changes)

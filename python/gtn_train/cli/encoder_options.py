"""Options of the stages that make latents: embedding and autoencoder."""

from __future__ import annotations

import click

from gtn_label.cli.sections import Integer

from ..run.preset_fields import AUTOENCODER_KINDS, LATENTS_FROM
from ..spectral.embedding_options import COMPONENTS, METHODS
from .option_kinds import COUNT, PATH, in_section, training

__all__ = ["AUTOENCODER", "EMBEDDING", "LATENTS"]

_embedding, _images = in_section("Embedding"), in_section("Autoencoder")

EMBEDDING = [
    _embedding(
        "--embedding-dim",
        type=COUNT,
        metavar="D",
        help="Number of diffusion coordinates.  [default: 10 for images, else 2]",
    ),
    _embedding(
        "--neighbours",
        type=COUNT,
        metavar="K",
        help="Neighbours of each row in the graph; with --embedding-method spectral-net in a batch "
        "of 1,024 rows, where 32 are better.  [default: 16]",
    ),
    _embedding(
        "--density-power",
        type=float,
        metavar="A",
        help="Power of the density that weights are divided by; 0: coordinates also follow the "
        "density.  [default: 1]",
    ),
    _embedding(
        "--diffusion-time",
        type=float,
        metavar="T",
        help="Steps of the walk whose distances the coordinates have.  [default: 1]",
    ),
    _embedding(
        "--embedding-method",
        type=click.Choice(METHODS),
        help="Eigenvectors, which the encoder then learns, or SpectralNet.  [default: exact]",
    ),
    _embedding(
        "--embed-on",
        metavar="WHAT",
        help="Rows in which neighbours are sought: rows; pca50, 50 principal components of them; "
        "or a file of latents, one for each row.  [default: rows, or pca50 for images]",
    ),
    _embedding(
        "--components",
        type=click.Choice(COMPONENTS),
        help="Embed each component of the graph by itself, or all together.  [default: separate]",
    ),
    _embedding(
        "--embedding-epochs",
        type=COUNT,
        metavar="N",
        help="Epochs of the encoder.  [default: as many as make 2,500 steps; 600 for images, 2,000 "
        "with spectral-net]",
    ),
]
LATENTS = [
    _embedding(
        "--latents-from",
        type=click.Choice(LATENTS_FROM),
        help="Take the data for latents, encoded where there is an autoencoder, or their diffusion "
        "coordinates.  [default: data, but for diffusion-mnist]",
    ),
]
AUTOENCODER = [
    _images("--autoencoder", type=click.Choice(AUTOENCODER_KINDS), help="Kind of autoencoder."),
    _images(
        "--autoencoder-from",
        type=PATH,
        metavar="FOLDER",
        help="Folder of diffusers' AutoencoderKL, in place of an autoencoder that the run trains: "
        "config.json and its .safetensors, or a pipeline with these in vae/.",
    ),
    _images("--latent-dim", type=COUNT, metavar="D", help="Dimension of the latents."),
    *training(_images, "autoencoder", "autoencoder-", "Images"),
    _images(
        "--vdae-neighbours",
        type=Integer(min=2),
        metavar="K",
        help="Nearest latents whose covariance is that of a step of --autoencoder vdae.  "
        "[default: 32]",
    ),
    _images(
        "--vdae-step",
        type=float,
        metavar="A",
        help="Factor on that covariance: how far a walk goes in a step.  [default: 16]",
    ),
    _images(
        "--vdae-ridge",
        type=float,
        metavar="R",
        help="Share of the mean variance that is added to each variance of a step.  "
        "[default: 0.01]",
    ),
    _images(
        "--vdae-noise",
        type=float,
        metavar="X",
        help="Standard deviation of the decoder's noise, in units of the data's; it weighs the "
        "reconstruction.  [default: 0.1]",
    ),
    _images(
        "--vdae-couple/--no-vdae-couple",
        default=None,
        help="Let the reconstruction train the covariances too, as in the paper, which makes steps "
        "shorter than --vdae-step says.",
    ),
]

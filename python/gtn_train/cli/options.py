"""Options of the commands that make a run, in sections of --help.

Nothing here waits for torch, so that a wrong option is refused at once. Not here: the settings that
options lead to (asked.py), running the stages (make.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gtn_label.checks import ORDERS
from gtn_label.cli.sections import Integer
from gtn_label.cli.sections import option as _option

from ..data import SET_NAMES
from ..evaluation import STOP_BY
from ..pairs.pair_options import LABELINGS
from ..run.preset_fields import AUTOENCODER_KINDS, GENERATOR_KINDS, LATENTS_FROM
from ..run.presets import PRESETS
from ..spectral.embedding_options import COMPONENTS, METHODS
from ..training.training_options import ACCELERATORS, OPTIMIZERS, PRECISIONS

__all__ = ["options_of"]

Option = Callable[..., Any]

_BY_LOSS = " and ".join(name for name, preset in PRESETS.items() if preset.stop_by == "loss")

_COUNT, _FROM_ZERO = Integer(min=1), Integer(min=0)
_PATH = click.Path(path_type=Path, readable=False)


def _in(section: str) -> Callable[..., Option]:
    """Return `option` for one section."""

    def declare(*names: str, **attributes: Any) -> Option:
        return _option(section, *names, **attributes)

    return declare


_run, _data, _embedding, _images, _pairs, _generator, _computing = map(
    _in, ("Run", "Data", "Embedding", "Autoencoder", "Pairs", "Generator", "Computing")
)


def _training(declare: Callable[..., Option], of: str, prefix: str, rows: str) -> list[Option]:
    """Options of a training: of the autoencoder, with a prefix, or of the generator."""
    return [
        declare(f"--{of}-epochs", type=_COUNT, metavar="N", help=f"Maximum epochs of the {of}."),
        declare(
            f"--{prefix}batch-size",
            type=_COUNT,
            metavar="N",
            help=f"{rows} in a step of the {of}.",
        ),
        declare(
            f"--{prefix}learning-rate",
            type=float,
            metavar="X",
            help=f"Adam's learning rate for the {of}.",
        ),
        declare(
            f"--{prefix}learning-rate-decay",
            type=float,
            metavar="X",
            help=f"Factor on the {of}'s learning rate after each epoch.",
        ),
        declare(
            f"--{prefix}schedule",
            metavar="NAME",
            help=f"Decay of the {of}'s learning rate: exponential, by that factor; linear, evenly "
            "to 0; cosine, along half a cosine to 0; or a class of torch.optim.lr_scheduler.",
        ),
        declare(
            f"--{prefix}schedule-arguments",
            metavar="JSON",
            help="Arguments of a schedule of torch, as a JSON object.  [default: {}]",
        ),
        declare(
            f"--{prefix}schedule-each",
            type=click.Choice(("epoch", "step")),
            help="Pace of a schedule of torch.  [default: epoch]",
        ),
        declare(
            f"--{prefix}warmup-steps",
            type=_FROM_ZERO,
            metavar="N",
            help=f"Steps over which the {of}'s learning rate rises at first.  [default: 0]",
        ),
        declare(
            f"--{prefix}optimizer",
            type=click.Choice(OPTIMIZERS),
            help=f"Optimizer of the {of}.  [default: adam]",
        ),
        declare(
            f"--{prefix}weight-decay",
            type=float,
            metavar="X",
            help=f"L2 penalty of Adam on the {of}'s weights, or decay of AdamW.",
        ),
        declare(
            f"--{prefix}clip-norm",
            type=float,
            metavar="X",
            help=f"Largest norm of the {of}'s gradient; 0: any.  [default: 0]",
        ),
        declare(
            f"--{prefix}ema",
            type=float,
            metavar="X",
            help=f"Decay of a moving average of the {of}'s weights, which is evaluated and kept "
            "in their place; 0: none.  [default: 0]",
        ),
        declare(
            f"--{prefix}patience",
            type=_FROM_ZERO,
            metavar="N",
            help=f"Stop the {of} after N evaluations in a row without improvement; 0: never.",
        ),
    ]


_RUN = [
    _run(
        "--preset",
        "preset_name",
        type=click.Choice(list(PRESETS)),
        metavar="NAME",
        help="Preset to start from; gtn-train --help lists them. Required for a new run, unless "
        "--config is given.",
    ),
    _run(
        "--config",
        type=_PATH,
        metavar="FILE",
        help="File of settings to start from, in place of a preset: the run.json of a run, or JSON "
        "or TOML with some of its fields.",
    ),
    _run(
        "--paper",
        is_flag=True,
        help="Take the paper's pairs, network and stopping in place of the preset's.",
    ),
    _run(
        "--out",
        type=_PATH,
        metavar="DIR",
        required=True,
        help="Folder of the run, with one subfolder per stage.",
    ),
    _run("--seed", type=_FROM_ZERO, metavar="N", help="Random seed.  [default: 0]"),
    _run(
        "--resume",
        is_flag=True,
        help="Continue an interrupted run, and rebuild the stages that other options or data have "
        "made invalid. Without --resume no stage is replaced.",
    ),
    _run("-q", "--quiet", is_flag=True, help="Print errors only."),
]
_DATA = [
    _data(
        "--data",
        type=_PATH,
        metavar="PATH",
        help="Folder or file of the data. Synthetic sets have none.",
    ),
    _data(
        "--set",
        "set_name",
        type=click.Choice(SET_NAMES),
        metavar="SET",
        help=f"Kind of image set, if not the preset's: {', '.join(SET_NAMES)}.",
    ),
    _data(
        "--size",
        type=Integer(min=4),
        metavar="PIXELS",
        help="Height and width of resized image files, in pixels.  [default: 64]",
    ),
    _data(
        "--channels",
        type=click.Choice(("1", "3")),
        help="Channels of decoded image files: 1 (grey) or 3 (RGB).  [default: 3]",
    ),
    _data(
        "--n",
        type=Integer(min=2),
        metavar="N",
        help="Number of rows of a synthetic set, or of points of a mesh.",
    ),
    _data("--key", metavar="NAME", help="Name of the array, in a file with several."),
    _data(
        "--test-share",
        type=float,
        metavar="X",
        help="Share of the images that only `evaluate` sees, in sets without test images; 0: "
        "none.  [default: 0.1]",
    ),
    _data(
        "--validation-share",
        type=float,
        metavar="X",
        help="Share of the other images, and of the latents, that chooses the best weights and "
        "stops training.",
    ),
]
_EMBEDDING = [
    _embedding(
        "--embedding-dim",
        type=_COUNT,
        metavar="D",
        help="Number of diffusion coordinates.  [default: 10 for images, else 2]",
    ),
    _embedding(
        "--neighbours",
        type=_COUNT,
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
        type=_COUNT,
        metavar="N",
        help="Epochs of the encoder.  [default: as many as make 2,500 steps; 600 for images, 2,000 "
        "with spectral-net]",
    ),
]
_LATENTS = [
    _embedding(
        "--latents-from",
        type=click.Choice(LATENTS_FROM),
        help="Take the data for latents, encoded where there is an autoencoder, or their diffusion "
        "coordinates.  [default: data, but for diffusion-mnist]",
    ),
]
_AUTOENCODER = [
    _images("--autoencoder", type=click.Choice(AUTOENCODER_KINDS), help="Kind of autoencoder."),
    _images(
        "--autoencoder-from",
        type=_PATH,
        metavar="FOLDER",
        help="Folder of diffusers' AutoencoderKL, in place of an autoencoder that the run trains: "
        "config.json and its .safetensors, or a pipeline with these in vae/.",
    ),
    _images("--latent-dim", type=_COUNT, metavar="D", help="Dimension of the latents."),
    *_training(_images, "autoencoder", "autoencoder-", "Images"),
]
_VDAE = [
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
_PAIRS = [
    _pairs(
        "--labeling",
        type=click.Choice(LABELINGS),
        help="Method that matches sources with latents: Algorithm 1, the quantile map (dimension "
        "1), Algorithm 1 within clusters (Fig. 9), optimal transport, labels that follow the "
        "generator and drift to the data, or the radial map (rotation-invariant data).",
    ),
    _pairs(
        "--clusters",
        type=Integer(min=2),
        metavar="K",
        help="Number of clusters, with --labeling clusters (default: 2) or optimal (default: "
        "none).",
    ),
    _pairs(
        "--order",
        type=click.Choice(ORDERS),
        help="Order in which sources choose: ascending norm (the paper's), descending norm, or as "
        "drawn.",
    ),
    _pairs(
        "--cone",
        type=_COUNT,
        metavar="K",
        help="Take the latent of smallest norm among the K of largest cosine; 1 is the paper's "
        "Algorithm 1.",
    ),
    _pairs(
        "--center/--no-center", default=None, help="Subtract the latents' mean before matching."
    ),
    _pairs(
        "--standardize/--no-standardize",
        default=None,
        help="Scale latents to mean 0 and deviation 1 in each coordinate before matching.",
    ),
    _pairs(
        "--by-class/--no-by-class",
        default=None,
        help="Match within classes, so that samples can be drawn by class.",
    ),
    _pairs(
        "--tolerance",
        type=float,
        metavar="T",
        help="Relative gap at which the transport of --labeling optimal and drift may stop.  "
        "[default: 0.001]",
    ),
    _pairs(
        "--transport-batch",
        type=_FROM_ZERO,
        metavar="N",
        help="Rows in a batch of the transport of --labeling optimal and drift; 0: all at once.",
    ),
]
_NEW_PAIRS = [
    _pairs(
        "--every",
        type=_FROM_ZERO,
        metavar="N",
        help="Draw and match new sources every N epochs; 0: never, as in the paper.",
    ),
    _pairs(
        "--round-size",
        type=_FROM_ZERO,
        metavar="N",
        help="Sources in a round of --labeling drift; 0: one for each latent.",
    ),
    _pairs(
        "--by-prices/--no-by-prices",
        default=None,
        help="Label new sources by the prices of the first matching, with --labeling optimal.",
    ),
]
_GENERATOR = [
    _generator(
        "--generator",
        type=click.Choice(GENERATOR_KINDS[:2]),
        help="Kind of generator: a network of one pass, or a flow that follows a velocity in a few "
        "steps.  [default: network]",
    ),
    _generator(
        "--generator-class",
        metavar="PLACE",
        help="Class of a network of your own in place of --generator, such as nets:MyNet for the "
        "class MyNet of nets.py. PYTHONPATH must lead to it. --generator-arguments alone set its "
        "size.",
    ),
    _generator(
        "--generator-arguments",
        metavar="JSON",
        help="Arguments of --generator-class, as a JSON object.  [default: {}]",
    ),
    _generator(
        "--steps",
        type=_COUNT,
        metavar="N",
        help="Steps of a flow, of two evaluations each.  [default: 4]",
    ),
    _generator(
        "--layers",
        type=_COUNT,
        metavar="N",
        help="Number of linear layers in the generator, including the output layer.",
    ),
    _generator(
        "--width", type=_COUNT, metavar="N", help="Units in each hidden layer of the generator."
    ),
    _generator(
        "--batch-norm-layers",
        type=_FROM_ZERO,
        metavar="N",
        help="Number of hidden layers, from the first, with batch normalisation.",
    ),
    _generator(
        "--slope",
        type=float,
        metavar="X",
        help="Slope of the generator's LeakyReLU below zero; the paper's is 0.5.",
    ),
    _generator(
        "--dropout",
        type=float,
        metavar="X",
        help="Share of the generator's hidden units that each step leaves out.  [default: 0]",
    ),
    _generator(
        "--scale-labels/--no-scale-labels",
        default=None,
        help="Let the network learn labels of mean 0 and deviation 1, or the latents themselves "
        "as in the paper.",
    ),
    *_training(_generator, "generator", "", "Pairs"),
    _generator(
        "--ema-labels/--no-ema-labels",
        default=None,
        help="Let the labels of --labeling drift follow the average of --ema.",
    ),
    _generator(
        "--stop-by",
        type=click.Choice(STOP_BY),
        help="Figure that selects the generator's best weights and stops training: the energy "
        "distance of samples to held-out latents, the validation loss, IS of 200 generated images, "
        "or FID of 1,000 against training images, after each epoch. IS-Lite0 and FD-Lite0 replace "
        f"IS and FID offline.  [default: energy; loss with {_BY_LOSS}]",
    ),
    _generator(
        "--weights",
        type=_PATH,
        metavar="FILE",
        help="File of Inception's weights, for --stop-by IS or FID; see `evaluate`.",
    ),
]
_COMPUTING = [
    _computing(
        "--accelerator",
        type=click.Choice(ACCELERATORS),
        help="Device.  [default: auto, a GPU if there is one]",
    ),
    _computing(
        "--precision", type=click.Choice(PRECISIONS), help="Training precision.  [default: 32-true]"
    ),
    _computing(
        "--threads",
        type=_COUNT,
        metavar="N",
        help="CPU threads for matching; the run keeps the number for its later stages.  "
        "[default: all]",
    ),
    _computing(
        "--training-threads",
        type=_FROM_ZERO,
        metavar="N",
        help="CPU threads for training, at most 1024; 0: torch's own number. Presets of small "
        "networks have 1.",
    ),
    _computing(
        "--checkpoint-seconds",
        "checkpoint_every_seconds",
        type=float,
        metavar="S",
        help="Least time between two checkpoints of a training, in seconds.  [default: twenty "
        "times as long as the last one took]",
    ),
    _computing(
        "--keep-last/--no-keep-last",
        default=None,
        help="Keep a training's last state in last.ckpt, so that more epochs can follow. The file "
        "is about four times as large as the weights.  [default: --keep-last]",
    ),
    _computing(
        "--tensorboard", is_flag=True, help="Write TensorBoard's event files beside metrics.jsonl."
    ),
]

_CODER = [*_AUTOENCODER, *_VDAE]
_ENCODED = [*_EMBEDDING, *_LATENTS, *_CODER]
_OF_STAGE = {
    "embedding": _EMBEDDING,
    "autoencoder": [*_EMBEDDING, *_CODER],
    "latents": _ENCODED,
    "pairs": [*_ENCODED, *_PAIRS],
    "generator": [*_ENCODED, *_PAIRS, *_NEW_PAIRS, *_GENERATOR],
    "samples": [*_ENCODED, *_PAIRS, *_NEW_PAIRS, *_GENERATOR],
}


def options_of(stage: str) -> list[Option]:
    """Options of a stage and of the stages before it, as click's decorators.

    Parameters
    ----------
    stage : str
        One of `settings.STAGES`.
    """
    return [*_RUN, *_DATA, *_OF_STAGE[stage], *_COMPUTING]

"""Options of the pairs and of the generator that is trained on them."""

from __future__ import annotations

import click

from gtn_label.checks import ORDERS
from gtn_label.cli.sections import Integer

from ..evaluation import STOP_BY
from ..pairs.pair_options import LABELINGS
from ..run.preset_fields import GENERATOR_KINDS
from ..run.presets import PRESETS
from .option_kinds import COUNT, FROM_ZERO, PATH, in_section, training

__all__ = ["GENERATOR", "NEW_PAIRS", "PAIRS"]

_BY_LOSS = " and ".join(name for name, preset in PRESETS.items() if preset.stop_by == "loss")

_pairs, _generator = in_section("Pairs"), in_section("Generator")

PAIRS = [
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
        type=COUNT,
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
        type=FROM_ZERO,
        metavar="N",
        help="Rows in a batch of the transport of --labeling optimal and drift; 0: all at once.",
    ),
]
NEW_PAIRS = [
    _pairs(
        "--every",
        type=FROM_ZERO,
        metavar="N",
        help="Draw and match new sources every N epochs; 0: never, as in the paper.",
    ),
    _pairs(
        "--round-size",
        type=FROM_ZERO,
        metavar="N",
        help="Sources in a round of --labeling drift; 0: one for each latent.",
    ),
    _pairs(
        "--by-prices/--no-by-prices",
        default=None,
        help="Label new sources by the prices of the first matching, with --labeling optimal.",
    ),
]
GENERATOR = [
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
        type=COUNT,
        metavar="N",
        help="Steps of a flow, of two evaluations each.  [default: 4]",
    ),
    _generator(
        "--layers",
        type=COUNT,
        metavar="N",
        help="Number of linear layers in the generator, including the output layer.",
    ),
    _generator(
        "--width", type=COUNT, metavar="N", help="Units in each hidden layer of the generator."
    ),
    _generator(
        "--batch-norm-layers",
        type=FROM_ZERO,
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
    *training(_generator, "generator", "", "Pairs"),
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
        type=PATH,
        metavar="FILE",
        help="File of Inception's weights, for --stop-by IS or FID; see `evaluate`.",
    ),
]

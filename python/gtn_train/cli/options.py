"""Options of the commands that make a run, in sections of --help.

Nothing here waits for torch, so that a wrong option is refused at once. Options of single stages
are in encoder_options.py and generator_options.py. Not here: the settings that options lead to
(asked.py), running the stages (make.py).
"""

from __future__ import annotations

import click

from gtn_label.cli.sections import Integer

from ..data import SET_NAMES
from ..run.presets import PRESETS
from ..training.training_options import ACCELERATORS, PRECISIONS
from .encoder_options import AUTOENCODER, EMBEDDING, LATENTS
from .generator_options import GENERATOR, NEW_PAIRS, PAIRS
from .option_kinds import COUNT, FROM_ZERO, PATH, Option, in_section

__all__ = ["options_of"]

_run, _data, _computing = map(in_section, ("Run", "Data", "Computing"))

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
        type=PATH,
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
        type=PATH,
        metavar="DIR",
        required=True,
        help="Folder of the run, with one subfolder per stage.",
    ),
    _run("--seed", type=FROM_ZERO, metavar="N", help="Random seed.  [default: 0]"),
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
        type=PATH,
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
        type=COUNT,
        metavar="N",
        help="CPU threads for matching; the run keeps the number for its later stages.  "
        "[default: all]",
    ),
    _computing(
        "--training-threads",
        type=FROM_ZERO,
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

_ENCODED = [*EMBEDDING, *LATENTS, *AUTOENCODER]
_OF_STAGE = {
    "embedding": EMBEDDING,
    "autoencoder": [*EMBEDDING, *AUTOENCODER],
    "latents": _ENCODED,
    "pairs": [*_ENCODED, *PAIRS],
    "generator": [*_ENCODED, *PAIRS, *NEW_PAIRS, *GENERATOR],
    "samples": [*_ENCODED, *PAIRS, *NEW_PAIRS, *GENERATOR],
}


def options_of(stage: str) -> list[Option]:
    """Options of a stage and of the stages before it, as click's decorators.

    Parameters
    ----------
    stage : str
        One of `settings.STAGES`.
    """
    return [*_RUN, *_DATA, *_OF_STAGE[stage], *_COMPUTING]

"""Options of the commands that make a run, and their translation to the run's settings.

Nothing here waits for torch, so that a wrong option is refused at once. Not here: the stages
(run/stages.py), running them (make.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gtn_label.checks import ORDERS
from gtn_label.cli.sections import Integer
from gtn_label.text import quoted

from ..data import SET_NAMES
from ..evaluation import STOP_BY
from ..files import parse_json
from ..pairs.pair_options import LABELINGS
from ..run.paper import as_in_paper
from ..run.presets import GENERATOR_KINDS, PRESETS, DataOptions, Preset, preset
from ..run.settings import RUN_FILE, STAGES, Computing, RunSettings
from ..training.processes import processes_here
from ..training.training_options import ACCELERATORS, OPTIMIZERS, PRECISIONS, SCHEDULES

__all__ = ["options_of", "settings_of"]

_COUNT = Integer(min=1)


def _option(*names: str, **attributes: Any) -> Callable[..., Any]:
    return click.option(*names, **attributes)


_DATA = [
    _option(
        "--preset",
        "preset_name",
        type=click.Choice(list(PRESETS)),
        metavar="NAME",
        help="Preset to start from; gtn-train --help lists them. Required for a new run.",
    ),
    _option(
        "--paper",
        is_flag=True,
        help="Take the paper's pairs, network and stopping in place of the preset's.",
    ),
    _option(
        "--data",
        type=click.Path(path_type=Path, readable=False),
        metavar="PATH",
        help="Folder or file of the data. Synthetic sets have none.",
    ),
    _option(
        "--set",
        "set_name",
        type=click.Choice(SET_NAMES),
        metavar="SET",
        help=f"Kind of image set, if not the preset's: {', '.join(SET_NAMES)}.",
    ),
    _option(
        "--size",
        type=Integer(min=4),
        metavar="PIXELS",
        help="Height and width of resized image files, in pixels.  [default: 64]",
    ),
    _option("--n", type=Integer(min=2), metavar="N", help="Number of rows of a synthetic set."),
    _option("--key", metavar="NAME", help="Name of the array, in a file with several."),
    _option(
        "--out",
        type=click.Path(path_type=Path, readable=False),
        metavar="DIR",
        required=True,
        help="Folder of the run, with one subfolder per stage.",
    ),
    _option("--seed", type=Integer(min=0), metavar="N", help="Random seed.  [default: 0]"),
]
_AUTOENCODER = [
    _option("--latent-dim", type=_COUNT, metavar="D", help="Dimension of the latents."),
    _option(
        "--autoencoder-epochs", type=_COUNT, metavar="N", help="Maximum epochs of the autoencoder."
    ),
]
_PAIRS = [
    _option(
        "--labeling",
        type=click.Choice(LABELINGS),
        help="Method that matches sources with latents: Algorithm 1, the quantile map (dimension "
        "1), Algorithm 1 within clusters (Fig. 9), optimal transport, or labels that follow the "
        "generator and drift to the data.",
    ),
    _option(
        "--clusters",
        type=Integer(min=2),
        metavar="K",
        help="Number of clusters, with --labeling clusters (default: 2) or optimal (default: "
        "none).",
    ),
    _option(
        "--order",
        type=click.Choice(ORDERS),
        help="Order in which sources choose: ascending norm (the paper's), descending norm, or as "
        "drawn.",
    ),
    _option(
        "--cone",
        type=_COUNT,
        metavar="K",
        help="Take the latent of smallest norm among the K of largest cosine; 1 is the paper's "
        "Algorithm 1.",
    ),
    _option(
        "--center/--no-center", default=None, help="Subtract the latents' mean before matching."
    ),
    _option(
        "--standardize/--no-standardize",
        default=None,
        help="Scale latents to mean 0 and deviation 1 in each coordinate before matching.",
    ),
    _option(
        "--by-class/--no-by-class",
        default=None,
        help="Match within classes, so that samples can be drawn by class.",
    ),
    _option(
        "--tolerance",
        type=float,
        metavar="T",
        help="Relative gap at which the transport of --labeling optimal and drift may stop.  "
        "[default: 0.001]",
    ),
    _option(
        "--transport-batch",
        type=Integer(min=0),
        metavar="N",
        help="Rows in a batch of the transport of --labeling optimal and drift; 0: all at once.",
    ),
]
_GENERATOR = [
    _option(
        "--every",
        type=Integer(min=0),
        metavar="N",
        help="Draw and match new sources every N epochs; 0: never, as in the paper.",
    ),
    _option(
        "--round-size",
        type=Integer(min=0),
        metavar="N",
        help="Sources in a round of --labeling drift; 0: one for each latent.",
    ),
    _option(
        "--by-prices/--no-by-prices",
        default=None,
        help="Label new sources by the prices of the first matching, with --labeling optimal.",
    ),
    _option(
        "--generator",
        type=click.Choice(GENERATOR_KINDS[:2]),
        help="Kind of generator: a network of one pass, or a flow that follows a velocity in a few "
        "steps.  [default: network]",
    ),
    _option(
        "--generator-class",
        metavar="PLACE",
        help="Class of a network of your own in place of --generator, such as nets:MyNet for the "
        "class MyNet of nets.py. PYTHONPATH must lead to it.",
    ),
    _option(
        "--generator-arguments",
        metavar="JSON",
        help="Arguments of --generator-class, as a JSON object.  [default: {}]",
    ),
    _option(
        "--steps",
        type=_COUNT,
        metavar="N",
        help="Steps of a flow, of two evaluations each.  [default: 4]",
    ),
    _option(
        "--generator-epochs", type=_COUNT, metavar="N", help="Maximum epochs of the generator."
    ),
    _option(
        "--layers",
        type=_COUNT,
        metavar="N",
        help="Number of linear layers in the generator, including the output layer.",
    ),
    _option(
        "--width", type=_COUNT, metavar="N", help="Units in each hidden layer of the generator."
    ),
    _option(
        "--batch-norm-layers",
        type=Integer(min=0),
        metavar="N",
        help="Number of hidden layers, from the first, with batch normalisation.",
    ),
    _option(
        "--slope",
        type=float,
        metavar="X",
        help="Slope of the generator's LeakyReLU below zero; the paper's is 0.5.",
    ),
    _option(
        "--dropout",
        type=float,
        metavar="X",
        help="Share of the generator's hidden units that each step leaves out.  [default: 0]",
    ),
    _option("--batch-size", type=_COUNT, metavar="N", help="Pairs in a step of the generator."),
    _option(
        "--optimizer",
        type=click.Choice(OPTIMIZERS),
        help="Optimizer of the generator.  [default: adam]",
    ),
    _option(
        "--weight-decay",
        type=float,
        metavar="X",
        help="L2 penalty of Adam on the generator's weights, or decay of AdamW.  [default: 0]",
    ),
    _option(
        "--clip-norm",
        type=float,
        metavar="X",
        help="Largest norm of the generator's gradient; 0: any.  [default: 0]",
    ),
    _option(
        "--learning-rate", type=float, metavar="X", help="Adam's learning rate for the generator."
    ),
    _option(
        "--learning-rate-decay",
        type=float,
        metavar="X",
        help="Factor on the generator's learning rate after each epoch.",
    ),
    _option(
        "--schedule",
        type=click.Choice(SCHEDULES),
        help="Decay of the generator's learning rate: by a factor, evenly to 0, or along half a "
        "cosine to 0.",
    ),
    _option(
        "--warmup-steps",
        type=Integer(min=0),
        metavar="N",
        help="Steps over which the generator's learning rate rises at first.  [default: 0]",
    ),
    _option(
        "--ema",
        type=float,
        metavar="X",
        help="Decay of a moving average of the generator's weights, which is evaluated and kept in "
        "their place; 0: none.  [default: 0]",
    ),
    _option(
        "--ema-labels/--no-ema-labels",
        default=None,
        help="Let the labels of --labeling drift follow the average of --ema.",
    ),
    _option(
        "--patience",
        type=Integer(min=0),
        metavar="N",
        help="Stop the generator after N evaluations in a row without improvement; 0: never.",
    ),
    _option(
        "--stop-by",
        type=click.Choice(STOP_BY),
        help="Figure that selects the generator's best weights and stops training: the energy "
        "distance of samples to held-out latents, the validation loss, IS of 200 generated images, "
        "or FID of 1,000 against training images, after each epoch. IS-Lite0 and FD-Lite0 replace "
        "IS and FID offline.  [default: energy]",
    ),
    _option(
        "--weights",
        type=click.Path(path_type=Path, readable=False),
        metavar="FILE",
        help="File of Inception's weights, for --stop-by IS or FID; see `evaluate`.",
    ),
]
_COMPUTING = [
    _option(
        "--accelerator",
        type=click.Choice(ACCELERATORS),
        help="Device.  [default: auto, a GPU if there is one]",
    ),
    _option(
        "--precision", type=click.Choice(PRECISIONS), help="Training precision.  [default: 32-true]"
    ),
    _option(
        "--threads",
        type=_COUNT,
        metavar="N",
        help="CPU threads for matching; the run keeps the number for its later stages.  "
        "[default: all]",
    ),
    _option(
        "--training-threads",
        type=_COUNT,
        metavar="N",
        help="CPU threads for training; 1 is best for a small network.  [default: the preset's]",
    ),
    _option(
        "--checkpoint-seconds",
        "checkpoint_every_seconds",
        type=float,
        metavar="S",
        help="Least time between two checkpoints of a training, in seconds.  [default: twenty "
        "times as long as the last one took]",
    ),
    _option(
        "--keep-last/--no-keep-last",
        default=None,
        help="Keep a training's last state in last.ckpt, so that more epochs can follow. The file "
        "is about four times as large as the weights.  [default: --keep-last]",
    ),
    _option(
        "--tensorboard", is_flag=True, help="Write TensorBoard's event files beside metrics.jsonl."
    ),
    _option(
        "--resume",
        is_flag=True,
        help="Continue an interrupted run, and rebuild the stages that other options or data have "
        "made invalid. Without --resume no stage is replaced.",
    ),
    _option("-q", "--quiet", is_flag=True, help="Print errors only."),
]

_OF_STAGE = {
    "autoencoder": [*_DATA, *_AUTOENCODER],
    "latents": [*_DATA, *_AUTOENCODER],
    "pairs": [*_DATA, *_AUTOENCODER, *_PAIRS],
    "generator": [*_DATA, *_AUTOENCODER, *_PAIRS, *_GENERATOR],
    "samples": [*_DATA, *_AUTOENCODER, *_PAIRS, *_GENERATOR],
}
_OF_PAIRS = (
    *("order", "cone", "center", "standardize", "every", "by_class", "clusters"),
    *("tolerance", "transport_batch", "round_size", "by_prices"),
)


_OF_PACE = {  # of both trainings
    "training_threads": "threads",
    "checkpoint_every_seconds": "checkpoint_every_seconds",
    "keep_last": "keep_last",
}


def options_of(stage: str) -> list[Callable[..., Any]]:
    """Options of a stage and of the stages before it, as click's decorators.

    Parameters
    ----------
    stage : str
        One of `settings.STAGES`.
    """
    return [*_OF_STAGE[stage], *_COMPUTING]


def settings_of(out: Path, given: dict[str, Any]) -> RunSettings:
    """Settings from the options given: a preset's, or the folder's own run's, with changes.

    Parameters
    ----------
    out : path
    given : dict
        Values of options by name; None or missing if not given.

    Raises
    ------
    click.UsageError
        If there is no preset, or the folder holds a run of another one.
    FileNotFoundError
        If the data do not exist.
    ValueError
        If the options do not fit together.
    """
    name = given["preset_name"]
    earlier = RunSettings.read(out) if (out / RUN_FILE).exists() else None
    if earlier is not None and name not in (None, earlier.preset_name):
        if any((out / stage).exists() for stage in STAGES):
            raise click.UsageError(
                f"{quoted(out)} holds a run of preset {earlier.preset_name!r}, and --preset is "
                f"{name!r}: choose another --out."
            )
        earlier = None
    if earlier is None:
        if name is None:
            raise click.UsageError(f"--preset is needed: {quoted(out)} holds no run yet.")
        start, data, seed, computing = preset(name), None, 0, Computing()
    else:
        name, start = earlier.preset_name, earlier.preset
        data, seed, computing = earlier.data, earlier.seed, earlier.computing
    if given["data"] is not None:
        data = os.fspath(given["data"].absolute())
    if given["seed"] is not None:
        seed = given["seed"]
    changed = _changed(as_in_paper(name, start) if given.get("paper") else start, given)
    if given.get("weights") is not None and changed.stop_by not in ("IS", "FID"):
        raise click.UsageError("--weights needs --stop-by IS or FID.")
    if given.get("weights") is not None and not given["weights"].is_file():
        raise FileNotFoundError(
            f"--weights must be a file, and {quoted(given['weights'])} is not one"
        )
    if changed.data.synthetic and data is not None:
        raise click.UsageError(f"--data has no meaning for the synthetic set of preset {name!r}.")
    if not changed.data.synthetic and data is None:
        raise click.UsageError(f"--data is needed: preset {name!r} reads {changed.data.name!r}.")
    if data is not None and not Path(data).exists():
        raise FileNotFoundError(f"--data {quoted(given['data'] or data)} does not exist")
    return RunSettings(name, changed, data, seed, _computing(computing, given))


def _computing(earlier: Computing, given: dict[str, Any]) -> Computing:
    values = {
        key: given[key] for key in ("accelerator", "precision", "threads") if given[key] is not None
    }
    if given.get("weights") is not None:
        values["weights"] = os.fspath(given["weights"].absolute())
    return replace(earlier, devices=processes_here(), **values)


def _changed(start: Preset, given: dict[str, Any]) -> Preset:
    def asked(*names: str) -> dict[str, Any]:
        return {name: given[name] for name in names if given.get(name) is not None}

    changes: dict[str, Any] = asked("layers", "width", "batch_norm_layers", "slope", "stop_by")
    changes |= asked("generator", "steps", "dropout") | _own_class(given)
    if changes.get("generator", start.generator) == "flow":
        for name in ("batch_norm_layers", "slope", "dropout"):
            if name in changes:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} has no meaning with --generator flow."
                )
    if "layers" in changes and "batch_norm_layers" not in changes:
        changes["batch_norm_layers"] = min(start.batch_norm_layers, changes["layers"] - 1)
    pairs = start.pairs.relabeled(given.get("labeling") or start.pairs.labeling)
    changes["pairs"] = replace(pairs, **asked(*_OF_PAIRS))
    training = asked("batch_size", "learning_rate", "learning_rate_decay", "schedule")
    training |= asked("ema", "ema_labels", "optimizer", "weight_decay", "warmup_steps")
    if training.get("schedule", "exponential") != "exponential":
        training.setdefault("learning_rate_decay", 1.0)
    elif "learning_rate_decay" in training:
        training["schedule"] = "exponential"
    if "schedule" in training:
        training |= {"schedule_arguments": {}, "schedule_each": "epoch"}
    if given.get("clip_norm") is not None:
        training["clip_norm"] = given["clip_norm"] or None
    if changes.get("generator", start.generator) == "flow" != start.generator:
        training["patience"] = None  # its first samples are nearly Gaussian, and pass for good
    if given.get("patience") is not None:
        training["patience"] = given["patience"] or None
    if given.get("generator_epochs") is not None:
        training["max_epochs"] = given["generator_epochs"]
    pace = {option: given[name] for name, option in _OF_PACE.items() if given.get(name) is not None}
    changes["generator_training"] = replace(start.generator_training, **training, **pace)
    changes["data"] = _data(start, given, asked("size", "n", "key"))
    if start.autoencoder_training is None:
        for name in ("latent_dim", "autoencoder_epochs"):
            if given[name] is not None:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} needs an autoencoder, and the preset has none."
                )
        return replace(start, **changes)
    changes |= asked("latent_dim")
    if given["autoencoder_epochs"] is not None:
        pace["max_epochs"] = given["autoencoder_epochs"]
    changes["autoencoder_training"] = replace(start.autoencoder_training, **pace)
    return replace(start, **changes)


def _own_class(given: dict[str, Any]) -> dict[str, Any]:
    """Changes of a preset by the options of a user's own network, or by --generator."""
    place, text = given.get("generator_class"), given.get("generator_arguments")
    if place is not None and given["generator"] is not None:
        raise click.UsageError("--generator-class is a generator of its own, without --generator.")
    arguments = {} if text is None else parse_json(text, "--generator-arguments")
    if place is not None:
        found = {"generator": "module", "generator_class": place}
        return {**found, "generator_arguments": arguments}
    if text is not None:
        return {"generator_arguments": arguments}
    if given.get("generator") is not None:
        return {"generator_class": None, "generator_arguments": {}}
    return {}


def _data(start: Preset, given: dict[str, Any], changes: dict[str, Any]) -> DataOptions:
    if given["set_name"] is None:
        return replace(start.data, **changes)
    if not start.data.images:
        raise click.UsageError("--set needs a preset of images.")
    size = None
    if given["set_name"] in ("celeba", "folder"):
        size = start.data.size or 64
    return DataOptions(given["set_name"], **{"size": size, **changes})

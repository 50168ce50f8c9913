"""The settings of a run that the options of a command ask for.

Nothing here waits for torch, so that a wrong option is refused at once. Not here: the options
themselves (options.py), files of settings (run/settings.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import click

from gtn_label.errors import ArgumentError, ArgumentTypeError
from gtn_label.text import quoted

from ..files import INVALID, parse_json
from ..run.data_options import DataOptions
from ..run.paper import as_in_paper
from ..run.preset_fields import ON_EMBEDDING, PRETRAINED, TEST_SHARE, Preset
from ..run.presets import OF_VECTORS_TRAINING, VDAE_TRAINING, preset
from ..run.settings import RUN_FILE, STAGES, Computing, RunSettings
from ..run.vdae_options import VDAEOptions
from ..spectral.embedding_options import EmbeddingOptions
from ..training.processes import processes_here
from ..training.training_options import TrainingOptions

__all__ = ["settings_of"]

_OF_PAIRS = (
    *("order", "cone", "center", "standardize", "every", "by_class", "clusters"),
    *("tolerance", "transport_batch", "round_size", "by_prices"),
)
_OF_PRESET = (
    *("layers", "width", "batch_norm_layers", "slope", "dropout", "scale_labels", "stop_by"),
    *("generator", "steps", "validation_share"),
)
# Options that a kind of generator has no use for.
_OTHERS_OWN = {
    "flow": ("batch_norm_layers", "slope", "dropout"),
    "module": ("layers", "width", "batch_norm_layers", "slope", "dropout", "steps"),
}
# Options of an embedding, by their fields.
_OF_EMBEDDING = {
    "embedding_dim": "dim",
    "neighbours": "neighbours",
    "density_power": "density_power",
    "diffusion_time": "time",
    "embedding_method": "method",
    "embed_on": "on",
    "components": "components",
    "embedding_epochs": "epochs",
}
# Options of a VDAE, by their fields.
_OF_VDAE = {f"vdae_{entry.name}": entry.name for entry in fields(VDAEOptions)}
_OF_PACE = ("checkpoint_every_seconds", "keep_last")
_OF_AUTOENCODER = ("autoencoder", "latent_dim")
# The others are options of the run, or have names of their own.
_OF_TRAINING = tuple(
    {entry.name for entry in fields(TrainingOptions)}
    - {"max_epochs", "seed", "precision", "accelerator", "devices", "threads"}
    - {"checkpoint_every_epochs", *_OF_PACE}
)


def settings_of(out: Path, given: dict[str, Any]) -> RunSettings:
    """Settings from the options given: a preset's, a file's or the folder's own, with changes.

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
        If the options do not fit together, or a file of settings is not valid.
    """
    start = _start(out, given)
    name, data = start.preset_name, start.data
    if given.get("data") is not None:
        data = os.fspath(given["data"].absolute())
    seed = start.seed if given.get("seed") is None else given["seed"]
    paper = as_in_paper(name, start.preset) if given.get("paper") else start.preset
    changed = _changed(paper, given)
    pretrained = start.pretrained
    if given.get("autoencoder_from") is not None:
        pretrained = os.fspath(given["autoencoder_from"].absolute())
    weights = given.get("weights")
    if weights is not None and changed.stop_by not in ("IS", "FID"):
        raise click.UsageError("--weights needs --stop-by IS or FID.")
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"--weights must be a file, and {quoted(weights)} is not one")
    if changed.data.synthetic and data is not None:
        raise click.UsageError(f"--data has no meaning for the synthetic set of preset {name!r}.")
    if not changed.data.synthetic and data is None:
        raise click.UsageError(f"--data is needed: preset {name!r} reads {changed.data.name!r}.")
    if data is not None and not Path(data).exists():
        raise FileNotFoundError(f"--data {quoted(given.get('data') or data)} does not exist")
    computing = _computing(start.computing, given)
    return RunSettings(name, changed, data, seed, computing, pretrained)


@dataclass(frozen=True)
class _Start:
    """Settings before the options change them; data may be missing still."""

    preset_name: str
    preset: Preset
    data: str | None = None
    seed: int = 0
    computing: Computing = field(default_factory=Computing)
    pretrained: str | None = None


def _start(out: Path, given: dict[str, Any]) -> RunSettings | _Start:
    """Take the preset, the file of settings, or the folder's own run."""
    name, config = given.get("preset_name"), given.get("config")
    asked: RunSettings | _Start | None = None
    if config is not None:
        if name is not None:
            raise click.UsageError("--config has a preset already: leave --preset out.")
        asked = RunSettings.read_config(config)
        name = asked.preset_name
    earlier = RunSettings.read(out) if (out / RUN_FILE).exists() else None
    if earlier is not None and name not in (None, earlier.preset_name):
        if any((out / stage).exists() for stage in STAGES):
            raise click.UsageError(
                f"{quoted(out)} holds a run of preset {earlier.preset_name!r}, and "
                f"{'--preset is' if config is None else '--config has'} {name!r}: choose another "
                "--out."
            )
        earlier = None
    if asked is not None:
        return asked
    if earlier is not None:
        return earlier
    if name is None:
        raise click.UsageError(f"--preset is needed: {quoted(out)} holds no run yet.")
    return _Start(name, preset(name))


def _changed(start: Preset, given: dict[str, Any]) -> Preset:
    changes = _given(given, _OF_PRESET) | _own_class(given)
    kind = changes.get("generator", start.generator)
    for name in _OTHERS_OWN.get(kind, ()):
        if name in changes:
            shown = "--generator-class" if kind == "module" else f"--generator {kind}"
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning with {shown}.")
    if kind != start.generator and kind != "flow" and "steps" not in changes:
        changes["steps"] = Preset.steps  # of no flow
    if "layers" in changes and "batch_norm_layers" not in changes:
        changes["batch_norm_layers"] = min(start.batch_norm_layers, changes["layers"] - 1)
    pairs = start.pairs.relabeled(given.get("labeling") or start.pairs.labeling)
    changes["pairs"] = replace(pairs, **_given(given, _OF_PAIRS))
    training = start.generator_training
    if kind == "flow" != start.generator:
        # Its first samples are nearly Gaussian, and pass for good.
        training = replace(training, patience=None)
    changes["generator_training"] = _training(training, given, "generator", "")
    changes["data"] = _data(start, given)
    changes |= _embedding(start, changes["data"], given)
    changes |= _vdae(start, given)
    if changes["latents_from"] == "embedding":
        _refuse_autoencoder(given, "--latents-from embedding leaves no place for one.")
        for name in ("autoencoder", "latent_dim", "autoencoder_training", "vdae"):
            changes[name] = None
        return replace(start, **changes)
    if changes.get("autoencoder") == ON_EMBEDDING:
        return replace(start, **changes)
    if start.autoencoder == PRETRAINED or given.get("autoencoder_from") is not None:
        return replace(start, **changes, **_pretrained(start, given))
    if start.autoencoder_training is not None:
        changes |= _given(given, _OF_AUTOENCODER)
        changes["autoencoder_training"] = _training(
            start.autoencoder_training, given, "autoencoder", "autoencoder_"
        )
        return replace(start, **changes)
    if given.get("autoencoder") is not None and not changes["data"].images:
        changes |= _given(given, _OF_AUTOENCODER)
        if "latent_dim" not in changes:
            raise click.UsageError("--autoencoder needs --latent-dim for vectors.")
        changes["autoencoder_training"] = _training(
            OF_VECTORS_TRAINING, given, "autoencoder", "autoencoder_"
        )
        return replace(start, **changes)
    _refuse_autoencoder(given, "the preset has none.")
    return replace(start, **changes)


def _refuse_autoencoder(given: dict[str, Any], why: str) -> None:
    for name, value in given.items():
        if value is not None and name.startswith(("latent_dim", "autoencoder")):
            raise click.UsageError(f"--{name.replace('_', '-')} needs an autoencoder, and {why}")


def _embedding(start: Preset, data: DataOptions, given: dict[str, Any]) -> dict[str, Any]:
    """Changes of a preset by the options of its embedding, which `embed` gives to any preset."""
    named = {field: given.get(name) for name, field in _OF_EMBEDDING.items()}
    changes = {field: value for field, value in named.items() if value is not None}
    latents_from = given.get("latents_from") or start.latents_from
    wanted = given.get("embed") or latents_from == "embedding"
    wanted = wanted or given.get("autoencoder") == ON_EMBEDDING
    if start.embedding is None and not wanted:
        for name, field in _OF_EMBEDDING.items():
            if field in changes:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} needs --latents-from embedding, or a run with an "
                    "embedding."
                )
        return {"latents_from": latents_from}
    on = changes.get("on")
    if on is not None and on not in ("rows", "pca50"):
        if not Path(on).is_file():
            raise click.UsageError(
                f"--embed-on must be rows, pca50 or a file, and {quoted(on)} is none."
            )
        changes["on"] = os.fspath(Path(on).absolute())
    if given.get("training_threads") is not None:
        changes["threads"] = given["training_threads"]
    usual = EmbeddingOptions(dim=10, on="pca50") if data.images else EmbeddingOptions(dim=2)
    return {
        "embedding": replace(start.embedding or usual, **changes),
        "latents_from": latents_from,
    }


def _vdae(start: Preset, given: dict[str, Any]) -> dict[str, Any]:
    """Changes of a preset by the options of a VDAE, or by another autoencoder in its place."""
    others = given.get("autoencoder_from") is not None or given.get("latents_from") == "embedding"
    kind = given.get("autoencoder") or (None if others else start.autoencoder)
    named = {entry: given.get(name) for name, entry in _OF_VDAE.items()}
    changes = {entry: value for entry, value in named.items() if value is not None}
    if kind != ON_EMBEDDING:
        for name, entry in _OF_VDAE.items():
            if entry in changes:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --autoencoder vdae.")
        return {} if start.vdae is None else {"vdae": None}
    if given.get("latent_dim") is not None:
        raise click.UsageError(
            "--latent-dim has no meaning with --autoencoder vdae, whose dimension is "
            "--embedding-dim."
        )
    own = start.autoencoder_training if start.autoencoder == ON_EMBEDDING else VDAE_TRAINING
    assert own is not None
    return {
        "autoencoder": ON_EMBEDDING,
        "latent_dim": None,
        "vdae": replace(start.vdae or VDAEOptions(), **changes),
        "autoencoder_training": _training(own, given, "autoencoder", "autoencoder_"),
    }


def _pretrained(start: Preset, given: dict[str, Any]) -> dict[str, Any]:
    """Put a pretrained autoencoder in the place of the preset's own."""
    if start.autoencoder is None:
        raise click.UsageError("--autoencoder-from needs a preset of images.")
    for name, value in given.items():
        named = name == "latent_dim" or name.startswith("autoencoder")
        if value is not None and named and name != "autoencoder_from":
            raise click.UsageError(
                f"--{name.replace('_', '-')} has no meaning with --autoencoder-from, whose network "
                "is trained already."
            )
    return {"autoencoder": PRETRAINED, "latent_dim": None, "autoencoder_training": None}


def _training(
    start: TrainingOptions, given: dict[str, Any], stage: str, prefix: str
) -> TrainingOptions:
    """Change the options of one training; those of the autoencoder have a prefix."""
    changes = {
        name: given[f"{prefix}{name}"]
        for name in _OF_TRAINING
        if given.get(f"{prefix}{name}") is not None
    }
    if given.get(f"{stage}_epochs") is not None:
        changes["max_epochs"] = given[f"{stage}_epochs"]
    if given.get("training_threads") is not None:
        changes["threads"] = given["training_threads"] or None
    changes |= _given(given, _OF_PACE)
    for name in ("patience", "clip_norm"):
        if name in changes:
            changes[name] = changes[name] or None
    if changes.get("schedule", "exponential") != "exponential":
        changes.setdefault("learning_rate_decay", 1.0)
    elif "learning_rate_decay" in changes:
        changes["schedule"] = "exponential"
    if "schedule_arguments" in changes:
        option = f"--{prefix}schedule_arguments".replace("_", "-")
        changes["schedule_arguments"] = parse_json(changes["schedule_arguments"], option, INVALID)
    if "schedule" in changes:
        changes = {"schedule_arguments": {}, "schedule_each": "epoch"} | changes
    try:
        return replace(start, **changes)
    except (ArgumentError, ArgumentTypeError) as error:
        once = {"threads": "training_threads"}  # one option for both trainings
        names = tuple(once.get(name, f"{prefix}{name}") for name in error.names)
        rule, got, advice = (text.replace("{", "{" + prefix) for text in error.args[1:])
        raise type(error)(names, rule, got, advice) from None


def _own_class(given: dict[str, Any]) -> dict[str, Any]:
    """Changes of a preset by the options of a user's own network, or by --generator."""
    place, text = given.get("generator_class"), given.get("generator_arguments")
    if place is not None and given["generator"] is not None:
        raise click.UsageError("--generator-class is a generator of its own, without --generator.")
    arguments = {} if text is None else parse_json(text, "--generator-arguments", INVALID)
    if place is not None:
        found = {"generator": "module", "generator_class": place}
        return {**found, "generator_arguments": arguments}
    if text is not None:
        return {"generator_arguments": arguments}
    if given.get("generator") is not None:
        return {"generator_class": None, "generator_arguments": {}}
    return {}


def _data(start: Preset, given: dict[str, Any]) -> DataOptions:
    changes = _given(given, ("size", "n", "key", "test_share"))
    if given.get("channels") is not None:
        changes["channels"] = int(given["channels"])
    if "test_share" in changes:
        changes["test_share"] = changes["test_share"] or None
    if given.get("set_name") is None:
        return replace(start.data, **changes)
    if not start.data.images:
        raise click.UsageError("--set needs a preset of images.")
    name = given["set_name"]
    defaults: dict[str, Any] = {}
    if name in ("celeba", "folder"):
        defaults = {"size": start.data.size or 64, "channels": start.data.channels}
    if name in ("celeba", "folder", "array"):
        defaults["test_share"] = TEST_SHARE
    return DataOptions(name, **{**defaults, **changes})


def _given(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of these names that were given."""
    return {name: given[name] for name in names if given.get(name) is not None}


def _computing(earlier: Computing, given: dict[str, Any]) -> Computing:
    values = _given(given, ("accelerator", "precision", "threads"))
    if given.get("weights") is not None:
        values["weights"] = os.fspath(given["weights"].absolute())
    return replace(earlier, devices=processes_here(), **values)

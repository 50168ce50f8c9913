"""The verdict on a stage's folder: reuse, resume, rebuild or refuse.

This is the only judge of what a folder holds: the pipeline, the trainer and the readers of a run
all ask `verdict`. `training` imports this module, so nothing here imports `training`. Not here:
carrying out the verdict (builder.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gtn_label.text import quoted

from ..files import brief, file_sha256
from .manifest import Manifest, StageSpec
from .store import RunFolder

__all__ = ["ENDING", "TrainingSpec", "Verdict", "verdict"]


ENDING = ("max_epochs", "patience")  # options that say when a training ends

_MOST_REASONS = 12  # in one message

# Options of a training; the autoencoder's have a prefix.
_OF_TRAINING = frozenset(
    [
        *("batch_size", "learning_rate", "learning_rate_decay", "schedule", "patience"),
        *("ema", "ema_labels", "optimizer", "weight_decay", "clip_norm", "warmup_steps"),
        *("schedule_arguments", "schedule_each"),
    ]
)
_OPTIONS = _OF_TRAINING | {
    *("set", "n", "key", "seed", "latent_dim", "labeling", "clusters", "order", "cone", "center"),
    *("standardize", "by_class", "every", "layers", "width", "stop_by", "precision"),
    *("tolerance", "transport_batch", "round_size", "by_prices", "batch_norm_layers", "slope"),
    *("generator", "steps", "validation_share", "scale_labels", "dropout"),
}


_OF_EMBEDDING = {
    "dim": "--embedding-dim",
    "neighbours": "--neighbours",
    "density_power": "--density-power",
    "time": "--diffusion-time",
    "method": "--embedding-method",
    "on": "--embed-on",
    "components": "--components",
}


@dataclass(frozen=True)
class Verdict:
    """The decision on a stage's folder.

    Attributes
    ----------
    action : {"reuse", "resume", "rebuild", "refuse"}
        "rebuild" without a reason means that the folder holds nothing yet.
    why : str
        Reason of "rebuild" and "refuse"; for "resume", how a training's end has moved.
    continues : bool
        True for a refusal that would have been "resume" with permission to do so.
    """

    action: Literal["reuse", "resume", "rebuild", "refuse"]
    why: str = ""
    continues: bool = False


@dataclass(frozen=True)
class TrainingSpec:
    """A training as a caller asks for it; config.json tells it from another one.

    Attributes
    ----------
    config : dict
        Everything that decides the training, in JSON types.
    computing : tuple of str
        Entries of config["options"] that set where and how fast to compute. Other values do not
        make another training.
    ended : callable () -> bool
        Reads the folder's history and weights, and says if training had come to its end. Raises
        ValueError if they are damaged.
    passed : callable () -> bool
        Reads the folder's checkpoint, and says if it is past the end asked for. Raises ValueError
        if it is damaged.
    """

    config: Mapping[str, Any]
    computing: tuple[str, ...]
    ended: Callable[[], bool]
    passed: Callable[[], bool] = lambda: True


def verdict(
    folder: RunFolder,
    asked: StageSpec | TrainingSpec,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Verdict:
    """Decide on the content of a stage's folder, without a change to it.

    Parameters
    ----------
    folder : RunFolder
    asked : StageSpec or TrainingSpec
        A stage is judged by its manifest, a training by its checkpoint or its weights.
    resume : bool
        Permit to continue a partial stage, and to take over a training that has ended.
    overwrite : bool
        Permit to rebuild a stage or a training that is no longer valid.
    """
    if isinstance(asked, StageSpec):
        return _of_stage(folder, asked, resume, overwrite)
    return _of_training(folder, asked, resume, overwrite)


def _of_stage(folder: RunFolder, spec: StageSpec, resume: bool, overwrite: bool) -> Verdict:
    if folder.manifest.exists():
        why = _listed(_changes(folder, spec))
        if not why:
            return Verdict("reuse")
        # Training itself knows if its last state is past the new end (_of_training).
        continues = folder.last.exists() and _ends_otherwise(folder, spec)
        if continues and resume:
            return Verdict("resume", why)
        if overwrite:
            return Verdict("rebuild", why)
        return Verdict("refuse", f"is no longer valid: {why}", continues)
    if not (folder.checkpoint.exists() or folder.weights.exists()):
        return Verdict("rebuild")
    return Verdict("resume") if resume else Verdict("refuse", "is unfinished")


def _changes(folder: RunFolder, spec: StageSpec) -> list[str]:
    """Say why a complete stage cannot be reused."""
    try:
        manifest = Manifest.read(folder.manifest)
    except ValueError as error:
        return [str(error)]
    why = [] if manifest.name == spec.name else [f"its name is {brief(repr(manifest.name))}"]
    why += [
        f"its input {brief(repr(key))} has changed (SHA-256 {_short(manifest.inputs.get(key))}, "
        f"now {_short(spec.inputs.get(key))})"
        for key in sorted({*manifest.inputs, *spec.inputs})
        if manifest.inputs.get(key) != spec.inputs.get(key)
    ]
    why += _differences(
        manifest.options,
        json.loads(json.dumps(dict(spec.options))),
        spell=lambda path: _option(spec.name, path),
    )
    for file, known in manifest.outputs.items():
        if not (folder.path / file).is_file():
            why.append(f"its file {file} is missing")
        elif not why and file_sha256(folder.path / file) != known:
            why.append(f"its file {file} is not the one it made")
    return why


def _ends_otherwise(folder: RunFolder, spec: StageSpec) -> bool:
    """True if a complete stage differs from the one asked for in the end of its training alone."""
    asked = json.loads(json.dumps(dict(spec.options)))
    try:
        made = Manifest.read(folder.manifest).options.get("training")
    except ValueError:
        return False
    if not (isinstance(made, dict) and isinstance(asked.get("training"), dict)):
        return False
    asked["training"] |= {name: made.get(name) for name in ENDING}
    return not _changes(folder, replace(spec, options=asked))


def _listed(reasons: list[str]) -> str:
    more = len(reasons) - _MOST_REASONS
    shown = [*reasons[:_MOST_REASONS], f"and {more} more"] if more > 1 else reasons
    return "; ".join(shown)


def _option(stage: str, path: str) -> str:
    """Return gtn-train's option for an entry of a stage's options; the entry if there is none."""
    name = path.rpartition(".")[2]
    if name == "max_epochs":
        return f"--{stage}-epochs"
    if stage == "embedding" and (name in _OF_EMBEDDING or path.startswith("training.")):
        return _OF_EMBEDDING.get(name, path)
    if (stage, name) == ("autoencoder", "kind"):
        return "--autoencoder"
    if stage == "autoencoder" and path.startswith("vdae."):
        return f"--vdae-{name}"
    if path == "network":
        return "--generator-class"
    if path.startswith("arguments"):
        return f"{name} of --generator-arguments"
    if name not in _OPTIONS:
        return path
    of_autoencoder = stage == "autoencoder" and name in _OF_TRAINING
    return f"--{'autoencoder-' if of_autoencoder else ''}{name.replace('_', '-')}"


def _of_training(folder: RunFolder, spec: TrainingSpec, resume: bool, overwrite: bool) -> Verdict:
    shown = quoted(folder.path)
    if folder.checkpoint.exists():
        if not resume:
            return Verdict(
                "refuse",
                f"{shown} holds an unfinished run: resume it, choose another folder, or delete "
                f"{quoted(folder.checkpoint)} to start over",
            )
        why = _listed(_other_config(folder, spec))
        if not why or _goes_on(folder, spec):
            return Verdict("resume", why)
        if overwrite:
            return Verdict("rebuild", why)
        return Verdict(
            "refuse",
            f"{shown} holds another run, which cannot be resumed with these settings: {why}",
        )
    if not folder.weights.exists():
        return Verdict("rebuild")
    why = "an earlier run's weights are there"
    refusal = (
        f"{shown} holds the weights of an earlier run: overwrite it, choose another folder, or "
        f"delete {quoted(folder.weights)}"
    )
    if resume and folder.config.exists():
        try:
            other = _listed(_other_config(folder, spec))
            if not other and spec.ended():
                return Verdict("reuse")
            if other and folder.last.exists() and _goes_on(folder, spec):
                return Verdict("resume", other)
            why = other or "it had not come to its end"
            refusal += f" ({why})"
        except ValueError as error:
            why = f"its files are damaged: {error}"
            refusal = (
                f"{shown} holds a run that has ended and is damaged; delete "
                f"{quoted(folder.weights)} to start over: {error}"
            )
    return Verdict("rebuild", why) if overwrite else Verdict("refuse", refusal)


def _goes_on(folder: RunFolder, spec: TrainingSpec) -> bool:
    """True if a training differs in its end alone, and its last state is not past the new one."""
    return not _other_config(folder, spec, but_for=ENDING) and not spec.passed()


def _other_config(
    folder: RunFolder, spec: TrainingSpec, but_for: tuple[str, ...] = ()
) -> list[str]:
    """Say where the folder's training differs from the one asked for."""
    earlier = folder.read_config()
    for name in ("versions", "continued"):
        earlier.pop(name, None)
    configs = [earlier, json.loads(json.dumps(dict(spec.config)))]
    leave_out = {*spec.computing, *but_for}
    for config in configs:
        options = config.get("options")
        if isinstance(options, dict):
            config["options"] = {k: v for k, v in options.items() if k not in leave_out}
    return _differences(*configs)


def _differences(
    was: Any, now: Any, name: str = "", spell: Callable[[str], str] = str
) -> list[str]:
    """Say in words where two configurations differ, by the path of each entry."""
    if isinstance(was, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted({*was, *now})
            for line in _differences(
                was.get(key), now.get(key), f"{name}.{key}" if name else key, spell
            )
        ]
    return [] if was == now else [f"{brief(spell(name))} was {_shown(was)} and is {_shown(now)}"]


def _shown(value: Any) -> str:
    text = "not given" if value is None else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{brief(digest[:12])}..."

"""Models by name: made from a kind and a config, saved as .safetensors, loaded and checked.

A file's metadata hold the model's kind and constructor arguments, as JSON; the tensors are its
state dict. Nothing is unpickled. Not here: the other files of a run (run/store.py).
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from gtn_label.checks import check_seed
from gtn_label.io.atomic import atomic_file
from gtn_label.text import quoted

from ..files import brief
from ..seeds import derive
from ..spectral.network import SpectralEncoder
from .autoencoder import PretrainedPair, VanillaAutoencoder
from .flow import Flow
from .generator import Generator
from .mlp import MLPAutoencoder
from .module import MissingNetwork, ModuleGenerator
from .pretrained import PretrainedAutoencoder
from .vae import VAETwin, VanillaVAE
from .vdae import VDAE

__all__ = [
    "AUTOENCODERS",
    "GENERATORS",
    "KINDS",
    "build",
    "load_model",
    "make_model",
    "save_model",
    "weights_sha256",
]

_MODELS = (
    *(VanillaAutoencoder, VanillaVAE, VAETwin, PretrainedAutoencoder, MLPAutoencoder),
    *(Generator, Flow, ModuleGenerator, SpectralEncoder, VDAE),
)
KINDS: dict[str, Any] = {model.kind: model for model in _MODELS}
AUTOENCODERS = ("vanilla", "vae", "vae-twin", "mlp", "vdae", "diffusers")
GENERATORS = ("generator", "flow", "module")

_METADATA_KEY = "gtn_train"  # one entry: the library that writes files orders several at random


def build(kind: str, config: Mapping[str, Any]) -> Any:
    """Make a model; its weights come from torch's global generator.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    config : mapping
        The arguments of its class, as `config()` of a model gives them.

    Returns
    -------
    Module

    Raises
    ------
    TypeError, ValueError
        If the kind is unknown, or the config lacks an argument, has an unknown one, or one that the
        class refuses.

    Examples
    --------
    >>> build("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}).latent_dim
    2
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping, got {type(config).__name__}")
    try:
        inspect.signature(KINDS[kind]).bind(**config)
    except TypeError as error:
        raise ValueError(f"config of a {kind!r} does not fit: {error}, got {config}") from None
    return KINDS[kind](**config)


def make_model(kind: str, config: Mapping[str, Any], seed: int) -> Any:
    """Make a model on the CPU with weights drawn from a seed; torch's generators stay unchanged.

    Parameters
    ----------
    kind, config
        As in `build`.
    seed : int
        >= 0. A VAE and its twin of one seed share all the weights that both have.

    Returns
    -------
    Module

    Raises
    ------
    TypeError, ValueError
        As in `build`, or if the seed is invalid.
    """
    seed = derive(check_seed(seed), "weights")
    # manual_seed() would also seed GPUs, whose generators are not kept here.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.random.default_generator.manual_seed(seed)
        return build(kind, config)


def save_model(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model's weights, kind and config as .safetensors, whole or not at all.

    The bytes are a function of the model alone.

    Parameters
    ----------
    model : Module
        A model of one of `KINDS`, on any device.
    path
        The file.

    Raises
    ------
    TypeError
        If its kind is unknown, such as a `PretrainedPair`.
    OSError
        If writing fails; an earlier file then stays unchanged.
    """
    if type(model) not in KINDS.values():
        why = ", whose parts are the user's: keep their own files"
        raise TypeError(
            f"model must be one of {', '.join(kind.__name__ for kind in KINDS.values())}, "
            f"got {type(model).__name__}{why if isinstance(model, PretrainedPair) else ''}"
        )
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    if model.kind == ModuleGenerator.kind:  # its weights may be tied, which the format refuses
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    about = json.dumps({"kind": model.kind, "config": model.config()}, sort_keys=True)
    content = safetensors.torch.save(tensors, metadata={_METADATA_KEY: about})
    with atomic_file(path) as file:
        file.write(content)


def load_model(path: str | os.PathLike[str], expected: str | Collection[str] | None = None) -> Any:
    """Load a model that `save_model` wrote, onto the CPU, in evaluation mode.

    Parameters
    ----------
    path
        The file.
    expected : str or collection of str, optional
        Accepted kind or kinds, such as `AUTOENCODERS`.

    Returns
    -------
    Module

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If the file cannot be read.
    ValueError
        If it is no .safetensors file, was not written by `save_model`, is of an unknown or another
        kind, or its tensors are not those of its config. The message names the tensor, the shape
        found and the shape wanted.
    """
    path = Path(path)
    with path.open("rb"):  # the system's own words for what cannot be opened
        shown = quoted(path)
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{shown} is truncated or not a .safetensors file: {brief(error)}"
        ) from None
    accepted = (expected,) if isinstance(expected, str) else expected
    model = _empty_model(shown, metadata, accepted, len(tensors))
    _check_tensors(shown, tensors, model.state_dict())
    if model.kind != ModuleGenerator.kind:
        model.to_empty(device="cpu")
    model.load_state_dict(tensors)
    return model.eval()


def weights_sha256(model: nn.Module) -> str:
    """Hash a model's weights: SHA-256 of names, dtypes, shapes and bytes of its state dict.

    Sorted by name; equal on every device. A pretrained autoencoder's configuration is hashed too:
    its scaling factor is no weight.

    Raises
    ------
    ValueError
        If the model has no weights, such as a pair of functions.
    """
    state = model.state_dict()
    if not state:
        raise ValueError(
            f"model must have weights to be hashed, and {type(model).__name__} has none"
        )
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    if isinstance(model, PretrainedAutoencoder):
        digest.update(json.dumps(model.config(), sort_keys=True).encode())
    return digest.hexdigest()


def _empty_model(
    shown: str, metadata: Mapping[str, str], expected: Collection[str] | None, tensors: int
) -> Any:
    """Make the model that the metadata describe, without memory for its weights.

    A user's network is made whole: it may have buffers that its state dict leaves out.
    """
    if _METADATA_KEY not in metadata:
        raise ValueError(
            f"{shown} was not written by save_model: its metadata lack {_METADATA_KEY}"
        )
    try:
        about = json.loads(metadata[_METADATA_KEY])
        kind, config = about["kind"], about["config"]
    except (ValueError, TypeError, KeyError, RecursionError):
        found = brief(repr(metadata[_METADATA_KEY]))
        raise ValueError(f"{shown} has damaged metadata: {found}") from None
    if expected is not None and kind not in tuple(expected):
        raise ValueError(
            f"{shown} must be of kind {' or '.join(expected)}, and is of kind {brief(repr(kind))}"
        )
    layers = config.get("layers") if isinstance(config, dict) else None
    if isinstance(layers, int) and layers > tensors:  # each has one, and takes time to make
        raise ValueError(
            f"{shown} does not fit its config: it holds {tensors} tensors, and must have more for "
            f"{brief(layers)} layers"
        )
    try:
        if kind == ModuleGenerator.kind:
            return make_model(kind, config, 0)
        with torch.device("meta"):
            return build(kind, config)
    except MissingNetwork as error:
        raise ValueError(
            f"class {error.got} cannot be imported, and {shown} needs it: {error.advice}"
        ) from None
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # sizes beyond bounds
        raise ValueError(f"{shown} has metadata of no model: {brief(error)}") from None


def _check_tensors(shown: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, tensor in wanted.items():
        if name not in found:
            raise ValueError(
                f"{shown} lacks the tensor {quoted(name)} {tuple(tensor.shape)} of its config"
            )
        got = found[name]
        if got.shape != tensor.shape:
            raise ValueError(
                f"{shown} does not fit its config: tensor {quoted(name)} has shape "
                f"{tuple(got.shape)}, and must have {tuple(tensor.shape)}"
            )
        if got.dtype != tensor.dtype:
            raise ValueError(
                f"{shown} does not fit its config: tensor {quoted(name)} is {got.dtype}, and "
                f"must be {tensor.dtype}"
            )
    for name in found:
        if name not in wanted:
            raise ValueError(
                f"{shown} holds a tensor {quoted(name)}, which its config has no place for"
            )

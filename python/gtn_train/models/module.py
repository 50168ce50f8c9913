"""A user's own network as the generator: any `nn.Module` from [n, dim + classes] to [n, dim].

A file of weights names the network's class by its module, and its arguments. Loading the file
imports that module, and makes nothing but an `nn.Module`. Not here: the paper's network
(generator.py).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gtn_label.checks import as_text
from gtn_label.errors import ArgumentError, ArgumentTypeError

from ..files import brief
from .generator import Generator

__all__ = ["MissingNetwork", "ModuleGenerator", "import_network"]


class MissingNetwork(ArgumentError):
    """The class of a network cannot be imported."""


class ModuleGenerator(Generator):
    """A generator whose network is a class of the user's.

    The network sees sources and learns standardised labels, as that of `Generator` does. With
    classes it sees [n, dim + classes]: the class, one-hot, is appended to the source.

    Parameters
    ----------
    network : type or str
        Class derived from `torch.nn.Module`, or its place as "package.module:Class". A file of
        weights records the place, so that the class must be importable wherever the file is read.
    arguments : mapping
        Arguments of the class by name, in JSON types.
    dim : int
        Dimension of sources and latents, >= 1.
    classes : int
        As in `Generator`.

    Raises
    ------
    TypeError, ValueError
        If the class cannot be imported, is no `nn.Module`, refuses its arguments, has no weights to
        train, or does not map [2, dim + classes] to [2, dim].

    Examples
    --------
    >>> generator = ModuleGenerator("torch.nn:Linear", {"in_features": 5, "out_features": 5}, dim=5)
    >>> generator(torch.zeros(3, 5)).shape
    torch.Size([3, 5])
    """

    kind: ClassVar[str] = "module"

    def __init__(
        self,
        network: Any,
        arguments: Mapping[str, Any] | None = None,
        *,
        dim: int,
        classes: int = 0,
    ) -> None:
        super().__init__(dim, layers=1, width=1, batch_norm_layers=0, classes=classes)
        kind = import_network(network) if isinstance(network, str) else network
        self.network = _place(kind)
        self.arguments = _in_json(arguments)
        try:
            self.net = kind(**self.arguments)
        except Exception as error:  # the user's code may raise anything
            raise ArgumentError(
                "arguments",
                f"must be those of {self.network}",
                brief(repr(self.arguments)),
                brief(error),
            ) from None
        self.batch_norm_layers = sum(
            isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.net.modules()
        )
        if not any(weights.requires_grad for weights in self.net.parameters()):
            raise ArgumentError("network", "must have weights to train", repr(self.network))
        self._check()

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        return {
            "network": self.network,
            "arguments": self.arguments,
            "dim": self.dim,
            "classes": self.classes,
        }

    def normalized(self, sources: Tensor, classes: Tensor | None = None) -> Tensor:
        """Map sources to standardised latents, [n, dim].

        Raises
        ------
        ValueError
            If the network gives another shape.
        """
        found = super().normalized(sources, classes)
        if not isinstance(found, Tensor) or found.shape != sources.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"{self.network} must give {tuple(sources.shape)}, and gave {got}")
        return found

    def _check(self) -> None:
        from .autoencoder import evaluating

        sources = torch.zeros(2, self.dim)
        classes = torch.zeros(2, dtype=torch.int64) if self.classes else None
        try:
            with torch.no_grad(), evaluating(self):
                self.normalized(sources, classes)
        except Exception as error:
            given, wanted = self.dim + self.classes, (2, self.dim)
            of = f" (source {self.dim}, class one-hot {self.classes})" if self.classes else ""
            raise ArgumentError(
                "network",
                f"must map {(2, given)}{of} to {wanted}",
                f"{self.network} with arguments {brief(repr(self.arguments))}",
                brief(error),
            ) from error


def import_network(place: str) -> Any:
    """Import a class by its place.

    Parameters
    ----------
    place : str
        "package.module:Class".

    Raises
    ------
    ValueError
        If there is no such class, or it is no `nn.Module`.
    """
    module, _, name = as_text(place, "network").partition(":")
    rule = "must be the place of a class that can be imported, such as 'nets:MyNet'"
    if not module or not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ArgumentError("network", rule, brief(repr(place)))
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's module may raise anything
        hint = ": PYTHONPATH must lead to its module" if isinstance(error, ImportError) else ""
        raise MissingNetwork("network", rule, brief(repr(place)), brief(error) + hint) from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ArgumentError("network", "must be derived from torch.nn.Module", brief(repr(place)))
    return found


def _place(kind: Any) -> str:
    """Return a class's place, after a check that it is where it says."""
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        got = kind.__name__ if isinstance(kind, type) else f"{type(kind).__name__} object"
        raise ArgumentTypeError("network", "must be a class derived from torch.nn.Module", got)
    place = f"{kind.__module__}:{kind.__qualname__}"
    if "." in kind.__qualname__:
        raise ArgumentError("network", "must be a class at the top of its module", repr(place))
    return place


def _in_json(arguments: Any) -> dict[str, Any]:
    given = {} if arguments is None else arguments
    if not isinstance(given, Mapping):
        raise ArgumentTypeError("arguments", "must be a mapping", type(given).__name__)
    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(given), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            "arguments", "must be in JSON types", brief(repr(given)), brief(error)
        ) from None
    return found

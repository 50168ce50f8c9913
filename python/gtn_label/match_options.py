"""Options of a matching: one line each with name, type, default and check.

`MatchOptions` carries them from `match`, `match_approx` and `match_mixture` to the run, and checks
whatever can be checked without the arrays. Not here: arrays (arrays/convert.py), whether a backend
and a device exist (backend/), and values of rows, which the engine checks.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

import numpy.typing as npt

from .arrays.groups import NAMES, read_groups
from .arrays.on_gpu import in_cpu_memory
from .checks import as_bool, as_integer, as_path, as_text, check_order, parse_bytes
from .errors import ArgumentError, ArgumentTypeError
from .progress import ProgressCallback, check_progress
from .threads import check_threads

if TYPE_CHECKING:
    from .io.checkpoint import Checkpoint

LARGEST_INT64 = 2**63 - 1
DEFAULT_TOLERANCE = 1e-3  # of optimal transport

Verb = TypeVar("Verb", bound=Callable[..., Any])


# ----------------------------------------------------------------------------------------- checks


def _as_cone(value: Any, name: str) -> int:
    return as_integer(value, name, 1)


def _as_memory(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = parse_bytes(value)
        except ValueError:
            rule = "must be above zero: a number of bytes, or a size such as '2GB' or '512MiB'"
            raise ArgumentError(name, rule, repr(value)) from None
    return min(as_integer(value, name, 1, " (bytes)"), LARGEST_INT64)


def _as_device(value: Any, name: str) -> str | None:
    if value is not None and not re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", as_text(value, name)):
        raise ArgumentError(name, "must be 'cpu', 'cuda' or 'cuda:N'", repr(value))
    return value  # type: ignore[no-any-return]


def _as_pair(value: Any, name: str) -> tuple[Any, Any] | None:
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        got = type(value).__name__
        if isinstance(value, (tuple, list)):
            got += f" of length {len(value)}"
        raise ArgumentTypeError(name, "must be a pair (source_groups, latent_groups)", got)
    return value[0], value[1]


def _as_checkpoint(value: Any, name: str) -> Checkpoint | None:
    if value is None:
        return None
    from .io.checkpoint import Checkpoint  # here: most runs read and write no file

    return value if isinstance(value, Checkpoint) else Checkpoint(as_path(value, name))


# ---------------------------------------------------------------------------------------- options


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """Options of `match`, whose docstring describes them; each is checked, and stored as checked.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If an option is of the wrong type, or out of range.
    """

    order: str = field(default="norm", metadata={"check": check_order})
    cone: int = field(default=1, metadata={"check": _as_cone})
    center: bool = field(default=False, metadata={"check": as_bool})
    groups: tuple[Any, Any] | None = field(default=None, metadata={"check": _as_pair})
    backend: str = field(default="auto", metadata={"check": as_text})
    device: str | None = field(default=None, metadata={"check": _as_device})
    threads: int | None = field(default=None, metadata={"check": check_threads})
    memory: int | str | None = field(default=None, metadata={"check": _as_memory})
    progress: bool | ProgressCallback | None = field(
        default=None, metadata={"check": check_progress}
    )
    checkpoint: Any = field(default=None, metadata={"check": _as_checkpoint})

    def __post_init__(self) -> None:
        for each in fields(self):
            checked = each.metadata["check"](getattr(self, each.name), each.name)
            object.__setattr__(self, each.name, checked)

    def deciding(self) -> dict[str, Any]:
        """Return the options that decide the pairs: for the meta of a result and checkpoints."""
        return {"order": self.order, "cone": self.cone, "center": self.center}

    def for_engine(self, m: int) -> dict[str, Any]:
        """Return the arguments of `_core.match_rows` that these options are, for m latents."""
        return {
            **self.deciding(),
            "cone": min(self.cone, m),
            "threads": self.threads,
            "memory": self.memory or 0,
        }

    def labels(self, n: int, m: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Return the group labels as integers in CPU memory, checked for n sources, m latents."""
        if self.groups is None:
            return None
        sources, latents = (
            in_cpu_memory(labels, name) for labels, name in zip(self.groups, NAMES, strict=True)
        )
        return read_groups((sources, latents), n, m)


class _Shared(TypedDict, total=False):
    order: str
    cone: int
    device: str | None
    threads: int | None
    memory: int | str | None
    progress: bool | ProgressCallback | None
    checkpoint: str | os.PathLike[str] | Checkpoint | None


class MixtureOptions(_Shared, total=False):
    """Options of `match` that `match_mixture` has too, for type checkers."""

    backend: str


class ApproxOptions(_Shared, total=False):
    """Options of `match` that `match_approx` has too, for type checkers."""

    center: bool
    groups: tuple[Any, Any] | None


def takes_options(shared: Any) -> Callable[[Verb], Verb]:
    """Let a verb show, in place of its `**options`, the options of `shared`, and take no others.

    Raises
    ------
    TypeError
        From the verb, for an argument that it does not have.
    """

    def decorate(verb: Verb) -> Verb:
        signature = inspect.signature(verb)
        parameters = [
            each for each in signature.parameters.values() if each.kind != each.VAR_KEYWORD
        ]
        parameters += [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=each.default,
                annotation=each.type,
            )
            for each in fields(MatchOptions)
            if each.name in shared.__annotations__
        ]
        names = {each.name for each in parameters}

        @functools.wraps(verb)
        def checked(*args: Any, **given: Any) -> Any:
            for name in given:
                if name not in names:
                    raise TypeError(
                        f"{verb.__name__}() got an unexpected keyword argument {name!r}"
                    )
            return verb(*args, **given)

        checked.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return cast(Verb, checked)

    return decorate

"""Label Gaussian sources with data latents, one to one: Algorithm 1 of the GTN paper, exactly.

This file lists the public names. A module is loaded when its name is first used: NumPy and the
compiled engine with the first of them; torch, tqdm, scikit-learn and matplotlib by the call that
needs them.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .approx import match_approx
    from .backend.names import Backend, backends
    from .errors import ArgumentError, ArgumentTypeError
    from .matching import match
    from .mixture import match_mixture
    from .quantile import match_quantile
    from .result import Matching

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "Backend",
    "Matching",
    "__version__",
    "backends",
    "match",
    "match_approx",
    "match_mixture",
    "match_quantile",
]

_HOMES = {
    "ArgumentError": "errors",
    "ArgumentTypeError": "errors",
    "Backend": "backend.names",
    "backends": "backend.names",
    "Matching": "result",
    "match": "matching",
    "match_approx": "approx",
    "match_mixture": "mixture",
    "match_quantile": "quantile",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the command serves signals before NumPy is loaded."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

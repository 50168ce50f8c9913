"""Label Gaussian sources with data latents, one to one: Algorithm 1 of the GTN paper, exactly.

This file lists the public names. A module is loaded when its name is first used: NumPy and the
compiled engine with the first of them; torch, tqdm, scikit-learn and matplotlib by the call that
needs them.
"""

__version__ = "0.1.0"

from .lazy import lazy_names

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing, see cli/entry.py
if TYPE_CHECKING:
    from .approx import match_approx
    from .backend.names import Backend, backends
    from .cluster.pairs_folder import Pairs, open_pairs
    from .errors import ArgumentError, ArgumentTypeError
    from .matching import match
    from .mixture import match_mixture
    from .optimal import match_optimal
    from .quantile import match_quantile
    from .result import Matching
    from .verification import Verification, VerificationError

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "Backend",
    "Matching",
    "Pairs",
    "Verification",
    "VerificationError",
    "__version__",
    "backends",
    "match",
    "match_approx",
    "match_mixture",
    "match_optimal",
    "match_quantile",
    "open_pairs",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ArgumentError": "errors",
        "ArgumentTypeError": "errors",
        "Backend": "backend.names",
        "backends": "backend.names",
        "Matching": "result",
        "Pairs": "cluster.pairs_folder",
        "Verification": "verification",
        "VerificationError": "verification",
        "match": "matching",
        "match_approx": "approx",
        "match_mixture": "mixture",
        "match_optimal": "optimal",
        "match_quantile": "quantile",
        "open_pairs": "cluster.pairs_folder",
    },
)

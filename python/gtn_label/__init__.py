"""Label Gaussian sources with data latents, one to one: Algorithm 1 of the GTN paper, exactly.

What a user imports is listed here; what each name does lives in the module it comes from.
Importing the package loads NumPy and the compiled engine and nothing else: torch, tqdm,
scikit-learn and matplotlib are imported by the call that needs them.
"""

__version__ = "0.1.0"

from .backend import Backend, backends
from .matching import match
from .mixture import match_mixture
from .quantile import match_quantile
from .result import Matching

__all__ = [
    "Backend",
    "Matching",
    "__version__",
    "backends",
    "match",
    "match_mixture",
    "match_quantile",
]

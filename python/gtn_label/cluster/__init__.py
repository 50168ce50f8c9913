"""Algorithm 1 over many processes and machines, to the bits of `match`.

This file lists the public names. torch is loaded by TorchExchange alone.
"""

from ..lazy import lazy_names

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing, see cli/entry.py
if TYPE_CHECKING:
    from .exchange import Exchange, Solo
    from .journal import RunJournal
    from .matching import ShardedMatching, match_sharded
    from .torch_exchange import TorchExchange

__all__ = [
    "Exchange",
    "RunJournal",
    "ShardedMatching",
    "Solo",
    "TorchExchange",
    "match_sharded",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Exchange": "exchange",
        "RunJournal": "journal",
        "ShardedMatching": "matching",
        "Solo": "exchange",
        "TorchExchange": "torch_exchange",
        "match_sharded": "matching",
    },
)

"""Matching over many processes and machines, to the bits of `match` and `match_optimal`.

This file lists the public names. torch is loaded by TorchExchange alone, pyarrow by files of its
formats.
"""

from ..lazy import lazy_names

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing, see cli/entry.py
if TYPE_CHECKING:
    from .dealing import rows_of_rank
    from .exchange import Exchange, Solo
    from .inputs import RowFiles, open_rows
    from .journal import RunJournal
    from .matching import match_sharded
    from .optimal import match_optimal_sharded
    from .output import save_pairs
    from .result import ShardedMatching
    from .shares import read_share
    from .torch_exchange import TorchExchange

__all__ = [
    "Exchange",
    "RowFiles",
    "RunJournal",
    "ShardedMatching",
    "Solo",
    "TorchExchange",
    "match_optimal_sharded",
    "match_sharded",
    "open_rows",
    "read_share",
    "rows_of_rank",
    "save_pairs",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Exchange": "exchange",
        "RowFiles": "inputs",
        "RunJournal": "journal",
        "ShardedMatching": "result",
        "Solo": "exchange",
        "TorchExchange": "torch_exchange",
        "match_optimal_sharded": "optimal",
        "match_sharded": "matching",
        "open_rows": "inputs",
        "read_share": "shares",
        "rows_of_rank": "dealing",
        "save_pairs": "output",
    },
)

"""The call of a sharded match: what one rank is given, checked alone and then with the others.

Whatever is refused here is refused by all ranks with one message. Subclasses of `Call` know the
options of their function (matching.py, optimal.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .. import __version__
from ..arrays import convert
from ..arrays.on_disk import Files
from ..arrays.sources import seed_record
from ..backend.names import Chosen
from ..checks import check_seed
from ..errors import ArgumentError, ArgumentTypeError, too_many_sources
from ..io.checkpoint import CONTRACT
from ..match_options import MatchOptions
from ..threads import OPENMP_VARIABLE, OWN_VARIABLE, Threads, check_threads, machine_threads
from .checks import check_index
from .exchange import Exchange, agree, check_order, leave, settle, together
from .result import FORMAT
from .sides import Side, drawn, side_of

__all__ = ["Call", "rank_threads"]

Result = TypeVar("Result")


class Call:
    """Arguments of one rank.

    Parameters
    ----------
    latents, sources, index, source_index, seed, journal
        As the user gave them.
    **options
        Fields of `MatchOptions`.

    Attributes
    ----------
    checked : MatchOptions
        After `check`, which replaces the arguments too.
    chosen : Chosen
        The backend.
    """

    method = "match"
    checked: MatchOptions
    chosen: Chosen

    def __init__(
        self,
        latents: Any,
        sources: Any,
        index: Any,
        source_index: Any,
        seed: Any,
        journal: Any,
        **options: Any,
    ) -> None:
        self.latents, self.sources = latents, sources
        self.index, self.source_index = index, source_index
        self.seed, self.journal, self.options = seed, journal, options

    # ------------------------------------------------------------ what differs by the function

    def check_own(self) -> None:
        """Check the journal and set `chosen`; `checked` is there."""
        raise NotImplementedError

    def decides(self) -> dict[str, Any]:
        """Return the options that decide the pairs."""
        return self.checked.deciding()

    # ------------------------------------------------------------------------------ all the rest

    def run(self, exchange: Exchange, work: Callable[..., Result]) -> Result:
        """Return `work(self, exchange, check)`, over inputs whose files are watched by `check`."""
        pair = self.options["groups"]
        labels = pair if isinstance(pair, (tuple, list)) and len(pair) == 2 else (None, None)
        files = Files(
            latents=self.latents,
            sources=self.sources,
            source_groups=labels[0],
            latent_groups=labels[1],
        )
        try:
            with files.reading() if files else contextlib.nullcontext() as check:
                return work(self, exchange, check)
        except BaseException as error:
            leave(exchange, error)
            raise

    def sides(self, exchange: Exchange) -> tuple[Side, Side]:
        """Check the arguments over all ranks, and return latents and sources. A collective call.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            On all ranks, with one message.
        """
        check_order(exchange)
        with together(exchange):
            self.check()
        agree(exchange, self.record())
        latents = side_of(exchange, "latents", "index", self.latents, self.index)
        if latents.total == 0:
            rule = "must have at least one row (n >= 1)"
            settle(exchange, ArgumentError("latents", rule, f"none on all {exchange.world} ranks"))
        if self.sources is None:
            sources = drawn(exchange, latents.total, latents.rows.shape[1], self.seed)
        else:
            sources = side_of(exchange, "sources", "source_index", self.sources, self.source_index)
        if sources.total == 0:
            rule = "must have at least one row (n >= 1)"
            settle(exchange, ArgumentError("sources", rule, f"none on all {exchange.world} ranks"))
        if sources.total > latents.total:
            settle(exchange, too_many_sources(sources.total, latents.total))
        return latents, sources

    def check(self) -> None:
        """Replace each argument by what was checked; raise ArgumentError or ArgumentTypeError."""
        self.options["threads"] = rank_threads(self.options["threads"])
        self.checked = MatchOptions(**self.options)
        self.check_own()
        self.latents = _slice(self.latents, "latents")
        self.index = _checked_index(self.index, "index", self.latents)
        if isinstance(self.seed, np.random.Generator):
            rule = "must be an int, from which each rank draws its own rows"
            raise ArgumentTypeError("seed", rule, "a numpy.random.Generator")
        self.seed = check_seed(self.seed)
        if self.sources is None:
            if self.source_index is not None:
                raise ArgumentError("source_index", "needs {sources}")
            return
        self.seed = None
        self.sources = _slice(self.sources, "sources")
        self.source_index = _checked_index(self.source_index, "source_index", self.sources)
        dims = self.sources.rows.shape[1], self.latents.rows.shape[1]
        if dims[0] != dims[1]:
            got = f"sources {self.sources.rows.shape} and latents {self.latents.rows.shape}"
            raise ArgumentError(("sources", "latents"), "must have the same dim", got)

    def record(self) -> dict[str, Any]:
        """Return what must be the same on all ranks, by names for messages."""
        return {
            "the version of gtn-label": __version__,
            "the numeric contract": CONTRACT,
            **self.decides(),
            "groups": "none" if self.checked.groups is None else "given",
            "seed": self.seed,
            "sources": "drawn" if self.sources is None else "given",
            "dim": self.latents.rows.shape[1],
            "index": "default" if self.index is None else "given",
            "source_index": "default" if self.source_index is None else "given",
            "journal": "none" if self.journal is None else "given",
        }

    def meta(
        self, n: int, exchange: Exchange, fingerprints: Mapping[str, str], groups: int | None
    ) -> dict[str, Any]:
        """Describe a run of n sources; `groups` is their number, or None."""
        return {
            "format": FORMAT,
            "version": __version__,
            "contract": CONTRACT,
            "method": self.method,
            **seed_record(self.seed, n),
            **self.decides(),
            "backend": self.chosen.name,
            "fingerprints": dict(fingerprints),
            "world": exchange.world,
            **({} if groups is None else {"groups": {"count": groups}}),
        }


def _slice(value: Any, name: str) -> convert.Rows:
    """Return a rank's rows as the engine reads them; there may be none."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape) == 2 and shape[0] == 0 and shape[1] > 0:
        return convert.Rows(value, np.empty((0, int(shape[1])), np.float32))
    return convert.as_rows(value, name)


def _checked_index(index: Any, name: str, rows: convert.Rows) -> npt.NDArray[np.int64] | None:
    return None if index is None else check_index(index, name, len(rows.rows))


def rank_threads(threads: Any) -> Threads:
    """Return the number of threads of a rank, which shares its machine with other ranks."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    ranks = int(local) if local.isdigit() else 1
    named = os.environ.get(OWN_VARIABLE, "").strip()
    # torchrun sets OMP_NUM_THREADS=1 where it starts several ranks and the user has not set it.
    openmp = os.environ.get(OPENMP_VARIABLE, "").strip() not in ("", "1")
    if threads is not None or ranks < 2 or named or openmp:
        return check_threads(threads)
    found = machine_threads()
    return Threads(max(1, found // ranks), found.decided_by)

"""The summary of a sharded run as the command prints it: a table, or one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..cli import console
from ..cli.summary import auction_figures, auction_rows
from ..text import visible
from .exchange import gather

if TYPE_CHECKING:
    from .options import Options
    from .output import Written
    from .result import ShardedMatching

__all__ = ["figures", "summary"]


def figures(
    asked: Options, result: ShardedMatching, written: Written, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Collect the figures of a run, by their names in `--json`. A collective call.

    `resumed_at` counts sources, or rounds of an auction.
    """
    cosine = np.asarray(result.cosine, np.float64)
    sums = gather(result.exchange, np.array([cosine.sum(), cosine.min(initial=2.0)]))
    stats = result.stats
    engine = stats["seconds"]
    return {
        "version": __version__,
        "n": result.n,
        "latents": result.m,
        "dim": result.dim,
        "processes": result.exchange.world,
        "backend": stats["backend"],
        "instruction_set": stats["instruction_set"],
        "threads": stats["threads"],
        "mean_cosine": float(sums[:, 0].sum() / result.n),
        "least_cosine": float(sums[:, 1].min()),
        **{name: result.meta.get(name) for name in ("seed", "order", "cone", "center")},
        "groups": stats.get("groups"),
        "groups_shared": stats.get("groups_shared"),
        "windows": stats.get("windows"),
        "collectives": stats["collectives"],
        "bytes_received": stats["bytes_received"],
        "rescans": stats.get("rescans"),
        **auction_figures(result.meta, stats),
        "resumed_at": stats["resumed_at"],
        "seconds": {**seconds, **{f"of_{name}": value for name, value in engine.items()}},
        "out": str(asked.out_path),
        "shards": written.shards,
        "out_bytes": written.bytes,
        "journal": None if asked.journal is None else str(asked.journal),
    }


def summary(found: Mapping[str, Any]) -> list[str]:
    """Lay out the figures of a run for a reader, a line each."""
    seconds = found["seconds"]

    def time_of(*names: str) -> str:
        return console.format_seconds(sum(seconds.get(f"of_{name}", 0.0) for name in names))

    threads = console.counted(found["threads"], "thread")
    optimal = "optimal" in found
    share = (
        f"search {time_of('encode', 'search', 'decide', 'remove')}, exchange "
        f"{time_of('exchange', 'merge', 'feed')}"
    )
    if not optimal:
        share += f", walk {time_of('walk')}"
    rate = (found["n"] - found["resumed_at"]) / max(seconds["match"], 1e-9)
    work = auction_rows(found)
    if not optimal:
        windows = f"{found['windows']:,}, {found['rescans']:,} sources searched again"
        work = [("windows", windows)]
    moved = console.format_bytes(found["bytes_received"])
    rows = [
        ("n", f"{found['n']:,}"),
        *([("latents", f"{found['latents']:,}")] if found["latents"] != found["n"] else []),
        ("dim", f"{found['dim']:,}"),
        (
            "processes",
            f"{found['processes']:,}, each {found['backend']}, {found['instruction_set']}, "
            f"{threads}",
        ),
        (
            "time",
            f"{console.format_seconds(seconds['total'])}: read "
            f"{console.format_seconds(seconds['read'])}, match "
            f"{console.format_seconds(seconds['match'])}, write "
            f"{console.format_seconds(seconds['write'])}",
        ),
        ("of the match", share),
        *([] if optimal and found["resumed_at"] else [("pairs a second", f"{rate:,.0f}")]),
        ("mean cosine", f"{found['mean_cosine']:.4f} (least {found['least_cosine']:.4f})"),
        *_groups_row(found),
        *work,
        ("exchanged", f"{moved} into each process in {found['collectives']:,} rounds"),
        (
            "pairs",
            f"{visible(found['out'])} ({console.counted(found['shards'], 'file')}, "
            f"{console.format_bytes(found['out_bytes'])})",
        ),
    ]
    if found["journal"] is not None:
        resumed = ""
        if found["resumed_at"]:
            place = f"{found['resumed_at']:,}"
            resumed = f"continued after {place} rounds, " if optimal else f"continued at {place}, "
        rows.append(("journal", f"{found['journal']} ({resumed}removed)"))
    return console.table(rows)


def _groups_row(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if found["groups"] is None:
        return []
    return [
        ("groups", f"{found['groups']:,}, {found['groups_shared']:,} by all processes together")
    ]

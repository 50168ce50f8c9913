"""The summary of a run as the command prints it: a table, or one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..backend.names import backends
from ..quality import Summary
from ..result import Matching
from .console import counted, format_bytes, format_seconds, table

__all__ = [
    "auction_figures",
    "auction_rows",
    "backends_table",
    "certificate",
    "certificate_rows",
    "figures",
    "plain",
    "summary_table",
]


def figures(
    result: Matching,
    summary: Summary,
    seconds: float,
    resumed_at: int,
    out: Path,
    out_bytes: int,
    plot: Path | None,
    checkpoint_removed: Path | None,
) -> dict[str, Any]:
    """Collect the figures of a run, by their names in `--json`.

    `resumed_at` counts sources, or rounds of an auction.
    """
    stats = result.stats
    here: int | None = stats["n"] - resumed_at  # sources that this process decided
    if result.gap is not None:
        here = None if resumed_at else stats["n"]
    return {
        "version": __version__,
        "n": stats["n"],
        "latents": stats["m"],
        "dim": stats["dim"],
        "backend": stats["backend"],
        "instruction_set": stats.get("instruction_set"),
        "threads": stats.get("threads"),
        "seconds": seconds,
        "pairs_a_second": None if here is None else here / max(seconds, 1e-9),
        **summary._asdict(),
        **{name: result.meta.get(name) for name in ("seed", "order", "cone", "center", "groups")},
        "out": str(out),
        "out_bytes": out_bytes,
        "plot": None if plot is None else str(plot),
        "approx": result.meta.get("approx"),
        **auction_figures(result.meta, stats),
        "resumed_at": resumed_at,
        "checkpoint_removed": None if checkpoint_removed is None else str(checkpoint_removed),
        "stats": stats,
    }


def summary_table(figures: Mapping[str, Any], checkpoint: Path | None) -> list[str]:
    """Lay out the figures of a run for a reader, a line each."""

    def number(name: str) -> str:
        value = figures[name]
        return "undefined" if value is None else f"{value:.4f}"

    sample = figures["learnability_sample"]
    shown_out = "standard output" if figures["out"] == "-" else figures["out"]
    optimal, rate = "optimal" in figures, figures["pairs_a_second"]
    last = f"{number('last_decile_cosine')} (mean of the last 10% visited)"
    rows = [
        ("n", f"{figures['n']:,}"),
        *([("latents", f"{figures['latents']:,}")] if figures["latents"] != figures["n"] else []),
        ("dim", f"{figures['dim']:,}"),
        ("backend", _engine(figures)),
        ("time", format_seconds(figures["seconds"])),
        *([("pairs a second", f"{rate:,.0f}")] if rate is not None else []),
        ("mean cosine", number("mean_cosine")),
        *([("last decile", last)] if not optimal else []),  # all sources choose together
        ("norm correlation", f"{number('norm_correlation')} (rank, source and label norms)"),
        ("learnability", f"{number('learnability')} (10-NN R2 of labels, {sample:,} rows)"),
        *_loss(figures["approx"]),
        *auction_rows(figures),
        ("pairs", f"{shown_out} ({format_bytes(figures['out_bytes'])})"),
    ]
    if figures["plot"] is not None:
        rows.append(("plot", figures["plot"]))
    if checkpoint is not None:
        resumed = ""
        if figures["resumed_at"]:
            place = f"at {figures['resumed_at']:,}"
            if optimal:
                place = f"after {figures['resumed_at']:,} rounds"
            resumed = f"continued {place}, "
        state = "removed" if figures["checkpoint_removed"] else "was not needed"
        rows.append(("checkpoint", f"{checkpoint} ({resumed}{state})"))
    return table(rows)


def backends_table() -> list[str]:
    """List the backends, with the reason for each that cannot run here."""
    return table(
        [
            (row.name, row.description if row.available else f"not available: {row.reason}")
            for row in backends()
        ]
    )


def plain(value: Any) -> Any:
    """Return NumPy scalars and arrays as JSON has them, for `json.dumps(default=)`."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _engine(figures: Mapping[str, Any]) -> str:
    """Describe what computed.

    Examples: "cpu, avx2, 2 threads"; "faiss (python 1.15.1, cuda:0), 1 thread"; "cuda, mma on
    cuda:0 (NVIDIA H100 80GB HBM3)".
    """
    stats, threads = figures["stats"], figures["threads"]
    if "cuda" in stats:
        gpu = stats["cuda"]
        return f"cuda, {figures['instruction_set']} on {gpu['device']} ({gpu['name']})"
    text = f"cpu, {figures['instruction_set']}"
    if "faiss" in stats:
        library = stats["faiss"]
        device = "" if library["device"] == "cpu" else f", {library['device']}"
        text = f"faiss ({library['way']} {library['version']}{device})"
    return f"{text}, {threads} thread{'s' if threads != 1 else ''}"


def certificate(meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the certified figures of optimal transport, and their tolerance."""
    return {name: meta[name] for name in ("tolerance", "cost", "lower_bound", "gap")}


def certificate_rows(found: Mapping[str, Any], of_run: bool = True) -> list[tuple[str, str]]:
    """Return the lines on a certificate.

    A run ends with a gap above the tolerance by rounding alone. Nobody knows that of a file.
    """
    told = f"tolerance {found['tolerance']:g}"
    if of_run and found["gap"] > found["tolerance"]:
        told = f"above the {told} by rounding alone"
    return [
        ("cost", f"{found['cost']:.6g} (mean squared distance)"),
        ("lower bound", f"{found['lower_bound']:.6g} (no assignment costs less)"),
        ("gap", f"{found['gap']:.2g} (certified; {told})"),
    ]


def auction_figures(meta: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of optimal transport as "optimal"; nothing for another run."""
    if meta.get("method") != "optimal":
        return {}
    work = {name: stats[name] for name in ("phases", "rounds", "bids", "scans", "epsilon")}
    return {"optimal": certificate(meta) | work}


def auction_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines on optimal transport; none for another run."""
    found = figures.get("optimal")
    if found is None:
        return []
    work = ", ".join(counted(found[f"{name}s"], name) for name in ("phase", "round", "bid"))
    scans = f"{found['scans'] / figures['n']:.2f} scans a source"
    last = f"last epsilon {found['epsilon']:.2g}"
    return [*certificate_rows(found), ("auction", f"{work}, {scans}, {last}")]


def _loss(approx: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return the lines on the loss of an approximate run; none for an exact one."""
    if approx is None:
        return []
    nprobe = "" if approx["nprobe"] is None else f", nprobe {approx['nprobe']}"
    more = "" if approx["parameters"] is None else f", {approx['parameters']}"
    low, high = approx["other_latent_95"]
    other = f"{100 * approx['other_latent']:.1f} % of {approx['sample']:,} sampled sources"
    lost = f"{approx['cosine_lost']:.4f} ± {approx['cosine_lost_error']:.4f}"
    return [
        ("approximate", f"{approx['index']}{nprobe}{more}"),
        ("not the exact choice", f"{other} (95 %: {100 * low:.1f} to {100 * high:.1f} % of all)"),
        ("mean cosine lost", f"{lost}, against the best latent free at the time"),
    ]

"""One run of the command: read, match, measure, write, and say so.

Here is the order in which that happens; how it starts and ends, on stderr and by exit code, is
main.py's business. What can go wrong is looked for before the long part, and output files appear
last, whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, quality, run
from ..approx import DEFAULT_SAMPLE, check_approx
from ..arrays import convert
from ..backend.faiss_approx import Approx
from ..backend.names import backends
from ..io.atomic import atomic_file, check_target
from ..io.checkpoint import Checkpoint, fingerprint
from ..io.files import check_output_suffix, read_array
from ..result import Matching
from . import plot
from .console import os_message
from .options import Options, ShowBackends

__all__ = ["Run", "describe_backends"]


class Run:
    """One labeling, from its options to its files."""

    def __init__(self, options: Options, warn: Callable[[str], None]) -> None:
        self.options = options
        self.warn = warn
        self.checkpoint: Checkpoint | None = None
        self.total = 0
        self.seconds = 0.0
        self.resumed_at = 0

    def execute(self) -> str:
        """Do everything; return what belongs on stdout."""
        options = self.options
        self._check_outputs()
        latents = read_array(options.latents, options.key, name="LATENTS", key_name="--key")
        sources = None
        if options.sources is not None:
            sources = read_array(
                options.sources, options.sources_key, name="--sources", key_name="--sources-key"
            )
        groups = None
        if options.source_groups is not None and options.latent_groups is not None:
            groups = (
                read_array(options.source_groups, name="--source-groups"),
                read_array(options.latent_groups, name="--latent-groups"),
            )
        result, visited = self._match(latents, sources, groups)
        try:
            return self._finish(result, latents, visited)
        except Exception as error:
            # The long part is over, and a full disk is no reason to do it again.
            kept = self.keep()
            if kept and isinstance(error, OSError):
                raise OSError(f"{os_message(error)}; {kept}") from None
            raise

    def keep(self) -> str:
        """Save what has been decided, if that was asked for; say where it is, or why not."""
        if self.checkpoint is None:
            return ""
        path = self.checkpoint.path
        try:
            self.checkpoint.save()
        except OSError as error:
            return f"--checkpoint '{path}' could not be written: {error.strerror or error}"
        return f"'{path}' holds what was decided, and the same command continues"

    def _check_outputs(self) -> None:
        """Refuse now what could not be written later, or would destroy something."""
        options = self.options
        check_output_suffix(options.out_path, "--out")
        if options.plot is not None:
            plot.require(options.plot)
        outputs = [
            ("--out", options.out_path),
            ("--plot", options.plot),
            ("--checkpoint", options.checkpoint),
        ]
        inputs = [
            ("LATENTS", options.latents),
            ("--sources", options.sources),
            ("--source-groups", options.source_groups),
            ("--latent-groups", options.latent_groups),
        ]
        seen = [(name, path) for name, path in inputs if path is not None]
        for name, path in outputs:
            if path is None:
                continue
            for other_name, other in seen:
                if _same_file(path, other):
                    raise ValueError(f"{name} must not be the file of {other_name}: '{path}'")
            seen.append((name, path))
            check_target(path, name)
        if options.out is None and options.out_path.exists():
            raise ValueError(
                f"--out is not given, and '{options.out_path}' exists already: name it with --out "
                "to replace it, or name another file"
            )

    def _match(self, latents: Any, sources: Any, groups: Any) -> tuple[Matching, Any]:
        options = self.options
        began = time.perf_counter()
        seed = 0 if options.seed is None else options.seed
        drawn = sources is None
        rows = latents if drawn else sources
        well_formed = latents.ndim == rows.ndim == 2 and latents.size > 0
        if drawn and well_formed:
            # Here rather than in the library, so that a checkpoint can be told which they were.
            n, dim = latents.shape
            sources = convert.draw_sources(n, dim, seed)
        self.total = len(rows) if rows.ndim else 0
        visited = np.full(self.total, -1, dtype=np.int64)
        if options.checkpoint is not None and well_formed:
            self.checkpoint = Checkpoint(
                options.checkpoint,
                fingerprint(
                    latents,
                    sources,
                    groups,
                    seed=seed if drawn else None,
                    order=options.order,
                    cone=options.cone,
                    center=options.center,
                    approx=options.approx,
                    nprobe=options.nprobe,
                    parameters=options.parameters,
                ),
                visited,
                len(latents),
                options.checkpoint_every,
                self.warn,
            )
            self.resumed_at = self.checkpoint.resume()
        with self._shell_words():
            result = run.run(
                latents,
                sources,
                order=options.order,
                cone=options.cone,
                center=options.center,
                groups=groups,
                backend="faiss:python" if options.approx else options.backend,
                device=options.device,
                threads=options.threads,
                memory=options.memory,
                progress=not options.quiet and sys.stderr is not None and sys.stderr.isatty(),
                visited=visited,
                start=self.resumed_at,
                poll=None if self.checkpoint is None else self.checkpoint.poll,
                provenance={"seed": seed} if drawn else None,
                approx=self._approx(),
            )
        if self.checkpoint is not None:
            self.checkpoint.done = self.total
        self.seconds = time.perf_counter() - began
        return result, visited

    def _approx(self) -> Approx | None:
        options = self.options
        if options.approx is None:
            return None
        sample = DEFAULT_SAMPLE if options.sample is None else options.sample
        return check_approx(options.approx, options.nprobe, options.parameters, sample)

    @contextlib.contextmanager
    def _shell_words(self) -> Iterator[None]:
        """Let errors of the library lead with what was typed, not with a name in Python."""
        options = self.options
        names = ("backend", "cone", "device", "memory", "nprobe", "order", "parameters", "threads")
        typed = {name: f"--{name}" for name in names} | {"index": "--approx"}
        if options.approx is not None:
            typed["backend"] = "--approx: backend"
        paths = {
            "latents": ("LATENTS", options.latents),
            "sources": ("--sources", options.sources),
            "source_groups": ("--source-groups", options.source_groups),
            "latent_groups": ("--latent-groups", options.latent_groups),
            "visited": ("--checkpoint", options.checkpoint),
        }
        for name, (option, path) in paths.items():
            if path is not None:
                typed[name] = f"{option} '{path}'"
        try:
            yield
        except (ValueError, TypeError) as error:
            message = _lead_with(typed, str(error))
            if str(error).startswith("visited "):
                message += "; delete it to start over"
            raise (ValueError if isinstance(error, ValueError) else TypeError)(message) from None

    def _finish(self, result: Matching, latents: Any, visited: Any) -> str:
        """Measure, write everything, and only then let the checkpoint go."""
        options = self.options
        picture = None
        summary = quality.summarize(
            result.sources,
            latents,
            result.assignment,
            result.cosine,
            visited,
            None if result.groups is None else result.groups[0],
        )
        if options.plot is not None:
            picture = plot.draw(
                result.sources,
                latents,
                result.assignment,
                result.cosine,
                summary,
                options.plot.suffix.lower().removeprefix("."),
            )
        with contextlib.ExitStack() as stack:
            if options.plot is not None and picture is not None:
                # Written first and renamed last: both files appear, or neither.
                stack.enter_context(_writing("--plot", options.plot))
                stack.enter_context(atomic_file(options.plot)).write(picture)
            with _writing("--out", options.out_path):
                result.save(options.out_path, indices_only=options.indices_only)
        removed = self.checkpoint is not None and self.checkpoint.remove()
        figures = self._figures(result, summary, removed)
        if options.json:
            return json.dumps(figures, default=_plain)
        return "" if options.quiet else self._table(figures)

    def _figures(
        self, result: Matching, summary: quality.Summary, checkpoint_removed: bool
    ) -> dict[str, Any]:
        options, stats = self.options, result.stats
        return {
            "version": __version__,
            "n": self.total,
            "latents": stats["m"],
            "dim": stats["dim"],
            "backend": stats["backend"],
            "instruction_set": stats.get("instruction_set"),
            "threads": stats.get("threads"),
            "seconds": self.seconds,
            "pairs_a_second": (self.total - self.resumed_at) / max(self.seconds, 1e-9),
            **summary._asdict(),
            **{name: result.meta[name] for name in ("seed", "order", "cone", "center", "groups")},
            "out": str(options.out_path),
            "out_bytes": options.out_path.stat().st_size,
            "plot": None if options.plot is None else str(options.plot),
            "approx": result.meta.get("approx"),
            "resumed_at": self.resumed_at,
            "checkpoint_removed": str(options.checkpoint) if checkpoint_removed else None,
            "stats": stats,
        }

    def _table(self, figures: dict[str, Any]) -> str:
        def number(name: str) -> str:
            value = figures[name]
            return "undefined" if value is None else f"{value:.4f}"

        sample = figures["learnability_sample"]
        rows = [
            ("n", f"{figures['n']:,}"),
            ("latents", f"{figures['latents']:,}"),
            ("dim", f"{figures['dim']:,}"),
            ("backend", _engine(figures)),
            ("time", quality.format_seconds(figures["seconds"])),
            ("pairs a second", f"{figures['pairs_a_second']:,.0f}"),
            ("mean cosine", number("mean_cosine")),
            ("last decile", f"{number('last_decile_cosine')} (mean of the last 10% visited)"),
            ("norm correlation", f"{number('norm_correlation')} (rank, source and label norms)"),
            ("learnability", f"{number('learnability')} (10-NN R2 of labels, {sample:,} rows)"),
            *_loss(figures["approx"]),
            ("pairs", f"{figures['out']} ({quality.format_bytes(figures['out_bytes'])})"),
        ]
        if figures["latents"] == figures["n"]:
            del rows[1]
        if figures["plot"] is not None:
            rows.append(("plot", figures["plot"]))
        if self.options.checkpoint is not None:
            resumed = f"continued at {self.resumed_at:,}, " if self.resumed_at else ""
            state = "removed" if figures["checkpoint_removed"] else "was not needed"
            rows.append(("checkpoint", f"{self.options.checkpoint} ({resumed}{state})"))
        return quality.table(rows)


def _engine(figures: Mapping[str, Any]) -> str:
    """What ran, in short.

    "cpu, avx2, 2 threads", "faiss (python 1.15.1, cuda:0), 1 thread", "cuda, mma on cuda:0 (NVIDIA
    H100 80GB HBM3)".
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


def _loss(approx: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Lines on what an approximate run lost; none for an exact one."""
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


def _lead_with(typed: Mapping[str, str], message: str) -> str:
    """Replace the names of arguments that a message of the library starts with.

    >>> _lead_with({"latents": "LATENTS 'z.npy'"}, "sources and latents must have the same dim")
    "sources and LATENTS 'z.npy' must have the same dim"
    """
    head = re.match(r"(unknown )?\w+( and \w+)?", message)
    end = 0 if head is None else head.end()
    return re.sub(r"\w+", lambda word: typed.get(word[0], word[0]), message[:end]) + message[end:]


@contextlib.contextmanager
def _writing(name: str, path: Path) -> Iterator[None]:
    """Say which output it was that could not be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{name} '{path}' could not be written: {reason}") from None


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one does not exist
        return os.path.realpath(a) == os.path.realpath(b)


def describe_backends(asked: ShowBackends) -> str:
    """Say what can compute here, and why the rest cannot."""
    rows = backends()
    if asked.json:
        return json.dumps([row._asdict() for row in rows])
    lines = [
        (row.name, f"{row.description}" if row.available else f"not available: {row.reason}")
        for row in rows
    ]
    return quality.table(lines)


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as JSON has them."""
    return value.tolist() if hasattr(value, "tolist") else str(value)

"""One run of the command: read, match, measure, write.

Errors that can be found early are looked for before the long part, and output files appear last,
whole or not at all. Not here: exit codes and stderr (main.py), and the summary's text (summary.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import quality
from ..approx import match_approx
from ..arrays.on_disk import Files
from ..backend.names import backends
from ..errors import ArgumentError, ArgumentTypeError
from ..io.atomic import atomic_file, check_target
from ..io.checkpoint import Checkpoint
from ..io.files import check_output_suffix, read_array
from ..matching import match
from ..result import Matching
from . import plot
from .console import os_message
from .options import Options, ShowBackends
from .summary import backends_table, figures, plain, summary_table

__all__ = ["Run", "describe_backends"]


class Run:
    """One labeling, from its options to its files."""

    def __init__(self, options: Options, warn: Callable[[str], None]) -> None:
        self.options = options
        self._words = _words(options)
        self.checkpoint: Checkpoint | None = None
        if options.checkpoint is not None:
            self.checkpoint = Checkpoint(
                options.checkpoint, options.checkpoint_every, warn, self._words, remove_at_end=False
            )

    def execute(self) -> str:
        """Label the sources, write all files, and return the text for stdout."""
        self._check_outputs()
        latents, sources, groups = self._read()
        began = time.perf_counter()
        try:
            result = self._match(latents, sources, groups)
        except (ArgumentError, ArgumentTypeError) as error:
            message = error.spelled(self._words | self._paths())
            raise (ValueError if isinstance(error, ValueError) else TypeError)(message) from None
        seconds = time.perf_counter() - began
        try:
            return self._finish(result, latents, seconds)
        except Exception as error:
            # The long part is over, and a full disk is no reason to do it again.
            kept = self.keep()
            if kept and isinstance(error, OSError):
                raise OSError(f"{os_message(error)}; {kept}") from None
            raise

    def keep(self) -> str:
        """Save the decided sources if there is a checkpoint; say where they are, or why not."""
        if self.checkpoint is None:
            return ""
        path = self.checkpoint.path
        try:
            self.checkpoint.save()
        except OSError as error:
            return f"--checkpoint '{path}' could not be written: {error.strerror or error}"
        return f"'{path}' holds what was decided, and the same command continues"

    def _check_outputs(self) -> None:
        """Refuse outputs that could not be written later, or would destroy a file."""
        options = self.options
        check_output_suffix(options.out_path, "--out")
        if options.plot is not None:
            plot.require(options.plot)
        outputs = [
            ("--out", options.out_path),
            ("--plot", options.plot),
            ("--checkpoint", options.checkpoint),
        ]
        seen = options.inputs()
        for name, path in outputs:
            if path is None:
                continue
            for other_name, other in seen.items():
                if _same_file(path, other):
                    raise ValueError(f"{name} must not be the file of {other_name}: '{path}'")
            seen[name] = path
            check_target(path, name)
        if options.out is None and options.out_path.exists():
            raise ValueError(
                f"--out is not given, and '{options.out_path}' exists already: name it with --out "
                "to replace it, or name another file"
            )

    def _read(self) -> tuple[Any, Any, Any]:
        """Return latents, sources and groups from their files, None for those not given."""
        options = self.options
        latents = read_array(options.latents, options.key, name="LATENTS", key_name="--key")
        sources = groups = None
        if options.sources is not None:
            sources = read_array(
                options.sources, options.sources_key, name="--sources", key_name="--sources-key"
            )
        if options.source_groups is not None and options.latent_groups is not None:
            groups = (
                read_array(options.source_groups, name="--source-groups"),
                read_array(options.latent_groups, name="--latent-groups"),
            )
        return latents, sources, groups

    def _match(self, latents: Any, sources: Any, groups: Any) -> Matching:
        options = self.options
        asked: dict[str, Any] = {
            "seed": 0 if options.seed is None else options.seed,
            "groups": groups,
            "progress": not options.quiet and sys.stderr is not None and sys.stderr.isatty(),
            "checkpoint": self.checkpoint,
            **options.matching,
        }
        if options.approx is None:
            return match(latents, sources, **asked)
        return match_approx(latents, sources, **options.approx, **asked)

    def _finish(self, result: Matching, latents: Any, seconds: float) -> str:
        """Measure, write all files, and only then delete the checkpoint."""
        options = self.options
        picture = None
        with Files(latents=latents, sources=result.sources).reading():
            summary = quality.summarize(
                result.sources,
                latents,
                result.assignment,
                result.cosine,
                result.visited,
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
        found = figures(
            result,
            summary,
            seconds,
            0 if self.checkpoint is None else self.checkpoint.resumed_at,
            options.out_path,
            options.plot,
            options.checkpoint if removed else None,
        )
        if options.json:
            return json.dumps(found, default=plain)
        return "" if options.quiet else summary_table(found, options.checkpoint)

    def _paths(self) -> dict[str, str]:
        """Return the arguments that are files, as messages about their contents name them."""
        names = {
            "latents": "LATENTS",
            "sources": "--sources",
            "source_groups": "--source-groups",
            "latent_groups": "--latent-groups",
        }
        files = self.options.inputs()
        return {name: f"{word} '{files[word]}'" for name, word in names.items() if word in files}


def _words(options: Options) -> dict[str, str]:
    """Return the command's spelling of arguments of `match` and `match_approx`."""
    names = [*options.matching, "nprobe", "parameters", "sample", "seed", "checkpoint"]
    words = {name: f"--{name}" for name in names}
    words |= {"source_groups": "--source-groups", "latent_groups": "--latent-groups"}
    words |= {"index": "--approx", "approx": "--approx"}
    words["groups"] = "--source-groups and --latent-groups"
    words["backend"] = "--backend" if options.approx is None else "--approx: backend"
    return words


@contextlib.contextmanager
def _writing(name: str, path: Path) -> Iterator[None]:
    """Name the output in an error of writing it."""
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
    """Return the backends as a table, or as JSON."""
    if asked.json:
        return json.dumps([row._asdict() for row in backends()])
    return backends_table()

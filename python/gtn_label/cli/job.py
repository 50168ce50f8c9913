"""One run of the command: read, match, measure, write.

Errors that can be found early are looked for before the long part, and output files appear last,
whole or not at all. Not here: exit codes and stderr (main.py), and the summary's text (summary.py).
"""

from __future__ import annotations

import contextlib
import functools
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
from ..io.atomic import atomic_file, check_target, resolved, telling
from ..io.checkpoint import Checkpoint
from ..io.files import check_output_suffix
from ..io.reading import file_size
from ..matching import match
from ..optimal import match_optimal
from ..result import Matching
from ..text import quoted
from . import plot
from .console import Refused, is_terminal, json_text, os_message
from .options import Options, ShowBackends
from .sections import STREAM
from .streams import check_stdout, pairs_target, read_input
from .summary import backends_table, figures, plain, summary_table

__all__ = ["Run", "describe_backends"]


class Run:
    """One labeling, from its options to its files."""

    def __init__(self, options: Options, warn: Callable[[str], None]) -> None:
        self.options = options
        self._warn = warn
        self._in_place: set[str] = set()  # outputs that the user was warned of
        self._words = _words(options)
        self.checkpoint: Checkpoint | None = None
        if options.checkpoint is not None:
            self.checkpoint = Checkpoint(
                options.checkpoint, options.checkpoint_every, warn, self._words, remove_at_end=False
            )

    def execute(self) -> list[str]:
        """Label the sources, write all files, and return the lines of the summary."""
        try:
            return self._execute()
        except Exception:
            if self.checkpoint is not None:
                self.checkpoint.release()
            raise

    def _execute(self) -> list[str]:
        self._check_outputs()
        latents, sources, groups = self._read()
        began = time.perf_counter()
        with self.in_words():
            result = self._match(latents, sources, groups)
        seconds = time.perf_counter() - began
        try:
            return self._finish(result, latents, seconds)
        except Exception as error:
            # The long part is over, and a full disk is no reason to do it again.
            kept = self.keep()
            if kept and isinstance(error, OSError):
                raise OSError(error.errno, f"{os_message(error)}; {kept}") from None
            if kept and isinstance(error, Refused):
                raise Refused(f"{error.message}; {kept}", error.code) from None
            raise

    @contextlib.contextmanager
    def in_words(self) -> Iterator[None]:
        """Spell errors about arguments as the command line does."""
        try:
            yield
        except (ArgumentError, ArgumentTypeError) as error:
            message = error.spelled(self._words | self._paths())
            raise (ValueError if isinstance(error, ValueError) else TypeError)(message) from None

    @property
    def shows_progress(self) -> bool:
        """True if a bar has a reader."""
        return not self.options.quiet and is_terminal(sys.stderr)

    def keep(self) -> str:
        """Save the decided sources if there is a checkpoint; say where they are, or why not."""
        if self.checkpoint is None:
            return ""
        if self.checkpoint.removed:
            return "the pairs are written"
        path = self.checkpoint.path
        try:
            self.checkpoint.save()
        except OSError as error:
            return f"--checkpoint {quoted(path)} could not be written: {error.strerror or error}"
        finally:
            self.checkpoint.release()
        if not self.checkpoint.has_decisions:
            return f"{quoted(path)} holds no decision yet, and the same command begins anew"
        return f"{quoted(path)} holds what was decided, and the same command continues"

    def _check_outputs(self) -> None:
        """Refuse outputs that could not be written later, or would destroy a file.

        Inputs that are missing are refused before: without them no output matters.
        """
        options = self.options
        for name, given in options.inputs().items():
            if given != STREAM:
                file_size(given, name)
        if options.out_file is None:
            check_stdout()
        else:
            check_output_suffix(options.out_file, "--out")
        if options.plot is not None:
            plot.require(options.plot)
        outputs = [
            ("--out", options.out_file),
            ("--plot", options.plot),
            ("--checkpoint", options.checkpoint),
        ]
        seen = {name: path for name, path in options.inputs().items() if path != STREAM}
        for name, path in outputs:
            if path is None:
                continue
            for other_name, other in seen.items():
                if _same_file((name, path), (other_name, other)):
                    raise ValueError(f"{name} must not be the file of {other_name}: {quoted(path)}")
            seen[name] = path
            if name == "--checkpoint" and self.checkpoint is not None:
                self.checkpoint.acquire()
            else:
                with telling(functools.partial(self._written_in_place, name)):
                    check_target(path, name)
        if options.out is None and options.out_path.exists():
            raise ValueError(
                f"--out is not given, and {quoted(options.out_path)} exists already: name it with "
                "--out to replace it, or name another file"
            )

    def _written_in_place(self, name: str, message: str) -> None:
        """Warn once of an output that cannot be replaced."""
        if name not in self._in_place:
            self._warn(message)
        self._in_place.add(name)

    @contextlib.contextmanager
    def _writing(self, name: str, path: Path) -> Iterator[None]:
        """Name the output in an error of writing it, and in a warning."""
        try:
            with telling(functools.partial(self._written_in_place, name)):
                yield
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"{name} {quoted(path)} could not be written: {reason}"
            raise OSError(error.errno, message) from None

    def _read(self) -> tuple[Any, Any, Any]:
        """Return latents, sources and groups from their files, None for those not given."""
        options = self.options
        latents = read_input(options.latents, options.key, name="LATENTS", key_name="--key")
        sources = groups = None
        if options.sources is not None:
            sources = read_input(
                options.sources, options.sources_key, name="--sources", key_name="--sources-key"
            )
        if options.source_groups is not None and options.latent_groups is not None:
            groups = (
                read_input(options.source_groups, None, name="--source-groups", key_name="key"),
                read_input(options.latent_groups, None, name="--latent-groups", key_name="key"),
            )
        return latents, sources, groups

    def _match(self, latents: Any, sources: Any, groups: Any) -> Matching:
        options = self.options
        asked: dict[str, Any] = {
            "seed": 0 if options.seed is None else options.seed,
            "groups": groups,
            "progress": self.shows_progress,
            **options.matching,
        }
        asked["checkpoint"] = self.checkpoint
        if options.optimal is not None:
            return match_optimal(latents, sources, **options.optimal, **asked)
        if options.approx is None:
            return match(latents, sources, **asked)
        return match_approx(latents, sources, **options.approx, **asked)

    def _finish(self, result: Matching, latents: Any, seconds: float) -> list[str]:
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
                stack.enter_context(self._writing("--plot", options.plot))
                stack.enter_context(atomic_file(options.plot)).write(picture)
            with self._writing("--out", options.out_path), pairs_target(options) as target:
                out_bytes = result._write(target, options.indices_only, options.out_format)
        removed = self.checkpoint is not None and self.checkpoint.remove()
        found = figures(
            result,
            summary,
            seconds,
            0 if self.checkpoint is None else self.checkpoint.continued_at,
            options.out_path,
            out_bytes,
            options.plot,
            options.checkpoint if removed else None,
        )
        if options.json:
            return json_text(found, default=plain)
        return [] if options.quiet else summary_table(found, options.checkpoint)

    def _paths(self) -> dict[str, str]:
        """Return the arguments that are files, as messages about their contents name them."""
        names = {
            "latents": "LATENTS",
            "sources": "--sources",
            "source_groups": "--source-groups",
            "latent_groups": "--latent-groups",
        }
        files = self.options.inputs()
        return {
            name: f"{word} {quoted(files[word])}" for name, word in names.items() if word in files
        }


def _words(options: Options) -> dict[str, str]:
    """Return the command's spelling of arguments of the functions that match."""
    names = [*options.matching, *("nprobe", "parameters", "sample", "seed", "checkpoint")]
    names.append("tolerance")
    words = {name: f"--{name}" for name in names}
    words |= {"source_groups": "--source-groups", "latent_groups": "--latent-groups"}
    words |= {"index": "--approx", "approx": "--approx"}
    words["groups"] = "--source-groups and --latent-groups"
    words["backend"] = "--backend" if options.approx is None else "--approx: backend"
    return words


def _same_file(a: tuple[str, Path], b: tuple[str, Path]) -> bool:
    """Compare two arguments, each a name and a path."""
    try:
        return a[1].samefile(b[1])
    except OSError:  # one does not exist
        return resolved(a[1], a[0]) == resolved(b[1], b[0])


def describe_backends(asked: ShowBackends) -> list[str]:
    """Return the backends as a table, or as JSON."""
    if asked.json:
        return json_text([row._asdict() for row in backends()])
    return backends_table()

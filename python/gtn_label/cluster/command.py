"""One process of gtn-label-cluster: reads its share, matches with the others, writes its pairs.

torchrun starts the process, or a user does, who has then one process alone. What all processes
refuse is printed by the first alone. Not here: options (options.py), the processes (launcher.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..cli import console
from ..text import quoted

if TYPE_CHECKING:
    from .exchange import Exchange
    from .inputs import RowFiles
    from .options import Options
    from .result import ShardedMatching

__all__ = ["LEFT", "OUTCOME", "Command", "main"]

PROGRAM = "gtn-label-cluster"
OUTCOME = "GTN_CLUSTER_OUTCOME"  # environment variable: a folder of the launcher's, for exit codes
LEFT = "left"  # the file there with what an interruption left
_CONSEQUENCE = re.compile(r"rank \d+ has (left|lost)")  # of another rank's error


def main(argv: Sequence[str] | None = None, *, earlier: Sequence[int] = ()) -> NoReturn:
    """Run one process of a run and leave it with its exit code.

    Parameters
    ----------
    argv
        Arguments after the program's name; those of the process by default.
    earlier
        Numbers of signals that came before; the process then ends at once.
    """
    command = Command(sys.argv[1:] if argv is None else argv)
    sys.exit(command.run(last=argv is None, earlier=earlier))


class Command:
    """One process.

    Parameters
    ----------
    argv : sequence of str
        Arguments after the program's name.
    world, local : int, optional
        Processes of the run, and those of this machine, for `--plan`; by default as torchrun says.
    """

    def __init__(
        self, argv: Sequence[str], world: int | None = None, local: int | None = None
    ) -> None:
        self._argv = list(argv)
        # A launcher that says the world runs the only process, whatever the environment says.
        self._rank = _number("RANK", 0) if world is None else 0
        self._world = world or _number("WORLD_SIZE", 1)
        self._local = local or _number("LOCAL_WORLD_SIZE", 1)
        self._journal: Any = None
        self._makes_folder = False
        self._on_all_ranks = True  # an error before the ranks meet is that of each

    def run(self, *, last: bool, earlier: Sequence[int] = ()) -> int:
        """Do the work, report its error, and return the exit code."""
        with self._first_alone():
            code = console.run(PROGRAM, self._load, self.left, last=last, earlier=earlier)
        folder = os.environ.get(OUTCOME)
        final = code in (console.EXIT_WRONG, console.EXIT_FAILED) and self._on_all_ranks
        if folder and final:
            # A restart would end alike: to the agent this process ends well, and its code goes to
            # the launcher.
            with contextlib.suppress(OSError):
                (Path(folder) / f"code-{self._rank}").write_text(str(code))
                return console.EXIT_DONE
        return code

    @contextlib.contextmanager
    def _first_alone(self) -> Iterator[None]:
        """Print nothing from other processes than the first, until `_loud`."""
        self._stderr = sys.stderr
        stdout = sys.stdout
        if self._rank:
            sys.stdout = sys.stderr = None
        try:
            yield
        finally:
            sys.stdout, sys.stderr = stdout, self._stderr

    def _load(self) -> Callable[[], None]:
        from . import options  # noqa: F401

        return self.work

    def work(self) -> None:
        """Do what the command line asks for."""
        from .options import parse

        asked = parse(self._argv)
        if asked is None:
            return
        if asked.launch:
            import click

            raise click.UsageError(
                f"{next(iter(asked.launch))} is for gtn-label-cluster, which starts processes, and "
                "this is one of them."
            )
        self._words = _words(asked)
        if asked.plan:
            if self._rank == 0:
                with self._spelled():
                    console.print_lines(self._plan(asked))
            return
        if self._world > 1:
            self._check_restarts()
        try:
            with self._spelled():
                console.print_lines(self._match(asked))
        except Exception as error:
            self._judge(error)
            raise

    def _check_restarts(self) -> None:
        """Refuse restarts that cannot succeed, before the processes meet: by the first, once."""
        from ..errors import ArgumentError
        from .torch_exchange import check_restarts

        try:
            check_restarts(os.environ)
        except ArgumentError:
            if _number("TORCHELASTIC_RESTART_COUNT", 0):
                sys.stderr = None
            raise

    def _judge(self, error: Exception) -> None:
        """Let a process other than the first print its own errors, and no others."""
        from .exchange import on_all_ranks

        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        self._on_all_ranks = on_all_ranks(error) or on_all_ranks(cause) or self._world == 1
        if self._rank and not self._on_all_ranks and not _CONSEQUENCE.match(str(error)):
            sys.stderr = self._stderr

    @contextlib.contextmanager
    def _spelled(self) -> Iterator[None]:
        """Spell errors about arguments as the command line does."""
        from ..errors import ArgumentError, ArgumentTypeError

        try:
            yield
        except (ArgumentError, ArgumentTypeError) as error:
            message = error.spelled(self._words)
            raise (ValueError if isinstance(error, ValueError) else TypeError)(message) from error

    def left(self) -> str:
        """Say what an interruption leaves; under a launcher, that says so."""
        text = self._left_behind()
        folder = os.environ.get(OUTCOME)
        if folder:
            # The agent also interrupts processes to start them again.
            sys.stderr = None
            with contextlib.suppress(OSError):
                if self._rank == 0:
                    (Path(folder) / LEFT).write_text(text)
        return text

    def _left_behind(self) -> str:
        if self._journal is None:
            return "; nothing was written"
        path = quoted(self._journal.path)
        if not self._journal.done:
            return f"; {path} holds no decision yet, and the same command begins anew"
        return f"; {path} holds what was decided, and the same command continues"

    # ------------------------------------------------------------------------------- the run

    def _match(self, asked: Options) -> list[str]:
        with _exchange(self._world, asked.timeout) as exchange:
            from .exchange import leave

            try:
                with contextlib.ExitStack() as held:
                    return self._matched(asked, exchange, held)
            except BaseException as error:
                leave(exchange, error)
                if self._makes_folder:
                    with contextlib.suppress(OSError):  # it holds shards
                        asked.out_path.rmdir()
                if self._journal is not None:
                    self._journal.release()
                raise

    def _matched(self, asked: Options, exchange: Exchange, held: contextlib.ExitStack) -> list[str]:
        import numpy as np

        from ..io.atomic import worded
        from .dealing import owners_of_rows, owners_of_shares, rows_of_rank, share_of_rank
        from .exchange import agree, together
        from .output import check_folder, locked, write_pairs
        from .shares import labels_of, open_labels, read_rows
        from .summary import figures, summary

        began = time.perf_counter()
        shows = not asked.quiet and exchange.rank == 0 and console.is_terminal(sys.stderr)
        with together(exchange):
            latents, sources = _open(asked)
            labels = open_labels(asked, len(latents if sources is None else sources), len(latents))
            _check_output(asked, latents, sources)
        agree(exchange, _record(latents, sources))
        self._makes_folder = exchange.rank == 0 and not asked.out_path.exists()
        check_folder(exchange, asked.out_path, "--out")
        held.enter_context(locked(exchange, asked.out_path, "--out", self._warn))
        rank, world = exchange.rank, exchange.world
        index = rows_of_rank(len(latents), rank, world)
        owners = owners_of_rows(len(latents), world)
        rows = read_rows(exchange, latents, index, owners, shows, "latents")
        given: dict[str, Any] = {}
        n = len(latents if sources is None else sources)
        places = np.arange(*share_of_rank(n, rank, world))
        with together(exchange):
            given["groups"] = labels_of(labels, places, index)
        if sources is not None:
            owners = owners_of_shares(n, world)
            given["sources"] = read_rows(exchange, sources, places, owners, shows, "sources")
            given["source_index"] = places
        self._open_journal(asked)
        read = time.perf_counter()
        result = _verb(asked)(
            rows,
            index=index,
            exchange=exchange,
            journal=self._journal,
            progress=shows,
            **given,
            **asked.matching,
        )
        matched = time.perf_counter()
        try:
            written = write_pairs(
                result,
                asked.out_path,
                indices_only=asked.indices_only,
                format=asked.format,
                shard_rows=asked.shard_rows,
                latent_files=latents.files,
                name="--out",
            )
        except OSError as error:
            if self._journal is None:
                raise
            # The long part is over, and a full disk is no reason to do it again.
            raise worded(error, console.os_message(error) + self._left_behind()) from error
        result.finish()
        seconds = {
            "read": read - began,
            "match": matched - read,
            "write": time.perf_counter() - matched,
            "total": time.perf_counter() - began,
        }
        found = figures(asked, result, written, seconds)
        if exchange.rank:
            return []
        if asked.json:
            return console.json_text(found)
        return [] if asked.quiet else summary(found)

    def _open_journal(self, asked: Options) -> None:
        from ..io.checkpoint import Checkpoint
        from .journal import RunJournal

        if asked.journal is None:
            return
        words = {**self._words, "journal": "--journal", "checkpoint": "--journal"}
        given = asked.journal, asked.journal_every, self._warn, words
        self._journal = (
            Checkpoint(*given, remove_at_end=False) if asked.optimal else RunJournal(*given)
        )

    def _warn(self, message: str) -> None:
        console.say(PROGRAM, f"warning: {message}")

    # ------------------------------------------------------------------------------ the plan

    def _plan(self, asked: Options) -> list[str]:
        import numpy as np

        from .dealing import rows_of_rank
        from .matching import match_sharded
        from .plan import available_memory, make_plan, measure, shortage

        os.environ.setdefault("LOCAL_WORLD_SIZE", str(self._local))  # by which ranks share CPUs
        latents, sources = _open(asked)
        m, dim = latents.shape
        n = m if sources is None else len(sources)

        def sample(count: int) -> np.ndarray[Any, Any]:
            every = max(1, m // count)
            return latents.take(rows_of_rank(m, 0, every)[:count])

        def run(rows: np.ndarray[Any, Any]) -> int:
            return int(match_sharded(rows, **asked.matching).stats["threads"])

        plan = make_plan(
            n,
            m,
            dim,
            latents.dtype,
            ranks=self._world,
            machines=max(1, self._world // self._local),
            cone=asked.matching["cone"],
            indices_only=asked.indices_only,
            memory=asked.matching["memory"],
            rate=measure(sample, m, run),
        )
        short = shortage(plan, self._local, asked.out_path, available_memory())
        lines = console.json_text(plan.figures()) if asked.json else console.table(plan.rows())
        if short:
            console.print_lines(lines)
            raise console.Refused(f"the run does not fit: {short}", console.EXIT_WRONG)
        return lines


def _number(variable: str, default: int) -> int:
    """Return what torchrun says in an environment variable."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else default


def _verb(asked: Options) -> Callable[..., ShardedMatching]:
    """Return the function that matches."""
    if asked.optimal:
        from .optimal import match_optimal_sharded

        return match_optimal_sharded
    from .matching import match_sharded

    return match_sharded


@contextlib.contextmanager
def _exchange(world: int, timeout: float) -> Iterator[Exchange]:
    """Meet the other processes."""
    from .exchange import Solo

    if world == 1:
        yield Solo()
        return
    with console.held():  # torch takes seconds to load
        from .torch_exchange import TorchExchange
    with TorchExchange(timeout=timeout) as exchange:
        yield exchange


def _open(asked: Options) -> tuple[RowFiles, RowFiles | None]:
    """Open the files of latents and of sources."""
    from .inputs import open_rows

    latents = open_rows(asked.latents, asked.key, name="LATENTS", key_name="--key")
    sources = None
    if asked.sources:
        sources = open_rows(
            asked.sources, asked.sources_key, name="--sources", key_name="--sources-key"
        )
    _check_sides(latents, sources)
    return latents, sources


def _check_sides(latents: RowFiles, sources: RowFiles | None) -> None:
    """Refuse sources that do not fit before all rows are read."""
    from ..errors import ArgumentError, too_many_sources

    if sources is None:
        return
    if sources.shape[1] != latents.shape[1]:
        got = f"sources {sources.shape} and latents {latents.shape}"
        raise ArgumentError(("sources", "latents"), "must have the same dim", got)
    if len(sources) > len(latents):
        raise too_many_sources(len(sources), len(latents))


def _check_output(asked: Options, latents: RowFiles, sources: RowFiles | None) -> None:
    """Refuse an output that could not be written, or that nobody named and is there."""
    from ..errors import ArgumentError
    from .output import is_unfinished

    if asked.format == "parquet":
        from .arrow_files import require_pyarrow

        require_pyarrow("--format parquet")
    if asked.journal is not None and _inside(asked.journal, asked.out_path):
        raise ArgumentError(
            "--journal", "must not be in the folder of --out", quoted(asked.journal), "use another"
        )
    inputs = latents.files + ([] if sources is None else sources.files)
    for folder in {Path(path).parent for path, _ in inputs}:
        if folder.resolve() == asked.out_path.resolve():  # whose files are removed at the end
            raise ArgumentError("--out", "must not hold the input", quoted(asked.out_path))
    if asked.out is None and not is_unfinished(asked.out_path):
        raise ValueError(
            f"--out is not given, and {quoted(asked.out_path)} exists already: name it with --out "
            "to replace it, or name another folder"
        )


def _inside(file: Path, folder: Path) -> bool:
    return folder.resolve() in file.resolve().parents


def _record(latents: RowFiles, sources: RowFiles | None) -> dict[str, Any]:
    """Return what all ranks must see alike. Folders may differ: disks of machines, mounts."""
    import hashlib

    record: dict[str, Any] = {}
    for name, rows in (("LATENTS", latents), ("--sources", sources)):
        if rows is None:
            continue
        files = [(Path(path).name, count) for path, count in rows.files]
        digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:8]
        count = console.counted(len(files), "file")
        record[name] = f"{count} of {len(rows):,} x {rows.shape[1]} {rows.dtype} ({digest})"
    return record


def _words(asked: Options) -> dict[str, str]:
    """Return the command's spelling of arguments."""
    words = {name: f"--{name}" for name in asked.matching}
    shown = ", ".join(quoted(each) for each in asked.latents[:3])
    words["latents"] = "LATENTS " + shown + (", ..." if len(asked.latents) > 3 else "")
    words["sources"] = "--sources " + ", ".join(quoted(each) for each in asked.sources)
    words |= {name: f"--{name.replace('_', '-')}" for name in ("source_groups", "latent_groups")}
    words |= {"journal": "--journal", "groups": "--source-groups and --latent-groups"}
    return words

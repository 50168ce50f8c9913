"""The command line of gtn-label-cluster: options, help, and the checks that need no file.

Options of the launcher (how many processes) and of the run (what every process does) are one list
for --help. A process of torchrun takes those of the run alone. Not here: the work (command.py) and
the processes (launcher.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..checks import parse_bytes
from ..cli.common_options import (
    CENTER,
    CONE,
    INDICES_ONLY,
    OPTIMAL,
    ORDER,
    SEED,
    TOLERANCE,
    take_optimal,
)
from ..cli.console import EXIT_CODES
from ..cli.sections import File, Integer, Number, SectionedCommand, option
from .inputs import ROW_SUFFIXES
from .pairs_format import FORMATS

__all__ = ["DEFAULT_OUT", "LAUNCH", "PROGRAM", "Options", "cli", "parse", "split"]

PROGRAM = "gtn-label-cluster"
DEFAULT_OUT = "pairs"

_INPUT, _MATCHING, _OUTPUT, _RUNNING = "Input", "Matching", "Output", "Running"
_LAUNCH = "Processes (of gtn-label-cluster; under torchrun its own options say this)"

# What one machine can do, and many cannot yet.
_ALONE = {
    "--approx": "searches on one machine",
    "--checkpoint": "is the file of a run on one machine; use --journal",
    "--device": "is for one machine; with --backend cuda each process takes the GPU of its number",
    "--no-labels": "is called --indices-only",
    "--plot": "draws the pairs of one machine",
}


@dataclass(frozen=True)
class Options:
    """One run as the command line describes it.

    `matching` are options of `match_sharded`, or with `optimal` of `match_optimal_sharded`.
    `launch` are options of the launcher that were given, by their names.
    """

    latents: tuple[str, ...]
    key: str | None
    sources: tuple[str, ...]
    sources_key: str | None
    source_groups: Path | None
    latent_groups: Path | None
    matching: dict[str, Any]
    optimal: bool
    out: Path | None
    format: str
    indices_only: bool
    shard_rows: int | None
    json: bool
    quiet: bool
    journal: Path | None
    journal_every: float
    timeout: float
    plan: bool
    launch: dict[str, Any]

    @property
    def out_path(self) -> Path:
        """The folder of the pairs."""
        return Path(DEFAULT_OUT) if self.out is None else self.out


class _Folder(click.Path):
    """The path of a folder, which need not exist."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value) or "\0" in str(value):
            self.fail(f"{value!r} is not the name of a folder.", param, ctx)
        if str(value) == "-":
            self.fail("'-' is no folder: many ranks cannot write to standard output.", param, ctx)
        return super().convert(value, param, ctx)


def _memory(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_bytes(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, param) from None


_HELP = f"""Label Gaussian sources with data latents that one machine cannot hold or finish.

LATENTS are files of rows, or patterns in quotes such as 'latents/*.npy': {", ".join(ROW_SUFFIXES)}.
Together they are one array [m, dim], in the order of the patterns and of the names. Each process
holds a share of the rows, and all search together. The pairs are those of gtn-label, bit for bit,
for any number of processes and machines. With --optimal each process needs memory for the rows of
all sources as well.

\b
One machine, 8 processes:
  gtn-label-cluster --nproc-per-node 8 'latents/*.npy' --out pairs --journal run.journal
\b
What it would take, without running it:
  gtn-label-cluster --nproc-per-node 8 'latents/*.npy' --plan
\b
4 machines: the same line on each, and HOST is one of them:
  gtn-label-cluster --nnodes 4 --nproc-per-node 8 --rdzv-endpoint HOST:29400 \\
    '/shared/latents/*.npy' --out /shared/pairs --journal /shared/run.journal
\b
Under torchrun, and whatever starts it (mind the two dashes):
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  torchrun --nproc-per-node 8 --max-restarts 3 -m gtn_label.cluster -- \\
    'latents/*.npy' --out pairs --journal run.journal
\b
The pairs in Python:
  from gtn_label import open_pairs
  pairs = open_pairs("pairs")
  for sources, labels in pairs.blocks(): ...
  loader = DataLoader(pairs.as_dataset(), batch_size=1024, shuffle=True, num_workers=4)
"""

_EPILOG = "\b\nExit codes:\n" + "".join(
    f"  {line}\n" for line in EXIT_CODES.format(more="").splitlines()
)
_EPILOG += (
    "\nA folder of pairs is complete when its manifest.json is there. torchrun itself ends with 1 "
    "where a process ends with another code than 0."
)

# The launcher's own options, which torchrun has by the same names. All have a value.
LAUNCH = (
    "--nproc-per-node",
    "--nnodes",
    "--max-restarts",
    "--rdzv-endpoint",
    "--rdzv-id",
    "--local-addr",
)


def _alone(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        name = param.opts[0]
        advice = "" if "use" in _ALONE[name] or "called" in _ALONE[name] else " Use gtn-label."
        raise click.UsageError(f"{name} {_ALONE[name]}.{advice}", ctx)


def _refuse_alone(command: click.Command) -> None:
    """Add the options that gtn-label has alone, so that they are refused with a reason."""
    for name in _ALONE:
        command.params.append(
            click.Option(
                [name, "alone" + name.replace("-", "_")],
                is_flag=name == "--no-labels",
                default=None,
                hidden=True,
                expose_value=False,
                callback=_alone,
            )
        )


@click.command(
    cls=SectionedCommand,
    help=_HELP,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("latents", nargs=-1)
@option(
    _INPUT,
    "--key",
    metavar="NAME",
    help="Name of the array or column of LATENTS, in files that hold several.",
)
@option(
    _INPUT,
    "--sources",
    multiple=True,
    metavar="FILES",
    help="File or pattern of the rows [n, dim] to label, n <= m; may be given several times.  "
    "[default: m rows are drawn]",
)
@option(_INPUT, "--sources-key", metavar="NAME", help="Name of the array or column of --sources.")
@option(_INPUT, "--seed", **SEED)
@option(_MATCHING, "--order", **ORDER)
@option(_MATCHING, "--cone", **CONE)
@option(_MATCHING, "--center", **CENTER)
@option(_MATCHING, "--optimal", **OPTIMAL)
@option(_MATCHING, "--tolerance", **TOLERANCE)
@option(
    _MATCHING,
    "--source-groups",
    type=File(),
    metavar="FILE",
    help="File of labels [n], integers or strings: a source takes only latents of its own group.",
)
@option(
    _MATCHING,
    "--latent-groups",
    type=File(),
    metavar="FILE",
    help="File of labels [m] of the latents.",
)
@option(
    _OUTPUT,
    "--out",
    "-o",
    type=_Folder(path_type=Path),
    metavar="FOLDER",
    help="Folder of the pairs, which all processes can write to. A folder of pairs that is there "
    f"is replaced at the end.  [default: {DEFAULT_OUT}, which is then not replaced]",
)
@option(
    _OUTPUT,
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="npz",
    show_default=True,
    help="Format of the files in the folder; parquet needs the extra 'parquet'.",
)
@option(_OUTPUT, "--indices-only", **INDICES_ONLY)
@option(
    _OUTPUT,
    "--shard-rows",
    type=Integer(min=1),
    metavar="N",
    help="Number of pairs in a file.  [default: those of 256 MiB]",
)
@option(_OUTPUT, "--json", is_flag=True, help="Print the summary, or the plan, as one JSON object.")
@option(_OUTPUT, "--quiet", "-q", is_flag=True, help="Print nothing but errors and --json.")
@option(
    _RUNNING,
    "--backend",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Backend that computes: cpu, perhaps with an instruction set (cpu:avx2), or cuda, perhaps "
    "with a kernel (cuda:dp4a). With cuda each process takes the GPU of its number on the machine.",
)
@option(
    _RUNNING,
    "--threads",
    type=Integer(min=1),
    metavar="N",
    help="Number of CPU threads of a process.  [default: GTN_NUM_THREADS, else the CPUs of the "
    "machine divided by its processes]",
)
@option(
    _RUNNING,
    "--memory",
    metavar="SIZE",
    callback=_memory,
    help="Largest memory of a process for the work beside its rows, such as 2GB.  "
    "[default: no limit]",
)
@option(
    _RUNNING,
    "--journal",
    type=File(),
    metavar="FILE",
    help="File for the progress of the run, which the first process writes; with several machines "
    "on a disk that all share. The same command continues from it, also with another number of "
    "processes. Groups of one process are saved whole.",
)
@option(
    _RUNNING,
    "--journal-every",
    type=Number(min=0),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Seconds between two saves; Ctrl-C saves as well.",
)
@option(
    _RUNNING,
    "--timeout",
    type=Number(min=1),
    metavar="SECONDS",
    default=1800.0,
    show_default=True,
    help="Seconds after which a process that waits for the others gives up.",
)
@option(
    _RUNNING,
    "--plan",
    is_flag=True,
    help="Print windows, bytes, memory and hours that the run would take, and run nothing. What "
    "does not fit is refused.",
)
@option(
    _LAUNCH,
    "--nproc-per-node",
    type=Integer(min=1),
    metavar="N",
    help="Number of processes on this machine; each gets its share of the CPUs.  [default: 1]",
)
@option(
    _LAUNCH,
    "--nnodes",
    type=Integer(min=1),
    metavar="N",
    help="Number of machines.  [default: 1]",
)
@option(
    _LAUNCH,
    "--max-restarts",
    type=Integer(min=0),
    metavar="N",
    help="Number of times that all processes start again after one has died; --journal keeps what "
    "they decided.  [default: 3 with --journal, else 0]",
)
@option(
    _LAUNCH,
    "--rdzv-endpoint",
    metavar="HOST:PORT",
    help="Where the machines meet: one of them, and a free port.",
)
@option(
    _LAUNCH,
    "--rdzv-id",
    metavar="NAME",
    help="Name of the run, the same on all machines.  [default: gtn-label]",
)
@option(
    _LAUNCH,
    "--local-addr",
    metavar="ADDRESS",
    help="Address of this machine for the others.  [default: by its host name]",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, form: str, **values: Any) -> Options:
    """Turn a command line into `Options`; users read `_HELP`."""
    if not values["latents"]:
        raise click.UsageError("LATENTS is missing: name files of latents.")
    if values["sources"] and values["seed"] is not None:
        raise click.UsageError("--seed draws the sources, and --sources gives them: use one.")
    if values["sources_key"] is not None and not values["sources"]:
        raise click.UsageError("--sources-key needs --sources.")
    optimal = take_optimal(ctx, values, ("order", "cone"))
    _check_groups(values)
    if optimal is not None and values["plan"]:
        raise click.UsageError("--plan must be left out: a run with --optimal has no plan.")
    names = ("order", "cone", "center", "backend", "threads", "memory")
    matching = {name: values.pop(name) for name in names}
    if optimal is not None:
        matching = {name: matching[name] for name in names[2:]} | optimal
    matching["seed"] = values.pop("seed") or 0
    launch = {name: values.pop(name.strip("-").replace("-", "_")) for name in LAUNCH}
    launch = {name: value for name, value in launch.items() if value is not None}
    if launch.get("--nnodes", 1) > 1 and "--rdzv-endpoint" not in launch:
        raise click.UsageError("--nnodes needs --rdzv-endpoint: where the machines meet.")
    return Options(
        matching=matching, optimal=optimal is not None, format=form, launch=launch, **values
    )


def _check_groups(values: dict[str, Any]) -> None:
    given = [name for name in ("source_groups", "latent_groups") if values[name] is not None]
    if len(given) == 1:
        names = "--source-groups", "--latent-groups"
        one, other = names if given == ["source_groups"] else reversed(names)
        raise click.UsageError(f"{one} needs {other} beside it.")
    if given and values["plan"]:
        raise click.UsageError("--plan must be left out: a run with groups has no plan.")


_refuse_alone(cli)


def parse(argv: Sequence[str]) -> Options | None:
    """Return the options of a run; None if --help or --version was all that was asked for.

    Raises
    ------
    click.ClickException
    """
    given = list(argv)
    if given[:1] == ["--"]:  # torchrun hands it on
        given = given[1:]
    found = cli.main(args=given, prog_name=PROGRAM, standalone_mode=False)
    return found if isinstance(found, Options) else None


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into options of the launcher, and the rest, which processes get."""
    launch: list[str] = []
    rest: list[str] = []
    given = list(argv)
    while given:
        each = given.pop(0)
        if each == "--":
            return launch, rest + given
        if each.partition("=")[0] not in LAUNCH:
            rest.append(each)
        else:
            launch.append(each)
            if "=" not in each and given:
                launch.append(given.pop(0))
    return launch, rest

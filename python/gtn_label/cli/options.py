"""The command line of gtn-label: options, help, and the checks that need no file.

An option whose name is a field of `MatchOptions` (match_options.py) reaches `match` by that name.
job.py does the work. Two small classes group the options in --help, which click does not do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..approx import DEFAULT_SAMPLE
from ..checks import ORDERS, parse_bytes
from ..io.files import INPUT_SUFFIXES, OUTPUT_SUFFIXES
from ..match_options import MatchOptions
from .plot import PLOT_SUFFIXES

__all__ = ["DEFAULT_OUT", "Options", "ShowBackends", "cli", "parse_bytes"]

DEFAULT_OUT = Path("pairs.npz")


@dataclass(frozen=True)
class Options:
    """One run as the command line describes it.

    `matching` holds options of `match` by name; `approx` those of `match_approx` alone, or None.
    """

    latents: Path
    key: str | None
    sources: Path | None
    sources_key: str | None
    seed: int | None
    source_groups: Path | None
    latent_groups: Path | None
    matching: dict[str, Any]
    approx: dict[str, Any] | None
    out: Path | None
    indices_only: bool
    plot: Path | None
    checkpoint: Path | None
    checkpoint_every: float
    quiet: bool
    json: bool

    @property
    def out_path(self) -> Path:
        """The file of the pairs."""
        return DEFAULT_OUT if self.out is None else self.out

    def inputs(self) -> dict[str, Path]:
        """Return the files that are read, by their names on the command line."""
        files = {
            "LATENTS": self.latents,
            "--sources": self.sources,
            "--source-groups": self.source_groups,
            "--latent-groups": self.latent_groups,
        }
        return {name: path for name, path in files.items() if path is not None}


@dataclass(frozen=True)
class ShowBackends:
    """The command `gtn-label --backends`."""

    json: bool


def _memory(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_bytes(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, param) from None


def _seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not math.isfinite(value):  # NaN passes click's check of a range
        raise click.BadParameter(f"{value} is not a finite number of seconds.", ctx, param)
    return value


class _Option(click.Option):
    """An option with its section of --help."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class _Command(click.Command):
    """A command that lists its options by section in --help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "section", "About"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _option(section: str, *names: str, **kwargs: Any) -> Callable[[Any], Any]:
    return click.option(*names, cls=_Option, section=section, **kwargs)


class _File(click.Path):
    """A path that is not empty: pathlib takes "" for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


_FILE = _File(path_type=Path)

_INPUT, _MATCHING, _OUTPUT, _RUNNING = "Input", "Matching", "Output", "Running"
_APPROXIMATE = "Approximate, for more rows than exact search can reach"

_HELP = f"""Label Gaussian sources with data latents, one to one and exactly.

LATENTS is a file of rows [m, dim]: {", ".join(INPUT_SUFFIXES)}. Sources are drawn from N(0, I),
as many as there are latents, unless --sources names a file of them. Each source, by ascending
norm, takes the free latent of largest cosine (Algorithm 1 of Generative Topological Networks).
The pairs are the same, bit for bit, on every machine, with every backend and number of threads,
unless --approx asks for an approximate search, which reports its loss.

\b
Examples:
  gtn-label latents.npy --out pairs.npz
  gtn-label latents.npz --key z --out pairs.safetensors --seed 7
  gtn-label latents.npy --out pairs.npz --plot labels.png
  gtn-label latents.npy --out pairs.npz --cone 4 --center
  gtn-label latents.npy --out pairs.npz --checkpoint run.ckpt
  gtn-label latents.npy --sources noise.npy --source-groups a.npy --latent-groups b.npy
  gtn-label latents.npy --out pairs.npz --json > summary.json
  gtn-label latents.npy --out pairs.npz --approx "IVF4096,Flat" --nprobe 32

\b
The pairs in Python:
  from gtn_label import Matching
  sources, labels = Matching.load("pairs.npz").pairs()
"""

_EPILOG = """\b
Exit codes: 0 done, 2 wrong usage or input, 130 interrupted.
An output file appears whole or not at all."""


@click.command(
    cls=_Command,
    help=_HELP,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("latents", type=_FILE, required=False)
@_option(_INPUT, "--key", metavar="NAME", help="Name of the array in LATENTS, if it holds several.")
@_option(
    _INPUT,
    "--sources",
    type=_FILE,
    metavar="FILE",
    help="File of the rows [n, dim] to label, n <= m.  [default: m rows are drawn]",
)
@_option(_INPUT, "--sources-key", metavar="NAME", help="Name of the array in --sources.")
@_option(
    _INPUT,
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Random seed of the sources drawn.  [default: 0]",
)
@_option(
    _MATCHING,
    "--order",
    type=click.Choice(ORDERS),
    default="norm",
    show_default=True,
    help="Order in which sources choose: small norms first, large norms first, or as given.",
)
@_option(
    _MATCHING,
    "--cone",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of free latents of largest cosine from which a source takes the one of smallest "
    "norm; 1 is Algorithm 1.",
    metavar="K",
)
@_option(
    _MATCHING,
    "--center",
    is_flag=True,
    help="Subtract the mean of the latents before matching; labels stay as given.",
)
@_option(
    _MATCHING,
    "--source-groups",
    type=_FILE,
    metavar="FILE",
    help="File of integer labels [n]: a source takes only latents of its own group.",
)
@_option(
    _MATCHING,
    "--latent-groups",
    type=_FILE,
    metavar="FILE",
    help="File of integer labels [m] of the latents.",
)
@_option(
    _OUTPUT,
    "--out",
    "-o",
    type=_FILE,
    metavar="FILE",
    help=f"File of the pairs: {' or '.join(OUTPUT_SUFFIXES)}.  "
    f"[default: {DEFAULT_OUT}, which is then not replaced]",
)
@_option(
    _OUTPUT, "--indices-only", is_flag=True, help="Write assignment and cosine without the rows."
)
@_option(
    _OUTPUT,
    "--plot",
    type=_FILE,
    metavar="FILE",
    help=f"File for a picture of cosines, norms and (dim <= 3) pairs: {', '.join(PLOT_SUFFIXES)}.",
)
@_option(_OUTPUT, "--json", is_flag=True, help="Print the summary as one JSON object.")
@_option(_OUTPUT, "--quiet", "-q", is_flag=True, help="Print nothing but errors and --json.")
@_option(
    _RUNNING,
    "--backend",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Backend that computes; --backends lists them. The environment variable "
    "GTN_LABEL_INSTRUCTION_SET forces an instruction set if the name leaves it open.",
)
@_option(
    _RUNNING,
    "--device",
    metavar="NAME",
    help="Device of --backend cuda or faiss: cuda or cuda:N, for faiss also cpu.  "
    "[default: cuda:0 for cuda, cpu for faiss]",
)
@_option(
    _RUNNING,
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of CPU threads.  [default: one per CPU]",
)
@_option(
    _RUNNING,
    "--memory",
    metavar="SIZE",
    callback=_memory,
    help="Largest memory for the work beside the input, such as 2GB; of the GPU for --backend "
    "cuda.  [default: no limit; on the GPU all that is free]",
)
@_option(
    _RUNNING,
    "--checkpoint",
    type=_FILE,
    metavar="FILE",
    help="File for the progress of a long run. The same command continues from it, and ends in the "
    "same pairs (with --approx in others, as the index is trained anew).",
)
@_option(
    _RUNNING,
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    callback=_seconds,
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Seconds between two saves; Ctrl-C saves as well.",
)
@_option(
    _APPROXIMATE,
    "--approx",
    metavar="INDEX",
    help="Search approximately with this index, a factory string of FAISS's such as IVF4096,Flat.",
)
@_option(
    _APPROXIMATE,
    "--nprobe",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of cells of an IVF index that a search visits; more lose less.  [default: 16]",
)
@_option(
    _APPROXIMATE,
    "--parameters",
    metavar="TEXT",
    help="Other parameters of FAISS's search, such as efSearch=64.  [default: FAISS's]",
)
@_option(
    _APPROXIMATE,
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Number of sources on which the loss is measured.  [default: {DEFAULT_SAMPLE}]",
)
@_option(
    "About", "--backends", is_flag=True, help="List the backends, and why one cannot run here."
)
@click.version_option(__version__, prog_name="gtn-label", message="%(prog)s %(version)s")
def cli(backends: bool, latents: Path | None, **values: Any) -> Options | ShowBackends:
    """Turn a command line into `Options`; users read `_HELP`."""
    if backends:
        return ShowBackends(json=values["json"])
    if latents is None:
        raise click.UsageError("LATENTS is missing: name a file of latents.")
    if values["sources"] is None and values["sources_key"] is not None:
        raise click.UsageError("--sources-key needs --sources.")
    if values["sources"] is not None and values["seed"] is not None:
        raise click.UsageError("--seed draws the sources, and --sources gives them: use one.")
    if (values["source_groups"] is None) != (values["latent_groups"] is None):
        given, missing = "--source-groups", "--latent-groups"
        if values["source_groups"] is None:
            given, missing = missing, given
        raise click.UsageError(f"{given} needs {missing} beside it.")
    index = values.pop("approx")
    approx = {name: values.pop(name) for name in ("nprobe", "parameters", "sample")}
    approx = {name: value for name, value in approx.items() if value is not None}
    if index is None and approx:
        raise click.UsageError(f"--{next(iter(approx))} needs --approx.")
    names = {option.name for option in fields(MatchOptions)} - {"checkpoint"}
    matching = {name: values.pop(name) for name in sorted(names & values.keys())}
    if index is not None and matching.pop("backend") != "auto":
        raise click.UsageError(
            "--approx searches with FAISS's Python package: leave --backend out."
        )
    return Options(
        latents=latents,
        matching=matching,
        approx=None if index is None else {"index": index, **approx},
        **values,
    )

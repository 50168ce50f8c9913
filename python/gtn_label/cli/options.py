"""The gtn-label command line: its options, their help, and what can be refused by looking at them.

What the command does with them is in main.py. Options are grouped in --help, which click does
not do by itself; hence the two small classes here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..io.files import INPUT_SUFFIXES, OUTPUT_SUFFIXES
from ..options import ORDERS
from .plot import PLOT_SUFFIXES

__all__ = ["DEFAULT_OUT", "Options", "ShowBackends", "cli", "parse_bytes"]

DEFAULT_OUT = Path("pairs.npz")

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Options:
    """One run, as asked for."""

    latents: Path
    key: str | None
    sources: Path | None
    sources_key: str | None
    seed: int | None
    order: str
    cone: int
    center: bool
    source_groups: Path | None
    latent_groups: Path | None
    backend: str
    device: str | None
    approx: str | None
    nprobe: int | None
    parameters: str | None
    sample: int | None
    threads: int | None
    memory: int | None
    out: Path | None
    indices_only: bool
    plot: Path | None
    checkpoint: Path | None
    checkpoint_every: float
    quiet: bool
    json: bool

    @property
    def out_path(self) -> Path:
        """Where the pairs go."""
        return DEFAULT_OUT if self.out is None else self.out


@dataclass(frozen=True)
class ShowBackends:
    """``gtn-label --backends``."""

    json: bool


def parse_bytes(text: str) -> int:
    """Read a size: ``2GB``, ``512 MiB``, ``1.5g``, ``800000``.

    kB, MB, GB, TB (and k, M, G, T) are powers of 1,000; KiB, MiB, GiB, TiB of 1,024.

    Raises
    ------
    ValueError
        If it is no size, or not above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)(b?)", text.strip().lower())
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"'{text}' is not a size such as 2GB, 512MiB or 800000")
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2]])
    if size < 1:
        raise ValueError(f"'{text}' is not above zero")
    return size


def _memory(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_bytes(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, param) from None


def _seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not math.isfinite(value):  # NaN is in no range, and in none is it refused
        raise click.BadParameter(f"{value} is not a finite number of seconds.", ctx, param)
    return value


class _Option(click.Option):
    """An option that knows its place in --help."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class _Command(click.Command):
    """A command whose --help lists options by section."""

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
    """A path, which pathlib would turn into the current folder if it were empty."""

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
unless --approx asks for an approximate search, which then says what it lost.

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
@_option(_INPUT, "--key", metavar="NAME", help="Which array of LATENTS, if it holds several.")
@_option(
    _INPUT,
    "--sources",
    type=_FILE,
    metavar="FILE",
    help="Rows [n, dim] to label, n <= m, not drawn ones.",
)
@_option(_INPUT, "--sources-key", metavar="NAME", help="Which array of --sources.")
@_option(
    _INPUT,
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Seed of the sources drawn.  [default: 0]",
)
@_option(
    _MATCHING,
    "--order",
    type=click.Choice(ORDERS),
    default="norm",
    show_default=True,
    help="Which sources choose first: small norms, large norms, or as given.",
)
@_option(
    _MATCHING,
    "--cone",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of the K free latents of largest cosine take the one of smallest norm; 1 is Algorithm 1.",
    metavar="K",
)
@_option(
    _MATCHING,
    "--center",
    is_flag=True,
    help="Match the latents less their mean; labels stay as given.",
)
@_option(
    _MATCHING,
    "--source-groups",
    type=_FILE,
    metavar="FILE",
    help="Integer labels [n]: a source takes latents of its own group only.",
)
@_option(
    _MATCHING,
    "--latent-groups",
    type=_FILE,
    metavar="FILE",
    help="Integer labels [m] of the latents.",
)
@_option(
    _OUTPUT,
    "--out",
    "-o",
    type=_FILE,
    metavar="FILE",
    help=f"Where the pairs go: {' or '.join(OUTPUT_SUFFIXES)}.  "
    f"[default: {DEFAULT_OUT}, which is then not replaced]",
)
@_option(_OUTPUT, "--indices-only", is_flag=True, help="Leave out the rows: assignment and cosine.")
@_option(
    _OUTPUT,
    "--plot",
    type=_FILE,
    metavar="FILE",
    help=f"Draw cosines, norms and (dim <= 3) pairs: {', '.join(PLOT_SUFFIXES)}.",
)
@_option(_OUTPUT, "--json", is_flag=True, help="Print the summary as one JSON object.")
@_option(_OUTPUT, "--quiet", "-q", is_flag=True, help="Print errors only (and --json).")
@_option(
    _RUNNING,
    "--backend",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="What computes; see --backends. Where it names no instruction set, the environment "
    "variable GTN_LABEL_INSTRUCTION_SET may.",
)
@_option(
    _RUNNING,
    "--device",
    metavar="NAME",
    help="Where --backend cuda or faiss computes: cuda or cuda:N, for faiss also cpu.  "
    "[default: cuda:0 for cuda, cpu for faiss]",
)
@_option(
    _RUNNING,
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most threads of the CPU.  [default: one per CPU]",
)
@_option(
    _RUNNING,
    "--memory",
    metavar="SIZE",
    callback=_memory,
    help="Most memory for the work beside the input, such as 2GB; of the GPU for --backend cuda.",
)
@_option(
    _RUNNING,
    "--checkpoint",
    type=_FILE,
    metavar="FILE",
    help="Save progress here; the same command again continues from it, to the same file (with "
    "--approx to another, as the index is trained anew).",
)
@_option(
    _RUNNING,
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    callback=_seconds,
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Time between two saves; Ctrl-C saves as well.",
)
@_option(
    _APPROXIMATE,
    "--approx",
    metavar="INDEX",
    help="Search approximately: an index as FAISS's factory writes it, such as IVF4096,Flat.",
)
@_option(
    _APPROXIMATE,
    "--nprobe",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cells of an IVF index that a search visits; more lose less.  [default: 16]",
)
@_option(
    _APPROXIMATE,
    "--parameters",
    metavar="TEXT",
    help="Other parameters of FAISS's search, such as efSearch=64.",
)
@_option(
    _APPROXIMATE,
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Sources on which the loss is measured.  [default: 1000]",
)
@_option("About", "--backends", is_flag=True, help="List what can compute here, and why not.")
@click.version_option(__version__, prog_name="gtn-label", message="%(prog)s %(version)s")
def cli(backends: bool, latents: Path | None, **values: Any) -> Options | ShowBackends:
    """Turn a command line into what it asks for; `_HELP` is what users read."""
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
    if values["approx"] is None:
        for name in ("nprobe", "parameters", "sample"):
            if values[name] is not None:
                raise click.UsageError(f"--{name} needs --approx.")
    elif values["backend"] != "auto":
        raise click.UsageError(
            "--approx searches with FAISS's Python package: leave --backend out."
        )
    return Options(latents=latents, **values)

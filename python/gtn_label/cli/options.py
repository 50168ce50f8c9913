"""The command line of gtn-label: options, help, and the checks that need no file.

An option whose name is a field of `MatchOptions` (match_options.py) reaches `match` by that name.
Not here: the work (job.py, pairs_file.py), sections of --help and types of paths (sections.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..approx import DEFAULT_SAMPLE
from ..checks import parse_bytes
from ..io.files import INPUT_SUFFIXES, OUTPUT_SUFFIXES
from ..match_options import MatchOptions
from .common_options import (
    CENTER,
    CONE,
    INDICES_ONLY,
    OPTIMAL,
    ORDER,
    SEED,
    TOLERANCE,
    given_options,
    spelling,
    take_optimal,
)
from .console import EXIT_CODES
from .plot import PLOT_SUFFIXES
from .sections import STREAM, File, Integer, Number, SectionedCommand
from .sections import option as _option

__all__ = ["DEFAULT_OUT", "Options", "ShowBackends", "cli", "parse_bytes"]

DEFAULT_OUT = Path("pairs.npz")


@dataclass(frozen=True)
class Options:
    """One run as the command line describes it.

    `matching` holds options of `match` by name; `approx` those of `match_approx` alone, or None;
    `optimal` those of `match_optimal` alone, or None.
    `verify` or `apply` is a file of pairs, if the command is to check or to complete one.
    """

    verify: Path | None
    apply: Path | None
    latents: Path
    key: str | None
    sources: Path | None
    sources_key: str | None
    seed: int | None
    source_groups: Path | None
    latent_groups: Path | None
    matching: dict[str, Any]
    approx: dict[str, Any] | None
    optimal: dict[str, Any] | None
    sample: int | None
    out: Path | None
    stream_format: str
    indices_only: bool
    plot: Path | None
    checkpoint: Path | None
    checkpoint_every: float
    quiet: bool
    json: bool

    @property
    def out_path(self) -> Path:
        """The file of the pairs, or `STREAM`."""
        return DEFAULT_OUT if self.out is None else self.out

    @property
    def out_file(self) -> Path | None:
        """The file of the pairs; None for standard output."""
        return None if self.out_path == STREAM else self.out_path

    @property
    def out_format(self) -> str | None:
        """The format of standard output; None for a file, whose suffix tells."""
        return self.stream_format if self.out_path == STREAM else None

    def inputs(self) -> dict[str, Path]:
        """Return the files that are read, by their names on the command line; also `STREAM`."""
        files = {
            "--verify": self.verify,
            "--apply": self.apply,
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


_INPUT, _MATCHING, _OUTPUT, _RUNNING = "Input", "Matching", "Output", "Running"
_APPROXIMATE = "Approximate, for more rows than exact search can reach"
_PAIRS = "Pairs that a file holds already"

_FILE, _STREAM = File(), File(stream=True)

# Options that have a meaning with --verify or --apply; all others are refused beside them.
_BESIDE = {
    "verify": {"sample", "threads", "source_groups", "latent_groups"},
    "apply": {"out", "stream_format"},
}
# Options of `match` that `match_optimal` has too; the others below are refused beside --optimal.
_WITH_OPTIMAL = ("backend", "center", "device", "memory", "threads")
_NOT_WITH_OPTIMAL = ("order", "cone", "approx")
_BESIDE_BOTH = {"latents", "key", "sources", "sources_key", "json", "quiet"}

_HELP = f"""Label Gaussian sources with data latents, one to one and exactly.

LATENTS is a file of rows [m, dim]: {", ".join(INPUT_SUFFIXES)}. Sources are drawn from N(0, I),
as many as there are latents, unless --sources names a file of them. Each source, by ascending
norm, takes the free latent of largest cosine (Algorithm 1 of Generative Topological Networks).
The pairs are the same, bit for bit, on every machine, with every backend and number of threads,
unless --approx asks for an approximate search, which reports its loss. --optimal makes the pairs
of least mean squared distance instead, and proves how close to the least they are.

A file name "-" is standard input for LATENTS, sources and groups, and standard output for --out.

\b
Examples:
  gtn-label latents.npy --out pairs.npz
  gtn-label latents.npz --key z --out pairs.safetensors --seed 7
  gtn-label latents.npy --out pairs.npz --plot labels.png
  gtn-label latents.npy --out pairs.npz --cone 4 --center
  gtn-label latents.npy --out pairs.npz --optimal --tolerance 0.01
  gtn-label latents.npy --out pairs.npz --checkpoint run.ckpt
  gtn-label latents.npy --sources noise.npy --source-groups a.npy --latent-groups b.npy
  gtn-label latents.npy --out pairs.npz --json > summary.json
  gtn-label latents.npy --out pairs.npz --approx "IVF4096,Flat" --nprobe 32

\b
Check pairs, complete pairs without rows, and work in a pipe:
  gtn-label latents.npy --verify pairs.npz
  gtn-label latents.npy --verify pairs.npz --sample 1000 && echo "they hold"
  gtn-label latents.npy --out small.npz --indices-only
  gtn-label latents.npy --apply small.npz --out pairs.npz
  python encode.py | gtn-label - --out - | python train.py

\b
The pairs in Python:
  from gtn_label import Matching
  sources, labels = Matching.load("pairs.npz").pairs()
"""

_CODES = EXIT_CODES.format(more="3 --verify found a difference\n")
_EPILOG = "\b\nExit codes:\n" + "".join(f"  {line}\n" for line in _CODES.splitlines())
_EPILOG += "  141 the reader of --out - left early\nAn output file appears whole or not at all."


@click.command(
    cls=SectionedCommand,
    help=_HELP,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("latents", type=_STREAM, required=False)
@_option(_INPUT, "--key", metavar="NAME", help="Name of the array in LATENTS, if it holds several.")
@_option(
    _INPUT,
    "--sources",
    type=_STREAM,
    metavar="FILE",
    help="File of the rows [n, dim] to label, n <= m.  [default: m rows are drawn]",
)
@_option(_INPUT, "--sources-key", metavar="NAME", help="Name of the array in --sources.")
@_option(_INPUT, "--seed", **SEED)
@_option(_MATCHING, "--order", **ORDER)
@_option(_MATCHING, "--cone", **CONE)
@_option(_MATCHING, "--center", **CENTER)
@_option(
    _MATCHING,
    "--source-groups",
    type=_STREAM,
    metavar="FILE",
    help="File of labels [n], integers or strings: a source takes only latents of its own group.",
)
@_option(
    _MATCHING,
    "--latent-groups",
    type=_STREAM,
    metavar="FILE",
    help="File of labels [m] of the latents.",
)
@_option(_MATCHING, "--optimal", **OPTIMAL)
@_option(_MATCHING, "--tolerance", **TOLERANCE)
@_option(
    _OUTPUT,
    "--out",
    "-o",
    type=_STREAM,
    metavar="FILE",
    help=f"File of the pairs: {' or '.join(OUTPUT_SUFFIXES)}; - for standard output, the summary "
    f"then on standard error.  [default: {DEFAULT_OUT}, which is then not replaced]",
)
@_option(
    _OUTPUT,
    "--format",
    "stream_format",
    type=click.Choice([suffix.removeprefix(".") for suffix in OUTPUT_SUFFIXES]),
    default="npz",
    show_default=True,
    help="Format of --out -; that of a file is told by its suffix.",
)
@_option(_OUTPUT, "--indices-only", **INDICES_ONLY)
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
    type=Integer(min=1),
    metavar="N",
    help="Number of CPU threads.  [default: GTN_NUM_THREADS, else OMP_NUM_THREADS, else one per "
    "usable CPU]",
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
    type=Number(min=0),
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
    type=Integer(min=1),
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
    type=Integer(min=1),
    metavar="N",
    help=f"Number of sources on which the loss is measured.  [default: {DEFAULT_SAMPLE}]  "
    "With --verify, number of sources that are checked.  [default: all]",
)
@_option(
    _PAIRS,
    "--verify",
    type=_FILE,
    metavar="FILE",
    help="Check that the pairs in FILE are those of LATENTS, and match nothing.",
)
@_option(
    _PAIRS,
    "--apply",
    type=_FILE,
    metavar="FILE",
    help="Add the rows to the pairs in FILE, which --indices-only wrote, and match nothing. --out "
    "has the bytes that the run would have written without --indices-only.",
)
@_option(
    "About", "--backends", is_flag=True, help="List the backends, and why one cannot run here."
)
@click.version_option(__version__, prog_name="gtn-label", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context, /, backends: bool, latents: Path | None, **values: Any
) -> Options | ShowBackends:
    """Turn a command line into `Options`; users read `_HELP`."""
    if backends:
        return ShowBackends(json=values["json"])
    if latents is None:
        raise click.UsageError("LATENTS is missing: name a file of latents.")
    _check_beside(ctx, values)
    _check_sources_and_groups(values)
    _check_streams(ctx, latents, values)
    optimal = take_optimal(ctx, values, _NOT_WITH_OPTIMAL)
    index = values.pop("approx")
    sample = values["sample"] if values["verify"] is not None else None
    approx = {name: values.pop(name) for name in ("nprobe", "parameters", "sample")}
    approx = {name: value for name, value in approx.items() if value is not None}
    if index is None and sample is None and approx:
        also = " or --verify" if "sample" in approx else ""
        raise click.UsageError(f"--{next(iter(approx))} needs --approx{also}.")
    names = {option.name for option in fields(MatchOptions)} - {"checkpoint"}
    matching = {name: values.pop(name) for name in sorted(names & values.keys())}
    if index is not None and matching.pop("backend") != "auto":
        raise click.UsageError(
            "--approx searches with FAISS's Python package: leave --backend out."
        )
    if optimal is not None:
        matching = {name: matching[name] for name in _WITH_OPTIMAL}
    return Options(
        latents=latents,
        matching=matching,
        approx=None if index is None else {"index": index, **approx},
        optimal=optimal,
        sample=sample,
        **values,
    )


def _check_beside(ctx: click.Context, values: dict[str, Any]) -> None:
    """Refuse options of a matching beside --verify and --apply, which match nothing."""
    modes = [mode for mode in _BESIDE if values[mode] is not None]
    if len(modes) == 2:
        raise click.UsageError("--verify and --apply are two commands: use one.")
    for mode in modes:
        for name in sorted(given_options(ctx) - _BESIDE[mode] - _BESIDE_BOTH - {mode}):
            raise click.UsageError(f"{spelling(ctx, name)} has no meaning with --{mode}.")


def _check_sources_and_groups(values: dict[str, Any]) -> None:
    if values["sources"] is None and values["sources_key"] is not None:
        raise click.UsageError("--sources-key needs --sources.")
    if values["sources"] is not None and values["seed"] is not None:
        raise click.UsageError("--seed draws the sources, and --sources gives them: use one.")
    if (values["source_groups"] is None) != (values["latent_groups"] is None):
        given, missing = "--source-groups", "--latent-groups"
        if values["source_groups"] is None:
            given, missing = missing, given
        raise click.UsageError(f"{given} needs {missing} beside it.")


def _check_streams(ctx: click.Context, latents: Path, values: dict[str, Any]) -> None:
    """Refuse two files on one stream."""
    read = {"LATENTS": latents} | {
        spelling(ctx, name): values[name] for name in ("sources", "source_groups", "latent_groups")
    }
    from_stdin = [name for name, path in read.items() if path == STREAM]
    if len(from_stdin) > 1:
        raise click.UsageError(
            f"{' and '.join(from_stdin)} are both standard input: only one can be."
        )
    if values["out"] != STREAM:
        if "stream_format" in given_options(ctx):
            raise click.UsageError("--format needs --out -: a file's suffix tells its format.")
    elif values["json"]:
        raise click.UsageError("--json and --out - are both for standard output: use one.")

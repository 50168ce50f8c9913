"""The command: ``python -m benchmarks`` from the root of the repository.

Options are read and checked here, parts are run one after another, and what is known is written:
after every part, and when the run ends early.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks import data, machine, report, suite, targets, throughput_command
from benchmarks.commandline import OUT, chosen, clock, positive, recorded, seconds, shape
from benchmarks.floors import core_types
from benchmarks.harness import Case, Settings
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME

PARTS = ("compare", "datasets", "scaling", "targets")
QUICK_SCALE = 0.002
DESCRIPTION = """\
Check, then time, gtn_label against other ways to pair noise with latents.

With no part and no problem named, everything runs: the comparison of peers, the data sets, the
scaling and the targets. That takes hours where peers are slow; --quick takes about a minute.
"""
EPILOG = """\
examples:
  python -m benchmarks --list                what there is: peers, data sets
  python -m benchmarks --quick               all parts at tiny shapes: does everything work?
  python -m benchmarks --peers 'gtn_label*,bsp_ot*' --shape 1000000x5 --data clustered
  python -m benchmarks --latents codes.npy   the peers on your latents
  python -m benchmarks --datasets --shape 10000x64
  python -m benchmarks --scaling --shape 12500x100 --peers faiss_tuned
  python -m benchmarks --targets --scale 0.02 --runs 1
  python -m benchmarks --compare --out benchmarks/results/compare
  python -m benchmarks --render benchmarks/results/compare.json
  python -m benchmarks throughput --help     pairs a second of every backend: another command

gtn_label itself is always one of the peers: every other answer is compared with its own, which
the tests' oracle checks first. Every peer runs in a process of its own, in turn; ratios are taken
within a round. A peer that is not installed, or that --limit keeps out, is a row that says so.
Ctrl-C writes the rows so far. Progress goes to stderr, the tables to stdout and to PREFIX.md,
everything to PREFIX.json, the plot of the scaling to PREFIX.svg.
exit codes: 0 done, 1 this project's answer was wrong, 2 wrong usage, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = p.add_argument_group("parts (several may be named)")
    parts.add_argument("--compare", action="store_true", help="peers on the same problems")
    parts.add_argument("--datasets", action="store_true", help="gtn_label on every data set")
    parts.add_argument("--scaling", action="store_true", help="peers at n, 2n, 4n, 8n, and a plot")
    parts.add_argument("--targets", action="store_true", help="what the project sets out to reach")
    what = p.add_argument_group("problems and peers")
    what.add_argument(
        "--peers",
        type=lambda text: chosen(text, BY_NAME, "peer"),
        metavar="NAMES",
        help="names or patterns, comma-separated (all; in --scaling one of each idea)",
    )
    what.add_argument(
        "--data",
        type=lambda text: chosen(text, data.DATASETS, "data set"),
        metavar="NAMES",
        help="data sets, in the same way (isotropic; in --datasets all)",
    )
    what.add_argument(
        "--shape",
        type=shape,
        action="append",
        metavar="NxDIM",
        help="rows and dimension; may be repeated; in --scaling the smallest n, in "
        "--targets the lines about it",
    )
    what.add_argument(
        "--latents", type=Path, action="append", metavar="FILE.npy", help="compare on this file"
    )
    what.add_argument(
        "--scale", type=seconds, metavar="F", help="shrink the shapes of --targets (1)"
    )
    how = p.add_argument_group("how")
    how.add_argument("--quick", action="store_true", help="small shapes, two runs, short limits")
    how.add_argument("--threads", type=positive, metavar="N", help="threads for every peer (all)")
    how.add_argument("--runs", type=positive, metavar="N", help="timed rounds (5)")
    how.add_argument(
        "--limit",
        type=seconds,
        metavar="SECONDS",
        help="most for one run of a peer, and for all its rounds (120)",
    )
    how.add_argument("--out", type=Path, metavar="PREFIX", help=f"where results go ({OUT}/PART)")
    other = p.add_argument_group("other")
    other.add_argument("--list", action="store_true", help="list peers and data sets, and end")
    other.add_argument(
        "--render", type=Path, metavar="FILE.json", help="make tables and plot of results again"
    )
    return p


def listing() -> str:
    """Every peer, whether it can run here, and every data set."""
    wide = max(len(name) for name in [*BY_NAME, *data.DATASETS])
    lines = ["peers:"]
    for name, peer in BY_NAME.items():
        lines.append(f"  {name:<{wide}}  {peer.missing() or peer.what}")
    lines.append("data sets:")
    lines += [f"  {name:<{wide}}  {data.describe(name)}" for name in data.DATASETS]
    return "\n".join(lines)


def parts_of(options: argparse.Namespace) -> list[str]:
    """Parts that were named, or the comparison if a problem was, or all."""
    named = [part for part in PARTS if getattr(options, part)]
    if named:
        return named
    problem = options.peers or options.data or options.shape or options.latents
    return ["compare"] if problem else list(PARTS)


def compared_cases(options: argparse.Namespace) -> list[Case]:
    """Problems of the comparison."""
    cases = [suite.file_case(path) for path in options.latents or ()]
    if options.shape or options.data:
        shapes = options.shape or [(1_000, 16) if options.quick else (50_000, 100)]
        names = options.data or ["isotropic"]
        unfit = [(name, dim) for name in names for _, dim in shapes if not suite.fits(name, dim)]
        if unfit:
            raise ValueError(f"the data set {unfit[0][0]} has dim 1, got dim {unfit[0][1]}")
        cases += [Case(name, n, dim) for n, dim in shapes for name in names]
    return cases or suite.default_cases(options.quick)


def settings_of(options: argparse.Namespace) -> Settings:
    """How long and how often to run, and a clock for the lines on stderr."""
    quick = options.quick
    return Settings(
        threads=options.threads or machine.usable_cores(),
        runs=options.runs or (2 if quick else 5),
        limit=options.limit or (20 if quick else 120),
        sample=100 if quick else 400,
        floor_seconds=0.05 if quick else 0.5,
        core_types=("",) if quick else core_types(),
        settle_seconds=0.05 if quick else 0.2,
        say=clock(),
    )


def run(
    part: str, options: argparse.Namespace, settings: Settings, sections: suite.Sections
) -> None:
    """Run one part; ``sections`` fills as it goes."""
    quick = options.quick
    named: list[Peer] = [BY_NAME[name] for name in options.peers or ()]
    if part == "compare":
        suite.compare(compared_cases(options), named or list(BY_NAME.values()), settings, sections)
    if part == "datasets":
        shapes = options.shape or (suite.SHAPES_QUICK if quick else suite.SHAPES)
        suite.datasets(shapes, options.data or list(data.DATASETS), settings, sections)
    if part == "scaling":
        shapes = options.shape or (suite.SCALED_QUICK if quick else suite.SCALED)
        for name in options.data or ["isotropic"]:
            suite.scaling(shapes, name, named or suite.scaled_peers(quick), settings, sections)
    if part == "targets":
        scale = options.scale or (QUICK_SCALE if quick else 1.0)
        targets.targets(settings, scale, options.shape or (), sections)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["throughput"]:
        return throughput_command.main(given[1:])
    command = parser()
    options = command.parse_args(given)
    alone = "list" if options.list else "render" if options.render else ""
    others = [name for name, value in vars(options).items() if value and name != alone]
    if alone and others:
        command.error(f"--{alone} runs nothing and goes alone, got --{' and --'.join(others)}")
    if options.list:
        print(listing())
        return 0
    if options.render:
        try:
            print(report.render(options.render), end="")
        except (OSError, ValueError) as error:
            command.error(str(error))
        return 0
    parts = parts_of(options)
    settings = settings_of(options)
    try:
        compared_cases(options)
        if "targets" in parts:
            targets.chosen(settings, 1.0, options.shape or ())
    except (OSError, ValueError) as error:
        command.error(str(error))
    whole = "quick" if options.quick else "all"
    prefix = options.out or OUT / (parts[0] if len(parts) == 1 else whole)
    steps = [partial(run, part, options, settings) for part in parts]
    return recorded(prefix, steps)


if __name__ == "__main__":
    sys.exit(main())

"""The command: ``python -m benchmarks MODE`` from the root of the repository.

Options are read and checked here, modes run one after another, and results are written after every
mode, and when the run ends early.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import check, data, machine, modes, optimal, results
from benchmarks import throughput as throughputs
from benchmarks.floors import core_types
from benchmarks.harness import Case, Settings
from benchmarks.modes import Sections
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME
from benchmarks.targets import cpu, cuda

OUT = Path("benchmarks/out")
MODES = {
    "compare": "peers on the same problems: time, memory, quality of the pairs",
    "datasets": "gtn_label on every data set, against isotropic data",
    "scaling": "peers at n, 2n, 4n and 8n",
    "targets": "every target of the project: measured, then passed or failed",
    "approximate": "the approximate mode: its speed, and the loss it reports, checked",
    "optimal": "optimal transport: cost, proof and time beside exact and approximate solvers",
    "maps": "labels for further sources by prices, beside a semi-discrete solver",
    "growth": "optimal transport at n, 2n, 4n and so on to 32n",
    "throughput": "pairs a second of every backend over n and dim, within a budget",
}
# Options that only some modes read.
READ_BY = {
    "data": ("compare", "datasets", "scaling", *optimal.MODES),
    "latents": ("compare", "optimal", "maps"),
    "scale": ("targets", "throughput"),
    "budget": ("throughput",),
}
QUICK_SCALE = 0.002
DESCRIPTION = """\
Check, then time, gtn_label against other ways to pair noise with latents.

modes (several may be named; all of them if neither a mode nor a problem is named):
"""
EPILOG = """\
examples:
  python -m benchmarks --list                list peers and data sets
  python -m benchmarks --quick               all modes at tiny shapes: does everything work?
  python -m benchmarks compare --peers 'gtn_label*,bsp_ot*' --shape 1000000x5 --data clustered
  python -m benchmarks compare --latents codes.npy          the peers on your latents
  python -m benchmarks datasets --shape 10000x64
  python -m benchmarks scaling --shape 12500x100 --peers faiss_tuned
  python -m benchmarks targets --scale 0.02 --runs 1
  python -m benchmarks optimal --shape 10000x64 --data clustered
  python -m benchmarks throughput --budget 300
  python -m benchmarks throughput --shape 1000000x64 --peers 'gtn_label:cuda*'
  python -m benchmarks --render benchmarks/results/compare.json
  python -m benchmarks --render old.json new.json --out merged

Every answer is checked before it is timed: the tests' oracle checks the first exact one, which all
others are compared with. Every row has a process of its own, and only one computes at a time.
Ratios are taken within a round. A peer that is not installed, or that a limit keeps out, is a row
that says so. Ctrl-C writes the rows so far. Progress goes to stderr, the tables to stdout and to
PREFIX.md, everything to PREFIX.json, the plot to PREFIX.svg.
exit codes: 0 done, 1 an answer of this project was wrong or absent, or nothing could be timed,
2 wrong usage, 130 interrupted
"""


def shape(text: str) -> tuple[int, int]:
    """Parse ``50000x100``."""
    n, _, dim = text.partition("x")
    if not (n.isdigit() and dim.isdigit() and int(n) > 1 and int(dim) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 50000x100, with n > 1")
    return int(n), int(dim)


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def number(text: str) -> float:
    """Parse a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def chosen(known: Iterable[str], word: str, text: str) -> list[str]:
    """Expand a comma-separated list of names or patterns, in the list's order."""
    names: list[str] = []
    for pattern in filter(None, (part.strip() for part in text.split(","))):
        found = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            near = difflib.get_close_matches(pattern, known, 1, 0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise argparse.ArgumentTypeError(
                f"no {word} {pattern!r}; {hint}--help and --list show them"
            )
        names += [name for name in found if name not in names]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no {word}")
    return names


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage="%(prog)s [MODE ...] [options]",
        description=DESCRIPTION + "\n".join(f"  {name:<13}{what}" for name, what in MODES.items()),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kind = partial(chosen, MODES, "mode")
    p.add_argument("modes", nargs="*", type=kind, metavar="MODE", help=argparse.SUPPRESS)
    what = p.add_argument_group("problems and peers")
    option = what.add_argument
    option("--peers", type=partial(chosen, BY_NAME, "peer"), metavar="NAMES",
           help="names or patterns, comma-separated [default: all; one of each idea in scaling; "
           "every backend in throughput]")  # fmt: skip
    option("--data", type=partial(chosen, data.DATASETS, "data set"), metavar="NAMES",
           help="data sets of every mode but targets, approximate and throughput, named in the "
           "same way [default: isotropic; all in datasets]")  # fmt: skip
    option("--shape", type=shape, action="append", metavar="NxDIM",
           help="rows and dimension of a problem; may be repeated. In scaling n is the least of "
           "four, in growth of six; in targets the shape chooses the lines about it")  # fmt: skip
    option("--latents", type=Path, action="append", metavar="FILE.npy",
           help="latents of a problem of compare, optimal or maps; may be repeated")  # fmt: skip
    option(
        "--scale", type=number, metavar="F", help="factor of every n in the targets [default: 1]"
    )
    option = p.add_argument_group("time").add_argument
    option("--quick", action="store_true", help="run small shapes, two rounds, short limits")
    option("--threads", type=positive, metavar="N", help="threads of every peer [default: all]")
    option("--runs", type=positive, metavar="N",
           help="timed rounds [default: 5; 3 in throughput, optimal, maps and growth]")  # fmt: skip
    option("--limit", type=number, metavar="SECONDS",
           help="limit of one run of a peer, and of all its timed runs together [default: 120; 60 "
           "in throughput, 600 in optimal, maps and growth]")  # fmt: skip
    option("--budget", type=number, metavar="SECONDS",
           help="limit of the whole throughput [default: 600]")  # fmt: skip
    option = p.add_argument_group("results").add_argument
    option("--out", type=Path, metavar="PREFIX",
           help=f"path of the results without its ending [default: {OUT}/MODE]")  # fmt: skip
    option("--list", action="store_true", help="list peers and data sets, and end")
    option("--render", type=Path, nargs="+", metavar="FILE.json",
           help="make tables and plot of results again; with several files, sections of later ones "
           "replace those of the same title, and --out names the result")  # fmt: skip
    return p


def listing() -> str:
    """List every peer, with the reason if it cannot run here, and every data set."""
    wide = max(len(name) for name in [*BY_NAME, *data.DATASETS])
    peers = [f"  {name:<{wide}}  {p.missing() or p.what}" for name, p in BY_NAME.items()]
    sets = [f"  {name:<{wide}}  {data.describe(name)}" for name in data.DATASETS]
    return "\n".join(["peers:", *peers, "data sets:", *sets])


def modes_of(options: argparse.Namespace) -> list[str]:
    """Return the modes that were named, or the comparison if a problem was, or all."""
    if options.modes:
        return [name for name in MODES if any(name in names for names in options.modes)]
    problem = options.peers or options.data or options.shape or options.latents
    return ["compare"] if problem else list(MODES)


def named_cases(options: argparse.Namespace) -> list[Case]:
    """Return the problems that are named, if any.

    Raises
    ------
    ValueError
        A data set does not exist in a dimension, or a file holds no latents.
    """
    cases = [modes.file_case(path) for path in options.latents or ()]
    if options.shape or options.data:
        shapes = options.shape or [(1_000, 16) if options.quick else (50_000, 100)]
        names = options.data or ["isotropic"]
        refusals = [data.unfit(name, n, dim) for name in names for n, dim in shapes]
        if any(refusals):
            raise ValueError(next(filter(None, refusals)))
        cases += [Case(name, n, dim) for n, dim in shapes for name in names]
    return cases


def timed_peers(options: argparse.Namespace) -> list[Peer]:
    """Return the peers of the throughput.

    Raises
    ------
    ValueError
        None of the named peers makes the exact choices.
    """
    named = [BY_NAME[name] for name in options.peers or ()]
    fit = [peer for peer in named if peer.kind in ("contract", "greedy")]
    if named and not fit:
        raise ValueError(f"throughput times Algorithm 1 alone, got {', '.join(options.peers)}")
    return fit or throughputs.everybody()


def settings_of(options: argparse.Namespace, say: Callable[[str], None], name: str) -> Settings:
    """Return the settings of a mode."""
    quick, rates, transport = options.quick, name == "throughput", name in optimal.MODES
    return Settings(
        threads=options.threads or machine.usable_cores(),
        runs=options.runs or (2 if quick else 3 if rates or transport else 5),
        limit=options.limit or (20 if quick else 60 if rates else 600 if transport else 120),
        sample=100 if quick or rates else 400,
        floor_seconds=(0.05 if quick else 0.5) / (2.5 if rates else 1),
        core_types=() if rates or transport else ("",) if quick else core_types(),
        settle_seconds=0.05 if quick or rates else 0.2,
        say=say,
        whole=not rates,
        warm_rows=256 if rates else 0,
        once=optimal.ONCE if transport else math.inf,
    )


def run(name: str, options: argparse.Namespace, settings: Settings, sections: Sections) -> None:
    """Run one mode; ``sections`` fills as it goes."""
    quick, shapes = options.quick, options.shape
    scale = options.scale or (QUICK_SCALE if quick else 1.0)
    named = [BY_NAME[peer] for peer in options.peers or ()]
    if name == "compare":
        peers = named or [peer for peer in BY_NAME.values() if peer.kind != "map"]
        cases = named_cases(options) or modes.default_cases(quick)
        modes.compare(cases, peers, settings, sections)
    elif name == "approximate":
        usual = [modes.APPROXIMATED_QUICK if quick else modes.APPROXIMATED]
        cases = [Case("isotropic", n, dim) for n, dim in shapes or ()] or usual
        peers = named or [BY_NAME[peer] for peer in modes.APPROXIMATED_PEERS]
        modes.compare(cases, peers, settings, sections)
    elif name == "datasets":
        shapes = shapes or (modes.SHAPES_QUICK if quick else modes.SHAPES)
        modes.datasets(shapes, options.data or list(data.DATASETS), settings, sections)
    elif name == "scaling":
        shapes = shapes or (modes.SCALED_QUICK if quick else modes.SCALED)
        for one in options.data or ["isotropic"]:
            modes.scaling(shapes, one, named or modes.scaled_peers(quick), settings, sections)
    elif name in optimal.MODES:
        optimal.MODES[name](named_cases(options), named, quick, settings, sections)
    elif name == "targets":
        cpu.targets(settings, scale, shapes or (), sections)
    else:
        measure_throughput(options, settings, scale, sections)


def measure_throughput(
    options: argparse.Namespace, settings: Settings, scale: float, sections: Sections
) -> None:
    """Run the throughput, and judge the targets of a device where no problem was named."""
    quick, aimed = options.quick, not options.shape
    cases = [Case("isotropic", n, dim) for n, dim in options.shape or ()]
    cases = cases or throughputs.grid(quick)
    planned = throughputs.jobs(
        cases, timed_peers(options), settings.limit, scale if aimed else None
    )
    rated = any(cuda.CUDA in job.peers for job in planned) and not cuda.CUDA.missing()
    shape = cuda.rated_shape(quick, settings.floor_seconds) if rated else None
    budget = options.budget or (60.0 if quick else 600.0)
    section: dict[str, Any] = {}
    sections.append(section)
    try:
        throughputs.throughput(planned, settings, budget, shape, section)
    finally:
        if aimed:
            device = section.get("device", {})
            lines = cuda.lines(section.get("rows", []), device, settings.threads, scale)
            sections.append({"kind": "targets", "title": "CUDA", "scale": scale, "lines": lines})


def clock() -> Callable[[str], None]:
    """Return a function that writes a line to stderr with the time since now."""
    began = time.monotonic()

    def say(line: str) -> None:
        elapsed = time.monotonic() - began
        print(f"[{elapsed:6.0f} s] {line}", file=sys.stderr, flush=True)

    return say


def end(signum: int, frame: object) -> NoReturn:
    """End as for Ctrl-C."""
    raise KeyboardInterrupt


def recorded(prefix: Path, steps: Sequence[Callable[[Sections], None]]) -> int:
    """Run the steps, each of which adds sections; write all results, however the run ends.

    Returns
    -------
    int
        The exit code.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, end)
    try:
        return _recorded(prefix, steps)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _recorded(prefix: Path, steps: Sequence[Callable[[Sections], None]]) -> int:
    record = results.new()
    sections: Sections = record["sections"]
    code, text = 0, ""
    try:
        for step in steps:
            step(sections)
            text = results.write(prefix, record)
    except KeyboardInterrupt:
        record["ended"], code = "interrupted: only what was measured by then is here", 130
    except check.WrongAnswer as error:
        record["ended"], code = f"WRONG ANSWER: {error}", 1
    if not code and not any(row["seconds"] for s in sections for row in s.get("rows", ())):
        print("nothing could be timed: the table says why", file=sys.stderr)
        code = 1
    elif code:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not lose the rows
        text = results.write(prefix, record)
    print(text, end="")
    print(f"wrote {os.fspath(prefix)}.json and .md", file=sys.stderr)
    if record["ended"]:
        print(record["ended"], file=sys.stderr)
    return code


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    command = parser()
    options = command.parse_args(arguments)
    alone = {"list"} if options.list else {"render", "out"} if options.render else set()
    others = [name for name, value in vars(options).items() if value and name not in alone]
    if alone and others:
        word = "list" if options.list else "render"
        command.error(f"--{word} runs nothing and goes alone, got --{' and --'.join(others)}")
    if options.list:
        print(listing())
        return 0
    names = modes_of(options)
    say = clock()
    settings = {name: settings_of(options, say, name) for name in names}
    try:
        if options.render:
            if len(options.render) > 1 and not options.out:
                raise ValueError("--render of several files needs --out")
            print(results.render(options.render, options.out), end="")
            return 0
        for option, readers in READ_BY.items():
            if getattr(options, option) and not set(readers) & set(names):
                raise ValueError(f"--{option} belongs to {' and '.join(readers)}")
        named_cases(options)
        if "targets" in names:
            cpu.chosen(settings["targets"], 1.0, options.shape or ())
        if "throughput" in names:
            timed_peers(options)
    except (OSError, ValueError) as error:
        command.error(str(error))
    whole = "quick" if options.quick else "all"
    prefix = options.out or OUT / (names[0] if len(names) == 1 else whole)
    return recorded(prefix, [partial(run, name, options, settings[name]) for name in names])


if __name__ == "__main__":
    sys.exit(main())

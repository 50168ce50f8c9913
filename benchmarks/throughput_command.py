"""The command ``python -m benchmarks throughput``: its options, and what they ask for."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks import machine, throughput_plan
from benchmarks.commandline import OUT, chosen, clock, positive, recorded, seconds
from benchmarks.harness import Case, Settings
from benchmarks.suite import Sections
from benchmarks.throughput import Section, Throughput
from benchmarks.throughput_plan import CUDA

QUICK_SCALE = 0.002
DESCRIPTION = """\
Pairs a second of every backend over n and dim: checked first, then timed, in one process.

With no n and no dim named, where a CUDA device is, the problems of the targets come first; all
rows that a budget has no room for are there without a figure.
"""
EPILOG = """\
examples:
  python -m benchmarks throughput --quick              does everything work?
  python -m benchmarks throughput --budget 300
  python -m benchmarks throughput --n 100000,1000000 --dim 64 --peers 'gtn_label:cuda*'

--list of the other command shows the peers, --render makes tables and plot again. Ctrl-C writes the
rows so far. Progress goes to stderr, the tables to stdout and to PREFIX.md, everything to
PREFIX.json, the plot to PREFIX.svg.
exit codes: 0 done, 1 wrong answer of this project or nothing could be timed, 2 wrong usage,
130 interrupted
"""


def numbers(text: str) -> list[int]:
    """Parse ``5,64``."""
    return [positive(part.strip()) for part in text.split(",")]


def sizes(text: str) -> list[int]:
    """Parse ``10000,100000``."""
    found = numbers(text)
    if min(found) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} has an n under 2")
    return found


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    known = {peer.name: peer for peer in throughput_plan.everybody()}
    p = argparse.ArgumentParser(
        prog="python -m benchmarks throughput",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--n", type=sizes, metavar="N,...", help="rows (10,000 to 10,000,000)")
    p.add_argument("--dim", type=numbers, metavar="D,...", help="dimensions (5, 64, 100, 768)")
    p.add_argument(
        "--peers",
        type=lambda text: chosen(text, known, "peer of the throughput"),
        metavar="NAMES",
        help="names or patterns, comma-separated (all backends, and greedy over a GPU's search)",
    )
    p.add_argument("--quick", action="store_true", help="small shapes, two runs, short limits")
    p.add_argument("--threads", type=positive, metavar="N", help="threads on the CPU (all)")
    p.add_argument("--runs", type=positive, metavar="N", help="timed rounds (3)")
    p.add_argument("--limit", type=seconds, metavar="SECONDS", help="for all runs of a row (60)")
    p.add_argument("--budget", type=seconds, metavar="SECONDS", help="for everything (600)")
    p.add_argument("--out", type=Path, metavar="PREFIX", help=f"results go here ({OUT}/throughput)")
    return p


def measure(options: argparse.Namespace, settings: Settings, sections: Sections) -> None:
    """Run what the options ask for."""
    quick = options.quick
    ns = options.n or (throughput_plan.SIZES_QUICK if quick else throughput_plan.SIZES)
    dims = options.dim or (throughput_plan.DIMS_QUICK if quick else throughput_plan.DIMS)
    peers = throughput_plan.everybody()
    if options.peers:
        peers = [peer for peer in peers if peer.name in options.peers]
    scale = QUICK_SCALE if quick else 1.0
    aims = not options.n and not options.dim
    cases = [Case("isotropic", n, dim) for n in ns for dim in dims]
    jobs = throughput_plan.jobs(cases, peers, settings.limit, scale if aims else None)
    section: Section = {"kind": "throughput", "title": "isotropic"}
    sections.append(section)
    budget = options.budget or (60.0 if quick else 600.0)
    throughput = Throughput(settings, budget, section)
    try:
        if any(CUDA in job.peers for job in jobs) and not CUDA.missing():
            throughput.rate_device(throughput_plan.rated_shape(quick, settings.floor_seconds))
        throughput.run(jobs)
    finally:
        if aims:
            device = section.get("device", {})
            lines = throughput_plan.lines(section["rows"], device, settings.threads, scale)
            sections.append({"kind": "aims", "title": "targets", "scale": scale, "lines": lines})


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    options = parser().parse_args(arguments)
    quick = options.quick
    settings = Settings(
        threads=options.threads or machine.usable_cores(),
        runs=options.runs or (2 if quick else 3),
        limit=options.limit or (20 if quick else 60),
        sample=100,
        floor_seconds=0.02 if quick else 0.2,
        core_types=("",),
        settle_seconds=0.05,
        say=clock(),
    )
    prefix = options.out or OUT / ("throughput_quick" if quick else "throughput")
    measured: Sections = []
    code = recorded(prefix, [partial(measure, options, settings), measured.extend])
    if code or any(row["seconds"] for section in measured for row in section.get("rows", [])):
        return code
    print("nothing could be timed: the table says why", file=sys.stderr)
    return 1

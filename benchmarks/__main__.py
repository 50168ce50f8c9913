"""The command: ``python -m benchmarks`` from the root of the repository.

Thread counts of NumPy's and FAISS's libraries are read when they are loaded, so this file sets
them before it imports anything that computes.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  python -m benchmarks                       50,000 x 100 against the peers
  python -m benchmarks --full                the authors' loop run whole at any shape
  python -m benchmarks --datasets            every data set at 50,000 x 100 and 20,000 x 16
  python -m benchmarks --datasets --shape 10000x64
  python -m benchmarks --quick               both tables at a small shape, in seconds
"""


# The authors' loop runs whole up to this many multiply-adds (20 s on two cores), and visits only
# this many sources beyond it.
WHOLE_LOOP = 300_000_000_000
LOOP_LIMIT = 2_000


def shape(text: str) -> tuple[int, int]:
    """Parse ``50000x100``."""
    n, _, dim = text.partition("x")
    if not (n.isdigit() and dim.isdigit() and int(n) > 0 and int(dim) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 50000x100")
    return int(n), int(dim)


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Check, then time, gtn_label against other ways to the same pairs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--datasets", action="store_true", help="time the data sets, not the peers")
    parser.add_argument("--shape", type=shape, action="append", help="NxDIM; may be repeated")
    parser.add_argument("--threads", type=positive, help="threads for every peer (default: all)")
    parser.add_argument("--runs", type=positive, help="timed runs (default: 5)")
    parser.add_argument("--full", action="store_true", help="run the authors' loop whole")
    parser.add_argument("--quick", action="store_true", help="both tables, small and fast")
    parser.add_argument("--out", type=Path, help="prefix of the .json and .md files")
    return parser.parse_args()


def main() -> int:
    """Run the benchmarks; return 1 if an answer is wrong."""
    options = arguments()
    threads = options.threads or usable_cores()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)

    from benchmarks import check, harness, report
    from benchmarks.peers import PEERS

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    runs = options.runs or (2 if options.quick else 5)
    sample = 100 if options.quick else 400
    shapes = options.shape
    if shapes is None:
        shapes = [(50_000, 100)]
        if options.datasets:
            shapes += [(20_000, 16)]
        if options.quick:
            shapes = [(3_000, 32)]
    settings: dict[str, Any] = {"threads": threads, "runs": runs}
    common: dict[str, Any] = {"threads": threads, "runs": runs, "sample": sample, "say": say}
    sections = []
    try:
        for n, dim in shapes:
            if options.quick or not options.datasets:
                whole = options.full or n * n * dim <= WHOLE_LOOP
                limit = 0 if whole else min(n, LOOP_LIMIT)
                rows = harness.run_peers(PEERS, n, dim, limit=limit, **common)
                sections.append(("peer", "time relative to gtn_label", rows))
            if options.quick or options.datasets:
                rows = harness.run_datasets(n, dim, **common)
                sections.append(("data", "time relative to isotropic", rows))
    except check.WrongAnswer as error:
        say(f"wrong answer: {error}")
        return 1
    out = options.out or Path("benchmarks/results") / ("datasets" if options.datasets else "peers")
    print(report.write(out, settings, sections), end="")
    say(f"wrote {out}.json and {out}.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

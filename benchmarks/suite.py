"""The three parts that compare: peers on one problem, data sets of one shape, growing n.

Each builds the entries of its contests, runs them and hands back sections: plain values that go
into the JSON. A section is added before its contest starts, so that what is there after a Ctrl-C
is written. The fourth part, targets, has a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.harness import Case, Contest, Entry, Settings
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME, OURS

Section = dict[str, Any]
Sections = list[Section]
Shape = tuple[int, int]

# Problems of the comparison: everybody can run; the plain case; low dimension; real latents;
# the two synthetic sets of the paper; many dimensions.
COMPARED = (
    ("isotropic", (4_000, 20)),
    ("isotropic", (50_000, 100)),
    ("clustered", (200_000, 5)),
    ("uniform", (100_000, 2)),
    ("swiss_roll", (50_000, 1)),
    ("isotropic", (20_000, 768)),
)
COMPARED_QUICK = (("isotropic", (1_000, 16)),)
SHAPES = ((50_000, 100), (20_000, 16), (200_000, 5))  # of the data sets
SHAPES_QUICK = ((1_000, 8),)
# n of the first of four sizes, each twice the one before.
SCALED = ((25_000, 2), (25_000, 5), (12_500, 16), (12_500, 100), (6_250, 768))
SCALED_QUICK = ((250, 5),)
SIZES = 4
SCALED_PEERS = (
    "gtn_label",
    "gtn_label:cuda",
    "gtn_label:approx",
    "numpy_greedy",
    "faiss_tuned",
    "authors_loop",
    "bsp_ot_16",
    "minibatch_ot",
    "lapx",
)
SCALED_PEERS_QUICK = ("gtn_label", "numpy_greedy", "authors_loop")


def held(section: Section, contest: Contest) -> None:
    """Run a contest; its section gets what is known even if the run ends early."""
    try:
        contest.run()
    finally:
        section["rows"] = contest.rows()
        section["floors"] = contest.floors()


def file_case(path: Path) -> Case:
    """Return the problem whose latents are a file's."""
    n, dim = data.read(path).shape
    return Case(path.name, n, dim, path)


def with_ours(peers: Sequence[Peer]) -> list[Peer]:
    """Put this project first: every answer is compared with its own."""
    return [OURS, *(peer for peer in peers if peer is not OURS)]


def compare(
    cases: Sequence[Case], peers: Sequence[Peer], settings: Settings, sections: Sections
) -> None:
    """Run the peers on each problem."""
    for case in cases:
        section: Section = {"kind": "compare", "title": str(case)}
        sections.append(section)
        ours = Entry(OURS, case, settings.threads)
        entries = [
            replace(ours, peer=peer, against=None if peer is OURS else ours)
            for peer in with_ours(peers)
        ]
        held(section, Contest(entries, settings))


def default_cases(quick: bool) -> list[Case]:
    """Problems of the comparison if none are named; the real latents are always one of them."""
    named = COMPARED_QUICK if quick else COMPARED
    cases = [Case(name, n, dim) for name, (n, dim) in named]
    return cases if quick else [*cases, file_case(data.EXAMPLE)]


def fits(name: str, dim: int) -> bool:
    """Whether a data set exists in that dimension."""
    return name != "swiss_roll" or dim == 1


def datasets(
    shapes: Sequence[Shape], names: Sequence[str], settings: Settings, sections: Sections
) -> None:
    """Run this project on every data set of each shape, against isotropic data of that shape."""
    for n, dim in shapes:
        section: Section = {"kind": "datasets", "title": f"{n:,} × {dim}"}
        sections.append(section)
        base = Entry(OURS, Case("isotropic", n, dim), settings.threads)
        others = [name for name in names if name != "isotropic" and fits(name, dim)]
        entries = [Entry(OURS, Case(name, n, dim), settings.threads, base) for name in others]
        held(section, Contest([base, *entries], settings))


def scaling(
    shapes: Sequence[Shape],
    name: str,
    peers: Sequence[Peer],
    settings: Settings,
    sections: Sections,
) -> None:
    """Run the peers at n, 2n, 4n and 8n of each shape."""
    for first, dim in shapes:
        section: Section = {"kind": "scaling", "title": f"dim {dim}, {name}"}
        sections.append(section)
        entries = []
        for size in range(SIZES):
            ours = Entry(OURS, Case(name, first << size, dim), settings.threads)
            entries += [
                replace(ours, peer=peer, against=None if peer is OURS else ours)
                for peer in with_ours(peers)
            ]
        held(section, Contest(entries, settings))


def scaled_peers(quick: bool) -> list[Peer]:
    """Peers of the scaling, one of each idea."""
    return [BY_NAME[name] for name in (SCALED_PEERS_QUICK if quick else SCALED_PEERS)]


def exponent(points: Sequence[tuple[int, float]]) -> float | None:
    """Slope of log seconds over log n by least squares, from (n, seconds); None for one n."""
    if len({n for n, _ in points}) < 2:
        return None
    xs = [math.log(n) for n, _ in points]
    ys = [math.log(seconds) for _, seconds in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return above / sum((a - x) ** 2 for a in xs)

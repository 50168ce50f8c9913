"""Runs the modes that compare: peers on one problem, data sets of one shape, growing n.

Each mode builds the entries of its contests and adds sections: plain values that go into the JSON.
A section is added before its contest starts, so that rows measured before a Ctrl-C are written. Not
here: targets (targets/) and throughput (throughput.py).
"""

from __future__ import annotations

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

# Problems of the comparison: one that everybody can run; the plain case; low dimension; the two
# synthetic sets of the paper; many dimensions.
COMPARED = (
    Case("isotropic", 4_000, 20),
    Case("isotropic", 50_000, 100),
    Case("clustered", 200_000, 5),
    Case("uniform", 100_000, 2),
    Case("swiss_roll", 50_000, 1),
    Case("isotropic", 20_000, 768),
)
COMPARED_QUICK = (Case("isotropic", 1_000, 16),)
APPROXIMATED, APPROXIMATED_QUICK = Case("isotropic", 200_000, 64), Case("isotropic", 2_000, 8)
APPROXIMATED_PEERS = ("gtn_label", "gtn_label:faiss", "gtn_label:approx")
SHAPES = ((50_000, 100), (20_000, 16), (200_000, 5))  # of the data sets
SHAPES_QUICK = ((1_000, 8),)
# n of the first of four sizes, each twice the one before.
SCALED = ((25_000, 2), (25_000, 5), (12_500, 16), (12_500, 100), (6_250, 768))
SCALED_QUICK = ((250, 5),)
SIZES = 4
SCALED_PEERS = (
    *("gtn_label", "gtn_label:cuda", "gtn_label:approx", "numpy_greedy", "faiss_tuned"),
    *("authors_loop", "bsp_ot_16", "minibatch_ot", "lapx"),
)
SCALED_PEERS_QUICK = ("gtn_label", "numpy_greedy", "authors_loop")


def hold(section: Section, sections: Sections, contest: Contest) -> None:
    """Add a section and run its contest; the section gets all results even after a break."""
    sections.append(section)
    try:
        contest.run()
    finally:
        section["rows"], section["floors"] = contest.rows(), contest.floors()


def file_case(path: Path) -> Case:
    """Return the problem whose latents are in a file."""
    n, dim = data.read(path).shape
    return Case(path.name, n, dim, path)


def against_ours(case: Case, peers: Sequence[Peer], threads: int) -> list[Entry]:
    """Return entries of the peers on a problem; this project is the first and divides the rest."""
    ours = Entry(OURS, case, threads)
    return [ours, *(replace(ours, peer=p, against=ours) for p in peers if p is not OURS)]


def compare(
    cases: Sequence[Case], peers: Sequence[Peer], settings: Settings, sections: Sections
) -> None:
    """Run the peers on each problem."""
    for case in cases:
        entries = against_ours(case, peers, settings.threads)
        hold({"kind": "compare", "title": str(case)}, sections, Contest(entries, settings))


def default_cases(quick: bool) -> list[Case]:
    """Return the problems of the comparison where none is named, with real latents among them."""
    return list(COMPARED_QUICK) if quick else [*COMPARED, file_case(data.EXAMPLE)]


def datasets(
    shapes: Sequence[Shape], names: Sequence[str], settings: Settings, sections: Sections
) -> None:
    """Run this project on every data set of each shape, against isotropic data of that shape."""
    for n, dim in shapes:
        base = Entry(OURS, Case("isotropic", n, dim), settings.threads)
        others = [name for name in names if name != "isotropic" and not data.unfit(name, n, dim)]
        entries = [Entry(OURS, Case(name, n, dim), settings.threads, base) for name in others]
        section = {"kind": "datasets", "title": f"{n:,} × {dim}"}
        hold(section, sections, Contest([base, *entries], settings))


def scaling(
    shapes: Sequence[Shape],
    name: str,
    peers: Sequence[Peer],
    settings: Settings,
    sections: Sections,
) -> None:
    """Run the peers at n, 2n, 4n and 8n of each shape."""
    for first, dim in shapes:
        cases = [Case(name, first << size, dim) for size in range(SIZES)]
        entries = [e for case in cases for e in against_ours(case, peers, settings.threads)]
        section = {"kind": "scaling", "title": f"dim {dim}, {name}"}
        hold(section, sections, Contest(entries, settings))


def scaled_peers(quick: bool) -> list[Peer]:
    """Return the peers of the scaling, one of each idea."""
    return [BY_NAME[name] for name in (SCALED_PEERS_QUICK if quick else SCALED_PEERS)]

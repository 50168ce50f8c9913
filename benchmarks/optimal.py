"""Runs the modes about optimal transport: solvers, maps for further sources, and growth with n.

This project's Algorithm 1 is in every contest of pairs and divides the times. The lines of
targets/optimal.py are judged by the rows of all three modes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.check import WrongAnswer
from benchmarks.harness import Case, Contest, Entry, Settings
from benchmarks.modes import Section, Sections, against_ours, hold
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME
from benchmarks.targets import optimal as targets

ONCE = 10.0  # seconds of a run from which on one run is enough
CERTIFIED = tuple(f"gtn_label:optimal_{word}" for word in ("1e-2", "1e-3", "0"))
SOLVERS = (
    *("lapx", "scipy_assignment", "pot_emd", "ortools"),
    *("bsp_ot_64", "bsp_ot_16", "minibatch_ot", "minibatch_ot_256", "ott_sinkhorn"),
)
# JAX alone takes longer than all the rest of a quick run.
SOLVERS_QUICK = ("lapx", "scipy_assignment", "pot_emd", "ortools", "bsp_ot_16", "minibatch_ot_256")
CASES = (
    *(Case(name, 3_000, dim) for dim in (2, 5, 16, 64, 100) for name in ("clustered", "isotropic")),
    *(Case("codes", 3_000, dim) for dim in (2, 5, 16)),
    *(Case("clustered", 10_000, dim) for dim in (5, 64)),
    *(Case("isotropic", 10_000, 16), Case("codes", 10_000, 24)),
    *(Case("clustered", 100_000, dim) for dim in (5, 64, 100)),
    Case("isotropic", 100_000, 16),
    Case("clustered", 1_000_000, 5),
)
REFINED, REFINERS = Case("clustered", 4_096, 5), ("hiref",)  # n must be a product of small factors
MAPS = ("gtn_label:assign", "ott_semidiscrete")
MAPPED = (Case("clustered", 3_000, 5), Case("isotropic", 3_000, 64))
GROWING = CERTIFIED[:2]
# The first of six sizes, each twice the one before.
GROWN = tuple(Case(name, 5_000, dim) for dim in (5, 64) for name in ("clustered", "isotropic"))
SIZES = 6
CASES_QUICK = (Case("clustered", 400, 5),)
MAPPED_QUICK = (Case("clustered", 200, 3),)
GROWN_QUICK = (Case("clustered", 200, 5),)
SIZES_QUICK = 2

Mode = Callable[[Sequence[Case], Sequence[Peer], bool, Settings, Sections], None]


def peers_of(names: Sequence[str]) -> list[Peer]:
    """Return peers by their names."""
    return [BY_NAME[name] for name in names]


@contextmanager
def judged(wanted: bool, sections: Sections) -> Iterator[None]:
    """Judge the targets by all sections so far, however the run of a mode ends."""
    try:
        yield
    finally:
        if wanted:
            targets.judge_again(sections)


def run(section: Section, entries: list[Entry], settings: Settings, sections: Sections) -> str:
    """Run a contest; return what was wrong with answers of this project, empty if nothing was."""
    try:
        hold(section, sections, Contest(entries, settings))
    except WrongAnswer as error:
        return str(error)
    return ""


def end(wrong: Sequence[str]) -> None:
    """Raise WrongAnswer if anything was wrong in one of the contests."""
    if any(wrong):
        raise WrongAnswer("; ".join(filter(None, wrong)))


def optimal(
    cases: Sequence[Case],
    named: Sequence[Peer],
    quick: bool,
    settings: Settings,
    sections: Sections,
) -> None:
    """Run the solvers on each problem.

    Raises
    ------
    WrongAnswer
        An answer of this project was wrong; the other contests ran all the same.
    """
    usual = peers_of((*CERTIFIED, *(SOLVERS_QUICK if quick else SOLVERS)))
    problems = [(case, list(named) or usual) for case in cases]
    if not cases:
        problems = [(case, list(named) or usual) for case in (CASES_QUICK if quick else CASES)]
        if not (named or quick):
            problems.append((REFINED, peers_of((*CERTIFIED, *REFINERS))))
    wrong = []
    with judged(not (cases or named or quick), sections):
        for case, peers in problems:
            entries = against_ours(case, peers, settings.threads)
            section = {"kind": "optimal", "title": str(case)}
            wrong.append(run(section, entries, settings, sections))
    end(wrong)


def maps(
    cases: Sequence[Case],
    named: Sequence[Peer],
    quick: bool,
    settings: Settings,
    sections: Sections,
) -> None:
    """Run the maps on each problem; the first divides the times of the others.

    Raises
    ------
    WrongAnswer
        As in ``optimal``.
    """
    peers = list(named) or peers_of(MAPS[:1] if quick else MAPS)
    wrong = []
    for case in cases or (MAPPED_QUICK if quick else MAPPED):
        first = Entry(peers[0], case, settings.threads)
        entries = [first, *(replace(first, peer=peer, against=first) for peer in peers[1:])]
        section = {"kind": "maps", "title": str(case)}
        wrong.append(run(section, entries, settings, sections))
    end(wrong)


def growth(
    cases: Sequence[Case],
    named: Sequence[Peer],
    quick: bool,
    settings: Settings,
    sections: Sections,
) -> None:
    """Run the solvers at n, 2n, 4n and so on; the named problems are the first sizes.

    Raises
    ------
    WrongAnswer
        As in ``optimal``.
    """
    peers = list(named) or peers_of(GROWING)
    wrong = []
    with judged(not (cases or named or quick), sections):
        for first in cases or (GROWN_QUICK if quick else GROWN):
            sizes = range(SIZES_QUICK if quick else SIZES)
            grown = [Case(first.data, first.n << size, first.dim) for size in sizes]
            entries = [e for case in grown for e in against_ours(case, peers, settings.threads)]
            section = {"kind": "growth", "title": f"dim {first.dim}, {first.data}"}
            wrong.append(run(section, entries, settings, sections))
    end(wrong)


MODES: dict[str, Mode] = {"optimal": optimal, "maps": maps, "growth": growth}

"""`Matching.verify`: a result against its latents, its meta and the numeric contract.

The engine computes cosines and choices anew, on the CPU. The visiting order is worked out here, in
NumPy, by the contract's own order of additions. Not here: whether a file holds pairs at all
(io/pairs.py), and the loss of an approximate run (approx_quality.py).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core, approx_quality
from .arrays import convert
from .arrays.narrow import NarrowRows, fits, take_rows
from .arrays.on_gpu import in_cpu_memory
from .arrays.row_blocks import RowsLike, little_endian
from .arrays.sources import redraw
from .arrays.to_caller import Given, given
from .backend.engines import make_engine
from .backend.names import resolve
from .certificate import Center, PriceError, certify, cosines, duality_gap, lane_sums
from .checks import as_integer
from .errors import ArgumentError
from .match_options import MatchOptions
from .progress import Progress, ProgressCallback
from .text import plain
from .threads import check_threads

if TYPE_CHECKING:
    from .result import Matching

__all__ = ["Verification", "VerificationError", "verify"]

_BLOCK_BYTES = 4 << 20
_RELATIVE = 1e-12  # rounding of a few sums, which are made without any

Labels = npt.NDArray[np.int64]


class Verification(NamedTuple):
    """Record of what `Matching.verify` compared and found equal.

    Attributes
    ----------
    method : str
        Function that made the pairs: "match", "match_approx", "mixture", "optimal" or "quantile".
    n, m, dim : int
        Numbers of sources and latents, and their dim.
    labels : int
        Number of labels compared with rows of the latents; 0 if the result has no rows.
    cosines : int
        Number of cosines recomputed.
    choices : int
        Number of sources whose exact choice was searched for again; of `match_optimal`, of sources
        whose best latent at the prices was.
    note : str
        What was left out, and why; empty if nothing was.
    seconds : float
        Time taken.
    """

    method: str
    n: int
    m: int
    dim: int
    labels: int
    cosines: int
    choices: int
    note: str
    seconds: float


class VerificationError(ValueError):
    """A result differs from what its latents, its meta and the contract say.

    Attributes
    ----------
    rule : str
        The rule that is broken.
    row : int or None
        First source concerned; None if the rule is not about one.
    expected, found : str
        The value by the rule, and the value of the result.
    """

    def __init__(self, rule: str, row: int | None, expected: str, found: str) -> None:
        super().__init__(rule, row, expected, found)
        self.rule, self.row, self.expected, self.found = rule, row, expected, found

    def __str__(self) -> str:
        where = "" if self.row is None else f"; source {self.row}"
        return f"{self.rule}{where}: expected {self.expected}, found {self.found}"


class _Problem(NamedTuple):
    """A result with the rows that it was made from."""

    assignment: npt.NDArray[np.int64]
    cosine: npt.NDArray[np.float64]
    sources: npt.NDArray[Any]  # [n, dim], of a column [n]
    latents: npt.NDArray[Any]  # [m, dim] or [m]
    groups: tuple[Labels, Labels] | None


def verify(
    matching: Matching,
    latents: Any,
    sources: Any,
    sample: int | None,
    groups: tuple[Any, Any] | None,
    threads: int | None,
    progress: bool | ProgressCallback | None,
    check: Callable[[], None],
) -> Verification:
    """Verify as `Matching.verify` describes; `check` raises if a mapped file has changed."""
    began = time.perf_counter()
    meta, method = matching.meta, matching.meta.get("method")
    if method not in ("match", "match_approx", "mixture", "optimal", "quantile"):
        raise ValueError(
            "verify() knows results of match, match_approx, match_mixture, match_optimal and "
            f"match_quantile, and the meta of this one has the method {method!r:.60}"
        )
    if sample is not None:
        sample = as_integer(sample, "sample", 1)
    as_rows = convert.as_column if method == "quantile" else convert.as_rows
    names = {"quantile": (), "optimal": ("center",)}.get(method, ("order", "cone", "center"))
    # Options are checked as those of a run, whatever the meta of a file holds.
    asked: dict[str, Any] = {name: meta.get(name) for name in names}
    options = MatchOptions(**asked, groups=groups, threads=threads, progress=progress)
    latent_rows = as_rows(in_cpu_memory(latents, "latents"), "latents")
    rows = given(latent_rows).blocks
    expected, found = meta.get("latents_sha256"), convert.sha256(rows)
    if expected != found:
        rule = "the latents must be those of the run, by their SHA-256"
        raise VerificationError(rule, None, str(expected), found)
    assignment = matching._assignment
    problem = _Problem(
        assignment,
        matching._cosine,
        _sources(matching, sources, meta, as_rows, latent_rows.rows),
        latent_rows.rows,
        _groups(matching, options, len(assignment), len(latent_rows.rows)),
    )
    _check_assignment(problem)
    compared = matching._sources is not None
    if compared:
        rule = "a label must be the row of the latents that the assignment names"
        _check_equal(rule, take_rows(rows, assignment), matching._label_rows())
        _check_dtypes({"sources": matching._sources, "labels": matching._labels}, meta)
    note, choices = "", 0
    if method == "quantile":
        choices = _check_quantiles(problem)
    elif method == "optimal":
        choices = _check_certificate(problem, matching, options)
    else:
        arguments = _arguments(problem, options)
        order = _visiting_order(problem, options.order)
        _check_cosines(problem, order, arguments)
        if method == "match_approx":
            note = "choices of match_approx are not exact, and were not searched for again"
        else:
            choices = _check_choices(problem, order, sample, arguments, options, check)
    m, dim = (*latent_rows.rows.shape, 1)[:2]
    labels, n = len(assignment) if compared else 0, len(assignment)
    return Verification(method, n, m, dim, labels, n, choices, note, time.perf_counter() - began)


# ------------------------------------------------------------------------------------ the inputs


def _sources(
    matching: Matching,
    passed: Any,
    meta: dict[str, Any],
    as_rows: Callable[[Any, str], convert.Rows],
    latents: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """Return the rows of the sources: the result's, those passed, or those that the meta draws.

    Where there are several, they must be equal.
    """
    drawn = None
    if meta["method"] != "mixture":  # whose sources lie around clusters
        drawn = redraw(meta, len(latents), (*latents.shape, 1)[1])
    kept = None if matching._sources is None else matching._sources.whole
    known = [
        (name, as_rows(in_cpu_memory(value, "sources"), "sources").rows)
        for name, value in (("of the result", kept), ("passed", passed), ("drawn", drawn))
        if value is not None
    ]
    if not known:
        rule = "must be given: the result has indices only, and its meta no way to draw them"
        raise ArgumentError("sources", rule)
    for name, rows in known[1:]:
        rule = f"sources {known[0][0]} must be those {name}"
        if rows.shape != known[0][1].shape or rows.dtype != known[0][1].dtype:
            shapes = [f"{each.dtype} of shape {each.shape}" for each in (rows, known[0][1])]
            raise VerificationError(rule, None, *shapes)
        _check_equal(rule, rows, known[0][1])
    rows = known[0][1]
    if len(rows) != len(matching) or rows.shape[1:] != latents.shape[1:]:
        expected = f"shape {(len(matching), *latents.shape[1:])}"
        raise VerificationError("sources must fit", None, expected, f"shape {rows.shape}")
    return rows


def _groups(
    matching: Matching, options: MatchOptions, n: int, m: int
) -> tuple[Labels, Labels] | None:
    """Return the group labels, which a file does not hold; its meta has their hash."""
    recorded = matching.meta.get("groups")
    if recorded is None:
        if options.groups is not None:
            raise ArgumentError("groups", "must be None: the result was made without groups")
        return None
    labels = options.labels(n, m) or matching._groups
    if labels is None:
        rule = "must be given: the result holds a hash of its groups only"
        raise ArgumentError("groups", rule)
    sides = tuple(np.ascontiguousarray(side, np.int64) for side in labels)
    found = convert.sha256(np.concatenate(sides))
    if not isinstance(recorded, dict) or recorded.get("sha256") != found:
        rule = "the groups must be those of the run, by their SHA-256"
        expected = recorded.get("sha256") if isinstance(recorded, dict) else recorded
        raise VerificationError(rule, None, str(expected), found)
    return sides[0], sides[1]


def _arguments(problem: _Problem, options: MatchOptions) -> dict[str, Any]:
    """Return the rows and options as the engine takes them."""
    groups = problem.groups or (None, None)
    return {
        "latents": problem.latents,
        "sources": problem.sources,
        "source_groups": groups[0],
        "latent_groups": groups[1],
        "instruction_set": resolve("cpu").instruction_set,
        **options.for_engine(len(problem.latents)),
    }


# ------------------------------------------------------------------------------------- the checks


def _check_assignment(problem: _Problem) -> None:
    """Check that every source has a latent, of its group and of no other source."""
    assignment, m = problem.assignment, len(problem.latents)
    out = np.flatnonzero((assignment < 0) | (assignment >= m))
    if len(out):
        rule = "an assignment must be a row of the latents"
        raise VerificationError(rule, int(out[0]), f"0 to {m - 1}", str(assignment[out[0]]))
    taken_by = np.full(m, -1, np.int64)
    taken_by[assignment[::-1]] = np.arange(len(assignment))[::-1]  # the first source of each
    twice = np.flatnonzero(taken_by[assignment] != np.arange(len(assignment)))
    if len(twice):
        row, latent = int(twice[0]), assignment[twice[0]]
        found = f"latent {latent}, which source {taken_by[latent]} has"
        raise VerificationError("no latent may be taken twice", row, "a latent of its own", found)
    if problem.groups is not None:
        wanted, found_groups = problem.groups[0], problem.groups[1][assignment]
        other = np.flatnonzero(wanted != found_groups)
        if len(other):
            row = int(other[0])
            rule = "a source must take a latent of its group"
            raise VerificationError(rule, row, f"group {wanted[row]}", f"group {found_groups[row]}")


def _visiting_order(problem: _Problem, order: str) -> npt.NDArray[np.int64]:
    """Return the sources in the order in which they choose: by group, then as `order` says."""
    keys: list[npt.NDArray[Any]] = []
    if order != "index":
        norms = _norms(problem.sources)
        keys.append(-norms if order == "norm_desc" else norms)
    if problem.groups is not None:
        keys.append(problem.groups[0])
    if not keys:
        return np.arange(len(problem.sources))
    return np.lexsort(keys)  # stable: equal norms go by row


def _norms(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the norms of rows by the contract."""
    norms = np.empty(len(rows))
    dim = rows.shape[1]
    step = max(1, _BLOCK_BYTES // (8 * dim))
    for begin in range(0, len(rows), step):
        squares = np.square(rows[begin : begin + step].astype(np.float64))
        norms[begin : begin + step] = np.sqrt(lane_sums(squares))
    return norms


def _check_cosines(
    problem: _Problem, order: npt.NDArray[np.int64], arguments: dict[str, Any]
) -> None:
    """Let the engine repeat the run as one that is complete, which gives its cosines."""
    n = len(order)
    visited = np.ascontiguousarray(problem.assignment[order])
    chosen = resolve("cpu")
    engine, _ = make_engine(chosen, "cpu", problem.latents.shape[1], arguments["cone"])
    try:
        assignment, cosine, _ = _core.match_rows(
            **arguments, engine=engine, visited=visited, start=n, poll=None
        )
    except ValueError as error:
        found = re.match(r"visited must .* entry (\d+) is (\d+)", str(error))
        if found is None:
            raise
        row = int(order[int(found[1])])
        rule = "of equal latents the first that is free must be taken"
        raise VerificationError(rule, row, "another latent", f"latent {found[2]}") from None
    if not np.array_equal(assignment, problem.assignment):
        raise RuntimeError("the visiting order of the engine is another; please report this")
    _check_equal("a cosine must be the contract's, to the bit", cosine, problem.cosine)


def _check_choices(
    problem: _Problem,
    order: npt.NDArray[np.int64],
    sample: int | None,
    arguments: dict[str, Any],
    options: MatchOptions,
    check: Callable[[], None],
) -> int:
    """Search for the exact choice of a sample of sources; return the number of these."""
    n = len(order)
    positions = approx_quality.positions(n, n if sample is None else sample)
    with Progress(options.progress, len(positions), len(problem.latents)) as bar:

        def poll(done: int) -> None:
            check()
            bar(done)

        source, latent, cosine = _core.audit_rows(
            visited=np.ascontiguousarray(problem.assignment[order]),
            positions=positions,
            poll=poll,
            **arguments,
        )
    other = np.flatnonzero(problem.assignment[source] != latent)
    if len(other):
        at = other[0]
        row = int(source[at])
        rule = "a source must take the best latent that is free when it chooses"
        if options.cone > 1:
            rule += f", by norm among the {options.cone} of largest cosine"
        found = f"latent {problem.assignment[row]} with {plain(problem.cosine[row])}"
        expected = f"latent {latent[at]} with {plain(cosine[at])}"
        raise VerificationError(rule, row, expected, found)
    return len(positions)


def _check_certificate(problem: _Problem, matching: Matching, options: MatchOptions) -> int:
    """Compute cosines, cost, gap and lower bound of `match_optimal` anew; return the sources."""
    center, stated = options.center, matching._transport
    if stated is None:
        raise ValueError("verify() needs prices, and this file of a folder of pairs has none")
    if len(stated.prices) != len(problem.latents):
        rule = "there must be a price of each latent"
        lengths = str(len(problem.latents)), str(len(stated.prices))
        raise VerificationError(rule, None, *lengths)
    rows = problem.latents, problem.sources, problem.assignment
    n = len(problem.assignment)
    rule = "a cosine must be the contract's, to the bit"
    _check_equal(rule, cosines(*rows, center), problem.cosine)
    around = Center.of(problem.latents, center)
    threads = check_threads(options.threads)
    with Progress(options.progress, n, len(problem.latents)) as bar:
        try:
            gap, rounding = duality_gap(*rows, stated.prices, around, problem.groups, threads, bar)
        except PriceError as error:
            rule = "the prices must be such as a run leaves"
            raise VerificationError(rule, None, error.expected, error.found) from None
    # The least that the figures can be, as this sum has rounding of its own.
    least = max(0.0, gap - rounding)
    found = certify(*rows, stated.prices, least, around, problem.groups)
    slack = _RELATIVE * (found.cost + 2.0 * rounding / n)
    if not abs(stated.cost - found.cost) <= slack:
        rule = "the cost must be the mean squared distance of the pairs"
        raise VerificationError(rule, None, repr(found.cost), repr(stated.cost))
    if not stated.gap >= found.gap * (1.0 - _RELATIVE):
        rule = "the gap must not be below the one that the prices prove"
        raise VerificationError(rule, None, f"at least {found.gap!r}", repr(stated.gap))
    if not stated.lower_bound <= found.lower_bound + slack:
        rule = "the lower bound must not exceed the one that the prices prove"
        values = f"at most {found.lower_bound!r}", repr(stated.lower_bound)
        raise VerificationError(rule, None, *values)
    return n


def _check_dtypes(kept: dict[str, Given | None], meta: dict[str, Any]) -> None:
    """Check that float32 rows of a file are numbers of the narrower types that the meta names."""
    for name, dtype in meta.get("dtypes", {}).items():
        rows = kept[name]
        if rows is None or isinstance(rows.blocks, NarrowRows):
            continue
        width = max(1, math.prod(rows.blocks.shape[1:]) * 4)
        step = max(1, _BLOCK_BYTES // width)
        for begin in range(0, rows.blocks.shape[0], step):
            block = np.asarray(rows.blocks[begin : begin + step]).reshape(-1, width // 4)
            other = np.flatnonzero(~fits(block, dtype).all(axis=1))
            if len(other):
                rule = f"{name} must be numbers of the dtype that the meta names"
                row = int(other[0])
                raise VerificationError(rule, begin + row, dtype, _shown(block[row]))


def _check_quantiles(problem: _Problem) -> int:
    """Repeat the two sorts; return the number of sources."""
    from .quantile import quantile_pairs

    assignment, cosine = quantile_pairs(problem.latents, problem.sources)
    rule = "a source must take the quantile of the latents at its own rank"
    _check_equal(rule, assignment, problem.assignment)
    _check_equal("a cosine must be that of two numbers, by their signs", cosine, problem.cosine)
    return len(assignment)


def _check_equal(rule: str, expected: RowsLike, found: RowsLike) -> None:
    """Compare two arrays bit for bit, and report the first row that differs."""
    dtypes = little_endian(expected.dtype), little_endian(found.dtype)
    if dtypes[0] != dtypes[1] or expected.shape != found.shape:
        shapes = [f"{each.dtype} of shape {each.shape}" for each in (expected, found)]
        raise VerificationError(rule, None, *shapes)
    width = max(1, math.prod(expected.shape[1:]) * dtypes[0].itemsize)
    step = max(1, _BLOCK_BYTES // width)
    for begin in range(0, expected.shape[0], step):
        rows = slice(begin, begin + step)
        one, two = (np.ascontiguousarray(each[rows], dtypes[0]) for each in (expected, found))
        bits = [each.reshape(len(one), -1).view(np.uint8) for each in (one, two)]
        other = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
        if len(other):
            row = int(other[0])
            raise VerificationError(rule, begin + row, _shown(one[row]), _shown(two[row]))


def _shown(row: Any) -> str:
    """Return a row of numbers, shortened, with all their digits."""
    if np.ndim(row) == 0:
        return plain(row)
    values = ", ".join(plain(value) for value in row[:3].tolist())
    return f"[{values}{', ...' if len(row) > 3 else ''}]"

"""`gtn-label --verify` and `--apply`: checks of pairs that a file holds, and their completion.

Nothing is matched here. Not here: the check itself (`Matching.verify`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..arrays import convert
from ..arrays.on_disk import Files, checked
from ..arrays.row_blocks import TakenRows
from ..arrays.sources import redraw
from ..arrays.to_caller import Given, given
from ..errors import ArgumentError, ArgumentTypeError
from ..io.atomic import worded
from ..io.files import write_pairs
from ..result import Matching
from ..text import quoted
from .console import EXIT_DIFFERENT, Refused, format_bytes, format_seconds, json_text, table
from .job import Run
from .options import Options
from .streams import pairs_target
from .summary import certificate, certificate_rows, plain

__all__ = ["PairsFile"]

COSINE_TOLERANCE = 1e-6  # far above the rounding of float64, far below another source's cosine
BLOCK_VALUES = 1 << 22  # values in a block of float64: 32 MiB
_DRAWN = (
    "match",
    "match_approx",
    "optimal",
    "quantile",
)  # methods whose sources `draw_sources` drew
_OF_META = frozenset(["order", "cone", "center"])  # arguments of a run that its file repeats


class PairsFile(Run):
    """One check or completion, from its options to its output."""

    def __init__(self, options: Options, warn: Callable[[str], None]) -> None:
        super().__init__(options, warn)
        self._name = "--apply" if options.verify is None else "--verify"
        self._path = options.apply if options.verify is None else options.verify

    def _execute(self) -> list[str]:
        """Check or complete the pairs, and return the lines for the terminal."""
        return self._apply() if self.options.verify is None else self._verify()

    def _load(self) -> Matching:
        assert self._path is not None
        try:
            return Matching.load(self._path)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.strerror is not None:
                raise
            message = f"{self._name} {str(error).removeprefix('path ')}"
            if isinstance(error, OSError):
                raise worded(error, message) from None
            raise ValueError(message) from None

    def _verify(self) -> list[str]:
        from ..verification import VerificationError

        options, began = self.options, time.perf_counter()
        pairs = self._load()
        latents, sources, groups = self._read()
        with self.in_words():
            try:
                record = pairs.verify(
                    latents,
                    sources,
                    sample=options.sample,
                    groups=groups,
                    threads=options.matching["threads"],
                    progress=self.shows_progress,
                )
            except VerificationError as error:
                raise Refused(f"--verify {quoted(self._path)}: {error}", EXIT_DIFFERENT) from None
            except (ArgumentError, ArgumentTypeError) as error:
                if not _OF_META.issuperset(error.names):
                    raise
                message = f"--verify {quoted(self._path)} has a meta that no run writes: {error}"
                raise ValueError(message) from None
            except ValueError as error:
                raise ValueError(f"--verify {quoted(self._path)}: {error}") from None
        found: dict[str, Any] = {"version": __version__, "pairs": str(self._path), "holds": True}
        found |= record._asdict()
        if pairs.gap is not None:
            found["optimal"] = certificate(pairs.meta)
        if options.json:
            return json_text(found, default=plain)
        if options.quiet:
            return []
        seconds = format_seconds(time.perf_counter() - began)
        rows = [("pairs", f"{self._path} holds for {options.latents}"), ("time", seconds)]
        rows[1:1] = [
            (name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
            for name, value in record._asdict().items()
            if name != "seconds" and value != ""
        ]
        if pairs.gap is not None:
            rows[-1:-1] = certificate_rows(found["optimal"], of_run=False)
        return table(rows)

    def _apply(self) -> list[str]:
        options = self.options
        self._check_outputs()
        pairs = self._load()
        if pairs.sources is not None:
            raise ValueError(
                f"--apply {quoted(self._path)} must be a file that --indices-only wrote, and has "
                "rows already"
            )
        latents, sources, _ = self._read()
        with Files(**{"LATENTS": latents, "--sources": sources}).reading(last=False) as check:
            size = self._complete(pairs, latents, sources, check)
        n = len(pairs.assignment)
        if options.json:
            figures = {"version": __version__, "n": n, "out": str(options.out_path)}
            return json_text({**figures, "out_bytes": size})
        rows = [("n", f"{n:,}"), ("pairs", f"{options.out_path} ({format_bytes(size)})")]
        return [] if options.quiet else table(rows)

    def _complete(
        self, pairs: Matching, latents: Any, sources: Any, check: Callable[[], None]
    ) -> int:
        """Write the pairs with their rows, and return the bytes written.

        `check` raises if a file of the rows was changed.
        """
        options = self.options
        with self.in_words():
            latent_rows = given(convert.as_rows(latents, "latents"))
            self._check_latents(pairs, latent_rows)
            if sources is None:
                sources = self._redrawn(pairs, latent_rows.shape)
            source_rows = given(convert.as_rows(sources, "sources"))
        self._check_sources(pairs, source_rows, latent_rows)
        content = {
            "sources": checked(source_rows.blocks, check),
            "labels": checked(TakenRows(latent_rows.blocks, pairs.assignment), check),
            "assignment": pairs.assignment,
            "cosine": pairs.cosine,
        }
        if pairs.prices is not None:
            content["prices"] = pairs.prices
        with self._writing("--out", options.out_path), pairs_target(options) as target:
            return write_pairs(target, content, pairs.meta, options.out_format)

    def _check_latents(self, pairs: Matching, latents: Given) -> None:
        """Refuse latents other than those that the pairs were made from."""
        made_from, found = pairs.meta.get("latents_sha256"), convert.sha256(latents.blocks)
        if made_from != found:
            raise ValueError(
                f"LATENTS {quoted(self.options.latents)} must be those of --apply "
                f"{quoted(self._path)}, with SHA-256 {str(made_from)[:12]}, got {found[:12]}"
            )
        m = latents.shape[0]
        if len(pairs.assignment) and not 0 <= pairs.assignment.min() <= pairs.assignment.max() < m:
            raise ValueError(f"--apply {quoted(self._path)} must name rows of the {m:,} latents")

    def _redrawn(self, pairs: Matching, shape: tuple[int, ...]) -> Any:
        """Draw the sources again that the run drew."""
        drawn = pairs.meta.get("method") in _DRAWN and len(pairs.assignment) == shape[0]
        sources = redraw(pairs.meta, shape[0], shape[1]) if drawn else None
        if sources is None:
            raise ValueError(
                f"--sources is needed: those of --apply {quoted(self._path)} were not drawn by "
                "gtn-label"
            )
        return sources

    def _check_sources(self, pairs: Matching, sources: Given, latents: Given) -> None:
        """Refuse sources whose cosines are not those of the pairs."""
        name = f"--sources {quoted(self.options.sources)}" if self.options.sources else "sources"
        n, dim = sources.shape
        if (n, dim) != (len(pairs.assignment), latents.shape[1]):
            raise ValueError(
                f"{name} must have shape ({len(pairs.assignment)}, {latents.shape[1]}), as --apply "
                f"{quoted(self._path)} and LATENTS say, got ({n}, {dim})"
            )
        if pairs.meta.get("method") not in ("match", "match_approx", "optimal"):
            return  # their cosines are not those of the rows as given
        step = max(1, BLOCK_VALUES // dim)
        mean = np.zeros(dim)
        if pairs.meta.get("center"):
            for begin in range(0, latents.shape[0], step):
                mean += _float64(latents.blocks[begin : begin + step]).sum(axis=0)
            mean /= latents.shape[0]
        for begin in range(0, n, step):
            some = slice(begin, begin + step)
            x = _directions(_float64(sources.blocks[some]))
            y = _directions(_float64(latents.blocks[pairs.assignment[some]]) - mean)
            found = np.einsum("ij,ij->i", x, y)
            wrong = ~(np.abs(found - pairs.cosine[some]) <= COSINE_TOLERANCE)
            if wrong.any():
                row = begin + int(wrong.argmax())
                raise ValueError(
                    f"{name} must be those of --apply {quoted(self._path)}: source {row} has "
                    f"cosine {found[row - begin]:.6f} with its label, and the file says "
                    f"{pairs.cosine[row]:.6f}"
                )


def _float64(rows: Any) -> NDArray[np.float64]:
    return np.asarray(rows, np.float64)


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to norm 1, without overflow; a row of zeros stays one."""
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(float).tiny)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float64] = rows / np.where(norms > 0.0, norms, 1.0)  # 0 stays 0
    return directions

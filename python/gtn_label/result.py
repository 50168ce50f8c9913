"""`Matching`, the result of a labeling: assignment, cosines, pairs, and a record of the run.

Not here: the computation (run.py, quantile.py) and file formats (io/files.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from . import __version__
from .arrays import convert
from .arrays.convert import read_only
from .arrays.on_disk import CheckedRows, Files
from .arrays.row_blocks import RowsLike, TakenRows
from .arrays.to_caller import Given, GivenArray


class Matching:
    """Source i takes latents[assignment[i]]; no latent is taken twice.

    `match`, `match_approx`, `match_quantile`, `match_mixture` and `Matching.load` return it. Its
    arrays are read-only NumPy arrays, or tensors on the latents' device if those were a torch
    tensor. If the latents were an array of another library on a GPU, the arrays are NumPy's,
    `sources` is as given or drawn, and `pairs()` is left to the caller. The latents are kept by
    reference, not copied: leave them unchanged while the result is in use.

    Attributes
    ----------
    assignment : int64 [n]
        Row of the latent that each source takes.
    cosine : float64 [n]
        Cosine between each source and its latent (the latents centred, with `center=True`), as
        the contract's arithmetic gives it: rounding can take it to 1.0000000000000002.
    visited : int64 [n] or None
        Row of the latent that the p-th source in visiting order took. None for `match_quantile`,
        and if loaded.
    sources : [n, dim] or None
        Sources as given, or as drawn. None if loaded from a file without rows.
    groups : (int64 [n], int64 [m]) or None
        Group labels of the sources and of the latents. None if there were none, or if loaded.
    stats : dict
        Record of the run and its cost: "n", "m", "dim", "backend", "seconds" (by phase, with
        "prepare" for checks, conversion and drawing, and "total"), and from the engine
        "instruction_set", "arithmetic" (of the shortlists, in the order of first use: "float32" in
        a tree of directions, "int8" and "int16" scanning all free latents, such as "int8+int16"
        where int8 grew too coarse; "float64" where every latent was scored exactly), "threads"
        (that took part), "threads_from" (what decided their number: "argument", "GTN_NUM_THREADS",
        "OMP_NUM_THREADS", "cgroup quota", "cpus", or "system limit" if the system refused to start
        more), "windows" (blocks of sources), "distinct_latents", "candidates" (shortlist entries),
        "rescored" (candidates scored in float64), "retries" (sources whose first shortlist
        certified nothing), "conflicts" (sources whose latent an earlier source of the window took),
        "rescans" (sources searched again for that), "full_scans" (sources decided by scoring every
        free latent), "peak_work_bytes". With the backend "cuda", "instruction_set" is the kernel's
        name, "peak_work_bytes" are the GPU's and "distinct_latents" is not counted; there are also
        "cuda" (the "device", its "name" and "capability", the CUDA versions of "driver" and
        "runtime"), "scan_products" (integer multiply-adds), and "latents_mapped", "sources_mapped"
        and "codes_mapped" (arrays that had to stay in the host's memory). Empty if loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label import match
    >>> m = match(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 1.0], [3.0, 1.0]]))
    >>> m.assignment
    array([1, 0])
    >>> sources, labels = m.pairs()
    >>> labels
    array([[0., 2.],
           [1., 0.]])
    """

    stats: dict[str, Any]

    def __init__(
        self,
        assignment: npt.NDArray[np.int64],
        cosine: npt.NDArray[np.float64],
        *,
        visited: npt.NDArray[np.int64] | None = None,
        sources: Given | None = None,
        latents: Given | None = None,
        labels: npt.NDArray[Any] | None = None,
        groups: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        stats: dict[str, Any] | None = None,
        files: Files | None = None,
    ) -> None:
        """Wrap a result, for the modules of this package; `latents` or `labels`, or neither."""
        self._assignment = read_only(assignment)
        self._cosine = read_only(cosine)
        self._visited = None if visited is None else read_only(visited)
        self._sources = sources
        self._latents = latents
        self._labels = labels
        self._groups = None if groups is None else (read_only(groups[0]), read_only(groups[1]))
        self._provenance = dict(provenance or {})
        self.stats = {} if stats is None else stats
        self._files = Files() if files is None else files

    @cached_property
    def assignment(self) -> Any:
        """Row of the latent that each source takes, int64 [n]."""
        return self._out(self._assignment)

    @cached_property
    def cosine(self) -> Any:
        """Cosine of each source and its latent, float64 [n]."""
        return self._out(self._cosine)

    @cached_property
    def visited(self) -> Any:
        """Row of the latent that the p-th source in visiting order took, int64 [n], or None."""
        return None if self._visited is None else self._out(self._visited)

    @cached_property
    def sources(self) -> Any:
        """The sources, as given or as drawn, [n, dim]."""
        if self._sources is None or self._latents is None:
            return None if self._sources is None else self._sources.whole
        return self._latents.adopt(self._sources)

    @cached_property
    def groups(self) -> tuple[Any, Any] | None:
        """Group labels of the sources [n] and of the latents [m], or None."""
        if self._groups is None:
            return None
        return self._out(self._groups[0]), self._out(self._groups[1])

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The options and the input of the run, as `save` writes them (JSON types only).

        "version", "method" ("match", "match_approx", "quantile" or "mixture"), "seed" (None if
        sources were given), "order", "cone", "center", "groups" (None, or their "count" and the
        "sha256" of both label arrays), "backend", "latents_sha256" (hash of the rows as given, see
        `convert.sha256`). The same input and options give the same entries on every machine.
        """
        if self._latents is None:
            return self._provenance
        groups = None
        if self._groups is not None:
            labels = np.concatenate(self._groups)
            groups = {"count": len(np.unique(labels)), "sha256": convert.sha256(labels)}
        return {
            "version": __version__,
            **self._provenance,
            "groups": groups,
            "latents_sha256": self._files.sha256("latents") or convert.sha256(self._latents.blocks),
        }

    def pairs(self) -> tuple[Any, Any]:
        """Return the sources and their labels row by row: the training data of a generator.

        Source i has the label latents[assignment[i]], the row as given, in its own dtype, never
        centred. Both arrays are writable copies, gathered on each call.

        Returns
        -------
        sources : [n, dim]
        labels : [n, dim]

        Raises
        ------
        ValueError
            If the result was loaded from a file without rows.
        TypeError
            If the latents are on a GPU and of another library than torch.
        OSError
            If the latents map a file that was changed since the run.
        """
        self._require_rows("pairs()")
        if self._latents is None:
            return np.array(self.sources), np.array(self._labels)
        with self._files.reading():
            return self._latents.fresh(self.sources), self._latents.take(self._assignment)

    def save(self, path: str | os.PathLike[str], *, indices_only: bool = False) -> None:
        """Write the pairs to `path`, .npz or .safetensors by its suffix.

        The file holds `sources`, `labels`, `assignment`, `cosine` and `meta` (JSON). It appears
        complete or not at all, and its bytes depend on input and options only.

        Parameters
        ----------
        path : str or path
            The file; an existing one is replaced.
        indices_only : bool
            Leave out `sources` and `labels`.

        Raises
        ------
        ValueError
            If the suffix is neither, or the result has no rows to write.
        OSError
            If the file cannot be written, or the latents map a file that was changed since the run.
        """
        from .io import files  # here: reading and writing is not needed to match

        content: dict[str, RowsLike] = {}
        with self._files.reading() as check:
            if not indices_only:
                content["sources"] = self._require_rows("save() without indices_only=True").blocks
                content["labels"] = self._label_rows()
                if self._files:
                    content = {name: CheckedRows(rows, check) for name, rows in content.items()}
            content |= {"assignment": self._assignment, "cosine": self._cosine}
            files.write_pairs(path, content, self.meta)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Matching:
        """Read pairs that `save` or the `gtn-label` command wrote.

        The result holds NumPy arrays; `meta` is the file's, `stats` is empty, `groups` and
        `visited` are None.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no pairs.
        """
        from .io import files

        content, meta = files.read_pairs(path)
        for name, kind in (("assignment", "i"), ("cosine", "f")):
            if name not in content:
                raise ValueError(f"{os.fspath(path)} is not a file of pairs: it has no {name!r}")
            array = content[name]
            if array.ndim != 1 or array.dtype.kind != kind:
                raise ValueError(
                    f"{os.fspath(path)} is not a file of pairs: "
                    f"{name!r} is {array.dtype} of shape {array.shape}"
                )
        lengths = {name: len(array) for name, array in content.items()}
        if len(set(lengths.values())) != 1 or ("sources" in content) != ("labels" in content):
            raise ValueError(f"{os.fspath(path)} is not a file of pairs: rows are {lengths}")
        sources = content.get("sources")
        return cls(
            content["assignment"].astype(np.int64, copy=False),
            content["cosine"].astype(np.float64, copy=False),
            sources=None if sources is None else GivenArray(sources),
            labels=content.get("labels"),
            provenance=meta,
        )

    def __repr__(self) -> str:
        parts = [f"{len(self._assignment)} sources"]
        if self._latents is not None:
            parts[0] += f" to {self._latents.shape[0]} latents"
        if self._sources is not None:
            shape = self._sources.shape
            parts.append(f"dim {shape[1] if len(shape) == 2 else 1}")
        parts.append(f"mean cosine {self._cosine.mean():.4f}")
        return f"<Matching: {', '.join(parts)}>"

    def _label_rows(self) -> RowsLike:
        """Return the labels of a file, or rows that are gathered when sliced."""
        if self._latents is None:
            assert self._labels is not None
            return self._labels
        return TakenRows(self._latents.blocks, self._assignment)

    def _require_rows(self, what: str) -> Given:
        if self._sources is None:
            raise ValueError(
                f"{what} needs the rows, and this result was loaded from a file that holds "
                "indices only; use latents[m.assignment] with your own latents"
            )
        return self._sources

    def _out(self, array: npt.NDArray[Any]) -> Any:
        return array if self._latents is None else self._latents.like(array)

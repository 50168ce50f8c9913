"""`Matching`, the result of a labeling: assignment, cosines, pairs, and a record of the run.

Not here: the computation (run.py, quantile.py) and file formats (io/files.py).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import __version__
from .arrays import convert
from .arrays.convert import locked
from .arrays.narrow import NarrowRows, take_rows
from .arrays.on_disk import Files, checked
from .arrays.row_blocks import RowsLike
from .arrays.to_caller import Given, GivenArray
from .certificate import Transport
from .errors import ArgumentError

if TYPE_CHECKING:
    from .progress import ProgressCallback
    from .verification import Verification


class Matching:
    """Source i takes latents[assignment[i]]; no latent is taken twice.

    `match`, `match_approx`, `match_optimal`, `match_quantile`, `match_mixture` and `Matching.load`
    return it. `len` is the number of sources, and `sources, labels = m` unpacks `pairs()`. Its
    arrays are read-only NumPy arrays, also in copies and pickles. If the latents were a torch
    tensor they are tensors on its device, which torch cannot protect: copies, but for `sources`
    that were given as a tensor.
    If the latents were an array of another library on a GPU, the arrays are NumPy's, `sources` is
    as given or drawn, and `pairs()` is left to the caller. Latents and sources are kept by
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
        Group labels of the sources and of the latents; of strings, their places among the sorted
        labels of both. None if there were none, or if loaded.
    stats : dict
        Record of the run and its cost, a new copy each time: "n", "m", "dim", "backend", "seconds"
        (by phase, with "prepare" for checks, conversion and drawing, and "total"), and from the
        engine "instruction_set", "arithmetic" (of the shortlists, in the order of first use:
        "float32" in a tree of directions, "int8" and "int16" scanning all free latents, such as
        "int8+int16" where int8 grew too coarse; "float64" where every latent was scored exactly),
        "threads" (that took part), "threads_from" (what decided their number: "argument",
        "GTN_NUM_THREADS", "OMP_NUM_THREADS", "cgroup quota", "cpus", or "system limit" if the
        system refused to start more), "windows" (blocks of sources), "distinct_latents",
        "candidates" (shortlist entries),
        "rescored" (candidates scored in float64), "retries" (sources whose first shortlist
        certified nothing), "conflicts" (sources whose latent an earlier source of the window took),
        "rescans" (sources searched again for that), "full_scans" (sources decided by scoring every
        free latent), "peak_work_bytes". With the backend "cuda", "instruction_set" is the kernel's
        name, "peak_work_bytes" are the GPU's and "distinct_latents" is not counted; there are also
        "cuda" (the "device", its "name" and "capability", the CUDA versions of "driver" and
        "runtime"), "scan_products" (integer multiply-adds), "latents_mapped", "sources_mapped"
        and "codes_mapped" (arrays that had to stay in the host's memory), "cache_freed" (torch's
        unused memory was given back for the run) and "kernel_fault" (what was wrong with the
        kernel that "dp4a" replaced, or ""). `match_optimal` has
        "phases" of the auction, "rounds", "bids", "scans" (sources searched), "full_scans" (of
        these, by scoring every latent exactly), "batches" (searches) and "distinct_latents".
        Empty if loaded.

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

    def __init__(
        self,
        assignment: npt.NDArray[np.int64],
        cosine: npt.NDArray[np.float64],
        *,
        visited: npt.NDArray[np.int64] | None = None,
        sources: Given | None = None,
        latents: Given | None = None,
        labels: Given | None = None,
        groups: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        stats: Mapping[str, Any] | None = None,
        files: Files | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Wrap a result, for the modules of this package; `latents` or `labels`, or neither."""
        self._assignment = assignment
        self._cosine = cosine
        self._visited = visited
        self._sources = sources
        self._latents = latents
        self._labels = labels
        self._groups = groups
        self._provenance = copy.deepcopy(dict(provenance or {}))
        self._stats = copy.deepcopy(dict(stats or {}))
        self._files = Files() if files is None else files
        self._prices = None if transport is None else transport.prices
        self._transport = transport
        self._lock()

    def _lock(self) -> None:
        """Replace the arrays by views that cannot be written to."""
        for name in ("_assignment", "_cosine", "_visited", "_prices"):
            array = getattr(self, name)
            setattr(self, name, None if array is None else locked(array))
        if self._groups is not None:
            self._groups = (locked(self._groups[0]), locked(self._groups[1]))

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{name} of a Matching cannot be set: it is a record of a run")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        state = self._kept()
        with self._files.reading():  # the pickle's writer would read the maps unguarded
            for name in ("sources", "latents", "labels"):
                if name in self._files:
                    state[f"_{name}"] = state[f"_{name}"].in_memory()
        return state

    def __copy__(self) -> Matching:
        other = Matching.__new__(Matching)
        other.__setstate__(self._kept())
        return other

    def _kept(self) -> dict[str, Any]:
        # Arrays handed out are made again: NumPy pickles and copies none as read-only.
        return {name: value for name, value in vars(self).items() if name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock()

    def __len__(self) -> int:
        return len(self._assignment)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pairs())

    @property
    def stats(self) -> dict[str, Any]:
        """Record of the run and its cost, a new copy each time."""
        return copy.deepcopy(self._stats)

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
    def prices(self) -> Any:
        """Prices of the latents, float64 [m]; None but for `match_optimal`.

        No assignment has a larger sum of <y_i, x_a(i)> than sum_j p_j + sum_i max_j (<y_i, x_j> -
        p_j), where there are as many sources as latents.
        """
        return None if self._prices is None else self._out(self._prices)

    @property
    def gap(self) -> float | None:
        """Relative distance of the cost to its lower bound (`match_optimal`), or None."""
        return None if self._transport is None else self._transport.gap

    @property
    def cost(self) -> float | None:
        """Mean squared distance of sources and labels (`match_optimal`), or None."""
        return None if self._transport is None else self._transport.cost

    @property
    def lower_bound(self) -> float | None:
        """Mean squared distance below which no assignment is (`match_optimal`), or None."""
        return None if self._transport is None else self._transport.lower_bound

    @cached_property
    def sources(self) -> Any:
        """The sources, as given or as drawn, [n, dim]."""
        if self._sources is None:
            return None
        with self._files.reading("sources"):  # a tensor's are copied
            latents = self._latents
            return self._sources.whole if latents is None else latents.adopt(self._sources)

    @cached_property
    def groups(self) -> tuple[Any, Any] | None:
        """Group labels of the sources [n] and of the latents [m], or None."""
        if self._groups is None:
            return None
        return self._out(self._groups[0]), self._out(self._groups[1])

    @property
    def meta(self) -> dict[str, Any]:
        """The options and the input of the run, as `save` writes them (JSON types only).

        "version", "method" ("match", "match_approx", "optimal", "quantile" or "mixture"; "optimal"
        has "tolerance", "gap", "cost" and "lower_bound" in place of "order" and "cone"), "seed"
        (None if sources were given, or drawn from a generator), "order", "cone", "center", "groups"
        (None, or their "count" and the "sha256" of both label arrays), "backend", "latents_sha256"
        (hash of the rows as given, see `convert.sha256`; of narrower floats than float16, and
        bfloat16, as float32). "generator" has the state of a generator before it drew,
        "source_block" the rows of a block if a seed drew more than one, and "dtypes" the types of
        sources and labels that NumPy lacks. The same input and options give the same entries on
        every machine. Each time the dict is a new copy: what is saved cannot be changed.
        """
        return copy.deepcopy(self._meta)

    @cached_property
    def _meta(self) -> dict[str, Any]:
        if self._latents is None:
            return self._provenance
        groups = None
        if self._groups is not None:
            labels = np.concatenate(self._groups)
            groups = {"count": len(np.unique(labels)), "sha256": convert.sha256(labels)}
        rows = {"sources": self._sources, "labels": self._latents}
        found = {name: given.blocks for name, given in rows.items() if given is not None}
        dtypes = {name: each.name for name, each in found.items() if isinstance(each, NarrowRows)}
        return {
            "version": __version__,
            **self._provenance,
            "groups": groups,
            "latents_sha256": self._files.sha256("latents") or convert.sha256(found["labels"]),
            **({"dtypes": dtypes} if dtypes else {}),
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
            If sources, latents or labels map a file that was changed since the run, or since
            `load`.
        """
        self._require_rows("pairs()")
        if self._latents is None:
            assert self._labels is not None
            with self._files.reading():
                return np.array(self.sources), np.array(self._labels.whole)
        with self._files.reading():
            return self._latents.fresh(self.sources), self._latents.take(self._assignment)

    def save(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        *,
        indices_only: bool = False,
        format: str | None = None,  # noqa: A002
    ) -> None:
        """Write the pairs to `path`, .npz or .safetensors by its suffix.

        The file holds `sources`, `labels`, `assignment`, `cosine`, `prices` (of `match_optimal`)
        and `meta` (JSON). It appears complete or not at all, and its bytes depend on input and
        options only. Rows keep their dtype. Those that NumPy lacks (bfloat16, float8) keep it in
        .safetensors only: in .npz, and where .safetensors lacks it too, they are float32, and the
        entry "dtypes" of `meta` says what they were.

        Parameters
        ----------
        path : str, path or binary file object
            The file; an existing one is replaced. A file object is written to as it stands, once
            the whole is made.
        indices_only : bool
            Leave out `sources` and `labels`.
        format : {"npz", "safetensors"}, optional
            The format, in place of the suffix. A file object needs it.

        Raises
        ------
        ValueError
            If there is no such format, or the result has no rows to write.
        OSError
            If the file cannot be written, or sources, latents or labels map a file that was changed
            since the run, or since `load`.
        """
        self._write(path, indices_only, format)

    def _write(
        self, path: str | os.PathLike[str] | IO[bytes], indices_only: bool, form: str | None
    ) -> int:
        """Do what `save` does, and return the bytes written."""
        from .io import files  # here: reading and writing is not needed to match

        content: dict[str, RowsLike] = {}
        with self._files.reading(last=False) as check:
            check()
            if not indices_only:
                content["sources"] = self._require_rows("save() without indices_only=True").blocks
                content["labels"] = self._label_rows()
                if self._files:
                    content = {name: checked(rows, check) for name, rows in content.items()}
            content |= {"assignment": self._assignment, "cosine": self._cosine}
            if self._prices is not None:
                content["prices"] = self._prices
            return files.write_pairs(path, content, self._meta, form)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | IO[bytes],
        *,
        mmap_mode: str | None = None,
        format: str | None = None,  # noqa: A002
    ) -> Matching:
        """Read pairs that `save` or the `gtn-label` command wrote, and check that they are pairs.

        The result holds NumPy arrays; `meta` is the file's, `stats` is empty, `groups` and
        `visited` are None. Rows of a dtype that NumPy lacks come back as arrays of ml_dtypes if
        that package can be imported, else as float32.

        Parameters
        ----------
        path : str, path or binary file object
            The file. A file object is read to its end.
        mmap_mode : {None, "r"}
            "r" leaves sources and labels on the disk, mapped into memory, until rows are used. The
            checksums of a .npz file are then not looked at.
        format : {"npz", "safetensors"}, optional
            The format, in place of the suffix, or of a file object's first bytes.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no pairs.
        """
        from .io import files
        from .io.pairs import ROWS, check_pairs

        if mmap_mode not in (None, "r"):
            raise ArgumentError("mmap_mode", "must be None or 'r'", repr(mmap_mode))
        content, meta, shown = files.open_pairs(path, ROWS if mmap_mode else (), format)
        check_pairs(content, meta, shown)

        def given(name: str) -> GivenArray | None:
            rows = content.get(name)
            if isinstance(rows, NarrowRows):
                return GivenArray(rows.array(), rows)
            return None if rows is None else GivenArray(rows)

        mapped = Files(sources=content.get("sources"), labels=content.get("labels"))
        with mapped.reading():
            return cls(
                np.asarray(content["assignment"]),
                np.asarray(content["cosine"]),
                sources=given("sources"),
                labels=given("labels"),
                provenance=meta,
                transport=Transport.of_file(content, meta),
                files=mapped,
            )

    def assign(
        self,
        sources: Any,
        latents: Any = None,
        *,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
    ) -> Any:
        """Return the latent that further sources take at these prices, int64 [n].

        Source y takes the latent of largest <y, x_j> - p_j, ties by the lower norm, then row: the
        semi-discrete transport map, at the cost of one search. Not one-to-one: some latents get
        several times the fresh sources that others get, more so with few sources in the run.

        Parameters
        ----------
        sources : array_like [n, dim]
            Any number of rows.
        latents : array_like [m, dim], optional
            The latents of the run, if the result was loaded.
        threads, progress
            As in `match`.

        Raises
        ------
        ValueError
            If the result has no prices, as only `match_optimal` makes them, or the latents are
            missing.
        ArgumentError, ArgumentTypeError
            If an argument is of no use.
        """
        from .optimal import assign  # here: a run needs none of it

        return assign(self, sources, latents, threads, progress)

    def verify(
        self,
        latents: Any,
        sources: Any = None,
        *,
        sample: int | None = 10_000,
        groups: tuple[Any, Any] | None = None,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
    ) -> Verification:
        """Check the result against its latents, its `meta` and the numeric contract, on the CPU.

        All rows: the latents have the hash in `meta`; sources drawn are those of the seed or
        generator in `meta`; labels equal latents[assignment], and cosines those of the contract,
        bit for bit; no latent is taken twice, and none of another group. A sample: the source has
        the latent that the contract chooses among those free at that time. Results of
        `match_approx` are not looked at for the last, those of `match_quantile` are all repeated.
        Of `match_optimal`, cost, gap and lower bound are computed anew from the prices, over all
        sources: `sample` plays no part.

        Parameters
        ----------
        latents : array_like [m, dim]
            The latents of the run, in their own dtype.
        sources : array_like [n, dim], optional
            The sources of the run, if the result has none and they were not drawn.
        sample : int or None
            Number of sources whose choice is searched for again, spread evenly over the visiting
            order; None for all, which takes the time of a run or more.
        groups : (source_groups, latent_groups), optional
            The groups of the run, if it had some and the result was loaded.
        threads, progress
            As in `match`.

        Returns
        -------
        Verification
            What was compared.

        Raises
        ------
        VerificationError
            At the first difference, with the rule, the source, and both values.
        ArgumentError, ArgumentTypeError
            If an argument is missing or of no use.
        OSError
            If an argument or the result maps a file that was changed meanwhile, or since the run.

        Examples
        --------
        >>> import numpy as np
        >>> from gtn_label import match
        >>> latents = np.random.default_rng(0).normal(size=(50, 3))
        >>> match(latents).verify(latents).choices
        50
        """
        from .verification import verify  # here: a run needs none of it

        sides = groups if isinstance(groups, (tuple, list)) and len(groups) == 2 else (None, None)
        given = Files(
            latents=latents, sources=sources, source_groups=sides[0], latent_groups=sides[1]
        )
        with self._files.reading() as check_own, given.reading() as check_given:

            def check() -> None:
                check_own()
                check_given()

            return verify(self, latents, sources, sample, groups, threads, progress, check)

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
            return self._labels.blocks
        return take_rows(self._latents.blocks, self._assignment)

    def _require_rows(self, what: str) -> Given:
        if self._sources is None:
            raise ValueError(
                f"{what} needs the rows, and this result was loaded from a file that holds "
                "indices only; use latents[m.assignment] with your own latents"
            )
        return self._sources

    def _out(self, array: npt.NDArray[Any]) -> Any:
        return array if self._latents is None else self._latents.like(array)

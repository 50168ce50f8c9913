"""`open_pairs`: pairs on disk as one array, whether a folder of many shards or a single file.

Rows are read when they are asked for. Shards of .npz files are mapped, those of parquet are decoded
by row groups. Not here: writing (output.py), and the torch dataset (pairs_dataset.py).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays.row_blocks import Array, RowsLike, StrPath
from ..errors import ArgumentError
from ..io.files import open_pairs as open_file
from ..io.npy import NpzFile, read_npy
from ..io.pairs import APART, ROWS, check_pairs
from ..io.safetensors import map_safetensor, open_safetensors
from ..text import quoted
from .inputs import Opened, Part, RowFiles, mapped
from .pairs_format import MANIFEST, PricesFile, Shard, file_sha256, prices_of, read_manifest

if TYPE_CHECKING:
    from .pairs_dataset import PairsDataset

__all__ = ["Pairs", "open_pairs"]

_NAME = "path"
_ARRAYS = (*ROWS, "assignment", "cosine")


def open_pairs(path: StrPath, *, check: bool = False) -> Pairs:
    """Open pairs for reading in part: a folder that a sharded match wrote, or a single file.

    Parameters
    ----------
    path : path
        A folder with a manifest, or a .npz or .safetensors file of `Matching.save`.
    check : bool
        Compare the SHA-256 of all shards with the manifest now, as `Pairs.check` does. Otherwise
        only the sizes are compared.

    Returns
    -------
    Pairs

    Raises
    ------
    FileNotFoundError
        If there is no such path, a shard is missing, or the folder is not finished: its manifest is
        written last.
    ValueError
        If the manifest, a shard or the file is damaged, or holds no pairs.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from gtn_label import match, open_pairs
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.npz"
    >>> match(np.eye(4, dtype=np.float32)).save(file)
    >>> pairs = open_pairs(file)
    >>> len(pairs), pairs.dim
    (4, 4)
    >>> sources, labels = pairs.take([2, 0])
    >>> labels.shape
    (2, 4)
    """
    shown = f"{_NAME} {quoted(os.fspath(path))}"
    where = Path(path)
    pairs = _of_folder(where, shown) if where.is_dir() else _of_file(where, shown)
    if check:
        pairs.check()
    return pairs


class Pairs:
    """Pairs on disk, read when they are asked for. `open_pairs` returns it.

    `len` is the number of pairs. Row i of every array belongs to source i. A pickled object opens
    its files anew, as the workers of a DataLoader do.

    Attributes
    ----------
    names : tuple of str
        Arrays that there are: "sources" and "labels" [n, dim] unless indices alone were written,
        "assignment" int64 [n] and "cosine" float64 [n].
    meta : dict
        Record of the run, as `Matching.meta`.
    manifest : dict
        Contents of the folder's manifest; empty for a single file.
    """

    def __init__(
        self,
        arrays: Mapping[str, RowFiles],
        meta: Mapping[str, Any],
        manifest: Mapping[str, Any],
        files: Sequence[tuple[Path, Shard | PricesFile]],
        shown: str,
        prices: RowFiles | None,
    ) -> None:
        """Wrap arrays, for this module; `files` have hashes in the manifest."""
        self._arrays = dict(arrays)
        self.meta = dict(meta)
        self.manifest = dict(manifest)
        self._files = list(files)
        self._prices = prices
        self._shown = shown
        self.names = tuple(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays["assignment"])

    @property
    def dim(self) -> int | None:
        """Number of columns of sources and labels; None if there are indices only."""
        return self._arrays["sources"].shape[1] if "sources" in self._arrays else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array."""
        return {name: array.shape for name, array in self._arrays.items()}

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Element type of each array; narrow floats are read as float32."""
        return {name: array.dtype for name, array in self._arrays.items()}

    @property
    def prices(self) -> Array | None:
        """Prices of all latents, float64 [m], read now; None but for optimal transport."""
        if self._prices is None:
            return None
        prices = self._prices.read(0, len(self._prices))
        if not np.isfinite(prices).all():
            raise ValueError(f"{self._shown} is damaged: 'prices' must be finite")
        return prices

    def take(self, rows: Any, names: Sequence[str] = ROWS) -> tuple[Array, ...]:
        """Return rows of some arrays, in the order asked for.

        Parameters
        ----------
        rows : int64 [k]
            Row numbers from 0 to n - 1, in any order.
        names : sequence of str
            Arrays to read.

        Returns
        -------
        tuple of ndarray
            One array [k, ...] for each name, in memory and writable.

        Raises
        ------
        IndexError
            If there is no such row, or the rows are no list of integers.
        ArgumentError
            If there is no such array.
        OSError
            If a file cannot be read, or was changed since it was opened.
        """
        return tuple(array.take(rows) for array in self._picked(names))

    def read(self, begin: int, end: int, names: Sequence[str] = ROWS) -> tuple[Array, ...]:
        """Return rows `begin` to `end` of some arrays, as `take` does."""
        return tuple(array.read(begin, end) for array in self._picked(names))

    def blocks(
        self, rows: int = 65_536, names: Sequence[str] = ROWS
    ) -> Iterator[tuple[Array, ...]]:
        """Yield all pairs in order, a block at a time.

        Parameters
        ----------
        rows : int
            Rows of a block; the last one may be shorter.
        names : sequence of str
            Arrays to read.
        """
        if rows < 1:
            raise ArgumentError("rows", "must be >= 1", str(rows))
        self._picked(names)
        for begin in range(0, len(self), rows):
            yield self.read(begin, min(begin + rows, len(self)), names)

    def check(self) -> None:
        """Compare all bytes of a folder's shards, and of its prices, with the manifest.

        A single file was checked when it was opened.

        Raises
        ------
        ValueError
            With the first file whose SHA-256 differs.
        """
        for path, each in self._files:
            if file_sha256(path) != each.sha256:
                raise ValueError(
                    f"{self._shown} is damaged: {quoted(each.file)} is not what its manifest says "
                    "(SHA-256)"
                )

    def as_dataset(self, names: Sequence[str] = ROWS) -> PairsDataset:
        """Return a map-style dataset of torch: entry i is a tuple of tensors, one for each name.

        The dataset works in a DataLoader with shuffling and with workers. A list of rows as the
        index reads a whole batch at once, which is several times as fast (`batch_size=None` and a
        `BatchSampler`). Shuffled reads of parquet decode a row group for nearly every row: use
        .npz shards for training.

        Parameters
        ----------
        names : sequence of str
            Arrays to read.

        Raises
        ------
        ImportError
            If torch is not installed.
        """
        try:
            from .pairs_dataset import PairsDataset
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "torch":
                raise
            raise ImportError(
                "as_dataset() needs torch, and it is not installed: pip install 'gtn-label[torch]'"
            ) from None
        self._picked(names)
        return PairsDataset(self, tuple(names))

    def __repr__(self) -> str:
        dim = "indices only" if self.dim is None else f"dim {self.dim}"
        shards = len(self.manifest.get("shards", ()))
        files = f"{shards} shards" if shards else "one file"
        return f"<Pairs: {len(self):,} pairs, {dim}, {files}>"

    def _picked(self, names: Sequence[str]) -> list[RowFiles]:
        for name in names:
            if name not in self._arrays:
                missing = name in ROWS
                advice = "the pairs were written with indices only" if missing else ""
                known = ", ".join(map(repr, self._arrays))
                raise ArgumentError("names", f"must be some of {known}", repr(name), advice)
        return [self._arrays[name] for name in names]


def _of_folder(folder: Path, shown: str) -> Pairs:
    manifest, shards = read_manifest(folder, shown)
    priced = prices_of(manifest, shown)
    if priced is None and manifest["meta"].get("prices") == APART:
        raise ValueError(f"{shown} has a damaged {MANIFEST}: it names no prices")
    files: list[tuple[Path, Shard | PricesFile]] = [(folder / each.file, each) for each in shards]
    files += [] if priced is None else [(folder / priced.file, priced)]
    for path, each in files:
        if not path.exists():
            kind = "shard" if isinstance(each, Shard) else "prices"
            raise FileNotFoundError(f"{shown} lacks the {kind} {quoted(each.file)}")
        size = path.stat().st_size
        if size != each.bytes:
            raise ValueError(
                f"{shown} is damaged: {quoted(each.file)} has {size:,} bytes, and its manifest "
                f"says {each.bytes:,}"
            )
    arrays = {}
    for name in _ARRAYS if manifest.get("indices_only") is not True else _ARRAYS[len(ROWS) :]:
        parts = [_shard_part(folder / shard.file, name, shown) for shard in shards]
        for part, shard in zip(parts, shards, strict=True):
            if part.shape[0] != shard.rows:
                raise ValueError(
                    f"{shown} is damaged: {name!r} of {quoted(shard.file)} has {part.shape[0]:,} "
                    f"rows, and the manifest says {shard.rows:,}"
                )
        arrays[name] = RowFiles(parts, shown)
    _check(arrays, manifest["meta"], shown)
    prices = None if priced is None else _prices(folder / priced.file, manifest, shown)
    return Pairs(arrays, manifest["meta"], manifest, files, shown, prices)


def _prices(path: Path, manifest: Mapping[str, Any], shown: str) -> RowFiles:
    """Open the prices of all latents."""
    where = f"{shown}: {quoted(path.name)}"
    found = read_npy(path, where)
    m = manifest.get("latents")
    if found.dtype != np.float64 or found.shape != (m,):
        raise ValueError(
            f"{shown} is damaged: {quoted(path.name)} is {found.dtype} of shape {found.shape}, and "
            f"must be float64 [{m!r:.40}]"
        )
    opener = functools.partial(_open_npy, path, where, shown)
    return RowFiles([Part(path, (len(found),), found.dtype, opener, shown)], shown)


def _open_npy(path: Path, where: str, shown: str) -> Opened:
    return mapped(read_npy(path, where), shown)


def _shard_part(path: Path, name: str, shown: str) -> Part:
    if path.suffix == ".parquet":
        from .arrow_files import open_column

        return open_column(path, name, shown, "names", scalar=name not in ROWS)
    return _part(path, name, _map(path, name, shown), shown)


def _part(path: Path, name: str, rows: RowsLike, shown: str) -> Part:
    return Part(path, rows.shape, rows.dtype, functools.partial(_open, path, name, shown), shown)


def _open(path: Path, name: str, shown: str) -> Opened:
    return mapped(_map(path, name, shown), shown)


def _map(path: Path, name: str, shown: str) -> RowsLike:
    """Map one array of a file of pairs."""
    where = f"{shown}: {quoted(path.name)}"
    if path.suffix.lower() == ".safetensors":
        tensors, _ = open_safetensors(path, where)
        return map_safetensor(path, tensors[name], where)
    with NpzFile(path, where) as archive:
        if name not in archive.names:
            raise ValueError(f"{shown} is damaged: {quoted(path.name)} has no {name!r}")
        return archive.map(name)


def _check(arrays: Mapping[str, RowFiles], meta: Mapping[str, Any], shown: str) -> None:
    """Check types and shapes of all arrays, and the first pairs as `Matching.load` checks all."""
    first = min(1024, len(arrays["assignment"]))
    sample: dict[str, RowsLike] = {name: array.read(0, first) for name, array in arrays.items()}
    check_pairs(sample, meta, shown, most=2**63 - 1)


def _of_file(path: Path, shown: str) -> Pairs:
    content, meta, shown = open_file(path, (*_ARRAYS, "prices"), name=_NAME)
    check_pairs(content, meta, shown)
    arrays = {
        name: RowFiles([_part(path, name, content[name], shown)], shown)
        for name in (*_ARRAYS, "prices")
        if name in content
    }
    prices = arrays.pop("prices", None)
    return Pairs(arrays, meta, {}, (), shown, prices)

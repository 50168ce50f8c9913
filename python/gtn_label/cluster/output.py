"""The pairs of a sharded match as a folder: ranks write shards, and rank 0 the manifest at the end.

Rank 0 also writes the prices of all latents, if there are some.

Every shard is a file of pairs by itself, with `sources`, `labels`, `assignment`, `cosine` and the
meta. Labels are fetched from the ranks that hold them (fetch.py), a shard at a time. All ranks look
at each other's errors after every shard, so that no rank waits for one that failed. Not here: the
format (pairs_format.py) and reading (pairs_folder.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import __version__
from ..arrays import convert
from ..arrays.narrow import NarrowRows, bits_dtype
from ..arrays.row_blocks import Array, RowsLike, StrPath
from ..arrays.to_caller import given
from ..checks import as_bool, as_integer
from ..errors import ArgumentError
from ..io.atomic import atomic_file
from ..io.lock import FileLock, Locked
from ..io.npy import npy_header, write_npz_to
from ..io.pairs import APART
from ..io.reading import meta_text
from ..io.temporary import lock_path
from ..text import quoted
from .exchange import Exchange, agree, gather_rows, gather_texts, together
from .fetch import fetch_rows
from .pairs_format import (
    FORMAT,
    FORMATS,
    MANIFEST,
    VERSION,
    PricesFile,
    Shard,
    file_sha256,
    is_prices_name,
    is_shard_name,
    prices_name,
    read_manifest,
    shard_name,
)

if TYPE_CHECKING:
    from .result import ShardedMatching

__all__ = [
    "SHARD_BYTES",
    "Written",
    "check_folder",
    "is_unfinished",
    "locked",
    "save_pairs",
    "write_pairs",
]

SHARD_BYTES = 256 << 20  # of a shard; its labels are held in memory
_PRICES = 1 << 20  # latents whose prices are gathered at once
_PARQUET_GROUP = 1 << 14  # rows of a row group, which a reader decodes at once


class Written(NamedTuple):
    """The folder that was written: its shards, bytes, and pairs."""

    shards: int
    bytes: int
    pairs: int


def save_pairs(
    matching: ShardedMatching,
    path: StrPath,
    *,
    indices_only: bool = False,
    format: str = "npz",  # noqa: A002
    shard_rows: int | None = None,
    latent_files: Sequence[tuple[str, int]] | None = None,
    name: str = "path",
) -> Written:
    """Write the pairs of all ranks to one folder. A collective call.

    The folder must be on a file system that all ranks share. A folder of pairs that is there is
    replaced when the new one is complete; its files are then removed. Rank 0 locks the folder for
    as long as the ranks write. `gtn_label.open_pairs` reads the folder.

    Parameters
    ----------
    matching : ShardedMatching
        This rank's part.
    path : path
        The folder.
    indices_only : bool
        Leave out `sources` and `labels`.
    format : {"npz", "parquet"}
        Format of the shards; "parquet" needs the extra "parquet".
    shard_rows : int, optional
        Pairs of a shard [default: those of 256 MiB].
    latent_files : sequence of (str, int), optional
        Files of the latents with their rows, which the manifest lists: `assignment` counts rows in
        that order.
    name : str
        Name of the path in messages.

    Returns
    -------
    Written

    Raises
    ------
    OSError
        On all ranks, if a rank cannot write.
    ArgumentError
        If an argument is of no use.
    ValueError
        On all ranks, if another run writes to the folder.
    """
    exchange = matching.exchange
    with together(exchange):
        shard_rows = _check(format, shard_rows)
        indices_only = as_bool(indices_only, "indices_only")
    options = {"format": format, "indices_only": indices_only, "shard_rows": shard_rows}
    agree(exchange, options)
    check_folder(exchange, path, name)
    with locked(exchange, path, name):
        return write_pairs(
            matching,
            path,
            indices_only=indices_only,
            format=format,
            shard_rows=shard_rows,
            latent_files=latent_files,
            name=name,
        )


def write_pairs(
    matching: ShardedMatching,
    path: StrPath,
    *,
    indices_only: bool,
    format: str,  # noqa: A002
    shard_rows: int | None,
    latent_files: Sequence[tuple[str, int]] | None,
    name: str,
) -> Written:
    """Write the pairs to a folder that was checked and is locked, as `save_pairs` does."""
    exchange = matching.exchange
    job = _Job(matching, Path(path), indices_only, format, shard_rows)
    shards = job.write_shards()
    prices = job.write_prices()
    if exchange.rank == 0:
        shards.sort(key=lambda shard: shard.begin)
    with together(exchange):
        if exchange.rank == 0:
            _finish(Path(path), name, shards, prices, job.manifest(shards, prices, latent_files))
    size = sum(each.bytes for each in shards) + (0 if prices is None else prices.bytes)
    return Written(len(shards), size, sum(each.rows for each in shards))


def _check(form: Any, shard_rows: Any) -> int | None:
    """Return `shard_rows`; raise ArgumentError or ArgumentTypeError for options of no use."""
    if form not in FORMATS:
        raise ArgumentError("format", f"must be {' or '.join(map(repr, FORMATS))}", repr(form))
    return None if shard_rows is None else as_integer(shard_rows, "shard_rows", 1)


def check_folder(exchange: Exchange, path: StrPath, name: str = "path") -> None:
    """Create the folder, and refuse one that cannot take pairs. A collective call.

    Raises
    ------
    OSError
        On all ranks, if a rank cannot create or see the folder, or if the folder holds other files.
    """
    folder, shown = Path(path), f"{name} {quoted(os.fspath(path))}"
    probe = ""
    with together(exchange):
        _check_content(folder, shown)
    with together(exchange):
        if exchange.rank == 0:
            with _named(shown):
                folder.mkdir(exist_ok=True)
                probe = f".gtn-label-probe-{secrets.token_hex(8)}"
                (folder / probe).touch()
    probe = _gather_json(exchange, probe)[0]
    try:
        with together(exchange):
            if not (folder / probe).exists():
                raise FileNotFoundError(
                    f"{shown} must be on a file system that all ranks share, and rank "
                    f"{exchange.rank} does not see what rank 0 writes there"
                )
            with _named(shown):
                mine = folder / f"{probe}-{exchange.rank}"
                mine.touch()
                mine.unlink()
    finally:
        if exchange.rank == 0:
            with contextlib.suppress(OSError):
                (folder / probe).unlink()


@contextlib.contextmanager
def locked(
    exchange: Exchange,
    path: StrPath,
    name: str = "path",
    warn: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Keep other runs out of a folder that exists. A collective call; rank 0 holds the lock.

    The lock is a file in the folder, `.gtn-label-...lock`. The system frees the lock with the
    process, so that the file of a killed run is no obstacle.

    Parameters
    ----------
    exchange : Exchange
    path : path
        The folder.
    name : str
        Name of the path in messages.
    warn : callable, optional
        Called on rank 0 with a message if the file system has no locks. By default the message is
        a RuntimeWarning.

    Raises
    ------
    ValueError
        On all ranks, if another run has the lock.
    OSError
        On all ranks, if the lock file cannot be created.
    """
    shown = f"{name} {quoted(os.fspath(path))}"
    lock = FileLock(lock_path(Path(path) / MANIFEST))
    try:
        with together(exchange):
            if exchange.rank == 0:
                _lock(lock, name, shown, warn or _warn)
        yield
    finally:
        lock.release()


def _lock(lock: FileLock, name: str, shown: str, warn: Callable[[str], None]) -> None:
    try:
        with _named(shown):
            if not lock.acquire():
                warn(
                    f"{shown} is on a file system without locks: no other run must use it at the "
                    "same time"
                )
    except Locked as error:
        holder = f" ({error})" if str(error) else ""
        found = shown.removeprefix(f"{name} ")
        raise ValueError(
            f"{name} must be a folder that no other run writes to, and {found} is in use{holder}; "
            "wait for that run to end, or name another folder"
        ) from None


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def is_unfinished(folder: Path) -> bool:
    """Return True if there is no such folder, or a run that was killed has left it."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(
        _is_ours(each.name) or each.name.startswith(".gtn-label-") for each in folder.iterdir()
    )


def _is_ours(name: str) -> bool:
    return is_shard_name(name) or is_prices_name(name)


def _check_content(folder: Path, shown: str) -> None:
    """Refuse a path that is no folder, or a folder with files that no run wrote."""
    if not folder.exists():
        if not folder.absolute().parent.is_dir():
            raise FileNotFoundError(
                f"{shown} must be in a folder that exists, and "
                f"{quoted(folder.absolute().parent)} does not"
            )
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{shown} must be a folder, and is a file")
    for each in folder.iterdir():
        ours = each.name == MANIFEST or _is_ours(each.name)
        if not ours and not each.name.startswith(".gtn-label-"):
            raise FileExistsError(
                f"{shown} must be a new folder or one of pairs, and holds {quoted(each.name)}"
            )


@contextlib.contextmanager
def _named(shown: str) -> Any:
    """Name the folder in an error of the system."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{shown} could not be written: {reason}") from None


def _gather_json(exchange: Exchange, value: Any) -> list[Any]:
    """Return the values of all ranks, of JSON types."""
    return [json.loads(text) for text in gather_texts(exchange, json.dumps(value))]


def _rows(exchange: Exchange, rows: Any, name: str) -> RowsLike:
    """Return rows as files hold them; a rank that has none takes the dtype of the others."""
    found = given(convert.as_rows(rows, name)).blocks if len(rows) else None
    mine = None
    if found is not None:
        mine = (found.name, "") if isinstance(found, NarrowRows) else ("", found.dtype.str)
    narrow, plain = next(each for each in _gather_json(exchange, mine) if each is not None)
    if found is not None:
        return found
    none: Array = np.empty((0, rows.shape[1]), bits_dtype(narrow) if narrow else plain)
    return NarrowRows(none, narrow) if narrow else none


class _Job:
    """One writing of a folder, as this rank sees it."""

    def __init__(
        self,
        matching: ShardedMatching,
        folder: Path,
        indices_only: bool,
        form: str,
        shard_rows: int | None,
    ) -> None:
        self._exchange = matching.exchange
        self._folder = folder
        self._form = form
        self._indices_only = indices_only
        self._matching = matching
        self._latent_index = np.asarray(matching.latent_index, np.int64)
        self._latents = _rows(self._exchange, matching.latents, "latents")
        self._sources = _rows(self._exchange, matching.sources, "sources")
        dtypes = {
            label: rows.name
            for label, rows in (("sources", self._sources), ("labels", self._latents))
            if isinstance(rows, NarrowRows)
        }
        # A shard by itself is a file of pairs, as `Matching.load` reads them.
        self._meta = {**matching.meta, "format": "gtn-label pairs"}
        self._meta |= {"dtypes": dtypes} if dtypes else {}
        self._meta |= {} if matching.prices is None else {"prices": APART}
        width = self._sources.shape[1] * (
            self._sources.dtype.itemsize + self._latents.dtype.itemsize
        )
        pair = 16 + (0 if indices_only else width)
        self._rows = shard_rows or max(1, SHARD_BYTES // pair)
        text = json.dumps([self._meta, self._exchange.world, self._rows, form, indices_only])
        # The same run gives the same names and bytes; another one never writes over these files.
        self._run = hashlib.sha256(text.encode()).hexdigest()[:8]

    def write_shards(self) -> list[Shard]:
        """Write this rank's shards, and return those of all ranks."""
        exchange, matching = self._exchange, self._matching
        n = len(matching.assignment)
        firsts = _gather_json(exchange, int(matching.source_index[0]) if n else None)
        counts = _gather_json(exchange, n)
        begins = [sum(counts[:rank]) for rank in range(exchange.world)]
        for first, count, before in zip(firsts, counts, begins, strict=True):
            if count and first != before:
                raise ArgumentError(
                    "source_index", "must give the ranks consecutive rows, rank after rank, to save"
                )
        mine: list[dict[str, Any]] = []
        for number in range(-(-max(counts) // self._rows)):
            begin, end = min(n, number * self._rows), min(n, (number + 1) * self._rows)
            labels = None
            if not self._indices_only:
                wanted = np.asarray(matching.assignment[begin:end], np.int64)
                labels = fetch_rows(exchange, self._latents, self._latent_index, wanted)
            with together(exchange):
                if begin < end:
                    shard = self._write(number, begin, end, labels)
                    shard = shard._replace(begin=begins[exchange.rank] + begin)
                    mine.append(shard._asdict())
        return [Shard(**each) for of_rank in _gather_json(exchange, mine) for each in of_rank]

    def _write(self, number: int, begin: int, end: int, labels: Array | None) -> Shard:
        """Write pairs `begin` to `end` of this rank as one file."""
        matching = self._matching
        arrays: dict[str, Array] = {}
        if labels is not None:
            arrays["sources"] = np.asarray(self._sources[begin:end])
            arrays["labels"] = labels
        arrays["assignment"] = np.asarray(matching.assignment[begin:end], np.int64)
        arrays["cosine"] = np.asarray(matching.cosine[begin:end], np.float64)
        path = self._folder / shard_name(self._run, self._exchange.rank, number, self._form)
        with _named(f"shard {quoted(path)}"), atomic_file(path) as file:
            if self._form == "npz":
                write_npz_to(file, arrays, self._meta)
            else:
                _write_parquet(file, arrays, self._meta, path)
            size = file.tell()
        return Shard(path.name, 0, end - begin, size, file_sha256(path))

    def write_prices(self) -> PricesFile | None:
        """Write the prices of all latents on rank 0, a piece at a time; None if there are none."""
        exchange, prices = self._exchange, self._matching.prices
        if prices is None:
            return None
        first, total = exchange.rank == 0, int(self._matching.m)
        path = self._folder / prices_name(self._run)
        made: dict[str, Any] = {}
        with contextlib.closing(_pieces_to(path, total)) as writer:
            with together(exchange):
                if first:
                    next(writer)
            for begin in range(0, total, _PRICES):
                end = min(total, begin + _PRICES)
                here = slice(*np.searchsorted(self._latent_index, (begin, end)))
                places = gather_rows(exchange, self._latent_index[here] - begin)
                piece = np.empty(end - begin)
                piece[np.concatenate(places)] = np.concatenate(gather_rows(exchange, prices[here]))
                with together(exchange):
                    if first:
                        writer.send(piece)
            with together(exchange):
                if first:
                    next(writer, None)
                    made = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        return PricesFile(path.name, **_gather_json(exchange, made)[0])

    def manifest(
        self,
        shards: Sequence[Shard],
        prices: PricesFile | None,
        latent_files: Sequence[tuple[str, int]] | None,
    ) -> dict[str, Any]:
        """Return the manifest of the folder."""
        found: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "gtn_label": __version__,
            "pairs": sum(shard.rows for shard in shards),
            "latents": int(self._matching.m),
            "dim": int(self._matching.dim),
            "indices_only": self._indices_only,
            "meta": self._meta,
            "shards": [shard._asdict() for shard in shards],
        }
        if prices is not None:
            found["prices"] = prices._asdict()
        if latent_files is not None:
            found["latent_files"] = [{"file": file, "rows": rows} for file, rows in latent_files]
        return found


def _pieces_to(path: Path, total: int) -> Generator[None, Array | None]:
    """Write float64 [total] to a .npy file from pieces that are sent, until None is."""
    with _named(f"prices {quoted(path)}"), atomic_file(path) as file:
        file.write(npy_header(np.broadcast_to(np.float64(0), (total,))))
        while (piece := (yield)) is not None:
            file.write(piece.astype("<f8").tobytes())


def _write_parquet(
    file: IO[bytes], arrays: Mapping[str, Array], meta: Mapping[str, Any], path: Path
) -> None:
    """Write a shard as parquet: rows are fixed_size_list columns."""
    from .arrow_files import require_pyarrow

    pyarrow = require_pyarrow(quoted(path))
    from pyarrow import parquet

    def column(array: Array) -> Any:
        flat = pyarrow.array(np.ascontiguousarray(array).reshape(-1))
        if array.ndim == 1:
            return flat
        return pyarrow.FixedSizeListArray.from_arrays(flat, array.shape[1])

    table = pyarrow.table({name: column(array) for name, array in arrays.items()})
    table = table.replace_schema_metadata({"gtn-label meta": meta_text(meta)})
    # Floats that look random do not compress.
    parquet.write_table(
        table, file, row_group_size=_PARQUET_GROUP, compression="none", use_dictionary=False
    )


def _finish(
    folder: Path,
    name: str,
    shards: Sequence[Shard],
    prices: PricesFile | None,
    manifest: dict[str, Any],
) -> None:
    """Write the manifest when all shards are seen, and remove files of earlier runs."""
    for shard in shards:
        path = folder / shard.file
        if not path.exists() or path.stat().st_size != shard.bytes:
            raise FileNotFoundError(
                f"{name} {quoted(folder)} must be on a file system that all ranks share, and rank "
                f"0 does not see {quoted(shard.file)}"
            )
    with _named(f"{name} {quoted(folder)}"), atomic_file(folder / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False).encode())
    kept = {shard.file for shard in read_manifest(folder, f"{name} {quoted(folder)}")[1]}
    kept |= set() if prices is None else {prices.file}
    for each in folder.iterdir():
        if _is_ours(each.name) and each.name not in kept:
            with contextlib.suppress(OSError):  # another user's
                each.unlink()

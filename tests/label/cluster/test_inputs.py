"""Rows in many files: order, formats, parts, refusals."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest

from gtn_label.arrays.narrow import NarrowRows
from gtn_label.arrays.on_disk import FileChangedError
from gtn_label.cluster import inputs
from gtn_label.cluster.inputs import open_rows
from gtn_label.io.safetensors import write_safetensors

ROWS = np.random.Generator(np.random.Philox(3)).standard_normal((23, 4)).astype(np.float32)
CUTS = (0, 7, 7, 16, 23)  # one file has no rows


def write(path: Path, rows: np.ndarray) -> None:
    """Write rows by the path's suffix."""
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".safetensors":
        with path.open("wb") as file:
            write_safetensors(file, {"z": rows}, {})
    elif path.suffix == ".pt":
        torch = pytest.importorskip("torch")
        torch.save(torch.from_numpy(rows), path)
    else:
        write_arrow(path, rows)


def write_arrow(path: Path, rows: np.ndarray, kind: str = "fixed") -> None:
    """Write rows as parquet of groups of 5 rows, as an Arrow file, or as an Arrow stream."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    if kind == "fixed":
        flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    else:
        column = pa.array(list(rows), pa.list_(pa.from_numpy_dtype(rows.dtype)))
    table = pa.table({"name": pa.array([str(i) for i in range(len(rows))]), "z": column})
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=5)
        return
    writer = pa.ipc.new_stream if path.name.startswith("stream") else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, writer(file, table.schema) as out:
        out.write_table(table, max_chunksize=5)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".pt", ".parquet", ".arrow"])
def test_files_are_one_array(tmp_path: Path, suffix: str) -> None:
    for i, (begin, end) in enumerate(itertools.pairwise(CUTS)):
        write(tmp_path / f"{i}{suffix}", ROWS[begin:end])
    rows = open_rows(tmp_path / f"*{suffix}")
    assert rows.shape == (23, 4)
    assert rows.dtype == np.float32
    assert [count for _, count in rows.files] == [7, 0, 9, 7]
    np.testing.assert_array_equal(rows.read(0, 23), ROWS)
    np.testing.assert_array_equal(rows.read(5, 18), ROWS[5:18])
    index = np.array([22, 0, 7, 6, 16, 15, 7])
    np.testing.assert_array_equal(rows.take(index), ROWS[index])
    np.testing.assert_array_equal(rows[3:20:4], ROWS[3:20:4])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows)).take(index), ROWS[index])
    assert rows.take([]).shape == (0, 4)
    with pytest.raises(IndexError, match="rows must be 0 to 22"):
        rows.take([23])


def test_order_is_that_of_patterns_then_names(tmp_path: Path) -> None:
    for name in ("b", "a-10", "a-2"):
        np.save(tmp_path / f"{name}.npy", ROWS[:1])
    rows = open_rows([str(tmp_path / "b.npy"), str(tmp_path / "a*.npy")])
    assert [Path(name).stem for name, _ in rows.files] == ["b", "a-10", "a-2"]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    np.save(tmp_path / "deep" / "er" / "c.npy", ROWS[:2])
    assert open_rows(str(tmp_path / "deep" / "**" / "*.npy")).shape == (2, 4)


def test_a_path_with_brackets_is_a_path(tmp_path: Path) -> None:
    np.save(tmp_path / "a[1].npy", ROWS)
    assert open_rows(tmp_path / "a[1].npy").shape == (23, 4)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i4"])
def test_dtypes_are_native(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", (8 * ROWS).astype(dtype))
    rows = open_rows(tmp_path / "a.npy")
    assert rows.dtype == np.dtype(dtype).newbyteorder("=")
    assert rows.read(0, 3).dtype == rows.dtype
    np.testing.assert_array_equal(rows.read(0, 23), (8 * ROWS).astype(dtype))


def test_bfloat16_is_widened_row_by_row(tmp_path: Path) -> None:
    bits = (ROWS.view(np.uint32) >> 16).astype(np.uint16)
    with (tmp_path / "a.safetensors").open("wb") as file:
        write_safetensors(file, {"z": NarrowRows(bits, "bfloat16")}, {})
    rows = open_rows(tmp_path / "a.safetensors")
    assert rows.dtype == np.float32
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(rows.take([20, 1, 2]), wide[[20, 1, 2]])


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_MOST_OPEN", 2)
    for i in range(23):
        np.save(tmp_path / f"{i:02d}.npy", ROWS[i : i + 1])
    rows = open_rows(tmp_path / "*.npy")
    index = np.random.default_rng(0).permutation(23)
    np.testing.assert_array_equal(rows.take(index), ROWS[index])
    assert len(rows._opened) == 2


@pytest.mark.parametrize("change", ["truncated", "replaced"])
def test_a_changed_file_is_refused(tmp_path: Path, change: str) -> None:
    file = tmp_path / "a.npy"
    np.save(file, ROWS)
    rows = open_rows(file)
    if change == "replaced":
        np.save(file, ROWS[:20])
    else:
        with file.open("r+b") as opened:
            opened.truncate(200)
    with pytest.raises(FileChangedError, match=r"a\.npy' was changed while it was being read"):
        rows.read(0, 23)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """A later run into the same folder of pairs removes the files of the earlier one."""
    np.save(tmp_path / "a.npy", ROWS)
    rows = open_rows(tmp_path / "a.npy")
    (tmp_path / "a.npy").unlink()
    with pytest.raises(FileNotFoundError, match="was removed, or replaced by a later run"):
        rows.read(0, 23)


class TestRefusals:
    def refused(self, what: str, patterns: object, kind: type = ValueError) -> None:
        with pytest.raises(kind, match=what):
            open_rows(patterns, name="LATENTS", key_name="--key")  # type: ignore[arg-type]

    def test_no_file(self, tmp_path: Path) -> None:
        self.refused("matches no file", tmp_path / "*.npy", FileNotFoundError)
        self.refused("does not exist", tmp_path / "a.npy", FileNotFoundError)
        self.refused("is a directory", tmp_path, IsADirectoryError)
        self.refused("must name at least one file", [])

    def test_other_suffixes(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", a=ROWS)
        self.refused("must be one of .npy, .*; save its array as .npy", tmp_path / "a.npz")

    def test_a_file_named_twice(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", ROWS)
        self.refused("comes twice", [tmp_path / "a.npy", tmp_path / "*.npy"])

    def test_another_dim_or_dtype(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", ROWS)
        np.save(tmp_path / "b.npy", ROWS[:, :3])
        self.refused(r"one dim: .*a\.npy' has 4, and .*b\.npy' has 3", tmp_path / "*.npy")
        np.save(tmp_path / "b.npy", ROWS.astype(float))
        self.refused(r"one dtype: .* float32, and .* float64", tmp_path / "*.npy")

    def test_shapes_and_types(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", ROWS[0])
        self.refused("must be 2-D", tmp_path / "a.npy")
        np.save(tmp_path / "a.npy", ROWS[:0])
        self.refused("must have at least one row", tmp_path / "a.npy")
        np.save(tmp_path / "a.npy", ROWS.astype(complex))
        self.refused("complex128", tmp_path / "a.npy", TypeError)

    def test_parquet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "a.parquet"
        file.write_bytes(b"PAR1" + bytes(100))
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        self.refused("is damaged, or not a .parquet file", file)
        parquet.write_table(pa.table({"z": [[1.0, 2.0], [3.0]]}), file)
        with pytest.raises(ValueError, match=r"one length: the first has 2 numbers, .* has 1"):
            open_rows(file).read(0, 2)
        parquet.write_table(pa.table({"z": [[1.0, 2.0], None]}), file)
        with pytest.raises(ValueError, match="no missing rows"):
            open_rows(file).read(0, 2)
        parquet.write_table(pa.table({"z": [[1.0, 2.0], [3.0, None]]}), file)
        with pytest.raises(ValueError, match="no missing numbers"):
            open_rows(file).read(0, 2)
        parquet.write_table(pa.table({"y": [[1.0, 2.0]], "z": [[3.0, 4.0]]}), file)
        self.refused("--key is needed to choose .* 'y', 'z'", file)
        np.testing.assert_array_equal(open_rows(file, "z").read(0, 1), [[3.0, 4.0]])
        parquet.write_table(pa.table({"x": [1.0]}), file)
        self.refused("holds no array", file)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "stream.arrow"])
@pytest.mark.parametrize("kind", ["fixed", "list"])
def test_columns_of_lists(tmp_path: Path, name: str, kind: str) -> None:
    write_arrow(tmp_path / name, ROWS, kind)
    rows = open_rows(tmp_path / name)
    assert rows.shape == (23, 4)
    np.testing.assert_array_equal(rows.take([22, 4, 5, 0]), ROWS[[22, 4, 5, 0]])


def test_pyarrow_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"a\.parquet' needs pyarrow, .*gtn-label\[parquet\]"):
        open_rows(tmp_path / "a.parquet")

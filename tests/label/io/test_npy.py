"""Reading .npy and .npz: every dtype and version, what a header may say, what an archive holds."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gtn_label.io import files

ROWS = np.random.Generator(np.random.Philox(1)).standard_normal((37, 5)).astype(np.float32)


# ------------------------------------------------------------------------------------- .npy


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i4", "|i1", "|b1", "<c16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_mapped_as_stored(tmp_path: Path, dtype: str, order: str) -> None:
    rows = np.asarray(ROWS.astype(dtype), order=order)
    np.save(tmp_path / "rows.npy", rows)
    read = files.read_array(tmp_path / "rows.npy")
    assert isinstance(read, np.memmap)
    assert not read.flags.writeable
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, rows)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_header_versions(tmp_path: Path, version: tuple[int, int]) -> None:
    with (tmp_path / "rows.npy").open("wb") as file:
        np.lib.format.write_array(file, ROWS, version=version)
    np.testing.assert_array_equal(files.read_array(tmp_path / "rows.npy"), ROWS)


def test_npy_header_of_python_2(tmp_path: Path) -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (37L, 5L), }"
    header = text.ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + ROWS.tobytes()
    (tmp_path / "rows.npy").write_bytes(data)
    np.testing.assert_array_equal(files.read_array(tmp_path / "rows.npy"), ROWS)


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (4, 0), (2, 3, 4)])
def test_npy_of_any_shape_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "rows.npy", np.zeros(shape, np.float32))
    assert files.read_array(tmp_path / "rows.npy").shape == shape


@pytest.mark.parametrize("keep", [1, 5, 6, 7, 9, 40, 100, 127, 128, 129, 700])
def test_npy_truncated_anywhere_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"rows\.npy' (is|has) (a broken or )?(truncated|not a)"):
        files.read_array(path)


def test_npy_truncated_says_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"shape \(37, 5\) and dtype float32 needs 868 .* has 867"):
        files.read_array(path)


def test_npy_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{}, []], dtype=object))
    with pytest.raises(TypeError, match=r"holds Python objects .* never unpickled"):
        files.read_array(tmp_path / "rows.npy")


def test_npy_takes_no_key(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    with pytest.raises(ValueError, match="--key 'z' has no meaning"):
        files.read_array(tmp_path / "rows.npy", "z", key_name="--key")


# ------------------------------------------------------------------------------------- .npz


def test_npz_with_one_array_needs_no_key(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "rows.npz", z=ROWS)
    np.testing.assert_array_equal(files.read_array(tmp_path / "rows.npz"), ROWS)
    np.testing.assert_array_equal(files.read_array(tmp_path / "rows.npz", "z"), ROWS)


def test_npz_keys_are_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", z=ROWS, y=ROWS)
    with pytest.raises(ValueError, match=r"--key is needed .* holds: 'z', 'y'"):
        files.read_array(tmp_path / "rows.npz", key_name="--key")
    with pytest.raises(ValueError, match=r"--key 'x' is not in .* holds: 'z', 'y'"):
        files.read_array(tmp_path / "rows.npz", "x", key_name="--key")


def test_npz_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", z=np.array([{}], dtype=object))
    with pytest.raises(TypeError, match="never unpickled"):
        files.read_array(tmp_path / "rows.npz")


def test_npz_damaged(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, z=ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    with pytest.raises(ValueError, match=r"truncated or not a \.npz"):
        files.read_array(path)
    flipped = bytearray(whole)
    flipped[400] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=r"array 'z' of .* is damaged: .*CRC"):
        files.read_array(path)


def test_npz_with_a_text_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="holds no array"):
        files.read_array(tmp_path / "rows.npz")


def test_npz_ignores_entries_that_are_no_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", z=ROWS)
    with zipfile.ZipFile(tmp_path / "rows.npz", "a") as archive:
        for name in ("README.txt", ".DS_Store", "__MACOSX/._z.npy", "._z.npy", "a/._y.npy"):
            archive.writestr(name, "no array")
        for name in ("empty", "folder/", "__MACOSX/"):
            archive.writestr(name, "")
    np.testing.assert_array_equal(files.read_array(tmp_path / "rows.npz"), ROWS)
    with pytest.raises(ValueError, match=r"key 'README.txt' is not in .* holds: 'z'$"):
        files.read_array(tmp_path / "rows.npz", "README.txt")


def test_npz_of_another_writer_needs_no_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", ROWS)
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as archive:
        archive.write(tmp_path / "z.npy", "z")
        archive.writestr("notes", "no array")
    np.testing.assert_array_equal(files.read_array(tmp_path / "rows.npz"), ROWS)


@pytest.mark.parametrize("member", [False, True], ids=["npy", "npz"])
def test_bfloat16_that_numpy_saved_has_lost_its_type(tmp_path: Path, member: bool) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    path = tmp_path / ("rows.npz" if member else "rows.npy")
    (np.savez if member else np.save)(path, ROWS.astype(ml_dtypes.bfloat16))
    message = r"holds bytes without a type \(dtype .V2\), .* save array\.astype\('float32'\)"
    with pytest.raises(TypeError, match=message):
        files.read_array(path)


@pytest.mark.parametrize("member", [False, True], ids=["npy", "npz"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_header_that_names_bfloat16(tmp_path: Path, member: bool, order: str) -> None:
    bits = np.asarray((ROWS.view(np.uint32) >> 16).astype(np.uint16), order=order)
    np.save(tmp_path / "rows.npy", bits)
    content = (tmp_path / "rows.npy").read_bytes().replace(b"'<u2'", b"'bfloat16'", 1)
    content = content.replace(b"     \n", b"\n", 1)
    path = tmp_path / ("named.npz" if member else "named.npy")
    path.write_bytes(content)
    if member:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("z.npy", content)
    read = files.read_array(path)
    np.testing.assert_array_equal(read.view(np.uint32), (bits.astype(np.uint32) << 16))
    assert read.dtype == np.float32


def test_npy_of_a_later_version(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    content = bytearray((tmp_path / "rows.npy").read_bytes())
    content[6] = 4
    (tmp_path / "rows.npy").write_bytes(content)
    message = r"version is 4\.0, and must be 1\.0, 2\.0 or 3\.0; save the array again"
    with pytest.raises(ValueError, match=message):
        files.read_array(tmp_path / "rows.npy")


# ------------------------------------------------------------------------- promises of an archive


def promising(path: Path, size: int, stored: int | None = None) -> None:
    """Let header and zip directory of a compressed array name other sizes."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size // 4},), }}".ljust(117)
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode() + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", content + bytes(400))
        archive.infolist()[0].file_size = size + 128
        if stored is not None:
            archive.infolist()[0].compress_size = stored


@pytest.mark.parametrize(("size", "stored"), [(10**15, None), (10**15, 10**13), (4_000_000, None)])
def test_an_archive_that_promises_more_than_it_has(
    tmp_path: Path, size: int, stored: int | None
) -> None:
    promising(tmp_path / "rows.npz", size, stored)
    message = f"^array 'z' of latents '.*rows.npz' is damaged: .* promises {size + 128:,} bytes out"
    with pytest.raises(ValueError, match=message):
        files.read_array(tmp_path / "rows.npz")


def test_the_best_compression_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "rows.npz", z=np.zeros(30_000_000, np.int8))
    assert files.read_array(tmp_path / "rows.npz").nbytes == 30_000_000


def test_memory_that_runs_out_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate")

    np.savez(tmp_path / "rows.npz", z=ROWS)
    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(MemoryError, match=r"^array 'z' of latents '.*rows.npz' needs 740 bytes"):
        files.read_array(tmp_path / "rows.npz")


def test_members_without_a_name_are_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as archive:
        archive.writestr("x", "")
        archive.infolist()[0].filename = ""
    with pytest.raises(ValueError, match="holds no array"):
        files.read_array(tmp_path / "rows.npz")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("('<f4', (3,))", "(0,)"),
        ("('<f4', (2, 2))", "(7,)"),
        ("[('a', '<f4'), ('b', '<i8')]", "(2,)"),
    ],
)
@pytest.mark.parametrize("member", [False, True])
def test_records_are_refused(tmp_path: Path, dtype: str, shape: str, member: bool) -> None:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode() + bytes(112)
    path = tmp_path / ("rows.npz" if member else "rows.npy")
    if member:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("z.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(TypeError, match="must hold numbers, and holds records of several"):
        files.read_array(path)


def test_a_long_dtype_is_shortened(tmp_path: Path) -> None:
    many = np.dtype([(f"field{i}", "<f4") for i in range(300)])
    np.save(tmp_path / "rows.npy", np.zeros(2, many))
    with pytest.raises(TypeError, match="records of several") as caught:
        files.read_array(tmp_path / "rows.npy")
    assert len(str(caught.value)) < 500


def test_many_long_names_are_shortened(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", **{"\u200b" * 60 + str(i): ROWS for i in range(20)})
    with pytest.raises(ValueError, match="key is needed to choose") as caught:
        files.read_array(tmp_path / "rows.npz")
    assert len(str(caught.value)) < 1200

"""Reading every input format, writing pairs, and failures of both: io/files.py, io/atomic.py."""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy as safetensors_numpy

from gtn_label.arrays.row_blocks import TakenRows
from gtn_label.cli import console
from gtn_label.io import atomic, checkpoint, files
from gtn_label.io.atomic import atomic_file, check_target

ROWS = np.random.Generator(np.random.Philox(1)).standard_normal((37, 5)).astype(np.float32)


def listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# ------------------------------------------------------------------------------ paths in general


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"LATENTS '.*no\.npy' does not exist"):
        files.read_array(tmp_path / "no.npy", name="LATENTS")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"must be a file, and .* is a directory"):
        files.read_array(tmp_path)


@pytest.mark.parametrize("suffix", files.INPUT_SUFFIXES)
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.touch()
    with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
        files.read_array(path)


@pytest.mark.parametrize("suffix", files.INPUT_SUFFIXES)
def test_garbage(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"certainly not an array\n" * 40)
    with pytest.raises((ValueError, TypeError), match=rf"rows\{suffix}'"):
        files.read_array(path)


def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.npy")
    with pytest.raises(OSError, match="must be a regular file"):
        files.read_array(tmp_path / "rows.npy")


def test_unknown_suffix_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2\n")
    with pytest.raises(ValueError, match=r"\.npy, \.npz, \.safetensors, .*suffix is '\.csv'"):
        files.read_array(tmp_path / "rows.csv")


# -------------------------------------------------------------------------------- .safetensors


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u8", "bool"])
def test_safetensors_of_the_reference_writer(tmp_path: Path, dtype: str) -> None:
    rows = ROWS.astype(dtype)
    safetensors_numpy.save_file({"other": ROWS, "z": rows}, tmp_path / "rows.safetensors")
    read = files.read_array(tmp_path / "rows.safetensors", "z")
    assert read.dtype == rows.dtype
    np.testing.assert_array_equal(read, rows)


def test_safetensors_bfloat16_is_widened(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    tensor = torch.from_numpy(ROWS).to(torch.bfloat16)
    safetensors_torch.save_file({"z": tensor}, tmp_path / "rows.safetensors")
    read = files.read_array(tmp_path / "rows.safetensors")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, tensor.float().numpy())


def test_safetensors_with_another_dtype(tmp_path: Path) -> None:
    header = json.dumps({"z": {"dtype": "F4", "shape": [2, 4], "data_offsets": [0, 4]}})
    data = struct.pack("<Q", len(header)) + header.encode() + bytes(4)
    (tmp_path / "rows.safetensors").write_bytes(data)
    with pytest.raises(TypeError, match=r"tensor 'z' of .* dtype F4, whose elements share bytes"):
        files.read_array(tmp_path / "rows.safetensors")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 12]}, "do not go with its 12 bytes"),
        (
            {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]},
            "shape must be a list of int",
        ),
        (
            {"dtype": "F32", "shape": [2, 2], "data_offsets": [-16, 0]},
            "data_offsets must be a list of int",
        ),
        (
            {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 324]},
            "is truncated or .* it needs 398 bytes",
        ),
        ({"dtype": "F32", "shape": 4, "data_offsets": [0, 16]}, "shape must be a list of int"),
        ([], "tensor 'z' must have dtype, shape, data_offsets"),
    ],
)
def test_safetensors_with_a_wrong_header(tmp_path: Path, entry: object, message: str) -> None:
    header = json.dumps({"z": entry})
    data = struct.pack("<Q", len(header)) + header.encode() + bytes(16)
    (tmp_path / "rows.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        files.read_array(tmp_path / "rows.safetensors")


# ------------------------------------------------------------------------------------- .pt


def test_torch_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(ROWS)
    path = tmp_path / "rows.pt"
    for content in (tensor, torch.nn.Parameter(tensor), {"z": tensor}):
        torch.save(content, path)
        np.testing.assert_array_equal(files.read_array(path), ROWS)
    torch.save(tensor, path, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(files.read_array(path), ROWS)
    torch.save(tensor.bfloat16(), path)
    np.testing.assert_array_equal(files.read_array(path), tensor.bfloat16().float().numpy())
    torch.save({"z": tensor, "y": tensor, "epoch": 3}, path)
    np.testing.assert_array_equal(files.read_array(path, "y"), ROWS)
    with pytest.raises(ValueError, match=r"key 'x' is not in .* holds: 'z', 'y'"):
        files.read_array(path, "x")


def test_torch_refusals(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "rows.pt"
    torch.save([1, 2], path)
    with pytest.raises(TypeError, match="a tensor or a dict of tensors, and holds a list"):
        files.read_array(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(TypeError, match="never unpickled"):
        files.read_array(path)
    torch.save(torch.eye(3).to_sparse(), path)
    with pytest.raises(TypeError, match="dense tensor"):
        files.read_array(path)
    torch.save(torch.from_numpy(ROWS), path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="truncated or not a file that torch"):
        files.read_array(path)


def test_torch_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "rows.pt").write_bytes(b"x")
    with pytest.raises(ImportError, match=r"needs PyTorch .* pip install torch"):
        files.read_array(tmp_path / "rows.pt")


# ------------------------------------------------------------------------------------- writing

PAIRS = {
    "sources": ROWS,
    "labels": ROWS[::-1].astype(np.float64),
    "assignment": np.arange(37)[::-1].copy(),
    "cosine": np.linspace(-1, 1, 37),
}
META = {"seed": 0, "order": "norm", "groups": None, "name": "é"}


@pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
def test_pairs_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    files.write_pairs(path, PAIRS, META)
    arrays, meta = files.read_pairs(path)
    assert meta == META
    assert set(arrays) == set(PAIRS)
    for name, array in PAIRS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].flags.writeable
        np.testing.assert_array_equal(arrays[name], array)
    assert listing(tmp_path) == [path.name]


def test_pairs_are_read_by_numpy_and_safetensors(tmp_path: Path) -> None:
    files.write_pairs(tmp_path / "pairs.npz", PAIRS, META)
    with np.load(tmp_path / "pairs.npz", allow_pickle=False) as archive:
        assert json.loads(str(archive["meta"])) == META
        for name, array in PAIRS.items():
            np.testing.assert_array_equal(archive[name], array)
    with zipfile.ZipFile(tmp_path / "pairs.npz") as archive:
        assert archive.testzip() is None
    files.write_pairs(tmp_path / "pairs.safetensors", PAIRS, META)
    loaded = safetensors_numpy.load_file(tmp_path / "pairs.safetensors")
    for name, array in PAIRS.items():
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
def test_bytes_depend_on_values_only(tmp_path: Path, suffix: str) -> None:
    """Byte order, layout, laziness and time leave no trace."""
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    order = np.arange(37)[::-1].copy()
    files.write_pairs(first, {"labels": ROWS[order]}, META)
    for labels in (
        np.asfortranarray(ROWS[order]),
        ROWS[order].astype(">f4"),
        ROWS[::-1],
        TakenRows(ROWS, order),
    ):
        files.write_pairs(second, {"labels": labels}, dict(reversed(META.items())))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
def test_many_blocks(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    files.write_pairs(whole, PAIRS, META)
    monkeypatch.setattr("gtn_label.arrays.row_blocks._BLOCK_BYTES", 64)
    files.write_pairs(pieces, PAIRS, META)
    assert whole.read_bytes() == pieces.read_bytes()


def test_npz_header_is_numpys(tmp_path: Path) -> None:
    """The header is written by hand; NumPy would write the same."""
    files.write_pairs(tmp_path / "pairs.npz", {"rows": ROWS}, META)
    np.save(tmp_path / "rows.npy", ROWS)
    with zipfile.ZipFile(tmp_path / "pairs.npz") as archive:
        ours, numpys = archive.read("rows.npy"), (tmp_path / "rows.npy").read_bytes()
    assert len(ours) % 64 == ROWS.nbytes % 64
    assert ours[-ROWS.nbytes :] == numpys[-ROWS.nbytes :]
    assert ours[10:].split(b"}")[0] == numpys[10:].split(b"}")[0]


def test_output_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors, and is '.*\.npy'"):
        files.write_pairs(tmp_path / "pairs.npy", PAIRS, META)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
def test_reading_what_is_no_pairs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    safetensors_numpy.save_file({"z": ROWS}, path) if "safe" in suffix else np.savez(path, z=ROWS)
    with pytest.raises(ValueError, match="was not written by gtn-label"):
        files.read_pairs(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="truncated"):
        files.read_pairs(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"truncated|0 bytes"):
        files.read_pairs(path)


class Failing:
    """Rows that fail half-way, as a full disk or Ctrl-C would."""

    shape = (10_000_000, 8)
    dtype = np.dtype(np.float32)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        if rows.start > 0:
            raise self.error
        return np.zeros((rows.stop - rows.start, 8), np.float32)


@pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
def test_failing_half_way_leaves_the_previous_file(
    tmp_path: Path, suffix: str, error: BaseException
) -> None:
    path = tmp_path / f"pairs{suffix}"
    path.write_bytes(b"previous")
    with pytest.raises(type(error)):
        files.write_pairs(path, {"labels": Failing(error)}, META)
    assert path.read_bytes() == b"previous"
    assert listing(tmp_path) == [path.name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failing_at_the_end_leaves_the_previous_file(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "pairs.npz"
    path.write_bytes(b"previous")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_pairs(path, PAIRS, META)
    assert path.read_bytes() == b"previous"
    assert listing(tmp_path) == [path.name]


# ------------------------------------------------------------------------------------- atomic


@pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
def test_errors_bear_the_users_path(tmp_path: Path, suffix: str) -> None:
    missing = str(tmp_path / "no" / f"x{suffix}")
    with pytest.raises(FileNotFoundError) as caught:
        files.write_pairs(missing, PAIRS, META)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, missing)
    assert ".tmp" not in str(caught.value)
    path = tmp_path / f"x{suffix}"
    with pytest.raises(OSError, match=r"No space left on device: '.*x") as full:
        files.write_pairs(
            path, {"labels": Failing(OSError(errno.ENOSPC, "No space left on device"))}, META
        )
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(path))
    path.mkdir()
    with pytest.raises(IsADirectoryError) as directory:
        files.write_pairs(path, PAIRS, META)
    assert directory.value.filename == str(path)
    assert ".tmp" not in str(directory.value)
    assert listing(tmp_path) == [path.name]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_the_umasks(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_file(tmp_path / "file") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_symbolic_link_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with atomic_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    with atomic_file(tmp_path / ("n" * 255)) as file:  # as long a name as there is
        file.write(b"x")
        assert [name for name in listing(tmp_path) if not name.startswith(".")] == []
    assert listing(tmp_path) == ["n" * 255]


def test_check_target(tmp_path: Path) -> None:
    check_target(tmp_path / "new.npz", "--out")
    assert listing(tmp_path) == []
    with pytest.raises(IsADirectoryError, match="--out must be a file"):
        check_target(tmp_path, "--out")
    with pytest.raises(FileNotFoundError, match="--out must be in a folder that exists"):
        check_target(tmp_path / "no" / "new.npz", "--out")
    with pytest.raises(OSError, match=r"--out '.*' cannot be written: File name too long"):
        check_target(tmp_path / ("n" * 300), "--out")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="--out must be in a folder, and"):
        check_target(tmp_path / "file" / "new.npz", "--out")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="--out must be a regular file"):
        check_target(tmp_path / "pipe", "--out")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder closed even to root")
def test_check_target_tries_it() -> None:
    with pytest.raises(PermissionError, match="--out must be in a folder that can be written to"):
        check_target("/proc/pairs.npz", "--out")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((number, 1) for number in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EIO)),
        *((number, 2) for number in (errno.EACCES, errno.EPERM, errno.EROFS)),
    ],
)
@pytest.mark.parametrize("place", ["temporary", "target", "input", "lock"])
def test_the_machine_or_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, place: str
) -> None:
    path = tmp_path / "pairs.npz"

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some file")

    if place == "temporary":
        monkeypatch.setattr(atomic, "create_temporary", fail)
    elif place == "target":
        monkeypatch.setattr(atomic, "status_if_writable", fail)
    elif place == "lock":
        monkeypatch.setattr(checkpoint.FileLock, "acquire", fail)
    else:
        path.touch()
        monkeypatch.setattr(Path, "open", fail)
    calls: dict[str, Callable[[], object]] = {
        "input": lambda: files.read_array(path, name="--out"),
        "lock": checkpoint.Checkpoint(path, words={"checkpoint": "--out"}).acquire,
    }
    with pytest.raises(OSError, match=os.strerror(number)) as refusal:
        calls.get(place, lambda: check_target(path, "--out"))()
    assert console.exit_code(refusal.value) == code
    assert console.os_message(refusal.value).startswith("--out ")
    assert isinstance(refusal.value, PermissionError) or number not in (errno.EACCES, errno.EPERM)


def test_a_short_write_that_names_no_reason(tmp_path: Path) -> None:
    """NumPy's tofile says how many elements it wrote, and neither the file nor the reason."""

    def write() -> None:
        with atomic_file(tmp_path / "file"):
            raise OSError("156800 requested and 20352 written")

    with pytest.raises(OSError, match=r"20352 written\); the disk may be full") as refusal:
        write()
    assert refusal.value.filename == str(tmp_path / "file")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_long_names_are_shortened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    name = "n" * 30_000
    files.write_pairs(path, {name: ROWS, f"{name}2": ROWS}, {})
    for key in (None, "m" * 10**6):
        with pytest.raises(ValueError, match=r"holds: 'nnn") as refusal:
            files.read_array(path, key)
        assert len(str(refusal.value)) < 500


def test_an_output_that_ends_as_a_folder(tmp_path: Path) -> None:
    for out in (f"{tmp_path}/o.npz/", f"{tmp_path}/o.npz//"):
        with pytest.raises(
            ValueError, match=r"^path must end in .npz or .safetensors, and is '.*/'$"
        ):
            files.write_pairs(out, {"a": ROWS}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_working_folder_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for name in ("rows.npy", "rows.npz", "rows.safetensors"):
        with pytest.raises(
            FileNotFoundError, match="is relative, and the working folder no longer"
        ):
            files.read_array(name)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        files.read_array(tmp_path / "rows.npy")


def test_paths_in_messages_steer_no_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[2J"
    for path, error in ((folder / "b.npz", FileNotFoundError), (tmp_path, IsADirectoryError)):
        if error is IsADirectoryError:
            folder.mkdir()
            path = folder
        with pytest.raises(error) as caught:
            check_target(path, "--out")
        assert "\x1b" not in str(caught.value)
        assert "a\\x1b[2J" in str(caught.value)

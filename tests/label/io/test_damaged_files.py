"""Damaged input files: whatever is wrong with the bytes, one error that names argument and file.

Mutations are drawn from a fixed seed, so that a failure comes back. Sound files, and each format's
own refusals, are in test_files.py.
"""

from __future__ import annotations

import contextlib
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from command import child, gtn_label, one_line
from gtn_label.io import files

ROWS = np.random.Generator(np.random.Philox(1)).standard_normal((37, 5)).astype(np.float32)
HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (37, 5), }"


def npy(header: str, data: bytes = ROWS.tobytes(), version: int = 1) -> bytes:
    encoded = header.encode("latin1").ljust(117) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(encoded))
    return b"\x93NUMPY" + bytes([version, 0]) + length + encoded + data


def shape(text: str) -> str:
    return HEADER.replace("(37, 5)", text)


WRONG = {
    "negative": shape("(-37, 5)"),
    "both negative": shape("(-37, -5)"),
    "minus one": shape("(-1, 5)"),
    "bool": shape("(True, 5)"),
    "float": shape("(37.0, 5)"),
    "octal": shape("(04, 5)"),
    "largest by none": shape("(9223372036854775807, 0)"),
    "none by too many": shape(f"(0, {10**20})"),
    "too many": shape(f"({10**20}, 5)"),
    "70 dimensions": shape("(" + "1, " * 70 + ")"),
    "70 empty dimensions": shape("(" + "0, " * 70 + ")"),
    "digits": shape(f"({'9' * 5000}, 5)"),
    "open bracket": HEADER[:-5],
    "open string": HEADER[:30],
    "nested": shape("(" * 3000),
    "signs": shape("-" * 9000 + "1"),
    "null": shape("(3\x007, 5)"),
    "no dtype": HEADER.replace("<f4", "<q9"),
    "comma in dtype": HEADER.replace("<f4", ",,(,"),
    "no dict": "[]",
    "call": "__import__('os')",
    "huge": HEADER + " " * 70_000,
}


@pytest.mark.parametrize("member", [False, True], ids=["npy", "npz"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_headers(tmp_path: Path, name: str, member: bool) -> None:
    content = npy(WRONG[name], version=2)
    path = tmp_path / ("rows.npz" if member else "rows.npy")
    if member:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("z.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"LATENTS '.*rows\.np[yz]' (has|is) [^\n]{0,400}$"):
        files.read_array(path, name="LATENTS")


def mutated(rng: np.random.Generator, whole: bytes, reach: int) -> bytes:
    """Flip, drop, double or overwrite a few bytes within `reach` of either end."""
    content = bytearray(whole)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, min(reach, len(content))))
        if rng.random() < 0.3:
            at = len(content) - 1 - at
        kind = rng.integers(4)
        if kind == 0:
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content[at] = int(rng.choice(np.frombuffer(b"()[]{}',-0x9eLT\n\0\xff", np.uint8)))
        elif kind == 2:
            del content[at : at + int(rng.integers(1, 9))]
        else:
            content[at:at] = content[at : at + int(rng.integers(1, 9))]
    return bytes(content)


def refuses_or_reads(path: Path, allowed: tuple[type[Exception], ...] = (ValueError,)) -> bool:
    """Return True if the file was refused, with one line that names argument and file."""
    try:
        files.read_array(path, name="LATENTS")
    except allowed as error:
        message = str(error)
    else:
        return False
    assert f"LATENTS '{path}'" in message
    assert len(message) < 1000
    return True


@pytest.mark.parametrize(
    ("suffix", "reach", "rounds"),
    [("npy", 80, 500), ("npz", 300, 300), ("safetensors", 100, 300)],
)
def test_mutations(tmp_path: Path, suffix: str, reach: int, rounds: int) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "npy":
        np.save(path, ROWS)
    else:
        files.write_npz(path, {"z": ROWS}, {}) if suffix == "npz" else files.write_pairs(
            path, {"z": ROWS}, {}
        )
    whole = path.read_bytes()
    rng = np.random.Generator(np.random.Philox(5))
    refused = 0
    for _ in range(rounds):
        path.write_bytes(mutated(rng, whole, reach))
        # A dtype can turn into one of Python objects, or into one that NumPy lacks.
        refused += refuses_or_reads(path, (ValueError, TypeError))
    assert refused > rounds // 3


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_mutated_torch_files(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "rows.pt"
    torch.save(torch.from_numpy(ROWS), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    rng = np.random.Generator(np.random.Philox(6))
    refused = 0
    for _ in range(150):
        path.write_bytes(mutated(rng, whole, 400))
        refused += refuses_or_reads(path, (ValueError, TypeError))
    assert refused > 50


def test_torch_garbage_is_a_value_error(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "rows.pt"
    for garbage in (b"abc" * 50, b"\x80\x02" * 40, b"(" * 50, b"]" * 9, b"PK\x03\x04" * 30):
        path.write_bytes(garbage)
        with pytest.raises(ValueError, match=r"truncated or not a file that torch\.load can read"):
            files.read_array(path)


def test_float8_that_requires_grad_is_called_by_its_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(4, 4).to(torch.float8_e4m3fn)
    torch.save({"z": tensor.requires_grad_()}, tmp_path / "rows.pt")
    with pytest.raises(TypeError, match=r"and holds torch\.float8_e4m3fn"):
        files.read_array(tmp_path / "rows.pt")


def test_from_the_shell(tmp_path: Path) -> None:
    (tmp_path / "h.npy").write_bytes(npy(WRONG["open bracket"]))
    done = gtn_label("h.npy", "--out", "o.npz", cwd=tmp_path)
    assert done.returncode == 2
    assert "LATENTS 'h.npy' has a broken or truncated header" in one_line(done.stderr)


LITTLE_MEMORY = """
import resource, sys
import torch
from gtn_label.io import files
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + (64 << 20), resource.RLIM_INFINITY))
try:
    files.read_array(sys.argv[1])
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
def test_five_bytes_that_ask_for_gigabytes(tmp_path: Path) -> None:
    """A string of 2 GB in the format before torch 1.6."""
    pytest.importorskip("torch")
    (tmp_path / "rows.pt").write_bytes(b"X\xff\xff\xff\x7f")
    done = child(LITTLE_MEMORY, tmp_path / "rows.pt", cwd=tmp_path)
    assert f"latents '{tmp_path / 'rows.pt'}' is truncated or not a file" in done.stdout


def test_torch_warns_of_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.eye(3), tmp_path / "rows.pt", pickle_protocol=4)
    whole = bytearray((tmp_path / "rows.pt").read_bytes())
    whole[whole.index(b"\x80\x04") + 1] = 3
    (tmp_path / "rows.pt").write_bytes(whole)
    with contextlib.suppress(ValueError):
        files.read_array(tmp_path / "rows.pt")
    assert not recwarn

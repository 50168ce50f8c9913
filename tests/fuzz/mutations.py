"""Mutations that know the formats: .npy headers, zip members, .safetensors headers, JSON, pickles.

Every function takes bytes and a `random.Random` and returns bytes, so that a seed repeats a run. A
mutation that meets bytes it cannot take apart changes single bytes instead.
"""

from __future__ import annotations

import copy
import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

__all__ = [
    "Mutation",
    "any_bytes",
    "json_text",
    "npy",
    "npy_or_meta",
    "safetensors",
    "torch_file",
    "zip_file",
]

Mutation = Callable[[bytes, Random], bytes]

LARGEST = 1 << 16  # bytes of an input

NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    255,
    65535,
    2**31 - 1,
    -(2**31),
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**64,
    10**40,
)
SHAPES = ("()", "(0,)", "(-1, 3)", "(7, 3, 1)", "(2**3,)", "(True, 3)", "(7.0, 3)", "(7, 0)")
DTYPES = ("<f4", ">f8", "|O", "<f2", "|V2", "<i8", "|S3", "<U2", "<M8[s]", "|b1", "<c8", "<f16")
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        "",
        "x",
        "\u0000\u001b[31m",
        "\ud800",
        "x" * 3000,
        "../up",
        "/abs",
        "meta",
    ),
    *(1.5, -0.0, float("nan"), float("inf"), [], {}, [[]], {"x": 1}, [0, 0], "F32", "NaN", "1"),
)


def any_bytes(data: bytes, rng: Random) -> bytes:
    """Flip, overwrite, drop, double or insert a few bytes, or write an odd integer over some."""
    content = bytearray(data or b"\0")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        if rng.random() < 0.5:  # headers stand at the start, directories of archives at the end
            near = min(160, len(content))
            at = rng.choice((rng.randint(0, near), len(content) - rng.randint(0, near)))
        length = rng.choice((1, 1, 2, 4, 8, 40))
        match rng.randrange(6):
            case 0 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at : at + 1] = bytes([rng.choice(b"()[]{}',-0x9eLT\n\0\xff\"\\:PK")])
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = content[at : at + length]
            case 4:
                number = rng.choice(NUMBERS) & (2**64 - 1)
                size = rng.choice((1, 2, 4, 8))
                content[at : at + size] = struct.pack("<Q", number)[:size]
            case _:
                content[at:at] = rng.randbytes(length)
        content = content or bytearray(b"\0")
    if rng.random() < 0.05:
        del content[rng.randrange(len(content)) :]
    return bytes(content[:LARGEST])


def npy(data: bytes, rng: Random) -> bytes:
    """Change a .npy file's header as text, its length or its version."""
    if len(data) < 10 or data[:6] != b"\x93NUMPY" or rng.random() < 0.3:
        return any_bytes(data, rng)
    width, code = (2, "<H") if data[6] == 1 else (4, "<I")
    start = 8 + width
    length = struct.unpack(code, data[8:start].ljust(width, b"\0"))[0]
    text = data[start : start + length].decode("latin1")
    rest = data[start + length :]
    match rng.randrange(6):
        case 0:
            shape = rng.choice((*SHAPES, f"({rng.choice(NUMBERS)}, {rng.choice(NUMBERS)})"))
            text = re.sub(r"\([^)]*\)", lambda _: shape, text, count=1)
        case 1:
            dtype = rng.choice((*map(repr, DTYPES), "[('a', '<f4')]", "('<f4', (3,))", "1", "None"))
            text = re.sub(r"(?<='descr': )[^,]*", lambda _: dtype, text, count=1)
        case 2:
            text = text.replace("False", rng.choice(("True", "None", "0", "'False'", "[]")), 1)
        case 3:
            text = any_bytes(text.encode("latin1", "replace"), rng).decode("latin1")
        case 4:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice("([{-'\"#\n\t\0") * rng.choice((1, 3, 300)) + text[at:]
        case _:
            rest = rest[: rng.randrange(len(rest) + 1)] + rest[: rng.choice((0, 0, 4, 8))]
    version = data[6] if rng.random() < 0.9 else rng.choice((0, 1, 2, 3, 4, 255))
    encoded = text.encode("latin1", "replace")[:60000]
    given = len(encoded) if rng.random() < 0.9 else rng.choice(NUMBERS) % (1 << 8 * width)
    return data[:6] + bytes([version]) + data[7:8] + struct.pack(code, given) + encoded + rest


def npy_or_meta(data: bytes, rng: Random) -> bytes:
    """Change a meta (a .npy of one string of JSON) as JSON, or the elements of a .npy file."""
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception:  # damaged bytes raise anything
        return npy(data, rng)
    chance = rng.random()
    if array.dtype.kind == "U" and array.ndim == 0 and chance < 0.7:
        text = json_text(str(array).encode("utf-8", "surrogatepass"), rng)
        array = np.array(text.decode("utf-8", "replace"))
    elif array.ndim and array.size and array.dtype.kind in "if" and chance < 0.6:
        array = _other_elements(array, rng)
    else:
        return npy(data, rng)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _other_elements(array: np.ndarray, rng: Random) -> np.ndarray:
    """Swap, double, replace or drop elements, or change the shape or the type of all."""
    array = array.copy()
    flat = array.reshape(-1)
    at, other = rng.randrange(array.size), rng.randrange(array.size)
    match rng.randrange(6):
        case 0:
            flat[[at, other]] = flat[[other, at]]
        case 1:
            flat[at] = flat[other]
        case 2 if array.dtype.kind == "i":
            flat[at] = rng.choice((-1, len(array), 2**15, np.iinfo(array.dtype).max))
        case 2:
            flat[at] = rng.choice((float("nan"), float("inf"), 0.0, 1.5, -3e38))
        case 3:
            array = array[: rng.randrange(len(array) + 1)]
        case 4:
            array = array.reshape(rng.choice(((-1,), (1, -1), (-1, 1), (*array.shape, 1))))
        case _:
            with np.errstate(all="ignore"):
                array = array.astype(rng.choice(("<i4", "<f2", ">i8", "|b1", "<f8", "<U3")))
    return array


def zip_file(member: Mutation) -> Mutation:
    """Return a mutation of archives whose members are mutated by `member`."""

    def mutation(data: bytes, rng: Random) -> bytes:
        members = _members(data)
        if members is None or rng.random() < 0.15:
            return any_bytes(data, rng)
        if members and rng.random() < 0.7:
            at = rng.randrange(len(members))
            members[at] = (members[at][0], member(members[at][1], rng))
        if rng.random() < 0.4:
            _rearrange(members, rng)
        return _zipped(members, rng)

    return mutation


def _members(data: bytes) -> list[tuple[str, bytes]] | None:
    """Return names and contents, or None if the archive cannot be taken apart."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [
                (info.filename, archive.open(info).read(LARGEST)) for info in archive.infolist()
            ]
    except Exception:  # damaged bytes raise anything
        return None


def _rearrange(members: list[tuple[str, bytes]], rng: Random) -> None:
    """Rename, double, drop, reorder or add members."""
    match rng.randrange(5) if members else 4:
        case 0:
            at = rng.randrange(len(members))
            odd = ("", "x", "../x.npy", "/x.npy", "meta.npy", "z.npy", "cosine.npy", "x/", ".npy")
            members[at] = (rng.choice((*odd, "ä\x1b[2J.npy", "n" * 300)), members[at][1])
        case 1:
            members.append(rng.choice(members))
        case 2:
            del members[rng.randrange(len(members))]
        case 3:
            rng.shuffle(members)
        case _:
            name = rng.choice(("README.txt", "__MACOSX/._z.npy", "folder/", "z", "__proto__.npy"))
            members.append((name, b"text" if rng.random() < 0.7 else b""))


def _zipped(members: list[tuple[str, bytes]], rng: Random) -> bytes:
    """Write an archive, sometimes with sizes, sums, methods or flags that are not true."""
    method = zipfile.ZIP_STORED if rng.random() < 0.8 else zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # about names that come twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name.replace("\0", "_")), content, method)
    content = bytearray(buffer.getvalue())
    if rng.random() < 0.35 and members:
        # Offsets from a record's start: flags, method, sum, sizes of the directory's entry and of
        # the member's own header.
        mark, fields = rng.choice(
            ((b"PK\1\2", (8, 10, 16, 20, 24, 28, 30, 42)), (b"PK\3\4", (6, 8, 14, 18, 22, 26, 28)))
        )
        found = [at.start() for at in re.finditer(re.escape(mark), content)]
        at = rng.choice(found) + rng.choice(fields)
        value = rng.choice((rng.choice(NUMBERS), rng.randrange(1 << 16))) % (1 << 32)
        size = rng.choice((2, 4))
        content[at : at + size] = struct.pack("<I", value)[:size]
    if rng.random() < 0.05:
        content += rng.choice((b"\0" * 22, b"PK\5\6" + b"\0" * 18, b"tail"))
    return bytes(content[:LARGEST])


def json_text(data: bytes, rng: Random) -> bytes:
    """Change a JSON text as a tree: values, keys, nesting; sometimes its spelling."""
    if rng.random() < 0.2:
        return any_bytes(data, rng)
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return any_bytes(data, rng)
    for _ in range(rng.randint(1, 3)):
        tree = _other_tree(tree, rng)
    text = json.dumps(tree, indent=rng.choice((None, 1)))
    match rng.randrange(12):
        case 0:
            text = text.replace("}", ', "x": 1, "x": 2}', 1) if tree else text
        case 1:
            return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32-le")))
        case 2:
            text = "[" * rng.choice((10, 3000)) + text
        case 3:
            text = text.replace("0", rng.choice(("1e999", "9" * 5000, "-0", "00", "1.0")), 1)
    return text.encode()[:LARGEST]


def _other_tree(tree: Any, rng: Random) -> Any:
    """Change one node of a JSON tree, chosen by a walk from the root."""
    if not isinstance(tree, (dict, list)) or not tree or rng.random() < 0.1:
        return copy.deepcopy(rng.choice((*VALUES, *NUMBERS, [tree], {"x": tree})))
    key = rng.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    action = rng.random()
    if action < 0.15:
        del tree[key]
    elif action < 0.25 and isinstance(tree, dict):
        tree[rng.choice(("", "x", "__metadata__", "meta", "\u202e"))] = copy.deepcopy(tree[key])
    elif action < 0.25:
        tree.insert(key, copy.deepcopy(rng.choice(VALUES)))
    elif isinstance(tree[key], int) and not isinstance(tree[key], bool) and rng.random() < 0.6:
        tree[key] += rng.choice((1, -1, 8, *NUMBERS))
    else:
        tree[key] = _other_tree(tree[key], rng)
    return tree


def safetensors(data: bytes, rng: Random) -> bytes:
    """Change a .safetensors header as JSON, its length, or the bytes behind it."""
    length = struct.unpack("<Q", data[:8].ljust(8, b"\0"))[0]
    if length > len(data) - 8 or rng.random() < 0.15:
        return any_bytes(data, rng)
    header, rest = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.8:
        header = json_text(header, rng)
        if rng.random() < 0.5:
            header = header.ljust(-(-len(header) // 8) * 8)
    else:
        rest = rest[: rng.randrange(len(rest) + 1)] + b"\0" * rng.choice((0, 1, 8))
    given = len(header) if rng.random() < 0.95 else rng.choice(NUMBERS) & (2**64 - 1)
    return (struct.pack("<Q", given) + header + rest)[:LARGEST]


def pickled(data: bytes, rng: Random) -> bytes:
    """Change a pickle: single bytes, opcodes put in, names of globals, numbers."""
    match rng.randrange(5):
        case 0:
            names = (
                b"cos\nsystem\n",
                b"cbuiltins\neval\n",
                b"ctorch\nHalfStorage\n",
                b"ctorch\nload\n",
            )
            return data[: rng.randrange(len(data) + 1)] + rng.choice(names) + data[-40:]
        case 1:
            storages = re.findall(rb"\w+Storage", data)
            if storages:
                other = rng.choice(
                    (b"BFloat16Storage", b"ByteStorage", b"NoStorage", b"LongStorage")
                )
                return data.replace(rng.choice(storages), other, 1)
        case 2:
            at = rng.randrange(len(data) + 1)
            opcodes = (
                b"(.012FGIJKLMNPQRSTUVXabcdeghijlopqrstu]}\x80\x81\x85\x86\x87\x88\x8a\x8c\x94"
            )
            return data[:at] + bytes([rng.choice(opcodes)]) + data[at:]
        case 3:
            at = rng.randrange(len(data) + 1)
            number = struct.pack("<q", rng.choice(NUMBERS[:12]))
            return data[:at] + rng.choice((b"\x8a\x08" + number, b"J" + number[:4])) + data[at:]
    return any_bytes(data, rng)


def torch_file(data: bytes, rng: Random) -> bytes:
    """Change a .pt file: the members of its archive and the pickle among them, or an old file."""
    if data[:2] != b"PK":
        return pickled(data, rng)
    return zip_file(
        lambda content, r: (pickled if content[:1] == b"\x80" else any_bytes)(content, r)
    )(data, rng)

"""The header of .safetensors: what the reference reader refuses is refused, by mutated headers.

The reference is the `safetensors` package. DIFFERENCES lists what it takes and is refused here.
Sound files are in test_files.py.
"""

from __future__ import annotations

import contextlib
import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gtn_label.io import header_json
from gtn_label.io.safetensors import map_safetensor, open_safetensors

# The format's text forbids these, or NumPy has no such array. The reference takes them.
DIFFERENCES = {
    "the same tensor twice": b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    "the same key of metadata twice": b'{"__metadata__":{"k":"1","k":"2"},'
    b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    "space in front": b' {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    "an entry as a list": b'{"a":["U8",[1],[0,1]]}',
    "a dtype as an object": b'{"a":{"dtype":{"U8":null},"shape":[1],"data_offsets":[0,1]}}',
}


def whole(header: bytes, data: int) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(data)


def entry(dtype: str = "U8", shape: str = "[4]", offsets: str = "[0,4]", more: str = "") -> str:
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{more}}}'


MORE = ',"q":'  # a field that the format does not know


def reference(content: bytes) -> set[str] | None:
    """Return the names of the tensors that the reference reads, None if it refuses the file."""
    try:
        return {name for name, _ in safetensors.deserialize(content)}
    except safetensors.SafetensorError:
        return None


def ours(path: Path, content: bytes) -> set[str] | None:
    path.write_bytes(content)
    try:
        tensors, _ = open_safetensors(path, "latents 'x'")
    except ValueError as error:
        message = str(error)
    else:
        return set(tensors)
    assert message.startswith("latents 'x' is truncated or not a .safetensors file: ")
    assert len(message) < 600
    return None


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_are_still_what_they_were(tmp_path, name):
    content = whole(DIFFERENCES[name], 1)
    assert reference(content) is not None
    assert ours(tmp_path / "x.safetensors", content) is None


REFUSED = {
    "an overlap": (f'{{"a":{entry()},"b":{entry()}}}', 4),
    "a hole": (f'{{"a":{entry(offsets="[4,8]")}}}', 8),
    "trailing bytes": (f'{{"a":{entry()}}}', 5),
    "too few bytes": (f'{{"a":{entry()}}}', 3),
    "float shape": (f'{{"a":{entry(shape="[4.0]")}}}', 4),
    "minus zero": (f'{{"a":{entry(shape="[-0]", offsets="[0,0]")}}}', 0),
    "string shape": (f'{{"a":{entry(shape=chr(34) + "4" + chr(34))}}}', 4),
    "strings in the shape": (f'{{"a":{entry(shape="[" + chr(34) + "4" + chr(34) + "]")}}}', 4),
    "bool": (f'{{"a":{entry(shape="[true]", offsets="[0,1]")}}}', 1),
    "float offsets": (f'{{"a":{entry(offsets="[0.0,4.0]")}}}', 4),
    "three offsets": (f'{{"a":{entry(offsets="[0,4,4]")}}}', 4),
    "offsets in the wrong order": (f'{{"a":{entry(offsets="[4,0]")}}}', 4),
    "beyond 64 bits": (f'{{"a":{entry(shape="[18446744073709551616]")}}}', 4),
    "a product beyond 64 bits": (
        f'{{"a":{entry(shape="[4294967296,4294967296,0]", offsets="[0,0]")}}}',
        0,
    ),
    "unknown dtype": (f'{{"a":{entry(dtype="F9")}}}', 4),
    "half a byte": (f'{{"a":{entry(dtype="F4", shape="[3]", offsets="[0,2]")}}}', 2),
    "no dtype": ('{"a":{"shape":[4],"data_offsets":[0,4]}}', 4),
    "a field twice": ('{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4),
    "metadata of numbers": (f'{{"__metadata__":{{"k":1}},"a":{entry()}}}', 4),
    "metadata of null": (f'{{"__metadata__":{{"k":null}},"a":{entry()}}}', 4),
    "metadata as a list": (f'{{"__metadata__":[],"a":{entry()}}}', 4),
    "NaN": (f'{{"a":{entry(more=MORE + "NaN")}}}', 4),
    "out of range": (f'{{"a":{entry(more=MORE + "1e999")}}}', 4),
    "half a surrogate": (f'{{"__metadata__":{{"k":"\\ud800"}},"a":{entry()}}}', 4),
    "a control character": (f'{{"__metadata__":{{"k":"\x01"}},"a":{entry()}}}', 4),
    "deep nesting": (
        f'{{"a":{entry(more=MORE + "[" * 126 + "]" * 126)}}}',
        4,
    ),
    "a null byte behind": (f'{{"a":{entry()}}}\0', 4),
    "not an object": ("[]", 0),
    "empty": ("", 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_reference_refuses(tmp_path, name):
    header, data = REFUSED[name]
    content = whole(header.encode(), data)
    assert reference(content) is None
    assert ours(tmp_path / "x.safetensors", content) is None


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-32", "utf-8-sig"])
def test_other_encodings(tmp_path, encoding):
    content = whole(f'{{"a":{entry()}}}'.encode(encoding), 4)
    assert reference(content) is None
    assert ours(tmp_path / "x.safetensors", content) is None


ACCEPTED = {
    "an unknown field": (f'{{"a":{entry(more=MORE + "-1")}}}', 4),
    "offsets in another order": (
        f'{{"a":{entry(offsets="[4,8]")},"b":{entry()}}}',
        8,
    ),
    "no tensor": ("{}", 0),
    "no metadata": (f'{{"__metadata__":null,"a":{entry()}}}', 4),
    "space behind": (f'{{"a":{entry()}}} \n\t\r', 4),
    "an empty tensor between": (
        f'{{"e":{entry(shape="[0,7]", offsets="[4,4]")},"a":{entry()}}}',
        4,
    ),
    "a single value": (f'{{"a":{entry(dtype="F32", shape="[]")}}}', 4),
    "a misaligned tensor": (
        f'{{"a":{entry(shape="[1]", offsets="[0,1]")},"b":{entry("F32", "[1]", "[1,5]")}}}',
        5,
    ),
    "a pair of surrogates": (f'{{"__metadata__":{{"k":"\\ud83d\\ude00"}},"a":{entry()}}}', 4),
    "nesting": (f'{{"a":{entry(more=MORE + "[" * 125 + "]" * 125)}}}', 4),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_reference_accepts(tmp_path, name):
    header, data = ACCEPTED[name]
    content = whole(header.encode(), data)
    assert reference(content) is not None
    assert ours(tmp_path / "x.safetensors", content) == reference(content)
    tensors, _ = open_safetensors(tmp_path / "x.safetensors", "x")
    theirs = dict(safetensors.deserialize(content))
    for key, tensor in tensors.items():
        assert list(tensor.shape) == theirs[key]["shape"]
        mapped = np.asarray(map_safetensor(tmp_path / "x.safetensors", tensor, key))
        assert mapped.tobytes() == bytes(theirs[key]["data"])


def test_a_header_beyond_the_limit(tmp_path):
    content = struct.pack("<Q", 100_000_001) + b"{}"
    assert reference(content) is None
    assert ours(tmp_path / "x.safetensors", content) is None


# ------------------------------------------------------------------------------------- mutations

NUMBERS = ["0", "1", "2", "4", "8", "-1", "-0", "1.0", "4e0", "true", "null", '"4"', "01", "[]"]
NUMBERS += ["18446744073709551615", "18446744073709551616", "9" * 30, "NaN", "1e400"]
DTYPES = ["U8", "F32", "BF16", "F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "C64", "BOOL", "F9", "u8", ""]


def a_header(rng: random.Random) -> tuple[str, int]:
    """Write a header that is mostly sound: a few tensors one after another."""
    parts, at = [], 0
    for name in rng.sample(["a", "b", "c", "é", ""], rng.randint(0, 3)):
        dtype, width = rng.choice([("U8", 1), ("F32", 4), ("BF16", 2), ("F64", 8), ("F8_E8M0", 1)])
        shape = [rng.randint(0, 3) for _ in range(rng.randint(0, 3))]
        size = int(np.prod(shape, dtype=int)) * width
        fields = [f'"dtype":"{dtype}"', f'"shape":{shape}', f'"data_offsets":[{at},{at + size}]']
        if rng.random() < 0.2:
            fields.append('"more":' + rng.choice(NUMBERS))
        rng.shuffle(fields)
        parts.append(f"{json.dumps(name)}:{{{','.join(fields)}}}")
        at += size
    if rng.random() < 0.3:
        parts.append('"__metadata__":' + rng.choice(['{"k":"v"}', "{}", "null", '{"k":1}', "[]"]))
    rng.shuffle(parts)
    return "{" + ",".join(parts) + "}", at


def mutate(rng: random.Random, header: str) -> bytes:
    """Change numbers, names and bytes of a header."""
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        at = rng.randrange(len(header) or 1)
        kind = rng.randrange(4)
        digits = [i for i, letter in enumerate(header) if letter.isdigit()]
        if kind == 0 and digits:
            at = rng.choice(digits)
            header = header[:at] + rng.choice(NUMBERS) + header[at + 1 :]
        elif kind == 1:
            old = rng.choice(["U8", "F32", "BF16", "F64", "F8_E8M0"])
            header = header.replace(old, rng.choice(DTYPES), 1)
        elif kind == 2:
            header = header[:at] + rng.choice('{}[],:"0123 \n\\é\x01nt') + header[at + 1 :]
        else:
            header = header[:at] + header[at + rng.randint(1, 4) :]
    raw = header.encode()
    if rng.random() < 0.05:
        at = rng.randrange(len(raw) + 1)
        raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    return raw


def documented(header: bytes) -> bool:
    """Return True for a header that is refused here by a rule of DIFFERENCES."""
    if not header.startswith(b"{"):
        return True
    with contextlib.suppress(ValueError):
        parsed, _ = header_json.parse_header(header)
        return any(
            not isinstance(value, dict) or not isinstance(value.get("dtype"), str)
            for value in parsed.values()
        )
    try:
        header_json.parse_header(header)
    except ValueError as error:
        return "appears twice" in str(error)
    return False


@settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**64 - 1))
@example(seed=0)
def test_mutated_headers_are_taken_and_refused_alike(tmp_path, seed):
    rng = random.Random(seed)
    header, size = a_header(rng)
    raw = mutate(rng, header)
    content = whole(raw, max(0, size + rng.choice([0, 0, 0, 0, 1, -1])))
    known, found = reference(content), ours(tmp_path / "x.safetensors", content)
    if known != found:
        assert found is None, raw
        assert documented(raw), raw

"""The manifest of a stage: each entry is checked, and a verdict is reached on all that is read."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from gtn_train.run.manifest import Manifest, StageSpec
from gtn_train.run.store import RunFolder
from gtn_train.run.verdict import verdict

WHOLE = Manifest("pairs", {"latents": "0" * 64}, {"cone": 1}, {"pairs.npz": "1" * 64}, 1.5)
SPEC = StageSpec("pairs", {"latents": "0" * 64}, {"cone": 1}, ("pairs.npz",))


def written(folder, **changes):
    path = folder / "stage.json"
    path.write_text(json.dumps({**asdict(WHOLE), **changes}))
    return path


def test_a_whole_one_comes_back(tmp_path):
    assert Manifest.read(written(tmp_path)) == WHOLE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", None),
        ("inputs", {"latents": 1}),
        ("inputs", {"latents": None}),
        ("inputs", []),
        ("options", "x"),
        ("outputs", "x" * 5000),
        ("outputs", {"pairs.npz": 1}),
        *(
            ("outputs", {file: "1" * 64})
            for file in (
                *("", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x"),
                *("a\0b", "\ud800", "\x1b[2J", ".lock", "a\n"),
            )
        ),
        ("seconds", True),
        ("seconds", "1"),
        ("seconds", -1),
        ("seconds", 10**400),
        ("versions", {"python": 3}),
        ("versions", 261),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, name, value):
    path = written(tmp_path, **{name: value})
    with pytest.raises(ValueError, match=f"stage.json' is damaged: {name} must be ") as refused:
        Manifest.read(path)
    text = str(refused.value)
    assert text.startswith(f"'{path}' is damaged: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 500
    found = verdict(RunFolder(tmp_path), SPEC)
    assert found.action == "refuse"
    assert text in found.why


@pytest.mark.parametrize(
    "content",
    [
        b'{"seconds": NaN}',
        b"[" * 100_000,
        b'{"options": ' + b'{"a":' * 300 + b"1" + b"}" * 301,
        json.dumps({"x" * 9000: 1}).encode(),
        b'{"seconds": ' + b"9" * 9000 + b"}",
        b"\xff",
    ],
)
def test_content_that_is_none_is_refused_in_a_short_line(tmp_path, content):
    path = tmp_path / "stage.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: ") as refused:
        Manifest.read(path)
    assert len(str(refused.value)) < len(str(path)) + 500


def test_a_verdict_on_odd_options_is_short_and_printable(tmp_path):
    odd = {f"{number}\x1b[2J" + "x" * 900: "\x7f" * 900 for number in range(200)}
    written(tmp_path, name="\x1b[2J" * 900, inputs={"\x1b" * 900: "\x1b" * 900}, options=odd)
    found = verdict(RunFolder(tmp_path), SPEC)
    assert found.action == "refuse"
    assert "and 193 more" in found.why
    assert found.why.isprintable()
    assert len(found.why) < 8000


def test_clearing_a_damaged_stage_removes_nothing_outside(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    folder = RunFolder(tmp_path / "pairs")
    written(folder.path, outputs={"../mine": "1" * 64})
    folder.clear()
    assert mine.read_text() == "mine"
    assert not folder.manifest.exists()

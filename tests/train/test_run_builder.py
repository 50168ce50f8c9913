"""Builder: what it does with a verdict, once, and how long a stage took."""

from __future__ import annotations

import pytest

from gtn_train.run.barrier import Barrier
from gtn_train.run.builder import Builder
from gtn_train.run.manifest import StageSpec


def test_a_stage_says_how_long_it_took_in_all(tmp_path):
    lines, before = [], []

    def make(folder):
        (folder.path / "file").write_text("x")
        return 100.0

    one = StageSpec("one", {"a": "0" * 64}, {"b": (1, 2)}, ("file",))
    with Builder(
        tmp_path, Barrier(), resume=False, say=lines.append, before=lambda: before.append(1)
    ) as builder:
        assert builder.build(one, make).seconds == 100.0
        assert builder.build(one, pytest.fail).seconds == 100.0
        builder.build(StageSpec("two", {}, {}, ("file",)), make)
    assert before == [1], "run.json is written once"
    assert lines == ["one: complete, reused"]

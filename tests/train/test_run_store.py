"""The folder of a stage: files whole or not at all, and the manifest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

import gtn_label
from gtn_train.files import file_sha256
from gtn_train.run.manifest import StageSpec, versions
from gtn_train.run.store import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "one")


def test_files_and_their_names(folder):
    assert folder.path.is_dir()
    folder.write_config({"b": [1, 2], "a": {"x": None}})
    assert json.loads((folder.path / "config.json").read_text()) == {"b": [1, 2], "a": {"x": None}}
    assert folder.read_config() == {"b": [1, 2], "a": {"x": None}}
    folder.append_metrics({"epoch": 1})
    folder.append_metrics({"epoch": 2})
    assert (folder.path / "metrics.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    folder.write_metrics([{"epoch": 1}])
    assert folder.read_metrics() == [{"epoch": 1}]


def test_a_line_that_a_kill_cut_short_is_left_out(folder):
    folder.append_metrics({"epoch": 1})
    with folder.metrics.open("a") as file:
        file.write('{"epoch": 2, "tr')
    assert folder.read_metrics() == [{"epoch": 1}]


def test_damaged_files_are_named(folder):
    for path, read in (
        (folder.config, folder.read_config),
        (folder.manifest, folder.read_manifest),
    ):
        for content in (b"", b"{", b"[1]", b"\x00\xff"):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=f"'{path}' is damaged"):
                read()
    folder.manifest.write_text('{"name": "x"}')
    with pytest.raises(ValueError, match="damaged: it must have inputs, name, options, outputs"):
        folder.read_manifest()
    folder.metrics.write_text("{}\n1\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2' is damaged"):
        folder.read_metrics()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match="a run needs a folder, and '"):
            RunFolder(path)


def test_a_manifest_says_what_was_made(folder):
    spec = StageSpec("encode", {"data": "ab"}, {"batch": (1, 2), "x": 0.5}, ("latents.npy",))
    assert folder.read_manifest() is None
    (folder.path / "latents.npy").write_bytes(b"rows")
    stage = folder.write_manifest(spec, 1.5)
    assert stage.outputs == {"latents.npy": hashlib.sha256(b"rows").hexdigest()}
    assert stage.versions["gtn-label"] == gtn_label.__version__
    read = folder.read_manifest()
    assert (read.name, read.inputs, read.seconds) == ("encode", {"data": "ab"}, 1.5)
    assert read.options == {"batch": [1, 2], "x": 0.5}


def test_a_manifest_needs_its_outputs(folder):
    with pytest.raises(FileNotFoundError):
        folder.write_manifest(StageSpec("encode", {}, {}, ("latents.npy",)), 1.0)
    assert not folder.manifest.exists()


def test_clear_leaves_other_files(folder):
    folder.write_config({})
    folder.append_metrics({})
    for file in (folder.manifest, folder.checkpoint, folder.weights, folder.path / "mine.txt"):
        file.write_text("x")
    folder.clear()
    assert [file.name for file in folder.path.iterdir()] == ["mine.txt"]


def test_sweep_removes_what_a_kill_left(folder):
    (folder.path / ".gtn-label-0123456789abcdef.tmp").write_text("half")
    (folder.path / "mine.tmp").write_text("x")
    folder.sweep()
    assert [file.name for file in folder.path.iterdir()] == ["mine.tmp"]


def test_a_full_disk_leaves_what_there_was(folder, monkeypatch):
    folder.write_config({"seed": 1})
    before = folder.config.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*config.json'"):
        folder.write_config({"seed": 2})
    assert folder.config.read_bytes() == before
    assert len(list(folder.path.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_metrics_by_name(folder):
    folder.metrics.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics.jsonl'"):
        folder.append_metrics({"epoch": 1})


def test_half_a_line_is_taken_back(folder, monkeypatch):
    folder.append_metrics({"epoch": 1})

    class Half:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, text):
            self.file.write(text[: len(text) // 2])
            self.file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: Half(real(self, mode)))
    with pytest.raises(OSError, match="No space left"):
        folder.append_metrics({"epoch": 2})
    monkeypatch.undo()
    assert folder.read_metrics() == [{"epoch": 1}]


def test_versions_and_hashes(tmp_path):
    assert {"python", "gtn-label", "numpy", "torch"} <= set(versions())
    (tmp_path / "file").write_bytes(b"abc" * 1_000_000)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\xff", "'utf-8' codec can't decode"),
        (b'{"epoch": "x"}', "epoch must be a number, and is x"),
        (b'{"epoch": true}', "epoch must be a number, and is True"),
        (b'{"loss": NaN}', "NaN is no number of JSON"),
        (b'{"loss": 1e999}', "loss must be a number, and is inf"),
        (b'{"labels": []}', r"labels must be an object, and is \[\]"),
        (b'{"' + b"x" * 9000 + b'": null}', "must be a number, and is None"),
    ],
)
def test_a_line_of_metrics_that_is_none(folder, line, why):
    folder.metrics.write_bytes(b'{"epoch": 1}\n' + line + b"\n")
    with pytest.raises(ValueError, match=rf"metrics.jsonl, line 2' is damaged: .*{why}") as refused:
        folder.read_metrics()
    assert len(str(refused.value)) < len(str(folder.metrics)) + 500

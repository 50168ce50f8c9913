"""`open_pairs`: reading in part, as a dataset, and refusals of damaged folders."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_output import WHOLE, N, part

from gtn_label import open_pairs
from gtn_label.arrays.on_disk import FileChangedError
from gtn_label.cluster.exchange import Solo
from gtn_label.cluster.output import save_pairs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_pairs(part(Solo()), tmp_path / "pairs", shard_rows=20)
    return tmp_path / "pairs"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_single_file_is_read_alike(tmp_path: Path, suffix: str) -> None:
    WHOLE.save(tmp_path / f"pairs{suffix}")
    pairs = open_pairs(tmp_path / f"pairs{suffix}", check=True)
    assert pairs.names == ("sources", "labels", "assignment", "cosine")
    assert pairs.meta == WHOLE.meta
    rows = np.array([3, 49, 0])
    np.testing.assert_array_equal(pairs.take(rows)[1], WHOLE.pairs()[1][rows])
    assert repr(pairs) == "<Pairs: 50 pairs, dim 3, one file>"


def test_blocks(folder: Path) -> None:
    pairs = open_pairs(folder)
    blocks = list(pairs.blocks(12))
    assert [len(labels) for _, labels in blocks] == [12, 12, 12, 12, 2]
    np.testing.assert_array_equal(np.concatenate([s for s, _ in blocks]), WHOLE.pairs()[0])
    assert pairs.shapes == {
        "sources": (50, 3),
        "labels": (50, 3),
        "assignment": (50,),
        "cosine": (50,),
    }
    assert pairs.dtypes["labels"] == np.float32
    assert repr(pairs) == "<Pairs: 50 pairs, dim 3, 3 shards>"
    with pytest.raises(ValueError, match="rows must be >= 1, got 0"):
        next(pairs.blocks(0))
    with pytest.raises(IndexError, match="rows must be 0 to 49"):
        pairs.take([50])
    for rows in (np.arange(50) < 3, [1.5], 3):  # a mask is no list of rows
        with pytest.raises(IndexError, match="rows must be a list of integers, got"):
            pairs.take(rows)
    assert pairs.take([])[0].shape == (0, 3)


def test_rows_are_writable_copies(folder: Path) -> None:
    pairs = open_pairs(folder)
    sources, _ = pairs.read(0, 5)
    sources[:] = 0
    assert pairs.read(0, 5)[0].any()


def test_it_can_be_pickled(folder: Path) -> None:
    pairs = open_pairs(folder)
    pairs.read(0, N)
    again = pickle.loads(pickle.dumps(pairs))
    np.testing.assert_array_equal(again.read(0, N)[1], WHOLE.pairs()[1])


@pytest.mark.parametrize(("form", "workers"), [("npz", 0), ("npz", 2), ("parquet", 2)])
def test_a_data_loader_shuffles_with_workers(tmp_path: Path, workers: int, form: str) -> None:
    torch = pytest.importorskip("torch")
    if form == "parquet":
        pytest.importorskip("pyarrow")
    save_pairs(part(Solo()), tmp_path / "pairs", shard_rows=20, format=form)
    data = open_pairs(tmp_path / "pairs").as_dataset(("sources", "labels", "assignment"))
    assert len(data) == N
    torch.testing.assert_close(data[-1][1], torch.from_numpy(WHOLE.pairs()[1][-1]))
    batch = data[[3, -1]]  # as a sampler of batches asks for
    np.testing.assert_array_equal(batch[0].numpy(), WHOLE.pairs()[0][[3, 49]])
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=8,
        shuffle=True,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
    )
    seen = []
    for sources, labels, assignment in loader:
        np.testing.assert_array_equal(labels.numpy(), np.asarray(WHOLE._latents.whole)[assignment])
        assert sources.dtype == torch.float32
        seen += assignment.tolist()
    assert sorted(seen) == list(range(N))
    assert seen != WHOLE.assignment.tolist()


class TestRefusals:
    def refused(self, what: str, folder: Path, kind: type = ValueError, **options: Any) -> None:
        with pytest.raises(kind, match=what):
            open_pairs(folder, **options)

    def rewritten(self, folder: Path, **changes: Any) -> None:
        file = folder / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def test_no_pairs(self, tmp_path: Path) -> None:
        self.refused("does not exist", tmp_path / "pairs.npz", FileNotFoundError)
        self.refused("holds no pairs", tmp_path, FileNotFoundError)

    def test_no_manifest(self, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        self.refused("is not finished: it has no manifest.json", folder, FileNotFoundError)

    def test_a_missing_shard(self, folder: Path) -> None:
        sorted(folder.glob("*.npz"))[1].unlink()
        self.refused("lacks the shard 'pairs-.*-r00000-00001.npz'", folder, FileNotFoundError)

    def test_a_truncated_shard(self, folder: Path) -> None:
        with sorted(folder.glob("*.npz"))[1].open("r+b") as file:
            file.truncate(100)
        self.refused("is damaged: .* has 100 bytes, and its manifest", folder)

    def test_a_changed_byte(self, folder: Path) -> None:
        file = sorted(folder.glob("*.npz"))[2]
        content = bytearray(file.read_bytes())
        content[200] ^= 1
        file.write_bytes(content)
        open_pairs(folder)
        self.refused(r"00002\.npz' is not what its manifest says \(SHA-256\)", folder, check=True)

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"format": "x"}, "names another format"),
            ({"version": 2}, "version 2, and this gtn-label reads 1"),
            ({"pairs": 49}, "says 49 pairs, and its shards have 50"),
            ({"meta": None}, "has no meta"),
            ({"shards": []}, "has no shards"),
            ({"shards": [{"file": "a"}]}, "a shard is"),
        ],
    )
    def test_a_damaged_manifest(self, folder: Path, changes: dict[str, Any], what: str) -> None:
        self.rewritten(folder, **changes)
        self.refused(what, folder)

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"file": "../a.npz"}, "a shard is named '../a.npz'"),
            ({"begin": 1}, "must begin at 0"),
            ({"rows": True}, "a shard is"),
            ({"bytes": 1}, "its manifest says 1"),
        ],
    )
    def test_a_damaged_entry(self, folder: Path, changes: dict[str, Any], what: str) -> None:
        shards = json.loads((folder / "manifest.json").read_text())["shards"]
        self.rewritten(folder, shards=[shards[0] | changes, *shards[1:]])
        self.refused(what, folder)

    @pytest.mark.parametrize("content", [b"[" * 100_000, b"", b"\xff\xfe\x00", b"3"])
    def test_text(self, folder: Path, content: bytes) -> None:
        (folder / "manifest.json").write_bytes(content)
        self.refused("has a damaged manifest.json", folder)

    def test_a_shard_that_is_replaced_while_it_is_read(self, folder: Path) -> None:
        pairs = open_pairs(folder)
        for file in folder.glob("*.npz"):
            file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(FileChangedError, match="was truncated while it was being read"):
            pairs.read(0, N)

"""FixedPairs: what they hold, and where they may come from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import gtn_label.arrays.sources
from gtn_label import Matching, match, match_quantile, quality
from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.io.files import read_pairs, write_pairs
from gtn_train.pairs import FixedPairs

LATENTS = np.random.default_rng(0).normal([1, 0, -2], size=(60, 3))
CLASSES = np.arange(60) % 3 + 4


def rows_of(pairs, epoch=1):
    rows = pairs.epoch(epoch)
    return rows.sources.numpy(), rows.labels.numpy()


def test_fixed_pairs_of_a_matching():
    matching = match(LATENTS, seed=4, center=True)
    pairs = FixedPairs.from_matching(matching)
    sources, labels = rows_of(pairs)
    assert np.array_equal(sources, matching.sources)
    assert np.array_equal(labels, LATENTS[matching.assignment].astype(np.float32))
    assert labels.dtype == sources.dtype == np.float32
    assert (pairs.n, pairs.dim, pairs.conditional, pairs.round_of(99)) == (60, 3, False, 0)
    assert pairs.epoch(1) is pairs.epoch(2)
    assert pairs.latents_sha256 == convert.sha256(LATENTS)
    stats = pairs.stats(0)
    summary = quality.summarize(
        matching.sources, LATENTS, matching.assignment, matching.cosine, matching.assignment
    )
    assert stats["mean_cosine"] == pytest.approx(summary.mean_cosine)
    assert stats["norm_correlation"] == pytest.approx(summary.norm_correlation)
    assert stats["learnability"] == pytest.approx(summary.learnability)
    json.dumps([stats, pairs.config()])


def test_groups_become_classes():
    matching = match(LATENTS, groups=(CLASSES, CLASSES))
    rows = FixedPairs.from_matching(matching).epoch(1)
    assert rows.classes.dtype == torch.int64
    assert np.array_equal(rows.classes, CLASSES[matching.assignment])


def test_a_column_and_a_tensor():
    quantile = FixedPairs.from_matching(match_quantile(LATENTS[:, 0], LATENTS[::-1, 0]))
    assert quantile.dim == 1
    tensor = FixedPairs.from_matching(match(torch.from_numpy(LATENTS), seed=4))
    assert np.array_equal(
        rows_of(tensor)[1], rows_of(FixedPairs.from_matching(match(LATENTS, seed=4)))[1]
    )


def test_cosines_of_any_two_arrays():
    pairs = FixedPairs([[1, 0], [0, 2], [0, 0]], [[1, 1], [0, 3], [1, 1]])
    assert pairs.stats(0)["mean_cosine"] == pytest.approx((0.5**0.5 + 1 + 0) / 3)
    assert pairs.latents_sha256 == convert.sha256(np.array([[1, 1], [0, 3], [1, 1]]))


def test_given_rows_are_copied():
    sources = LATENTS.copy()
    pairs = FixedPairs(sources, LATENTS)
    sources[:] = 0
    assert np.array_equal(rows_of(pairs)[0], LATENTS.astype(np.float32))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LATENTS, LATENTS[:9]), ValueError, r"same shape, got \(60, 3\) and \(9, 3\)"),
        ((LATENTS, LATENTS * np.nan), ValueError, "labels must be finite"),
        ((LATENTS * 1e200, LATENTS), ValueError, "sources must be finite"),
        (("rows.npy", LATENTS), TypeError, "sources must"),
    ],
)
def test_what_are_no_pairs(arguments, error, message):
    with pytest.raises(error, match=message):
        FixedPairs(*arguments)


def test_what_belongs_to_each_pair():
    with pytest.raises(ValueError, match="classes must be 1-D with one label for each of the 60"):
        FixedPairs(LATENTS, LATENTS, classes=[1, 2])
    with pytest.raises(ValueError, match="cosine must have one value for each of the 60 pairs"):
        FixedPairs(LATENTS, LATENTS, cosine=[1.0])


def test_a_file(tmp_path):
    matching = match(LATENTS, seed=4)
    for name, indices_only in (("a.npz", False), ("b.safetensors", False), ("c.npz", True)):
        matching.save(tmp_path / name, indices_only=indices_only)
        pairs = FixedPairs.from_file(tmp_path / name, LATENTS)
        for got, wanted in zip(rows_of(pairs), matching.pairs(), strict=True):
            assert np.array_equal(got, wanted.astype(np.float32))
        assert pairs.latents_sha256 == convert.sha256(LATENTS)
        assert pairs.stats(0)["mean_cosine"] == matching.cosine.mean()
    assert FixedPairs.from_file(tmp_path / "a.npz").n == 60


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "pairs.npz"
    matching = match(LATENTS, LATENTS[:20])
    matching.save(path)
    other = LATENTS + 1
    hashes = f"SHA-256 {convert.sha256(LATENTS)}, found {convert.sha256(other)}"
    with pytest.raises(ValueError, match=f"pairs.npz' were made from other latents: {hashes}"):
        FixedPairs.from_file(path, other)
    matching.save(path, indices_only=True)
    with pytest.raises(ValueError, match="hold indices only: latents must be given"):
        FixedPairs.from_file(path)
    with pytest.raises(ValueError, match="hold indices only, and their sources were not drawn"):
        FixedPairs.from_file(path, LATENTS)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FixedPairs.from_file(tmp_path / "nowhere.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"pairs\.npz"):
        FixedPairs.from_file(path)


def test_validation_pairs_are_held_out():
    pairs = FixedPairs(LATENTS, LATENTS * 2, classes=CLASSES)
    training, validation = pairs.split(0.25, seed=1)
    assert (training.n, validation.n) == (45, 15)
    assert training.latents_sha256 == validation.latents_sha256 == pairs.latents_sha256
    both = np.concatenate([rows_of(training)[0], rows_of(validation)[0]])
    assert np.array_equal(np.sort(both, axis=0), np.sort(rows_of(pairs)[0], axis=0))
    for part in (training, validation):
        rows = part.epoch(1)
        assert torch.equal(rows.labels, rows.sources * 2)
        where = [
            int(np.flatnonzero((rows_of(pairs)[0] == row).all(axis=1))[0])
            for row in rows.sources.numpy()
        ]
        assert np.array_equal(rows.classes, CLASSES[where])
    again = pairs.split(0.25, seed=1)[1]
    assert np.array_equal(rows_of(again)[0], rows_of(validation)[0])
    assert not np.array_equal(rows_of(pairs.split(0.25, seed=2)[1])[0], rows_of(validation)[0])
    assert [part.n for part in pairs.split(0.001)] == [59, 1]
    for share in (0, 1, float("nan")):
        with pytest.raises(ValueError, match="share must be between 0 and 1"):
            pairs.split(share)
    with pytest.raises(ValueError, match="1 pair cannot be split"):
        FixedPairs([[1.0]], [[1.0]]).split(0.5)


def test_matching_loads_what_it_saved(tmp_path):
    """The sources of a file of indices are drawn again from its seed."""
    match(LATENTS, seed=9).save(tmp_path / "m.npz", indices_only=True)
    assert Matching.load(tmp_path / "m.npz").sources is None
    sources, _ = rows_of(FixedPairs.from_file(tmp_path / "m.npz", LATENTS))
    assert np.array_equal(sources, draw_sources(60, 3, 9))


def test_sources_of_earlier_versions_are_drawn_from_one_stream(tmp_path, monkeypatch):
    stream = draw_sources(60, 3, 9)
    monkeypatch.setattr(gtn_label.arrays.sources, "BLOCK_ROWS", 50)
    match(LATENTS, seed=9).save(tmp_path / "m.npz", indices_only=True)
    sources, _ = rows_of(FixedPairs.from_file(tmp_path / "m.npz", LATENTS))
    assert np.array_equal(sources, draw_sources(60, 3, 9))
    assert not np.array_equal(sources, stream)
    arrays, meta = read_pairs(tmp_path / "m.npz")
    del meta["source_block"]
    write_pairs(tmp_path / "m.npz", arrays, meta)
    sources, _ = rows_of(FixedPairs.from_file(tmp_path / "m.npz", LATENTS))
    assert np.array_equal(sources, stream)

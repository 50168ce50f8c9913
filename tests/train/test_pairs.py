"""Pairs: what they hold, where they may come from, and that fresh ones are a function of a seed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import Future

import numpy as np
import pytest
import torch

import gtn_train.pairs.fresh as fresh_module
from gtn_label import Matching, match, match_quantile, quality
from gtn_label.arrays import convert
from gtn_train.pairs import Algorithm1, FixedPairs, FreshPairs, labelings
from gtn_train.seeds import derive

LATENTS = np.random.default_rng(0).normal([1, 0, -2], size=(60, 3))
CLASSES = np.arange(60) % 3 + 4


def rows_of(pairs, epoch=1):
    rows = pairs.epoch(epoch)
    return rows.sources.numpy(), rows.labels.numpy()


# ------------------------------------------------------------------------------------- fixed


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


# ------------------------------------------------------------------------------------- fresh


def test_a_round_is_matched_as_match_does():
    labeling = Algorithm1(order="norm_desc", cone=2, center=True)
    with FreshPairs(LATENTS, labeling, every=2, seed=7) as pairs:
        for epoch, number in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2)):
            assert pairs.round_of(epoch) == number
            wanted = match(
                LATENTS,
                convert.draw_sources(60, 3, derive(derive(7, "round", number), "sources")),
                order="norm_desc",
                cone=2,
                center=True,
            )
            sources, labels = rows_of(pairs, epoch)
            assert np.array_equal(sources, wanted.sources)
            assert np.array_equal(labels, LATENTS[wanted.assignment].astype(np.float32))
            stats = pairs.stats(number)
            assert stats["mean_cosine"] == wanted.cosine.mean()
            assert stats["backend"] == "cpu"
            learnability = quality.learnability(sources, labels) if number == 0 else None
            assert stats.get("learnability") == learnability
            assert stats["seconds"] > 0
            json.dumps(stats)
    json.dumps(pairs.config())


def test_rounds_do_not_depend_on_earlier_ones():
    with FreshPairs(LATENTS, seed=1) as one, FreshPairs(LATENTS, seed=1) as other:
        expected = [rows_of(one, epoch) for epoch in (1, 2, 3)][2]
        for got, wanted in zip(rows_of(other, 3), expected, strict=True):
            assert np.array_equal(got, wanted)
        assert not np.array_equal(rows_of(one, 1)[0], rows_of(one, 2)[0])  # and back
    with FreshPairs(LATENTS, seed=2) as another:
        assert not np.array_equal(rows_of(another, 3)[0], expected[0])


def test_classes_keep_to_themselves():
    with FreshPairs(LATENTS, Algorithm1(classes=CLASSES), seed=1) as pairs:
        first, second = pairs.epoch(1), pairs.epoch(2)
    for rows in (first, second):
        where = [
            int(np.flatnonzero((LATENTS.astype(np.float32) == row).all(axis=1))[0])
            for row in rows.labels.numpy()
        ]
        assert np.array_equal(rows.classes, CLASSES[where])
        assert sorted(where) == list(range(60))
    assert not torch.equal(first.classes, second.classes)
    assert pairs.config()["classes_sha256"] == convert.sha256(CLASSES)


def test_standardized_latents_are_matched_and_given_ones_are_labels():
    latents = LATENTS * [1, 100, 1] + [0, 0, 50]
    latents[:, 2] = 50  # no spread
    with FreshPairs(latents, Algorithm1(standardize=True), seed=1) as pairs:
        sources, labels = rows_of(pairs)
    scaled = (latents - latents.mean(axis=0)) / [*latents[:, :2].std(axis=0), 1]
    wanted = match(scaled, sources)
    assert np.array_equal(labels, latents[wanted.assignment].astype(np.float32))
    assert pairs.latents_sha256 == convert.sha256(latents)


def test_the_next_round_is_matched_in_the_background(monkeypatch):
    started = []
    real = labelings.match

    def watched(*args, **kwargs):
        started.append(threading.current_thread())
        return real(*args, **kwargs)

    monkeypatch.setattr(labelings, "match", watched)
    with FreshPairs(LATENTS, every=3) as pairs:
        for epoch in (1, 2, 3):
            pairs.epoch(epoch)
        pairs._next._thread.join()
        assert len(started) == 2
        assert threading.main_thread() not in started
        pairs.epoch(4)
        pairs._next._thread.join()
        assert len(started) == 3


def test_an_error_is_raised_where_its_round_is_needed(monkeypatch):
    real = labelings.match
    calls = []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("round 1 is too large")
        return real(*args, **kwargs)

    monkeypatch.setattr(labelings, "match", failing)
    with FreshPairs(LATENTS) as pairs:
        pairs.epoch(1)
        pairs._next._thread.join()
        pairs.epoch(1)
        with pytest.raises(MemoryError, match="round 1 is too large"):
            pairs.epoch(2)


def test_close_stops_a_long_matching():
    latents = np.random.default_rng(0).normal(size=(60_000, 48)).astype(np.float32)
    pairs = FreshPairs(latents, Algorithm1(threads=1))
    background = fresh_module._Background(pairs, 0)
    pairs._next = background
    pairs.close()
    pairs.close()
    assert not background._thread.is_alive()
    with pytest.raises(fresh_module._Stopped):
        background.result()
    with pytest.raises(RuntimeError, match="pairs are closed"):
        pairs.epoch(1)


def test_the_interpreter_ends_without_waiting_for_a_round():
    """Also where nobody closes: matching the next round would take minutes."""
    script = (
        "import numpy as np\n"
        "from gtn_train.pairs import Algorithm1, fresh\n"
        "latents = np.random.default_rng(0).normal(size=(200_000, 64)).astype(np.float32)\n"
        "fresh._Background(fresh.FreshPairs(latents, Algorithm1(threads=1)), 0)\n"
        "raise SystemExit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 7


def test_ctrl_c_while_waiting_stops_the_matching(monkeypatch):
    latents = np.random.default_rng(0).normal(size=(60_000, 48)).astype(np.float32)
    stopped = []
    real = fresh_module._Background.stop

    def stop(self):
        real(self)
        stopped.append(self._thread.is_alive())

    def interrupted(self, timeout=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(fresh_module._Background, "stop", stop)
    monkeypatch.setattr(Future, "result", interrupted)
    with FreshPairs(latents, Algorithm1(threads=1)) as pairs, pytest.raises(KeyboardInterrupt):
        pairs.epoch(1)
    assert stopped == [False]


def test_a_labeling_is_no_name():
    with pytest.raises(TypeError, match=r"must be a Labeling, such as .*, got str 'algo"):
        FreshPairs(LATENTS, "algorithm1")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be >= 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be >= 0"),
        ({"order": "up"}, ValueError, "order must be one of"),
        ({"cone": 0}, ValueError, "cone must be >= 1"),
        ({"center": 1}, TypeError, "center must be a bool"),
        ({"standardize": 1}, TypeError, "standardize must be a bool, got int 1"),
        ({"threads": 0}, ValueError, "threads must be >= 1"),
        ({"backend": "abacus"}, ValueError, "backend"),
        ({"classes": [1]}, ValueError, "classes must be 1-D with one label for each of the 60"),
        ({"latents": LATENTS[0]}, ValueError, "latents must be 2-D"),
        ({"latents": LATENTS * np.inf}, ValueError, "latents must be finite"),
    ],
)
def test_options_are_refused_at_once(changes, error, message):
    own = {name: value for name, value in changes.items() if name in ("latents", "every", "seed")}
    with pytest.raises(error, match=message):
        FreshPairs(
            own.pop("latents", LATENTS),
            Algorithm1(
                **{
                    name: value
                    for name, value in changes.items()
                    if name not in own and name != "latents"
                }
            ),
            **own,
        )


def test_a_read_only_map_is_read(tmp_path):
    np.save(tmp_path / "latents.npy", LATENTS.astype(np.float32))
    latents = np.load(tmp_path / "latents.npy", mmap_mode="r")
    with FreshPairs(latents) as pairs:
        assert pairs.epoch(1).labels.shape == (60, 3)


def test_matching_loads_what_it_saved(tmp_path):
    """The sources of a file of indices are drawn again from its seed."""
    match(LATENTS, seed=9).save(tmp_path / "m.npz", indices_only=True)
    assert Matching.load(tmp_path / "m.npz").sources is None
    sources, _ = rows_of(FixedPairs.from_file(tmp_path / "m.npz", LATENTS))
    assert np.array_equal(sources, convert.draw_sources(60, 3, 9))

"""FreshPairs: rounds are a function of a seed, and are matched in the background."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import Future

import numpy as np
import pytest
import torch

import gtn_label.arrays.sources
import gtn_train.pairs.fresh as fresh_module
from gtn_label import match, quality
from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_train.pairs import Algorithm1, DriftingPairs, FreshPairs, labelings
from gtn_train.seeds import derive

LATENTS = np.random.default_rng(0).normal([1, 0, -2], size=(60, 3))
CLASSES = np.arange(60) % 3 + 4


def rows_of(pairs, epoch=1):
    rows = pairs.epoch(epoch)
    return rows.sources.numpy(), rows.labels.numpy()


def test_a_round_is_matched_as_match_does():
    labeling = Algorithm1(order="norm_desc", cone=2, center=True)
    with FreshPairs(LATENTS, labeling, every=2, seed=7) as pairs:
        for epoch, number in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2)):
            assert pairs.round_of(epoch) == number
            wanted = match(
                LATENTS,
                draw_sources(60, 3, derive(derive(7, "round", number), "sources")),
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


def test_a_run_of_other_sources_is_another_run(monkeypatch):
    """A training that an earlier version began on several blocks cannot go on with new ones."""
    kinds = (FreshPairs, DriftingPairs)
    assert all("source_block" not in kind(LATENTS).config() for kind in kinds)
    monkeypatch.setattr(gtn_label.arrays.sources, "BLOCK_ROWS", 50)
    assert all(kind(LATENTS).config()["source_block"] == 50 for kind in kinds)


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

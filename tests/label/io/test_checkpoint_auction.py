"""match_optimal(checkpoint=...): any state that a run saves continues to the same bytes.

Stops at every search and sale are in tests/cpp/test_optimal_resume.cpp, kills of the command in
tests/kill_runs.py, and what all checkpoints share in test_checkpoint.py.
"""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from command import listing
from datasets import make
from gtn_label import Matching, _core, match, match_optimal
from gtn_label.arrays.on_disk import FileChangedError
from gtn_label.io import checkpoint
from gtn_label.io.checkpoint import Checkpoint
from gtn_label.io.checkpoint_content import AuctionContent, PrefixContent, progress_of
from gtn_label.io.checkpoint_file import digest_of
from gtn_label.io.npy import read_npz, write_npz

SLOW = {"backend": "cpu:scalar", "threads": 1}
COUNTS = ("phases", "rounds", "bids", "distinct_latents")


class Stop(Exception):
    """Ends a run."""


def with_equal_rows(n: int, dim: int) -> np.ndarray:
    rows = make("clusters", n, dim)[0]
    rows[::9] = rows[5]
    return rows


def grouped(n: int, m: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n) % groups, np.arange(m) % groups


PROBLEMS: dict[str, dict[str, Any]] = {
    "square": {"latents": with_equal_rows(2500, 20), "sources": make("gaussian", 2500, 20)[1]},
    "spares": {"latents": make("clusters", 2500, 12)[0], "sources": make("gaussian", 1600, 12)[1]},
    "groups": {
        "latents": make("clusters", 3000, 16)[0],
        "sources": make("gaussian", 2800, 16)[1],
        "groups": grouped(2800, 3000, 3),
        "center": True,
    },
    "lines": {  # sorted where a group has as many sources as latents
        "latents": make("gaussian", 2501, 1)[0],
        "sources": make("gaussian", 2500, 1)[1],
        "groups": grouped(2500, 2501, 3),
    },
}


def assert_same(found: Matching, expected: Matching) -> None:
    engine.assert_same(found, expected)
    assert found.prices.tobytes() == expected.prices.tobytes()
    for name in ("gap", "cost", "lower_bound"):
        assert getattr(found, name) == getattr(expected, name)
    for name in COUNTS:
        assert found.stats[name] == expected.stats[name]


def states_of(path: Path, **options: Any) -> tuple[Matching, list[bytes]]:
    """A run's result, and the checkpoints that it saves on the way."""
    states: list[bytes] = []

    def progress(*_: object) -> None:
        if path.exists() and (content := path.read_bytes()) not in states:
            states.append(content)

    return match_optimal(checkpoint=Checkpoint(path, 0.0), progress=progress, **options), states


@pytest.mark.parametrize("tolerance", [0.0, 1e-3])
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_saved_state_continues_to_the_same_bytes(
    tmp_path: Path, name: str, tolerance: float
) -> None:
    path = tmp_path / "run.ckpt"
    options = {**PROBLEMS[name], "tolerance": tolerance}
    expected = match_optimal(**options)
    watched, states = states_of(path, **options, **SLOW)
    assert_same(watched, expected)
    assert not path.exists()
    assert states
    for at, content in enumerate(states[:: math.ceil(len(states) / 4)]):
        path.write_bytes(content)
        rounds = int(read_npz(path)[0]["auction"][2])
        saved = Checkpoint(path)
        other = {"threads": 2} if at % 2 else {"threads": 1, "memory": "5MB"}
        again = match_optimal(checkpoint=saved, **options, **other)
        assert_same(again, expected)
        assert saved.continued_at == rounds
        assert not path.exists()


@pytest.mark.parametrize("as_path", [str, Path])
def test_stopped_again_and_again(tmp_path: Path, as_path: type) -> None:
    path = as_path(tmp_path / "run.ckpt")
    options = {**PROBLEMS["square"], "tolerance": 0.0}
    steps: list[int] = []

    def stop(*_: object) -> None:
        if len(steps) < 6:
            raise Stop

    for _ in range(6):
        with pytest.raises(Stop):
            match_optimal(checkpoint=path, progress=stop, **options, **SLOW)
        steps.append(progress_of(read_npz(path)[0]))
    assert steps == sorted(steps)
    assert_same(match_optimal(checkpoint=path, progress=stop, **options), match_optimal(**options))
    assert listing(tmp_path) == []


def test_a_whole_run_leaves_no_file(tmp_path: Path) -> None:
    rows = make("gaussian", 300, 5)[0]
    match_optimal(rows, checkpoint=tmp_path / "run.ckpt")
    assert listing(tmp_path) == []


def test_the_end_is_kept_until_the_caller_has_the_pairs(tmp_path: Path) -> None:
    rows = make("gaussian", 300, 5)[0]
    path = tmp_path / "run.ckpt"
    expected = match_optimal(rows)
    state = Checkpoint(path, remove_at_end=False)
    match_optimal(rows, checkpoint=state)
    state.save()
    state.release()
    assert_same(match_optimal(rows, checkpoint=path), expected)


def test_latents_of_groups_without_sources_cost_nothing() -> None:
    rows = make("gaussian", 60, 3)[0]
    found = match_optimal(rows, rows[:20], groups=(np.zeros(20, int), np.arange(60) // 30))
    assert not found.prices[30:].any()


# -------------------------------------------------------------------------------- what is refused

ROWS = make("clusters", 4800, 8)[0]
FEWER = make("gaussian", 4000, 8)[1]
GROUPS = grouped(4000, 4800, 2)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of a run in its second group."""
    path = tmp_path_factory.mktemp("auction") / "run.ckpt"
    states = states_of(path, latents=ROWS, sources=FEWER, groups=GROUPS, tolerance=0.0, **SLOW)[1]
    for state in reversed(states):
        path.write_bytes(state)
        counts = read_npz(path)[0]["auction"]
        if counts[0] == 1 and counts[8] > 0:
            return state
    raise AssertionError(f"{len(states)} states, and none in the second group")


@pytest.fixture
def stopped(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "run.ckpt"
    path.write_bytes(content)
    return path


def continued(path: Path, **other: Any) -> Matching:
    options = {"latents": ROWS, "sources": FEWER, "groups": GROUPS, "tolerance": 0.0, **other}
    return match_optimal(checkpoint=path, **options)


def test_a_state_tells_if_sources_have_latents(stopped: Path) -> None:
    state = AuctionContent(_core.OptimalState(keeps=True), 4000)
    assert not state.decided(0)
    state.restore(read_npz(stopped)[0])
    assert state.decided(0)
    prefix = PrefixContent(np.full(9, -1), 9)
    assert (prefix.decided(0), prefix.decided(1)) == (False, True)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"tolerance": 1e-3}, "tolerance was 0.0 and is 0.001"),
        ({"center": True}, "center was False and is True"),
        ({"groups": None}, "source_groups: SHA-256 was [0-9a-f]{12} and is None; latent_groups: "),
        ({"latents": ROWS[::-1]}, "the latents: SHA-256 was [0-9a-f]{12} and is [0-9a-f]{12}"),
        ({"sources": FEWER * 2}, "the sources: SHA-256 was [0-9a-f]{12} and is [0-9a-f]{12}"),
    ],
)
def test_other_runs_are_refused(stopped: Path, other: dict[str, Any], difference: str) -> None:
    before = stopped.read_bytes()
    with pytest.raises(
        ValueError, match=rf"^checkpoint '.*' belongs to another run: {difference}.*delete this one"
    ):
        continued(stopped, **other)
    assert stopped.read_bytes() == before
    assert listing(stopped.parent) == ["run.ckpt"]


def test_the_checkpoint_of_the_other_verb_is_refused(stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"another run: it holds optimal transport, and this is Algorithm 1. Give"
    ):
        match(ROWS, FEWER, groups=GROUPS, checkpoint=stopped)
    other = tmp_path / "other.ckpt"
    visited = match(ROWS, FEWER).visited
    options = {"seed": None, "order": "norm", "cone": 1, "center": False}
    write_npz(
        other, {"visited": visited[:90]}, checkpoint.fingerprint(ROWS, FEWER, None, **options)
    )
    with pytest.raises(
        ValueError, match=r"another run: it holds Algorithm 1, and this is optimal transport. Give"
    ):
        match_optimal(ROWS, FEWER, checkpoint=other)


def test_another_schedule_is_refused(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = checkpoint.SCHEDULE
    monkeypatch.setattr(checkpoint, "SCHEDULE", now + 1)
    with pytest.raises(ValueError, match=f"it follows numeric contract {now}, this is {now + 1}"):
        continued(stopped)


def test_changes_are_found_by_the_hash(stopped: Path) -> None:
    arrays, fields = read_npz(stopped)
    for name in arrays:
        changed = arrays[name].copy()
        changed[0] += 1
        write_npz(stopped, {**arrays, name: changed}, fields)
        with pytest.raises(ValueError, match=r"is damaged: .* \(SHA-256\); delete it to start"):
            continued(stopped)
    write_npz(stopped, arrays, {k: v for k, v in fields.items() if k not in ("run", "digest")})
    with pytest.raises(ValueError, match=r"is damaged: .* \(SHA-256\); delete it to start over$"):
        continued(stopped)


def with_count(at: int, value: int) -> Any:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["auction"][at] = value

    return change


def as_other(name: str, make_other: Any) -> Any:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = make_other(arrays[name])

    return change


def set_to(name: str, where: Any, value: Any) -> Any:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name][where] = value

    return change


def twice(arrays: dict[str, np.ndarray]) -> None:
    arrays["holds"][0] = arrays["holds"][2]


HOSTILE: dict[str, tuple[Any, str]] = {
    "counts are few": (as_other("auction", lambda a: a[:5]), "must have 12 counts"),
    "counts are floats": (as_other("auction", lambda a: a * 1.0), "the array auction in one dim"),
    "counts are a table": (as_other("auction", lambda a: a[:, None]), "the array auction in one"),
    "holds are missing": (lambda arrays: arrays.pop("holds"), "must have the array holds"),
    "holds are narrow": (as_other("holds", lambda a: a.astype(np.int32)), "must have the array h"),
    "holds are few": (as_other("holds", lambda a: a[1:]), "one entry a source and one price a l"),
    "holds are many": (as_other("holds", lambda a: np.append(a, 3)), "one entry a source and one"),
    "holds leave the latents": (set_to("holds", 0, len(ROWS)), "latents of their own group"),
    "holds are negative": (set_to("holds", 0, -5), "latents of their own group"),
    "holds leave their group": (set_to("holds", 0, 1), "latents of their own group"),
    "one latent twice": (twice, "no latent to two sources"),
    "a solved source without": (set_to("holds", 0, -1), "each source of a solved group a latent"),
    "price is short": (as_other("price", lambda a: a[:9]), "one price a latent"),
    "price is below the first": (set_to("price", 1, -2), "prices within their range"),
    "price is huge": (set_to("price", slice(1, None, 2), 2**62), "prices within their range"),
    "prices are NaN": (set_to("prices", 0, math.nan), "finite prices"),
    "prices are integers": (as_other("prices", lambda a: a.astype(np.int64)), "the array prices"),
    "gap is negative": (set_to("gap", 0, -1.0), "a gap that is a number >= 0"),
    "gap is infinite": (set_to("gap", 1, math.inf), "a gap that is a number >= 0"),
    "gap has one number": (as_other("gap", lambda a: a[:1]), "3 numbers of a gap"),
    "groups are negative": (with_count(0, -1), "must count groups of this input"),
    "groups are too many": (with_count(0, 2), "must end with the last group"),
    "rounds are negative": (with_count(2, -1), "counts within their range"),
    "epsilon is huge": (with_count(8, 2**59), "a phase of the schedule"),
    "epsilon is negative": (with_count(8, -1), "counts within their range"),
    "no phase": (with_count(9, 0), "a phase of the schedule"),
    "level is huge": (with_count(11, 2**62), "counts within their range"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_states_that_cannot_be_are_refused(stopped: Path, name: str) -> None:
    """By the engine, as somebody has computed the hash anew."""
    change, rule = HOSTILE[name]
    contents, fields = read_npz(stopped)
    arrays = {name: array.copy() for name, array in contents.items()}
    change(arrays)
    fields.pop("digest")
    signed = fields.pop("run")
    digest = digest_of(fields, arrays)
    write_npz(stopped, arrays, fields | {"run": signed, "digest": digest})
    with pytest.raises(ValueError, match=r"delete it to start over$") as caught:
        continued(stopped)
    assert rule in str(caught.value)
    assert str(caught.value).startswith(f"checkpoint '{stopped}' ")
    assert listing(stopped.parent) == ["run.ckpt"]


def test_a_truncated_file_is_refused(stopped: Path) -> None:
    stopped.write_bytes(stopped.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"truncated or not .*; delete it to start over$"):
        continued(stopped)


def test_a_second_run_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(ValueError, match="must be a file that no other run uses") as caught:
            match_optimal(ROWS, checkpoint=path)
        refused.append(str(caught.value))

    def progress(*_: object) -> None:
        if not refused:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    match_optimal(**PROBLEMS["spares"], checkpoint=path, progress=progress, **SLOW)
    assert refused
    assert listing(tmp_path) == []


# ----------------------------------------------------------------------------- files that change


@pytest.mark.parametrize("keep_time", [False, True])
def test_no_state_of_changed_rows_is_saved(tmp_path: Path, keep_time: bool) -> None:
    """With the time kept, only the hash at the end tells that they changed."""
    file, path = tmp_path / "latents.npy", tmp_path / "run.ckpt"
    rows, options = PROBLEMS["spares"]["latents"], {"sources": PROBLEMS["spares"]["sources"]}
    np.save(file, rows)
    stops: list[bytes] = []

    def stop(*_: object) -> None:
        if path.exists():
            stops.append(path.read_bytes())
            raise Stop

    with pytest.raises(Stop):
        match_optimal(
            np.load(file, mmap_mode="r"),
            checkpoint=Checkpoint(path, 0.0),
            progress=stop,
            **options,
            **SLOW,
        )
    before = read_npz(path)[0]
    changed: list[int] = []

    def change(*_: object) -> None:
        if changed:
            return
        status = file.stat()
        with file.open("r+b") as out:
            out.seek(-40, os.SEEK_END)
            out.write(rows.tobytes()[:40])
        later = status.st_mtime_ns if keep_time else status.st_mtime_ns + 10**9
        os.utime(file, ns=(status.st_atime_ns, later))
        changed.append(1)

    with pytest.raises(FileChangedError):
        match_optimal(
            np.load(file, mmap_mode="r"),
            checkpoint=Checkpoint(path, 1e9),
            progress=change,
            **options,
            **SLOW,
        )
    after = read_npz(path)[0]
    for name, array in before.items():
        assert after[name].tobytes() == array.tobytes()
    np.save(file, rows)
    again = match_optimal(np.load(file, mmap_mode="r"), checkpoint=path, **options)
    assert_same(again, match_optimal(rows, **options))

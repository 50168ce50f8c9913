"""One run: where it begins, who hears of it, and what it makes of the engine's errors."""

from __future__ import annotations

import numpy as np
import pytest

import engine
import oracle
from datasets import make, make_groups
from gtn_label import ArgumentError, _core, match
from gtn_label.arrays.sources import draw_sources
from gtn_label.backend.engines import make_engine
from gtn_label.backend.names import resolve
from memory_checkpoint import Prefix

OPTIONS = [
    {},
    {"order": "norm_desc", "cone": 4},
    {"order": "index", "center": True},
    {"groups": "many", "cone": 2},
]
DATA = [
    ("gaussian", 3000, 16),
    ("lattice", 3000, 3),
    ("repeated 50 times", 2000, 7),
    ("1e3 + noise", 2000, 100),
    ("collinear", 700, 2),
]


@pytest.fixture(params=DATA, ids=lambda data: f"{data[0]} {data[1]}x{data[2]}")
def rows(request):
    return make(*request.param)


def whole(latents, sources, options):
    """One undisturbed run: its options with real groups, and its result."""
    options = dict(options)
    if "groups" in options:
        options["groups"] = make_groups(options["groups"], len(sources), len(latents))
    return options, match(latents, sources, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_visited_is_the_assignment_in_visiting_order(rows, options):
    latents, sources = rows
    options, matching = whole(latents, sources[:-100], options)
    problem = oracle.Problem(latents, sources[:-100], **options)
    assert matching.visited.tolist() == matching.assignment[problem.order].tolist()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_resume_from_any_prefix(rows, options):
    latents, sources = rows
    options, expected = whole(latents, sources[:-100], options)
    n = len(expected.visited)
    for start in (0, 1, 31, 500, n // 2 + 7, n - 1, n):
        prefix = Prefix(expected.visited[:start])
        resumed = match(latents, sources[:-100], checkpoint=prefix, **options)
        engine.assert_same(resumed, expected)
        assert prefix.visited.tolist() == expected.visited.tolist()


class Stop(Exception):
    """Raised by a listener to end a run."""


def test_the_engine_reports_no_fewer_than_an_earlier_run_decided():
    """It prepares the run and replays whole groups, both long enough to be polled."""
    n, dim = 1_000_000, 8
    latents = draw_sources(n, dim, 0)
    groups = np.repeat(np.arange(4), n // 4)
    made, _ = make_engine(resolve("cpu:scalar"), "cpu", dim, 1)
    for start in (n - 100, n):
        reports: list[int] = []
        _core.match_rows(
            latents=latents,
            sources=latents,
            order="norm",
            cone=1,
            center=False,
            source_groups=groups,
            latent_groups=groups,
            instruction_set="scalar",
            engine=made,
            threads=1,
            memory=0,
            visited=np.arange(n),
            start=start,
            poll=reports.append,
        )
        assert min(reports) >= start
        assert reports == sorted(reports)
        assert reports[-1] == n


def test_resume_from_what_a_stopped_run_left():
    """Stop at every report, go on from its prefix; also with another instruction set."""
    latents, sources = make("gaussian", 6000, 64)
    expected = match(latents, sources)
    prefix = Prefix()
    stops = [0]

    def stop(done):
        assert done >= stops[-1]
        assert (prefix.visited[:done] >= 0).all()
        if stops[-1] < done < 6000:
            stops.append(done)
            raise Stop

    for attempt in range(1000):
        backend = engine.USABLE[attempt % len(engine.USABLE)]
        prefix = Prefix(prefix.visited[: stops[-1]], listen=stop)
        try:
            resumed = match(latents, sources, checkpoint=prefix, backend=backend)
            break
        except Stop:
            pass
    engine.assert_same(resumed, expected)


def test_a_prefix_that_is_none_is_refused():
    latents, sources = make("gaussian", 300, 4)
    _, expected = whole(latents, sources, {})
    for at, wrong in ((0, 300), (5, -1), (9, expected.visited[3])):
        decided = expected.visited.copy()
        decided[at] = wrong
        with pytest.raises(ValueError, match="visited"):
            match(latents, sources, checkpoint=Prefix(decided, start=10))
    for start in (-1, 301):
        with pytest.raises(ValueError, match="start"):
            match(latents, sources, checkpoint=Prefix(expected.visited, start=start))


def test_a_prefix_from_another_group_is_refused():
    latents, sources = make("gaussian", 300, 4)
    options, expected = whole(latents, sources, {"groups": "two"})
    decided = expected.visited.copy()
    decided[0] = expected.visited[-1]
    with pytest.raises(ValueError, match="visited"):
        match(latents, sources, checkpoint=Prefix(decided, start=5), **options)


def test_the_checkpoint_sees_final_entries_and_the_end():
    latents = make("gaussian", 2000, 8)[0]
    seen = []
    prefix = Prefix(listen=lambda done: seen.append((done, prefix.visited[:done].copy())))
    match(latents, checkpoint=prefix)
    assert seen[-1][0] == 2000
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for done, decided in seen:
        np.testing.assert_array_equal(decided, prefix.visited[:done])


def test_the_checkpoint_hears_first():
    calls = []
    match(
        make("gaussian", 50, 3)[0],
        checkpoint=Prefix(listen=lambda done: calls.append(("checkpoint", done))),
        progress=lambda done, total, left: calls.append(("progress", done)),
    )
    assert calls[-2:] == [("checkpoint", 50), ("progress", 50)]


@pytest.mark.parametrize("listener", ["checkpoint", "progress"])
def test_what_a_listener_raises_propagates(listener):
    def stop(done, *_):
        raise Stop(f"at {done}")

    listens = Prefix(listen=stop) if listener == "checkpoint" else stop
    with pytest.raises(Stop, match="at "):
        match(make("gaussian", 50, 3)[0], **{listener: listens})


@pytest.mark.parametrize("message", ["latents are odd", "no argument at all"])
def test_other_errors_keep_their_text(message):
    """An error that is not the engine's may begin with a name, too."""

    def fail(*_):
        raise ValueError(message)

    with pytest.raises(ValueError, match=f"^{message}$"):
        match(make("gaussian", 50, 3)[0], progress=fail)


@pytest.mark.parametrize(
    ("change", "options", "name"),
    [
        (lambda rows: rows * np.nan, {}, "latents"),
        (lambda rows: rows, {"memory": 1}, "memory"),
        (lambda rows: rows, {"groups": ([0] * 50, [1] * 50)}, "groups"),
    ],
)
def test_errors_of_the_engine_name_the_argument(change, options, name):
    with pytest.raises(ArgumentError) as caught:
        match(change(make("gaussian", 50, 3)[0]), **options)
    error = caught.value
    assert error.names == (name,)
    assert error.got == ("1" if name == "memory" else "")
    assert str(error).startswith(name)

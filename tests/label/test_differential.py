"""The engine against the oracle, equal bit for bit, on every instruction set present.

The cases are a covering design (see pair_cover.py): each data set at every dimension with 1,000
rows and with a tiny number, each with 5,000 rows in one dimension, and all pairs of levels of all
factors. `-m exhaustive` runs every data set at every shape with several draws of the options.
"""

from __future__ import annotations

import functools
import itertools
import random

import numpy as np
import pytest

import engine
import oracle
import oracle_answers
from cases import inputs, label
from datasets import NAMES
from pair_cover import complete, pairs_of

DIMS = (1, 2, 3, 5, 7, 8, 16, 33, 64, 100, 513)
TINY = (1, 2, 31, 32, 33)
MEDIUM = 1000
LARGE = 5000
OPTIONS = {
    "order": ("norm", "norm_desc", "index"),
    "cone": (1, 4, 64),
    "groups": ("none", "two", "many"),
    "center": (False, True),
    "threads": (1, 2, 7),
    "share": (1.0, 0.6),
}


def large_dim(number: int, name: str) -> int:
    """Return the dimension in which the data set number `number` runs at n = 5,000."""
    # The oracle scores every pair of collinear rows in contract arithmetic.
    return 16 if name == "collinear" else DIMS[number % len(DIMS)]


def design():
    """Cases of the covering design."""
    shapes = list(itertools.product(NAMES, DIMS))
    # Five sizes and eleven dimensions: going round pairs each size with every one of them.
    small = [
        {"data": name, "dim": dim, "n": n}
        for (name, dim), n in zip(shapes, itertools.cycle(TINY), strict=False)
    ]
    medium = [{"data": name, "dim": dim, "n": MEDIUM} for name, dim in shapes]
    large = [
        {"data": name, "dim": large_dim(number, name), "n": LARGE}
        for number, name in enumerate(NAMES)
    ]
    return complete(large + medium + small, OPTIONS)


CASES = design()


def every_size(name: str, dim: int):
    """The data set at every size, each several times with options drawn at random."""
    rng = random.Random(f"{name} {dim}")
    for n in (*TINY, MEDIUM, LARGE):
        if name == "collinear" and n == LARGE and dim > 16:
            continue
        for _ in range(1 if n == LARGE else 4):
            drawn = {option: rng.choice(levels) for option, levels in OPTIONS.items()}
            yield {"data": name, "dim": dim, "n": n, **drawn}


def key_of(case):
    """Return what the oracle's answer to a case depends on."""
    return tuple((name, case[name]) for name in sorted(case) if name != "threads")


@functools.lru_cache(maxsize=2)
def _solved(key):
    stored = oracle_answers.find(key)
    if stored is not oracle_answers.UNKNOWN:
        return stored
    latents, sources, options = inputs(dict(key))
    try:
        return oracle.solve(latents, sources, **options)
    except oracle.Refused:
        return None


def compare(case, backend: str, threads: int) -> None:
    """Run the engine on the case and demand the oracle's bits, or its refusal."""
    latents, sources, options = inputs(case)
    expected = _solved(key_of(case))
    if expected is None:
        with pytest.raises(ValueError, match=r"latents|sources"):
            engine.run(latents, sources, backend=backend, threads=threads, **options)
        return
    matching = engine.run(latents, sources, backend=backend, threads=threads, **options)
    engine.assert_same(matching, expected)


def test_design_covers_every_pair():
    levels = {"data": NAMES, "dim": DIMS, "n": (*TINY, MEDIUM, LARGE), **OPTIONS}
    met = set().union(*(pairs_of(case) for case in CASES))
    for a, b in itertools.combinations(sorted(levels), 2):
        every = itertools.product(
            [(a, level) for level in levels[a]], [(b, level) for level in levels[b]]
        )
        assert not set(every) - met, f"{a} with {b}"
    at = {(case["data"], case["dim"]) for case in CASES if case["n"] != LARGE}
    assert at == set(itertools.product(NAMES, DIMS))
    assert {case["data"] for case in CASES if case["n"] == LARGE} == set(NAMES)


@pytest.mark.parametrize(
    ("case", "backend"),
    [
        engine.param(case, backend=backend, id=f"{label(case)} {backend}")
        for case in CASES
        for backend in engine.USABLE
    ],
)
def test_engine_equals_oracle(case, backend):
    # Each instruction set gets another thread count, so that each meets all of them.
    shift = engine.USABLE.index(backend)
    threads = OPTIONS["threads"]
    chosen = threads[(threads.index(case["threads"]) + shift) % len(threads)]
    compare(case, backend, chosen)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", NAMES)
def test_engine_equals_oracle_everywhere(name, dim):
    for case in every_size(name, dim):
        for backend in engine.USABLE:
            try:
                compare(case, backend, case["threads"])
            except AssertionError as error:
                raise AssertionError(f"{label(case)} {backend}") from error


def test_some_instruction_set_is_usable():
    assert "cpu:scalar" in engine.USABLE


@pytest.mark.parametrize("order", ["norm", "norm_desc"])
def test_values_that_centring_rounds_together(order):
    # Beside a mean of billions, small latents all become one value: ties between different rows.
    rng = np.random.default_rng(5)
    small = rng.random(30, dtype=np.float32) * np.float32(1e-30)
    latents = np.concatenate([small[rng.integers(0, 30, 300)], np.full(100, 1e10, np.float32)])
    latents = rng.permutation(latents)[:, None]
    sources = rng.standard_normal((400, 1))
    expected = oracle.solve(latents, sources, order=order, center=True)
    for backend in engine.USABLE:
        matching = engine.run(latents, sources, backend=backend, order=order, center=True)
        engine.assert_same(matching, expected)

"""Options: one list of them for all verbs, and the number of threads."""

from __future__ import annotations

import inspect
import os
from dataclasses import fields

import numpy as np
import pytest

import gtn_label
from gtn_label import checks, match, match_approx, match_mixture
from gtn_label.match_options import ApproxOptions, MatchOptions, MixtureOptions

NAMES = {option.name for option in fields(MatchOptions)}


def gaussian(n: int, dim: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)


class TestNames:
    def test_match_has_all_options_with_their_defaults(self):
        parameters = inspect.signature(match).parameters
        keywords = {name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}
        assert keywords - {"seed"} == NAMES
        for option in fields(MatchOptions):
            assert parameters[option.name].default == option.default

    def test_other_verbs_have_those_that_apply(self):
        assert set(ApproxOptions.__annotations__) == NAMES - {"backend"}
        assert set(MixtureOptions.__annotations__) == NAMES - {"center", "groups"}
        for verb, options in ((match_approx, ApproxOptions), (match_mixture, MixtureOptions)):
            shown = inspect.signature(verb).parameters
            assert "options" not in shown
            for name in options.__annotations__:
                assert shown[name].default == inspect.signature(match).parameters[name].default

    @pytest.mark.parametrize(
        ("verb", "name"),
        [
            (match, "centre"),
            (match_approx, "centre"),
            (match_approx, "backend"),
            (match_mixture, "center"),
            (match_mixture, "groups"),
        ],
    )
    def test_others_are_refused(self, verb, name):
        words = rf"{verb.__name__}\(\) got an unexpected keyword argument '{name}'"
        with pytest.raises(TypeError, match=words):
            verb(gaussian(9, 2), **{name: None})


class TestThreads:
    def test_default_is_what_the_process_may_use(self):
        expected = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        assert checks.usable_cpus() == (expected or os.cpu_count())

    def test_default_reaches_the_engine(self, monkeypatch):
        monkeypatch.setattr(checks, "usable_cpus", lambda: 3)
        assert gtn_label.match(gaussian(30, 3)).stats["threads"] == 3

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
    def test_affinity_is_respected(self):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert checks.usable_cpus() == 1
            assert gtn_label.match(gaussian(30, 3)).stats["threads"] == 1
        finally:
            os.sched_setaffinity(0, before)

    def test_more_than_could_help_are_not_started(self, monkeypatch):
        monkeypatch.setattr(checks, "MOST_THREADS", 3)
        monkeypatch.setattr(checks, "usable_cpus", lambda: 0)
        assert gtn_label.match(gaussian(300, 6), threads=10**25).stats["threads"] == 3

"""Options: one list of them for all verbs."""

from __future__ import annotations

import inspect
from dataclasses import fields

import numpy as np
import pytest

from gtn_label import match, match_approx, match_mixture
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

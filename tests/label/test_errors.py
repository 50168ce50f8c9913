"""Refusals of match(), and their words: each message names argument, rule and value found.

The same list from the shell is in the command's tests; unreadable files are in those of
io/files.py.
"""

from __future__ import annotations

import datetime
import pathlib
import pickle
import re

import numpy as np
import pytest

import gtn_label
from gtn_label import ArgumentError, ArgumentTypeError


def rows(n: int = 6, dim: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, dim))


def refused(error, message, latents=None, sources=None, **options):
    """Assert that match raises exactly `error` with a one-line message that matches `message`."""
    with pytest.raises(error, match=message) as caught:
        gtn_label.match(rows() if latents is None else latents, sources, **options)
    assert "\n" not in str(caught.value)


@pytest.fixture(params=["latents", "sources"])
def which(request):
    """Both arrays get the same checks, each under its own name."""
    return request.param


class TestError:
    def test_other_names_change_nothing_else(self):
        error = ArgumentError(("sources", "latents"), "must match", "2 and 3", "pass more")
        assert str(error) == "sources and latents must match, got 2 and 3; pass more"
        assert error.spelled({"latents": "LATENTS 'sources'"}) == (
            "sources and LATENTS 'sources' must match, got 2 and 3; pass more"
        )

    @pytest.mark.parametrize("kind", [ArgumentError, ArgumentTypeError])
    def test_is_of_a_kind_that_python_has_and_can_be_pickled(self, kind):
        error = kind("cone", "must be >= 1", "0")
        again = pickle.loads(pickle.dumps(error))
        assert isinstance(again, ValueError if kind is ArgumentError else TypeError)
        assert (again.names, again.rule, again.got) == (("cone",), "must be >= 1", "0")
        assert str(again) == str(error)

    def test_verbs_name_the_argument(self):
        with pytest.raises(ArgumentTypeError) as caught:
            gtn_label.match(rows(), cone="3")
        assert (caught.value.names, caught.value.got) == (("cone",), "str '3'")


class TestShape:
    def test_one_dimension_says_how_to_reshape(self, which):
        message = rf"{which} must be 2-D .*got 1-D shape \(6,\): rows of one value"
        refused(ValueError, message, **{which: np.ones(6)})

    def test_three_dimensions_say_how_to_reshape(self, which):
        advice = re.escape("as one row an entry it has shape (6, 6)")
        message = rf"{which} must be 2-D .*got 3-D shape \(6, 2, 3\): {advice}"
        refused(ValueError, message, **{which: np.ones((6, 2, 3))})

    def test_a_single_value(self, which):
        refused(ValueError, f"{which} must be 2-D .*got a single value", **{which: 3.0})

    def test_no_rows(self, which):
        message = rf"{which} must have at least one row \(n >= 1\), got shape \(0, 3\)"
        refused(ValueError, message, **{which: np.ones((0, 3))})

    def test_no_columns(self, which):
        message = rf"{which} must have at least one column \(dim >= 1\), got shape \(6, 0\)"
        refused(ValueError, message, **{which: np.ones((6, 0))})

    def test_ragged_lists(self, which):
        message = f"{which} must be a rectangular array of numbers"
        refused(ValueError, message, **{which: [[1.0, 2.0], [3.0]]})

    def test_different_dims(self):
        message = r"must have the same dim, got sources \(6, 2\) and latents \(6, 3\)"
        refused(ValueError, message, sources=rows(6, 2))

    def test_more_sources_than_latents(self):
        message = "^sources must not exceed the 6 latents, got 7 sources; draw or pass fewer$"
        refused(ValueError, message, sources=rows(7))


class TestDtype:
    @pytest.mark.parametrize(
        ("value", "found"),
        [
            (np.ones((6, 3), complex), "complex128"),
            (np.ones((6, 3), bool), "bool"),
            (np.full((6, 3), "1.0"), "<U3"),
            (np.full((6, 3), b"1.0"), r"\|S3"),
            (np.full((6, 3), 1.0, dtype=object), "object"),
            (np.zeros((6, 3), "datetime64[s]"), r"datetime64\[s\]"),
            (np.zeros((6, 3), "timedelta64[s]"), r"timedelta64\[s\]"),
            (np.zeros((6, 3), [("a", "f4")]), r"\[\('a', '<f4'\)\]"),
            ([["1", "2"]], "<U1"),
            ([[1, 2**70]], "object"),
            ([[None, 1.0]], "object"),
            ([[datetime.date(2020, 1, 1)]], "object"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_other_dtypes(self, which, value, found):
        refused(TypeError, f"^{which} must have dtype float16, .*got {found}", **{which: value})

    @pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="long double is float64 here")
    def test_longdouble_is_not_narrowed_silently(self, which):
        message = rf"{which} must have dtype .*got float\d+; .*{which}\.astype\('float64'\)"
        refused(TypeError, message, **{which: np.ones((6, 3), np.longdouble)})

    @pytest.mark.parametrize("value", ["a.npy", b"a.npy", pathlib.Path("a.npy")])
    def test_a_path_is_not_an_array(self, which, value):
        refused(TypeError, f"{which} must be an array, got .*a.npy.*numpy.load", **{which: value})

    def test_none_for_latents(self):
        message = r"^latents must be an array, got None; pass a NumPy array"
        with pytest.raises(TypeError, match=message):
            gtn_label.match(None)

    def test_an_array_on_a_gpu_without_dlpack(self, which):
        class Old:
            __cuda_array_interface__ = {"shape": (3, 2), "typestr": "<f4"}  # noqa: RUF012

        message = f"^{which} must offer __dlpack__ to be read on a GPU, got Old, which has only "
        refused(TypeError, message, **{which: Old()})

    def test_sparse(self, which):
        sparse = pytest.importorskip("scipy.sparse")
        for matrix in (sparse.csr_matrix(np.eye(6)), sparse.coo_array(np.eye(6))):
            message = rf"{which} must be a dense array, got sparse .*{which}\.toarray\(\)"
            refused(TypeError, message, **{which: matrix})

    def test_masked_values(self, which):
        masked = np.ma.masked_less(rows(), -0.5)
        count = int(masked.mask.sum())
        refused(ValueError, f"{which} must have no masked values, got {count}", **{which: masked})


class TestValues:
    """The engine's own checks, in its words: array, rule, how many rows, the first five."""

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, which, dtype, bad):
        value = rows(300).astype(dtype)
        at = [3, 17, 64, 100, 200, 201, 299]
        value[at, np.arange(7) % 3] = bad
        options = {which: value} if which == "latents" else {"latents": rows(300), which: value}
        refused(ValueError, rf"^{which}\b.*\b7\b.*3, 17, 64, 100, 200\b(?!, 201)", **options)

    def test_zero_rows(self, which):
        value = rows(300)
        value[[5, 250]] = 0
        options = {which: value} if which == "latents" else {"latents": rows(300), which: value}
        refused(ValueError, rf"^{which}\b.*zero.*\b2\b.*5, 250", **options)

    @pytest.mark.parametrize("scale", [1e200, 1e-170])
    def test_norms_out_of_range(self, which, scale):
        value = rows(300)
        value[42] *= scale
        options = {which: value} if which == "latents" else {"latents": rows(300), which: value}
        refused(ValueError, rf"^{which}\b.*norm.*\b1\b.*\b42\b", **options)

    def test_latents_that_equal_their_mean_have_no_direction_once_centred(self):
        latents = np.array([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
        refused(
            ValueError,
            r"^latents must have a direction after centring.*row 2$",
            latents,
            center=True,
        )

    def test_group_with_too_few_latents(self):
        message = r"group 7\b.*3 sources.*1 latent"
        groups = ([7, 7, 7, 0, 0, 0], [0, 0, 0, 0, 0, 7])
        refused(ValueError, message, groups=groups)

    def test_nothing_runs_after_a_refusal(self):
        value = rows()
        value[0] = 0
        calls = []
        refused(ValueError, "latents", value, progress=lambda *call: calls.append(call))
        assert calls == []


class TestOptions:
    @pytest.mark.parametrize("order", ["random", "", None, 1, ["norm"]])
    def test_order(self, order):
        message = re.escape(f"order must be one of 'norm', 'norm_desc', 'index', got {order!r}")
        refused(ValueError, message, order=order)

    @pytest.mark.parametrize("name", ["cone", "threads", "memory"])
    @pytest.mark.parametrize("value", [0, -1, np.int64(-5)])
    def test_integers_below_one(self, name, value):
        refused(ValueError, f"^{name} must be >= 1, got {value}$", **{name: value})

    def test_negative_seed(self):
        refused(ValueError, "^seed must be >= 0, got -1$", seed=-1)

    def test_seed_is_checked_even_if_unused(self):
        refused(ValueError, "^seed must be >= 0, got -1$", sources=rows(), seed=-1)

    @pytest.mark.parametrize("name", ["seed", "cone", "threads", "memory"])
    @pytest.mark.parametrize(
        "value", [True, np.bool_(True), np.array(True), 1.0, np.array(1.0), "2", [1], np.ones(2)]
    )
    def test_not_integers(self, name, value):
        if name == "memory" and isinstance(value, str):  # a size
            return
        refused(TypeError, rf"^{name} must be an int( \(bytes\))?, got ", **{name: value})

    @pytest.mark.parametrize("scalar", [np.uint8, np.int64, lambda n: np.array(n, np.int32)])
    def test_integers_of_numpy(self, scalar):
        found = gtn_label.match(rows(), seed=scalar(3), cone=scalar(2), threads=scalar(1))
        assert (found.meta["seed"], found.meta["cone"]) == (3, 2)
        assert type(found.meta["seed"]) is int

    def test_integers_of_torch(self):
        torch = pytest.importorskip("torch")
        assert gtn_label.match(rows(), seed=torch.tensor(3)).meta["seed"] == 3
        refused(TypeError, "^seed must be an int, got Tensor", seed=torch.tensor(True))
        refused(TypeError, "^seed must be an int, got Tensor", seed=torch.tensor([1, 2]))
        refused(ValueError, "^seed must be >= 0, got -1$", seed=torch.tensor(-1))

    @pytest.mark.parametrize(
        ("seed", "advice"),
        [
            (np.random.PCG64(1), r"numpy\.random\.Generator\(seed\)"),
            (np.random.SeedSequence(1), r"numpy\.random\.default_rng\(seed\)"),
            (np.random.RandomState(1), r"numpy\.random\.default_rng\(seed\.randint"),
        ],
    )
    def test_other_sources_of_chance(self, seed, advice):
        message = rf"^seed must be an int or a numpy\.random\.Generator, got numpy.*; pass {advice}"
        refused(TypeError, message, seed=seed)

    def test_order_as_an_array(self):
        message = r"^order must be one of .*; .* pass sources\[order\] and order='index'$"
        refused(ValueError, message, order=np.arange(6))

    @pytest.mark.parametrize("value", ["2X", "", "-1GB", "0", "9" * 10**6, "1e3"])
    def test_memory_that_is_no_size(self, value):
        message = r"^memory must be above zero: a number of bytes, or a size .*, got '"
        refused(ValueError, message, memory=value)

    def test_memory_as_in_the_shell(self):
        found = gtn_label.match(rows(), memory="0.5 GiB")
        assert found.assignment.tolist() == gtn_label.match(rows()).assignment.tolist()

    @pytest.mark.parametrize("name", ["seed", "cone"])
    def test_none_is_no_integer(self, name):
        refused(TypeError, f"^{name} must be an int, got NoneType None$", **{name: None})

    @pytest.mark.parametrize("value", [0, 1, None, "yes", 1.0])
    def test_center(self, value):
        refused(TypeError, f"^center must be a bool, got .*{value!r}$", center=value)

    def test_memory_too_small_says_what_is_needed(self):
        with pytest.raises((ValueError, MemoryError), match=r"memory.*\d+"):
            gtn_label.match(rows(5000, 64), memory=1)

    @pytest.mark.parametrize("value", [0, 1, "bar", [print]])
    def test_progress(self, value):
        message = r"^progress must be None, True or a callable \(done, total, seconds_left\), got "
        refused(TypeError, message, progress=value)

    @pytest.mark.parametrize("name", ["faiss:", "CUDA", "gpu"])
    def test_unknown_backend(self, name):
        message = f"^backend must be one of auto, cpu, cpu:.*, got '{name}'$"
        refused(ValueError, message, backend=name)

    def test_backend_is_a_str(self):
        refused(TypeError, "^backend must be a str, got int 3$", backend=3)

    def test_options_are_by_keyword_only(self):
        with pytest.raises(TypeError, match="positional"):
            gtn_label.match(rows(), rows(), 0)


class TestGroups:
    @pytest.mark.parametrize(
        ("groups", "found"),
        [
            (np.zeros(6, int), "ndarray"),
            ([0] * 6, "list of length 6"),
            (([0] * 6,), "tuple of length 1"),
            ("ab", "str"),
            ({0: 1, 2: 3}, "dict"),
        ],
    )
    def test_must_be_a_pair(self, groups, found):
        message = rf"^groups must be a pair \(source_groups, latent_groups\), got {found}$"
        refused(TypeError, message, groups=groups)

    @pytest.mark.parametrize("length", [0, 5, 7])
    def test_lengths(self, length):
        bad, good = np.zeros(length, int), np.zeros(6, int)
        message = (
            rf"^{{}} must be 1-D with one label for each of the 6 {{}}, got shape \({length},\)"
        )
        refused(ValueError, message.format("source_groups", "sources"), groups=(bad, good))
        refused(ValueError, message.format("latent_groups", "latents"), groups=(good, bad))

    def test_source_groups_fit_the_sources_given(self):
        groups = np.zeros(6, int), np.zeros(6, int)
        message = "source_groups must be 1-D with one label for each of the 4 sources"
        refused(ValueError, message, sources=rows(4), groups=groups)

    def test_two_dimensional(self):
        groups = np.zeros((6, 1), int), np.zeros(6, int)
        refused(ValueError, r"source_groups must be 1-D.*got shape \(6, 1\)", groups=groups)

    @pytest.mark.parametrize("dtype", ["f8", "?", "O", "c8"])
    def test_integers_or_strings_only(self, dtype):
        bad, good = np.zeros(6, int).astype(dtype), np.zeros(6, int)
        message = "^latent_groups must hold strings or integers, got dtype "
        refused(TypeError, message, groups=(good, bad))

    def test_strings_on_one_side(self):
        message = "^source_groups and latent_groups must both hold .* got integers and strings$"
        refused(TypeError, message, groups=([0] * 6, ["a"] * 6))

    def test_one_side_missing(self):
        message = "^latent_groups must be an array, got None"
        refused(TypeError, message, groups=(np.zeros(6, int), None))

    def test_beyond_int64(self):
        bad, good = np.full(6, 2**63, np.uint64), np.zeros(6, int)
        message = "^source_groups must fit int64, got 9223372036854775808"
        refused(ValueError, message, groups=(bad, good))

"""Matching: what it holds, pairs(), torch in and torch out, save and load, repr.

The bytes and formats of files are tested with io/files.py; here it is what survives the trip.
"""

from __future__ import annotations

import copy
import doctest
import importlib
import json
import pickle
import pkgutil

import numpy as np
import pytest

import gtn_label
from gtn_label import Matching
from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.io import files


def gaussian(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@pytest.fixture
def latents() -> np.ndarray:
    return gaussian(40, 3)


@pytest.fixture
def sources() -> np.ndarray:
    return gaussian(30, 3, 1)


class TestArrays:
    def test_dtypes_and_shapes(self, latents, sources):
        m = gtn_label.match(latents, sources)
        assert (m.assignment.dtype, m.assignment.shape) == (np.int64, (30,))
        assert (m.cosine.dtype, m.cosine.shape) == (np.float64, (30,))
        assert len(np.unique(m.assignment)) == 30
        np.testing.assert_array_equal(m.sources, sources)

    def test_are_read_only(self, latents, sources):
        labels = np.zeros(30, int), np.zeros(40, int)
        m = gtn_label.match(latents, sources, groups=labels)
        for array in (m.assignment, m.cosine, m.sources, *m.groups):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0

    def test_cosine_is_the_cosine(self, latents, sources):
        m = gtn_label.match(latents, sources)
        y, x = (rows.astype(np.float64) for rows in m.pairs())
        expected = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        np.testing.assert_allclose(m.cosine, expected, rtol=1e-12)

    def test_sources_keep_dtype_and_are_not_copied(self, latents):
        given = gaussian(30, 3, 1).astype(np.float16)
        m = gtn_label.match(latents, given)
        assert m.sources.dtype == np.float16
        assert np.shares_memory(m.sources, given)

    def test_groups_are_none_or_as_given(self, latents, sources):
        assert gtn_label.match(latents, sources).groups is None
        m = gtn_label.match(latents, sources, groups=([5] * 30, [5] * 40))
        assert m.groups[0].tolist() == [5] * 30
        assert m.groups[1].tolist() == [5] * 40


class TestPairs:
    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "f2", "i4"])
    def test_labels_are_rows_as_given(self, dtype, sources):
        latents = (gaussian(40, 3) * 50 + 200).astype(dtype)
        m = gtn_label.match(latents, sources, center=True)
        given, labels = m.pairs()
        np.testing.assert_array_equal(given, sources)
        np.testing.assert_array_equal(labels, latents[m.assignment])
        assert labels.dtype == latents.dtype

    def test_are_fresh_and_writable(self, latents, sources):
        m = gtn_label.match(latents, sources)
        before = latents.copy(), sources.copy()
        for array in m.pairs():
            array[:] = 0
        np.testing.assert_array_equal(latents, before[0])
        np.testing.assert_array_equal(sources, before[1])
        assert m.pairs()[1].any()

    def test_latents_are_referenced_not_copied(self, latents, sources):
        m = gtn_label.match(latents, sources)
        latents[m.assignment[0]] = 77
        assert m.pairs()[1][0].tolist() == [77, 77, 77]


class TestTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    def test_out_for_torch_in(self, latents, sources):
        expected = gtn_label.match(latents, sources)
        m = gtn_label.match(self.torch.from_numpy(latents), self.torch.from_numpy(sources))
        assert m.assignment.dtype == self.torch.int64
        assert m.cosine.dtype == self.torch.float64
        np.testing.assert_array_equal(m.assignment.numpy(), expected.assignment)
        np.testing.assert_array_equal(m.cosine.numpy(), expected.cosine)
        y, x = m.pairs()
        np.testing.assert_array_equal(y.numpy(), sources)
        np.testing.assert_array_equal(x.numpy(), latents[expected.assignment])

    def test_drawn_and_numpy_sources_become_tensors(self, latents, sources):
        tensor = self.torch.from_numpy(latents)
        drawn = gtn_label.match(tensor)
        assert isinstance(drawn.sources, self.torch.Tensor)
        np.testing.assert_array_equal(drawn.sources.numpy(), draw_sources(40, 3, 0))
        assert isinstance(gtn_label.match(tensor, sources).pairs()[0], self.torch.Tensor)

    def test_numpy_out_for_numpy_latents(self, latents, sources):
        m = gtn_label.match(latents, self.torch.from_numpy(sources))
        for array in (m.assignment, m.cosine, m.sources, *m.pairs()):
            assert isinstance(array, np.ndarray)

    def test_bfloat16_labels_stay_bfloat16(self, latents):
        tensor = self.torch.from_numpy(latents).bfloat16().requires_grad_()
        m = gtn_label.match(tensor)
        _, labels = m.pairs()
        assert labels.dtype == self.torch.bfloat16
        assert not labels.requires_grad
        assert self.torch.equal(labels, tensor.detach()[m.assignment])
        widened = gtn_label.match(tensor.detach().float())
        assert self.torch.equal(m.assignment, widened.assignment)

    def test_pairs_are_fresh(self, latents):
        tensor = self.torch.from_numpy(latents)
        sources = tensor.clone()
        m = gtn_label.match(tensor, sources)
        for array in m.pairs():
            array.zero_()
        assert tensor.abs().sum() > 0
        assert sources.abs().sum() > 0

    def test_groups_as_tensors(self, latents):
        labels = self.torch.arange(40) % 2
        m = gtn_label.match(self.torch.from_numpy(latents), groups=(labels, labels))
        assert self.torch.equal(m.groups[1][m.assignment], m.groups[0])

    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_saves_as_the_same_file_as_numpy(self, latents, sources, tmp_path, suffix):
        one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
        gtn_label.match(latents, sources).save(one)
        gtn_label.match(self.torch.from_numpy(latents), self.torch.from_numpy(sources)).save(two)
        assert one.read_bytes() == two.read_bytes()


class TestMeta:
    def test_holds_what_was_asked(self, latents):
        m = gtn_label.match(latents, seed=4, order="index", cone=3, center=True)
        assert m.meta == {
            "version": gtn_label.__version__,
            "method": "match",
            "seed": 4,
            "order": "index",
            "cone": 3,
            "center": True,
            "groups": None,
            "backend": "cpu",
            "latents_sha256": convert.sha256(latents),
        }
        assert json.loads(json.dumps(m.meta)) == m.meta

    def test_seed_is_none_for_given_sources(self, latents, sources):
        assert gtn_label.match(latents, sources, seed=4).meta["seed"] is None

    def test_does_not_name_the_machine(self, latents):
        for row in gtn_label.backends():
            if row.available:
                named = row.name.partition(":")[0]
                assert gtn_label.match(latents, backend=row.name, threads=1).meta == (
                    gtn_label.match(latents).meta | {"backend": named}
                )

    def test_groups_leave_a_trace(self, latents):
        one = gtn_label.match(latents, groups=([0] * 40, [0] * 40)).meta["groups"]
        parity = np.arange(40) % 2
        two = gtn_label.match(latents, groups=(parity, parity)).meta["groups"]
        assert (one["count"], two["count"]) == (1, 2)
        assert one["sha256"] != two["sha256"]

    def test_hashes_rows_as_given(self, sources):
        half = gaussian(40, 3).astype(np.float16)
        m, wide = (gtn_label.match(rows, sources) for rows in (half, half.astype(np.float32)))
        np.testing.assert_array_equal(m.assignment, wide.assignment)
        assert m.meta["latents_sha256"] == convert.sha256(half)
        assert m.meta["latents_sha256"] != wide.meta["latents_sha256"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
class TestFile:
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
    def test_round_trip(self, suffix, dtype, sources, tmp_path):
        latents = (gaussian(40, 3) * 50 + 1).astype(dtype)
        m = gtn_label.match(latents, sources, seed=9, cone=2)
        path = tmp_path / f"pairs{suffix}"
        m.save(path)
        back = Matching.load(path)
        for name in ("assignment", "cosine", "sources"):
            np.testing.assert_array_equal(getattr(back, name), getattr(m, name))
            assert getattr(back, name).dtype == getattr(m, name).dtype
            with pytest.raises(ValueError, match="read-only"):
                getattr(back, name)[0] = 0
        for ours, theirs in zip(back.pairs(), m.pairs(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
            assert ours.flags.writeable
        assert back.meta == m.meta
        assert back.stats == {}
        assert back.groups is None

    def test_loaded_pairs_are_fresh(self, suffix, latents, sources, tmp_path):
        path = tmp_path / f"pairs{suffix}"
        gtn_label.match(latents, sources).save(str(path))
        back = Matching.load(str(path))
        back.pairs()[1][:] = 0
        assert back.pairs()[1].any()

    def test_saving_what_was_loaded_gives_the_same_bytes(self, suffix, latents, tmp_path):
        one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
        gtn_label.match(latents).save(one)
        Matching.load(one).save(two)
        assert one.read_bytes() == two.read_bytes()

    def test_indices_only(self, suffix, latents, sources, tmp_path):
        m = gtn_label.match(latents, sources)
        path = tmp_path / f"pairs{suffix}"
        m.save(path, indices_only=True)
        back = Matching.load(path)
        np.testing.assert_array_equal(back.assignment, m.assignment)
        np.testing.assert_array_equal(back.cosine, m.cosine)
        assert back.meta == m.meta
        assert back.sources is None
        with pytest.raises(ValueError, match=r"pairs\(\) needs the rows.*holds indices only"):
            back.pairs()
        with pytest.raises(ValueError, match=r"save\(\) without indices_only=True needs the rows"):
            back.save(tmp_path / f"again{suffix}")
        assert not (tmp_path / f"again{suffix}").exists()
        back.save(tmp_path / f"again{suffix}", indices_only=True)
        assert (tmp_path / f"again{suffix}").read_bytes() == path.read_bytes()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"cosine": np.zeros(2)}, "it has no 'assignment'"),
            ({"assignment": np.arange(2)}, "it has no 'cosine'"),
            ({"assignment": np.arange(2.0), "cosine": np.zeros(2)}, "'assignment' is float64"),
            ({"assignment": np.arange(2), "cosine": np.zeros((2, 1))}, "'cosine' is float64 of"),
            ({"assignment": np.arange(2), "cosine": np.zeros(3)}, "rows are"),
            (
                {"assignment": np.arange(2), "cosine": np.zeros(2), "sources": np.ones((2, 1))},
                "rows are",
            ),
            (
                {
                    "assignment": np.arange(2),
                    "cosine": np.zeros(2),
                    "sources": np.ones((2, 1)),
                    "labels": np.ones((1, 1)),
                },
                "rows are",
            ),
        ],
    )
    def test_other_content_is_refused(self, suffix, content, message, tmp_path):
        path = tmp_path / f"other{suffix}"
        files.write_pairs(path, content, {})
        with pytest.raises(ValueError, match=f"other{suffix}' is not a file of pairs: {message}"):
            Matching.load(path)

    def test_missing_file(self, suffix, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"none{suffix}"):
            Matching.load(tmp_path / f"none{suffix}")


class TestRepr:
    def test_is_short_and_tells(self, latents, sources):
        m = gtn_label.match(latents, sources)
        expected = f"<Matching: 30 sources to 40 latents, dim 3, mean cosine {m.cosine.mean():.4f}>"
        assert repr(m) == expected

    def test_one_column(self):
        assert "3 sources to 3 latents, dim 1," in repr(gtn_label.match_quantile([1.0, 2.0, 3.0]))

    def test_loaded(self, latents, sources, tmp_path):
        m = gtn_label.match(latents, sources)
        m.save(tmp_path / "whole.npz")
        m.save(tmp_path / "indices.npz", indices_only=True)
        mean = f"mean cosine {m.cosine.mean():.4f}"
        whole, indices = (Matching.load(tmp_path / f"{name}.npz") for name in ("whole", "indices"))
        assert repr(whole) == f"<Matching: 30 sources, dim 3, {mean}>"
        assert repr(indices) == f"<Matching: 30 sources, {mean}>"


def test_visited_is_of_the_run_that_made_it(latents, sources, tmp_path):
    m = gtn_label.match(latents, sources)
    assert sorted(m.visited.tolist()) == sorted(m.assignment.tolist())
    assert not m.visited.flags.writeable
    m.save(tmp_path / "pairs.npz")
    assert Matching.load(tmp_path / "pairs.npz").visited is None
    assert gtn_label.match_quantile([1.0, 2.0]).visited is None


def test_pickles(latents):
    m = gtn_label.match(latents)
    back = pickle.loads(pickle.dumps(m))
    np.testing.assert_array_equal(back.assignment, m.assignment)
    np.testing.assert_array_equal(back.pairs()[1], m.pairs()[1])
    assert back.meta == m.meta


def copies(m):
    return [pickle.loads(pickle.dumps(m)), copy.copy(m), copy.deepcopy(m)]


class TestNothingChanges:
    def arrays(self, m):
        return [m.assignment, m.cosine, m.visited, m.sources, *m.groups]

    def test_arrays_cannot_be_made_writable(self, latents, sources):
        given = [0] * 30, [0] * 40
        m = gtn_label.match(latents, sources, groups=given)
        for each in (m, *copies(m)):
            for array in self.arrays(each):
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True
        sources[0] = 1  # the caller's own array stays as it was

    @pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "i4"])
    def test_of_any_dtype(self, dtype):
        latents = (gaussian(9, 2) * 50 + 200).astype(dtype)
        for each in copies(gtn_label.match(latents, latents)):
            with pytest.raises(ValueError, match="WRITEABLE"):
                each.sources.flags.writeable = True

    def test_loaded(self, latents, tmp_path):
        gtn_label.match(latents).save(tmp_path / "x.npz")
        for each in copies(Matching.load(tmp_path / "x.npz")):
            for array in (each.assignment, each.cosine, each.sources):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True
            each.pairs()[0][:] = 0
            assert each.sources.any()

    def test_meta_and_stats_are_copies(self, latents, tmp_path):
        m = gtn_label.match(latents, groups=([0] * 40, [0] * 40))
        known, stats = m.meta, m.stats
        for each in (m, *copies(m)):
            each.meta["seed"] = 77
            each.meta["groups"]["count"] = 9
            each.stats["seconds"].clear()
            assert (each.meta, each.stats) == (known, stats)
        m.save(tmp_path / "x.npz")
        back = Matching.load(tmp_path / "x.npz")
        back.meta["seed"] = 77
        assert back.meta == known
        assert json.loads(json.dumps(back.meta)) == known

    def test_what_was_passed_is_not_kept(self):
        settings, record = {"a": {"b": 1}}, {"c": [1]}
        one = np.arange(1), np.zeros(1)
        m = Matching(*one, provenance=settings, stats=record)
        settings["a"]["b"] = 2
        record["c"].append(2)
        assert (m.meta, m.stats) == ({"a": {"b": 1}}, {"c": [1]})

    @pytest.mark.parametrize("name", ["assignment", "meta", "stats", "sources", "note"])
    def test_attributes_cannot_be_set(self, latents, name):
        m = gtn_label.match(latents)
        with pytest.raises(AttributeError, match=f"{name} of a Matching cannot be set"):
            setattr(m, name, None)

    def test_tensors_are_copies(self, latents, tmp_path):
        torch = pytest.importorskip("torch")
        m = gtn_label.match(torch.from_numpy(latents))
        m.save(tmp_path / "one.npz")
        m.assignment.zero_()
        m.cosine.zero_()
        m.save(tmp_path / "two.npz")
        assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
        assert torch.equal(copy.deepcopy(m).pairs()[1], m.pairs()[1])


def test_length_and_unpacking(latents, sources):
    m = gtn_label.match(latents, sources)
    assert len(m) == 30
    unpacked, labels = m
    np.testing.assert_array_equal(unpacked, sources)
    np.testing.assert_array_equal(labels, latents[m.assignment])
    assert labels.flags.writeable


class TestGroupsOfNames:
    PLACES = np.arange(40) % 3

    @pytest.mark.parametrize(
        "made",
        [
            lambda names: names,
            lambda names: np.array(names),
            lambda names: np.array(names, object),
            lambda names: np.array(names, "S"),
            lambda names: np.array([name.encode() for name in names], object),
        ],
    )
    def test_are_codes_that_both_sides_share(self, latents, made):
        names = [("a", "bb", "c")[place] for place in self.PLACES]
        m = gtn_label.match(latents, groups=(made(names[:30]), made(names)), sources=latents[:30])
        known = gtn_label.match(
            latents, groups=(self.PLACES[:30], self.PLACES), sources=latents[:30]
        )
        np.testing.assert_array_equal(m.assignment, known.assignment)
        assert m.groups[1].tolist() == self.PLACES.tolist()
        assert m.meta == known.meta

    def test_of_a_frame(self, latents):
        """Columns and categories of pandas and polars become arrays of Python's strings."""

        class Column:
            def __array__(self, dtype=None, copy=None):
                names = [("a", "bb", "c")[place] for place in TestGroupsOfNames.PLACES]
                return np.array(names, object)

        m = gtn_label.match(latents, groups=(Column(), Column()))
        assert m.groups[1].tolist() == self.PLACES.tolist()

    @pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 2 has it")
    def test_of_numpys_strings(self, latents):
        names = np.array(["a", "b"] * 20, dtype=np.dtypes.StringDType())
        assert gtn_label.match(latents, groups=(names, names)).groups[0].tolist() == [0, 1] * 20

    def test_too_few_latents_of_a_name(self, latents):
        message = "^groups: a group must .*, got group 'b' with 40 sources and 1 latents$"
        with pytest.raises(ValueError, match=message):
            gtn_label.match(latents, groups=(["b"] * 40, ["a"] * 39 + ["b"]))


MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(gtn_label.__path__, "gtn_label.")
    # The start of a command takes the signals when it is imported.
    if name.rpartition(".")[2] not in ("__main__", "entry", "_core")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    if name.endswith(".mixture"):
        pytest.importorskip("sklearn")
    if name.endswith(".plot"):
        pytest.importorskip("matplotlib")
    assert doctest.testmod(importlib.import_module(name)).failed == 0

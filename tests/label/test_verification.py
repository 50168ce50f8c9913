"""Matching.verify: sound results of every kind pass, and a single change of any part is found."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gtn_label
from gtn_label import (
    Matching,
    VerificationError,
    match,
    match_mixture,
    match_optimal,
    match_quantile,
    verification,
)
from gtn_label.io import files


def rows(n: int = 60, dim: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


LATENTS = rows()
PARITY = np.arange(60) % 2
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "seed": {"seed": 7},
    "order": {"order": "norm_desc"},
    "index": {"order": "index", "sources": rows(40, seed=1)},
    "cone": {"cone": 3, "center": True},
    "cone, descending": {"cone": 60, "order": "norm_desc"},
    "groups": {"groups": (PARITY, PARITY)},
    "names": {"groups": (["b", "a"] * 30, ["a"] * 30 + ["b"] * 30), "order": "index"},
    "generator": {"seed": np.random.Generator(np.random.MT19937(3))},
    "float64": {"sources": rows(30, seed=4).astype(np.float64)},
}


@pytest.fixture(params=OPTIONS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return OPTIONS[request.param]


def loaded(m: Matching, path: Path, **changed: Any) -> Matching:
    """Save a result with some arrays or entries of meta replaced, and load it."""
    m.save(path, indices_only=changed.pop("indices_only", False))
    arrays, meta = files.read_pairs(path)
    for name, value in changed.items():
        if name in arrays:
            arrays[name] = value
        else:
            meta[name] = value
    files.write_pairs(path, arrays, meta)
    return Matching.load(path)


class TestSound:
    @pytest.mark.parametrize("sample", [None, 1, 7, 10_000])
    def test_in_memory(self, options, sample):
        m = match(LATENTS, **options)
        found = m.verify(LATENTS, sample=sample)
        n = len(m)
        assert found._asdict() == {
            "method": "match",
            "n": n,
            "m": 60,
            "dim": 5,
            "labels": n,
            "cosines": n,
            "choices": min(n, sample or n),
            "note": "",
            "seconds": found.seconds,
        }
        assert json.loads(json.dumps(found._asdict())) == found._asdict()

    @pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
    @pytest.mark.parametrize("mmap_mode", [None, "r"])
    def test_loaded(self, tmp_path, options, suffix, mmap_mode):
        match(LATENTS, **options).save(tmp_path / f"x{suffix}")
        m = Matching.load(tmp_path / f"x{suffix}", mmap_mode=mmap_mode)
        assert m.verify(LATENTS, groups=options.get("groups")).choices == len(m)

    def test_indices_only(self, tmp_path, options):
        m = match(LATENTS, **options)
        m = loaded(m, tmp_path / "x.npz", indices_only=True)
        if "sources" in options:
            with pytest.raises(ValueError, match=r"^sources must be given: the result has indices"):
                m.verify(LATENTS)
        found = m.verify(LATENTS, options.get("sources"), groups=options.get("groups"))
        assert (found.labels, found.choices) == (0, len(m))

    @pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "i4"])
    def test_dtypes(self, tmp_path, dtype):
        latents = (LATENTS * 50).astype(dtype)
        loaded(match(latents), tmp_path / "x.safetensors").verify(latents)

    @pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
    def test_narrow_floats(self, tmp_path, suffix):
        ml_dtypes = pytest.importorskip("ml_dtypes")
        latents = LATENTS.astype(ml_dtypes.bfloat16)
        m = match(latents, latents[:20])
        m.save(tmp_path / f"x{suffix}")
        for each in (m, Matching.load(tmp_path / f"x{suffix}")):
            assert each.verify(latents, latents[:20]).labels == 20

    def test_equal_latents_and_equal_norms(self):
        latents = np.repeat(rows(8), 5, axis=0)
        latents[1] = -latents[0]
        match(latents, latents).verify(latents, sample=None)

    def test_many_dims_and_blocks(self, monkeypatch):
        monkeypatch.setattr(verification, "_BLOCK_BYTES", 1000)
        for dim in (1, 7, 8, 9, 33):
            latents = rows(50, dim)
            match(latents).verify(latents)

    def test_torch(self):
        torch = pytest.importorskip("torch")
        tensor = torch.from_numpy(LATENTS)
        match(tensor).verify(tensor)
        match(tensor.bfloat16()).verify(tensor.bfloat16())

    def test_mixture(self, tmp_path):
        pytest.importorskip("sklearn")
        m = match_mixture(LATENTS, 2)
        assert m.verify(LATENTS).method == "mixture"
        back = loaded(m, tmp_path / "x.npz")
        with pytest.raises(ValueError, match=r"^groups must be given: the result holds a hash"):
            back.verify(LATENTS)
        back.verify(LATENTS, groups=m.groups)
        bare = loaded(m, tmp_path / "y.npz", indices_only=True)
        with pytest.raises(ValueError, match=r"^sources must be given"):
            bare.verify(LATENTS, groups=m.groups)
        bare.verify(LATENTS, m.sources, groups=m.groups)

    @pytest.mark.parametrize("shape", [(60,), (60, 1)])
    def test_quantile(self, tmp_path, shape):
        latents = rows(60, 1).reshape(shape)
        for m in (match_quantile(latents), match_quantile(latents, np.arange(-9.0, 9))):
            found = loaded(m, tmp_path / "x.npz").verify(latents)
            assert (found.dim, found.choices) == (1, len(m))

    def test_approx_is_verified_but_for_the_choice(self):
        pytest.importorskip("faiss")
        latents = rows(600)
        m = gtn_label.match_approx(latents, index="IVF8,Flat", nprobe=1, sample=5)
        found = m.verify(latents)
        assert (found.choices, found.cosines) == (0, 600)
        assert found.note.startswith("choices of match_approx are not exact")

    def test_progress(self):
        calls: list[Any] = []
        match(LATENTS).verify(LATENTS, progress=lambda *call: calls.append(call), threads=1)
        assert calls[-1][:2] == (60, 60)


def refused(m: Matching, message: str, latents: Any = LATENTS, **options: Any) -> VerificationError:
    with pytest.raises(VerificationError, match=message) as caught:
        m.verify(latents, **options)
    assert len(str(caught.value)) < 500
    assert "np." not in str(caught.value)  # as NumPy 2 writes its numbers
    return caught.value


def swapped(m: Matching, first: int, second: int) -> dict[str, np.ndarray]:
    """Let two sources have each other's latents, with labels and cosines that fit."""
    assignment = np.array(m.assignment)
    assignment[[first, second]] = assignment[[second, first]]
    y, x = np.array(m.sources), LATENTS[assignment]
    changed = {"assignment": assignment, "labels": x}
    with np.errstate(invalid="ignore"):
        norms = verification._norms(x), verification._norms(y)
    dots = [verification_dot(a, b) for a, b in zip(x, y, strict=True)]
    return {**changed, "cosine": np.array(dots) / norms[0] / norms[1]}


def verification_dot(a: np.ndarray, b: np.ndarray) -> float:
    """Add up the products of two rows in the order of the contract."""
    s = np.zeros(8)
    for k, (one, two) in enumerate(zip(a.astype(float), b.astype(float), strict=True)):
        s[k % 8] += one * two
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))


class TestChanged:
    @pytest.fixture
    def sound(self) -> Matching:
        return match(LATENTS)

    def test_other_latents(self, sound):
        other = LATENTS.copy()
        other[59, 4] = np.nextafter(other[59, 4], np.float32(9))
        error = refused(sound, "^the latents must be those of the run, by their SHA-256", other)
        assert (error.row, error.expected) == (None, sound.meta["latents_sha256"])
        refused(sound, "latents must be those of the run", LATENTS.astype(np.float64))

    def test_no_hash(self, sound, tmp_path):
        refused(loaded(sound, tmp_path / "x.npz", latents_sha256=None), "expected None, found ")

    def test_a_label(self, sound, tmp_path):
        labels = np.array(sound.pairs()[1])
        labels[[17, 30], 2] = np.nextafter(labels[[17, 30], 2], np.float32(9))
        error = refused(
            loaded(sound, tmp_path / "x.npz", labels=labels), "^a label must be the row"
        )
        assert error.row == 17
        assert error.expected != error.found

    def test_labels_of_another_dtype(self, sound, tmp_path):
        labels = sound.pairs()[1].astype(np.float64)
        refused(
            loaded(sound, tmp_path / "x.npz", labels=labels), r"found float64 of shape \(60, 5\)"
        )

    @pytest.mark.parametrize("dtypes", [{"labels": "bfloat16"}, {"sources": "float8_e5m2"}])
    @pytest.mark.parametrize("mmap_mode", [None, "r"])
    def test_dtypes_that_the_rows_never_had(self, sound, tmp_path, dtypes, mmap_mode):
        loaded(sound, tmp_path / "x.npz", dtypes=dtypes)
        m = Matching.load(tmp_path / "x.npz", mmap_mode=mmap_mode)
        (name,) = dtypes
        error = refused(m, rf"^{name} must be numbers of the dtype that the meta names")
        assert (error.row, error.expected) == (0, dtypes[name])
        assert error.found.startswith("[")

    def test_one_row_that_is_no_bfloat16(self, tmp_path):
        latents = (LATENTS.view(np.uint32) & 0xFFFF0000).view(np.float32)
        m = match(latents)
        path, dtypes = tmp_path / "x.npz", {"labels": "bfloat16"}
        loaded(m, path, dtypes=dtypes).verify(latents)
        latents[m.assignment[7], 3] = np.nextafter(latents[m.assignment[7], 3], np.float32(9))
        m = match(latents, np.array(m.sources))
        row = int(np.flatnonzero((m.pairs()[1].view(np.uint32) & 0xFFFF).any(axis=1))[0])
        error = refused(loaded(m, path, dtypes=dtypes), "^labels must be numbers", latents)
        assert error.row == row

    def test_the_sign_of_a_zero(self, tmp_path):
        latents = LATENTS.copy()
        latents[3, 1] = 0.0
        m = match(latents)
        labels = np.array(m.pairs()[1])
        labels[labels == 0] = -0.0
        refused(loaded(m, tmp_path / "x.npz", labels=labels), r"found \[.*-0\.0", latents)

    def test_a_cosine(self, sound, tmp_path):
        cosine = np.array(sound.cosine)
        cosine[40] = np.nextafter(cosine[40], -1)
        error = refused(loaded(sound, tmp_path / "x.npz", cosine=cosine), "^a cosine must be the")
        assert (error.row, error.found) == (40, repr(cosine[40].item()))

    def test_two_pairs_swapped(self, sound, tmp_path):
        m = loaded(sound, tmp_path / "x.npz", **swapped(sound, 3, 44))
        error = refused(m, "^a source must take the best latent that is free when it chooses")
        assert error.row in (3, 44)
        taken = m.assignment[error.row]
        assert error.found.startswith(f"latent {taken} with ")
        assert error.expected.startswith("latent ")

    def test_a_sample_can_miss_it_and_the_whole_cannot(self, sound, tmp_path):
        m = loaded(sound, tmp_path / "x.npz", **swapped(sound, 3, 44))
        with pytest.raises(VerificationError, match="best latent"):
            m.verify(LATENTS, sample=None)

    @pytest.mark.parametrize(
        "meta", [{"order": "norm_desc"}, {"cone": 4}, {"center": True}], ids=str
    )
    def test_other_options(self, sound, tmp_path, meta):
        refused(loaded(sound, tmp_path / "x.npz", **meta), "^a (source|cosine) must ")

    def test_options_that_are_none(self, sound, tmp_path):
        for meta in ({"order": "shuffled"}, {"cone": 0}, {"center": None}):
            with pytest.raises((ValueError, TypeError), match=f"^{next(iter(meta))} must be"):
                loaded(sound, tmp_path / "x.npz", **meta).verify(LATENTS)

    def test_another_seed(self, sound, tmp_path):
        refused(
            loaded(sound, tmp_path / "x.npz", seed=1), "^sources of the result must be those dr"
        )
        bare = loaded(sound, tmp_path / "y.npz", seed=1, indices_only=True)
        refused(bare, "^a (source|cosine) must ")

    def test_a_source(self, sound, tmp_path):
        sources = np.array(sound.sources)
        sources[9, 0] += 1
        m = loaded(sound, tmp_path / "x.npz", sources=sources)
        assert refused(m, "^sources of the result must be those drawn; source 9: ").row == 9
        m = loaded(sound, tmp_path / "y.npz", sources=sources, seed=None)
        refused(m, "^a (source|cosine) must ")
        error = refused(sound, "^sources of the result must be those passed", sources=sources)
        assert error.row == 9

    def test_an_assignment_beyond_the_latents(self, sound, tmp_path):
        assignment = np.array(sound.assignment)
        assignment[5] = 60
        m = loaded(sound, tmp_path / "x.npz", assignment=assignment)
        error = refused(
            m, "^an assignment must be a row of the latents; source 5: expected 0 to 59"
        )
        assert error.found == "60"

    def test_a_latent_twice(self):
        one = np.array([0, 1, 0]), np.ones(3)
        m = Matching(*one, provenance=match(LATENTS).meta)
        sources = rows(3)
        error = refused(
            Matching(*one, provenance={**m.meta, "seed": None}),
            "^no latent may be taken twice; source 2: .* found latent 0, which source 0 has",
            sources=sources,
        )
        assert error.row == 2

    def test_equal_latents_in_another_order(self, tmp_path):
        latents = np.repeat(rows(10), 2, axis=0)
        m = match(latents, rows(20, seed=3))
        same = np.array(m.assignment) ^ 1  # the twin of each
        m = loaded(m, tmp_path / "x.npz", assignment=same)
        refused(m, "^of equal latents the first that is free must be taken", latents)

    def test_groups(self, tmp_path):
        m = match(LATENTS, groups=(PARITY, PARITY))
        back = loaded(m, tmp_path / "x.npz")
        refused(back, "^the groups must be those of the run", groups=(PARITY, PARITY[::-1].copy()))
        with pytest.raises(ValueError, match=r"^groups must be None: the result was made without"):
            match(LATENTS).verify(LATENTS, groups=(PARITY, PARITY))
        exchanged = np.array(m.assignment)
        first, second = np.flatnonzero(PARITY == 0)[0], np.flatnonzero(PARITY == 1)[0]
        exchanged[[first, second]] = exchanged[[second, first]]
        back = loaded(m, tmp_path / "y.npz", assignment=exchanged, labels=LATENTS[exchanged])
        refused(back, "^a source must take a latent of its group", groups=(PARITY, PARITY))

    def test_quantile(self, tmp_path):
        latents = rows(30, 1)[:, 0]
        m = match_quantile(latents)
        other = np.array(m.assignment)
        other[[4, 8]] = other[[8, 4]]
        back = loaded(m, tmp_path / "x.npz", assignment=other, labels=latents[other])
        error = refused(back, "^a source must take the quantile of the latents", latents)
        assert error.row == 4

    def test_other_methods_are_refused(self, sound, tmp_path):
        m = loaded(sound, tmp_path / "x.npz", method="gtn-train")
        with pytest.raises(ValueError, match=r"^verify.. knows results of match,.*'gtn-train'$"):
            m.verify(LATENTS)

    def test_error_pickles(self):
        error = VerificationError("a rule", 3, "1", "2")
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error) == "a rule; source 3: expected 1, found 2"
        assert (again.rule, again.row, again.expected, again.found) == ("a rule", 3, "1", "2")


OPTIMAL: dict[str, dict[str, Any]] = {
    "default": {},
    "optimum": {"tolerance": 0},
    "fewer sources": {"sources": rows(40, seed=1)},
    "fewer, centred": {"sources": rows(40, seed=1), "center": True, "tolerance": 0},
    "centred": {"center": True},
    "coarse": {"tolerance": 0.3},
    "coarse and fewer": {"tolerance": 0.3, "sources": rows(31, seed=2)},
    "groups": {"groups": (PARITY, PARITY)},
    "groups and fewer": {"sources": rows(40, seed=1), "groups": (PARITY[:40], PARITY)},
    "float64": {"sources": rows(60, seed=4).astype(np.float64)},
}


class TestOptimal:
    @pytest.mark.parametrize("name", OPTIMAL)
    def test_sound(self, tmp_path, name):
        options = OPTIMAL[name]
        m = match_optimal(LATENTS, **options)
        sources, groups = options.get("sources"), options.get("groups")
        found = m.verify(LATENTS, sample=3)
        assert (found.method, found.choices, found.note) == ("optimal", len(m), "")
        for indices_only in (False, True):
            again = loaded(m, tmp_path / "x.npz", indices_only=indices_only)
            record = again.verify(LATENTS, sources, groups=groups)
            labels = 0 if indices_only else len(m)
            assert record == found._replace(labels=labels, seconds=record.seconds)

    @pytest.mark.parametrize(
        "latents", [LATENTS * 1e15, LATENTS * 1e-20, LATENTS + 1e3, LATENTS[:, :1]]
    )
    def test_scales(self, latents):
        latents = latents.astype(np.float32)
        sources = rows(60, latents.shape[1], seed=5)
        assert match_optimal(latents, sources, tolerance=0).verify(latents).choices == 60

    def test_zero_and_equal_rows(self):
        latents = LATENTS.copy()
        latents[10:30] = latents[3]
        latents[40:50] = 0
        m = match_optimal(latents, seed=3)
        assert m.verify(latents).cosines == 60

    def test_a_set_matched_to_itself(self):
        assert match_optimal(LATENTS, LATENTS, tolerance=0).verify(LATENTS).choices == 60

    @pytest.mark.parametrize(
        ("changed", "rule"),
        [
            (lambda m: {"prices": m.prices + np.eye(60)[7]}, "the gap must not be below the one"),
            (lambda m: {"gap": m.gap / 2}, "the gap must not be below the one"),
            (lambda m: {"lower_bound": m.cost}, "the lower bound must not exceed the one"),
            (lambda m: {"cost": m.cost * (1 + 1e-6)}, "the cost must be the mean squared"),
            (lambda m: {"prices": np.append(m.prices, 0)}, "there must be a price of each latent"),
            (
                lambda m: {"cosine": np.nextafter(m.cosine, 0)},
                "a cosine must be the contract's, to the bit",
            ),
        ],
    )
    @pytest.mark.parametrize("n", [60, 40])
    def test_found(self, tmp_path, n, changed, rule):
        # Two phases from the optimum, so that the gap is far above rounding.
        m = match_optimal(LATENTS, rows(n, seed=6), tolerance=0.2)
        with pytest.raises(VerificationError, match=rule):
            loaded(m, tmp_path / "x.npz", **changed(m)).verify(LATENTS)

    @pytest.mark.parametrize(
        ("forged", "rule"),
        [
            # Prices of that size have lost the digits that prove a gap.
            (lambda p: p + 1e15, "the gap must not be below the one"),
            (lambda p: p + 1e300, "the gap must not be below the one"),
            (lambda p: p * 1e15, "the prices must be such as a run leaves: expected prices at "),
            (lambda p: np.where(np.arange(60) % 4 < 2, 8e307, -8e307), "found -8e+307 to 8e+307"),
            (lambda p: p - 1e5 * np.eye(60)[5], "the prices must be such as a run leaves"),
            (lambda p: p * 0.0, "the gap must not be below the one"),
        ],
    )
    @pytest.mark.parametrize("name", ["coarse", "coarse and fewer", "groups"])
    def test_forged_prices(self, tmp_path, name, forged, rule):
        options = OPTIMAL[name] | {"tolerance": 0.2}
        m = match_optimal(LATENTS, **options)
        lie = {"gap": 0.0, "lower_bound": m.cost}
        back = loaded(m, tmp_path / "x.npz", prices=forged(m.prices), **lie)
        with pytest.raises(VerificationError, match=re.escape(rule)):
            back.verify(LATENTS, groups=options.get("groups"))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_prices_that_are_no_numbers(self, bad):
        m = match_optimal(LATENTS)
        m._prices = m._transport.prices.copy()
        m._transport.prices[7] = bad
        with pytest.raises(VerificationError, match=f"expected finite prices, found {bad}"):
            m.verify(LATENTS)

    def test_a_constant_added_to_all_prices_changes_nothing(self, tmp_path):
        m = match_optimal(LATENTS, tolerance=0.2)
        for constant in (-1024.0, 64.0):  # no digit is lost
            loaded(m, tmp_path / "x.npz", prices=m.prices + constant).verify(LATENTS)

    def test_other_pairs(self, tmp_path):
        m = match_optimal(LATENTS, rows(40, seed=6), tolerance=0)
        swapped = m.assignment[[1, 0, *range(2, 40)]]
        with pytest.raises(VerificationError, match="a label must be the row"):
            loaded(m, tmp_path / "x.npz", assignment=swapped).verify(LATENTS)

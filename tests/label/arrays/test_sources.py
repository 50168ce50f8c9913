"""draw_sources: the same numbers on every machine, however many are drawn at a time."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import gtn_label
from gtn_label.arrays import sources
from gtn_label.arrays.sources import draw_sources


class TestDrawnSources:
    def test_are_philox_standard_normals_in_float32(self):
        drawn = draw_sources(4, 3, 7)
        expected = np.random.Generator(np.random.Philox(7)).standard_normal(12, dtype=np.float32)
        assert drawn.dtype == np.float32
        np.testing.assert_array_equal(drawn, expected.reshape(4, 3))

    def test_bits_do_not_change_between_versions(self):
        # Written down once: users' pairs depend on these bits.
        digest = hashlib.sha256(draw_sources(1000, 16, 0).astype("<f4").tobytes())
        assert digest.hexdigest() == (
            "0cbc761613844b8904b53c844e660112485d835548978d1d6dbcbdbb1c13b250"
        )

    def test_seeds_differ(self):
        assert not np.array_equal(draw_sources(4, 3, 0), draw_sources(4, 3, 1))

    @pytest.mark.parametrize("values", [1, 7, 30, 1000])
    @pytest.mark.parametrize("dim", [1, 3, 8])
    def test_blocks_are_one_stream(self, values, dim, monkeypatch):
        generator = np.random.Generator(np.random.Philox(5))
        whole = generator.standard_normal((101, dim), dtype=np.float32)
        monkeypatch.setattr(sources, "_DRAW_VALUES", values)
        assert draw_sources(101, dim, 5).tobytes() == whole.tobytes()


KINDS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_is_drawn_from_as_it_stands(kind):
    def generator():
        made = np.random.Generator(getattr(np.random, kind)(5))
        made.integers(10, size=3, dtype=np.uint32)  # half a word is left over
        return made

    given = generator()
    record = sources.seed_record(given)
    assert json.loads(json.dumps(record)) == record
    rows = draw_sources(6, 3, given)
    np.testing.assert_array_equal(rows, generator().standard_normal((6, 3), np.float32))
    np.testing.assert_array_equal(sources.redraw(record, 6, 3), rows)
    assert not np.array_equal(draw_sources(6, 3, given), rows)


@pytest.mark.parametrize("verb", [gtn_label.match, gtn_label.match_quantile])
def test_meta_has_the_state_of_a_generator(verb):
    latents = np.arange(1.0, 9.0).reshape(8, 1)
    m = verb(latents, seed=np.random.default_rng(4))
    assert m.meta["seed"] is None
    assert m.meta["generator"]["bit_generator"] == "PCG64"
    np.testing.assert_array_equal(sources.redraw(m.meta, 8, 1), m.sources)
    given = verb(latents, m.sources, seed=np.random.default_rng(4))
    assert "generator" not in given.meta


def test_a_state_that_is_none():
    with pytest.raises(ValueError, match="names the generator 'shuffle', which this NumPy lacks"):
        sources.redraw({"seed": None, "generator": {"bit_generator": "shuffle"}}, 2, 2)
    with pytest.raises(ValueError, match="holds no state of the generator PCG64"):
        sources.redraw({"generator": {"bit_generator": "PCG64", "state": {"state": -1}}}, 2, 2)
    assert sources.redraw({"seed": None}, 2, 2) is None


def test_a_generator_of_torch_is_refused_with_advice():
    torch = pytest.importorskip("torch")
    message = r"^seed must be an int or a numpy.*Generator; pass seed\.initial_seed\(\)$"
    with pytest.raises(TypeError, match=message):
        gtn_label.match(np.eye(2), seed=torch.Generator())


def test_a_key_of_jax_is_refused_with_advice():
    class Key:
        dtype = "key<fry>"
        shape = ()

    message = (
        r"^seed must be an int or a numpy\.random\.Generator, got \S+Key; pass the int "
        r"that the key is made of, or numpy\.random\.default_rng\(numpy\.asarray\("
        r"jax\.random\.key_data\(seed\)\)\)$"
    )
    with pytest.raises(TypeError, match=message):
        gtn_label.match(np.eye(2), seed=Key())


def test_a_checkpoint_continues_with_the_same_generator(tmp_path):
    """A run that is stopped is repeated with a generator in the state that the first one had."""
    latents = np.random.default_rng(0).normal(size=(5000, 20)).astype(np.float32)
    path = tmp_path / "run.ckpt"

    class Stop(Exception):
        pass

    def stop(done: int, total: int, left: float | None) -> None:
        if done > 100:
            raise Stop

    with pytest.raises(Stop):
        gtn_label.match(latents, seed=np.random.default_rng(3), checkpoint=path, progress=stop)
    with pytest.raises(ValueError, match="sources"):
        gtn_label.match(latents, seed=np.random.default_rng(4), checkpoint=path)
    found = gtn_label.match(latents, seed=np.random.default_rng(3), checkpoint=path)
    known = gtn_label.match(latents, seed=np.random.default_rng(3))
    np.testing.assert_array_equal(found.assignment, known.assignment)

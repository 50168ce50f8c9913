"""draw_sources: the same numbers on every machine, however many are drawn at a time."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import numpy as np
import pytest

import gtn_label
from gtn_label.arrays import sources
from gtn_label.arrays.sources import draw_sources
from gtn_label.io.files import read_pairs, write_pairs


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
    def test_a_block_is_one_stream(self, values, dim, monkeypatch):
        monkeypatch.setattr(sources, "_DRAW_VALUES", values)
        assert draw_sources(101, dim, 5).tobytes() == stream(101, dim, 5).tobytes()


def stream(n: int, dim: int, seed: int) -> np.ndarray:
    """Draw all rows from one generator, as earlier versions did."""
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.standard_normal((n, dim), dtype=np.float32)


class TestBlocks:
    def test_later_ones_are_jumped_to(self):
        block = 65_536
        drawn = draw_sources(2 * block + 5, 1, 3)
        np.testing.assert_array_equal(drawn[:block], stream(block, 1, 3))
        for b in (1, 2):
            generator = np.random.Generator(np.random.Philox(3).jumped(b))
            rows = drawn[b * block : (b + 1) * block]
            expected = generator.standard_normal((len(rows), 1), dtype=np.float32)
            np.testing.assert_array_equal(rows, expected)

    def test_bits_do_not_change_between_versions(self):
        rows = sources.draw_rows(65_530, 65_570, 3, 0)
        np.testing.assert_array_equal(rows, draw_sources(65_570, 3, 0)[65_530:])
        assert hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest() == (
            "95d35ac1391a019798a00cd80699ce5c6c74307eab9ab01373847db17fbb79b4"
        )

    @pytest.mark.parametrize("values", [4, 1000])
    def test_any_part_is_that_of_the_whole(self, monkeypatch, values):
        monkeypatch.setattr(sources, "BLOCK_ROWS", 10)
        monkeypatch.setattr(sources, "_DRAW_VALUES", values)
        whole = draw_sources(35, 3, 1)
        for begin in range(36):
            for end in range(begin, 36):
                part = sources.draw_rows(begin, end, 3, 1)
                assert part.dtype == np.float32
                assert part.tobytes() == whole[begin:end].tobytes()

    def test_a_far_part_takes_no_more_memory_than_its_rows(self):
        tracemalloc.start()
        rows = sources.draw_rows(10**12 + 65_000, 10**12 + 66_000, 64, 0)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows.nbytes <= most <= rows.nbytes + (5 << 20)

    def test_other_blocks_are_refused(self):
        message = r"^meta says that sources were drawn by blocks of 1024 rows, and this gtn-label"
        with pytest.raises(ValueError, match=message):
            sources.redraw({"seed": 0, "source_block": 1024}, 4, 2)

    def test_the_record_names_blocks_where_there_are_several(self):
        assert sources.seed_record(4, 65_536) == {"seed": 4}
        assert sources.seed_record(4, 65_537) == {"seed": 4, "source_block": 65_536}
        assert sources.seed_record(None, 65_537) == {"seed": None}
        rows = draw_sources(65_537, 1, 4)
        np.testing.assert_array_equal(
            sources.redraw(sources.seed_record(4, 65_537), 65_537, 1), rows
        )
        np.testing.assert_array_equal(sources.redraw({"seed": 4}, 65_537, 1), stream(65_537, 1, 4))


LATENTS = np.random.default_rng(2).normal(size=(70, 3)).astype(np.float32)
VERBS = [gtn_label.match, gtn_label.match_optimal]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_ROWS", 50)


@pytest.mark.parametrize("verb", VERBS)
def test_pairs_without_rows_are_verified(small_blocks, tmp_path, verb):
    result = verb(LATENTS, seed=6)
    assert result.meta["source_block"] == 50
    np.testing.assert_array_equal(result.sources, draw_sources(70, 3, 6))
    result.save(tmp_path / "x.npz", indices_only=True)
    gtn_label.Matching.load(tmp_path / "x.npz").verify(LATENTS)


@pytest.mark.parametrize("verb", VERBS)
def test_pairs_of_earlier_versions_are_read_right(small_blocks, tmp_path, verb):
    """Their sources are one stream, and their meta names a seed alone."""
    path = tmp_path / "x.npz"
    verb(LATENTS, stream(70, 3, 6)).save(path, indices_only=True)
    arrays, meta = read_pairs(path)
    write_pairs(path, arrays, meta | {"seed": 6})
    gtn_label.Matching.load(path).verify(LATENTS)
    write_pairs(path, arrays, meta | {"seed": 6, "source_block": 50})
    with pytest.raises(gtn_label.VerificationError):
        gtn_label.Matching.load(path).verify(LATENTS)


def test_other_verbs_record_blocks(small_blocks):
    assert gtn_label.match_quantile(LATENTS[:, 0]).meta["source_block"] == 50
    pytest.importorskip("sklearn")
    assert gtn_label.match_mixture(LATENTS, 2).meta["source_block"] == 50


@pytest.mark.parametrize("verb", VERBS)
def test_a_checkpoint_of_other_sources_is_refused(monkeypatch, tmp_path, verb):
    """An earlier version drew them, from the same seed."""
    latents = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    path = tmp_path / "run.ckpt"

    class Stop(Exception):
        pass

    def stop(done: int, total: int, left: float | None) -> None:
        if done > 0:
            raise Stop

    with pytest.raises(Stop):
        verb(latents, seed=3, checkpoint=path, progress=stop)
    monkeypatch.setattr(sources, "BLOCK_ROWS", 50)
    message = "run: the version that wrote it drew other sources from seed 3, and can continue it. "
    with pytest.raises(ValueError, match=message):
        verb(latents, seed=3, checkpoint=path)


KINDS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_is_drawn_from_as_it_stands(kind):
    def generator():
        made = np.random.Generator(getattr(np.random, kind)(5))
        made.integers(10, size=3, dtype=np.uint32)  # half a word is left over
        return made

    given = generator()
    record = sources.seed_record(given, 6)
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

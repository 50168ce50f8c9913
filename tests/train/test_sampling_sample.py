"""Samples: gtn_label's sources, batches that change nothing, evaluation mode and its way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stand_ins import Affine, Tiles

from gtn_label import match
from gtn_label.arrays.sources import draw_sources
from gtn_train.pairs.mixture import Mixture
from gtn_train.sampling.sample import (
    generate_latents,
    sample_images,
    sample_latents,
    sampling_seed,
)

FROZEN = [[-0.3184927701950073, -0.6198745965957642], [1.8802088499069214, -0.2538306713104248]]


def test_latents_are_the_generator_of_the_sources_of_their_own_stream():
    latents = sample_latents(Affine(3), 10, 5)
    assert latents.dtype == np.float32
    np.testing.assert_allclose(latents, 2 * draw_sources(10, 3, sampling_seed(5)) + 1, rtol=1e-6)
    frozen = sample_latents(Affine(2), 2, 0)
    np.testing.assert_allclose(frozen, FROZEN, rtol=1e-5)


def test_samples_repeat_no_source_of_a_matching_of_their_seed():
    matched = {row.tobytes() for row in match(np.eye(50, 3) + 1, seed=0).sources}
    sources = (sample_latents(Affine(3), 50, 0) - 1) / 2
    np.testing.assert_array_less(0, np.abs(draw_sources(50, 3, 0) - sources).max(axis=1))
    drawn = draw_sources(50, 3, sampling_seed(0))
    np.testing.assert_allclose(sources, drawn, atol=1e-6)
    assert matched.isdisjoint(row.tobytes() for row in drawn)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 99])
def test_batches_do_not_change_samples(batch_size):
    generator = Affine(2)
    latents = sample_latents(generator, 10, 1, batch_size=batch_size)
    np.testing.assert_array_equal(latents, sample_latents(Affine(2), 10, 1))
    assert max(generator.seen) == min(batch_size, 10)
    assert sum(generator.seen) == 10


def test_fewer_samples_are_the_first_of_more():
    few, many = (sample_latents(Affine(2), n, 1) for n in (4, 9))
    np.testing.assert_array_equal(few, many[:4])


def test_every_submodule_gets_its_own_mode_back_and_statistics_stay():
    generator = Affine(2).train()
    generator.dropout.eval()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    sample_latents(generator, 8, 0)
    assert [part.training for part in generator.modules()] == [True, True, False]
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name])


def test_modes_come_back_after_an_error():
    generator = Affine(2).train()
    with pytest.raises(RuntimeError, match="running_mean should contain"):
        generate_latents(generator, np.ones((2, 3)))
    assert all(part.training for part in generator.modules())
    assert not torch.is_inference_mode_enabled()


def test_classes_of_all_or_of_each():
    plain = sample_latents(Affine(2), 4, 0)
    np.testing.assert_allclose(sample_latents(Affine(2), 4, 0, classes=3), plain + 300, rtol=1e-6)
    each = sample_latents(Affine(2), 4, 0, classes=[0, 1, 0, 2], batch_size=3)
    np.testing.assert_allclose(each, plain + np.array([[0], [100], [0], [200]]), rtol=1e-6)


def test_sources_of_a_mixture():
    mixture = Mixture([0.5, 0.5], [[-50.0], [50.0]], [[1.0], [1.0]])
    latents = sample_latents(Affine(1), 20, 3, mixture=mixture)
    np.testing.assert_allclose(latents, 2 * mixture.draw(20, sampling_seed(3))[0] + 1, rtol=1e-6)


def test_images_are_decoded_bytes():
    images = sample_images(Affine(2), Tiles(2), 5, 0, batch_size=2)
    latents = 2 * draw_sources(5, 2, sampling_seed(0)) + 1
    expected = np.rint(np.clip((latents + 1) * 127.5, 0, 255)).astype(np.uint8)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.tile(expected, 2).reshape(5, 1, 2, 2))


def test_a_plain_function_is_a_generator_if_sources_are_given():
    sources = np.arange(6.0).reshape(3, 2)
    latents = generate_latents(lambda rows: rows + 1, sources)
    np.testing.assert_array_equal(latents, sources + 1)


def test_read_only_sources_are_taken():
    sources = draw_sources(3, 2, 0)
    sources.flags.writeable = False
    assert generate_latents(lambda rows: rows, sources).shape == (3, 2)


def test_the_device_is_said_or_the_parameters_own():
    seen = []

    class Placed(torch.nn.Linear):
        dim = 2

        def forward(self, rows):
            seen.append(rows.device.type)
            return super().forward(torch.zeros(rows.shape, device="cpu"))

    sample_latents(Placed(2, 2), 2, 0)
    sample_latents(Placed(2, 2), 2, 0, device="meta")
    assert seen == ["cpu", "meta"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_row_that_is_not_finite_is_named(value):
    def broken(rows):
        return torch.where(rows == 7, torch.tensor(value), rows)

    sources = np.arange(20.0).reshape(10, 2)  # 7 is in row 3
    message = "the generator's latents must be finite, but NaN or infinity was found in row 3"
    with pytest.raises(ValueError, match=message):
        generate_latents(broken, sources, batch_size=2)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "n must be >= 1, got 0", lambda g: sample_latents(g, 0, 0)),
        (ValueError, "seed must be >= 0, got -1", lambda g: sample_latents(g, 1, -1)),
        (
            ValueError,
            "batch_size must be >= 1, got 0",
            lambda g: sample_latents(g, 1, 0, batch_size=0),
        ),
        (TypeError, "function has none; draw", lambda g: sample_latents(lambda rows: rows, 1, 0)),
        (
            ValueError,
            "classes must be 1-D with one label for each of the 3 samples",
            lambda g: sample_latents(g, 3, 0, classes=[1, 2]),
        ),
        (TypeError, "classes must hold integers", lambda g: sample_latents(g, 1, 0, classes=[0.5])),
        (
            ValueError,
            r"the generator must give \[4, d\] for as many sources, got \(3, 2\)",
            lambda g: generate_latents(lambda rows: rows[1:], np.ones((4, 2))),
        ),
        (
            ValueError,
            "sources must be finite, but NaN or infinity was found in 1 of 2 rows: row 1",
            lambda g: generate_latents(g, np.array([[1.0, 1.0], [np.nan, 1.0]])),
        ),
        (
            ValueError,
            "sources must have at least one row",
            lambda g: generate_latents(g, np.ones((0, 2))),
        ),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call(Affine(2))


def test_progress_is_a_bar_or_nothing(capsys, terminal):
    sample_latents(Affine(2), 5, 0)
    assert capsys.readouterr() == ("", "")
    sample_latents(Affine(2), 5, 0, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "5/5" in err

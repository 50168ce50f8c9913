"""The autoencoder of vectors: its layers, its scale, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gtn_train.models.mlp import MLPAutoencoder, perceptron, set_scale

ROWS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * [1, 10, 0.1] + 7


def test_each_side_has_three_hidden_layers():
    model = MLPAutoencoder([3], 2)
    for side, ends in ((model.encoder, (3, 2)), (model.decoder, (2, 3))):
        linear = [layer for layer in side if isinstance(layer, torch.nn.Linear)]
        assert [layer.in_features for layer in linear] == [ends[0], 256, 256, 256]
        assert linear[-1].out_features == ends[1]
    assert perceptron(4, 1)(torch.zeros(2, 4)).shape == (2, 1)


def test_one_scale_serves_all_columns():
    model = MLPAutoencoder([3], 2)
    set_scale(model, ROWS)
    np.testing.assert_allclose(model.center, ROWS.mean(axis=0), rtol=1e-5)
    assert model.scale.item() == pytest.approx(ROWS.std(axis=0).max(), rel=1e-5)
    rows = torch.tensor(ROWS, dtype=torch.float32)
    scaled = (rows - model.center) / model.scale
    torch.testing.assert_close(model.encode(rows), model.encoder(scaled))
    latents = model.encode(rows)
    torch.testing.assert_close(
        model.decode(latents), model.decoder(latents) * model.scale + model.center
    )
    torch.testing.assert_close(model(rows), model.decode(latents))


def test_equal_rows_keep_a_scale():
    model = MLPAutoencoder([3], 2)
    set_scale(model, np.ones((4, 3), np.float32))
    assert model.scale.item() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([3], 0), ValueError, "latent_dim must be >= 1, got 0"),
        (([0], 2), ValueError, "data_shape's m must be >= 1, got 0"),
        (([3, 3], 2), ValueError, r"data_shape must be \[m\], got \[3, 3\]"),
        ((3, 2), TypeError, r"data_shape must be \[m\], got 3"),
    ],
)
def test_what_is_no_autoencoder_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        MLPAutoencoder(*arguments)

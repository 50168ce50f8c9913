"""FID, IS, precision and recall: the formulas, torch-fidelity's own run, names, floors, cache."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from stand_ins import Moments, images
from torch.utils.data import Dataset

from gtn_train.evaluation.extractors import as_fidelity
from gtn_train.evaluation.images import evaluate_images, extract, frechet_distance, inception_score

torch_fidelity = pytest.importorskip("torch_fidelity")


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = torch.from_numpy(rows)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def test_frechet_distance_is_the_formula():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 4)).astype(np.float32)
    b = (rng.normal(size=(150, 4)) @ rng.normal(size=(4, 4)) + 1).astype(np.float32)
    mean = [rows.astype(np.float64).mean(axis=0) for rows in (a, b)]
    cov = [np.cov(rows.astype(np.float64), rowvar=False) for rows in (a, b)]
    root = linalg.sqrtm(cov[0] @ cov[1]).real
    expected = ((mean[0] - mean[1]) ** 2).sum() + np.trace(cov[0] + cov[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)


def test_all_figures_are_what_torch_fidelity_computes_itself():
    generated, real = images(40, seed=1, brightness=10), images(40, seed=2)
    extractor = Moments()
    found = evaluate_images(generated, real, extractor, n=40, splits=1)
    expected = torch_fidelity.calculate_metrics(
        input1=Rows(generated),
        input2=Rows(real),
        feature_extractor=as_fidelity(extractor),
        isc=True,
        fid=True,
        prc=True,
        isc_splits=1,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    assert found["FD-Moments"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    assert found["IS-Moments"] == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert found["precision"] == pytest.approx(expected["precision"])
    assert found["recall"] == pytest.approx(expected["recall"])


def test_the_score_is_the_formula_over_splits():
    generated = images(12, seed=1)
    found = evaluate_images(generated, images(12, seed=2), Moments(), n=12, splits=1)
    logits = extract(generated, Moments()).logits.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    divergence = (p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()
    assert found["IS-Moments"] == pytest.approx(math.exp(divergence), rel=1e-5)
    assert found["IS-Moments std"] == 0
    assert inception_score(generated, Moments()) == pytest.approx(found["IS-Moments"], rel=1e-9)
    with pytest.raises(ValueError, match="splits must not exceed the 12 images, got 13"):
        inception_score(generated, Moments(), splits=13)
    several = evaluate_images(generated, images(12, seed=2), Moments(), n=12, splits=3)
    assert several["IS-Moments std"] > 0
    assert several["splits"] == 3


def test_number_extractor_and_floor_stand_beside_the_figures():
    real = images(30, seed=2)
    found = evaluate_images(images(20, seed=1), real, Moments(), n=10, splits=2, seed=4)
    assert (found["extractor"], found["n"], found["seed"]) == ("Moments", 10, 4)
    assert found["real n"] == 10  # 30 hold two sets of 10
    assert not any(name in found for name in ("FID", "IS"))
    fewer = evaluate_images(images(20, seed=1), real, Moments(), n=20, splits=2)
    assert fewer["real n"] == 15  # two halves
    assert 1 <= found["real IS-Moments"] <= 3
    assert found["real FD-Moments"] > 0


def test_the_floor_is_between_disjoint_sets():
    real = np.concatenate([images(10, seed=0)] * 2)  # each image twice
    found = evaluate_images(images(10, seed=1), real, Moments(), n=10, splits=1)
    assert found["real FD-Moments"] > 1e-4  # the same ten would be 0
    same = evaluate_images(real[:10], real[:10], Moments(), n=10, splits=1)
    assert same["FD-Moments"] == pytest.approx(0, abs=1e-5)
    assert same["precision"] == same["recall"] == 1


def test_reconstructions_are_measured_against_the_same_real_images():
    real = images(20, seed=2)
    found = evaluate_images(
        images(20, seed=1), real, Moments(), n=20, splits=1, reconstructions=real
    )
    assert found["recon-FD-Moments"] == pytest.approx(0, abs=1e-5)
    assert found["recon-IS-Moments"] == pytest.approx(found["real IS-Moments"])


def test_worse_images_have_larger_distances_and_less_precision():
    real = images(60, seed=2)
    near, far = (
        evaluate_images(images(60, seed=1, brightness=b), real, Moments(), n=60) for b in (0, 60)
    )
    assert near["FD-Moments"] < far["FD-Moments"]
    assert near["precision"] > far["precision"]


def test_the_seed_decides_which_images():
    sets = images(40, seed=1), images(40, seed=2)
    found = [evaluate_images(*sets, Moments(), n=10, splits=2, seed=s) for s in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0]["FD-Moments"] != found[2]["FD-Moments"]


def test_batches_change_nothing_and_hold_to_their_size():
    extractor = Moments()
    small = extract(images(10), extractor, batch_size=4)
    assert extractor.batches == [4, 4, 2]
    for one, other in zip(small, extract(images(10), Moments()), strict=True):
        np.testing.assert_array_equal(one, other)
    assert small.features.dtype == small.logits.dtype == np.float32


def test_grey_images_are_repeated():
    grey = images(5, channels=1)
    for one, other in zip(
        extract(grey, Moments()), extract(grey.repeat(3, axis=1), Moments()), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_features_are_computed_once_a_set_and_network(tmp_path):
    extractor = Moments()
    sets = images(20, seed=1), images(20, seed=2)
    first = evaluate_images(*sets, extractor, n=10, splits=2, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3  # generated, real, other real ones
    computed = sum(extractor.batches)
    assert evaluate_images(*sets, extractor, n=10, splits=2, cache=tmp_path / "cache") == first
    assert sum(extractor.batches) == computed == 30
    extractor.key = "2"  # other weights
    evaluate_images(*sets, extractor, n=10, splits=2, cache=tmp_path / "cache")
    assert sum(extractor.batches) == 2 * computed


def test_a_damaged_cache_is_said(tmp_path):
    extract(images(5), Moments(), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=file.name):
        extract(images(5), Moments(), cache=tmp_path)


def test_features_that_are_not_finite_are_refused(tmp_path):
    def broken(rows):
        features, logits = Moments()(rows)
        features[rows[:, 0, 0, 0] == marked] = torch.nan
        return features, logits

    broken.name, broken.key = "Broken", "1"
    rows = images(9)
    rows[5, 0, 0, 0], marked = 1, 1
    with pytest.raises(RuntimeError, match="extractor Broken gave NaN or infinity for image 5"):
        extract(rows, broken, batch_size=2, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_a_bar_or_nothing(capsys, terminal):
    extract(images(3), Moments())
    assert capsys.readouterr() == ("", "")
    extract(images(3), Moments(), progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (ValueError, "n must be >= 5, got 4", {"n": 4}),
        (ValueError, "splits must be >= 1, got 0", {"splits": 0}),
        (ValueError, "splits must not exceed n = 6, got 7", {"splits": 7}),
        (ValueError, "generated must have at least n = 6 images, got 5", {"generated": images(5)}),
        (ValueError, "real must have at least n = 6 images", {"real": images(5)}),
        (ValueError, "reconstructions must have at least", {"reconstructions": images(5)}),
        (ValueError, "real must have 1 or 3 channels", {"real": images(6, channels=2)}),
        (ValueError, r"generated must be \[n, c, h, w\]", {"generated": images(6)[0]}),
        (TypeError, "generated must be a uint8 ndarray", {"generated": images(6) / 255}),
        (ValueError, "batch_size must be >= 1", {"batch_size": 0}),
        (ValueError, "seed must be >= 0", {"seed": -1}),
    ],
)
def test_errors(error, message, changes):
    given = {"generated": images(6), "real": images(6), "n": 6, "splits": 1} | changes
    with pytest.raises(error, match=message):
        evaluate_images(extractor=Moments(), **given)

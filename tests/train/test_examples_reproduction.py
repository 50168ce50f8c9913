"""The studies of examples/reproduction: they run in small form, and what they define is right.

Nothing is asked of quality here: docs/reproduction.md has the full studies' numbers.
"""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from studies import loading, run

from gtn_train.evaluation.latents import energy_distance


@pytest.fixture
def load(monkeypatch):
    """Import a script of the folder."""
    yield from loading(monkeypatch)


def numbers_in(value):
    if isinstance(value, dict):
        for entry in value.values():
            yield from numbers_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from numbers_in(entry)
    elif isinstance(value, (int, float)):
        yield value


def check_files(folder, figure, numbers):
    """Both are whole, nothing else is left, and the numbers say where they come from."""
    assert (folder / figure).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not list(folder.glob(".*"))
    content = json.loads((folder / numbers).read_text())
    assert all(math.isfinite(number) for number in numbers_in(content))
    wanted = {"study", "settings", "command", "commit", "machine", "versions"}
    assert wanted <= set(content)
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["torch_threads"] == 1
    assert content["versions"]["torch"]
    return content


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("swiss_roll", "Algorithm 1, centred"),
        ("uniform_square", "standardised, no sorting"),
        ("two_squares", "mixture"),
    ],
)
def test_a_study_runs_and_writes_its_figure_and_its_numbers(tmp_path, name, result):
    run(f"{name}.py", tmp_path / "out")
    content = check_files(tmp_path / "out", f"{name}.png", f"{name}.json")
    assert content["study"] == name
    assert result in content["results"]


def test_the_study_of_labels_measures_each_kind_and_does_not_repeat_itself(tmp_path):
    wanted = ["--data", "gaussian-2", "--pairs", "random", "--pairs", "norm_desc, cone 8"]
    wanted += ["--pairs", "fresh"]
    out, file = tmp_path / "out", "label_study_gaussian_2_400.json"
    run("label_study.py", out, *wanted)
    content = check_files(out, "label_study.png", file)
    assert [run["pairs"] for run in content["runs"]] == ["random", "norm_desc, cone 8", "fresh"]
    assert [run["rounds"] for run in content["runs"]] == [1, 1, 2]
    assert "| norm_desc, cone 8 |" in (out / "label_study.md").read_text()
    before = (out / file).read_bytes()
    run("label_study.py", out, *wanted)
    assert (out / file).read_bytes() == before


def test_the_study_of_labels_takes_latents_of_a_file(tmp_path):
    rows = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    asked = ["--latents", str(tmp_path / "rows.npy"), "--name", "mine", "--pairs", "centred"]
    run("label_study.py", tmp_path / "out", *asked)
    content = check_files(tmp_path / "out", "label_study.png", "label_study_mine_400.json")
    assert content["runs"][0]["n"] == 240  # a fifth is kept to measure with


def test_the_study_of_drift_measures_each_kind_and_does_not_repeat_itself(tmp_path):
    asked = ["--data", "gaussian-5", "--kind", "optimal", "--kind", "drift, 1 epoch a round"]
    out, file = tmp_path / "out", "drift_study_gaussian_5_300.json"
    run("drift_study.py", out, *asked)
    content = json.loads((out / file).read_text())
    assert all(math.isfinite(number) for number in numbers_in(content))
    assert {"study", "settings", "command", "commit", "machine", "versions"} <= set(content)
    runs = {one["kind"]: one for one in content["runs"]}
    assert list(runs) == ["floor", "Gaussian", "mixture of 10", *asked[3::2]]
    assert runs["optimal"]["rounds"] == 1
    assert runs["optimal"]["epochs"] == runs["drift, 1 epoch a round"]["epochs"] == 2
    assert runs["Gaussian"]["energy_distance"] < runs["optimal"]["energy_distance"]
    assert "| drift, 1 epoch a round |" in (out / "drift_study.md").read_text()
    before = (out / file).read_bytes()
    run("drift_study.py", out, *asked)
    assert (out / file).read_bytes() == before


def test_the_study_of_drift_holds_rows_out(load):
    study = load("drift_study")
    given = SimpleNamespace(rows=np.arange(100, dtype=np.float32)[:, None], decoded=None)
    rows, test = study.held_out("mine", 1000, 3, given)
    assert (len(rows), len(test)) == (80, 20)
    assert sorted(np.concatenate([rows, test])[:, 0]) == list(range(100))
    given.decoded = SimpleNamespace(test=given.rows[:7] + 200)
    rows, test = study.held_out("mine", 30, 3, given)
    assert (len(rows), rows.max() < 100, test.tolist()) == (30, True, given.decoded.test.tolist())
    rows, test = study.held_out("two-squares", 50, 3, SimpleNamespace(rows=None, decoded=None))
    assert (rows.shape, test.shape) == ((50, 2), (study.N_SAMPLES, 2))


def test_a_set_of_its_own_features_is_told_apart(load, tmp_path):
    torch.manual_seed(0)
    own, labels = load("own_features"), np.arange(600) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (600, 1, 8, 8)).astype(np.uint8)
    pixels[labels == 1, :, 4:] += 150
    images = own.Images("mine", pixels, labels.astype(np.int64), ("a", "b"))
    state = torch.get_rng_state()
    network = own.own_features(images, tmp_path / "own.pt")
    assert torch.equal(state, torch.get_rng_state())
    features, logits = network(torch.from_numpy(pixels).expand(-1, 3, -1, -1))
    assert features.shape == (600, 64)
    assert np.array_equal(logits.argmax(1), labels)
    again = own.own_features(images, tmp_path / "own.pt")
    assert again.key == network.key


def test_densities_are_fitted_with_full_covariances(load):
    study = load("drift_study")
    rows = np.random.default_rng(0).normal(size=(4000, 2)) @ [[1, 2], [0, 0.5]] + [7, -3]
    for components in (1, 10):
        samples = study.fitted(rows, components, seed=1)(20_000)
        assert np.allclose(samples.mean(0), rows.mean(0), atol=0.15)
        assert np.allclose(np.cov(samples.T), np.cov(rows.T), atol=0.3)
        assert np.allclose(samples[:2000].mean(0), rows.mean(0), atol=0.3), "in random order"


def test_given_rows_are_in_one_part_only(load):
    study = load("latent_sets")
    parts = study.split("mine", 1000, 3, np.arange(100, dtype=np.float32)[:, None])
    assert [len(part) for part in parts] == [80, 10, 10]
    assert sorted(np.concatenate(parts)[:, 0]) == list(range(100))


def test_codes_by_pca_have_the_largest_variances_first(load):
    chance = np.random.default_rng(4)
    hidden = chance.normal(size=(2000, 3)) * [3, 2, 0.1]
    axes = np.linalg.qr(chance.normal(size=(6, 3)))[0].T
    codes, share = load("image_pca").pca_codes((hidden @ axes + 5).astype(np.float32), 2)
    assert (codes.shape, codes.dtype) == ((2000, 2), np.float32)
    wanted = np.linalg.eigvalsh(np.cov(hidden.T))[:0:-1]
    np.testing.assert_allclose(np.cov(codes.T), np.diag(wanted), rtol=1e-4, atol=1e-4)
    assert 0.999 < share < 1


def test_minibatch_transport_is_the_best_assignment_of_each_batch(load):
    pytest.importorskip("ot")
    from scipy.optimize import linear_sum_assignment

    labeling = load("label_study").MinibatchTransport(batch=20)
    latents = np.random.default_rng(2).normal(size=(50, 3)) * [1, 2, 5] + 4
    made = labeling.label(latents, seed=7)
    assert sorted(made.assignment) == list(range(50))
    scaled = (latents - latents.mean(axis=0)) / latents.std(axis=0)
    for begin in (0, 20, 40):
        some = slice(begin, begin + 20)
        taken = np.sort(made.assignment[some])
        cost = ((made.sources[some, None] - scaled[taken]) ** 2).sum(axis=2)
        rows, columns = linear_sum_assignment(cost)
        found = ((made.sources[some] - scaled[made.assignment[some]]) ** 2).sum()
        assert found == pytest.approx(cost[rows, columns].sum(), rel=1e-9)
    again = labeling.label(latents, seed=7)
    assert np.array_equal(again.assignment, made.assignment)
    assert not np.array_equal(labeling.label(latents, seed=8).sources, made.sources)


def test_the_study_of_latent_dimension_measures_each_one(tmp_path):
    run("latent_dims.py", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "latent_dims.json").read_text())
    results = content["sets"]["blobs, own"]["results"]
    assert list(results) == ["real", "2", "3"]
    assert all(math.isfinite(number) for number in numbers_in(results))
    for dim in ("2", "3"):
        assert {"reconstructions", "samples", "normal"} < set(results[dim])
        assert results[dim]["normal"]["FD-own"] > 0
    assert (tmp_path / "out" / "latent_dims_blobs.png").is_file()


def test_the_study_of_speed_times_both_networks(tmp_path):
    run("sampling_speed.py", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "sampling_speed.json").read_text())
    assert {"command", "commit", "machine", "versions"} <= set(content)
    assert list(content["results"]) == ["paper's network", "preset's network"]
    for measured in content["results"].values():
        assert {"network", "latents", "decoder", "images"} == set(measured)
        assert measured["images"]["seconds"] > 0


def test_the_study_of_epochs_scores_samples_of_each(tmp_path):
    run("scores_by_epoch.py", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "scores_by_epoch.json").read_text())
    results = content["sets"]["blobs, d = 2, own"]["results"]
    assert [row["epoch"] for row in results["epochs"]] == [1, 2]
    assert all(math.isfinite(number) for number in numbers_in(results))
    assert set(results["best"]) == {"validation_loss", "energy_distance", "FD-own", "IS-own"}
    for name in ("scores_by_epoch_blobs.png", "samples_by_epoch_blobs.png"):
        assert (tmp_path / "out" / name).is_file()


def test_the_best_epoch_has_the_largest_score_and_the_least_distance(load):
    rows = [{"epoch": 1, "FD": 3.0, "IS": 2.0}, {"epoch": 2, "FD": 4.0, "IS": 2.5}]
    assert load("scores_by_epoch").best_epochs(rows, "IS") == {"FD": 1, "IS": 2}


def test_the_normal_of_fig_17_has_means_and_deviations_alone(load):
    chance = np.random.default_rng(1)
    codes = chance.normal(size=(4000, 2)) @ [[1, 2], [0, 0.5]] + [7, -3]
    drawn = load("latent_dims").normal(codes, 40_000, seed=1)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.05)
    np.testing.assert_allclose(drawn.std(0), codes.std(0), rtol=0.05)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05 < abs(np.corrcoef(codes.T)[0, 1])


def test_random_pairs_are_a_shuffle(load):
    latents = np.random.default_rng(3).normal(size=(40, 2))
    made = load("label_study").Random().label(latents, seed=1)
    assert sorted(made.assignment) == list(range(40))
    assert list(made.assignment) != list(range(40))


def test_the_gap_is_what_lies_between_the_squares(load):
    study = load("two_squares")
    points = np.array([[0.5, 0.5], [1.005, 0.5], [1.5, 0.5], [1.995, 0.5], [1.2, 3.0]])
    assert study.gap_share(points) == {"in_gap": 0.4}


def test_a_point_of_the_roll_is_measured_by_the_nearest_one(load):
    study = load("swiss_roll")
    theta = np.linspace(1.5 * math.pi, 4.5 * math.pi, 2001)
    on_roll = study.swiss_roll_points(theta)
    assert study.of_points(on_roll)["ks_nearest"] < 0.001
    assert study.of_points(on_roll)["within_0.5"] == 1
    away = study.of_points(on_roll * (1 + 1 / theta[:, None]))  # one further out
    assert away["within_0.5"] < 0.01
    assert away["within_1.5"] == 1
    assert study.of_parameters(theta[:, None])["inside"] == 1
    assert study.of_parameters(theta[:, None] + 3 * math.pi)["inside"] < 0.02
    assert abs(study.of_parameters(theta[:, None])["energy_distance"]) < 0.002
    some = theta[:900, None] - 1  # the first of them below the range
    wanted = energy_distance(some, np.linspace(1.5 * math.pi, 4.5 * math.pi, 2000)[:, None])
    assert study.energy_to_uniform(some) == pytest.approx(wanted, abs=0.005)


def test_the_diffusion_schedule_is_the_cosine_one(load):
    betas = load("diffusion").cosine_betas().numpy()
    assert betas.shape == (40,)

    def kept(t):
        return math.cos((t / 40 + 0.008) / 1.008 * math.pi / 2) ** 2

    assert np.prod(1 - betas[:17]) == pytest.approx(kept(17) / kept(0))
    assert betas[-1] == 0.999


def test_diffusion_repeats_itself_and_leaves_torch_alone(load):
    diffusion = load("diffusion")
    points = np.random.default_rng(4).normal(size=(64, 2)).astype(np.float32) * 3 + 7
    state = torch.get_rng_state()
    samples = [diffusion.Diffusion(points, epochs=2, seed=1).sample(32, seed=2) for _ in "ab"]
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(*samples)
    assert samples[0].shape == (32, 2)


def test_ends_on_the_ring_have_a_line_through_its_hole(load):
    study = load("geodesics")
    plane = study.Surface(None, 2, dtype=torch.float32)
    left, right = study.crossing(plane, seed=0, pairs=6)
    assert left.shape == right.shape == (6, 2)
    assert np.linalg.norm(np.concatenate([left, right]), axis=1).min() > study.ON_RING
    share = np.linspace(0, 1, 200)[:, None, None]
    least = np.linalg.norm(left * (1 - share) + right * share, axis=2).min(axis=0)
    assert least.max() < study.RADIUS


def test_algorithm_1_of_the_geodesic_paper_shortens_a_bent_curve(load):
    study = load("geodesics")
    bowl = study.Surface(lambda z: torch.cat([z, 2 * z.square().sum(1, True)], dim=1), 2)
    left, right = np.array([[-1.0, 0.4]]), np.array([[1.0, 0.4]])
    straight = study.along(bowl, np.stack([left, right], axis=1)).length
    assert study.algorithm_1(bowl, left, right, 0.0, 30).length < straight


def test_pairs_of_real_images_are_of_one_class_or_of_two(load):
    study, labels = load("geodesics_real"), np.arange(300) % 7
    like, unlike = (study.pairs_of(labels, kind, 12, seed=3) for kind in (True, False))
    assert like.shape == unlike.shape == (12, 2)
    assert (labels[like[:, 0]] == labels[like[:, 1]]).all()
    assert (labels[unlike[:, 0]] != labels[unlike[:, 1]]).all()
    for pairs in (like, unlike):
        assert len(np.unique(pairs)) == pairs.size


def test_the_sources_of_the_nearest_samples_stand_for_real_images(load, monkeypatch):
    study = load("geodesics_real")
    monkeypatch.setattr(study, "generate_latents", lambda generator, sources: 2 * sources)
    codes = np.random.default_rng(2).normal(scale=(1, 3), size=(6, 2)).astype(np.float32)
    codes[5] = codes[4]  # their samples differ
    run = SimpleNamespace(latents=codes, generator=None)
    found = study.positions_of(run, np.arange(6), "nearest", seed=1)
    drawn = study.draw_sources(study.SAMPLES, 2, study.derive(1, "nearest"))
    scaled = np.linalg.norm((2 * drawn[:, None] - codes) / codes.std(axis=0), axis=2)
    order = scaled.argsort(axis=0)
    assert (found == drawn[[*order[0, :5], order[1, 5]]]).all()
    assert (study.positions_of(run, np.array([3, 1]), "codes", 0) == codes[[3, 1]]).all()


def test_a_classifier_judges_the_images_between_real_ones(load):
    study = load("geodesics_real")

    def judge(images):  # a pixel of value v is surely of class v
        return None, 100 * torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), 4).float()

    lines = np.array([[3, 0, 1, 0, 3], [2, 0, 3, 2, 0]], np.uint8)[:, :, None, None, None]
    found = study.on_the_way(lines, np.array([[0, 1], [2, 0]]), judge)
    assert found["other digits"] == pytest.approx([0, 1 / 3])
    assert found["least probability"] == pytest.approx([1, 1])
    found = study.on_the_way(lines, np.array([[3, 3], [1, 1]]), lambda images: judge(images // 9))
    assert found["other digits"] == pytest.approx([1, 1])


def test_a_sheet_has_the_real_images_at_both_ends_of_each_curve(load):
    study = load("geodesics_real")
    lines, ends = np.full((2, 3, 4, 1, 5, 5), 100, np.uint8), np.zeros((2, 2, 1, 5, 5), np.uint8)
    lines[1, 2], ends[0, 0], ends[1, 1] = 50, 10, 20
    sheet = study.sheet_of(lines, ends)
    wanted = np.concatenate([ends[1, 0], *lines[1, 2, :, 0], ends[1, 1, 0]], axis=None)
    rows = study.figures.grid(wanted.reshape(6, 1, 5, 5), columns=6)
    assert (sheet[:, -rows.shape[1] :] == rows).all()
    assert len(np.unique(sheet)) >= 5


def test_the_vae_of_the_ring_has_its_loss(load):
    model = load("geodesics").RingVAE()
    points, noise = torch.randn(2, 5, 2)
    mean, log_variance = model.encoder(points).chunk(2, dim=1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    again = model.decoder(posterior.mean + posterior.stddev * noise)
    error = (again - points).square().sum(1) / (2 * model.NOISE**2)
    prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(model.loss(points, noise), (error + kl).mean())


def test_numbers_that_are_not_finite_are_not_written(tmp_path, load):
    study = load("study")
    study.write_numbers(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        study.write_numbers(tmp_path / "a.json", {"x": float("nan")})
    assert study.read(tmp_path / "a.json") == {"x": 1}
    assert study.read(tmp_path / "b.json") == {}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_the_authors_arithmetic_is_algorithm_1_where_nothing_ties(load):
    study = load("uniform_square")
    latents = np.random.default_rng(5).normal(size=(300, 6))
    made = study.AuthorsArithmetic().label(latents, seed=1)
    exact = study.PairOptions(standardize=True).labeling_of(latents, 0).label(latents, 1)
    np.testing.assert_array_equal(made.assignment, exact.assignment)


def test_the_authors_arithmetic_without_sorting_goes_by_index(load):
    study = load("uniform_square")
    latents = np.random.default_rng(5).normal(size=(300, 6))
    made = study.AuthorsArithmetic(sort=False).label(latents, seed=1)
    options = study.PairOptions(order="index", standardize=True)
    exact = options.labeling_of(latents, 0).label(latents, 1)
    np.testing.assert_array_equal(made.assignment, exact.assignment)


def test_the_authors_arithmetic_ties_where_latents_are_dense(load):
    study = load("uniform_square")
    latents = study.uniform_square(20_000, seed=1)
    made = study.AuthorsArithmetic().label(latents, seed=1)
    exact = study.PairOptions(standardize=True).labeling_of(latents, 0).label(latents, 1)
    correlation = {}
    for name, labeled in (("float32", made), ("exact", exact)):
        assert sorted(labeled.assignment) == list(range(20_000))
        labels = study.standardized(latents)[labeled.assignment]
        correlation[name] = study.spearman(study.norms(labeled.sources), study.norms(labels))
    assert correlation["float32"] > correlation["exact"] + 0.1


def test_the_law_of_the_embeddings_study_is_the_walks(load):
    study = load("embedding")
    graph = study.NeighbourGraph.build(study.ring(200, 0))
    functions = study.DiffusionMap.fit(graph, 3).functions
    law = study.law(graph)
    assert law.sum() == pytest.approx(1)
    np.testing.assert_allclose(functions.T @ (functions * law[:, None]), np.eye(3), atol=1e-8)

"""The stage "embedding": its files, when it is reused, resumed or refused, and what it feeds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from gtn_train.files import file_sha256
from gtn_train.models import load_model
from gtn_train.run.data_options import DataOptions
from gtn_train.run.finished_run import load_run
from gtn_train.run.pipeline import run_pipeline
from gtn_train.run.preset_fields import Preset
from gtn_train.run.presets import PRESETS
from gtn_train.run.settings import Computing, RunSettings
from gtn_train.spectral import Embedding, EmbeddingOptions
from gtn_train.training import TrainingOptions, loop

OPTIONS = EmbeddingOptions(dim=2, neighbours=8, epochs=6)
LOOP = replace(
    PRESETS["loop"],
    data=DataOptions("loop", n=150),
    embedding=OPTIONS,
    generator_training=TrainingOptions(batch_size=64, learning_rate=1e-3, max_epochs=2, threads=1),
)
FILES = {"config.json", "embedding.npz", "last.ckpt", "metrics.jsonl", "stage.json"}
FILES |= {"weights.safetensors"}


def settings(preset=LOOP, data=None, name="loop"):
    return RunSettings(name, preset, None if data is None else str(data), 0, Computing("cpu"))


def embed(out, preset=LOOP, data=None, last="embedding", said=None, **options):
    say = (lambda line: None) if said is None else said.append
    run_pipeline(out, settings(preset, data), last, say=say, **options)
    return Embedding.load(out / "embedding" / "embedding.npz")


def with_(**changes):
    return replace(LOOP, embedding=replace(OPTIONS, **changes))


def hashes(out):
    names = ("embedding.npz", "weights.safetensors")
    return [file_sha256(out / "embedding" / name) for name in names]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "run"
    embed(out)
    return out


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def test_the_stage_has_coordinates_and_an_encoder(made):
    found = Embedding.load(made / "embedding" / "embedding.npz")
    assert {path.name for path in (made / "embedding").iterdir()} == FILES
    assert found.coordinates.shape == (150, 2)
    assert found.coordinates.dtype == np.float32
    assert found.eigenvalues.shape == (1, 2)
    assert (found.component == 0).all()
    assert (found.bandwidths > 0).all()
    assert len(found.meta["r2"]) == 2
    encoder = load_model(made / "embedding" / "weights.safetensors", expected="spectral")
    assert encoder.latent_dim == 2


def test_a_complete_stage_is_reused(copy):
    said, before = [], hashes(copy)
    embed(copy, said=said)
    assert said == ["embedding: complete, reused"]
    assert hashes(copy) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 3}, "--embedding-dim was 2 and is 3"),
        ({"neighbours": 9}, "--neighbours was 8 and is 9"),
        ({"time": 2.0}, "--diffusion-time was 1.0 and is 2.0"),
        ({"density_power": 0.5}, "--density-power was 1.0 and is 0.5"),
        ({"components": "joint"}, '--components was "separate" and is "joint"'),
        ({"method": "spectral-net"}, '--embedding-method was "exact" and is "spectral-net"'),
        ({"on": "pca50"}, '--embed-on was "rows" and is "pca50"'),
        ({"epochs": 3}, "--embedding-epochs was 6 and is 3"),
    ],
)
def test_other_options_are_refused_and_named(copy, changes, message):
    with pytest.raises(ValueError, match=message):
        embed(copy, with_(**changes))


def test_pace_and_threads_make_no_other_embedding(copy):
    said, before = [], hashes(copy)
    training = replace(LOOP.generator_training, keep_last=False, checkpoint_every_seconds=5.0)
    embed(copy, replace(with_(threads=2), generator_training=training), said=said)
    assert said == ["embedding: complete, reused"]
    assert hashes(copy) == before


def test_with_resume_other_options_rebuild_it(copy):
    found = embed(copy, with_(dim=3), resume=True)
    assert found.coordinates.shape == (150, 3)


def test_a_killed_training_goes_on_to_the_same_bits(made, tmp_path, monkeypatch):
    whole, one_epoch = hashes(made), loop._Run.one_epoch

    def killed(run, epoch, bar):
        if epoch == 4:
            raise KeyboardInterrupt
        return one_epoch(run, epoch, bar)

    out = tmp_path / "run"
    monkeypatch.setattr(loop._Run, "one_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        embed(out)
    names = {path.name for path in (out / "embedding").iterdir()}
    assert names == {"checkpoint.ckpt", "config.json", "metrics.jsonl"}
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"is unfinished\. --resume continues it"):
        embed(out)
    embed(out, resume=True)
    assert hashes(out) == whole


def test_what_is_killed_before_its_training_leaves_nothing(tmp_path, monkeypatch):
    def killed(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("gtn_train.run.embedding.DiffusionMaps.fit", killed)
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / "run")
    assert not (tmp_path / "run" / "embedding").exists()


@pytest.mark.parametrize("when", ["training", "writing"])
def test_spectral_net_is_ordered_also_after_a_kill(tmp_path, monkeypatch, when):
    net = with_(method="spectral-net", epochs=3)
    first = embed(tmp_path / "a", net)
    assert first.meta["r2"] is None
    if when == "writing":  # between the training and its file
        second = tmp_path / "a"
        (second / "embedding" / "stage.json").unlink()
    else:
        second, one_epoch = tmp_path / "b", loop._Run.one_epoch

        def killed(run, epoch, bar):
            if epoch == 3:
                raise KeyboardInterrupt
            return one_epoch(run, epoch, bar)

        monkeypatch.setattr(loop._Run, "one_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            embed(second, net)
        monkeypatch.undo()
    embed(second, net, resume=True)
    again = Embedding.load(second / "embedding" / "embedding.npz")
    np.testing.assert_array_equal(again.coordinates, first.coordinates)
    weights = load_model(second / "embedding" / "weights.safetensors")
    assert weights.mix.abs().sum() > 0


def test_latents_can_be_the_embedding(tmp_path):
    preset = replace(LOOP, latents_from="embedding")
    out = tmp_path / "run"
    embed(out, preset, last="samples")
    run = load_run(out, accelerator="cpu")
    np.testing.assert_array_equal(run.latents, run.embedding.latents)
    inputs = run.stages["latents"].inputs
    assert inputs["embedding"] == file_sha256(out / "embedding" / "embedding.npz")
    assert run.sample(5).shape == (5, 2)
    points = np.asarray(run.latents)
    assert run.encode(np.zeros((4, 3), np.float32)).shape == (4, points.shape[1])
    with pytest.raises(ValueError, match="has no autoencoder: its latents are an embedding"):
        run.decode(points[:2])
    with pytest.raises(ValueError, match="embedding' is no longer valid: --neighbours was 8"):
        embed(out, replace(preset, embedding=replace(OPTIONS, neighbours=9)), last="samples")


def test_another_embedding_makes_later_stages_invalid(tmp_path):
    preset, out = replace(LOOP, latents_from="embedding"), tmp_path / "run"
    embed(out, preset, last="latents")
    other = replace(preset, embedding=replace(OPTIONS, neighbours=9))
    embed(out, other, resume=True)
    with pytest.raises(ValueError, match="latents' is no longer valid: its input 'embedding'"):
        embed(out, other, last="latents")
    with pytest.raises(ValueError, match="latents' is no longer valid: its input 'embedding'"):
        load_run(out, accelerator="cpu")


def test_components_have_columns_of_their_own(tmp_path):
    rows = np.concatenate([np.random.default_rng(0).normal(size=(60, 2)) + x for x in (0, 90)])
    np.save(tmp_path / "v.npy", rows.astype(np.float32))
    preset = replace(
        PRESETS["vectors"],
        embedding=replace(OPTIONS, epochs=2),
        latents_from="embedding",
    )
    said = []
    found = embed(tmp_path / "run", preset, tmp_path / "v.npy", "latents", said)
    assert any("120 rows fall into 2 components" in line for line in said)
    assert found.separate
    latents = np.load(tmp_path / "run" / "latents" / "latents.npy")
    assert latents.shape == (120, 4)
    assert {tuple(row) for row in (latents[:, :2] != 0).tolist()} == {(True, False), (False, True)}


def test_small_components_are_merged_and_said(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2))
    rows[:4] += 90
    np.save(tmp_path / "v.npy", rows.astype(np.float32))
    preset = replace(PRESETS["vectors"], embedding=replace(OPTIONS, neighbours=3, dim=3, epochs=1))
    said = []
    embed(tmp_path / "run", preset, tmp_path / "v.npy", said=said)
    assert (
        "warning: a component of 4 rows had too few for coordinates of its own, and was merged "
        "into the nearest" in said
    )


def test_neighbours_can_be_those_of_other_latents(tmp_path):
    place = tmp_path / "latents.npy"
    np.save(place, np.random.default_rng(0).normal(size=(150, 5)).astype(np.float32))
    found = embed(tmp_path / "run", with_(on=str(place)))
    assert not np.allclose(found.coordinates, embed(tmp_path / "other").coordinates)
    np.save(place, np.random.default_rng(1).normal(size=(150, 5)).astype(np.float32))
    with pytest.raises(ValueError, match="its input 'on' has changed"):
        embed(tmp_path / "run", with_(on=str(place)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neighbours": 150}, "neighbours must be below the 150 rows, got 150"),
        ({"dim": 149}, "embedding_dim must be at most the 150 rows less 2, got 149"),
    ],
)
def test_what_cannot_be_embedded_leaves_no_folder(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        embed(tmp_path / "run", with_(**changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((150, 2), np.nan), "embed_on must be finite, got NaN or infinity in '.*on.npy'"),
        (np.zeros((150, 2)), "embed_on must have two distinct rows, got 150 equal ones in"),
        (np.zeros((149, 2)), "must have a row for each of the 150 rows of the data, got 149 in"),
    ],
)
def test_latents_that_have_no_graph_are_refused(tmp_path, rows, message):
    np.save(tmp_path / "on.npy", rows)
    with pytest.raises(ValueError, match=message):
        embed(tmp_path / "run", with_(on=str(tmp_path / "on.npy")))
    assert not (tmp_path / "run").exists(), "no settings that nothing can be made of"


def test_a_missing_file_of_latents_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"on the latents of '.*gone.npy', which is no"):
        embed(tmp_path / "run", with_(on=str(tmp_path / "gone.npy")))


def test_spectral_net_has_one_network_for_all_components(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2))
    rows[:30] += 90
    np.save(tmp_path / "v.npy", rows.astype(np.float32))
    preset = replace(PRESETS["vectors"], embedding=replace(OPTIONS, method="spectral-net"))
    with pytest.raises(ValueError, match="components must be 'joint' with embedding_method"):
        embed(tmp_path / "run", preset, tmp_path / "v.npy")


def test_images_are_embedded_by_convolutions(images, tmp_path):
    embedding = EmbeddingOptions(dim=2, neighbours=5, on="pca50", epochs=1)
    preset = replace(PRESETS["diffusion-mnist"], embedding=embedding)
    data = images.parent / "mnist"
    found = embed(tmp_path / "new", preset, data, "latents")
    assert found.coordinates.shape[1] == 2
    encoder = load_model(tmp_path / "new" / "embedding" / "weights.safetensors")
    assert encoder.data_shape == (1, 8, 8)
    assert (tmp_path / "new" / "latents" / "classes.npy").exists()


def test_a_run_without_an_embedding_has_no_such_stage(tmp_path):
    with pytest.raises(ValueError, match="a run of 'loop' has no embedding"):
        run_pipeline(tmp_path / "run", settings(PRESETS["loop"]), "embedding")
    run_pipeline(tmp_path / "run", settings(replace(LOOP, embedding=None)), "latents")
    assert not (tmp_path / "run" / "embedding").exists()


def test_settings_of_runs_without_an_embedding_are_as_before(tmp_path):
    settings(PRESETS["loop"]).write(tmp_path)
    content = json.loads((tmp_path / "run.json").read_bytes())
    assert not {"embedding", "latents_from"} & set(content["preset"])
    assert RunSettings.read(tmp_path).preset == PRESETS["loop"]


def test_settings_with_an_embedding_come_back(tmp_path):
    settings().write(tmp_path)
    assert RunSettings.read(tmp_path).preset == LOOP
    assert Preset.from_config(LOOP.config()) == LOOP

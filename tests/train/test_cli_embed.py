"""gtn-train embed, runs on diffusion coordinates, and autoencoders of vectors, as commands."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from gtn_train.data import ring
from gtn_train.models import load_model
from gtn_train.run.finished_run import load_run
from gtn_train.spectral import Embedding

FEW = ("--n", 120, "--embedding-epochs", 3)
ON_LOOP = ("embed", "--preset", "loop", *FEW)
GENERATOR = ("--generator-epochs", 2, "--layers", 2, "--width", 8, "--training-threads", 1)


@pytest.fixture(scope="module")
def coordinates(tmp_path_factory):
    """A finished run on the diffusion coordinates of a loop."""
    from command_cases import main

    out = tmp_path_factory.mktemp("coordinates") / "run"
    args = ("fit", "--quiet", "--preset", "loop", *FEW, "--latents-from", "embedding", *GENERATOR)
    with pytest.raises(SystemExit) as left:
        main([*map(str, args), "--out", str(out)])
    assert left.value.code == 0
    return out


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """A finished run on the codes of an autoencoder of vectors."""
    from command_cases import main

    out = tmp_path_factory.mktemp("coded") / "run"
    coder = ("--autoencoder", "mlp", "--latent-dim", 2, "--autoencoder-epochs", 3)
    args = ("fit", "--quiet", "--preset", "loop", "--n", 120, *coder, *GENERATOR)
    with pytest.raises(SystemExit) as left:
        main([*map(str, args), "--out", str(out)])
    assert left.value.code == 0
    return out


# ---------------------------------------------------------------------------------------- embed


def test_embed_tells_of_components_eigenvalues_and_the_encoder(gtn_train, tmp_path):
    done = gtn_train.ok(*ON_LOOP, "--out", tmp_path / "run")
    stage, together, components, values, encoder = done.out.splitlines()
    assert stage.startswith("embedding ")
    assert together.startswith("together ")
    assert components == "1 component of 120 rows"
    assert values.startswith("1 - eigenvalue: ")
    assert "; largest spectral gap " in values
    assert encoder.startswith("encoder: R² ")
    assert (
        Embedding.load(tmp_path / "run" / "embedding" / "embedding.npz").coordinates.shape[1] == 2
    )
    again = gtn_train.ok("embed", "--out", tmp_path / "run")
    assert again.stages == {"embedding": "reused"}
    assert again.out.splitlines()[2:] == done.out.splitlines()[2:]
    assert gtn_train.ok("embed", "--quiet", "--out", tmp_path / "run").out == ""


def test_components_lead_to_labels_by_clusters(gtn_train, tmp_path):
    rows = np.concatenate([ring(60, 0), ring(60, 1) + 50, ring(40, 2) - 50])
    np.save(tmp_path / "v.npy", rows)
    few = ("--neighbours", 8, "--embedding-epochs", 2, "--out", tmp_path / "run")
    done = gtn_train.ok("embed", "--preset", "vectors", "--data", tmp_path / "v.npy", *few)
    lines = done.out.splitlines()[2:]
    assert lines[0] == "3 components of 60, 60, 40 rows"
    assert "--labeling clusters --clusters 3" in lines[1]
    assert [line.split(":")[0] for line in lines[2:5]] == [f"component {k}" for k in range(3)]
    assert lines[-1].startswith("encoder: component of ")
    done = gtn_train.ok("embed", "--out", tmp_path / "run", "--components", "joint", "--resume")
    assert "1 - eigenvalue: " in done.out
    assert Embedding.load(tmp_path / "run" / "embedding" / "embedding.npz").separate is False


def test_every_option_of_an_embedding_is_kept(gtn_train, tmp_path):
    np.save(tmp_path / "on.npy", ring(120, 0))
    options = {
        "--embedding-dim": (3, "dim"),
        "--neighbours": (9, "neighbours"),
        "--density-power": (0.5, "density_power"),
        "--diffusion-time": (2.0, "time"),
        "--embedding-method": ("spectral-net", "method"),
        "--embed-on": (str(tmp_path / "on.npy"), "on"),
        "--components": ("joint", "components"),
        "--embedding-epochs": (2, "epochs"),
        "--training-threads": (1, "threads"),
    }
    given = [word for name, (value, _) in options.items() for word in (name, value)]
    done = gtn_train.ok("embed", "--preset", "loop", "--n", 120, *given, "--out", tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "run.json").read_bytes())["preset"]["embedding"]
    assert kept == {name: value for value, name in options.values()}
    assert "encoder: " not in done.out, "SpectralNet is its own encoder"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--neighbours", 120), "--neighbours must be below the 120 rows, got 120"),
        (("--embedding-dim", 119), "--embedding-dim must be at most the 120 rows less 2, got 119"),
        (("--density-power", -1), "--density-power must be a finite number >= 0, got -1"),
        (("--diffusion-time", "nan"), "--diffusion-time must be a finite number >= 0, got nan"),
        (("--embed-on", "pixels"), "--embed-on must be rows, pca50 or a file, and 'pixels' is"),
        (("--labeling", "optimal"), "No such option '--labeling'"),
    ],
)
def test_what_embed_refuses(gtn_train, tmp_path, options, message):
    assert message in gtn_train.refused(*ON_LOOP, *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_that_are_no_numbers_are_refused(gtn_train, tmp_path):
    np.save(tmp_path / "v.npy", np.full((50, 2), np.nan, np.float32))
    given = ("--preset", "vectors", "--data", tmp_path / "v.npy", "--out", tmp_path / "run")
    assert "NaN" in gtn_train.refused("embed", *given)
    np.save(tmp_path / "v.npy", np.ones((50, 2), np.float32))
    refusal = gtn_train.refused("embed", *given)
    assert refusal == "the data must have two distinct rows, and all 50 are equal"


def test_spectral_net_asks_for_joint_components(gtn_train, tmp_path):
    np.save(tmp_path / "v.npy", np.concatenate([ring(60, 0), ring(60, 1) + 50]))
    given = ("--preset", "vectors", "--data", tmp_path / "v.npy", "--out", tmp_path / "run")
    refusal = gtn_train.refused("embed", *given, "--embedding-method", "spectral-net")
    assert "--components must be 'joint' with --embedding-method 'spectral-net'" in refusal
    assert "got 2 components; --embedding-method 'exact' embeds each by itself" in refusal


def test_images_are_embedded_in_ten_dimensions_on_their_components(gtn_train, images, tmp_path):
    given = ("--preset", "mnist", "--data", images.parent / "mnist", "--embedding-epochs", 1)
    gtn_train.ok("embed", *given, "--neighbours", 8, "--out", tmp_path / "new")
    kept = json.loads((tmp_path / "new" / "run.json").read_bytes())["preset"]
    assert (kept["embedding"]["dim"], kept["embedding"]["on"]) == (10, "pca50")
    assert kept["autoencoder"] == "vanilla", "the run's latents stay the autoencoder's"


# --------------------------------------------------------------------- runs on the coordinates


def test_a_run_on_coordinates_is_used_as_others_are(gtn_train, coordinates, tmp_path):
    run = shutil.copytree(coordinates, tmp_path / "run")
    done = gtn_train.ok("fit", "--out", run)
    names = ("embedding", "latents", "pairs", "generator", "samples")
    assert done.stages == dict.fromkeys(names, "reused")
    gtn_train.ok("sample", run, "--n", 5, "--out", tmp_path / "s.npy")
    assert np.load(tmp_path / "s.npy").shape == (5, 2)
    gtn_train.ok("interpolate", run, "--lines", 1, "--out", tmp_path / "l.npy")
    assert "held-out rows" in gtn_train.ok("evaluate", run).out
    gtn_train.ok("report", run)
    assert "embedding" in (run / "report.html").read_text()


def test_options_of_an_embedding_need_one(gtn_train, tmp_path):
    given = ("fit", "--preset", "loop", "--n", 50, "--out", tmp_path / "run")
    refusal = gtn_train.refused(*given, "--neighbours", 4)
    assert "--neighbours needs --latents-from embedding, or a run with an embedding." in refusal
    refusal = gtn_train.refused(*given, "--latents-from", "embedding", "--latent-dim", 2)
    assert "--latent-dim needs an autoencoder, and --latents-from embedding leaves" in refusal


def test_a_preset_of_images_can_take_coordinates(gtn_train, images, tmp_path):
    given = ("--preset", "mnist", "--data", images.parent / "mnist", "--embedding-epochs", 1)
    more = ("--latents-from", "embedding", "--neighbours", 8, "--embedding-dim", 3)
    gtn_train.ok("label", *given, *more, "--out", tmp_path / "new")
    kept = json.loads((tmp_path / "new" / "run.json").read_bytes())["preset"]
    assert (kept["autoencoder"], kept["latent_dim"]) == (None, None)
    wanted = Embedding.load(tmp_path / "new" / "embedding" / "embedding.npz").latents
    found = np.load(tmp_path / "new" / "latents" / "latents.npy")
    np.testing.assert_array_equal(found, wanted)


# ---------------------------------------------------------------------- autoencoders of vectors


def test_vectors_may_have_an_autoencoder(gtn_train, coded, tmp_path):
    run = load_run(coded, accelerator="cpu")
    assert run.latents.shape == (120, 2)
    model = load_model(coded / "autoencoder" / "weights.safetensors", expected="mlp")
    assert model.scale.item() > 0
    points = run.sample(6)
    assert (points.shape, points.dtype) == ((6, 3), np.float32)
    np.testing.assert_allclose(run.decode(run.encode(points)).shape, (6, 3))
    lines = run.interpolate(2, steps=4)
    assert lines.images.shape == (2, 4, 3)
    with pytest.raises(ValueError, match="a grid needs images"):
        lines.grid()
    gtn_train.ok("sample", coded, "--n", 6, "--out", tmp_path / "s.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), points)


def test_a_run_of_coded_vectors_is_used_as_others_are(gtn_train, coded, tmp_path):
    run = shutil.copytree(coded, tmp_path / "run")
    done = gtn_train.ok("fit", "--out", run)
    names = ("autoencoder", "latents", "pairs", "generator", "samples")
    assert done.stages == dict.fromkeys(names, "reused")
    assert "fresh draws" in gtn_train.ok("evaluate", run).out
    gtn_train.ok("report", run)
    found = gtn_train.ok("export", run, "--out", tmp_path / "p.pt2")
    assert "sources [n, 2] to vectors [n, 3]" in found.out
    lines = ("--lines", 1, "--steps", 4, "--points", 5, "--path", "geodesic")
    gtn_train.ok("interpolate", run, *lines, "--out", tmp_path / "l.npy")
    assert np.load(tmp_path / "l.npy").shape == (1, 4, 3)
    changed = gtn_train.refused("fit", "--out", run, "--n", 60)
    assert "--n was 120 and is 60" in changed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--autoencoder", "mlp"), "--autoencoder needs --latent-dim for vectors."),
        (
            ("--autoencoder", "vanilla", "--latent-dim", 2),
            "--autoencoder must be mlp or vdae for 'loop', got 'vanilla'",
        ),
        (("--latent-dim", 2), "--latent-dim needs an autoencoder, and the preset has none."),
    ],
)
def test_what_vectors_cannot_have(gtn_train, tmp_path, options, message):
    given = ("fit", "--preset", "loop", "--n", 50, "--out", tmp_path / "run")
    assert message in gtn_train.refused(*given, *options)


def test_images_have_no_autoencoder_of_vectors(gtn_train, images, tmp_path):
    given = ("fit", "--preset", "mnist", "--data", images.parent / "mnist", "--out", tmp_path / "a")
    refusal = gtn_train.refused(*given, "--autoencoder", "mlp")
    assert "--autoencoder must be vanilla, vae, vae-twin, vdae or diffusers for 'mnist'" in refusal

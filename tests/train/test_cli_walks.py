"""gtn-train sample --walk, and the options of a VDAE, as commands."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gtn_train import EncodedRun
from gtn_train.data import loop
from gtn_train.run.finished_run import load_run
from gtn_train.sampling import walk

FEW = ("--n", 120, "--embedding-epochs", 2, "--autoencoder-epochs", 2, "--training-threads", 1)
MAKE = ("encode", "--preset", "vdae-loop", *FEW, "--vdae-neighbours", 8)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A run with a VDAE and without a generator."""
    from command_cases import main

    out = tmp_path_factory.mktemp("encoded") / "run"
    with pytest.raises(SystemExit) as left:
        main([*map(str, MAKE), "--quiet", "--out", str(out)])
    assert left.value.code == 0
    return out


def test_a_walk_needs_no_generator(gtn_train, encoded, tmp_path):
    done = gtn_train.ok("sample", encoded, "--walk", 2, "--n", 5, "--out", tmp_path / "w.npy")
    assert done.out == f"5 vectors after 2 steps in {tmp_path / 'w.npy'}\n"
    found = np.load(tmp_path / "w.npy")
    assert (found.shape, found.dtype) == ((5, 3), np.float32)
    run = EncodedRun(encoded, accelerator="cpu")
    np.testing.assert_array_equal(run.walk(2, 5), found)
    assert run.walk(1, 130).shape == (130, 3), "more walks than rows"
    np.testing.assert_array_equal(run.rows, loop(120, 0))
    with pytest.raises(ValueError, match="is not finished: it has no pairs yet"):
        load_run(encoded)


def test_walks_can_start_at_one_row_and_snap(gtn_train, encoded, tmp_path):
    given = ("--walk", 1, "--n", 40, "--from", 7, "--seed", 3)
    gtn_train.ok("sample", encoded, *given, "--out", tmp_path / "a.npy")
    gtn_train.ok("sample", encoded, *given, "--snap", "--out", tmp_path / "b.npy")
    run = EncodedRun(encoded, accelerator="cpu")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), run.walk(1, 40, 3, start=7))
    np.testing.assert_array_equal(
        np.load(tmp_path / "b.npy"), run.walk(1, 40, 3, start=7, snap=True)
    )
    rows, known = np.repeat(run.rows[7:8], 40, axis=0), run.latents
    plain, snapped = (walk(run.autoencoder, rows, 2, 3, snap_to=to) for to in (None, known))
    np.testing.assert_array_equal(run.walk(2, 40, 3, start=7), plain)
    np.testing.assert_array_equal(run.walk(2, 40, 3, start=7, snap=True), snapped)
    assert not np.array_equal(plain, snapped)
    assert not np.array_equal(plain, run.walk(2, 40, 3, start=8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--walk", 1, "--from", 120), "--from must be a row below 120, got 120"),
        (("--walk", 0), "'--walk'"),
        (("--walk", 1, "--class", 2), "--class has no meaning with --walk."),
        (("--walk", 1, "--steps", 2), "--steps has no meaning with --walk."),
        (("--from", 3), "--from needs --walk."),
        (("--snap",), "--snap needs --walk."),
        (("--walk", 1, "--out", "x.png"), "--out must end in .npy"),
    ],
)
def test_what_a_walk_refuses(gtn_train, encoded, options, message):
    assert message in gtn_train.refused("sample", encoded, *options)


def test_a_walk_needs_a_vdae(gtn_train, tmp_path):
    gtn_train.ok("label", "--preset", "loop", "--n", 50, "--out", tmp_path / "run")
    refusal = gtn_train.refused("sample", tmp_path / "run", "--walk", 1)
    assert "--walk needs a run with --autoencoder vdae, and the autoencoder of" in refusal
    assert refusal.endswith("is none")
    run = EncodedRun(tmp_path / "run", accelerator="cpu")
    with pytest.raises(ValueError, match="a walk needs a run with an autoencoder 'vdae', and"):
        run.walk(1)


@pytest.mark.parametrize(("start", "message"), [(-1, "start must be >= 0"), (120, "below the 120")])
def test_starts_are_rows(encoded, start, message):
    with pytest.raises(ValueError, match=message):
        EncodedRun(encoded, accelerator="cpu").walk(1, start=start)


def test_every_option_of_a_vdae_is_kept(gtn_train, tmp_path):
    options = {"neighbours": 7, "step": 2.0, "ridge": 0.1, "noise": 0.3}
    given = [word for name, value in options.items() for word in (f"--vdae-{name}", value)]
    more = ("--autoencoder", "vdae", "--embedding-dim", 3, "--vdae-couple")
    gtn_train.ok("autoencoder", "--preset", "loop", *FEW, *more, *given, "--out", tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "run.json").read_bytes())["preset"]
    assert kept["vdae"] == {**options, "couple": True}
    assert (kept["autoencoder"], kept["latent_dim"]) == ("vdae", None)
    assert kept["embedding"]["dim"] == 3
    assert kept["autoencoder_training"]["max_epochs"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--vdae-step", 0), "--vdae-step must be above 0, got 0"),
        (("--vdae-ridge", "nan"), "--vdae-ridge must be a finite number >= 0, got nan"),
        (("--latent-dim", 2), "--latent-dim has no meaning with --autoencoder vdae, whose"),
        (("--autoencoder", "mlp", "--latent-dim", 2, "--vdae-step", 2), "needs --autoencoder vdae"),
    ],
)
def test_what_a_vdae_refuses(gtn_train, tmp_path, options, message):
    given = ("autoencoder", "--preset", "vdae-loop", *FEW, *options, "--out", tmp_path / "run")
    assert message in gtn_train.refused(*given)
    assert not (tmp_path / "run").exists()


def test_a_preset_can_leave_its_vdae(gtn_train, tmp_path):
    given = ("encode", "--preset", "vdae-loop", *FEW, "--out", tmp_path / "run")
    gtn_train.ok(*given, "--autoencoder", "mlp", "--latent-dim", 2)
    kept = json.loads((tmp_path / "run" / "run.json").read_bytes())["preset"]
    assert kept["autoencoder"] == "mlp"
    assert "vdae" not in kept

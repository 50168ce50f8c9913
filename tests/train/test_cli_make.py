"""The gtn-train command in this process: what it writes and says, and every refusal."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from command_cases import (
    AUTOENCODER,
    IMAGE_RUN,
    files,
    write_folder,
    write_mnist,
    write_vectors,
)

from gtn_label.cli import console
from gtn_train.cli.group import cli
from gtn_train.run.presets import PRESETS
from gtn_train.sampling import sample

MAKING = ("fit", "embed", "autoencoder", "encode", "label", "generator")
SHOWING = ("sample", "interpolate", "evaluate", "report", "export")


# -------------------------------------------------------------------------------------- its help


def test_help_lists_commands_in_order_and_all_presets(gtn_train):
    text = gtn_train.ok("--help").out
    places = [re.search(rf"^  {name}  ", text, re.MULTILINE).start() for name in MAKING + SHOWING]
    assert places == sorted(places)
    for name, preset in PRESETS.items():
        assert re.search(rf"^    {name}  ", text, re.MULTILINE), name
        assert preset.summary.split()[0] in text
    assert "..." not in re.sub(r"celeba \.\.\.|\[ARGS\]\.\.\.", "", text), (
        "no sentence is cut short"
    )


@pytest.mark.parametrize("command", ["", *MAKING, *SHOWING])
def test_help_fits_80_columns_and_explains_each_option(gtn_train, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = gtn_train.ok(*command.split(), "--help").out
    assert max(map(len, text.splitlines())) <= 80
    entry = cli.commands[command] if command else cli
    for parameter in entry.params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None), parameter.name
            assert max(parameter.opts, key=len) in text


def test_no_word_at_all_shows_the_help(gtn_train):
    done = gtn_train()
    assert (done.code, done.out, done.err) == (2, gtn_train.ok("--help").out, "")


@pytest.mark.parametrize("command", [*MAKING, *SHOWING])
def test_defaults_stand_behind_the_sentence(command):
    for entry in cli.commands[command].params:
        if entry.param_type_name == "option":
            sentences, _, default = entry.help.partition("  [default: ")
            assert sentences.endswith("."), entry.help
            assert "[default" not in sentences, entry.help
            assert not default or default.endswith("]"), entry.help


def test_options_are_those_a_stage_depends_on(gtn_train):
    assert "--width" not in gtn_train.ok("label", "--help").out
    assert "--cone" not in gtn_train.ok("encode", "--help").out
    assert "--width" in gtn_train.ok("generator", "--help").out


def test_version(gtn_train):
    assert re.fullmatch(r"gtn-train \d+\.\d+\.\d+\n", gtn_train.ok("--version").out)


# --------------------------------------------------------------------------------- what it says


def test_stages_on_stderr_and_the_summary_on_stdout(gtn_train, tmp_path):
    data, out = write_vectors(tmp_path / "v.npy"), tmp_path / "run"
    given = ("--preset", "vectors", "--data", data, "--generator-epochs", 2)
    given += ("--labeling", "algorithm1", "--every", 1, "--batch-size", 8)
    done = gtn_train.ok("fit", *given, "--out", out)
    assert re.fullmatch(
        r"gtn-train: run: preset 'vectors', seed 0, in '.*run'\n"
        r"gtn-train: warning: 8 held-out rows alone choose the generator's weights, .*\n"
        r"gtn-train: latents: 80 of dimension 3\n"
        r"gtn-train: pairs: 80 in [\d.]+ s, by \S+\n"
        r"gtn-train: generator: 64 pairs, 8 steps an epoch, up to 2 epochs, on \w+\n"
        r"gtn-train: generator: 2 epochs in [\d.]+ s, energy distance of 1000 samples "
        r"[-\d.]+ at epoch [12]\n",
        done.err,
    )
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "latents",
        "pairs",
        "generator",
        "samples",
        "together",
        "pairs",
        "next:",
    ]
    assert re.search(r"together +[\d.]+ s   labels [\d.e+-]+ % of it\n", done.out)
    assert "pairs were rematched in the background of training 2 times" in done.out
    assert done.out.endswith(f"next: gtn-train report {out}\n")
    quiet = gtn_train.ok("fit", *given, "--out", tmp_path / "quiet", "--quiet")
    assert (quiet.out, quiet.err) == ("", "")
    ours, theirs = files(out), files(tmp_path / "quiet")
    for name in ("generator/weights.safetensors", "pairs/pairs.npz", "samples/latents.npy"):
        assert ours[name] == theirs[name]


def test_an_image_run_uses_tensorboard_if_asked(gtn_train, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    given = ("--preset", "mnist", "--data", data, "--out", out, *IMAGE_RUN)
    gtn_train.ok("generator", *given, "--tensorboard")
    for stage, picture in (("autoencoder", "reconstructions"), ("generator", "samples")):
        events = EventAccumulator(str(out / stage / "tensorboard"))
        events.Reload()
        assert events.Tags()["images"] == [picture]


# --------------------------------------------------------------------------------------- refusals


def test_unknown_words(gtn_train, tmp_path):
    out = ("--out", tmp_path / "run")
    refusal = gtn_train.refused("fit", "--preset", "mnits", *out)
    assert "'mnits' is not one of 'swiss-roll', " in refusal
    assert refusal.endswith("See gtn-train fit --help")
    assert "No such command 'train'" in gtn_train.refused("train")
    assert "Missing option '--out'" in gtn_train.refused("fit", "--preset", "mnist")
    refusal = gtn_train.refused("fit", *out)
    assert refusal.startswith("--preset is needed: '")
    assert refusal.endswith("holds no run yet. See gtn-train fit --help")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "mnist"), "--data is needed: preset 'mnist' reads 'mnist'."),
        (("--preset", "mnist", "--data", "nowhere"), "--data 'nowhere' does not exist"),
        (("--preset", "mnist", "--data", "."), "mnist needs train-images-idx3-ubyte and"),
        (("--preset", "cifar10", "--data", "."), "cifar10 needs data_batch_1"),
        (("--preset", "hap", "--data", "."), "holds no image: looked there and in its subfolders"),
        (("--preset", "vectors", "--data", "."), "must be a file, and is a folder"),
        (("--preset", "vectors", "--data", "mine.txt"), "mine.txt"),
        (("--preset", "swiss-roll", "--data", "."), "--data has no meaning for the synthetic set"),
        (("--preset", "swiss-roll", "--latent-dim", 4), "--latent-dim needs an autoencoder"),
        (("--preset", "vectors", "--autoencoder-epochs", 4), "--autoencoder-epochs needs an auto"),
        (("--preset", "swiss-roll", "--set", "array"), "--set needs a preset of images"),
        (("--preset", "mnist", "--data", ".", "--n", 5), "--n is of synthetic sets alone, got 5"),
        (("--preset", "mnist", "--data", ".", "--size", 32), "--size is of image files alone, got"),
        (("--preset", "swiss-roll", "--by-class"), "--by-class needs --labeling 'algorithm1'"),
        (("--preset", "uniform", "--by-class"), "--by-class needs images, and the data are 'un"),
        (
            ("--preset", "mnist", "--data", ".", "--labeling", "quantile"),
            "--labeling 'quantile' needs --latent-dim 1, got 5",
        ),
        (("--preset", "uniform", "--labeling", "quantile"), "needs latents of dimension 1"),
        (
            ("--preset", "swiss-roll", "--clusters", 3),
            "--clusters needs --labeling 'clusters' or 'optimal', got 'quantile'",
        ),
        (
            ("--preset", "mnist", "--data", ".", "--batch-size", 1, "--batch-norm-layers", 1),
            "--batch-size must be >= 2 for",
        ),
        (("--preset", "swiss-roll", "--learning-rate", "-1"), "--learning-rate must be > 0, got"),
        (("--preset", "swiss-roll", "--learning-rate", "nan"), "--learning-rate must be finite"),
        (("--preset", "swiss-roll", "--precision", "16-mixed"), "--precision '16-mixed' needs a"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(gtn_train, tmp_path, monkeypatch, options, message):
    if "16-mixed" in options and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("no vectors")
    monkeypatch.chdir(tmp_path / "here")
    refusal = gtn_train.refused("fit", *options, "--out", tmp_path / "runs" / "one")
    assert re.search(message, refusal), refusal
    assert not (tmp_path / "runs").exists()


def test_vectors_of_more_dimensions_have_no_quantiles(gtn_train, tmp_path):
    data = write_vectors(tmp_path / "v.npy")
    given = ("--preset", "vectors", "--data", data, "--out", tmp_path / "run")
    refusal = gtn_train.refused("fit", *given, "--labeling", "quantile")
    assert "quantile labels need vectors of dimension 1, and" in refusal
    assert refusal.endswith("has dimension 3")
    assert not (tmp_path / "run").exists()
    write_vectors(tmp_path / "v.npy", dim=1)
    gtn_train.ok("label", *given, "--labeling", "quantile")


def test_vectors_that_are_not_finite(gtn_train, tmp_path):
    rows = np.zeros((20, 2), np.float32)
    rows[3, 1] = np.nan
    np.save(tmp_path / "v.npy", rows)
    given = ("--preset", "vectors", "--data", tmp_path / "v.npy", "--out", tmp_path / "run")
    assert "v.npy' must be finite, but NaN" in gtn_train.refused("fit", *given)
    assert not (tmp_path / "run").exists()


def test_a_truncated_image(gtn_train, tmp_path):
    data = write_folder(tmp_path / "faces")
    path = data / "cats" / "004.png"
    path.write_bytes(path.read_bytes()[:150])
    given = ("--preset", "hap", "--data", data, "--size", 8)
    refusal = gtn_train.refused("fit", *given, "--out", tmp_path / "run")
    assert f"'{path}' is truncated or not an image that can be read" in refusal
    assert not (tmp_path / "run").exists()


def test_images_without_classes_are_refused_before_any_training(gtn_train, tmp_path):
    data = write_folder(tmp_path / "faces") / "cats"
    given = ("--preset", "hap", "--data", data, "--size", 8, "--by-class")
    refusal = gtn_train.refused("fit", *given, "--out", tmp_path / "run")
    assert f"pairs by class need classes, and the images of '{data}' have none" in refusal
    assert not (tmp_path / "run").exists()


def test_too_few_images_or_vectors_leave_nothing(gtn_train, tmp_path):
    data = write_folder(tmp_path / "faces", n=4)
    (data / "cats" / "000.png").unlink()
    write_vectors(tmp_path / "v.npy", n=1)
    for preset, given, least in (
        ("hap", data / "cats", 2),
        ("vectors", tmp_path / "v.npy", 2),
    ):
        out = ("--data", given, "--out", tmp_path / "run")
        refusal = gtn_train.refused("fit", "--preset", preset, *out)
        assert f"a run needs at least {least} images or vectors, of which one is held" in refusal
        assert f"'{given}' has 1" in refusal
        assert not (tmp_path / "run").exists()
    normed = ("--preset", "two-squares", "--batch-norm-layers", 1)
    refusal = gtn_train.refused("fit", *normed, "--n", 2, "--out", tmp_path / "r")
    assert "'two-squares' has 2" in refusal
    few = ("--preset", "two-squares", "--n", 4, "--out", tmp_path / "r")
    refusal = gtn_train.refused("fit", *few)
    assert "needs at least 5 images or vectors, of which one is held out, and 'two-s" in refusal


def test_out_that_is_a_file(gtn_train, tmp_path):
    (tmp_path / "run").write_text("mine")
    for out in (tmp_path / "run", tmp_path / "run" / "below"):
        refusal = gtn_train.refused("fit", "--preset", "swiss-roll", "--n", 50, "--out", out)
        assert f"a run needs a folder, and '{out}' is or lies below a file" in refusal
    assert (tmp_path / "run").read_text() == "mine"


def test_two_presets_in_one_folder(gtn_train, vectors):
    before = files(vectors)
    for more in ((), ("--resume",)):
        refusal = gtn_train.refused("fit", "--preset", "swiss-roll", "--out", vectors, *more)
        assert "holds a run of preset 'vectors', and --preset is 'swiss-roll': choose" in refusal
    assert files(vectors) == before


def test_a_run_that_made_nothing_may_start_again_as_another(gtn_train, tmp_path):
    given = ("--n", 50, "--out", tmp_path / "run", "--generator-epochs", 1)
    gtn_train.ok("label", "--preset", "swiss-roll", *given[:-2])
    for folder in ("latents", "pairs"):
        for file in (tmp_path / "run" / folder).iterdir():
            file.unlink()
        (tmp_path / "run" / folder).rmdir()
    gtn_train.ok("fit", "--preset", "uniform", *given)


def test_no_autoencoder_to_train(gtn_train, vectors):
    refusal = gtn_train.refused("autoencoder", "--out", vectors)
    assert "a run of 'vectors' has no autoencoder: its data are its latents" in refusal


@pytest.mark.parametrize("command", ["fit", "sample", "report"])
def test_a_damaged_run_json(gtn_train, vectors, command, tmp_path):
    (vectors / "run.json").write_text('{"preset": 1}')
    out = ("--out", vectors) if command == "fit" else (vectors,)
    refusal = gtn_train.refused(command, *out)
    assert f"'{vectors / 'run.json'}' is damaged: " in refusal


def test_a_loss_that_is_not_finite_keeps_what_there_was(gtn_train, vectors):
    refusal = gtn_train.refused(
        "generator", "--out", vectors, "--learning-rate", "1e30", "--resume"
    )
    assert re.search(r"generator: the \w+ loss of epoch \d, step \d+ is (nan|inf)", refusal)
    assert "A smaller learning rate than 1e+30 may help" in refusal
    assert "is not finished: it has no generator yet" in gtn_train.refused("sample", vectors)
    gtn_train.ok("fit", "--out", vectors, "--learning-rate", "1e-3", "--resume")


@pytest.mark.parametrize("file", ["latents.npy", "pairs.npz", "weights.safetensors", "norms.png"])
def test_a_full_disk(gtn_train, tmp_path, monkeypatch, file):
    """Each stage's file in turn is the one for which there is no room."""
    out = tmp_path / "run"
    given = ("fit", "--preset", "swiss-roll", "--n", 60, "--generator-epochs", 1, "--out", out)
    place, sync = os.replace, os.fsync

    def full(source, target):
        if str(target).endswith(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        place(source, target)

    monkeypatch.setattr(os, "replace", full)
    refusal = gtn_train.refused(*given, code=1)
    assert re.fullmatch(rf"'.*{file}': No space left on device", refusal)
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob(file)) or file == "latents.npy"
    monkeypatch.setattr(os, "replace", place)
    gtn_train.ok(*given, "--resume")
    assert sync is os.fsync


# ---------------------------------------------------------------------------------- its own ways


def test_an_interrupted_sample_wrote_nothing(gtn_train, vectors, tmp_path, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "sample_latents", interrupt)
    done = gtn_train("sample", vectors, "--out", tmp_path / "s.npy")
    assert (done.code, done.err) == (130, "gtn-train: interrupted; nothing was written\n")


def test_signals_wait_for_late_imports():
    """Outside of a command it is an empty block; inside one a signal comes at its end."""
    with console.held():
        pass
    script = (
        "import signal\n"
        "from gtn_label.cli import console\n"
        "def work():\n"
        "    with console.held():\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        print('imported')\n"
        "    print('not reached')\n"
        "raise SystemExit(console.run('x', lambda: work, lambda: '; so it is'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "imported\n")
    assert done.stderr == "x: interrupted; so it is\n"


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from gtn_train.cli.main import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("torch,torchvision,lightning_fabric,safetensors,sklearn,PIL,jinja2", "torch"),
        ("lightning_fabric", "lightning_fabric"),
        ("safetensors", "safetensors"),
        ("click", "click"),
    ],
)
def test_the_extra_that_is_missing_is_named(tmp_path, missing, named):
    words = ("fit", "--preset", "swiss-roll", "--out", tmp_path / "run")
    command = [sys.executable, "-c", WITHOUT, missing, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    error = f"gtn-train: error: {named} is missing: pip install 'gtn-label[train]'"
    assert done.stderr.splitlines()[-1] == error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["gtn_train.data.nonsense", "gtn_label.nonsense", "_lzma"])
def test_no_extra_is_named_for_a_module_that_no_extra_has(gtn_train, vectors, monkeypatch, name):
    def unfinished(*args, **options):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sample, "sample_latents", unfinished)
    assert gtn_train.refused("sample", vectors) == f"No module named {name!r}"


def test_no_control_character_reaches_the_terminal(gtn_train, vectors, tmp_path):
    """Neither in a refusal nor in the table of a run."""
    name = "a\x1b[2J\u202e\nb"
    shown = r"a\x1b[2J\u202e\nb"
    refusal = gtn_train.refused("fit", "--preset", "vectors", "--data", name, "--out", tmp_path)
    assert refusal == f"--data '{shown}' does not exist"
    shutil.copytree(vectors, tmp_path / name)
    done = gtn_train.ok("fit", "--out", tmp_path / name)
    assert f"{tmp_path}/{shown}/generator\n" in done.out
    assert done.out.replace("\n", "").isprintable()


def test_devices_are_those_torchrun_started(gtn_train, tmp_path, monkeypatch):
    from gtn_train.cli.asked import settings_of

    options = ("data", "set_name", "seed", "latent_dim", "autoencoder_epochs", "accelerator")
    given = dict.fromkeys((*options, "precision", "threads"))
    asked = {**given, "preset_name": "swiss-roll"}
    assert settings_of(tmp_path, asked).computing.devices == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert settings_of(tmp_path, asked).computing.devices == 1, "another program's variable"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert settings_of(tmp_path, asked).computing.devices == 4


def test_how_a_run_computed_is_kept_for_the_next_call(gtn_train, tmp_path):
    out = tmp_path / "run"
    given = ("--preset", "swiss-roll", "--n", 60, "--out", out, "--generator-epochs", 1)
    gtn_train.ok("generator", *given, "--precision", "bf16-mixed")
    assert gtn_train.ok("fit", "--out", out).stages["generator"] == "reused"
    refusal = gtn_train.refused("fit", "--out", out, "--precision", "32-true")
    assert '--precision was "bf16-mixed" and is "32-true"' in refusal


def test_autoencoder_options_are_known_to_all_commands(gtn_train, tmp_path):
    data = write_mnist(tmp_path / "data")
    given = ("--preset", "mnist", "--data", data, "--out", tmp_path / "run", *AUTOENCODER)
    gtn_train.ok("label", *given)
    assert gtn_train.ok("label", *given).stages == {
        "autoencoder": "reused",
        "latents": "reused",
        "pairs": "reused",
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="16-mixed can be trained on a GPU")
@pytest.mark.parametrize("more", [("--cone", 3), ("--layers", 4), ()])
def test_a_precision_that_is_not_there_changes_nothing(gtn_train, vectors, more):
    before = files(vectors)
    for command in ("fit", "generator"):
        refusal = gtn_train.refused(
            command, "--out", vectors, "--precision", "16-mixed", "--resume", *more
        )
        assert "--precision '16-mixed' needs a GPU; on the CPU use 'bf16-mixed'" in refusal
        assert files(vectors) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="16-mixed can be trained on a GPU")
def test_what_a_gpu_trained_is_used_but_not_cleared_on_a_cpu(gtn_train, vectors):
    for path in (vectors / "run.json", vectors / "generator" / "stage.json"):
        path.write_text(path.read_text().replace('"32-true"', '"16-mixed"'))
    shutil.rmtree(vectors / "samples")
    assert gtn_train.ok("fit", "--out", vectors, "--resume").stages["generator"] == "reused"
    before = files(vectors / "generator")
    refusal = gtn_train.refused("fit", "--out", vectors, "--resume", "--layers", 4)
    assert "--precision '16-mixed' needs a GPU" in refusal
    assert files(vectors / "generator") == before

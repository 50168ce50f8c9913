"""Settings of a run: what is refused, and run.json, whole or damaged."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from gtn_train.run.presets import preset
from gtn_train.run.settings import RUN_FILE, Computing, RunSettings
from gtn_train.training import TrainingOptions

SETTINGS = RunSettings("mnist", preset("mnist", latent_dim=7), "/data", 3, Computing(threads=2))


def test_run_json_comes_back(tmp_path):
    out = tmp_path / "runs" / "one"
    SETTINGS.write(out)
    assert RunSettings.read(out) == SETTINGS
    assert [file.name for file in out.iterdir()] == [RUN_FILE]


def test_a_stage_gets_seed_and_device():
    asked = replace(SETTINGS, computing=Computing("cpu", 2, "bf16-mixed"))
    found = asked.training(TrainingOptions(batch_size=4, learning_rate=0.1, max_epochs=2))
    assert (found.seed, found.accelerator, found.devices) == (3, "cpu", 2)
    assert (found.precision, found.batch_size) == ("bf16-mixed", 4)


def test_what_decides_is_not_where_it_computes():
    one = TrainingOptions(batch_size=4, learning_rate=0.1, max_epochs=2)
    other = replace(one, accelerator="cpu", devices=2, threads=1, checkpoint_every_epochs=3)
    assert one.deciding() == other.deciding()
    for change in ({"precision": "bf16-mixed"}, {"seed": 1}, {"batch_size": 5}):
        assert replace(one, **change).deciding() != one.deciding()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None}, "data must name the file or folder of 'mnist', got none"),
        ({"preset": preset("uniform")}, "data must not be given for the synthetic set 'uniform'"),
        ({"seed": -1}, "seed"),
        ({"data": 5}, "data must be a path as str, got 5"),
        ({"computing": None}, "computing must be a Computing, got None"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        replace(SETTINGS, **changes)


@pytest.mark.parametrize(
    "changes", [{"accelerator": "tpu"}, {"precision": "8"}, {"devices": 0}, {"threads": "x"}]
)
def test_computing_is_checked(changes):
    with pytest.raises((TypeError, ValueError), match=next(iter(changes))):
        Computing(**changes)


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for out in (path, path / "below"):
        with pytest.raises(NotADirectoryError, match=r"a run needs a folder, and '.*' is or lies"):
            SETTINGS.write(out)
    assert path.read_text() == "mine"
    with pytest.raises(FileNotFoundError, match=r"holds no run of gtn-train: it has no run\.json"):
        RunSettings.read(path)


def _without(key):
    def damage(content):
        del content[key]
        return content

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: [content],
        lambda content: {**content, "seed": "x"},
        lambda content: {**content, "data": None},
        lambda content: {**content, "preset": {**content["preset"], "layers": "x"}},
        lambda content: {**content, "preset": None},
        lambda content: {**content, "computing": []},
        lambda content: {**content, "computing": {"accelerator": "tpu"}},
        lambda content: {**content, "more": 1},
        _without("preset"),
        _without("preset_name"),
    ],
)
def test_a_damaged_run_json_is_named(damage, tmp_path):
    SETTINGS.write(tmp_path)
    path = tmp_path / RUN_FILE
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=r"run\.json' is damaged: "):
        RunSettings.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_bytes_that_are_no_json(content, tmp_path):
    (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json' is damaged: "):
        RunSettings.read(tmp_path)


@pytest.mark.parametrize("wrong", [None, 7, "x" * 9000, [1]])
@pytest.mark.parametrize(
    "place",
    [
        ("preset",),
        ("preset", "data"),
        ("preset", "pairs"),
        ("preset", "generator_training"),
        ("computing",),
    ],
)
def test_a_section_of_another_type_is_named(tmp_path, place, wrong):
    text = _refusal(tmp_path, place, wrong)
    assert f"is damaged: {'.'.join(place)} must be a mapping, got {type(wrong).__name__} " in text


def _refusal(folder, place, value):
    """The message about a run.json with another value at a place."""
    SETTINGS.write(folder)
    path = folder / RUN_FILE
    content = json.loads(path.read_text())
    section = content
    for name in place[:-1]:
        section = section[name]
    section[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"run\.json' is damaged: ") as refused:
        RunSettings.read(folder)
    text = str(refused.value)
    assert text.startswith(f"'{path}' is damaged: ")
    assert len(text) < len(str(path)) + 500
    assert text.isprintable()
    return text


def _leaves(content, *place):
    if not isinstance(content, dict):
        return [place]
    return [leaf for name, below in content.items() for leaf in _leaves(below, *place, name)]


@pytest.mark.parametrize("place", _leaves(asdict(SETTINGS)), ids=".".join)
@pytest.mark.parametrize("wrong", [{"\x1b": "x" * 9000}, ["\x1b" * 9000]])
def test_a_field_of_another_type_is_named(tmp_path, place, wrong):
    assert place[-1] in _refusal(tmp_path, place, wrong).partition(" is damaged: ")[2]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("preset", "pairs", "cone"), 0, "preset.pairs: cone must be >= 1, got 0"),
        (("preset", "pairs", "bone"), 0, "preset.pairs has no field bone"),
        (("preset", "data", "name"), [], "preset.data: name must be a str, got list"),
        (
            ("preset", "generator_training", "learning_rate"),
            10**400,
            "preset.generator_training: learning_rate must be finite",
        ),
        (("preset", "validation_share"), "x", "preset: validation_share must be float, got str"),
        (("seed",), None, "seed must be an int, got NoneType"),
        (("computing", "more"), 1, "computing has no field more"),
        (("more",), 1, "it has no field more"),
    ],
)
def test_a_field_is_named_with_its_section(tmp_path, place, value, message):
    assert message in _refusal(tmp_path, place, value)

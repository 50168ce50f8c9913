"""gtn-label on a file of pairs: --apply completes one, --verify checks one.

The check itself is tested with `Matching.verify`.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from command import child, gaussian, gtn_label, listing, one_line
from gtn_label import Matching, match, match_mixture, match_quantile

LATENTS = gaussian(200, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "latents.npy", LATENTS)
    np.save(tmp_path / "s.npy", gaussian(150, 4, seed=5, dtype="float64"))
    np.save(tmp_path / "sg.npy", np.arange(150) % 2)
    np.save(tmp_path / "lg.npy", np.arange(200) % 2)
    return tmp_path


def ok(*args: object, cwd: Path) -> str:
    done = gtn_label(*args, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*args: object, cwd: Path, code: int = 2) -> str:
    before = {path: path.read_bytes() for path in cwd.iterdir() if path.is_file()}
    done = gtn_label(*args, cwd=cwd)
    assert (done.returncode, done.stdout) == (code, "")
    assert {path: path.read_bytes() for path in cwd.iterdir() if path.is_file()} == before
    return one_line(done.stderr).removeprefix("error: ")


# ----------------------------------------------------------------------------------------- apply


@pytest.mark.parametrize("how", ["changed", "truncated"])
@pytest.mark.parametrize("option", ["--apply", "--verify"])
def test_latents_that_change_meanwhile(folder: Path, option: str, how: str) -> None:
    # Larger than a block of rows, and than the end of a file that a page still covers.
    np.save(folder / "latents.npy", gaussian(40_000, 32))
    rows = () if option == "--verify" else ("--indices-only",)
    ok("latents.npy", "-o", "pairs.npz", "--backend", "cpu", *rows, cwd=folder)
    script = (
        "import os, sys\n"
        "from gtn_label import verification\n"
        "from gtn_label.cli import pairs_file\n"
        "from gtn_label.cli.main import main\n"
        "def spoil(*_, **__):\n"
        f"    if {how == 'truncated'}: return os.truncate('latents.npy', 8192)\n"
        "    with open('latents.npy', 'r+b') as file: file.seek(8192) and file.write(bytes(8192))\n"
        "    os.utime('latents.npy', ns=(0, 0))\n"
        "hash = pairs_file.convert.sha256\n"
        "def hash_and_spoil(rows):\n"
        "    digest = hash(rows)\n"
        "    spoil()\n"
        "    return digest\n"
        "pairs_file.convert.sha256 = hash_and_spoil\n"
        "main(sys.argv[1:])\n"
    )
    out = () if option == "--verify" else ("-o", "whole.npz")
    done = child(script, "latents.npy", option, "pairs.npz", *out, cwd=folder)
    assert done.returncode == 2
    name = "latents" if option == "--verify" else "LATENTS"
    message = one_line(done.stderr)
    assert f"{name}: the file '{folder / 'latents.npy'}' was {how}" in message
    assert not (folder / "whole.npz").exists()


GROUPS = ("--source-groups", "sg.npy", "--latent-groups", "lg.npy")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("options", "again"),
    [
        ((), ()),
        (("--seed", 3, "--cone", 4, "--center", "--order", "norm_desc"), ()),
        (("--sources", "s.npy", *GROUPS), ("--sources", "s.npy")),
    ],
)
def test_the_bytes_are_those_of_the_whole_run(
    folder: Path, options: tuple[Any, ...], again: tuple[Any, ...], suffix: str
) -> None:
    whole, small, applied = f"whole{suffix}", "small.npz", f"applied{suffix}"
    ok("latents.npy", *options, "-o", whole, cwd=folder)
    ok("latents.npy", *options, "-o", small, "--indices-only", cwd=folder)
    shown = ok("latents.npy", "--apply", small, *again, "-o", applied, cwd=folder)
    assert (folder / applied).read_bytes() == (folder / whole).read_bytes()
    n = 150 if again else 200
    assert shown.startswith(f"n      {n}\npairs  {applied} (")
    found = ok("latents.npy", "--apply", small, *again, "-o", applied, "--json", cwd=folder)
    assert json.loads(found) == {
        "version": match(LATENTS).meta["version"],
        "n": n,
        "out": applied,
        "out_bytes": (folder / applied).stat().st_size,
    }
    assert ok("latents.npy", "--apply", small, *again, "-o", applied, "-q", cwd=folder) == ""


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int8"])
def test_rows_of_other_types(folder: Path, dtype: str) -> None:
    rows = (gaussian(60, 3) * 20).astype(dtype)
    np.save(folder / "z.npy", np.asfortranarray(rows))
    ok("z.npy", "-o", "whole.npz", cwd=folder)
    ok("z.npy", "-o", "small.npz", "--indices-only", cwd=folder)
    ok("z.npy", "--apply", "small.npz", "-o", "applied.npz", cwd=folder)
    assert (folder / "applied.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_large_and_small_rows(folder: Path) -> None:
    np.save(
        folder / "z.npy", gaussian(60, 3, dtype="float64") * np.logspace(-150, 150, 60)[:, None]
    )
    ok("z.npy", "-o", "whole.npz", cwd=folder)
    ok("z.npy", "-o", "small.npz", "--indices-only", cwd=folder)
    ok("z.npy", "--apply", "small.npz", "-o", "applied.npz", cwd=folder)
    assert (folder / "applied.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_pairs_of_the_quantile_map(folder: Path) -> None:
    rows = gaussian(60, 1)
    np.save(folder / "z.npy", rows)
    result = match_quantile(rows, seed=4)
    result.save(folder / "whole.npz")
    result.save(folder / "small.npz", indices_only=True)
    ok("z.npy", "--apply", "small.npz", "-o", "applied.npz", cwd=folder)
    assert (folder / "applied.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_pairs_of_a_mixture_need_their_sources(folder: Path) -> None:
    result = match_mixture(LATENTS, 2)
    result.save(folder / "small.npz", indices_only=True)
    np.save(folder / "s.npy", result.sources)
    result.save(folder / "whole.npz")
    arguments = ("latents.npy", "--apply", "small.npz", "-o", "applied.npz")
    assert refused(*arguments, cwd=folder).startswith("--sources is needed: those of --apply 'sma")
    ok(*arguments, "--sources", "s.npy", cwd=folder)
    assert (folder / "applied.npz").read_bytes() == (folder / "whole.npz").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("s.npy --apply small.npz", r"LATENTS 's.npy' must be those of --apply 'small.npz', with "),
        ("latents.npy --apply given.npz", "--sources is needed: those of --apply 'given.npz' were"),
        (
            "latents.npy --apply given.npz --sources other.npy",
            "--sources 'other.npy' must be those of --apply 'given.npz': source 7 has cosine ",
        ),
        (
            "latents.npy --apply given.npz --sources latents.npy",
            "--sources 'latents.npy' must have shape (150, 4), as --apply 'given.npz' and LATENTS",
        ),
        ("latents.npy --apply whole.npz", "--apply 'whole.npz' must be a file that --indices-only"),
        ("latents.npy --apply small.npz --out small.npz", "--out must not be the file of --apply"),
        ("latents.npy --apply no.npz", "--apply 'no.npz' does not exist"),
        ("latents.npy --apply latents.npy", "--apply "),
        ("latents.npy --apply small.npz --cone 2", "--cone has no meaning with --apply."),
        ("latents.npy --apply small.npz --verify small.npz", "--verify and --apply are two comm"),
        ("latents.npy --apply small.npz --indices-only", "--indices-only has no meaning with"),
    ],
)
def test_apply_refuses(folder: Path, arguments: str, message: str) -> None:
    ok("latents.npy", "-o", "whole.npz", cwd=folder)
    ok("latents.npy", "-o", "small.npz", "--indices-only", cwd=folder)
    ok("latents.npy", "--sources", "s.npy", "-o", "given.npz", "--indices-only", cwd=folder)
    other = np.load(folder / "s.npy")
    other[7] += 1
    np.save(folder / "other.npy", other)
    out = () if "--out" in arguments else ("--out", "applied.npz")
    found = refused(*arguments.split(), *out, cwd=folder)
    assert found.startswith(message), found


def test_apply_needs_no_name_for_its_output(folder: Path) -> None:
    ok("latents.npy", "-o", "small.npz", "--indices-only", cwd=folder)
    ok("latents.npy", "--apply", "small.npz", cwd=folder)
    assert Matching.load(folder / "pairs.npz").sources is not None
    message = refused("latents.npy", "--apply", "small.npz", cwd=folder)
    assert message.startswith("--out is not given, and 'pairs.npz' exists already")


# ---------------------------------------------------------------------------------------- verify


class Record(NamedTuple):
    """A double of what `Matching.verify` returns."""

    n: int
    free_choices: int
    note: str
    seconds: float


class Verification:
    """Stands for `Matching.verify`, and keeps the arguments that it was called with."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.error: Exception | None = None
        self.note = ""

    def __call__(self, pairs: Matching, latents: Any, sources: Any = None, **given: Any) -> Record:
        self.given = {"pairs": pairs, "latents": latents, "sources": sources, **given}
        if self.error is not None:
            raise self.error
        return Record(len(pairs.assignment), 1234, self.note, 0.5)


class VerificationError(ValueError):
    """Stands for the error of `Matching.verify`."""


@pytest.fixture
def verification(monkeypatch: pytest.MonkeyPatch) -> Verification:
    module = types.ModuleType("gtn_label.verification")
    module.VerificationError = VerificationError
    monkeypatch.setitem(sys.modules, "gtn_label.verification", module)
    double = Verification()
    monkeypatch.setattr(
        Matching, "verify", lambda *args, **given: double(*args, **given), raising=False
    )
    return double


def test_verify_hands_all_over(folder: Path, verification: Verification) -> None:
    ok("latents.npy", "--sources", "s.npy", *GROUPS, "-o", "pairs.npz", cwd=folder)
    before = listing(folder)
    shown = ok(
        *("latents.npy", "--verify", "pairs.npz", "--sources", "s.npy", *GROUPS),
        *("--sample", 50, "--threads", 2),
        cwd=folder,
    )
    given = verification.given
    np.testing.assert_array_equal(given["latents"], LATENTS)
    np.testing.assert_array_equal(given["sources"], np.load(folder / "s.npy"))
    np.testing.assert_array_equal(given["groups"][1], np.arange(200) % 2)
    assert (given["sample"], given["threads"], given["progress"]) == (50, 2, False)
    assert len(given["pairs"].assignment) == 150
    lines = shown.splitlines()
    assert lines[0] == "pairs         pairs.npz holds for latents.npy"
    assert lines[1:3] == ["n             150", "free choices  1,234"]
    assert lines[3].startswith("time ")
    assert len(lines) == 4
    assert listing(folder) == before


def test_verify_prints_json_or_nothing(folder: Path, verification: Verification) -> None:
    ok("latents.npy", "-o", "pairs.npz", cwd=folder)
    verification.note = "not all was looked at"
    found = json.loads(ok("latents.npy", "--verify", "pairs.npz", "--json", cwd=folder))
    assert found == {
        "version": match(LATENTS).meta["version"],
        "pairs": "pairs.npz",
        "holds": True,
        "n": 200,
        "free_choices": 1234,
        "note": "not all was looked at",
        "seconds": 0.5,
    }
    assert verification.given["sample"] is None
    assert verification.given["sources"] is None
    assert ok("latents.npy", "--verify", "pairs.npz", "-q", cwd=folder) == ""


def test_a_difference_has_its_own_code(folder: Path, verification: Verification) -> None:
    ok("latents.npy", "-o", "pairs.npz", cwd=folder)
    verification.error = VerificationError("cosine of source 7 must be 0.5, got 0.25")
    message = refused("latents.npy", "--verify", "pairs.npz", cwd=folder, code=3)
    assert message == "--verify 'pairs.npz': cosine of source 7 must be 0.5, got 0.25"


def test_what_cannot_be_verified_is_wrong_input(folder: Path, verification: Verification) -> None:
    ok("latents.npy", "-o", "pairs.npz", cwd=folder)
    from gtn_label import ArgumentError

    verification.error = ArgumentError("sources", "must be given", "none")
    message = refused("latents.npy", "--verify", "pairs.npz", "--sources", "s.npy", cwd=folder)
    assert message == "--sources 's.npy' must be given, got none"
    assert "does not exist" in refused("latents.npy", "--verify", "no.npz", cwd=folder)
    for option in (("--out", "x.npz"), ("--seed", 1), ("--checkpoint", "c"), ("--plot", "p.png")):
        message = refused("latents.npy", "--verify", "pairs.npz", *option, cwd=folder)
        assert message.startswith(f"{option[0]} has no meaning with --verify.")


# ---------------------------------------------------------------------------------------- groups


def test_groups_of_strings_reach_match_as_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gtn_label.cli import job

    names = np.array(["cat", "mouse"])
    np.save(folder / "sg.npy", names[np.arange(200) % 2])
    np.savez(folder / "lg.npz", names[np.arange(200) % 2])
    given = {}

    def matched(*args: Any, groups: Any, **options: Any) -> Matching:
        given["groups"] = groups
        return match(
            *args, groups=tuple(np.unique(g, return_inverse=True)[1] for g in groups), **options
        )

    monkeypatch.setattr(job, "match", matched)
    ok("latents.npy", "--source-groups", "sg.npy", "--latent-groups", "lg.npz", cwd=folder)
    for labels in given["groups"]:
        assert labels.dtype == np.dtype("<U5")

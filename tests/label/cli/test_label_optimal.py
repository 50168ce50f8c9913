"""gtn-label --optimal: its summary and files, what it refuses, and files that are checked again."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import command
from datasets import make
from gtn_label import Matching, match_optimal
from gtn_label.io import files


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "latents.npy", make("clusters", 300, 5)[0])
    np.save(tmp_path / "sources.npy", command.gaussian(200, 5, seed=3))
    return tmp_path


def ran(*args, cwd):
    done = command.gtn_label(*args, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_summary_tells_the_certificate(folder):
    text = ran("latents.npy", "-o", "p.npz", "--optimal", "--plot", "p.png", cwd=folder)
    lines = dict(line.split("  ", 1) for line in text.splitlines())
    found = match_optimal(np.load(folder / "latents.npy"))
    assert lines["cost"].strip() == f"{found.cost:.6g} (mean squared distance)"
    assert lines["lower bound"].strip().startswith(f"{found.lower_bound:.6g} (")
    assert lines["gap"].strip() == f"{found.gap:.2g} (certified; tolerance 0.001)"
    assert f"{found.stats['rounds']:,} rounds" in lines["auction"]
    assert re.search(r" scans a source, last epsilon \S+$", lines["auction"])
    assert "last decile" not in lines
    assert (folder / "p.png").stat().st_size > 0


@pytest.mark.parametrize("out", ["p.npz", "p.safetensors"])
def test_the_file_is_that_of_python(folder, out):
    told = ran(
        *("latents.npy", "--sources", "sources.npy", "--optimal", "--tolerance", "0.01"),
        *("--center", "--out", out, "--json"),
        cwd=folder,
    )
    found = match_optimal(
        np.load(folder / "latents.npy"),
        np.load(folder / "sources.npy"),
        tolerance=0.01,
        center=True,
    )
    found.save(folder / f"q{out}")
    assert (folder / out).read_bytes() == (folder / f"q{out}").read_bytes()
    figures = json.loads(told)
    optimal = figures["optimal"]
    assert (optimal["cost"], optimal["gap"]) == (found.cost, found.gap)
    assert (optimal["lower_bound"], optimal["tolerance"]) == (found.lower_bound, 0.01)
    assert optimal["bids"] == found.stats["bids"]
    assert (figures["order"], figures["cone"], figures["last_decile_cosine"]) == (None, None, None)
    assert Matching.load(folder / out).gap == found.gap


def test_summary_tells_of_a_gap_that_is_rounding(folder):
    arguments = ("latents.npy", "-o", "p.npz", "--optimal", "--tolerance", "1e-15")
    lines = dict(line.split("  ", 1) for line in ran(*arguments, cwd=folder).splitlines())
    gap = match_optimal(np.load(folder / "latents.npy"), tolerance=1e-15).gap
    assert 1e-15 < gap < 1e-9
    told = f"{gap:.2g} (certified; above the tolerance 1e-15 by rounding alone)"
    assert lines["gap"].strip() == told
    shown = ran("latents.npy", "--verify", "p.npz", cwd=folder)
    assert f"{gap:.2g} (certified; tolerance 1e-15)" in shown


def test_verify_tells_the_certificate(folder):
    told = ran("latents.npy", "-o", "p.npz", "--optimal", cwd=folder).splitlines()
    shown = ran("latents.npy", "--verify", "p.npz", cwd=folder).splitlines()
    certified = [line.split() for line in told if line.startswith(("cost", "lower", "gap"))]
    assert [line.split() for line in shown[-4:-1]] == certified
    assert len(certified) == 3
    found = json.loads(ran("latents.npy", "--verify", "p.npz", "--json", cwd=folder))
    m = Matching.load(folder / "p.npz")
    assert found["optimal"] == {
        "tolerance": 1e-3,
        "cost": m.cost,
        "lower_bound": m.lower_bound,
        "gap": m.gap,
    }


@pytest.mark.parametrize(
    ("changed", "dropped", "message"),
    [
        ({"method": "match"}, "", "it has 'prices', and its meta the method 'match'"),
        ({"method": "match"}, "prices", "has a meta that no run writes: order must be one of"),
        ({"center": "x"}, "", "has a meta that no run writes: center must be a bool, got str 'x'"),
        ({}, "prices", "is not a file of pairs: it has no 'prices'"),
        ({"method": "sorted"}, "prices", "verify() knows results of match,"),
        ({"tolerance": -1}, "", "its meta has the tolerance -1"),
    ],
)
def test_a_file_that_was_edited_is_named(folder, changed, dropped, message):
    match_optimal(np.load(folder / "latents.npy")).save(folder / "p.npz")
    arrays, meta = files.read_pairs(folder / "p.npz")
    arrays.pop(dropped, None)
    files.write_pairs(folder / "p.npz", arrays, meta | changed)
    done = command.gtn_label("latents.npy", "--verify", "p.npz", cwd=folder)
    assert done.returncode == 2
    assert command.one_line(done.stderr).startswith("error: --verify 'p.npz'")
    assert message in command.one_line(done.stderr)


def test_other_runs_say_nothing_of_it(folder):
    assert "optimal" not in json.loads(ran("latents.npy", "-o", "p.npz", "--json", cwd=folder))
    assert "lower bound" not in ran("latents.npy", "-o", "q.npz", cwd=folder)


@pytest.mark.parametrize("drawn", [True, False])
def test_indices_keep_prices_and_are_completed(folder, drawn):
    sources = () if drawn else ("--sources", "sources.npy")
    for name, more in (("whole.npz", ()), ("small.npz", ("--indices-only",))):
        ran("latents.npy", *sources, "--optimal", "-o", name, *more, cwd=folder)
    with np.load(folder / "small.npz") as file:
        assert sorted(file.files) == ["assignment", "cosine", "meta", "prices"]
        assert file["prices"].shape == (300,)
    ran("latents.npy", *sources, "--apply", "small.npz", "-o", "again.npz", cwd=folder)
    assert (folder / "again.npz").read_bytes() == (folder / "whole.npz").read_bytes()
    for name in ("whole.npz", "small.npz"):
        told = ran("latents.npy", *sources, "--verify", name, "--json", cwd=folder)
        record = json.loads(told)
        assert (record["method"], record["choices"]) == ("optimal", 300 if drawn else 200)


def test_a_wrong_source_of_indices_is_found(folder):
    ran("latents.npy", "--sources", "sources.npy", "--optimal", "-o", "p.npz", cwd=folder)
    ran(
        "latents.npy",
        "--sources",
        "sources.npy",
        "--optimal",
        "-o",
        "s.npz",
        "--indices-only",
        cwd=folder,
    )
    np.save(folder / "sources.npy", np.load(folder / "sources.npy")[::-1])
    done = command.gtn_label(
        *("latents.npy", "--sources", "sources.npy", "--apply", "s.npz", "-o", "q.npz"), cwd=folder
    )
    assert done.returncode == 2
    assert "has cosine" in done.stderr


def test_verify_reports_a_false_certificate(folder):
    ran("latents.npy", "--optimal", "-o", "p.npz", cwd=folder)
    with np.load(folder / "p.npz") as file:
        arrays = dict(file)
    arrays["prices"][5] += 1.0
    np.savez(folder / "p.npz", **arrays)
    done = command.gtn_label("latents.npy", "--verify", "p.npz", cwd=folder)
    assert done.returncode == 3
    assert "the gap must not be below the one that the prices prove" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tolerance", "0.1"), "--tolerance needs --optimal."),
        (("--optimal", "--order", "norm"), "--order has no meaning with --optimal."),
        (("--optimal", "--cone", "2"), "--cone has no meaning with --optimal."),
        (("--optimal", "--device", "cuda"), "--device 'cuda' needs --backend 'cuda' or"),
        (("--optimal", "--approx", "Flat"), "--approx has no meaning with --optimal."),
        (("--optimal", "--nprobe", "3"), "--nprobe needs --approx."),
        (("--optimal", "--sample", "3"), "--sample needs --approx or --verify."),
        (
            ("--optimal", "--tolerance", "-1"),
            "'--tolerance': must be a finite number >= 0, got '-1'",
        ),
        (
            ("--optimal", "--tolerance", "nan"),
            "'--tolerance': must be a finite number >= 0, got 'nan'",
        ),
        (
            ("--optimal", "--tolerance", "inf"),
            "'--tolerance': must be a finite number >= 0, got 'inf'",
        ),
        (("--optimal", "--tolerance", "x"), "'--tolerance': must be a finite number >= 0, got 'x'"),
        (("--optimal", "--verify", "p.npz"), "--optimal has no meaning with --verify."),
        (("--tolerance", "1", "--apply", "p.npz"), "--tolerance has no meaning with --apply."),
        (("--optimal", "--memory", "1kB"), "--memory must be at least "),
    ],
)
def test_refusals(folder, arguments, message):
    done = command.gtn_label("latents.npy", "-o", "o.npz", *arguments, cwd=folder)
    if "--verify" in arguments:
        done = command.gtn_label("latents.npy", *arguments, cwd=folder)
    assert done.returncode == 2
    assert message in command.one_line(done.stderr)
    assert not (folder / "o.npz").exists()

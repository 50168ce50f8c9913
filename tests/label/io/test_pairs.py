"""Files that are no pairs are refused on loading, with the rule and the value found."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtn_label import ArgumentTypeError, Matching, match, match_quantile
from gtn_label.arrays.on_disk import FileChangedError
from gtn_label.io import files

SUFFIXES = files.OUTPUT_SUFFIXES
ROWS = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)


def sound() -> dict[str, Any]:
    return {
        "sources": ROWS.copy(),
        "labels": ROWS[::-1].copy(),
        "assignment": np.arange(6)[::-1].copy(),
        "cosine": np.linspace(-1, 1, 6),
    }


def changed(**arrays: Any) -> dict[str, Any]:
    return {**sound(), **arrays}


def at(array: np.ndarray, row: int, value: Any) -> np.ndarray:
    array = array.copy()
    array[row] = value
    return array


A, C = sound()["assignment"], sound()["cosine"]
FIVE = {name: array[:0] for name, array in sound().items()}
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a latent twice": (
        changed(assignment=at(A, 4, 5)),
        {},
        "'assignment' must name no latent twice, and rows 0 and 4 are 5",
    ),
    "negative": (changed(assignment=at(A, 2, -1)), {}, "rows of latents.*and row 2 is -1"),
    "huge": (changed(assignment=at(A, 2, 2**62)), {}, "rows of latents.*and row 2 is 4611"),
    "int32": (changed(assignment=A.astype(np.int32)), {}, "is int32 .* and must be int64"),
    "uint64": (changed(assignment=A.astype(np.uint64)), {}, "is uint64"),
    "2-D": (changed(assignment=A[:, None]), {}, r"'assignment' is int64 of shape \(6, 1\)"),
    "NaN": (changed(cosine=at(C, 3, np.nan)), {}, "within -1 and 1, and row 3 is nan"),
    "infinite": (changed(cosine=at(C, 3, np.inf)), {}, "within -1 and 1, and row 3 is inf"),
    "beyond 1": (changed(cosine=at(C, 3, 1.1)), {}, "within -1 and 1, and row 3 is 1.1"),
    "float32 cosines": (changed(cosine=C.astype(np.float32)), {}, "'cosine' is float32"),
    "dims": (
        changed(labels=ROWS[:, :2].copy()),
        {},
        r"one dim, and have the shapes {'sources': \(6, 3\), 'labels': \(6, 2\)}",
    ),
    "1-D rows": (
        changed(sources=ROWS[:, 0].copy(), labels=ROWS[:, 0].copy()),
        {},
        r"'sources' must have shape \[n, dim\], and has \(6,\)",
    ),
    "no columns": (changed(labels=ROWS[:, :0].copy()), {}, r"and has \(6, 0\)"),
    "two columns of a line": (
        sound(),
        {"method": "quantile"},
        r"'sources' must have shape \[n\] or \[n, 1\], and has \(6, 3\)",
    ),
    "bool": (changed(labels=ROWS > 0), {}, "'labels' must hold numbers, and is bool"),
    "empty": (FIVE, {}, "it has no pairs, and must have at least one"),
    "labels alone": ({k: v for k, v in sound().items() if k != "sources"}, {}, "rows are"),
    "fewer cosines": (changed(cosine=C[:5]), {}, "rows are"),
    "dtypes that are no object": (sound(), {"dtypes": ["bfloat16"]}, "must have names by array"),
    "dtypes null": (sound(), {"dtypes": None}, "has the dtypes None"),
    "an unknown dtype": (
        sound(),
        {"dtypes": {"labels": "float9"}},
        "names the dtype 'float9' of 'labels', and may name bfloat16",
    ),
    "a dtype of NumPy's": (sound(), {"dtypes": {"labels": "float32"}}, "names the dtype 'float32'"),
    "a dtype of cosines": (sound(), {"dtypes": {"cosine": "bfloat16"}}, "of 'cosine', and may"),
    "a dtype of float64": (
        changed(labels=ROWS.astype(np.float64), sources=ROWS.astype(np.float64)),
        {"dtypes": {"labels": "bfloat16"}},
        "names the dtype bfloat16 of 'labels', which is float64",
    ),
    "contract": (sound(), {"contract": 2}, "contract has version 2, and this gtn-label has 1"),
    "contract true": (sound(), {"contract": True}, "contract has version True"),
    "format": (sound(), {"format": "gtn-label checkpoint"}, "names the format 'gtn-label check"),
    "method": (sound(), {"method": 3}, "has the method 3"),
    "seed": (sound(), {"seed": -1}, "has the seed -1, and must have an integer >= 0 or null"),
    "float seed": (sound(), {"seed": 1.0}, r"has the seed 1\.0"),
}


# Of optimal transport: eight latents, and the figures that its meta has.
PRICES = np.linspace(-1, 1, 8)
CERTIFIED = {"method": "optimal", "tolerance": 0, "gap": 1e-3, "cost": 2.0, "lower_bound": 1}
WRONG |= {
    "no prices": (sound(), CERTIFIED, "it has no 'prices'"),
    "few prices": (
        changed(prices=PRICES[:5]),
        CERTIFIED,
        "must be one of each latent, and there are 5 where 'assignment' names row 5",
    ),
    "NaN price": (changed(prices=at(PRICES, 7, np.nan)), CERTIFIED, "finite, and row 7 is nan"),
    "infinite price": (
        changed(prices=at(PRICES, 0, np.inf)),
        CERTIFIED,
        "finite, and row 0 is inf",
    ),
    "float32 prices": (
        changed(prices=PRICES.astype(np.float32)),
        CERTIFIED,
        r"'prices' is float32 of shape \(8,\), and must be float64 \[m\]",
    ),
    "2-D prices": (changed(prices=PRICES[:, None]), CERTIFIED, r"is float64 of shape \(8, 1\)"),
    "no gap": (
        changed(prices=PRICES),
        {"method": "optimal", "tolerance": 0.1},
        "the gap None, and must have a number",
    ),
    "negative cost": (changed(prices=PRICES), CERTIFIED | {"cost": -1.0}, r"has the cost -1\.0"),
    "bound of text": (
        changed(prices=PRICES),
        CERTIFIED | {"lower_bound": "1"},
        "has the lower_bound '1'",
    ),
    "prices far apart": (
        changed(prices=np.array([-1e308, 1e308] * 4)),
        CERTIFIED,
        r"'prices' must differ by a finite number, and are -1e\+308 to 1e\+308",
    ),
    "huge gap": (changed(prices=PRICES), CERTIFIED | {"gap": 10**400}, "has the gap 1000"),
    "negative tolerance": (
        changed(prices=PRICES),
        CERTIFIED | {"tolerance": -1},
        "has the tolerance -1, and must have a number >= 0",
    ),
    "tolerance of text": (
        changed(prices=PRICES),
        CERTIFIED | {"tolerance": "x"},
        "has the tolerance 'x'",
    ),
    "prices of another method": (
        changed(prices=PRICES[:6]),
        {"method": "match"},
        "it has 'prices', and its meta the method 'match', not 'optimal'",
    ),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_prices_are_of_latents(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    files.write_pairs(path, changed(prices=PRICES), CERTIFIED)
    found = Matching.load(path)
    assert found.prices.tolist() == PRICES.tolist()
    assert not found.prices.flags.writeable
    assert (found.gap, found.cost, found.lower_bound) == (1e-3, 2.0, 1.0)
    found.save(tmp_path / f"again{suffix}")
    assert (tmp_path / f"again{suffix}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", WRONG)
def test_no_pairs(tmp_path: Path, name: str, suffix: str, mmap_mode: str | None) -> None:
    arrays, meta, message = WRONG[name]
    path = tmp_path / f"pairs{suffix}"
    files.write_pairs(path, arrays, meta)
    shown = re.escape(f"path '{path}' is not a file of pairs: ")
    with pytest.raises(ValueError, match=f"^{shown}.*{message}") as caught:
        Matching.load(path, mmap_mode=mmap_mode)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("dtype", ["<U3", "O", "c8", "M8[s]"])
def test_rows_that_are_no_numbers(tmp_path: Path, dtype: str) -> None:
    labels = np.zeros((6, 3)).astype(dtype)
    np.savez(tmp_path / "x.npz", **changed(labels=labels), meta=np.array("{}"))
    with pytest.raises((ValueError, TypeError), match=r"must hold numbers, and (is|holds) "):
        Matching.load(tmp_path / "x.npz")


def test_sound_files_of_other_writers_load(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", **sound(), meta=np.array(json.dumps({"seed": 3})))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("README.txt", "made by hand")
    found = Matching.load(tmp_path / "x.npz")
    assert len(found) == 6
    assert found.meta == {"seed": 3}
    with pytest.raises(ValueError, match="is compressed and cannot be mapped; load it without"):
        Matching.load(tmp_path / "x.npz", mmap_mode="r")


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_one_column_is_legal_for_quantiles(tmp_path: Path, shape: tuple[int, ...]) -> None:
    m = match_quantile(np.arange(6.0).reshape(shape), np.arange(6.0))
    m.save(tmp_path / "x.npz")
    back = Matching.load(tmp_path / "x.npz")
    assert back.pairs()[1].shape == shape
    assert back.sources.shape == (6,)


@pytest.mark.parametrize("form", files.FORMATS)
def test_changed_bytes_are_refused_or_found_by_verify(tmp_path: Path, form: str) -> None:
    """Whatever is read was checked: it verifies, or differs by a rule."""
    whole = io.BytesIO()
    match(ROWS).save(whole, format=form)
    rng = np.random.Generator(np.random.Philox(7))
    path = tmp_path / f"x.{form}"
    refused = 0
    for _ in range(300):
        content = bytearray(whole.getvalue())
        at = int(rng.integers(len(content)))
        if rng.random() < 0.7:
            content[at] ^= 1 << int(rng.integers(8))
        else:
            del content[at : at + int(rng.integers(1, 9))]
        path.write_bytes(content)
        for mmap_mode in (None, "r"):
            try:
                Matching.load(path, mmap_mode=mmap_mode).verify(ROWS)
            except (ValueError, TypeError) as error:
                refused += len(str(error)) < 900
    assert refused > 400


# ----------------------------------------------------------------------- maps and file objects


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_mapped_rows(tmp_path: Path, suffix: str) -> None:
    m = match(ROWS)
    path, again = tmp_path / f"x{suffix}", tmp_path / f"again{suffix}"
    m.save(path)
    back = Matching.load(path, mmap_mode="r")
    for found, known in zip(back, m, strict=True):
        np.testing.assert_array_equal(found, known)
        assert found.flags.writeable
    assert not back.sources.flags.writeable
    # The rows are those of the file: what is written there is seen.
    content = bytearray(path.read_bytes())
    place = bytes(content).index(np.asarray(m.sources).tobytes())
    content[place : place + 4] = np.float32(7).tobytes()
    with path.open("r+b") as file:
        file.write(content)
    assert back.sources[0, 0] == 7
    with pytest.raises(FileChangedError, match=r"^sources: the file .* was changed"):
        back.save(again)
    assert not again.exists()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_mapped_rows_replace_their_own_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    match(ROWS).save(path)
    before = path.read_bytes()
    back = Matching.load(path, mmap_mode="r")
    back.save(path)
    assert path.read_bytes() == before
    back.save(path)  # the map keeps the file that was replaced
    assert path.read_bytes() == before


def test_mmap_mode_is_r_or_none(tmp_path: Path) -> None:
    match(ROWS).save(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"^mmap_mode must be None or 'r', got 'r\+'$"):
        Matching.load(tmp_path / "x.npz", mmap_mode="r+")


class OneWay(io.RawIOBase):
    """A pipe: written to or read from the front to the end."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        taken = bytes(self.content) if size < 0 else bytes(self.content[:size])
        del self.content[: len(taken)]
        return taken


@pytest.mark.parametrize("form", files.FORMATS)
@pytest.mark.parametrize("kind", [io.BytesIO, OneWay])
def test_file_objects(tmp_path: Path, form: str, kind: Any) -> None:
    m = match(ROWS)
    m.save(tmp_path / f"x.{form}")
    file = kind()
    m.save(file, format=form)
    content = file.getvalue() if kind is io.BytesIO else bytes(file.content)
    assert content == (tmp_path / f"x.{form}").read_bytes()
    back = Matching.load(kind(content))
    np.testing.assert_array_equal(back.pairs()[1], m.pairs()[1])
    assert back.meta == m.meta
    assert back.assignment.base is not None
    with pytest.raises(ValueError, match=r"^mmap_mode must be None for a file object"):
        Matching.load(kind(content), mmap_mode="r")


@pytest.mark.parametrize("form", [None, "npz"])
def test_objects_that_take_no_bytes(tmp_path: Path, form: str | None) -> None:
    m = match(ROWS)
    rule = "^path must be a path or a binary file object, got "
    text = rule + "a text file; open it with mode 'wb'$"
    with pytest.raises(ArgumentTypeError, match=text):
        m.save(io.StringIO(), format=form)  # type: ignore[arg-type]
    with tempfile.NamedTemporaryFile("w") as file, pytest.raises(ArgumentTypeError, match=text):
        m.save(file, format=form)  # type: ignore[arg-type]
    for value in (None, 3):
        with pytest.raises(ArgumentTypeError, match=rule + f"{type(value).__name__} {value}$"):
            m.save(value, format=form)  # type: ignore[arg-type]


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_text_file_is_called_that_first(tmp_path: Path, mmap_mode: str | None) -> None:
    match(ROWS).save(tmp_path / "x.npz")
    with (
        (tmp_path / "x.npz").open(encoding="utf-8") as file,
        pytest.raises(ArgumentTypeError, match=r"got a text file; open it with mode 'rb'$"),
    ):
        Matching.load(file, mmap_mode=mmap_mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", files.OUTPUT_SUFFIXES)
def test_a_name_that_is_a_suffix(tmp_path: Path, suffix: str) -> None:
    rule = rf"^path must have a name before its suffix, and is '.*/{suffix}'$"
    with pytest.raises(ValueError, match=rule):
        match(ROWS).save(tmp_path / suffix)
    (tmp_path / suffix).write_bytes(b"some")
    for read in (Matching.load, lambda path: files.read_array(path, name="path")):
        with pytest.raises(ValueError, match=rule):
            read(tmp_path / suffix)


def test_a_file_object_behind_other_bytes() -> None:
    m = match(ROWS)
    file = io.BytesIO(b"head")
    file.seek(4)
    m.save(file, format="npz")
    file.seek(4)
    np.testing.assert_array_equal(Matching.load(file).assignment, m.assignment)


def test_the_format_in_place_of_the_suffix(tmp_path: Path) -> None:
    m = match(ROWS)
    m.save(tmp_path / "pairs", format="safetensors")
    assert Matching.load(tmp_path / "pairs", format="safetensors").meta == m.meta
    with pytest.raises(ValueError, match=r"^format must be 'npz' or 'safetensors', got 'zip'$"):
        m.save(tmp_path / "pairs", format="zip")
    with pytest.raises(ValueError, match=r"^format must be .* got None$"):
        m.save(io.BytesIO())


@pytest.mark.parametrize("form", files.FORMATS)
def test_file_objects_that_are_damaged(form: str) -> None:
    file = io.BytesIO()
    match(ROWS).save(file, format=form)
    content = file.getvalue()
    for damaged in (content[:50], content[: len(content) - 3], b"", b"PK", content[1:]):
        with pytest.raises(ValueError, match=r"^path 'BytesIO' is "):
            Matching.load(io.BytesIO(damaged))


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^path must be a path or a binary file .* got a text"):
        Matching.load(io.StringIO("x"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^path must be a path or a binary file object, got int 3"):
        Matching.load(3)  # type: ignore[arg-type]

"""names_of: names stay apart; gaps, mixtures and what NumPy would drop are refused."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gtn_label import ArgumentError, ArgumentTypeError, match
from gtn_label.arrays.convert import read_labels

NAN = float("nan")


class NAType:
    """As pandas.NA: neither equal nor different, and no truth."""

    def __eq__(self, other: object) -> Any:
        return self

    def __ne__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __repr__(self) -> str:
        return "<NA>"


class Name(str, enum.Enum):
    A = "a"
    B = "b"


def objects(labels: Any) -> np.ndarray:
    """As pandas' columns of strings come."""
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def of_variable_width(labels: Any) -> np.ndarray:
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("NumPy 1 has no StringDType")
    missing = {"na_object": labels[1]} if not isinstance(labels[1], str) else {}
    return np.array(labels, dtype=np.dtypes.StringDType(**missing))


Made = Callable[[Any], Any]
LISTS = pytest.mark.parametrize("made", [list, tuple, objects])


def read(labels: Any) -> np.ndarray:
    return read_labels(labels, "source_groups", len(labels), "sources", names=True)


@pytest.mark.parametrize("made", [list, tuple, objects, of_variable_width, np.array])
@pytest.mark.parametrize("labels", [["b", "a", "b"], ["", "a\0b", "a"], ["a ", "a", "A"]])
def test_names_become_numpys(made: Made, labels: list[str]) -> None:
    found = read(made(labels))
    assert found.dtype.kind == "U"
    assert found.tolist() == labels


@pytest.mark.parametrize("made", [list, objects, np.array])
def test_bytes(made: Made) -> None:
    found = read(made([b"b", b"a"]))
    assert (found.dtype.kind, found.tolist()) == ("S", [b"b", b"a"])


@LISTS
def test_subclasses_of_str_are_their_values(made: Made) -> None:
    assert read(made([Name.A, Name.B, np.str_("c")])).tolist() == ["a", "b", "c"]


@LISTS
@pytest.mark.parametrize("gap", [None, NAN, np.float32("nan"), np.datetime64("NaT"), NAType()])
@pytest.mark.parametrize("name", ["a", b"a", 1])
def test_missing_labels_are_refused(made: Made, gap: Any, name: Any) -> None:
    message = r"^source_groups must have no missing labels, got \S+ in row 1 \(2 of 3\); drop those"
    with pytest.raises(ArgumentError, match=message):
        read(made([name, gap, gap]))


@pytest.mark.parametrize("gap", [None, NAN])
def test_missing_labels_of_variable_width(gap: Any) -> None:
    with pytest.raises(ArgumentError, match=r"missing labels, got .* in row 1"):
        read(of_variable_width(["a", gap]))


def test_missing_labels_among_floats_are_not_to_be_cast() -> None:
    with pytest.raises(ArgumentError, match=r"missing labels, got nan in row 1 \(1 of 2\); drop"):
        read(np.array([1.0, NAN]))
    with pytest.raises(ArgumentTypeError, match=r"got dtype float64; pass source_groups.astype"):
        read(np.array([1.0, 2.0]))


@LISTS
@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (["a", "b", 1], "str in row 0, int in row 2"),
        ([1, 2, "a"], "int in row 0, str in row 2"),
        (["a", b"a"], "str in row 0, bytes in row 1"),
        (["a", True, 2.5], "str in row 0, bool in row 1, float in row 2"),
    ],
)
def test_mixtures_are_refused(made: Made, labels: list[Any], got: str) -> None:
    message = f"^source_groups must hold strings or integers, all of one type, got {got}$"
    with pytest.raises(ArgumentTypeError, match=message):
        read(made(labels))


@pytest.mark.parametrize("made", [list, tuple, objects, of_variable_width])
def test_null_characters_at_the_end_are_refused(made: Made) -> None:
    message = r"must hold names that end in no null character, .* got 'a\\x00' in row 1$"
    with pytest.raises(ArgumentError, match=message):
        read(made(["a", "a\0"]))


@LISTS
def test_null_bytes_at_the_end_are_refused(made: Made) -> None:
    with pytest.raises(ArgumentError, match=r"got b'a\\x00' in row 1$"):
        read(made([b"a", b"a\0"]))


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        ([1, 2], r"dtype object of int; pass source_groups\.astype\(int\)"),
        ([{}, {}], "dtype object of dict"),
    ],
)
def test_other_objects_are_refused(labels: list[Any], got: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^source_groups must hold strings.* got {got}$"):
        read(objects(labels))


def test_match_refuses_on_both_sides() -> None:
    with pytest.raises(ArgumentError, match=r"^latent_groups must have no missing labels"):
        match(np.eye(2), groups=(["a", "b"], ["a", NAN]))

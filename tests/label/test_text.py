"""Text for a terminal: what is escaped, and what stays."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest

from gtn_label.text import plain, quoted, visible

STEERING = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, 0x2028, 0x2029, 0x061C, 0xFEFF]
STEERING += [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xD800, 0xDC9B, 0xDFFF]


@pytest.mark.parametrize("number", STEERING)
def test_steering_characters_become_escapes(number: int) -> None:
    shown = visible(f"a{chr(number)}b")
    assert shown == f"a{ascii(chr(number))[1:-1]}b"
    assert shown.isascii()
    assert shown.isprintable()


def test_no_control_character_passes() -> None:
    for number in range(0x11000):
        if unicodedata.category(chr(number)) in ("Cc", "Zl", "Zp", "Cs"):
            assert visible(chr(number)).isprintable(), hex(number)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(2.5), "2.5"),
        (np.int8(-3), "-3"),
        (np.bool_(True), "True"),
        (np.str_("a"), "'a'"),
        (np.array(1.5), "1.5"),
        (0.1, "0.1"),
        ("a", "'a'"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_plain_names_no_type_of_numpy(value: Any, written: str) -> None:
    assert plain(value) == written


@pytest.mark.parametrize(
    "text", ["", "naïve Ordner", "数据 z", "a\\n", "it's", "\U0001f600", " x "]
)
def test_other_text_stays(text: str) -> None:
    assert visible(text) == text
    assert quoted(text) == f"'{text}'"

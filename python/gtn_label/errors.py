"""Errors about arguments: the argument's name, the rule that its value breaks, and the value found.

Python and the command spell an argument differently (`cone`, `--cone`). The names are therefore
fields of the error, and `spelled` writes the sentence with other names. A rule or an advice names
another argument in braces: "needs {backend} 'cuda'".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .text import brief

__all__ = ["ArgumentError", "ArgumentTypeError", "too_many_sources"]


class _Argument(Exception):
    """Fields and sentence that both errors share."""

    def __init__(
        self, name: str | tuple[str, ...], rule: str, got: str = "", advice: str = ""
    ) -> None:
        super().__init__(name, rule, got, advice)  # all of them, so that errors can be pickled
        self.names = (name,) if isinstance(name, str) else name
        self.rule = _named(rule, {})
        self.got = _in_a_line(got)
        self.advice = _named(advice, {})

    def spelled(self, words: Mapping[str, str]) -> str:
        """Return the sentence with `words[name]` in place of each name that `words` holds."""
        names = " and ".join(words.get(name, name) for name in self.names)
        rule, advice = _named(self.args[1], words), _named(self.args[3], words)
        space = "" if rule.startswith(":") else " "
        got = f", got {self.got}" if self.got else ""
        return f"{names}{space}{rule}{got}" + (f"; {advice}" if advice else "")

    def __str__(self) -> str:
        return self.spelled({})


def _named(text: str, words: Mapping[str, str]) -> str:
    """Write each name in braces as `words` spells it."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: words.get(found[1], found[1]), text)


def _in_a_line(text: str) -> str:
    """Return a text in one line, shortened if it is long."""
    text = brief(text)
    return " ".join(text.split()) if "\n" in text else text


class ArgumentError(_Argument, ValueError):
    """The value of an argument breaks a rule.

    Parameters
    ----------
    name : str or tuple of str
        The argument, or several that do not fit each other.
    rule : str
        The rule as a predicate, such as "must be >= 1". Other arguments are named in braces, here
        and in `advice`.
    got : str
        The value found, as the message shows it.
    advice : str
        A way out, if there is a better one than to obey the rule.

    Attributes
    ----------
    names : tuple of str
    rule, got, advice : str

    Examples
    --------
    >>> error = ArgumentError("cone", "must be >= 1", "0")
    >>> str(error)
    'cone must be >= 1, got 0'
    >>> error.spelled({"cone": "--cone"})
    '--cone must be >= 1, got 0'
    """


class ArgumentTypeError(_Argument, TypeError):
    """The type of an argument, or the dtype of an array, is wrong; fields as in `ArgumentError`."""


def too_many_sources(n: int, m: int) -> ArgumentError:
    """Return the error for more sources than latents."""
    return ArgumentError(
        "sources", f"must not exceed the {m} latents", f"{n} sources", "draw or pass fewer"
    )

"""Options of click's in sections of --help, and types of their values: files and numbers.

Not here: the options themselves (options.py).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..text import quoted

__all__ = ["STREAM", "File", "Integer", "Number", "SectionedCommand", "option"]

STREAM = Path("-")  # standard input or output; a file of that name is ./-


class _Option(click.Option):
    """An option with its section of --help."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command that lists its options by section in --help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections in the order of their first options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "section", "About"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option(section: str, *names: str, **kwargs: Any) -> Callable[[Any], Any]:
    """Declare an option as `click.option` does, in a section of --help."""
    return click.option(*names, cls=_Option, section=section, **kwargs)


class File(click.Path):
    """The path of a file.

    Parameters
    ----------
    stream : bool
        True if "-" means `STREAM`.
    """

    def __init__(self, stream: bool = False) -> None:
        # Inputs and outputs are opened later. An output may be one that cannot be read.
        super().__init__(path_type=Path, readable=False)
        self._stream = stream

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, and refuse what pathlib would take for another one."""
        if value == "":
            self.fail("the name is empty.", param, ctx)  # for pathlib the current folder
        if "\0" in os.fspath(value):
            self.fail(f"{value!r} holds a NUL character.", param, ctx)
        if os.fspath(value).endswith(("/", os.sep)):
            self.fail(f"{value!r} must be a file, and ends as a folder does.", param, ctx)
        if value == "-":
            if self._stream:
                return STREAM
            self.fail(
                "'-' is no file: only LATENTS, sources, groups and --out can be streams.",
                param,
                ctx,
            )
        path = super().convert(value, param, ctx)
        return Path.cwd() / path if path == STREAM else path  # ./- is a file


class Integer(click.IntRange):
    """An integer from `min` on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the integer."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be an integer >= {self.min}, got {quoted(value)}.", param, ctx)


class Number(click.FloatRange):
    """A finite number from `min` on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number as a float."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):  # NaN passes click's check of a range
            self.fail(f"must be a finite number >= {self.min}, got {quoted(value)}.", param, ctx)
        return number

"""The entry of gtn-label: from its first line on, signals wait until console.py serves them.

Ctrl-C during an import would end in a traceback. Nothing is therefore imported before but the C
module of signals; `signal` itself takes milliseconds. Importing this module starts the command.
Other programs import main.py, which leaves their signals alone.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["came", "main"]

came: list[int] = []  # numbers of the signals that wait


def _wait(number: int, frame: object) -> None:
    came.append(number)


for _name in ("SIGINT", "SIGTERM", "SIGHUP"):
    _number = getattr(_signal, _name, None)  # Windows has no SIGHUP
    if _number is not None and _signal.getsignal(_number) != _signal.SIG_IGN:
        _signal.signal(_number, _wait)


def main() -> NoReturn:
    """Run the command, or report the signal that came while it was imported."""
    from .main import main as run

    run(earlier=came)

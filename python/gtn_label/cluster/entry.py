"""The entry of gtn-label-cluster: signals wait from its first line on, as cli/entry.py says.

Importing this module starts the command. Other programs import launcher.py, which leaves their
signals alone.
"""

from __future__ import annotations

from ..cli.entry import came

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command, or report the signal that came while it was imported."""
    from .launcher import main as run

    run(earlier=came)


if __name__ == "__main__":
    main()

"""Print the N-th shell block of README.md, so that what CI runs is what README says.

Usage: readme_command.py N, with N = 1 (label the example) or 2 (run the tests).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def main() -> int:
    """Print one block; return 1 if README has no such block."""
    number = int(sys.argv[1])
    blocks = re.findall(r"^```sh\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    if not 1 <= number <= len(blocks):
        print(f"README.md has {len(blocks)} shell blocks, not {number}", file=sys.stderr)
        return 1
    print(blocks[number - 1], end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

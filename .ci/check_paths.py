"""Check that the paths a document names exist.

Usage: check_paths.py DOCUMENT...

A path is what stands in backticks, has a slash or a known file ending, and only characters of
file names. It may be relative to the root of the repository, to the document, or to one of the
source folders. Relative links of Markdown are checked too.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASES = ("", "python/gtn_label", "csrc", "tests", "benchmarks")
ENDINGS = "cff|cpp|h|hpp|json|md|npy|png|py|pyi|toml|txt|yaml|yml"
NAMED = re.compile(rf"`((?:[\w.*-]+/)+[\w.*-]*|[\w.*-]+\.(?:{ENDINGS}))`")
LINKED = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
# Written by commands that the documents show, so not in the tree.
PRODUCTS = frozenset(
    {
        *("codes.npy", "config.json", "gtn_train.json", "labels.png", "latents.npy"),
        *("my_latents.npy", "run.json"),
    }
)


def exists(path: str, document: Path) -> bool:
    """Return True if ``path``, possibly with ``*``, names something in the tree."""
    if path in PRODUCTS:
        return True
    bases = [document.parent, *(ROOT / base for base in BASES)]
    return any(any(base.glob(path.rstrip("/"))) for base in bases)


def main() -> int:
    """Check the documents given; return 1 and name the paths that do not exist."""
    missing = []
    for name in sys.argv[1:]:
        document = ROOT / name
        text = document.read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        paths = sorted({*NAMED.findall(prose), *LINKED.findall(prose)})
        missing += [f"{name}: {path}" for path in paths if not exists(path, document)]
        print(f"{name}: {len(paths)} paths")
    for line in missing:
        print(f"no such path: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""MkDocs hook: documents that lie outside docs/ become pages of the site.

Links are written as they work in a clone, such as `../benchmarks/results/compare.md`. A link to a
document that is a page here is pointed at that page. A link to another file of the repository
becomes plain text, because the site has no address to point at.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
OUTSIDE = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.svg",
    "examples/README.md",
)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the documents of `OUTSIDE`, each under its path in the repository."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links that leave a page's folder at pages of the site."""
    here = Path(page.file.abs_src_path).parent
    folder = Path(page.file.src_uri).parent

    def point(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = Path(os.path.normpath(here / target))
        if not path.exists() or not path.is_relative_to(ROOT):
            return link[0]  # MkDocs warns of it
        uri = path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()
        if files.get_file_from_path(uri) is None:
            return text
        return f"[{text}]({os.path.relpath(uri, folder)}{anchor})"

    return LINK.sub(point, markdown)

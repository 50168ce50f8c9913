"""The lines in which `embed` tells of an embedding: components, eigenvalues, the encoder.

Not here: the command (make.py), the stage (run/embedding.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gtn_label.cli import console

__all__ = ["about_embedding"]

MOST = 8  # components, and eigenvalues of each, that are shown


def about_embedding(out: Path) -> list[str]:
    """Tell of a run's embedding.

    Parameters
    ----------
    out : path
        The run's folder.
    """
    from ..spectral import Embedding

    found = Embedding.load(out / "embedding" / "embedding.npz")
    sizes = np.bincount(found.component)
    listed = ", ".join(f"{size:,}" for size in sizes[:MOST])
    more = ", ..." if len(sizes) > MOST else ""
    lines = [f"{console.counted(len(sizes), 'component')} of {listed}{more} rows"]
    if len(sizes) > 1:
        lines.append(
            "no continuous map leads from one normal to them: --labeling clusters --clusters "
            f"{len(sizes)} gives each a normal of its own"
        )
    for number, values in enumerate(found.eigenvalues[:MOST]):
        name = f"component {number}: " if len(found.eigenvalues) > 1 else ""
        lines.append(name + _eigenvalues(values))
    if len(found.eigenvalues) > MOST:
        lines.append(f"... and {len(found.eigenvalues) - MOST} more components")
    r2 = found.meta.get("r2")
    if r2 is not None:
        lines.append(f"encoder: R² {np.mean(r2):.4f}, least {min(r2):.4f}, on held-out rows")
    if len(found.eigenvalues) > 1:
        told = found.meta.get("components_told", 0.0)
        lines.append(f"encoder: component of {100 * told:.1f} % of held-out rows is right")
    return lines


def _eigenvalues(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """List eigenvalues by what they lack to 1, and name the largest gap."""
    lacks = " ".join(f"{1 - value:.3g}" for value in values[:MOST])
    shown = f"1 - eigenvalue: {lacks}{' ...' if len(values) > MOST else ''}"
    if len(values) < 2:
        return shown
    gaps = np.abs(np.diff(values))
    at = int(gaps.argmax())
    return f"{shown}; largest spectral gap {gaps[at]:.3g}, after {at + 1}"

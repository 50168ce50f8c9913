"""The parts of gtn_label that benchmarks use and that are not its public interface.

Every such import stands here, so that a move inside the package changes this file alone.
"""

from gtn_label import _core as core
from gtn_label.backend import faiss_package
from gtn_label.backend.faiss_exact import gpu_number
from gtn_label.cli.console import format_bytes, format_seconds
from gtn_label.quality import learnability, norms, sample_rows, spearman

__all__ = [
    "core",
    "faiss_package",
    "format_bytes",
    "format_seconds",
    "gpu_number",
    "learnability",
    "norms",
    "sample_rows",
    "spearman",
]

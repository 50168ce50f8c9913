"""load_run and FinishedRun: a run's folder, opened for sampling, encoding, export or evaluation.

Opening checks the manifests of all stages by their verdicts: a generator is refused with latents of
another autoencoder. Not here: what a run without a generator has (encoded_run.py), building the
stages (pipeline.py).
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtn_label import Matching
from gtn_label.arrays import convert
from gtn_label.checks import as_integer
from gtn_label.errors import ArgumentError
from gtn_label.text import quoted

from ..models import registry
from ..pairs.classes import as_in_data, of_latents
from ..pairs.mixture import Mixture
from ..sampling.interpolation import (
    STEPS,
    Interpolation,
    interpolate,
    matched_sources,
    random_ends,
)
from ..sampling.sample import generate_latents, sample_images, sample_latents
from .encoded_run import EncodedRun
from .held_out import HeldOut, hold_out

if TYPE_CHECKING:
    from ..sampling.export import Exported

__all__ = ["FinishedRun", "load_run"]


def load_run(out: str | os.PathLike[str], *, accelerator: str = "auto") -> FinishedRun:
    """Open a finished run, to sample from it and to use its networks.

    Parameters
    ----------
    out : path
        The run's folder.
    accelerator : {"auto", "cpu", "cuda", "mps"}
        Device of the models.

    Returns
    -------
    FinishedRun
        With `sample`, `encode`, `decode`, `interpolate`, `export` and `generator`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `FinishedRun`.
    """
    return FinishedRun(out, accelerator=accelerator)


class FinishedRun(EncodedRun):
    """A run whose generator is trained.

    Parameters
    ----------
    out : path
        The run's folder.
    accelerator : {"auto", "cpu", "cuda", "mps"}
        Device of the models.

    Attributes
    ----------
    generator : Generator or Flow
    mixture : Mixture or None
        Distribution of the sources; None for N(0, I).

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.
    ValueError
        If a stage is missing or no longer valid, or the accelerator is not available.
    """

    def __init__(self, out: str | os.PathLike[str], *, accelerator: str = "auto") -> None:
        super().__init__(out, accelerator=accelerator)
        self._check("pairs")
        pairs = self.stages["pairs"].outputs
        self._check(
            "generator", latents=convert.sha256(self.latents), pairs=pairs.get("pairs.npz", "none")
        )
        self.generator = self._model("generator", registry.GENERATORS, self._device)
        dim = self.latents.shape[1]
        if (self.generator.dim, self.generator.out_dim) != (dim, dim):
            raise ValueError(
                f"{quoted(self.out)}: its generator makes latents of dimension "
                f"{self.generator.out_dim} from {self.generator.dim}, and its latents have {dim}; "
                f"{self._remedy()}"
            )
        self.mixture = None
        if "mixture.json" in pairs:
            self.mixture = Mixture.load(self.out / "pairs" / "mixture.json")

    def __repr__(self) -> str:
        n, dim = self.latents.shape
        return (
            f"FinishedRun({str(self.out)!r}): {self.settings.preset.data.name}, {n:,} latents of "
            f"dimension {dim}"
        )

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Any = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Draw new images, or vectors in a run whose samples are no images.

        They are those of `gtn-train sample --out FILE.npy` with the same n and seed.

        Parameters
        ----------
        n, seed, progress
            As in `sample_latents`.
        batch_size : int, optional
            Sources at a time; by default 256 for images, 4,096 for vectors.
        classes : int or int array [n], optional
            Class of all samples, or of each, for a run by class; by default as often as in the
            data.

        Returns
        -------
        uint8 [n, c, h, w] or float32 [n, dim]

        Raises
        ------
        TypeError, ValueError
            As `sample_latents`; also if the run has no classes, and some are given.
        """
        n = as_integer(n, "n", 1)
        given: dict[str, Any] = {
            "classes": self._classes(classes, n, seed),
            "mixture": self.mixture,
            "progress": progress,
            **({} if batch_size is None else {"batch_size": batch_size}),
        }
        if self.autoencoder is None:
            return sample_latents(self.generator, n, seed, **given)
        return sample_images(self.generator, self.autoencoder, n, seed, **given)

    def interpolate(
        self,
        n: int = 8,
        *,
        between: Any = None,
        steps: int = STEPS,
        seed: int = 0,
        classes: Any = None,
        path: str = "straight",
        **geodesic: Any,
    ) -> Interpolation:
        """Generate along lines between sources (Fig. 8), straight ones or geodesics.

        Parameters
        ----------
        n : int
            Number of lines between random sources.
        between : int array [k, 2], optional
            Rows of the training data: k lines between the sources matched with them, in place of
            random ones.
        steps : int
            Points of a line, both ends included.
        seed : int
            Random seed of the sources.
        classes : int or int array [n], optional
            Class of all lines, or of each, for a run by class; by default as often as in the data.
            Lines `between` rows have those of the rows, and none may be given.
        path : {"straight", "geodesic"}
            Straight lines, or curves of least energy on the surface that the decoder spans.
        **geodesic
            Options of geodesics: `density`, `weight`, `space`, `metric` and `points`, as in
            `geometry.run_geodesics`.

        Returns
        -------
        Interpolation
            With `images` or `latents`, [n, steps, ...]; geodesics with `length`, `energy` and
            `surprisal`, [n].

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong type or out of range, or the ends of a line are of two
            classes.
        """
        if path not in ("straight", "geodesic"):
            raise ArgumentError("path", "must be 'straight' or 'geodesic'", repr(path))
        if path == "straight" and geodesic:
            raise ArgumentError(next(iter(geodesic)), "needs {path} 'geodesic'")
        of_latents = geodesic.get("space") == "latent"
        if between is None:
            of_line = self._classes(classes, as_integer(n, "n", 1), seed)
            drawn = {"mixture": self.mixture, "classes": of_line}
            ends: Any = random_ends(n, self.generator.dim, seed, **drawn)
            if of_latents:
                ends = [generate_latents(self.generator, end, classes=of_line) for end in ends]
        elif classes is not None:
            raise ArgumentError("classes", "must not be given with {between}, whose rows have them")
        else:
            ends, of_line = self._ends(between, of_latents)
        given: dict[str, Any] = {"steps": steps, "classes": of_line}
        left, right = ends
        if path == "straight":
            return interpolate(self.generator, left, right, self.autoencoder, **given)
        from ..geometry.run_geodesics import run_geodesics

        found = run_geodesics(self, left, right, **given, seed=seed, **geodesic)
        return [*found.values()][-1]

    def export(self, path: str | os.PathLike[str]) -> Exported:
        """Write ĥ and the decoder as one program: .pt2 for torch.export, .onnx for ONNX.

        The program maps sources, float32 [n, dim], to images, float32 [n, c, h, w] in [-1, 1], or
        to latents. Its description (`sampling.export`) names the distribution of the sources.

        Raises
        ------
        TypeError, ValueError, ImportError, RuntimeError, OSError
            As `sampling.export.export`.
        """
        from ..sampling.export import export

        sources: Any = "N(0, I)"
        if self.mixture is not None:
            parts = ("weights", "means", "stds")
            sources = {name: getattr(self.mixture, name).tolist() for name in parts}
        return export(self.generator, self.autoencoder, path, about={"sources": sources})

    def _classes(self, classes: Any, n: int, seed: int) -> Any:
        if self.classes is None:
            if classes is not None:
                raise ArgumentError("classes", "needs a run by class", repr(classes))
            return None
        return as_in_data(self.classes, n, seed) if classes is None else classes

    def _ends(self, between: Any, of_latents: bool) -> tuple[Any, Any]:
        """Sources matched with rows of the training data, and the classes of their lines.

        Ends that are latents are the rows themselves, and have no classes.
        """
        rows, n = np.asarray(between), len(self.latents)
        if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iu" or not len(rows):
            raise ArgumentError(
                "between",
                "must be integers [k, 2] with k >= 1",
                f"{rows.dtype} of shape {rows.shape}",
            )
        if rows.min() < 0 or rows.max() >= n:
            raise ArgumentError("between", f"must hold rows in [0, {n})", str(rows.tolist()))
        if of_latents:
            return [np.array(self.latents[rows[:, side]]) for side in (0, 1)], None
        ends = [matched_sources(self.matching, rows[:, side]) for side in (0, 1)]
        if self.classes is None:
            return ends, None
        left, right = self.classes[rows[:, 0]], self.classes[rows[:, 1]]
        if (left != right).any():
            pair = rows[left != right][0].tolist()
            raise ArgumentError("between", "must hold rows of one class on each line", str(pair))
        return ends, left

    @functools.cached_property
    def classes(self) -> NDArray[np.int64] | None:
        """Class of each latent, in a conditional run: [n]."""
        return of_latents(self.out / "pairs" / "pairs.npz")

    @functools.cached_property
    def matching(self) -> Matching:
        """The first round of pairs."""
        return Matching.load(self.out / "pairs" / "pairs.npz")

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """Rows of the latents that stop the training, and rows that measure it."""
        settings = self.settings
        return hold_out(self.matching.assignment, settings.preset.validation_share, settings.seed)

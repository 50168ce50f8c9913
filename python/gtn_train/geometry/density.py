"""Densities that tell how rare a place on a surface is, as minus the log of a density.

`Kernel` and `Mixture` are fitted to rows, such as a run's latents, in units of each column's
deviation. `Pullback` is the geodesic paper's own: the sources' density over the change of volume
(Data Interpolations in Deep Generative Models under Non-Simply-Connected Manifold Topology). Not
here: the surface (surface.py), the curves (geodesic.py).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_integer, as_number, check_seed
from gtn_label.errors import ArgumentError

from ..pairs.mixture import Mixture as SourceMixture
from ..seeds import derive, random_numbers
from .surface import Places, Surface

__all__ = ["Density", "Kernel", "Mixture", "Pullback"]

NEAREST = 64  # rows that a kernel density adds up
BANDWIDTH_NEIGHBOUR = 10
BANDWIDTH_ROWS = 2_000  # whose neighbours give the bandwidth
FITTED_ROWS = 20_000  # of a mixture
COMPONENTS = 10
RIDGE = 1e-3  # variance added in each direction: few rows leave some without any
TRIED = 16  # sources at which the volume must change

Floats = npt.NDArray[np.float64]


class Density(Protocol):
    """A density of places on a surface."""

    def check(self, surface: Surface, classes: Tensor | None = None) -> None:
        """Refuse a surface that the density says nothing of."""

    def neighbours(self, latents: Tensor) -> Tensor | None:
        """Choose rows that `surprisal` adds up, [n, k]; None if it adds up none."""

    def surprisal(self, places: Places, near: Tensor | None = None) -> Tensor:
        """Compute -log density of each place, [n], with a gradient in the positions.

        `near` holds what `neighbours` gave for places close to these.
        """


class _Fitted:
    """Rows in units of each column's deviation, on the device of what is asked."""

    def __init__(self, rows: Any) -> None:
        read = convert.as_rows(rows, "rows").rows
        convert.refuse_non_finite(read, "rows")
        self.n, self.dim = read.shape
        self._mean = read.mean(axis=0, dtype=np.float64)
        spread = read.std(axis=0, dtype=np.float64)
        # Rounding gives a constant column a spread of about 1e-16 of its value, not of zero.
        self._spread = np.where(spread > 1e-12 * np.abs(self._mean), spread, 1.0)
        self._read = read
        self._sent: dict[tuple[Any, ...], Tensor] = {}

    def check(self, surface: Surface, classes: Tensor | None = None) -> None:
        """Accept any surface: rows of another dimension show when they are used."""

    def _standard(self, rows: Any) -> Floats:
        standard: Floats = (np.asarray(rows, np.float64) - self._mean) / self._spread
        return standard

    def _latents(self, latents: Tensor) -> Tensor:
        if latents.shape[1] != self.dim:
            raise ValueError(
                f"latents must have {self.dim} columns, as the density's rows have, got "
                f"{tuple(latents.shape)}"
            )
        return (latents - self._as("_mean", latents)) / self._as("_spread", latents)

    def _as(self, name: str, like: Tensor) -> Tensor:
        """Return an array of this object as a tensor of a device and dtype; each is sent once."""
        key = (name, like.dtype, like.device)
        if key not in self._sent:
            self._sent[key] = torch.as_tensor(
                getattr(self, name), dtype=like.dtype, device=like.device
            )
        return self._sent[key]


class Kernel(_Fitted):
    """A Gaussian kernel density of rows, such as a run's latents.

    Columns are divided by their deviations. The nearest 64 rows alone are added up, because others
    add next to nothing, and none of them has a gradient that matters far from all rows.

    Parameters
    ----------
    rows : [n >= 2, d]
        Two distinct ones at least.
    bandwidth : float, optional
        Deviation of the kernel, in units of the columns' deviations; by default the median distance
        of a row to its 10th neighbour, over at most 2,000 rows.
    neighbours : int
        Rows to add up, >= 1.
    seed : int
        Random seed of the choice of those 2,000 rows.

    Attributes
    ----------
    bandwidth : float

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or all rows are equal.

    Examples
    --------
    >>> import math
    >>> rows = np.array([[-1.0], [1.0]])  # of deviation 1
    >>> density = Kernel(rows, bandwidth=1.0)
    >>> found = density.log_density(torch.tensor([[0.0]]))
    >>> math.isclose(found.item(), -0.5 - 0.5 * math.log(2 * math.pi), rel_tol=1e-6)
    True
    """

    def __init__(
        self,
        rows: Any,
        *,
        bandwidth: float | None = None,
        neighbours: int = NEAREST,
        seed: int = 0,
    ) -> None:
        from sklearn.neighbors import NearestNeighbors

        super().__init__(rows)
        self._rows = self._standard(self._read).astype(np.float32)
        self._k = min(as_integer(neighbours, "neighbours", 1), self.n)
        if (self._rows == self._rows[0]).all():
            raise ArgumentError("rows", "must have two distinct ones", f"{self.n} equal rows")
        self._search = NearestNeighbors(n_neighbors=self._k).fit(self._rows)
        if bandwidth is not None:
            self.bandwidth = as_number(bandwidth, "bandwidth", 0.0)
        else:
            self.bandwidth = self._usual_distance(check_seed(seed))
        if self.bandwidth == 0:
            raise ArgumentError("bandwidth", "must be above 0", "0.0")

    def _usual_distance(self, seed: int) -> float:
        """Median distance to the 10th neighbour, among those above 0."""
        few = random_numbers(seed, "bandwidth").permutation(self.n)[:BANDWIDTH_ROWS]
        count = min(BANDWIDTH_NEIGHBOUR + 1, self.n)  # each row is its own first neighbour
        while True:
            distances, _ = self._search.kneighbors(self._rows[few], count)
            positive = distances[:, -1][distances[:, -1] > 0]
            if len(positive) or count == self.n:
                break
            count = min(2 * count, self.n)  # each row chosen has more copies than neighbours
        return float(np.median(positive)) if len(positive) else 1.0

    def neighbours(self, latents: Tensor) -> Tensor:
        """Find the rows that are nearest to latents: int64 [n, k]."""
        wanted = self._latents(latents.detach()).to("cpu", torch.float32).numpy()
        found = self._search.kneighbors(wanted, return_distance=False)
        return torch.as_tensor(found, device=latents.device)

    def log_density(self, latents: Tensor, near: Tensor | None = None) -> Tensor:
        """Compute the log density of standardised rows at latents [n, d]: [n]."""
        if near is None:
            near = self.neighbours(latents)
        at = self._latents(latents)
        apart = at[:, None] - self._as("_rows", latents)[near]
        exponents = apart.square().sum(dim=2) / (-2 * self.bandwidth**2)
        scale = math.log(self.n) + self.dim * math.log(self.bandwidth * math.sqrt(2 * math.pi))
        return torch.logsumexp(exponents, dim=1) - scale

    def surprisal(self, places: Places, near: Tensor | None = None) -> Tensor:
        """Compute -log density of the places' latents; see `Density`."""
        return -self.log_density(places.latents, near)


class Mixture(_Fitted):
    """A mixture of Gaussians with full covariances, fitted to rows; smooth where rows are few.

    Parameters
    ----------
    rows : [n, d]
        At most 20,000 of them, chosen by the seed, are fitted, in units of the columns' deviations.
    components : int
        Gaussians, >= 1.
    seed : int
        Random seed of the fit and of the choice.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or there are fewer rows than components.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(4000, 2))
    >>> density = Mixture(rows, components=1)
    >>> found = density.log_density(torch.zeros(1, 2)).item()
    >>> round(found + math.log(2 * math.pi), 1) == 0
    True
    """

    def __init__(self, rows: Any, *, components: int = COMPONENTS, seed: int = 0) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        super().__init__(rows)
        components, seed = as_integer(components, "components", 1), check_seed(seed)
        if self.n < components:
            raise ArgumentError(
                "density",
                f"'mixture' needs as many rows as its {components} components",
                f"{self.n} rows",
            )
        few = np.sort(random_numbers(seed, "mixture").permutation(self.n)[:FITTED_ROWS])
        model = GaussianMixture(
            components, reg_covar=RIDGE, random_state=derive(seed, "mixture") % 2**32
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # equal rows, or too few steps
            model.fit(self._standard(self._read[few]))
        self._means, self._factors = model.means_, model.precisions_cholesky_
        diagonals = np.diagonal(self._factors, axis1=1, axis2=2)
        self._logs = (
            np.log(model.weights_)
            + np.log(diagonals).sum(axis=1)
            - 0.5 * self.dim * math.log(2 * math.pi)
        )

    def neighbours(self, latents: Tensor) -> None:
        """Choose no rows."""

    def log_density(self, latents: Tensor) -> Tensor:
        """Compute the log density of standardised rows at latents [n, d]: [n]."""
        at = self._latents(latents)
        apart = at[:, None] - self._as("_means", latents)
        whitened = torch.einsum("nkd,kde->nke", apart, self._as("_factors", latents))
        logs = self._as("_logs", latents) - 0.5 * whitened.square().sum(dim=2)
        return torch.logsumexp(logs, dim=1)

    def surprisal(self, places: Places, near: Tensor | None = None) -> Tensor:
        """Compute -log density of the places' latents; see `Density`."""
        return -self.log_density(places.latents)


class Pullback:
    """The paper's density of a surface: that of the positions over the change of volume.

    -log p(z) + ½ log det JᵀJ (Eq. 8 of the paper). The second term has no gradient where f is
    linear piece by piece, as with LeakyReLU: such a surface is refused. The term tells nothing of
    the data, and the decoder's noise is left out.

    Parameters
    ----------
    sources : pairs.mixture.Mixture, optional
        Distribution of the positions; by default N(0, I).
    seed : int
        Random seed of the positions that `check` tries.

    Examples
    --------
    >>> double = Surface(lambda z: 2 * z, 1)
    >>> at = double.at(double.tensor([[0.0]]))
    >>> round(Pullback().surprisal(at).item(), 6)  # of N(0, 4) at 0
    1.612086
    """

    def __init__(self, sources: SourceMixture | None = None, seed: int = 0) -> None:
        self._sources, self._seed = sources, check_seed(seed)

    def check(self, surface: Surface, classes: Tensor | None = None) -> None:
        """Refuse a surface whose change of volume has no gradient at 16 random positions.

        Raises
        ------
        ArgumentError
            If all gradients are exactly 0.
        """
        seed = derive(self._seed, "pullback")
        if self._sources is None:
            drawn = draw_sources(TRIED, surface.dim, seed)
        else:
            drawn, _ = self._sources.draw(TRIED, seed)
        positions = surface.tensor(drawn).requires_grad_()
        told = None if classes is None else classes[torch.arange(TRIED) % len(classes)]
        volume = surface.volume(positions, told).sum()
        if volume.requires_grad:
            (gradient,) = torch.autograd.grad(volume, positions, allow_unused=True)
            if gradient is not None and bool((gradient != 0).any()):
                return
        raise ArgumentError(
            "density",
            "'pullback' needs a smooth surface: ½ log det JᵀJ of a network that is linear piece "
            f"by piece, as with LeakyReLU, has gradient 0 (at {TRIED} of {TRIED} positions)",
            advice="density 'kde' follows the data",
        )

    def neighbours(self, latents: Tensor) -> None:
        """Choose no rows."""

    def surprisal(self, places: Places, near: Tensor | None = None) -> Tensor:
        """Compute -log density of the places; see `Density`."""
        volume = places.surface.volume(places.positions, places.classes)
        return volume - self._log_prior(places.positions.to(volume.dtype))

    def _log_prior(self, positions: Tensor) -> Tensor:
        dim = positions.shape[1]
        if self._sources is None:
            return -0.5 * (positions.square().sum(dim=1) + dim * math.log(2 * math.pi))
        weights, means, stds = (
            torch.as_tensor(part, dtype=positions.dtype, device=positions.device)
            for part in (self._sources.weights, self._sources.means, self._sources.stds)
        )
        stds = stds.clamp_min(1e-12)  # a cluster of one row has none
        apart = (positions[:, None] - means) / stds
        logs = weights.log() - stds.log().sum(dim=1) - 0.5 * apart.square().sum(dim=2)
        return torch.logsumexp(logs, dim=1) - 0.5 * dim * math.log(2 * math.pi)

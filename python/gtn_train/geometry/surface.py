"""The surface that a decoder spans: f from positions in R^d to outputs in R^M, and its Jacobian.

f is an inner map from sources to latents, an outer map from latents to outputs, or both. Positions
are arguments of f: sources where there is an inner map, and else latents. Not here: densities on
the surface (density.py), curves on it (geodesic.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gtn_label.checks import as_integer
from gtn_label.errors import ArgumentError
from gtn_label.text import quoted

from ..files import brief
from ..models.autoencoder import evaluating

if TYPE_CHECKING:
    from ..run.finished_run import FinishedRun

__all__ = ["Places", "Surface"]

RIDGE = 1e-8  # added to JᵀJ, over its mean eigenvalue: log det stays finite where f folds


@dataclass(frozen=True)
class Places:
    """Positions on a surface with what f makes of them.

    Attributes
    ----------
    surface : Surface
    positions : Tensor [n, dim]
    classes : Tensor int64 [n] or None
    latents : Tensor [n, d]
    points : Tensor [n, M]
    """

    surface: Surface
    positions: Tensor
    classes: Tensor | None
    latents: Tensor
    points: Tensor


class Surface:
    """A map f = outer ∘ inner, each row by itself, as a surface over its positions.

    Modules are called in evaluation mode: batch normalisation would make a row depend on others.

    Parameters
    ----------
    outer : callable or None
        From latents, Tensor [n, d], to outputs, Tensor [n, ...], such as `autoencoder.decode`.
        None: the outputs are the latents.
    dim : int
        Dimension of a position, >= 1.
    inner : callable, optional
        From sources, Tensor [n, dim], to latents, such as a generator. A conditional one is called
        with (sources, classes). Left out, positions are latents.
    dtype : torch.dtype, optional
        Of the positions; by default that of the first parameter, or float64 without any.
    device : optional
        By default that of the first parameter, or the CPU.

    Examples
    --------
    >>> circle = Surface(lambda z: torch.cat([z.cos(), z.sin()], dim=1), 1)
    >>> circle.points(circle.tensor([[0.0]])).tolist()
    [[1.0, 0.0]]
    >>> float(circle.volume(circle.tensor([[0.3]])).abs().max()) < 1e-6
    True
    """

    def __init__(
        self,
        outer: Callable[[Tensor], Tensor] | None,
        dim: int,
        *,
        inner: Callable[..., Tensor] | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        for name, part in (("outer", outer), ("inner", inner)):
            if part is not None and not callable(part):
                raise TypeError(f"{name} must be callable or None, got {type(part).__name__}")
        self.dim = as_integer(dim, "dim", 1)
        self._outer, self._inner = outer, inner
        modules = (_module_of(part) for part in (inner, outer))
        self._modules = [module for module in modules if module is not None]
        first = next((weight for module in self._modules for weight in module.parameters()), None)
        self.dtype = dtype or (torch.float64 if first is None else first.dtype)
        self.device = device or (torch.device("cpu") if first is None else first.device)

    @classmethod
    def of_run(cls, run: FinishedRun, space: str = "source", metric: str | None = None) -> Surface:
        """Make the surface of a finished run.

        Parameters
        ----------
        run : FinishedRun
        space : {"source", "latent"}
            Positions: sources of the generator, or latents.
        metric : {"image", "latent"}, optional
            Outputs: images, in [-1, 1], or latents; by default images, if the run has any.

        Raises
        ------
        ValueError
            If the run has no autoencoder, and latents as positions or images as outputs are asked
            for.
        """
        for name, value, known in (
            ("space", space, ("source", "latent")),
            ("metric", metric, (None, "image", "latent")),
        ):
            if value not in known:
                rule = f"must be {' or '.join(repr(word) for word in known if word)}"
                raise ArgumentError(name, rule, repr(value))
        has_none = f"{quoted(run.out)} has none: its data are its latents"
        if run.autoencoder is None:
            if space == "latent":
                raise ArgumentError("space", "needs an autoencoder", "'latent'", has_none)
            if metric == "image":
                raise ArgumentError("metric", "needs an autoencoder", "'image'", has_none)
        images = metric == "image" or (metric is None and run.autoencoder is not None)
        first = next(iter(run.generator.parameters()))
        return cls(
            run.autoencoder.decode if images else None,
            run.latents.shape[1],
            inner=run.generator if space == "source" else None,
            dtype=first.dtype,
            device=first.device,
        )

    @property
    def has_sources(self) -> bool:
        """True if positions are sources: there is an inner map."""
        return self._inner is not None

    def tensor(self, rows: Any) -> Tensor:
        """Put rows on the surface's device, in its dtype."""
        if not isinstance(rows, Tensor):
            rows = torch.from_numpy(np.array(rows))  # a copy: torch has no read-only tensors
        return rows.detach().to(device=self.device, dtype=self.dtype)

    def at(self, positions: Tensor, classes: Tensor | None = None) -> Places:
        """Compute f and the latents on its way.

        Parameters
        ----------
        positions : Tensor [n, dim]
        classes : Tensor int64 [n], optional
            Class of each, for a conditional inner map.

        Raises
        ------
        ValueError
            If f does not give a row for each position.
        """
        latents = self._latents(positions, classes)
        return Places(self, positions, classes, latents, self._points(latents))

    def points(self, positions: Tensor, classes: Tensor | None = None) -> Tensor:
        """Compute f alone: [n, M]; arguments as in `at`."""
        return self._points(self._latents(positions, classes))

    def jacobian(self, positions: Tensor, classes: Tensor | None = None) -> Tensor:
        """Differentiate f at each position: [n, M, dim], by one forward pass for each coordinate.

        Raises
        ------
        ValueError
            If a part of f has no forward derivative in torch.
        """

        def moved(direction: Tensor) -> Tensor:
            along = direction.expand_as(positions)
            return torch.func.jvp(lambda z: self.points(z, classes), (positions,), (along,))[1]

        axes = torch.eye(self.dim, dtype=positions.dtype, device=positions.device)
        try:
            with warnings.catch_warnings():  # torch's first forward derivative warns of itself
                warnings.simplefilter("ignore", DeprecationWarning)
                columns = torch.func.vmap(moved)(axes)
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(f"the surface has no Jacobian in torch: {brief(error)}") from error
        return columns.permute(1, 2, 0)

    def volume(self, positions: Tensor, classes: Tensor | None = None) -> Tensor:
        """Compute ½ log det JᵀJ at each position, float64 [n]: the log of how f stretches volume.

        1e-8 of the mean eigenvalue is added to each, so that the figure is finite where f folds.
        """
        jacobian = self.jacobian(positions, classes)
        if jacobian.device.type == "mps":  # which has no float64
            jacobian = jacobian.cpu()
        jacobian = jacobian.to(torch.float64)
        metric = jacobian.mT @ jacobian
        mean = metric.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        unit = torch.eye(self.dim, dtype=metric.dtype, device=metric.device)
        # A constant f has no volume: the least positive number keeps its log finite.
        least = torch.finfo(metric.dtype).tiny
        return 0.5 * torch.linalg.slogdet(metric + (RIDGE * mean + least) * unit)[1]

    def _latents(self, positions: Tensor, classes: Tensor | None) -> Tensor:
        if positions.ndim != 2 or positions.shape[1] != self.dim:
            raise ValueError(
                f"positions must have shape (n, {self.dim}), got {tuple(positions.shape)}"
            )
        if self._inner is None:
            return positions
        given = (positions,) if classes is None else (positions, classes)
        return self._evaluated(self._inner, "inner", *given)

    def _points(self, latents: Tensor) -> Tensor:
        if self._outer is None:
            return latents
        return self._evaluated(self._outer, "outer", latents).flatten(1)

    def _evaluated(self, part: Callable[..., Tensor], name: str, *given: Any) -> Tensor:
        with evaluating(_module_of(part)):
            found = part(*given)
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(given[0]):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"{name} must give ({len(given[0])}, ...) for as many rows, got {got}")
        return found


def _module_of(part: Any) -> nn.Module | None:
    """Return the module that a callable is, or is a method of."""
    owner = part if isinstance(part, nn.Module) else getattr(part, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None

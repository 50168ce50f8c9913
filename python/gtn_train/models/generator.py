"""The generator ĥ: a feed-forward network from sources to latents.

Not here: its sizes in the paper (table2.py), pairs (`pairs`), training (`training`), drawing
samples (sampling/sample.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own abbreviation)
from torch import Tensor, nn

from gtn_label.checks import as_integer

from ..data.images import refuse_non_finite
from .table2 import GENERATORS, GeneratorPreset

__all__ = ["GENERATORS", "Generator", "GeneratorPreset"]


class Generator(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The generator ĥ (GTN paper, Table 2 and Algorithm 2).

    Each hidden layer is Linear, LeakyReLU, BatchNorm, in this order, as in the authors' code; the
    last Linear is bare. The output is multiplied by `label_scale` and added to `label_mean`, so
    that the network learns standardised labels. This departs from the authors, whose network learns
    the latents themselves; without `set_scale` the generator does the same.

    Parameters
    ----------
    dim : int
        Dimension of the sources, >= 1.
    layers : int
        Number of linear layers, including the output layer, >= 1.
    width : int
        Units in each hidden layer, >= 1.
    batch_norm_layers : int or None
        Number of hidden layers, from the first, with batch normalisation; None for all.
    slope : float
        Slope of LeakyReLU below zero.
    out_dim : int or None
        Dimension of the latents, >= 1; None for `dim`.
    classes : int
        Number of classes of a conditional generator, or 0. The class, one-hot, is appended to the
        source.
    dropout : float
        Share of each hidden layer's units that are set to 0 in training, in [0, 1).

    Attributes
    ----------
    label_mean, label_scale : Tensor float32 [out_dim]
        Buffers, saved with the weights; 0 and 1 until `set_scale`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its type or out of its range.

    Examples
    --------
    >>> generator = Generator(5, layers=7, width=50)
    >>> generator(torch.zeros(3, 5)).shape
    torch.Size([3, 5])
    """

    kind: ClassVar[str] = "generator"

    def __init__(
        self,
        dim: int,
        *,
        layers: int,
        width: int,
        batch_norm_layers: int | None = None,
        slope: float = 0.5,
        out_dim: int | None = None,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim = as_integer(dim, "dim", 1)
        self.layers = as_integer(layers, "layers", 1)
        self.width = as_integer(width, "width", 1)
        self.out_dim = self.dim if out_dim is None else as_integer(out_dim, "out_dim", 1)
        self.classes = as_integer(classes, "classes", 0)
        hidden = self.layers - 1
        if batch_norm_layers is None:
            batch_norm_layers = hidden
        self.batch_norm_layers = as_integer(batch_norm_layers, "batch_norm_layers", 0)
        if self.batch_norm_layers > hidden:
            raise ValueError(
                f"batch_norm_layers must be at most {hidden}, the number of hidden layers, "
                f"got {batch_norm_layers}"
            )
        for name, value in (("slope", slope), ("dropout", dropout)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a float, got {type(value).__name__} {value!r}")
        if not 0 <= slope <= 1:
            raise ValueError(f"slope must be between 0 and 1, got {slope}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.slope, self.dropout = float(slope), float(dropout)
        modules: list[nn.Module] = []
        into = self.dim + self.classes
        for layer in range(hidden):
            modules += [nn.Linear(into, self.width), nn.LeakyReLU(self.slope)]
            if layer < self.batch_norm_layers:
                modules.append(nn.BatchNorm1d(self.width))
            if self.dropout:
                modules.append(nn.Dropout(self.dropout))
            into = self.width
        self.net = nn.Sequential(*modules, nn.Linear(into, self.out_dim))
        self.register_buffer("label_mean", torch.zeros(self.out_dim))
        self.register_buffer("label_scale", torch.ones(self.out_dim))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types, those of earlier versions first."""
        return {
            "dim": self.dim,
            "layers": self.layers,
            "width": self.width,
            "batch_norm_layers": self.batch_norm_layers,
            "slope": self.slope,
            "out_dim": self.out_dim,
            "classes": self.classes,
            **({"dropout": self.dropout} if self.dropout else {}),
        }

    def forward(self, sources: Tensor, classes: Tensor | None = None) -> Tensor:
        """Map sources to latents.

        Parameters
        ----------
        sources : Tensor float32 [n, dim]
        classes : Tensor int64 [n] or None
            The class of each, for a conditional generator alone.

        Returns
        -------
        Tensor float32 [n, out_dim]

        Raises
        ------
        TypeError, ValueError
            If a shape is wrong, or classes are missing, unwanted, no int64 or, on the CPU, out of
            range.
        """
        return self.label_mean + self.label_scale * self.normalized(sources, classes)

    def normalized(self, sources: Tensor, classes: Tensor | None = None) -> Tensor:
        """Map sources to standardised latents, the network's bare output: [n, out_dim].

        Parameters and errors as in `forward`.
        """
        return self.net(self._inputs(sources, classes))

    def set_scale(self, labels: Any) -> None:
        """Take `label_mean` and `label_scale` from labels: each column's mean and deviation.

        Parameters
        ----------
        labels : ndarray or Tensor, floating, [n, out_dim]
            Computed in float64, the deviation over n. A column without spread has scale 1.

        Raises
        ------
        ValueError
            If the shape is wrong, or NaN or infinity is among them.
        """
        values = torch.as_tensor(labels).detach().to(torch.float64)
        if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] != self.out_dim:
            raise ValueError(
                f"labels must have shape (n, {self.out_dim}) with n >= 1, got {tuple(values.shape)}"
            )
        refuse_non_finite(values, "labels")
        mean = values.mean(dim=0)
        scale = values.std(dim=0, correction=0)
        # Rounding gives a constant column a spread of about 1e-16 of its value, not of zero.
        spread = scale > 1e-12 * mean.abs()
        self.label_mean.copy_(mean)
        self.label_scale.copy_(torch.where(spread, scale, torch.ones_like(scale)))

    def check_classes(self, classes: Tensor) -> None:
        """Refuse classes out of range; call this before they go to a GPU.

        Parameters
        ----------
        classes : Tensor int64 [n]

        Raises
        ------
        ValueError
            If one is out of range.
        """
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < self.classes:
            raise ValueError(
                f"classes must be in [0, {self.classes}), got {int(classes.min())} to "
                f"{int(classes.max())}"
            )

    def _inputs(self, sources: Tensor, classes: Tensor | None) -> Tensor:
        if sources.ndim != 2 or sources.shape[1] != self.dim:
            raise ValueError(f"sources must have shape (n, {self.dim}), got {tuple(sources.shape)}")
        if self.classes == 0:
            if classes is not None:
                raise ValueError("classes were given to a generator that was made without classes")
            return sources
        if classes is None:
            raise ValueError(f"classes are needed: the generator was made with {self.classes}")
        if classes.dtype != torch.int64:
            raise TypeError(f"classes must be int64, got {classes.dtype}")
        if classes.shape != sources.shape[:1]:
            raise ValueError(
                f"classes must have shape ({len(sources)},), one for each source, "
                f"got {tuple(classes.shape)}"
            )
        # On a GPU each step would wait for the answer, and an exported program has no checks.
        if classes.device.type == "cpu" and not torch.compiler.is_compiling():
            self.check_classes(classes)
        return torch.cat([sources, F.one_hot(classes, self.classes).to(sources.dtype)], dim=1)

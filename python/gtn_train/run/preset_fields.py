"""A whole run as fields: data, autoencoder, pairs and generator. The table of them is presets.py.

Not here: the stages (stages.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gtn_label.checks import as_integer
from gtn_label.errors import ArgumentError, ArgumentTypeError

from ..evaluation import OF_IMAGES, STOP_BY
from ..pairs import PairOptions
from ..spectral.embedding_options import EmbeddingOptions
from ..training import TrainingOptions
from .data_options import DataOptions
from .sections import from_section
from .vdae_options import VDAEOptions

__all__ = [
    "AUTOENCODER_KINDS",
    "GENERATOR_KINDS",
    "LATENTS_FROM",
    "OF_VECTORS",
    "ON_EMBEDDING",
    "PRETRAINED",
    "TEST_SHARE",
    "Preset",
]


# Of models.registry, which needs torch.
AUTOENCODER_KINDS = ("vanilla", "vae", "vae-twin", "mlp", "vdae")
OF_VECTORS = "mlp"  # the kind for data that are no images
ON_EMBEDDING = "vdae"  # the kind for all data that have an embedding, whose encoder is its own
PRETRAINED = "diffusers"  # the kind that is not trained, with a folder of its own
GENERATOR_KINDS = ("network", "flow", "module")
LATENTS_FROM = ("data", "embedding")
TEST_SHARE = 0.1  # of a set without test images


@dataclass(frozen=True)
class Preset:
    """Everything that decides a run, except the place of its data and its seed.

    Attributes
    ----------
    summary : str
        One line for people.
    data : DataOptions
    autoencoder : str or None
        A kind of `gtn_train.models.registry.AUTOENCODERS`; None: the data are the latents, or their
        embedding is. Vectors have the kinds "mlp" and "vdae", which they may do without. "vdae"
        needs an embedding.
    latent_dim : int or None
        None without an autoencoder, and for the kinds "diffusers" and "vdae", whose encoders
        decide.
    autoencoder_training : TrainingOptions or None
        None without an autoencoder, and for the kind "diffusers", which is not trained.
    pairs : PairOptions
    layers, width, batch_norm_layers : int
        Size of the generator: see `models.generator.Generator`.
    generator : {"network", "flow", "module"}
        ĥ in one pass, a velocity network that leads to the latents in steps (`models.flow.Flow`),
        which has neither batch normalisation nor slope, or a class of the user's.
    generator_class : str or None
        Place of the user's class, as `models.module.ModuleGenerator` takes it.
    generator_arguments : dict
        Arguments of that class.
    steps : int
        Steps of a flow.
    slope : float
        Slope of the generator's LeakyReLU below zero; the paper's is 0.5.
    dropout : float
        Share of each hidden layer's units that are set to 0 in training, in [0, 1).
    generator_training : TrainingOptions
    stop_by : str
        Figure that selects the generator's best weights and stops training early, one of
        `evaluation.STOP_BY`: the energy distance of samples to held-out latents, the validation
        loss, or a figure of generated images.
    validation_share : float
        Share of the images, and of the pairs, held out for validation.
    scale_labels : bool
        Let the network learn labels of mean 0 and deviation 1; False: the latents themselves.
    embedding : EmbeddingOptions or None
        Diffusion coordinates of the data; None: none are computed.
    latents_from : {"data", "embedding"}
        Latents are the data, encoded where there is an autoencoder, or the embedding.
    vdae : VDAEOptions or None
        Of the autoencoder "vdae"; None for others.

    Raises
    ------
    TypeError, ValueError
        If no run can have these values; the message names the field.
    """

    summary: str
    data: DataOptions
    pairs: PairOptions
    layers: int
    width: int
    batch_norm_layers: int
    generator_training: TrainingOptions
    autoencoder: str | None = None
    latent_dim: int | None = None
    autoencoder_training: TrainingOptions | None = None
    stop_by: str = "energy"
    validation_share: float = 0.2
    scale_labels: bool = True
    slope: float = 0.5
    generator: str = "network"
    steps: int = 4
    dropout: float = 0.0
    generator_class: str | None = None
    generator_arguments: dict[str, Any] = field(default_factory=dict)
    embedding: EmbeddingOptions | None = None
    latents_from: str = "data"
    vdae: VDAEOptions | None = None

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds):
                words = " or ".join("None" if kind is _NONE else kind.__name__ for kind in kinds)
                raise ArgumentTypeError(
                    name, f"must be {words}", f"{type(value).__name__} {value!r}"
                )
        as_integer(self.layers, "layers", 1)
        as_integer(self.width, "width", 1)
        as_integer(self.batch_norm_layers, "batch_norm_layers", 0)
        if self.batch_norm_layers >= self.layers:
            raise ArgumentError(
                "batch_norm_layers",
                f"must be below {{layers}} = {self.layers}, which counts the output",
                str(self.batch_norm_layers),
            )
        if self.batch_norm_layers and self.generator_training.batch_size < 2:
            raise ArgumentError("batch_size", "must be >= 2 for batch normalisation", "1")
        if self.stop_by not in STOP_BY:
            raise ArgumentError(
                "stop_by", f"must be one of {', '.join(STOP_BY)}", repr(self.stop_by)
            )
        if self.stop_by in OF_IMAGES and not self.makes_images:
            raise ArgumentError(
                "stop_by",
                f"{self.stop_by!r} needs images, and the "
                + (
                    "samples are coordinates"
                    if self.data.images
                    else f"data are {self.data.name!r}"
                ),
            )
        coders = (*AUTOENCODER_KINDS, PRETRAINED)
        if self.autoencoder not in (None, *coders):
            raise ArgumentError(
                "autoencoder", f"must be one of {', '.join(coders)}", repr(self.autoencoder)
            )
        if self.generator not in GENERATOR_KINDS:
            raise ArgumentError(
                "generator", f"must be one of {', '.join(GENERATOR_KINDS)}", repr(self.generator)
            )
        if (self.generator_class is not None) != (self.generator == "module"):
            raise ArgumentError(
                "generator_class", "goes with {generator} 'module'", repr(self.generator_class)
            )
        if self.generator_arguments and self.generator != "module":
            raise ArgumentError(
                "generator_arguments", "needs {generator_class}", repr(self.generator_arguments)
            )
        if as_integer(self.steps, "steps", 1) != 4 and self.generator != "flow":
            raise ArgumentError("steps", "needs {generator} 'flow'", str(self.steps))
        if not 0 <= self.slope <= 1:
            raise ArgumentError("slope", "must be between 0 and 1", repr(self.slope))
        if not 0 <= self.dropout < 1:
            raise ArgumentError("dropout", "must be in [0, 1)", repr(self.dropout))
        if self.dropout and self.generator != "network":
            raise ArgumentError("dropout", "needs {generator} 'network'", repr(self.dropout))
        if not 0 < self.validation_share < 1:
            raise ArgumentError(
                "validation_share", "must be between 0 and 1", repr(self.validation_share)
            )
        self._check_latents_from()
        trained = self.autoencoder not in (None, PRETRAINED)
        if trained != (self.autoencoder_training is not None):
            raise ValueError("autoencoder and autoencoder_training go together")
        if self.autoencoder is None:
            if self.latent_dim is not None:
                raise ArgumentError("latent_dim", "needs an autoencoder", repr(self.latent_dim))
            if self.pairs.needs_classes and not self.data.images:
                raise ArgumentError(
                    "by_class", f"needs images, and the data are {self.data.name!r}"
                )
        elif not trained or self.autoencoder == ON_EMBEDDING:
            if self.latent_dim is not None:
                of = "embedding" if trained else "pretrained autoencoder"
                raise ArgumentError("latent_dim", f"is that of the {of}", repr(self.latent_dim))
            if self.pairs.labeling == "quantile":
                raise ArgumentError("labeling", "'quantile' needs latents of dimension 1")
        else:
            as_integer(self.latent_dim, "latent_dim", 1)
            if self.pairs.labeling == "quantile" and self.latent_dim != 1:
                raise ArgumentError(
                    "labeling", "'quantile' needs {latent_dim} 1", str(self.latent_dim)
                )
        dim = self._latents_known
        if self.pairs.labeling == "quantile" and (dim or 1) != 1:
            raise ArgumentError(
                "labeling",
                f"'quantile' needs latents of dimension 1, and {self.data.name!r} has {dim}",
            )

    def _check_latents_from(self) -> None:
        """Refuse an autoencoder that the data cannot have, and images without latents."""
        if self.latents_from not in LATENTS_FROM:
            listed = " or ".join(repr(value) for value in LATENTS_FROM)
            raise ArgumentError("latents_from", f"must be {listed}", repr(self.latents_from))
        if self.latents_from == "embedding":
            if self.embedding is None:
                raise ArgumentError("latents_from", "needs an embedding", "'embedding'")
            if self.autoencoder is not None:
                raise ArgumentError(
                    "latents_from",
                    "must be 'data' with an autoencoder",
                    f"'embedding' and {self.autoencoder!r}",
                )
        elif self.data.images and self.autoencoder is None:
            raise ValueError(f"images need an autoencoder, got none for {self.data.name!r}")
        if (self.vdae is not None) != (self.autoencoder == ON_EMBEDDING):
            raise ArgumentError("vdae", "goes with {autoencoder} 'vdae'", repr(self.vdae))
        if self.autoencoder == ON_EMBEDDING:
            if self.embedding is None:
                raise ArgumentError("autoencoder", "'vdae' needs an embedding")
        elif self.autoencoder is not None and self.data.images == (self.autoencoder == OF_VECTORS):
            kinds = "mlp or vdae"
            if self.data.images:
                kinds = "vanilla, vae, vae-twin, vdae or diffusers"
            raise ArgumentError(
                "autoencoder", f"must be {kinds} for {self.data.name!r}", repr(self.autoencoder)
            )

    @property
    def _latents_known(self) -> int | None:
        """Dimension of latents that no autoencoder makes, where the preset decides it."""
        if self.autoencoder is not None:
            return None
        if self.latents_from == "data":
            return self.data.dim
        return None if self.embedding is None else self.embedding.dim

    @property
    def makes_images(self) -> bool:
        """True if samples are images: there is an autoencoder of images."""
        return self.data.images and self.autoencoder is not None

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments of the generator's class, but for dimension and classes."""
        size: dict[str, Any] = {"layers": self.layers, "width": self.width}
        if self.generator == "module":
            arguments = self.generator_arguments
            return {"network": self.generator_class, "arguments": arguments}
        if self.generator == "flow":
            return {**size, "steps": self.steps}
        found = {**size, "batch_norm_layers": self.batch_norm_layers}
        rare = {"slope": self.slope, "dropout": self.dropout}
        return found | {name: value for name, value in rare.items() if value != _FORMER[name]}

    def config(self) -> dict[str, Any]:
        """All of it, in JSON types."""
        found = {**asdict(self), "pairs": self.pairs.config()}
        for name in ("generator_training", "autoencoder_training"):
            training = getattr(self, name)
            found[name] = None if training is None else training.config()
        for name, former in _FORMER.items():  # runs of versions that had no choice stay valid
            if found[name] == former:
                del found[name]
        for name in ("channels", "test_share"):
            if found["data"][name] is None:
                del found["data"][name]
        return found

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preset:
        """Read back what `config` gave.

        Raises
        ------
        TypeError, ValueError
            If it is not what `config` gives.
        """
        content: Any = config
        if isinstance(config, Mapping):  # versions without a choice stopped by the loss
            content = {"stop_by": "loss", **config}
        parts: dict[str, Any] = {
            "data": DataOptions,
            "pairs": PairOptions,
            "generator_training": TrainingOptions,
            "autoencoder_training": TrainingOptions,
            "embedding": EmbeddingOptions,
            "vdae": VDAEOptions,
        }
        for name, kind in parts.items() if isinstance(content, dict) else ():
            optional = name in _OPTIONAL and content.get(name) is None
            if name in content and not optional:
                content[name] = from_section(kind, content[name], f"preset.{name}")
        return from_section(cls, content, "preset")


_FORMER = {
    **{"scale_labels": True, "slope": 0.5, "generator": "network", "steps": 4},
    **{"dropout": 0.0, "generator_class": None, "generator_arguments": {}},
    **{"embedding": None, "latents_from": "data", "vdae": None},
}
_OPTIONAL = ("autoencoder_training", "embedding", "vdae")  # sections
_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "summary": (str,),
    "data": (DataOptions,),
    "pairs": (PairOptions,),
    "generator_training": (TrainingOptions,),
    "autoencoder": (str, _NONE),
    "autoencoder_training": (TrainingOptions, _NONE),
    "validation_share": (float,),
    "scale_labels": (bool,),
    "slope": (float,),
    "dropout": (float, int),
    "generator_class": (str, _NONE),
    "generator_arguments": (dict,),
    "embedding": (EmbeddingOptions, _NONE),
    "latents_from": (str,),
    "vdae": (VDAEOptions, _NONE),
}

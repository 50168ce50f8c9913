"""The stage "autoencoder" of the kind "vdae", whose encoder is that of the run's embedding.

Not here: other autoencoders (stages.py), the training itself (training/vdae.py).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gtn_label.cli import console
from gtn_label.errors import ArgumentError

from ..models import registry
from ..sampling.pictures import reconstructions_picture
from ..seeds import derive
from ..training import Callback, ImageGrid
from ..training.vdae import train_vdae
from .context import Context
from .embedding import ENCODER_FILE
from .manifest import Manifest, StageSpec
from .preset_fields import ON_EMBEDDING
from .stages import TRAINED, every, remove_other_images, say_plan, say_trained
from .store import RunFolder

__all__ = ["vdae"]


def vdae(ctx: Context, embedded: Manifest) -> Any:
    """Train the covariances and the decoder of a VDAE, and load its best weights."""
    preset, images = ctx.preset, ctx.images
    options, training = preset.vdae, preset.autoencoder_training
    assert options is not None
    assert training is not None
    share, seed = preset.validation_share, ctx.settings.seed
    training = ctx.settings.training(training)
    inputs = dict(ctx.raw.inputs) if images is None else {"images": images.sha256}
    spec = StageSpec(
        "autoencoder",
        {**inputs, "encoder": embedded.outputs[ENCODER_FILE]},
        {
            **(ctx.raw.options if images is None else {}),
            "kind": ON_EMBEDDING,
            "vdae": asdict(options),
            "training": training.deciding(),
            "validation_share": share,
        },
        TRAINED,
    )

    def make(folder: RunFolder) -> float:
        remove_other_images(ctx.builder.decoded)
        encoder = ctx.load_model("embedding", "spectral")
        shown = list[Callback]()
        if images is None:
            train, validation = ctx.raw.split(share, seed)
            counted = console.counted(len(train), "vector")
        else:
            parts = images.split(share, seed)
            train, validation = (part.images for part in parts)
            counted = console.counted(len(train), "image")
            draw = reconstructions_picture(validation)
            shown.append(ImageGrid("reconstructions", draw, every(training)))
        config = {"encoder": encoder.config()}
        model = registry.make_model(ON_EMBEDDING, config, derive(seed, "autoencoder"))
        model.encoder.load_state_dict(encoder.state_dict())
        say_plan(ctx, spec.name, counted, len(train), training)
        result = train_vdae(
            model.to(ctx.device),
            train,
            validation,
            options,
            folder,
            training,
            callbacks=shown,
            **ctx.training,
        )
        return say_trained(ctx, spec.name, result)

    def check() -> None:
        """Refuse before a trained stage is cleared."""
        ctx.check_trainable()
        assert preset.embedding is not None
        if options.ridge == 0 and options.neighbours <= preset.embedding.dim:
            raise ArgumentError(
                "vdae_ridge",
                f"must be above 0 for covariances of {options.neighbours} rows in "
                f"{preset.embedding.dim} dimensions, which are not positive definite",
                "0",
            )

    ctx.builder.build(spec, make, together=True, check=check)
    return ctx.load_model(spec.name, ON_EMBEDDING)

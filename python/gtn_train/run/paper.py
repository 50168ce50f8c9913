"""The paper's pairs, network and stopping for every preset: `gtn-train fit --paper`.

A preset's own choices come from this project's studies (presets.py). Where the paper says nothing,
a comment here says what stands in.
"""

from __future__ import annotations

from dataclasses import replace

from ..models.table2 import GENERATORS
from ..pairs import PairOptions
from .preset_fields import Preset
from .presets import PRESETS

__all__ = ["as_in_paper"]

_MOST_EPOCHS = 1000  # the paper names no limit: patience ends its trainings

_PAIRS = {
    "swiss-roll": PairOptions(labeling="quantile"),  # Theorem 2.1
    "uniform": PairOptions(standardize=True),  # as the authors' code does with synthetic sets
    "two-squares": PairOptions(labeling="clusters", clusters=2),  # Fig. 9
    # The paper has none of these; pairs are those of its plane, and of its disjoint squares.
    **dict.fromkeys(("ring", "loop", "torus", "sphere", "mesh"), PairOptions(standardize=True)),
    **dict.fromkeys(("vdae-loop", "vdae-torus", "vdae-bunny"), PairOptions(standardize=True)),
    **dict.fromkeys(("grid", "vdae-grid"), PairOptions(labeling="clusters", clusters=25)),
}
_ROWS = {  # of Table 2, where the preset's own name is none
    "two-squares": "uniform",  # the paper names no network for Fig. 9
    **dict.fromkeys(("ring", "loop", "torus", "sphere", "grid", "mesh"), "uniform"),
    **dict.fromkeys(("vdae-loop", "vdae-torus", "vdae-bunny", "vdae-grid"), "uniform"),
    "vectors": "mnist",
    "small-folder": "mnist",
    "fashion-mnist": "mnist",
    "diffusion-mnist": "mnist",
    "vdae-mnist": "mnist",
}
_BY_SCORE = ("celeba", "hap", "cifar10")  # the paper says so of the first two


def as_in_paper(name: str, start: Preset | None = None) -> Preset:
    """Give a preset the paper's pairs, network and stopping.

    Algorithm 1 without a cone on rows as they are, one round; Table 2's network, which learns the
    latents themselves, at a constant learning rate; the end after 3 epochs without a better
    validation loss, or after 300 without a better Inception Score.

    Parameters
    ----------
    name : str
        One of `PRESETS`.
    start : Preset, optional
        The preset to change, with data and autoencoder of its own; by default that of the name.

    Examples
    --------
    >>> as_in_paper("mnist").pairs.cone
    1
    """
    start = PRESETS[name] if start is None else start
    row = GENERATORS[_ROWS.get(name, name)]
    by_score = name in _BY_SCORE
    return replace(
        start,
        pairs=_PAIRS.get(name, PairOptions()),
        layers=row.layers,
        width=row.width,
        batch_norm_layers=row.batch_norm_layers,
        generator_training=replace(
            start.generator_training,
            batch_size=row.batch_size,
            learning_rate=row.learning_rate,
            learning_rate_decay=1.0,
            schedule="exponential",
            max_epochs=_MOST_EPOCHS,
            patience=300 if by_score else 3,
            ema=0.0,
            ema_labels=False,
            optimizer="adam",
            weight_decay=0.0,
            clip_norm=None,
            warmup_steps=0,
            schedule_arguments={},
            schedule_each="epoch",
        ),
        stop_by="IS" if by_score else "loss",
        validation_share=0.1 if name == "uniform" else 0.2,
        scale_labels=False,
        slope=0.5,
        dropout=0.0,
        generator="network",
        steps=4,  # of no flow
        generator_class=None,
        generator_arguments={},
    )

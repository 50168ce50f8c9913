"""The command `export`: ĥ and the decoder of a finished run as one program."""

from __future__ import annotations

from pathlib import Path

import click

from gtn_label.cli import console
from gtn_label.cli.sections import Integer
from gtn_label.io.atomic import check_target
from gtn_label.text import quoted

from ..run.settings import RunSettings

__all__ = ["export_"]

_SUFFIXES = (".pt2", ".onnx")  # those of sampling/export.py, which imports torch


@click.command("export", short_help="Write generator and decoder as one program.")
@click.argument("run", type=click.Path(path_type=Path, readable=False), metavar="RUN")
@click.option(
    "--steps",
    type=Integer(min=1),
    metavar="N",
    help="Steps of a flow, if not those that the run was made with.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, readable=False),
    default=Path("model.pt2"),
    show_default=True,
    metavar="FILE",
    help="File to write: .pt2 for torch.export, .onnx for ONNX (extra onnx).",
)
def export_(run: Path, steps: int | None, out: Path) -> list[str]:
    """Write the generator and the decoder of a finished RUN as one program.

    The program maps any number of sources to images, float32 in [-1, 1], or to vectors. It runs
    without this package. The file is written only if the program computes what the run does.
    """
    preset = RunSettings.read(run).preset
    if out.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"--out must end in {' or '.join(_SUFFIXES)}, and is {quoted(out)}")
    check_target(out, "--out")
    if steps is not None and preset.generator != "flow":
        raise ValueError(f"--steps needs a run made with --generator flow, got {steps}")
    with console.held():
        from ..run.finished_run import load_run

    finished = load_run(run, accelerator="cpu")
    if steps is not None:
        finished.generator.steps = steps
    made = finished.export(out)
    inputs = ", ".join(f"{name} {_shape(shape)}" for name, shape in made.inputs.items())
    return [
        f"{inputs} to {made.output} {_shape(made.shape)} in {out}",
        f"largest difference from the run: {made.difference:.2g}",
    ]


def _shape(extents: tuple[object, ...]) -> str:
    return f"[{', '.join(map(str, extents))}]"

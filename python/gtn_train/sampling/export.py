"""Export: the generator and the decoder as one program, for torch.export or ONNX.

The program maps sources [n, dim], and classes [n] of a conditional generator, to images or latents.
Any n will do. What was written is read back, run and compared with the original before the file
appears. Not here: drawing sources (sample.py).
"""

from __future__ import annotations

import copy
import io
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gtn_label.arrays.sources import draw_sources
from gtn_label.io.atomic import atomic_file, check_target
from gtn_label.text import quoted

from ..files import brief
from ..models.autoencoder import takes_vectors
from ..models.pretrained import PretrainedAutoencoder
from ..seeds import random_numbers

__all__ = ["SUFFIXES", "Exported", "export"]

SUFFIXES = (".pt2", ".onnx")
ABOUT = "gtn_train.json"  # extra file of a .pt2, and metadata of an .onnx

_TRIED = (1, 2, 7, 33)  # numbers of sources that the program is tried with
_TOLERANCE = 1e-4  # largest difference, in units of the largest value

Run: TypeAlias = Callable[[list[Tensor]], NDArray[Any]]


@dataclass(frozen=True)
class Exported:
    """A program that was written.

    Attributes
    ----------
    path : path
    inputs : dict of str to tuple
        Shape of each input; the first extent is "n".
    output : str
        "images", float32 in [-1, 1], or "latents".
    shape : tuple
        Shape of the output.
    difference : float
        Largest difference from the original among the outputs that were compared.
    """

    path: Path
    inputs: dict[str, tuple[Any, ...]]
    output: str
    shape: tuple[Any, ...]
    difference: float


class _Whole(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The generator and the decoder as one module."""

    def __init__(self, generator: Any, autoencoder: Any) -> None:
        super().__init__()
        self.generator, self.autoencoder = generator, autoencoder

    def forward(self, sources: Tensor, classes: Tensor | None = None) -> Tensor:
        latents = self.generator(sources, classes)
        return latents if self.autoencoder is None else self.autoencoder.decode(latents)


def export(
    generator: Any,
    autoencoder: Any,
    path: str | os.PathLike[str],
    *,
    about: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a generator and its decoder as one program.

    Parameters
    ----------
    generator : Generator or Flow
        A flow keeps its number of steps.
    autoencoder : Autoencoder or None
        None: the program ends with latents.
    path
        A name in .pt2 for `torch.export.load`, in .onnx for ONNX (extra `onnx`).
    about : mapping, optional
        More entries, in JSON types, for the description that the file carries: as the extra file
        gtn_train.json of a .pt2, as metadata of an .onnx.

    Returns
    -------
    Exported

    Raises
    ------
    ValueError
        If the name has another ending, or torch cannot export the model. It cannot export
        diffusers' decoder.
    ImportError
        If a package of the extra `onnx` is missing.
    RuntimeError
        If the program does not compute what the original does; no file is written then.
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{quoted(target)} must end in {' or '.join(SUFFIXES)}")
    check_target(target, "path")
    if isinstance(autoencoder, PretrainedAutoencoder):
        raise ValueError(
            "the decoder of diffusers cannot be exported: its code depends on the number of "
            "images; gtn_train.sampling.export.export(run.generator, None, path) writes the "
            "generator alone"
        )
    whole = copy.deepcopy(_Whole(generator, autoencoder)).cpu().eval()
    with torch.no_grad():
        example = _inputs(generator, 3)
        wanted = tuple(whole(*example).shape[1:])
        output = "latents" if autoencoder is None else "images"
        if takes_vectors(autoencoder):
            output = "vectors"
        description = json.dumps(
            {
                "format": "gtn-train export 1",
                "dim": generator.dim,
                "classes": generator.classes,
                "output": output,
                "shape": wanted,
                **(about or {}),
            }
        )
        write = _torch_program if target.suffix.lower() == ".pt2" else _onnx_program
        content, run = write(whole, example, output, description)
        difference = _difference(whole, generator, run)
    with atomic_file(target) as file:
        file.write(content)
    inputs: dict[str, tuple[Any, ...]] = {"sources": ("n", generator.dim)}
    if generator.classes:
        inputs["classes"] = ("n",)
    return Exported(target, inputs, output, ("n", *wanted), difference)


def _inputs(generator: Any, n: int) -> list[Tensor]:
    """Sources, and classes of a conditional generator, from a seed of their own."""
    found = [torch.from_numpy(np.array(draw_sources(n, generator.dim, n), np.float32))]
    if generator.classes:
        drawn = random_numbers(0, "export", n).integers(generator.classes, size=n)
        found.append(torch.from_numpy(drawn.astype(np.int64)))
    return found


def _difference(whole: Any, generator: Any, run: Run) -> float:
    """Largest difference of a program from the original; raises if it is too large."""
    largest = 0.0
    for n in _TRIED:
        given = _inputs(generator, n)
        wanted, found = whole(*given).numpy(), run(given)
        if found.shape != wanted.shape:
            raise RuntimeError(
                f"the exported program gives {found.shape} for {n} sources, and the original "
                f"{wanted.shape}"
            )
        difference = float(np.abs(found - wanted).max())
        allowed = _TOLERANCE * max(1.0, float(np.abs(wanted).max()))
        if not difference <= allowed:
            raise RuntimeError(
                f"the exported program differs from the original by {difference:.2g} for {n} "
                f"sources, and at most {allowed:.2g} is rounding"
            )
        largest = max(largest, difference)
    return largest


def _torch_program(
    whole: Any, example: list[Tensor], output: str, description: str
) -> tuple[bytes, Run]:
    program = _exported(lambda: torch.export.export(whole, (*example,), **_dynamic(example)))
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: description})
    content = buffer.getvalue()
    module = torch.export.load(io.BytesIO(content)).module()
    return content, lambda given: np.asarray(module(*given).numpy())


def _onnx_program(
    whole: Any, example: list[Tensor], output: str, description: str
) -> tuple[bytes, Run]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch needs it)
    except ImportError as error:
        raise ImportError(
            f"{error.name} is missing: ONNX needs pip install 'gtn-label[onnx]'"
        ) from error
    program = _exported(
        lambda: torch.onnx.export(
            whole,
            (*example,),
            dynamo=True,
            verbose=False,
            input_names=["sources", "classes"][: len(example)],
            output_names=[output],
            **_dynamic(example),
        )
    )
    proto = program.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = ABOUT, description
    try:
        content = proto.SerializeToString()
    except ValueError as error:  # protobuf's limit
        raise ValueError(f"the model is too large for one file of ONNX: {brief(error)}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(given: list[Tensor]) -> NDArray[Any]:
        fed = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        return np.asarray(session.run(None, fed)[0])

    return content, run


def _dynamic(example: list[Tensor]) -> dict[str, Any]:
    return {"dynamic_shapes": tuple({0: torch.export.Dim("n", min=1)} for _ in example)}


def _exported(make: Callable[[], Any]) -> Any:
    """Call torch's exporter, which warns of itself, and name what it cannot export."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except Exception as error:  # torch has no class for what it cannot export
        raise ValueError(f"torch cannot export the model: {brief(error)}") from error

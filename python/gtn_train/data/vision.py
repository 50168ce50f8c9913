"""torchvision, also if its compiled operators do not fit torch's build.

Everything here imports torchvision by `from gtn_train.data.vision import torchvision`. With an
ordinary installation that is a plain import. A torchvision wheel made for CUDA beside a CPU build
of torch cannot load its operators, and stops at the first one that it looks up; data sets,
transforms and models need none of them, so their schemas are defined and the import repeated.
Boxes (`torchvision.ops`) and `torchvision.io.read_image` then stay unusable.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

__all__ = ["torchvision"]

_SCHEMAS = (  # of the operators that torchvision looks up when it is imported
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[Any] = []  # a schema is gone when the library object that defined it is


def _import_torchvision() -> Any:
    try:
        import torchvision.transforms.v2  # of its modules the one that it does not import itself
    except ImportError as error:
        if error.name != "torchvision":  # it is there, and something that it needs is not
            raise
        raise ImportError(
            "images need torchvision, and it is not installed: pip install 'gtn-label[train]'",
            name="torchvision",
        ) from None
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return torchvision
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported by the first attempt
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    import torchvision.transforms.v2

    return torchvision


torchvision = _import_torchvision()

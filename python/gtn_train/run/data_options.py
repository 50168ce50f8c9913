"""DataOptions: the data of a run, as plain values.

Not here: opening them (`data`), whole presets (presets.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from gtn_label.checks import as_integer, as_number, as_text
from gtn_label.errors import ArgumentError

from ..data import SET_NAMES, SYNTHETIC, SYNTHETIC_DIM

__all__ = ["DataOptions"]


@dataclass(frozen=True)
class DataOptions:
    """The data of a run.

    Attributes
    ----------
    name : str
        A name of `gtn_train.data.SET_NAMES`, "vectors" for a file of vectors, "mesh" for points of
        a mesh, or a synthetic set of `gtn_train.data.SYNTHETIC`.
    size : int or None
        Height and width of images, for sets of image files.
    n : int or None
        Rows of a synthetic set, or points of a mesh.
    key : str or None
        Name of the array, in a file of vectors or images with several.
    channels : {1, 3} or None
        Channels of decoded image files; None for 3.
    test_share : float or None
        Share of the images that nothing but `evaluate` sees, for sets that may lack test images.
    """

    name: str
    size: int | None = None
    n: int | None = None
    key: str | None = None
    channels: int | None = None
    test_share: float | None = None

    @property
    def synthetic(self) -> bool:
        """True if the data are drawn, and no file is read."""
        return self.name in SYNTHETIC

    @property
    def drawn(self) -> bool:
        """True if a seed decides the rows, and `n` their number."""
        return self.synthetic or self.name == "mesh"

    @property
    def dim(self) -> int | None:
        """Dimension of what is drawn; None where a file decides."""
        return 3 if self.name == "mesh" else SYNTHETIC_DIM.get(self.name)

    @property
    def images(self) -> bool:
        """True for images."""
        return self.name in SET_NAMES

    @property
    def decoded(self) -> bool:
        """True for image files, which need a size and are worth a cache."""
        return self.name in ("celeba", "folder")

    def __post_init__(self) -> None:
        as_text(self.name, "name")
        if self.key is not None:
            as_text(self.key, "key")
        if not (self.images or self.drawn or self.name == "vectors"):
            known = ", ".join((*SET_NAMES, "vectors", *SYNTHETIC, "mesh"))
            raise ArgumentError("data", f"must be one of {known}", repr(self.name))
        if self.channels is not None:
            if not self.decoded:
                raise ArgumentError(
                    "channels", "is of image files alone", f"{self.channels!r} for {self.name!r}"
                )
            if self.channels not in (1, 3):
                raise ArgumentError("channels", "must be 1 or 3", repr(self.channels))
        if self.test_share is not None:
            if not (self.decoded or self.name == "array"):
                raise ArgumentError(
                    "test_share",
                    "is of sets without test images alone",
                    f"{self.test_share!r} for {self.name!r}",
                )
            share = as_number(self.test_share, "test_share", 0.0)
            if not 0 < share < 1:
                raise ArgumentError("test_share", "must be between 0 and 1", repr(share))
        if self.key is not None and self.name not in ("vectors", "array"):
            raise ArgumentError(
                "key", "is of 'vectors' and 'array' alone", f"{self.key!r} for {self.name!r}"
            )
        for name, least, needed, where in (
            ("size", 4, self.decoded, "image files"),
            ("n", 2, self.drawn, "synthetic sets"),
        ):
            value = getattr(self, name)
            if value is None and needed:
                raise ArgumentError(name, f"must be given for {self.name!r}", "none")
            if value is not None:
                if not needed:
                    raise ArgumentError(
                        name, f"is of {where} alone", f"{value!r} for {self.name!r}"
                    )
                as_integer(value, name, least)

"""Points on the surface of a mesh, from a Wavefront .obj or a .ply file.

Only corners and faces are read; normals, textures and colours are skipped. Not here: sets with a
formula (shapes.py).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gtn_label.checks import as_integer, check_seed
from gtn_label.text import quoted

from ..files import brief
from ..seeds import random_numbers

__all__ = ["Mesh", "mesh_points", "read_mesh"]


class Mesh(NamedTuple):
    """A surface of triangles.

    Attributes
    ----------
    corners : float64 [v, 3]
    triangles : int64 [f, 3]
        Rows of `corners`.
    """

    corners: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]

    def areas(self) -> npt.NDArray[np.float64]:
        """Area of each triangle, [f]."""
        a, b, c = (self.corners[self.triangles[:, corner]] for corner in range(3))
        found: npt.NDArray[np.float64] = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        return found


def mesh_points(path: str | os.PathLike[str], n: int, seed: int) -> npt.NDArray[np.float32]:
    r"""Draw points of a mesh evenly by area, as the bunny of the VDAE paper's Fig. 4.

    Parameters
    ----------
    path : path
        The .obj or .ply file.
    n : int
        Number of rows, >= 1.
    seed : int
        >= 0.

    Returns
    -------
    ndarray float32 [n, 3]

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_mesh`.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "square.obj")
    >>> _ = file.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n")
    >>> mesh_points(file, 5, seed=0).shape
    (5, 3)
    """
    n, seed = as_integer(n, "n", 1), check_seed(seed)
    mesh = read_mesh(path)
    a, b, c = (mesh.corners[mesh.triangles[:, corner]] for corner in range(3))
    area = mesh.areas()
    generator = random_numbers(seed, "mesh")
    chosen = generator.choice(len(area), size=n, p=area / area.sum())
    # The root makes the density even: a strip at a share s from corner a has a length as s.
    along, across = np.sqrt(generator.random((n, 1))), generator.random((n, 1))
    points = (1 - along) * a[chosen] + along * (1 - across) * b[chosen]
    return (points + along * across * c[chosen]).astype(np.float32)


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read the corners and faces of a mesh.

    A face of more than three corners is cut into triangles at its first corner, which is right for
    convex faces.

    Parameters
    ----------
    path : path
        .obj, or .ply in text or binary form.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no .obj or .ply, is damaged, has no face, or a surface without area.
    """
    path = Path(path)
    readers: dict[str, Callable[[bytes], tuple[list[Any], list[Any]]]] = {
        ".obj": _read_obj,
        ".ply": _read_ply,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"mesh {quoted(path)} must be a file that ends in .obj or .ply")
    if not path.is_file():
        raise FileNotFoundError(f"mesh {quoted(path)} does not exist")
    try:
        corners, faces = readers[path.suffix.lower()](path.read_bytes())
        points = np.asarray(corners, np.float64).reshape(-1, 3)
        cut = [(face[0], *face[at : at + 2]) for face in faces for at in range(1, len(face) - 1)]
        triangles = np.asarray(cut, np.int64).reshape(-1, 3)
    except (LookupError, OverflowError, TypeError, ValueError, struct.error) as error:
        raise ValueError(f"mesh {quoted(path)} is damaged: {brief(error)}") from None
    if len(triangles) == 0:
        raise ValueError(f"mesh {quoted(path)} must have a face, and has none")
    if not 0 <= triangles.min() <= triangles.max() < len(points):
        raise ValueError(
            f"mesh {quoted(path)} is damaged: its faces name corners {triangles.min()} to "
            f"{triangles.max()} of {len(points)}, counted from 0"
        )
    mesh = Mesh(points, triangles)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = mesh.areas().sum()
    if not (np.isfinite(points).all() and np.isfinite(whole)):
        raise ValueError(f"mesh {quoted(path)} must have finite corners and areas, and has not")
    if whole == 0:
        raise ValueError(f"mesh {quoted(path)} must have a surface, and its area is 0")
    return mesh


def _read_obj(content: bytes) -> tuple[list[Any], list[Any]]:
    """Corners, and the corners of each face as rows from 0; negative ones count from the end."""
    corners: list[list[float]] = []
    faces: list[list[int]] = []
    for line in content.decode("utf-8", "replace").replace("\\\n", " ").splitlines():
        kind, *words = line.split("#")[0].split() or [""]
        if kind == "v":
            if len(words) < 3:
                raise ValueError(f"a corner needs 3 numbers, got {line!r}")
            corners.append([float(word) for word in words[:3]])
        elif kind == "f":
            numbers = [int(word.split("/")[0]) for word in words]
            if 0 in numbers:
                raise ValueError(f"corners of a face are counted from 1, got {line!r}")
            faces.append([at - 1 if at > 0 else len(corners) + at for at in numbers])
    return corners, faces


_TYPES = {  # of .ply, with the name in struct
    **dict.fromkeys(("char", "int8"), "b"),
    **dict.fromkeys(("uchar", "uint8"), "B"),
    **dict.fromkeys(("short", "int16"), "h"),
    **dict.fromkeys(("ushort", "uint16"), "H"),
    **dict.fromkeys(("int", "int32"), "i"),
    **dict.fromkeys(("uint", "uint32"), "I"),
    **dict.fromkeys(("float", "float32"), "f"),
    **dict.fromkeys(("double", "float64"), "d"),
}


class _Element(NamedTuple):
    """A kind of rows in a .ply: its properties are (name, type of a length or "", type)."""

    name: str
    rows: int
    properties: list[tuple[str, str, str]]


def _read_ply(content: bytes) -> tuple[list[Any], list[Any]]:
    """Corners, and the corners of each face."""
    header, found, body = content.partition(b"end_header")
    if not header.startswith(b"ply") or not found:
        raise ValueError("it has no header of a .ply")
    lines = [line.split() for line in header.decode("ascii", "replace").splitlines()]
    form = next((words[1] for words in lines if words[:1] == ["format"]), "")
    elements: list[_Element] = []
    for words in lines:
        if words[:1] == ["element"]:
            elements.append(_Element(words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            length = words[2] if words[1] == "list" else ""
            elements[-1].properties.append((words[-1], length, words[-2]))
    _, _, body = body.partition(b"\n")
    if form == "ascii":
        read: Callable[[str, int], Sequence[Any]] = _text_reader(iter(body.split()))
    elif form in ("binary_little_endian", "binary_big_endian"):
        read = _binary_reader(body, "<" if form == "binary_little_endian" else ">")
    else:
        raise ValueError(f"its format {form!r} is none of ascii and binary")
    corners: list[Any] = []
    faces: list[Any] = []
    for element in elements:
        names = {name for name, _, _ in element.properties}
        if element.name == "vertex" and not {*"xyz"} <= names:
            raise ValueError("its corners have not x, y and z")
        listed = names & {"vertex_indices", "vertex_index"}
        if element.name == "face" and not listed:
            raise ValueError("its faces have no list vertex_indices")
        for _ in range(element.rows if names else 0):
            row: dict[str, Any] = {}
            for name, length, kind in element.properties:
                count = int(read(_TYPES[length], 1)[0]) if length else 1
                values = read(_TYPES[kind], count)
                row[name] = values if length else values[0]
            if element.name == "vertex":
                corners.append([row[axis] for axis in "xyz"])
            elif element.name == "face":
                faces.append([int(at) for at in row[min(listed)]])
    return corners, faces


def _text_reader(words: Iterator[bytes]) -> Callable[[str, int], list[float]]:
    def read(kind: str, count: int) -> list[float]:
        del kind  # a text has no types
        values = [float(word) for word in islice(words, count)]
        if len(values) < count:
            raise ValueError("it ends too early")
        return values

    return read


def _binary_reader(body: bytes, order: str) -> Callable[[str, int], tuple[Any, ...]]:
    at = 0

    def read(kind: str, count: int) -> tuple[Any, ...]:
        nonlocal at
        form = f"{order}{count}{kind}"
        values = struct.unpack_from(form, body, at)
        at += struct.calcsize(form)
        return values

    return read

"""Points of a mesh: the forms of its files, the even density, and damaged files."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from test_data_synthetic import uniform_distance

from gtn_train.data import mesh_points
from gtn_train.data.mesh import read_mesh
from gtn_train.run.finished_run import FinishedRun

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 2.5]])
SQUARE_AND_TRIANGLE = ((0, 1, 2, 3), (0, 1, 4))
TRIANGLES = [[0, 1, 2], [0, 2, 3], [0, 1, 4]]

OBJ = """# a comment
mtllib none.mtl
v 0 0 0
v 1 0 0 1.0
v 1 1 0 # a corner
v 0 1 0
vn 0 0 1
vt 0 0
v 0 0 2.5
f 1/1/1 2//1 \\
  3 4
f -5 -4 -1
"""


def ply(form, vertices="float", listed="vertex_indices", extra=True):
    """A mesh with elements and properties that no reader needs between those that it does."""
    header = [
        *("ply", f"format {form} 1.0", "comment made by hand", "element camera 1"),
        *("property list uchar short dial", "element vertex 5", "property uchar red"),
        *(f"property {vertices} {axis}" for axis in "zyx"),
        *("element face 2", f"property list uchar int {listed}", "property float quality"),
        *("element edge 1" if extra else "comment", "property int end" if extra else "comment"),
        "end_header\n",
    ]
    rows = [("Bhh", (2, 7, 8))]
    code = {"float": "f", "double": "d"}[vertices]
    rows += [(f"B{3 * code}", (255, *corner[::-1])) for corner in CORNERS]
    rows += [(f"B{len(face)}if", (len(face), *face, 0.5)) for face in SQUARE_AND_TRIANGLE]
    rows += [("i", (9,))] if extra else []
    text = "\n".join(header).encode()
    if form == "ascii":
        return text + "\n".join(" ".join(map(str, row)) for _, row in rows).encode() + b"\n"
    order = "<" if form == "binary_little_endian" else ">"
    return text + b"".join(struct.pack(order + kinds, *row) for kinds, row in rows)


def files():
    yield "obj", OBJ.encode()
    yield "OBJ", OBJ.replace("\n", "\r\n").replace("\\\r\n ", "").encode()
    for form in ("ascii", "binary_little_endian", "binary_big_endian"):
        yield "ply", ply(form)
    yield "ply", ply("binary_little_endian", "double", "vertex_index", extra=False)


@pytest.mark.parametrize(("suffix", "content"), [*files()])
def test_forms_of_a_mesh(tmp_path, suffix, content):
    path = tmp_path / f"mesh.{suffix}"
    path.write_bytes(content)
    mesh = read_mesh(path)
    np.testing.assert_array_equal(mesh.corners, CORNERS)
    assert mesh.triangles.tolist() == TRIANGLES
    np.testing.assert_allclose(mesh.areas(), [0.5, 0.5, 1.25])


def test_points_are_even_by_area(tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_text(OBJ)
    points = mesh_points(path, 20_000, 1).astype(float)
    assert points.shape == (20_000, 3)
    flat = points[:, 1] > 0
    assert flat.mean() == pytest.approx(1 / 2.25, abs=0.012)
    assert np.abs(points[flat, 2]).max() < 1e-6
    for column in (0, 1):
        assert uniform_distance(points[flat, column]) < 0.021
    height = points[~flat, 2] / 2.5
    assert (points[~flat, 0] + height).max() < 1 + 1e-6, "within the triangle"
    assert uniform_distance(1 - (1 - height) ** 2) < 0.019
    np.testing.assert_array_equal(mesh_points(path, 9, 1), mesh_points(path, 9, 1))
    assert not np.array_equal(mesh_points(path, 9, 1), mesh_points(path, 9, 2))
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        mesh_points(path, 0, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.stl", b"", r"must be a file that ends in \.obj or \.ply"),
        ("m.obj", b"v 0 0 0\n", "must have a face, and has none"),
        ("m.obj", b"v 0 0\n", "is damaged: a corner needs 3 numbers, got 'v 0 0'"),
        ("m.obj", b"v 0 0 x\n", "is damaged: could not convert string to float"),
        ("m.obj", b"v 0 0 0\nf 0 1 1\n", "is damaged: corners of a face are counted from 1"),
        ("m.obj", b"v 0 0 0\nf 1 2 3\n", "faces name corners 0 to 2 of 1, counted from 0"),
        ("m.obj", b"v 0 0 0\nf 1 1 -2\n", "faces name corners -1 to 0 of 1"),
        ("m.obj", b"v 0 0 0\nf 1 1 1\n", "must have a surface, and its area is 0"),
        ("m.obj", b"v nan 0 0\nf 1 1 1\n", "must have finite corners and areas, and has not"),
        (
            "m.obj",
            b"v 1e200 0 0\nv 0 1e200 0\nv 0 0 1e200\nf 1 2 3\n",
            "must have finite corners and areas, and has not",
        ),
        ("m.ply", b"plyformat", "is damaged: it has no header of a .ply"),
        ("m.ply", b"ply\nformat hexadecimal 1.0\nend_header\n", "'hexadecimal' is none of ascii"),
        ("m.ply", b"ply\nformat ascii 1.0\nproperty int x\nend_header\n", "is damaged: "),
        ("m.ply", b"ply\nformat ascii 1.0\nelement face 9\nend_header\n", "no list vertex_ind"),
        (
            "m.ply",
            b"ply\nformat ascii 1.0\nelement vertex 9\nproperty int x\nend_header\n",
            "corners have not x, y and z",
        ),
        ("m.ply", ply("ascii")[:-9], "is damaged: it ends too early"),
        ("m.ply", ply("binary_big_endian")[:-9], "is damaged: unpack_from requires"),
        ("m.ply", ply("ascii").replace(b"uchar red", b"text red"), "is damaged: 'text'"),
    ],
)
def test_damaged_meshes_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_mesh(tmp_path / name)
    assert name in str(raised.value)


def test_no_file_is_no_mesh(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mesh '.*none.ply' does not exist"):
        read_mesh(tmp_path / "none.ply")


def test_a_run_of_a_mesh(gtn_train, tmp_path):
    path, out = tmp_path / "mesh.obj", tmp_path / "run"
    path.write_text(OBJ)
    given = ("--preset", "mesh", "--out", out, "--n", 200, "--generator-epochs", 1)
    assert "--data is needed: preset 'mesh' reads 'mesh'" in gtn_train.refused("fit", *given)
    gtn_train.ok("fit", *given, "--data", path)
    np.testing.assert_array_equal(FinishedRun(out).latents, mesh_points(path, 200, 0))
    gtn_train.ok("evaluate", out)
    assert set(gtn_train.ok("fit", "--out", out).stages.values()) == {"reused"}
    assert "--n was 200 and is 300" in gtn_train.refused("fit", "--out", out, "--n", 300)
    path.write_text(OBJ.replace("2.5", "3.5"))
    assert "has changed" in gtn_train.refused("fit", "--out", out)


@pytest.mark.parametrize("name", ["ring", "loop", "torus", "sphere", "grid"])
def test_runs_of_shapes(gtn_train, tmp_path, name):
    given = ("--n", 200, "--generator-epochs", 1, "--out", tmp_path / "run")
    gtn_train.ok("fit", "--preset", name, *given)
    assert gtn_train.ok("evaluate", tmp_path / "run").out.count("fresh draws") == 1
    refusal = gtn_train.refused("fit", "--preset", name, *given, "--labeling", "quantile")
    assert "needs latents of dimension 1" in refusal

"""Frames of a mesh that turns about its vertical axis, by a z-buffer in NumPy.

A pixel shows the nearest of many points of the surface, lit from a fixed place, so that the frames
are a closed curve in the space of images. Not here: the study (vdae_turntable.py), meshes from
files (gtn_train.data).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gtn_train.data.mesh import Mesh
from gtn_train.seeds import random_numbers

__all__ = ["TETRAHEDRON", "turntable"]

POINTS = 200_000  # about 30 for each pixel at 128 x 128
FINER = 2  # pixels along each side of a frame's pixel, whose mean it is
LIGHT = np.array([0.4, 0.6, 0.7])  # towards the light; the viewer is on the third axis
AMBIENT = 0.2  # share of light on surfaces that see none

# A body that looks different from every side, for runs without a file.
TETRAHEDRON = Mesh(
    np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [-0.3, 0.0, 0.6], [-0.2, 0.1, -0.4]]),
    np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]),
)


def turntable(mesh: Mesh, frames: int, size: int, points: int = POINTS) -> npt.NDArray[np.uint8]:
    """Draw a mesh from `frames` sides, evenly over a whole turn.

    Parameters
    ----------
    mesh : Mesh
        The second axis is up.
    frames, size : int
        Number of frames, and pixels along each side of one.
    points : int
        Points on the surface.

    Returns
    -------
    uint8 [frames, size, size]
    """
    places, normals = _surface(mesh, points)
    low, high = places.min(axis=0), places.max(axis=0)
    places -= (low + high) / 2
    # Nothing leaves the picture at any angle.
    reach = 1.05 * max(np.hypot(places[:, 0], places[:, 2]).max(), np.abs(places[:, 1]).max())
    side = FINER * size
    found = np.empty((frames, size, size), np.uint8)
    for frame, angle in enumerate(2 * np.pi * np.arange(frames) / frames):
        turn = np.array(
            [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        )
        x, y, depth = (places @ turn.T).T
        lit = np.abs(normals @ turn.T @ (LIGHT / np.linalg.norm(LIGHT)))
        column, row = (((at / reach + 1) / 2 * side).astype(np.intp) for at in (x, -y))
        pixel = row * side + column
        nearest = np.full(side * side, -np.inf)
        np.maximum.at(nearest, pixel, depth)
        front = depth == nearest[pixel]
        image = np.zeros(side * side)
        image[pixel[front]] = AMBIENT + (1 - AMBIENT) * lit[front]
        means = image.reshape(size, FINER, size, FINER).mean(axis=(1, 3))
        found[frame] = np.rint(255 * means)
    return found


def _surface(mesh: Mesh, n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points even by area, and the unit normals there: [n, 3] each."""
    a, b, c = (mesh.corners[mesh.triangles[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    doubled = np.linalg.norm(normals, axis=1)
    drawn = random_numbers(0, "turntable")
    at = drawn.choice(len(doubled), size=n, p=doubled / doubled.sum())
    along, across = np.sqrt(drawn.random((n, 1))), drawn.random((n, 1))
    places = (1 - along) * a[at] + along * ((1 - across) * b[at] + across * c[at])
    return places, normals[at] / doubled[at, None]

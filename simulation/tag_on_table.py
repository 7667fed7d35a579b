"""A printed tag on the table of a virtual world: what tests of mount and scale have as exact truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reconstruction.errors import UsageError
from reconstruction.mesh import Mesh
from reconstruction.tags import modules
from simulation.household.solids import rotation
from simulation.raycast import RayScene
from simulation.virtual_world import PlacedTag, VirtualWorld

FloatArray = npt.NDArray[np.float64]
PAPER_M = 0.0003
GRID_M = 0.01
REACH_M = 0.6
TEXELS = 32
INK, PAPER = 18, 235


def with_tag(
    world: VirtualWorld,
    rng: np.random.Generator,
    size_mm: float = 80.0,
    number: int = 0,
    family: str = "apriltag_36h11",
) -> VirtualWorld:
    """`world` with a tag on the bare table, as near to the middle as its sheet fits, turned at random.

    Raises:
        UsageError: there is no such bare place.
    """
    fields = modules(family, number)
    sheet_m = 1e-3 * size_mm * (1 + 2 / len(fields))  # a field of white all round
    pose = np.eye(4)
    pose[:3, :3] = rotation("z", float(rng.uniform(0, 360)))
    pose[:2, 3] = _bare_place(world, sheet_m / np.sqrt(2) + GRID_M)
    pose[2, 3] = PAPER_M
    tag = PlacedTag(family, number, size_mm, pose)
    return replace(world, background=(*world.background, _sheet(fields, sheet_m).moved(pose)), tag=tag)


def _bare_place(world: VirtualWorld, radius_m: float) -> FloatArray:
    """The point ``(2,)`` nearest to the target with nothing but the table's top within `radius_m`."""
    import cv2

    steps = np.arange(-REACH_M, REACH_M + 1e-9, GRID_M)
    x, y = np.meshgrid(world.target[0] + steps, world.target[1] + steps)
    rays = np.zeros((*x.shape, 6), dtype=np.float32)
    rays[..., 0], rays[..., 1], rays[..., 2], rays[..., 5] = x, y, 1.0, -1.0
    # Cast from above: whatever is not the top itself, a thing or the floor beyond the edge, shows at another height.
    height = 1.0 - RayScene(world.meshes).cast(rays)[0]
    bare = np.pad(np.abs(height) < 1e-3, 1).astype(np.uint8)
    room_m = GRID_M * cv2.distanceTransform(bare, cv2.DIST_L2, 5)[1:-1, 1:-1]
    away = np.where(room_m > radius_m, np.hypot(x - world.target[0], y - world.target[1]), np.inf)
    row, column = np.unravel_index(int(np.argmin(away)), away.shape)
    if not np.isfinite(away[row, column]):
        raise UsageError(
            "The virtual world has no bare place on its table for the tag.",
            remedy="Ask for fewer --objects, or another --world.",
            code="bad_setting",
        )
    return np.array([x[row, column], y[row, column]])


def _sheet(fields: npt.NDArray[np.bool_], sheet_m: float) -> Mesh:
    """The paper as a square in the tag frame, white round the black fields."""
    picture = np.where(np.pad(fields, 1), np.uint8(INK), np.uint8(PAPER))
    picture = np.kron(picture, np.ones((TEXELS, TEXELS), dtype=np.uint8))
    half = sheet_m / 2
    vertices = np.array([[-half, -half, 0.0], [half, -half, 0.0], [half, half, 0.0], [-half, half, 0.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int64)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
    return Mesh(vertices, faces, uv[faces], np.repeat(picture[..., None], 3, axis=2))

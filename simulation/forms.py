"""One object changed: other proportions, other colours, other weight. Same numbers in, same bits out, on any machine.

Sums are written out elementwise and results rounded to 0.1 µm: matrix libraries differ in the last bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh, hull_mesh
from reconstruction.scene import SceneObject
from simulation.variations import Values, unit

FloatArray = npt.NDArray[np.float64]
BASE_M = 0.0015
"""Vertices this near to the lowest one are what an object stands on."""

SOLE_M = 0.0004
"""What lies within this of the lowest point, as it stands, becomes one level sole."""


def reshaped(item: SceneObject, values: Values, *key: object) -> SceneObject:
    """`item` in other proportions, its origin in its centre of mass again.

    Scaled along its own axes and bent by a lattice of 3 × 3 × 3 control points (Sederberg & Parry, "Free-form
    deformation of solid geometric models", 1986) whose offsets are hashed from `key`; the lowest layer stays level, so
    that it still stands. Convex parts become the hulls of their moved corners. Mass goes with the volume.

    Args:
        item: as scanned.
        values: of the variation "shape".
        key: names this shape.
    """
    low, high = item.visual.vertices.min(axis=0), item.visual.vertices.max(axis=0)
    extent = np.maximum(high - low, 1e-6)
    scale = values["size"] * np.array([values["width"], values["depth"], values["height"]])
    offsets = np.array([2.0 * unit(*key, "lattice", n) - 1.0 for n in range(81)]).reshape(3, 3, 3, 3)
    offsets = np.round(offsets * values["lattice"], 9) * extent * scale
    offsets[:, :, 0, 2] = 0.0
    pivot = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])

    def moved(points: FloatArray) -> FloatArray:
        share = (points - low) / extent
        weights = [np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2]) for t in share.T]
        result = pivot + scale * (points - pivot)
        for i, j, k in np.ndindex(3, 3, 3):
            weight = weights[0][i] * weights[1][j] * weights[2][k]
            result = result + weight[:, None] * offsets[i, j, k]
        return np.asarray(np.round(result, 7))

    center = moved(item.center_of_mass[None])[0]
    visual = replace(item.visual, vertices=np.round(moved(item.visual.vertices) - center, 7))
    up = item.scene_from_object[2, :3]
    solids = [moved(part.vertices) - center for part in item.convex_parts]
    lowest = min(float((corners * up).sum(axis=1).min()) for corners in solids)
    parts = []
    for part, corners in zip(item.convex_parts, solids, strict=True):
        # A base that is uneven by tenths of a millimetre rocks and creeps in PyBullet; no phone measures that fine.
        over = (corners * up).sum(axis=1) - lowest
        level = np.round(corners - np.where(over < SOLE_M, over, 0.0)[:, None] * up, 7)
        parts.append(hull_mesh(level) or replace(part, vertices=level))
    grown = _volume(visual) / max(_volume(item.visual), 1e-12)
    mass = round(item.mass_kg * grown, 9)
    # Second moments of mass go with the square of the scale along each axis; the lattice bends little.
    second = (0.5 * np.trace(item.inertia) * np.eye(3) - item.inertia) * np.outer(scale, scale)
    second *= mass / item.mass_kg
    return replace(
        item,
        visual=visual,
        convex_parts=tuple(parts),
        mass_kg=mass,
        center_of_mass=np.zeros(3),
        inertia=np.round(np.trace(second) * np.eye(3) - second, 12),
        volume_m3=round(item.volume_m3 * grown, 12),
        mass_interval_kg=(item.mass_interval_kg[0] * grown, item.mass_interval_kg[1] * grown),
    )


def repainted(item: SceneObject, values: Values) -> SceneObject:
    """`item` with the colours of its texture turned, and made stronger or weaker."""
    visual = item.visual
    if visual.texture is None:
        return item
    return replace(item, visual=replace(visual, texture=recolored(visual.texture, values)))


def recolored(picture: npt.NDArray[np.uint8], values: Values) -> npt.NDArray[np.uint8]:
    """``(H, W, 3)`` uint8 RGB with other hue, saturation, brightness and contrast.

    Hue and saturation turn and stretch colours about the grey axis (a 3 × 3 matrix, as SVG's ``hueRotate``).
    """
    turn = np.deg2rad(values["hue_deg"])
    axis = np.full((3, 3), 1.0 / 3.0)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3.0)
    matrix = axis + values["saturation"] * (np.cos(turn) * (np.eye(3) - axis) + np.sin(turn) * cross)
    matrix = np.round(matrix * values["brightness"] * values["contrast"], 6).astype(np.float32)
    shift = np.float32(round(127.5 * (1.0 - values["contrast"]) * values["brightness"], 6))
    red, green, blue = (picture[..., channel].astype(np.float32) for channel in range(3))
    result = np.empty_like(picture)
    for channel, (a, b, c) in enumerate(matrix):
        result[..., channel] = np.clip(np.rint(a * red + b * green + c * blue + shift), 0, 255)
    return result


def rebalanced(item: SceneObject, values: Values) -> SceneObject:
    """`item`, posed as it stands, with its centre of mass elsewhere; the frame of the object stays.

    It moves sideways by shares of its distance to the edge of what the object stands on, so that it stands as before.
    """
    rotation = item.scene_from_object[:3, :3]
    height = max(float(np.ptp(in_scene(item)[:, 2])), 1e-3)
    room = base_margin(item)
    shift = np.array([values["center_x"] * room, values["center_y"] * room, values["center_z"] * height])
    local = [float((rotation[:, axis] * shift).sum()) for axis in range(3)]
    return replace(item, center_of_mass=np.round(item.center_of_mass + np.array(local), 7))


def reweighed(item: SceneObject, values: Values) -> SceneObject:
    """`item` with other mass, friction and restitution."""
    return replace(
        item,
        mass_kg=round(item.mass_kg * values["mass"], 9),
        mass_interval_kg=(item.mass_interval_kg[0] * values["mass"], item.mass_interval_kg[1] * values["mass"]),
        inertia=np.round(item.inertia * values["mass"], 12),
        friction=round(min(max(item.friction * values["friction"], 0.2), 1.2), 6),
        restitution=round(min(max(item.restitution + values["bounce"], 0.0), 0.6), 6),
    )


def in_scene(item: SceneObject, pose: FloatArray | None = None) -> FloatArray:
    """``(N, 3)`` corners of the convex parts in the scene frame, the object being at `pose`; left out, its own."""
    points = np.vstack([part.vertices for part in item.convex_parts])
    pose = item.scene_from_object if pose is None else pose
    columns = [(points * pose[row, :3]).sum(axis=1) + pose[row, 3] for row in range(3)]
    return np.stack(columns, axis=1)


def base_margin(item: SceneObject) -> float:
    """How far (m) the centre of mass is from the edge of what the object stands on, in plan; 0 where beyond it."""
    points = in_scene(item)
    base = points[points[:, 2] < points[:, 2].min() + BASE_M, :2]
    pose = item.scene_from_object
    center = np.array([(item.center_of_mass * pose[row, :3]).sum() + pose[row, 3] for row in range(2)])
    corners = outline(base)
    if len(corners) < 3:
        return 0.0
    edge = np.roll(corners, -1, axis=0) - corners
    length = np.maximum(np.hypot(edge[:, 0], edge[:, 1]), 1e-12)
    inward = (edge[:, 0] * (center[1] - corners[:, 1]) - edge[:, 1] * (center[0] - corners[:, 0])) / length
    return round(max(0.0, float(inward.min())), 6)


def outline(points: FloatArray) -> FloatArray:
    """Convex hull ``(K, 2)`` of ``(N, 2)`` points, counter-clockwise; fewer than three where they span no area."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except (QhullError, ValueError):
        return points[:0]


def _volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return abs(float((np.cross(a, b) * c).sum()) / 6.0)

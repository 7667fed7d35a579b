"""Where a parallel gripper can take hold of a thing: antipodal pairs of points on its convex parts.

Two fingers hold a thing where the line between them lies in the friction cones of both contacts (Nguyen, "Constructing
force-closure grasps", 1988). Lines are cast through points of the surface against the inward normal; what matters is
the solid met first, which may be the wall of a vessel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from reconstruction.scene import HULL_MARGIN_M, SceneObject

FloatArray = npt.NDArray[np.float64]
SAMPLES = 2000
CONE_RAD = np.deg2rad(24.0)
"""Contacts whose normal is farther than this from the line between the fingers are not trusted."""
SEAM_M = 2 * HULL_MARGIN_M + 0.0005
"""Convex parts nearer than this to each other are one solid."""
CLEAR_M = 0.007
"""The open gripper is wider than what it holds by this."""
THINNEST_M = 0.003
LEVEL = 0.8
"""Largest z of the line between the fingers of a gripper that comes from above or from a side."""


@dataclass(frozen=True)
class Grasps:
    """Pairs of points, the best first; all arrays in the object's frame.

    Attributes:
        center: ``(G, 3)`` metres, between the fingers.
        axis: ``(G, 3)`` unit, from one finger to the other.
        width: ``(G,)`` metres between the points.
        score: ``(G,)`` higher is better.
    """

    center: FloatArray
    axis: FloatArray
    width: FloatArray
    score: FloatArray

    def __len__(self) -> int:
        return len(self.width)

    def level(self, rotation: FloatArray) -> npt.NDArray[np.bool_]:
        """``(G,)`` whether the fingers are beside each other, not one over the other, with the object so turned.

        Args:
            rotation: ``(3, 3)`` `scene_from_object`, z up.
        """
        return np.asarray(np.abs(self.axis @ rotation[2]) < LEVEL)


def antipodal(item: SceneObject, opening_m: float, samples: int = SAMPLES) -> Grasps:
    """Grasps of an object by a gripper that opens to `opening_m`; none where it is too wide everywhere.

    The same object gives the same grasps.
    """
    points, normals, owners = _surface(item.convex_parts, samples)
    planes = [_planes(part) for part in item.convex_parts]
    spans, outward = _spans(points, -normals, planes)
    owned = spans[np.arange(len(points)), owners]
    exit_at, exit_normal, covered = _solid_ahead(spans, outward, owned[:, 1], owners)
    width = exit_at + 2 * HULL_MARGIN_M
    aligned = -(exit_normal * normals).sum(axis=1)
    good = ~covered & (width < opening_m - CLEAR_M) & (width > THINNEST_M) & (aligned > np.cos(CONE_RAD))
    center = points - normals * (exit_at / 2)[:, None]
    size = float(np.linalg.norm(np.ptp(np.vstack([part.vertices for part in item.convex_parts]), axis=0)))
    off = np.linalg.norm(center - item.center_of_mass, axis=1) / max(size, 1e-6)
    # Far from the centre of mass it turns in the hand; a wide grip leaves little room for errors.
    score = aligned - 0.7 * off - 0.3 * np.maximum(width / opening_m - 0.75, 0.0)
    order = np.flatnonzero(good)[np.argsort(-score[good], kind="stable")]
    return Grasps(center[order], -normals[order], width[order], score[order])


def _surface(parts: Sequence[Mesh], samples: int) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Points ``(S, 3)`` spread over all faces, outward normals, and the part each belongs to."""
    corners = np.concatenate([part.vertices[part.faces] for part in parts])
    owners = np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    total = np.cumsum(area * _evened(cross, area))
    rng = np.random.default_rng(0)
    picked = np.searchsorted(total, (np.arange(samples) + rng.random(samples)) / samples * total[-1])
    picked = np.minimum(picked, len(area) - 1)
    u, v = np.sqrt(rng.random(samples)), rng.random(samples)
    weights = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    points = (corners[picked] * weights[:, :, None]).sum(axis=1)
    normals = cross[picked] / np.maximum(area[picked], 1e-15)[:, None]
    middle = np.array([part.vertices.mean(axis=0) for part in parts])
    outside = ((points - middle[owners[picked]]) * normals).sum(axis=1) < 0
    normals[outside] *= -1.0
    return points, normals, owners[picked]


def _evened(cross: FloatArray, area: FloatArray) -> FloatArray:
    """Factors ``(F,)`` that give the faces of each main direction the same area: a plate is held by its narrow sides.

    Args:
        cross: ``(F, 3)`` normals as long as the faces are large.
        area: ``(F,)`` their lengths.
    """
    normals = cross / np.maximum(area, 1e-15)[:, None]
    _, axes = np.linalg.eigh((area[:, None, None] * normals[:, :, None] * normals[:, None, :]).sum(axis=0))
    along = np.abs(normals @ axes).argmax(axis=1)
    share = np.bincount(along, weights=area, minlength=3)
    return np.asarray(1.0 / np.maximum(share, 1e-15)[along])


def _planes(part: Mesh) -> tuple[FloatArray, FloatArray]:
    """Outward unit normals ``(F, 3)`` and offsets ``(F,)`` of a convex mesh: inside where n · x <= offset."""
    corners = part.vertices[part.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    normals = cross[length > 1e-12] / length[length > 1e-12][:, None]
    offsets = (normals * corners[length > 1e-12, 0]).sum(axis=1)
    flip = np.where(normals @ part.vertices.mean(axis=0) > offsets, -1.0, 1.0)
    return normals * flip[:, None], offsets * flip


def _spans(
    points: FloatArray, directions: FloatArray, planes: Sequence[tuple[FloatArray, FloatArray]]
) -> tuple[FloatArray, FloatArray]:
    """Where lines enter and leave each part ``(S, P, 2)``, NaN where they miss it; its normals ``(S, P, 3)``."""
    spans = np.full((len(points), len(planes), 2), np.nan)
    outward = np.zeros((len(points), len(planes), 3))
    for number, (normals, offsets) in enumerate(planes):
        along = directions @ normals.T
        room = offsets - points @ normals.T
        with np.errstate(divide="ignore", invalid="ignore"):
            at = room / along
        enter = np.where(along < -1e-9, at, -np.inf).max(axis=1)
        leaving = np.where(along > 1e-9, at, np.inf)
        last = leaving.argmin(axis=1)
        leave = leaving[np.arange(len(points)), last]
        beside = ((np.abs(along) <= 1e-9) & (room < 0)).any(axis=1)
        hit = (leave > enter) & ~beside
        spans[hit, number] = np.stack([enter, leave], axis=1)[hit]
        outward[:, number] = normals[last]
    return spans, outward


def _solid_ahead(
    spans: FloatArray, outward: FloatArray, first_exit: FloatArray, owners: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """How deep the solid is that begins at each point, its normal there, and which points lie inside other parts."""
    rows = np.arange(len(spans))
    exit_at = np.nan_to_num(first_exit)
    exit_normal = outward[rows, owners]
    # Other solid before it, or less than a seam away from it: no finger gets there.
    behind = (spans[:, :, 0] < -2e-4) & (spans[:, :, 1] > -SEAM_M)
    behind[rows, owners] = False
    covered = behind.any(axis=1)
    for _ in range(spans.shape[1]):
        reach = np.where(spans[:, :, 0] < exit_at[:, None] + SEAM_M, spans[:, :, 1], -np.inf)
        reach = np.nan_to_num(reach, nan=-np.inf)
        best = reach.argmax(axis=1)
        grows = reach[rows, best] > exit_at + 1e-9
        if not grows.any():
            break
        exit_at = np.where(grows, reach[rows, best], exit_at)
        exit_normal = np.where(grows[:, None], outward[rows, best], exit_normal)
    return exit_at, exit_normal, np.asarray(covered)


def tool_poses(
    center: FloatArray, axis: FloatArray, leans_rad: Sequence[float] = (0.0, 0.4, -0.4, 0.8, -0.8, 1.3, -1.3)
) -> FloatArray:
    """``(..., 2 * len(leans_rad), 4, 4)`` tool frames that grasp along `axis`: as steep as it goes and leaning.

    Each comes twice, the hand turned by half a turn.

    Args:
        center: ``(..., 3)`` between the fingers, z up.
        axis: ``(..., 3)`` unit.
        leans_rad: how far the hand leans about `axis`.
    """
    down = np.array([0.0, 0.0, -1.0])
    steep = down - axis * (axis @ down)[..., None]
    length = np.linalg.norm(steep, axis=-1, keepdims=True)
    beside = np.cross(axis, [1.0, 0.0, 0.0])
    steep = np.where(length > 0.2, steep / np.maximum(length, 1e-9), beside)
    steep /= np.linalg.norm(steep, axis=-1, keepdims=True)
    side = np.cross(axis, steep)
    lean = np.repeat(np.asarray(leans_rad, dtype=np.float64), 2)[:, None]
    poses = np.zeros((*axis.shape[:-1], len(lean), 4, 4))
    poses[..., :3, 1] = np.tile([1.0, -1.0], len(leans_rad))[:, None] * axis[..., None, :]
    poses[..., :3, 2] = np.cos(lean) * steep[..., None, :] + np.sin(lean) * side[..., None, :]
    poses[..., :3, 0] = np.cross(poses[..., :3, 1], poses[..., :3, 2])
    poses[..., :3, 3] = center[..., None, :]
    poses[..., 3, 3] = 1.0
    return poses

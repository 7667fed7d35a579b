"""Where a thing of a scene comes to stand: on a support, on another thing, or beside the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from app.scene_draft import Draft
from reconstruction.errors import UsageError
from reconstruction.mesh import Mesh
from reconstruction.scene import HULL_MARGIN_M, Support

FloatArray = npt.NDArray[np.float64]
FARTHEST_M = 50.0
GAP_M = 0.01
"""Left free between a thing and the one it is put beside."""
INSET_M = 0.002
"""What is brought back onto a support has its centre of mass so far inside the outline."""


def checked_pose(pose: npt.ArrayLike, what: str) -> FloatArray:
    """A rigid ``(4, 4)`` near the scene, its turn made exact.

    Raises:
        UsageError: it is none.
    """
    array = np.array(pose, dtype=np.float64)
    fine = array.shape == (4, 4) and bool(np.isfinite(array).all())
    if fine:
        turn = array[:3, :3]
        fine = bool(np.abs(turn @ turn.T - np.eye(3)).max() < 1e-4 and np.linalg.det(turn) > 0.0)
        fine = fine and bool(np.array_equal(array[3], [0.0, 0.0, 0.0, 1.0]))
        fine = fine and bool(np.abs(array[:3, 3]).max() <= FARTHEST_M)
    if not fine:
        raise UsageError(
            f"{what} cannot stand there: the pose is no turn and shift.",
            remedy=f"Give a rigid 4 x 4 matrix, at most {FARTHEST_M:g} m from the scene's origin.",
            code="bad_value",
        )
    left, _, right = np.linalg.svd(array[:3, :3])
    array[:3, :3] = left @ right
    return array


def snapped(draft: Draft, name: str, pose: npt.ArrayLike) -> FloatArray:
    """`pose` of a thing, moved so that it stands: up or down onto what is under it, and back onto a support beside all.

    Args:
        draft: the scene; of an open document, `SceneDocument.draft`.
        name: the thing; it need not have stood at `pose` before.
        pose: ``(4, 4)`` `scene_from_object` to begin with. What lies higher than the centre of mass is not under it.

    Raises:
        UsageError: no such thing, or no pose.
        InputError: a file is missing or damaged.
    """
    start = checked_pose(pose, name)
    center = np.array(draft.entry(name)["center_of_mass"], dtype=np.float64)
    others = [corners_of(draft, other) for other in draft.names if other != name]
    return standing(draft.parts(name), start, center, draft.supports, others)


def corners_of(draft: Draft, name: str) -> list[FloatArray]:
    """The corners ``(N, 3)`` of each convex part of a thing, scene frame."""
    pose = draft.pose(name)
    return [part.moved(pose).vertices for part in draft.parts(name)]


def support_under(supports: Iterable[Support], point: FloatArray) -> Support | None:
    """The highest support below ``(3,)`` a point; None beside all."""
    below = [
        support for support in supports if height_at(support, point) <= point[2] and _outside(support, point) <= 0.0
    ]
    return max(below, key=lambda support: height_at(support, point), default=None)


def height_at(support: Support, point: FloatArray) -> float:
    """Height (m) of the support's plane at the x and y of a point."""
    a, b, c, d = support.plane
    return float(-(a * point[0] + b * point[1] + d) / c)


def standing(
    parts: Sequence[Mesh],
    pose: FloatArray,
    center: FloatArray,
    supports: Sequence[Support],
    others: Sequence[Sequence[FloatArray]] = (),
) -> FloatArray:
    """`pose` so moved that the thing stands on a support, or on the others where they are in its way down.

    Things stand as PyBullet leaves them: `HULL_MARGIN_M` above a plane, twice that above another thing.

    Args:
        parts: convex, in the thing's frame.
        pose: ``(4, 4)`` `scene_from_object` to begin with.
        center: ``(3,)`` centre of mass, in the thing's frame.
        supports: without any, `pose` is as it was.
        others: of each other thing the corners of its convex parts, scene frame.
    """
    if not supports:
        return pose
    pose = pose.copy()
    middle = pose[:3, :3] @ center + pose[:3, 3]
    under = support_under(supports, middle)
    if under is None:
        covering = [support for support in supports if _outside(support, middle) <= 0.0]
        under = min(covering, key=lambda support: height_at(support, middle), default=None)
    if under is None:
        under = min(supports, key=lambda support: _outside(support, middle))
        pose[:2, 3] += _nearest(under, middle[:2]) - middle[:2]
    corners = [part.moved(pose).vertices for part in parts]
    lift = max(height_at(under, point) - point[2] for part in corners for point in part) + HULL_MARGIN_M
    for other in others:
        if min(float(part[:, 2].min()) for part in other) < middle[2]:
            lift = max(lift, _lift_over(corners, other, lift))
    pose[2, 3] += lift
    return pose


def beside(
    draft: Draft, parts: Sequence[Mesh], pose: FloatArray, center: FloatArray, others: Sequence[str]
) -> FloatArray:
    """A free place near `pose` on the same support; on top of what is there, where none is free.

    Args:
        draft: the scene.
        parts: the thing's convex parts, in its frame.
        pose: ``(4, 4)`` `scene_from_object` to begin with.
        center: ``(3,)`` centre of mass, in the thing's frame.
        others: names of the things to keep clear of.
    """
    solid = [corners_of(draft, other) for other in others]
    boxes = [(np.vstack(parts_of).min(axis=0), np.vstack(parts_of).max(axis=0)) for parts_of in solid]
    middle = pose[:3, :3] @ center + pose[:3, 3]
    under = support_under(draft.supports, middle)
    supports = draft.supports if under is None else (under,)
    size = np.ptp(np.vstack([part.moved(pose).vertices for part in parts]), axis=0)[:2] + GAP_M
    for ring in (0.0, 1.0, 1.5, 2.0, 3.0, 4.0):
        for way in np.arange(16) * np.pi / 8 if ring else (0.0,):
            moved = pose.copy()
            moved[:2, 3] += ring * size * [np.cos(way), np.sin(way)]
            at = moved[:3, :3] @ center + moved[:3, 3]
            if supports and max(_outside(support, at) for support in supports) > 0.0:
                continue
            moved = standing(parts, moved, center, supports)
            corners = np.vstack([part.moved(moved).vertices for part in parts])
            low, high = corners.min(axis=0) - 2 * HULL_MARGIN_M, corners.max(axis=0) + 2 * HULL_MARGIN_M
            if not any((low < end).all() and (start < high).all() for start, end in boxes):
                return moved
    return standing(parts, pose, center, draft.supports, solid)


def _hull(support: Support) -> tuple[FloatArray, FloatArray]:
    """Corners ``(N, 2)`` of the support's convex outline (what physics stands on), counter-clockwise, and its half-
    planes ``(N, 3)``: normal outwards, offset.
    """
    from scipy.spatial import ConvexHull

    hull = ConvexHull(support.polygon[:, :2])
    return support.polygon[hull.vertices, :2], np.asarray(hull.equations)


def _outside(support: Support, point: FloatArray) -> float:
    """Distance (m) beyond the support's outline, negative inside; beside a corner a little less."""
    _, planes = _hull(support)
    return float((planes[:, :2] @ point[:2] + planes[:, 2]).max())


def _nearest(support: Support, point: FloatArray) -> FloatArray:
    """The place ``(2,)`` on the support next to ``(2,)`` a point beside it, a little inside the outline."""
    corners, _ = _hull(support)
    starts, edges = corners, np.roll(corners, -1, axis=0) - corners
    share = ((point - starts) * edges).sum(axis=1) / (edges**2).sum(axis=1)
    nearest = starts + share.clip(0.0, 1.0)[:, None] * edges
    best = nearest[np.linalg.norm(nearest - point, axis=1).argmin()]
    inwards = corners.mean(axis=0) - best
    return np.asarray(best + min(1.0, INSET_M / max(float(np.linalg.norm(inwards)), 1e-9)) * inwards)


def _lift_over(corners: Sequence[FloatArray], other: Sequence[FloatArray], least_m: float) -> float:
    """How far (m) a thing must rise, or may sink where negative, to stand on another; `least_m` where that is more."""
    lift = least_m
    for top in other:
        for bottom in corners:
            most = float(top[:, 2].max() - bottom[:, 2].min()) + 2 * HULL_MARGIN_M
            apart = (top.max(axis=0) < bottom.min(axis=0)) | (bottom.max(axis=0) < top.min(axis=0))
            if most > lift and not apart[:2].any():
                lift = max(lift, _overlap_m(bottom, top) + 2 * HULL_MARGIN_M)
    return lift


def _overlap_m(bottom: FloatArray, top: FloatArray) -> float:
    """How far (m) one convex part must rise to lie on another; minus infinity where it is nowhere above it.

    The greatest height of `top` over `bottom` at a common x and y: a linear programme in the shares of their corners.
    """
    from scipy.optimize import linprog

    count, more = len(bottom), len(top)
    equal = np.zeros((4, count + more))
    equal[:2, :count], equal[:2, count:] = bottom[:, :2].T, -top[:, :2].T
    equal[2, :count], equal[3, count:] = 1.0, 1.0
    found = linprog(np.concatenate([bottom[:, 2], -top[:, 2]]), A_eq=equal, b_eq=[0.0, 0.0, 1.0, 1.0])
    return -float(found.fun) if found.status == 0 else -np.inf

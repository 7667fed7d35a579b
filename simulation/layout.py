"""Where things may stand: apart from each other, on their support, within the robot's reach, in the camera's picture.

Outlines are convex, and known by their support function in `DIRECTIONS` directions: how far they go each way. Two are
apart where some direction separates them (the separating axis theorem with a fixed set of axes, so it errs only
towards "too near").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.scene import Scene, Support
from simulation.forms import in_scene, outline

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SHORT_M = 0.5
"""Arms that reach less far than this stand among the things."""
BASE_M = 0.11
"""Room that a short arm needs around its base."""
CAMERA = "front_camera"
"""In the `extra` of a scene: where the camera before the robot stands, if anybody has said so."""
UP_DEG = 60.0
"""How high up a camera stands, seen from the things."""
DIRECTIONS = 48
_ANGLES = 2.0 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_OPPOSITE = np.roll(np.arange(DIRECTIONS), DIRECTIONS // 2)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that sees the bench.

    Attributes:
        scene_from_camera: ``(4, 4)``, x right, y down, z forward.
        focal_px: of both axes; the principal point is the middle.
        size: width and height of the picture, pixels.
    """

    scene_from_camera: FloatArray
    focal_px: float
    size: tuple[int, int] = (640, 480)

    def project(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixels ``(..., 2)`` and depths ``(...)`` in metres of points ``(..., 3)`` of the scene."""
        pose = self.scene_from_camera
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        depth = np.maximum(local[..., 2], 1e-6)
        return local[..., :2] / depth[..., None] * self.focal_px + np.array(self.size) / 2, local[..., 2]

    def sees(self, points: FloatArray, margin: float = 0.04) -> Mask:
        """Whether points ``(..., 3)`` lie in the middle of the picture, as wide as high: policies see no more of it.

        Args:
            points: of the scene.
            margin: they are so far from its edge, a share of its size.
        """
        pixels, depth = self.project(points)
        off = np.abs(pixels - np.array(self.size) / 2).max(axis=-1)
        return np.asarray((off < (0.5 - margin) * min(self.size)) & (depth > 0.05))


def support_function(corners: FloatArray, turns: FloatArray) -> FloatArray:
    """How far ``(K, 2)`` corners, turned by each of `turns` ``(C,)`` (radians), go in each direction: ``(C, D)``."""
    c, s = np.cos(turns)[:, None], np.sin(turns)[:, None]
    x, y = corners[:, 0], corners[:, 1]
    turned = np.stack([c * x - s * y, s * x + c * y], axis=-1)
    return np.asarray((turned @ NORMALS.T).max(axis=1))


def gaps(at: FloatArray, reach: FloatArray, others_at: FloatArray, others_reach: FloatArray) -> FloatArray:
    """Distances ``(C, N)`` between C placements and N others, each a place ``(2,)`` and a support function ``(D,)``.

    Never more than the true distance; negative where no axis separates the two.
    """
    between = (others_at[None] - at[:, None]) @ NORMALS.T
    return np.asarray((between - reach[:, None] - others_reach[None][..., _OPPOSITE]).max(axis=-1))


@dataclass(frozen=True)
class Ground:
    """A support as a place to stand on.

    Attributes:
        polygon: ``(N, 2)`` its outline.
        height_m: over the main support.
    """

    polygon: FloatArray
    height_m: float

    @staticmethod
    def of(support: Support, scale: float) -> Ground:
        """`support` with its outline scaled about its middle."""
        polygon = support.polygon[:, :2]
        middle = (polygon.min(axis=0) + polygon.max(axis=0)) / 2
        return Ground(middle + scale * (polygon - middle), round(float(support.polygon[:, 2].mean()), 6))

    def holds(self, at: FloatArray, reach: FloatArray, margin_m: float) -> Mask:
        """Whether placements ``(C, 2)`` with support functions ``(C, D)`` lie on it, `margin_m` from its edge."""
        following = np.roll(reach, -1, axis=1)
        step = 2.0 * np.pi / DIRECTIONS
        # The corner between two neighbouring directions: h n + t (its tangent), where both lines meet.
        along = (following + margin_m - (reach + margin_m) * np.cos(step)) / np.sin(step)
        tangents = np.stack([-NORMALS[:, 1], NORMALS[:, 0]], axis=1)
        corners = at[:, None] + (reach + margin_m)[..., None] * NORMALS + along[..., None] * tangents
        return np.asarray(_inside(corners, self.polygon).all(axis=1))


def _inside(points: FloatArray, polygon: FloatArray) -> Mask:
    """Whether points ``(..., 2)`` lie in a polygon ``(N, 2)``, convex or not (crossing number)."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[..., None, 0], points[..., None, 1]
    rises = (start[:, 1] > y) != (end[:, 1] > y)
    slope = (end[:, 0] - start[:, 0]) / np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossed = rises & (x < start[:, 0] + slope * (y - start[:, 1]))
    return np.asarray(crossed.sum(axis=-1) % 2 == 1)


def seen_shares(camera: Camera, rings: list[FloatArray], heights: list[tuple[float, float]]) -> FloatArray:
    """How much of each upright prism the camera sees past the others, of points on its outline at three heights.

    Args:
        camera: where from.
        rings: ``(K, 2)`` convex outlines, scene frame.
        heights: bottom and top of each, metres.
    """
    import cv2

    samples, hulls, depths = [], [], []
    for ring, (low, high) in zip(rings, heights, strict=True):
        levels = [np.column_stack([ring, np.full(len(ring), z)]) for z in (low, (low + high) / 2, high)]
        pixels, depth = camera.project(np.vstack(levels))
        samples.append(pixels)
        depths.append(float(depth.mean()))
        hulls.append(cv2.convexHull(pixels.astype(np.float32)))
    shares = np.ones(len(rings))
    for number, pixels in enumerate(samples):
        hidden = np.zeros(len(pixels), dtype=bool)
        for other, hull in enumerate(hulls):
            if other != number and depths[other] < depths[number]:
                low, high = hull[:, 0].min(axis=0), hull[:, 0].max(axis=0)
                for k in np.flatnonzero(((pixels >= low) & (pixels <= high)).all(axis=1) & ~hidden):
                    hidden[k] = cv2.pointPolygonTest(hull, pixels[k].tolist(), False) > 0
        shares[number] = 1.0 - hidden.mean()
    return shares


def usual_mount(scene: Scene) -> FloatArray:
    """``(4, 4)`` `scene_from_robot`: where the scene says, else at the edge of the main support nearest to its things.

    The arm looks along its own +x towards the middle of the things, 6 cm inside the edge or, where that is nearer than
    25 cm to one of them, farther away.
    """
    if scene.robot_mount is not None:
        return np.asarray(scene.robot_mount, dtype=np.float64)
    points = np.vstack([in_scene(item)[:, :2] for item in scene.objects])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    edge = outline(scene.supports[0].polygon[:, :2]) if scene.supports else outline(points)
    edge = np.vstack([edge, edge[:1]])
    dense = np.vstack(
        [a + (b - a) * t for a, b in zip(edge[:-1], edge[1:], strict=True) for t in (0.0, 0.25, 0.5, 0.75)]
    )
    away = dense - middle
    distance = np.linalg.norm(away, axis=1)
    nearest = int(np.argmin(np.round(distance, 6)))
    toward = away[nearest] / max(distance[nearest], 1e-9)
    clear = float(((points - middle) @ toward).max()) + 0.25
    at = middle + toward * max(distance[nearest] - 0.06, clear)
    pose = np.eye(4)
    pose[:2, 0], pose[:2, 1] = -toward, [toward[1], -toward[0]]
    pose[:2, 3] = at
    return np.round(pose, 6)


def near_mount(scene: Scene, reach_m: float) -> FloatArray:
    """``(4, 4)`` `scene_from_robot` of a short arm: where the scene says, else where it reaches most things.

    That is on the main support, among them where they lie far apart, with `BASE_M` of room around it.
    """
    if scene.robot_mount is not None or not scene.supports or not scene.objects:
        return usual_mount(scene)
    ground = Ground.of(scene.supports[0], 1.0)
    low, high = ground.polygon.min(axis=0), ground.polygon.max(axis=0)
    grid = np.stack(np.meshgrid(*(np.arange(a, b, 0.02) for a, b in zip(low, high, strict=True))), axis=-1)
    rings = [outline(in_scene(item)[:, :2]) for item in scene.objects]
    middles = np.array([(ring.min(axis=0) + ring.max(axis=0)) / 2 for ring in rings])
    share = np.linspace(0.0, 1.0, 12, endpoint=False)[:, None, None]
    edges = np.vstack([(ring + share * (np.roll(ring, -1, axis=0) - ring)).reshape(-1, 2) for ring in rings])
    best, found = -np.inf, None
    for at in grid.reshape(-1, 2)[_inside(grid.reshape(-1, 2), ground.polygon)]:
        if np.linalg.norm(edges - at, axis=1).min() < BASE_M:
            continue
        ways = middles - at
        far = np.linalg.norm(ways, axis=1)
        within = (far > BASE_M) & (far < 0.9 * reach_m)
        toward = (ways[within] / far[within, None]).sum(axis=0) if within.any() else ways.mean(axis=0)
        toward = toward / max(float(np.linalg.norm(toward)), 1e-9)
        within &= ways @ toward > 0.0  # none behind it
        # Those that it does not reach count a little, the nearer the more.
        value = round(
            float(within.sum() - 0.1 * far.mean() - abs(far[within].mean() / reach_m - 0.65 if within.any() else 0.0)),
            9,
        )
        if value > best:
            best, found = value, (at, toward)
    if found is None:
        return usual_mount(scene)
    at, toward = found
    pose = np.eye(4)
    pose[:2, 0], pose[:2, 1], pose[:2, 3] = toward, [-toward[1], toward[0]], at
    return np.round(pose, 6)


def usual_camera(scene: Scene, mount: FloatArray, field_deg: float = 48.0) -> Camera:
    """A camera across from the arm, high up, that sees all things and 5 cm round them; or the one that the scene has.

    From lower down, far things are small and hidden by those before them.
    """
    if CAMERA in scene.extra:
        told = scene.extra[CAMERA]
        pose = np.array(told["scene_from_camera"], dtype=np.float64)
        return Camera(pose, float(told["focal_px"]), (int(told["size"][0]), int(told["size"][1])))
    points = np.vstack([in_scene(item) for item in scene.objects])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = float(np.linalg.norm(points - middle, axis=1).max()) + 0.05
    turn = np.deg2rad(25.0)
    ahead = mount[:2, 0]
    toward = np.array(
        [np.cos(turn) * ahead[0] - np.sin(turn) * ahead[1], np.sin(turn) * ahead[0] + np.cos(turn) * ahead[1]]
    )
    up = np.deg2rad(UP_DEG)
    away = np.array([*(toward * np.cos(up)), np.sin(up)])
    size = (640, 480)
    focal = round(size[1] / 2 / np.tan(np.deg2rad(field_deg / 2)), 3)
    return Camera(
        np.round(looking_at(middle + away * radius / np.sin(np.deg2rad(field_deg / 2)), middle), 6), focal, size
    )


def looking_at(eye: FloatArray, target: FloatArray) -> FloatArray:
    """``(4, 4)`` `scene_from_camera` (x right, y down, z forward) of an upright camera."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, eye
    return pose

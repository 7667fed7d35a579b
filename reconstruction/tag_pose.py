"""Where a printed tag lies, and whether the scan's metres are metres.

Each of its corners is where the rays through it meet under the cameras' poses. No picture's own guess of the distance
goes in, so that the side, measured so, tells the scale of the poses.

The *tag frame*: origin in the middle of the black square, x to the right of the tag as `pocketworld tag` prints it
(along its arrow), y up the page, z out of the paper, towards who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import Capture, FloatArray, Frame
from reconstruction.tags import Sightings, TagSettings, spread

CORNERS = np.array([[-0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.5, -0.5, 0.0], [-0.5, -0.5, 0.0]])
"""In the tag frame, in sides, in the order of `cv2.aruco`."""
LEAST_FRAMES = 3
LEAST_ANGLE_DEG = 6.0
LEVEL_WITHIN_DEG = 5.0
_GATE = 0.25
_PAIRS = 200
_BLOCKS = 5
_DEPTH_FRAMES = 24


@dataclass(frozen=True)
class Tag:
    """Where the tag lies.

    Attributes:
        capture_from_tag: ``(4, 4)`` rigid.
        side_m: of its black square, as the rays have it, metres of the capture.
        scale: `side_m` over the printed side: 1.05 is a scan that is 5 % too large.
        scale_sigma: standard deviation of `scale`, from how it differs between parts of the scan.
        frames: pictures that agree on it.
        residual_m: median distance between its corners and the rays through them.
        depth_scale: the same as `scale` for the depth images: measured depth over that of a tag of the printed size;
            None where the tag has no depth.
        depth_gap_m: how far above the tag (along its z) depth shows its surface; None without depth.
    """

    capture_from_tag: FloatArray
    side_m: float
    scale: float
    scale_sigma: float
    frames: int
    residual_m: float
    depth_scale: float | None = None
    depth_gap_m: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Figures for the record, rounded."""
        depth = None if self.depth_scale is None else round(self.depth_scale, 4)
        gap = None if self.depth_gap_m is None else round(1e3 * self.depth_gap_m, 2)
        return {
            "side_mm": round(1e3 * self.side_m, 2),
            "scale": round(self.scale, 4),
            "scale_sigma": round(self.scale_sigma, 4),
            "depth_scale": depth,
            "depth_gap_mm": gap,
            "residual_mm": round(1e3 * self.residual_m, 2),
            "frames": self.frames,
        }


@dataclass(frozen=True)
class _Rays:
    """Rays from F cameras through the tag's four corners, capture frame; directions are unit vectors."""

    positions: tuple[int, ...]
    origins: FloatArray  # (F, 3)
    directions: FloatArray  # (F, 4, 3)

    def of(self, chosen: npt.NDArray[Any]) -> _Rays:
        """Those of some cameras."""
        numbers = np.arange(len(self.positions))[chosen]
        return _Rays(tuple(self.positions[k] for k in numbers), self.origins[numbers], self.directions[numbers])


def measure_tag(capture: Capture, sightings: Sightings, poses: FloatArray, settings: TagSettings) -> Tag | None:
    """The tag's place and size from all sightings; None where they do not tell (`tag_advice` says so).

    Args:
        capture: whose depth images are compared.
        sightings: as `find_tag` gives them.
        poses: ``(N, 4, 4)`` `capture_from_camera` of every frame; NaN where unknown.
        settings: of the tag as printed.
    """
    rays = _rays(capture, sightings, poses)
    if len(rays.positions) < LEAST_FRAMES:
        return None
    agreeing = _agreeing(rays)
    if agreeing is None:
        return None
    rays = rays.of(agreeing)
    corners = _meeting(rays)
    middle = rays.directions.mean(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    widest = float(np.degrees(np.arccos(np.clip((middle @ middle.T).min(), -1.0, 1.0))))
    pose, side, misfit = _square(corners)
    if widest < LEAST_ANGLE_DEG or misfit > 0.1:
        return None
    tag = Tag(
        capture_from_tag=pose,
        side_m=side,
        scale=side / (1e-3 * settings.size_mm),
        scale_sigma=_spread_of_sides(rays) / (1e-3 * settings.size_mm),
        frames=len(rays.positions),
        residual_m=float(np.median(_distances(rays, corners))),
    )
    return _with_depth(tag, capture, rays.positions, poses)


def _rays(capture: Capture, sightings: Sightings, poses: FloatArray) -> _Rays:
    seen = [sighting for sighting in sightings.seen if np.isfinite(poses[sighting.position]).all()]
    directions = np.zeros((len(seen), 4, 3))
    for number, sighting in enumerate(seen):
        inverse = np.linalg.inv(capture.frames[sighting.position].intrinsics)
        local = np.column_stack([sighting.corners, np.ones(4)]) @ inverse.T
        world = local @ poses[sighting.position][:3, :3].T
        directions[number] = world / np.linalg.norm(world, axis=1, keepdims=True)
    positions = tuple(sighting.position for sighting in seen)
    return _Rays(positions, poses[list(positions), :3, 3].reshape(-1, 3), directions)


def _nearest_points(rays: _Rays, weights: FloatArray) -> FloatArray:
    """Points ``(4, 3)`` with the least sum of weighted squared distances to their rays; `weights` ``(F, 4)``."""
    d = rays.directions
    across = np.eye(3) - d[..., :, None] * d[..., None, :]  # onto the plane across the ray
    matrix = np.einsum("fc,fcij->cij", weights, across)
    right = np.einsum("fc,fcij,fj->ci", weights, across, rays.origins)
    matrix += 1e-9 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])


def _distances(rays: _Rays, corners: FloatArray) -> FloatArray:
    """Distance ``(F, 4)`` of each corner from each of its rays; infinite where it lies behind the camera."""
    toward = corners[None] - rays.origins[:, None]
    along = np.einsum("fci,fci->fc", toward, rays.directions)
    gap = np.linalg.norm(toward - along[..., None] * rays.directions, axis=-1)
    return np.where(along > 0, gap, np.inf)


def _agreeing(rays: _Rays) -> npt.NDArray[np.bool_] | None:
    """Which cameras ``(F,)`` see the tag at one and the same place: the largest such group (RANSAC over pairs).

    They agree where all corners lie within a quarter of a side of their rays: drift of a centimetre passes, another tag
    of the same number does not. The gate is in sides, so that scans without a scale work too.
    """
    count = len(rays.positions)
    pairs = np.array([(a, b) for a in range(count) for b in range(a + 1, count)])
    if len(pairs) > _PAIRS:
        pairs = pairs[np.random.default_rng(0).choice(len(pairs), _PAIRS, replace=False)]
    best: tuple[int, float] = (0, 0.0)
    agreeing: npt.NDArray[np.bool_] | None = None
    for pair in pairs:
        two = rays.of(pair)
        if np.linalg.norm(np.cross(*two.directions[:, 0])) < 0.02:
            continue
        corners = _nearest_points(two, np.ones((2, 4)))
        _, side, misfit = _square(corners)
        if misfit > 0.5:
            continue
        worst = _distances(rays, corners).max(axis=1) / side
        inside = worst < _GATE
        score = int(inside.sum()), -float(worst[inside].sum())
        if score > best:
            best, agreeing = score, inside
    return agreeing if best[0] >= LEAST_FRAMES else None


def _meeting(rays: _Rays) -> FloatArray:
    """The corners ``(4, 3)``: where their rays meet, by least squares in the picture with robust (Huber) weights."""
    weights = np.ones((len(rays.positions), 4))
    corners = _nearest_points(rays, weights)
    for _ in range(12):
        range_m = np.linalg.norm(corners[None] - rays.origins[:, None], axis=-1)
        angle = _distances(rays, corners) / range_m  # a pixel's error is an angle
        limit = 1.5 * 1.4826 * float(np.median(angle)) + 1e-12
        weights = np.minimum(1.0, limit / np.maximum(angle, 1e-12)) / range_m**2
        corners = _nearest_points(rays, weights)
    return corners


def _square(corners: FloatArray) -> tuple[FloatArray, float, float]:
    """The square that fits four points best: its pose ``(4, 4)``, its side, and the misfit (rms) in sides.

    Least squares over rotation, shift and scale (S. Umeyama, 1991).
    """
    center = corners.mean(axis=0)
    u, stretch, vt = np.linalg.svd((corners - center).T @ CORNERS)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = u @ sign @ vt, center
    side = float((stretch * np.diag(sign)).sum() / (CORNERS**2).sum())
    misfit = corners - center - side * CORNERS @ pose[:3, :3].T
    return pose, max(side, 1e-9), float(np.sqrt((misfit**2).sum() / 4)) / max(side, 1e-9)


def _spread_of_sides(rays: _Rays) -> float:
    """Standard deviation of the side, metres: the jackknife over parts of the scan, within which poses err alike."""
    parts = np.array_split(np.arange(len(rays.positions)), min(_BLOCKS, len(rays.positions)))
    sides = []
    for part in parts:
        rest = np.setdiff1d(np.arange(len(rays.positions)), part)
        sides.append(_square(_meeting(rays.of(rest)))[1])
    return float(np.sqrt((len(parts) - 1) * np.var(sides)))


def _with_depth(tag: Tag, capture: Capture, positions: Sequence[int], poses: FloatArray) -> Tag:
    """`tag` with what depth images say of the same patch of paper."""
    deep = [position for position in positions if capture.frames[position].read_depth is not None]
    found = [
        compared
        for k in spread(deep, _DEPTH_FRAMES)
        if (compared := _depth_on_tag(tag, capture.frames[k], poses[k])) is not None
    ]
    if not found:
        return tag
    ratio, gap = np.median(np.array(found), axis=0)
    return replace(tag, depth_scale=float(ratio) * tag.scale, depth_gap_m=float(gap))


def _depth_on_tag(tag: Tag, frame: Frame, capture_from_camera: FloatArray) -> tuple[float, float] | None:
    """Measured depth over that of the tag's plane, and height above it (metres): medians over the tag's pixels."""
    import cv2

    depth = frame.depth_m()
    if depth is None:
        return None
    camera_from_tag = np.linalg.inv(capture_from_camera) @ tag.capture_from_tag
    corners = tag.side_m * CORNERS @ camera_from_tag[:3, :3].T + camera_from_tag[:3, 3]
    if (corners[:, 2] <= 0).any():
        return None
    k = frame.depth_intrinsics
    pixels = (corners / corners[:, 2:]) @ k.T
    mask = np.zeros(depth.shape, dtype=np.uint8)
    cv2.fillConvexPoly(mask, np.round(pixels[:, :2]).astype(np.int32), 1)
    v, u = np.nonzero((mask > 0) & (depth > 0))
    if len(v) < 12:
        return None
    rays = np.column_stack([u, v, np.ones(len(u))]) @ np.linalg.inv(k).T
    normal, height = camera_from_tag[:3, 2], float(camera_from_tag[:3, 2] @ camera_from_tag[:3, 3])
    facing = rays @ normal
    expected = height / facing
    measured = depth[v, u].astype(np.float64)
    return float(np.median(measured / expected)), float(np.median(measured * facing - height))


def mount_from_tag(
    tag: Tag, scene_from_capture: FloatArray, offset: tuple[float, float, float, float]
) -> tuple[FloatArray | None, float]:
    """`scene_from_robot` ``(4, 4)``, upright, and how many degrees the tag leans; None where it leans too much to tell.

    A level tag keeps its heading. On an upright face (a robot's front) its z, out of the face, is the robot's x. The
    scene is made of depth: the tag is first moved onto the surface that depth shows there.

    Args:
        tag: as measured.
        scene_from_capture: ``(4, 4)`` rigid.
        offset: x, y, z in metres and turn in degrees, of the base in the tag's frame made upright (`TagSettings`).
    """
    scene_from_tag = scene_from_capture @ tag.capture_from_tag
    x_axis, z_axis = scene_from_tag[:3, 0], scene_from_tag[:3, 2]
    place = scene_from_tag[:3, 3] + (tag.depth_gap_m or 0.0) * z_axis
    lean_deg = float(np.degrees(np.arccos(np.clip(z_axis[2], -1.0, 1.0))))
    if lean_deg <= LEVEL_WITHIN_DEG:
        ahead = x_axis
    elif abs(lean_deg - 90.0) <= LEVEL_WITHIN_DEG:
        ahead = z_axis
    else:
        return None, lean_deg
    upright = pose_at(place, float(np.degrees(np.arctan2(ahead[1], ahead[0]))))
    return upright @ pose_at(np.array(offset[:3]), offset[3]), lean_deg


def pose_at(xyz_m: FloatArray, yaw_deg: float) -> FloatArray:
    """``(4, 4)`` of something upright at ``(3,)`` metres, turned about z by degrees."""
    turn = np.radians(yaw_deg)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[:3, 3] = xyz_m
    return pose

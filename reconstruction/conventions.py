"""Does the pose convention that an importer declares fit the depth images? A test by reprojection.

Depth of one frame is back-projected, moved by the two poses into another frame, and compared with the depth seen
there. On phone scans the right convention leaves 2 to 15 mm, wrong ones several times that. Five readings of the same
numbers are tried: as declared, with OpenGL instead of OpenCV camera axes, turned a quarter to either side (portrait
and landscape mixed up), and world-to-camera instead of camera-to-world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconstruction.capture import Capture, DepthImage, FloatArray, Frame
from reconstruction.errors import InputError
from reconstruction.importers.poses import OPENCV_FROM_OPENGL, inverse

PAIRS = 30
MIN_PAIRS = 5
POINTS = 3000
MIN_POINTS = 200
MAX_DEPTH_M = 5.0
_TARGET_MOTION = 0.1
_MIN_MOTION = 0.03
_REFUSE_ABOVE_M = 0.012
_CLEARLY = 0.45
_UPPER_PERCENT = 75.0
_CLEARLY_SHARE = 0.75

DECLARED = "as declared"


def _turned(quarter: int) -> FloatArray:
    turn = np.eye(4)
    turn[:2, :2] = [[0.0, -quarter], [quarter, 0.0]]
    return turn


HYPOTHESES: dict[str, Callable[[FloatArray], FloatArray]] = {
    DECLARED: lambda pose: pose,
    "y up, z backward camera axes": lambda pose: pose @ OPENCV_FROM_OPENGL,
    "images turned a quarter left": lambda pose: pose @ _turned(1),
    "images turned a quarter right": lambda pose: pose @ _turned(-1),
    "world to camera": inverse,
}
"""Reading of a declared `capture_from_camera` -> the pose it would really be."""


@dataclass(frozen=True)
class ConventionTest:
    """Reprojection errors; medians over frame pairs.

    The figure to show is the median over pixels. The decision is made on the upper quartile: where a floor or table
    fills most of the image, a wrong reading can move it in itself and leave the median small.

    Attributes:
        error_m: median error of the declared convention, metres.
        upper_m: upper quartile of its error.
        alternative: name of the other reading whose upper quartile is least.
        alternative_error_m: its median error; infinite where its views never overlap.
        alternative_upper_m: upper quartile of its error.
        better_share: share of the frame pairs on which the alternative is better.
        pairs: frame pairs compared.
    """

    error_m: float
    upper_m: float
    alternative: str
    alternative_error_m: float
    alternative_upper_m: float
    better_share: float
    pairs: int

    @property
    def contradicts(self) -> bool:
        """Whether the alternative clearly wins; never on scans too still or too flat to tell."""
        return (
            self.pairs >= MIN_PAIRS
            and self.upper_m > _REFUSE_ABOVE_M
            and self.alternative_upper_m < _CLEARLY * self.upper_m
            and self.better_share >= _CLEARLY_SHARE
        )


def check_convention(capture: Capture) -> Capture:
    """`capture` with `convention_error_m` set, or None where it cannot be tested.

    Raises:
        InputError: another reading of the poses fits the depth clearly better.
    """
    test = convention_test(capture)
    if test is None:
        return replace(capture, convention_error_m=None)
    if test.contradicts:
        raise InputError(
            f"{capture.source}: the camera poses do not fit the depth images as {capture.format} poses should "
            f"({test.error_m * 1e3:.0f} mm), but read as '{test.alternative}' they do "
            f"({test.alternative_error_m * 1e3:.0f} mm).",
            remedy="The app's version writes another convention or the export was converted; use the app's own export "
            "and report the app's version.",
            code="wrong_convention",
        )
    return replace(capture, convention_error_m=test.error_m)


def convention_test(capture: Capture, pairs: int = PAIRS) -> ConventionTest | None:
    """Compare the five readings on up to `pairs` frame pairs; None where nothing overlaps or nothing moves."""
    frames = [
        frame for frame in capture.frames if frame.read_depth is not None and frame.capture_from_camera is not None
    ]
    rows = [row for a, b in _pairs(frames, pairs) if (row := _errors(a, b)) is not None]
    if len(rows) < MIN_PAIRS:
        return None
    errors = np.array(rows)
    median, upper = np.median(errors, axis=0).T
    best = 1 + int(np.argmin(upper[1:]))
    return ConventionTest(
        error_m=float(median[0]),
        upper_m=float(upper[0]),
        alternative=list(HYPOTHESES)[best],
        alternative_error_m=float(median[best]),
        alternative_upper_m=float(upper[best]),
        better_share=float(np.mean(errors[:, best, 1] < errors[:, 0, 1])),
        pairs=len(rows),
    )


def _pairs(frames: Sequence[Frame], count: int) -> list[tuple[Frame, Frame]]:
    """Pairs from all over the scan, each moved by about `_TARGET_MOTION` (radians plus metres per 2 metres)."""
    if len(frames) < 2:
        return []
    poses = np.array([frame.capture_from_camera for frame in frames])
    found = []
    for start in np.unique(np.linspace(0, len(frames) - 1, count + 1).astype(int)[:-1]):
        motion = _motion(poses[start], poses[start + 1 :])
        if not motion.size or motion.max() < _MIN_MOTION:
            continue
        reached = np.flatnonzero(motion >= min(_TARGET_MOTION, float(motion.max())))
        found.append((frames[start], frames[start + 1 + int(reached[0])]))
    return found


def _motion(pose: FloatArray, others: FloatArray) -> FloatArray:
    """How far other poses ``(N, 4, 4)`` are from `pose`: angle in radians + half the distance in metres, ``(N,)``."""
    cosine = (np.einsum("ij,nij->n", pose[:3, :3], others[:, :3, :3]) - 1.0) / 2.0
    motion: FloatArray = np.arccos(np.clip(cosine, -1.0, 1.0))
    motion += 0.5 * np.linalg.norm(others[:, :3, 3] - pose[:3, 3], axis=1)
    return motion


def _errors(a: Frame, b: Frame) -> list[tuple[float, float]] | None:
    """Median and upper quartile in metres of each hypothesis for one pair; None where depth is empty or unreadable."""
    assert a.capture_from_camera is not None
    assert b.capture_from_camera is not None
    try:
        depth_a, depth_b = _sure_depth(a), _sure_depth(b)
    except InputError:
        return None
    points = _sampled_points(depth_a, a.depth_intrinsics)
    if points.shape[1] < MIN_POINTS:
        return None
    errors = []
    for read in HYPOTHESES.values():
        b_from_a = inverse(read(b.capture_from_camera)) @ read(a.capture_from_camera)
        errors.append(_reprojection_error(b_from_a @ points, depth_b, b.depth_intrinsics))
    return errors if np.isfinite(errors[0][0]) else None


def _sure_depth(frame: Frame) -> DepthImage:
    """Depth without pixels of low confidence (most of them on edges); at least a fifth is kept as it is."""
    depth = frame.depth_m()
    assert depth is not None
    confidence = frame.confidence()
    if confidence is None:
        return depth
    sure = np.where(confidence > 1, depth, np.float32(0.0))
    return sure if np.count_nonzero(sure) * 5 > np.count_nonzero(depth) else depth


def _sampled_points(depth: DepthImage, intrinsics: FloatArray) -> FloatArray:
    """Homogeneous camera points ``(4, N)`` on a regular grid of the depth image."""
    step = max(int(np.sqrt(depth.size / POINTS)), 1)
    v, u = np.mgrid[step // 2 : depth.shape[0] : step, step // 2 : depth.shape[1] : step]
    z = depth[v, u].astype(np.float64)
    good = (z > 0) & (z < MAX_DEPTH_M)
    u, v, z = u[good], v[good], z[good]
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0] * z
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1] * z
    points: FloatArray = np.stack([x, y, z, np.ones_like(z)])
    return points


def _reprojection_error(points: FloatArray, depth: DepthImage, intrinsics: FloatArray) -> tuple[float, float]:
    """Median and upper quartile of the distance along z between points ``(4, N)`` in the camera and its depth image.

    Infinite if few overlap.
    """
    x, y, z = points[:3]
    front = z > 0.05
    x, y, z = x[front], y[front], z[front]
    u = np.rint(intrinsics[0, 0] * x / z + intrinsics[0, 2]).astype(int)
    v = np.rint(intrinsics[1, 1] * y / z + intrinsics[1, 2]).astype(int)
    inside = (u >= 0) & (v >= 0) & (u < depth.shape[1]) & (v < depth.shape[0])
    seen = depth[v[inside], u[inside]]
    good = (seen > 0) & (seen < MAX_DEPTH_M)
    if np.count_nonzero(good) < max(MIN_POINTS, 0.15 * points.shape[1]):
        return float("inf"), float("inf")
    median, upper = np.percentile(np.abs(z[inside][good] - seen[good]), [50.0, _UPPER_PERCENT])
    return float(median), float(upper)

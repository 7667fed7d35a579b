"""A printed tag seen in the scan: where it lies, and whether the scan's metres are metres.

`pocketworld tag` prints one. Its corners are found in many pictures (`cv2.aruco`), and each corner is where the rays
through it meet under the phone's poses: no picture's own guess of the distance goes in, so that the tag's side, measured
so, tells the scale of the poses.

The *tag frame*: origin in the middle of the black square, x to the right of the tag as `pocketworld tag` prints it
(along its arrow), y up the page, z out of the paper, towards who reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, Capture, FloatArray, Frame
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, silent
from reconstruction.tag_corners import refined_corners

Family = Literal["apriltag_36h11", "apriltag_25h9", "apriltag_16h5", "aruco_4x4", "aruco_5x5", "aruco_6x6", "aruco_7x7"]
FAMILIES: dict[str, tuple[tuple[int, str], ...]] = {
    "apriltag_36h11": ((587, "DICT_APRILTAG_36h11"),),
    "apriltag_25h9": ((35, "DICT_APRILTAG_25h9"),),
    "apriltag_16h5": ((30, "DICT_APRILTAG_16h5"),),
    **{
        f"aruco_{n}x{n}": tuple((count, f"DICT_{n}X{n}_{count}") for count in (50, 100, 250, 1000)) for n in (4, 5, 6, 7)
    },
}
"""Of each family OpenCV's dictionaries, as (how many tags, name). ArUco's larger ones begin with the smaller ones' tags
and mend fewer wrong bits: the smallest that has the tag is the best."""

CORNERS = np.array([[-0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.5, -0.5, 0.0], [-0.5, -0.5, 0.0]])
"""In the tag frame, in sides, in the order of `cv2.aruco`."""
SCALE_TOLERANCE = 0.02
LEAST_FRAMES = 3
LEAST_ANGLE_DEG = 6.0
LEVEL_WITHIN_DEG = 5.0
_GATE = 0.25
_PAIRS = 200
_BLOCKS = 8
_DEPTH_FRAMES = 24
_LARGEST_SIDE_PX = 1920
_SIZES_MM = (5.0, 2000.0)


@dataclass(frozen=True)
class TagSettings:
    """The tag that stands for the robot's base."""

    search: bool = True
    """Look for the tag in the pictures: it says where the robot stands and checks the scan's scale."""
    family: Family = "apriltag_36h11"
    """Its kind; `pocketworld tag` prints apriltag_36h11."""
    id: int = 0
    """Its number."""
    size_mm: float = 80.0
    """Side of its black square as printed, mm; the scan's scale is judged by it."""
    offset: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Where the robot's base is from the tag's middle: x along the tag's arrow, y to its left, z up (metres), and how
    far the base is turned to the left (degrees). On an upright face x is out of the face and y to its right, looking at
    it."""
    rescale: bool = False
    """Make the scan larger or smaller so that the tag has its printed size."""
    frames: int = 48
    """Pictures that are looked at, and as many again where it was seen; more are slower and hardly more exact."""


@dataclass(frozen=True)
class Sighting:
    """The tag in one picture.

    Attributes:
        position: of the frame in ``capture.frames``.
        corners: ``(4, 2)`` pixels of the frame's `size`, in the order of `CORNERS`.
    """

    position: int
    corners: FloatArray


@dataclass(frozen=True)
class Sightings:
    """All that was found of the tag.

    Attributes:
        seen: one a picture, ascending.
        others: numbers of other tags of the same family that were seen.
        looked: how many pictures were looked at.
    """

    seen: tuple[Sighting, ...] = ()
    others: tuple[int, ...] = ()
    looked: int = 0


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


def checked(settings: TagSettings) -> TagSettings:
    """`settings` if there is such a tag.

    Raises:
        UsageError: no such number in the family, or an absurd size, offset or count.
    """
    most = FAMILIES[settings.family][-1][0] - 1 if settings.family in FAMILIES else -1
    low, high = _SIZES_MM
    problems = {
        "family": (settings.family in FAMILIES, f"Choose one of {', '.join(get_args(Family))}."),
        "id": (0 <= settings.id <= most, f"Tags of {settings.family} have the numbers 0 … {most}."),
        "size-mm": (low <= settings.size_mm <= high, f"Give the black square's side, {low:g} to {high:g} mm."),
        "offset": (
            bool(np.isfinite(settings.offset).all()) and max(map(abs, settings.offset[:3])) <= 10.0,
            "Give x y z in metres, at most 10, and the turn in degrees.",
        ),
        "frames": (1 <= settings.frames <= 10_000, "Give 1 to 10000."),
    }
    for name, (fine, remedy) in problems.items():
        if not fine:
            value = getattr(settings, name.replace("-", "_"))
            raise UsageError(f"The tag's {name} is {value}.", remedy=remedy, code="bad_value")
    return settings


def modules(family: str, number: int) -> npt.NDArray[np.bool_]:
    """The tag's black (True) and white fields ``(N, N)``, row 0 on top: its border and its bits, no quiet zone."""
    import cv2

    dictionary = _dictionary(family, number)
    count = int(dictionary.markerSize) + 2
    return np.asarray(cv2.aruco.generateImageMarker(dictionary, number, count) < 128)


def _dictionary(family: str, number: int) -> Any:
    import cv2

    name = next(name for count, name in FAMILIES[family] if number < count)
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def find_tag(capture: Capture, settings: TagSettings | None = None, progress: Progress = silent) -> Sightings:
    """Look for the tag in pictures all over the scan, and in more of them about those that show it.

    Raises:
        UsageError: there is no such tag.
    """
    settings = checked(settings or TagSettings())
    usable = [
        position
        for position, frame in enumerate(capture.frames)
        if frame.read_rgb is not None and frame.capture_from_camera is not None
    ]
    if not settings.search or not usable:
        return Sightings()
    first = sorted(set(np.linspace(0, len(usable) - 1, min(settings.frames, len(usable))).round().astype(int).tolist()))
    reach = max(1, -(-len(usable) // max(len(first), 1)))
    look = _looker(settings)
    found: dict[int, tuple[FloatArray | None, set[int]]] = {}

    def search(numbers: Sequence[int], start: float, end: float) -> None:
        frames = [capture.frames[usable[number]] for number in numbers]
        with ThreadPoolExecutor(max_workers=2) as pool:
            for done, (number, result) in enumerate(zip(numbers, pool.map(look, frames), strict=True)):
                found[number] = result
                progress(start + (end - start) * (done + 1) / len(numbers), "looking for the robot's tag")

    search(first, 0.0, 0.5)
    hits = [number for number in first if found[number][0] is not None]
    near = sorted({k for hit in hits for k in range(hit - reach + 1, hit + reach) if 0 <= k < len(usable)} - set(found))
    if near:
        chosen = np.linspace(0, len(near) - 1, min(settings.frames, len(near))).round().astype(int)
        search([near[k] for k in sorted(set(chosen.tolist()))], 0.5, 1.0)
    progress(1.0, "looking for the robot's tag")
    seen = [(number, corners) for number in sorted(found) if (corners := found[number][0]) is not None]
    others = sorted(set().union(*(ids for _, ids in found.values())))
    return Sightings(tuple(Sighting(usable[n], corners) for n, corners in seen), tuple(others), len(found))


def _looker(settings: TagSettings) -> Callable[[Frame], tuple[FloatArray | None, set[int]]]:
    """What looks at one frame: the tag's corners ``(4, 2)`` in pixels or None, and the numbers of other tags."""
    import cv2

    dictionary = _dictionary(settings.family, settings.id)

    def look(frame: Frame) -> tuple[FloatArray | None, set[int]]:
        image = frame.rgb()
        if image is None:
            return None, set()
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        shrink = min(1.0, _LARGEST_SIDE_PX / max(grey.shape))
        if shrink < 1.0:
            grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        corners, ids = _detected(grey, dictionary)
        fields = int(dictionary.markerSize) + 2
        rough = [quad for quad, number in zip(corners, ids, strict=True) if number == settings.id]
        wanted = [fine for quad in rough if (fine := refined_corners(grey, quad, fields)) is not None]
        others = set(ids) - {settings.id}
        if not wanted:
            return None, others
        # Two in one picture: the larger, which is seen better; where both are real, those of one place win later.
        quad = max(wanted, key=lambda corner: float(cv2.contourArea(corner.astype(np.float32))))
        to_frame = np.array(frame.size) / grey.shape[::-1]
        return (quad + 0.5) * to_frame - 0.5, others

    return look


def _detected(grey: ByteImage, dictionary: Any) -> tuple[list[FloatArray], list[int]]:
    """Corners ``(4, 2)`` and number of each tag in a picture."""
    import cv2

    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary, cv2.aruco.DetectorParameters()).detectMarkers(grey)
    numbers = [] if ids is None else [int(number) for number in np.ravel(ids)]
    return [np.asarray(quad, dtype=np.float64).reshape(4, 2) for quad in corners], numbers


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
    chosen = sorted(set(np.linspace(0, len(deep) - 1, min(_DEPTH_FRAMES, len(deep))).round().astype(int).tolist()))
    found = [
        compared
        for k in chosen
        if (compared := _depth_on_tag(tag, capture.frames[deep[k]], poses[deep[k]])) is not None
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


def tag_advice(
    sightings: Sightings, tag: Tag | None, lean_deg: float | None, settings: TagSettings, metric: bool = True
) -> tuple[str, ...]:
    """What the user should know about the tag: plain sentences with advice; none where all is well or no tag is seen.

    Args:
        sightings: what was found.
        tag: what was measured, or None.
        lean_deg: of a tag from which no mount could be made; None where one was.
        settings: of the tag.
        metric: whether the scan says of itself that it is in metres.
    """
    if tag is None:
        return _missed(sightings, settings)
    said = []
    if lean_deg is not None:
        said.append(
            f"The robot's tag leans by {min(lean_deg, 180 - lean_deg):.0f}°, so no robot was placed: lay it flat on the "
            "bench or stick it on an upright face, or give the place with `pocketworld mount`."
        )
    off = tag.scale - 1.0
    if abs(off) > max(SCALE_TOLERANCE, 2.0 * tag.scale_sigma):
        said.append(_scale_sentence(tag, settings, metric))
    return tuple(said)


def _scale_sentence(tag: Tag, settings: TagSettings, metric: bool) -> str:
    word = "large" if tag.scale > 1 else "small"
    percent, sigma = 100 * abs(tag.scale - 1), 200 * tag.scale_sigma
    amount = f"{percent:.1f} % (±{max(sigma, 0.1):.1f} %) too {word}" if tag.scale < 2 else f"{tag.scale:.3g} times too large"
    depth = "" if tag.depth_scale is None else f" ({1e-3 * settings.size_mm * tag.depth_scale * 1e3:.1f} mm by depth alone)"
    return (
        f"The scan is {amount}: the black square of its tag measures {1e3 * tag.side_m:.1f} mm{depth} instead of "
        f"{settings.size_mm:g} mm. Measure the print with a ruler and give what it says as --tag.size-mm; if it is "
        f"right, reconstruct with --tag.rescale{'' if metric else ', which makes the scan metric'}."
    )


def _missed(sightings: Sightings, settings: TagSettings) -> tuple[str, ...]:
    if sightings.seen:
        return (
            f"The robot's tag is in {len(sightings.seen)} of {sightings.looked} pictures, which do not tell where it is: "
            "walk round it, with the whole tag in view from several sides, or give the robot's place with "
            "`pocketworld mount`.",
        )
    if sightings.others:
        numbers = ", ".join(str(number) for number in sightings.others[:5])
        return (
            f"The scan shows tags of {settings.family} with other numbers ({numbers}) than the robot's {settings.id}: "
            "if one of them is the robot's, name it with --tag.id.",
        )
    return ()

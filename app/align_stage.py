"""Where a robot's cameras are, from a tag in their pictures; and whether they see what the policy has learnt from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from app.bundle_stage import open_bundle
from policies.features import IMAGES
from reconstruction.camera_pose import LEAST_VIEWS, Lens, camera_from_tag, focal_of
from reconstruction.disk import write_whole
from reconstruction.errors import InputError, UsageError
from reconstruction.tag_pose import pose_at
from reconstruction.tags import TagSettings, checked, seen_corners

if TYPE_CHECKING:
    from policies.deploy.bundle import Bundle, Manifest

FloatArray = npt.NDArray[np.float64]
ByteImage = npt.NDArray[np.uint8]
FORMAT, VERSION = "pocketworld.alignment", 1
LARGEST_BYTES = 60_000_000
FAR_M, FAR_DEG = 0.06, 5.0
"""Beyond this from where the camera stood in training, a policy has never looked from there."""
SAME_M, SAME_DEG = 0.02, 1.5
"""Two pictures that are nearer to each other than this are of one place."""
SHARP = 0.28
"""A border that takes more than four pixels or so is blurred."""
OFF_PX = 0.8
DARK, BRIGHT = 0.5, 1.8
"""A picture's mean brightness over that of training's, outside of which it is said."""
CLIPPED = 0.2
SOFT = 0.25
"""How little detail, of training's, a picture that is in focus has."""
ALIKE = 0.1
"""Correlation of the coarse picture with training's: lower, and the camera looks elsewhere."""


@dataclass(frozen=True)
class AlignSettings:
    """Which camera, and how it sees."""

    camera: Literal["front", "wrist"] = "front"
    """The one whose pictures these are: that before the robot, or that on its hand."""
    focal_px: float | None = None
    """Its focal length in pixels of the pictures."""
    field_deg: float | None = None
    """In place of that: how much it sees from top to bottom, degrees."""
    upright: bool = False
    """The tag stands upright, its face looking where the robot looks, and does not lie on the bench."""
    joints: tuple[float, ...] = ()
    """For the camera on the hand: the arm's joint positions in all the pictures, rad, in the manifest's order."""


@dataclass(frozen=True)
class Alignment:
    """What was found of a camera.

    Attributes:
        file: where it is written, for `pocketworld run --align`.
        camera: its name.
        pose: ``(4, 4)`` `base_from_camera`, or `tool_from_camera` of the one on the hand.
        focal_px: of a picture as the policy sees it.
        pictures: in which the tag was seen.
        off_px: by how much (rms) its corners are off there, pixels of the pictures as given.
        moved_m: from where the camera stood in training; `turned_deg` likewise.
        warnings: plain sentences with advice.
    """

    file: str
    camera: str
    pose: FloatArray
    focal_px: float
    pictures: int
    off_px: float
    moved_m: float
    turned_deg: float
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return {**dataclasses.asdict(self), "pose": np.round(self.pose, 6).tolist(), "warnings": list(self.warnings)}


def align(
    bundle_folder: Path, pictures: Sequence[Path], settings: AlignSettings, tag: TagSettings, out: Path
) -> Alignment:
    """Find out where a camera is, and write it down for `pocketworld run`.

    The tag is where it is for `pocketworld reconstruct`: `TagSettings.offset` says how the robot's base lies to it.

    Args:
        bundle_folder: of the bundle that is to be run.
        pictures: of that camera, all of one size, with the tag in them; it is where the first one shows it. Others make
            that surer where nothing has moved meanwhile, or tell how long the lens is where the tag has been turned.
        settings: which camera, and how it sees.
        tag: that is in the pictures.
        out: the file; what it says of another camera stays.

    Raises:
        UsageError: the words make no sense.
        InputError: a picture is damaged, or shows no tag.
        OutputError: the file cannot be written.
    """
    bundle = open_bundle(bundle_folder)
    manifest = bundle.manifest
    known = manifest.document.get("cameras") or {}
    if settings.camera not in known:
        raise UsageError(
            f"{bundle_folder} looks at no camera {settings.camera!r}.",
            remedy="A policy that is told where things are needs no cameras." if not known else "Use --camera.",
            code="no_camera",
        )
    checked(tag)
    nominal = known[settings.camera]
    if not pictures:
        raise UsageError("There is no picture.", remedy="Name what the camera sees, PNG or JPEG.", code="bad_value")
    shown = [read_picture(path) for path in pictures]
    size, corners = _tags_in(shown, pictures, tag)
    lens, warnings = _lens(settings, size, nominal, corners, 1e-3 * tag.size_mm)
    holder = _base_from_holder(manifest, settings)
    base_from_tag = _base_from_tag(tag, settings.upright)
    key = "base_from_camera" if settings.camera == "front" else "tool_from_camera"
    believed = np.array(nominal[key], dtype=np.float64)
    poses, offs = [], []
    for quad in corners:
        expected = np.linalg.inv(holder @ believed) @ base_from_tag
        pose, off = camera_from_tag(quad, lens, 1e-3 * tag.size_mm, expected)
        poses.append(np.linalg.inv(holder) @ base_from_tag @ np.linalg.inv(pose))
        offs.append(off)
    alike = [pose for pose in poses if _same(poses[0], pose)]
    pose = _middle(alike)
    side = min(size)
    focal_px = lens.focal_px * nominal["size"][1] / side
    moved_m, turned_deg = _between(believed, pose)
    off_px = float(np.median(offs))
    if len(alike) < len(poses) and (settings.focal_px is not None or settings.field_deg is not None):
        warnings.append(
            f"In {len(poses) - len(alike)} of {len(poses)} pictures the camera, or the tag, is elsewhere than in the "
            "first: only those like that count."
        )
    warnings += _doubts(moved_m, turned_deg, off_px, focal_px / nominal["focal_px"])
    if _softness(_grey(shown[0]), corners[0]) < SHARP:
        warnings.append("The tag is blurred: focus the camera, and hold it still. Its place may be off by centimetres.")
    warnings += picture_doubts(shown[0], bundle, settings.camera)
    document = _written(out, bundle)
    document["cameras"][settings.camera] = {"size": nominal["size"], "focal_px": round(focal_px, 4), key: pose.tolist()}
    write_whole(out.absolute(), json.dumps(document, indent=1) + "\n")
    return Alignment(
        str(out.absolute()), settings.camera, pose, focal_px, len(corners), off_px, moved_m, turned_deg, tuple(warnings)
    )


def _tags_in(
    shown: Sequence[ByteImage], names: Sequence[Path], tag: TagSettings
) -> tuple[tuple[int, int], list[FloatArray]]:
    """Width and height of some pictures, and the tag's corners ``(4, 2)`` in those that show it."""
    sizes = {(picture.shape[1], picture.shape[0]) for picture in shown}
    if len(sizes) != 1:
        raise UsageError("The pictures are of different sizes.", remedy="Give those of one camera.", code="bad_value")
    found = [seen_corners(_grey(picture), tag) for picture in shown]
    if found[0] is None:
        raise InputError(
            f"The tag {tag.id} of {tag.family} is not to be seen in {names[0]}.",
            remedy="Check --tag.id and --tag.family; let the whole tag with its white margin be seen, in good light.",
            code="no_tag",
        )
    return sizes.pop(), [corners for corners in found if corners is not None]


def _softness(grey: ByteImage, corners: FloatArray) -> float:
    """How much of the step from black to white a tag's sharpest borders take in one pixel; 1 is as sharp as it gets."""
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    part = grey[max(low[1] - 2, 0) : high[1] + 3, max(low[0] - 2, 0) : high[0] + 3].astype(np.float64)
    contrast = float(np.percentile(part, 95) - np.percentile(part, 5))
    steps = np.hypot(np.diff(part, axis=1)[:-1], np.diff(part, axis=0)[:, :-1])
    return float(np.percentile(steps, 97)) / max(contrast, 1.0)


def _written(out: Path, bundle: Bundle) -> dict[str, Any]:
    """What the file says already, else the cameras as the bundle believes them to be."""
    if out.exists():
        try:
            document = json.loads(out.read_text(encoding="utf-8"))
            if document["format"] == FORMAT and isinstance(document["cameras"], dict):
                return dict(document)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        raise InputError(f"{out} is no alignment.", remedy="Choose another --out.", code="path_in_the_way")
    cameras = {name: dict(entry) for name, entry in bundle.manifest.document["cameras"].items()}
    return {"format": FORMAT, "version": VERSION, "robot": bundle.manifest.robot, "cameras": cameras}


def _lens(
    settings: AlignSettings, size: tuple[int, int], nominal: Mapping[str, Any], views: list[FloatArray], side_m: float
) -> tuple[Lens, list[str]]:
    """How the camera sees: as told, else as its pictures of the tag tell, else as the policy believes."""
    if settings.focal_px is not None and settings.field_deg is not None:
        raise UsageError("--focal-px and --field-deg are one thing.", remedy="Give one of them.", code="bad_value")
    if settings.field_deg is not None:
        if not 1.0 <= settings.field_deg <= 170.0:
            raise UsageError(f"--field-deg is {settings.field_deg}.", remedy="Give 1 … 170.", code="bad_value")
        return Lens(size[1] / 2 / math.tan(math.radians(settings.field_deg / 2)), size), []
    if settings.focal_px is not None:
        if not 0.1 * max(size) <= settings.focal_px <= 100.0 * max(size):
            raise UsageError(
                f"--focal-px is {settings.focal_px} in pictures of {size[0]} × {size[1]} pixels.",
                remedy="Give it in pixels of these pictures.",
                code="bad_value",
            )
        return Lens(settings.focal_px, size), []
    found = focal_of(views, size, side_m)
    if found is not None and found[1] < 0.03 * found[0]:
        return Lens(found[0], size), []
    believed = nominal["focal_px"] * min(size) / nominal["size"][1]
    return Lens(believed, size), [
        "Nobody has said how the camera sees: its focal length is taken to be that of training. Give --focal-px or "
        f"--field-deg, or {LEAST_VIEWS} pictures and more of the tag, it or the camera turned to many sides."
    ]


def _base_from_tag(tag: TagSettings, upright: bool) -> FloatArray:
    """Where the tag is, seen from the robot's base (`reconstruction.tag_pose.mount_from_tag` the other way round)."""
    tag_from_frame = np.eye(4)
    if upright:  # x is out of the face, y to the right of who reads it, z up
        tag_from_frame[:3, :3] = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).T
    frame_from_base = pose_at(np.array(tag.offset[:3]), tag.offset[3])
    return np.asarray(np.linalg.inv(tag_from_frame @ frame_from_base))


def _base_from_holder(manifest: Manifest, settings: AlignSettings) -> FloatArray:
    """The pose ``(4, 4)`` of what carries the camera: nothing but the base, or the hand."""
    if settings.camera == "front":
        return np.eye(4)
    if len(settings.joints) != len(manifest.joints) or not np.isfinite(settings.joints).all():
        raise UsageError(
            f"The camera on the hand needs the arm's {len(manifest.joints)} joint positions.",
            remedy=f"Give --joints with rad of {', '.join(manifest.joints)}, in this order.",
            code="bad_value",
        )
    joints, chain = np.array(settings.joints), manifest.chain
    if (joints < chain.low - 0.1).any() or (joints > chain.high + 0.1).any():
        raise UsageError(
            "The arm cannot stand as --joints says: that is beyond its limits.",
            remedy="Give radians, not degrees, in the manifest's order.",
            code="bad_value",
        )
    return np.asarray(chain.tool(joints))


def _middle(poses: Sequence[FloatArray]) -> FloatArray:
    """The pose that is nearest to all others: one picture that is off does not count."""
    far = [sum(metres + math.radians(degrees) for metres, degrees in (_between(a, b) for b in poses)) for a in poses]
    return poses[int(np.argmin(far))]


def _same(first: FloatArray, second: FloatArray) -> bool:
    metres, degrees = _between(first, second)
    return metres < SAME_M and degrees < SAME_DEG


def _between(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Metres and degrees from one pose to another."""
    turn = first[:3, :3].T @ second[:3, :3]
    degrees = np.degrees(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0)))
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3])), float(degrees)


def _doubts(moved_m: float, turned_deg: float, off_px: float, zoom: float) -> list[str]:
    found = []
    if off_px > OFF_PX:
        found.append(
            f"The tag's corners are off by {off_px:.1f} pixels: is it flat, is its size right (--tag.size-mm), and "
            "what is said of the lens (--field-deg, --focal-px)?"
        )
    if moved_m > FAR_M or turned_deg > FAR_DEG:
        found.append(
            f"The camera is {100 * moved_m:.0f} cm and {turned_deg:.0f}° from where it stood in training: the policy "
            "has hardly looked from there. Move it, or train with it there."
        )
    if not 0.9 < zoom < 1.1:
        found.append(
            f"The camera sees {'less' if zoom > 1 else 'more'} than that of training: its focal length is {zoom:.2f} "
            "times as long. Zoom, or crop its pictures."
        )
    return found


# --- what is in the picture ------------------------------------------------------------------------------------------


def read_picture(path: Path) -> ByteImage:
    """A picture ``(H, W, 3)`` RGB.

    Raises:
        InputError: it is none, or too large.
    """
    import cv2

    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError("it is too large")
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        found = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if found is None:
            raise ValueError("it is no picture, or damaged")
        if min(found.shape[:2]) < 48:
            raise ValueError("it is too small")
    except (OSError, ValueError, cv2.error) as error:
        raise InputError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            remedy="Give a PNG or JPEG file of what the camera sees.",
            code="bad_picture",
        ) from None
    return np.asarray(found[..., ::-1], dtype=np.uint8)


def _grey(picture: ByteImage) -> ByteImage:
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def as_seen(picture: ByteImage, side: int) -> ByteImage:
    """The middle of a picture, as wide as high, ``(side, side, 3)``: as a policy sees it."""
    import cv2

    height, width = picture.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = picture[top : top + short, left : left + short]
    return np.asarray(cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def picture_doubts(picture: ByteImage, bundle: Bundle, camera: str) -> list[str]:
    """What is wrong with a camera's picture, beside those that the policy has learnt from.

    Args:
        picture: ``(H, W, 3)`` RGB.
        bundle: with the pictures of one demonstration.
        camera: whose picture it is.
    """
    import cv2

    learnt = bundle.sample.get(f"{IMAGES}{camera}")
    if learnt is None or not len(learnt):
        return []
    side = learnt.shape[1]
    now = _grey(as_seen(picture, side)).astype(np.float64)
    then = np.stack([_grey(shot).astype(np.float64) for shot in learnt[:: max(1, len(learnt) // 16)]])
    found = []
    share = now.mean() / max(float(then.mean()), 1.0)
    if share < DARK or share > BRIGHT:
        found.append(
            f"The picture is {share:.1f} times as bright as those of training: change the light, or the exposure."
        )
    if (now > 250).mean() > CLIPPED + (then > 250).mean():
        found.append("Much of the picture is white: shorten the exposure.")
    detail = float(cv2.Laplacian(now, cv2.CV_64F).std()) / max(now.std(), 1.0)
    usual = float(np.median([cv2.Laplacian(shot, cv2.CV_64F).std() / max(shot.std(), 1.0) for shot in then]))
    if detail < SOFT * usual:
        found.append("The picture is blurred: focus the camera, clean its lens.")
    coarse = [cv2.resize(shot, (12, 12), interpolation=cv2.INTER_AREA).ravel() for shot in (now, then.mean(axis=0))]
    if now.std() < 3.0 or np.corrcoef(*coarse)[0, 1] < ALIKE:
        found.append(
            f"The picture does not look like those of training: is it really the {camera} camera, and upright?"
        )
    return found

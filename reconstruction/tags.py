"""A printed tag is found in the pictures of a scan (`cv2.aruco`); `reconstruction.tag_pose` says where it lies.

`pocketworld tag` prints one.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
        f"aruco_{n}x{n}": tuple((count, f"DICT_{n}X{n}_{count}") for count in (50, 100, 250, 1000))
        for n in (4, 5, 6, 7)
    },
}
"""Of each family OpenCV's dictionaries, as (how many tags, name). ArUco's larger ones begin with the smaller ones' tags
and mend fewer wrong bits: the smallest that has the tag is the best."""

_OTHER_FRAMES = 6
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
        corners: ``(4, 2)`` pixels of the frame's `size`, from the upper left one on, clockwise as printed.
    """

    position: int
    corners: FloatArray


@dataclass(frozen=True)
class Sightings:
    """All that was found of the tag.

    Attributes:
        seen: one a picture, ascending.
        others: numbers of other tags of the same family, looked for in a few pictures where it was not seen.
        looked: how many pictures were looked at.
    """

    seen: tuple[Sighting, ...] = ()
    others: tuple[int, ...] = ()
    looked: int = 0


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
    reach = -(-len(usable) // settings.frames)
    found: dict[int, FloatArray | None] = {}

    def search(numbers: Sequence[int], start: float) -> None:
        frames = [capture.frames[usable[number]] for number in numbers]
        with ThreadPoolExecutor(max_workers=2) as pool:
            results = pool.map(lambda frame: _seen_corners(frame, settings), frames)
            for done, (number, corners) in enumerate(zip(numbers, results, strict=True)):
                found[number] = corners
                progress(start + 0.5 * (done + 1) / len(numbers), "looking for the robot's tag")

    search(spread(range(len(usable)), settings.frames), 0.0)
    hits = [number for number, corners in found.items() if corners is not None]
    near = sorted({k for hit in hits for k in range(hit - reach + 1, hit + reach) if 0 <= k < len(usable)} - set(found))
    search(spread(near, settings.frames), 0.5)
    seen = tuple(Sighting(usable[n], corners) for n in sorted(found) if (corners := found[n]) is not None)
    others = () if seen else _other_tags([capture.frames[p] for p in spread(usable, _OTHER_FRAMES)], settings)
    progress(1.0, "looking for the robot's tag")
    return Sightings(seen, others, len(found))


def spread(items: Sequence[int], count: int) -> list[int]:
    """Up to `count` of the items, evenly spaced."""
    numbers = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[number] for number in sorted(set(numbers.tolist()))]


def _seen_corners(frame: Frame, settings: TagSettings) -> FloatArray | None:
    """The tag's corners ``(4, 2)`` in pixels of the frame's size, or None."""
    grey = _grey(frame)
    quad = None if grey is None else seen_corners(grey, settings)
    if grey is None or quad is None:
        return None
    return np.asarray((quad + 0.5) * np.array(frame.size) / grey.shape[::-1] - 0.5)


def seen_corners(grey: ByteImage, settings: TagSettings) -> FloatArray | None:
    """The tag's corners ``(4, 2)`` in a picture ``(H, W)``, pixels, from the upper left one on, clockwise; or None."""
    import cv2

    family = _dictionary(settings.family, settings.id)
    # Only the one tag: comparing with all of a large family takes far longer than all the rest.
    alone = cv2.aruco.Dictionary(
        family.bytesList[settings.id : settings.id + 1], family.markerSize, family.maxCorrectionBits
    )
    rough = [quad for quad, _ in _detected(grey, alone)]
    fields = int(family.markerSize) + 2
    quads = [fine for quad in rough if (fine := refined_corners(grey, quad, fields)) is not None]
    if not quads:
        return None
    # Two in one picture: the larger is seen better; where both are real, those of one place win later.
    return max(quads, key=lambda corners: float(cv2.contourArea(corners.astype(np.float32))))


def _other_tags(frames: Sequence[Frame], settings: TagSettings) -> tuple[int, ...]:
    """Numbers of the family's tags in some pictures."""
    dictionary = _dictionary(settings.family, FAMILIES[settings.family][-1][0] - 1)
    images = [grey for frame in frames if (grey := _grey(frame)) is not None]
    return tuple(sorted({number for grey in images for _, number in _detected(grey, dictionary)}))


def _grey(frame: Frame) -> ByteImage | None:
    """The frame's picture ``(H, W)``, made smaller where it is very large; None without one."""
    import cv2

    image = frame.rgb()
    if image is None:
        return None
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrink = min(1.0, _LARGEST_SIDE_PX / max(grey.shape))
    if shrink < 1.0:
        grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.uint8)


def _detected(grey: ByteImage, dictionary: Any) -> list[tuple[FloatArray, int]]:
    """Corners ``(4, 2)``, good to a pixel or two, and number of each tag in a picture."""
    import cv2

    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary, cv2.aruco.DetectorParameters()).detectMarkers(grey)
    numbers = [] if ids is None else np.ravel(ids).tolist()
    return [(np.asarray(quad, dtype=np.float64).reshape(4, 2), n) for quad, n in zip(corners, numbers, strict=True)]

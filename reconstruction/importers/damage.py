"""Which frames of a scan are usable: a few damaged ones are left out and reported, many are a damaged scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from reconstruction.capture import ByteImage, Capture, DepthImage, Frame
from reconstruction.errors import InputError

Reader = Callable[[], ByteImage] | Callable[[], DepthImage]
_BLACK_LEVEL = 12
_MAX_TIME_S = 1e12
"""Seconds since any epoch, in 32 000 years; larger numbers are damage and overflow further on."""

FATAL_CODES = {"wrong_size", "wrong_depth_size", "image_too_large"}
"""Not the marks of a damaged file but of an edited or hostile one: refused at the first."""

MAX_DAMAGED_SHARE = 0.2
"""Above this share of damaged frames a scan is refused; a single damaged frame never is the reason."""


def sound_frames(
    indices: Iterable[int], build: Callable[[int], Frame | None], where: str
) -> tuple[list[Frame], tuple[str, ...]]:
    """Build every frame, leaving damaged ones out.

    Args:
        indices: the frames' numbers, ascending.
        build: makes one frame; None where there is nothing to import, `InputError` where it is damaged.
        where: the scan's name for messages.

    Returns:
        The frames with `time_s` counted from the first, and sentences for `Capture.missing`.

    Raises:
        InputError: no frame at all, more than `MAX_DAMAGED_SHARE` of them damaged, or an error of `FATAL_CODES`.
    """
    frames: list[Frame] = []
    errors: list[tuple[int, InputError]] = []
    for index in indices:
        try:
            frame = _plausible(build(index), where)
        except InputError as error:
            if error.code in FATAL_CODES:
                raise
            errors.append((index, error))
        else:
            if frame is not None:
                frames.append(frame)
    _refuse_many(errors, len(frames), where)
    if not frames:
        raise InputError(
            f"{where} holds no frames.",
            remedy="Record for a few seconds, check that the app saved depth, and export again.",
            code="no_frames",
        )
    start = frames[0].time_s
    return [replace(frame, time_s=frame.time_s - start) for frame in frames], _sentences(errors)


def _plausible(frame: Frame | None, where: str) -> Frame | None:
    """`frame`, unless its camera is none that takes such an image, or its time is none that a clock shows.

    Raises:
        InputError: a focal length or principal point far off the image's size, or an absurd timestamp.
    """
    if frame is None:
        return None
    (fx, _, cx), (_, fy, cy), _ = frame.intrinsics.tolist()
    width, height = frame.size
    side = max(width, height)
    if not (0.02 * side < min(fx, fy) <= max(fx, fy) < 100 * side and abs(cx) < 2 * width and abs(cy) < 2 * height):
        raise InputError(
            f"{where}: frame {frame.index}: the camera intrinsics fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g} make no "
            f"camera for {width}x{height} pixels.",
            remedy="Export the scan again.",
            code="bad_intrinsics",
        )
    if not abs(frame.time_s) < _MAX_TIME_S:
        raise InputError(
            f"{where}: frame {frame.index}: its time of {frame.time_s:g} s is none.",
            remedy="Export the scan again.",
            code="bad_field",
        )
    return frame


def refuse_blank(capture: Capture) -> Capture:
    """`capture`, unless all its colour images are black or all its depth images empty.

    A few images all over the scan are looked at, and no more of them than it takes to find one that is not.

    Raises:
        InputError: nothing to see, or every image that was tried is damaged.
    """
    deep = [frame.read_depth for frame in capture.frames if frame.read_depth is not None]
    if deep and not _any_content(deep):
        raise InputError(
            f"{capture.source}: none of the depth images has a measurement.",
            remedy="Check that the LiDAR's window is clean and nothing is nearer than 20 cm, then scan again.",
            code="no_depth",
        )
    coloured = [frame.read_rgb for frame in capture.frames if frame.read_rgb is not None]
    if coloured and not _any_content(coloured):
        raise InputError(
            f"{capture.source}: all images are black.",
            remedy="Uncover the camera, switch on the light, and scan again.",
            code="all_black",
        )
    return capture


class DamagedImages:
    """Images whose damage shows only when they are decoded: their frames then count as having none."""

    def __init__(self) -> None:
        self._found: dict[int, InputError] = {}

    def forgiven(self, capture: Capture) -> Capture:
        """`capture` whose frames give None for a damaged image instead of raising."""
        frames = [
            replace(
                frame,
                read_rgb=self._or_none(frame.index, frame.read_rgb),
                read_depth=self._or_none(frame.index, frame.read_depth),
                read_confidence=self._or_none(frame.index, frame.read_confidence),
            )
            for frame in capture.frames
        ]
        return replace(capture, frames=frames)

    def note(self, index: int, error: InputError) -> None:
        """Keep what is wrong with the frame of number `index`."""
        self._found.setdefault(index, error)

    def sentences(self) -> tuple[str, ...]:
        """What was found so far, for the user; in order of the frames, whoever read them."""
        return _sentences(sorted(self._found.items()), "damaged image(s)")

    def _or_none(self, index: int, read: Callable[[], Any] | None) -> Callable[[], Any] | None:
        if read is None:
            return None

        def forgiving() -> Any:
            try:
                return read()
            except InputError as error:
                self.note(index, error)
                return None

        return forgiving


def _spread(items: Sequence[Reader]) -> list[Reader]:
    """Up to 16 of the items, evenly spaced, from the middle on: starts and ends are the likeliest to be dark."""
    some = list(items[:: max(len(items) // 16, 1)])
    half = len(some) // 2
    return some[half:] + some[:half]


def _any_content(readers: Sequence[Reader]) -> bool:
    """Whether one of the images shows something.

    Raises:
        InputError: all that were tried are damaged.
    """
    errors: list[InputError] = []
    chosen = _spread(readers)
    for read in chosen:
        try:
            image = read()
        except InputError as error:
            errors.append(error)
            continue
        if image.max() > (_BLACK_LEVEL if image.dtype == "uint8" else 0):
            return True
    if len(errors) == len(chosen):
        raise errors[0]
    return False


def _refuse_many(errors: Sequence[tuple[int, InputError]], good: int, where: str) -> None:
    total = len(errors) + good
    if errors and (good == 0 or (len(errors) > 1 and len(errors) > MAX_DAMAGED_SHARE * total)):
        first = errors[0][1]
        raise InputError(
            f"{where}: {len(errors)} of {total} frames are unusable. First: {first.message}",
            remedy=first.remedy,
            code=first.code,
        ) from first


def _sentences(errors: Sequence[tuple[int, InputError]], what: str = "damaged frame(s)") -> tuple[str, ...]:
    if not errors:
        return ()
    numbers = ", ".join(str(index) for index, _ in errors[:10]) + (" …" if len(errors) > 10 else "")
    return (f"{len(errors)} {what} left out ({numbers}): {errors[0][1].message}",)

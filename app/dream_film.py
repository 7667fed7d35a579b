"""Pictures with what was dreamed drawn into them, and how far short of it things fell running below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from policies.deploy.trust import Trust
from policies.dreams import Dreams
from simulation.calibration import calibrated

FloatArray = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.uint8]
COLOURS = ((255, 255, 255), (255, 170, 0), (60, 220, 120))
"""RGB of the tool, of the thing that is moved, and of where it goes."""
GROUND, LINE, FAINT, LIMIT = (24, 24, 28), (255, 170, 0), (110, 110, 120), (230, 60, 60)
STRIP = 4
"""The curve is as high as one in so many of the picture's rows."""
FINE = 4
"""Binary digits of a pixel's parts to which lines are drawn."""


def seen_at(known: FloatArray, points: FloatArray, size: int) -> FloatArray:
    """Where points are in the pictures of a camera that stands still: ``(..., 2)`` pixels, right and down.

    Args:
        known: ``(11,)`` of the camera (`simulation.calibration`).
        points: ``(..., 3)`` metres, base frame.
        size: width and height of the pictures.
    """
    pose, optics = calibrated(known, (size, size))
    return (optics.seen_at((points - pose[:3, 3]) @ pose[:3, :3]) + 1.0) * (size / 2) - 0.5


def drawn(
    pictures: Pictures, known: FloatArray, dreams: Dreams, trust: Trust, limit_m: float | None, size: int
) -> Pictures:
    """``(T, size + size // STRIP, size, 3)`` a film of what was dreamed, and of what came.

    A ring is where a dream, made the middle one of the horizons before, has the tool or a thing to be; a dot where it
    is, or is seen; the line between them is by how much that was off. The thin line from the dot on is what is dreamed
    now.

    Args:
        pictures: ``(T, H, H, 3)`` of the camera.
        known: what is known of it.
        dreams: of those frames.
        trust: the doubts of them.
        limit_m: beyond which the arm is stopped, where that is known.
        size: width of the film, pixels, even.
    """
    import cv2

    horizon = len(dreams.horizons) // 2
    ago = dreams.horizons[horizon]
    now, ahead = (seen_at(known, points, size) for points in (dreams.places, dreams.ahead))
    frames = []
    for number, picture in enumerate(pictures):
        large = cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)
        for place, colour in enumerate(_colours(now.shape[1])):
            here = now[number, place]
            _line(large, [here, *ahead[number, :, place]], colour)
            _round(large, here, 3, colour, filled=True)
            if number >= ago:
                there = ahead[number - ago, horizon, place]
                _line(large, [here, there], LIMIT)
                _round(large, there, 7, colour, filled=False)
        frames.append(np.concatenate([large, _curve(trust, limit_m, number, len(pictures), size)]))
    return np.stack(frames)


def _curve(trust: Trust, limit_m: float | None, now: int, frames: int, size: int) -> Pictures:
    """``(size // STRIP, size, 3)`` the doubts over an episode of so many frames, those until `now` bright."""
    import cv2

    height = size // STRIP
    strip = np.full((height, size, 3), GROUND, dtype=np.uint8)
    low = min([0.0, *trust.doubts])
    high = max([0.05, *trust.doubts, 1.2 * (limit_m or 0.0)])

    def at(frame: float, metres: float) -> FloatArray:
        return np.array([frame / max(1, frames - 1) * (size - 1), (high - metres) / (high - low) * (height - 5) + 2])

    _line(strip, [at(0, 0.0), at(frames - 1, 0.0)], FAINT)
    if limit_m is not None:
        _line(strip, [at(0, limit_m), at(frames - 1, limit_m)], LIMIT)
    points = [at(tick, doubt) for tick, doubt in zip(trust.ticks, trust.doubts, strict=True)]
    _line(strip, points, FAINT)
    come = sum(tick <= now for tick in trust.ticks)
    _line(strip, points[:come], LINE)
    last = 100 * trust.doubts[come - 1] if come else 0.0
    said = f"{abs(last):.0f} cm {'short' if last >= 0 else 'ahead'}" if come else ""
    cv2.putText(strip, said, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, LINE, 1, cv2.LINE_AA)
    return strip


def _colours(count: int) -> Sequence[tuple[int, int, int]]:
    return [COLOURS[min(number, len(COLOURS) - 1)] for number in range(count)]


def _line(picture: Pictures, points: Sequence[FloatArray], colour: tuple[int, int, int]) -> None:
    import cv2

    if len(points) > 1:
        rows = np.array([_fine(point) for point in points])
        cv2.polylines(picture, [rows], False, colour, 1, cv2.LINE_AA, FINE)


def _round(picture: Pictures, at: FloatArray, radius: int, colour: tuple[int, int, int], *, filled: bool) -> None:
    import cv2

    x, y = _fine(at)
    cv2.circle(picture, (int(x), int(y)), radius << FINE, colour, -1 if filled else 1, cv2.LINE_AA, FINE)


def _fine(at: FloatArray) -> npt.NDArray[np.int32]:
    """In parts of a pixel, as OpenCV takes them; far outside of a picture is outside."""
    return np.round(np.clip(np.nan_to_num(at), -1e4, 1e4) * (1 << FINE)).astype(np.int32)

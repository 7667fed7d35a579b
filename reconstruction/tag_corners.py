"""Corners of a printed tag to a fraction of a pixel: its four sides are straight, and long enough to be measured well.

A camera's picture is bent: pixels mix light, and what is then stored is about its square root. A blurred border between
black and white looks moved into the black by that, and a tag smaller by one pixel and more. So light is measured, not
pixel values, and the place of a border is where it is half way from the black to the white beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, FloatArray

POINTS = 24
STEPS = 33
REACHES = (0.8, 0.55, 0.55)
"""Half the length of the profiles across a side in each round, in fields: short ones keep clear of what lies beyond the
white margin and the black border, a longer one finds a side that is not well known yet."""
CONTRAST = 0.02


def refined_corners(grey: ByteImage, corners: FloatArray, fields: int) -> FloatArray | None:
    """The corners ``(4, 2)`` of a tag where straight lines through its sides meet; None where a side is not seen well.

    Args:
        grey: the picture ``(H, W)``.
        corners: ``(4, 2)`` in pixels, in order round the tag, right to about half a field.
        fields: black and white fields along a side, the black border's two among them.
    """
    import cv2

    light = cv2.LUT(grey, np.square(np.arange(256, dtype=np.float32) / 255.0))
    unit = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    quad = corners
    for reach in REACHES:
        lines = []
        for k in range(4):
            # The side from corner k to the next one, as the unit square's lower edge; its inside is above.
            points = _border(light, np.roll(quad, -k, axis=0), unit, reach / fields)
            if points is None:
                return None
            lines.append(_line(points))
        crossed = np.array([np.cross(lines[k - 1], lines[k]) for k in range(4)])
        if (np.abs(crossed[:, 2]) < 1e-9).any():
            return None
        quad = crossed[:, :2] / crossed[:, 2:]
        if np.linalg.norm(quad - corners, axis=1).max() > np.linalg.norm(corners[0] - corners[2]) / fields:
            return None
    return quad


def _border(light: npt.NDArray[np.float32], quad: FloatArray, unit: FloatArray, reach: float) -> FloatArray | None:
    """Points ``(N, 2)`` of the picture on the border between black and white along the quad's first side.

    They are sought within `reach` of it, in sides.
    """
    import cv2

    to_picture = cv2.getPerspectiveTransform(unit.astype(np.float32), quad.astype(np.float32))

    def mapped(along: FloatArray, inward: FloatArray) -> FloatArray:
        places = np.stack([along, inward, np.ones_like(along)], axis=-1) @ to_picture.T
        return np.asarray(places[..., :2] / places[..., 2:])

    # A field of white lies outside and one of black inside: a profile across ends within both.
    along, inward = np.meshgrid(np.linspace(0.08, 0.92, POINTS), np.linspace(-reach, reach, STEPS), indexing="ij")
    places = mapped(along, inward).astype(np.float32)
    values = cv2.remap(light, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    white, black = np.median(values[:, : STEPS // 6]), np.median(values[:, -(STEPS // 6) :])
    if white - black < CONTRAST:
        return None
    # Where a sharp step would have the same integral: every sample counts, and a symmetric blur cancels.
    share = np.clip((values - black) / (white - black), -0.2, 1.2).mean(axis=1)
    return mapped(along[:, 0], reach * (2.0 * share - 1.0))


def _line(points: FloatArray) -> FloatArray:
    """The line ``(3,)`` through points ``(N, 2)``, those that lie off it counting little."""
    weights = np.ones(len(points))
    normal, center = np.zeros(2), np.zeros(2)
    for _ in range(6):
        center = np.average(points, axis=0, weights=weights)
        _, vectors = np.linalg.eigh(((points - center) * weights[:, None]).T @ (points - center))
        normal = vectors[:, 0]
        off = np.abs((points - center) @ normal)
        weights = 1.0 / np.maximum(off, 0.1)
    return np.array([*normal, -float(normal @ center)])

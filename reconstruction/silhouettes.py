"""What stands over a support, as silhouettes in colour.

Every picture is laid onto the plane of the support. There the support, its patterns and the shadows on it look the same
in all pictures, and their median shows it bare; what stands over it lies elsewhere in each of them. So a picture's
difference from the median is a silhouette of what stands over the support (Piccardi, "Background subtraction
techniques", 2004). A plane sweep over heights (Collins, "A space-sweep approach to true multi-image matching", 1996)
finds the places over it that lie in the silhouette in all directions from which they were seen: their visual hull
(Laurentini, 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.heightmap import FloatGrid, Ground, HeightMap
from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent
from reconstruction.texture import TextureView

ByteStack = npt.NDArray[np.uint8]
BoolStack = npt.NDArray[np.bool_]
CELL_M = 0.0015
"""Resolution on the support …"""
MAX_CELLS = 600_000
"""… which gets coarser where that takes more cells than this."""
CONTRAST = 14.0
"""A picture differs from the support by at least this much (of 255) …"""
NOISE_RATIO = 3.0
"""… and by this many times as much as it usually does there."""
MIN_VIEWS = 8
"""At least so many pictures show a place without a thing in front of it."""


@dataclass(frozen=True)
class Sheets:
    """Pictures laid onto the support.

    Attributes:
        origin: ``(2,)`` x, y of the middle of cell [0, 0], metres.
        cell_m: side of a cell.
        ground_m: ``(X, Y)`` z of the support.
        rgb: ``(V, X, Y, 3)`` uint8.
        clear: ``(V, X, Y)`` bool: in the picture, and no known thing in front.
        eyes: ``(V, 3)`` where the pictures were taken.
    """

    origin: FloatArray
    cell_m: float
    ground_m: FloatGrid
    rgb: ByteStack
    clear: BoolStack
    eyes: FloatArray

    def spread(self, place: FloatArray) -> float:
        """The lesser variance of the level unit vectors towards the cameras that see a place ``(2,)``."""
        x, y = np.round((place - self.origin) / self.cell_m).astype(int)
        toward = self.eyes[self.clear[:, x, y], :2] - place
        toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-6)
        return float(np.linalg.eigvalsh(np.cov(toward.T))[0]) if len(toward) > 2 else 0.0


def lay_out(
    views: Sequence[TextureView],
    heights: HeightMap,
    ground: Ground,
    meshes: Sequence[Mesh],
    reach_m: float,
    progress: Progress = silent,
) -> Sheets | None:
    """The pictures on the support within `reach_m` of `meshes`, or None where too few show it."""
    import cv2
    from scipy import ndimage

    corners = np.concatenate([mesh.vertices[:, :2] for mesh in meshes])
    support = heights.xy()[ground.level >= 0]
    low = np.maximum(corners.min(axis=0) - reach_m, support.min(axis=0))
    high = np.minimum(corners.max(axis=0) + reach_m, support.max(axis=0))
    if (high - low).min() < reach_m:
        return None
    cell = max(CELL_M, float(np.sqrt(np.prod(high - low) / MAX_CELLS)))
    x, y = (np.arange(low[axis], high[axis], cell, dtype=np.float32) for axis in (0, 1))
    where = np.stack(np.meshgrid(*((a - o) / heights.cell_m for a, o in zip((x, y), heights.origin, strict=True)),
                                 indexing="ij"))  # fmt: skip
    z = ndimage.map_coordinates(ground.height_m, where, order=1, mode="nearest")
    level = float(np.median(z))
    rgb, clear, eyes = [], [], []
    kernel = np.ones((5, 5), np.uint8)
    for number, view in enumerate(views):
        progress(0.8 * number / len(views), f"laying picture {number + 1} of {len(views)} on the support")
        picture = view.read_rgb()
        if picture is None:
            continue
        camera_from_scene = np.linalg.inv(view.scene_from_camera)
        rows = (view.intrinsics @ camera_from_scene[:3]).astype(np.float32)
        u, v, w = (a * x[:, None] + b * y[None, :] + c * z + d for a, b, c, d in rows)
        before = w > 0.05
        u, v = u / np.where(before, w, 1.0), v / np.where(before, w, 1.0)
        shown = before & (u >= 0) & (u <= picture.shape[1] - 1) & (v >= 0) & (v <= picture.shape[0] - 1)
        if not shown.any():
            continue
        eye = view.scene_from_camera[:3, 3]
        hidden = np.zeros(z.shape, dtype=np.uint8)
        for mesh in meshes:
            # What a thing hides of the support lies within the outline of its central projection onto it.
            share = (eye[2] - level) / np.maximum(eye[2] - mesh.vertices[:, 2], 0.05)
            shadow = eye[:2] + share[:, None] * (mesh.vertices[:, :2] - eye[:2])
            cells = np.clip(np.round((shadow - low) / cell), -9999, 9999).astype(np.int32)
            cv2.fillConvexPoly(hidden, cv2.convexHull(cells[:, ::-1].reshape(-1, 1, 2)), 1)
        rgb.append(np.asarray(cv2.remap(picture, u, v, cv2.INTER_LINEAR), dtype=np.uint8))
        clear.append(shown & (cv2.dilate(hidden, kernel) == 0))
        eyes.append(eye)
    if len(rgb) < MIN_VIEWS:
        return None
    return Sheets(low, cell, z, np.stack(rgb), np.stack(clear), np.stack(eyes))


def differences(sheets: Sheets) -> tuple[ByteStack, FloatGrid]:
    """``(V, X, Y)`` how much (of 255) each picture differs from the bare support, 0 where it is not clear; and
    ``(X, Y)`` how much pictures usually do.
    """
    import cv2

    believed = sheets.clear.sum(axis=0) >= MIN_VIEWS
    clear = sheets.clear[:, believed]
    colors = sheets.rgb[:, believed]
    bare = _median(colors, clear)
    different = np.zeros(clear.shape, dtype=np.uint8)
    for picture, own, result in zip(colors, clear, different, strict=True):
        # A phone changes exposure and white balance on the way.
        some = np.flatnonzero(own)[::50]
        gain = np.median((picture[some] + 1.0) / (bare[some] + 1.0), axis=0) if len(some) else np.ones(3)
        for channel in range(3):
            expected = cv2.convertScaleAbs(bare[:, channel], alpha=float(gain[channel])).ravel()
            np.maximum(result, cv2.absdiff(picture[:, channel], expected).ravel(), out=result)
        result *= own
    spread = np.zeros(sheets.clear.shape, dtype=np.uint8)
    for sheet, result in zip(spread, different, strict=True):
        sheet[believed] = result
    usual = np.zeros(sheets.ground_m.shape, dtype=np.float32)
    usual[believed] = _median(different[..., None], clear)[:, 0]
    return spread, usual


def _median(values: ByteStack, valid: BoolStack) -> npt.NDArray[np.uint8]:
    """``(N, C)`` lower median over the first axis of ``(V, N, C)`` where `valid` ``(V, N)``."""
    ordered = np.where(valid[..., None], values, np.uint8(255))
    ordered.sort(axis=0)
    middle = np.maximum(valid.sum(axis=0) - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, middle[None, :, None], axis=0)[0])


def agreement(sheets: Sheets, different: ByteStack, usual: FloatGrid, tried_m: FloatArray) -> FloatGrid:
    """``(H, X, Y)`` share of the clear pictures in whose silhouette a place at height `tried_m` ``(H,)`` lies.

    0 where too few pictures are clear. The others are as `differences` returns them.
    """
    import cv2

    slope = np.float32(255.0) / np.maximum(np.float32(CONTRAST), np.float32(NOISE_RATIO) * usual)
    result = np.zeros((len(tried_m), *sheets.ground_m.shape), dtype=np.float32)
    total, count = np.zeros_like(result), np.zeros_like(result)
    level = float(np.median(sheets.ground_m))
    size = sheets.ground_m.shape[::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for values, clear, eye in zip(different, sheets.clear.astype(np.uint8), sheets.eyes, strict=True):
        silhouette = np.clip(values * slope - np.float32(127.5), 0.0, 255.0).astype(np.uint8)
        foot = (eye[:2] - sheets.origin) / sheets.cell_m
        for number, height in enumerate(tried_m):
            # A place at height h is seen against the support farther from the camera's foot by e / (e - h).
            scale = (eye[2] - level) / max(eye[2] - level - height, 0.05)
            warp = np.array([[scale, 0.0, (1.0 - scale) * foot[1]], [0.0, scale, (1.0 - scale) * foot[0]]])
            cv2.add(total[number], cv2.warpAffine(silhouette, warp, size, flags=flags), total[number],
                    dtype=cv2.CV_32F)  # fmt: skip
            cv2.add(count[number], cv2.warpAffine(clear, warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP),
                    count[number], dtype=cv2.CV_32F)  # fmt: skip
    np.divide(total, 255.0 * count, out=result, where=count >= MIN_VIEWS)
    return result


def footprints(
    origin: FloatArray, cell_m: float, size: tuple[int, ...], meshes: Sequence[Mesh]
) -> npt.NDArray[np.int32]:
    """``(X, Y)`` number + 1 of the mesh over each cell of a grid, 0 where there is none."""
    import cv2

    owners = np.zeros(size, dtype=np.int32)
    for number, mesh in enumerate(meshes):
        cells = np.round((mesh.vertices[:, :2] - origin) / cell_m).astype(np.int32)[:, ::-1]
        for triangle in np.ascontiguousarray(cells[mesh.faces]):
            cv2.fillConvexPoly(owners, triangle, number + 1)
    return owners

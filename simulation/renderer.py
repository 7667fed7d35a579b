"""Pictures of moving things, many at a time, on the CPU: colour, depth, and which body each pixel shows.

Rays are cast at every body in its own frame (`simulation.drawable`), only where the box round it can be seen or can
throw its shadow (`simulation.culling`), and for many frames in one call. What stands still before a camera that stands
still is looked at once. A frame comes out the same, bit for bit, alone and among others.

Light comes from one distant lamp and from the sky. One ray a pixel looks for the lamp, neighbours at different points
of it, and where these disagree they are averaged (`simulation.smoothing`; "interleaved sampling", Keller & Heidrich
2001). Pixels on edges that show are the mean of four looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.culling import ShadowGrid, picture_boxes
from simulation.drawable import Drawable
from simulation.optics import Optics
from simulation.sight import (
    Float32,
    FloatArray,
    IntArray,
    Mask,
    Posed,
    Seen,
    Sight,
    dot,
    inverse,
    moved,
    product,
    rows,
    table,
)
from simulation.smoothing import SUBPIXELS, edges, share_beside, softened

ByteImages = npt.NDArray[np.uint8]

NOTHING = 0.6
"""Linear grey where there is nothing to see."""
_BIAS_M = np.float32(0.0015)
"""Rays to the lamp start this far before the surface, lest rounding lets it shade itself."""
_CHUNK_PIXELS = 250_000
"""Worked on at once: many, so that calls cost little, but some ten megabytes at most."""
_CAMERAS_KEPT = 4
"""Of so many, what stands still before them is kept from picture to picture."""
_SIDE_SKY = 0.3
"""How much less of the sky's light a vertical wall gets than the ground; what faces down gets less again."""


@dataclass(frozen=True)
class DistantLight:
    """A lamp far away, and the sky.

    Attributes:
        toward: ``(3,)`` scene frame, to the lamp; any length.
        spread: radius of the lamp over its distance; larger is a softer shadow, 0 a sharp one.
        lamp: brightness that the lamp gives a white surface that faces it.
        sky: brightness that the sky gives a white surface that faces straight up.
        color: ``(3,)`` linear RGB by which both are multiplied.
        reach_m: what is farther than this from a place throws no shadow on it: walls and a ceiling that were scanned
            would leave the bench dark.
    """

    toward: tuple[float, float, float] = (0.25, 0.43, 0.87)
    spread: float = 0.06
    lamp: float = 0.8
    sky: float = 0.45
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    reach_m: float = 2.0

    def directions(self) -> FloatArray:
        """``(10, 3)``, about unit: to the lamp's middle, and to nine points of it for neighbouring pixels."""
        toward = np.asarray(self.toward, dtype=np.float64)
        toward = toward / np.linalg.norm(toward)
        side = np.cross(toward, [0.0, 1.0, 0.0] if abs(toward[1]) < 0.9 else [1.0, 0.0, 0.0])
        side = side / np.linalg.norm(side)
        k = np.array([0, 5, 7, 3, 8, 1, 6, 2, 4])  # pixels side by side take points of the sunflower far apart
        angle, radius = k * np.pi * (3 - np.sqrt(5)), self.spread * np.sqrt((k + 0.5) / 9)
        disc = (radius * np.cos(angle))[:, None] * side + (radius * np.sin(angle))[:, None] * np.cross(toward, side)
        return np.concatenate([toward[None], toward + disc])


@dataclass(frozen=True)
class Pictures:
    """Of F frames.

    Attributes:
        rgb: ``(F, H, W, 3)`` uint8.
        depth_m: ``(F, H, W)`` float32 along the optical axis at the pixels' middles, 0 where there is nothing.
        body: ``(F, H, W)`` int16 number of the body in `names`, -1 where there is nothing.
        names: of the bodies.
    """

    rgb: ByteImages
    depth_m: Float32
    body: npt.NDArray[np.int16]
    names: tuple[str, ...]


class Renderer:
    """Draws bodies at poses.

    Attributes:
        names: of the bodies, in the order of their numbers in `Pictures.body`.
    """

    def __init__(self, bodies: Mapping[str, Drawable]) -> None:
        """Costs nothing: the work lies in making the bodies, which any number of renderers may share."""
        self.names = tuple(bodies)
        self._bodies = tuple(bodies.values())
        self._kept: dict[tuple[Optics, DistantLight], _Kept] = {}

    def render(
        self,
        poses: Mapping[str, FloatArray],
        scene_from_camera: FloatArray,
        optics: Optics,
        light: DistantLight = DistantLight(),  # noqa: B008 - frozen
        *,
        smooth: bool = True,
        seed: Sequence[int] = (0,),
        first_frame: int = 0,
    ) -> Pictures:
        """Pictures of F frames.

        Args:
            poses: `scene_from_body` of every body: ``(4, 4)`` of what stands still, else ``(F, 4, 4)``; rigid.
            scene_from_camera: ``(4, 4)`` or ``(F, 4, 4)``; camera axes x right, y down, z forward.
            optics: of the camera.
            light: in the scene.
            smooth: edges are smoothed, which takes half as long again.
            seed: of the noise, together with the frame's number.
            first_frame: number of the first frame.

        Raises:
            ValueError: a body has no pose, or they are of different numbers of frames.
        """
        missing = [name for name in self.names if name not in poses]
        if missing:
            raise ValueError(f"there is no pose of {missing[0]!r}")
        stacks = [np.asarray(poses[name], dtype=np.float64).reshape(-1, 4, 4) for name in self.names]
        cameras = np.asarray(scene_from_camera, dtype=np.float64).reshape(-1, 4, 4)
        counts = {len(stack) for stack in [*stacks, cameras]} - {1}
        if len(counts) > 1:
            raise ValueError(f"the poses are of different numbers of frames: {sorted(counts)}")
        count = counts.pop() if counts else 1
        stacks, cameras = [_once(stack) for stack in stacks], _once(cameras)
        before = self._before(stacks, cameras, optics, light) if count == 1 else None
        shot = _Shot(self._bodies, stacks, cameras, optics, light, before)
        if before is not None:
            before.ground = shot.ground
        width, height = optics.size
        rgb = np.empty((count, height, width, 3), dtype=np.uint8)
        depth = np.empty((count, height, width), dtype=np.float32)
        body = np.empty((count, height, width), dtype=np.int16)
        step = max(1, _CHUNK_PIXELS // (width * height))
        for start in range(0, count, step):
            frames = range(start, min(start + step, count))
            part = slice(frames.start, frames.stop)
            rgb[part], depth[part], body[part] = shot.pictures(frames, smooth)
        if optics.noise > 0.0:
            for frame in range(count):
                rng = np.random.default_rng([*seed, first_frame + frame])
                noise = rng.standard_normal(rgb.shape[1:], dtype=np.float32) * np.float32(255 * optics.noise)
                rgb[frame] = np.rint(np.clip(rgb[frame] + noise, 0, 255))
        return Pictures(rgb, depth, body, self.names)

    def _before(self, stacks: Sequence[FloatArray], cameras: FloatArray, optics: Optics, light: DistantLight) -> _Kept:
        """What need not be drawn anew since the last picture by the same camera; of the first one, nothing is known."""
        now, camera = [stack.tobytes() for stack in stacks], cameras.tobytes()
        last = self._kept.get((optics, light))
        if last is None or last.camera != camera:
            found = _Kept(camera, now, frozenset(range(len(now))))
        else:
            same = frozenset(k for k, pose in enumerate(now) if last.poses[k] == pose)
            found = _Kept(camera, now, last.still, last.ground) if last.still <= same else _Kept(camera, now, same)
        if len(self._kept) >= _CAMERAS_KEPT:
            self._kept.clear()
        self._kept[optics, light] = found
        return found


@dataclass
class _Kept:
    """Of the last picture by some camera.

    Attributes:
        camera, poses: the bytes of its pose and of the bodies'.
        still: bodies that have stood still for a while.
        ground: what it shows of those.
    """

    camera: bytes
    poses: list[bytes]
    still: frozenset[int]
    ground: Seen | None = None


class _Shot:
    """One call of `Renderer.render`: bodies at poses before one camera.

    Attributes:
        ground: what is seen of the bodies that stand still, where there are any.
    """

    def __init__(
        self,
        bodies: Sequence[Drawable],
        poses: Sequence[FloatArray],
        cameras: FloatArray,
        optics: Optics,
        light: DistantLight,
        before: _Kept | None,
    ) -> None:
        lamp = light.directions()
        self._optics, self._light = optics, light
        self._bodies = [Posed(drawn, stack, cameras, lamp) for drawn, stack in zip(bodies, poses, strict=True)]
        still = [body.still and (before is None or k in before.still) for k, body in enumerate(self._bodies)]
        self._still = [k for k, stands in enumerate(still) if stands]
        self._moving = [k for k, stands in enumerate(still) if not stands]
        self._moves = np.array([*(not stands for stands in still), False])  # the last: nothing
        self._from_camera = table(cameras[:, :3])
        width, height = optics.size
        v, u = np.divmod(np.arange(width * height), width)
        x, y = optics.rays(u, v)
        self._rays = np.array([x, y], dtype=np.float32)
        self._finer = np.array([optics.rays(u + right, v + down) for right, down in SUBPIXELS], dtype=np.float32)
        self._point = v % 3 * 3 + u % 3
        boxes = [moved(stack, drawn.corners) for stack, drawn in zip(poses, bodies, strict=True)]
        self._grid = ShadowGrid(lamp[0], light.spread, light.reach_m, boxes)
        # Boxes are drawn as a pinhole camera sees them, and looked up where it sees what the pixel shows.
        column = np.clip(np.rint(x * optics.focal_px + width / 2 - 0.5), 0, width - 1)
        row = np.clip(np.rint(y * optics.focal_px + height / 2 - 0.5), 0, height - 1)
        pinhole = (row * width + column).astype(np.int64)
        camera_from_scene = inverse(cameras)
        self._boxes: list[Mask] = []
        for stack, drawn in zip(poses, bodies, strict=True):
            corners = moved(product(camera_from_scene, stack), drawn.corners)
            shown = picture_boxes(corners, optics.focal_px, optics.size)
            self._boxes.append(shown[:, pinhole] if optics.lens else shown)
        self.ground = None if before is None else before.ground
        if self.ground is None and self._still:
            self.ground = self._before_still(self._rays, np.arange(width * height))

    def pictures(self, frames: range, smooth: bool) -> tuple[ByteImages, Float32, npt.NDArray[np.int16]]:
        """Colours, depths and bodies of some frames, as in `Pictures`, without noise."""
        width, height = self._optics.size
        shape, size = (len(frames), height, width), width * height
        pixel, frame = np.tile(np.arange(size), len(frames)), np.repeat(np.array(frames), size)
        x, y = np.tile(self._rays, len(frames))
        sight = Sight(x, y, frame, pixel, self._point[pixel])
        seen = self.ground.at(pixel) if self.ground else Seen.nothing(len(pixel))
        places = [
            np.flatnonzero(box[frames.start : frames.stop] if len(box) > 1 else np.tile(box[0], len(frames)))
            for box in self._boxes
        ]
        for k in self._moving:
            self._look(k, seen, sight, places[k])
        self._shade(self._still, seen, sight, np.flatnonzero(seen.lit & (seen.facing > 0) & self._moves[seen.body]))
        self._shade(self._moving, seen, sight, np.flatnonzero(seen.lit & (seen.facing > 0)))
        share = softened(seen, shape) if self._light.spread > 0.0 else seen.lit.astype(np.float32)
        shown = self._colored(seen, share)
        if smooth:
            edge = edges(shown, seen, shape)
            looks = self._looked_closer(frame[edge], pixel[edge])
            colors = self._colored(looks, share_beside(looks, edge, seen, share, shape))
            colors = colors.reshape(len(SUBPIXELS), len(edge), 3)
            shown[edge] = np.sqrt((colors * colors).sum(axis=0) / np.float32(len(SUBPIXELS)))
        depth = np.where(seen.body < 0, np.float32(0), seen.depth)
        return np.rint(shown).astype(np.uint8).reshape(*shape, 3), depth.reshape(shape), seen.body.reshape(shape)

    def _before_still(self, rays: Float32, pixel: IntArray) -> Seen:
        """What ``(2, N)`` lines of sight meet of all that stands still, lit past all that does."""
        sight = Sight(rays[0], rays[1], np.zeros(len(pixel), dtype=np.int64), pixel, self._point[pixel])
        seen = Seen.nothing(len(pixel))
        for k in self._still:
            self._look(k, seen, sight, np.flatnonzero(self._boxes[k][0, pixel]))
        self._shade(self._still, seen, sight, np.flatnonzero(seen.facing > 0))
        return seen

    def _looked_closer(self, frame: IntArray, pixel: IntArray) -> Seen:
        """What the looks within pixels meet, those of one of `SUBPIXELS` after the other; shadows are not asked for."""
        many = len(SUBPIXELS)
        frame, rays = np.tile(frame, many), self._finer[:, :, pixel]
        if self._still:  # each pixel once, however many frames want it
            wanted = np.zeros(self._point.shape, dtype=np.bool_)
            wanted[pixel] = True
            number, distinct = np.cumsum(wanted) - 1, np.flatnonzero(wanted)
            x, y = self._finer[:, :, distinct].swapaxes(0, 1).reshape(2, -1)
            places = np.tile(distinct, many)
            still, sight = Seen.nothing(len(places)), Sight(x, y, np.zeros_like(places), places, places)
            for k in self._still:
                self._look(k, still, sight, np.flatnonzero(self._boxes[k][0, places]))
            seen = still.at((np.arange(many)[:, None] * len(distinct) + number[pixel]).reshape(-1))
        else:
            seen = Seen.nothing(len(frame))
        pixel = np.tile(pixel, many)
        x, y = rays.swapaxes(0, 1).reshape(2, -1)
        sight = Sight(x, y, frame, pixel, pixel)
        for k in self._moving:
            box = self._boxes[k]
            places = frame * box.shape[1] + pixel if len(box) > 1 else pixel
            self._look(k, seen, sight, np.flatnonzero(np.take(box.reshape(-1), places)))
        return seen

    def _look(self, k: int, seen: Seen, sight: Sight, index: IntArray) -> None:
        """Put body `k` into `seen` where lines of sight `index` meet it before what is there."""
        if not len(index):
            return
        body, frame = self._bodies[k], sight.frame[index]
        rays = body.rays(sight.x[index], sight.y[index], frame)
        depth, face, bary, flat = body.drawn.cast(rays)
        nearer = np.flatnonzero(depth < seen.depth[index])
        if not len(nearer):
            return
        behind = np.take(dot(flat.T, rays[:, 3:].T) > 0, nearer)
        index, frame, depth = index[nearer], frame[nearer], depth[nearer]
        pixel_m = depth * np.float32(1.0 / self._optics.focal_px)
        color, normal = body.drawn.surface(face[nearer], bary[nearer], pixel_m)
        normal *= np.where(behind, np.float32(-1), np.float32(1))
        seen.depth[index], seen.color[index], seen.body[index] = depth, color, k
        seen.facing[index], seen.up[index] = body.cosines(normal, frame)

    def _shade(self, bodies: Sequence[int], seen: Seen, sight: Sight, index: IntArray) -> None:
        """Clear `lit` of `seen` at `index` where any of `bodies` hides the pixel's point of the lamp."""
        frame, depth, point = sight.frame[index], seen.depth[index] - _BIAS_M, sight.point[index]
        m, x, y = rows(self._from_camera, frame), sight.x[index], sight.y[index]
        places = np.stack([(m[r] * x + m[r + 1] * y + m[r + 2]) * depth + m[r + 3] for r in (0, 4, 8)])
        cell = self._grid.cells(places)
        cell_of_frame = frame * self._grid.count + cell
        lit = np.ones(len(index), dtype=np.bool_)
        for k in sorted(bodies, key=lambda k: self._grid.shadows[k] is None):  # the large ones last: they ask all
            shadow = self._grid.shadows[k]
            if shadow is None:
                some = np.flatnonzero(lit)
            else:
                some = np.flatnonzero(np.take(shadow.reshape(-1), cell_of_frame if len(shadow) > 1 else cell))
                some = some[lit[some]]
            if len(some):
                rays = self._bodies[k].lamp_rays(places[:, some], frame[some], point[some])
                lit[some] = ~self._bodies[k].drawn.blocks(rays, self._light.reach_m)
        seen.lit[index] = lit

    def _colored(self, seen: Seen, share: Float32) -> Float32:
        """Shown colours ``(N, 3)``, 0 … 255, gamma 2 standing for sRGB; `share` ``(N,)`` of the lamp is seen."""
        light = self._light
        sky = np.float32(light.sky) * (np.float32(1 - _SIDE_SKY) + np.float32(_SIDE_SKY) * seen.up)
        brightness = sky + np.float32(light.lamp) * share * np.maximum(seen.facing, np.float32(0))
        nothing = seen.body < 0
        brightness[nothing] = NOTHING
        # As colours are shown as the root of their brightness, light multiplies them by its root.
        color = seen.color.view(np.uint8).reshape(-1, 4)[:, :3].astype(np.float32)
        color[nothing] = 255
        color *= np.sqrt(brightness)[:, None]
        color *= np.sqrt(np.asarray(light.color, dtype=np.float32) * np.float32(self._optics.exposure))
        return np.minimum(color, np.float32(255), out=color)


def _once(stack: FloatArray) -> FloatArray:
    """One pose where all are the same."""
    return stack[:1] if len(stack) > 1 and (stack == stack[0]).all() else stack

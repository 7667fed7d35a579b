"""Lines of sight of many frames, what they meet, and the things that they may meet, each at its poses."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from simulation.drawable import Drawable

FloatArray = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NOWHERE = np.float32(1e30)
"""Depth of nothing: farther than everything, and still a number that can be reckoned with."""


@dataclass
class Seen:
    """What N lines of sight meet, arrays ``(N,)``.

    Attributes:
        depth: along the optical axis, metres; `NOWHERE`: nothing.
        color: uint32 of four bytes R G B 0.
        body: number of the body, -1: nothing.
        facing: cosine between the normal and the way to the lamp.
        up: z of the normal, scene frame.
        lit: whether its point of the lamp is seen past those bodies that were asked so far.
    """

    depth: Float32
    color: npt.NDArray[np.uint32]
    body: npt.NDArray[np.int16]
    facing: Float32
    up: Float32
    lit: Mask

    @staticmethod
    def nothing(count: int) -> Seen:
        """Nothing met yet."""
        depth, flat = np.full(count, NOWHERE, dtype=np.float32), np.zeros(count, dtype=np.float32)
        color, body = np.zeros(count, dtype=np.uint32), np.full(count, -1, dtype=np.int16)
        return Seen(depth, color, body, flat, flat.copy(), np.ones(count, dtype=np.bool_))

    def at(self, index: IntArray) -> Seen:
        """A copy of some of it."""
        return Seen(*(np.take(getattr(self, field.name), index) for field in fields(self)))


@dataclass(frozen=True)
class Sight:
    """N lines of sight, arrays ``(N,)``.

    Attributes:
        x: they go through (x, y, 1) of the camera frame.
        y: see `x`.
        frame: in which frame.
        pixel: of the picture, row by row.
        point: of the lamp that is looked for from what they meet.
    """

    x: Float32
    y: Float32
    frame: IntArray
    pixel: IntArray
    point: IntArray


class Posed:
    """A thing at its poses before a camera at its own: rays in the thing's frame.

    Attributes:
        drawn: the thing.
        still: whether neither it nor the camera moves.
    """

    def __init__(self, drawn: Drawable, poses: FloatArray, cameras: FloatArray, lamp: FloatArray) -> None:
        """Reckon the frames' numbers, so that rays only pick theirs.

        Args:
            drawn: the thing.
            poses: `scene_from_body`, ``(F or 1, 4, 4)``.
            cameras: `scene_from_camera`, ``(F or 1, 4, 4)``.
            lamp: ``(1 + P, 3)`` directions to its middle and to its points, scene frame.
        """
        self.drawn = drawn
        self.still = len(poses) == len(cameras) == 1
        own = inverse(poses)
        self._from_camera = table(product(own, cameras)[:, :3])
        self._from_scene = table(own[:, :3])
        turned = poses[:, :3, :3]
        self._up, self._lamp = table(turned[:, 2]), table((turned * lamp[0][:, None]).sum(axis=1))
        points = (turned[:, None] * lamp[None, 1:, :, None]).sum(axis=2)
        self._points, self._count = points.reshape(-1, 3).astype(np.float32), len(lamp) - 1

    def rays(self, x: Float32, y: Float32, frame: IntArray) -> Float32:
        """``(N, 6)`` lines of sight through (x, y, 1) of the camera frame; their lengths are depths."""
        m = rows(self._from_camera, frame)
        rays = np.empty((len(frame), 6), dtype=np.float32)
        for r in range(3):
            rays[:, r] = m[4 * r + 3]
            rays[:, 3 + r] = m[4 * r] * x + m[4 * r + 1] * y + m[4 * r + 2]
        return rays

    def lamp_rays(self, places: Float32, frame: IntArray, point: IntArray) -> Float32:
        """``(N, 6)`` from ``(3, N)`` places of the scene to points of the lamp."""
        m = rows(self._from_scene, frame)
        rays = np.empty((len(frame), 6), dtype=np.float32)
        for r in range(3):
            rays[:, r] = m[4 * r] * places[0] + m[4 * r + 1] * places[1] + m[4 * r + 2] * places[2] + m[4 * r + 3]
        many = len(self._points) > self._count
        rays[:, 3:] = np.take(self._points, frame * self._count + point if many else point, axis=0)
        return rays

    def cosines(self, normal: Float32, frame: IntArray) -> tuple[Float32, Float32]:
        """Of ``(3, N)`` unit normals of the thing's frame with the ways to the lamp's middle and up."""
        return dot(normal, rows(self._lamp, frame)), dot(normal, rows(self._up, frame))


# --- frames' numbers -------------------------------------------------------------------------------------------------
# Sums are written out here: what a matrix library computes may depend on how many matrices there are, and a frame
# shall come out the same alone and among others.


def product(first: FloatArray, second: FloatArray) -> FloatArray:
    """``(F, 4, 4)`` products of two stacks ``(F or 1, 4, 4)`` of matrices."""
    return np.asarray((first[:, :, :, None] * second[:, None, :, :]).sum(axis=2))


def inverse(poses: FloatArray) -> FloatArray:
    """Inverses of rigid ``(F, 4, 4)``."""
    found = np.zeros_like(poses)
    found[:, :3, :3] = poses[:, :3, :3].transpose(0, 2, 1)
    found[:, :3, 3] = -(poses[:, :3, :3] * poses[:, :3, 3, None]).sum(axis=1)
    found[:, 3, 3] = 1.0
    return found


def moved(poses: FloatArray, points: FloatArray) -> FloatArray:
    """``(F, N, 3)``: points ``(N, 3)`` moved by each of the poses ``(F, 4, 4)``."""
    return np.asarray((poses[:, None, :3, :3] * points[None, :, None, :]).sum(axis=-1) + poses[:, None, :3, 3])


def table(values: FloatArray) -> Float32:
    """``(K, F)`` from ``(F, ...)``: K numbers of each frame."""
    return np.ascontiguousarray(values.reshape(len(values), -1).T, dtype=np.float32)


def rows(numbers: Float32, frame: IntArray) -> Float32:
    """The numbers of each ray's frame, ``(K, N)``; ``(K,)`` where all frames have the same."""
    return np.take(numbers, frame, axis=1) if numbers.shape[1] > 1 else numbers[:, 0]


def dot(a: Float32, b: Float32) -> Float32:
    """Scalar products of ``(3, N)`` and ``(3, N)`` or ``(3,)``."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])

"""What neighbouring pixels know of each other: soft shadows from few rays, and where edges show.

Pixels are flat here, ``(F * H * W,)``, of frames ``(F, H, W)``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simulation.sight import Float32, IntArray, Mask, Seen

Shape = tuple[int, int, int]

SUBPIXELS = ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))
"""Right and down of the looks within a pixel that is on an edge: no two in one column or row (a rotated grid)."""
_JUMP = np.float32(0.04)
"""Depths that differ by a larger share belong to two surfaces."""
_SHOWS = np.float32(6.0)
"""Colours that differ by more (of 255) show an edge."""


def softened(seen: Seen, shape: Shape) -> Float32:
    """Share ``(N,)`` of the lamp that each pixel sees, where 3 × 3 neighbours looked for nine points of it.

    Where these disagree it is their mean, over those that show the same surface.
    """
    import cv2

    share = seen.lit.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    faces = seen.facing > 0
    some = (faces & seen.lit).reshape(shape).view(np.uint8)
    every = (~faces | seen.lit).reshape(shape).view(np.uint8)
    mixed = np.empty(shape, dtype=np.bool_)
    for frame in range(shape[0]):
        mixed[frame] = cv2.dilate(some[frame], kernel) > cv2.erode(every[frame], kernel)
    index = np.flatnonzero(mixed.reshape(-1) & faces)
    total, weight = np.zeros(len(index), dtype=np.float32), np.zeros(len(index), dtype=np.float32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            other = _neighbours(index, right, down, shape)
            same = faces[other] & _same(seen, index, seen.body[other], seen.depth[other])
            total += same & seen.lit[other]
            weight += same
    share[index] = total / weight
    return share


def edges(shown: Float32, seen: Seen, shape: Shape) -> IntArray:
    """Pixels beside which another surface shows in another colour; `shown` are ``(N, 3)`` colours, 0 … 255."""
    edge = np.zeros(len(shown), dtype=np.bool_)
    number = np.arange(len(shown)).reshape(shape)
    depth, body = seen.depth.reshape(shape), seen.body.reshape(shape)
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:, :, :-1], np.s_[:, :, 1:])):
        jump = (body[a] != body[b]) | (np.abs(depth[a] - depth[b]) > _JUMP * np.minimum(depth[a], depth[b]))
        here, there = number[a][jump], number[b][jump]
        shows = (np.abs(shown[here] - shown[there]) > _SHOWS).any(axis=1)
        edge[here[shows]] = True
        edge[there[shows]] = True
    return np.flatnonzero(edge)


def share_beside(looks: Seen, edge: IntArray, seen: Seen, share: Float32, shape: Shape) -> Float32:
    """Share of the lamp that looks within pixels see: as the nearest pixel that shows the same surface.

    Args:
        looks: of each of `SUBPIXELS`, one after the other, what the pixels `edge` ``(E,)`` meet there.
        edge: numbers of the pixels.
        seen: by all pixels, at their middles.
        share: that these see, ``(N,)``.
        shape: of the frames.
    """
    shares = np.tile(share[edge], (len(SUBPIXELS), 1))
    bodies, depths = looks.body.reshape(shares.shape), looks.depth.reshape(shares.shape)
    for found, body, depth, (right, down) in zip(shares, bodies, depths, SUBPIXELS, strict=True):
        across, along = int(np.sign(right)), int(np.sign(down))
        beside = [(across, 0), (0, along)] if abs(right) < abs(down) else [(0, along), (across, 0)]
        for step in ((across, along), *beside, (0, 0)):  # the nearest comes last and counts
            other = _neighbours(edge, *step, shape)
            same = _same(seen, other, body, depth) & (seen.facing[other] > 0)
            found[same] = share[other[same]]
    return shares.reshape(-1)


def _neighbours(index: IntArray, right: int, down: int, shape: Shape) -> IntArray:
    """The pixels beside pixels ``(N,)``; these themselves at the picture's border."""
    _, height, width = shape
    column, row = index % width, index // width % height
    inside = (column + right >= 0) & (column + right < width) & (row + down >= 0) & (row + down < height)
    return np.where(inside, index + (down * width + right), index)


def _same(seen: Seen, index: IntArray, body: npt.NDArray[np.int16], depth: Float32) -> Mask:
    """Whether pixels show the surface that `body` at `depth` belongs to."""
    own = seen.depth[index]
    return np.asarray((seen.body[index] == body) & (np.abs(own - depth) <= _JUMP * np.minimum(own, depth)))

"""What light and shadow did to a scan's colours is estimated from the scan itself and taken out of them.

The simulation lights things anew; what the scan's light has darkened already would become darker still, and who learns
to see there would not know the things again. Points of one thing that have the same hue are taken to have the same
colour, so that what tells their brightness apart is light: from distant directions, as far as nothing stands in the
way, and some from everywhere (intrinsic images: Land & McCann, "Lightness and Retinex Theory", 1971; with the shape
known, the light is a linear problem, as in Barron & Malik, "Shape, Illumination, and Reflectance from Shading", 2015).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

DIRECTIONS = 128
"""From so many directions light may come, evenly spread over the sphere."""
REACH_M = 0.6
"""What is farther away does not stand in the way of light: walls give some."""
OFF_M = 0.002
"""Rays begin so far before the surface."""
HUE = 0.035
"""Shares of red and green that differ by less are one hue."""
DARK, BRIGHT = 10.0, 250.0
"""Levels beyond which a channel says nothing of light."""
FEWEST = 200
"""Of fewer points nothing is learnt of light: it is taken to be the same everywhere."""
ROUNDS = 20
DIFFERS = 0.25
"""Points whose brightness differs by more (logarithm) from what light explains hardly count: they are printed on."""
SMOOTH = 0.02
"""How much it costs, beside what is not explained, that more light comes from one direction than from another."""
LEAST = 0.12
"""Less light than this share of an open place's is not made up for: what is seen there is mostly noise."""


def directions() -> FloatArray:
    """``(DIRECTIONS, 3)`` unit vectors, evenly spread (Fibonacci's spiral)."""
    number = np.arange(DIRECTIONS) + 0.5
    z = 1.0 - 2.0 * number / DIRECTIONS
    turn = np.pi * (1.0 + 5.0**0.5) * number
    ring = np.sqrt(1.0 - z**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


def exposure(points: Float32Array, normals: Float32Array, raycaster: Any) -> Float32Array:
    """``(N, DIRECTIONS)`` how much of the light from each direction gets to points; all of it where all are open: 1.

    Args:
        points: ``(N, 3)`` on surfaces, metres.
        normals: ``(N, 3)`` unit vectors.
        raycaster: Open3D's ``RaycastingScene`` of all that may stand in the way.
    """
    found = np.zeros((len(points), DIRECTIONS), dtype=np.float32)
    starts = points + np.float32(OFF_M) * normals
    for number, direction in enumerate(directions().astype(np.float32)):
        cosine = normals @ direction
        facing = np.flatnonzero(cosine > 0.0)
        rays = np.concatenate([starts[facing], np.tile(direction, (len(facing), 1))], axis=1)
        blocked = raycaster.test_occlusions(rays, tnear=0.0, tfar=REACH_M).numpy()
        found[facing, number] = np.where(blocked, 0.0, cosine[facing])
    return found * np.float32(4.0 / DIRECTIONS)


def hues(colors: Float32Array, things: IntArray) -> IntArray:
    """``(N,)`` a number for each hue of each thing.

    Args:
        colors: ``(N, 3)`` levels.
        things: ``(N,)`` which thing each point is of.
    """
    linear = (np.maximum(colors, 1.0) / 255.0) ** 2
    shares = np.rint(linear[:, :2] / linear.sum(axis=1, keepdims=True) / HUE).astype(np.int64)
    _, found = np.unique(np.column_stack([things, shares]), axis=0, return_inverse=True)
    return found.reshape(-1).astype(np.int64)


def light_of(colors: Float32Array, groups: IntArray, exposed: Float32Array) -> FloatArray:
    """``(DIRECTIONS + 1,)`` the light from each direction, and from everywhere: 1 in all on an open place on the table.

    Args:
        colors: ``(N, 3)`` levels, the root of brightness.
        groups: ``(N,)`` points of the same one have the same colour but for light.
        exposed: ``(N, DIRECTIONS)`` of `exposure`.
    """
    from scipy.optimize import nnls

    usable = (colors.min(axis=1) > DARK) & (colors.max(axis=1) < BRIGHT)
    if usable.sum() < FEWEST:
        return np.append(np.zeros(DIRECTIONS), 1.0)
    groups, brightness = groups[usable], ((colors[usable] / 255.0) ** 2).mean(axis=1).astype(np.float64)
    rows = np.column_stack([exposed[usable], np.ones(len(groups))]).astype(np.float64)
    lamp = np.maximum(directions()[:, 2], 0.0) * 4.0 / DIRECTIONS
    above = np.append(lamp, 1.0)  # what an open place on the table gets
    light = np.full(DIRECTIONS + 1, 0.5)
    light /= above @ light
    uneven = np.eye(DIRECTIONS + 1)[:-1] - np.append(np.full(DIRECTIONS, 1.0 / DIRECTIONS), 0.0)
    for _ in range(ROUNDS):
        got = np.maximum(rows @ light, 0.02)
        albedo = _middles(brightness / got, groups)[groups]
        apart = np.log(brightness / (albedo * got))
        counts = 1.0 / (1.0 + (apart / DIFFERS) ** 2)
        scaled = rows / got[:, None]
        square = (scaled * counts[:, None]).T @ scaled / counts.sum() + SMOOTH / DIRECTIONS * uneven.T @ uneven
        right = (scaled * counts[:, None]).T @ (brightness / albedo / got) / counts.sum()
        factor = np.linalg.cholesky(square + 1e-9 * np.eye(len(square)))
        light, _ = nnls(factor.T, np.linalg.solve(factor, right))
        light /= max(above @ light, 1e-9)
    return light


def _middles(values: FloatArray, groups: IntArray) -> FloatArray:
    """The median of each group's values."""
    order = np.lexsort((values, groups))
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    counts = np.diff(np.append(starts, len(groups)))
    found = np.zeros(int(groups.max()) + 1)
    found[groups[order][starts]] = values[order][starts + counts // 2]
    return found


def brightened(colors: Float32Array, got: FloatArray) -> Float32Array:
    """Colours ``(N, 3)`` as they would be with as much light as an open place on the table has, for `got` ``(N,)``."""
    return np.asarray(colors / np.sqrt(np.maximum(got, LEAST))[:, None], dtype=np.float32)

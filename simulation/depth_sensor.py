"""What a depth camera makes of the true depth: noise, and holes where such sensors measure nothing.

The noise grows with the square of the distance (Nguyen, Izadi & Lovell, "Modeling Kinect Sensor Noise for Improved 3D
Reconstruction and Tracking", 2012). Nothing is measured along edges, on what is dark, and too near or too far (Mallick,
Das & Majumdar, "Characterizations of Noise in Kinect Depth Images: A Review", 2014). It is part of what is recorded,
as the noise of colours is: so a policy is tried, too, with what a sensor would have given it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
NOISE_M, GROWTH, CLEAREST_M = 0.0012, 0.0019, 0.4
"""Standard deviation of the depth, metres: ``NOISE_M + GROWTH (z - CLEAREST_M)²``."""
NEAREST_M, FARTHEST_M = 0.07, 3.0
"""Between which there are measurements: those of stereo cameras for short distances."""
STEP = 0.04
"""Neighbours whose depths differ by more than this share lie on an edge …"""
EDGE_LOST = 0.5
"""… and so many of them are not measured."""
DARK, DARK_LOST = 0.2, 0.5
"""What is darker than this (0 black … 1 white) is not measured in so many patches …"""
PATCH_PX = 4
"""… of that width and height."""


def measured(depth_m: Float32, rgb: npt.NDArray[np.uint8], rng: np.random.Generator) -> Float32:
    """``(H, W)`` depth as measured, metres along the optical axis, 0 where nothing is.

    Args:
        depth_m: ``(H, W)`` true depth, 0 where there is nothing.
        rgb: ``(H, W, 3)`` what is seen there.
        rng: chance.
    """
    height, width = depth_m.shape
    noise = NOISE_M + GROWTH * (depth_m - CLEAREST_M) ** 2
    found = depth_m + noise * rng.standard_normal(depth_m.shape, dtype=np.float32)
    around = np.pad(depth_m, 1, mode="edge")
    beside = np.stack([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
    edge = np.abs(beside - depth_m).max(axis=0) > STEP * depth_m
    lost = edge & (rng.random(depth_m.shape) < EDGE_LOST)
    patches = rng.random((-(-height // PATCH_PX), -(-width // PATCH_PX))) < DARK_LOST
    patchy = patches.repeat(PATCH_PX, axis=0).repeat(PATCH_PX, axis=1)[:height, :width]
    lost |= patchy & (rgb.mean(axis=2) < 255.0 * DARK)
    lost |= (depth_m < NEAREST_M) | (depth_m > FARTHEST_M)
    return np.where(lost, np.float32(0.0), found).astype(np.float32)

"""Settings of photogrammetry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PhotoSettings:
    """How poses and depth are found from pictures alone."""

    size_px: int = 1600
    """Pictures are shrunk to this longer side, pixels: more finds more detail and takes longer (time goes with its
    square)."""
    features: int = 4096
    """Points sought in a picture; fewer are faster, and lose pictures of plain things."""
    video_frames: int = 60
    """Frames taken of a video."""
    exhaustive_up_to: int = 90
    """Photos of which each is compared with every other; of more, with its neighbours by name only. Videos always
    so."""
    sequence: int = 12
    """Neighbours that a picture of a sequence is compared with."""
    partners: int = 5
    """Other pictures with which a picture's depth is measured; more are slower and leave fewer gaps."""
    angle_deg: float = 11.0
    """Preferred angle between the rays of two pictures that depth is measured with, degrees: larger is more exact,
    and matches less."""
    depth_px: int = 640
    """Longer side of the depth images, pixels."""
    stereo_px: int = 1000
    """Longer side of the pictures that are compared for depth, pixels."""
    agree: int = 2
    """Partners that must measure the same depth for it to count."""
    tolerance: float = 0.008
    """Depths are the same where they differ by less than this share."""
    typical_m: float = 0.5
    """Assumed distance from the cameras to the things (metres) where nothing tells the scale."""
    time_limit_s: float = 1800.0
    """Structure from motion is given up after so long."""

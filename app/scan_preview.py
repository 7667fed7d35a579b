"""A scan as points and the phone's path, quickly and while it grows: what the window shows before anything is fused.

``python -m app.scan_preview SCAN FOLDER`` writes ``points_<n>.npz`` files into `FOLDER`, each with more of the scan:
``points (N, 3)`` float32 metres with z up, ``colors (N, 3)`` uint8 RGB, ``path (M, 3)`` places of the camera. It says
on stdout, a JSON line each: ``{"event": "points", "path", "fraction"}``, last ``{"event": "coverage", "azimuth_deg",
"elevation_deg", "distance_m"}`` (of each camera that was looked through, about the middle of what the scan looks at),
or ``{"event": "error", "message", "remedy"}``. It ends with its stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.console import JsonConsole, end_with_stdin, told_in_json
from reconstruction.capture import Capture, Frame

FRAMES = 90
"""At most so many frames are looked at."""
POINTS_A_FRAME = 2500
WRITES = 12
FAR_M = 4.0
VOXEL_M = 0.008

FloatArray = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def main() -> int:
    """Preview one scan."""
    end_with_stdin()
    scan, folder = Path(sys.argv[1]), Path(sys.argv[2])
    return told_in_json(lambda console: preview(scan, folder, console))


def preview(scan: Path, folder: Path, console: JsonConsole) -> None:
    """Write the scan's points, more and more of them.

    Args:
        scan: as the phone exported it.
        folder: for the files.
        console: is told of each.

    Raises:
        PocketworldError: the scan is bad.
    """
    from reconstruction.conventions import check_convention
    from reconstruction.importers import read_capture

    capture = check_convention(read_capture(scan))
    turn = _upright(capture)
    frames = [frame for frame in capture.frames if frame.capture_from_camera is not None and frame.read_depth]
    frames = frames[:: max(1, -(-len(frames) // FRAMES))]
    points, colors, path, looked = list[Floats](), list[Bytes](), list[FloatArray](), list[FloatArray]()
    every = max(1, -(-len(frames) // WRITES))
    for number, frame in enumerate(frames):
        pose = np.eye(4)
        pose[:3] = turn @ np.asarray(frame.capture_from_camera)[:3]
        path.append(pose[:3, 3])
        seen = _seen(frame, pose)
        if seen is not None:
            points.append(seen[0])
            colors.append(seen[1])
            looked.append(seen[2])
        if points and (number % every == every - 1 or number == len(frames) - 1):
            file = folder / f"points_{number:04d}.npz"
            kept = _thinned(np.concatenate(points), np.concatenate(colors))
            partial = file.with_suffix(".partial.npz")
            np.savez(partial, points=kept[0], colors=kept[1], path=np.array(path, dtype=np.float32))
            partial.replace(file)
            console.say("points", "", path=str(file), fraction=(number + 1) / len(frames))
    if path:
        middle = np.median(np.array(looked or path), axis=0)
        console.say("coverage", "", **_coverage(np.array(path), middle))


def _upright(capture: Capture) -> FloatArray:
    """``(3, 3)``: turns the capture's frame so that z is up."""
    up = np.array([0.0, 1.0, 0.0]) if capture.up is None else np.asarray(capture.up, dtype=np.float64)
    z = up / np.linalg.norm(up)
    x = np.cross(np.eye(3)[int(np.argmin(np.abs(z)))], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _seen(frame: Frame, pose: FloatArray) -> tuple[Floats, Bytes, FloatArray] | None:
    """Points and colours of a frame, and what is in the middle of its picture; None where it shows nothing."""
    import cv2

    depth, rgb = frame.depth_m(), frame.rgb()
    if depth is None:
        return None
    height, width = depth.shape
    step = max(1, int(np.sqrt(height * width / POINTS_A_FRAME)))
    v, u = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    z = depth[v, u].astype(np.float64)
    good = (z > 0.05) & (z < FAR_M)
    sure = frame.confidence()
    if sure is not None and sure.shape == depth.shape:
        good &= sure[v, u] > 0
    if not good.any():
        return None
    k = frame.depth_intrinsics
    v, u, z = v[good], u[good], z[good]
    local = np.stack([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z], axis=1)
    world = local @ pose[:3, :3].T + pose[:3, 3]
    shade = np.full((len(z), 3), 150, dtype=np.uint8)
    if rgb is not None:
        shade = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)[v, u]
    central = np.argmin((u - width / 2) ** 2 + (v - height / 2) ** 2)
    return world.astype(np.float32), np.ascontiguousarray(shade), world[central]


def _thinned(points: Floats, colors: Bytes) -> tuple[Floats, Bytes]:
    """One point a voxel."""
    _, first = np.unique(np.floor(points / VOXEL_M).astype(np.int32), axis=0, return_index=True)
    return points[first], colors[first]


def _coverage(path: FloatArray, middle: FloatArray) -> dict[str, Any]:
    """From where, about what it looks at, the phone has looked."""
    away = path - middle
    flat = np.hypot(away[:, 0], away[:, 1])
    return {
        "azimuth_deg": np.round(np.degrees(np.arctan2(away[:, 1], away[:, 0])) % 360.0, 1).tolist(),
        "elevation_deg": np.round(np.degrees(np.arctan2(away[:, 2], flat)), 1).tolist(),
        "distance_m": np.round(np.linalg.norm(away, axis=1), 3).tolist(),
    }


if __name__ == "__main__":
    sys.exit(main())

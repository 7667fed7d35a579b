"""LINEMOD's own layout to the plain 7-Scenes-style folder that the `rgbd` importer reads (for tests and benchmarks)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

INTRINSICS = np.array([[572.4114, 0.0, 325.2611], [0.0, 573.57043, 242.04899], [0.0, 0.0, 1.0]])


def _table(path: Path) -> np.ndarray:
    """The numbers after the first line, which states the shape."""
    return np.loadtxt(path, skiprows=1)


def convert(linemod: Path, out: Path) -> Path:
    """Write `out` as ``frame-*.{color.jpg,depth.png,pose.txt}`` and ``camera-intrinsics.txt``; returns `out`.

    ``rotN.rot`` and ``traN.tra`` (centimetres) take the object's frame to the camera's; the capture's world becomes
    the object's frame in metres (its z axis points down into the board).
    """
    out.mkdir(parents=True, exist_ok=True)
    np.savetxt(out / "camera-intrinsics.txt", INTRINSICS)
    for rotation_file in sorted((linemod / "data").glob("rot*.rot")):
        number = int(rotation_file.stem.removeprefix("rot"))
        camera_from_object = np.eye(4)
        camera_from_object[:3, :3] = _table(rotation_file)
        camera_from_object[:3, 3] = _table(linemod / "data" / f"tra{number}.tra").ravel() / 100.0
        stem = out / f"frame-{number:06d}"
        np.savetxt(f"{stem}.pose.txt", np.linalg.inv(camera_from_object))
        shutil.copyfile(linemod / "data" / f"color{number}.jpg", f"{stem}.color.jpg")
        shutil.copyfile(linemod / "data" / f"depth{number}.png", f"{stem}.depth.png")
    return out

"""Polycam's raw data export (``formats.md`` section 3): key frames as captured, and as optimised ("corrected")."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.phone_formats.export import Export
from simulation.phone_formats.images import OPENGL_FROM_OPENCV, jpeg, millimetres, png
from simulation.recording import VirtualRecording

FloatArray = npt.NDArray[np.float64]
CONFIDENCE_LEVELS = np.array([0, 127, 255], dtype=np.uint8)
BORDER_PX = 8


def write(recording: VirtualRecording, path: Path) -> None:
    """Write `recording` as a folder, or as a zip.

    ``corrected_cameras`` are the true poses (the app's own bundle adjustment removed the drift), and
    ``corrected_images`` carry the black border that undistorting leaves.
    """
    true = recording.undrifted
    with Export(path) as export:
        for index in range(len(recording)):
            stamp = str(round(float(recording.times_s[index]) * 1e6))
            rgb = recording.rgb(index)
            depth, confidence = recording.depth_and_confidence(index)
            if index == 0:
                export.put("thumbnail.jpg", jpeg(rgb[::4, ::4]))
            export.put(f"keyframes/images/{stamp}.jpg", jpeg(rgb))
            export.put(f"keyframes/corrected_images/{stamp}.jpg", jpeg(_bordered(rgb)))
            export.put(f"keyframes/depth/{stamp}.png", png(millimetres(depth)))
            export.put(f"keyframes/confidence/{stamp}.png", png(CONFIDENCE_LEVELS[confidence]))
            export.put_json(f"keyframes/cameras/{stamp}.json", _camera(recording, index, recording.capture_from_camera))
            export.put_json(f"keyframes/corrected_cameras/{stamp}.json", _camera(recording, index, true))
        export.put_json("mesh_info.json", {"alignmentTransform": np.eye(4).T.reshape(-1).tolist()})


def _bordered(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    out = np.zeros_like(rgb)
    inside = (slice(BORDER_PX, -BORDER_PX),) * 2
    out[inside] = rgb[inside]
    return out


def _camera(recording: VirtualRecording, index: int, poses: FloatArray) -> dict[str, Any]:
    matrix = recording.intrinsics[index]
    width, height = recording.phone.rgb_size
    pose = poses[index] @ OPENGL_FROM_OPENCV
    entries = {f"t_{row}{column}": float(pose[row, column]) for row in range(3) for column in range(4)}
    return {
        **entries,
        "fx": float(matrix[0, 0]),
        "fy": float(matrix[1, 1]),
        "cx": float(matrix[0, 2]),
        "cy": float(matrix[1, 2]),
        "width": width,
        "height": height,
        "blur_score": 120.0 / (1.0 + 0.3 * recording.motion_px(index)),
        "timestamp": round(float(recording.times_s[index]) * 1e6),
    }

"""3D Scanner App by Laan Labs, "All data" (``formats.md`` section 4).

Colour only on every third frame, as in a low-resolution LiDAR scan; frames carry an (invented) position, so that
stripping it can be tested. Beside the frames lies the app's own mesh, here the true surface.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.phone_formats.export import Export
from simulation.phone_formats.images import OPENGL_FROM_OPENCV, jpeg, millimetres, png
from simulation.recording import VirtualRecording

FloatArray = npt.NDArray[np.float64]
COLOUR_EVERY = 3


def write(recording: VirtualRecording, path: Path) -> None:
    """Write `recording` as a folder, or as a zip with the one folder ``All_Data``."""
    with Export(path, enclosing="All_Data/") as export:
        export.put_json("info.json", _info(recording))
        export.put_text("export.obj", _mesh(recording))
        for index in range(len(recording)):
            depth, confidence = recording.depth_and_confidence(index)
            export.put_json(f"frame_{index:05d}.json", _frame(recording, index))
            export.put(f"depth_{index:05d}.png", png(millimetres(depth)))
            export.put(f"conf_{index:05d}.png", png(confidence))
            if index % COLOUR_EVERY == 0:
                rgb = recording.rgb(index)
                export.put(f"frame_{index:05d}.jpg", jpeg(rgb))
                if index == 0:
                    export.put("thumb_00000.jpg", jpeg(rgb[::6, ::6]))


def _frame(recording: VirtualRecording, index: int) -> dict[str, Any]:
    matrix, (width, height) = recording.intrinsics[index], recording.phone.rgb_size
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    projection = np.zeros((4, 4))
    projection[0, 0], projection[1, 1] = 2 * fx / width, 2 * fy / height
    projection[0, 2], projection[1, 2] = 1 - 2 * cx / width, 2 * cy / height - 1
    projection[2, 2], projection[2, 3], projection[3, 2] = -1.0, -0.001, -1.0
    return {
        "time": float(recording.times_s[index]),
        "frame_index": index,
        "cameraPoseARFrame": (recording.capture_from_camera[index] @ OPENGL_FROM_OPENCV).reshape(-1).tolist(),
        "intrinsics": matrix.reshape(-1).tolist(),
        "projectionMatrix": projection.reshape(-1).tolist(),
        "motionQuality": 1.0 / (1.0 + 0.1 * recording.motion_px(index)),
        "averageVelocity": 0.3,
        "averageAngularVelocity": 0.4,
        "exposureDuration": recording.phone.exposure_s,
        "cameraGrain": 0,
        "hasGPS": 1,
        "latitude": 12.345678,
        "longitude": -98.765432,
        "altitude": 123.4,
        "horizontalAccuracy": 5.0,
        "verticalAccuracy": 3.0,
        "gpsTime": 1700000000.0 + index,
    }


def _info(recording: VirtualRecording) -> dict[str, Any]:
    last = recording.capture_from_camera[-1] @ OPENGL_FROM_OPENCV
    names = [f"m{row}{column}" for row in range(1, 5) for column in range(1, 5)]
    return {
        "title": "virtual scan",
        "captureMode": 1,
        "captureResolution": -1,
        "numImages": len(recording),
        "appVersionString": "2.5.0",
        "gpsLatitude": 12.345678,
        "gpsLongitude": -98.765432,
        "gpsAltitude": 123.4,
        "transformToWorldMap": dict(zip(names, np.eye(4).reshape(-1).tolist(), strict=True)),
        "lastCameraPose": last.reshape(-1).tolist(),
        "userOBB": {"points": _box(recording).tolist()},
    }


def _box(recording: VirtualRecording) -> FloatArray:
    """The user's crop box ``(8, 3)`` in the capture frame: 15 cm round everything that lies there."""
    meshes = [item.world_mesh for item in recording.world.objects]
    points = np.concatenate([mesh.vertices for mesh in meshes]) if meshes else recording.world.target[None]
    low, high = points.min(axis=0) - 0.15, points.max(axis=0) + 0.15
    signs = np.array([[x, y, z] for y in (0, 1) for z, x in ((0, 0), (0, 1), (1, 1), (1, 0))], dtype=np.float64)
    corners = low + signs * (high - low)
    return np.asarray(corners @ recording.capture_from_world[:3, :3].T + recording.capture_from_world[:3, 3])


def _mesh(recording: VirtualRecording) -> str:
    lines, count = ["# 3D Scanner App"], 1
    for mesh in recording.world.meshes:
        moved = mesh.moved(recording.capture_from_world)
        lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in moved.vertices.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (moved.faces + count).tolist()]
        count += len(moved.vertices)
    return "\n".join(lines) + "\n"

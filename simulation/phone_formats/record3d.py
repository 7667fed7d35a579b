"""Record3D: the ``.r3d`` archive and the "EXR + JPG" export (``formats.md`` section 1).

A phone held upright is stored upright (``w < h``), and the poses have the axes of the stored picture.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.phone_formats.export import Export
from simulation.phone_formats.images import (
    OPENGL_FROM_OPENCV,
    SENSOR_FROM_UPRIGHT,
    jpeg,
    pose_record,
    turned,
    turned_intrinsics,
)
from simulation.recording import VirtualRecording

Stored = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def write_r3d(recording: VirtualRecording, path: Path) -> None:
    """Write `recording` as a ``.r3d`` file, or as its unpacked folder where `path` has no such ending."""
    import liblzfse

    with Export(path) as export:
        export.put("metadata", json.dumps(metadata(recording)).encode("utf-8"))
        for index in range(len(recording)):
            rgb, depth, confidence = stored(recording, index)
            if index == 0:
                every = max(1, rgb.shape[0] // 120)
                export.put("icon", jpeg(rgb[::every, ::every]))
            export.put(f"rgbd/{index}.jpg", jpeg(rgb))
            absent = np.where(depth > 0, depth, np.float32(np.nan)).astype("<f4")
            export.put(f"rgbd/{index}.depth", liblzfse.compress(absent.tobytes()))
            export.put(f"rgbd/{index}.conf", liblzfse.compress(confidence.tobytes()))


def write_exr(recording: VirtualRecording, path: Path) -> None:
    """Write `recording` as the "EXR + JPG" export: float16 metres in channel ``R``, no confidence."""
    with Export(path, enclosing="EXR_RGBD/") as export:
        export.put("metadata.json", json.dumps(metadata(recording)).encode("utf-8"))
        for index in range(len(recording)):
            rgb, depth, _ = stored(recording, index)
            export.put(f"rgb/{index}.jpg", jpeg(rgb))
            export.put(f"depth/{index}.exr", _exr(depth))


def _exr(depth_m: npt.NDArray[np.float32]) -> bytes:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "depth.exr"
        with OpenEXR.File(header, {"R": np.ascontiguousarray(depth_m.astype(np.float16))}) as image:
            image.write(str(target))
        return target.read_bytes()


def stored(recording: VirtualRecording, index: int) -> Stored:
    """Colour, depth and confidence of a frame in the orientation they are stored in."""
    rgb = recording.rgb(index)
    depth, confidence = recording.depth_and_confidence(index)
    if recording.phone.portrait:
        return turned(rgb), turned(depth), turned(confidence)
    return rgb, depth, confidence


def metadata(recording: VirtualRecording) -> dict[str, Any]:
    """The ``metadata`` entry."""
    phone = recording.phone
    (w, h), (dw, dh) = phone.rgb_size, phone.depth_size
    matrices, poses = recording.intrinsics, recording.capture_from_camera
    if phone.portrait:
        matrices = np.array([turned_intrinsics(matrix, phone.rgb_size) for matrix in matrices])
        poses = poses @ SENSOR_FROM_UPRIGHT
        (w, h), (dw, dh) = (h, w), (dh, dw)
    return {
        "w": w,
        "h": h,
        "dw": dw,
        "dh": dh,
        "fps": phone.fps,
        "K": matrices[-1].T.reshape(-1).tolist(),
        "perFrameIntrinsicCoeffs": [[m[0][0], m[1][1], m[0][2], m[1][2]] for m in matrices.tolist()],
        "poses": [pose_record(pose @ OPENGL_FROM_OPENCV) for pose in poses],
        "initPose": [0, 0, 0, 1, 0, 0, 0],
        "frameTimestamps": recording.times_s.tolist(),
        "cameraType": 1,
    }

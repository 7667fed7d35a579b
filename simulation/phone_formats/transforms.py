"""Everything that is a ``transforms.json``: NeRFCapture's three variants and nerfstudio (``formats.md`` 5 and 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.phone_formats.export import Export
from simulation.phone_formats.images import OPENGL_FROM_OPENCV, enlarged, jpeg, millimetres, png
from simulation.recording import WORLD_FROM_YUP, VirtualRecording

DEPTH_SCALE = 10.0


def write_nerfcapture(recording: VirtualRecording, path: Path) -> None:
    """NeRFCapture's own zip: depth drawn as 8-bit pictures that saturate at one metre, hence not metric."""

    def depth(depth_m: npt.NDArray[np.float32]) -> bytes:
        grey = np.round(np.clip(depth_m, 0.0, 1.0) * 255.0).astype(np.uint8)
        return png(enlarged(grey, recording.phone.rgb_size))

    with Export(path, enclosing="261123101500/") as export:
        frames = []
        for index in range(len(recording)):
            entry = _frame(recording, index) | {
                "file_path": f"images/{index}",
                "depth_path": f"images/{index}.depth.png",
            }
            export.put(f"images/{index}.png", png(recording.rgb(index)))
            export.put(f"images/{index}.depth.png", depth(recording.depth_and_confidence(index)[0]))
            frames.append(entry | {"timestamp": float(recording.times_s[index])})
        top = _camera(recording, 0) | {"depth_integer_scale": 1.0, "frames": frames}
        export.put_json("transforms.json", top)


def write_instant_ngp(recording: VirtualRecording, path: Path) -> None:
    """What instant-ngp's receiving script writes: ``images/<n>.png`` and 16-bit ``images/<n>.depth.png``."""
    _write_received(recording, path, "images/{}.png", "images/{}", "images/{}.depth.png")


def write_splatam(recording: VirtualRecording, path: Path) -> None:
    """What SplaTAM's receiving script writes: ``rgb/<n>.png`` and 16-bit ``depth/<n>.png``."""
    _write_received(recording, path, "rgb/{}.png", "rgb/{}.png", "depth/{}.png")


def _write_received(recording: VirtualRecording, path: Path, rgb_name: str, listed_name: str, depth_name: str) -> None:
    with Export(path) as export:
        frames = []
        for index in range(len(recording)):
            depth_m = recording.depth_and_confidence(index)[0]
            units = (depth_m * 65535 / DEPTH_SCALE).astype(np.uint16)
            export.put(rgb_name.format(index), png(recording.rgb(index)))
            export.put(depth_name.format(index), png(enlarged(units, recording.phone.rgb_size)))
            names = {"file_path": listed_name.format(index), "depth_path": depth_name.format(index)}
            frames.append(_frame(recording, index) | names)
        top = _camera(recording, 0) | {"integer_depth_scale": DEPTH_SCALE / 65535.0, "frames": frames}
        export.put_json("transforms.json", top)


def write_nerfstudio(recording: VirtualRecording, path: Path) -> None:
    """A nerfstudio data set with metric poses: world z up, depth in millimetres, ``applied_transform`` recorded."""
    applied = WORLD_FROM_YUP  # y up to z up
    with Export(path) as export:
        frames = []
        for index in range(len(recording)):
            depth_m = recording.depth_and_confidence(index)[0]
            pose = applied @ recording.capture_from_camera[index] @ OPENGL_FROM_OPENCV
            names = {
                "file_path": f"images/frame_{index + 1:05d}.jpg",
                "depth_file_path": f"depth/frame_{index + 1:05d}.png",
            }
            export.put(names["file_path"], jpeg(recording.rgb(index)))
            export.put(names["depth_file_path"], png(millimetres(depth_m)))
            frames.append(_camera(recording, index) | names | {"transform_matrix": pose.tolist()})
        top = {"camera_model": "OPENCV", "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0} | _camera(recording, 0)
        export.put_json("transforms.json", top | {"applied_transform": applied[:3].tolist(), "frames": frames})


def _frame(recording: VirtualRecording, index: int) -> dict[str, Any]:
    pose = recording.capture_from_camera[index] @ OPENGL_FROM_OPENCV
    return _camera(recording, index) | {"transform_matrix": pose.tolist()}


def _camera(recording: VirtualRecording, index: int) -> dict[str, Any]:
    matrix, (width, height) = recording.intrinsics[index], recording.phone.rgb_size
    return {
        "fl_x": float(matrix[0, 0]),
        "fl_y": float(matrix[1, 1]),
        "cx": float(matrix[0, 2]),
        "cy": float(matrix[1, 2]),
        "w": width,
        "h": height,
    }

"""Research data sets: ARKitScenes raw, 7-Scenes and TUM RGB-D (``formats.md`` sections 7 and 8)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reconstruction.capture import scaled_intrinsics
from simulation.phone_formats.export import Export
from simulation.phone_formats.images import enlarged, jpeg, millimetres, png, pose_record
from simulation.recording import WORLD_FROM_YUP, VirtualRecording

VIDEO_ID = "41069021"


def write_arkitscenes(recording: VirtualRecording, path: Path) -> None:
    """ARKitScenes raw: ``lowres_*`` streams and a trajectory of world → camera, world z up, OpenCV axes."""
    from scipy.spatial.transform import Rotation

    phone, lines = recording.phone, []
    with Export(path, enclosing=f"{VIDEO_ID}/") as export:
        for index in range(len(recording)):
            stamp = f"{VIDEO_ID}_{recording.times_s[index]:.3f}"
            depth, confidence = recording.depth_and_confidence(index)
            small = _shrunk(recording, index)
            matrix = scaled_intrinsics(recording.intrinsics[index], phone.rgb_size, phone.depth_size)
            values = (*phone.depth_size, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
            export.put(f"lowres_wide/{stamp}.png", png(small))
            export.put(f"lowres_depth/{stamp}.png", png(millimetres(depth)))
            export.put(f"confidence/{stamp}.png", png(confidence))
            export.put_text(f"lowres_wide_intrinsics/{stamp}.pincam", " ".join(f"{value:.6g}" for value in values))
            camera_from_world = np.linalg.inv(WORLD_FROM_YUP @ recording.capture_from_camera[index])
            vector = Rotation.from_matrix(camera_from_world[:3, :3]).as_rotvec()
            numbers = (*vector, *camera_from_world[:3, 3])
            lines.append(f"{recording.times_s[index]:.9f} " + " ".join(f"{value:.12g}" for value in numbers))
        export.put_text("lowres_wide.traj", "\n".join(lines) + "\n")


def _shrunk(recording: VirtualRecording, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    import cv2

    return np.asarray(cv2.resize(recording.rgb(index), recording.phone.depth_size, interpolation=cv2.INTER_AREA))


def write_sevenscenes(recording: VirtualRecording, path: Path) -> None:
    """7-Scenes: ``frame-%06d.{color.jpg,depth.png,pose.txt}`` and the intrinsics as a 3 × 3 text; 65535 = no depth.

    The depth picture is as large as the colour picture in this format, so colour is shrunk to the sensor's depth size
    times 2.5 and depth enlarged to it.
    """
    import cv2

    size = (recording.phone.depth_size[0] * 5 // 2, recording.phone.depth_size[1] * 5 // 2)
    with Export(path) as export:
        matrix = scaled_intrinsics(recording.intrinsics.mean(axis=0), recording.phone.rgb_size, size)
        export.put_text("camera-intrinsics.txt", _rows(matrix))
        for index in range(len(recording)):
            depth = millimetres(recording.depth_and_confidence(index)[0])
            depth[depth == 0] = 65535
            rgb = cv2.resize(recording.rgb(index), size, interpolation=cv2.INTER_AREA)
            export.put(f"frame-{index:06d}.color.jpg", jpeg(np.asarray(rgb)))
            export.put(f"frame-{index:06d}.depth.png", png(enlarged(depth, size)))
            export.put_text(f"frame-{index:06d}.pose.txt", _rows(recording.capture_from_camera[index]))


def _rows(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return "\n".join(" ".join(f"{value:.12e}" for value in row) for row in matrix) + "\n"


def write_tum(recording: VirtualRecording, path: Path) -> None:
    """TUM RGB-D: ``rgb/<t>.png``, ``depth/<t>.png`` (5000 a metre), lists of both, ``groundtruth.txt``, intrinsics.

    The data set's intrinsics stand on its web page, not in it; here they lie beside it as ``camera-intrinsics.txt``.
    """
    head = "# virtual phone\n# file: 'virtual.bag'\n# timestamp filename\n"
    rgb_lines, depth_lines = [head], [head]
    poses = ["# ground truth trajectory\n# file: 'virtual.bag'\n# timestamp tx ty tz qx qy qz qw\n"]
    with Export(path) as export:
        export.put_text("camera-intrinsics.txt", _rows(recording.intrinsics.mean(axis=0)))
        for index in range(len(recording)):
            stamp = f"{recording.times_s[index]:.6f}"
            depth = np.round(recording.depth_and_confidence(index)[0] * 5000.0).astype(np.uint16)
            export.put(f"rgb/{stamp}.png", png(recording.rgb(index)))
            export.put(f"depth/{stamp}.png", png(enlarged(depth, recording.phone.rgb_size)))
            rgb_lines.append(f"{stamp} rgb/{stamp}.png\n")
            depth_lines.append(f"{stamp} depth/{stamp}.png\n")
            qx, qy, qz, qw, x, y, z = pose_record(recording.capture_from_camera[index])
            poses.append(f"{stamp} " + " ".join(f"{value:.7f}" for value in (x, y, z, qx, qy, qz, qw)) + "\n")
        export.put_text("rgb.txt", "".join(rgb_lines))
        export.put_text("depth.txt", "".join(depth_lines))
        export.put_text("groundtruth.txt", "".join(poses))

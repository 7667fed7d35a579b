"""Stray Scanner: HEVC video, depth and confidence PNGs, CSV tables (``formats.md`` section 2).

Poses have OpenCV camera axes in ARKit's y-up world. The video lacks the first frame, as the app's does since 2022.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simulation.phone_formats.export import Export
from simulation.phone_formats.images import millimetres, png, pose_record
from simulation.recording import VirtualRecording

FloatArray = npt.NDArray[np.float64]


def write(recording: VirtualRecording, path: Path) -> None:
    """Write `recording` as a Stray Scanner folder, or as a zip of one."""
    with Export(path, enclosing="3f7a91c2d0/") as export:
        last = recording.intrinsics[-1]
        export.put_text("camera_matrix.csv", "\n".join(", ".join(f"{value:.7g}" for value in row) for row in last))
        export.put_text("odometry.csv", _odometry(recording))
        export.put_text("imu.csv", imu_table(recording))
        for index in range(len(recording)):
            depth, confidence = recording.depth_and_confidence(index)
            export.put(f"depth/{index:06d}.png", png(millimetres(depth)))
            export.put(f"confidence/{index:06d}.png", png(confidence))
        export.put("rgb.mp4", video(recording, list(range(1, len(recording)))))


def _odometry(recording: VirtualRecording) -> str:
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw, fx, fy, cx, cy"]
    rows = zip(recording.times_s, recording.capture_from_camera, recording.intrinsics, strict=True)
    for index, (time, pose, matrix) in enumerate(rows):
        qx, qy, qz, qw, x, y, z = pose_record(pose)
        values = (x, y, z, qx, qy, qz, qw, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        lines.append(f"{time:.6f}, {index:06d}, " + ", ".join(f"{value:.9g}" for value in values))
    return "\n".join(lines) + "\n"


def imu_table(recording: VirtualRecording) -> str:
    """Raw accelerometer in g (as since 2025) and turning rates in rad/s, in the camera's axes, at the frame times."""
    from scipy.spatial.transform import Rotation

    poses, times = recording.capture_from_camera, recording.times_s
    step = np.gradient(times)[:, None] if len(times) > 1 else np.ones((1, 1))
    acceleration = _slope(_slope(poses[:, :3, 3], step), step)
    lines = ["timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z"]
    for index, time in enumerate(times):
        turn = poses[index, :3, :3]
        after = poses[min(index + 1, len(poses) - 1), :3, :3]
        rate = Rotation.from_matrix(turn.T @ after).as_rotvec() / step[index]
        felt = turn.T @ (-(acceleration[index] + np.array([0.0, 9.81, 0.0]))) / 9.81
        lines.append(f"{time:.6f}, " + ", ".join(f"{value:.6f}" for value in (*felt, *rate)))
    return "\n".join(lines) + "\n"


def _slope(values: FloatArray, step: FloatArray) -> FloatArray:
    return np.asarray(np.gradient(values, axis=0) / step) if len(values) > 1 else np.zeros_like(values)


SHORT_FILM = 16
"""Films of fewer frames have no B frames: in a film shorter than the encoder's reordering x265 leaves decoding times to
chance, and the muxer refuses a third of them on a busy machine."""


def video(recording: VirtualRecording, indices: list[int]) -> bytes:
    """HEVC in MP4, landscape as the sensor sees it, times on the 60 Hz grid."""
    import av

    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx265", rate=60)
        stream.width, stream.height = recording.phone.rgb_size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 60)
        # One pool thread: the same bytes on every machine.
        tuned = "log-level=none:pools=1:frame-threads=1"
        if len(indices) < SHORT_FILM:
            tuned += ":bframes=0"
        stream.options = {"crf": "20", "preset": "veryfast", "x265-params": tuned}
        start = recording.times_s[indices[0]] if indices else 0.0
        for index in indices:
            frame = av.VideoFrame.from_ndarray(recording.rgb(index), format="rgb24")
            frame.pts = int(round((recording.times_s[index] - start) * 60))
            frame.time_base = Fraction(1, 60)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()

"""Tiny exports written by hand from each format's description, independent of the virtual phone's writers.

A camera moves past the corner of a room (three planes, so depth is exact at any pose). Everything is small: colour
32x24, depth 16x12.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import liblzfse
import numpy as np

SIZE, DEPTH_SIZE = (32, 24), (16, 12)
K = np.array([[28.0, 0.0, 15.5], [0.0, 29.0, 11.0], [0.0, 0.0, 1.0]])
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between our camera axes and ARKit's."""

_WALLS = np.array([[0.0, 0.0, 1.0, 1.2], [1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.1]])
"""Planes ``n . x + d = 0`` of a y-up world: a wall ahead, one at the left, the floor."""


def pose(i: int) -> np.ndarray:
    """World-from-camera (our axes) of frame `i` in a y-up world: looking down into the corner, moving, turning."""
    yaw, pitch = 0.5 - 0.06 * i, -0.35 - 0.02 * i
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    out = np.eye(4)
    out[:3, :3] = turn @ nod @ FLIP[:3, :3]
    out[:3, 3] = [0.03 * i, 0.3, 0.02 * i]
    return out


def depth_m(world_from_camera: np.ndarray, k: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Planar depth ``(H, W)`` of the corner."""
    v, u = np.mgrid[0 : size[1], 0 : size[0]]
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], axis=-1)
    world = rays @ world_from_camera[:3, :3].T
    with np.errstate(divide="ignore"):
        distances = [-(n @ world_from_camera[:3, 3] + d) / (world @ n) for *n, d in _WALLS]
    return np.min([np.where(distance > 0, distance, np.inf) for distance in distances], axis=0)


def depth_k(k: np.ndarray = K) -> np.ndarray:
    scaled = k.copy()
    scaled[0] *= DEPTH_SIZE[0] / SIZE[0]
    scaled[1] *= DEPTH_SIZE[1] / SIZE[1]
    return scaled


def depth_of(i: int) -> np.ndarray:
    return depth_m(pose(i), depth_k(), DEPTH_SIZE).astype(np.float32)


def rgb_of(i: int) -> np.ndarray:
    """A picture that says which frame it is: its red level."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    image[..., 0] = 40 + (20 * i) % 200
    return image


def encoded(ending: str, image: np.ndarray) -> bytes:
    done, data = cv2.imencode(ending, image[..., ::-1] if image.ndim == 3 else image)
    assert done
    return data.tobytes()


def millimetres(depth: np.ndarray) -> np.ndarray:
    return np.round(depth * 1000).astype(np.uint16)


def quat_xyzw(rotation: np.ndarray) -> list[float]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_quat().tolist()


def put(folder: Path, name: str, data: bytes | str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def zipped(folder: Path, archive: Path, prefix: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(archive, "w", method) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, prefix + file.relative_to(folder).as_posix())
    return archive


def record3d_meta(count: int) -> dict[str, Any]:
    def row(i: int) -> list[float]:
        arkit = pose(i) @ FLIP
        return [*quat_xyzw(arkit[:3, :3]), *arkit[:3, 3].tolist()]

    return {
        "w": SIZE[0],
        "h": SIZE[1],
        "dw": DEPTH_SIZE[0],
        "dh": DEPTH_SIZE[1],
        "fps": 60,
        "K": K.T.ravel().tolist(),
        "poses": [row(i) for i in range(count)],
        "initPose": [0, 0, 0, 1, 0, 0, 0],
        "frameTimestamps": [i / 60 for i in range(count)],
        "cameraType": 1,
    }


def record3d(folder: Path, count: int = 6, meta: dict[str, Any] | None = None, stored_raw: bool = False) -> Path:
    """The unpacked ``.r3d``; `meta` replaces entries of the metadata, None removes one."""
    merged = {key: value for key, value in (record3d_meta(count) | (meta or {})).items() if value is not None}
    put(folder, "metadata", json.dumps(merged))
    for i in range(count):
        put(folder, f"rgbd/{i}.jpg", encoded(".jpg", rgb_of(i)))
        raw = depth_of(i).astype("<f4")
        raw[0, 0] = np.nan
        put(folder, f"rgbd/{i}.depth", raw.tobytes() if stored_raw else liblzfse.compress(raw.tobytes()))
        put(folder, f"rgbd/{i}.conf", liblzfse.compress(np.full(DEPTH_SIZE[::-1], 2, np.uint8).tobytes()))
    return folder


def stray(folder: Path, count: int = 6, header: str = "", extra: str = "") -> Path:
    """A Stray Scanner folder without video; `header` and `extra` are appended to the table's lines."""
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw" + header]
    for i in range(count):
        place = ", ".join(str(value) for value in [*pose(i)[:3, 3], *quat_xyzw(pose(i)[:3, :3])])
        lines.append(f"{1000 + i / 60}, {i:06d}, {place}{extra}")
        put(folder, f"depth/{i:06d}.png", encoded(".png", millimetres(depth_of(i))))
        put(folder, f"confidence/{i:06d}.png", encoded(".png", np.full(DEPTH_SIZE[::-1], 1, np.uint8)))
    put(folder, "odometry.csv", "\n".join(lines) + "\n")
    full = K.copy()
    full[0] *= 1920 / SIZE[0]
    full[1] *= 1440 / SIZE[1]
    put(folder, "camera_matrix.csv", "\n".join(", ".join(str(value) for value in row) for row in full))
    return folder


def video(path: Path, levels: list[int], size: tuple[int, int] = (64, 48), group: int = 4) -> None:
    """An MP4 whose frames are grey of the given levels, a key frame every `group`, presented at uneven times."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=60)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = group
        stream.options = {"sc_threshold": "1000000000"}  # key frames only where asked for
        for number, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8), format="rgb24")
            frame.pts = number + number // 3
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def laan(folder: Path, count: int = 6, gps: bool = True) -> Path:
    """3D Scanner App: JSON for every frame, colour for every second."""
    private = {"latitude": 47.123456, "longitude": 8.654321, "hasGPS": 1} if gps else {}
    info = {"title": "Annas Küche", "userOBB": {"points": np.indices((2, 2, 2)).reshape(3, 8).T.tolist()}}
    put(folder, "info.json", json.dumps(info | private))
    for i in range(count):
        frame = {
            "time": 5000.5 + i / 10,
            "frame_index": i,
            "cameraPoseARFrame": (pose(i) @ FLIP).ravel().tolist(),
            "intrinsics": K.ravel().tolist(),
            "motionQuality": 0.75,
        }
        put(folder, f"frame_{i:05d}.json", json.dumps(frame | private))
        put(folder, f"depth_{i:05d}.png", encoded(".png", millimetres(depth_of(i))))
        put(folder, f"conf_{i:05d}.png", encoded(".png", np.full(DEPTH_SIZE[::-1], 2, np.uint8)))
        if i % 2 == 0:
            put(folder, f"frame_{i:05d}.jpg", encoded(".jpg", rgb_of(i)))
    return folder


def polycam(folder: Path, count: int = 6) -> Path:
    """Polycam raw data as captured, without ``corrected_*``."""
    for i in range(count):
        stamp = 1_700_000_000_000 + 100_000 * i
        entries = {f"t_{r}{c}": float((pose(i) @ FLIP)[r, c]) for r in range(3) for c in range(4)}
        camera = {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "width": SIZE[0], "height": SIZE[1]}
        put(folder, f"keyframes/cameras/{stamp}.json", json.dumps(entries | camera | {"blur_score": 25.0, "new": {}}))
        put(folder, f"keyframes/images/{stamp}.jpg", encoded(".jpg", rgb_of(i)))
        put(folder, f"keyframes/depth/{stamp}.png", encoded(".png", millimetres(depth_of(i))))
        confidence = np.tile(np.array([0, 127, 255, 255], np.uint8), (DEPTH_SIZE[1], DEPTH_SIZE[0] // 4))
        put(folder, f"keyframes/confidence/{stamp}.png", encoded(".png", confidence))
    put(folder, "mesh_info.json", "{}")
    return folder


def transforms(
    folder: Path, count: int = 6, top: dict[str, Any] | None = None, row: dict[str, Any] | None = None
) -> Path:
    """A nerfstudio folder in metres; `top` and `row` add keys to the file and to each frame."""
    camera = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": SIZE[0], "h": SIZE[1]}
    frames = []
    for i in range(count):
        put(folder, f"images/frame_{i:05d}.png", encoded(".png", rgb_of(i)))
        put(folder, f"depth/frame_{i:05d}.png", encoded(".png", millimetres(depth_of(i))))
        frames.append({
            "file_path": f"./images/frame_{i:05d}",
            "depth_file_path": f"depth/frame_{i:05d}.png",
            "transform_matrix": (pose(i) @ FLIP).tolist(),
        } | (row or {}))  # fmt: skip
    put(folder, "transforms.json", json.dumps(camera | (top or {}) | {"frames": frames}))
    return folder


def sevenscenes(folder: Path, count: int = 6) -> Path:
    put(folder, "camera-intrinsics.txt", "\n".join(" ".join(map(str, row)) for row in K.tolist()))
    for i in range(count):
        put(folder, f"frame-{i:06d}.color.png", encoded(".png", rgb_of(i)))
        depth = millimetres(depth_m(pose(i), K, SIZE))
        depth[0, 0], depth[0, 1] = 65535, 0
        put(folder, f"frame-{i:06d}.depth.png", encoded(".png", depth))
        put(folder, f"frame-{i:06d}.pose.txt", "\n".join("\t".join(map(str, row)) for row in pose(i).tolist()))
    return folder


def tum(folder: Path, count: int = 6) -> Path:
    """Colour 8 ms after depth, poses on a clock of their own, one depth image without a pose."""
    put(folder, "camera-intrinsics.txt", "\n".join(" ".join(map(str, row)) for row in K.tolist()))
    lists: dict[str, list[str]] = {"rgb.txt": ["# colour"], "depth.txt": ["# depth"], "groundtruth.txt": ["# poses"]}
    for i in range(count):
        time = 1000.0 + i / 10
        put(folder, f"rgb/{time:.4f}.png", encoded(".png", rgb_of(i)))
        depth = np.round(depth_m(pose(i), K, SIZE) * 5000).astype(np.uint16)
        put(folder, f"depth/{time:.4f}.png", encoded(".png", depth))
        lists["rgb.txt"].append(f"{time + 0.008:.4f} rgb/{time:.4f}.png")
        lists["depth.txt"].append(f"{time:.4f} depth/{time:.4f}.png")
        if i != 2:
            place = " ".join(str(value) for value in [*pose(i)[:3, 3], *quat_xyzw(pose(i)[:3, :3])])
            lists["groundtruth.txt"].append(f"{time + 0.003:.4f} {place}")
    for name, lines in lists.items():
        put(folder, name, "\n".join(lines) + "\n")
    return folder


def arkitscenes(folder: Path, count: int = 6) -> Path:
    """Poses at times of their own, so that they must be interpolated: world to camera, axis-angle."""
    from scipy.spatial.transform import Rotation

    lines = []
    for i in range(count + 1):
        camera_from_world = np.linalg.inv(pose(i))
        vector = [*Rotation.from_matrix(camera_from_world[:3, :3]).as_rotvec(), *camera_from_world[:3, 3]]
        lines.append(f"{7000 + i / 20:.4f} " + " ".join(map(str, vector)))
    put(folder, "lowres_wide.traj", "\n".join(lines))
    for i in range(count):
        stamp = f"4100_{7000 + i / 20:.3f}"
        put(folder, f"lowres_wide/{stamp}.png", encoded(".png", rgb_of(i)))
        put(folder, f"lowres_depth/{stamp}.png", encoded(".png", millimetres(depth_of(i))))
        put(folder, f"confidence/{stamp}.png", encoded(".png", np.full(DEPTH_SIZE[::-1], 2, np.uint8)))
        values = [*SIZE, K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
        put(folder, f"lowres_wide_intrinsics/{stamp}.pincam", " ".join(map(str, values)))
    return folder


EXPORTS = {
    "record3d": record3d,
    "stray": stray,
    "laan": laan,
    "polycam": polycam,
    "nerfstudio": transforms,
    "rgbd": sevenscenes,
    "arkitscenes": arkitscenes,
}
"""Format -> writer into a folder."""

"""Bad scans: each is refused with an error that names file, reason and remedy, or read without its bad frames."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import liblzfse
import numpy as np
import pytest

from reconstruction.capture import Capture
from reconstruction.errors import InputError, PocketworldError
from reconstruction.importers import lzfse, read_capture
from reconstruction.importers.damage import DamagedImages
from reconstruction.inspection import inspect_capture
from reconstruction.keyframes import select_keyframes
from reconstruction.poses import refine_poses
from reconstruction.views import ViewSettings, load_views
from tests import phone_files as phone

FIRST_DEPTH = {
    "record3d": "rgbd/0.depth",
    "stray": "depth/000000.png",
    "laan": "depth_00000.png",
    "polycam": "keyframes/depth/1700000000000.png",
    "nerfstudio": "depth/frame_00000.png",
    "rgbd": "frame-000000.depth.png",
    "arkitscenes": "lowres_depth/4100_7000.000.png",
}
FIRST_RGB = {
    "record3d": "rgbd/0.jpg",
    "laan": "frame_00000.jpg",
    "polycam": "keyframes/images/1700000000000.jpg",
    "nerfstudio": "images/frame_00000.png",
    "rgbd": "frame-000000.color.png",
    "arkitscenes": "lowres_wide/4100_7000.000.png",
}
METADATA = {
    "record3d": "metadata",
    "stray": "odometry.csv",
    "laan": "frame_*.json",
    "polycam": "keyframes/cameras/*.json",
    "rgbd": "*.pose.txt",
    "arkitscenes": "lowres_wide.traj",
}
Scan = Callable[..., Path]


def refused(path: Path, *words: str) -> PocketworldError:
    """Reading `path` fails with an error that a user can act on."""
    with pytest.raises(InputError) as caught:
        read_capture(path)
    error = caught.value
    assert error.exit_code != 0
    assert error.remedy
    assert error.code not in ("", "error")
    assert path.name in error.message
    for word in words:
        assert word in error.message, error.message
    return error


@pytest.mark.parametrize("kind", sorted(METADATA))
def test_metadata_is_missing(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan ü")
    for file in scan.glob(METADATA[kind]):
        file.unlink()
    with pytest.raises(InputError) as caught:
        read_capture(scan)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", sorted(FIRST_DEPTH))
def test_depth_of_another_size_in_one_frame(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    name = FIRST_DEPTH[kind]
    if kind == "record3d":
        phone.put(scan, name, liblzfse.compress(np.ones((12, 20), "<f4").tobytes()))
    else:
        phone.put(scan, name, phone.encoded(".png", np.full((10, 10), 900, np.uint16)))
    error = refused(scan, Path(name).name)
    assert error.code in ("wrong_size", "wrong_depth_size")


@pytest.mark.parametrize("kind", sorted(FIRST_DEPTH))
def test_depth_of_another_shape_in_all_frames(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    folder, ending = (scan / FIRST_DEPTH[kind]).parent, Path(FIRST_DEPTH[kind]).suffix
    for file in sorted(folder.glob(f"*{ending}")):
        if kind == "record3d":
            file.write_bytes(liblzfse.compress(np.ones((10, 10), "<f4").tobytes()))
        elif "color" not in file.name and "conf" not in file.name:
            file.write_bytes(phone.encoded(".png", np.full((10, 10), 900, np.uint16)))
    refused(scan, "depth")


@pytest.mark.parametrize("kind", sorted(FIRST_DEPTH))
def test_one_truncated_depth_among_many_is_left_out(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    file = scan / FIRST_DEPTH[kind]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    capture = read_capture(scan)
    assert len(capture.frames) == 5
    assert any("1 damaged frame" in sentence and file.name in sentence for sentence in capture.missing)
    assert all(frame.depth_m() is not None for frame in capture.frames)
    assert capture.frames[0].time_s == 0.0


@pytest.mark.parametrize("kind", sorted(FIRST_RGB))
def test_one_truncated_colour_image_is_left_out(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    file = scan / FIRST_RGB[kind]
    file.write_bytes(file.read_bytes()[:-20])
    capture = read_capture(scan)
    assert len(capture.frames) == 5
    assert any(file.name in sentence for sentence in capture.missing)


@pytest.mark.parametrize("kind", sorted(FIRST_DEPTH))
def test_many_truncated_images_are_a_damaged_scan(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    folder, ending = (scan / FIRST_DEPTH[kind]).parent, Path(FIRST_DEPTH[kind]).suffix
    for file in sorted(folder.glob(f"*{ending}"))[:3]:
        file.write_bytes(file.read_bytes()[:40])
    for file in sorted(folder.glob(f"*depth{ending}"))[:3]:
        file.write_bytes(file.read_bytes()[:40])
    refused(scan, "3 of 6 frames")


@pytest.mark.parametrize("kind", sorted(FIRST_DEPTH))
def test_empty_images(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    folder, ending = (scan / FIRST_DEPTH[kind]).parent, Path(FIRST_DEPTH[kind]).suffix
    for file in folder.glob(f"*{ending}"):
        file.write_bytes(b"")
    refused(scan)


def with_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def spoil_poses(kind: str, scan: Path, value: str, every: bool) -> None:
    """Put `value` ("NaN", "Infinity", "1e30", a word) into the first or every pose."""

    def number() -> Any:
        return float(value) if value != "word" else "word"

    stop = 6 if every else 1
    if kind == "record3d":
        with_json(scan / "metadata", lambda table: [row.__setitem__(4, number()) for row in table["poses"][:stop]])
    elif kind == "nerfstudio":
        rows = scan / "transforms.json"
        with_json(
            rows, lambda table: [r["transform_matrix"][0].__setitem__(3, number()) for r in table["frames"][:stop]]
        )
    elif kind == "laan":
        for file in sorted(scan.glob("frame_*.json"))[:stop]:
            with_json(file, lambda table: table["cameraPoseARFrame"].__setitem__(3, number()))
    elif kind == "polycam":
        for file in sorted(scan.glob("keyframes/cameras/*.json"))[:stop]:
            with_json(file, lambda table: table.__setitem__("t_03", number()))
    elif kind == "rgbd":
        for file in sorted(scan.glob("*.pose.txt"))[:stop]:
            file.write_text(value.lower() + file.read_text()[file.read_text().index("\t") :])
    else:
        name, comma = ("odometry.csv", ", ") if kind == "stray" else ("lowres_wide.traj", " ")
        lines = (scan / name).read_text().splitlines()
        first = 1 if kind == "stray" else 0
        for at in range(first, first + (stop if stop == 1 else len(lines) - first)):
            words = lines[at].split(comma)
            lines[at] = comma.join([*words[:4], value, *words[5:]])
        (scan / name).write_text("\n".join(lines))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e30"])
@pytest.mark.parametrize("kind", sorted(phone.EXPORTS))
def test_poses_that_are_no_poses(kind: str, value: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    spoil_poses(kind, scan, value, every=True)
    error = refused(scan)
    assert "pose" in error.message or "finite" in error.message


@pytest.mark.parametrize("kind", sorted(set(phone.EXPORTS) - {"arkitscenes"}))
def test_one_pose_that_is_none_is_left_out(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    spoil_poses(kind, scan, "NaN", every=False)
    capture = read_capture(scan)
    assert len(capture.frames) == 5
    assert all(np.isfinite(frame.capture_from_camera).all() for frame in capture.frames)
    assert any("left out" in sentence for sentence in capture.missing)


@pytest.mark.parametrize("kind", sorted(set(phone.EXPORTS) - {"arkitscenes"}))
def test_words_where_numbers_belong(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    spoil_poses(kind, scan, "word", every=True)
    refused(scan)


@pytest.mark.parametrize("kind", ["record3d", "nerfstudio", "laan", "polycam"])
@pytest.mark.parametrize("text", ["{", "[]", "null", "", "\x00\xff", '{"a": ' * 100_000, "[" * 100_000])
def test_json_that_is_none(kind: str, text: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    pattern = {"nerfstudio": "transforms.json"} | METADATA
    for file in scan.glob(pattern[kind]):
        file.write_text(('"frames"' if kind == "nerfstudio" else "") + text, encoding="latin-1")
    refused(scan)


@pytest.mark.parametrize("kind", sorted(phone.EXPORTS))
def test_missing_or_absurd_intrinsics(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    if kind == "record3d":
        with_json(scan / "metadata", lambda table: table.__setitem__("K", [0.0] * 9))
    elif kind == "nerfstudio":
        with_json(scan / "transforms.json", lambda table: table.__setitem__("fl_x", -3.0))
    elif kind == "stray":
        (scan / "camera_matrix.csv").write_text("0, 0, 0\n0, 0, 0\n0, 0, 0\n")
    elif kind == "rgbd":
        (scan / "camera-intrinsics.txt").write_text("nan 0 0\n0 nan 0\n0 0 1\n")
    elif kind == "arkitscenes":
        shutil.rmtree(scan / "lowres_wide_intrinsics")
    else:
        for file in sorted(scan.glob(METADATA[kind])):
            with_json(file, lambda table: table.pop("intrinsics" if kind == "laan" else "fx"))
    refused(scan)


def test_record3d_sizes_from_outer_space(tmp_path: Path) -> None:
    for size in (0, -5, 1_000_000, 1e300, "wide", None):
        scan = phone.record3d(tmp_path / "scan")
        with_json(scan / "metadata", lambda table, size=size: table.__setitem__("w", size))  # type: ignore[misc]
        refused(scan)


@pytest.mark.parametrize("kind", sorted(phone.EXPORTS))
def test_no_frames(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    for file in sorted(scan.rglob("*")):
        if file.suffix in (".jpg", ".png", ".depth", ".conf"):
            file.unlink()
    with pytest.raises(InputError):
        read_capture(scan)


@pytest.mark.parametrize("kind", sorted(FIRST_RGB))
def test_all_images_black(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    folder, ending = (scan / FIRST_RGB[kind]).parent, Path(FIRST_RGB[kind]).suffix
    for file in folder.glob(f"*{ending}"):
        if file.name.startswith(("depth", "conf")) or ".depth" in file.name:
            continue
        file.write_bytes(phone.encoded(ending, np.zeros((24, 32, 3), np.uint8)))
    assert refused(scan, "black").code == "all_black"


@pytest.mark.parametrize("kind", ["stray", "laan", "rgbd"])
def test_nothing_measured(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    shape = (24, 32) if kind == "rgbd" else (12, 16)
    for file in (scan / FIRST_DEPTH[kind]).parent.glob("*.png"):
        if "conf" not in file.name and "color" not in file.name:
            file.write_bytes(phone.encoded(".png", np.zeros(shape, np.uint16)))
    refused(scan, "none of the depth images")


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def png_header(width: int, height: int) -> bytes:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    end = b"\x00\x00\x00\x00IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + end


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("kind", sorted(FIRST_RGB))
def test_a_hundred_megapixels_in_a_header(kind: str, every: bool, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    first = scan / FIRST_RGB[kind]
    data = jpeg_header(12_000, 9_000) if first.suffix == ".jpg" else png_header(12_000, 9_000)
    for file in first.parent.glob(f"*{first.suffix}") if every else [first]:
        file.write_bytes(data)
    error = refused(scan, "12000x9000")
    assert error.code == "image_too_large"


@pytest.mark.parametrize("kind", sorted(FIRST_RGB))
def test_files_that_are_no_images(kind: str, tmp_path: Path) -> None:
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    (scan / FIRST_RGB[kind]).write_bytes(b"<html>404</html>" * 20)
    capture = read_capture(scan)
    assert any("neither PNG nor JPEG" in sentence for sentence in capture.missing)


def test_depth_with_eight_bits(tmp_path: Path) -> None:
    scan = phone.laan(tmp_path / "scan")
    for file in scan.glob("depth_*.png"):
        file.write_bytes(phone.encoded(".png", np.full((12, 16), 80, np.uint8)))
    with pytest.raises(InputError, match="16-bit"):
        read_capture(scan).frames[0].depth_m()


def test_exr_that_is_cut_off_or_of_another_size(tmp_path: Path) -> None:
    import OpenEXR

    def put_exr(number: int, depth: np.ndarray) -> Path:
        path = tmp_path / f"scan/depth/{number}.exr"
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(header, {"R": depth.astype(np.float16)}) as file:
            file.write(str(path))
        return path

    phone.put(tmp_path / "scan", "metadata.json", json.dumps(phone.record3d_meta(6)))
    paths = [put_exr(i, phone.depth_of(i)) for i in range(6)]
    depth = read_capture(tmp_path / "scan").frames[2].depth_m()
    assert depth is not None
    np.testing.assert_allclose(depth, phone.depth_of(2), rtol=1e-3)
    whole = paths[1].read_bytes()
    for cut in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        paths[1].write_bytes(whole[:cut])
        capture = read_capture(tmp_path / "scan")
        assert [frame.index for frame in capture.frames] == [0, 2, 3, 4, 5]
        assert any("1.exr" in sentence for sentence in capture.missing)
    put_exr(1, np.ones((20, 10), np.float32))
    assert refused(tmp_path / "scan", "1.exr").code == "wrong_size"


class TestLzfse:
    RAW = np.linspace(0.5, 2.0, 16 * 12, dtype="<f4").tobytes()

    def test_declared_size_is_the_real_one(self) -> None:
        rng = np.random.default_rng(0)
        for raw in (b"", b"a", bytes(5), self.RAW, rng.bytes(300_000), bytes(1_000_000), (b"abc" * 90_000)):
            assert lzfse.declared_size(liblzfse.compress(raw)) == len(raw)

    def test_bomb_is_not_inflated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bomb = liblzfse.compress(bytes(5_000_000))
        assert len(bomb) < 100_000
        monkeypatch.setattr(liblzfse, "decompress", lambda data: pytest.fail("inflated"))
        with pytest.raises(InputError, match="5000000 bytes instead of 768"):
            lzfse.inflate(bomb, 768, "x.depth")

    def test_truncation_and_noise(self) -> None:
        data = liblzfse.compress(self.RAW)
        assert lzfse.inflate(data, len(self.RAW), "x") == self.RAW
        rng = np.random.default_rng(0)
        for cut in range(0, len(data), 7):
            with pytest.raises(InputError):
                lzfse.inflate(data[:cut], len(self.RAW), "x")
        for _ in range(200):
            noisy = bytearray(data)
            noisy[int(rng.integers(len(noisy)))] ^= int(rng.integers(1, 256))
            try:
                assert len(lzfse.inflate(bytes(noisy), len(self.RAW), "x")) == len(self.RAW)
            except InputError:
                continue

    def test_endless_block(self) -> None:
        assert lzfse.declared_size(b"bvxn" + bytes(8) + b"bvxn") is None
        with pytest.raises(InputError):
            lzfse.inflate(b"bvx2" + b"\xff" * 28, 768, "x")


@pytest.mark.parametrize("kind", sorted(phone.EXPORTS))
def test_any_damage_ends_in_an_error_of_ours(kind: str, tmp_path: Path) -> None:
    """Bytes flipped, files cut and removed at random: reading every frame works or raises `PocketworldError`."""
    rng = np.random.default_rng(len(kind))
    scan = phone.EXPORTS[kind](tmp_path / "scan")
    files = sorted(path for path in scan.rglob("*") if path.is_file())
    for _ in range(25):
        file = files[int(rng.integers(len(files)))]
        whole = file.read_bytes()
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        file.write_bytes(data[: int(rng.integers(1, len(data) + 1))] if rng.random() < 0.5 else data)
        with contextlib.suppress(PocketworldError):
            read_all(read_capture(scan))
        file.write_bytes(whole)
    assert len(read_capture(scan).frames) == 6


def read_all(capture: Capture) -> None:
    for frame in capture.frames:
        depth = frame.depth_m()
        if depth is not None:
            assert np.isfinite(depth).all()
            assert depth.min() >= 0
            assert frame.depth_size == depth.shape[::-1]
        frame.rgb()
        frame.confidence()
        assert np.isfinite(frame.intrinsics).all()
        assert frame.capture_from_camera is None or np.isfinite(frame.capture_from_camera).all()


def test_a_video_that_is_none(tmp_path: Path) -> None:
    scan = phone.stray(tmp_path / "scan")
    (scan / "rgb.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(500))
    refused(scan, "rgb.mp4")
    phone.video(scan / "rgb.mp4", [10, 50, 90, 130, 170, 210])
    data = (scan / "rgb.mp4").read_bytes()
    (scan / "rgb.mp4").write_bytes(data[: len(data) // 2])
    refused(scan, "rgb.mp4")


def test_permission_denied_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = phone.laan(tmp_path / "scan")
    opened = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "frame_00000.json":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    capture = read_capture(scan)
    assert any("permission denied" in sentence for sentence in capture.missing)


def test_nothing_is_written_beside_the_scan(tmp_path: Path) -> None:
    scan = phone.record3d(tmp_path / "scan")
    archive = phone.zipped(scan, tmp_path / "scan.r3d")
    before = sorted(path for path in tmp_path.rglob("*"))
    read_all(read_capture(archive))
    read_all(read_capture(scan))
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_depth_beyond_any_reach_is_inspected_without_coverage(tmp_path: Path) -> None:
    scan = phone.record3d(tmp_path / "scan")
    for file in (scan / "rgbd").glob("*.depth"):
        file.write_bytes(np.full(phone.DEPTH_SIZE[::-1], 999.0, "<f4").tobytes())
    found = inspect_capture(read_capture(scan))
    assert found.coverage is None
    assert found.depth_range_m == (999.0, 999.0, 999.0)


@pytest.mark.parametrize("key", ["depth_unit_scale_factor", "integer_depth_scale"])
def test_depth_of_another_unit(key: str, tmp_path: Path) -> None:
    error = refused(phone.transforms(tmp_path / "scan", top={key: 0.1}), "transforms.json", key, "0.1")
    assert error.code == "bad_depth_scale"


@pytest.mark.parametrize(
    "camera", [{"cx": 1e30}, {"cx": -4e4}, {"cy": 1e6}, {"fl_x": 1e9}, {"fl_y": 1e300}, {"w": 1e155}, {"h": 1e6}]
)
def test_cameras_that_there_are_none_of(camera: dict[str, float], tmp_path: Path) -> None:
    refused(phone.transforms(tmp_path / "all", top=camera), *({"w", "h"} & set(camera)))
    scan = phone.transforms(tmp_path / "one")
    document = json.loads((scan / "transforms.json").read_text())
    document["frames"][2] |= camera
    (scan / "transforms.json").write_text(json.dumps(document))
    if {"w", "h"} & set(camera):
        refused(scan)
    else:
        capture = read_capture(scan)
        assert [frame.index for frame in capture.frames] == [0, 1, 3, 4, 5]
        assert "frame 2" in " ".join(capture.missing)


@pytest.mark.parametrize("side", [1e155, 1e308, 0])
def test_declared_sizes_that_no_image_has(side: float, tmp_path: Path) -> None:
    scan = phone.polycam(tmp_path / "scan")
    for file in (scan / "keyframes" / "cameras").iterdir():
        file.write_text(json.dumps(json.loads(file.read_text()) | {"width": side}))
    assert refused(scan, "width").code == "wrong_size"


def test_timestamps_that_no_clock_shows(tmp_path: Path) -> None:
    times = [1e308 * (-1) ** i for i in range(6)]
    refused(phone.record3d(tmp_path / "all", meta={"frameTimestamps": times}), "its time")
    one = phone.record3d(tmp_path / "one", meta={"frameTimestamps": [*range(5), 1e308]})
    assert len(read_capture(one).frames) == 5


def test_the_first_row_alone_does_not_say_what_the_intrinsics_are_for(tmp_path: Path) -> None:
    scan = phone.stray(tmp_path / "scan", header=", fx, fy, cx, cy", extra=", 1000, 1000, 480, 360")
    lines = (scan / "odometry.csv").read_text().splitlines()
    lines[1] = lines[1].replace(" 480,", " 1e30,")
    (scan / "odometry.csv").write_text("\n".join(lines) + "\n")
    capture = read_capture(scan)
    assert [frame.index for frame in capture.frames] == [1, 2, 3, 4, 5]
    assert capture.frames[0].intrinsics[0, 2] == pytest.approx(8.0)


def npy_header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117) + b"\n"


@pytest.mark.parametrize(
    "bad",
    [
        b"PK\x05\x06" + bytes(18),
        b"PK\x03\x04 no zip",
        b"\x80\x04N.",
        npy_header(b"'''"),
        npy_header(b"(" * 117),
        npy_header(b"{'descr': 'O', 'fortran_order': False, 'shape': (2, 2)}"),
        npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999, 99)}"),
        npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 2)}"),
        npy_header(b"{'descr': [1, 2], 'fortran_order': False, 'shape': (2, 2)}"),
        npy_header(b"3"),
    ],
)
def test_npy_files_that_are_none(bad: bytes, tmp_path: Path) -> None:
    scan = phone.stray(tmp_path / "scan")
    for i in range(6):
        (scan / f"depth/{i:06d}.png").unlink()
        stream = io.BytesIO()
        np.save(stream, phone.millimetres(phone.depth_of(i)))
        (scan / f"depth/{i:06d}.npy").write_bytes(bad if i == 4 else stream.getvalue())
    frame = read_capture(scan).frames[4]
    with pytest.raises(InputError, match=r"000004\.npy"):
        frame.depth_m()
    (scan / "depth/000000.npy").write_bytes(bad)
    refused(scan, "000000.npy")


@pytest.mark.parametrize("number", ["1e308", "-4", "inf"])
def test_frame_numbers_that_there_are_none_of(number: str, tmp_path: Path) -> None:
    scan = phone.stray(tmp_path / "scan")
    (scan / "odometry.csv").write_text((scan / "odometry.csv").read_text().replace(" 000003,", f" {number},"))
    refused(scan, "odometry.csv")


def test_file_names_of_5000_digits(tmp_path: Path) -> None:
    scan = phone.transforms(tmp_path / "scan")
    document = json.loads((scan / "transforms.json").read_text())
    document["frames"][3]["file_path"] = "9" * 5000 + ".jpg"
    (scan / "transforms.json").write_text(json.dumps(document))
    assert len(read_capture(scan).frames) == 5


def test_a_playlist_is_no_video(tmp_path: Path) -> None:
    scan = phone.stray(tmp_path / "scan")
    (scan / "rgb.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n")
    refused(scan, "rgb.mp4")


@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"{}", b"[" * 50_000, b'{"frames": 3}'])
def test_transforms_json_that_is_none(content: bytes, tmp_path: Path) -> None:
    scan = phone.transforms(tmp_path / "scan")
    (scan / "transforms.json").write_bytes(content)
    refused(scan, "transforms.json")


def test_text_too_large_to_be_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = phone.record3d(tmp_path / "scan")
    monkeypatch.setattr("reconstruction.importers.fields.MAX_TEXT_BYTES", 100)
    assert refused(scan, "metadata").code == "file_too_large"


def undecodable(path: Path) -> None:
    """Damage in the middle of an image, which its first and last bytes do not show."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * (len(data) // 3) :])


def test_an_image_that_cannot_be_decoded_is_left_out_and_named(tmp_path: Path) -> None:
    scan = phone.transforms(tmp_path / "scan")
    for name in ("depth/frame_00002.png", "images/frame_00004.png"):
        undecodable(scan / name)
    capture = read_capture(scan)
    assert len(capture.frames) == 6
    with pytest.raises(InputError, match="frame_00002"):
        capture.frames[2].depth_m()
    (sentence,) = inspect_capture(capture).missing[-1:]
    assert sentence.startswith("2 damaged image(s) left out (2, 4): ")
    assert "frame_00002.png" in sentence
    damaged = DamagedImages()
    forgiven = damaged.forgiven(capture)
    keys = select_keyframes(forgiven)
    assert keys == [0, 1, 3, 4, 5]
    refine_poses(forgiven, keys)
    poses = np.array([frame.capture_from_camera for frame in forgiven.frames])
    assert [view.position for view in load_views(forgiven, range(6), poses, ViewSettings())] == keys
    assert damaged.sentences() == (sentence,)

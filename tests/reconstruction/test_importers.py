"""Importers against exports written by hand from each format's description, trap by trap."""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reconstruction.archive import open_tree
from reconstruction.capture import Capture
from reconstruction.errors import InputError, UnsupportedFormatError
from reconstruction.importers import IMPORTERS, read_capture
from reconstruction.importers.video import VideoFrames
from tests import phone_files as phone


@pytest.mark.parametrize("kind", sorted(phone.EXPORTS))
def test_format_is_recognised_by_its_content(kind: str, tmp_path: Path) -> None:
    phone.EXPORTS[kind](tmp_path / "a")
    root = open_tree(tmp_path / "a")
    assert [name for name, module in IMPORTERS.items() if module.matches(root)] == [kind]
    capture = read_capture(tmp_path / "a")
    assert capture.format == kind
    assert [frame.time_s for frame in capture.frames] == sorted(frame.time_s for frame in capture.frames)
    assert capture.frames[0].time_s == 0.0
    for i, frame in enumerate(capture.frames):
        np.testing.assert_allclose(frame.capture_from_camera, phone.pose(i), atol=1e-6)
        depth = frame.depth_m()
        assert depth is not None
        true = phone.depth_m(phone.pose(i), frame.depth_intrinsics, frame.depth_size or (0, 0))
        measured = depth > 0
        assert np.count_nonzero(~measured) <= 2
        np.testing.assert_allclose(depth[measured], true[measured], atol=6e-4)
        rgb = frame.rgb()
        if rgb is not None:
            assert abs(float(rgb[..., 0].mean()) - (40 + 20 * i)) < 3
            np.testing.assert_allclose(frame.intrinsics, phone.K)


class TestRecord3D:
    def test_numbers_in_names_are_indices_not_positions(self, tmp_path: Path) -> None:
        phone.record3d(tmp_path, count=12)
        for i in (3, 4, 10):
            for ending in ("jpg", "depth", "conf"):
                (tmp_path / f"rgbd/{i}.{ending}").unlink()
        capture = read_capture(tmp_path)
        assert [frame.index for frame in capture.frames] == [0, 1, 2, 5, 6, 7, 8, 9, 11]
        np.testing.assert_allclose(capture.frames[-1].capture_from_camera, phone.pose(11), atol=1e-6)
        assert capture.frames[-1].time_s == pytest.approx(11 / 60)
        assert any("3 of 12 recorded moments" in sentence for sentence in capture.missing)

    def test_k_is_column_major_and_per_frame_intrinsics_win(self, tmp_path: Path) -> None:
        rows = [[30.0 + i, 31.0 + i, 15.0, 11.5] for i in range(6)]
        phone.record3d(tmp_path, meta={"perFrameIntrinsicCoeffs": rows})
        for i, frame in enumerate(read_capture(tmp_path).frames):
            np.testing.assert_allclose(frame.intrinsics, [[30 + i, 0, 15], [0, 31 + i, 11.5], [0, 0, 1]])

    def test_old_files_without_times_and_depth_size(self, tmp_path: Path) -> None:
        phone.record3d(tmp_path, meta={"frameTimestamps": None, "fps": 30})
        assert read_capture(tmp_path).frames[3].time_s == pytest.approx(0.1)
        meta = json.loads((tmp_path / "metadata").read_text())
        (tmp_path / "metadata").write_text(json.dumps(meta | {"w": 24, "h": 32, "dw": None, "dh": None}))
        for i in range(6):
            shutil.copy(_portrait_jpg(tmp_path), tmp_path / f"rgbd/{i}.jpg")
            raw = np.full((256, 192), 1.0, "<f4").tobytes()
            (tmp_path / f"rgbd/{i}.depth").write_bytes(raw)
            (tmp_path / f"rgbd/{i}.conf").unlink()
        frame = read_capture(tmp_path).frames[0]
        assert frame.depth_size == (192, 256)

    @pytest.mark.parametrize("fps", [0, -1, "fast", None])
    def test_without_times_and_a_useful_rate(self, fps: object, tmp_path: Path) -> None:
        phone.record3d(tmp_path, meta={"frameTimestamps": None, "fps": fps})
        assert read_capture(tmp_path).frames[3].time_s == pytest.approx(3 / 60)

    def test_gravity_is_unknown_when_the_first_pose_is_the_identity(self, tmp_path: Path) -> None:
        poses = phone.record3d_meta(6)["poses"]
        phone.record3d(tmp_path, meta={"poses": [[0, 0, 0, 1, 0, 0, 0], *poses[1:]]})
        capture = read_capture(tmp_path)
        assert capture.up is None
        assert capture.metric

    def test_face_id_has_no_motion_and_no_scale(self, tmp_path: Path) -> None:
        phone.record3d(tmp_path, meta={"poses": [[0, 0, 0, 1, 0, 0, 0]] * 6, "cameraType": 0})
        capture = read_capture(tmp_path)
        assert not capture.metric
        assert capture.device == "iPhone (TrueDepth)"
        assert [frame.capture_from_camera is None for frame in capture.frames] == [False] + [True] * 5

    def test_payload_stored_raw(self, tmp_path: Path) -> None:
        phone.record3d(tmp_path, stored_raw=True)
        depth = read_capture(tmp_path).frames[1].depth_m()
        assert depth is not None
        assert depth[0, 0] == 0.0  # it was NaN
        assert depth[1, 1] == phone.depth_of(1)[1, 1]

    def test_depth_lying_on_its_side_is_refused(self, tmp_path: Path) -> None:
        phone.record3d(tmp_path, meta={"dw": 12, "dh": 16})
        with pytest.raises(InputError, match="edited"):
            read_capture(tmp_path)


def _portrait_jpg(folder: Path) -> Path:
    path = folder / "portrait.bin"
    path.write_bytes(phone.encoded(".jpg", np.full((32, 24, 3), 99, np.uint8)))
    return path


class TestStray:
    def test_fields_are_found_by_header_and_may_be_empty(self, tmp_path: Path) -> None:
        header = ", fx, fy, cx, cy, distortion_center_x, distortion_center_y"
        phone.stray(tmp_path, header=header, extra=", 1600, 1500, 950, 700, , ")
        frame = read_capture(tmp_path).frames[0]
        assert frame.intrinsics[0, 0] == pytest.approx(1600 * 16 / 1920)
        assert frame.intrinsics[1, 2] == pytest.approx(700 * 12 / 1440)
        phone.stray(tmp_path, header=header, extra=", , , , , , ")
        np.testing.assert_allclose(read_capture(tmp_path).frames[0].intrinsics, phone.depth_k())

    def test_without_video_the_geometry_is_there_and_the_lack_is_said(self, tmp_path: Path) -> None:
        capture = read_capture(phone.stray(tmp_path))
        assert not capture.has_rgb
        assert "no colour: rgb.mp4 is missing" in capture.missing

    @pytest.mark.parametrize("frames", [6, 5], ids=["as many as rows", "one frame short"])
    def test_video_frames_meet_their_rows(self, frames: int, tmp_path: Path) -> None:
        phone.stray(tmp_path)
        first = 6 - frames
        phone.video(tmp_path / "rgb.mp4", [30 * row for row in range(first, 6)])
        capture = read_capture(tmp_path)
        for row, frame in enumerate(capture.frames):
            rgb = frame.rgb()
            assert (rgb is None) == (row < first)
            if rgb is not None:
                assert frame.size == (64, 48)
                assert abs(float(rgb.mean()) - 30 * row) < 5
                assert frame.intrinsics[0, 0] == pytest.approx(phone.K[0, 0] * 64 / 32)  # the matrix is for 1920x1440
            np.testing.assert_allclose(frame.depth_intrinsics, phone.depth_k())

    def test_a_video_of_another_length_is_refused(self, tmp_path: Path) -> None:
        phone.stray(tmp_path)
        phone.video(tmp_path / "rgb.mp4", [0, 60, 120])
        with pytest.raises(InputError, match="3 frames but odometry.csv 6 rows"):
            read_capture(tmp_path)

    def test_gaps_in_depth(self, tmp_path: Path) -> None:
        phone.stray(tmp_path, count=8)
        (tmp_path / "depth/000002.png").unlink()
        capture = read_capture(tmp_path)
        assert [frame.index for frame in capture.frames] == [0, 1, 3, 4, 5, 6, 7]
        np.testing.assert_allclose(capture.frames[2].capture_from_camera, phone.pose(3), atol=1e-9)
        assert any("1 of 8 recorded moments have no depth" in sentence for sentence in capture.missing)

    def test_very_old_depth_is_npy_and_never_unpickled(self, tmp_path: Path) -> None:
        phone.stray(tmp_path)
        for i in range(6):
            (tmp_path / f"depth/{i:06d}.png").unlink()
            np.save(tmp_path / f"depth/{i:06d}.npy", phone.millimetres(phone.depth_of(i)))
        depth = read_capture(tmp_path).frames[2].depth_m()
        assert depth is not None
        np.testing.assert_allclose(depth, phone.depth_of(2), atol=6e-4)
        for i in range(6):
            np.save(tmp_path / f"depth/{i:06d}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(InputError, match="no NumPy array"):
            read_capture(tmp_path)


class TestLaan:
    def test_colour_only_where_the_app_kept_it(self, tmp_path: Path) -> None:
        capture = read_capture(phone.laan(tmp_path))
        assert [frame.read_rgb is not None for frame in capture.frames] == [True, False] * 3
        assert [frame.size for frame in capture.frames[:2]] == [phone.SIZE, phone.DEPTH_SIZE]
        np.testing.assert_allclose(capture.frames[1].intrinsics, phone.depth_k())
        assert capture.frames[0].blur == pytest.approx(0.25)
        assert capture.region is not None
        assert capture.region.max() == 1.0

    def test_owner_and_place_are_not_read(self, tmp_path: Path) -> None:
        text = repr(read_capture(phone.laan(tmp_path / "x")))
        assert not any(word in text for word in ("47.123", "8.654", "Annas"))


class TestPolycam:
    def test_as_captured(self, tmp_path: Path) -> None:
        capture = read_capture(phone.polycam(tmp_path))
        frame = capture.frames[3]
        assert frame.index == 1_700_000_300_000
        assert frame.time_s == pytest.approx(0.3)
        assert frame.blur == pytest.approx(0.5)
        confidence = frame.confidence()
        assert confidence is not None
        assert confidence[0, :4].tolist() == [0, 1, 2, 2]

    def test_corrected_are_used_alone(self, tmp_path: Path) -> None:
        phone.polycam(tmp_path)
        keys = tmp_path / "keyframes"
        for i in (0, 1, 2):
            stamp = 1_700_000_000_000 + 100_000 * i
            camera = json.loads((keys / f"cameras/{stamp}.json").read_text())
            phone.put(keys, f"corrected_cameras/{stamp}.json", json.dumps(camera | {"t_03": 7.0}))
            large = phone.encoded(".jpg", np.full((192, 256, 3), 70, np.uint8))
            phone.put(keys, f"corrected_images/{stamp}.jpg", large)
        capture = read_capture(tmp_path)
        posed = [frame for frame in capture.frames if frame.read_rgb is not None]
        assert len(posed) == 3
        assert all(frame.capture_from_camera[0, 3] == 7.0 for frame in posed if frame.capture_from_camera is not None)
        assert posed[0].size == (256 - 32, 192 - 32)
        assert posed[0].depth_size == (16 - 2, 12 - 2)

    def test_without_developer_mode(self, tmp_path: Path) -> None:
        phone.put(tmp_path, "mesh_info.json", "{}")
        phone.put(tmp_path, "raw.glb", b"glTF")
        with pytest.raises(InputError, match="developer mode"):
            read_capture(tmp_path)

    def test_some_keyframes_without_depth(self, tmp_path: Path) -> None:
        phone.polycam(tmp_path)
        (tmp_path / "keyframes/depth/1700000100000.png").unlink()
        capture = read_capture(tmp_path)
        assert len(capture.frames) == 6
        assert capture.frames[1].depth_m() is None
        assert "1 of 6 colour images have no depth" in capture.missing


class TestTransforms:
    def test_applied_transform_and_scale_are_undone(self, tmp_path: Path) -> None:
        applied = np.array([[1.0, 0, 0, 0.1], [0, 0, -1, 0.2], [0, 1, 0, 0.3]])
        phone.transforms(tmp_path)
        table = json.loads((tmp_path / "transforms.json").read_text())
        for i, row in enumerate(table["frames"]):
            moved = np.vstack([applied, [0, 0, 0, 1]]) @ phone.pose(i) @ phone.FLIP
            moved[:3, 3] *= 0.25
            row["transform_matrix"] = moved.tolist()
        table |= {"applied_transform": applied.tolist(), "applied_scale": 0.25}
        (tmp_path / "transforms.json").write_text(json.dumps(table))
        capture = read_capture(tmp_path)
        for i, frame in enumerate(capture.frames):
            np.testing.assert_allclose(frame.capture_from_camera, phone.pose(i), atol=1e-9)
        np.testing.assert_allclose(capture.up, [0, 1, 0], atol=1e-12)

    @pytest.mark.parametrize("mark", [{"ply_file_path": "sparse_pc.ply"}, {"colmap": True}, {"legacy": True}])
    def test_colmap_poses_have_no_scale(self, mark: dict[str, object], tmp_path: Path) -> None:
        top = dict(mark)
        if top.pop("legacy", None):
            top["applied_transform"] = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
        row = {"colmap_im_id": 1} if top.pop("colmap", None) else {}
        capture = read_capture(phone.transforms(tmp_path, top=top, row=row))
        assert not capture.metric
        assert capture.up is None

    def test_eight_bit_depth_of_nerfcapture_is_no_depth(self, tmp_path: Path) -> None:
        phone.transforms(tmp_path, top={"depth_integer_scale": 1.0})
        for i in range(6):
            phone.put(tmp_path, f"depth/frame_{i:05d}.png", phone.encoded(".png", np.full((24, 32), 200, np.uint8)))
        capture = read_capture(tmp_path)
        assert capture.format == "nerfcapture"
        assert all(frame.depth_m() is None for frame in capture.frames)
        assert any("8-bit" in sentence for sentence in capture.missing)

    def test_depth_scale_of_a_received_scan(self, tmp_path: Path) -> None:
        capture = read_capture(phone.transforms(tmp_path, top={"integer_depth_scale": 2e-3}))
        depth = capture.frames[0].depth_m()
        assert depth is not None
        np.testing.assert_allclose(depth, 2 * phone.depth_of(0), atol=2e-3)

    def test_lens_distortion_is_removed(self, tmp_path: Path) -> None:
        phone.transforms(tmp_path, top={"k1": -0.2, "camera_model": "OPENCV"})
        line = np.full((24, 32, 3), 10, np.uint8)
        line[2] = 250
        for i in range(6):
            phone.put(tmp_path, f"images/frame_{i:05d}.png", phone.encoded(".png", line))
        rgb = read_capture(tmp_path).frames[0].rgb()
        assert rgb is not None
        rows = rgb[..., 0].argmax(axis=0)
        assert rows[4] != rows[16]  # a line that was straight in the distorted picture no longer is

    def test_mask_drops_depth(self, tmp_path: Path) -> None:
        phone.transforms(tmp_path, row={"mask_path": "mask.png"})
        mask = np.full((24, 32), 255, np.uint8)
        mask[:12] = 0
        phone.put(tmp_path, "mask.png", phone.encoded(".png", mask))
        depth = read_capture(tmp_path).frames[0].depth_m()
        assert depth is not None
        assert not depth[:6].any()
        assert depth[6:].all()

    def test_paths_out_of_the_scan_are_not_followed(self, tmp_path: Path) -> None:
        phone.transforms(tmp_path / "scan", row={"depth_file_path": "../secret.png"})
        phone.put(tmp_path, "secret.png", phone.encoded(".png", phone.millimetres(phone.depth_of(0))))
        assert all(frame.depth_m() is None for frame in read_capture(tmp_path / "scan").frames)


class TestRgbd:
    def test_tum_is_matched_by_time(self, tmp_path: Path) -> None:
        capture = read_capture(phone.tum(tmp_path))
        assert [frame.index for frame in capture.frames] == [0, 1, 3, 4, 5]
        frame = capture.frames[2]
        np.testing.assert_allclose(frame.capture_from_camera, phone.pose(3), atol=1e-9)
        depth, rgb = frame.depth_m(), frame.rgb()
        assert depth is not None
        assert rgb is not None
        np.testing.assert_allclose(depth, phone.depth_m(phone.pose(3), phone.K, phone.SIZE), atol=1.1e-4)
        assert rgb[0, 0, 0] == 100
        assert any("1 of 6 depth images have no pose" in sentence for sentence in capture.missing)

    def test_no_measurement_is_zero(self, tmp_path: Path) -> None:
        depth = read_capture(phone.sevenscenes(tmp_path)).frames[0].depth_m()
        assert depth is not None
        assert depth[0, 0] == depth[0, 1] == 0.0
        assert depth[0, 2] > 0.1

    def test_intrinsics_are_asked_for(self, tmp_path: Path) -> None:
        phone.sevenscenes(tmp_path)
        (tmp_path / "camera-intrinsics.txt").unlink()
        with pytest.raises(InputError, match="camera-intrinsics.txt"):
            read_capture(tmp_path)

    def test_folders_of_colour_depth_and_pose(self, tmp_path: Path) -> None:
        phone.sevenscenes(tmp_path / "flat")
        for file in sorted((tmp_path / "flat").glob("frame-*")):
            number, kind, ending = file.name.removeprefix("frame-").split(".")
            phone.put(tmp_path / "sorted", f"{kind}/{int(number)}.{ending}", file.read_bytes())
        shutil.copy(tmp_path / "flat/camera-intrinsics.txt", tmp_path / "sorted/intrinsics.txt")
        capture = read_capture(tmp_path / "sorted")
        assert capture.format == "rgbd"
        np.testing.assert_allclose(capture.frames[5].capture_from_camera, phone.pose(5), atol=1e-9)


def test_arkitscenes_poses_are_inverted_and_interpolated(tmp_path: Path) -> None:
    phone.arkitscenes(tmp_path)
    lines = (tmp_path / "lowres_wide.traj").read_text().splitlines()
    (tmp_path / "lowres_wide.traj").write_text("\n".join(lines[:2] + lines[3:]))  # no pose at frame 2's own time
    capture = read_capture(tmp_path)
    found = {frame.index: frame.capture_from_camera for frame in capture.frames}
    between = found[7_000_100]
    assert between is not None
    np.testing.assert_allclose(between, phone.pose(2), atol=2e-3)
    np.testing.assert_allclose(between[:3, 3], phone.pose(2)[:3, 3], atol=1e-9)
    assert capture.up is not None
    assert capture.up.tolist() == [0, 0, 1]


def test_several_scans_at_once_are_named(tmp_path: Path) -> None:
    phone.stray(tmp_path / "3f7a")
    phone.stray(tmp_path / "9c21")
    with pytest.raises(InputError, match="3f7a, 9c21"):
        read_capture(tmp_path)


def test_nothing_known_lists_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("sun")
    (tmp_path / "a").mkdir()
    shutil.move(tmp_path / "holiday.txt", tmp_path / "a")
    for path in (tmp_path / "a", tmp_path / "a/holiday.txt", phone.zipped(tmp_path / "a", tmp_path / "all.zip")):
        with pytest.raises(UnsupportedFormatError) as caught:
            read_capture(path)
        for name in ("Record3D", "Stray", "Polycam", "3D Scanner", "NeRFCapture", "nerfstudio", "ARKitScenes"):
            assert name in caught.value.remedy


class TestVideo:
    LEVELS = tuple(range(10, 250, 12))

    def frames(self, folder: Path, group: int = 4) -> VideoFrames:
        phone.video(folder / "v.mp4", list(self.LEVELS), group=group)
        return VideoFrames(open_tree(folder), "v.mp4")

    @pytest.mark.parametrize("group", [1, 4, 100])
    def test_any_order_gives_the_same_frames(self, group: int, tmp_path: Path) -> None:
        frames = self.frames(tmp_path, group)
        assert len(frames) == len(self.LEVELS)
        order = [0, 1, 2, 9, 3, 3, 19, 18, 0, 10, 11, 15]
        for number in order:
            assert abs(float(frames.read(number).mean()) - self.LEVELS[number]) < 6
        assert np.diff(frames.times_s).min() > 0

    def test_threads(self, tmp_path: Path) -> None:
        frames = self.frames(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            means = list(pool.map(lambda number: float(frames.read(number % 20).mean()), range(60)))
        np.testing.assert_allclose(means, np.tile(self.LEVELS, 3), atol=6)

    def test_ascending_reading_decodes_each_frame_once(self, tmp_path: Path) -> None:
        frames = self.frames(tmp_path, group=100)
        seeks: list[int] = []
        seek = frames._seek
        frames._seek = lambda key: (seeks.append(key), seek(key))[1]  # type: ignore[assignment, method-assign]
        for number in range(0, 20, 3):
            frames.read(number)
        assert seeks == [0]

    def test_temporary_copy_goes_with_the_capture(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        phone.stray(tmp_path / "scan")
        phone.video(tmp_path / "scan/rgb.mp4", [30 * row for row in range(6)])
        archive = phone.zipped(tmp_path / "scan", tmp_path / "scan.zip")
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))
        capture: Capture | None = read_capture(archive)
        assert capture is not None
        assert capture.frames[4].rgb() is not None
        assert [path.is_dir() for path in sorted(scratch.iterdir())] == [True, False]  # and its lock
        capture = None
        gc.collect()
        assert list(scratch.iterdir()) == []


def test_frames_are_lazy_and_small(tmp_path: Path) -> None:
    """Importing reads no image: all may be replaced by garbage of the same ends afterwards."""
    phone.laan(tmp_path, count=40)
    capture = read_capture(tmp_path)
    for file in tmp_path.glob("depth_000[1-3]*.png"):
        file.write_bytes(b"gone")
    assert capture.frames[0].depth_m() is not None
    with pytest.raises(InputError, match="depth_00020.png"):
        capture.frames[20].depth_m()

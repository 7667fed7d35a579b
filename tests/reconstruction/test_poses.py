from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from reconstruction.capture import Capture, Frame, scaled_intrinsics
from reconstruction.depth import DepthSettings, clean_depth
from reconstruction.errors import ReconstructionError
from reconstruction.poses import PoseSettings, RefinedPoses, refine_poses
from reconstruction.surface_maps import surface_map

Array = npt.NDArray[np.float64]
SIZE, COLOR = (128, 96), (256, 192)
K = np.array([[106.0, 0, 63.5], [0, 106.0, 47.5], [0, 0, 1]])
KC = scaled_intrinsics(K, SIZE, COLOR)
TABLE = np.array([[-0.7, -0.05, -0.5], [0.7, 0.0, 0.5]])
BOXES = np.array([
    TABLE,
    [[-0.2, 0, -0.1], [-0.1, 0.12, 0.0]],
    [[0.05, 0, 0.08], [0.2, 0.05, 0.15]],
    [[0.1, 0, -0.2], [0.16, 0.18, -0.12]],
    [[-3, -0.8, -3], [3, -0.75, 3]],
])  # fmt: skip
WALL = np.array([[[-4, -3, -0.1], [4, 3, 0.0]]], dtype=np.float64)


def cast(pose: Array, intrinsics: Array, size: tuple[int, int], boxes: Array) -> tuple[Array, Array]:
    """Planar depth (0 where nothing is hit) and grey 0…255 of boxes with a random pattern of 2 cm squares."""
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    local = np.stack(
        [(u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1], 1 + 0 * u], -1
    )
    rays = (local @ pose[:3, :3].T).reshape(-1, 1, 3) + 1e-12
    times = (boxes.transpose(1, 0, 2)[:, None] - pose[:3, 3]) / rays
    enter, leave = times.min(axis=0).max(axis=-1), times.max(axis=0).min(axis=-1)
    hit = np.where((enter < leave) & (enter > 0), enter, np.inf).min(axis=1)
    seen = np.isfinite(hit)
    point = pose[:3, 3] + rays[:, 0] * np.where(seen, hit, 0.0)[:, None]
    cell = np.floor(point / 0.02 + 1e-3).astype(np.int64)
    grey = ((cell[:, 0] * 73856093) ^ (cell[:, 1] * 19349663) ^ (cell[:, 2] * 83492791)) * 2654435761 % 2**32 / 2**32
    depth = np.where(seen, hit, 0.0).reshape(size[1], size[0])
    return depth, np.where(seen, 40 + 180 * grey, 0).reshape(size[1], size[0])


def looking(eye: Array, target: Array) -> Array:
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 1.0, 0.0])
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([x, np.cross(z, x), z], axis=1), eye
    return pose


def orbit(count: int) -> Array:
    angles = np.linspace(0, 2 * np.pi, count)
    eyes = np.stack([0.6 * np.cos(angles), 0.45 + 0.08 * np.sin(2 * angles), 0.5 * np.sin(angles)], axis=1)
    return np.stack([looking(eye, np.array([0.02, 0.03, 0.0])) for eye in eyes])


def along_wall(count: int) -> Array:
    x = 0.6 * np.sin(np.linspace(0, 2 * np.pi, count))
    return np.stack([looking(np.array([a, 0.05 * a, 0.9]), np.array([a * 0.8, 0, 0])) for a in x])


def drifting(true: Array, metres: float, degrees: float, jump_m: float = 0.0) -> Array:
    """The phone's idea of its poses: smooth drift that starts at zero, and a jump half way."""
    share = np.linspace(0, 1, len(true))[:, None]
    shift = metres * np.sin(1.5 * share * np.array([1.0, -2.0, 1.4])) / np.sqrt(3)
    shift = shift + jump_m * (share > 0.5) * np.array([0.6, 0.0, 0.8])
    turn = Rotation.from_rotvec(np.radians(degrees) * share * np.array([0.5, -0.7, 0.5])).as_matrix()
    poses = true.copy()
    poses[:, :3, :3] = turn @ true[:, :3, :3]
    poses[:, :3, 3] += shift
    return poses


def scan(
    true: Array, phone: Array, boxes: Array, color: bool = True, noise: float = 1.0, offset_m: float = 0.0
) -> Capture:
    rng = np.random.default_rng(5)
    frames = []
    for i, pose in enumerate(true):
        depth, _ = cast(pose, K, SIZE, boxes)
        depth = np.where(depth > 0, depth * (1 + noise * 0.003 * rng.normal(size=depth.shape)) + offset_m, 0)
        grey = cast(pose, KC, COLOR, boxes)[1] + 2 * noise * rng.normal(size=COLOR[::-1])
        rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        frames.append(
            Frame(
                i,
                i / 10,
                COLOR,
                KC,
                phone[i],
                SIZE,
                constant(rgb) if color else None,
                constant(depth.astype(np.float32)),
            )
        )
    return Capture("scan", "test", Path("scan"), "phone", frames)


def constant(value: npt.NDArray[np.generic]) -> Callable[[], npt.NDArray[np.generic]]:
    return lambda: value


def displacement_mm(true: Array, poses: Array) -> Array:
    """How far what each camera sees 0.65 m ahead is put from where it is."""
    ahead = np.array([0, 0, 0.65, 1.0])
    return np.asarray(1e3 * np.linalg.norm((poses @ ahead - true @ ahead)[:, :3], axis=1))


def refined(true: Array, phone: Array, boxes: Array, step: int = 1, **how: float) -> tuple[Capture, RefinedPoses]:
    capture = scan(true, phone, boxes, **how)  # type: ignore[arg-type]
    return capture, refine_poses(capture, range(0, len(true), step))


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize(("metres", "degrees"), [(0.01, 0.3), (0.03, 1.0)])
def test_drift_is_removed(color: bool, metres: float, degrees: float) -> None:
    true = orbit(28)
    phone = drifting(true, metres, degrees)
    _, result = refined(true, phone, BOXES, color=color)
    before, after = displacement_mm(true, phone), displacement_mm(true, result.capture_from_camera)
    assert result.accepted
    assert np.sqrt(np.mean(after**2)) < max(2.0, 0.3 * np.sqrt(np.mean(before**2)))
    assert result.error_after_mm < result.error_before_mm
    assert result.loop_closures > 0
    assert (result.image_pairs > 0) == color
    np.testing.assert_allclose(result.capture_from_camera[0], phone[0], atol=1e-7)


def test_results_are_rigid_and_frames_between_keyframes_move_along() -> None:
    true = orbit(45)
    phone = drifting(true, 0.02, 0.5)
    _, result = refined(true, phone, BOXES, step=2)
    poses = result.capture_from_camera
    np.testing.assert_allclose(
        poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), np.eye(3)[None].repeat(45, 0), atol=1e-9
    )
    np.testing.assert_array_equal(poses[:, 3], np.array([[0, 0, 0, 1.0]]).repeat(45, 0))
    after = displacement_mm(true, poses)
    assert after[1::2].max() < 1.3 * after[::2].max() + 0.3
    assert np.sqrt(np.mean(after**2)) < 0.5 * np.sqrt(np.mean(displacement_mm(true, phone) ** 2))


def test_good_poses_stay() -> None:
    true = orbit(28)
    _, result = refined(true, true, BOXES)
    assert displacement_mm(true, result.capture_from_camera).max() < 1.5
    assert result.largest_correction_deg < 0.25


def test_a_jump_of_the_phone_is_undone() -> None:
    true = orbit(28)
    phone = drifting(true, 0.005, 0.2, jump_m=0.03)
    _, result = refined(true, phone, BOXES)
    assert displacement_mm(true, result.capture_from_camera).max() < 4.0


def test_the_depth_offset_is_found() -> None:
    true = orbit(28)
    for offset_m in (0.006, -0.004):
        _, result = refined(true, drifting(true, 0.01, 0.3), BOXES, offset_m=offset_m)
        assert result.depth_offset_m == pytest.approx(-offset_m, abs=0.0015)
        assert displacement_mm(true, result.capture_from_camera).max() < 4.0


@pytest.mark.parametrize("color", [True, False])
def test_a_bare_wall_gets_no_worse(color: bool) -> None:
    true = along_wall(20)
    for metres, degrees in ((0.0, 0.0), (0.01, 0.3)):
        phone = drifting(true, metres, degrees)
        _, result = refined(true, phone, WALL, color=color)
        before, after = displacement_mm(true, phone), displacement_mm(true, result.capture_from_camera)
        assert np.sqrt(np.mean(after**2)) < np.sqrt(np.mean(before**2)) + 1.0


def test_poses_that_fit_nothing_are_left_alone() -> None:
    true = orbit(20)
    rng = np.random.default_rng(3)
    wrong = true.copy()
    wrong[:, :3, 3] += rng.normal(0, 0.3, (20, 3))
    wrong[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.5, (20, 3))).as_matrix() @ true[:, :3, :3]
    _, result = refined(true, wrong, BOXES)
    if not result.accepted:
        np.testing.assert_array_equal(result.capture_from_camera, wrong)
    assert np.mean(displacement_mm(true, result.capture_from_camera)) < 1.1 * np.mean(displacement_mm(true, wrong))


def test_unknown_poses_stay_unknown_and_empty_depth_does_no_harm() -> None:
    true = orbit(24)
    capture = scan(true, drifting(true, 0.01, 0.3), BOXES)
    frames = list(capture.frames)
    frames[5] = replace(frames[5], capture_from_camera=None)
    frames[8] = replace(frames[8], read_depth=constant(np.zeros(SIZE[::-1], np.float32)))  # type: ignore[arg-type]
    result = refine_poses(replace(capture, frames=frames), [i for i in range(24) if i != 5])
    assert np.isnan(result.capture_from_camera[5]).all()
    assert np.isfinite(np.delete(result.capture_from_camera, 5, axis=0)).all()


def test_nothing_to_compare_keeps_the_phones_poses() -> None:
    true = orbit(6)
    capture = scan(true, true, BOXES)
    blank = [replace(f, read_depth=constant(np.zeros(SIZE[::-1], np.float32))) for f in capture.frames]  # type: ignore[arg-type]
    for result in (refine_poses(replace(capture, frames=blank), range(6)), refine_poses(capture, [0, 3])):
        assert not result.accepted
        assert result.reason
        np.testing.assert_array_equal(result.capture_from_camera, true)


def test_a_keyframe_without_pose_is_an_error() -> None:
    true = orbit(4)
    capture = scan(true, true, BOXES)
    frames = [replace(capture.frames[0], capture_from_camera=None), *capture.frames[1:]]
    with pytest.raises(ReconstructionError, match="no pose or no depth"):
        refine_poses(replace(capture, frames=frames), range(4))


def test_progress_ends_at_one_and_can_stop() -> None:
    true = orbit(12)
    capture = scan(true, true, BOXES)
    seen: list[float] = []
    refine_poses(capture, range(12), None, lambda fraction, message: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    class Stopped(Exception):
        pass

    def stop(fraction: float, message: str) -> None:
        if fraction > 0.3:
            raise Stopped

    with pytest.raises(Stopped):
        refine_poses(capture, range(12), None, stop)


def test_same_bytes_with_any_number_of_threads() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_poses as t, hashlib\n"
        "true = t.orbit(24); _, r = t.refined(true, t.drifting(true, 0.01, 0.3), t.BOXES)\n"
        "print(hashlib.sha256(r.capture_from_camera.tobytes()).hexdigest(), r.depth_offset_m)"
    )
    outputs = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        run = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1


# --- clean_depth ------------------------------------------------------------------------------------------------


def test_surfaces_stay_up_to_the_grazing_limit() -> None:
    for degrees, kept in ((0, 1.0), (60, 1.0), (75, 0.99), (87, 0.3)):
        normal = np.array([np.sin(np.radians(degrees)), 0, -np.cos(np.radians(degrees))])
        u, v = np.meshgrid(np.arange(256), np.arange(192))
        k = scaled_intrinsics(K, SIZE, (256, 192))
        rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u, dtype=float)], -1)
        with np.errstate(divide="ignore"):
            depth = (normal[2] * 0.7) / (rays @ normal)
        middle = np.zeros(depth.shape, dtype=bool)
        middle[40:-40, 118:138] = True
        depth = np.where((depth > 0.2) & (depth < 3), depth, 0).astype(np.float32)
        share = float((clean_depth(depth, None, k) > 0)[middle & (depth > 0)].mean())
        assert (share >= kept) if degrees < 80 else (share <= kept)


def test_mixed_pixels_go_and_edges_stay() -> None:
    depth = np.full((96, 128), 0.8, dtype=np.float32)
    depth[:, 60:] = 0.5
    depth[:, 59] = 0.6
    depth[:, 58] = 0.7
    cleaned = clean_depth(depth, None, K)
    assert (cleaned[:, 58:60] == 0).all()
    assert (cleaned[1:-1, 1:57] > 0).all()
    assert (cleaned[1:-1, 61:-1] > 0).all()


def test_a_thin_rod_and_a_small_block_stay() -> None:
    depth = np.full((96, 128), 0.8, dtype=np.float32)
    depth[20:80, 30] = 0.7
    depth[40:44, 60:64] = 0.76
    cleaned = clean_depth(depth, None, K)
    assert (cleaned[21:79, 30] > 0).mean() > 0.95
    assert (cleaned[40:44, 60:64] > 0).all()


def test_lone_pixels_low_confidence_and_bad_ranges_go() -> None:
    depth = np.full((96, 128), 0.8, dtype=np.float32)
    depth[50, 50] = 0.4
    depth[10, 10:20] = 0.05
    depth[12, 10:20] = 9.0
    confidence = np.full(depth.shape, 2, dtype=np.uint8)
    confidence[70, 70] = 0
    original = depth.copy()
    cleaned = clean_depth(depth, confidence, K)
    assert cleaned[50, 50] == 0
    assert cleaned[70, 70] == 0
    assert (cleaned[10, 10:20] == 0).all()
    assert (cleaned[12, 10:20] == 0).all()
    assert cleaned.dtype == np.float32
    np.testing.assert_array_equal(depth, original)
    assert (cleaned[(cleaned > 0)] == 0.8).all()
    assert clean_depth(depth, confidence, K, DepthSettings(min_confidence=0))[70, 70] > 0


def test_noise_of_a_lidar_is_not_mistaken_for_edges() -> None:
    rng = np.random.default_rng(1)
    for metres, sigma in ((0.4, 0.002), (1.0, 0.004), (3.0, 0.015)):
        depth = (metres + rng.normal(0, sigma, (192, 256))).astype(np.float32)
        assert (clean_depth(depth, None, scaled_intrinsics(K, SIZE, (256, 192))) > 0).mean() > 0.98


def test_surface_map_of_a_plane_is_exact() -> None:
    normal = np.array([0.3, -0.4, -np.sqrt(0.75)])
    k = scaled_intrinsics(K, SIZE, (256, 192))
    u, v = np.meshgrid(np.arange(256), np.arange(192))
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u, dtype=float)], -1)
    depth = (-0.6 / (rays @ normal)).astype(np.float32)
    surface = surface_map(depth, k, 128)
    known = surface.depth_m > 0
    assert known[2:-2, 2:-2].all()
    np.testing.assert_allclose(surface.normal[known], np.broadcast_to(normal, surface.normal.shape)[known], atol=2e-3)
    np.testing.assert_allclose(surface.points()[known] @ normal, -0.6, atol=1e-3)
    assert PoseSettings().depth.far_m == 3.5

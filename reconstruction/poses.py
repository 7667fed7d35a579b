"""Pose refinement: takes the drift out of the phone's odometry.

One small correction for every keyframe, found for all of them together from three kinds of evidence: surfaces that two
keyframes saw must coincide (point to plane), corners found again in another image must coincide, and steps between
consecutive keyframes should stay near the phone's own, which is precise over short distances. Pairs far apart in time
close the loop of a sweep that returns. The first keyframe keeps its pose: the capture frame stays the phone's world.

The result is taken only if pairs of keyframes that the optimiser was not shown agree better under it than before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reconstruction import pose_graph
from reconstruction.capture import Capture, FloatArray
from reconstruction.depth import DepthSettings, clean_depth
from reconstruction.errors import ReconstructionError
from reconstruction.frame_pairs import FramePair, choose_pairs, overlap_matrix
from reconstruction.matches import Features, PointMatches, find_features, match_pairs, neighbours_apart
from reconstruction.progress import Progress, part, silent
from reconstruction.surface_maps import SurfaceMap, surface_map

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PoseSettings:
    """How poses are refined.

    Attributes:
        depth: which depth counts as measured; reaches less far than fusion's, for LiDAR errs more far away.
        iterations: rounds of association and solving.
        map_size: pixels of the longer side of the reduced depth images; larger is slower, with little gain.
        points_per_frame: points of each keyframe compared with every partner.
        neighbours: distances in keyframes between neighbours in time that are compared.
        loops_per_frame: partners of each keyframe that are far away in time.
        loop_gap: keyframes that make two of them far apart in time.
        start_gate_m: association distance of the first round, metres; drift beyond it is not found.
        end_gate_m: of the last round, metres; smaller rejects more bad depth, and needs good depth to work.
        depth_noise_m: standard deviation of depth at short range, metres; a scale for robust weights only.
        frame_weight: independent measurements that a keyframe's depth image is worth, and its corners, shared among
            its partners; higher trusts the pictures over the odometry. Errors of neighbouring pixels are alike, so
            that this is far less than the number of pixels.
        images: whether corners of the colour images are matched; without, flat scenes keep the drift along the plane.
        image_size: pixels of the longer side of the images in which corners are sought.
        corners: sought in an image.
        max_image_frames: at most so many images are read; beyond, only every n-th keyframe has corners.
        corner_sigma_px: standard deviation of a corner's place, pixels; ORB is better than that, but errs alike in
            neighbouring images.
        corner_depth_sigma_m: of its depth, metres.
        step_sigma_m: standard deviation of a step of the phone's odometry, metres; smaller keeps closer to the phone.
        step_sigma_deg: of its rotation, degrees.
        step_sigma_share: share of the step's length and angle that is added to both.
        offset_sigma_m: how large a common offset of all depths may be (standard deviation, metres); 0 assumes none. An
            offset beyond three times that is the sign of another error (a wrong focal length) and taken as none.
        image_error_m: images are left out where neighbours' corners lie apart by more than this and `image_error_px`
            under the phone's poses (median): their colour was taken at another moment or place than their depth.
        image_error_px: the same in pixels.
        max_step_m: a correction that changes by more than this between consecutive keyframes is refused, metres.
        max_step_deg: the same for rotations, degrees.
    """

    depth: DepthSettings = field(default_factory=lambda: DepthSettings(far_m=3.5))
    iterations: int = 10
    map_size: int = 128
    points_per_frame: int = 600
    neighbours: tuple[int, ...] = (1, 2, 4, 7)
    loops_per_frame: int = 4
    loop_gap: int = 12
    start_gate_m: float = 0.06
    end_gate_m: float = 0.015
    depth_noise_m: float = 0.003
    frame_weight: float = 70.0
    images: bool = True
    image_size: int = 640
    corners: int = 500
    max_image_frames: int = 160
    corner_sigma_px: float = 3.0
    corner_depth_sigma_m: float = 0.008
    step_sigma_m: float = 0.0005
    step_sigma_deg: float = 0.02
    step_sigma_share: float = 0.005
    offset_sigma_m: float = 0.003
    image_error_m: float = 0.003
    image_error_px: float = 2.0
    max_step_m: float = 0.08
    max_step_deg: float = 5.0


@dataclass(frozen=True)
class RefinedPoses:
    """Better poses, and how much better.

    Attributes:
        capture_from_camera: ``(N, 4, 4)`` one a frame of the capture, in its order; NaN where the phone gave none.
        accepted: False where the phone's own poses were kept.
        error_before_mm: median distance between surfaces in pairs of keyframes not used for refining, phone's poses.
        error_after_mm: the same with the poses returned.
        loop_closures: pairs far apart in time that were compared.
        image_pairs: pairs of images with matched corners.
        largest_correction_mm: of a camera's place.
        largest_correction_deg: of a camera's direction.
        depth_offset_m: to be added to every measured depth: how much nearer the sensor sees than the poses say, metres.
        reason: one sentence on what was done.
    """

    capture_from_camera: FloatArray
    accepted: bool
    error_before_mm: float
    error_after_mm: float
    loop_closures: int
    image_pairs: int
    largest_correction_mm: float
    largest_correction_deg: float
    depth_offset_m: float
    reason: str


@dataclass(frozen=True)
class _Evidence:
    """What the optimiser sees (`pairs`, `matches`) and what judges it (`held_pairs`, `held_matches`)."""

    terms: pose_graph.SurfaceTerms
    pairs: list[FramePair]
    held_pairs: list[FramePair]
    matches: list[PointMatches]
    held_matches: list[PointMatches]


def refine_poses(
    capture: Capture,
    keyframes: Sequence[int],
    settings: PoseSettings | None = None,
    progress: Progress = silent,
) -> RefinedPoses:
    """Refine the poses of `capture`; deterministic.

    Args:
        capture: frames with poses and depth.
        keyframes: ascending positions in ``capture.frames``, all with pose and depth; the others are interpolated.
        settings: None takes the defaults.
        progress: called with fractions and messages.

    Raises:
        ReconstructionError: a keyframe has no pose or no depth.
    """
    settings = settings or PoseSettings()
    keys = sorted(set(keyframes))
    _check(capture, keys)
    every = phone_poses(capture)
    if len(keys) < 3:
        return _unchanged(every, "Fewer than three keyframes: nothing to refine.")
    surfaces, features = _read(capture, keys, settings, part(progress, 0.0, 0.5))
    phone = every[keys]
    centre = phone[:, :3, 3].mean(axis=0)
    phone[:, :3, 3] -= centre  # small lever arms keep the equations well conditioned
    progress(0.5, "Looking for overlapping keyframes")
    evidence = _gather(surfaces, features, phone, settings)
    if not evidence.pairs:
        return _unchanged(every, "No two keyframes see the same surface: poses kept as the phone gave them.")
    poses, offset_m = _optimise(evidence, phone, settings, part(progress, 0.55, 0.95))
    refined = _judge(evidence, phone, poses, offset_m, every, keys, settings)
    progress(1.0, refined.reason)
    return refined


def _check(capture: Capture, keys: list[int]) -> None:
    for key in keys:
        frame = capture.frames[key]
        if frame.capture_from_camera is None or frame.read_depth is None:
            raise ReconstructionError(
                f"Frame {frame.index} of {capture.name} has no pose or no depth.",
                remedy="Choose keyframes with select_keyframes.",
                code="keyframe_incomplete",
            )


def phone_poses(capture: Capture) -> FloatArray:
    """``(N, 4, 4)`` the phone's own `capture_from_camera`, one a frame; NaN where it gave none."""
    poses = np.full((len(capture.frames), 4, 4), np.nan)
    for i, frame in enumerate(capture.frames):
        if frame.capture_from_camera is not None:
            poses[i] = frame.capture_from_camera
    return poses


def kept_poses(capture: Capture, reason: str) -> RefinedPoses:
    """The poses of `capture` as they are."""
    return _unchanged(phone_poses(capture), reason)


def _unchanged(poses: FloatArray, reason: str) -> RefinedPoses:
    return RefinedPoses(poses, False, 0.0, 0.0, 0, 0, 0.0, 0.0, 0.0, reason)


def _read(
    capture: Capture, keys: list[int], settings: PoseSettings, progress: Progress
) -> tuple[list[SurfaceMap], list[Features | None]]:
    """Reduced surfaces and image corners of the keyframes; full images are not kept."""
    every = max(1, -(-len(keys) // settings.max_image_frames))
    surfaces: list[SurfaceMap] = []
    features: list[Features | None] = []
    for k, key in enumerate(keys):
        frame = capture.frames[key]
        depth = frame.depth_m()
        assert depth is not None  # _check
        cleaned = clean_depth(depth, frame.confidence(), frame.depth_intrinsics, settings.depth)
        surfaces.append(surface_map(cleaned, frame.depth_intrinsics, settings.map_size))
        wanted = settings.images and k % every == 0 and bool(surfaces[-1].depth_m.any())
        features.append(find_features(frame, surfaces[-1], settings.image_size, settings.corners) if wanted else None)
        progress((k + 1) / len(keys), f"Reading keyframe {k + 1} of {len(keys)}")
    return surfaces, features


def _gather(
    surfaces: list[SurfaceMap], features: list[Features | None], phone: FloatArray, settings: PoseSettings
) -> _Evidence:
    overlap = overlap_matrix(surfaces, phone, settings.start_gate_m)
    pairs = choose_pairs(overlap, phone, settings.neighbours, settings.loops_per_frame, settings.loop_gap)
    # Every seventh pair beyond the direct neighbours judges the result and is not shown to the optimiser.
    far = [pair for pair in pairs if pair.b - pair.a > 1]
    held = far[3::7]
    kept = [pair for pair in pairs if pair not in set(held)]
    terms = pose_graph.SurfaceTerms(surfaces, phone, settings.points_per_frame, settings.depth_noise_m)
    gate = settings.start_gate_m + 0.02

    def match(chosen: list[FramePair]) -> list[PointMatches]:
        return match_pairs(features, chosen, phone, gate, max_angle_deg=45.0)

    matches, held_matches = match(kept), match(held)
    apart_m, apart_px = neighbours_apart([m for m in matches if m.b - m.a <= 2], phone)
    if apart_m > settings.image_error_m and apart_px > settings.image_error_px:
        matches, held_matches = [], []
    return _Evidence(terms, kept, held, matches, held_matches)


def _optimise(
    evidence: _Evidence, phone: FloatArray, settings: PoseSettings, progress: Progress
) -> tuple[FloatArray, float]:
    """Poses ``(K, 4, 4)`` and depth offset (metres) that agree best with all evidence."""
    gates = np.geomspace(settings.start_gate_m, settings.end_gate_m, settings.iterations)
    poses, offset_m = _rounds(evidence, phone, phone, 0.0, gates, settings, part(progress, 0.0, 0.8))
    if abs(offset_m) > 3 * settings.offset_sigma_m:
        settings = replace(settings, offset_sigma_m=0.0)
        poses, offset_m = _rounds(evidence, phone, phone, 0.0, gates, settings, part(progress, 0.8, 1.0))
    return poses, round(offset_m, 6)


def _rounds(
    evidence: _Evidence,
    phone: FloatArray,
    poses: FloatArray,
    offset_m: float,
    gates: FloatArray,
    settings: PoseSettings,
    progress: Progress,
) -> tuple[FloatArray, float]:
    """Associate and solve once for each of `gates` (metres), from `poses` and `offset_m` on."""
    sigma_m, sigma_rad = _step_sigmas(phone, settings)
    sources = pose_graph.by_source(evidence.pairs)
    pair_weight = settings.frame_weight * len(phone) / max(2 * len(evidence.pairs), 1)
    corner_weight = settings.frame_weight * len(phone) / max(2 * len(evidence.matches), 1)
    corner_sigmas = settings.corner_sigma_px, settings.corner_depth_sigma_m
    scale = 2.0
    for i, gate in enumerate(gates):
        progress(i / len(gates), f"Aligning keyframes, round {i + 1} of {len(gates)}")
        surface, median = evidence.terms.edges(sources, poses, offset_m, float(gate), scale, pair_weight)
        corners = pose_graph.match_edges(evidence.matches, poses, offset_m, *corner_sigmas, corner_weight)
        steps = pose_graph.odometry_edges(
            phone, poses, sigma_m, sigma_rad, robust_at=3.0, release=i >= len(gates) * 2 // 3
        )
        correction, change = pose_graph.solve([surface, corners, steps], len(poses), offset_m, settings.offset_sigma_m)
        poses, offset_m = pose_graph.corrected(poses, correction), offset_m + change
        scale = max(0.3, 1.4826 * median)
    return poses, offset_m


def _step_sigmas(phone: FloatArray, settings: PoseSettings) -> tuple[FloatArray, FloatArray]:
    """Standard deviations of the phone's steps: ``(K-1,)`` metres and ``(K-1,)`` radians."""
    from scipy.spatial.transform import Rotation

    length = np.linalg.norm(np.diff(phone[:, :3, 3], axis=0), axis=1)
    change = np.einsum("kji,kjl->kil", phone[:-1, :3, :3], phone[1:, :3, :3])
    angle = Rotation.from_matrix(change).magnitude()
    share = settings.step_sigma_share
    return settings.step_sigma_m + share * length, np.radians(settings.step_sigma_deg) + share * angle


def _judge(
    evidence: _Evidence,
    phone: FloatArray,
    poses: FloatArray,
    offset_m: float,
    every: FloatArray,
    keys: list[int],
    settings: PoseSettings,
) -> RefinedPoses:
    """Take `poses` if the pairs held back agree better under them, else the phone's."""
    judges, corners = evidence.held_pairs or evidence.pairs, evidence.held_matches
    cost_before, before = _surface_cost(evidence, judges, phone, 0.0)
    cost_after, after = _surface_cost(evidence, judges, poses, offset_m)
    image_before, image_after = (_image_cost(corners, p, o, settings) for p, o in ((phone, 0.0), (poses, offset_m)))
    shift, turn, _ = pose_graph.step_errors(phone, poses)
    jump_m, jump_deg = float(np.linalg.norm(shift, axis=1).max()), float(np.degrees(np.linalg.norm(turn, axis=1).max()))
    reason = ""
    if not np.isfinite(poses).all() or jump_m > settings.max_step_m or jump_deg > settings.max_step_deg:
        reason = "Refined poses jump between neighbours: poses kept as the phone gave them."
    elif cost_after > cost_before or image_after > image_before:
        reason = "Refined poses do not agree better with frames held back: poses kept as the phone gave them."
    elif after >= 0.98 * before and image_after >= 0.95 * image_before:
        reason = "The phone's poses are as good as refined ones: kept."
    loops, images = sum(pair.loop for pair in evidence.pairs), len(evidence.matches)
    if reason:
        return RefinedPoses(every, False, before, before, loops, images, 0.0, 0.0, 0.0, reason)
    result, largest_mm, largest_deg = _interpolated(every, keys, phone, poses)
    reason = f"Poses refined: surfaces of frames held back lie {after:.1f} mm apart instead of {before:.1f} mm."
    return RefinedPoses(result, True, before, after, loops, images, largest_mm, largest_deg, offset_m, reason)


def _surface_cost(
    evidence: _Evidence, pairs: list[FramePair], poses: FloatArray, offset_m: float
) -> tuple[float, float]:
    """Mean robust cost of point-to-plane distances, and their median in millimetres."""
    costs, sizes = [], []
    for source, targets in pose_graph.by_source(pairs).items():
        if not len(evidence.terms.points[source]):
            continue
        found = evidence.terms.residuals(source, targets, poses, offset_m, gate_m=0.05)
        costs.append(np.log1p((found.distance_m / (2 * found.sigma_m)) ** 2))
        sizes.append(np.abs(found.distance_m))
    cost, size = np.concatenate([np.zeros(0), *costs]), np.concatenate([np.zeros(0), *sizes])
    return (float(cost.mean()), float(np.median(size)) * 1e3) if len(cost) else (0.0, 0.0)


def _image_cost(found: list[PointMatches], poses: FloatArray, offset_m: float, settings: PoseSettings) -> float:
    """Mean robust Mahalanobis cost of matched corners; 0 without any."""
    costs = [np.zeros(0)]
    for matches in found:
        gap, _, _ = pose_graph.match_residuals(matches, poses, offset_m)
        information = pose_graph.match_information(
            matches, poses, settings.corner_sigma_px, settings.corner_depth_sigma_m
        )
        costs.append(np.log1p(np.einsum("ni,nij,nj->n", gap, information, gap) / 9.0))
    every = np.concatenate(costs)
    return float(every.mean()) if len(every) else 0.0


def _interpolated(
    every: FloatArray, keys: list[int], phone: FloatArray, poses: FloatArray
) -> tuple[FloatArray, float, float]:
    """All frames' poses, corrected as their neighbouring keyframes are; largest correction in mm and degrees."""
    from scipy.spatial.transform import Rotation, Slerp

    turn = Rotation.from_matrix(np.einsum("kij,klj->kil", poses[:, :3, :3], phone[:, :3, :3]))
    shift = poses[:, :3, 3] - phone[:, :3, 3]  # of the camera's place: smooth wherever the frame's origin lies
    at = np.clip(np.arange(len(every)), keys[0], keys[-1]).astype(np.float64)
    turns = Rotation.from_rotvec(np.round(Slerp(keys, turn)(at).as_rotvec(), 8)).as_matrix()
    shifts = np.stack([np.interp(at, keys, shift[:, axis]) for axis in range(3)], axis=1)
    result = every.copy()
    result[:, :3, :3] = np.einsum("nij,njk->nik", turns, every[:, :3, :3])
    result[:, :3, 3] += np.round(shifts, 8)
    largest_mm = float(np.linalg.norm(shift, axis=1).max()) * 1e3
    return result, largest_mm, float(np.degrees(turn.magnitude().max()))

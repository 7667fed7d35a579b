"""Dense depth of pictures whose poses are known: semi-global matching of pairs, kept where several views agree.

For each picture some partners are chosen; each pair is rectified, matched (H. Hirschmüller, "Stereo Processing by
Semiglobal Matching and Mutual Information", 2008; OpenCV's StereoSGBM), and its depth brought into the picture's own
pixels. A depth counts where `PhotoSettings.agree` partners measure the same and the other pictures do not contradict it
(geometric consistency as in Schönberger et al., "Pixelwise View Selection for Unstructured Multi-View Stereo", 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, DepthImage, FloatArray
from reconstruction.photogrammetry.settings import PhotoSettings
from reconstruction.progress import Progress, silent

IndexArray = npt.NDArray[np.int64]
_MAX_DISPARITIES = 320
_LEAST_SHARED = 12
_MARGIN = 1.12
"""Depth is sought a little beyond the sparse points."""
_FORWARD = 0.6
"""Pairs are left out where the way between the cameras goes more than this share along the line of sight."""


@dataclass(frozen=True)
class Picture:
    """A picture without distortion.

    Attributes:
        grey: ``(H, W)``.
        intrinsics: ``(3, 3)`` for it; pixel centres at integers.
        camera_from_world: ``(4, 4)``.
        points: ``(P,)`` rows of the sparse points that it sees.
    """

    grey: ByteImage
    intrinsics: FloatArray
    camera_from_world: FloatArray
    points: IndexArray


@dataclass(frozen=True)
class _Target:
    """The pixels of which depth is wanted: size ``(width, height)`` and intrinsics ``(3, 3)``."""

    size: tuple[int, int]
    intrinsics: FloatArray

    def rays(self) -> FloatArray:
        """``(H, W, 3)`` with z = 1."""
        u, v = np.meshgrid(np.arange(self.size[0]), np.arange(self.size[1]))
        return np.asarray(np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(self.intrinsics).T)


def dense_depth(
    pictures: Sequence[Picture], points: FloatArray, settings: PhotoSettings, progress: Progress = silent
) -> tuple[list[DepthImage], list[ByteImage]]:
    """Depth ``(h, w)`` in the units of the poses (0 = none), and confidence 0/1/2, of each picture.

    Args:
        pictures: of one world; all of the same size or not.
        points: ``(P, 3)`` sparse points, world.
        settings: see `PhotoSettings`.
        progress: called with fractions and messages.
    """
    partners = choose_partners(pictures, points, settings)
    targets = [_target(picture, settings.depth_px) for picture in pictures]

    def one(number: int) -> tuple[DepthImage, ByteImage]:
        ref = pictures[number]
        near, far = _range(ref, points)
        layers = [
            pair_depth(ref, pictures[other], targets[number], near, far, settings.stereo_px)
            for other in partners[number]
        ]
        return _agreed(layers, settings, targets[number].size)

    found: list[tuple[DepthImage, ByteImage]] = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for result in pool.map(one, range(len(pictures))):
            found.append(result)
            progress(0.9 * len(found) / len(pictures), f"measuring depth in picture {len(found)} of {len(pictures)}")
        depths = [depth for depth, _ in found]

        def check(number: int) -> DepthImage:
            return _uncontradicted(number, depths, pictures, targets, partners, settings)

        checked = list(pool.map(check, range(len(pictures))))
    progress(1.0, "comparing depth between pictures")
    confidence = [np.where(d > 0, c, np.uint8(0)) for d, (_, c) in zip(checked, found, strict=True)]
    return checked, confidence


def choose_partners(pictures: Sequence[Picture], points: FloatArray, settings: PhotoSettings) -> list[list[int]]:
    """For each picture the others that see much of the same from a good angle, best first."""
    centers = np.array([-p.camera_from_world[:3, :3].T @ p.camera_from_world[:3, 3] for p in pictures])
    sees = np.zeros((len(pictures), len(points)), dtype=bool)
    for number, picture in enumerate(pictures):
        sees[number, picture.points] = True
    result = []
    for number, picture in enumerate(pictures):
        scores = np.zeros(len(pictures))
        for other in range(len(pictures)):
            shared = np.flatnonzero(sees[number] & sees[other])
            if other == number or len(shared) < _LEAST_SHARED:
                continue
            base = centers[other] - centers[number]
            axis = picture.camera_from_world[2, :3]
            if abs(base @ axis) > _FORWARD * np.linalg.norm(base):
                continue
            a, b = points[shared] - centers[number], points[shared] - centers[other]
            cosine = (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
            angle = float(np.degrees(np.arccos(np.clip(np.median(cosine), -1, 1))))
            if not 2.0 < angle < 35.0:
                continue
            fit = np.exp(-0.5 * (np.log(angle / settings.angle_deg) / 0.5) ** 2)
            scores[other] = np.sqrt(len(shared)) * fit
        result.append(_diverse(scores, centers - centers[number], settings.partners))
    return result


def _diverse(scores: FloatArray, steps: FloatArray, count: int) -> list[int]:
    """The best, each counting less the more it lies in the direction of one that is chosen: occlusions differ."""
    scores, chosen = scores.copy(), list[int]()
    directions = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-12)
    while len(chosen) < count and scores.max(initial=0.0) > 0:
        best = int(np.argmax(scores))
        chosen.append(best)
        scores *= np.where(directions @ directions[best] > 0.8, 0.6, 1.0)
        scores[best] = 0.0
    return chosen


def _target(picture: Picture, longer_px: int) -> _Target:
    height, width = picture.grey.shape
    scale = min(1.0, longer_px / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return _Target(size, _resized(picture.intrinsics, (width, height), size))


def _resized(intrinsics: FloatArray, old: tuple[int, int], new: tuple[int, int]) -> FloatArray:
    """`intrinsics` for another size as `Frame.depth_intrinsics` scales them: its first pixels coincide."""
    return np.asarray(np.diag([new[0] / old[0], new[1] / old[1], 1.0]) @ intrinsics)


def _range(picture: Picture, points: FloatArray) -> tuple[float, float]:
    """Nearest and farthest depth worth looking for, from the sparse points that the picture sees."""
    z = points[picture.points] @ picture.camera_from_world[2, :3] + picture.camera_from_world[2, 3]
    z = z[z > 0]
    if not len(z):
        return 0.0, 0.0
    low, high = np.percentile(z, [1, 98])
    return float(low / (_MARGIN * 1.1)), float(min(high * _MARGIN, 4.0 * np.median(z)))


def pair_depth(ref: Picture, other: Picture, target: _Target, near: float, far: float, longer_px: int) -> DepthImage:
    """Depth ``(h, w)`` in the target's pixels from one pair; 0 where it does not match.

    Args:
        ref: whose depth is wanted.
        other: its partner.
        target: of `ref`.
        near: least depth.
        far: greatest depth.
        longer_px: longer side of the pictures that are compared.
    """
    import cv2

    empty = np.zeros(target.size[::-1], dtype=np.float32)
    other_from_ref = other.camera_from_world @ np.linalg.inv(ref.camera_from_world)
    base = -other_from_ref[:3, :3].T @ other_from_ref[:3, 3]
    length = float(np.linalg.norm(base))
    if not 0 < near < far or length == 0:
        return empty
    # Rows: x from `ref` to `other`, so that `ref` is the left picture; z between both axes of sight.
    x = base / length
    z = np.array([0.0, 0.0, 1.0]) + other_from_ref[2, :3]
    z -= (z @ x) * x
    z /= np.linalg.norm(z)
    rect_from_ref = np.stack([x, np.cross(z, x), z])
    height, width = ref.grey.shape
    focal = ref.intrinsics[0, 0] * min(1.0, longer_px / max(width, height))
    # Depth along the rectified axis spans more than along the picture's own.
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]], dtype=np.float64)
    rays = corners @ np.linalg.inv(ref.intrinsics).T @ rect_from_ref.T
    if rays[:, 2].min() < 0.2:
        return empty
    near, far = near * float(rays[:, 2].min()), far * float(rays[:, 2].max())
    span = length * (1 / near - 1 / far)
    focal = min(focal, _MAX_DISPARITIES / span)
    flat = focal * rays[:, :2] / rays[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    disparities = int(np.ceil(focal * span / 16)) * 16
    # Columns left of the picture are added, for SGBM measures nothing in the first ones.
    size = (int(np.ceil(high[0] - low[0])) + 1 + disparities, int(np.ceil(high[1] - low[1])) + 1)
    if max(size) > 4 * longer_px:
        return empty
    left = np.array([[focal, 0, disparities - low[0]], [0, focal, -low[1]], [0, 0, 1]])
    right = left.copy()
    right[0, 2] += focal * length / far  # what is farthest has disparity 0
    images = [
        _warped(picture, intrinsics @ rotation, size)
        for picture, intrinsics, rotation in (
            (ref, left, rect_from_ref),
            (other, right, rect_from_ref @ other_from_ref[:3, :3].T),
        )
    ]
    block = 5
    matcher = cv2.StereoSGBM_create(
        minDisparity=0,
        numDisparities=disparities,
        blockSize=block,
        P1=8 * block * block,
        P2=32 * block * block,
        disp12MaxDiff=1,
        preFilterCap=31,
        uniquenessRatio=5,
        speckleWindowSize=80,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM,
    )
    disparity = matcher.compute(*images).astype(np.float32) / 16
    rays = target.rays() @ rect_from_ref.T
    u = (left[0, 0] * rays[..., 0] / rays[..., 2] + left[0, 2]).astype(np.float32)
    v = (left[1, 1] * rays[..., 1] / rays[..., 2] + left[1, 2]).astype(np.float32)
    sampled = _sampled(disparity, u, v)
    depth = np.where(
        sampled >= 0, focal * length / (np.maximum(sampled, 0) + focal * length / far) / rays[..., 2], np.float32(0)
    )
    return np.asarray(depth, dtype=np.float32)


def _warped(picture: Picture, pixels_from_camera: FloatArray, size: tuple[int, int]) -> ByteImage:
    import cv2

    homography = pixels_from_camera @ np.linalg.inv(picture.intrinsics)
    grey, shrink = picture.grey, float(np.sqrt(abs(np.linalg.det(homography[:2, :2] / homography[2, 2]))))
    if shrink < 0.75:  # else every other pixel would be left out
        grey = cv2.GaussianBlur(grey, (0, 0), 0.5 * np.sqrt(1 / shrink**2 - 1) + 1e-3)
    return np.asarray(cv2.warpPerspective(grey, homography, size, flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _sampled(disparity: DepthImage, u: DepthImage, v: DepthImage) -> DepthImage:
    """Disparity between pixels: linear where all four neighbours belong to one surface, else the nearest."""
    import cv2

    linear = cv2.remap(disparity, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-1)
    nearest = cv2.remap(disparity, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=-1)
    kernel = np.ones((3, 3), np.uint8)
    step = cv2.dilate(disparity, kernel) - cv2.erode(disparity, kernel)
    smooth = cv2.remap(step, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=99) < 1.0
    return np.where(smooth & (nearest >= 0), linear, nearest)


def _agreed(
    layers: Sequence[DepthImage], settings: PhotoSettings, size: tuple[int, int]
) -> tuple[DepthImage, ByteImage]:
    """Mean of the largest group of measurements that are alike, where it is large enough, and confidence."""
    if len(layers) < settings.agree:
        return np.zeros(size[::-1], dtype=np.float32), np.zeros(size[::-1], dtype=np.uint8)
    stack = np.stack(layers)
    best, total = np.zeros(stack.shape[1:], dtype=np.int32), np.zeros(stack.shape[1:], dtype=np.float32)
    for layer in stack:
        alike = (np.abs(stack - layer) < settings.tolerance * layer) & (stack > 0) & (layer > 0)
        count = alike.sum(axis=0)
        better = count > best
        best = np.where(better, count, best)
        total = np.where(better, (stack * alike).sum(axis=0), total)
    good = best >= settings.agree
    depth = np.where(good, total / np.maximum(best, 1), np.float32(0)).astype(np.float32)
    return depth, np.where(good, np.where(best > settings.agree, 2, 1), 0).astype(np.uint8)


def _uncontradicted(
    number: int,
    depths: Sequence[DepthImage],
    pictures: Sequence[Picture],
    targets: Sequence[_Target],
    partners: Sequence[Sequence[int]],
    settings: PhotoSettings,
) -> DepthImage:
    """Depth of one picture without what its partners' depth does not bear out.

    Seen from a partner, a point must lie on its surface; where more partners look through it than show it, it goes.
    """
    depth, rays = depths[number], targets[number].rays()
    v, u = np.nonzero(depth)
    points = rays[v, u] * depth[v, u, None]
    for_it, against = np.zeros(len(v), dtype=np.int32), np.zeros(len(v), dtype=np.int32)
    for other in partners[number]:
        move = pictures[other].camera_from_world @ np.linalg.inv(pictures[number].camera_from_world)
        seen = points @ move[:3, :3].T + move[:3, 3]
        pixel = seen @ targets[other].intrinsics.T
        x = np.round(pixel[:, 0] / np.maximum(pixel[:, 2], 1e-9)).astype(np.int64)
        y = np.round(pixel[:, 1] / np.maximum(pixel[:, 2], 1e-9)).astype(np.int64)
        width, height = targets[other].size
        inside = (seen[:, 2] > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        there = np.where(inside, depths[other][np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], 0)
        slack = 1.5 * settings.tolerance * seen[:, 2]
        for_it += (there > 0) & (np.abs(there - seen[:, 2]) < slack)
        against += (there > 0) & (there > seen[:, 2] + 2 * slack)
    keep = (for_it >= 1) & (for_it >= against)
    checked = np.zeros_like(depth)
    checked[v[keep], u[keep]] = depth[v[keep], u[keep]]
    return checked

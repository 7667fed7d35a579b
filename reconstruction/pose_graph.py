"""Gauss-Newton over the poses of all keyframes at once, from terms that each compare two of them.

A correction moves a keyframe's points in the capture frame: x -> R x + v, with the small vector xi = (v, omega), metres
and radians. Every residual here depends on where two keyframes put the same thing, so its Jacobians by their xi are J
and -J, and a term is one 6×6 block H = sum w J^T J and one vector g = sum w J^T r: the edge of a graph whose normal
equations are a block Laplacian.

One more unknown belongs to all keyframes: the sensor's depth offset. LiDAR depth lies several millimetres too far on
many surfaces; left alone, that looks like drift that grows as the camera turns. It is the seventh entry of H and g.

Sums run through `numpy.einsum` without BLAS, so that the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.capture import FloatArray
from reconstruction.frame_pairs import FramePair
from reconstruction.matches import PointMatches
from reconstruction.surface_maps import SurfaceMap, sample_pixels

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Edges:
    """Terms between keyframes.

    Attributes:
        a: ``(E,)`` first keyframe; b: ``(E,)`` second.
        hessian: ``(E, 7, 7)``; gradient: ``(E, 7)`` by the correction of a (that of b has the other sign) and by the
            depth offset.
    """

    a: IndexArray
    b: IndexArray
    hessian: FloatArray
    gradient: FloatArray


@dataclass(frozen=True)
class SurfaceResiduals:
    """Point-to-plane distances of one keyframe's points to several others.

    Attributes:
        distance_m: ``(v,)``.
        jacobian: ``(v, 7)`` by the correction of the source (of the target: negative) and by the depth offset.
        sigma_m: ``(v,)`` expected standard deviation.
        pair: ``(v,)`` which of the targets, ascending.
    """

    distance_m: FloatArray
    jacobian: FloatArray
    sigma_m: FloatArray
    pair: IndexArray


class SurfaceTerms:
    """Point-to-plane distances between keyframes (Chen and Medioni 1992), associated by projection.

    Args:
        surfaces: one a keyframe, all of one size.
        poses: ``(K, 4, 4)`` used to draw the points only.
        points_per_frame: points drawn from each keyframe.
        noise_m: standard deviation of a depth at short range, metres; grows with 1 + depth².
    """

    def __init__(
        self, surfaces: Sequence[SurfaceMap], poses: FloatArray, points_per_frame: int, noise_m: float
    ) -> None:
        self.noise_m = noise_m
        self.depth = np.stack([surface.depth_m for surface in surfaces])
        self.normal = np.stack([surface.normal for surface in surfaces])
        self.intrinsics = np.stack([surface.intrinsics for surface in surfaces])
        self.points: list[FloatArray] = []
        self.normals: list[FloatArray] = []
        for surface, pose in zip(surfaces, poses, strict=True):
            chosen = sample_pixels(surface, pose, points_per_frame)
            self.points.append(surface.points().reshape(-1, 3)[chosen].astype(np.float64))
            self.normals.append(surface.normal.reshape(-1, 3)[chosen].astype(np.float64))

    def residuals(
        self, source: int, targets: IndexArray, poses: FloatArray, offset_m: float, gate_m: float
    ) -> SurfaceResiduals:
        """Distances of `source`'s points to the planes that `targets` saw where the points project.

        Args:
            source: keyframe whose points are compared.
            targets: ``(m,)`` keyframes they are compared with.
            poses: ``(K, 4, 4)``.
            offset_m: added to every depth, metres.
            gate_m: pairs farther apart are left out, metres; so are surfaces that face differently by over 37°.
        """
        rotation, origin = poses[source, :3, :3], poses[source, :3, 3]
        rays = self.points[source] / self.points[source][:, 2:]
        world = (self.points[source] + offset_m * rays) @ rotation.T + origin
        world_normal = self.normals[source] @ rotation.T
        local = np.stack([(world - poses[t, :3, 3]) @ poses[t, :3, :3] for t in targets])
        pixel = self._pixels(local, targets)
        pair, point = np.nonzero(pixel >= 0)
        pixel, local, target = pixel[pair, point], local[pair, point], targets[pair]
        there, rays_there = self._surface_points(pixel, target, offset_m)
        gap = local - there
        normal = self.normal.reshape(-1, 3)[pixel].astype(np.float64)
        turned = np.einsum("vij,vj->vi", poses[target, :3, :3], normal)
        near = (np.einsum("vi,vi->v", gap, gap) < gate_m**2) & (
            np.einsum("vi,vi->v", turned, world_normal[point]) > 0.8
        )
        pair, point, target, gap, normal, turned = (x[near] for x in (pair, point, target, gap, normal, turned))
        rays_here = np.einsum("vji,vj->vi", poses[target, :3, :3], (rays @ rotation.T)[point])
        by_offset = np.einsum("vi,vi->v", rays_here - rays_there[near], normal)
        jacobian = np.column_stack([turned, np.cross(world[point], turned), by_offset])
        depth_there = there[near, 2]
        sigma = self.noise_m * np.hypot(1 + self.points[source][point, 2] ** 2, 1 + depth_there**2)
        return SurfaceResiduals(np.einsum("vi,vi->v", gap, normal), jacobian, sigma, pair)

    def _pixels(self, local: FloatArray, targets: IndexArray) -> IndexArray:
        """Flat index into `depth` ``(m, n)`` of the pixels where points ``(m, n, 3)`` of the targets fall, else -1."""
        _, h, w = self.depth.shape
        k = self.intrinsics[targets]
        ahead = local[..., 2] > 0.05
        z = np.where(ahead, local[..., 2], 1.0)
        u = np.rint(local[..., 0] / z * k[:, 0, 0, None] + k[:, 0, 2, None])
        v = np.rint(local[..., 1] / z * k[:, 1, 1, None] + k[:, 1, 2, None])
        ahead &= (u >= 0) & (u < w) & (v >= 0) & (v < h)
        flat = targets[:, None] * (h * w) + np.where(ahead, v * w + u, 0.0).astype(np.int64)
        return np.where(ahead & (self.depth.ravel()[flat] > 0), flat, -1)

    def _surface_points(self, pixel: IndexArray, target: IndexArray, offset_m: float) -> tuple[FloatArray, FloatArray]:
        """Points ``(v, 3)`` that the targets measured at flat pixels, camera frame, and their rays (x, y, 1)."""
        _, h, w = self.depth.shape
        k = self.intrinsics[target]
        x = (pixel % w - k[:, 0, 2]) / k[:, 0, 0]
        y = (pixel // w % h - k[:, 1, 2]) / k[:, 1, 1]
        rays = np.column_stack([x, y, np.ones_like(x)])
        return rays * (self.depth.ravel()[pixel].astype(np.float64) + offset_m)[:, None], rays

    def edges(
        self,
        by_source: dict[int, IndexArray],
        poses: FloatArray,
        offset_m: float,
        gate_m: float,
        scale: float,
        weight_cap: float,
    ) -> tuple[Edges, float]:
        """Blocks of all pairs and the median absolute normalised residual (the next call's `scale`, times 1.48).

        Args:
            by_source: targets of each source keyframe.
            poses: ``(K, 4, 4)``.
            offset_m: added to every depth, metres.
            gate_m: points farther from their partner are not associated, metres.
            scale: of the normalised residuals; the Cauchy loss bends at 2.4 of it.
            weight_cap: a pair counts at most as this many independent points: depth errors of neighbouring pixels
                are alike.
        """
        a: list[int] = []
        b: list[int] = []
        blocks: list[FloatArray] = []
        sizes: list[FloatArray] = []
        for source, targets in by_source.items():
            if not len(self.points[source]):
                continue
            found = self.residuals(source, targets, poses, offset_m, gate_m)
            sizes.append(np.abs(found.distance_m / found.sigma_m))
            blocks += _blocks(found, len(targets), scale, weight_cap)
            a += [source] * len(targets)
            b += targets.tolist()
        every = np.concatenate([np.zeros(0), *sizes])
        if not len(every):
            return _no_edges(), scale
        both = np.stack(blocks)
        return Edges(np.array(a), np.array(b), both[:, :7, :7], both[:, :7, 7]), float(np.median(every))


def _blocks(found: SurfaceResiduals, count: int, scale: float, weight_cap: float) -> list[FloatArray]:
    """``(8, 8)`` weighted moments of (J, r) for each of `count` targets."""
    robust = 1.0 / (1.0 + (found.distance_m / (2.4 * scale * found.sigma_m)) ** 2)
    total = np.bincount(found.pair, weights=robust, minlength=count)
    cap = np.minimum(1.0, weight_cap / np.maximum(total, 1.0))
    columns = np.column_stack([found.jacobian, found.distance_m])
    weighted = columns * (robust / (scale * found.sigma_m) ** 2 * cap[found.pair])[:, None]
    ends = np.searchsorted(found.pair, np.arange(count + 1))
    parts = [slice(ends[k], ends[k + 1]) for k in range(count)]
    return [np.einsum("vi,vj->ij", weighted[part], columns[part]) for part in parts]


def _no_edges() -> Edges:
    nothing = np.zeros(0, dtype=np.int64)
    return Edges(nothing, nothing, np.zeros((0, 7, 7)), np.zeros((0, 7)))


def by_source(pairs: Sequence[FramePair]) -> dict[int, IndexArray]:
    """Targets of each source; which of the two is the source alternates, so that both sides' points count."""
    targets: dict[int, list[int]] = {}
    for pair in pairs:
        source, target = (pair.a, pair.b) if (pair.a + pair.b) % 2 else (pair.b, pair.a)
        targets.setdefault(source, []).append(target)
    return {source: np.array(found, dtype=np.int64) for source, found in sorted(targets.items())}


def match_residuals(
    matches: PointMatches, poses: FloatArray, offset_m: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Where a and b put the matched points apart ``(n, 3)`` metres.

    Returns:
        That, the points as a puts them ``(n, 3)``, and the derivative of the first by the depth offset ``(n, 3)``.
    """
    rays_a = matches.points_a / matches.points_a[:, 2:] @ poses[matches.a, :3, :3].T
    rays_b = matches.points_b / matches.points_b[:, 2:] @ poses[matches.b, :3, :3].T
    a = rays_a * (matches.points_a[:, 2:] + offset_m) + poses[matches.a, :3, 3]
    b = rays_b * (matches.points_b[:, 2:] + offset_m) + poses[matches.b, :3, 3]
    return a - b, a, rays_a - rays_b


def match_information(matches: PointMatches, poses: FloatArray, pixels: float, depth_sigma_m: float) -> FloatArray:
    """Inverse covariance ``(n, 3, 3)`` of `match_residuals`: sharp across the two viewing rays, soft along them."""
    covariance = np.zeros((len(matches.points_a), 3, 3))
    for k, points in ((matches.a, matches.points_a), (matches.b, matches.points_b)):
        rays = points / np.linalg.norm(points, axis=1, keepdims=True) @ poses[k, :3, :3].T
        along = np.einsum("ni,nj->nij", rays, rays)
        across = (pixels * matches.pixel_m)[:, None, None] ** 2
        deep = (depth_sigma_m * (1 + points[:, 2] ** 2))[:, None, None] ** 2
        covariance += across * (np.eye(3) - along) + deep * along
    information: FloatArray = np.linalg.inv(covariance).astype(np.float64)
    return information


def match_edges(
    found: Sequence[PointMatches],
    poses: FloatArray,
    offset_m: float,
    pixels: float,
    depth_sigma_m: float,
    weight_cap: float,
) -> Edges:
    """Blocks of image matches: robust Mahalanobis distance of the two 3-D points.

    Args:
        found: matches, one entry a pair.
        poses: ``(K, 4, 4)``.
        offset_m: added to every depth, metres.
        pixels: standard deviation of a corner in the image, pixels.
        depth_sigma_m: standard deviation of its depth at short range, metres.
        weight_cap: a pair counts at most as this many matches.
    """
    hessians = np.zeros((len(found), 7, 7))
    gradients = np.zeros((len(found), 7))
    for e, matches in enumerate(found):
        gap, world, by_offset = match_residuals(matches, poses, offset_m)
        information = match_information(matches, poses, pixels, depth_sigma_m)
        squared = np.einsum("ni,nij,nj->n", gap, information, gap)
        robust = 1.0 / (1.0 + squared / 9.0)
        robust *= min(1.0, weight_cap / max(float(robust.sum()), 1.0))
        jacobian = np.zeros((len(gap), 3, 7))
        jacobian[:, :, :3] = np.eye(3)
        jacobian[:, :, 3:6] = -cross_matrix(world)
        jacobian[:, :, 6] = by_offset
        weighted = np.einsum("nij,nik->njk", jacobian, information * robust[:, None, None])
        hessians[e] = np.einsum("nij,njk->ik", weighted, jacobian)
        gradients[e] = np.einsum("nij,nj->i", weighted, gap)
    if not found:
        return _no_edges()
    return Edges(np.array([m.a for m in found]), np.array([m.b for m in found]), hessians, gradients)


def odometry_edges(
    phone: FloatArray, poses: FloatArray, sigma_m: FloatArray, sigma_rad: FloatArray, robust_at: float, release: bool
) -> Edges:
    """Blocks that hold each step between consecutive keyframes near the phone's own.

    A step's error is how differently its two ends are corrected: the displacement of the camera's place and the
    rotation. The Huber loss lets a step go where the phone jumped, against a constant pull, so that only strong
    evidence wins; in the last rounds (`release`) a step that went is set free.

    Args:
        phone: ``(K, 4, 4)`` the phone's poses.
        poses: ``(K, 4, 4)`` at present.
        sigma_m: ``(K-1,)`` standard deviation of the displacement, metres.
        sigma_rad: ``(K-1,)`` of the rotation, radians.
        robust_at: steps pull no harder than at this many sigmas.
        release: pull less and less beyond that, in place of evenly.
    """
    shift, turn, world = step_errors(phone, poses)
    squared = (shift**2).sum(axis=1) / sigma_m**2 + (turn**2).sum(axis=1) / sigma_rad**2
    sigmas = np.sqrt(squared / 3) / robust_at
    robust = 1.0 / np.maximum(1.0, sigmas**2 if release else sigmas)
    jacobian = np.zeros((len(shift), 6, 7))
    jacobian[:, :3, :3] = np.eye(3)
    jacobian[:, :3, 3:6] = -cross_matrix(world)
    jacobian[:, 3:, 3:6] = np.eye(3)
    error = np.concatenate([shift, turn], axis=1)
    information = np.concatenate([np.repeat((robust / s**2)[:, None], 3, axis=1) for s in (sigma_m, sigma_rad)], axis=1)
    weighted = np.einsum("nij,ni->nji", jacobian, information)
    first = np.arange(len(shift))
    return Edges(
        first + 1, first, np.einsum("nji,nik->njk", weighted, jacobian), np.einsum("nji,ni->nj", weighted, error)
    )


def step_errors(phone: FloatArray, poses: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How the correction changes from each keyframe to the next.

    Returns:
        Displacement ``(K-1, 3)`` metres of the point midway between both cameras, rotation vector ``(K-1, 3)`` radians,
        and that point ``(K-1, 3)`` as corrected.
    """
    from scipy.spatial.transform import Rotation

    turn = np.einsum("kij,klj->kil", poses[:, :3, :3], phone[:, :3, :3])
    shift = poses[:, :3, 3] - np.einsum("kij,kj->ki", turn, phone[:, :3, 3])
    middle = (phone[1:, :3, 3] + phone[:-1, :3, 3]) / 2
    later = np.einsum("kij,kj->ki", turn[1:], middle) + shift[1:]
    earlier = np.einsum("kij,kj->ki", turn[:-1], middle) + shift[:-1]
    change = np.einsum("kij,klj->kil", turn[1:], turn[:-1])
    return later - earlier, Rotation.from_matrix(change).as_rotvec(), later


def cross_matrix(vectors: FloatArray) -> FloatArray:
    """``(n, 3, 3)`` matrices M with M w = v × w for vectors ``(n, 3)``."""
    x, y, z = vectors.T
    o = np.zeros_like(x)
    return np.stack([o, -z, y, z, o, -x, -y, x, o], axis=1).reshape(-1, 3, 3)


def solve(edges: Sequence[Edges], count: int, offset_m: float, offset_sigma_m: float) -> tuple[FloatArray, float]:
    """Corrections ``(K, 6)`` and change of the depth offset (metres) that minimise the sum of all terms.

    The first keyframe keeps its pose; the offset is held near 0 with `offset_sigma_m` (0 keeps it where it is).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    a = np.concatenate([e.a for e in edges])
    b = np.concatenate([e.b for e in edges])
    hessian = np.concatenate([e.hessian for e in edges])
    gradient = np.concatenate([e.gradient for e in edges])
    right = np.zeros(6 * count + 1)
    np.add.at(right[:-1].reshape(count, 6), a, -gradient[:, :6])
    np.add.at(right[:-1].reshape(count, 6), b, gradient[:, :6])
    last = np.full(len(a), count)
    pose, cross = hessian[:, :6, :6], hessian[:, :6, 6:]
    parts = [(a, a, pose), (b, b, pose), (a, b, -pose), (b, a, -pose)]
    parts += [(a, last, cross), (b, last, -cross)]
    i, j, values = (np.concatenate(column) for column in zip(*(_entries(*p) for p in parts), strict=True))
    upper = j == 6 * count
    i, j, values = np.append(i, j[upper]), np.append(j, i[upper]), np.append(values, values[upper])
    weight = 1.0 / max(offset_sigma_m, 1e-9) ** 2
    i, j = np.append(i, 6 * count), np.append(j, 6 * count)
    values = np.append(values, hessian[:, 6, 6].sum() + weight)
    right[-1] = -gradient[:, 6].sum() - weight * offset_m
    matrix = coo_matrix((values, (i, j)), shape=(6 * count + 1, 6 * count + 1)).tocsc()[6:, 6:]
    solution = spsolve(matrix, right[6:])
    return np.concatenate([np.zeros(6), solution[:-1]]).reshape(count, 6), float(solution[-1])


def _entries(rows: IndexArray, columns: IndexArray, blocks: FloatArray) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Scalar row, column and value of ``(E, p, q)`` blocks at block rows and columns (6 to a block)."""
    _, p, q = blocks.shape
    i = np.broadcast_to(rows[:, None, None] * 6 + np.arange(p)[:, None], blocks.shape)
    j = np.broadcast_to(columns[:, None, None] * 6 + np.arange(q)[None, :], blocks.shape)
    return i.ravel(), j.ravel(), blocks.ravel()


def corrected(poses: FloatArray, correction: FloatArray) -> FloatArray:
    """Poses ``(K, 4, 4)`` moved by corrections ``(K, 6)`` in the capture frame."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(correction[:, 3:]).as_matrix()
    moved = poses.copy()
    moved[:, :3, :3] = np.einsum("kij,kjl->kil", turn, poses[:, :3, :3])
    moved[:, :3, 3] = np.einsum("kij,kj->ki", turn, poses[:, :3, 3]) + correction[:, :3]
    return moved

"""Textured watertight solids from a few numbers: lathes, rounded boxes, tubes, and their unions.

Every builder returns a closed `Mesh` whose ``corner_uv`` unrolls its surface without overlap into its own texture.
`union` and `difference` keep texture coordinates through the boolean (manifold3d interpolates vertex properties) and
stack the textures into one atlas.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import stack_textures
from reconstruction.mesh import Mesh

FloatArray = npt.NDArray[np.float64]
Texture = npt.NDArray[np.uint8]
LathePaint = Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]
"""``paint(angle, radius, height, arc) -> rgb``: arrays ``(H, W)`` (radians, m, m, 0…1) to ``(H, W, 3)`` 0…1."""

TEXEL_M = 0.0005


def texture_from(rgb: FloatArray) -> Texture:
    """``(H, W, 3)`` colours 0…1 as uint8."""
    return np.round(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)


def texels(length_m: float, low: int = 8, high: int = 768) -> int:
    """Texture pixels for a stretch of surface."""
    return int(np.clip(np.ceil(length_m / TEXEL_M), low, high))


def rounded_profile(points: FloatArray, radius_m: float, steps: int = 4) -> FloatArray:
    """A polyline ``(P, 2)`` with every inner corner replaced by a quadratic arc that starts `radius_m` before it."""
    out = [points[0]]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        reach_in = min(radius_m, 0.45 * float(np.linalg.norm(corner - before)))
        reach_out = min(radius_m, 0.45 * float(np.linalg.norm(after - corner)))
        start = corner + (before - corner) / np.linalg.norm(before - corner) * reach_in
        end = corner + (after - corner) / np.linalg.norm(after - corner) * reach_out
        for t in np.linspace(0.0, 1.0, steps):
            out.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    out.append(points[-1])
    return np.array(out)


def lathe(profile: FloatArray, paint: LathePaint, segments: int = 72) -> Mesh:
    """The solid that `profile` sweeps out round the z axis.

    Args:
        profile: ``(P, 2)`` radius and height in metres, counter-clockwise (up on the outside). Either both ends lie on
            the axis (radius 0), or the last point equals the first (a ring).
        paint: colours of the surface.
        segments: corners of the circle.
    """
    closed = bool(np.allclose(profile[0], profile[-1]))
    rings = profile[:-1] if closed else profile
    starts: list[int] = []
    vertices: list[tuple[float, float, float]] = []
    for radius, height in rings:
        starts.append(len(vertices))
        count = 1 if radius < 1e-9 else segments
        for angle in 2 * np.pi * np.arange(count) / segments:
            vertices.append((radius * np.cos(angle), radius * np.sin(angle), height))
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    v = 1.0 - arc / arc[-1]
    faces: list[tuple[int, int, int]] = []
    uv: list[list[tuple[float, float]]] = []
    pairs = [(i, (i + 1) % len(rings)) for i in range(len(profile) - 1)]
    for low, (a, b) in enumerate(pairs):
        wide_a, wide_b = rings[a][0] >= 1e-9, rings[b][0] >= 1e-9
        for j in range(segments):
            k = (j + 1) % segments
            u0, u1 = j / segments, (j + 1) / segments
            mid = (u0 + u1) / 2
            a0, a1 = starts[a] + (j if wide_a else 0), starts[a] + (k if wide_a else 0)
            b0, b1 = starts[b] + (j if wide_b else 0), starts[b] + (k if wide_b else 0)
            if wide_a:
                faces.append((a0, a1, b1))
                uv.append([(u0, v[low]), (u1, v[low]), (u1 if wide_b else mid, v[low + 1])])
            if wide_b:
                faces.append((a0, b1, b0))
                uv.append([(u0 if wide_a else mid, v[low]), (u1, v[low + 1]), (u0, v[low + 1])])
    texture = _lathe_texture(profile, arc, paint)
    return Mesh(np.array(vertices), np.array(faces, dtype=np.int64), np.array(uv, dtype=np.float32), texture)


def _lathe_texture(profile: FloatArray, arc: FloatArray, paint: LathePaint) -> Texture:
    width, height = texels(2 * np.pi * float(profile[:, 0].max())), texels(float(arc[-1]))
    share = (np.arange(height) + 0.5) / height
    angle, along = np.meshgrid(2 * np.pi * (np.arange(width) + 0.5) / width, share)
    radius = np.interp(along, arc / arc[-1], profile[:, 0])
    level = np.interp(along, arc / arc[-1], profile[:, 1])
    return texture_from(paint(angle, radius, level, along))


def rounded_box(size_m: FloatArray, radius_m: float, sides: dict[str, Texture], steps: int = 3) -> Mesh:
    """A box centred on the origin with rounded edges.

    Args:
        size_m: ``(3,)`` edge lengths.
        radius_m: of the edges and corners.
        sides: picture of each side, keys ``+x -x +y -y +z -z`` (missing ones take ``*``); seen from outside, upright.
        steps: facets of a quarter round.
    """
    half = np.asarray(size_m, dtype=np.float64) / 2
    radius = min(radius_m, float(half.min()) * 0.98)
    # Points of a quarter round at equal angles: a cube's surface point at tan(angle) is pushed out to the sphere.
    ease = radius * np.tan(np.linspace(0.0, np.pi / 4, steps + 1))
    knots = [np.concatenate([-(h - radius) - ease[::-1], (h - radius) + ease]) for h in half]
    pictures = {key: sides.get(key, sides.get("*")) for key in ("+x", "-x", "+y", "-y", "+z", "-z")}
    boxes, atlas = stack_textures([picture for picture in pictures.values() if picture is not None])
    points: list[FloatArray] = []
    faces: list[npt.NDArray[np.int64]] = []
    uv: list[FloatArray] = []
    frames = {  # side -> (axis of u, its sign, axis of v, its sign); u × v points outwards
        "+x": (1, 1, 2, 1), "-x": (1, -1, 2, 1), "+y": (0, -1, 2, 1),
        "-y": (0, 1, 2, 1), "+z": (0, 1, 1, 1), "-z": (0, -1, 1, 1),
    }  # fmt: skip
    for (key, (ax, sx, ay, sy)), box in zip(frames.items(), boxes, strict=True):
        axis, sign = "xyz".index(key[1]), 1.0 if key[0] == "+" else -1.0
        gu, gv = np.meshgrid(knots[ax], knots[ay])
        cube = np.zeros((*gu.shape, 3))
        cube[..., ax], cube[..., ay], cube[..., axis] = sx * gu, sy * gv, sign * half[axis]
        inner = np.clip(cube, -(half - radius), half - radius)
        away = cube - inner
        grid = inner + radius * away / np.linalg.norm(away, axis=-1, keepdims=True)
        base = sum(len(block) for block in points)
        points.append(grid.reshape(-1, 3))
        rows, cols = gu.shape
        index = base + np.arange(rows * cols).reshape(rows, cols)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
        faces.append(np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]))
        local = np.stack([(gu / half[ax] + 1) / 2, (gv / half[ay] + 1) / 2], axis=-1).reshape(-1, 2)
        uv.append(box[0] + local * box[1])
    vertices = np.concatenate(points)
    triangles = np.concatenate(faces)
    corner_uv = np.concatenate(uv)[triangles].astype(np.float32)
    _, first, inverse = np.unique(np.round(vertices, 9), axis=0, return_index=True, return_inverse=True)
    return Mesh(vertices[first], inverse.reshape(-1)[triangles].astype(np.int64), corner_uv, atlas)


def tube(curve: FloatArray, radii: FloatArray, texture: Texture, segments: int = 20, flat: float = 1.0) -> Mesh:
    """A closed tube along `curve`.

    Args:
        curve: ``(N, 3)`` centre line, metres.
        radii: ``(N,)`` metres.
        texture: columns run along the tube, rows round it.
        segments: corners of a cross section.
        flat: the cross section's second axis as a share of the first (a strap handle: 0.6).
    """
    tangents = np.gradient(curve, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    side = np.cross(tangents[0], [0.0, 0.0, 1.0] if abs(tangents[0][2]) < 0.9 else [0.0, 1.0, 0.0])
    rings = []
    for centre, tangent, radius in zip(curve, tangents, radii, strict=True):
        side = side - tangent * (side @ tangent)
        side = side / np.linalg.norm(side)
        other = np.cross(tangent, side)
        angle = 2 * np.pi * np.arange(segments) / segments
        rings.append(centre + radius * (np.cos(angle)[:, None] * side + flat * np.sin(angle)[:, None] * other))
    count = len(curve)
    vertices = np.concatenate([*rings, curve[:1], curve[-1:]])
    faces: list[tuple[int, int, int]] = []
    uv: list[list[tuple[float, float]]] = []
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    along = 0.02 + 0.96 * length / length[-1]
    for j in range(segments):
        k, v0, v1 = (j + 1) % segments, j / segments, (j + 1) / segments
        for i in range(count - 1):
            a, b, c, d = i * segments + j, i * segments + k, (i + 1) * segments + k, (i + 1) * segments + j
            faces += [(a, b, c), (a, c, d)]
            uv.append([(along[i], v0), (along[i], v1), (along[i + 1], v1)])
            uv.append([(along[i], v0), (along[i + 1], v1), (along[i + 1], v0)])
        last = (count - 1) * segments
        faces += [(count * segments, k, j), (count * segments + 1, last + j, last + k)]
        uv.append([(0.0, (v0 + v1) / 2), (along[0], v1), (along[0], v0)])
        uv.append([(1.0, (v0 + v1) / 2), (along[-1], v0), (along[-1], v1)])
    return Mesh(vertices, np.array(faces, dtype=np.int64), np.array(uv, dtype=np.float32), texture)


def union(*parts: Mesh) -> Mesh:
    """The union of closed textured meshes as one closed textured mesh."""
    return _combined(list(parts), "add")


def difference(body: Mesh, cutter: Mesh) -> Mesh:
    """`body` without `cutter`; the cut keeps the cutter's texture."""
    return _combined([body, cutter], "subtract")


def _combined(parts: list[Mesh], operation: str) -> Mesh:
    import manifold3d

    boxes, atlas = stack_textures([part.texture for part in parts if part.texture is not None])
    solids = []
    for part, (origin, extent) in zip(parts, boxes, strict=True):
        assert part.corner_uv is not None
        solids.append(_manifold(part, origin + part.corner_uv.astype(np.float64) * extent))
    kind = manifold3d.OpType.Add if operation == "add" else manifold3d.OpType.Subtract
    result = manifold3d.Manifold.batch_boolean(solids, kind).to_mesh64()
    table = np.asarray(result.vert_properties, dtype=np.float64)
    triangles = np.asarray(result.tri_verts, dtype=np.int64)
    target = np.arange(len(table))
    target[np.asarray(result.merge_from_vert, dtype=np.int64)] = np.asarray(result.merge_to_vert, dtype=np.int64)
    kept, compact = np.unique(target, return_inverse=True)
    return Mesh(table[kept, :3], compact[triangles], table[triangles, 3:5].astype(np.float32), atlas)


def _manifold(mesh: Mesh, corner_uv: FloatArray) -> object:
    import manifold3d

    corners = np.column_stack([mesh.faces.reshape(-1), np.round(corner_uv.reshape(-1, 2), 7)])
    unique, inverse = np.unique(corners, axis=0, return_inverse=True)
    owner = unique[:, 0].astype(np.int64)
    table = np.column_stack([mesh.vertices[owner], unique[:, 1:]])
    first = np.unique(owner, return_index=True)[1]
    leader = first[np.searchsorted(owner[first], owner)]
    split = np.nonzero(leader != np.arange(len(owner)))[0]
    solid = manifold3d.Manifold(
        manifold3d.Mesh64(
            vert_properties=table,
            tri_verts=inverse.reshape(-1, 3).astype(np.uint64),
            merge_from_vert=split.astype(np.uint64),
            merge_to_vert=leader[split].astype(np.uint64),
        )
    )
    if solid.status() != manifold3d.Error.NoError or solid.volume() <= 0:
        raise ValueError(f"a part is no closed solid: {solid.status()}")
    return solid


def placed(mesh: Mesh, offset: tuple[float, float, float] = (0.0, 0.0, 0.0), turn: FloatArray | None = None) -> Mesh:
    """`mesh` turned by the rotation `turn` ``(3, 3)``, then shifted by `offset` (metres)."""
    moved = np.eye(4)
    if turn is not None:
        moved[:3, :3] = turn
    moved[:3, 3] = offset
    return mesh.moved(moved)


def grounded(mesh: Mesh) -> Mesh:
    """`mesh` shifted so that its bounding box stands on z = 0 with its centre on the z axis."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    return placed(mesh, (-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]))


def rotation(axis: str, degrees: float) -> FloatArray:
    """``(3, 3)`` right-handed rotation about the x, y or z axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.eye(3)
    out[i, i], out[i, j], out[j, i], out[j, j] = c, -s, s, c
    return out


def volume_m3(mesh: Mesh) -> float:
    """Signed volume of a closed mesh (divergence theorem)."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)

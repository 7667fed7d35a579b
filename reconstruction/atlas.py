"""Texture images: unwrap a mesh onto one (xatlas), bake vertex colours into one, stack several into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ByteImage = npt.NDArray[np.uint8]
_PADDING = 4  # texels between charts: bilinear lookups and two levels of mipmaps stay inside


@dataclass(frozen=True)
class Atlas:
    """Where a mesh lies on its texture.

    Attributes:
        corner_uv: ``(F, 3, 2)`` texture coordinates of each face corner, v up.
        size: ``(width, height)`` of the texture in texels.
        texels: ``(N,)`` flat indices (row major) of the texels that show surface, ascending.
        faces: ``(N,)`` the face each of them shows.
        barycentric: ``(N, 3)`` float32, where in that face.
    """

    corner_uv: npt.NDArray[np.float32]
    size: tuple[int, int]
    texels: IntArray
    faces: IntArray
    barycentric: npt.NDArray[np.float32]


def unwrap(mesh: Mesh, texel_m: float, max_size: int) -> Atlas | None:
    """Lay the mesh out on a texture.

    Args:
        mesh: any triangle mesh; takes about a second for 8,000 faces, much longer above 20,000.
        texel_m: wished edge of a texel on the surface, metres.
        max_size: largest width and height in texels; a texel grows where the mesh does not fit.

    Returns:
        The atlas, or None where the mesh cannot be unwrapped (no area at all).
    """
    import xatlas

    corners = mesh.vertices[mesh.faces]
    area = 0.5 * float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    )
    if not len(mesh.faces) or not area > 0.0:
        return None
    # Charts fill some 70 % of the square.
    texel_m = max(texel_m, float(np.sqrt(area / 0.7)) / max_size)
    unwrapper = xatlas.Atlas()
    unwrapper.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.padding, pack.texels_per_unit, pack.bilinear = _PADDING, 1.0 / texel_m, True
    unwrapper.generate(xatlas.ChartOptions(), pack)
    if unwrapper.width < 1 or unwrapper.height < 1 or unwrapper.atlas_count != 1:
        return None
    origin, indices, uv = unwrapper[0]
    if indices.shape != mesh.faces.shape or not np.array_equal(np.asarray(origin)[indices], mesh.faces):
        return None
    shrink = min(1.0, max_size / max(unwrapper.width, unwrapper.height))
    width, height = (max(4, round(side * shrink)) for side in (unwrapper.width, unwrapper.height))
    # xatlas counts v downwards from the top row, OBJ upwards from the bottom.
    corner_uv = np.asarray(uv, dtype=np.float64)[indices]
    pixels = corner_uv * (width, height) - 0.5
    texels, faces, barycentric = rasterize(pixels, (width, height))
    corner_uv[..., 1] = 1.0 - corner_uv[..., 1]
    return Atlas(corner_uv.astype(np.float32), (width, height), texels, faces, barycentric)


def rasterize(
    corners: FloatArray, size: tuple[int, int], margin: float = 0.75
) -> tuple[IntArray, IntArray, npt.NDArray[np.float32]]:
    """Which triangle covers which texel.

    Args:
        corners: ``(F, 3, 2)`` x, y in texels, texel centres at integers.
        size: ``(width, height)``.
        margin: texels this far outside still belong to a triangle where no other covers them, so that a bilinear
            lookup at a chart's rim never mixes in the background.

    Returns:
        Flat texel indices ``(N,)`` ascending, faces ``(N,)``, barycentric coordinates ``(N, 3)`` in [0, 1].
    """
    width, height = size
    low = np.floor(corners.min(axis=1) - margin).astype(np.int64).clip(0, (width - 1, height - 1))
    high = np.ceil(corners.max(axis=1) + margin).astype(np.int64).clip(0, (width - 1, height - 1))
    span = high - low + 1
    counts = span[:, 0] * span[:, 1]
    face = np.repeat(np.arange(len(corners)), counts)
    step = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    x = low[face, 0] + step % span[face, 0]
    y = low[face, 1] + step // span[face, 0]
    barycentric, outside = _barycentric(corners, face, x, y)
    near = outside <= margin
    texel, face, barycentric, outside = (y * width + x)[near], face[near], barycentric[near], outside[near]
    # The triangle that a texel lies deepest in wins; the lower index where two are equal.
    order = np.lexsort((face, np.maximum(outside, 0.0), texel))
    first = np.ones(len(order), dtype=bool)
    first[1:] = texel[order][1:] != texel[order][:-1]
    chosen = order[first]
    inside = barycentric[chosen].clip(0.0, 1.0)
    inside /= inside.sum(axis=1, keepdims=True)
    return texel[chosen], face[chosen], inside.astype(np.float32)


def _barycentric(corners: FloatArray, face: IntArray, x: IntArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """Barycentric coordinates ``(N, 3)`` and distance ``(N,)`` in texels outside the triangle (negative inside)."""
    edges = np.roll(corners, -1, axis=1) - corners
    twice_area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    degenerate = np.abs(twice_area) < 1e-12
    twice_area = np.where(degenerate, 1.0, twice_area)
    lengths = np.maximum(np.linalg.norm(edges, axis=2), 1e-12)
    barycentric = np.empty((len(face), 3))
    outside = np.full(len(face), -np.inf)
    for corner in range(3):
        # The edge opposite to a corner starts at the next one.
        start = corners[:, (corner + 1) % 3]
        edge = edges[:, (corner + 1) % 3]
        cross = edge[face, 0] * (y - start[face, 1]) - edge[face, 1] * (x - start[face, 0])
        barycentric[:, corner] = cross / twice_area[face]
        distance = -cross * np.sign(twice_area[face]) / lengths[face, (corner + 1) % 3]
        outside = np.maximum(outside, distance)
    outside[degenerate[face]] = np.inf
    return barycentric, outside


def baked(mesh: Mesh) -> Mesh:
    """`mesh` with the colours of its vertices (grey without any) as a texture, for readers that know no such colours.

    Every face gets a block of 2 × 2 texels and its corners three of the texels' middles; the fourth texel is what
    makes the bilinear lookup between them linear.
    """
    count = len(mesh.faces)
    colors = np.full((len(mesh.vertices), 3), 170, dtype=np.uint8) if mesh.colors is None else mesh.colors
    corner = colors[mesh.faces].astype(np.int64)
    fourth = (corner[:, 1] + corner[:, 2] - corner[:, 0]).clip(0, 255)
    columns = max(1, int(np.ceil(np.sqrt(count))))
    rows = max(1, -(-count // columns))
    picture = np.zeros((2 * rows, 2 * columns, 3), dtype=np.uint8)
    row, column = 2 * (np.arange(count) // columns), 2 * (np.arange(count) % columns)
    for (down, right), value in zip(
        ((0, 0), (0, 1), (1, 0), (1, 1)), (corner[:, 0], corner[:, 1], corner[:, 2], fourth), strict=True
    ):
        picture[row + down, column + right] = value
    x = (column[:, None] + np.array([0.5, 1.5, 0.5])) / (2 * columns)
    y = 1.0 - (row[:, None] + np.array([0.5, 0.5, 1.5])) / (2 * rows)
    return Mesh(
        mesh.vertices, mesh.faces, np.stack([x, y], axis=-1).astype(np.float32), picture, mesh.colors, mesh.seen
    )


def stack_textures(pictures: Sequence[ByteImage]) -> tuple[list[tuple[FloatArray, FloatArray]], ByteImage]:
    """One atlas of several pictures, one below the other, with a replicated border of two pixels.

    Returns:
        For each picture the origin and the extent ``(2,)`` of its place in texture coordinates (from the middle of its
        first texel to the middle of its last), and the atlas.
    """
    margin = 2
    width = max(picture.shape[1] for picture in pictures) + 2 * margin
    height = sum(picture.shape[0] + 2 * margin for picture in pictures)
    atlas = np.zeros((height, width, 3), dtype=np.uint8)
    boxes, top = [], 0
    for picture in pictures:
        rows, cols = picture.shape[:2]
        block = np.pad(picture, ((margin, margin), (margin, width - cols - margin), (0, 0)), mode="edge")
        atlas[top : top + rows + 2 * margin] = block
        bottom = top + margin + rows
        origin = np.array([(margin + 0.5) / width, 1.0 - (bottom - 0.5) / height])
        boxes.append((origin, np.array([(cols - 1) / width, (rows - 1) / height])))
        top += rows + 2 * margin
    return boxes, atlas

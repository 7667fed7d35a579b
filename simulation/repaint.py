"""Fewer triangles with the same picture: a closed mesh is simplified, unwrapped anew, and painted from the old one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked, unwrap
from reconstruction.convex import solid_of
from reconstruction.mesh import Mesh

FloatArray = npt.NDArray[np.float64]
MOST_BENT_SHARE = 0.03


def simplified(mesh: Mesh, max_faces: int) -> Mesh:
    """The geometry of a closed mesh with about `max_faces` triangles at most, closed, without colours.

    Quadrics (fast_simplification) come first; where they leave the mesh open or change its volume by more than
    `MOST_BENT_SHARE`, edges are collapsed as long as the surface moves by less than 2 mm, which may keep more faces.
    """
    import fast_simplification

    solid = solid_of(mesh.vertices, mesh.faces)
    if solid is None or len(mesh.faces) <= max_faces:
        return Mesh(mesh.vertices, mesh.faces)
    vertices, faces = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=max_faces, agg=3
    )
    found = Mesh(vertices.astype(np.float64), faces.astype(np.int64))
    light = solid_of(found.vertices, found.faces)
    if light is not None and abs(light.volume() / solid.volume() - 1.0) < MOST_BENT_SHARE:
        return found
    simple = solid
    for tolerance in (1e-4, 2e-4, 5e-4, 1e-3, 2e-3):
        simple = solid.simplify(tolerance)
        if simple.num_tri() <= max_faces:
            break
    stored = simple.to_mesh64()
    return Mesh(np.array(stored.vert_properties[:, :3], dtype=np.float64), np.array(stored.tri_verts, dtype=np.int64))


def repainted(mesh: Mesh, source: Mesh, pixels: int) -> Mesh:
    """`mesh` with a texture of at most `pixels` a side that shows the colours of `source`.

    Args:
        mesh: the new surface, metres.
        source: the old one in the same frame, at most millimetres away. Without texture its vertex colours count, grey
            without any; texture coordinates outside 0 … 1 repeat the picture.
        pixels: largest width and height of the new texture.
    """
    import cv2
    import open3d as o3d

    source = source if source.texture is not None and source.corner_uv is not None else baked(source)
    atlas = unwrap(mesh, 0.0002, pixels)
    if atlas is None or source.corner_uv is None or source.texture is None:
        return baked(mesh)
    points = np.einsum("nk,nkc->nc", atlas.barycentric, mesh.vertices[mesh.faces[atlas.faces]])
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor(source.vertices.astype(np.float32)), o3d.core.Tensor(source.faces.astype(np.uint32))
    )
    nearest = scene.compute_closest_points(o3d.core.Tensor(points.astype(np.float32)))
    bary = nearest["primitive_uvs"].numpy()
    corners = source.corner_uv[nearest["primitive_ids"].numpy().astype(np.int64)]
    uv = corners[:, 0] + bary[:, :1] * (corners[:, 1] - corners[:, 0]) + bary[:, 1:] * (corners[:, 2] - corners[:, 0])
    uv = np.where((uv < 0.0) | (uv > 1.0), uv % 1.0, uv)
    picture = source.texture
    # A pixel of the old picture shall be no smaller than one of the new, or thin print turns to noise.
    shrink = min(1.0, float(np.sqrt(2.0 * len(atlas.texels) / (picture.shape[0] * picture.shape[1]))))
    height, width = (max(1, round(side * shrink)) for side in picture.shape[:2])
    # Vertex colours lie in blocks of two by two pixels, which must not be mixed.
    if shrink < 1.0 and source.colors is None:
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    height, width = picture.shape[:2]
    across = (uv[:, 0] * width - 0.5).clip(0, width - 1).astype(np.float32)[None]
    down = ((1.0 - uv[:, 1]) * height - 0.5).clip(0, height - 1).astype(np.float32)[None]
    values = _sampled(picture, across[0], down[0])
    texture = np.zeros((atlas.size[1] * atlas.size[0], 3), dtype=np.uint8)
    texture[atlas.texels] = values
    covered = np.zeros(len(texture), dtype=bool)
    covered[atlas.texels] = True
    shape = (atlas.size[1], atlas.size[0])
    return Mesh(mesh.vertices, mesh.faces, atlas.corner_uv, _padded(texture.reshape(*shape, 3), covered.reshape(shape)))


def _sampled(
    picture: npt.NDArray[np.uint8], x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Bilinear colours ``(N, 3)`` at pixel positions inside the picture."""
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, picture.shape[1] - 1), np.minimum(y0 + 1, picture.shape[0] - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = picture[y0, x0] * (1 - fx) + picture[y0, x1] * fx
    bottom = picture[y1, x0] * (1 - fx) + picture[y1, x1] * fx
    return np.asarray(np.rint(top * (1 - fy) + bottom * fy), dtype=np.uint8)


def _padded(texture: npt.NDArray[np.uint8], covered: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Texels between the charts take their chart's colour within a few texels, and one plain colour beyond.

    A lookup at a chart's rim finds no black, and the plain rest packs well.
    """
    from scipy.ndimage import distance_transform_edt

    away, nearest = distance_transform_edt(~covered, return_indices=True)
    filled = texture[nearest[0], nearest[1]]
    filled[away > 3.0] = 128
    return np.asarray(filled, dtype=np.uint8)

"""Meshes as VTK wants them: shared corners, smooth normals, textures; lighter copies; what a ray hits."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import mutable, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData, vtkStaticCellLocator
from vtkmodules.vtkRenderingCore import vtkTexture

from reconstruction.mesh import Mesh

FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]
UV_STEPS = 1_000_000
"""Texture coordinates are written with six digits, so that corners with the same ones are found by whole numbers."""
FINER = 4.0
"""How much finer the lighter copy of a background is where things stand."""


def point_normals(vertices: FloatArray, faces: npt.NDArray[np.int64]) -> FloatArray:
    """``(V, 3)`` unit, each the mean of its faces by their areas."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    corner = faces.ravel()
    sums = [np.bincount(corner, np.repeat(across[:, axis], 3), len(vertices)) for axis in range(3)]
    normals = np.stack(sums, axis=1)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30))


def surface(mesh: Mesh) -> Any:
    """A mesh as `vtkPolyData`, faces in the same order, with smooth normals and its texture coordinates or colours."""
    normals = point_normals(mesh.vertices, mesh.faces)
    points, faces, uv, colors = mesh.vertices, mesh.faces, None, mesh.colors
    if mesh.texture is not None and mesh.corner_uv is not None:
        # A point of VTK has one place in the texture: vertices at seams become several points.
        u, v = np.rint(mesh.corner_uv.reshape(-1, 2).T * UV_STEPS).astype(np.int64)
        _, place = np.unique(u * (4 * UV_STEPS) + v, return_inverse=True)
        key = place.reshape(-1) * len(points) + faces.ravel()
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        vertex = faces.ravel()[first]
        points, normals, colors = points[vertex], normals[vertex], None
        uv = mesh.corner_uv.reshape(-1, 2)[first]
        faces = inverse.reshape(-1, 3).astype(np.int64)
    data = polydata(points, faces)
    data.GetPointData().SetNormals(numpy_to_vtk(normals.astype(np.float32), deep=True))
    if uv is not None:
        data.GetPointData().SetTCoords(numpy_to_vtk(np.ascontiguousarray(uv, dtype=np.float32), deep=True))
    if colors is not None:
        data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(colors), deep=True))
    return data


def polydata(points: npt.NDArray[Any], faces: npt.NDArray[np.int64] | None = None) -> Any:
    """Points and triangles as `vtkPolyData`; without triangles each point is drawn."""
    data, places, cells = vtkPolyData(), vtkPoints(), vtkCellArray()
    places.SetData(numpy_to_vtk(np.ascontiguousarray(points, dtype=np.float32), deep=True))
    data.SetPoints(places)
    rows = np.arange(len(points), dtype=np.int64)[:, None] if faces is None else faces
    starts = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int64)
    corners = np.ascontiguousarray(rows, dtype=np.int64).ravel()
    cells.SetData(numpy_to_vtkIdTypeArray(starts, deep=True), numpy_to_vtkIdTypeArray(corners, deep=True))
    if faces is None:
        data.SetVerts(cells)
    else:
        data.SetPolys(cells)
    return data


def polyline(points: npt.NDArray[Any], *, closed: bool) -> Any:
    """Points joined by a line."""
    data = polydata(points)
    data.SetVerts(None)
    lines = vtkCellArray()
    numbers = [*range(len(points)), *([0] if closed else [])]
    lines.InsertNextCell(len(numbers))
    for number in numbers:
        lines.InsertCellPoint(number)
    data.SetLines(lines)
    return data


def texture_of(picture: ByteArray) -> Any:
    """A picture ``(H, W, 3)`` to be laid on a surface, without the shimmer of single texels from afar."""
    image = vtkImageData()
    image.SetDimensions(picture.shape[1], picture.shape[0], 1)
    rows = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(rows, deep=True))
    texture = vtkTexture()
    texture.SetInputData(image)
    texture.InterpolateOn()
    texture.MipmapOn()
    texture.SetWrap(vtkTexture.ClampToEdge)
    return texture


def vertex_colors(mesh: Mesh) -> ByteArray:
    """``(V, 3)``: a mesh's own colours, or those of its texture at the vertices; grey without any."""
    if mesh.texture is None or mesh.corner_uv is None:
        grey = np.full((len(mesh.vertices), 3), 170, dtype=np.uint8)
        return grey if mesh.colors is None else mesh.colors
    height, width = mesh.texture.shape[:2]
    u, v = np.clip(mesh.corner_uv.reshape(-1, 2).T, 0.0, 1.0)
    texels = mesh.texture[((1 - v) * (height - 1)).astype(int), (u * (width - 1)).astype(int)]
    return _means(texels, mesh.faces.ravel(), len(mesh.vertices)).astype(np.uint8)


def _means(rows: npt.NDArray[Any], group: npt.NDArray[np.int64], count: int) -> FloatArray:
    amount = np.maximum(np.bincount(group, minlength=count), 1)
    return np.stack([np.bincount(group, rows[:, axis], count) / amount for axis in range(rows.shape[1])], axis=1)


def lighter(mesh: Mesh, faces: int, low: FloatArray | None = None, high: FloatArray | None = None) -> Mesh:
    """A copy with about `faces` faces and colours in place of the texture, for the moving picture.

    Vertices in one cell of a grid become one. Merging by a cell keeps the pattern of a flat table, which decimation by
    shape (quadrics) would wipe out with its triangles: the colours are in the vertices. Within the box `low` … `high`,
    where things stand, the grid is finer.
    """
    vertices = mesh.vertices
    inner: npt.NDArray[np.bool_] = np.zeros(len(vertices), dtype=np.bool_)
    if low is not None and high is not None:
        inner |= ((vertices > low) & (vertices < high)).all(axis=1)
    start = vertices.min(axis=0)
    size = float(np.ptp(vertices, axis=0).max()) or 1.0

    def cells(cell: float) -> npt.NDArray[np.int64]:
        edge = np.where(inner, cell / FINER, cell)[:, None]
        x, y, z = ((vertices - start) / edge).astype(np.int64).T
        return np.asarray((((x << 20) + y) << 21) + (z << 1) + inner)

    small, large = size / 4096, size / 4
    for _ in range(10):  # halving the interval (of logarithms): a closed surface has twice as many faces as vertices
        middle = float(np.sqrt(small * large))
        if 2 * len(np.unique(cells(middle))) > faces:
            small = middle
        else:
            large = middle
    _, group = np.unique(cells(large), return_inverse=True)
    group = group.reshape(-1).astype(np.int64)
    count = int(group.max()) + 1
    corners = group[mesh.faces]
    a, b, c = corners.T
    corners = corners[(a != b) & (b != c) & (c != a)]
    points, colors = _means(vertices, group, count), _means(vertex_colors(mesh), group, count)
    return Mesh(points, corners, colors=np.rint(colors).astype(np.uint8))


def coloured_parts(parts: Sequence[Mesh]) -> Any:
    """Convex parts as one surface with flat faces, a hue each."""
    points, colors = [], []
    for number, part in enumerate(parts):
        rgb = colorsys.hsv_to_rgb(number * 0.381966 % 1.0, 0.55, 0.95)  # the golden angle: neighbours differ
        points.append(part.vertices[part.faces].reshape(-1, 3))
        colors.append(np.tile(np.array(rgb) * 255, (len(points[-1]), 1)))
    corners = np.concatenate(points) if points else np.zeros((0, 3))
    mesh = Mesh(corners, np.arange(len(corners), dtype=np.int64).reshape(-1, 3))
    shades = np.rint(np.concatenate(colors)).astype(np.uint8) if colors else np.zeros((0, 3), dtype=np.uint8)
    return surface(replace(mesh, colors=shades))


class Target:
    """A mesh that rays can hit, in its own frame; made ready at the first."""

    def __init__(self, mesh: Mesh, *, one_sided: bool = False) -> None:
        """`one_sided`: rays pass through faces from behind."""
        self._mesh, self._one_sided = mesh, one_sided
        self._locator: Any = None

    def hit(self, start: FloatArray, direction: FloatArray, reach: float) -> tuple[float, FloatArray] | None:
        """How far along a ray (unit direction) the surface is, and its unit normal towards where the ray comes from."""
        if self._locator is None:
            self._locator = vtkStaticCellLocator()
            self._locator.SetDataSet(polydata(self._mesh.vertices, self._mesh.faces))
            self._locator.BuildLocator()
        share, cell, part = mutable(0.0), mutable(0), mutable(0)
        at, inner = [0.0] * 3, [0.0] * 3
        passed = 0.0
        for _ in range(32):
            a, b = start + passed * direction, start + reach * direction
            if not self._locator.IntersectWithLine(a.tolist(), b.tolist(), 0.0, share, at, inner, part, cell):
                return None
            length = passed + float(share) * (reach - passed)
            p, q, r = self._mesh.vertices[self._mesh.faces[int(cell)]]
            normal = np.cross(q - p, r - p)
            normal /= max(float(np.linalg.norm(normal)), 1e-30)
            if normal @ direction < 0:
                return length, normal
            if not self._one_sided:
                return length, -normal
            passed = length + 1e-5
        return None

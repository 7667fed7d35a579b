"""One rigid thing made ready for drawing: its surface for rays, its normals, its texture in several sizes.

All in the thing's own frame, so that it is made once and drawn at any number of poses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reconstruction.atlas import baked
from reconstruction.mesh import Mesh
from simulation.raycast import corner_normals

Float32 = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
ByteImage = npt.NDArray[np.uint8]

COARSEST = 3
"""The texture is there in its own size and halved so many times."""
_CHART_TEXELS = 3.0
"""A chart keeps at least this many texels across in a halved texture, or its neighbours' colours run into it."""


class Drawable:
    """A mesh with colours, ready for rays in its own frame.

    Attributes:
        corners: ``(8, 3)`` float64, of the box round it.
    """

    def __init__(self, mesh: Mesh) -> None:
        """Make it ready; a few milliseconds for a thing of 3,000 faces.

        Args:
            mesh: with a texture, or colours of its vertices, or neither (grey); metres.

        Raises:
            ValueError: it has no faces.
        """
        import open3d as o3d

        if not len(mesh.faces):
            raise ValueError("a mesh without faces cannot be drawn")
        mesh = mesh if mesh.texture is not None and mesh.corner_uv is not None else baked(mesh)
        assert mesh.texture is not None
        assert mesh.corner_uv is not None
        used = mesh.vertices[mesh.faces].reshape(-1, 3)
        low, high = used.min(axis=0), used.max(axis=0)
        self.corners = np.where(np.indices((2, 2, 2)).reshape(3, 8).T == 1, high, low)
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)  # work is shared out between processes
        self._scene.add_triangles(
            o3d.core.Tensor(mesh.vertices.astype(np.float32)), o3d.core.Tensor(mesh.faces.astype(np.uint32))
        )
        self._texture, self._places = _pyramid(mesh.texture)
        self._rows, self._coarsest = _rows(mesh, mesh.corner_uv, mesh.texture.shape[1::-1])

    def cast(self, rays: Float32) -> tuple[Float32, IntArray, Float32, Float32]:
        """First hits of ``(N, 6)`` rays, of this thing's frame.

        Returns:
            Ray lengths ``(N,)`` (inf: none), faces ``(N,)``, barycentric ``(N, 2)`` of the second and third corner, and
            the faces' own normals ``(N, 3)``.
        """
        import open3d as o3d

        hits = self._scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)
        names = ("t_hit", "primitive_ids", "primitive_uvs", "primitive_normals")
        length, face, bary, normal = (hits[name].numpy() for name in names)
        return length, face.astype(np.int64), bary, normal

    def blocks(self, rays: Float32, reach: float) -> npt.NDArray[np.bool_]:
        """Whether each of ``(N, 6)`` rays hits it within `reach` times its direction."""
        import open3d as o3d

        hit = self._scene.test_occlusions(o3d.core.Tensor(rays), tnear=0.0, tfar=reach, nthreads=1)
        return np.asarray(hit.numpy(), dtype=np.bool_)

    def surface(self, face: IntArray, bary: Float32, pixel_m: Float32) -> tuple[npt.NDArray[np.uint32], Float32]:
        """What is seen at hits.

        Args:
            face: ``(N,)``; `bary`: ``(N, 2)``, as `cast` gives them.
            bary: see `face`.
            pixel_m: ``(N,)`` width of a pixel there, metres: fine textures are averaged over it.

        Returns:
            Colours ``(N,)``, each four bytes R G B 0 in one number, and unit normals ``(3, N)``.
        """
        rows = np.take(self._rows, face, axis=0)
        u, v = bary[:, 0], bary[:, 1]
        # The exponent of a float is the logarithm that chooses the halved texture.
        texels = np.maximum(rows[:, 15] * pixel_m, np.float32(1.0))
        level = (texels.view(np.int32) >> 23) - 127
        level = np.minimum(level, np.take(self._coarsest, face))
        x, y = (rows[:, k] + u * rows[:, k + 2] + v * rows[:, k + 4] for k in (0, 1))
        place = np.take(self._places, level, axis=0)
        colors = _looked_up(self._texture, x * place[:, 0] + place[:, 1], y * place[:, 0] + place[:, 2])
        normal = np.stack([rows[:, k] + u * rows[:, k + 3] + v * rows[:, k + 6] for k in (6, 7, 8)])
        normal /= np.sqrt(np.maximum(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2, np.float32(1e-12)))
        return colors, normal


def _looked_up(texture: ByteImage, x: Float32, y: Float32) -> npt.NDArray[np.uint32]:
    """Bilinear texels at ``(N,)`` positions, texel centres at integers."""
    import cv2

    # OpenCV's pictures are no longer than 32,767 pixels a side.
    count = len(x)
    columns = 256
    rows = -(-count // columns)
    flat = np.zeros((2, rows * columns), dtype=np.float32)
    flat[0, :count], flat[1, :count] = x, y
    maps = flat.reshape(2, rows, columns)
    found = np.empty((rows, columns, 4), dtype=np.uint8)
    step = 32_000
    for top in range(0, rows, step):
        found[top : top + step] = cv2.remap(
            texture, maps[0, top : top + step], maps[1, top : top + step], cv2.INTER_LINEAR
        )
    return found.view(np.uint32).reshape(-1)[:count]


def _pyramid(texture: ByteImage) -> tuple[ByteImage, Float32]:
    """The texture and its halves in one picture, and where each lies.

    Returns:
        ``(H, W, 4)``, and ``(levels, 3)``: scale, x and y to which a position of the first goes
        (texel centres at halves there, at integers in the picture).
    """
    import cv2

    block = 2**COARSEST
    height, width = texture.shape[:2]
    full = cv2.copyMakeBorder(texture, 0, -height % block, 0, -width % block, cv2.BORDER_REPLICATE)
    levels = [cv2.cvtColor(full, cv2.COLOR_RGB2RGBA)]
    linear = full.astype(np.float32) ** 2
    for _ in range(COARSEST):
        linear = cv2.resize(linear, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        levels.append(cv2.cvtColor(np.rint(np.sqrt(linear)).astype(np.uint8), cv2.COLOR_RGB2RGBA))
    framed = [cv2.copyMakeBorder(level, 1, 1, 1, 1, cv2.BORDER_REPLICATE) for level in levels]
    rows = max(framed[0].shape[0], sum(level.shape[0] for level in framed[1:]))
    picture = np.zeros((rows, framed[0].shape[1] + framed[1].shape[1], 4), dtype=np.uint8)
    places = np.empty((len(framed), 3), dtype=np.float32)
    left = top = 0
    for number, level in enumerate(framed):
        picture[top : top + level.shape[0], left : left + level.shape[1]] = level
        places[number] = 0.5**number, left + 0.5, top + 0.5
        left, top = framed[0].shape[1], top + level.shape[0] if number else 0
    return picture, places


def _rows(mesh: Mesh, corner_uv: Float32, size: tuple[int, int]) -> tuple[Float32, npt.NDArray[np.int32]]:
    """What `Drawable.surface` needs of each face, a cache line each, and how coarse its texture may get.

    A row ``(16,)``: place on the texture and normal, each of the first corner and the way to the second and third,
    and last the texels a metre.
    """
    texels = np.clip(corner_uv.astype(np.float64), 0.0, 1.0)
    texels[..., 1] = 1.0 - texels[..., 1]
    texels *= size
    normals = corner_normals(mesh.vertices, mesh.faces)
    rows = np.empty((len(mesh.faces), 16), dtype=np.float32)
    for start, values in ((0, texels), (6, normals)):
        wide = values.shape[2]
        rows[:, start : start + wide] = values[:, 0]
        rows[:, start + wide : start + 2 * wide] = values[:, 1] - values[:, 0]
        rows[:, start + 2 * wide : start + 3 * wide] = values[:, 2] - values[:, 0]
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    first, second = texels[:, 1] - texels[:, 0], texels[:, 2] - texels[:, 0]
    covered = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    rows[:, 15] = np.sqrt(covered / np.maximum(area, 1e-14))
    return rows, _coarsest(texels)


def _coarsest(texels: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """How often the texture may be halved for each face, so that its chart stays `_CHART_TEXELS` wide."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    keys = np.rint(texels.reshape(-1, 2) * 16).astype(np.int64)
    corner = np.unique(keys[:, 0] * (1 << 32) + keys[:, 1], return_inverse=True)[1].reshape(-1, 3)
    count = int(corner.max()) + 1
    ends = np.concatenate([corner[:, [0, 1]], corner[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    charts, chart = connected_components(graph, directed=False)
    chart = chart[corner[:, 0]]
    low, high = np.full((charts, 2), np.inf), np.full((charts, 2), -np.inf)
    np.minimum.at(low, chart, texels.min(axis=1))
    np.maximum.at(high, chart, texels.max(axis=1))
    width = np.maximum((high - low).min(axis=1), 1.0)
    levels = np.floor(np.log2(np.maximum(width / _CHART_TEXELS, 1.0))).astype(np.int32)
    return np.asarray(np.minimum(levels, COARSEST)[chart], dtype=np.int32)

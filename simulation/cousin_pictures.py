"""Pictures of cousins as their camera sees them, by ray casting: no window, no OpenGL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from reconstruction.scene import Scene, Support, support_slab
from simulation.raycast import Light, RayScene

FloatArray = npt.NDArray[np.float64]
ByteImage = npt.NDArray[np.uint8]
PLAIN = (176, 168, 158)


def picture(scene: Scene, width: int = 320) -> ByteImage:
    """A cousin (`Cousin.apply`) through its camera, ``(H, W, 3)`` uint8 RGB, in its light.

    Args:
        scene: with the ``cousin`` entry that `Cousin.apply` made.
        width: of the picture, pixels.
    """
    look = scene.extra["cousin"]
    camera, light = look["camera"], look["light"]
    share = width / camera["size"][0]
    size = (width, round(camera["size"][1] * share))
    focal = camera["focal_px"] * share
    intrinsics = np.array([[focal, 0.0, size[0] / 2], [0.0, focal, size[1] / 2], [0.0, 0.0, 1.0]])
    meshes = [_textured(mesh) for mesh in [_background(scene), *_things(scene)] if len(mesh.faces)]
    linear = RayScene(meshes).render(intrinsics, size, np.array(camera["scene_from_camera"]), _lamp(light))
    linear = linear * warm_white(light["warmth_k"]) * np.float32(light["strength"] * camera["exposure"])
    shown = np.sqrt(np.clip(linear, 0.0, 1.0)) * 255.0
    recipe = look["recipe"]
    rng = np.random.default_rng([recipe["seed"], recipe["index"]])
    shown = shown + rng.normal(0.0, 255.0 * camera["noise"], shown.shape)
    return _through_lens(np.clip(np.rint(shown), 0, 255).astype(np.uint8), camera["lens"])


def warm_white(kelvin: float) -> npt.NDArray[np.float32]:
    """Linear RGB ``(3,)`` of a white of that temperature beside one of 5,200 K, green the same.

    Along the daylight and Planckian loci red and blue shift against each other about as the mired value does.
    """
    mired = (1e6 / kelvin - 1e6 / 5200.0) / 165.0
    return np.array([np.exp(0.45 * mired), 1.0, np.exp(-0.75 * mired)], dtype=np.float32)


def contact_sheet(pictures: Sequence[ByteImage], columns: int = 6) -> ByteImage:
    """Pictures of one size side by side, row by row, with white lines between."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + 4) - 4, columns * (width + 4) - 4, 3), 255, dtype=np.uint8)
    for number, shown in enumerate(pictures):
        row, column = divmod(number, columns)
        top, left = row * (height + 4), column * (width + 4)
        sheet[top : top + height, left : left + width] = shown
    return sheet


def _lamp(light: dict[str, float]) -> Light:
    azimuth, elevation = np.deg2rad([light["azimuth_deg"], light["elevation_deg"]])
    toward = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    sky = light["ambient"]
    return Light(toward * 2.2, radius_m=0.05 + 0.5 * light["softness"], lamp=1.25 - sky, sky=sky)


def _things(scene: Scene) -> list[Mesh]:
    return [item.visual.moved(item.scene_from_object) for item in scene.objects]


def _background(scene: Scene) -> Mesh:
    """What stays where it is; where a scene has none, its supports."""
    if scene.background is not None:
        return scene.background
    slabs = [_slab(support) for support in scene.supports]
    starts = np.cumsum([0, *(len(slab.vertices) for slab in slabs)])
    if not slabs:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    return Mesh(
        np.concatenate([slab.vertices for slab in slabs]),
        np.concatenate([slab.faces + start for slab, start in zip(slabs, starts, strict=False)]),
    )


def _slab(support: Support) -> Mesh:
    return support_slab(support)


def _textured(mesh: Mesh) -> Mesh:
    """With a plain texture where it has none."""
    if mesh.texture is not None and mesh.corner_uv is not None:
        return mesh
    texture = np.full((2, 2, 3), PLAIN, dtype=np.uint8)
    return replace(mesh, corner_uv=np.full((len(mesh.faces), 3, 2), 0.5, dtype=np.float32), texture=texture)


def _through_lens(image: ByteImage, distortion: float) -> ByteImage:
    """The picture with radial distortion: r becomes r (1 + k r²), r = 1 at half the height (Brown, 1966)."""
    import cv2

    if distortion == 0.0:
        return image
    height, width = image.shape[:2]
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (u - width / 2) / (height / 2), (v - height / 2) / (height / 2)
    stretch = 1.0 + np.float32(distortion) * (x * x + y * y)
    # Shrunk so that the corners, which are the farthest out, still lie in the picture.
    stretch /= max(float(stretch.max()), 1.0)
    source_u = (x * stretch * height / 2 + width / 2).astype(np.float32)
    source_v = (y * stretch * height / 2 + height / 2).astype(np.float32)
    return np.asarray(cv2.remap(image, source_u, source_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))

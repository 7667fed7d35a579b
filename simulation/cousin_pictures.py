"""Pictures of cousins as their camera sees them, in their light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from reconstruction.scene import Scene, support_slab
from simulation.drawable import Drawable
from simulation.optics import Optics
from simulation.renderer import DistantLight, Renderer

FloatArray = npt.NDArray[np.float64]
ByteImage = npt.NDArray[np.uint8]
BACKDROP = ""
"""Name of what stays where it is; no object is named so."""
_PLAIN = (176, 168, 158)


def picture(scene: Scene, width: int = 320) -> ByteImage:
    """A cousin (`Cousin.apply`) through its camera, ``(H, W, 3)`` uint8 RGB, in its light.

    Args:
        scene: with the ``cousin`` entry that `Cousin.apply` made.
        width: of the picture, pixels.
    """
    look = scene.extra["cousin"]
    meshes = {item.name: item.visual for item in scene.objects}
    poses = {BACKDROP: np.eye(4), **{item.name: item.scene_from_object for item in scene.objects}}
    meshes[BACKDROP] = backdrop(scene)
    renderer = Renderer({name: Drawable(mesh) for name, mesh in meshes.items() if len(mesh.faces)})
    pose = np.array(look["camera"]["scene_from_camera"])
    seed = look["recipe"]["seed"], look["recipe"]["index"]
    pictures = renderer.render(poses, pose, optics_of(look, width), light_of(look), seed=seed)
    return np.asarray(pictures.rgb[0], dtype=np.uint8)


def light_of(look: Mapping[str, Any]) -> DistantLight:
    """A cousin's light; `look` is the ``cousin`` entry of its scene."""
    light = look["light"]
    azimuth, elevation = np.deg2rad([light["azimuth_deg"], light["elevation_deg"]])
    level, sky = float(np.cos(elevation)), light["ambient"]
    red, green, blue = (light["strength"] * warm_white(light["warmth_k"])).tolist()
    return DistantLight(
        toward=(float(np.cos(azimuth)) * level, float(np.sin(azimuth)) * level, float(np.sin(elevation))),
        spread=0.02 + 0.23 * light["softness"],
        lamp=1.25 - sky,
        sky=sky,
        color=(red, green, blue),
    )


def optics_of(look: Mapping[str, Any], width: int) -> Optics:
    """A cousin's camera at another size, pixels; `look` is the ``cousin`` entry of its scene."""
    camera = look["camera"]
    share = width / camera["size"][0]
    size = (width, round(camera["size"][1] * share))
    return Optics(camera["focal_px"] * share, size, camera["lens"], camera["exposure"], camera["noise"])


def backdrop(scene: Scene) -> Mesh:
    """What stays where it is, scene frame; where a scene has none, its supports, in one plain colour."""
    if scene.background is not None:
        return scene.background
    slabs = [support_slab(support) for support in scene.supports]
    if not slabs:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    starts = np.cumsum([0, *(len(slab.vertices) for slab in slabs)])
    vertices = np.concatenate([slab.vertices for slab in slabs])
    faces = np.concatenate([slab.faces + start for slab, start in zip(slabs, starts, strict=False)])
    return Mesh(vertices, faces, colors=np.tile(np.array(_PLAIN, dtype=np.uint8), (len(vertices), 1)))


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

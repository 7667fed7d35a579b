"""What all formats have in common: bodies with names that every tool accepts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh, write_obj
from reconstruction.scene import SUPPORT_FRICTION, Scene, SceneObject, support_slab

FloatArray = npt.NDArray[np.float64]

BACKGROUND = "background"
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "o"})


@dataclass(frozen=True)
class Body:
    """One rigid body.

    Attributes:
        name: unique ASCII identifier (letters, digits, ``_``; no leading digit).
        label: as the scene calls it.
        scene_from_body: ``(4, 4)`` rigid, metres.
        visual: in the body's frame.
        parts: closed convex meshes in the body's frame.
        source: the scene's object, or None for what is fixed.
    """

    name: str
    label: str
    scene_from_body: FloatArray
    visual: Mesh
    parts: tuple[Mesh, ...]
    friction: float
    restitution: float
    source: SceneObject | None = None

    @property
    def roll_pitch_yaw(self) -> FloatArray:
        """``(3,)`` radians about the fixed x, y and z axes in that order, as URDF and SDF want it."""
        from scipy.spatial.transform import Rotation

        return np.asarray(Rotation.from_matrix(self.scene_from_body[:3, :3]).as_euler("xyz"))

    @property
    def quat_wxyz(self) -> FloatArray:
        """``(4,)`` unit quaternion, scalar first and not negative."""
        from scipy.spatial.transform import Rotation

        x, y, z, w = Rotation.from_matrix(self.scene_from_body[:3, :3]).as_quat(canonical=True)
        return np.array([w, x, y, z])


def safe_names(labels: Iterable[str]) -> list[str]:
    """A unique ASCII identifier for each label, readable, in order: ``Tasse (grün)`` → ``Tasse_gruen``."""
    taken: set[str] = set()
    names = []
    for label in labels:
        ascii_only = unicodedata.normalize("NFKD", label.translate(_SPELLED)).encode("ascii", "ignore").decode()
        stem = re.sub(r"[^A-Za-z0-9]+", "_", ascii_only).strip("_") or "thing"
        stem = f"_{stem}" if stem[0].isdigit() else stem
        name, number = stem, 2
        while name.lower() in taken:  # file systems that ignore case
            name, number = f"{stem}_{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def bodies_of(scene: Scene, slab_below_m: float = 0.0) -> tuple[list[Body], list[Body], Mesh | None]:
    """Supports, objects and background of a scene.

    Args:
        scene: any scene.
        slab_below_m: how far the slabs' tops lie below the support planes; the contact margin of engines that keep one.
    """
    names = safe_names([BACKGROUND, *(entry.name for entry in scene.supports), *(item.name for item in scene.objects)])
    supports = []
    for name, support in zip(names[1:], scene.supports, strict=False):
        slab = support_slab(support, slab_below_m)
        supports.append(Body(name, support.name, np.eye(4), slab, (slab,), SUPPORT_FRICTION, 0.0))
    objects = [
        Body(
            name,
            item.name,
            item.scene_from_object,
            item.visual,
            item.convex_parts,
            item.friction,
            item.restitution,
            item,
        )
        for name, item in zip(names[1 + len(supports) :], scene.objects, strict=True)
    ]
    background = scene.background if scene.background is not None and len(scene.background.faces) else None
    return supports, objects, background


def write_meshes(folder: Path, body: Body) -> tuple[str, list[str]]:
    """Write a body's OBJ files into `folder`; returns the file names of the visual and of the parts."""
    folder.mkdir(parents=True, exist_ok=True)
    visual = f"{body.name}.obj"
    write_obj(folder / visual, body.visual)
    parts = [f"{body.name}_part_{number:03d}.obj" for number in range(len(body.parts))]
    for name, mesh in zip(parts, body.parts, strict=True):
        write_obj(folder / name, mesh)
    return visual, parts


def text_of(values: npt.ArrayLike, digits: int = 9) -> str:
    """Numbers with spaces between, rounded, never ``-0``."""
    rounded = np.round(np.asarray(values, dtype=np.float64).ravel(), digits) + 0.0
    return " ".join(f"{value:.12g}" for value in rounded.tolist())


def inertia_terms(inertia: FloatArray) -> dict[str, str]:
    """The six numbers of a symmetric ``(3, 3)`` inertia by their usual names, kg m²."""
    terms = {"ixx": (0, 0), "ixy": (0, 1), "ixz": (0, 2), "iyy": (1, 1), "iyz": (1, 2), "izz": (2, 2)}
    return {key: f"{inertia[index]:.12g}" for key, index in terms.items()}

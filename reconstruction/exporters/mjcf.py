"""MJCF for MuJoCo (https://mujoco.readthedocs.io/en/stable/XMLreference.html)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from reconstruction.exporters.bodies import BACKGROUND, Body, bodies_of, text_of, write_meshes
from reconstruction.mesh import Mesh, write_obj
from reconstruction.scene import HULL_MARGIN_M, ROLLING_FRICTION_M, SPINNING_FRICTION_M, Scene

VISUAL_GROUP, COLLISION_GROUP = "2", "3"
"""MuJoCo's viewer shows group 2 and hides group 3 from the start."""


def export(scene: Scene, folder: Path) -> Path:
    """Write ``scene.xml`` and ``assets/``; returns ``scene.xml``."""
    supports, objects, background = bodies_of(scene, HULL_MARGIN_M)
    root = ET.Element("mujoco", model="scene")
    ET.SubElement(root, "compiler", angle="radian", meshdir="assets", texturedir="assets", balanceinertia="true")
    # Elliptic cones and the no-slip pass: MuJoCo's soft friction lets round things creep otherwise (2 mm in 2 s).
    friction = {"cone": "elliptic", "impratio": "10", "noslip_iterations": "5"}
    option = ET.SubElement(root, "option", friction, timestep="0.002", gravity="0 0 -9.81", integrator="implicitfast")
    ET.SubElement(option, "flag", multiccd="enable")  # flat on flat needs more than one contact point
    _defaults(root)
    assets, world = ET.SubElement(root, "asset"), ET.SubElement(root, "worldbody")
    ET.SubElement(world, "light", pos="0 0 3", dir="0 0 -1", directional="true")
    if background is not None:
        (folder / "assets").mkdir(parents=True, exist_ok=True)
        write_obj(folder / "assets" / f"{BACKGROUND}.obj", background)
        _visual(assets, world, BACKGROUND, f"{BACKGROUND}.obj", background)
    for body in [*supports, *objects]:
        _body(assets, world, body, folder)
    ET.indent(root)
    path = folder / "scene.xml"
    path.write_text(ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")
    return path


def _defaults(root: ET.Element) -> None:
    default = ET.SubElement(root, "default")
    seen = ET.SubElement(default, "default", {"class": "visual"})
    ET.SubElement(seen, "geom", type="mesh", group=VISUAL_GROUP, contype="0", conaffinity="0", mass="0")
    solid = ET.SubElement(default, "default", {"class": "collision"})
    # The margin that PyBullet keeps round hulls: so the scene rests here as it rests there.
    ET.SubElement(solid, "geom", type="mesh", group=COLLISION_GROUP, mass="0", condim="6", margin=f"{HULL_MARGIN_M:g}")


def _body(assets: ET.Element, world: ET.Element, body: Body, folder: Path) -> None:
    visual, parts = write_meshes(folder / "assets", body)
    element = ET.SubElement(
        world, "body", name=body.name, pos=text_of(body.scene_from_body[:3, 3]), quat=text_of(body.quat_wxyz, 12)
    )
    if body.source is not None:
        ET.SubElement(element, "freejoint", name=f"{body.name}_free")
        inertia = body.source.inertia
        order = [inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 1], inertia[0, 2], inertia[1, 2]]
        ET.SubElement(
            element,
            "inertial",
            pos=text_of(body.source.center_of_mass),
            mass=f"{body.source.mass_kg:.9g}",
            fullinertia=text_of(order, 15),
        )
    _visual(assets, element, body.name, visual, body.visual)
    friction = text_of([body.friction, SPINNING_FRICTION_M, ROLLING_FRICTION_M])
    for number, part in enumerate(parts):
        name = f"{body.name}_part_{number:03d}"
        ET.SubElement(assets, "mesh", name=name, file=part, inertia="convex")
        ET.SubElement(element, "geom", {"class": "collision", "name": name, "mesh": name, "friction": friction})


def _visual(assets: ET.Element, parent: ET.Element, name: str, file: str, mesh: Mesh) -> None:
    ET.SubElement(assets, "mesh", name=f"{name}_visual", file=file, inertia="shell")
    geom = {"class": "visual", "name": f"{name}_visual", "mesh": f"{name}_visual"}
    if mesh.texture is not None and mesh.corner_uv is not None:
        ET.SubElement(assets, "texture", name=name, type="2d", file=f"{Path(file).stem}.png")
        ET.SubElement(assets, "material", name=name, texture=name, specular="0.1", shininess="0.1")
        geom["material"] = name
    else:
        mean = np.full(3, 160.0) if mesh.colors is None or not len(mesh.colors) else mesh.colors.mean(axis=0)
        geom["rgba"] = text_of([*(mean / 255.0), 1.0], 4)
    ET.SubElement(parent, "geom", geom)

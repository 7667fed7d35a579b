"""URDF (PyBullet, ROS, Drake): one file for the whole scene, and one a body.

``scene.urdf`` has a link ``world`` with the supports on fixed and the objects on floating joints, which carry the
poses (http://wiki.ros.org/urdf/XML/joint). PyBullet reads it but knows no floating joints inside a tree (it fixes
them), so ``bodies/<name>.urdf`` has each body alone, in its own frame, and ``poses.json`` says where they go.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from reconstruction.exporters.bodies import (
    BACKGROUND,
    Body,
    bodies_of,
    inertia_terms,
    text_of,
    write_meshes,
)
from reconstruction.mesh import write_obj
from reconstruction.scene import HULL_MARGIN_M, ROLLING_FRICTION_M, SPINNING_FRICTION_M, Scene


def export(scene: Scene, folder: Path) -> Path:
    """Write ``scene.urdf``, ``bodies/*.urdf``, ``poses.json`` and ``meshes/``; returns ``scene.urdf``."""
    supports, objects, background = bodies_of(scene, HULL_MARGIN_M)
    robot = ET.Element("robot", name="scene")
    ET.SubElement(robot, "link", name="world")
    for name in ("bodies", "meshes"):  # a bare wall has a mesh but no body
        (folder / name).mkdir(parents=True, exist_ok=True)
    for body in [*supports, *objects]:
        visual, parts = write_meshes(folder / "meshes", body)
        robot.append(_link(body, visual, parts, "meshes"))
        robot.append(_joint(body))
        alone = ET.Element("robot", name=body.name)
        alone.append(_link(body, visual, parts, "../meshes"))
        _write(alone, folder / "bodies" / f"{body.name}.urdf")
    if background is not None:
        write_obj(folder / "meshes" / f"{BACKGROUND}.obj", background)
        link = ET.SubElement(robot, "link", name=BACKGROUND)
        _mesh(link, "visual", f"meshes/{BACKGROUND}.obj")
        _place(robot, BACKGROUND, "fixed", "0 0 0", "0 0 0")
    _write(robot, folder / "scene.urdf")
    poses = {
        body.name: {
            "label": body.label,
            "urdf": f"bodies/{body.name}.urdf",
            "fixed": body.source is None,
            "scene_from_object": (np.round(body.scene_from_body, 9) + 0.0).tolist(),
        }
        for body in [*supports, *objects]
    }
    (folder / "poses.json").write_text(json.dumps(poses, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder / "scene.urdf"


def _link(body: Body, visual: str, parts: list[str], meshes: str) -> ET.Element:
    link = ET.Element("link", name=body.name)
    contact = ET.SubElement(link, "contact")  # PyBullet's; others skip it
    values = {"lateral_friction": body.friction, "restitution": body.restitution}
    if body.source is not None:
        values |= {"rolling_friction": ROLLING_FRICTION_M, "spinning_friction": SPINNING_FRICTION_M}
    for tag, value in values.items():
        ET.SubElement(contact, tag, value=f"{value:.6g}")
    ET.SubElement(contact, "friction_anchor")
    inertial = ET.SubElement(link, "inertial")
    center, mass, inertia = np.zeros(3), 0.0, np.zeros((3, 3))
    if body.source is not None:
        center, mass, inertia = body.source.center_of_mass, body.source.mass_kg, body.source.inertia
    ET.SubElement(inertial, "origin", xyz=text_of(center), rpy="0 0 0")
    ET.SubElement(inertial, "mass", value=f"{mass:.9g}")
    ET.SubElement(inertial, "inertia", inertia_terms(inertia))
    _mesh(link, "visual", f"{meshes}/{visual}")
    for part in parts:
        _mesh(link, "collision", f"{meshes}/{part}")
    return link


def _mesh(link: ET.Element, kind: str, path: str) -> None:
    geometry = ET.SubElement(ET.SubElement(link, kind), "geometry")
    ET.SubElement(geometry, "mesh", filename=path)


def _joint(body: Body) -> ET.Element:
    robot = ET.Element("robot")
    kind = "fixed" if body.source is None else "floating"
    position, angles = text_of(body.scene_from_body[:3, 3]), text_of(body.roll_pitch_yaw)
    return _place(robot, body.name, kind, position, angles)


def _place(robot: ET.Element, name: str, kind: str, xyz: str, rpy: str) -> ET.Element:
    joint = ET.SubElement(robot, "joint", name=f"world_to_{name}", type=kind)
    ET.SubElement(joint, "origin", xyz=xyz, rpy=rpy)
    ET.SubElement(joint, "parent", link="world")
    ET.SubElement(joint, "child", link=name)
    return joint


def _write(root: ET.Element, path: Path) -> None:
    ET.indent(root)
    path.write_text('<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")

"""SDFormat 1.9 for Gazebo (http://sdformat.org/spec?ver=1.9): one world, one model a body."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.exporters.bodies import BACKGROUND, Body, bodies_of, inertia_terms, text_of, write_meshes
from reconstruction.mesh import write_obj
from reconstruction.scene import SPINNING_FRICTION_M, Scene

VERSION = "1.9"


def export(scene: Scene, folder: Path) -> Path:
    """Write ``scene.sdf`` and ``meshes/``; returns ``scene.sdf``."""
    supports, objects, background = bodies_of(scene)
    root = ET.Element("sdf", version=VERSION)
    world = ET.SubElement(root, "world", name="scene")
    ET.SubElement(world, "gravity").text = "0 0 -9.81"
    physics = ET.SubElement(world, "physics", name="default", type="ode")
    ET.SubElement(physics, "max_step_size").text = "0.001"
    ET.SubElement(physics, "real_time_factor").text = "1"
    _sun(world)
    if background is not None:
        (folder / "meshes").mkdir(parents=True, exist_ok=True)
        write_obj(folder / "meshes" / f"{BACKGROUND}.obj", background)
        model = _model(world, BACKGROUND, np.zeros(6), static=True)
        _shape(ET.SubElement(model, "link", name="link"), "visual", "visual", f"{BACKGROUND}.obj")
    for body in [*supports, *objects]:
        _body(world, body, folder)
    ET.indent(root)
    path = folder / "scene.sdf"
    text = '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def _sun(world: ET.Element) -> None:
    light = ET.SubElement(world, "light", name="sun", type="directional")
    ET.SubElement(light, "pose").text = "0 0 10 0 0 0"
    ET.SubElement(light, "cast_shadows").text = "true"
    ET.SubElement(light, "diffuse").text = "0.8 0.8 0.8 1"
    ET.SubElement(light, "direction").text = "-0.4 0.2 -0.9"


def _model(world: ET.Element, name: str, pose: npt.ArrayLike, *, static: bool) -> ET.Element:
    model = ET.SubElement(world, "model", name=name)
    ET.SubElement(model, "static").text = "true" if static else "false"
    ET.SubElement(model, "pose").text = text_of(pose)
    return model


def _body(world: ET.Element, body: Body, folder: Path) -> None:
    visual, parts = write_meshes(folder / "meshes", body)
    pose = np.concatenate([body.scene_from_body[:3, 3], body.roll_pitch_yaw])
    link = ET.SubElement(_model(world, body.name, pose, static=body.source is None), "link", name="link")
    if body.source is not None:
        inertial = ET.SubElement(link, "inertial")
        ET.SubElement(inertial, "pose").text = text_of([*body.source.center_of_mass, 0, 0, 0])
        ET.SubElement(inertial, "mass").text = f"{body.source.mass_kg:.9g}"
        inertia = ET.SubElement(inertial, "inertia")
        for key, value in inertia_terms(body.source.inertia).items():
            ET.SubElement(inertia, key).text = value
    _shape(link, "visual", "visual", visual)
    for number, part in enumerate(parts):
        _surface(_shape(link, "collision", f"part_{number:03d}", part), body)


def _shape(link: ET.Element, kind: str, name: str, file: str) -> ET.Element:
    shape = ET.SubElement(link, kind, name=name)
    mesh = ET.SubElement(ET.SubElement(shape, "geometry"), "mesh")
    ET.SubElement(mesh, "uri").text = f"meshes/{file}"
    return shape


def _surface(collision: ET.Element, body: Body) -> None:
    surface = ET.SubElement(collision, "surface")
    ET.SubElement(ET.SubElement(surface, "bounce"), "restitution_coefficient").text = f"{body.restitution:.6g}"
    friction = ET.SubElement(surface, "friction")
    ode = ET.SubElement(friction, "ode")
    ET.SubElement(ode, "mu").text = ET.SubElement(ode, "mu2").text = f"{body.friction:.6g}"
    torsional = ET.SubElement(friction, "torsional")
    ET.SubElement(torsional, "coefficient").text = f"{SPINNING_FRICTION_M:g}"

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from reconstruction.exporters import EXPORTERS
from reconstruction.exporters.bodies import safe_names
from reconstruction.mesh import Mesh, read_obj, to_trimesh
from reconstruction.scene import Scene, SceneObject
from simulation.settle import settle
from simulation.world import pose_from_quaternion
from tests.small_scenes import ball, bowl, box, lifted, lying, scene_of, textured, thing

NAMES = {"Schüssel (grün)": "Schuessel_gruen", "1 box": "_1_box", "can": "can", "fruit": "fruit", "table": "table_2"}
"""Labels of the scene and the identifiers they become; a support is called table too."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    """At rest, with umlauts, a name taken by the support, textures, an off-centre mass, full inertia, odd rotations."""
    solid, parts = bowl(0.06, 0.05, 0.004)
    cube = thing("1 box", box(0.05, 0.06, 0.07), turned_deg=33, mass_kg=0.11)
    cube = replace(cube, visual=textured(cube.visual), friction=0.7)
    can = thing("can", lying(0.03, 0.1), (-0.2, 0.1, 0), turned_deg=70, mass_kg=0.35)
    tool = thing("table", box(0.12, 0.03, 0.02), (0, -0.2, 0), turned_deg=10, mass_kg=0.05)
    off_center = np.array([0.01, 0.002, -0.003])
    objects = (
        thing("Schüssel (grün)", solid, (0.2, 0, 0), parts=parts, mass_kg=0.4),
        lifted(thing("fruit", ball(0.025), (0.2, 0, 0.004), mass_kg=0.08), (0.001, 0, 0.002)),
        cube,
        can,
        replace(tool, center_of_mass=off_center),
    )
    settled = settle(scene_of(*objects))
    wall = trimesh.creation.box([2, 0.01, 1])
    background = textured(Mesh(np.array(wall.vertices) + [0, 0.6, 0.5], np.array(wall.faces)))
    return replace(settled, background=background)


def pairs(scene: Scene) -> Iterator[tuple[str, SceneObject]]:
    for item in scene.objects:
        yield NAMES[item.name], item


def center_in_scene(item: SceneObject) -> np.ndarray:
    return item.scene_from_object[:3, 3] + item.scene_from_object[:3, :3] @ item.center_of_mass


def part_volume(item: SceneObject) -> float:
    return float(sum(to_trimesh(part).volume for part in item.convex_parts))


def assert_same_pose(actual: Any, item: SceneObject, tolerance: float = 2e-6) -> None:
    np.testing.assert_allclose(np.asarray(actual), item.scene_from_object, atol=tolerance)


def test_urdf_loads_in_pybullet_with_the_same_poses_and_masses(scene: Scene, tmp_path: Path) -> None:
    import pybullet as p

    main = EXPORTERS["urdf"](scene, tmp_path / "out")
    p.connect(p.DIRECT)
    try:
        whole = p.loadURDF(str(main), useFixedBase=True, flags=p.URDF_USE_INERTIA_FROM_FILE)
        links = {p.getJointInfo(whole, k)[12].decode(): k for k in range(p.getNumJoints(whole))}
        assert set(links) == {*NAMES.values(), "table", "background"}
        for name, item in pairs(scene):
            state, info = p.getLinkState(whole, links[name]), p.getDynamicsInfo(whole, links[name])
            assert_same_pose(pose_from_quaternion(state[4], state[5]), item, 1e-5)
            np.testing.assert_allclose(state[0], center_in_scene(item), atol=1e-5)
            assert info[0] == pytest.approx(item.mass_kg)
            assert info[1] == pytest.approx(item.friction, abs=1e-6)
            np.testing.assert_allclose(sorted(info[2]), np.linalg.eigvalsh(item.inertia), rtol=1e-3)
            assert len(p.getCollisionShapeData(whole, links[name])) == len(item.convex_parts)
    finally:
        p.disconnect()


def test_urdf_bodies_alone_stand_where_poses_json_says(scene: Scene, tmp_path: Path) -> None:
    from simulation.check import watch
    from simulation.world import World

    folder = EXPORTERS["urdf"](scene, tmp_path).parent
    poses = json.loads((folder / "poses.json").read_text(encoding="utf-8"))
    assert {entry["label"] for entry in poses.values() if not entry["fixed"]} == set(NAMES)
    with World() as world:
        for name, entry in poses.items():
            world.add(name, folder / entry["urdf"], np.array(entry["scene_from_object"]), fixed=entry["fixed"])
        report = watch(world, 2.0)
    assert report.passed
    for name, item in pairs(scene):
        assert_same_pose(poses[name]["scene_from_object"], item)


def test_mjcf_compiles_with_the_same_bodies_and_stands_still(scene: Scene, tmp_path: Path) -> None:
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(EXPORTERS["mjcf"](scene, tmp_path / "out")))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for name, item in pairs(scene):
        body = model.body(name)
        assert body.mass[0] == pytest.approx(item.mass_kg)
        pose = pose_from_quaternion(data.body(name).xpos, np.roll(data.body(name).xquat, -1))
        assert_same_pose(pose, item)
        np.testing.assert_allclose(data.body(name).xipos, center_in_scene(item), atol=1e-6)
        turn = np.array(data.body(name).ximat).reshape(3, 3)
        inertia = turn @ np.diag(body.inertia) @ turn.T
        world_inertia = item.scene_from_object[:3, :3] @ item.inertia @ item.scene_from_object[:3, :3].T
        np.testing.assert_allclose(inertia, world_inertia, atol=1e-3 * np.abs(world_inertia).max())
        solid = [k for k in range(model.ngeom) if model.geom_bodyid[k] == body.id and model.geom_contype[k]]
        assert len(solid) == len(item.convex_parts)
        assert all(model.geom_friction[k, 0] == pytest.approx(item.friction) for k in solid)
    assert model.body("table").mass[0] == 0
    assert model.ntex == 2  # the box and the background
    before = data.xpos.copy(), data.xquat.copy()
    while data.time < 2.0:
        mujoco.mj_step(model, data)
    assert np.linalg.norm(data.xpos - before[0], axis=1).max() < 0.001
    assert np.degrees(2 * np.arccos(np.clip(np.abs((data.xquat * before[1]).sum(axis=1)), 0, 1))).max() < 1


def test_usd_has_rigid_bodies_masses_and_collisions(scene: Scene, tmp_path: Path) -> None:
    from pxr import Usd, UsdGeom, UsdPhysics, UsdShade

    main = EXPORTERS["usd"](scene, tmp_path / "out")
    stage = Usd.Stage.Open(str(main))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.z
    assert stage.GetDefaultPrim().GetPath() == "/World"
    cache = UsdGeom.XformCache()
    for name, item in pairs(scene):
        prim = stage.GetPrimAtPath(f"/World/{name}")
        assert prim.HasAPI(UsdPhysics.RigidBodyAPI)
        assert prim.GetDisplayName() == item.name
        assert_same_pose(np.array(cache.GetLocalToWorldTransform(prim)).T, item, 1e-9)
        mass = UsdPhysics.MassAPI(prim)
        assert mass.GetMassAttr().Get() == pytest.approx(item.mass_kg)
        np.testing.assert_allclose(mass.GetCenterOfMassAttr().Get(), item.center_of_mass, atol=1e-7)
        axes = mass.GetPrincipalAxesAttr().Get()
        turn = pose_from_quaternion([0, 0, 0], [*axes.GetImaginary(), axes.GetReal()])[:3, :3]
        inertia = turn @ np.diag(mass.GetDiagonalInertiaAttr().Get()) @ turn.T
        np.testing.assert_allclose(inertia, item.inertia, atol=1e-5 * np.abs(item.inertia).max())
        parts = stage.GetPrimAtPath(f"/World/{name}/collision").GetChildren()
        assert all(part.HasAPI(UsdPhysics.CollisionAPI) for part in parts)
        assert {UsdPhysics.MeshCollisionAPI(part).GetApproximationAttr().Get() for part in parts} == {"convexHull"}
        assert sum(_usd_mesh(part).volume for part in parts) == pytest.approx(part_volume(item), rel=1e-4)
        visual = _usd_mesh(stage.GetPrimAtPath(f"/World/{name}/visual"))
        assert visual.volume == pytest.approx(to_trimesh(item.visual).volume, rel=1e-4)
        surface, _ = UsdShade.MaterialBindingAPI(parts[0]).ComputeBoundMaterial("physics")
        assert UsdPhysics.MaterialAPI(surface.GetPrim()).GetDynamicFrictionAttr().Get() == pytest.approx(item.friction)
    assert not stage.GetPrimAtPath("/World/table").HasAPI(UsdPhysics.RigidBodyAPI)
    picture = stage.GetPrimAtPath("/World/_1_box/visual_material/texture").GetAttribute("inputs:file").Get()
    assert Path(picture.resolvedPath).is_file()


def _usd_mesh(prim: Any) -> trimesh.Trimesh:
    from pxr import UsdGeom

    mesh = UsdGeom.Mesh(prim)
    faces = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    return trimesh.Trimesh(np.array(mesh.GetPointsAttr().Get()), faces, process=False)


SDF_CHILDREN: dict[str, dict[str, tuple[int, float]]] = {
    "sdf": {"world": (0, np.inf)},
    "world": {"gravity": (0, 1), "physics": (0, np.inf), "light": (0, np.inf), "model": (0, np.inf)},
    "physics": {"max_step_size": (0, 1), "real_time_factor": (0, 1)},
    "light": {"pose": (0, 1), "cast_shadows": (0, 1), "diffuse": (0, 1), "direction": (0, 1)},
    "model": {"static": (0, 1), "pose": (0, 1), "link": (1, np.inf)},
    "link": {"inertial": (0, 1), "visual": (0, np.inf), "collision": (0, np.inf)},
    "inertial": {"pose": (0, 1), "mass": (0, 1), "inertia": (0, 1)},
    "inertia": {key: (1, 1) for key in ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")},
    "visual": {"geometry": (1, 1)},
    "collision": {"geometry": (1, 1), "surface": (0, 1)},
    "geometry": {"mesh": (0, 1)},
    "mesh": {"uri": (1, 1)},
    "surface": {"bounce": (0, 1), "friction": (0, 1)},
    "bounce": {"restitution_coefficient": (0, 1)},
    "friction": {"ode": (0, 1), "torsional": (0, 1)},
    "ode": {"mu": (0, 1), "mu2": (0, 1)},
    "torsional": {"coefficient": (0, 1)},
}
"""What SDFormat 1.9 allows below each element that we use, and how often (http://sdformat.org/spec?ver=1.9)."""


def validate_sdf(element: ET.Element) -> None:
    allowed = SDF_CHILDREN.get(element.tag, {})
    counts = {child.tag: len(element.findall(child.tag)) for child in element}
    assert set(counts) <= set(allowed), (element.tag, counts)
    for tag, (low, high) in allowed.items():
        assert low <= counts.get(tag, 0) <= high, (element.tag, tag)
    named = [(child.tag in ("link", "model"), child.get("name")) for child in element if "name" in child.attrib]
    assert len(named) == len(set(named)), "names are unique among siblings"
    if element.tag in ("world", "model", "link", "visual", "collision", "light", "physics"):
        assert element.get("name")
    for child in element:
        validate_sdf(child)


def test_sdf_keeps_to_its_specification_and_has_the_same_bodies(scene: Scene, tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    main = EXPORTERS["sdf"](scene, tmp_path / "out")
    root = ET.parse(main).getroot()
    assert root.get("version") == "1.9"
    validate_sdf(root)
    for name, item in pairs(scene):
        model = root.find(f"world/model[@name='{name}']")
        assert model is not None
        numbers = [float(word) for word in (model.findtext("pose") or "").split()]
        pose = np.eye(4)
        pose[:3, 3] = numbers[:3]
        pose[:3, :3] = Rotation.from_euler("xyz", numbers[3:]).as_matrix()
        assert_same_pose(pose, item)
        assert model.findtext("static") == "false"
        assert float(model.findtext("link/inertial/mass") or 0) == pytest.approx(item.mass_kg)
        center = [float(word) for word in (model.findtext("link/inertial/pose") or "").split()]
        np.testing.assert_allclose(center, [*item.center_of_mass, 0, 0, 0], atol=1e-9)
        assert float(model.findtext("link/inertial/inertia/iyz") or 0) == pytest.approx(item.inertia[1, 2], rel=1e-6)
        assert [float(node.text or 0) for node in model.iter("mu")] == pytest.approx(
            [item.friction] * len(item.convex_parts)
        )
        files = [node.findtext("geometry/mesh/uri") or "" for node in model.iter("collision")]
        volume = sum(to_trimesh(read_obj(main.parent / file)).volume for file in files)
        assert volume == pytest.approx(part_volume(item), rel=1e-3)
    table = root.find("world/model[@name='table']")
    assert table is not None
    assert table.findtext("static") == "true"


def test_glb_loads_in_trimesh_y_up_with_the_same_volumes(scene: Scene, tmp_path: Path) -> None:
    main = EXPORTERS["glb"](scene, tmp_path / "out")
    loaded = trimesh.load(main)
    y_up = np.eye(4)
    y_up[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    shown = set(loaded.graph.nodes_geometry)
    assert shown == {*NAMES.values(), "background"}
    for name, item in pairs(scene):
        pose, geometry = loaded.graph[name]
        np.testing.assert_allclose(pose, y_up @ item.scene_from_object, atol=1e-6)
        assert loaded.geometry[geometry].volume == pytest.approx(to_trimesh(item.visual).volume, rel=1e-4)
        parts = [mesh for key, mesh in loaded.geometry.items() if key.startswith(f"{name}_part_")]
        assert sum(mesh.volume for mesh in parts) == pytest.approx(part_volume(item), rel=1e-4)
    assert loaded.bounds[1, 1] == pytest.approx(1.0, abs=1e-3)  # the wall is a metre high: y is up
    cube = next(item for item in scene.objects if item.name == "1 box")
    picture = np.asarray(loaded.geometry["_1_box"].visual.material.baseColorTexture)
    np.testing.assert_array_equal(picture[..., :3], cube.visual.texture)


def test_glb_keeps_to_the_container_format_and_carries_the_physics(scene: Scene, tmp_path: Path) -> None:
    data = EXPORTERS["glb"](scene, tmp_path / "out").read_bytes()
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[8:12], "little") == len(data)
    length = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + length])
    assert length % 4 == 0
    nodes = {node["name"]: node for node in document["nodes"]}
    for name, item in pairs(scene):
        assert nodes[name]["extras"]["mass_kg"] == item.mass_kg
        assert nodes[name]["extras"]["label"] == item.name
        assert nodes[name]["extras"]["inertia"] == item.inertia.tolist()
    end = max(view["byteOffset"] + view["byteLength"] for view in document["bufferViews"])
    assert end <= document["buffers"][0]["byteLength"] <= len(data)
    assert document["scenes"][document["scene"]]["name"] == "scene"


@pytest.mark.parametrize("name", EXPORTERS)
def test_textures_survive(name: str, scene: Scene, tmp_path: Path) -> None:
    import cv2

    if name == "glb":
        pytest.skip("inside the file: checked above")
    folder = EXPORTERS[name](scene, tmp_path / "out").parent
    pictures = [path for path in folder.rglob("*.png") if "_1_box" in path.name]
    assert len(pictures) == 1
    cube = next(item for item in scene.objects if item.name == "1 box")
    np.testing.assert_array_equal(cv2.imread(str(pictures[0]))[..., ::-1], cube.visual.texture)


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_same_scene_gives_the_same_bytes(name: str, scene: Scene, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        EXPORTERS[name](scene, tmp_path / folder)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


@pytest.mark.parametrize("name", EXPORTERS)
def test_other_files_stay_and_nothing_half_done_is_left(name: str, scene: Scene, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    EXPORTERS[name](scene, target)
    EXPORTERS[name](scene, target)
    assert (target / "mine.txt").read_text() == "keep"
    broken = replace(scene.objects[0], visual=replace(scene.objects[0].visual, vertices=None))
    with pytest.raises((TypeError, AttributeError)):
        EXPORTERS[name](replace(scene, objects=(broken,)), tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_scene_without_anything_can_be_exported(name: str, tmp_path: Path) -> None:
    assert EXPORTERS[name](Scene(np.eye(4)), tmp_path / "out").is_file()


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_a_bare_wall_can_be_exported(name: str, scene: Scene, tmp_path: Path) -> None:
    wall = replace(scene, objects=(), supports=())
    assert EXPORTERS[name](wall, tmp_path / "wall").exists()


def test_names_are_safe_and_unique() -> None:
    labels = ["Tasse", "tasse", "Tässe", "", "3D/printer", "a b", "a_b", "日本", "-", "x" * 80]
    names = safe_names(labels)
    assert len({name.lower() for name in names}) == len(labels)
    assert all(name.isascii() and name.isidentifier() for name in names)
    assert names[:4] == ["Tasse", "tasse_2", "Taesse", "thing"]
    assert safe_names(["a", "a_2", "a"]) == ["a", "a_2", "a_3"]

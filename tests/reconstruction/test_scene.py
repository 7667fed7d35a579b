from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import trimesh

from reconstruction.errors import InputError
from reconstruction.mesh import Mesh, read_obj, to_trimesh, write_obj
from reconstruction.scene import HULL_MARGIN_M, Scene, support_slab
from tests.small_scenes import TABLE, ball, bowl, box, scene_of, textured, thing

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "resources" / "scene.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def scene() -> Scene:
    solid, parts = bowl(0.06, 0.05, 0.004)
    cup = thing("Schüssel", solid, (0.1, 0, 0), parts=parts, turned_deg=20)
    seen = np.linspace(0, 1, len(cup.visual.vertices)).astype(np.float32)
    cup = replace(cup, visual=replace(cup.visual, seen=seen))
    cube = thing("box", box(0.05, 0.06, 0.07))
    cube = replace(cube, visual=textured(cube.visual))
    wall = trimesh.creation.box([2, 0.01, 1])
    background = textured(Mesh(np.array(wall.vertices) + [0, 0.5, 0], np.array(wall.faces)))
    made = scene_of(cup, cube)
    return replace(
        made, background=background, robot_mount=np.eye(4), warnings=("walk round it",),
        extra={"settling": {"box": {"moved_mm": 0.1, "turned_deg": 0.0, "repair": 0, "center_shift_mm": 0.0}}},
    )  # fmt: skip


def validate(document: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_what_is_saved_obeys_the_schema_and_comes_back(scene: Scene, tmp_path: Path) -> None:
    scene.save(tmp_path)
    document = json.loads((tmp_path / "scene.json").read_text(encoding="utf-8"))
    validate(document)
    back = Scene.load(tmp_path)
    assert [item.name for item in back.objects] == ["Schüssel", "box"]
    for before, after in zip(scene.objects, back.objects, strict=True):
        np.testing.assert_allclose(after.scene_from_object, before.scene_from_object, atol=1e-9)
        np.testing.assert_allclose(after.visual.vertices, before.visual.vertices, atol=1e-6)
        np.testing.assert_allclose(after.inertia, before.inertia, atol=1e-12)
        assert after.mass_kg == pytest.approx(before.mass_kg)
        assert len(after.convex_parts) == len(before.convex_parts)
        assert to_trimesh(after.visual).is_watertight
    seen = back.objects[0].visual.seen
    assert seen is not None
    np.testing.assert_allclose(seen, scene.objects[0].visual.seen, atol=1 / 255)
    assert back.extra == scene.extra
    assert back.warnings == scene.warnings
    assert back.background is not None
    np.testing.assert_array_equal(back.objects[1].visual.texture, scene.objects[1].visual.texture)


def test_saving_twice_gives_the_same_bytes(scene: Scene, tmp_path: Path) -> None:
    for name in ("a", "b"):
        scene.save(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 25
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_every_file_that_is_named_exists(scene: Scene, tmp_path: Path) -> None:
    scene.save(tmp_path)
    document = json.loads((tmp_path / "scene.json").read_text(encoding="utf-8"))
    for entry in document["objects"]:
        for path in [entry["visual"], entry["urdf"], *entry["collision"], *([entry["seen"]] if entry["seen"] else [])]:
            assert (tmp_path / path).is_file()
    assert all((tmp_path / entry["urdf"]).is_file() for entry in document["supports"])
    assert (tmp_path / document["background"]["visual"]).is_file()


def test_a_bare_scene_is_valid(tmp_path: Path) -> None:
    Scene(np.eye(4)).save(tmp_path)
    validate(json.loads((tmp_path / "scene.json").read_text()))
    assert Scene.load(tmp_path).objects == ()


def _first(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["objects"][0].update({key: value})


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda document: document.update(format="other"),
    "another version": lambda document: document.update(version=2),
    "no objects": lambda document: document.pop("objects"),
    "no mass": lambda document: document["objects"][0].pop("mass_kg"),
    "an unknown word": _first("colour", "red"),
    "no mass at all": _first("mass_kg", 0),
    "text for a number": _first("friction", "0.5"),
    "a 3x4 pose": _first("scene_from_object", np.eye(4)[:3].tolist()),
    "a projective pose": _first("scene_from_object", np.ones((4, 4)).tolist()),
    "an inertia of two rows": _first("inertia", [[1, 0, 0], [0, 1, 0]]),
    "a path upwards": _first("urdf", "../other/object.urdf"),
    "a path upwards inside": _first("visual", "objects/../../x.obj"),
    "an absolute path": _first("visual", "/etc/passwd"),
    "a Windows path": _first("visual", "C:\\x.obj"),
    "a name with a slash": _first("name", "a/b"),
    "no name": _first("name", ""),
    "more than all seen": _first("seen_fraction", 1.5),
    "one part as text": _first("collision", "part.obj"),
    "a plane of three": lambda document: document["supports"][0].update(plane=[0, 0, 1]),
    "a polygon of two": lambda document: document["supports"][0].update(polygon=[[0, 0, 0], [1, 0, 0]]),
    "a warning that is none": lambda document: document.update(warnings=[1]),
    "a background without a mesh": lambda document: document.update(background={}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_schema_rejects(what: str, scene: Scene, tmp_path: Path) -> None:
    scene.save(tmp_path)
    document = json.loads((tmp_path / "scene.json").read_text(encoding="utf-8"))
    broken = copy.deepcopy(document)
    BROKEN[what](broken)
    assert broken != document
    with pytest.raises(jsonschema.ValidationError):
        validate(broken)


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "7", '{"format": "pocketworld.scene", "version": 1}', '{"format": "x"}', "\x00\xff"]
)
def test_a_damaged_document_is_an_input_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "scene.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"scene\.json"):
        Scene.load(tmp_path)


def test_a_missing_or_damaged_mesh_is_an_input_error(scene: Scene, tmp_path: Path) -> None:
    scene.save(tmp_path)
    path = tmp_path / "objects/box/visual.obj"
    path.write_text("v 1 2\nv a b c\n")
    with pytest.raises(InputError, match=r"visual\.obj"):
        Scene.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"visual\.obj"):
        Scene.load(tmp_path)
    scene.save(tmp_path)
    (tmp_path / "objects/Schüssel/seen.ply").write_bytes(b"ply\nend_header\n")
    with pytest.raises(InputError, match=r"seen\.ply|scene"):
        Scene.load(tmp_path)


@pytest.mark.parametrize("faces", ["f 1 2 9\n", "f 0 1 2\n", "f 1 2 3 4\nf 1 2\n", "f 1/9 2/9 3/9\n", "f x y z\n"])
def test_an_obj_that_points_nowhere_is_an_input_error(faces: str, tmp_path: Path) -> None:
    path = tmp_path / "mesh.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\n" + faces)
    (tmp_path / "mesh.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"mesh\.obj"):
        read_obj(path)


def test_obj_colours_and_moved_meshes(tmp_path: Path) -> None:
    mesh = thing("b", ball(0.03)).visual
    colors = np.random.default_rng(0).integers(0, 256, (len(mesh.vertices), 3)).astype(np.uint8)
    write_obj(tmp_path / "a.obj", replace(mesh, colors=colors))
    back = read_obj(tmp_path / "a.obj")
    np.testing.assert_array_equal(back.colors, colors)
    pose = np.eye(4)
    pose[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    pose[:3, 3] = [1, 2, 3]
    moved = back.moved(pose)
    np.testing.assert_allclose(moved.vertices[:, 0], 1 - back.vertices[:, 1])
    np.testing.assert_allclose(moved.vertices[:, 1], 2 + back.vertices[:, 0])


def test_a_support_is_a_closed_flat_slab_under_its_plane() -> None:
    wavy = replace(TABLE, polygon=TABLE.polygon + [[0, 0, 0.004], [0, 0, -0.004], [0, 0, 0.002], [0, 0, 0]])
    for below in (0.0, HULL_MARGIN_M):
        slab = to_trimesh(support_slab(wavy, below))
        assert slab.is_watertight
        assert slab.is_convex
        assert slab.bounds[1, 2] == pytest.approx(-below)
        assert slab.volume == pytest.approx(1.2 * 1.2 * 0.02)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.obj", "objects/../../outside.obj", "link.obj"])
@pytest.mark.parametrize("key", ["visual", "seen", "collision", "background"])
def test_paths_that_leave_the_scene_are_refused(key: str, path: str, scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    scene.save(folder)
    (tmp_path / "outside.obj").write_text("v 0 0 0\n")
    (folder / "link.obj").symlink_to(tmp_path / "outside.obj")
    document = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    if key == "background":
        document["background"] = {"visual": path}
    else:
        document["objects"][0][key] = [path] if key == "collision" else path
    (folder / "scene.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match="outside its folder") as caught:
        Scene.load(folder)
    assert caught.value.code == "unsafe_path"


def test_a_document_nested_without_end_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "scene.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"scene\.json"):
        Scene.load(tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "v 0 0 0\nv 1 0 0\nv 0 1 0\n"])
def test_an_obj_of_nothing_is_an_input_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "mesh.obj").write_text(text)
    with pytest.raises(InputError, match="no vertices or no faces"):
        read_obj(tmp_path / "mesh.obj")

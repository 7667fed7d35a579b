"""Editing a scene: undo to the byte, a kill at any moment, masses that add up, refusals that change nothing."""

from __future__ import annotations

import gc
import json
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.project import Project
from app.scene_document import EDITED, SESSION, SceneDocument
from app.scene_draft import OWN_FOLDER, OWN_MARK, Edit
from app.scene_edits import (
    AddThing,
    Delete,
    Duplicate,
    Merge,
    Move,
    PlaceRobot,
    Rename,
    Scale,
    SetFriction,
    SetMass,
    SetMaterial,
    SetRestitution,
    Split,
)
from app.scene_places import snapped
from reconstruction.errors import InputError, PocketworldError, UsageError
from reconstruction.material import Override, materials, physical_properties
from reconstruction.mesh import Mesh, to_trimesh
from reconstruction.scene import HULL_MARGIN_M, Scene, SceneObject, write_mount
from reconstruction.tag_pose import pose_at
from simulation.tasks import Task, task_of
from simulation.world import World
from tests.conftest import ROOT
from tests.small_scenes import TABLE, ball, bowl, box, cylinder, scene_of, textured, thing

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((ROOT / "resources" / "scene.schema.json").read_text(encoding="utf-8"))
)
AT = {"block": (0.0, 0.0, 0.001), "bowl": (0.25, 0.1, 0.001), "can": (-0.2, 0.15, 0.001), "fruit": (-0.1, -0.25, 0.001)}


def coloured(mesh: Mesh) -> Mesh:
    """Red grows with x, green with y, blue with z."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    colors = np.round(40 + 160 * (mesh.vertices - low) / (high - low)).astype(np.uint8)
    return replace(mesh, colors=colors)


def small_scene() -> Scene:
    """A block with a texture, half of it seen; a bowl of many parts; a can with vertex colours, that was probed; a
    grey fruit that was weighed.
    """
    hollow, parts = bowl(0.06, 0.05, 0.006, sections=6)
    block = thing("block", box(0.1, 0.06, 0.04), AT["block"], mass_kg=0.3)
    seen = (block.visual.vertices[:, 0] > 0.0).astype(np.float32)
    can = thing("can", cylinder(0.03, 0.1, 16), AT["can"], mass_kg=0.4, friction=0.3)
    fruit = thing("fruit", ball(0.03), AT["fruit"])
    scene = scene_of(
        replace(block, visual=replace(textured(block.visual), seen=seen)),
        thing("bowl", hollow, AT["bowl"], parts=parts, turned_deg=20.0),
        replace(can, visual=coloured(can.visual)),
        replace(fruit, mass_interval_kg=(0.2, 0.2)),
    )
    walls = box(2.0, 2.0, 1.0)
    capture = pose_at(np.array([0.1, 0.2, 0.3]), 30.0)
    mount = pose_at(np.array([-0.3, 0.0, 0.0]), 10.0)
    scanned = {"mass_kg": 0.5, "mass_interval_kg": [0.2, 0.9], "inertia": np.eye(3).tolist(), "friction": 0.5}
    learnt = {"mass_kg": 0.4, "mass_kg_interval": [0.39, 0.41], "friction": 0.3, "friction_interval": [0.2, 0.4]}
    extra = {
        "mounted_by": "hand",
        "front_camera": {"scene_from_camera": capture.tolist(), "focal_px": 500.0, "size": [640, 480]},
        "settling": {"can": {"moved_mm": 1.0, "turned_deg": 2.0, "repair": 0, "center_shift_mm": 0.5}},
        "learnt": {
            "things": {"can": {**learnt, "scanned": scanned, "runs": 2, "from": []}},
            "arms": {},
        },
    }
    return replace(
        scene,
        scene_from_capture=capture,
        background=Mesh(np.array(walls.vertices), np.array(walls.faces)),
        robot_mount=mount,
        metric=False,
        warnings=("The scan is not metric, sizes are guesses: hold a ruler to one thing.", "Walk round the bowl."),
        extra=extra,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    small_scene().save(folder / "scene")
    brick = box(0.05, 0.04, 0.03)
    brick.export(folder / "Red brick.stl")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "scene", tmp_path / "scene"))


def project_of(folder: Path) -> Project:
    """The project that a scene folder lies in."""
    (folder.parent / "project.json").write_text("{}", encoding="utf-8")
    return Project(folder.parent)


def files_of(folder: Path) -> dict[str, bytes]:
    """All but the lock, which stays."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != ".lock"}


def document_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    return found


def check_state(folder: Path) -> Scene:
    """What is on the disk is a scene for everyone: for us, by the schema, in physics, and its URDFs agree with it."""
    document = document_of(folder)
    SCHEMA.validate(document)
    scene = Scene.load(folder)
    with World.open(folder) as world:
        assert list(world.names) == [item.name for item in scene.objects]
    for entry in document["objects"]:
        root = ET.parse(folder / entry["urdf"]).getroot()
        assert root.get("name") == entry["name"]
        assert float(root.find("link/inertial/mass").get("value")) == pytest.approx(entry["mass_kg"], abs=1e-6)
        inertia = root.find("link/inertial/inertia")
        assert float(inertia.get("izz")) == pytest.approx(entry["inertia"][2][2], rel=1e-4, abs=2e-12)
        assert float(root.find("link/contact/lateral_friction").get("value")) == pytest.approx(
            entry["friction"], abs=1e-4
        )
        parts = [mesh.get("filename") for mesh in root.findall("link/collision/geometry/mesh")]
        assert parts == [Path(part).name for part in entry["collision"]]
    return scene


def thing_of(folder: Path, name: str) -> SceneObject:
    return next(item for item in Scene.load(folder).objects if item.name == name)


def placed(item: SceneObject) -> trimesh.Trimesh:
    return to_trimesh(item.visual.moved(item.scene_from_object))


# --- any edits, any order --------------------------------------------------------------------------------------------

KINDS = (
    "rename", "move", "snap", "delete", "duplicate", "material", "mass", "friction", "restitution", "merge", "split",
    "add", "scale", "mount", "no mount",
)  # fmt: skip


def edit_of(kind: str, document: SceneDocument, made: Path, first: int, second: int, value: float) -> Edit | None:
    """An edit of a kind; `value` is 0 … 1. None where there is nothing left to do it to."""
    if kind == "add":
        return AddThing(made / "Red brick.stl", (0.4 * value, 0.2) if first % 2 else None)
    if kind == "scale":
        return Scale(1.0, 0.7 + 0.6 * value)
    if kind in ("mount", "no mount"):
        return PlaceRobot(pose_at(np.array([value, 0.1, 0.0]), 90.0 * value) if kind == "mount" else None)
    if not document.objects:
        return None
    item, other = (document.objects[number % len(document.objects)] for number in (first, second))
    if kind == "rename":
        return Rename(item.name, f"Thing {first}-{second}")
    if kind in ("move", "snap"):
        pose = item.pose.copy()
        pose[:3, 3] += [value - 0.5, 0.1 * first - 0.4, 0.2 * value]
        return Move(item.name, snapped(document.draft(), item.name, pose) if kind == "snap" else pose)
    if kind == "merge":
        return Merge(item.name, other.name)
    if kind == "split":
        return Split(item.name, item.pose[:3, 3], np.array([value - 0.5, 0.3, 0.4 * (first - 3)]))
    simple: dict[str, Callable[[], Edit]] = {
        "delete": lambda: Delete(item.name),
        "duplicate": lambda: Duplicate(item.name),
        "material": lambda: SetMaterial(item.name, sorted(materials())[second % len(materials())]),
        "mass": lambda: SetMass(item.name, 0.01 + value),
        "friction": lambda: SetFriction(item.name, 2 * value),
        "restitution": lambda: SetRestitution(item.name, value),
    }
    return simple[kind]()


def refusal(document: SceneDocument, edit: Edit) -> PocketworldError | None:
    """Why an edit cannot be made; None where it now is."""
    try:
        document.apply(edit)
    except PocketworldError as error:
        return error
    return None


STEPS = st.lists(
    st.tuples(
        st.sampled_from((*KINDS, "undo", "undo", "redo")),
        st.integers(0, 7),
        st.integers(0, 7),
        st.floats(0.0, 1.0, allow_nan=False),
    ),
    min_size=1,
    max_size=9,
)
ALL = [(kind, number, number + 1, 0.3) for number, kind in enumerate(KINDS)]


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(steps=STEPS)
@example(steps=[*ALL, ("undo", 0, 0, 0.0), ("undo", 0, 0, 0.0), ("redo", 0, 0, 0.0), *ALL[::-1]])
def test_any_edits_undone_leave_the_scene_as_it_was(
    made: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, float]]
) -> None:
    folder = Path(shutil.copytree(made / "scene", tmp_path_factory.mktemp("any") / "scene"))
    before = files_of(folder)
    with SceneDocument.open(folder) as document:
        states, now, seen = [document.text], 0, {document.text: files_of(folder)}
        for kind, first, second, value in steps:
            if kind in ("undo", "redo"):
                now = max(0, now - 1) if kind == "undo" else min(len(states) - 1, now + 1)
                document.put(states[now])
            elif (edit := edit_of(kind, document, made, first, second, value)) is not None:
                kept = files_of(folder)
                error = refusal(document, edit)
                if error is not None:
                    assert error.remedy
                    assert {**files_of(folder), SESSION: b""} == {**kept, SESSION: b""}
                    continue
                states, now = [*states[: now + 1], document.text], now + 1
            assert (folder / "scene.json").read_bytes() == states[now].encode()
            found = check_state(folder)
            assert [(item.name, item.mass_kg) for item in found.objects] == [
                (item.name, item.mass_kg) for item in document.objects
            ]
            # A state that is come back to has all its files as they were.
            present = files_of(folder)
            for name, content in seen.setdefault(states[now], present).items():
                assert present[name] == content or not name.startswith(("objects", "scene.json")), name
        for state in states[:now][::-1]:
            document.put(state)
            check_state(folder)
    assert files_of(folder) == before


def test_every_kind_of_edit_can_be_made(made: Path, folder: Path) -> None:
    """Else the test above would pass on refusals alone."""
    for number, kind in enumerate(KINDS):
        with SceneDocument.open(folder) as document:
            edit = edit_of(kind, document, made, number, number + 1, 0.3)
            assert edit is not None
            before = document.text
            document.apply(edit)
            assert document.text != before, kind
            assert edit.label
            document.put(before)


# --- killed ----------------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """As no program survives it: whatever it tries afterwards fails too."""


class Reaper:
    """Counts the changes of files below a folder, and makes each from the n-th on fail."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.left = 0
        sys.addaudithook(self.watch)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            return
        if event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if not flags & 0o3 and not set(arguments[1] or "r") & set("wax+"):
                return
        path = str(arguments[0])
        if not path.startswith("/") or path.startswith(str(self.folder)):  # relative: to a folder that rmtree holds
            self.left -= 1
            if self.left < 0:
                raise KilledError


@pytest.fixture(scope="module")
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.folder = None


def killed_at(reaper: Reaper, folder: Path, edit: Edit, count: int) -> bool:
    """Whether it came to it, on the way from the opening over an edit and its undoing to the close."""
    reaper.folder, reaper.left = folder, count
    try:
        with SceneDocument.open(folder) as document:
            before = document.text
            document.apply(edit)
            document.put(before)
            document.put(document.text)
    except KilledError:
        return True
    finally:
        reaper.folder = None
        gc.collect()  # the lock ends with the process
    return False


@pytest.mark.parametrize(
    "edit", [SetMass("can", 0.7), Rename("block", "brick"), Merge("block", "can")], ids=["mass", "rename", "merge"]
)
def test_killed_at_any_moment_at_most_the_last_edit_is_missing(
    reaper: Reaper, made: Path, tmp_path: Path, edit: Edit
) -> None:
    start, scene = tmp_path / "start", Scene.load(made / "scene")
    replace(scene, background=None, objects=tuple(scene.objects[number] for number in (0, 2))).save(start)
    before = files_of(start)
    whole = Path(shutil.copytree(start, tmp_path / "whole"))
    with SceneDocument.open(whole) as document:
        document.apply(edit)
    after = files_of(whole)
    reached, checked = set(), set()
    for count in range(1000):
        folder = Path(shutil.copytree(start, tmp_path / str(count)))
        killed = killed_at(reaper, folder, edit, count)
        with SceneDocument.open(folder):
            text = (folder / "scene.json").read_bytes()
            reached.add(text)
            if (present := frozenset(files_of(folder).items())) not in checked:
                check_state(folder)
                checked.add(present)
        assert text in (before["scene.json"], after["scene.json"])
        wanted = before if text == before["scene.json"] else after
        left = files_of(folder)
        assert left.keys() == wanted.keys()
        urdfs = {name for name in left if name.endswith(".urdf")}
        assert all(left[name] == wanted[name] for name in left.keys() - urdfs)
        shutil.rmtree(folder)
        if not killed:
            break
    assert count > 10
    assert reached == {before["scene.json"], after["scene.json"]}


def test_a_full_disk_leaves_the_state_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not killed, but refused, at each write in turn: the document goes on as if nothing had been."""
    write = Path.write_bytes
    for number in range(100):
        writes = iter(range(number + 1))

        def full(path: Path, data: bytes, writes: Iterator[int] = writes, number: int = number) -> int:
            if next(writes, None) == number and path.is_relative_to(folder):
                raise OSError(28, "No space left on device", str(path))
            return write(path, data)

        with SceneDocument.open(folder) as document:
            document.apply(SetFriction("can", 0.9))
            kept = files_of(folder)
            monkeypatch.setattr(Path, "write_bytes", full)
            error = refusal(document, Merge("block", "can"))
            monkeypatch.setattr(Path, "write_bytes", write)
            if error is None:
                break
            assert error.code == "disk_full"
            assert error.remedy
            assert files_of(folder) == kept
            document.apply(SetFriction("can", 0.8))
            check_state(folder)
    assert number > 2


# --- who else is there -----------------------------------------------------------------------------------------------


def test_an_edit_waits_for_no_one_and_overwrites_no_one(folder: Path) -> None:
    project = project_of(folder)
    with SceneDocument.open(folder) as document:
        with project.locked():
            before = files_of(folder)
            with pytest.raises(UsageError) as caught:
                document.apply(SetMass("can", 0.7))
            assert caught.value.code == "busy"
            with pytest.raises(UsageError) as caught:
                document.put(document.text)
            assert caught.value.code == "busy"
            assert files_of(folder) == before
        with pytest.raises(UsageError) as caught:
            SceneDocument.open(folder)
        assert caught.value.code == "busy"
        document.apply(SetMass("can", 0.7))
        write_mount(folder, None, None)
        changed = files_of(folder)
        for action in (lambda: document.apply(SetMass("can", 0.8)), lambda: document.put(document.text)):
            with pytest.raises(UsageError) as caught:
                action()
            assert caught.value.code == "scene_changed"
            assert "Open the scene again" in caught.value.remedy
        assert files_of(folder) == changed
    with pytest.raises(UsageError) as caught:
        document.apply(SetMass("can", 0.8))
    assert caught.value.code == "closed"
    with SceneDocument.open(folder) as document:  # free again
        assert document.objects[2].mass_kg == 0.7
        document.apply(SetMass("can", 0.8))


def test_a_busy_project_can_be_opened_and_is_tidied_up_later(folder: Path) -> None:
    project = project_of(folder)
    left = folder / OWN_FOLDER / "7"
    left.mkdir(parents=True)
    (left / OWN_MARK).touch()
    with project.locked():
        document = SceneDocument.open(folder)
        assert left.is_dir()
    document.apply(Duplicate("can"))
    assert not left.exists()
    document.close()
    document.close()


def test_only_our_own_folders_are_cleared_away(folder: Path) -> None:
    mine = folder / OWN_FOLDER / "3"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "objects" / "spare").mkdir()
    (folder / "objects" / "spare" / "visual.obj").write_text("mine", encoding="utf-8")
    with SceneDocument.open(folder) as document:
        for edit in (Duplicate("can"), Duplicate("can"), Duplicate("block")):
            document.apply(edit)
        document.apply(Delete("can_2"))
        assert {path.name for path in (folder / OWN_FOLDER).iterdir()} == {"1", "2", "3", "4"}
    assert {path.name for path in (folder / OWN_FOLDER).iterdir()} == {"2", "3", "4"}
    assert not (folder / SESSION).exists()
    check_state(folder)
    with SceneDocument.open(folder) as document:
        for name in ("can_3", "block_2"):
            document.apply(Delete(name))
        assert (folder / OWN_FOLDER / "2").is_dir()
    assert [path.name for path in (folder / OWN_FOLDER).iterdir()] == ["3"]
    assert (mine / "notes.txt").is_file()
    assert (folder / "objects" / "spare" / "visual.obj").is_file()
    assert (folder / "objects" / "can" / "visual.obj").is_file()


def test_a_link_in_the_place_of_our_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "1").mkdir(parents=True)
    (tmp_path / "other" / "1" / OWN_MARK).touch()
    (folder / OWN_FOLDER).symlink_to(tmp_path / "other")
    with SceneDocument.open(folder) as document, pytest.raises(InputError) as caught:
        document.apply(Duplicate("can"))
    assert caught.value.code == "unsafe_path"
    assert [path.name for path in (tmp_path / "other").rglob("*")] == ["1", OWN_MARK]


def test_a_state_of_another_session_may_be_gone(folder: Path) -> None:
    with SceneDocument.open(folder) as document:
        before = document.text
        document.apply(Duplicate("can"))
        later = document.text
        document.put(before)
    with SceneDocument.open(folder) as document:
        for text, kind in ((later, UsageError), ("{}", InputError), (later[:99], InputError)):
            with pytest.raises(kind) as caught:
                document.put(text)
            assert caught.value.remedy
            assert document.text == before == (folder / "scene.json").read_bytes().decode()


def test_what_is_no_scene_of_its_own_is_not_opened(folder: Path, tmp_path: Path) -> None:
    document = document_of(folder)
    del document["objects"][0]["mass_kg"]
    cousin = {**document_of(folder), "cousin": {}}
    for text, code in (
        (json.dumps(document), "bad_scene"), (json.dumps(cousin), "is_a_cousin"), ("[]", "bad_scene"),
        ("{", "bad_scene"), (json.dumps({**document_of(folder), "version": 2}), "bad_scene"),
    ):  # fmt: skip
        (folder / "scene.json").write_text(text, encoding="utf-8")
        with pytest.raises(PocketworldError) as caught:
            SceneDocument.open(folder)
        assert caught.value.code == code
        assert caught.value.remedy
        assert (folder / "scene.json").read_text(encoding="utf-8") == text
    with pytest.raises(InputError):
        SceneDocument.open(tmp_path / "none")


# --- refusals --------------------------------------------------------------------------------------------------------

LEANING = pose_at(np.zeros(3), 0.0) @ trimesh.transformations.rotation_matrix(0.1, [1, 0, 0])
REFUSED: list[tuple[Edit, str]] = [
    (Rename("can", "bowl"), "name_is_taken"), (Rename("can", "Table"), "name_is_taken"),
    (Rename("can", "the"), "name_is_taken"), (Rename("can", ""), "bad_name"), (Rename("can", "a/b"), "bad_name"),
    (Rename("can", "3d"), "bad_name"), (Rename("can", "dose_ä"), "bad_name"), (Rename("can", "x" * 61), "bad_name"),
    (Rename("can", "../up"), "bad_name"), (Rename("none", "mug"), "no_such_thing"),
    (Move("can", np.zeros((4, 4))), "bad_value"), (Move("can", 2 * np.eye(4)), "bad_value"),
    (Move("can", np.diag([1.0, 1.0, -1.0, 1.0])), "bad_value"), (Move("can", np.full((4, 4), np.nan)), "bad_value"),
    (Move("can", pose_at(np.array([99.0, 0, 0]), 0)), "bad_value"), (Move("can", np.eye(3)), "bad_value"),
    (Move("none", np.eye(4)), "no_such_thing"), (Delete("none"), "no_such_thing"),
    (Duplicate("none"), "no_such_thing"), (SetMaterial("can", "gold"), "unknown_material"),
    (SetMaterial("none", "wood"), "no_such_thing"), (SetMass("can", 0.0), "bad_value"),
    (SetMass("can", -1.0), "bad_value"), (SetMass("can", float("nan")), "bad_value"),
    (SetMass("can", 1e9), "bad_value"), (SetMass("none", 1.0), "no_such_thing"),
    (SetFriction("can", -0.1), "bad_value"), (SetFriction("can", float("inf")), "bad_value"),
    (SetRestitution("can", 1.1), "bad_value"), (SetRestitution("none", 0.5), "no_such_thing"),
    (Merge("can", "can"), "bad_value"), (Merge("can", "none"), "no_such_thing"),
    (Merge("none", "can"), "no_such_thing"),
    (Split("can", np.array([5.0, 0, 0]), np.array([1.0, 0, 0])), "plane_misses"),
    (Split("can", np.array([-0.2, 0.15, 0.1014]), np.array([0, 0, 1.0])), "plane_misses"),
    (Split("can", np.array([-0.2, 0.15, 0.1009]), np.array([0, 0, 1.0])), "too_small"),
    (Split("can", np.zeros(3), np.zeros(3)), "bad_value"), (Split("can", np.zeros(3), np.full(3, np.nan)), "bad_value"),
    (Split("can", np.zeros(2), np.ones(3)), "bad_value"), (Split("none", np.zeros(3), np.ones(3)), "no_such_thing"),
    (Scale(0.0, 1.0), "bad_value"), (Scale(1.0, 20.0), "bad_value"), (Scale(1.0, float("nan")), "bad_value"),
    (PlaceRobot(LEANING), "bad_value"), (PlaceRobot(np.full((4, 4), np.inf)), "bad_value"),
    (AddThing(Path("/none/mug.stl")), ""), (AddThing(Path("/etc/hostname")), ""),
]  # fmt: skip


def test_a_refusal_has_a_remedy_and_changes_nothing(folder: Path, made: Path) -> None:
    refused = [
        *REFUSED,
        (AddThing(made / "Red brick.stl", name="can"), "name_is_taken"),
        (AddThing(made / "Red brick.stl", (np.nan, 0.0)), "bad_value"),
        (AddThing(made / "Red brick.stl", material="gold"), "unknown_material"),
    ]
    with SceneDocument.open(folder) as document:
        document.apply(Rename("block", "brick"))
        before, objects = files_of(folder), document.objects
        for edit, code in refused:
            with pytest.raises(PocketworldError) as caught:
                document.apply(edit)
            assert caught.value.code == code or not code, edit
            assert caught.value.remedy, edit
            assert files_of(folder) == before, edit
            assert document.objects is objects
        assert document.text.encode() == before["scene.json"]


# --- what each edit does ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Red mug", "red_mug"),
        ("in-tray", "in_tray"),
        ("on_top", "on_top"),
        ("put", "put"),
        ("x", "x"),
        ("mug_12", "mug_12"),
    ],
)
def test_a_new_name_can_be_said_in_every_task(folder: Path, typed: str, name: str) -> None:
    with SceneDocument.open(folder) as document:
        document.apply(Rename("can", typed))
    scene = check_state(folder)
    assert [item.name for item in scene.objects] == ["block", "bowl", name, "fruit"]
    for kind in ("pick", "push"):
        assert task_of(Task(kind, (name,)).words, scene) == Task(kind, (name,))
    for kind in ("place-in", "place-on", "place-beside", "stack"):
        for pair in ((name, "bowl"), ("bowl", name)):
            assert task_of(Task(kind, pair[:1], pair[1]).words, scene) == Task(kind, pair[:1], pair[1])
    assert task_of(f"clear table into {name}", scene).where == name
    document_after = document_of(folder)
    assert list(document_after["settling"]) == list(document_after["learnt"]["things"]) == [name]


def test_a_thing_moved_away_stands_on_what_is_there(folder: Path) -> None:
    def bottom(pose: np.ndarray, item: SceneObject) -> float:
        return float(min(part.moved(pose).vertices[:, 2].min() for part in item.convex_parts))

    with SceneDocument.open(folder) as document:
        draft, block = document.draft(), thing_of(folder, "block")
        fruit = thing_of(folder, "fruit")
        pose = block.scene_from_object.copy()
        pose[:3, 3] += [0.0, 0.2, 0.4]
        free = snapped(draft, "block", pose)
        assert bottom(free, block) == pytest.approx(HULL_MARGIN_M, abs=1e-9)
        assert np.allclose(free[:2, 3], pose[:2, 3])
        pose[2, 3] = -0.2  # raised, too
        assert np.allclose(snapped(draft, "block", pose), free, atol=1e-9)
        # On the can, half beside its middle, and also when pushed into it.
        for height in (0.5, 0.06):
            pose[:3, 3] = -0.17, 0.15, height
            over = snapped(draft, "block", pose)
            assert bottom(over, block) == pytest.approx(0.101 + 2 * HULL_MARGIN_M, abs=1e-6)
        pose = fruit.scene_from_object.copy()
        pose[:3, 3] = 0.25, 0.1, 0.3
        within = snapped(draft, "fruit", pose)
        assert bottom(within, fruit) == pytest.approx(0.001 + 0.006 + 2 * HULL_MARGIN_M, abs=1e-6)
        # Beside the table it comes back to its edge.
        pose[:3, 3] = 0.9, 0.1, 0.3
        edge = snapped(draft, "fruit", pose)
        assert edge[:2, 3] == pytest.approx([0.6, 0.1], abs=0.003)
        assert edge[0, 3] < 0.6
        document.apply(Move("block", free))
        document.apply(Move("fruit", within))
        with World.open(folder) as world:
            world.step(240)
            for name, start in (("block", free), ("fruit", within)):
                assert np.linalg.norm(world.pose(name)[:3, 3] - start[:3, 3]) < 0.003
        assert {item.name: item.support for item in document.objects}["fruit"] == "table"
        pose[:3, 3] = 3.0, 0.0, 0.3
        document.apply(Move("fruit", pose))
        assert document.objects[3].support == ""
        assert np.array_equal(document.objects[3].pose, pose)


def test_a_copy_stands_beside_and_touches_nothing(folder: Path) -> None:
    with SceneDocument.open(folder) as document:
        for _ in range(3):
            document.apply(Duplicate("bowl"))
        names = [item.name for item in document.objects]
    assert names == ["block", "bowl", "can", "fruit", "bowl_2", "bowl_3", "bowl_4"]
    scene = check_state(folder)
    bounds = {item.name: placed(item).bounds for item in scene.objects}
    for first, second in [(a, b) for a in bounds for b in bounds if a < b]:
        low, high = np.maximum(bounds[first][0], bounds[second][0]), np.minimum(bounds[first][1], bounds[second][1])
        assert (low > high).any(), (first, second)
    original, copy = thing_of(folder, "bowl"), thing_of(folder, "bowl_2")
    assert (copy.mass_kg, copy.material, copy.support) == (original.mass_kg, original.material, "table")
    assert np.allclose(copy.inertia, original.inertia, atol=1e-12)
    assert np.allclose(copy.visual.vertices, original.visual.vertices)
    assert copy.scene_from_object[2, 3] == pytest.approx(original.scene_from_object[2, 3], abs=1e-6)


def test_material_mass_and_contact(folder: Path) -> None:
    before = {item.name: item for item in Scene.load(folder).objects}
    with SceneDocument.open(folder) as document:
        document.apply(SetMaterial("block", "steel"))
        document.apply(SetMass("bowl", 0.5))
        document.apply(SetFriction("bowl", 0.9))
        document.apply(SetRestitution("bowl", 0.7))
    after = {item.name: item for item in check_state(folder).objects}
    known = physical_properties(before["block"].visual, override=Override(material="steel"))
    block, hollow = after["block"], after["bowl"]
    assert (block.material, block.friction, block.restitution) == ("steel", known.friction, known.restitution)
    assert block.mass_kg == pytest.approx(known.mass_kg, abs=1e-8)
    assert block.mass_interval_kg == pytest.approx(known.mass_interval_kg, abs=1e-8)
    assert np.allclose(block.inertia, before["block"].inertia * known.mass_kg / 0.3, rtol=1e-6, atol=2e-12)
    assert (hollow.mass_kg, hollow.mass_interval_kg) == (0.5, (0.5, 0.5))
    assert (hollow.friction, hollow.restitution) == (0.9, 0.7)
    assert np.allclose(hollow.inertia, before["bowl"].inertia * 2.5, atol=2e-12)
    assert document_of(folder)[EDITED] == [
        "Make block of steel", "Set the mass of bowl to 500 g", "Set the friction of bowl to 0.9",
        "Set the restitution of bowl to 0.7",
    ]  # fmt: skip


def test_what_is_set_by_hand_is_not_taken_back_with_what_was_learnt(folder: Path) -> None:
    with SceneDocument.open(folder) as document:
        document.apply(SetMass("can", 0.7))
        about = json.loads(document.text)["learnt"]["things"]["can"]
        assert about.keys() == {"friction", "friction_interval", "scanned", "runs", "from"}
        assert (about["scanned"]["mass_kg"], about["scanned"]["mass_interval_kg"]) == (0.7, [0.7, 0.7])
        assert about["scanned"]["friction"] == 0.5
        document.apply(SetFriction("can", 0.6))
        assert "learnt" not in json.loads(document.text)
    check_state(folder)


def test_two_things_become_one_body(folder: Path) -> None:
    first, second = thing_of(folder, "block"), thing_of(folder, "can")
    with SceneDocument.open(folder) as document:
        document.apply(Merge("block", "can"))
    scene = check_state(folder)
    assert [item.name for item in scene.objects] == ["block", "bowl", "fruit"]
    one = scene.objects[0]
    # The same by integration over both solids, each as dense as it is.
    bodies = [placed(first), placed(second)]
    for body, item in zip(bodies, (first, second), strict=True):
        body.density = item.mass_kg / body.volume
    center = sum(body.mass * body.center_mass for body in bodies) / 0.7
    inertia = sum(body.moment_inertia_frame(trimesh.transformations.translation_matrix(center)) for body in bodies)
    assert one.mass_kg == pytest.approx(0.7)
    assert np.allclose(one.scene_from_object[:3, 3], center, atol=1e-7)
    assert np.array_equal(one.scene_from_object[:3, :3], np.eye(3))
    assert np.allclose(one.inertia, inertia, rtol=1e-6, atol=1e-9)
    assert np.array_equal(one.center_of_mass, np.zeros(3))
    assert one.volume_m3 == pytest.approx(sum(body.volume for body in bodies), rel=1e-6)
    assert one.mass_interval_kg == pytest.approx((0.7 - np.hypot(0.15, 0.2), 0.7 + np.hypot(0.3, 0.4)))
    assert one.friction == pytest.approx((0.3 * 0.5 + 0.4 * 0.3) / 0.7)
    assert len(one.convex_parts) == 2
    skin = placed(one)
    assert skin.is_watertight
    assert skin.volume == pytest.approx(sum(body.volume for body in bodies), rel=1e-6)
    assert np.allclose(one.visual.seen, np.concatenate([first.visual.seen, np.zeros(len(second.visual.vertices))]))
    assert "settling" not in document_of(folder) or document_of(folder)["settling"] == {}
    assert "learnt" not in document_of(folder)
    # The can is as colourful as it was, at its place; the block shows its picture.
    can_faces = slice(len(first.visual.faces), None)
    shown, wanted = colours_at(one.visual)[can_faces], second.visual.colors[second.visual.faces].mean(axis=1)
    assert np.abs(shown - wanted).max() < 3.0
    assert np.abs(colours_at(one.visual)[: can_faces.start] - colours_at(first.visual)).mean() < 12.0


def colours_at(mesh: Mesh) -> np.ndarray:
    """The texture ``(F, 3)`` in the middle of each face, bilinear."""
    height, width = mesh.texture.shape[:2]
    uv = mesh.corner_uv.mean(axis=1)
    x, y = uv[:, 0] * width - 0.5, (1.0 - uv[:, 1]) * height - 0.5
    left, top = (np.floor(value).astype(int) for value in (x, y))
    found = np.zeros((len(uv), 3))
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        share = np.where(right, x - left, 1 - x + left) * np.where(down, y - top, 1 - y + top)
        column, row = (left + right).clip(0, width - 1), (top + down).clip(0, height - 1)
        found += share[:, None] * mesh.texture[row, column]
    return found


def test_a_block_is_cut_into_two_blocks(folder: Path) -> None:
    with SceneDocument.open(folder) as document:
        document.apply(Split("block", np.array([0.02, 0.0, 0.0]), np.array([-3.0, 0.0, 0.0])))
    scene = check_state(folder)
    assert [item.name for item in scene.objects] == ["block", "block_2", "bowl", "can", "fruit"]
    left, right = scene.objects[:2]
    for item, length, middle in ((left, 0.07, -0.015), (right, 0.03, 0.035)):
        mass = 0.3 * length / 0.1
        sides = np.array([length, 0.06, 0.04]) ** 2
        assert item.mass_kg == pytest.approx(mass, rel=1e-6)
        assert item.mass_interval_kg == pytest.approx((mass / 2, mass * 2), rel=1e-6)
        assert item.volume_m3 == pytest.approx(length * 0.06 * 0.04, rel=1e-6)
        assert np.allclose(item.scene_from_object[:3, 3], [middle, 0.0, 0.021], atol=1e-6)
        assert np.allclose(item.inertia, mass / 12 * np.diag(sides.sum() - sides), rtol=1e-5, atol=1e-9)
        assert placed(item).is_watertight
        assert np.allclose(np.ptp(placed(item).vertices, axis=0), np.sqrt(sides), atol=1e-6)
        assert len(item.convex_parts) == 1
        assert to_trimesh(item.convex_parts[0]).volume == pytest.approx(item.volume_m3, rel=1e-3)
        cut = np.abs(placed(item).triangles_center[:, 0] - 0.02) < 1e-6
        assert placed(item).area_faces[cut].sum() == pytest.approx(0.06 * 0.04)
        assert (item.visual.seen[item.visual.faces[cut]] == 0.0).all()
    # Seen grows with x from 0 to 1; the ends have 0 and 1, and the cut is not seen.
    end = 0.06 * 0.04
    for item, length, along, at_end in ((left, 0.07, 0.35, 0.0), (right, 0.03, 0.85, 1.0)):
        sides_m2 = 2 * length * (0.06 + 0.04)
        wanted = (sides_m2 * along + end * at_end) / (sides_m2 + 2 * end)
        assert item.seen_fraction == pytest.approx(wanted, abs=1e-4)


def bounds_beyond(body: trimesh.Trimesh, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Bounds ``(2, 3)`` of what lies where the normal points to."""
    height = (body.vertices - point) @ normal
    start, end = body.edges_unique[(height[body.edges_unique] > 0).sum(axis=1) == 1].T
    share = (height[start] / (height[start] - height[end]))[:, None]
    rim = body.vertices[start] * (1 - share) + body.vertices[end] * share
    points = np.vstack([body.vertices[height > 0], rim])
    return np.array([points.min(axis=0), points.max(axis=0)])


@pytest.mark.parametrize("name", ["bowl", "can"])
def test_halves_are_closed_add_up_and_keep_their_colours(folder: Path, name: str) -> None:
    whole = thing_of(folder, name)
    point, normal = whole.scene_from_object[:3, 3] + 0.003, np.array([0.5, 1.0, 0.3])
    with SceneDocument.open(folder) as document:
        document.apply(Split(name, point, normal))
    pair = {item.name: item for item in check_state(folder).objects if item.name.startswith(name)}.values()
    assert sum(item.mass_kg for item in pair) == pytest.approx(whole.mass_kg, abs=1e-8)
    low, high = whole.visual.vertices.min(axis=0), whole.visual.vertices.max(axis=0)
    for item, sign in zip(pair, (1.0, -1.0), strict=True):
        body = placed(item)
        assert body.is_watertight
        assert np.allclose(body.bounds, bounds_beyond(placed(whole), point, sign * normal), atol=1e-6)
        assert (sign * (body.vertices - point) @ normal).min() > -1e-6
        assert item.mass_kg == pytest.approx(whole.mass_kg * body.volume / whole.volume_m3, rel=1e-5)
        assert np.allclose(body.center_mass, item.scene_from_object[:3, 3], atol=1e-3)
        parts = [to_trimesh(part.moved(item.scene_from_object)) for part in item.convex_parts]
        assert all((sign * (part.vertices - point) @ normal).min() > -1e-5 for part in parts)
        cut = np.abs((body.triangles_center - point) @ normal) < 1e-6
        assert body.area_faces[cut].sum() > 0.0
        shown = colours_at(item.visual)
        if name == "can":
            local = np.linalg.inv(whole.scene_from_object) @ np.c_[body.triangles_center, np.ones(len(cut))].T
            wanted_colours = 40 + 160 * (local.T[:, :3] - low) / (high - low)
            assert np.abs(shown - wanted_colours)[~cut].max() < 8.0
            assert np.ptp(shown[cut], axis=0).max() == 0.0
            # Of its rim's mean, which is the middle of the can.
            assert np.abs(shown[cut][0] - 120).max() < 25.0
        else:
            assert np.allclose(shown, 170.0, atol=1.0)


def test_a_cut_between_two_bodies_takes_them_apart(folder: Path) -> None:
    before = {item.name: item for item in Scene.load(folder).objects}
    with SceneDocument.open(folder) as document:
        document.apply(Merge("block", "can"))
        document.apply(Split("block", np.array([-0.12, 0.1, 0.0]), np.array([1.0, -0.5, 0.0])))
    scene = check_state(folder)
    for name, was in (("block", "block"), ("block_2", "can")):
        item = next(each for each in scene.objects if each.name == name)
        assert np.allclose(placed(item).bounds, placed(before[was]).bounds, atol=1e-6)
        assert placed(item).is_watertight


def test_a_thing_from_a_file(folder: Path, made: Path) -> None:
    with SceneDocument.open(folder) as document:
        document.apply(AddThing(made / "Red brick.stl", (0.1, -0.3), material="steel"))
        document.apply(AddThing(made / "Red brick.stl"))
        document.apply(AddThing(made / "Red brick.stl", AT["can"][:2], name="Lid"))
    scene = check_state(folder)
    brick, second, lid = scene.objects[-3:]
    assert [item.name for item in (brick, second, lid)] == ["red_brick", "red_brick_2", "lid"]
    assert np.allclose(placed(brick).bounds, [[0.075, -0.32, 0.001], [0.125, -0.28, 0.031]], atol=2e-5)
    assert brick.material == "steel"
    assert brick.mass_kg == pytest.approx(
        physical_properties(brick.visual, override=Override(material="steel")).mass_kg, rel=1e-3
    )
    assert (brick.support, brick.seen_fraction) == ("table", 0.0)
    assert placed(lid).bounds[0, 2] == pytest.approx(0.101 + 2 * HULL_MARGIN_M, abs=2e-5)
    for other in (item for item in scene.objects if item is not second):
        low = np.maximum(placed(other).bounds[0], placed(second).bounds[0])
        assert (low > np.minimum(placed(other).bounds[1], placed(second).bounds[1])).any(), other.name


def test_the_true_size_of_a_scene(folder: Path) -> None:
    before = Scene.load(folder)
    with SceneDocument.open(folder) as document:
        document.apply(Scale(0.2, 0.25))
    after, f = check_state(folder), 1.25
    assert after.metric
    assert after.warnings == ("Walk round the bowl.",)
    for old, new in zip(before.objects, after.objects, strict=True):
        # Weighed by hand, or by recorded runs: known, whatever the scale.
        heavier = f**3 if old.name in ("block", "bowl") else 1.0
        assert new.mass_kg == pytest.approx(heavier * old.mass_kg, rel=1e-6), old.name
        assert new.mass_interval_kg == pytest.approx([heavier * end for end in old.mass_interval_kg], rel=1e-6)
        assert np.allclose(placed(new).bounds, f * placed(old).bounds, atol=1e-6)
        assert new.volume_m3 == pytest.approx(placed(new).volume, rel=1e-4)
        body = to_trimesh(new.visual)
        body.density = new.mass_kg / body.volume
        assert np.allclose(new.inertia, body.moment_inertia, rtol=1e-4, atol=1e-9)
        for small, large in zip(old.convex_parts, new.convex_parts, strict=True):
            assert to_trimesh(large).volume == pytest.approx(f**3 * to_trimesh(small).volume, rel=1e-3)
    assert np.allclose(after.supports[0].polygon, f * before.supports[0].polygon)
    assert np.allclose(after.background.vertices, f * before.background.vertices)
    assert np.allclose(after.extra["front_camera"]["scene_from_camera"][0][3], f * 0.1)
    assert after.extra["settling"]["can"]["moved_mm"] == 1.25
    assert after.extra["learnt"]["things"]["can"]["scanned"]["mass_kg"] == pytest.approx(0.5 * f**3)
    # In the scan's own metres the robot is where it was (`app.stages`).
    places = []
    for scene in (before, after):
        place = np.linalg.inv(scene.scene_from_capture) @ scene.robot_mount
        place[:3, 3] /= scene.extra.get("capture_scale", 1.0)
        places.append(place)
    assert np.allclose(*places, atol=1e-8)
    assert after.extra["capture_scale"] == 1.25
    with SceneDocument.open(folder) as document:
        document.apply(Scale(1.25, 1.0))
    again = check_state(folder)
    assert again.extra["capture_scale"] == 1.0
    assert np.allclose(again.objects[0].inertia, before.objects[0].inertia, rtol=1e-5, atol=1e-11)


def test_the_robots_place_is_written_as_by_the_command_line(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for pose in (pose_at(np.array([0.1, -0.3, 0.0]), 90.0), None, pose_at(np.array([0.1, 0.3, 0.2]), -170.0)):
        with SceneDocument.open(folder) as document:
            document.apply(PlaceRobot(pose))
        write_mount(other, pose, None if pose is None else "hand")
        assert (folder / "scene.json").read_bytes() == (other / "scene.json").read_bytes()
    assert EDITED not in document_of(folder)


def test_edits_are_marked_and_undone_they_are_not(folder: Path) -> None:
    with SceneDocument.open(folder) as document:
        before, block = document.text, document.objects[0].pose
        document.apply(Move("block", block))
        assert document.text == before  # nothing has moved
        for shift in (0.01, 0.02):
            document.apply(Move("block", pose_at(block[:3, 3] + shift, 0.0)))
        document.apply(Delete("can"))
        assert json.loads(document.text)[EDITED] == ["Move block", "Delete can"]
        document.put(before)
        assert EDITED not in json.loads((folder / "scene.json").read_text(encoding="utf-8"))


def test_what_a_list_shows(folder: Path) -> None:
    with SceneDocument.open(folder / "scene.json") as document:
        block = document.objects[0]
        assert (block.name, block.material, block.mass_kg, block.mass_interval_kg) == (
            "block",
            "wood",
            0.3,
            (0.15, 0.6),
        )
        assert (block.friction, block.restitution, block.support, block.seen_fraction) == (0.5, 0.2, "table", 0.8)
        assert block.size_m == pytest.approx((0.1, 0.06, 0.04))
        assert np.allclose(block.pose[:3, 3], [0.0, 0.0, 0.021])
    assert TABLE.name == "table"

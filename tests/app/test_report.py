"""The report: one file, whole, small, honest about what was not seen."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import lxml.html
import numpy as np
import pytest

from app import report as module
from app.advice import advice, best_azimuth_deg, neighbour, side_in_picture, unseen
from app.project import Project, StageKey, StageNotes
from app.report import Turning, write_report
from reconstruction.errors import InputError, UsageError
from reconstruction.scene import Scene, SceneObject
from tests.app.fakes.fake_steps import cube, scene_of

KEY = StageKey({}, {}, "")


def fine_cube(missing: tuple[float, float, float], x_m: float = 0.0, name: str = "mug_1") -> SceneObject:
    """A cube with many faces whose surface was not seen where it looks along `missing`."""
    import trimesh

    solid = trimesh.creation.box((0.1, 0.1, 0.1))
    for _ in range(4):
        solid = solid.subdivide()
    flat = trimesh.Trimesh(
        solid.vertices[solid.faces].reshape(-1, 3), np.arange(len(solid.faces) * 3).reshape(-1, 3), process=False
    )
    normals = np.repeat(flat.face_normals, 3, axis=0)
    seen = np.where(normals @ np.array(missing) > 0.9, 0.0, 1.0).astype(np.float32)
    plain = cube(name, x_m, 0.1)
    mesh = replace(plain.visual, vertices=np.array(flat.vertices), faces=np.array(flat.faces), colors=None, seen=seen)
    return replace(plain, visual=mesh)


def made(folder: Path, scene: Scene) -> Project:
    project = Project(folder)
    project.create(Path("desk.r3d"))

    def work(stage: Path) -> StageNotes:
        scene.save(stage)
        return StageNotes(scene.warnings, {"fusion": 12.0, "texture": 3.0}, {"objects": len(scene.objects)})

    project.run_stage("scene", KEY, work)
    return project


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCENE_SIZE", (60, 40))
    monkeypatch.setattr(Turning, "for_count", staticmethod(lambda objects: Turning(3, 16)))


def test_one_self_contained_page(tmp_path: Path) -> None:
    item = cube("mug_1", 0.0)
    scene = Scene(np.eye(4), scene_of(0).supports, None, (item,), warnings=("<b>Up</b> was guessed & may be off.",))
    project = made(tmp_path / "desk <1> & more", scene)
    text = write_report(project).read_text(encoding="utf-8")
    page = lxml.html.fromstring(text)
    sources = page.xpath("//@src | //@href") + re.findall(r"url\(([^)]*)\)", text)
    assert len(sources) >= 4
    assert all(source.startswith("data:image/") for source in sources)
    assert not page.xpath("//script | //link | //iframe")
    assert page.xpath("string(//h1)") == project.name
    assert "<b>Up</b> was guessed & may be off." in [
        item.text_content() for item in page.xpath("//ul[@class='notes']/li")
    ]
    cells = [cell.text_content() for cell in page.xpath("//table[1]//td")]
    assert cells[:6] == ["mug 1", "5.0 × 5.0 × 5.0 cm", "88 g", "70 g – 105 g", "wood", "0.50"]
    assert "fusion12.0 s" in page.text_content().replace("\n", "")
    assert "$" not in re.sub(r"data:[^\"')]*", "", text)


def test_written_again_only_when_something_changed(tmp_path: Path) -> None:
    project = made(tmp_path / "desk", scene_of(1))
    path = write_report(project)
    first = path.stat().st_mtime_ns
    assert write_report(project).stat().st_mtime_ns == first
    assert write_report(project, again=True).stat().st_mtime_ns != first
    second = path.stat().st_mtime_ns
    project.run_stage("scene", StageKey({}, {}, "other"), lambda folder: scene_of(2).save(folder) or StageNotes())
    assert write_report(project).stat().st_mtime_ns != second


def test_scenes_without_objects_or_anything(tmp_path: Path) -> None:
    for number, scene in enumerate([scene_of(0, ("Nothing stands here.",)), Scene(np.eye(4))]):
        text = write_report(made(tmp_path / str(number), scene)).read_text(encoding="utf-8")
        assert "0 separate objects" in text


def test_a_project_without_scene_or_with_a_damaged_one(tmp_path: Path) -> None:
    bare = Project(tmp_path / "bare")
    bare.create(Path("x"))
    with pytest.raises(UsageError, match="no finished scene"):
        write_report(bare)
    project = made(tmp_path / "desk", scene_of(1))
    (project.folder / "scene" / "objects" / "object_01" / "visual.obj").write_text(
        "v 1 2 3\nf 1 1 nonsense", encoding="utf-8"
    )
    with pytest.raises(InputError):
        write_report(project)
    assert not (project.folder / "report.html").exists()


@pytest.mark.slow
def test_many_objects_stay_below_five_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    project = made(tmp_path / "many", scene_of(45))
    assert write_report(project).stat().st_size < 5_000_000


def test_unseen_is_measured_without_the_bottom() -> None:
    nothing = unseen(fine_cube((0, 0, -1)))
    assert nothing is not None
    assert nothing.share == pytest.approx(0.0, abs=1e-6)
    left = unseen(fine_cube((-1, 0, 0)))
    assert left is not None
    assert left.share == pytest.approx(0.2, abs=0.001)  # one of five faces that can be seen
    assert left.sideways == pytest.approx([-0.01, 0.0], abs=1e-6)
    assert unseen(replace(cube("a", 0), visual=replace(cube("a", 0).visual, seen=None))) is None


def test_advice_names_the_side_and_the_neighbour() -> None:
    mug, bowl = fine_cube((0, 1, 0)), cube("bowl_1", 0.0)
    pose = np.eye(4)
    pose[:3, 3] = (0.02, 0.2, 0.05)
    bowl = replace(bowl, scene_from_object=pose)
    said = advice(mug, [mug, bowl], -90.0)
    assert said == "Walk round the far side of the mug 1 (towards the bowl 1): 20 % unseen."
    assert advice(mug, [mug], 90.0) == "Walk round the near side of the mug 1: 20 % unseen."
    assert advice(mug, [mug], 0.0) == "Walk round the right side of the mug 1: 20 % unseen."
    assert advice(mug, [mug], 180.0) == "Walk round the left side of the mug 1: 20 % unseen."
    assert advice(fine_cube((0, 0, 1)), [], 0.0) == "Hold the phone higher over the mug 1: 20 % unseen."
    assert advice(fine_cube((0, 0, -1)), [], 0.0) is None
    blind = replace(mug, visual=replace(mug.visual, seen=np.zeros(len(mug.visual.vertices), dtype=np.float32)))
    assert advice(blind, [], 0.0) == "Walk all the way round the mug 1: 100 % unseen."
    assert neighbour(mug, [mug, bowl], -90.0) is None


def test_turned_objects_are_judged_where_they_stand() -> None:
    mug = fine_cube((1, 0, 0))
    quarter = mug.scene_from_object.copy()
    quarter[:2, :2] = [[0, -1], [1, 0]]
    turned = replace(mug, scene_from_object=quarter)  # its +x looks along the scene's +y
    assert advice(turned, [], -90.0) == "Walk round the far side of the mug 1: 20 % unseen."
    assert best_azimuth_deg([turned]) == pytest.approx(-90.0)
    assert best_azimuth_deg([]) == best_azimuth_deg([fine_cube((0, 0, -1))])


def test_sides() -> None:
    assert [side_in_picture(turn) for turn in (0, 360, 90, -90, 270, 180, -180, 540)] == [
        "near", "near", "right", "left", "left", "far", "far", "far",
    ]  # fmt: skip


def test_projects_are_not_named_in_full(tmp_path: Path) -> None:
    project = made(tmp_path / "desk", scene_of(1))
    text = write_report(project).read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert json.loads((project.folder / "project.json").read_text(encoding="utf-8"))["scan"] == "desk.r3d"

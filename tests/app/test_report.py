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
from app.project import Project, StageKey, StageNotes
from app.report import Turning, write_report
from reconstruction.errors import InputError, UsageError
from reconstruction.scene import Scene
from tests.app.fakes.fake_steps import cube, scene_of
from tests.small_scenes import box, thing

KEY = StageKey({}, {}, "")


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


def test_projects_are_not_named_in_full(tmp_path: Path) -> None:
    project = made(tmp_path / "desk", scene_of(1))
    text = write_report(project).read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert json.loads((project.folder / "project.json").read_text(encoding="utf-8"))["scan"] == "desk.r3d"


def test_the_report_warns_of_what_the_scene_warns_of_and_nothing_else(tmp_path: Path) -> None:
    project = made(tmp_path / "desk", scene_of(2, ("Scan it again.",)))  # its cubes are half unseen, too
    project.run_stage("capture", KEY, lambda _: StageNotes(("no confidence",)))
    page = lxml.html.fromstring(write_report(project).read_text(encoding="utf-8"))
    assert [item.text_content() for item in page.xpath("//ul[@class='notes']/li")] == ["Scan it again."]


def test_the_pictures_look_from_where_the_warnings_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    plain = module.view_of
    monkeypatch.setattr(
        module, "view_of", lambda points, azimuth, *more: looked.append(azimuth) or plain(points, azimuth, *more)
    )
    project = made(tmp_path / "desk", scene_of(1))
    write_report(project)
    assert looked[0] == module.best_azimuth_deg(scene_of(1).objects)
    looked.clear()
    project.run_stage(
        "scene", KEY, lambda stage: scene_of(1).save(stage) or StageNotes(figures={"picture_azimuth_deg": 17.0})
    )
    write_report(project)
    assert looked[0] == 17.0


def test_sizes_are_those_of_a_ruler_whichever_way_a_thing_lies(tmp_path: Path) -> None:
    stick = thing("stick_1", box(0.20, 0.03, 0.05), (1.0, 2.0, 0.0), turned_deg=37.0)
    assert module.upright_size_m(stick) == pytest.approx([0.20, 0.03, 0.05], abs=1e-6)
    page = lxml.html.fromstring(
        write_report(made(tmp_path / "desk", replace(scene_of(0), objects=(stick,)))).read_text(encoding="utf-8")
    )
    assert page.xpath("string(//table[1]//tr[2]/td[2])") == "20.0 × 3.0 × 5.0 cm"
    assert "20.0 × 3.0 × 5.0 cm" in page.xpath("string(//div[@class='words'])")


def test_the_footer_names_a_path_that_holds_where_the_page_lies(tmp_path: Path) -> None:
    page = lxml.html.fromstring(write_report(made(tmp_path / "my desk", scene_of(1))).read_text(encoding="utf-8"))
    assert page.xpath("string(//footer/code)") == "pocketworld simulate ."

"""The scene's page: selecting, editing, undoing, by the controls; the scene on the disk follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QDialog, QDoubleSpinBox
from pytestqt.qtbot import QtBot

from app.gui.desk import Desk
from app.gui.job import Job, Task
from app.gui.scene_list import FACTS
from app.gui.scene_page import ScenePage
from app.scene_edits import Delete, Duplicate, Rename, SetMass
from reconstruction.disk import locked
from reconstruction.scene import EDITED, Scene
from tests.app.scans import fake_scan
from tests.app.windows import Heartbeat, told_nothing
from tests.conftest import Run

Shell = Callable[..., Run]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where the project of all tests is, once the first has made it."""
    return [tmp_path_factory.mktemp("made")]


@pytest.fixture
def project(shell: Shell, tmp_path: Path, made_once: list[Path]) -> Path:
    """A project with three cubes."""
    folder = made_once[0]
    if len(made_once) == 1:
        scan = fake_scan(folder / "desk", objects=3)
        told = shell("reconstruct", scan, "--out", folder / "Küche 1", "--json").result["projects"][0]["project"]
        made_once.append(Path(str(told)))
    return Path(shutil.copytree(made_once[1], tmp_path / "Küche 1" / made_once[1].name))


@pytest.fixture
def page(qtbot: QtBot, desk: Desk, project: Path, fake_steps: None) -> Iterator[ScenePage]:
    """The page with the project open."""
    made = ScenePage(desk)
    made.resize(1090, 740)
    made.show()
    assert desk.open_project(project)
    qtbot.waitUntil(lambda: made.list.count() == 3, timeout=20_000)
    yield made
    made.close()
    made.deleteLater()


def document(project: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((project / "scene" / "scene.json").read_text(encoding="utf-8"))
    return found


def names(project: Path) -> list[str]:
    return [item.name for item in Scene.load(project / "scene").objects]


def settled(qtbot: QtBot, page: ScenePage, what: Callable[[], bool]) -> None:
    qtbot.waitUntil(what, timeout=20_000)


def test_rename_mass_and_undo_to_the_byte(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    page.select("object_02")
    assert page.facts.isVisible()
    assert page.facts.name.text() == "object_02"
    page.facts.name.setText("Mug")
    page.facts.name.editingFinished.emit()
    settled(qtbot, page, lambda: "mug" in names(project))
    settled(qtbot, page, lambda: page.selected() == ["mug"])
    page.facts.mass.setValue(250.0)
    page.facts.mass.editingFinished.emit()
    settled(qtbot, page, lambda: page.editor.undo.count() == 2)
    assert document(project)["objects"][1]["mass_kg"] == 0.25  # type: ignore[index]
    assert document(project)[EDITED] == ["Rename object_02 to mug", "Set the mass of mug to 250 g"]
    undo, redo = page.edit_actions()[:2]
    for _ in range(2):
        settled(qtbot, page, undo.isEnabled)
        undo.trigger()
        assert not undo.isEnabled()  # until it is done
    settled(qtbot, page, lambda: (project / "scene" / "scene.json").read_bytes() == before)
    settled(qtbot, page, lambda: page.list.item(1).text() == "object_02")
    settled(qtbot, page, redo.isEnabled)
    redo.trigger()
    settled(qtbot, page, lambda: "mug" in names(project))


def test_keys_delete_duplicate_and_merge(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    told: list[int] = []
    page.desk.refreshed.connect(lambda: told.append(len(names(project))))
    page.select("object_01")
    page.duplicate.trigger()
    settled(qtbot, page, lambda: page.list.count() == 4)
    settled(qtbot, page, lambda: told[-1:] == [4])  # the other pages hear of it
    assert len(page.selected()) == 1
    assert page.selected() != ["object_01"]  # the copy, so that Delete takes that
    page.select("object_02", "object_03")
    assert page.merge.isEnabled()
    page.merge.trigger()
    settled(qtbot, page, lambda: page.list.count() == 3)
    page.select("object_01")
    assert not page.merge.isEnabled()
    page.delete.trigger()
    settled(qtbot, page, lambda: "object_01" not in names(project))
    for _ in range(3):
        settled(qtbot, page, page.undo.isEnabled)
        page.undo.trigger()
    settled(qtbot, page, lambda: names(project) == ["object_01", "object_02", "object_03"])


def test_a_gizmo_moves_and_the_thing_stands(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    pose = page._objects["object_01"].pose.copy()
    pose[:3, 3] = (-0.3, 0.2, 0.4)
    page.view.pose_changed.emit("object_01", pose)
    settled(qtbot, page, lambda: bool(np.isclose(page._objects["object_01"].pose[0, 3], -0.3)))
    stood = Scene.load(project / "scene").objects[0].scene_from_object
    assert np.allclose(stood[:2, 3], (-0.3, 0.2))
    assert stood[2, 3] == pytest.approx(0.025, abs=0.003)  # half of its 5 cm: it was let go 40 cm up


def test_a_click_in_the_view_selects(qtbot: QtBot, page: ScenePage) -> None:
    page.view.picked.emit("object_03", np.array([0.2, 0.0, 0.05]))
    assert page.selected() == ["object_03"]
    page.view.picked.emit("", None)
    assert page.selected() == []
    assert not page.facts.isVisible()


def test_two_are_merged_and_a_menu_is_asked_for_in_the_view(
    qtbot: QtBot, page: ScenePage, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    menus: list[QPoint] = []
    monkeypatch.setattr(page.menu, "popup", menus.append)  # it would take the keyboard, which tests have none of
    page.view.picked.emit("object_03", np.array([0.2, 0.0, 0.05]))
    page.view.picked_more.emit("object_01", np.array([0.0, 0.0, 0.05]))
    assert page.selected() == ["object_01", "object_03"]
    page.view.menu_wanted.emit("object_01", QPoint(5, 6))
    assert page.selected() == ["object_01", "object_03"]
    page.view.menu_wanted.emit("", QPoint(5, 6))
    assert page.selected() == ["object_01", "object_03"]
    page.view.picked_more.emit("object_03", None)
    assert page.selected() == ["object_01"]
    page.view.menu_wanted.emit("object_02", QPoint(7, 8))
    assert page.selected() == ["object_02"]
    assert menus == [QPoint(5, 6), QPoint(5, 6), QPoint(7, 8)]
    assert page.menu.actions() == list(page.edit_actions()[2:])
    page.view.picked_more.emit("object_01", None)
    assert page.merge.isEnabled()
    page.merge.trigger()
    settled(qtbot, page, lambda: len(names(project)) == 2)


def test_rows_have_pictures_and_stay_where_they_are(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    rows = [page.list.item(row) for row in range(3)]
    settled(qtbot, page, lambda: not any(row.icon().isNull() for row in rows))
    assert rows[0].data(FACTS) == "88 g · wood"  # 700 kg/m³, 5 cm
    picture = rows[1].icon().cacheKey()
    page.list.setMinimumHeight(0)
    page.list.setFixedHeight(80)
    page.select("object_02", "object_03")
    bar = page.list.verticalScrollBar()
    settled(qtbot, page, lambda: bar.maximum() > 40)
    bar.setValue(33)
    page._apply(SetMass("object_01", 1.25))
    settled(qtbot, page, lambda: page.list.item(0).data(FACTS) == "1.25 kg · wood")
    page._apply(Rename("object_02", "a_cup"))
    settled(qtbot, page, lambda: page.list.names() == ["object_01", "a_cup", "object_03"])
    assert page.list.item(1).icon().cacheKey() == picture  # until a new one is there
    assert bar.value() == 33
    page._apply(Duplicate("object_01"))
    settled(qtbot, page, lambda: page.list.count() == 4)
    page._apply(Delete("object_01"))
    settled(qtbot, page, lambda: page.list.count() == 3)
    assert page.list.names() == names(project)
    assert [page.list.item(row).text() for row in range(3)] == names(project)
    assert page.selected() == ["object_03"]
    settled(qtbot, page, lambda: not any(page.list.item(row).icon().isNull() for row in range(3)))


def test_a_long_name_is_cut_short(qtbot: QtBot, page: ScenePage) -> None:
    page._apply(Rename("object_01", "a_" + 8 * "very_" + "long_name"))
    settled(qtbot, page, lambda: len(page.list.item(0).text()) > 50)
    row = page.list.visualItemRect(page.list.item(0))
    assert row.width() <= page.list.viewport().width()
    picture = page.list.viewport().grab(row).toImage()
    width, middle = picture.width(), picture.height() // 2

    def ink(left: int, right: int) -> int:
        """How many colours the upper half of small letters has: the three dots are below it."""
        return len(
            {picture.pixelColor(x, y).name() for x in range(left, right) for y in range(middle - 14, middle - 7)}
        )

    assert ink(80, 200) > 5
    assert ink(width - 18, width) == 1


def test_a_split_is_seen_before_it_is_made(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    settled(qtbot, page, lambda: page.view.box("object_01") is not None)
    page.select("object_01")
    view = page.view.view()
    page.split.trigger()
    assert page.cut.isVisible()
    shown = [page.view._cut]
    assert page.view.view() is not view  # it came nearer
    page.cut.offset.setValue(750)
    shown.append(page.view._cut)
    page.cut.way.setCurrentIndex(1)
    page.cut.turn.setValue(90)
    shown.append(page.view._cut)
    points = [np.array(cut[1]) for cut in shown if cut is not None]
    normals = [cut[2] for cut in shown if cut is not None]
    assert points[1] - points[0] == pytest.approx([0.0, 0.0, 0.0125], abs=1e-4)  # a quarter of 5 cm
    assert normals[:2] == [[0.0, 0.0, 1.0]] * 2
    assert normals[2] == pytest.approx([0.0, 1.0, 0.0])
    pose = page._objects["object_01"].pose.copy()
    pose[:3, 3] = (-0.3, 0.2, 0.4)
    page.view.pose_changed.emit("object_01", pose)  # it is moved meanwhile: the plane goes with it
    settled(qtbot, page, lambda: page.cut.point()[0] == pytest.approx(-0.3))
    settled(qtbot, page, page.undo.isEnabled)
    page.undo.trigger()
    settled(qtbot, page, lambda: page.cut.point()[0] == pytest.approx(0.0))
    page.cut.turn.setValue(45)
    page.cut.offset.setValue(0)  # it touches an edge
    settled(qtbot, page, lambda: not page.cut.apply.isEnabled())
    page.cut.offset.setValue(500)
    settled(qtbot, page, page.cut.apply.isEnabled)
    qtbot.keyClick(page.cut.offset, Qt.Key.Key_Escape)
    assert not page.cut.isVisible()
    assert page.view._cut is None
    assert page.view.view() is view
    assert (project / "scene" / "scene.json").read_bytes() == before
    page.split.trigger()
    page.cut.way.setCurrentIndex(0)
    page.cut.offset.setValue(750)
    qtbot.mouseClick(page.cut.apply, Qt.MouseButton.LeftButton)
    settled(qtbot, page, lambda: page.list.count() == 4)
    assert not page.cut.isVisible()
    assert page.view._cut is None
    high, low = (thing.size_m[2] for thing in list(page._objects.values())[:2])
    assert high == pytest.approx(0.0125, abs=0.001)
    assert low == pytest.approx(0.0375, abs=0.001)
    page.select("object_02")
    page.split.trigger()
    page.delete.trigger()  # what was to be cut goes
    settled(qtbot, page, lambda: not page.cut.isVisible())


def test_a_measured_length_gives_the_scene_its_size(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    page.tool_actions["measure"].trigger()
    assert "true size" in page.said.text()
    assert not page.true_length.isVisible()
    page.view._measure = [np.zeros(3), np.array([0.1, 0.0, 0.0])]
    page.view.measured.emit(0.1)
    assert "100.0 mm" in page.said.text()
    qtbot.mouseClick(page.true_length, Qt.MouseButton.LeftButton)
    dialog = page.findChild(QDialog)
    assert dialog is not None
    dialog.findChild(QDoubleSpinBox).setValue(200.0)
    dialog.accept()
    settled(qtbot, page, lambda: bool(np.isclose(page._objects["object_01"].size_m[0], 0.1)))
    assert document(project)["capture_scale"] == 2.0
    assert page.view._measure == []
    assert not page.true_length.isVisible()
    assert not page.scale.isEnabled()
    assert page.said.text() in ("", "Saving …")


def test_edits_wait_for_a_step_that_has_the_project(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    page.select("object_01")
    edits = [page.rename, page.duplicate, page.delete, page.split, page.drop, page.add, page.robot]
    edits += [page.tool_actions["move"], page.tool_actions["turn"]]
    page.tool_actions["move"].trigger()
    for words, elsewhere, held in (
        (("cousins", str(project)), False, True),
        (("cousins", str(project)), True, False),
        (("simulate", str(project), "--check"), False, False),
    ):
        job = Job(Task("At work", words, "cousins", project.parent if elsewhere else project), page.desk.jobs)
        job.state.kind = "running"
        page.desk.jobs.all.append(job)
        page.desk.jobs.changed.emit()
        assert page.wait.isVisible() == held
        assert [action.isEnabled() for action in edits] == [not held] * len(edits)
        assert page.facts.isEnabled() != held
        assert page.view.tool() == ("select" if held else "move")
        page.select("object_02")  # looking is free
        assert page.delete.isEnabled() != held
        page.select("object_01")
        job.state.kind = "done"
        page.desk.jobs.changed.emit()
        assert not page.wait.isVisible()
        assert all(action.isEnabled() for action in edits)
        assert page.view.tool() == "move"


def test_a_project_in_use_elsewhere_is_said_calmly(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    said: list[str] = []
    page.desk.problem.connect(lambda message, _: said.append(message))
    with locked(project):
        page._apply(SetMass("object_01", 0.2))
        settled(qtbot, page, page.wait.isVisible)
    assert "edits wait" in page.wait.text()
    assert not page.editor.undo.canUndo()
    page._apply(SetMass("object_01", 0.2))
    settled(qtbot, page, page.editor.undo.canUndo)
    assert not page.wait.isVisible()
    assert said == []


def test_what_makes_no_sense_is_refused_and_changes_nothing(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    said: list[tuple[str, str]] = []
    page.desk.problem.connect(lambda message, remedy: said.append((message, remedy)))
    page.select("object_02")
    page.facts.name.setText("object_01")
    page.facts.name.editingFinished.emit()
    settled(qtbot, page, lambda: len(said) == 1)
    assert all(said[0])
    assert (project / "scene" / "scene.json").read_bytes() == before
    assert page.facts.name.text() == "object_02"


def test_what_another_command_changed_is_shown(qtbot: QtBot, page: ScenePage, project: Path, shell: Shell) -> None:
    page.select("object_02")
    page.facts.mass.setValue(300.0)
    page.facts.mass.editingFinished.emit()
    settled(qtbot, page, lambda: page.editor.undo.canUndo())
    assert shell("mount", project, "--xyz", "0", "-0.4", "0").code == 0
    page.desk.refreshed.emit()
    settled(qtbot, page, lambda: not page.editor.undo.canUndo())
    page.select("object_02")
    page.facts.mass.setValue(400.0)
    page.facts.mass.editingFinished.emit()
    settled(qtbot, page, lambda: page._objects["object_02"].mass_kg == 0.4)
    assert document(project)["mounted_by"] == "hand"


def test_the_scene_may_be_made_anew_while_its_page_is_open(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    from app.gui.job import Task

    words = ("reconstruct", str(page.desk.scan), "--out", str(project.parent), "--fusion.voxel-m", "0.004")
    job = page.desk.run(Task("Anew", words, "scan", project))
    qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    assert job.state.kind == "done", job.state.failure
    settled(qtbot, page, lambda: page.list.count() == 3 and page.editor.folder is not None)
    page.select("object_01")
    page.delete.trigger()
    settled(qtbot, page, lambda: len(names(project)) == 2)


def test_check_says_whether_it_is_at_rest(qtbot: QtBot, page: ScenePage) -> None:
    qtbot.mouseClick(page.check, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.panel.job is not None and page.panel.job.is_over, timeout=60_000)
    assert page.panel.job is not None
    assert page.panel.job.state.kind == "done", page.panel.job.state.failure
    assert "At rest" in page.rest.text()


def test_what_does_not_stay_at_rest_is_named(qtbot: QtBot, page: ScenePage) -> None:
    pose = page._objects["object_02"].pose.copy()
    pose[2, 3] += 0.2
    from app.scene_edits import Move

    page._apply(Move("object_02", pose))  # in the air: not by way of the handles, which put it down
    settled(qtbot, page, lambda: page.editor.undo.canUndo() and not page.editor.at_work)
    qtbot.mouseClick(page.check, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.panel.job is not None and page.panel.job.is_over, timeout=60_000)
    assert page.panel.job is not None
    assert page.panel.job.state.kind == "failed"
    assert "object_02 moves by" in page.rest.text()
    assert "object_01" not in page.rest.text()
    qtbot.mouseClick(page.show_restless, Qt.MouseButton.LeftButton)
    assert page.selected() == ["object_02"]
    assert "at rest" in page.panel.failed.text()
    page.panel._unfold.click()
    assert "Watching" in page.panel.log.toPlainText()  # opened after it has ended


def test_edits_do_not_hold_the_window_up(qtbot: QtBot, page: ScenePage) -> None:
    page.select("object_02", "object_03")
    with Heartbeat() as heartbeat:
        page.merge.trigger()
        settled(qtbot, page, lambda: page.list.count() == 2)
    assert heartbeat.longest_s < 0.1


def test_without_a_scene_it_leads_to_the_scan(qtbot: QtBot, desk: Desk, tmp_path: Path) -> None:
    made = ScenePage(desk)
    desk.begin(tmp_path / "desk", tmp_path / "desk.zip")
    made.show()
    made.refresh()
    assert not made.aside.isEnabled()
    assert not made.view.isVisible()
    assert "no scene yet" in made.empty.text.text()
    assert told_nothing(made) == []
    with qtbot.waitSignal(desk.step_wanted) as wanted:
        qtbot.mouseClick(made.empty.button, Qt.MouseButton.LeftButton)
    assert wanted.args == ["scan"]
    made.close()
    made.deleteLater()


def test_with_a_scene_nothing_stands_in_its_place(page: ScenePage) -> None:
    assert page.view.isVisible()
    assert page.aside.isEnabled()
    assert not page.empty.button.isVisible()

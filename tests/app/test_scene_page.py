"""The scene's page: selecting, editing, undoing, by the controls; the scene on the disk follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.desk import Desk
from app.gui.scene_page import ScenePage
from reconstruction.scene import EDITED, Scene
from tests.app.scans import fake_scan
from tests.app.windows import Heartbeat
from tests.conftest import Run

Shell = Callable[..., Run]


@pytest.fixture
def project(shell: Shell, tmp_path: Path) -> Path:
    """A project with three cubes."""
    scan = fake_scan(tmp_path / "desk", objects=3)
    return Path(
        str(shell("reconstruct", scan, "--out", tmp_path / "Küche 1", "--json").result["projects"][0]["project"])
    )


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
    assert page.name.text() == "object_02"
    page.name.setText("Mug")
    page.name.editingFinished.emit()
    settled(qtbot, page, lambda: "mug" in names(project))
    settled(qtbot, page, lambda: page.selected() == ["mug"])
    page.mass.setValue(250.0)
    page.mass.editingFinished.emit()
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
    page.select("object_01")
    page.duplicate.trigger()
    settled(qtbot, page, lambda: page.list.count() == 4)
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


def test_what_makes_no_sense_is_refused_and_changes_nothing(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    said: list[tuple[str, str]] = []
    page.desk.problem.connect(lambda message, remedy: said.append((message, remedy)))
    page.select("object_02")
    page.name.setText("object_01")
    page.name.editingFinished.emit()
    settled(qtbot, page, lambda: len(said) == 1)
    assert all(said[0])
    assert (project / "scene" / "scene.json").read_bytes() == before
    assert page.name.text() == "object_02"


def test_what_another_command_changed_is_shown(qtbot: QtBot, page: ScenePage, project: Path, shell: Shell) -> None:
    page.select("object_02")
    page.mass.setValue(300.0)
    page.mass.editingFinished.emit()
    settled(qtbot, page, lambda: page.editor.undo.canUndo())
    assert shell("mount", project, "--xyz", "0", "-0.4", "0").code == 0
    page.desk.refreshed.emit()
    settled(qtbot, page, lambda: not page.editor.undo.canUndo())
    page.select("object_02")
    page.mass.setValue(400.0)
    page.mass.editingFinished.emit()
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


def test_edits_do_not_hold_the_window_up(qtbot: QtBot, page: ScenePage) -> None:
    page.select("object_02", "object_03")
    with Heartbeat() as heartbeat:
        page.merge.trigger()
        settled(qtbot, page, lambda: page.list.count() == 2)
    assert heartbeat.longest_s < 0.1


def test_without_a_scene_it_is_quiet(qtbot: QtBot, desk: Desk) -> None:
    made = ScenePage(desk)
    made.refresh()
    assert not made.isEnabled()
    made.close()
    made.deleteLater()

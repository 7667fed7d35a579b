"""Placing the robot on the scene's page: by the mouse, by keys, by numbers; and what it reaches from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from app.gui.desk import Desk
from app.gui.job import Job, Task
from app.gui.robot_handle import nudged
from app.gui.scene_page import ScenePage
from app.project import Project
from app.viewer import gizmo
from app.viewer.view import looking_down
from reconstruction.scene import Scene
from simulation.layout import usual_mount
from simulation.reach import reach_on, reached
from simulation.robots import robot_of
from tests.app.test_scene_page import document
from tests.app.windows import Heartbeat, cut_off, told_nothing
from tests.robot_bench import five_joints, project_at

FloatArray = npt.NDArray[np.float64]
WAIT_MS = 30_000
LEFT = Qt.MouseButton.LeftButton
pytestmark = pytest.mark.usefixtures("fake_steps")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_at(tmp_path / "Küche 1" / "bench").folder


@pytest.fixture
def page(qtbot: QtBot, desk: Desk, project: Path) -> Iterator[ScenePage]:
    """The page with the bench, whose scene says nothing of a robot."""
    made = ScenePage(desk)
    made.resize(1090, 740)
    with qtbot.waitExposed(made):
        made.show()
    assert desk.open_project(project)
    qtbot.waitUntil(lambda: made.list.count() == 4, timeout=WAIT_MS)
    yield made
    made.close()
    made.deleteLater()


def begun(qtbot: QtBot, page: ScenePage) -> FloatArray:
    """The tool is chosen, and the robot is there with all its links; where it stands."""
    with qtbot.waitSignal(page.view.robot_shown, timeout=WAIT_MS, check_params_cb=lambda shown: shown.whole):
        page.tool_actions["robot"].trigger()
    qtbot.waitUntil(lambda: bool(page.place.panel.said.text()), timeout=WAIT_MS)
    pose = page.view.robot_pose()
    assert pose is not None
    return pose.copy()


def mount(project: Path) -> FloatArray | None:
    told = document(project)["robot_mount"]
    return None if told is None else np.array(told)


def saved(qtbot: QtBot, project: Path, what: Callable[[FloatArray], bool]) -> FloatArray:
    """The scene says that the robot stands like this."""
    found: list[FloatArray] = []

    def there() -> bool:
        pose = mount(project)
        if pose is not None and what(pose):
            found.append(pose)
        return bool(found)

    qtbot.waitUntil(there, timeout=WAIT_MS)
    return found[0]


def at(page: ScenePage, point: npt.ArrayLike) -> QPoint:
    view = page.view.view()
    assert view is not None
    x, y = view.project(point, page.view.width() / page.view.height())[0]
    return QPoint(round(x * page.view.width()), round(y * page.view.height()))


def seen(qtbot: QtBot, page: ScenePage) -> None:
    """The picture is that of the camera: only then the mouse is where it is thought to be."""
    view = page.view.view()
    assert view is not None
    qtbot.waitUntil(
        lambda: page.view._shown is not None and bool(np.abs(page.view._shown.position - view.position).max() < 1e-6),
        timeout=WAIT_MS,
    )


def turn_deg(pose: FloatArray) -> float:
    return float(np.degrees(np.arctan2(pose[1, 0], pose[0, 0])))


def numbers(page: ScenePage) -> list[float]:
    return [box.value() for box in page.place.panel.boxes]


def test_it_stands_where_cousins_have_it_and_nothing_is_said_of_that(
    qtbot: QtBot, page: ScenePage, project: Path
) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    with Heartbeat() as heart:
        pose = begun(qtbot, page)
    assert heart.longest_s < 0.1
    scene = Scene.load(project / "scene")
    assert pose == pytest.approx(usual_mount(robot_of("panda").mounted(scene)), abs=1e-9)
    assert numbers(page) == pytest.approx([*pose[:3, 3], turn_deg(pose)], abs=0.06)
    panel = page.place.panel
    assert panel.isVisible()
    assert not panel.free.isEnabled()  # it does so already
    assert "every one of the 4 things" in panel.said.text()
    assert page.view.sees(pose[:3, 3] + [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7]])
    assert (told_nothing(panel), cut_off(page)) == ([], [])
    page.tool_actions["select"].trigger()
    assert not panel.isVisible()
    assert page.place.shown.isChecked()  # it stays in the picture …
    assert page.view.options()["reach"] is False  # … and its reach does not
    assert (project / "scene" / "scene.json").read_bytes() == before


def test_the_mouse_drags_it_over_the_table_and_undo_takes_it_back(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    pose = begun(qtbot, page)
    seen(qtbot, page)
    hand = pose[:3, 3] + [0.0, 0.0, 0.3]  # by its body, not by an arrow
    start, end = at(page, hand), at(page, hand + [0.1, -0.06, 0.0])
    assert page.view._robot is not None
    assert page.view._shown is not None
    share = start.x() / page.view.width(), start.y() / page.view.height()
    taken = page.view._robot.under(pose, page.view._shown, share, page.view.width() / page.view.height())
    assert taken is not None
    with Heartbeat() as heart:
        qtbot.mousePress(page.view, LEFT, pos=start)
        for step in range(1, 11):
            qtbot.mouseMove(page.view, start + (end - start) * step / 10)
            qtbot.wait(20)
        assert numbers(page)[:2] == pytest.approx(pose[:2, 3] + (0.1, -0.06), abs=0.02)
        assert mount(project) is None  # as long as it is held
        qtbot.mouseRelease(page.view, LEFT, pos=end)
        stood = saved(qtbot, project, lambda _: True)
    assert heart.longest_s < 0.1
    moved = stood[:3, 3] - pose[:3, 3]
    assert moved == pytest.approx((0.1, -0.06, 0.0), abs=0.02)
    assert moved[2] == 0.0
    assert (at(page, taken + moved) - end).manhattanLength() <= 2  # what was taken stays in the hand
    assert stood[:3, :3] == pytest.approx(pose[:3, :3], abs=1e-6)
    assert document(project)["mounted_by"] == "hand"
    qtbot.waitUntil(page.undo.isEnabled, timeout=WAIT_MS)
    assert page.place.panel.free.isEnabled()
    # It is shown where the scene has it then, not where the mouse has left it.
    qtbot.waitUntil(lambda: page.view._robot_at is None, timeout=WAIT_MS)
    assert page.view.robot_pose() == pytest.approx(stood, abs=1e-9)
    page.undo.trigger()
    qtbot.waitUntil(lambda: (project / "scene" / "scene.json").read_bytes() == before, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: numbers(page)[:2] == pytest.approx(pose[:2, 3], abs=0.001), timeout=WAIT_MS)
    assert not page.place.panel.free.isEnabled()


def test_the_ring_turns_it_and_esc_gives_up(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    pose = begun(qtbot, page)
    seen(qtbot, page)
    view = page.view.view()
    assert view is not None
    ring = gizmo.line(gizmo.Handle("ring", 2), pose[:3, 3], view)[:-1]  # 64 points
    number = 30  # on the far side of its arrows
    start, end = at(page, ring[number]), at(page, ring[(number + 8) % 64])
    for esc in (True, False):
        qtbot.mousePress(page.view, LEFT, pos=start)
        for step in range(1, 9):
            qtbot.mouseMove(page.view, at(page, ring[(number + step) % 64]))
            qtbot.wait(10)
        assert numbers(page)[3] == pytest.approx((turn_deg(pose) + 45.0 + 180.0) % 360.0 - 180.0, abs=3.0)
        if esc:
            qtbot.keyClick(page.view, Qt.Key.Key_Escape)
            assert numbers(page)[3] == pytest.approx(turn_deg(pose), abs=0.06)
        qtbot.mouseRelease(page.view, LEFT, pos=end)
        if esc:
            qtbot.wait(700)
            assert (project / "scene" / "scene.json").read_bytes() == before
            assert page.view.tool() == "robot"
    turned = saved(qtbot, project, lambda _: True)
    assert turned[:3, 3] == pytest.approx(pose[:3, 3], abs=1e-6)
    assert abs((turn_deg(turned) - turn_deg(pose) - 45.0 + 180.0) % 360.0 - 180.0) < 3.0


def test_keys_push_it_and_one_undo_takes_all_of_them_back(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    pose = begun(qtbot, page)
    camera = page.view.view()
    assert camera is not None
    assert page.view.hasFocus()
    for _ in range(3):
        qtbot.keyClick(page.view, Qt.Key.Key_Right)
    qtbot.keyClick(page.view, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClick(page.view, Qt.Key.Key_BracketLeft)
    qtbot.keyClick(page.view, Qt.Key.Key_PageUp)
    assert page.view.view() is camera  # arrows turn it with other tools
    assert mount(project) is None  # there may be more to come
    stood = saved(qtbot, project, lambda _: True)
    right = camera.axes()[0]
    moved = stood[:3, 3] - pose[:3, 3]
    assert sorted(np.abs(moved)) == pytest.approx([0.001, 0.01, 0.03], abs=1e-6)
    assert moved @ right > 0.02  # to the right as it is seen
    assert moved[2] == pytest.approx(0.01, abs=1e-6)
    assert turn_deg(stood) - turn_deg(pose) == pytest.approx(5.0, abs=1e-6)
    qtbot.waitUntil(page.undo.isEnabled, timeout=WAIT_MS)
    assert page.editor.undo.count() == 1
    page.undo.trigger()
    qtbot.waitUntil(lambda: mount(project) is None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: bool(np.allclose(page.view.robot_pose(), pose)), timeout=WAIT_MS)
    # What is not saved yet is taken back without the edit before it.
    qtbot.waitUntil(page.redo.isEnabled, timeout=WAIT_MS)
    page.redo.trigger()
    saved(qtbot, project, lambda _: True)
    qtbot.waitUntil(page.undo.isEnabled, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: bool(np.allclose(page.view.robot_pose(), stood)), timeout=WAIT_MS)
    qtbot.keyClick(page.view, Qt.Key.Key_Left)
    page.undo.trigger()
    assert numbers(page)[:3] == pytest.approx(stood[:3, 3], abs=0.001)
    qtbot.wait(700)
    assert mount(project) == pytest.approx(stood, abs=1e-9)


def test_arrows_follow_what_is_seen() -> None:
    none, ctrl = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier
    for azimuth, right, ahead in ((-90.0, (1, 0), (0, 1)), (0.0, (0, 1), (-1, 0)), (100.0, (-1, 0), (0, -1))):
        view = looking_down(azimuth, 35.0)
        for key, way in ((Qt.Key.Key_Right, right), (Qt.Key.Key_Up, ahead)):
            moved = nudged(np.eye(4), key, none, view)
            assert moved is not None
            assert moved[:2, 3] == pytest.approx(0.01 * np.array(way))
            back = nudged(moved, Qt.Key.Key_Left if key == Qt.Key.Key_Right else Qt.Key.Key_Down, none, view)
            assert back == pytest.approx(np.eye(4))
        turned = nudged(np.eye(4), Qt.Key.Key_Right, ctrl, view)
        assert turned is not None
        assert (turn_deg(turned), *turned[:3, 3]) == pytest.approx((-5.0, 0.0, 0.0, 0.0))
        assert nudged(np.eye(4), Qt.Key.Key_F, none, view) is None


def test_numbers_can_be_typed_and_its_place_left_to_the_scene(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    pose = begun(qtbot, page)
    panel = page.place.panel
    for number, text in ((0, "-0.45"), (3, "90")):
        panel.boxes[number].setFocus()
        panel.boxes[number].selectAll()
        qtbot.keyClicks(panel.boxes[number], text)
        qtbot.keyClick(panel.boxes[number], Qt.Key.Key_Return)
    stood = saved(qtbot, project, lambda mount: abs(turn_deg(mount) - 90.0) < 1e-6)
    assert stood[0, 3] == -0.45
    assert stood[1:3, 3] == pytest.approx(pose[1:3, 3], abs=1e-9)  # not as the boxes round them
    qtbot.waitUntil(lambda: panel.free.isEnabled() and not page.editor.at_work, timeout=WAIT_MS)
    page.view.put_robot(np.eye(4))  # as if the mouse had it elsewhere
    panel.free.click()
    qtbot.waitUntil(lambda: mount(project) is None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: numbers(page)[:2] == pytest.approx(pose[:2, 3], abs=0.001), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not panel.free.isEnabled(), timeout=WAIT_MS)
    assert page.view._robot_at is None


def test_it_is_said_what_it_reaches_and_what_not(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    begun(qtbot, page)
    panel, robot, scene = page.place.panel, robot_of("panda"), Scene.load(project / "scene")
    points = np.array([item.scene_from_object[:3, 3] for item in scene.objects])
    for x, ends in ((0.75, 2), (3.0, 0)):
        panel.boxes[0].setValue(x)
        panel.boxes[1].setValue(0.0)
        stood = saved(qtbot, project, lambda mount, x=x: tuple(mount[:2, 3]) == (x, 0.0))
        met = reached(robot, robot.chain, stood, points)
        assert met.sum() == ends
        missed = [item.name for item, there in zip(scene.objects, met, strict=True) if not there]
        said = f"{ends} of the 4 things. Out of reach: {', '.join(missed)}." if ends else "none of the 4 things"
        qtbot.waitUntil(lambda said=said: said in panel.said.text(), timeout=WAIT_MS)
        assert all(name in panel.said.toolTip() for name in missed)


def test_it_is_said_in_what_it_stands(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    begun(qtbot, page)
    panel, scene = page.place.panel, Scene.load(project / "scene")
    qtbot.waitUntil(lambda: "reaches" in panel.said.text(), timeout=WAIT_MS)
    assert "stands in" not in panel.said.text()
    item = scene.objects[0]
    points = np.vstack([part.vertices for part in item.convex_parts]) + item.scene_from_object[:3, 3]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    for number, value in enumerate((middle[0], middle[1])):
        panel.boxes[number].setValue(float(value))
    qtbot.waitUntil(lambda: f"stands in {item.name}" in panel.said.text(), timeout=WAIT_MS)
    panel.boxes[0].setValue(float(points[:, 0].max()) + 0.5)
    qtbot.waitUntil(lambda: "stands in" not in panel.said.text(), timeout=WAIT_MS)


def test_another_robot_stands_elsewhere_and_is_remembered(
    qtbot: QtBot, page: ScenePage, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(qtbot, page)
    panel, own = page.place.panel, five_joints(tmp_path)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(own), ""))
    with qtbot.waitSignal(page.view.robot_shown, timeout=WAIT_MS, check_params_cb=lambda shown: shown.whole):
        panel.robot.setCurrentIndex(panel.robot.findData(""))
        panel.robot.activated.emit(panel.robot.currentIndex())
    assert panel.robot.currentText() == own.stem
    arm, scene = robot_of(str(own)), Scene.load(project / "scene")
    assert arm.short  # it stands among the things
    pose = page.view.robot_pose()
    assert pose == pytest.approx(usual_mount(arm.mounted(scene)), abs=1e-9)
    points = np.array([item.scene_from_object[:3, 3] for item in scene.objects])
    count = int(reached(arm, arm.chain, usual_mount(arm.mounted(scene)), points).sum())
    assert 0 < count < 4
    qtbot.waitUntil(lambda: f"{count} of the 4 things" in panel.said.text(), timeout=WAIT_MS)
    assert page.place.robot == str(own)  # which is driven, too
    assert mount(project) is None  # looking at one changes nothing
    another = ScenePage(page.desk)
    assert another.place.robot == str(own)
    assert another.place.panel.robot.currentText() == own.stem
    another.close()
    another.deleteLater()
    # Nothing is chosen in the dialog: it stays as it was.
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    panel.robot.setCurrentIndex(panel.robot.findData(""))
    panel.robot.activated.emit(panel.robot.currentIndex())
    assert panel.robot.currentData() == str(own)


def test_a_robot_that_cannot_be_had_is_said_calmly(
    qtbot: QtBot, page: ScenePage, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud: list[str] = []
    page.desk.problem.connect(lambda message, _: loud.append(message))
    page.view.failed.connect(lambda message, _: loud.append(message))
    pose = begun(qtbot, page)
    (tmp_path / "arm.toml").write_text("name = 3\n", encoding="utf-8")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "arm.toml"), ""))
    panel = page.place.panel
    panel.robot.setCurrentIndex(panel.robot.findData(""))
    panel.robot.activated.emit(panel.robot.currentIndex())
    qtbot.waitUntil(lambda: "arm.toml" in panel.said.text(), timeout=WAIT_MS)
    # It can be placed all the same, by the axes that are shown in its stead.
    assert page.view.robot_pose() == pytest.approx(pose)
    qtbot.keyClick(page.view, Qt.Key.Key_Right)
    saved(qtbot, project, lambda mount: bool(np.abs(mount - pose).max() > 0.005))
    assert loud == []


def test_a_scene_without_things_has_no_place_but_what_is_typed(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    loud: list[str] = []
    page.desk.problem.connect(lambda message, _: loud.append(message))
    page.view.failed.connect(lambda message, _: loud.append(message))
    page.select(*(item.name for item in Scene.load(project / "scene").objects))
    page.delete.trigger()
    qtbot.waitUntil(lambda: page.list.count() == 0, timeout=WAIT_MS)
    page.tool_actions["robot"].trigger()
    panel = page.place.panel
    qtbot.waitUntil(lambda: "no place suits" in panel.said.text(), timeout=WAIT_MS)
    assert page.view.robot_pose() is None
    qtbot.keyClick(page.view, Qt.Key.Key_Right)  # nothing to be pushed
    panel.boxes[1].setValue(-0.3)
    stood = saved(qtbot, project, lambda _: True)
    assert stood[:3, 3] == pytest.approx([0.0, -0.3, 0.0])
    qtbot.waitUntil(lambda: "Nothing stands" in panel.said.text(), timeout=WAIT_MS)
    assert page.view.robot_pose() == pytest.approx(stood)  # there, though nothing has been told of it but numbers
    assert loud == []


def test_the_tool_waits_for_a_step_that_has_the_project(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    begun(qtbot, page)
    job = Job(Task("At work", ("cousins", str(project)), "cousins", project), page.desk.jobs)
    job.state.kind = "running"
    page.desk.jobs.all.append(job)
    page.desk.jobs.changed.emit()
    assert not page.tool_actions["robot"].isEnabled()
    assert page.view.tool() == "select"
    assert not page.place.panel.isVisible()
    job.state.kind = "done"
    page.desk.jobs.changed.emit()
    assert page.view.tool() == "robot"
    assert page.place.panel.isVisible()
    qtbot.waitUntil(lambda: "4 things" in page.place.panel.said.text(), timeout=WAIT_MS)
    page.desk.jobs.all.remove(job)


def test_a_push_just_before_the_end_is_not_lost(qtbot: QtBot, page: ScenePage, project: Path) -> None:
    pose = begun(qtbot, page)
    qtbot.keyClick(page.view, Qt.Key.Key_Right)
    page.close()
    stood = mount(project)
    assert stood is not None
    assert np.linalg.norm(stood[:3, 3] - pose[:3, 3]) == pytest.approx(0.01, abs=1e-6)


def test_a_push_belongs_to_the_project_in_which_it_was_made(
    qtbot: QtBot, page: ScenePage, project: Path, tmp_path: Path
) -> None:
    other = project_at(tmp_path / "other")
    begun(qtbot, page)
    qtbot.keyClick(page.view, Qt.Key.Key_Right)
    assert page.desk.open_project(other.folder)
    qtbot.waitUntil(lambda: mount(project) is not None, timeout=WAIT_MS)
    qtbot.wait(700)
    assert mount(Project(other.folder).folder) is None


def test_the_ring_is_what_it_reaches_on_the_table(tmp_path: Path) -> None:
    for robot, all_round in ((robot_of("panda"), True), (robot_of(str(five_joints(tmp_path))), False)):
        near, far = reach_on(robot, robot.chain, 0.0)
        there = far > 0.0
        assert there.all() == all_round
        assert there[0]
        angles = 2.0 * np.pi * np.arange(len(far)) / len(far)
        ways = np.column_stack([np.cos(angles), np.sin(angles)])

        def on_table(distance: FloatArray, ways: FloatArray = ways) -> FloatArray:
            return np.column_stack([ways * distance[:, None], np.full(len(ways), 0.02)])

        just_inside = reached(robot, robot.chain, np.eye(4), on_table((near + far) / 2)[there])
        beyond = reached(robot, robot.chain, np.eye(4), on_table(np.full(len(far), far.max() + 0.03)))
        assert just_inside.all()
        assert not beyond.any()
        assert not (reach_on(robot, robot.chain, -3.0)[1]).any()

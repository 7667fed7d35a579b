"""The cousins page: a wall of pictures that follows the sliders, drawn by a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QCheckBox, QLabel, QPushButton, QSlider, QToolButton
from pytestqt.qtbot import QtBot

from app.cousin_stage import RECIPES, make_cousins
from app.cousin_wall import Superseded, Wall, facts_of
from app.gui.cousin_tiles import sentences, summary
from app.gui.cousins_page import CousinsPage
from app.gui.desk import Desk
from app.gui.strengths import words_for
from app.project import Project
from reconstruction.scene import Scene
from simulation.bank import build
from simulation.cousins import Cousin, CousinSettings, wardrobe_of
from simulation.draw import Draw
from simulation.variations import VARIATIONS, strengths_of
from tests.conftest import environment
from tests.robot_bench import bench, project_at

pytestmark = [pytest.mark.qt_log_level_fail("WARNING"), pytest.mark.qt_log_ignore("propagateSizeHints")]

MADE = CousinSettings(count=5, seed=3, vary=("appearance=0.5", "light"), gap_mm=5.0)
WALLS = "pocketworld_wall_*"


@pytest.fixture(scope="module")
def bench_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With a scene, in a path with a space and an umlaut."""
    return project_at(tmp_path_factory.mktemp("cousins") / "Küche eins")


@pytest.fixture(scope="module")
def made_project(tmp_path_factory: pytest.TempPathFactory, bench_project: Project) -> Project:
    """The same with cousins."""
    folder = tmp_path_factory.mktemp("made") / "bench"
    shutil.copytree(bench_project.folder, folder)
    make_cousins(Project(folder), MADE)
    return Project(folder)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Project], Project]:
    return lambda project: Project(shutil.copytree(project.folder, tmp_path / project.name))


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(QSettings(str(tmp_path / "preferences.ini"), QSettings.Format.IniFormat))
    yield made
    made.jobs.stop_all()


@pytest.fixture
def page_of(qtbot: QtBot, desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A page that shows a project; afterwards none of its processes and files may be left."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    monkeypatch.setenv("TMPDIR", str(pictures))
    pages: list[CousinsPage] = []
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    def show(project: Project | None) -> CousinsPage:
        if project is not None:
            assert desk.open_project(project.folder)
        page = CousinsPage(desk)
        qtbot.addWidget(page)
        pages.append(page)
        page.resize(1090, 740)
        if project is None or not page._record:
            page.strengths.set_values({**dict.fromkeys(VARIATIONS, 0.0), "appearance": 0.5, "light": 1.0})
            page.form.set_values({"count": 5})
        page.show()
        return page

    yield show
    for page in pages:
        page.close()
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert [child for child in left if "cousin_wall" in " ".join(child.cmdline())] == []
    assert list(pictures.glob(WALLS)) == []


def drawn(page: CousinsPage) -> bool:
    return bool(page.tiles.tiles) and all(tile.fresh for tile in page.tiles.tiles)


def settled(page: CousinsPage) -> bool:
    return bool(page.tiles.tiles) and not page.tiles.missing()


def pixels(page: CousinsPage, number: int) -> QImage:
    picture = page.tiles.tiles[number].image
    assert picture is not None
    return picture.toImage()


class Heartbeat:
    """Looks every few milliseconds whether the window would answer."""

    def __init__(self) -> None:
        self.worst_s, self._last = 0.0, time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(5)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.worst_s = max(self.worst_s, now - self._last)
        self._last = now

    def stop(self) -> float:
        self._timer.stop()
        return self.worst_s


def test_the_wall_follows_the_sliders(qtbot: QtBot, page_of: Any, bench_project: Project) -> None:
    page = page_of(bench_project)
    heard: list[tuple[int, int, bool]] = []
    page.wall.picture.connect(lambda event, _image: heard.append((event["ticket"], event["index"], event["sketch"])))
    asked: list[float] = []
    ask = page.wall.ask
    page.wall.ask = lambda *args, **more: (asked.append(time.perf_counter()), ask(*args, **more))[1]
    qtbot.waitUntil(lambda: drawn(page), timeout=30_000)
    assert [index for _, index, _ in heard[:5]] == [0, 1, 2, 3, 4]
    assert heard[0][2]  # a sketch comes first
    before = [pixels(page, number) for number in range(5)]
    process = page.wall.process_id()

    heart = Heartbeat()
    heard.clear()
    asked.clear()
    old, moved = page.wall.ticket, time.perf_counter()
    for value in (12, 14, 16):
        page.strengths.slider("light").setValue(value)
        qtbot.wait(60)
    assert asked == []
    qtbot.waitUntil(lambda: not page.tiles.tiles[0].fresh, timeout=2000)
    assert len(asked) == 1  # for all three moves, a quarter of a second after the last one
    assert asked[0] - moved > 0.32  # Qt's timers are 5 % off at times
    qtbot.waitUntil(lambda: drawn(page), timeout=30_000)
    assert {ticket for ticket, _, _ in heard} == {old + 1}
    assert all(pixels(page, number) != before[number] for number in range(5))
    qtbot.waitUntil(lambda: settled(page), timeout=30_000)
    assert heart.stop() < 0.1
    assert page.wall.process_id() == process  # the scene was loaded once
    assert "would be made" in page.state.text()


def test_settings_stay_with_their_project(
    qtbot: QtBot,
    desk: Desk,
    page_of: Any,
    bench_project: Project,
    made_project: Project,
    copy_of: Callable[[Project], Project],
) -> None:
    page = page_of(made_project)
    qtbot.waitUntil(lambda: page._ready, timeout=30_000)
    page.hide()  # nothing is drawn
    assert page.form.values()["count"] == 5
    page.strengths.slider("light").setValue(3)
    page.strengths.box("pose").setChecked(False)
    desk.open_project(copy_of(bench_project).folder)
    assert page.strengths.values() == strengths_of(())
    assert page.form.values() == {"count": 100}
    page.form.set_values({"count": 3})
    desk.open_project(made_project.folder)
    assert page.strengths.values() == strengths_of(MADE.vary)
    assert page.form.values() == {"count": 5, "seed": 3, "gap_mm": 5.0}
    desk.close_project()
    assert page.form.values() == {"count": 100}


def test_sliders_that_are_off_are_disabled_and_each_says_its_range(page_of: Any, bench_project: Project) -> None:
    page = page_of(bench_project)
    assert not page.strengths.slider("pose").isEnabled()
    page.strengths.box("pose").setChecked(True)
    assert page.strengths.slider("pose").isEnabled()
    assert all("100 %: " in page.strengths.slider(name).toolTip() for name in VARIATIONS)
    assert "up to 4 cm off and 8° turned" in page.strengths.slider("mount").toolTip()


def test_what_was_drawn_again_is_said_in_words(page_of: Any) -> None:
    page = page_of(None)
    said = page._tries({"pose": 400, "mount": 20}, 10)
    assert said.startswith("To find each valid cousin, about 42 other draws were given up")
    assert said.endswith("mostly places that were taken (pose).")
    assert page._tries({}, 10) == ""


def test_what_belongs_to_an_older_ticket_is_not_shown(qtbot: QtBot, page_of: Any, bench_project: Project) -> None:
    page = page_of(bench_project)
    qtbot.waitUntil(lambda: settled(page), timeout=30_000)
    shown, late = pixels(page, 1), page.wall._folder / "late.jpg"
    blank = QImage(30, 20, QImage.Format.Format_RGB32)
    blank.fill(Qt.GlobalColor.red)
    for ticket in (page.wall.ticket - 1, page.wall.ticket):
        assert blank.save(str(late))
        event = {"event": "picture", "index": 1, "size": 300, "path": str(late), "made": False, "sketch": False}
        page.wall._take({**event, "ticket": ticket, "facts": {}})
        assert not late.exists()
        assert (pixels(page, 1) == shown) is (ticket < page.wall.ticket)


def test_a_killed_process_is_told_and_mended(qtbot: QtBot, page_of: Any, bench_project: Project) -> None:
    page = page_of(bench_project)
    qtbot.waitUntil(lambda: drawn(page), timeout=30_000)
    assert page.retry.isHidden()
    folder = page.wall._folder
    os.kill(page.wall.process_id(), signal.SIGKILL)
    qtbot.waitUntil(lambda: page.complaint.text() != "", timeout=5000)
    assert not page.retry.isHidden()
    assert not folder.exists()
    page.strengths.slider("light").setValue(18)
    qtbot.wait(400)
    assert not page.wall.runs
    qtbot.mouseClick(page.retry, Qt.MouseButton.LeftButton)
    assert page.complaint.text() == ""
    assert page.retry.isHidden()
    qtbot.waitUntil(lambda: drawn(page), timeout=30_000)


def test_another_project_ends_the_process(
    qtbot: QtBot, desk: Desk, page_of: Any, bench_project: Project, copy_of: Callable[[Project], Project]
) -> None:
    page = page_of(bench_project)
    qtbot.waitUntil(lambda: page._ready, timeout=30_000)
    first = psutil.Process(page.wall.process_id())
    other = copy_of(bench_project)
    started = time.perf_counter()
    desk.open_project(other.folder)
    assert time.perf_counter() - started < 0.1  # nobody waits for it
    assert all(tile.image is None for tile in page.tiles.tiles)
    assert page.wall.process_id() != first.pid
    qtbot.waitUntil(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, timeout=5000)
    qtbot.waitUntil(lambda: drawn(page), timeout=30_000)
    desk.close_project()
    assert not page.wall.runs
    assert page._pages.currentIndex() == 0


def test_without_a_scene_it_says_so(qtbot: QtBot, desk: Desk, page_of: Any, tmp_path: Path) -> None:
    project = Project(tmp_path / "new")
    project.create(Path("none"))
    page = page_of(project)
    assert page._pages.currentIndex() == 0
    assert "no scene" in page.empty.text.text()
    assert not page.make.isEnabled()
    assert not page.wall.runs
    with qtbot.waitSignal(desk.step_wanted) as wanted:
        qtbot.mouseClick(page.empty.button, Qt.MouseButton.LeftButton)
    assert wanted.args == ["scan"]


def test_made_cousins_are_shown_opened_and_written(
    qtbot: QtBot, desk: Desk, page_of: Any, made_project: Project, copy_of: Callable[[Project], Project], tmp_path: Path
) -> None:
    project = copy_of(made_project)
    page = page_of(project)
    # The sliders and the form show what they were made with.
    assert page.strengths.values() == strengths_of(MADE.vary)
    assert page.form.values() == {"count": 5, "seed": 3, "gap_mm": 5.0}
    assert "5 cousins" in page.heading.text()
    assert page.heading.toolTip() == "" or "other draws were given up: mostly" in page.heading.toolTip()
    qtbot.waitUntil(lambda: settled(page), timeout=30_000)
    assert all(tile.made for tile in page.tiles.tiles)
    assert "first of them" in page.state.text()
    # A click opens one, large, with its facts.
    rect = page.tile_view.visualRect(page.tiles.index(2))
    qtbot.mouseClick(page.tile_view.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert page._pages.currentWidget() is page.view
    qtbot.waitUntil(lambda: page.view.picture.whole().width() == 960, timeout=10_000)
    assert "block 1" in page.view.facts()
    assert page.view.write.isEnabled()
    assert page.view.open_scene.isHidden()
    out = tmp_path / "cousin two"
    job = page.write_scene(2, out)
    qtbot.waitUntil(lambda: job.is_over, timeout=30_000)
    assert job.state.kind == "done"
    assert json.loads((out / "scene.json").read_text())["objects"]
    opened: list[Path] = []
    page.open_scene = opened.append
    qtbot.waitUntil(lambda: not page.view.open_scene.isHidden(), timeout=2000)
    qtbot.mouseClick(page.view.open_scene, Qt.MouseButton.LeftButton)
    assert opened == [out]
    # Keys: the next one, and back to the wall.
    qtbot.keyClick(page.view, Qt.Key.Key_PageDown)
    assert page.view.title.text() == "Cousin 3"
    assert page.view.open_scene.isHidden()
    qtbot.keyClick(page.view, Qt.Key.Key_Escape)
    assert page._pages.currentIndex() == 1
    # Other settings: none of them is made, so none can be written.
    page.strengths.box("light").setChecked(False)
    qtbot.waitUntil(lambda: drawn(page) and not page.tiles.tiles[0].made, timeout=30_000)
    page._open_view(0)
    assert not page.view.write.isEnabled()


def test_it_makes_cousins_and_says_when_they_are_stale(
    qtbot: QtBot, desk: Desk, page_of: Any, bench_project: Project, copy_of: Callable[[Project], Project]
) -> None:
    project = copy_of(bench_project)
    page = page_of(project)
    page.form.set_values({"count": 4, "seed": 8})
    assert page.task().words == (
        "cousins",
        str(project.folder),
        "--count",
        "4",
        "--seed",
        "8",
        "--vary",
        "appearance=0.5",
        "light",
    )
    qtbot.mouseClick(page.make, Qt.MouseButton.LeftButton)
    job = desk.jobs.last("cousins", project.folder)
    assert job is not None
    assert page.panel.job is job
    assert page.heading.text() == "4 cousins are being made …"
    assert not page.make.isEnabled()
    page.run()  # none is queued twice
    assert [other for other in desk.jobs.all if not other.is_over] == [job]
    qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    assert job.state.kind == "done", job.state.failure
    assert len((project.folder / "cousins" / RECIPES).read_text().splitlines()) == 4
    assert "4 cousins" in page.heading.text()
    qtbot.waitUntil(lambda: settled(page) and page.tiles.tiles[0].made, timeout=30_000)
    assert page.stale.text() == ""
    assert page.make.isEnabled()
    assert page.make.text() == "Make cousins"
    scene = Scene.load(project.stage_folder("scene"))
    shutil.rmtree(project.stage_folder("scene") / "meshes", ignore_errors=True)
    first, *others = scene.objects
    pose = first.scene_from_object.copy()
    pose[0, 3] += 0.02
    stage = (project.stage_folder("scene") / "stage.json").read_text()
    replace(scene, objects=(replace(first, scene_from_object=pose), *others)).save(project.stage_folder("scene"))
    (project.stage_folder("scene") / "stage.json").write_text(stage)
    process = page.wall.process_id()
    desk.refreshed.emit()
    assert "scene" in page.stale.text()
    assert "Make them again" in page.stale.text()
    assert page.make.text() == "Make them again"
    assert page.wall.process_id() != process  # it must load the scene as it is now
    qtbot.waitUntil(lambda: settled(page) and not page.tiles.tiles[0].made, timeout=30_000)


def test_settings_that_have_no_cousins(qtbot: QtBot, desk: Desk, page_of: Any, bench_project: Project) -> None:
    page = page_of(bench_project)
    page.strengths.box("pose").setChecked(True)
    page.form.set_values({"attempts": 2, "gap_mm": 900.0})
    qtbot.waitUntil(lambda: page.complaint.text() != "", timeout=30_000)
    assert "never valid" in page.complaint.text()
    assert page.retry.isHidden()  # other settings help, not another try
    page.form.set_values({"attempts": 300, "gap_mm": 4.0})
    qtbot.waitUntil(lambda: drawn(page), timeout=30_000)
    assert page.complaint.text() == ""
    page.form.set_values({"keep": ("nothing",)})
    page.run()
    job = desk.jobs.last("cousins", bench_project.folder)
    assert job is not None
    qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    assert job.state.kind == "failed"
    assert "'nothing' to keep" in page.panel.failed.text()
    page.form.set_values({"count": 0})
    problems: list[str] = []
    desk.problem.connect(lambda message, _remedy: problems.append(message))
    page.run()
    assert len(problems) == 1


def test_more_tiles_and_hidden_pages(qtbot: QtBot, page_of: Any, bench_project: Project) -> None:
    page = page_of(bench_project)
    page.form.set_values({"count": 20})
    qtbot.waitUntil(lambda: len(page.tiles.tiles) == 12 and drawn(page), timeout=30_000)
    assert not page.more.isHidden()
    page.hide()
    ticket = page.wall.ticket
    page.strengths.slider("light").setValue(5)
    qtbot.wait(400)
    assert page.wall.ticket == ticket  # nobody sees it
    page.show()
    qtbot.waitUntil(lambda: page.wall.ticket > ticket and drawn(page), timeout=30_000)
    qtbot.mouseClick(page.more, Qt.MouseButton.LeftButton)
    assert len(page.tiles.tiles) == 20
    assert page.more.isHidden()
    assert page.tiles.tiles[0].fresh  # only the new ones are drawn
    page.form.set_values({"count": 4})
    assert not page.tile_view.verticalScrollBar().isVisible()
    page.tile_view.setFixedHeight(120)
    qtbot.waitUntil(lambda: page.tile_view.verticalScrollBar().isVisible(), timeout=2000)
    bottom = page.tile_view.verticalScrollBar().maximum()
    assert bottom > 0
    page.tile_view.setMinimumHeight(0)
    page.tile_view.setMaximumHeight(10_000)
    qtbot.waitUntil(lambda: not page.tile_view.verticalScrollBar().isVisible(), timeout=2000)
    page.form.set_values({"count": 20})
    qtbot.waitUntil(lambda: settled(page), timeout=30_000)


def test_every_control_is_named_and_explained(page_of: Any, bench_project: Project) -> None:
    page = page_of(bench_project)
    for kind in (QPushButton, QToolButton, QSlider, QCheckBox):
        for widget in page.findChildren(kind):
            name = widget.accessibleName() or getattr(widget, "text", str)()
            assert name, widget
            if widget.objectName() != "qt_spinbox_lineedit" and widget.parent() is not None:
                told = widget.toolTip() or widget is page.form._fold
                assert told, name
    assert not [text for text in page.findChildren(QLabel) if text.isVisible() and text.width() > page.width()]


def test_the_process_ends_with_its_stdin(tmp_path: Path, bench_project: Project) -> None:
    env = {**environment(False), "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "app.cousin_wall", str(bench_project.stage_folder("scene"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["event"] == "ready"
        assert len(list(tmp_path.glob(WALLS))) == 1
        ask = {"ticket": 1, "vary": [], "seed": 0, "first": 0, "count": 500, "size": 64}
        running.stdin.write(b"no json\n" + json.dumps(ask).encode() + b"\n")
        running.stdin.flush()
        events = [json.loads(running.stdout.readline()) for _ in range(2)]
        assert "picture" in [event["event"] for event in events]
        running.stdin.close()
        assert running.wait(timeout=5) == 0
    assert list(tmp_path.glob(WALLS)) == []


def test_a_scene_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    env = {**environment(False), "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "app.cousin_wall", str(tmp_path / "none")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as running:
        assert running.stdout is not None
        event = json.loads(running.stdout.readline())
        assert (event["event"], bool(event["message"]), bool(event["remedy"])) == ("error", True, True)
        assert running.wait(timeout=10) == event["exit_code"] != 0
    assert list(tmp_path.glob(WALLS)) == []


def test_a_scene_that_cannot_be_drawn_is_told_once(
    qtbot: QtBot, page_of: Any, bench_project: Project, copy_of: Callable[[Project], Project]
) -> None:
    project = copy_of(bench_project)
    (project.stage_folder("scene") / "scene.json").write_text("{}")
    page = page_of(project)
    qtbot.waitUntil(lambda: page.complaint.text() != "" and not page.wall.runs, timeout=20_000)
    assert "exit code" not in page.complaint.text()  # what it says itself, not that it is gone
    assert not page.retry.isHidden()


def test_the_wall_shows_the_very_cousins_that_are_made() -> None:
    """Tried one by one when they are asked for, things stand as where all are tried beforehand."""
    vary = ("pose=0.9", "shape", "support=0.5", "camera", "light")
    whole = bench()
    scene = replace(whole, objects=tuple(item for item in whole.objects if item.name != "bowl_1"))  # many parts: slow
    settings = CousinSettings(count=4, seed=2, vary=vary)
    wardrobe = replace(wardrobe_of(scene, settings.seed, strengths_of(vary)), forms=2)
    usual = Draw(wardrobe.bare(), build(wardrobe.bare()), settings)
    wall = Wall(Path(tempfile.gettempdir()), scene, Path(), print, lambda: False)
    lazy, trials = wall._draw(settings, wardrobe, sketch=False)
    trials.stacks_now = True
    for index in range(4):
        assert lazy.cousin(index)[0].to_json() == usual.cousin(index)[0].to_json()
    wall.superseded = lambda: True
    with pytest.raises(Superseded):
        wall._draw(replace(settings, seed=9), replace(wardrobe, seed=9), sketch=False)[1].alone("can_1", 0)


def test_what_is_said_of_a_cousin(made_project: Project) -> None:
    scene = Scene.load(made_project.stage_folder("scene"))
    line = (made_project.folder / "cousins" / RECIPES).read_text().splitlines()[0]
    cousin = Cousin.from_json(line)
    facts = facts_of(cousin, scene)
    assert {thing["name"] for thing in facts["things"]} == {item.name for item in scene.objects}
    assert set(facts) == {"things", "tilt_deg", "light"}
    objects = dict(cousin.objects)
    gone = objects.pop("box_1")
    objects["extra_1"] = replace(gone, source="+mug_2")
    objects["can_1"] = replace(objects["can_1"], source="can_1~bottle_3")
    facts = facts_of(replace(cousin, objects=objects), scene)
    said = dict(sentences(facts, str))
    assert said["Swapped"] == ["can 1 → bottle 3"]
    assert said["Added"] == ["mug 2"]
    assert said["Taken away"] == ["box 1"]
    assert summary(facts, str).startswith("1 swapped, 1 added, 1 taken away")


def test_words_mean_what_the_sliders_show() -> None:
    for vary in ((), ("all=0.5",), ("all=0",), ("pose=0.35", "light"), ("all", "camera=0")):
        strengths = strengths_of(vary)
        assert strengths_of(words_for(strengths)) == strengths
    assert words_for(strengths_of(())) == []

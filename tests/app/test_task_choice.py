"""What the policy page helps with before and after a training: things by their pictures, what fits, what varies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QImage, QWheelEvent
from PySide6.QtWidgets import QApplication, QComboBox, QWidget
from pytestqt.qtbot import QtBot

from app.gui import theme
from app.gui.cousins_page import CousinsPage
from app.gui.desk import Desk
from app.gui.job import Failed
from app.gui.policy_failures import reworded
from app.gui.policy_page import VARY, PolicyPage
from app.gui.sizes import Thing, misfit, usual_place, usual_thing, vessels_first
from app.gui.task_chooser import CLEAR, IN, ON, TaskChooser
from app.gui.thing_pictures import PICTURE
from app.gui.walk import LEAST, standing
from app.gui.window import MainWindow
from app.project import Project
from app.skill_stage import SkillSettings
from app.thing_pictures import pictures
from simulation.variations import strengths_of
from tests.app.skill_projects import FakeCommand, made_policy, made_project, progress, understood, write
from tests.app.windows import Heartbeat, cut_off, told_nothing
from tests.conftest import environment
from tests.small_scenes import box, cylinder, scene_of, thing

RED, GREEN = (210, 40, 40), (40, 190, 60)
WAIT_MS = 20_000
SAMPLE = [
    {"name": name, "mass_kg": mass, "size_m": size}
    for name, mass, size in (
        ("flat_1", 0.257, [0.2735, 0.2672, 0.0102]),
        ("container_1", 0.154, [0.0744, 0.1053, 0.0915]),
        ("bottle_1", 0.243, [0.063, 0.0627, 0.2438]),
        ("container_2", 0.192, [0.1276, 0.1274, 0.0595]),
        ("object_2", 0.106, [0.0774, 0.0764, 0.06]),
        ("object_3", 0.0499, [0.0536, 0.0687, 0.0526]),
        ("stick_2", 0.0475, [0.0722, 0.201, 0.0304]),
    )
]


@pytest.fixture
def page(qtbot: QtBot, desk: Desk) -> Iterator[PolicyPage]:
    made = PolicyPage(desk)
    made.resize(1090, 740)
    made.show()
    qtbot.waitExposed(made)
    yield made
    desk.jobs.stop_all()
    made.close()
    made.deleteLater()


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A project of a red box and a green can that can be drawn."""
    project = made_project(tmp_path / "Küche 1", scene=False)
    made = [thing("box", box(0.05, 0.05, 0.05), (-0.15, 0, 0)), thing("can", cylinder(0.04, 0.12), (0.15, 0, 0))]
    for number, color in enumerate((RED, GREEN)):
        visual = made[number].visual
        colors = np.tile(np.array(color, dtype=np.uint8), (len(visual.vertices), 1))
        made[number] = replace(made[number], visual=replace(visual, colors=colors))
    scene_of(*made).save(project / "scene")
    write(project / "scene" / "stage.json", {"stage": "scene"})
    return project


def middle(chooser: TaskChooser, name: str, of: QComboBox | None = None) -> tuple[int, int, int, int]:
    """Colour of the middle of a thing's picture."""
    of = chooser.what if of is None else of
    picture = of.itemIcon(of.findText(name)).pixmap(PICTURE).toImage()
    color = picture.pixelColor(picture.width() // 2, picture.height() // 2)
    return color.red(), color.green(), color.blue(), color.alpha()


def edit(project: Path, **names: str | None) -> None:
    """Rename things, or delete them."""
    path = project / "scene" / "scene.json"
    document = json.loads(path.read_text())
    for old, new in names.items():
        document["objects"] = [entry for entry in document["objects"] if new or entry["name"] != old]
        for entry in document["objects"]:
            entry["name"] = new if entry["name"] == old else entry["name"]
    path.write_text(json.dumps(document) + " ")


# --- pictures --------------------------------------------------------------------------------------------------------


def test_things_are_chosen_by_their_pictures(qtbot: QtBot, page: PolicyPage, desk: Desk, drawn: Path) -> None:
    chooser = page.chooser
    assert not page.pictures.runs
    with Heartbeat() as heartbeat:
        desk.open_project(drawn)
        assert page.pictures.runs
        assert middle(chooser, "box") == (0, 0, 0, 0)  # as much room from the first
        high = chooser.what.sizeHint()
        qtbot.waitUntil(lambda: chooser.has_picture("can") and not page.pictures.runs, timeout=WAIT_MS)
    assert heartbeat.longest_s < 0.1
    assert chooser.what.sizeHint() == high
    assert high.height() >= PICTURE.height()
    for box_ in (chooser.what, chooser.where):
        red, green = middle(chooser, "box", box_), middle(chooser, "can", box_)
        assert red[3] == green[3] == 255
        assert red[0] > red[1] + 60
        assert green[1] > green[0] + 60
    kept = drawn / ".cache" / "pictures"
    assert len(list(kept.glob("*.png"))) == 2
    desk.refreshed.emit()
    assert not page.pictures.runs  # nothing has changed

    page.chooser.pick("can")
    edit(drawn, can="milk")
    desk.refreshed.emit()
    assert chooser.words() == "put milk in box"  # it follows the name
    qtbot.waitUntil(lambda: chooser.has_picture("milk"), timeout=WAIT_MS)
    assert middle(chooser, "milk")[1] > middle(chooser, "milk")[0] + 60

    edit(drawn, milk=None)
    desk.refreshed.emit()
    assert [chooser.what.itemText(index) for index in range(chooser.what.count())] == ["box"]
    desk.close_project()
    assert not page.pictures.runs
    assert not chooser.has_picture("box")  # another project's box looks otherwise


def test_nobody_draws_for_a_hidden_page(qtbot: QtBot, page: PolicyPage, desk: Desk, drawn: Path) -> None:
    desk.open_project(drawn)
    assert page.pictures.runs
    with Heartbeat() as heartbeat:
        page.hide()
        assert not page.pictures.runs
        qtbot.wait(100)
    assert heartbeat.longest_s < 0.1
    desk.refreshed.emit()
    assert not page.pictures.runs
    page.show()
    qtbot.waitUntil(lambda: page.chooser.has_picture("box"), timeout=WAIT_MS)


def test_the_window_closes_while_they_are_drawn(qtbot: QtBot, window: MainWindow, drawn: Path) -> None:
    window.desk.open_project(drawn)
    page = window.page("policy")
    assert isinstance(page, PolicyPage)
    assert page.pictures.runs
    window.close()
    assert not page.pictures.runs


def test_pictures_are_kept_as_long_as_the_files_are_the_same(drawn: Path) -> None:
    scene, kept = drawn / "scene", drawn / "kept"
    first = dict(pictures(scene, kept, (96, 72)))
    assert list(first) == ["box", "can"]
    assert QImage.fromData(first["box"]).size() == 2 * PICTURE
    for path in kept.iterdir():
        path.write_bytes(b"kept")
    assert set(dict(pictures(scene, kept, (96, 72))).values()) == {b"kept"}
    os.utime(scene / "objects" / "can" / "visual.obj", ns=(1, 1))
    again = dict(pictures(scene, kept, (96, 72)))
    assert again == {"box": b"kept", "can": first["can"]}
    assert len(list(kept.iterdir())) == 2  # what the can looked like before is gone
    assert dict(pictures(scene, scene / "scene.json", (96, 72))) == first  # it cannot be written there


def test_a_thing_that_cannot_be_drawn_costs_no_other_its_picture(drawn: Path) -> None:
    (drawn / "scene" / "objects" / "box" / "visual.obj").write_text("v 0 0 zero\n")
    assert list(dict(pictures(drawn / "scene", drawn / "kept", (96, 72)))) == ["can"]


def test_the_process_says_what_it_has_and_ends_with_its_stdin(drawn: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "app.thing_pictures", str(drawn / "scene"), str(drawn / "kept"), "96", "72"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(False)) as running:
        assert running.stdout is not None
        events = [json.loads(line) for line in running.stdout]
        assert running.wait(timeout=10) == 0
    assert [(event["event"], event["name"]) for event in events] == [("picture", "box"), ("picture", "can")]
    words[3] = str(tmp_path / "none")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(False)) as running:
        assert running.stdout is not None
        assert [json.loads(line)["event"] for line in running.stdout] == ["error"]
    (drawn / "scene" / "scene.json").unlink()
    os.mkfifo(drawn / "scene" / "scene.json")  # nothing ever comes of it
    words[3] = str(drawn / "scene")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(False)) as running:
        assert running.stdin is not None
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(timeout=2)
        running.stdin.close()
        assert running.wait(timeout=5) == 0


# --- what fits -------------------------------------------------------------------------------------------------------


def test_a_thing_is_proposed_that_fits(qtbot: QtBot) -> None:
    chooser = TaskChooser()
    qtbot.addWidget(chooser)
    chooser.show_objects(SAMPLE)
    assert chooser.words() == "put stick_2 in container_2"
    places = [chooser.where.itemText(index) for index in range(chooser.where.count())]
    assert places[:3] == ["container_2", "container_1", "flat_1"]
    assert sorted(places) == sorted(entry["name"] for entry in SAMPLE)
    assert chooser.misfit.text() == (
        "stick_2 is longer (20 cm) than container_2 is wide (13 cm): it has to be leaned in, and may come to "
        "lie across it."
    )
    chooser.pick("object_3")
    assert chooser.misfit.text() == (
        "object_3 is small (7 cm): the cameras hardly see it. A larger thing is learnt better."
    )
    assert not chooser.misfit.isHidden()
    chooser.pick("flat_1")
    assert chooser.misfit.isHidden()  # that is not hard but impossible
    assert chooser.senseless.text() == "flat_1 (27 × 27 cm) does not fit into container_2, which is 13 cm wide."
    chooser.verb.setCurrentIndex(3)
    assert not chooser.senseless.text()  # it may well be pushed
    chooser.verb.setCurrentIndex(0)
    assert chooser.senseless.text()
    chooser.sentence.setText("push flat_1")
    assert not chooser.senseless.text()
    chooser.pick("bottle_1")
    assert chooser.misfit.isHidden()
    chooser.pick("stick_2")
    smaller = [{**entry, "size_m": [0.03, 0.09, 0.03]} if entry["name"] == "stick_2" else entry for entry in SAMPLE]
    chooser.show_objects(smaller)
    assert chooser.misfit.isHidden()  # it was made smaller


def test_what_makes_no_sense_is_said(qtbot: QtBot) -> None:
    chooser = TaskChooser()
    qtbot.addWidget(chooser)
    chooser.show_objects(SAMPLE)
    assert [chooser.verbs[number].words.split()[0] for number in (IN, CLEAR, *ON)] == ["put", "clear", "stack", "put"]
    chooser.pick("flat_1")
    for verb in ON:
        chooser.verb.setCurrentIndex(verb)
        chooser.where.setCurrentText("bottle_1")
        assert chooser.senseless.text() == "flat_1 is broader than bottle_1: it will hardly stay on it."
        chooser.where.setCurrentText("container_2")
        assert "broader" in chooser.senseless.text()
    chooser.pick("object_3")
    chooser.where.setCurrentText("bottle_1")
    assert chooser.senseless.text() == "bottle_1 is tall and slender: what stands on it tips it over."
    chooser.where.setCurrentText("flat_1")
    assert not chooser.senseless.text()
    chooser.verb.setCurrentIndex(CLEAR)
    assert chooser.senseless.text() == "Is flat_1 open above? The scan found these to be: container_1, container_2."
    chooser.where.setCurrentText("container_1")
    assert not chooser.senseless.text()
    chooser.show_objects([{**entry, "name": f"thing_{number}"} for number, entry in enumerate(SAMPLE)])
    assert not chooser.senseless.text()  # nobody knows of any that is open


def test_what_fits_is_judged_by_sizes() -> None:
    things = [Thing.of(entry) for entry in SAMPLE]
    assert [thing.name for thing in vessels_first(things)][:2] == ["container_2", "container_1"]
    assert usual_place(things) == "container_2"
    assert usual_thing(things, "container_2") == "stick_2"  # of what fits, the lightest that is seen and held well
    rod = Thing("rod", (0.03, 0.03, 0.2), 0.01)
    assert usual_thing([*things, rod], "container_2") == "rod"
    cube, ball = Thing("cube", (0.05, 0.05, 0.05), 0.2), Thing("ball", (0.07, 0.07, 0.07), 0.1)
    assert usual_thing([cube, ball, Thing("bowl", (0.2, 0.2, 0.1), 0.1)], "bowl") == "ball"  # nothing better is there
    assert misfit(cube, Thing("bowl", (0.2, 0.2, 0.1))) == "small"
    assert usual_thing([rod, Thing.of(SAMPLE[1]), Thing.of(SAMPLE[4])], "container_1") == "rod"  # all that goes in
    flat, bowl = Thing("flat", (0.3, 0.3, 0.01), 0.01), Thing("bowl", (0.2, 0.2, 0.1), 0.1)
    assert usual_thing([flat, bowl, Thing("ball", (0.06, 0.06, 0.06), 0.2)], "bowl") == "ball"
    assert usual_thing([flat, bowl], "bowl") == "flat"  # there is nothing else
    assert usual_place([flat, Thing("block", (0.2, 0.2, 0.2))]) == "block"  # nothing goes into what is flat
    assert usual_place([]) == usual_thing([], "") == ""
    assert usual_thing([bowl], "bowl") == "bowl"
    assert misfit(Thing("bottle", (0.06, 0.06, 0.24)), bowl) == ""  # it stands
    assert misfit(Thing("rod", (0.02, 0.21, 0.02)), bowl) == "long"
    assert misfit(Thing("tray", (0.21, 0.21, 0.02)), bowl) == "large"
    assert misfit(Thing("unknown"), bowl) == misfit(flat, Thing("unknown")) == ""
    assert Thing.of({"name": "odd", "size_m": ["a", 1, 2], "mass_kg": None}) == Thing("odd")


def test_the_wheel_scrolls_past_what_is_chosen(qtbot: QtBot, page: PolicyPage, desk: Desk, tmp_path: Path) -> None:
    desk.open_project(made_project(tmp_path / "one"))
    page.varying.fold.click()
    before = page.task().words
    passed: list[QWidget] = [page.chooser.what, page.chooser.verb, page.preset, page.varying.strengths.slider("pose")]
    for widget in passed:
        widget.clearFocus()
        at = QPointF(widget.rect().center())
        none, turned = Qt.MouseButton.NoButton, QPointF(0, -240).toPoint()
        wheel = QWheelEvent(
            at, widget.mapToGlobal(at), turned, turned, none, Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(widget, wheel)
        assert page.task().words == before, widget


# --- what varies -----------------------------------------------------------------------------------------------------


def test_sliders_say_what_varies(page: PolicyPage, desk: Desk, tmp_path: Path) -> None:
    desk.open_project(made_project(tmp_path / "one"))
    words = page.task().words
    assert words[4:] == (  # as they were when it was a line of text
        "--demonstrations", "85", "--steps", "1300", "--vary", *VARY,
        "--glances", "300", "--eye-steps", "4400", "--blunders", "60",
    )  # fmt: skip
    strengths = page.varying.strengths
    assert not strengths.isVisible()
    assert page.varying.said.text() == "Pose, Appearance, Light, Camera, Physics"
    page.varying.fold.click()
    assert strengths.isVisible()
    assert not any(widget.text() == "Vary" for widget in page.form.findChildren(type(page.varying.said)))
    strengths.slider("light").setValue(10)
    strengths.box("swap").setChecked(True)
    strengths.box("camera").setChecked(False)
    assert page.varying.said.text() == "Pose, Swap, Appearance, Light 50 %, Physics"
    words = page.task().words
    at = words.index("--vary")
    assert words[at : at + 6] == ("--vary", "pose", "swap", "appearance", "light=0.5", "physics")
    understood(words)
    page.varying.usual.click()
    assert page.form.control("vary").read() == VARY
    page.varying.control.write(())
    assert "--vary" not in page.task().words
    assert "Everything" in page.varying.said.text()
    page.varying.control.write(("all=0",))
    assert "Nothing" in page.varying.said.text()


def test_what_varies_stays_with_its_project(page: PolicyPage, desk: Desk, tmp_path: Path) -> None:
    one, other = made_project(tmp_path / "one"), made_project(tmp_path / "other")
    desk.open_project(one)
    page.varying.strengths.slider("pose").setValue(5)
    before = page.task().words
    assert "pose=0.25" in before
    desk.open_project(other)
    assert page.form.control("vary").read() == VARY
    desk.open_project(one)
    assert page.task().words == before


def test_strengths_are_taken_over_from_the_cousins_page(
    qtbot: QtBot, page: PolicyPage, desk: Desk, tmp_path: Path
) -> None:
    project = made_project(tmp_path / "one")
    desk.open_project(project)
    strengths = page.varying.strengths
    page.varying.as_cousins.click()
    assert strengths.values() == strengths_of(())  # what is usual there
    record = project / "cousins" / "stage.json"
    write(record, {"stage": "cousins", "settings": {"vary": ["light=0.5", "pose"]}})
    page.varying.as_cousins.click()
    assert strengths.values() == strengths_of(["light=0.5", "pose"])
    write(record, {"stage": "cousins", "settings": {"vary": ["light=much"]}})
    page.varying.as_cousins.click()
    assert strengths.values() == strengths_of(())

    cousins = CousinsPage(desk)
    qtbot.addWidget(cousins)
    cousins.strengths.set_values(strengths_of(["mount=0.3"]))  # as somebody has them now, made or not
    page.varying.as_cousins.click()
    assert strengths.values() == strengths_of(["mount=0.3"])
    desk.open_project(made_project(tmp_path / "other"))
    page.varying.as_cousins.click()
    assert strengths.values() == strengths_of(())  # those were the other project's


# --- weak policies ---------------------------------------------------------------------------------------------------


def exported(project: Path, policy: Path) -> None:
    write(project / "bundle" / policy.name / "manifest.json", {})


def test_a_weak_policy_is_never_green(tmp_path: Path) -> None:
    assert SkillSettings("x").least == LEAST
    project = made_project(tmp_path / "one")

    def stands() -> tuple[str, str]:
        found = standing(Project(project))["policy"]
        return found.kind, found.text

    policy = made_policy(project, done=80)
    assert stands() == ("done", "80 % success")
    made_policy(project, done=79)
    assert stands() == ("weak", "79 % success: weak")
    exported(project, policy)
    assert stands() == ("done", "79 % success")  # somebody wanted it so
    made_policy(project, done=0)
    assert stands() == ("weak", "0 % success: weak")


@pytest.mark.parametrize("name", ["dark", "light"])
def test_a_weak_policy_is_amber_everywhere(
    qtbot: QtBot, window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qapp: QApplication, name: str
) -> None:
    theme.apply(qapp, name)
    command = FakeCommand(tmp_path / "command", monkeypatch)
    project = made_project(tmp_path / "one")
    made_policy(project, done=12)
    window.desk.open_project(project)
    page = window.page("policy")
    assert isinstance(page, PolicyPage)

    def dot() -> str:
        return window._steps["policy"]._dot.pixmap().toImage().pixelColor(7, 7).name()

    assert page.detail_weak.text() == "Trained, but too weak to export: 80 % is asked for."
    assert dot() == theme.current().warn
    assert not page.onward.isVisible()  # there is no bundle to try
    message = "The policy succeeded in 12% of the cousins on which it was evaluated, not in 80%."
    remedy = "Train it on more demonstrations, lower --least, or add --anyway."
    error = {"event": "error", "code": "not_good_enough", "message": message, "remedy": remedy}
    command.will(progress(0.9, "4 of 4, exporting: checks"), {"say": error}, {"exit": 2})
    page.big.click()
    qtbot.waitUntil(lambda: page.refused.isVisible())
    assert page.panel.failed.isHidden()
    assert page.panel.weak.text().startswith(f"Trained, but too weak to export. {message}\n")
    assert "--" not in page.panel.weak.text()
    assert "Effort: Thorough" in page.panel.weak.text()
    assert page.refused.findChildren(type(page.refused_text))[0].text() == "Trained, but too weak to export"
    assert dot() == theme.current().warn
    assert "12 % success: weak" in window._steps["policy"].accessibleName()
    window.resize(window.minimumSize())
    page.varying.fold.click()
    qtbot.wait(50)
    assert cut_off(page) == []
    assert told_nothing(page) == []

    command.will({"say": {**error, "code": "crashed"}}, {"exit": 2})
    page.big.click()
    qtbot.waitUntil(lambda: page.panel.failed.isVisible())
    assert page.panel.weak.isHidden()
    assert dot() == theme.current().bad


def test_figures_of_a_policy_that_never_succeeds(page: PolicyPage, desk: Desk, tmp_path: Path) -> None:
    project = made_project(tmp_path / "one")
    policy = made_policy(project, done=0)
    desk.open_project(project)
    assert page.detail_weak.text() == "Trained, but it has never succeeded."
    made_policy(project, done=66)
    desk.refreshed.emit()
    assert "too weak" in page.detail_weak.text()
    exported(project, policy)
    desk.refreshed.emit()
    assert page.detail_weak.isHidden()


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "not_good_enough",
        "not_evaluated",
        "no_success",
        "no_valid_cousin",
        "other_settings",
        "other_version",
        "no_pictures",
        "disk_full",
    ],
)
def test_what_helps_is_said_in_the_windows_words(code: str) -> None:
    said = reworded(Failed("It is so.", "Run `pocketworld evaluate`, lower --vary, or add --anyway.", code))
    assert said.code == code
    assert "It is so." in said.message
    assert said.remedy
    assert "--" not in said.remedy
    assert "`" not in said.remedy


def test_settings_are_named_as_in_the_form() -> None:
    failure = Failed("--cousins is 1 or more, --least a share.", "Give --count, not --port.", "bad_value")
    said = reworded(failure)
    assert said.message == "“Cousins to test in” is 1 or more, “Least success (0 … 1)” a share."
    assert said.remedy == "Give “Demonstrations”, not --port."
    assert reworded(Failed("Full.", "Empty it.", "no_space")) == Failed("Full.", "Empty it.", "no_space")

"""The policy page: every state, on made-up projects, with a made-up command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QSettings, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox
from pytestqt.qtbot import QtBot

from app.gui import theme
from app.gui.background import Stopped, Worker, at_work
from app.gui.curves import Tail, nice, wilson
from app.gui.desk import Desk
from app.gui.kept_trainings import chosen_of
from app.gui.policy_page import PolicyPage
from app.gui.task_chooser import TaskChooser
from app.project import content_hash
from simulation.tasks import task_of
from tests.app.fakes.fake_steps import scene_of
from tests.app.skill_projects import (
    NAME,
    FakeCommand,
    made_policy,
    made_project,
    metrics,
    progress,
    result,
    understood,
)
from tests.app.windows import cut_off, told_nothing


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    return FakeCommand(tmp_path / "command", monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return made_project(tmp_path / "Küche 1")


@pytest.fixture
def page(qtbot: QtBot, desk: Desk, command: FakeCommand) -> Iterator[PolicyPage]:
    made = PolicyPage(desk)
    made.resize(1090, 740)
    made.show()
    qtbot.waitExposed(made)
    yield made
    desk.jobs.stop_all()
    made.close()
    made.deleteLater()
    assert at_work() == 0


def test_its_import_brings_nothing_heavy() -> None:
    heavy = "torch", "open3d", "pybullet", "mujoco", "scipy", "cv2", "av"
    code = f"import app.gui.policy_page, app.gui.robot_page, sys; print([x for x in {heavy!r} if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_scene_it_leads_to_the_scan(qtbot: QtBot, page: PolicyPage, desk: Desk, tmp_path: Path) -> None:
    assert page.empty.isVisible()
    assert not page.big.isEnabled()
    assert not page.table.isVisible()
    assert not page.live.isVisible()
    with qtbot.waitSignal(desk.step_wanted) as wanted:
        page.go.click()
    assert wanted.args == ["scan"]
    desk.open_project(made_project(tmp_path / "without", scene=False))
    assert page.empty.isVisible()
    with qtbot.waitSignal(desk.problem):
        page.run()


def test_a_scene_makes_it_ready(page: PolicyPage, desk: Desk, project: Path) -> None:
    desk.open_project(project)
    assert not page.empty.isVisible()
    assert page.live.isVisible()
    assert page.big.isEnabled()
    assert page.big.objectName() == "big"
    # Of what a hand can hold, into the widest vessel.
    assert page.chooser.words() == "put stick_1 in container_2"
    page.pick("block_1")
    assert page.chooser.words() == "put block_1 in container_2"
    page.pick("nothing of that name")
    assert page.chooser.words() == "put block_1 in container_2"
    desk.refreshed.emit()
    assert page.chooser.words() == "put block_1 in container_2"


def test_every_verb_makes_a_task(qtbot: QtBot, desk: Desk) -> None:
    chooser = TaskChooser()
    qtbot.addWidget(chooser)
    chooser.show_objects([{"name": "object_01"}, {"name": "object_02"}])
    chooser.where.setCurrentText("object_02")
    chooser.pick("object_01")
    kinds = set()
    for index in range(chooser.verb.count()):
        chooser.verb.setCurrentIndex(index)
        kinds.add(task_of(chooser.words(), scene_of(2)).kind)
        assert chooser.where.isHidden() == ("{where}" not in chooser.verbs[index].words)
    assert kinds == {"pick", "place-in", "place-on", "place-beside", "push", "stack", "clear"}


def test_words_that_make_no_task_are_refused(qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path) -> None:
    desk.open_project(project)
    page.pick("container_2")
    with qtbot.waitSignal(desk.problem) as said:
        page.big.click()
    assert "itself" in said.args[0]
    page.chooser.sentence.setText("  put  stick_1 in   container_1 ")
    assert page.chooser.words() == "put stick_1 in container_1"
    page.chooser.sentence.setText(" ")
    with pytest.raises(ValueError, match="No task"):
        page.task()
    assert not desk.jobs.all


def after(words: Sequence[str], flag: str) -> str:
    return words[list(words).index(flag) + 1]


def cell(page: PolicyPage, row: int, column: int) -> str:
    item = page.table.item(row, column)
    assert item is not None
    return item.text()


def test_effort_sets_the_numbers(page: PolicyPage, desk: Desk, project: Path) -> None:
    desk.open_project(project)
    words = list(page.task().words)
    understood(words)
    vary = words[words.index("--vary") + 1 :]
    assert vary[:5] == ["pose", "appearance", "light", "camera", "physics"]
    assert after(words, "--demonstrations") == "85"
    assert after(words, "--glances") == "300"
    assert "only with the sample's “put stick_2 in container_2”: it succeeded in 83 of 100" in page.honest.text()
    page.preset.setCurrentIndex(2)
    assert "--demonstrations" not in page.task().words  # the command line's own
    page.form.control("steps").write(7)
    assert page.preset.currentIndex() == 3
    assert after(page.task().words, "--steps") == "7"
    page.preset.setCurrentIndex(0)
    assert after(page.task().words, "--demonstrations") == "25"
    assert "too little" in page.honest.text()
    page.form.control("steps").write(1300)
    for name, value in (page.presets[1][1] or {}).items():
        page.form.control(name).write(value)
    assert page.preset.currentIndex() == 1  # found again by its numbers


def test_it_asks_which_robot(page: PolicyPage, desk: Desk, project: Path) -> None:
    desk.open_project(project)
    robot = page.form.control("robot")
    box = robot.widget
    assert isinstance(box, QComboBox)
    assert box.isVisible()
    assert [box.itemText(index) for index in range(box.count())] == ["panda", "xarm6", "so101"]
    assert "URDF" in box.toolTip()
    assert "TOML" in box.toolTip()
    assert "--robot" not in page.task().words
    robot.write("so101")
    words = page.task().words
    assert after(words, "--robot") == "so101"
    understood(words)
    robot.write(" ")
    with pytest.raises(ValueError, match="No robot"):
        page.task()


def test_efforts_are_told_without_discouraging(page: PolicyPage) -> None:
    names, texts = [name for name, _, _ in page.presets], [text for _, _, text in page.presets]
    assert "whether it works at all" in texts[0]
    assert "recommended" in names[1]
    assert page.preset.currentIndex() == 1
    assert "Usually too little" in texts[0]
    assert "About 20 minutes on two cores" in texts[1]
    assert "you are asked" in texts[1]
    assert "not measured yet" in texts[2]
    assert "screwdriver" not in "".join(texts)


def test_what_is_typed_stays_with_its_project(page: PolicyPage, desk: Desk, project: Path, tmp_path: Path) -> None:
    other = made_project(tmp_path / "other")
    desk.open_project(project)
    page.chooser.verb.setCurrentIndex(3)
    page.chooser.what.setCurrentText("block_1")
    page.form.control("steps").write(7)
    page.form.control("robot").write("xarm6")
    page.form.control("seed").write(4)
    page.form.control("observe").write("state")
    before = page.task().words
    assert before[3] == "push block_1"
    desk.open_project(other)
    assert page.chooser.words() == "put stick_1 in container_2"
    assert page.preset.currentIndex() == 1
    assert after(page.task().words, "--steps") == "1300"
    assert not {"--robot", "--seed", "--observe"} & set(page.task().words)
    assert page.told.isHidden()
    page.chooser.sentence.setText("put stick_1  on block_1")
    page.preset.setCurrentIndex(0)
    desk.open_project(project)
    assert page.task().words == before
    assert page.preset.currentIndex() == 3
    assert page.told.isVisible()
    desk.close_project()
    assert page.chooser.sentence.text() == ""
    desk.open_project(other)
    assert page.chooser.words() == "put stick_1 on block_1"
    assert page.preset.currentIndex() == 0
    desk.begin(tmp_path / "none yet", tmp_path / "scan.r3d")
    desk.open_project(other)
    assert page.chooser.words() == "put stick_1 on block_1"


@pytest.fixture
def reopened(qtbot: QtBot, desk: Desk) -> Callable[[Path], PolicyPage]:
    """A page of another window that has been opened since, with a project."""

    def open_again(project: Path) -> PolicyPage:
        other = Desk(QSettings(desk.preferences.fileName(), QSettings.Format.IniFormat), desk)
        made = PolicyPage(other)
        qtbot.addWidget(made, before_close_func=lambda _: other.jobs.stop_all())
        made.resize(1090, 740)
        made.show()
        other.open_project(project)
        return made

    return open_again


def test_what_is_typed_outlives_the_window(
    page: PolicyPage, desk: Desk, project: Path, reopened: Callable[[Path], PolicyPage]
) -> None:
    desk.open_project(project)
    page.chooser.verb.setCurrentIndex(3)
    page.chooser.what.setCurrentText("block_1")
    page.form.set_values({"steps": 7, "seed": 4, "robot": "xarm6", "observe": "pointcloud"})
    page.form.set_values({"vary": ("pose", "light=0.25")})
    before = page.task().words
    page.close()
    again = reopened(project)
    assert again.task().words == before
    assert again.preset.currentIndex() == 3
    assert again.interrupted.isHidden()  # nothing was begun
    again.preset.setCurrentIndex(0)
    again.close()
    assert reopened(project).preset.currentIndex() == 0


@pytest.mark.parametrize(
    "damage",
    [
        "[]",
        "{",
        '{"PROJECT": 3}',
        '{"PROJECT": {"typed": {"task": [1], "values": {}, "effort": 1}, "begun": 3}}',
        '{"PROJECT": {"typed": {"task": [0, "", "", ""], "values": {"steps": "x", "vary": ["y"]}, "effort": "many"}}}',
    ],
)
def test_damaged_preferences_do_no_harm(page: PolicyPage, desk: Desk, project: Path, damage: str) -> None:
    before = page.form.words()
    desk.preferences.setValue("trainings", damage.replace("PROJECT", str(project)))
    desk.open_project(project)
    assert page.form.words() == before
    assert page.interrupted.isHidden()


def test_an_interrupted_training_is_gone_on_with(
    qtbot: QtBot,
    page: PolicyPage,
    desk: Desk,
    project: Path,
    command: FakeCommand,
    reopened: Callable[[Path], PolicyPage],
) -> None:
    desk.open_project(project)
    page.form.set_values({"steps": 7, "vary": ("pose",)})
    command.will(progress(0.2, "1 of 4, demonstrating: 3"), {"await": str(command.gate)})
    page.big.click()
    qtbot.waitUntil(lambda: page.plan.current == 0)
    assert page.interrupted.isHidden()  # it is at work
    desk.jobs.stop_all()  # as the window does when it is closed
    page.close()
    again = reopened(project)
    assert again.interrupted.isVisible()
    assert "put stick_1 in container_2" in again.interrupted_text.text()
    assert cut_off(again) == []
    again.form.set_values({"steps": 9})  # what was begun counts, not what is typed meanwhile
    command.will(progress(0.5, "2 of 4, training: step 1"), {"await": str(command.gate)})
    again.go_on.click()
    assert again.interrupted.isHidden()
    qtbot.waitUntil(lambda: len(command.words) == 2)
    assert command.words[0] == command.words[1]
    understood(command.words[1])
    command.gate.touch()
    qtbot.waitUntil(lambda: again.panel.job is not None and again.panel.job.state.kind == "done")
    assert again.interrupted.isHidden()
    again.close()
    assert reopened(project).interrupted.isHidden()


@pytest.mark.parametrize(("code", "offered"), [("not_good_enough", False), ("bad_value", False), ("disk_full", True)])
def test_a_refused_training_is_not_gone_on_with(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand, code: str, offered: bool
) -> None:
    desk.open_project(project)
    command.will({"say": {"event": "error", "code": code, "message": "No.", "remedy": "So."}}, {"exit": 2})
    page.big.click()
    qtbot.waitUntil(lambda: page.panel.job is not None and page.panel.job.state.kind == "failed")
    assert page.interrupted.isVisible() == offered


def demonstrations(project: Path, vary: Sequence[str], cameras: str = "points") -> Path:
    """What stands of demonstrations in a project."""
    folder = project / "episodes" / "push_block_1_xarm6_5"
    settings = {"task": "push block_1", "robot": "xarm6", "seed": 5, "vary": list(vary), "cameras": cameras}
    folder.mkdir(parents=True, exist_ok=True)
    folder.with_name(f"{folder.name}.json").write_text(json.dumps({"settings": settings, "inputs": {}}))
    return folder


def test_what_is_there_says_how_it_was_made(page: PolicyPage, desk: Desk, project: Path) -> None:
    demonstrations(project, ["pose", "light=0.25"])
    desk.open_project(project)  # of which these preferences know nothing
    words = page.task().words
    assert words[2:4] == ("--task", "push block_1")
    assert page.chooser.verb.currentIndex() == 3
    assert (after(words, "--robot"), after(words, "--seed"), after(words, "--observe")) == ("xarm6", "5", "pointcloud")
    vary = list(words[words.index("--vary") + 1 :])
    assert vary[:2] == ["pose", "light=0.25"]
    understood(words)


def test_every_task_is_found_again_by_its_words(page: PolicyPage) -> None:
    for number, verb in enumerate(page.chooser.verbs):
        words = task_of(verb.words.format(what="object_01", where="object_02"), scene_of(2)).words
        found = chosen_of(words, page.chooser.verbs)
        assert (found.verb, found.typed) == (number, "")
        assert found.where == ("object_02" if "{where}" in verb.words else "")
    assert chosen_of("juggle stick_1", page.chooser.verbs).typed == "juggle stick_1"


def test_what_was_begun_otherwise_is_gone_on_with_as_it_was(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand
) -> None:
    folder = demonstrations(project, ["light=0.0", "pose"])  # as nobody can set it with sliders
    desk.open_project(project)
    page.form.set_values({"vary": ("pose", "light"), "observe": "rgb"})
    error = {"event": "error", "code": "other_settings", "remedy": "Name another folder with --out."}
    command.will({"say": {**error, "message": f"{folder} was made with other settings (vary, cameras)."}}, {"exit": 2})
    page.big.click()
    qtbot.waitUntil(lambda: page.otherwise.isVisible())
    assert "(What varies, Observe)" in page.panel.failed.text()
    assert "varies: light=0.0 pose. “Observe” was: pointcloud." in page.otherwise_text.text()
    assert cut_off(page) == []
    command.will({"say": {**error, "message": f"{folder} was made with other settings (scene)."}}, {"exit": 2})
    page.as_there.click()
    qtbot.waitUntil(lambda: len(command.words) == 2 and page.panel.job is not None and page.panel.job.is_over)
    words = command.words[1]
    assert after(words, "--observe") == "pointcloud"
    at = words.index("--vary")
    assert words[at + 1 :] == ["light=0.0", "pose"]
    assert page.varying.strengths.values()["light"] == 0
    understood(words)
    assert page.otherwise.isHidden()  # the scene itself is another


def test_a_policy_that_is_told_all_is_warned_of(page: PolicyPage, desk: Desk, project: Path) -> None:
    desk.open_project(project)
    assert page.told.isHidden()
    page.form.control("observe").write("state")
    assert "cannot drive a real arm" in page.told.text()
    page.form.control("observe").write("rgb")
    assert page.told.isHidden()


def test_what_was_cancelled_is_shown_as_stopped(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand
) -> None:
    desk.open_project(project)
    command.will(progress(0.5, "2 of 4, training: step 50"), {"await": str(command.gate)})
    page.big.click()
    qtbot.waitUntil(lambda: page.plan.signs() == "✓▶··")
    assert page.live_heading.text() == "At work"
    job = page.panel.job
    assert job is not None
    page.panel.cancel.click()
    qtbot.waitUntil(lambda: job.is_over)
    assert page.live.isVisible()
    assert page.plan.signs() == "✓···"
    assert page.live_heading.text() == "Stopped: run it again to go on"
    made_policy(project)
    desk.refreshed.emit()
    assert page.live.isVisible()
    command.will(progress(0.5, "2 of 4, training: step 60"), result(seconds=1.0))
    page.big.click()
    qtbot.waitUntil(lambda: page.panel.job is not job and page.panel.job is not None and page.panel.job.is_over)
    assert not page.live.isVisible()


def test_one_is_told_as_one(page: PolicyPage, desk: Desk, project: Path) -> None:
    folder = made_policy(project)
    file = folder / "evaluation.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "skipped": {"out of reach": 1}}))
    desk.open_project(project)
    assert "In 1 further cousin the" in page.facts.text()
    page.count.setValue(1)
    assert page.count.text() == "1 cousin"
    page.count.setValue(2)
    assert page.count.text() == "2 cousins"


def test_training_is_shown_while_it_runs(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand
) -> None:
    desk.open_project(project)
    folder = project / "policy" / NAME
    seen = json.dumps({"step": 50, "acting": 18.0, "dreaming": 0.0})
    acted = json.dumps({"step": 50, "acting": 0.4, "dreaming": 0.3})
    trials = [json.dumps(["k", "", n, {"skipped": "", "reason": "" if n else "slow"}]) for n in range(4)]
    trials.append(json.dumps(["k", "", 4, {"skipped": "out of reach", "reason": ""}]))
    command.will(
        {"append": [str(folder / "eyes" / "metrics.jsonl"), seen]},
        progress(0.5, "2 of 4, training: step 50"),
        {"await": str(command.gate)},
        {"append": [str(folder / "round_0" / "metrics.jsonl"), acted]},
        {"append": [str(folder / "evaluation_tries.jsonl"), "\n".join(trials)]},
        progress(0.8, "3 of 4, evaluating: 4 of 100 cousins"),
        {"await": str(command.gate) + "2"},
        result(seconds=1.0),
    )
    page.big.click()
    qtbot.waitUntil(lambda: page.plan.current == 1)
    assert page.live.isVisible()
    assert not page.big.isEnabled()
    qtbot.waitUntil(lambda: page.live_curves.seeing.isVisible(), timeout=5000)
    assert page.live_curves.seeing.lines[0].points == [(50.0, 18.0)]
    assert not page.live_success.isVisible()
    command.gate.touch()
    qtbot.waitUntil(lambda: page.live_success.isVisible(), timeout=5000)
    share = page.live_success.share
    assert share == pytest.approx((0.75, *wilson(3, 4)))
    assert "3 of 4" in page.live_said.text()
    assert page.plan.current == 2
    assert {line.name: line.points for line in page.live_curves.acting.lines} == {
        "acting": [(50.0, 0.4)],
        "foretelling": [(50.0, 0.3)],
    }
    assert page.is_watching
    page.hide()
    assert not page.is_watching  # nobody looks
    page.show()
    assert page.is_watching
    made_policy(project)
    (command.gate.parent / "gate2").touch()
    job = page.panel.job
    assert job is not None
    qtbot.waitUntil(lambda: job.is_over)
    assert job.state.kind == "done"
    assert not page.is_watching
    assert not page.live.isVisible()
    assert page.figure.text() == "66 %"
    assert command.words[0][:4] == ["train-and-export", str(project), "--task", "put stick_1 in container_2"]


def test_checks_of_success_are_drawn(qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path) -> None:
    folder = made_policy(project)
    metrics(folder / "round_0", [{"step": 100, "success": 0.4}])
    metrics(folder / "round_1", [{"step": 50, "acting": 0.1, "dreaming": 0.1}, {"step": 50, "success": 0.7}])
    desk.open_project(project)
    assert page.curves.checks.lines[0].points == [(100.0, 0.4), (150.0, 0.7)]
    assert page.curves.acting.lines[0].points[-1] == (150.0, 0.1)


def test_results_of_a_policy(page: PolicyPage, desk: Desk, project: Path) -> None:
    made_policy(project)
    desk.open_project(project)
    assert page.figure.text() == "66 %"
    assert page.interval.share == pytest.approx((0.66, 0.56, 0.75))
    assert "66 of 100" in page.figure_said.text()
    assert "32 × took too long" in page.failures.text()
    assert "AUROC 0.57" in page.facts.text()
    assert "7 further" in page.facts.text()
    assert [group.name for group in page.bars.groups] == ["pose", "light"]
    assert page.bars.groups[0].bars[0].text == "25 / 33"
    assert not page.stale.text()
    assert [cell(page, 0, column) for column in (0, 1, 2)] == [
        "put stick_1 in container_2",
        "cameras",
        "85",
    ]
    assert not page.report.isEnabled()
    (project / "report.html").write_text("<html>")
    desk.refreshed.emit()
    assert page.report.isEnabled()


def test_policies_are_compared(page: PolicyPage, desk: Desk, project: Path) -> None:
    made_policy(project, done=70)
    made_policy(project, "push_stick_1_panda_1", evaluated=False)
    desk.open_project(project)
    assert page.table.rowCount() == 2
    texts = {cell(page, row, 3) for row in range(2)}
    assert texts == {"70 %  (56 … 75)", "not evaluated"}
    row = next(row for row in range(2) if cell(page, row, 3) == "not evaluated")
    page.table.setCurrentCell(row, 0)
    assert page.figure.text() == "–"
    one = page.selected
    assert one is not None
    assert (one.observe, one.episodes, one.seed) == ("state", 12, 3)  # of the file's own head
    desk.refreshed.emit()
    assert page.selected is not None
    assert page.selected.name == "push_stick_1_panda_1"  # stays selected
    page.table.setCurrentCell(1 - row, 0)
    assert page.figure.text() == "70 %"


def test_stale_figures_are_said(page: PolicyPage, desk: Desk, project: Path) -> None:
    folder = made_policy(project)
    scene = project / "scene" / "scene.json"
    scene.write_text(scene.read_text() + " ")
    desk.open_project(project)
    assert "scene has changed" in page.stale.text()
    record = project / "episodes" / f"{NAME}.json"
    record.write_text(json.dumps({"settings": {}, "inputs": {"scene": content_hash(scene)}}))
    desk.refreshed.emit()
    assert page.stale.text() == ""
    (folder / "policy.safetensors").touch()
    desk.refreshed.emit()
    assert "trained again" in page.stale.text()
    assert page.detail_stale.isVisible()


@pytest.mark.parametrize(
    "damage", ["[]", "{", '{"count": "many"}', '{"learnt": 3, "by_variation": [1], "interval": 2}']
)
def test_damaged_files_do_no_harm(page: PolicyPage, desk: Desk, project: Path, damage: str) -> None:
    folder = made_policy(project)
    for path in (folder / "evaluation.json", project / "episodes" / f"{NAME}.json", folder / "eyes" / "metrics.jsonl"):
        path.write_text(damage)
    (folder / "policy.safetensors").write_bytes(b"\xff" * 12)
    desk.open_project(project)
    assert page.table.rowCount() == 1
    assert page.figure.text() == "–"


def test_refused_for_too_low_success_it_can_be_exported_anyway(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand
) -> None:
    desk.open_project(project)
    error = {"event": "error", "code": "not_good_enough", "message": "It succeeded in 12% only.", "remedy": "More."}
    command.will({"say": error}, {"exit": 2})
    page.big.click()
    qtbot.waitUntil(lambda: page.refused.isVisible())
    assert "12%" in page.refused_text.text()
    assert "12%" in page.panel.weak.text()
    assert page.panel.failed.isHidden()
    command.will(result(seconds=1.0))
    page.anyway.click()
    assert not page.refused.isVisible()
    qtbot.waitUntil(lambda: page.panel.job is not None and page.panel.job.state.kind == "done")
    first, second = command.words
    assert second == [*first, "--anyway"]
    understood(second)


@pytest.mark.parametrize(("done", "evaluated"), [(66, True), (66, False), (91, True)])
def test_whatever_was_trained_can_be_exported(
    qtbot: QtBot,
    page: PolicyPage,
    desk: Desk,
    project: Path,
    command: FakeCommand,
    done: int,
    evaluated: bool,
) -> None:
    good = evaluated and done > 80
    made_policy(project, done=done, evaluated=evaluated)
    desk.open_project(project)
    assert page.export.isVisible()
    assert page.export.text() == ("Export" if good else "Export it anyway")
    assert ("less than 80 %" in page.export.toolTip()) == (evaluated and not good)
    assert ("Nobody knows" in page.export.toolTip()) == (not evaluated)
    assert not page.onward.isVisible()
    command.will({"append": [str(project / "bundle" / NAME / "manifest.json"), "{}"]}, result(seconds=1.0))
    page.export.click()
    assert not page.export.isEnabled()
    qtbot.waitUntil(lambda: page.onward.isVisible())
    assert page.onward.text() == "Next: try the bundle  →"
    named = ["--task", "put stick_1 in container_2", "--robot", "panda", "--seed", "3"]
    assert command.words == [["export", str(project), *named, *([] if good else ["--anyway"])]]
    understood(command.words[0])
    assert page.export.isEnabled()
    assert page.detail_weak.isHidden()


@pytest.mark.parametrize("code", ["no_success", "not_good_enough", "other_settings"])
def test_what_another_task_failed_of_is_put_away(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand, code: str
) -> None:
    desk.open_project(project)
    message = f"{demonstrations(project, ['pose'])} was made with other settings (vary)."
    command.will({"say": {"event": "error", "code": code, "message": message, "remedy": "So."}}, {"exit": 2})
    page.big.click()
    shown = [page.panel.weak, page.refused] if code == "not_good_enough" else [page.panel.failed]
    shown += [page.otherwise] if code == "other_settings" else []
    qtbot.waitUntil(lambda: page.panel.job is not None and page.panel.job.state.kind == "failed")
    assert all(part.isVisible() for part in shown)
    page.pick("block_1")
    assert not any(part.isVisible() for part in shown)
    desk.refreshed.emit()
    assert not any(part.isVisible() for part in shown)
    page.pick("stick_1")
    assert all(part.isVisible() for part in shown)


def test_another_failure_offers_no_such_thing(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand
) -> None:
    desk.open_project(project)
    command.will(
        {"say": {"event": "error", "code": "no_space", "message": "Full.", "remedy": "Empty it."}}, {"exit": 4}
    )
    page.big.click()
    qtbot.waitUntil(lambda: page.panel.job is not None and page.panel.job.state.kind == "failed")
    assert not page.refused.isVisible()
    assert page.big.isEnabled()


def test_evaluate_and_dream(qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand) -> None:
    folder = made_policy(project)
    desk.open_project(project)
    command.will(result(count=250))
    page.count.setValue(250)
    page.again.click()
    assert not page.again.isEnabled()
    qtbot.waitUntil(lambda: page.again.isEnabled())
    named = ["--task", "put stick_1 in container_2", "--robot", "panda", "--seed", "3"]
    assert command.words == [["evaluate", str(project), *named, "--count", "250"]]
    understood(command.words[0])
    assert "its dream beside what came" not in [page.player.choice.itemText(i) for i in range(2)]
    (folder / "films" / "succeeded_000003.mp4").rename(folder / "dream.mp4")
    command.will(result(video="…"))
    page.episode.setValue(4)
    page.dream.click()
    qtbot.waitUntil(lambda: page.again.isEnabled())
    video = str(folder / "dream.mp4")
    assert command.words[1] == ["dream", str(project), *named, "--episode", "4", "--video", video]
    understood(command.words[1])
    assert page.player.choice.currentText() == "its dream beside what came"


def test_films_play_inside_the_page(qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path) -> None:
    folder = made_policy(project)
    desk.open_project(project)
    player = page.player
    assert [player.choice.itemText(i) for i in range(2)] == ["failed in cousin 0", "succeeded in cousin 3"]
    qtbot.waitUntil(lambda: player.frames == 8)
    assert at_work() == 0
    dark = player.screen_.picture.pixelColor(30, 15).lightness()
    player.speed.setCurrentText("4×")
    player.play_button.click()
    assert player.is_playing
    assert player.play_button.text() == "Pause"
    qtbot.waitUntil(lambda: player.place.value() == 7)
    assert player.screen_.picture.pixelColor(30, 15).lightness() > dark + 50
    qtbot.waitUntil(lambda: player.place.value() == 1)  # round again
    player.loop.setChecked(False)
    qtbot.waitUntil(lambda: not player.is_playing)
    assert player.place.value() == 7
    player.play_button.click()  # from the beginning
    assert player.place.value() == 0
    page.hide()
    assert not player.is_playing
    page.show()
    (folder / "films" / "succeeded_000003.mp4").write_bytes(b"no film")
    player.select("succeeded in cousin 3")
    assert player.frames == 0
    qtbot.waitUntil(lambda: at_work() == 0 and "cannot be shown" in player.screen_._sentence)
    player.select("failed in cousin 0")
    page.hide()  # while it is being read
    assert at_work() == 0
    page.show()
    qtbot.waitUntil(lambda: player.frames == 8)


def test_a_thread_ends_with_who_wanted_it(qtbot: QtBot, clean: None) -> None:
    def work(stopped: Stopped) -> None:
        while not stopped():
            time.sleep(0.01)

    owner = QObject()
    Worker(work, owner).start()
    assert at_work() == 1
    owner.deleteLater()
    qtbot.waitUntil(lambda: at_work() == 0)


def test_metrics_are_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert not tail.poll()
    path.write_text('{"step": 1}\n{"st')
    assert tail.poll()
    assert tail.rows == [{"step": 1}]
    assert not tail.poll()
    with path.open("a") as file:
        file.write('ep": 2}\nno JSON\n')
    assert tail.poll()
    assert tail.rows == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 9}\n')  # a resumed training begins at its last checkpoint
    assert tail.poll()
    assert tail.rows == [{"step": 9}]
    path.unlink()
    assert tail.poll()
    assert tail.rows == []
    assert not tail.poll()


def test_intervals_are_those_of_the_evaluation() -> None:
    assert wilson(66, 100) == pytest.approx((0.5628, 0.7454), abs=5e-5)  # as `evaluate` has written them
    assert wilson(26, 40) == pytest.approx((0.4951, 0.7787), abs=5e-5)
    assert wilson(5, 5)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
    assert [nice(value) for value in (0.0, 0.42, 18.1, 1.0)] == [1.0, 0.5, 20.0, 1.0]


@pytest.mark.parametrize("name", ["dark", "light"])
def test_nothing_is_cut_off_and_all_is_told(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, name: str, qapp: object
) -> None:
    theme.apply(qapp, name)  # type: ignore[arg-type]
    assert cut_off(page) == []
    desk.open_project(project)
    assert cut_off(page) == []
    made_policy(project)
    desk.refreshed.emit()
    qtbot.waitUntil(lambda: page.player.frames == 8)
    assert cut_off(page) == []
    assert not page.grab().isNull()
    assert told_nothing(page) == []


def test_the_keyboard_starts_it(
    qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand
) -> None:
    desk.open_project(project)
    page.activateWindow()
    page.chooser.sentence.setFocus()
    qtbot.waitUntil(lambda: page.isActiveWindow())
    QTest.keyClick(page.chooser.sentence, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: len(command.words) == 1)


def test_a_person_may_show_it(qtbot: QtBot, page: PolicyPage, desk: Desk, project: Path, command: FakeCommand) -> None:
    desk.open_project(project)
    qtbot.mouseClick(page.show_it, Qt.MouseButton.LeftButton)
    words = desk.jobs.all[-1].task.words
    assert words[:3] == ("teleoperate", str(project), "--task")
    assert words[3] == page.chooser.words()
    understood(words)
    desk.jobs.all[-1].cancel()
    qtbot.waitUntil(lambda: desk.jobs.all[-1].is_over, timeout=10_000)

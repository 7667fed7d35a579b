"""``pocketworld run --robot lerobot:TYPE``: nothing moves before a person says so, and the arm is let go of at last."""

from __future__ import annotations

import dataclasses
import io
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.real_arm import ArmSettings
from app.run_stage import RunResult, RunSettings, run_bundle
from policies.dataset import open_dataset
from policies.deploy.bundle import Bundle
from policies.deploy.keys import enter
from reconstruction.errors import UsageError
from tests import bundles
from tests.conftest import Run
from tests.fake_lerobot import FakeArm, install

Shell = Callable[..., Run]
ROBOT = "lerobot:fake_arm"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_seeing_bundle(tmp_path_factory.mktemp("made") / "ein Bündel")


@dataclasses.dataclass
class Answers:
    """A person who says what was agreed on, and notes what was on the screen."""

    may: bool = True
    chunks: int = 1000
    done: bool | None = None
    seen: str = ""
    during: Callable[[], None] = lambda: None

    def show(self, text: str) -> None:
        self.seen += text

    def agree(self) -> bool:
        self.during()
        return self.may

    def go_on(self) -> bool:
        self.chunks -= 1
        return self.chunks >= 0

    def judge(self) -> bool | None:
        return self.done


@pytest.fixture
def device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeArm:
    made = FakeArm(clock=time.perf_counter)
    home = Bundle(folder).manifest.home
    said = [*np.rad2deg(home[:-1]), 100.0]
    made.now = dict(zip(made.now, map(float, said), strict=True))
    install(monkeypatch, made)
    return made


def run(folder: Path, out: Path, person: Answers | None, yes: bool = False, **settings: object) -> RunResult:
    wanted = RunSettings(robot=ROBOT, **settings)  # type: ignore[arg-type]
    return run_bundle(folder, wanted, out=out / "runs", arm=ArmSettings(yes=yes), person=person)


def test_shown_confirmed_driven_recorded_let_go(folder: Path, device: FakeArm, tmp_path: Path) -> None:
    person = Answers()
    told_before: list[int] = []
    person.during = lambda: told_before.append(len(device.told))
    # However busy this machine is, data do not go stale: that is tested by a clock of its own elsewhere.
    bundle = calm(folder, tmp_path)
    result = run(bundle, tmp_path, person, seconds=0.5)
    assert told_before == [0]
    assert "panda_joint4" in person.seen
    assert (result.report.ticks, result.report.stopped, result.success) == (5, "the time is over", None)
    assert device.told
    assert device.happened == ["connect", "disconnect"]
    place = tmp_path / "runs"
    runs = open_dataset(place if (place / "meta").exists() else place.with_name("runs_failures"))
    first = runs.read(0)
    assert len(first) >= 5
    assert not first.success  # nobody has said so
    size = Bundle(folder).manifest.inputs["observation.images.front"].shape[1:3]
    assert {name: film.shape[1:3] for name, film in first.images.items()} == {"front": size, "wrist": size}


@pytest.mark.parametrize("done", [True, False])
def test_a_person_says_whether_it_was_done(folder: Path, device: FakeArm, tmp_path: Path, done: bool) -> None:
    result = run(calm(folder, tmp_path), tmp_path, Answers(done=done), seconds=0.5)
    assert (result.success, result.report.stopped) == (done, "the time is over")
    assert Path(result.dataset).name == ("runs" if done else "runs_failures")
    (episode,) = open_dataset(Path(result.dataset))
    assert (episode.success, bool(episode.reason)) == (done, not done)


def calm(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "calm")
    bundles.change(tmp_path / "calm", "guard", "stale_s", to=10.0)
    return tmp_path / "calm"


def test_a_no_moves_nothing(folder: Path, device: FakeArm, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not allowed"):
        run(folder, tmp_path, Answers(may=False))
    with pytest.raises(UsageError, match="nobody to ask"):
        run(folder, tmp_path, None)
    assert device.told == []
    assert device.happened == ["connect", "disconnect"]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_asked_lets_go(folder: Path, device: FakeArm, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path, Answers(during=interrupt))
    assert (device.told, device.happened) == ([], ["connect", "disconnect"])


def test_an_arm_that_stands_elsewhere_is_shown_and_refused(folder: Path, device: FakeArm, tmp_path: Path) -> None:
    device.now["panda_joint1.pos"] += 140.0
    person = Answers()
    with pytest.raises(UsageError, match="must not begin here: the tool is at") as caught:
        run(folder, tmp_path, person, yes=True)
    assert "--mapping" in caught.value.remedy
    assert "140.0" in person.seen
    device.now["panda_joint1.pos"] += 100.0
    with pytest.raises(UsageError, match="panda_joint1 is at 4.19 rad"):
        run(folder, tmp_path, None, yes=True)
    assert device.told == []
    assert device.happened == ["connect", "disconnect"] * 2


def test_moved_while_a_person_thinks_it_is_looked_at_again(folder: Path, device: FakeArm, tmp_path: Path) -> None:
    def moved() -> None:
        device.now["panda_joint1.pos"] += 140.0
        time.sleep(0.3)

    with pytest.raises(UsageError, match="must not begin here"):
        run(folder, tmp_path, Answers(during=moved))
    assert device.told == []


def test_a_dead_arm_is_named(folder: Path, device: FakeArm, tmp_path: Path) -> None:
    device.broken = OSError("could not open port")
    with pytest.raises(UsageError, match="lerobot:fake_arm does not answer: OSError: could not open port"):
        run(folder, tmp_path, Answers())
    device.broken, device.is_calibrated = None, False
    with pytest.raises(UsageError, match="no calibration") as caught:
        run(folder, tmp_path, Answers())
    assert "lerobot-calibrate" in caught.value.remedy


def test_asked_before_each_chunk(folder: Path, device: FakeArm, tmp_path: Path) -> None:
    person = Answers(chunks=2)
    result = run(calm(folder, tmp_path), tmp_path, person, ask=True, seconds=5.0)
    assert result.report.ticks == 2 * Bundle(folder).manifest.execute
    assert result.report.stopped == "a key was pressed"
    assert device.happened[-1] == "disconnect"


def test_slowly_in_no_robot_at_all(folder: Path, tmp_path: Path) -> None:
    wanted = RunSettings(robot="dry-run", seconds=1.0, fast=True, speed=0.25)
    result = run_bundle(folder, wanted, out=tmp_path / "runs")
    assert (result.report.ticks, result.report.missed) == (10, 0)
    runs = open_dataset(tmp_path / "runs_failures")
    assert 40 <= len(runs.read(0)) <= 60  # four goals in a tick, and coming to rest


def test_an_answer_is_enter_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for typed, yes in (("\n", True), ("", False), ("n\n", False), (" \n", False)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert enter() is yes


def test_words_that_make_no_sense(folder: Path, shell: Shell, tmp_path: Path) -> None:
    def refused(*words: object) -> str:
        run = shell("run", folder, "--out", tmp_path / "runs", *words)
        assert run.code == 2, run.stdout + run.stderr
        assert "Traceback" not in run.stderr
        return run.stderr

    assert "sim, stand-in, dry-run, lerobot:TYPE" in refused("--robot", "lerobot:")
    assert "--speed is 2" in refused("--robot", "dry-run", "--speed", 2)
    said = refused("--robot", "lerobot:so101_follower", "--yes")
    assert "what to do:" in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="no clock"):
        run_bundle(folder, RunSettings(robot=ROBOT, fast=True))
    with pytest.raises(UsageError, match="nobody to --ask"):
        run_bundle(folder, RunSettings(robot="dry-run", ask=True))
    with pytest.raises(UsageError, match="above 0 to 1"):
        run_bundle(folder, RunSettings(robot="dry-run", speed=float("nan")))

"""An arm behind LeRobot's interface: what it says is understood, and it never runs on when something fails."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.deploy.bundle import Bundle
from policies.deploy.drivers.arm import ArmError, ArmSettings, misplaced, shown
from policies.deploy.drivers.lerobot import SO_GRIPPER, TRIES, LeRobotArm, open_lerobot
from policies.deploy.drivers.wiring import GripperMotor, Wiring, known_cameras, read_wiring
from policies.deploy.loop import TIME_OVER, Report, drive
from policies.deploy.pictures import fitted
from simulation.calibration import CALIBRATION
from tests import bundles
from tests.fake_lerobot import MOTORS, FakeArm, FakeCamera, install


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle(bundles.make_seeing_bundle(tmp_path_factory.mktemp("bundle") / "b"))


def wired(bundle: Bundle, file: Path | None = None, usual: GripperMotor = GripperMotor()) -> Wiring:  # noqa: B008
    return read_wiring(bundle.manifest, file, usual, degrees=True)


def written(place: Path, told: Any) -> Path:
    path = place / "arm ä.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told), encoding="utf-8")
    return path


# --- units ----------------------------------------------------------------------------------------------------------


def test_degrees_and_percent_by_the_same_names(bundle: Bundle) -> None:
    wiring = wired(bundle)
    assert wiring.motors == MOTORS
    said = wiring.goals(np.array([0.1, -0.2, 0.3, 0, 0, np.pi / 2, 0, 0.25]))
    assert np.allclose(said, [5.72958, -11.45916, 17.18873, 0, 0, 90.0, 0, 25.0], atol=1e-4)


def test_signs_offsets_and_scales_there_and_back(bundle: Bundle, tmp_path: Path) -> None:
    told = {
        "joints": {"panda_joint2": {"motor": "two", "sign": -1, "offset_deg": 90, "scale": 100 / 180}},
        "gripper": {"motor": "hand", "closed": 80, "open": 10},
        "cameras": {"front": {"camera": "desk", "crop": [8, 0, 40]}},
    }
    wiring = wired(bundle, written(tmp_path, told))
    assert wiring.motors == (MOTORS[0], "two", *MOTORS[2:7], "hand")
    assert (wiring.views["front"].camera, wiring.views["front"].crop) == ("desk", (8, 0, 40))
    assert wiring.views["wrist"].crop is None
    said = wiring.goals(np.array([0, np.pi / 2, 0, 0, 0, 0, 0, 1.0]))
    assert np.allclose(said, [0, 90 - 50, 0, 0, 0, 0, 0, 10])
    rng = np.random.default_rng(0)
    # What turns the other way pushes the other way, whatever unit it says its place in.
    assert wiring.efforts(np.arange(1.0, 8.0)).tolist() == [1, -2, 3, 4, 5, 6, 7]
    for _ in range(20):
        command = np.append(rng.uniform(-3, 3, 7), rng.uniform(0, 1))
        assert np.allclose(wiring.positions(wiring.goals(command)), command)


def test_an_so101_s_jaw_opens_as_far_as_in_training() -> None:
    """Its URDF's limits, and how far the robot of that name opens it, in LeRobot's share of the whole way."""
    low, high, closed, opened = -0.174533, 1.74533, -0.17, 0.8
    share = [100 * (angle - low) / (high - low) for angle in (closed, opened)]
    assert np.allclose([SO_GRIPPER.closed, SO_GRIPPER.open], share, atol=0.05)


BAD: dict[str, tuple[Any, str]] = {
    "no json": ("{", "no JSON"),
    "list": ([1], "no JSON object"),
    "deep": ("[" * 100_000, "no JSON"),
    "other key": ({"joint": {}}, "'joint'"),
    "other joint": ({"joints": {"elbow": {}}}, "'elbow'"),
    "joints": ({"joints": []}, "no JSON object"),
    "joint": ({"joints": {"panda_joint1": 3}}, "no JSON object"),
    "sign": ({"joints": {"panda_joint1": {"sign": 2}}}, "sign"),
    "true sign": ({"joints": {"panda_joint1": {"sign": True}}}, "sign"),
    "nan": ('{"joints": {"panda_joint1": {"offset_deg": NaN}}}', "offset_deg"),
    "scale": ({"joints": {"panda_joint1": {"scale": 0}}}, "scale"),
    "motor": ({"joints": {"panda_joint1": {"motor": 7}}}, "motor"),
    "twice": ({"joints": {"panda_joint1": {"motor": "panda_joint2"}}}, "two joints"),
    "gripper": ({"gripper": {"closed": 5, "open": 5}}, "same value"),
    "infinite": ('{"gripper": {"open": Infinity}}', "open"),
    "camera": ({"cameras": {"side": {}}}, "'side'"),
    "crop": ({"cameras": {"front": {"crop": [0, 0, -4]}}}, "crop"),
}


@pytest.mark.parametrize("harm", BAD)
def test_bad_files_are_refused(bundle: Bundle, tmp_path: Path, harm: str) -> None:
    told, why = BAD[harm]
    with pytest.raises(ArmError, match=why) as caught:
        wired(bundle, written(tmp_path, told))
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_named(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ArmError, match=r"none\.json cannot be read"):
        wired(bundle, tmp_path / "none.json")


def test_units_that_are_not_known_are_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ArmError, match="in which unit the motor of panda_joint1"):
        read_wiring(bundle.manifest, None, GripperMotor(), degrees=False)
    told = {"joints": {name: {"scale": 100 / 180} for name in bundle.manifest.joints}}
    wiring = read_wiring(bundle.manifest, written(tmp_path, told), GripperMotor(), degrees=False)
    assert wiring.goals(np.full(8, np.pi))[0] == pytest.approx(100.0)


# --- cameras --------------------------------------------------------------------------------------------------------


def test_pictures_are_cropped_and_each_pixel_is_the_mean_of_what_it_covers() -> None:
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    picture[:, :10] = 255  # outside of the square in the middle
    picture[20:, 10:, 1] = 200
    small = fitted(picture, None, (4, 4))
    assert small[:2].max() == 0
    assert (small[2:] == [0, 200, 0]).all()
    assert fitted(picture, (0, 0, 40), (4, 4))[0].tolist() == [[255] * 3, [0] * 3, [0] * 3, [0] * 3]
    ramp = np.repeat(np.arange(50, dtype=np.uint8)[None, :, None], 50, axis=0).repeat(3, axis=2)
    assert np.abs(fitted(ramp, None, (7, 7))[3, :, 0] - (50 * (np.arange(7) + 0.5) / 7 - 0.5)).max() <= 0.6
    assert (fitted(picture[:, 10:50], None, (40, 40)) == picture[:, 10:50]).all()
    for wrong in (picture[..., 0], picture.astype(float), picture[:0]):
        with pytest.raises(ValueError, match="picture"):
            fitted(wrong, None, (4, 4))
    with pytest.raises(ValueError, match="crop"):
        fitted(picture, (30, 0, 40), (4, 4))


def test_where_cameras_are_is_meant_or_measured(bundle: Bundle, tmp_path: Path) -> None:
    meant = known_cameras(bundle.manifest, None)
    assert meant is not None
    assert np.allclose(meant, bundle.sample[CALIBRATION][0], atol=1e-6)
    moved = {"front": json.loads(json.dumps(bundle.manifest.document["cameras"]["front"]))}
    moved["front"]["base_from_camera"][0][3] += 0.1
    moved["front"] |= {"focal_px": 900.0, "size": [1000, 600]}
    real = known_cameras(bundle.manifest, written(tmp_path, moved))
    assert real is not None
    assert np.allclose(real - meant, [0.1, *[0] * 8, 3.0 - meant[9], *[0] * 12], atol=1e-5)
    aligned = {"format": "pocketworld.alignment", "version": 1, "robot": "panda", "cameras": moved}
    assert np.array_equal(known_cameras(bundle.manifest, written(tmp_path, aligned)), real)
    moved["front"]["base_from_camera"][0][0] += 0.5
    with pytest.raises(ArmError, match="distorts"):
        known_cameras(bundle.manifest, written(tmp_path, moved))
    moved = {"front": {"base_from_camera": np.eye(4).tolist(), "size": [4, 4]}}
    with pytest.raises(ArmError, match="'focal_px' is missing"):
        known_cameras(bundle.manifest, written(tmp_path, moved))
    with pytest.raises(ArmError, match="'top'"):
        known_cameras(bundle.manifest, written(tmp_path, {"top": {}}))


# --- a run, by a clock that only the test moves on ------------------------------------------------------------------


class Bench:
    """An arm, its cameras and a driver without its thread: they go on in steps of 10 ms whenever a command is told."""

    def __init__(self, bundle: Bundle) -> None:
        self.now, self.bundle = 100.0, bundle
        self.device = FakeArm(clock=lambda: self.now)
        wiring = wired(bundle)
        goals = wiring.goals(np.array(bundle.manifest.home))
        self.device.now = {f"{motor}.pos": float(goal) for motor, goal in zip(wiring.motors, goals, strict=True)}
        known = known_cameras(bundle.manifest, None)
        clock = lambda: self.now  # noqa: E731
        self.arm = LeRobotArm(self.device, bundle.manifest, wiring, known, clock=clock, camera_clock=clock)
        self.device.is_connected = True
        self.arm._thread = threading.Thread()  # none: the test takes its part
        self.arm._thread.start()
        self.stopped = 0
        self.ages: list[float] = []

    def connect(self) -> None:
        self.go(0.05)

    def read(self) -> Any:
        reading = self.arm.read()
        for name, camera in self.device.cameras.items():
            taken = getattr(camera, "latest_timestamp", None)
            assert taken is None or reading.measured_s[f"observation.images.{name}"] <= taken + 1e-9
        return reading

    def act(self, command: np.ndarray) -> None:
        cameras = [camera for camera in self.device.cameras.values() if isinstance(camera, FakeCamera)]
        self.ages.append(max((self.now - (camera.latest_timestamp or 0.0) for camera in cameras), default=0.0))
        self.arm.act(command)
        self.go(1 / self.bundle.manifest.rate_hz)

    def stop(self) -> None:
        self.arm.stop()
        self.stopped += 1

    def go(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):
            try:
                if self.arm._fault is None:
                    self.arm._round()
            except Exception as error:  # noqa: BLE001 - as the thread does
                self.arm._fault = error
            self.now += 0.01

    def run(self, seconds: float = 3.0) -> Report:
        return drive(self.bundle, self, seconds, fast=True, clock=lambda: self.now)

    def moves_after(self, time_s: float) -> float:
        """The last time that the arm was told to go elsewhere, after some moment."""
        ways = zip(self.device.told[:-1], self.device.told[1:], strict=True)
        return max((at for (_, a), (at, b) in ways if a != b and at > time_s), default=time_s) - time_s


def test_it_goes_where_the_guard_says(bundle: Bundle) -> None:
    bench = Bench(bundle)
    report = bench.run()
    assert (report.stopped, report.ticks, bench.stopped) == (TIME_OVER, 30, 1)
    assert len(bench.device.told) >= 30
    told = np.array([list(goals.values()) for _, goals in bench.device.told])
    steps = np.deg2rad(np.abs(np.diff(told[:, :-1], axis=0)))
    assert steps.max() > 1e-3
    assert (steps <= bundle.manifest.limits.speed / bundle.manifest.rate_hz + 1e-9).all()


@pytest.mark.parametrize("latency", [0.0, 0.1, 0.2, 0.3])
def test_latency_jitter_and_lost_frames(bundle: Bundle, latency: float) -> None:
    bench, stale_s = Bench(bundle), bundle.manifest.limits.stale_s
    for camera in bench.device.cameras.values():
        camera.latency, camera.jitter, camera.lost = latency, 0.03, 0.05
    report = bench.run(6.0)
    if report.fault:
        assert "stale data: observation.images" in report.stopped
    # As long as the policy was in charge, what it saw was young enough, and nothing was said to be younger than it was.
    assert max(bench.ages[: report.ticks], default=0.0) <= stale_s
    assert report.ticks == 60 if latency <= 0.1 else latency < 0.3 or report.ticks == 0
    assert bench.stopped == 1


@pytest.mark.parametrize("stamped", [True, False])
def test_a_frozen_camera_stops_the_arm(bundle: Bundle, stamped: bool) -> None:
    """Whether or not the camera says when its picture was taken: where it does not, the same picture is no new one."""
    bench, frozen = Bench(bundle), 101.0
    camera = bench.device.cameras["wrist"]
    camera.frozen_at = frozen
    if not stamped:
        bench.device.cameras = {"front": bench.device.cameras["front"], "wrist": Unstamped(camera)}  # type: ignore[dict-item]
    report = bench.run()
    assert "stale data: observation.images.wrist" in report.stopped
    assert report.fault
    stale = frozen + bundle.manifest.limits.stale_s
    # Seen at the next tick; from then on it only comes to rest: within 0.2 s it does.
    assert 9 <= report.ticks <= 10 * (stale + 0.2 - 100.0)
    assert bench.moves_after(stale) <= 0.2
    assert bench.stopped == 1


class Unstamped:
    def __init__(self, camera: Any) -> None:
        self.read_latest = camera.read_latest


def test_damaged_packets_are_borne_but_not_many_on_end(bundle: Bundle) -> None:
    bench, rng = Bench(bundle), np.random.default_rng(1)
    bench.device.fails = lambda: rng.random() < 0.05
    assert bench.run(5.0).stopped == TIME_OVER
    bench = Bench(bundle)
    bench.device.fails = lambda: bench.now > 101.0
    report = bench.run(5.0)
    assert "the connection is lost: ConnectionError: Incorrect status packet" in report.stopped
    assert bench.moves_after(101.0) == 0.0
    assert 8 <= report.ticks <= 11 + TRIES


@pytest.mark.parametrize("error", [ConnectionError("cable"), RuntimeError("read thread is not running")])
def test_a_dead_connection_stops_it(bundle: Bundle, error: Exception) -> None:
    bench = Bench(bundle)

    def dies() -> bool:
        if bench.now > 101.0:
            bench.device.broken = error
        return False

    bench.device.fails = dies
    report = bench.run()
    assert "the connection is lost" in report.stopped
    assert str(error) in report.stopped
    assert report.ticks <= 12
    assert bench.moves_after(101.0) <= 0.011
    with pytest.raises(ConnectionError):
        bench.arm.act(np.array(bundle.manifest.home))
    bench.stop()
    bench.stop()  # harmless


def test_a_goal_that_could_not_be_told_in_time_is_not_told_later(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.connect()
    bench.arm.act(np.array(bundle.manifest.home) + 0.1)
    bench.now += 0.5  # LeRobot hung
    bench.go(0.05)
    assert bench.device.told == []
    bench.arm.act(np.array(bundle.manifest.home) + 0.1)
    bench.go(0.05)
    assert len(bench.device.told) == 1


# --- with its thread ------------------------------------------------------------------------------------------------


def opened(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, **more: Any) -> tuple[LeRobotArm, FakeArm]:
    device = FakeArm(clock=time.perf_counter)
    install(monkeypatch, device)
    return open_lerobot(bundle.manifest, "fake_arm", ArmSettings(id="mine", **more)), device


def eventually(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_one_thread_reads_and_tells_and_ends(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, device = opened(bundle, monkeypatch)
    assert device.happened == []  # opening touches nothing
    assert (device.config.use_degrees, device.config.disable_torque_on_disconnect) == (True, False)
    arm.connect()
    arm.connect()
    first = arm.read()
    assert set(first.measured_s) == {"joints", *first.seen}
    assert {*first.seen} == {*bundle.manifest.measures}
    assert all(0 <= time.monotonic() - time_s < 30 for time_s in first.measured_s.values())
    eventually(lambda: arm.read().measured_s["joints"] > first.measured_s["joints"])
    assert device.told == []
    arm.act(np.array([0.2, *[0.0] * 6, 0.5]))
    eventually(lambda: len(device.told) == 1)
    assert device.told[0][1]["panda_joint1.pos"] == pytest.approx(np.rad2deg(0.2))
    assert device.told[0][1]["gripper.pos"] == pytest.approx(50.0)
    eventually(lambda: bool(np.allclose(arm.read().positions, [0.2, *[0.0] * 6, 0.5])))
    arm.stop()
    arm.stop()
    assert device.happened == ["connect", "disconnect"]
    with pytest.raises(ConnectionError):
        arm.read()
    with pytest.raises(ConnectionError):
        arm.act(np.zeros(8))
    assert not [thread for thread in threading.enumerate() if thread.name == "arm" and thread.is_alive()]


def test_reading_never_waits_and_a_hanging_arm_grows_old(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, device = opened(bundle, monkeypatch)
    arm.connect()
    gate, hangs = threading.Event(), threading.Event()

    def hang() -> bool:
        hangs.set()
        return not gate.wait(60)

    device.fails = hang
    assert hangs.wait(30)
    arm.act(np.zeros(8))
    old = arm.read().measured_s["joints"]
    time.sleep(0.05)
    assert arm.read().measured_s["joints"] == old  # and this was reached: nobody waited
    gate.set()
    arm.stop()
    assert device.happened[-1] == "disconnect"


def test_what_fails_in_the_thread_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, device = opened(bundle, monkeypatch)
    arm.connect()
    device.broken = RuntimeError("the bus burns")

    def lost() -> bool:
        try:
            arm.read()
        except ConnectionError as error:
            return "the bus burns" in str(error)
        return False

    eventually(lost)
    arm.stop()
    assert device.happened == ["connect", "disconnect"]


def test_an_arm_that_does_not_answer_or_is_not_calibrated(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, device = opened(bundle, monkeypatch)
    device.broken = OSError("no such port")
    with pytest.raises(ConnectionError, match="no such port"):
        arm.connect()
    arm.stop()
    arm, device = opened(bundle, monkeypatch)
    device.is_calibrated = False
    with pytest.raises(ArmError, match="no calibration of this arm under the id 'mine'") as caught:
        arm.connect()
    assert "lerobot-calibrate --robot.type=fake_arm" in caught.value.remedy
    assert device.happened == ["connect", "disconnect"]
    arm.stop()


def test_what_does_not_fit_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest = bundle.manifest
    device = FakeArm()
    install(monkeypatch, device)

    def refused(why: str, kind: str = "fake_arm", manifest: Any = manifest, **more: Any) -> str:
        with pytest.raises(ArmError, match=why) as caught:
            open_lerobot(manifest, kind, ArmSettings(**more))
        return caught.value.remedy

    assert "fake_arm" in refused("knows no arm 'toaster'", "toaster")
    refused("unexpected keyword argument 'colour'", config=written(tmp_path, {"colour": "red"}))
    refused("in which unit", config=written(tmp_path, {"use_degrees": False}))
    renamed = dataclasses.replace(manifest, joints=("waist", *manifest.joints[1:]))
    assert "it has: gripper, panda_joint1" in refused("no motor 'waist'", manifest=renamed)
    refused("no camera 'top'", mapping=written(tmp_path, {"cameras": {"front": {"camera": "top"}}}))
    refused("lies outside", mapping=written(tmp_path, {"cameras": {"front": {"crop": [30, 0, 48]}}}))
    device.now["wheel.pos"] = 0.0
    refused("does not move 'wheel'")
    knowing = {**manifest.inputs, "observation.environment_state": manifest.inputs[CALIBRATION]}
    refused("only a simulation knows", manifest=dataclasses.replace(manifest, inputs=knowing))
    cloudy = {**manifest.inputs, "observation.points": manifest.inputs[CALIBRATION]}
    refused("cloud of points", manifest=dataclasses.replace(manifest, inputs=cloudy))
    monkeypatch.setitem(sys.modules, "lerobot", None)
    monkeypatch.delitem(sys.modules, "lerobot.robots")
    assert "pip install" in refused("cannot be imported|not installed")
    # Nobody installs LeRobot to learn that.
    assert "shoulder_pan" in refused("no motor 'panda_joint1'", "so101_follower")


def test_it_is_shown_and_an_arm_elsewhere_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, device = opened(bundle, monkeypatch)
    device.now["panda_joint2.pos"] = 30.0
    arm.connect()
    text = shown(bundle.manifest, arm, arm.read().positions)
    arm.stop()
    assert "30.00" in text
    assert "0.524" in text
    assert "'front', of its 64 × 48 pixels 48 × 48 from (8, 0), as 32 × 32" in text
    assert "--align" in text
    assert "its motors hold it" in text
    home = np.array(bundle.manifest.home)
    assert misplaced(bundle.manifest, home) == ""
    for harm, why in ((2.5, "outside of its workspace"), (9.0, "panda_joint1 is at"), (np.nan, "no sense")):
        assert why in misplaced(bundle.manifest, home + np.array([harm, *[0.0] * 7]))

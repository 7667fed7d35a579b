"""A bundle behind the topics of ROS 2: in a stand-in for ROS, from what comes in to joints that move, or do not."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.ros2_package import write_package
from policies.deploy.bundle import JOINTS, PICTURES, Bundle, Decision, Input
from policies.deploy.loop import TIME_OVER, drive
from policies.deploy.ros2.arm import RosArm
from policies.deploy.ros2.node import PolicyNode, declared
from policies.deploy.ros2.settings import parameters_of, pose_from, settings_of
from simulation.calibration import CALIBRATION
from simulation.privileged import BOX, COLUMN
from tests import bundles, fake_ros
from tests.conftest import ROOT
from tests.ros2_lab import ARM, GRIPPER, NAMES, OFFSETS, OTHERS, SIGNS, AtOnce, World


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_bundle(tmp_path_factory.mktemp("bundle") / "für ROS")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle(folder)


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> fake_ros.Graph:
    for name, module in fake_ros.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("policies.deploy.decisions.ThreadPoolExecutor", AtOnce)
    return fake_ros.GRAPH


def at_rest(world: World) -> None:
    before = dict(world.arm.at)
    world.wait(3.0)
    assert world.arm.at == pytest.approx(before, abs=0.05)
    told = len(world.arm.told)
    before = dict(world.arm.at)
    world.wait(1.0)
    assert (world.arm.at, len(world.arm.told)) == (before, told)


@pytest.mark.parametrize("speed", [1.0, 0.1])
def test_the_policy_moves_the_joints_that_are_meant(graph: fake_ros.Graph, bundle: Bundle, speed: float) -> None:
    world = World(graph, bundle.manifest, speed=speed)
    begun = world.now
    report = world.drive(bundle)
    assert (report.stopped, report.fault) == (TIME_OVER, False)
    assert report.ticks == 30
    limits, tick_s = bundle.manifest.limits, 0.1 / speed
    assert world.now - begun >= 30 * tick_s
    times = [sent.points[0].time_from_start for _, sent in world.arm.told]
    assert {round(t.sec + 1e-9 * t.nanosec, 6) for t in times[:-1]} == {round(tick_s, 6)}
    assert {tuple(sent.joint_names) for _, sent in world.arm.told} == {tuple(sorted(NAMES))}
    way = np.concatenate([bundle.manifest.home[None, :-1], world.way()])
    pace = np.abs(np.diff(way, axis=0)) / tick_s
    assert pace.max() > 0.01 * speed
    assert (pace <= speed * limits.speed + 1e-6).all()
    change = np.abs(np.diff(np.diff(way[1:], axis=0), axis=0)) / 0.1**2
    assert (change <= limits.acceleration + 1e-6).all()
    assert world.way()[-1] == pytest.approx([(world.arm.at[n] - o) / s for n, o, s in zip(NAMES, OFFSETS, SIGNS, strict=True)])  # fmt: skip  # noqa: E501
    assert all(0.0 <= grip <= 0.04 for grip in world.arm.grips)
    assert 1 <= len(world.arm.grips) < 30  # not asked for what it does already
    at_rest(world)


def test_a_position_controller_is_led_there_in_small_steps(graph: fake_ros.Graph, bundle: Bundle) -> None:
    told = {"arm.controller": "position", "arm.topic": "/position/commands", "arm.stream_hz": 50.0}
    world = World(graph, bundle.manifest, speed=0.5, **told)
    start = [world.arm.at[name] for name in sorted(NAMES)]
    assert world.drive(bundle, 2.0).stopped == TIME_OVER
    rows = np.array([start] + [sent.data for _, sent in world.arm.told])
    assert len(rows) > 150  # 20 ticks of 0.2 s, by 50 a second
    limits = dict(zip(NAMES, bundle.manifest.limits.speed, strict=True))
    most = np.array([limits[name] for name in sorted(NAMES)]) * 0.5
    times = np.array([when for when, _ in world.arm.told])
    steps, gaps = np.abs(np.diff(rows[1:], axis=0)), np.diff(times)
    assert (steps <= most * np.maximum(gaps, 1e-9)[:, None] + 1e-6).all()
    assert np.abs(rows[-1] - rows[0]).max() > 0.01


def spoilt(**change: Any) -> Callable[[World], None]:
    def work(world: World) -> None:
        def spoil(state: Any) -> Any:
            for field, make in change.items():
                setattr(state, field, make(list(getattr(state, field))))
            return state

        world.arm.spoil = spoil

    return work


def gone(world: World) -> None:
    world.arm.spoil = lambda state: None


def without_finger(world: World) -> None:
    def spoil(state: Any) -> Any:
        state.name, state.position = state.name[:-1], state.position[:-1]
        return state

    world.arm.spoil = spoil


FAULTS: dict[str, tuple[Callable[[World], Any], str]] = {
    "no joints": (gone, "stale data: joints"),
    "a joint is missing": (without_finger, "stale data: joints"),
    "nan": (spoilt(position=lambda values: [np.nan, *values[1:]]), "joint data make no sense"),
    "fewer positions": (spoilt(position=lambda values: values[1:]), "stale data: joints"),
    "a name twice": (spoilt(name=lambda names: [names[1], *names[1:]]), "stale data: joints"),
    "old stamps": (lambda world: setattr(world.arm, "late_s", 0.5), "stale data: joints"),
    "stamps of tomorrow": (lambda world: setattr(world.arm, "late_s", -86400.0), "stale data: joints"),
    "nothing seen": (lambda world: world.silent.add(OTHERS), f"stale data: {COLUMN}"),
    "too little seen": (lambda world: setattr(world, "numbers", [1.0]), "the policy failed"),
    "no controller": (lambda world: world.graph.subscriptions.pop(ARM), f"nobody listens to {ARM}"),
    "no gripper": (lambda world: world.graph.actions.pop(GRIPPER), f"nobody listens to {GRIPPER}"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_stop_the_arm(graph: fake_ros.Graph, bundle: Bundle, fault: str) -> None:
    world, (harm, why) = World(graph, bundle.manifest), FAULTS[fault]
    world.after(1.5, lambda: harm(world))
    report = world.drive(bundle, 10.0)
    assert why in report.stopped
    assert report.fault
    assert 10 <= report.ticks <= 22
    change = np.abs(np.diff(np.diff(world.way()[:-1], axis=0), axis=0)) / 0.1**2
    assert (change <= bundle.manifest.limits.acceleration + 1e-6).all()
    at_rest(world)
    missing: dict[str, str] = {"no joints": "/joint_states", "nothing seen": OTHERS}
    if fault in missing:  # and it says so where it never was there
        harm(other := World(graph, bundle.manifest))
        said = other.drive(bundle, 1.0).stopped
        assert "the connection is lost: nothing" in said
        assert f"comes on {missing[fault]}" in said


def test_what_cannot_start_says_what_is_missing(graph: fake_ros.Graph, bundle: Bundle) -> None:
    world = World(graph, bundle.manifest)
    world.arm.late_s = 7.0
    said = world.drive(bundle, 1.0).stopped
    assert "of finger, lab_1" in said
    assert "its stamp is 7.0 s old" in said
    assert any("a message is refused" in line for line in graph.said)
    assert world.arm.told == []


def test_numbers_that_are_none_hold_the_arm(graph: fake_ros.Graph, bundle: Bundle) -> None:
    world = World(graph, bundle.manifest)
    world.numbers = [float("nan")] * 2 * BOX
    report = world.drive(bundle, 2.0)
    assert report.held == report.ticks == 20
    assert np.abs(world.way() - bundle.manifest.home[:-1]).max() < 1e-9


def test_the_emergency_stop_holds_the_arm_where_it_is(graph: fake_ros.Graph, bundle: Bundle) -> None:
    world = World(graph, bundle.manifest)
    places: list[dict[str, float]] = []

    def stop() -> None:
        world.arm.move()
        world.arm.publish()
        places.append(dict(world.arm.at))
        world.robot.emergency()

    world.after(1.53, stop)
    world.drive(bundle, 10.0)
    last, sent = world.arm.told[-1]
    assert last == pytest.approx(1001.54, abs=0.021)
    assert sent.points[0].time_from_start.nanosec == 10**8
    assert dict(zip(sent.joint_names, sent.points[0].positions, strict=True)) == pytest.approx({n: places[0][n] for n in NAMES}, abs=1e-9)  # fmt: skip  # noqa: E501
    world.robot.act(bundle.manifest.home)
    world.robot.stop()
    assert world.arm.told[-1] == (last, sent)  # nothing after it
    world.robot.reset()
    assert world.drive(bundle, 1.0).stopped == TIME_OVER


def test_services_of_the_node(graph: fake_ros.Graph, bundle: Bundle) -> None:
    world = World(graph, bundle.manifest)
    reports: list[dict[str, Any]] = []
    graph.subscribe("/policy/report", lambda sent: reports.append(json.loads(sent.data)))
    node = PolicyNode(world.node, bundle, world.settings, world.robot)
    answers: list[Any] = []
    world.after(1.0, lambda: answers.append(graph.call("/policy/start")))  # while it runs
    world.after(1.4, lambda: answers.append(graph.call("/policy/stop")))
    world.after(1.4, lambda: answers.append(graph.call("/policy/reset")))
    assert graph.call("/policy/start").success
    graph.subscribe("/policy/report", lambda sent: node.ending.set())
    node.serve()
    assert [answer.success for answer in answers] == [False, True, False]
    assert (reports[0]["stopped"], reports[0]["fault"]) == ("the emergency stop was called", False)
    node.ending.clear()
    refused = graph.call("/policy/start")
    assert (refused.success, "~/reset" in refused.message) == (False, True)
    assert graph.call("/policy/reset").success
    assert graph.call("/policy/start").success
    world.after(0.8, node.ending.set)  # Ctrl-C
    told = len(world.arm.told)
    node.serve()
    assert reports[1]["stopped"] == "the node ends"
    change = np.abs(np.diff(np.diff(world.way()[told:-1], axis=0), axis=0)) / 0.1**2
    assert (change <= bundle.manifest.limits.acceleration + 1e-6).all()
    at_rest(world)
    assert not graph.call("/policy/start").success


def test_parameters_are_looked_at(graph: fake_ros.Graph, bundle: Bundle) -> None:
    manifest = bundle.manifest
    usual = {entry.name: entry.usual for entry in parameters_of(manifest)}
    made = settings_of(manifest, usual.__getitem__)
    assert (made.speed, made.gripper.joint, made.gripper.opened) == (0.1, "panda_finger_joint1", 0.04)
    wrong: dict[str, list[Any]] = {
        "speed": [0.0, 1.5, "fast", float("nan"), True],
        "seconds": [0, -1.0],
        "arm.controller": ["velocity"],
        "arm.topic": [""],
        "arm.joints": [["a"], [*NAMES[:6], NAMES[0]], [*NAMES[:6], ""], [1.0] * 7],
        "arm.signs": [[1.0] * 6, [2.0] * 7, [float("nan")] * 7],
        "arm.offsets": [[0.0] * 8],
        "arm.order": [NAMES[:6], [*NAMES, "other"]],
        "gripper.closed": [usual["gripper.open"]],
        "heed_doubts": [1.0],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=name.replace(".", r"\.")):
                settings_of(manifest, {**usual, name: value}.__getitem__)
    graph.parameters = {"use_sim_time": False, "speed": 1}
    assert settings_of(manifest, declared(fake_ros.Node(), manifest).__getitem__).speed == 1.0
    graph.parameters = {"arm.sings": SIGNS}
    with pytest.raises(ValueError, match=r"there is no parameter arm\.sings"):
        declared(fake_ros.Node(), manifest)


class Seeing:
    """A bundle that looks at a picture; what it then does comes of its joints alone."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        inputs = {
            JOINTS: bundle.manifest.inputs[JOINTS],
            CALIBRATION: Input((1, 11), "float32"),
            PICTURES + "front": Input((1, 16, 16, 3), "uint8"),
        }
        fact = {"size": [16, 16], "focal_px": 12.0, "base_from_camera": pose_from([0.9, 0, 0.5, -2, 0, 1.6]).tolist()}
        document = {**bundle.manifest.document, "cameras": {"front": fact}}
        self.manifest = dataclasses.replace(bundle.manifest, inputs=inputs, document=document)
        self.guard, self.check, self.seen = bundle.guard, bundle.check, list[Any]()

    def decide(self, seen: Any, tick: int, memory: Any) -> Decision:
        self.seen.append(seen)
        return self._bundle.decide({JOINTS: seen[JOINTS], COLUMN: np.zeros(2 * BOX)}, tick)


def test_what_cameras_see_and_are(graph: fake_ros.Graph, bundle: Bundle) -> None:
    seeing = Seeing(bundle)
    world = World(graph, seeing.manifest, **{"cameras.front.info": "/front/camera_info"})
    world.picture = lambda header: picture_message(header, "bgr8")
    info = {"width": 64, "height": 48, "k": [0.0] * 9, "p": [40.0, 0, 32.0, 0, 0, 40.0, 24.0, 0, 0, 0, 1, 0]}
    world.after(0.1, lambda: graph.publish("/front/camera_info", fake_ros.CameraInfo(header=graph.header(), **info)))
    assert world.drive(seeing, 2.0).stopped == TIME_OVER
    seen = seeing.seen[0]
    assert (seen[PICTURES + "front"] == [30, 20, 10]).all()
    assert seen[CALIBRATION][:3] == pytest.approx([0.9, 0, 0.5])
    assert seen[CALIBRATION][9:] == pytest.approx([40.0 / 24.0, 0.0])


def picture_message(header: Any, encoding: str) -> Any:
    array = np.full((48, 64, 3), (10, 20, 30), dtype=np.uint8)
    return fake_ros.Image(header=header, height=48, width=64, encoding=encoding, step=192, data=array.tobytes())


CAMERA_FAULTS: dict[str, tuple[Callable[[World], Any], str]] = {
    "dropped": (lambda world: world.silent.add("/front/image_rect"), f"stale data: {PICTURES}front"),
    "encoding": (lambda world: setattr(world, "picture", lambda h: picture_message(h, "bayer_rggb8")), "'bayer_rggb8'"),
    "stale": (
        lambda world: setattr(world, "picture", lambda h: picture_message(world.graph.header(0.4), "rgb8")),
        f"stale data: {PICTURES}front",
    ),
}


@pytest.mark.parametrize("fault", CAMERA_FAULTS)
def test_cameras_that_fail_stop_the_arm(graph: fake_ros.Graph, bundle: Bundle, fault: str) -> None:
    seeing, (harm, why) = Seeing(bundle), CAMERA_FAULTS[fault]
    world = World(graph, seeing.manifest)
    world.picture = lambda header: picture_message(header, "rgb8")
    world.after(1.5, lambda: harm(world))
    report = world.drive(seeing, 10.0)
    assert why in report.stopped
    assert (report.fault, report.ticks < 22) == (True, True)
    at_rest(world)


PROCESS = """
import json, os, signal, sys, threading, time
from pathlib import Path
import fake_ros
package = Path(PACKAGE)
graph = fake_ros.install(str(package))
graph.parameters = TOLD
home, names = HOME, TOLD["arm.joints"]
arm = fake_ros.SimulatedArm({**dict(zip(names, home)), "finger": 0.04}, names, time.monotonic)
graph.subscribe("/joint_trajectory_controller/joint_trajectory", arm.trajectory)
graph.actions["/gripper_controller/gripper_cmd"] = arm.grip
reports = []
graph.subscribe("/policy/report", lambda sent: reports.append(json.loads(sent.data)))
def lab():
    started = False
    while len(arm.told) < 8:
        arm.publish()
        graph.publish("/environment_state", fake_ros.Float64MultiArray(data=[0.1] * 30))
        if "/policy/start" in graph.services and not started:
            started = graph.call("/policy/start").success
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
    while not reports:
        arm.publish()
        graph.publish("/environment_state", fake_ros.Float64MultiArray(data=[0.1] * 30))
        time.sleep(0.02)
threading.Thread(target=lab, daemon=True).start()
sys.path.insert(0, str(package))
code = __import__(f"{package.name}.node", fromlist=["main"]).main()
import policies
site = [m for n, m in sys.modules.items() if "site-packages" in str(getattr(m, "__file__", ""))]
known = {m.__name__.split(".")[0] for m in site}
print(json.dumps({"code": code, "report": reports[0], "runner": policies.__file__,
                   "known": sorted(known), "at": arm.at}))
"""


def test_an_exported_package_drives_alone(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    """In a process that knows nothing of Pocketworld but the package."""
    patient = tmp_path / "bundle"
    shutil.copytree(folder, patient)
    bundles.change(patient, "guard", "stale_s", to=10.0)  # a busy machine is no fault here
    package = write_package(patient, tmp_path / "ros2")
    told = {"gripper.joint": "finger", "speed": 1.0, "arm.joints": NAMES, "arm.order": NAMES, "wait_s": 60.0}
    home = bundle.manifest.home[:-1].tolist()
    code = PROCESS.replace("PACKAGE", repr(str(package))).replace("TOLD", repr(told)).replace("HOME", repr(home))
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "fake_ros.py").write_bytes((ROOT / "tests" / "fake_ros.py").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(fakes), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["code"], said["report"]["stopped"], said["report"]["fault"]) == (0, "the node ends", False)
    assert said["runner"].startswith(str(package / "bundle" / "runner"))
    assert not set(said["known"]) & {"torch", "scipy", "cv2", "pyarrow", "tyro", "pybullet"}
    moved = max(abs(said["at"][name] - start) for name, start in zip(NAMES, home, strict=True))
    assert moved > 1e-3
    damaged = package / "bundle" / "runner" / "policies" / "deploy" / "guard.py"
    damaged.write_bytes(damaged.read_bytes() + b"\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(fakes)}, capture_output=True, text=True, check=False, timeout=120)  # fmt: skip  # noqa: E501
    assert "SHA-256" in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="ROS 2 is not installed")
def test_in_real_ros(bundle: Bundle) -> None:
    """Joint states and a controller of one's own, through a real executor."""
    import rclpy
    from rclpy.executors import MultiThreadedExecutor
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory

    rclpy.init()
    node, lab = rclpy.create_node("policy"), rclpy.create_node("lab")
    manifest = bundle.manifest
    told = {entry.name: entry.usual for entry in parameters_of(manifest)}
    told |= {"gripper.controller": "trajectory", "gripper.topic": "/hand/joint_trajectory", "speed": 1.0}
    robot = RosArm(node, manifest, settings_of(manifest, told.__getitem__))
    states = lab.create_publisher(JointState, "/joint_states", 1)
    numbers = lab.create_publisher(Float64MultiArray, OTHERS, 1)
    heard: list[Any] = []
    lab.create_subscription(JointTrajectory, ARM, heard.append, 1)
    lab.create_subscription(JointTrajectory, "/hand/joint_trajectory", lambda sent: None, 1)

    def publish() -> None:
        state = JointState(
            name=[*manifest.joints, told["gripper.joint"]], position=[*manifest.home[:-1].tolist(), 0.04]
        )
        state.header.stamp = lab.get_clock().now().to_msg()
        states.publish(state)
        numbers.publish(Float64MultiArray(data=[0.1] * 30))

    lab.create_timer(0.02, publish)
    executor = MultiThreadedExecutor(num_threads=4)
    for one in (node, lab):
        executor.add_node(one)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        report = drive(bundle, robot, 2.0, clock=robot.clock, sleep=robot.sleep)
    finally:
        executor.shutdown()
        rclpy.shutdown()
        thread.join(5.0)
    assert report.stopped == TIME_OVER
    assert heard

"""An arm through LeRobot's own `Robot` class (0.4.4 … 0.6): whatever LeRobot drives, with LeRobot's calibration.

LeRobot is no part of Pocketworld and imported only when such an arm is opened. All talk with the arm happens in one
thread: nobody waits for it, and a bus is never written to while it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import PICTURES, Manifest
from policies.deploy.drivers.arm import ArmError, ArmSettings, Motor, require_seeing
from policies.deploy.drivers.wiring import GripperMotor, Wiring, known_cameras, read_json, read_wiring
from policies.deploy.pictures import fitted, middle
from policies.deploy.robot import Reading
from simulation.calibration import CALIBRATION

FloatArray = npt.NDArray[np.float64]
ALIASES = {"so_follower": "so101_follower"}
"""The class is called so, datasets too; LeRobot's command line has other words."""
SIX_MOTORS = {"shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"}
MOTORS = dict.fromkeys(("so100_follower", "so101_follower", "koch_follower"), SIX_MOTORS)
"""Of the usual arms, by LeRobot's names: whether a bundle fits one is said before LeRobot has to be installed."""
SO_GRIPPER = GripperMotor("gripper", closed=0.24, open=50.8)
"""LeRobot's 0 … 100 are all that an SO-101's jaw turns, −0.175 … 1.745 rad; bundles open it from −0.17 to 0.8 rad."""
WHICH = "Say in a --mapping file which is which (docs/robots.md)"
ROUND_S = 1 / 60
"""The arm is read so often, as far as it answers so fast."""
TRIES = 3
"""So many rounds on end may fail before the connection counts as lost: on a serial bus, packets get damaged."""
EXPIRED_S = 0.2
"""A goal that could not be told for so long is not told any more: the arm would jump to it."""
FIRST_S = 5.0
"""The first reading takes no longer, …"""
LAST_S = 2.0
"""… and letting go neither."""


def open_lerobot(manifest: Manifest, kind: str, settings: ArmSettings) -> LeRobotArm:
    """An arm of LeRobot's, not connected yet.

    Args:
        manifest: of the bundle.
        kind: LeRobot's name of its type, such as ``so101_follower``.
        settings: what a user says of it.

    Raises:
        ArmError: LeRobot is missing, knows no such arm, or the bundle needs what the arm does not have.
    """
    require_seeing(manifest)
    if manifest.chain.sliding.any():
        raise ArmError("This bundle's arm has a sliding joint, LeRobot's have none.", "Take another arm.")
    known = known_cameras(manifest, settings.align)
    fields = {} if settings.config is None else read_json(settings.config)
    kind = ALIASES.get(kind, kind)
    usual = SO_GRIPPER if manifest.robot == "so101" else GripperMotor()
    if kind in MOTORS:
        _require_motors(MOTORS[kind], MOTORS[kind], read_wiring(manifest, settings.mapping, usual, degrees=True))
    device = _device(kind, fields, settings)
    # Only a class that can say something else is known to say degrees, if told to.
    degrees = getattr(getattr(device, "config", None), "use_degrees", False) is True
    wiring = read_wiring(manifest, settings.mapping, usual, degrees=degrees)
    _require(device, wiring)
    return LeRobotArm(device, manifest, wiring, known, measured=settings.align is not None)


class LeRobotArm:
    """An arm that a thread reads and tells, as a runner knows robots."""

    def __init__(
        self,
        device: Any,
        manifest: Manifest,
        wiring: Wiring,
        known: npt.NDArray[np.float32] | None,
        *,
        measured: bool = False,
        clock: Callable[[], float] = time.monotonic,
        camera_clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take over an arm that is not connected.

        Args:
            device: a ``lerobot.robots.Robot``.
            manifest: of the bundle.
            wiring: what of the arm is what of the bundle.
            known: of the cameras, for a policy that is told of them.
            measured: whether that was measured, not meant.
            clock: the time, seconds.
            camera_clock: by which LeRobot's cameras note when a picture was taken.
        """
        self._device, self._manifest, self._wiring, self._known = device, manifest, wiring, known
        self._measured, self._clock, self._camera_clock = measured, clock, camera_clock
        self._bell = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._fault: Exception | None = None
        self._failed = 0
        self._goal: tuple[dict[str, float], float] | None = None
        self._latest: Reading | None = None
        self._said = np.zeros(len(wiring.motors))
        self._frames: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.uint8], float]] = {}

    def connect(self) -> None:
        """Connect, and wait for the first reading; nothing where that has been done.

        Raises:
            ConnectionError: the arm does not answer.
            ArmError: it is not calibrated.
        """
        if self._thread is not None:
            return
        try:
            self._device.connect(calibrate=False)  # calibrating asks questions, and lets the arm go limp
            calibrated = self._device.is_calibrated
        except Exception as error:  # noqa: BLE001 - LeRobot has no common class of its errors
            self._let_go()
            raise ConnectionError(_said(error)) from None
        if not calibrated:
            self._let_go()
            kind = getattr(getattr(self._device, "config", None), "type", self._device.name)
            raise ArmError(
                f"LeRobot has no calibration of this arm under the id {self._device.id!r}, or another.",
                f"Run lerobot-calibrate --robot.type={kind} --robot.port=PORT --robot.id={self._device.id or 'ID'}, "
                "and name the same --port and --id here.",
            )
        self._thread = threading.Thread(target=self._serve, name="arm", daemon=True)
        self._thread.start()
        limit = time.monotonic() + FIRST_S
        with self._bell:
            while self._latest is None and self._fault is None and time.monotonic() < limit:
                self._bell.wait(0.05)
        if self._latest is None:
            self.stop()
            raise ConnectionError(_said(self._fault) if self._fault else f"nothing was measured in {FIRST_S:g} s")

    def read(self) -> Reading:
        """What was measured last.

        Raises:
            ConnectionError: nothing will be measured any more.
        """
        self._require()
        latest = self._latest
        assert latest is not None  # since it is connected
        if self._known is None:
            return latest
        # Cameras are where they are: what is known of them does not age.
        times, seen = {**latest.measured_s, CALIBRATION: self._clock()}, {**latest.seen, CALIBRATION: self._known}
        return Reading(latest.positions, times, seen, latest.efforts)

    def act(self, command: FloatArray) -> None:
        """Let the thread tell the arm where to be, instead of what it has not told it yet.

        Raises:
            ConnectionError: nobody can tell it any more.
        """
        self._require()
        goals = self._wiring.goals(command)
        told = {f"{motor}.pos": float(goal) for motor, goal in zip(self._wiring.motors, goals, strict=True)}
        with self._bell:
            self._goal = (told, self._clock())
            self._bell.notify_all()

    def stop(self) -> None:
        """Tell the arm nothing more: its motors hold it where it was told to be last. Then disconnect."""
        with self._bell:
            self._ended = True
            self._bell.notify_all()
        if self._thread is not None:
            self._thread.join(LAST_S)  # the thread disconnects; where LeRobot hangs, it cannot be helped from here

    def describe(self) -> Sequence[Motor]:
        """Motors and what they say."""
        return [Motor(name, float(says)) for name, says in zip(self._wiring.motors, self._said, strict=True)]

    def notes(self) -> Sequence[str]:
        """Which cameras it sees by, and what becomes of the arm at the end."""
        lines = []
        for name, view in self._wiring.views.items():
            height, width = self._device.observation_features[view.camera][:2]
            left, top, side = view.crop or middle(width, height)
            size = self._manifest.inputs[PICTURES + name].shape[1:3]
            lines.append(
                f"camera {name}: {view.camera!r}, of its {width} × {height} pixels {side} × {side} "
                f"from ({left}, {top}), as {size[1]} × {size[0]}"
            )
        if self._known is not None and not self._measured:
            lines.append("cameras: taken to be where the bundle means them to be (--align tells where they are)")
        if getattr(getattr(self._device, "config", None), "disable_torque_on_disconnect", None) is True:
            lines.append("at the end its motors let go, and it falls (disable_torque_on_disconnect): hold it")
        else:
            lines.append("at the end its motors hold it where it is, until its power is switched off")
        return lines

    def _require(self) -> None:
        if self._fault is not None:
            raise ConnectionError(_said(self._fault))
        if self._ended or self._thread is None:
            raise ConnectionError("the arm is not connected")

    def _serve(self) -> None:
        """Tell and read the arm until it is let go, or lost."""
        try:
            while not self._ended:
                begun = time.monotonic()
                self._round()
                with self._bell:
                    self._bell.notify_all()
                    if self._goal is None and not self._ended:
                        self._bell.wait(max(0.0, begun + ROUND_S - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever reads or tells the arm is to know
            self._fault = error
        finally:
            self._let_go()

    def _round(self) -> None:
        """Tell the arm what it is to be told, and read it; a few failures are borne.

        Raises:
            Exception: of LeRobot.
        """
        with self._bell:
            goal, self._goal = self._goal, None
        try:
            if goal is not None and not self._ended and self._clock() - goal[1] <= EXPIRED_S:
                self._device.send_action(goal[0])
            goal, begun, taken = None, self._clock(), self._picture_times()
            # Measured after `begun`, so that nothing is taken for younger than it is.
            self._take(self._device.get_observation(), begun, taken)
            self._failed = 0
        except OSError:  # ConnectionError and TimeoutError are some
            self._failed += 1
            if self._failed >= TRIES or not self._device.is_connected:
                raise
            with self._bell:
                self._goal = goal if self._goal is None else self._goal

    def _picture_times(self) -> dict[str, float]:
        """When the pictures were taken that are there now, by LeRobot's names of cameras, where it says so."""
        now, found = self._camera_clock(), {}
        for name, camera in getattr(self._device, "cameras", {}).items():
            taken = getattr(camera, "latest_timestamp", None)
            if taken is not None:
                found[name] = self._clock() - (now - taken)
        return found

    def _take(self, observation: Mapping[str, Any], begun: float, taken: Mapping[str, float]) -> None:
        """Keep what was measured.

        Args:
            observation: LeRobot's.
            begun: when reading it began.
            taken: when the pictures were taken, where that is known.
        """
        said = np.array([float(observation[f"{motor}.pos"]) for motor in self._wiring.motors])
        seen, times = {}, {"joints": begun}
        for name, view in self._wiring.views.items():
            frame, before = np.asarray(observation[view.camera]), self._frames.get(name)
            # No sensor sees the same twice, to the last bit: that is the same picture once more, or the camera hangs.
            if before is None or not np.array_equal(frame, before[0]):
                height, width = self._manifest.inputs[PICTURES + name].shape[1:3]
                picture = fitted(frame, view.crop, (width, height))
                before = (frame.copy(), picture, min(begun, taken.get(view.camera, begun)))
                self._frames[name] = before
            seen[PICTURES + name], times[PICTURES + name] = before[1:]
        torques = [observation.get(f"{joint.motor}.torque") for joint in self._wiring.joints]
        efforts = None if None in torques else self._wiring.efforts(np.array(torques, dtype=np.float64))
        self._said, self._latest = said, Reading(self._wiring.positions(said), times, seen, efforts)

    def _let_go(self) -> None:
        with contextlib.suppress(Exception):  # LeRobot complains where nothing is connected
            self._device.disconnect()


def _device(kind: str, fields: Mapping[str, Any], settings: ArmSettings) -> Any:
    """LeRobot's robot of a type, made from a configuration."""
    try:
        robots, draccus = importlib.import_module("lerobot.robots"), importlib.import_module("draccus")
    except Exception as error:  # noqa: BLE001 - of its many packages, any may fail to load in any way
        missing = isinstance(error, ModuleNotFoundError) and error.name == "lerobot"
        # 0.6 and later need Python 3.12.
        version = "0.6.1" if sys.version_info >= (3, 12) else "0.4.4"
        raise ArmError(
            "LeRobot is not installed." if missing else f"LeRobot cannot be imported: {_said(error)}.",
            f'Run {sys.executable} -m pip install "lerobot[feetech]=={version}"',
        ) from None
    choices = robots.RobotConfig
    if kind not in choices.get_known_choices():
        _register("lerobot.robots")
        with contextlib.suppress(Exception):  # arms of others: packages whose names begin with lerobot_robot_
            importlib.import_module("lerobot.utils.import_utils").register_third_party_plugins()
    known = choices.get_known_choices()
    if kind not in known:
        raise ArmError(f"LeRobot knows no arm {kind!r}.", f"Give one of: {', '.join(sorted(known))}.")
    if "cameras" in fields:
        _register("lerobot.cameras")
    there = {field.name for field in dataclasses.fields(choices.get_choice_class(kind))}
    # Radians become degrees; and an arm that nobody drives any more is to stay where it is, not to fall.
    ours = {"use_degrees": True, "disable_torque_on_disconnect": False}
    named = {"port": settings.port, "id": settings.id}
    whole = {
        **{name: value for name, value in ours.items() if name in there},
        **fields,
        **{name: value for name, value in named.items() if value is not None},
        "type": kind,
    }
    try:
        return robots.make_robot_from_config(draccus.decode(choices, whole))
    except Exception as error:  # noqa: BLE001 - LeRobot has no common class of its errors
        raise ArmError(
            f"LeRobot makes no {kind} of this: {_said(error)}.",
            "Give --port and --id, and what else it needs in a --config file (docs/robots.md).",
        ) from None


def _register(package: str) -> None:
    """Import what lies in a package of LeRobot's: each part of it makes itself known, unless it lacks something."""
    for part in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if part.ispkg:
            with contextlib.suppress(Exception):
                importlib.import_module(f"{package}.{part.name}")


def _require(device: Any, wiring: Wiring) -> None:
    """See that an arm has what the bundle needs, and nothing that would be told nothing."""
    measured = device.observation_features
    told, said = ({name.removesuffix(".pos") for name in names} for names in (device.action_features, measured))
    _require_motors(told, said, wiring)
    cameras = {name: shape for name, shape in measured.items() if isinstance(shape, tuple)}
    for name, view in wiring.views.items():
        if view.camera not in cameras:
            raise ArmError(
                f"The arm has no camera {view.camera!r}, by which the bundle would see {name}.",
                f"Name it in a --config file. {WHICH}; it has: {', '.join(cameras) or 'none'}.",
            )
        height, width = cameras[view.camera][:2]
        left, top, side = view.crop or middle(width, height)
        if left + side > width or top + side > height:
            raise ArmError(
                f"The crop of {name} lies outside of its picture of {width} × {height} pixels.", "Give a smaller one."
            )


def _require_motors(told: Set[str], said: Set[str], wiring: Wiring) -> None:
    """See that an arm's motors are those that the bundle moves: which it can be told to move, and which say where."""
    wanted = set(wiring.motors)
    if missing := sorted(wanted - told | wanted - said):
        raise ArmError(f"The arm has no motor {missing[0]!r}.", f"{WHICH}; it has: {', '.join(sorted(told))}.")
    if extra := sorted(told - wanted):
        raise ArmError(f"The bundle does not move {extra[0]!r} of this arm.", "Take an arm as in the bundle.")


def _said(error: Exception | None) -> str:
    """An error in one line."""
    text = str(error).strip().split("\n")[0][:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

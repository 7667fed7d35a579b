"""A stand-in for LeRobot: its robots' interface, and no arm behind it but numbers."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

MOTORS = (*(f"panda_joint{number}" for number in range(1, 8)), "gripper")


class FakeCamera:
    """Makes another picture every 1/30 s; it may come late, or not at all."""

    def __init__(self, clock: Callable[[], float], seed: int) -> None:
        self.clock, self.rng = clock, np.random.default_rng(seed)
        self.latest_timestamp: float | None = None
        self.latency = self.jitter = self.lost = 0.0
        self.frozen_at = float("inf")
        self.frame = self._new()
        self.due = clock()

    def _new(self) -> np.ndarray:
        return self.rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)

    def read_latest(self) -> np.ndarray:
        now = self.clock()
        if now >= self.due and now < self.frozen_at:
            self.due = now + 1 / 30
            if self.rng.random() >= self.lost:
                self.frame = self._new()
                self.latest_timestamp = now - self.latency - self.jitter * self.rng.random()
        return self.frame


class FakeArm:
    """An arm of LeRobot's interface: its motors are where they were told to be."""

    name = "fake"

    def __init__(self, config: FakeArmConfig | None = None, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.config = config or FakeArmConfig()
        self.id = self.config.id
        self.clock = clock
        self.now = dict.fromkeys((f"{motor}.pos" for motor in MOTORS), 0.0)
        self.cameras = {name: FakeCamera(clock, number) for number, name in enumerate(("front", "wrist"))}
        self.told: list[tuple[float, dict[str, float]]] = []
        self.happened: list[str] = []
        self.is_connected = False
        self.is_calibrated = True
        self.broken: Exception | None = None
        self.fails: Callable[[], bool] = lambda: False

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.now, float)

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, **dict.fromkeys(self.cameras, (48, 64, 3))}

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate  # it would ask, and the arm would fall
        self.happened.append("connect")
        if self.broken is not None:
            raise self.broken
        self.is_connected = True

    def get_observation(self) -> dict[str, Any]:
        self._answer()
        return {**self.now, **{name: camera.read_latest() for name, camera in self.cameras.items()}}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self._answer()
        assert action.keys() == self.now.keys()
        self.told.append((self.clock(), dict(action)))
        self.now = dict(action)
        return action

    def disconnect(self) -> None:
        if not self.is_connected:
            raise ConnectionError("it is not connected")
        self.happened.append("disconnect")
        self.is_connected = False

    def _answer(self) -> None:
        if self.broken is not None:
            self.is_connected = not isinstance(self.broken, ConnectionError)
            raise self.broken
        if self.fails():
            raise ConnectionError("Incorrect status packet!")


@dataclasses.dataclass
class FakeArmConfig:
    port: str = ""
    id: str | None = None
    use_degrees: bool = False
    disable_torque_on_disconnect: bool = True
    cameras: dict[str, Any] = dataclasses.field(default_factory=dict)
    type: str = "fake_arm"


class _Choices:
    @staticmethod
    def get_known_choices() -> dict[str, type]:
        return {"fake_arm": FakeArmConfig}

    @staticmethod
    def get_choice_class(name: str) -> type:
        return FakeArmConfig


def install(monkeypatch: pytest.MonkeyPatch, arm: FakeArm) -> None:
    """Let ``import lerobot`` find a package in which there is one arm."""

    def made(config: FakeArmConfig) -> FakeArm:
        arm.config, arm.id = config, config.id
        return arm

    def decode(kind: type, fields: dict[str, Any]) -> FakeArmConfig:
        try:
            return FakeArmConfig(**fields)
        except TypeError as error:
            raise ValueError(str(error)) from None

    package, robots, cameras = (types.ModuleType(name) for name in ("lerobot", "lerobot.robots", "lerobot.cameras"))
    package.__path__ = robots.__path__ = cameras.__path__ = []
    vars(robots).update(RobotConfig=_Choices, make_robot_from_config=made)
    draccus = types.ModuleType("draccus")
    vars(draccus).update(decode=decode)
    for module in (package, robots, cameras, draccus):
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)

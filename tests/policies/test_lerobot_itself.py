"""A bundle through LeRobot's own classes, in an environment of its own (as `tests/policies/test_lerobot.py`)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import bundles
from tests.conftest import ROOT

PYTHON = os.environ.get("POCKETWORLD_LEROBOT_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="POCKETWORLD_LEROBOT_PYTHON names no Python with LeRobot")
RUN = """
import dataclasses, json, sys
from pathlib import Path
import numpy as np
from lerobot.robots import Robot, RobotConfig
from policies.deploy.bundle import Bundle
from policies.deploy.drivers.arm import ArmError, ArmSettings, misplaced, shown
from policies.deploy.drivers.lerobot import LeRobotArm, open_lerobot
from policies.deploy.loop import drive

folder, place = Path(sys.argv[1]), Path(sys.argv[2])
bundle = Bundle(folder)
home = bundle.manifest.home
MOTORS = [*bundle.manifest.joints, "gripper"]


@RobotConfig.register_subclass("trial")
@dataclasses.dataclass
class TrialConfig(RobotConfig):
    port: str
    use_degrees: bool = False
    disable_torque_on_disconnect: bool = True


class Trial(Robot):
    config_class, name = TrialConfig, "trial"
    def __init__(self, config):
        super().__init__(config)
        self.config, self.up, self.rng, self.told = config, False, np.random.default_rng(0), []
        self.now = dict(zip((f"{motor}.pos" for motor in MOTORS), [*np.rad2deg(home[:-1]).tolist(), 100.0]))
    @property
    def action_features(self): return dict.fromkeys(self.now, float)
    @property
    def observation_features(self): return {**self.action_features, "front": (48, 64, 3), "wrist": (48, 64, 3)}
    @property
    def is_connected(self): return self.up
    @property
    def is_calibrated(self): return True
    def connect(self, calibrate=True): self.up = True
    def calibrate(self): raise AssertionError
    def configure(self): pass
    def get_observation(self):
        frames = self.rng.integers(0, 255, (2, 48, 64, 3), dtype=np.uint8)
        return {**self.now, "front": frames[0], "wrist": frames[1]}
    def send_action(self, action):
        self.told.append(action)
        self.now = dict(action)
        return action
    def disconnect(self): self.up = False


arm = open_lerobot(bundle.manifest, "trial", ArmSettings(port="none", id="mine"))
device = arm._device
assert type(device) is Trial and device.config.use_degrees and not device.config.disable_torque_on_disconnect
arm.connect()
text, why = shown(bundle.manifest, arm, arm.read().positions), misplaced(bundle.manifest, arm.read().positions)
report = drive(bundle, arm, 2.0)
told = np.array([list(action.values()) for action in device.told])

config = place / "cameras.json"
camera = {"type": "opencv", "index_or_path": 0, "width": 640, "height": 480, "fps": 30}
config.write_text(json.dumps({"cameras": {"front": camera, "wrist": {**camera, "index_or_path": 1}}}))
five = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll"]
so101 = dataclasses.replace(bundle.manifest, robot="so101", joints=tuple(five))
settings = ArmSettings(port="/dev/no_such_port", id="mine", config=config)
real = open_lerobot(so101, "so_follower", settings)
try:
    real.connect()
    answered = ""
except ConnectionError as error:
    answered = str(error)
real.stop()
refusals = []
for kind, more in (("toaster", settings), ("so101_follower", ArmSettings())):
    try:
        open_lerobot(so101, kind, more)
    except ArmError as error:
        refusals.append(f"{error} {error.remedy}")
sys.stdout.write(json.dumps({
    "shown": text, "misplaced": why, "ticks": report.ticks, "stopped": report.stopped, "up": device.up,
    "told": len(told), "moved_deg": float(np.abs(told[:, 0] - told[0, 0]).max()), "answered": answered,
    "so101": [type(real._device).__name__, real._device.config.use_degrees,
              real._device.config.disable_torque_on_disconnect, list(real._wiring.motors), real._wiring.gripper.open],
    "notes": list(real.notes()), "refusals": refusals,
}))
"""


def test_from_a_bundle_to_moving_joints(tmp_path: Path) -> None:
    folder = bundles.make_seeing_bundle(tmp_path / "ein Bündel")
    bundles.change(folder, "guard", "stale_s", to=10.0)  # however busy this machine is
    script = tmp_path / "trial.py"
    script.write_text(RUN, encoding="utf-8")
    plain = {**os.environ, "PYTHONPATH": str(ROOT), "HF_LEROBOT_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [PYTHON, script, folder, tmp_path], env=plain, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["misplaced"], said["ticks"], said["stopped"], said["up"]) == ("", 20, "the time is over", False)
    assert said["told"] >= 10
    assert said["moved_deg"] > 1.0
    assert "panda_joint4" in said["shown"]
    arm = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
    assert said["so101"] == ["SOFollower", True, False, arm, 50.8]
    assert "/dev/no_such_port" in said["answered"]
    assert "640 × 480" in said["notes"][0]
    assert "so101_follower" in said["refusals"][0]
    assert "port" in said["refusals"][1]

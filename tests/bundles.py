"""Bundles to try: of a network that has learnt nothing, for an arm on the small bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.bundle_stage import manifest_of, write_bundle
from policies.deploy.bundle import JOINTS
from policies.features import IMAGES, STATE
from policies.model import ModelSettings, WorldActionModel
from policies.rollout import ActSettings
from simulation.calibration import CALIBRATION, calibration
from simulation.filming import camera_facts
from simulation.optics import Optics
from simulation.privileged import COLUMN
from simulation.robots import robot_of
from simulation.tasks import task_of
from tests.robot_bench import bench

BOX = ((0.1, -0.6, 0.0), (0.75, 0.6, 0.8))
FRAMES = 30


def model() -> WorldActionModel:
    torch.manual_seed(0)
    made = WorldActionModel(ModelSettings(width=32, heads=2), "state", 8, 24)
    made.encoder.arm.describe(robot_of("panda").chain)
    return made.eval().requires_grad_(False)


def seen() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    home = np.array([*robot_of("panda").home, 1.0])
    states = home + 0.05 * rng.standard_normal((FRAMES, 2, 8))
    around = 0.2 * rng.standard_normal((FRAMES, 24))
    return {STATE: states.astype(np.float32), COLUMN: around.astype(np.float32)}


def make_bundle(folder: Path, network: WorldActionModel | None = None, limit_m: float | None = None) -> Path:
    """A bundle; stopped where it falls shorter of its dreams than `limit_m`, or never."""
    assert STATE == JOINTS
    scene = bench()
    task = task_of("place block_1 in bowl_1", scene)
    document = manifest_of(scene, robot_of("panda"), task, ActSettings(workspace=BOX), 10.0, seen())
    if limit_m is not None:
        document["trust"] = {"horizons": [4, 8, 16], "limit_m": limit_m}
    write_bundle(folder, network or model(), document, seen(), FRAMES)
    return folder


def change(folder: Path, *keys: str, to: Any) -> None:
    """Put something else into a bundle's manifest."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    path.write_text(json.dumps(document))


SIDE = 32
"""Pixels of a picture's width and height."""


def make_seeing_bundle(folder: Path) -> Path:
    """A bundle that looks at pictures of two cameras, and has never learnt to."""
    torch.manual_seed(0)
    made = WorldActionModel(ModelSettings(width=32, heads=2), "rgb", 8, 24)
    made.encoder.arm.describe(robot_of("panda").chain)
    scene = bench()
    rng = np.random.default_rng(0)
    known = camera_facts(robot_of("panda").mounted(scene), robot_of("panda"), SIDE)
    row = np.concatenate(
        [
            calibration(np.array(known["front"]["base_from_camera"]), Optics(known["front"]["focal_px"], (SIDE, SIDE))),
            calibration(np.array(known["wrist"]["tool_from_camera"]), Optics(known["wrist"]["focal_px"], (SIDE, SIDE))),
        ]
    )
    pictures = rng.integers(0, 255, (2, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    looked = {
        STATE: seen()[STATE],
        CALIBRATION: np.repeat(row[None].astype(np.float32), FRAMES, axis=0),
        f"{IMAGES}front": pictures[0],
        f"{IMAGES}wrist": pictures[1],
    }
    task = task_of("place block_1 in bowl_1", scene)
    document = manifest_of(scene, robot_of("panda"), task, ActSettings(workspace=BOX), 10.0, looked, SIDE)
    write_bundle(folder, made.eval().requires_grad_(False), document, looked, FRAMES)
    return folder

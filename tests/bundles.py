"""Bundles to try: of a network that has learnt nothing, for an arm on the small bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.bundle_stage import manifest_of, write_bundle
from policies.deploy.bundle import JOINTS, POLICY, SAMPLE, sha256
from policies.features import IMAGES, STATE
from policies.model import ModelSettings, WorldActionModel
from policies.rollout import ActSettings
from simulation.calibration import CALIBRATION, calibration
from simulation.filming import camera_facts
from simulation.optics import Optics
from simulation.privileged import BOX, COLUMN
from simulation.robots import robot_of
from simulation.tasks import task_of
from tests.robot_bench import bench

WORKSPACE = ((0.1, -0.6, 0.0), (0.75, 0.6, 0.8))
FRAMES = 30


def model() -> WorldActionModel:
    torch.manual_seed(0)
    made = WorldActionModel(ModelSettings(width=32, heads=2), "state", 8, 2 * BOX)
    made.encoder.arm.describe(robot_of("panda").chain)
    return made.eval().requires_grad_(False)


def seen() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    home = np.array([*robot_of("panda").home, 1.0])
    states = home + 0.05 * rng.standard_normal((FRAMES, 2, 8))
    around = 0.2 * rng.standard_normal((FRAMES, 2 * BOX))
    return {STATE: states.astype(np.float32), COLUMN: around.astype(np.float32)}


def make_bundle(folder: Path, network: WorldActionModel | None = None, limit_m: float | None = None) -> Path:
    """A bundle; stopped where it falls shorter of its dreams than `limit_m`, or never."""
    assert STATE == JOINTS
    scene = bench()
    task = task_of("place block_1 in bowl_1", scene)
    document = manifest_of(scene, robot_of("panda"), task, ActSettings(workspace=WORKSPACE), 10.0, seen())
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


SIDE, CHUNK = 32, 16
"""Pixels of a picture's width and height; actions of a chunk."""


def make_seeing_bundle(folder: Path) -> Path:
    """A bundle that looks at pictures: the lighter the first pixel of the front one, the farther left it goes."""
    scene, robot = bench(), robot_of("panda")
    facts = camera_facts(robot.mounted(scene), robot, SIDE)
    known = [
        calibration(np.array(facts[name][place]), Optics(facts[name]["focal_px"], (SIDE, SIDE)))
        for name, place in (("front", "base_from_camera"), ("wrist", "tool_from_camera"))
    ]
    pictures = np.random.default_rng(0).integers(0, 255, (2, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    looked = {
        STATE: seen()[STATE],
        CALIBRATION: np.repeat(np.concatenate(known)[None].astype(np.float32), FRAMES, axis=0),
        f"{IMAGES}front": pictures[0],
        f"{IMAGES}wrist": pictures[1],
    }
    task = task_of("place block_1 in bowl_1", scene)
    document = manifest_of(scene, robot, task, ActSettings(workspace=WORKSPACE), 10.0, looked, SIDE)
    document["policy"] |= {"length": CHUNK, "memory": 0}
    folder.mkdir(parents=True)
    (folder / POLICY).write_bytes(_pixel_network(robot.chain.tool(np.array(robot.home)), looked))
    np.savez(folder / SAMPLE, **looked)  # type: ignore[arg-type]
    document["files"] = {name: sha256((folder / name).read_bytes()) for name in (POLICY, SAMPLE)}
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def _pixel_network(tool: np.ndarray, looked: dict[str, np.ndarray]) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    pose = np.concatenate([tool[:3, 3] - [0.0, 0.3, 0.0], tool[:3, 0], tool[:3, 1], [0.5]])
    left = np.zeros((1, 1, 10), dtype=np.float32)
    left[..., 1] = 0.6 / 255
    constants = {
        "all": np.array([-1], dtype=np.int64),
        "first": np.array([0], dtype=np.int64),
        "left": left,
        "pose": np.tile(pose.astype(np.float32), (1, CHUNK, 1)),
    }
    nodes = [
        helper.make_node("Reshape", [f"{IMAGES}front", "all"], ["flat"]),
        helper.make_node("Gather", ["flat", "first"], ["pixel"]),
        helper.make_node("Cast", ["pixel"], ["light"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["light", "left"], ["moved"]),
        helper.make_node("Add", ["moved", "pose"], ["poses"]),
    ]
    kinds = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    takes = [
        helper.make_tensor_value_info(name, kinds[values.dtype.name], [1, *values.shape[1:]])
        for name, values in looked.items()
    ]
    takes.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1, CHUNK, 10]))
    gives = [helper.make_tensor_value_info("poses", TensorProto.FLOAT, [1, CHUNK, 10])]
    held = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "pixel", takes, gives, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))

"""From a policy to a bundle: a folder that drives a robot with NumPy and ONNX Runtime alone."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.evaluate_stage import evaluation_of
from app.project import Project, content_hash, replace_folder, version
from app.ros2_package import ROS2, write_package
from app.train_stage import TrainSettings, act_settings, demonstrations_of, require_policy
from policies.dataset import open_dataset
from policies.deploy.bundle import (
    FORMAT,
    MANIFEST,
    MEMORY,
    NOISE,
    POLICY,
    POSES,
    SAMPLE,
    VERSION,
    Bundle,
    BundleError,
    sha256,
)
from policies.deploy.guard import Limits
from policies.features import IMAGES
from reconstruction.disk import sync_tree, writing_to
from reconstruction.errors import InputError, OutputError, UsageError
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import Scene
from simulation.calibration import CALIBRATION
from simulation.pointcloud import CLOUD, COUNT, DEPTH, Bounds

if TYPE_CHECKING:
    from policies.deploy.bundle import Manifest
    from policies.episodes import Dataset
    from policies.policy import Policy
    from policies.rollout import ActSettings
    from simulation.robots import Robot
    from simulation.tasks import Task

ROOT = Path(__file__).resolve().parent.parent
RUNNER = "runner"
RUNNER_FILES = (
    "policies/__init__.py",
    "policies/deploy",
    "policies/deploy/ros2",
    "simulation/__init__.py",
    "simulation/calibration.py",
    "simulation/chain.py",
    "simulation/optics.py",
    "simulation/pointcloud.py",
)
"""What of the project goes into a bundle, as it is."""
RUNNER_MAIN = '''"""Run the bundle in whose folder this lies."""

import sys

from policies.deploy.main import main

sys.exit(main())
'''
EPISODES = 8
"""Demonstrations whose frames the exported network is compared on."""
MEANINGS = {
    "observation.state": "joint positions in the order of robot.joints (rad; m where a joint slides), then the "
    "gripper's opening (0 closed, 1 open): one tick ago, now",
    "observation.environment_state": "where the things of the task are, which only a simulation knows: for each the "
    "box about it in the robot's base frame, its middle and half of each edge as a vector, then from that middle to "
    "its centre of mass (m)",
    "observation.camera_calibration": "of each camera whose picture follows, 11 numbers: position (m), x axis, y "
    "axis in the frame of the robot's base (front) or of its tool (wrist), focal length in halves of the picture's "
    "height, radial distortion",
    CLOUD: f"{COUNT} points that the cameras of `points` see in depth, in the robot's base frame: of each x, y, z in "
    "tenths of a millimetre, then red, green, blue of 0 … 255. The runner makes them",
    "observation.images.front": "what the camera that stands before the arm sees now: RGB, 0 … 255",
    "observation.images.wrist": "what the camera on the hand sees now: RGB, 0 … 255",
}


@dataclass(frozen=True)
class ExportSettings:
    """Which policy is exported, and how good it must be."""

    task: str
    """What it does, as for `pocketworld train`."""
    robot: str = "panda"
    """Who does it."""
    seed: int = 0
    """Of the demonstrations."""
    least: float = 0.8
    """The share of cousins, 0 … 1, in which it must have succeeded when it was last evaluated."""
    anyway: bool = False
    """Export it even if it did not, or was never evaluated."""
    ros2: bool = False
    """Write a package for ROS 2 (Humble, Jazzy) too, into the bundle's folder `ros2`: docs/ros2.md."""


@dataclass(frozen=True)
class ExportResult:
    """What was exported, as the command line reports it.

    Attributes:
        bundle: its folder.
        parity: the largest difference between the exported network and torch's.
        success: share of the cousins of its last evaluation in which the policy succeeded; None: it has none.
        seconds: of this run.
        ros2: folder of the package for ROS 2; None: it was not asked for.
    """

    bundle: str
    parity: float
    success: float | None
    seconds: float
    ros2: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


def export_bundle(
    project: Project,
    settings: ExportSettings,
    progress: Progress = silent,
    *,
    out: Path | None = None,
    dataset: Path | None = None,
) -> ExportResult:
    """Write the bundle of a policy, whole or not at all.

    Args:
        project: with a policy.
        settings: which one.
        progress: is told about it.
        out: the bundle's folder; left out: ``bundle/<name of the policy>`` of the project.
        dataset: the demonstrations that it was trained on; left out: those in the project's folder ``episodes``.

    Raises:
        UsageError: there is no policy, or it is not known to be good enough.
        InputError: it, or its dataset, is damaged.
        OutputError: something else lies in the way, or the network is another after the export.
    """
    import torch

    from policies.checkpoint import load_model
    from policies.windows import read_windows
    from simulation.robots import robot_of
    from simulation.tasks import task_of

    started = time.perf_counter()
    if not 0.0 <= settings.least <= 1.0:
        raise UsageError(f"--least is {settings.least}.", remedy="Give a share, 0 … 1.", code="bad_value")
    wanted = TrainSettings(task=settings.task, robot=settings.robot, seed=settings.seed)
    folder = dataset.absolute() if dataset is not None else demonstrations_of(project, wanted)
    target = (out or project.folder / "bundle" / folder.name).absolute()
    check_place(target)
    policy = require_policy(project, folder)
    progress(0.0, "reading the policy")
    torch.set_num_threads(1)  # so small a network is slower on several
    model, notes = load_model(policy)
    scene, robot, data = Scene.load(project.require("scene")), robot_of(settings.robot), open_dataset(folder)
    if data.features.action_names != robot.action_names:
        raise UsageError(
            f"{folder} does not show {settings.robot}.", remedy="Name the robot that it shows.", code="bad_dataset"
        )
    act = act_settings(data, robot)
    evaluation = evaluation_of(policy, act)
    success = _check_evaluation(evaluation, settings, project)
    progress(0.2, "reading the demonstrations")
    cameras = model.encoder.cameras
    columns = model.encoder.columns
    windows = read_windows(
        data, robot.chain, model.settings.chunk, (), episodes=EPISODES, cameras=cameras, columns=columns
    )
    seen = {name: windows.seen[name].numpy() for name in model.encoder.needs}
    side = max((height for height, _ in data.features.cameras.values()), default=0) if model.encoder.sensors else 0
    document = manifest_of(scene, robot, task_of(settings.task, scene), act, data.features.rate_hz, seen, side)
    document["policy"]["source"] = content_hash(policy)
    document["training"] = {**notes, "dataset": folder.name, "robot": robot.name, "seed": settings.seed}  # no paths
    document["evaluation"] = None if evaluation is None else {**evaluation, "trials": None}
    document["trust"] = trust_of(model, data, robot, act, evaluation)
    rest = part(progress, 0.4, 1.0)
    parity = write_bundle(target, model, document, seen, data.length(0), rest, ros2=settings.ros2)
    package = next(map(str, (target / ROS2).iterdir())) if settings.ros2 else None
    return ExportResult(str(target), parity, success, round(time.perf_counter() - started, 3), package)


def write_bundle(
    target: Path,
    model: Policy,
    document: dict[str, Any],
    seen: Mapping[str, npt.NDArray[Any]],
    sample: int,
    progress: Progress = silent,
    *,
    ros2: bool = False,
) -> float:
    """Write a policy and what `manifest_of` tells of it as a bundle, whole or not at all.

    Args:
        target: the bundle's folder; a bundle that is there is replaced.
        model: ready to act.
        document: what else its manifest says.
        seen: observations ``(N, …)`` by name, on which the exported network is compared with the policy.
        sample: so many of them, the first, go along, for dry runs.
        progress: is told about it.
        ros2: write a package for ROS 2 too, with a copy of the bundle in it.

    Returns:
        The largest difference between the exported network and the policy.

    Raises:
        OutputError: something else lies in the way, or the network is another after the export.
    """
    from policies.export import check_parity, to_onnx, trials_of

    check_place(target)
    steps = int(document["policy"]["flow_steps"])
    document = {**document, "observe": model.observe}
    document["policy"] = {
        **document["policy"],
        "length": model.settings.chunk,
        "memory": model.encoder.remembers(),
    }
    told = {**seen, **_remembered(model, seen)}
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        try:
            progress(0.0, "writing the network")
            (partial / POLICY).write_bytes(to_onnx(model, {name: values[:1] for name, values in told.items()}, steps))
            (partial / SAMPLE).write_bytes(_archive({name: values[:sample] for name, values in seen.items()}))
            copy_runner(partial / RUNNER)
            _write_manifest(partial, document)
            bundle = Bundle(partial)  # as a robot will read it
            progress(0.3, "comparing it with the policy")
            parity = check_parity(bundle.network, model, trials_of(told, model.settings.chunk), steps)
            document["policy"]["parity"] = parity
            (partial / "README.md").write_text(_readme(bundle.manifest), encoding="utf-8")
            _write_manifest(partial, document)
            if ros2:
                write_package(partial, partial / ROS2)
            partial.chmod(0o755)  # what mkdtemp makes is nobody else's to read
            sync_tree(partial)
            replace_folder(partial, target, target.with_name(f".{target.name}.old"))
        except BundleError as error:  # what was just written
            raise OutputError(f"The bundle is no good: {error}.", remedy="Report it.", code="bad_bundle") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    progress(1.0, "done")
    return parity


def _remembered(model: Policy, seen: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """What a policy that remembers will remember of each observation ``(N, n)``; nothing of one that does not."""
    import torch

    if not model.encoder.remembers():
        return {}
    count = len(next(iter(seen.values())))
    with torch.inference_mode():
        told = {name: torch.from_numpy(values) for name, values in seen.items()}
        told[MEMORY] = torch.zeros(count, model.encoder.remembers())
        return {MEMORY: model.encoder.made_out(told)[1].numpy()}


def trust_of(
    model: Policy, data: Dataset, robot: Robot, act: ActSettings, evaluation: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """By what a runner judges the dreams of a policy; None where it only acts.

    Args:
        model: ready to act.
        data: its demonstrations.
        robot: who does it.
        act: how it is run.
        evaluation: its last one, if there is any.
    """
    from policies.dreams import dreams_of, limit_by_teacher, limit_from
    from policies.model import dreamer

    world = dreamer(model)
    if world is None:
        return None
    known, source = limit_from(evaluation), "evaluation"
    if known is None:
        episodes = (data.read(number, model.encoder.cameras) for number in range(min(EPISODES, len(data))))
        known = limit_by_teacher([dreams_of(world, one, robot.chain, act.execute) for one in episodes], act.execute)
        source = "demonstrations"
    return {"horizons": list(world.settings.horizons), **known, "from": source}


def check_place(target: Path) -> None:
    """See that nothing but a bundle would be replaced.

    Raises:
        OutputError: something else lies there.
    """
    with contextlib.suppress(OSError):
        if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
            return
    document = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        document = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    if target.is_symlink() or not isinstance(document, dict) or document.get("format") != FORMAT:
        raise OutputError(f"{target} is no bundle.", remedy="Choose another --out.", code="path_in_the_way")


def _check_evaluation(evaluation: Mapping[str, Any] | None, settings: ExportSettings, project: Project) -> float | None:
    share = _share(evaluation)
    if settings.anyway or (share is not None and share >= settings.least):
        return share
    if share is None:
        raise UsageError(
            f"Nobody knows how good the policy for {settings.task!r} in {project.folder} is.",
            remedy="Run `pocketworld evaluate` with the same task, robot and seed first, or add --anyway.",
            code="not_evaluated",
        )
    raise UsageError(
        f"The policy succeeded in {share:.0%} of the cousins on which it was evaluated, not in {settings.least:.0%}.",
        remedy="Train it on more demonstrations, lower --least, or add --anyway.",
        code="not_good_enough",
    )


def manifest_of(
    scene: Scene,
    robot: Robot,
    task: Task,
    act: ActSettings,
    rate_hz: float,
    seen: Mapping[str, npt.NDArray[Any]],
    side: int = 0,
) -> dict[str, Any]:
    """What a runner must know of robot, task and policy (docs/on-disk.md).

    Args:
        scene: in which it was learnt.
        robot: who does it.
        task: what is done.
        act: how the policy is run.
        rate_hz: ticks a second.
        seen: ``(N, …)`` what the policy looks at, by name.
        side: width and height of the cameras' pictures, pixels; 0: it needs no cameras.
    """
    from simulation.filming import camera_facts
    from simulation.layout import usual_mount

    chain = robot.chain
    limits = Limits.of(chain, robot.speed, act.workspace)
    assert limits.workspace is not None  # `act_settings` gives one
    mount = robot.mounted(scene).robot_mount
    mount = usual_mount(scene) if mount is None else mount
    names = robot.action_names
    facts = camera_facts(robot.mounted(scene), robot, side) if side else {}
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_with": f"pocketworld {version()}",
        "units": "metres, radians, seconds; matrices row major",
        "rate_hz": rate_hz,
        "task": {"words": task.words, "sentence": task.sentence},
        "robot": {
            "name": robot.name,
            "joints": list(robot.arm),
            "order": list(names),
            "gripper": "opening, 0 closed … 1 open",
            "opening_m": robot.opening_m,
            "gripper_joints": {name: [robot.closed[name], robot.opened[name]] for name in robot.opened},
            "home": [*robot.home, 1.0],
            "low": chain.low.tolist(),
            "high": chain.high.tolist(),
            "top_speed": list(robot.speed),
            "chain": {
                "fixed": [pose.tolist() for pose in chain.fixed],
                "axes": chain.axes.tolist(),
                "sliding": chain.sliding.tolist(),
            },
        },
        "frames": {
            "base": "the robot's base link, z up; all poses are in it",
            "tool": "between the fingertips: z out of the hand, y from one finger to the other",
            "scene_from_base": mount.tolist(),
        },
        "guard": {
            "speed": limits.speed.tolist(),
            "acceleration": limits.acceleration.tolist(),
            "workspace": {"low": limits.workspace[0].tolist(), "high": limits.workspace[1].tolist()},
            "stale_s": limits.stale_s,
        },
        "policy": {
            "inputs": {
                name: {"shape": [1, *values.shape[1:]], "dtype": values.dtype.name, "meaning": MEANINGS.get(name, "")}
                for name, values in seen.items()
            },
            "noise": {"name": NOISE, "zeros_for_ticks": act.sure_ticks, "then": "standard normal"},
            "output": {
                "name": POSES,
                "meaning": "where the tool is to be at this tick and the next ones: position (m), x axis, y axis "
                "in the base frame, the gripper's opening",
            },
            "execute": act.execute,
            "lead": act.lead,
            "flow_steps": act.flow_steps,
        },
        "cameras": facts,
        "points": _points_of(mount, robot) if CLOUD in seen else None,
    }


def _points_of(mount: npt.NDArray[np.float64], robot: Robot) -> dict[str, Any]:
    """Of what a runner makes clouds of points."""
    from simulation.filming import CAMERAS

    bounds = Bounds.of(mount, robot.reach_m)
    measured = {
        f"{IMAGES}NAME": "RGB, 0 … 255, as wide as high",
        f"{DEPTH}NAME": "of the same pixels: metres along the optical axis, 0 where nothing was measured",
        CALIBRATION: MEANINGS[CALIBRATION],
    }
    return {"cameras": list(CAMERAS), **dataclasses.asdict(bounds), "measured": measured}


def copy_runner(folder: Path) -> None:
    """Copy what runs a bundle without Pocketworld, as it is: ``python <folder>``."""
    for name in RUNNER_FILES:
        source = ROOT / name
        for file in sorted(source.glob("*.py")) if source.is_dir() else [source]:
            place = folder / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    (folder / "__main__.py").write_text(RUNNER_MAIN, encoding="utf-8")


def open_bundle(folder: Path) -> Bundle:
    """A bundle, read and found to be whole.

    Raises:
        InputError: it is not.
    """
    try:
        return Bundle(folder)
    except BundleError as error:
        raise bad_bundle(error) from None


def bad_bundle(error: BundleError) -> InputError:
    """What to say where a bundle is no good."""
    remedy = "Copy the bundle again, or make it again with `pocketworld export`."
    return InputError(f"{error}.", remedy=remedy, code="bad_bundle")


def _archive(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]
    return file.getvalue()


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files}


def _write_manifest(folder: Path, document: Mapping[str, Any]) -> None:
    """Write down all that is to be known, and the SHA-256 of every file that is there by now."""
    whole = {**document, "files": _hashes(folder)}
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _share(evaluation: Mapping[str, Any] | None) -> float | None:
    """Of cousins in which a policy succeeded; None where it was never evaluated."""
    return None if evaluation is None else evaluation["successes"] / max(1, evaluation["count"])


def _readme(manifest: Manifest) -> str:
    box = manifest.limits.workspace
    assert box is not None
    rows = zip(manifest.joints, manifest.limits.low, manifest.limits.high, manifest.limits.speed, strict=True)
    joints = "\n".join(f"| {name} | {low:.3f} | {high:.3f} | {speed:.2f} |" for name, low, high, speed in rows)
    corners = "\n".join(f"| {axis} | {low:.3f} | {high:.3f} |" for axis, low, high in zip("xyz", *box, strict=True))
    looks = "\n".join(f"- `{name}`: {MEANINGS.get(name, list(entry.shape))}" for name, entry in manifest.inputs.items())
    success = _share(manifest.document.get("evaluation"))
    known = "It was never evaluated." if success is None else f"It succeeded in {success:.0%} of unseen cousins."
    trust = ""
    if manifest.trust is not None:
        trust = (
            "With every decision it foretells where the tool and the things will be. Where what it then sees falls\n"
            f"short of that by more than {100 * manifest.trust.limit_m:.1f} cm for a while, it stops.\n"
        )
    return f"""# {manifest.sentence} ({manifest.robot})

A policy for the robot {manifest.robot}: "{manifest.task}", {manifest.rate_hz:g} decisions a second. {known}

    pip install numpy onnxruntime
    python {RUNNER} --robot dry-run --seconds 20

The runner reads `{MANIFEST}` and `{POLICY}`, checks every file's SHA-256 and tells the arm nothing that the limits
below forbid. With Pocketworld: `pocketworld run` and this folder. Any key stops it.

## What it looks at

{looks}

## Joints, in the order of all that is measured and told; then the gripper's opening, 0 closed … 1 open

| joint | from (rad) | to (rad) | at most (rad/s) |
|---|---|---|---|
{joints}

## Where the tool stays (m, in the frame of the robot's base)

| axis | from | to |
|---|---|---|
{corners}

{trust}Measurements older than {manifest.limits.stale_s:g} s stop the arm. Before the first run on an arm, see that its
joints have these names, directions and zeros, and keep the emergency stop at hand.
"""

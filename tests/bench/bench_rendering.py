"""Pictures a second beside PyBullet's TinyRenderer: a moving Panda and six scanned things on their bench.

    python tests/bench/bench_rendering.py [SCENE_FOLDER] [--pictures FILE.png]

Without a folder the bundled sample scan is reconstructed first. Both draw the same frames, RGB and depth with shadows,
through a camera that stands still and through one on the wrist, in one process and in two at the same time. "smooth"
has edges anti-aliased, which TinyRenderer's never are; "one by one" draws each frame in a call of its own, as when a
policy is tried. Seconds are of CPU time, of which each process takes one core's: what else runs counts less. Fails
where "plain" or "smooth" is not five times as fast.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reconstruction.importers import read_capture
from reconstruction.pipeline import reconstruct
from reconstruction.scene import Scene
from simulation.cousin_pictures import BACKDROP, backdrop
from simulation.drawable import Drawable
from simulation.layout import usual_camera, usual_mount
from simulation.optics import Optics
from simulation.renderer import DistantLight, Renderer
from simulation.robot_meshes import drawn_links
from simulation.robots import panda
from simulation.world import World, WorldSettings, pose_from_quaternion, quaternion_from_pose

FloatArray = npt.NDArray[np.float64]
SAMPLE = Path(__file__).parents[2] / "resources" / "sample_scan.zip"
SIZES = (64, 96, 128)
FRAMES = 60
FIELD_DEG = {"front": 48.0, "wrist": 70.0}
LIGHT = DistantLight((1.0, 1.0, 2.0))
WANTED = 5.0


class Stage:
    """The same scene twice: in PyBullet with its visuals, and as bodies of a `Renderer`."""

    def __init__(self, folder: Path) -> None:
        scene = Scene.load(folder)
        self.mount = usual_mount(scene)
        self.front = usual_camera(scene, self.mount).scene_from_camera
        self.world = World.open(folder, WorldSettings(background=True))
        robot = panda()
        self.robot = self.world.call(
            "loadURDF",
            str(robot.urdf),
            basePosition=self.mount[:3, 3].tolist(),
            baseOrientation=quaternion_from_pose(self.mount).tolist(),
            useFixedBase=True,
        )
        links = drawn_links(robot.urdf)
        bodies = {BACKDROP: Drawable(backdrop(scene)), **{item.name: Drawable(item.visual) for item in scene.objects}}
        self.renderer = Renderer({**bodies, **links})
        still = {BACKDROP: np.eye(4), **{item.name: item.scene_from_object for item in scene.objects}}
        moments = [self._moved(frame) for frame in range(FRAMES)]
        moving = {name: np.array([poses[name] for poses in moments]) for name in links}
        self.poses = {**still, **moving}
        hand_from_camera = np.eye(4)
        lean = np.radians(15)
        hand_from_camera[:3, :3] = np.array(
            [[np.cos(lean), 0, -np.sin(lean)], [0, 1, 0], [np.sin(lean), 0, np.cos(lean)]]
        )
        hand_from_camera[:3, :3] = hand_from_camera[:3, :3] @ [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
        hand_from_camera[:3, 3] = 0.06, 0.0, 0.0
        self.cameras = {"front": self.front, "wrist": self.poses["panda_hand"] @ hand_from_camera}

    def _moved(self, frame: int) -> dict[str, FloatArray]:
        """Move the arm; poses of its links."""
        t = frame / FRAMES
        joints = [0.5 * np.sin(3 * t), 0.3 + 0.3 * np.sin(5 * t), 0.2 * t, 0.3 * t - 1.9, 0.0, 2.2, 0.8, 0.0, 0.0]
        joints += [0.02 + 0.02 * np.cos(9 * t)] * 2
        poses = {"panda_link0": self.mount}
        for number, value in enumerate(joints):
            self.world.call("resetJointState", self.robot, number, value)
        for number in range(len(joints)):
            state = self.world.call("getLinkState", self.robot, number, computeForwardKinematics=True)
            name = self.world.call("getJointInfo", self.robot, number)[12].decode()
            poses[name] = pose_from_quaternion(state[4], state[5])
        return poses

    def optics(self, camera: str, size: int) -> Optics:
        """Square."""
        return Optics(size / 2 / np.tan(np.radians(FIELD_DEG[camera] / 2)), (size, size))

    def tiny(self, camera: str, size: int, frame: int) -> tuple[float, npt.NDArray[np.uint8]]:
        """Seconds that TinyRenderer takes for a frame, and the frame."""
        self._moved(frame)
        pose = self.cameras[camera]
        pose = pose if pose.ndim == 2 else pose[frame]
        view = (np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(pose)).T.ravel().tolist()
        p = self.world.pybullet
        projection = p.computeProjectionMatrixFOV(FIELD_DEG[camera], 1.0, 0.02, 10.0)
        started = time.process_time()
        image = self.world.call(
            "getCameraImage", size, size, view, projection, lightDirection=LIGHT.toward, shadow=1,
            renderer=p.ER_TINY_RENDERER,
        )  # fmt: skip
        return time.process_time() - started, np.reshape(image[2], (size, size, 4))[..., :3].astype(np.uint8)

    def ours(self, camera: str, size: int, smooth: bool) -> None:
        """All frames in one call."""
        self.renderer.render(self.poses, self.cameras[camera], self.optics(camera, size), LIGHT, smooth=smooth)

    def one(self, camera: str, size: int, frame: int) -> npt.NDArray[np.uint8]:
        """A frame in a call of its own."""
        poses = {name: pose if pose.ndim == 2 else pose[frame] for name, pose in self.poses.items()}
        pose = self.cameras[camera]
        pose = pose if pose.ndim == 2 else pose[frame]
        shot: npt.NDArray[np.uint8] = self.renderer.render(poses, pose, self.optics(camera, size), LIGHT).rgb[0]
        return shot

    def rates(self, camera: str, size: int) -> dict[str, float]:
        """Frames a second, the best of four tries in turn."""
        few = range(0, FRAMES, FRAMES // 6)
        best: dict[str, float] = {}
        for _ in range(4):
            rates = {
                "tiny": len(few) / sum(self.tiny(camera, size, frame)[0] for frame in few),
                "plain": FRAMES / _seconds(lambda: self.ours(camera, size, False)),
                "smooth": FRAMES / _seconds(lambda: self.ours(camera, size, True)),
                "single": len(few) / _seconds(lambda: [self.one(camera, size, frame) for frame in few]),
            }
            best = {name: max(rate, best.get(name, 0.0)) for name, rate in rates.items()}
        return best


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


class _Worker:
    folder = Path()

    @cached_property
    def stage(self) -> Stage:
        return Stage(self.folder)


_WORKER = _Worker()


def _start(folder: Path) -> None:
    _WORKER.folder = folder
    cv2.setNumThreads(1)
    assert _WORKER.stage


def _rates(task: tuple[str, int]) -> dict[str, float]:
    return _WORKER.stage.rates(*task)


def measure(folder: Path, processes: int) -> dict[tuple[str, int], dict[str, float]]:
    """Frames a second of all processes together."""
    tasks = [(camera, size) for camera in FIELD_DEG for size in SIZES]
    context = multiprocessing.get_context("spawn")
    found = {}
    with ProcessPoolExecutor(processes, context, initializer=_start, initargs=(folder,)) as executor:
        for task in tasks:
            together = list(executor.map(_rates, [task] * processes))
            found[task] = {name: sum(rates[name] for rates in together) for name in together[0]}
    return found


def side_by_side(folder: Path, path: Path, size: int = 480) -> None:
    """TinyRenderer's picture left of ours, three moments by both cameras, large and as small as they are used."""
    stage = Stage(folder)
    rows = []
    for frame in (0, FRAMES // 3, 3 * FRAMES // 4):
        row = []
        for camera in FIELD_DEG:
            for width in (size, 96):
                for picture in (stage.tiny(camera, width, frame)[1], stage.one(camera, width, frame)):
                    row.append(cv2.resize(picture, (size, size), interpolation=cv2.INTER_NEAREST))
        rows.append(np.hstack(row))
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path, nargs="?")
    parser.add_argument("--pictures", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        whole = Scene.load(chosen.scene) if chosen.scene else reconstruct(read_capture(SAMPLE)).scene
        folder = Path(place) / "scene"
        replace(whole, objects=whole.objects[:6], supports=()).save(folder)
        if chosen.pictures:
            side_by_side(folder, chosen.pictures)
        slowest = np.inf
        print("\nframes a second    camera  size   TinyRenderer   plain          smooth         smooth, one by one")
        for processes in (1, 2):
            for (camera, size), rates in measure(folder, processes).items():
                times = {name: rate / rates["tiny"] for name, rate in rates.items()}
                slowest = min(slowest, times["plain"], times["smooth"])
                shown = "".join(f" {rates[name]:7.0f} ({times[name]:4.1f}x)" for name in ("plain", "smooth", "single"))
                print(f"{processes} at once          {camera:6}  {size:4} {rates['tiny']:14.1f}{shown}")
    return int(slowest < WANTED)


if __name__ == "__main__":
    sys.exit(main())

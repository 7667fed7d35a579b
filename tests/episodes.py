"""Episodes for tests: small, different from each other, with everything that an episode can have."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from simulation.episode import Episode

JOINTS = ("shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos", "gripper.pos")
TASKS = ("Put the banana into the bowl.", "Lift the mug.")


def made_episode(index: int, frames: int = 12, success: bool = True, size: int = 32, cameras: int = 2) -> Episode:
    """Episode `index`: drawn values, a thing that moves through the pictures."""
    rng = np.random.default_rng(index)
    return Episode(
        task=TASKS[index % len(TASKS)],
        task_name="put",
        rate_hz=10,
        state=rng.normal(size=(frames, 6)).astype(np.float32),
        state_names=JOINTS,
        action=rng.normal(size=(frames, 6)).astype(np.float32),
        action_names=JOINTS,
        images={name: moving(index + k, frames, size) for k, name in enumerate(("front", "wrist")[:cameras])},
        extra={
            "next.reward": rng.random(frames).astype(np.float32),
            "next.done": np.arange(frames) == frames - 1,
            "mug.pose": rng.normal(size=(frames, 7)),
            "contacts": rng.integers(0, 9, (frames, 1)),
        },
        success=success,
        reason="" if success else ("dropped", "timeout")[index % 2],
        recipe=json.dumps({"format": "pocketworld.cousin", "seed": 7, "index": index}),
        seed=7,
        index=index,
        seconds=frames / 10,
    )


def moving(seed: int, frames: int, size: int) -> npt.NDArray[np.uint8]:
    """``(frames, size, size, 3)``: a disc and a square that move over a soft background."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (4, 4, 3)).astype(np.uint8)
    ground = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    film = np.repeat(ground[None], frames, axis=0)
    for number, picture in enumerate(film):
        x = size // 4 + number % (size // 2)
        cv2.circle(picture, (x, size // 2), size // 8, (200, 60, 40), -1)
        cv2.rectangle(picture, (size - 1 - x, 2), (size - 1 - x + size // 6, 2 + size // 6), (40, 60, 190), -1)
    return film


def assert_same(read: Episode, made: Episode, pictures: float = 3.0) -> None:
    """`read` is `made`, its pictures but for what the film costs (mean error of 255)."""
    for name in ("task", "task_name", "rate_hz", "state_names", "action_names", "success", "reason", "recipe"):
        assert getattr(read, name) == getattr(made, name), name
    assert (read.seed, read.index, read.seconds) == (made.seed, made.index, made.seconds)
    np.testing.assert_array_equal(read.state, made.state)
    np.testing.assert_array_equal(read.action, made.action)
    assert set(read.extra) == set(made.extra)
    for name, values in made.extra.items():
        assert read.extra[name].dtype == values.dtype
        np.testing.assert_array_equal(read.extra[name], values)
    assert set(read.images) == set(made.images)
    for camera, film in made.images.items():
        assert read.images[camera].shape == film.shape
        errors = np.abs(read.images[camera].astype(int) - film).mean(axis=(1, 2, 3))
        assert errors.max() < pictures, (camera, errors)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and of its failures beside it."""
    found = {}
    for root in (folder, folder.with_name(folder.name + "_failures")):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.name != ".lock":
                found[path.relative_to(folder.parent).as_posix()] = path.read_bytes()
    return found

"""An episode: what a robot saw, had and did, frame by frame, and how it ended."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError

Float32 = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]

CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""A camera's name becomes a folder's."""
EXTRA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
EFFORT = "observation.effort"
"""An `extra`: ``(T, J)`` what the motors of the arm's joints said that they do, N·m (N where a joint slides)."""
RESERVED = {"timestamp", "frame_index", "episode_index", "index", "task_index", "action", "observation.state"}
"""Columns that a dataset makes itself."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One try at a task: T frames, `rate_hz` of them a second. Units are the robot's own; SI where it has none.

    Frame t holds what was seen and measured at time t / rate_hz, and the action that was then commanded.

    Attributes:
        task: what to do, one sentence in plain words, as a policy reads it.
        task_name: short name of the task, the same for all its episodes.
        rate_hz: frames a second.
        state: ``(T, n) float32``, what the robot measured of itself.
        state_names: of its n entries.
        action: ``(T, m) float32``, what the robot was told.
        action_names: of its m entries.
        images: by camera, ``(T, H, W, 3) uint8`` RGB; may be empty.
        extra: more per frame, by name, ``(T,)`` or ``(T, k)``, numbers or truth values: reward, poses of things.
        success: whether it reached the task's goal.
        reason: why it did not; empty where it did.
        recipe: the cousin it happened in, one line of JSON (`simulation.cousins.Cousin.to_json`); empty if unknown.
        seed: of everything drawn.
        index: its number in the run that made it.
        seconds: of simulated time, from the start until it ended.

    Raises:
        InputError: what it is made of does not fit together; the message says which part and what would fit.
    """

    task: str
    task_name: str
    rate_hz: float
    state: Float32
    state_names: tuple[str, ...]
    action: Float32
    action_names: tuple[str, ...]
    images: Mapping[str, Pictures] = field(default_factory=dict)
    extra: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    success: bool = True
    reason: str = ""
    recipe: str = ""
    seed: int = 0
    index: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._check_words()
        _check_vectors("state", self.state, self.state_names, len(self.state))
        _check_vectors("action", self.action, self.action_names, len(self.state))
        for camera, pictures in self.images.items():
            self._check_images(camera, pictures)
        for name, values in self.extra.items():
            self._check_extra(name, values)

    def __len__(self) -> int:
        """Frames."""
        return len(self.state)

    def _check_words(self) -> None:
        if not self.task.strip() or not self.task_name.strip():
            raise _refusal("it has no task", "Give a sentence as task and a short task_name.")
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise _refusal(f"rate_hz is {self.rate_hz}", "Give frames a second, more than 0.")
        if self.success == bool(self.reason):
            raise _refusal(
                f"success is {self.success} and reason is {self.reason!r}",
                "Give a reason where it failed, and none where it did not.",
            )
        if self.index < 0 or not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise _refusal(f"index is {self.index}, seconds {self.seconds}", "Give numbers that are not negative.")
        if self.recipe and not _is_line_of_json(self.recipe):
            raise _refusal("recipe is no line of JSON", "Give what `Cousin.to_json` makes, or nothing.")

    def _check_images(self, camera: str, pictures: Pictures) -> None:
        if not CAMERA_NAME.fullmatch(camera):
            raise _refusal(f"a camera is named {camera!r}", "Name it with letters, digits, - and _.")
        fits = pictures.ndim == 4 and pictures.shape[0] == len(self) and pictures.shape[3] == 3 and pictures.size > 0
        if pictures.dtype != np.uint8 or not fits:
            raise _refusal(
                f"images of {camera} are {pictures.dtype} {pictures.shape}", f"Give uint8 ({len(self)}, H, W, 3)."
            )

    def _check_extra(self, name: str, values: npt.NDArray[Any]) -> None:
        if not EXTRA_NAME.fullmatch(name) or name in RESERVED or name.startswith("observation.images."):
            raise _refusal(f"{name!r} is no name for extra values", "Name them as in next.reward, and no column twice.")
        fits = values.ndim in (1, 2) and len(values) == len(self) and values.size > 0
        if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8 or not fits:
            raise _refusal(
                f"{name} is {values.dtype} {values.shape}",
                f"Give numbers or truth values, ({len(self)},) or ({len(self)}, k).",
            )
        if not np.isfinite(values).all():
            raise _refusal(f"{name} has a value that is not finite", "Leave such frames or values out.")


def _check_vectors(what: str, values: Float32, names: tuple[str, ...], frames: int) -> None:
    if values.dtype != np.float32 or values.ndim != 2 or values.size == 0:
        raise _refusal(f"{what} is {values.dtype} {values.shape}", "Give float32 (frames, entries), one or more each.")
    if len(values) != frames:
        raise _refusal(f"{what} has {len(values)} frames, state {frames}", "Give one of each for every frame.")
    if len(names) != values.shape[1] or len(set(names)) != len(names) or not all(names):
        raise _refusal(f"the names of {what} are {names}", f"Give {values.shape[1]} different names.")
    if not np.isfinite(values).all():
        raise _refusal(f"{what} has a value that is not finite", "Leave such frames out.")


def _is_line_of_json(text: str) -> bool:
    try:
        return "\n" not in text and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _refusal(what: str, remedy: str) -> InputError:
    return InputError(f"The episode does not fit together: {what}.", remedy=remedy, code="bad_episode")

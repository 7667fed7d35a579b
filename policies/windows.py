"""Windows of a dataset: for every frame what was seen, the actions that followed, and what was seen then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from policies.episodes import Dataset
from policies.features import STATE, image_key
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, silent
from simulation.chain import Chain
from simulation.episode import Episode, Float32
from simulation.pointcloud import CLOUD
from simulation.privileged import COLUMN

TICK = "tick"
"""Name of the frame's number in its episode, among what is seen."""
STILL = 0.004
"""An arm is at rest when no joint (rad, m), nor the gripper's opening, has changed by more since the last frame."""
POSE = 10
"""Numbers that say where the tool is: position (m), x and y axis in the base frame, and the gripper's opening."""


@dataclass(frozen=True)
class Windows:
    """Frames of many episodes with what came after them.

    Attributes:
        seen: states ``(N, 2, J + 1)``, one tick ago and now, surroundings ``(N, n)``, pictures ``(N, H, W, 3)`` of
            0 … 255 of the cameras that were asked for, and the columns that were, by name.
        actions: ``(N, K, POSE)`` where the tool was told to be.
        future: ``(N, H, POSE + n)`` where the tool was at the horizons, and the surroundings then.
    """

    seen: Mapping[str, Tensor]
    actions: Tensor
    future: Tensor

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def around(self) -> int:
        """Numbers about the things around the robot."""
        return int(self.seen[COLUMN].shape[1])

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return sum(values.nbytes for values in self.tensors())

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [*self.seen.values(), self.actions, self.future]

    def some(self, rows: Tensor, *, pinned: bool = False) -> Windows:
        """Those of the given numbers; `pinned`: in page-locked memory, from which a GPU fetches them by itself."""

        def chosen(values: Tensor) -> Tensor:
            if not pinned:
                return values[rows]
            room = torch.empty((len(rows), *values.shape[1:]), dtype=values.dtype, pin_memory=True)
            return torch.index_select(values, 0, rows, out=room)

        return self._each(chosen)

    def each(self, every: int) -> Windows:
        """Those of every so manieth frame of each episode."""
        return self if every == 1 else self.some(torch.nonzero(self.seen[TICK] % every == 0)[:, 0])

    def times(self, count: int) -> Windows:
        """Each so many times."""
        return self if count == 1 else self.some(torch.arange(len(self)).repeat_interleave(count))

    def and_those_of(self, other: Windows) -> Windows:
        """These and others."""
        seen = {name: torch.cat([values, other.seen[name]]) for name, values in self.seen.items()}
        return Windows(seen, torch.cat([self.actions, other.actions]), torch.cat([self.future, other.future]))

    def to(self, device: torch.device) -> Windows:
        """The same on a device; from page-locked memory, they get there while the caller goes on."""
        return self._each(lambda values: values.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Windows:
        seen = {name: change(values) for name, values in self.seen.items()}
        return Windows(seen, change(self.actions), change(self.future))


def read_windows(
    dataset: Dataset,
    chain: Chain,
    chunk: int,
    horizons: Sequence[int],
    progress: Progress = silent,
    episodes: int | None = None,
    cameras: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Windows:
    """The windows of a dataset's episodes, or of the first `episodes`.

    Raises:
        UsageError: it does not say where things are, has no pictures of these `cameras` or none of these `columns`, or
            is empty.
        InputError: it is damaged.
    """
    check_columns(dataset, cameras, columns)
    count = len(dataset) if episodes is None else min(episodes, len(dataset))
    if not count:
        raise UsageError(
            f"{dataset.folder} has no episodes.", remedy="Demonstrate something first.", code="empty_dataset"
        )
    parts = []
    for number in range(count):
        progress(number / count, "reading the demonstrations")
        parts.append(windows_of(dataset.read(number, cameras), chain, chunk, horizons, columns))
    seen = {name: torch.cat([part.seen[name] for part in parts]) for name in parts[0].seen}
    return Windows(seen, torch.cat([part.actions for part in parts]), torch.cat([part.future for part in parts]))


def check_columns(dataset: Dataset, cameras: Sequence[str], columns: Sequence[str]) -> None:
    """See that a dataset says all that windows are made of, with pictures of these `cameras` and these `columns`.

    Raises:
        UsageError: it does not.
    """
    missing = [name for name in cameras if name not in dataset.features.cameras]
    if missing:
        raise UsageError(
            f"{dataset.folder} has no pictures of the camera {missing[0]!r}.",
            remedy="Demonstrate with `--cameras both`, or train with `--observe state`.",
            code="no_pictures",
        )
    if CLOUD in columns and CLOUD not in dataset.features.extra:
        raise UsageError(
            f"{dataset.folder} has no clouds of points.",
            remedy="Demonstrate with `--cameras points`, or train with `--observe rgb` or `--observe state`.",
            code="no_points",
        )
    for column in (COLUMN, *columns):
        if column not in dataset.features.extra:
            raise UsageError(
                f"{dataset.folder} does not say where things and cameras are ({column}).",
                remedy="Make it with `pocketworld demonstrate`.",
                code="no_state",
            )


def windows_of(
    episode: Episode, chain: Chain, chunk: int, horizons: Sequence[int], columns: Sequence[str] = ()
) -> Windows:
    """The windows of one episode of an arm, with these `columns`; beyond its end, all stays as it was at the end.

    Where the arm waits, what follows is what follows when it goes on: how long it waited already does not show in what
    is seen, so that who learnt to wait would wait for ever.
    """
    last = len(episode) - 1
    frames = np.arange(len(episode))[:, None]
    onward = _onward(episode)[:, None]
    around = np.array(episode.extra[COLUMN], dtype=np.float32)
    states = episode.state[np.maximum(frames + np.array([-1, 0]), 0)]
    told, been = tool_poses(chain, episode.action), tool_poses(chain, episode.state)
    actions = told[np.minimum(onward + np.arange(chunk), last)]
    later = np.minimum(onward + np.array(horizons, dtype=np.int64).reshape(1, -1), last)
    future = np.concatenate([been, around], axis=1)[later]
    seen = {STATE: torch.from_numpy(states), COLUMN: torch.from_numpy(around)}
    for camera, pictures in episode.images.items():
        seen[image_key(camera)] = torch.from_numpy(np.ascontiguousarray(pictures))
    if columns:
        seen[TICK] = torch.arange(len(episode))
    for column in columns:
        dtype = np.int16 if column == CLOUD else np.float32
        seen[column] = torch.from_numpy(np.array(episode.extra[column], dtype=dtype))
    return Windows(seen, torch.from_numpy(actions), torch.from_numpy(future))


def _onward(episode: Episode) -> npt.NDArray[np.int64]:
    """``(T,)`` for each frame itself, or the next one in which something is told anew, where all is at rest till then.

    At rest at the end, it stays.
    """
    frames = np.arange(len(episode))
    same = np.abs(np.diff(episode.action, axis=0, prepend=np.inf)).max(axis=1) == 0.0
    still = np.abs(np.diff(episode.state, axis=0, prepend=np.inf)).max(axis=1) < STILL
    rests = same & still
    found, ahead = frames.copy(), -1
    for frame in frames[::-1]:
        if not same[frame]:
            ahead = frame
        elif rests[frame] and ahead >= 0:
            found[frame] = ahead
    return found


def tool_poses(chain: Chain, states: Float32) -> Float32:
    """``(T, POSE)`` for joint positions and openings ``(T, J + 1)`` of an arm."""
    pose = chain.tool(states[:, :-1].astype(np.float64))
    rows: list[npt.NDArray[Any]] = [pose[:, :3, 3], pose[:, :3, 0], pose[:, :3, 1], states[:, -1:]]
    return np.concatenate(rows, axis=1, dtype=np.float32)

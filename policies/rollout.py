"""A policy at work in simulated cousins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from policies.deploy.bundle import MEMORY
from policies.deploy.decisions import Decisions, Seen, noise
from policies.deploy.guard import Guard, Limits
from policies.deploy.trust import Trust
from policies.episodes import Dataset
from policies.features import IMAGES, STATE
from policies.model import dreamer
from policies.policy import Policy
from policies.windows import POSE
from simulation.calibration import CALIBRATION
from simulation.cell import Cell
from simulation.chain import Chain
from simulation.demonstrations import Stage
from simulation.pointcloud import CLOUD, DEPTH
from simulation.privileged import COLUMN, environment_state
from simulation.tasks import TASKS, moved

FloatArray = npt.NDArray[np.float64]
SURE = 3
"""A task is done when it has been for so many ticks on end."""
MARGIN_M = 0.05
"""The tool may go so much farther than in any demonstration …"""
DEEPER_M = 0.01
"""… and so much lower: below it is the table."""
FALLEN_M = 0.5
"""What is so far below where it began has fallen down: nobody brings it back."""
Box = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class ActSettings:
    """How a policy is run."""

    execute: int = 4
    """Actions of a chunk that are done before the next decision."""
    flow_steps: int = 4
    """Steps from noise to a chunk."""
    lead: int = 1
    """Ticks that pass from what is seen to the first action that comes of it: on a robot, deciding takes its time."""
    sure_ticks: int = 60
    """Ticks in which it does what is likeliest; after them, one of the ways that it has learnt, drawn at random."""
    workspace: Box | None = None
    """Lowest and highest corner of the box in the base frame, metres, that the tool stays in; None: anywhere."""
    patience: float = 2.0
    """Give up after so many times the longest demonstration."""


class Actor:
    """Decides what to do, chunk by chunk."""

    def __init__(self, model: Policy, settings: ActSettings = ActSettings()) -> None:  # noqa: B008 - frozen
        """Take over a network that is ready to act."""
        self.model, self.settings = model, settings

    def trust(self) -> Trust | None:
        """What one try's dreams can be judged by; None of a network that only acts."""
        world = dreamer(self.model)
        return None if world is None else Trust(world.settings.horizons)

    def perform(self, stage: Stage, trust: Trust | None = None) -> Iterator[FloatArray]:
        """Actions ``(J + 1,)``, one a tick, without end; the same for the same cousin.

        Args:
            stage: with the cousin.
            trust: is told of every decision.
        """
        cell, settings, world = stage.cell, self.settings, dreamer(self.model)
        limits = Limits.of(cell.robot.chain, cell.robot.speed, settings.workspace)
        guard = Guard(cell.robot.chain, limits, cell.rate_hz, cell.goal)
        before, encoder = cell.arm.positions(), self.model.encoder
        memory = torch.zeros(1, encoder.remembers())

        def decide(seen: Seen) -> FloatArray:
            nonlocal memory
            with torch.inference_mode():
                told = {name: torch.from_numpy(values)[None] for name, values in seen.items()}
                made_out, memory = encoder.made_out({**told, MEMORY: memory})
                drawn = noise(decisions.asked, settings.sure_ticks, (self.model.settings.chunk, POSE))
                start = torch.from_numpy(drawn)[None]
                if trust is None or world is None:
                    poses = self.model.act(made_out, start, settings.flow_steps)
                else:
                    dreamt = torch.zeros(1, len(world.settings.horizons), world.foretold)
                    poses, dream = world.foresee(made_out, start, dreamt, settings.flow_steps)
                    trust.notice(decisions.asked, world.whereabouts(made_out)[0].numpy(), dream[0].numpy())
                chunk = poses[0].double().numpy()
            state = seen[STATE][-1].astype(np.float64)
            return guard.joint_actions(state, chunk[: settings.execute + settings.lead])

        def look() -> Seen:
            return observed(stage, encoder.needs, before)

        decisions = Decisions(decide, settings.execute, settings.lead, threaded=False)
        for tick in itertools.count():
            command = guard.step(decisions.action(tick, look))
            before = cell.arm.positions()
            yield command


def observed(stage: Stage, names: Iterable[str], before: FloatArray) -> Seen:
    """What is seen now, of what is asked for by name.

    Args:
        stage: with the cousin.
        names: of `encoders.Encoder.needs`, or of what a bundle measures (`deploy.bundle.Manifest.measures`).
        before: ``(J + 1,)`` what the robot measured of itself one tick ago.
    """
    cell, found = stage.cell, dict[str, Any]()
    names = tuple(names)
    shots = stage.shots() if any(name == CLOUD or name.startswith((IMAGES, DEPTH)) for name in names) else {}
    depths = stage.depths_m(shots) if any(name.startswith(DEPTH) for name in names) else {}
    for name in names:
        if name == STATE:
            found[name] = np.stack([before, cell.arm.positions()]).astype(np.float32)
        elif name == COLUMN:
            found[name] = environment_state(cell, stage.job.task, cell.world.poses()).astype(np.float32)
        elif name == CALIBRATION:
            found[name] = stage.calibration().astype(np.float32)
        elif name == CLOUD:
            found[name] = stage.cloud(shots)
        elif name.startswith(DEPTH):
            found[name] = depths[name.removeprefix(DEPTH)]
        else:
            found[name] = shots[name.removeprefix(IMAGES)].rgb[0]
    return found


def roll(
    stage: Stage,
    actor: Actor,
    longest_s: float,
    watch: Callable[[Cell], object] = lambda cell: None,
    trust: Trust | None = None,
) -> str:
    """Let a policy try the task in the cousin that is loaded; why it failed, "" where it succeeded.

    Args:
        stage: with the cousin.
        actor: the policy.
        longest_s: it takes no longer.
        watch: is shown the cell before every action.
        trust: is told of every decision.
    """
    cell, task, rested = stage.cell, stage.job.task, 0
    name, hit = moved(cell, task), ""
    for action in actor.perform(stage, trust):
        watch(cell)
        before = cell.faults.speed
        at = _touched(cell, task.names)
        cell.act(action)
        if cell.faults.speed > before and not hit:
            hit = at or _touched(cell, task.names)
        rested = rested + 1 if TASKS[task.kind].done(cell, task) else 0
        if rested == SURE:
            if cell.faults.limit:
                return "joint limit broken"
            # What an arm runs into throws its joints about faster than it may move them.
            return (f"bumped into {hit}" if hit else "speed limit broken") if cell.faults.speed else ""
        if cell.seconds >= longest_s:
            return "took too long"
        if cell.world.pose(name)[2, 3] < cell.start[name][2, 3] - FALLEN_M:
            return f"{name} fell down"
    raise AssertionError("a policy never stops by itself")


def _touched(cell: Cell, but: Sequence[str]) -> str:
    """A thing that the robot touches, but for some; "" where there is none."""
    return next((name for name in cell.start if name not in but and cell.touched(name)), "")


def workspace_of(dataset: Dataset, chain: Chain) -> Box:
    """Where the tool of an arm was, or was told to be, in a dataset's episodes, and somewhat more.

    Returns:
        The lowest and the highest corner of a box in the base frame, metres.

    Raises:
        InputError: the dataset is damaged.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for number in range(len(dataset)):
        episode = dataset.read(number, ())
        points = chain.tool(np.concatenate([episode.action, episode.state])[:, :-1].astype(np.float64))[:, :3, 3]
        low, high = np.minimum(low, points.min(axis=0)), np.maximum(high, points.max(axis=0))
    low, high = np.round(low - [MARGIN_M, MARGIN_M, DEEPER_M], 4), np.round(high + MARGIN_M, 4)
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))

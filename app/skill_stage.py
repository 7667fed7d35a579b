"""From a task's words to a bundle: demonstrations, training, evaluation and export, one after another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.bundle_stage import ExportResult, ExportSettings, export_bundle
from app.demonstrate_stage import DemonstrateResult, DemonstrateSettings, demonstrate
from app.evaluate_stage import EvaluateResult, evaluate_policy
from app.project import Project
from app.train_stage import TrainResult, TrainSettings, train_policy
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, part, silent

SHARES = (0.4, 0.35, 0.2, 0.05)
"""About how much of the time each of the four takes."""


@dataclass(frozen=True)
class SkillSettings:
    """What is learnt, from how much, and how good it must be."""

    task: str
    """What to do, with the names of the scene's things, as for `pocketworld demonstrate`."""
    robot: str = "panda"
    """Who does it."""
    seed: int = 0
    """Of all that is drawn."""
    vary: tuple[str, ...] = ()
    """What varies and how strongly, as for `pocketworld cousins`."""
    observe: Literal["rgb", "pointcloud", "state"] = "rgb"
    """What the policy sees, as for `pocketworld train`."""
    demonstrations: int = 300
    """Demonstrations that it learns from."""
    policy: Literal["world-action", "act"] = "world-action"
    """What learns, as for `pocketworld train`."""
    steps: int = 2000
    """Steps of training to act."""
    glances: int = 400
    """Cousins of which the eyes see pictures with the hand anywhere, where the policy sees pictures."""
    eye_steps: int = 6000
    """Steps of training to see."""
    blunders: int = 100
    """Episodes in which the expert sets right what it has done wrong on purpose, beside the demonstrations."""
    rounds: int = 0
    """Times that the expert sets right what the policy has begun."""
    cousins: int = 100
    """Cousins that it is then evaluated on."""
    least: float = 0.8
    """The share of them, 0 … 1, in which it must succeed to be exported."""
    anyway: bool = False
    """Export it even if it does not."""


@dataclass(frozen=True)
class SkillResult:
    """What has come of each step."""

    demonstrated: DemonstrateResult
    trained: TrainResult
    evaluated: EvaluateResult
    exported: ExportResult
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return {
            "demonstrate": self.demonstrated.as_json(),
            "train": self.trained.as_json(),
            "evaluate": self.evaluated.as_json(),
            "export": self.exported.as_json(),
            "seconds": self.seconds,
        }


def train_and_export(
    project: Project, settings: SkillSettings, progress: Progress = silent, *, out: Path | None = None, jobs: int = 1
) -> SkillResult:
    """Demonstrate, train, evaluate and export; goes on where it was killed.

    Args:
        project: with a finished scene.
        settings: what is learnt.
        progress: is told about all of it.
        out: the bundle's folder; left out: in the project's folder ``bundle``.
        jobs: processes at a time; never changes the result.

    Raises:
        PocketworldError: what any of the four raises; the policy is not good enough.
    """
    s, started = settings, time.perf_counter()
    if s.cousins < 1 or not 0.0 <= s.least <= 1.0:  # before hours of work
        raise UsageError("--cousins is 1 or more, --least a share.", remedy="Give such numbers.", code="bad_value")
    begins = [sum(SHARES[:number]) for number in range(len(SHARES) + 1)]
    names = ("demonstrating", "training", "evaluating", "exporting")

    def step(number: int) -> Progress:
        whole = part(progress, begins[number], begins[number + 1])
        return lambda fraction, message: whole(fraction, f"{number + 1} of 4, {names[number]}: {message}")

    filmed: dict[str, Literal["both", "points"]] = {"rgb": "both", "pointcloud": "points"}
    shown = DemonstrateSettings(
        task=s.task,
        robot=s.robot,
        seed=s.seed,
        vary=s.vary,
        cameras=filmed.get(s.observe, "none"),
        count=s.demonstrations,
    )
    learnt = TrainSettings(
        task=s.task,
        robot=s.robot,
        seed=s.seed,
        observe=s.observe,
        episodes=s.demonstrations,
        policy=s.policy,
        steps=s.steps,
        glances=s.glances,
        eye_steps=s.eye_steps,
        blunders=s.blunders,
        rounds=s.rounds,
        checks=0,
    )
    left = ExportSettings(task=s.task, robot=s.robot, seed=s.seed, least=s.least, anyway=s.anyway)
    demonstrated = demonstrate(project, shown, step(0), jobs=jobs)
    trained = train_policy(project, learnt, step(1), jobs=jobs)
    evaluated = evaluate_policy(project, learnt, s.cousins, step(2), films=1, jobs=jobs)
    exported = export_bundle(project, left, step(3), out=out)
    progress(1.0, "done")
    return SkillResult(demonstrated, trained, evaluated, exported, round(time.perf_counter() - started, 3))

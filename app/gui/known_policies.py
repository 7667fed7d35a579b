"""What is known of a project's policies without opening one."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication

from app.gui.curves import wilson
from app.gui.walk import is_weak
from app.policy_folder import evaluation_file
from app.project import Project, read_json

LARGEST_HEADER = 5_000_000


@dataclass(frozen=True)
class Known:
    """What is known of one of a project's policies without opening it.

    Attributes:
        file: the network; `name` of its folder.
        task, robot, seed, observe, episodes: how it was learnt; None and "" where nobody knows.
        evaluation: its last score; None: never evaluated.
        seconds: since 1970, when it was written.
        stale: why the figures are of something else than what is there now; "" where they are not.
        weak: it succeeds too seldom to be exported.
    """

    file: Path
    task: str
    robot: str
    seed: int
    observe: str
    episodes: int | None
    evaluation: Mapping[str, Any] | None
    seconds: float
    stale: str
    weak: bool = False

    @property
    def name(self) -> str:
        """Of its folder, and of that of its demonstrations."""
        return self.file.parent.name

    @property
    def share(self) -> tuple[int, int] | None:
        """Successes and tries of its last evaluation."""
        found = self.evaluation or {}
        done, count = found.get("successes"), found.get("count")
        return (done, count) if isinstance(done, int) and isinstance(count, int) and count > 0 else None

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share of successes is, 95 % sure."""
        try:
            low, high = (self.evaluation or {})["interval"]
            return float(low), float(high)
        except (KeyError, TypeError, ValueError):
            return wilson(*(self.share or (0, 0)))

    @property
    def words(self) -> tuple[str, ...]:
        """Which policy it is, for the command line."""
        return "--task", self.task, "--robot", self.robot, "--seed", str(self.seed)


def notes_of(policy: Path) -> Mapping[str, Any]:
    """What a policy's file says of how it was learnt: the head of a safetensors file, without its numbers."""
    try:
        with policy.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(size)) if size < LARGEST_HEADER else {}
        notes = json.loads(head["__metadata__"]["pocketworld"])["notes"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return notes if isinstance(notes, dict) else {}


def known(project: Project, policy: Path, scene: str | None) -> Known:
    """What is known of a policy; `scene` is the hash of the scene as it is now."""
    name = policy.parent.name
    evaluation = read_json(evaluation_file(policy))
    made = read_json(project.folder / "episodes" / f"{name}.json") or {}
    settings = made.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    learnt = (evaluation or {}).get("learnt")
    learnt = learnt if isinstance(learnt, dict) else notes_of(policy)
    ending = re.search(r"_(\d+)$", name)
    seed = settings.get("seed", int(ending.group(1)) if ending else 0)
    episodes = learnt.get("episodes")
    written = policy.stat().st_mtime
    stale = ""
    inputs = made.get("inputs")
    if evaluation is not None and written > evaluation_file(policy).stat().st_mtime:
        stale = _tr("It was trained again after it was evaluated: the figures are of the policy before.")
    elif isinstance(inputs, dict) and inputs.get("scene") not in (None, scene):
        stale = _tr("The scene has changed since this policy's demonstrations: train it again.")
    found = Known(
        policy,
        str(learnt.get("task") or settings.get("task") or name),
        str(learnt.get("robot") or settings.get("robot") or "panda"),
        seed if isinstance(seed, int) else 0,
        str(learnt.get("observe") or ""),
        episodes if isinstance(episodes, int) else None,
        evaluation,
        written,
        stale,
    )
    return dataclasses.replace(found, weak=found.share is not None and is_weak(project, policy, *found.share))


def _tr(text: str) -> str:
    return QCoreApplication.translate("PolicyPage", text)

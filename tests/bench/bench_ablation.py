"""What foretelling is worth: the world-action model against itself without it, and against ACT.

    python tests/bench/bench_ablation.py [--project P --task "place X in Y"] [--shown-seed 0]
        [--demonstrations 25 50 100] [--seeds 0 1] [--steps 1500] [--cousins 40] [--kinds world-action action-only act]

All learn from the same demonstrations, the first ones of the task's dataset in the project, for as many steps and with
about as many weights, and are tried in the same held-out cousins. Beside how often they succeed stands how far what
they decide is from what the expert did, in demonstrations that none of them has seen: that figure is less of a lottery.
Left out, the project is the small bench of the tests, on which the task is first demonstrated.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.project import Project  # noqa: E402 - the project is on the path from here on
from app.train_stage import TrainSettings, act_settings, demonstrations_of  # noqa: E402
from app.trials import HELD_OUT_SEED, Trials  # noqa: E402
from policies.act import ChunkingModel, ChunkingSettings  # noqa: E402
from policies.checkpoint import load_model  # noqa: E402
from policies.dataset import open_dataset  # noqa: E402
from policies.evaluate import Score, score, wilson  # noqa: E402
from policies.files import BEST  # noqa: E402
from policies.model import ModelSettings, WorldActionModel  # noqa: E402
from policies.policy import Policy, PolicySettings  # noqa: E402
from policies.rollout import ActSettings  # noqa: E402
from policies.train import LoopSettings, train  # noqa: E402
from policies.windows import POSE, Windows, windows_of  # noqa: E402
from reconstruction.progress import silent  # noqa: E402
from simulation.pool import workers  # noqa: E402
from simulation.robots import robot_of  # noqa: E402
from tests.robot_bench import TASK, demonstrated_at  # noqa: E402

KINDS: dict[str, tuple[type[Policy], PolicySettings]] = {
    "world-action": (WorldActionModel, ModelSettings()),
    "action-only": (WorldActionModel, ModelSettings(horizons=())),
    "act": (ChunkingModel, ChunkingSettings()),
}
ROBOT = "panda"
UNSEEN = 40
"""Demonstrations, the dataset's last, on which decisions are compared with the expert's."""


@dataclass(frozen=True)
class Ground:
    """What all of them have in common: where they learn and are tried."""

    project: Project
    folder: Path
    place: Path
    steps: int
    batch: int
    cousins: int
    longest_s: float
    act: ActSettings
    executor: Executor | None

    def windows(self, numbers: Sequence[int]) -> Windows:
        """Of the demonstrations of those numbers."""
        data, size, chain = open_dataset(self.folder), ModelSettings(), robot_of(ROBOT).chain
        parts = [windows_of(data.read(number, ()), chain, size.chunk, size.horizons) for number in numbers]
        return functools.reduce(Windows.and_those_of, parts)

    def tried(self, policy: Path) -> Score:
        """How often a policy succeeds in the held-out cousins."""
        trials = Trials(self.project, self.folder, policy, HELD_OUT_SEED, self.longest_s, self.act, ())
        return score(trials.tried(self.cousins, self.executor, silent))


def learnt(ground: Ground, kind: str, windows: Windows, seed: int) -> tuple[Path, float, int]:
    """The file of a policy that has learnt from `windows`, the seconds that took, and its number of weights."""
    cls, size = KINDS[kind]
    robot = robot_of(ROBOT)
    torch.manual_seed(seed)
    model = cls(size, "state", len(robot.action_names), windows.around)
    model.encoder.arm.describe(robot.chain)
    model.fit(windows)
    place = ground.place / f"{kind}_{len(windows)}_{seed}"
    loop = LoopSettings(steps=ground.steps, batch=ground.batch, seed=seed, check_every=ground.steps)
    started = time.perf_counter()
    train(model, windows, loop, place)
    return place / BEST, time.perf_counter() - started, sum(weight.numel() for weight in model.parameters())


@torch.no_grad()
def distance_mm(policy: Path, unseen: Windows) -> float:
    """How far from where the expert sent the tool a policy sends it, mean over all actions of all chunks."""
    model = load_model(policy)[0]
    chunks = model.act(unseen.seen, torch.zeros(len(unseen), model.settings.chunk, POSE))
    return 1000.0 * float((chunks - unseen.actions)[..., :3].norm(dim=-1).mean())


def row(*cells: object) -> None:
    """A line of the table."""
    print(
        "".join(f"{cell!s:>{width}}" for cell, width in zip(cells, (8, 14, 6, 9, 10, 12, 16, 11), strict=True)),
        flush=True,
    )


def compare(ground: Ground, kinds: Sequence[str], counts: Sequence[int], seeds: Sequence[int]) -> None:
    """Print a line for each policy, and one for each kind over all seeds."""
    total = len(open_dataset(ground.folder))
    unseen = ground.windows(range(total - UNSEEN, total))
    row("demos", "policy", "seed", "weights", "seconds", "succeeded", "95 % sure", "off, mm")
    for count in counts:
        if count > total - UNSEEN:
            print(f"{ground.folder} has {total} demonstrations: too few for {count} and {UNSEEN} others.")
            continue
        windows = ground.windows(range(count))
        for kind in kinds:
            scores, offs = [], []
            for seed in seeds:
                policy, seconds, weights = learnt(ground, kind, windows, seed)
                offs.append(distance_mm(policy, unseen))
                scores.append(ground.tried(policy))
                told(count, kind, seed, f"{weights / 1e6:.2f} M", f"{seconds:.1f}", scores[-1:], offs[-1:])
            if len(seeds) > 1:
                told(count, kind, "all", "", "", scores, offs)


def told(
    count: int, kind: str, seed: object, weights: str, seconds: str, scores: Sequence[Score], offs: Sequence[float]
) -> None:
    """Print what was measured, of all the policies together."""
    good, tries = sum(score.successes for score in scores), sum(score.count for score in scores)
    low, high = wilson(good, tries)
    sure = f"{low:.0%} … {high:.0%}"
    row(count, kind, seed, weights, seconds, f"{good} of {tries}", sure, f"{sum(offs) / len(offs):.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--task", default=TASK)
    parser.add_argument("--shown-seed", type=int, default=0, help="the seed of the demonstrations")
    parser.add_argument("--demonstrations", type=int, nargs="+", default=[25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--cousins", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    s = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, workers(s.jobs, None) as crew:
        place = Path(name)
        project = (
            Project.open(s.project)
            if s.project
            else demonstrated_at(place / "bench", max(s.demonstrations) + UNSEEN, s.jobs)
        )
        folder = demonstrations_of(project, TrainSettings(task=s.task, seed=s.shown_seed, robot=ROBOT))
        data = open_dataset(folder)
        longest_s = max(data.length(number) for number in range(len(data))) / data.features.rate_hz
        act = act_settings(data, robot_of(ROBOT))
        ground = Ground(project, folder, place, s.steps, s.batch, s.cousins, longest_s, act, crew.executor)
        compare(ground, s.kinds, s.demonstrations, s.seeds)


if __name__ == "__main__":
    main()

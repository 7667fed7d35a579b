"""Windows a second in training: the world-action model's beside those of LeRobot's diffusion policy.

    python tests/bench/lerobot/bench_training.py [--project P --task "place X in Y"] [--steps 200] [--threads 1]

LeRobot goes into an environment of its own, ``.venv/lerobot-bench``, which borrows torch and what else there is from
the one that runs this, so that both compute with the same. Both train on the same windows of the same demonstrations,
held in memory, with batches of the same size and about as many weights, in turns. Ours are the steps of `train`, with
their checkpoint and running mean; LeRobot's are forward, backward, clipping and its own optimiser, and no more. Seconds
are those of the processor, all threads together: what else runs on the computer hardly counts. Left out, the project is
the small bench of the tests, on which the task is first demonstrated. It is no part of ``make bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import site
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from app.project import Project  # noqa: E402 - the project is on the path from here on
from app.train_stage import TrainSettings, demonstrations_of  # noqa: E402
from policies.dataset import open_dataset  # noqa: E402
from policies.features import ACTION, STATE  # noqa: E402
from policies.model import ModelSettings, WorldActionModel  # noqa: E402
from policies.train import LoopSettings, train  # noqa: E402
from policies.windows import Windows, read_windows  # noqa: E402
from simulation.privileged import COLUMN  # noqa: E402
from simulation.robots import robot_of  # noqa: E402
from tests.robot_bench import TASK, demonstrated_at  # noqa: E402

PLACE, LEROBOT = ROOT / ".venv" / "lerobot-bench", "0.4.4"
NEEDS = (
    *("diffusers<0.36", "draccus==0.10.0", "datasets<4.2", "huggingface-hub<0.36", "deepdiff<9", "gymnasium<2"),
    *("accelerate<2", "einops", "jsonlines", "termcolor", "imageio", "pyserial", "packaging"),
)
"""Of LeRobot's requirements those that its diffusion policy imports."""
PATIENCE_S = 1200.0


def lerobots_python() -> Path:
    """The Python of an environment that has LeRobot; made where it is missing.

    Raises:
        SystemExit: it cannot be made here.
    """
    python = PLACE / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = PLACE / "installed"
    if done.is_file():
        return python
    print(f"Installing LeRobot {LEROBOT} into {PLACE}: some minutes, once.", flush=True)
    venv.create(PLACE, with_pip=True, clear=True)
    words = [str(python), "-c", "import site; print(site.getsitepackages()[0])"]
    own = Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())
    (own / "base.pth").write_text(site.getsitepackages()[0] + "\n")
    # The one release that goes with a release of torch; LeRobot itself asks for older ones, which its policies
    # do not need.
    vision = f"torchvision==0.{int(torch.__version__.split('.')[1]) + 15}.*"
    pip = [str(python), "-m", "pip", "install", "-qq"]
    try:
        for wanted in (["--no-deps", f"lerobot=={LEROBOT}", vision], NEEDS):
            subprocess.run([*pip, *wanted], check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        why = f"{error}\n{error.stderr or ''}"
        raise SystemExit(f"LeRobot cannot be installed here, so nothing was compared: {why}") from None
    done.touch()
    return python


def samples(folder: Path, path: Path) -> None:
    """Write what LeRobot's policy learns from: states of two ticks, surroundings, and the joints' chunk, by window."""
    chunk, found = ModelSettings().chunk, {STATE: [], COLUMN: [], ACTION: []}
    for episode in open_dataset(folder):
        frames = np.arange(len(episode))[:, None]
        before = np.maximum(frames + np.array([-1, 0]), 0)
        found[STATE].append(episode.state[before])
        found[COLUMN].append(np.asarray(episode.extra[COLUMN], dtype=np.float32)[before])
        found[ACTION].append(episode.action[np.minimum(frames + np.arange(chunk), len(episode) - 1)])
    np.savez(path, **{name: np.concatenate(rows) for name, rows in found.items()})


def ours(windows: Windows, steps: int, batch: int, place: Path) -> tuple[float, int]:
    """Windows a second of the processor of the world-action model, and its number of weights."""
    robot = robot_of("panda")
    model = WorldActionModel(ModelSettings(), "state", len(robot.action_names), windows.around)
    model.encoder.arm.describe(robot.chain)
    model.fit(windows)
    started = time.process_time()
    train(model, windows, LoopSettings(steps=steps, batch=batch, check_every=steps), place)
    return steps * batch / (time.process_time() - started), sum(weight.numel() for weight in model.parameters())


def theirs(python: Path, path: Path, steps: int, batch: int, threads: int, weights: int) -> tuple[float, int]:
    """The same of LeRobot's diffusion policy with about as many weights."""
    script = Path(__file__).with_name("their_training.py")
    words = [str(python), str(script), str(path), *map(str, (steps, batch, threads, weights))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode:
        raise SystemExit(f"LeRobot's policy cannot be trained here, so nothing was compared:\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    return float(said["windows_per_s"]), int(said["weights"])


def main() -> None:
    """Print both, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--task", default=TASK)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    s = parser.parse_args()
    python = lerobots_python()
    torch.set_num_threads(s.threads)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        project = Project.open(s.project) if s.project else demonstrated_at(place / "bench", 10)
        folder = demonstrations_of(project, TrainSettings(task=s.task))
        size, chain = ModelSettings(), robot_of("panda").chain
        windows = read_windows(open_dataset(folder), chain, size.chunk, size.horizons)
        samples(folder, place / "samples.npz")
        rows = []
        for turn in range(s.turns):
            own, weights = ours(windows, s.steps, s.batch, place / f"ours_{turn}")
            other, their_weights = theirs(python, place / "samples.npz", s.steps, s.batch, s.threads, weights)
            rows.append((own, other))
            print(f"ours {own:.0f} windows a second, LeRobot's diffusion policy {other:.0f}", flush=True)
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        ratio = statistics.median(own / other for own, other in rows)
        print(f"{len(windows)} windows, batches of {s.batch}, {s.threads} threads, torch {torch.__version__}, CPU:")
        print(f"  world-action model {medians[0]:.0f} a second ({weights / 1e6:.2f} M weights),", end=" ")
        print(f"LeRobot's {medians[1]:.0f} ({their_weights / 1e6:.2f} M): {ratio:.1f} times (wanted: 1.5)")


if __name__ == "__main__":
    main()

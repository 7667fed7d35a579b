"""How much faster a bundle decides than the policy that it was made from, and whether it keeps its rate.

    python tests/bench/bench_bundle.py [BUNDLE POLICY.safetensors]

Left out, both are of a network of the usual size that has learnt nothing: that takes as long.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from policies.checkpoint import load_model  # noqa: E402 - the project is on the path from here on
from policies.deploy.bundle import JOINTS, Bundle  # noqa: E402
from policies.deploy.loop import drive  # noqa: E402
from policies.deploy.main import dry_robot  # noqa: E402
from policies.model import ModelSettings, WorldActionModel  # noqa: E402
from simulation.robots import robot_of  # noqa: E402
from tests.bundles import make_bundle  # noqa: E402

SECONDS = 20.0


def milliseconds(work: Callable[[], object], count: int = 200) -> float:
    """Median of a call."""
    found = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        found.append(1000.0 * (time.perf_counter() - start))
    return float(np.median(found))


def untrained() -> WorldActionModel:
    """Of the usual size."""
    model = WorldActionModel(ModelSettings(), "state", 8, 24)
    model.encoder.arm.describe(robot_of("panda").chain)
    return model.eval().requires_grad_(False)


def main() -> None:
    """Print both."""
    with tempfile.TemporaryDirectory() as place:
        given = list(map(Path, sys.argv[1:3]))
        model = load_model(given[1])[0] if given else untrained()
        assert isinstance(model, WorldActionModel)
        bundle = Bundle(given[0] if given else make_bundle(Path(place) / "bundle", model))
        seen = {name: values[0] for name, values in bundle.sample.items()}
        told = {name: torch.from_numpy(values)[None] for name, values in seen.items()}
        noise = torch.zeros(1, bundle.manifest.length, 10)
        eager = {}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                eager[threads] = milliseconds(lambda: model.act(told, noise))
        ours = milliseconds(lambda: bundle.decide(seen))
        state = np.asarray(seen[JOINTS][-1], dtype=np.float64)
        poses, guard = bundle.decide(seen).poses, bundle.guard(np.array(bundle.manifest.home))
        inverse = milliseconds(lambda: guard.joint_actions(state, poses))
        step = milliseconds(lambda: guard.step(guard.goal))
        best = min(eager.values())
        print(f"a chunk: {ours:.2f} ms; torch {eager[1]:.2f} ms, on 2 threads {eager[2]:.2f}: {best / ours:.1f} times")
        print(f"beside it: inverse kinematics of the chunk {inverse:.1f} ms, the guard {step:.2f} ms a tick")
        report = drive(bundle, dry_robot(bundle), SECONDS)
        share = report.missed / report.ticks
        print(
            f"dry run of {report.ticks} ticks at {bundle.manifest.rate_hz:g} Hz: {share:.1%} of deadlines missed, ",
            end="",
        )
        print(f"{report.late} late, a decision {report.deciding_ms:.1f} ms")


if __name__ == "__main__":
    main()

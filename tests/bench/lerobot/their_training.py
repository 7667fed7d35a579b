"""Trains LeRobot's diffusion policy for a while, in an environment that has LeRobot; `bench_training.py` starts it.

python their_training.py SAMPLES.npz STEPS BATCH THREADS WEIGHTS
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

WARM_UP = 5


def declare_torchvisions_operators() -> None:
    """Where torchvision's wheel was built for another torch, name the operators whose shapes it tells when imported.

    A policy that sees no pictures calls none of them.
    """
    found = importlib.util.find_spec("torchvision")
    assert found is not None
    assert found.origin is not None
    try:
        torch.ops.load_library(str(next(Path(found.origin).parent.glob("_C.*"))))
    except OSError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")


def policy_of(data: dict[str, torch.Tensor], weights: int):  # type: ignore[no-untyped-def]
    """LeRobot's policy as it comes, but for its width: so many weights as nearly as that goes."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    def feature(kind: FeatureType, name: str) -> PolicyFeature:
        return PolicyFeature(kind, (data[name].shape[-1],))

    state, around = "observation.state", "observation.environment_state"
    made = []
    for width in range(8, 72, 8):
        config = DiffusionConfig(
            input_features={state: feature(FeatureType.STATE, state), around: feature(FeatureType.ENV, around)},
            output_features={"action": feature(FeatureType.ACTION, "action")},
            device="cpu",
            horizon=data["action"].shape[1],
            down_dims=(width, 2 * width, 4 * width),
        )
        made.append(DiffusionPolicy(config))
    return min(made, key=lambda policy: abs(sum(weight.numel() for weight in policy.parameters()) - weights))


def main() -> None:
    """Print windows a second of the processor and the number of weights as JSON."""
    path, steps, batch, threads, weights = sys.argv[1], *map(int, sys.argv[2:6])
    torch.set_num_threads(threads)
    declare_torchvisions_operators()
    with np.load(path) as file:
        data = {name: torch.from_numpy(file[name]) for name in file.files}
    data = {name: (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp_min(1e-3) for name, rows in data.items()}
    data["action"] = data["action"].clamp(-1.0, 1.0)
    data["action_is_pad"] = torch.zeros(data["action"].shape[:2], dtype=torch.bool)
    torch.manual_seed(0)
    policy = policy_of(data, weights).train()
    preset = policy.config.get_optimizer_preset()
    optimiser = preset.build(policy.get_optim_params())
    for step in range(-WARM_UP, steps):
        if step == 0:
            started = time.process_time()
        rows = torch.randint(len(data["action"]), (batch,))
        loss, _ = policy.forward({name: values[rows] for name, values in data.items()})
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), preset.grad_clip_norm)
        optimiser.step()
        optimiser.zero_grad()
    seconds = time.process_time() - started
    count = sum(weight.numel() for weight in policy.parameters())
    print(json.dumps({"windows_per_s": steps * batch / seconds, "weights": count}))


if __name__ == "__main__":
    main()

"""The world-action model: what it is made of, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.checkpoint import load_model, save
from policies.encoders import Arm, Scaler
from policies.features import STATE
from policies.model import ModelSettings, WorldActionModel
from policies.train import BEST, METRICS, LoopSettings, train
from policies.windows import Windows, windows_of
from reconstruction.errors import InputError
from simulation.episode import Episode
from simulation.privileged import COLUMN
from simulation.robots import robot_of

SMALL = ModelSettings(width=32, heads=2, encoder_layers=1, decoder_layers=2, chunk=4, patch=2, horizons=(2, 4))
JOINTS, AROUND = 3, 24


def _windows(count: int = 400) -> Windows:
    """An arm that is told to go where the first thing is, and a world that does what the actions say."""
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(count, 1, JOINTS, generator=rng).repeat(1, 2, 1)
    around = torch.randn(count, AROUND, generator=rng)
    actions = around[:, None, :JOINTS].repeat(1, SMALL.chunk, 1)
    future = torch.cat([actions[:, [1, 3]], torch.zeros(count, 2, AROUND)], dim=2)
    return Windows({STATE: states, COLUMN: around}, actions, future)


def _model(windows: Windows, settings: ModelSettings = SMALL) -> WorldActionModel:
    torch.manual_seed(0)
    model = WorldActionModel(settings, "state", JOINTS, AROUND, windows.future.shape[2])
    model.fit(windows.seen, windows.actions, windows.future)
    return model


@pytest.mark.parametrize("name", ["panda", "xarm6"])
def test_its_arm_moves_as_the_robot_does(name: str) -> None:
    chain = robot_of(name).chain
    q = np.random.default_rng(0).uniform(chain.low, chain.high, (20, len(chain.low)))
    arm = Arm(len(chain.low))
    arm.describe(chain)
    position, rotation = arm(torch.tensor(q, dtype=torch.float32))
    tool = chain.tool(q)
    assert np.abs(position.numpy() - tool[:, :3, 3]).max() < 1e-5
    assert np.abs(rotation.numpy() - tool[:, :3, :3]).max() < 1e-5


def test_scales_make_values_about_one_in_size_and_back() -> None:
    values = torch.randn(500, 3) * torch.tensor([0.1, 5.0, 0.0]) + torch.tensor([1.0, -2.0, 3.0])
    scaler = Scaler(3)
    scaler.fit(values)
    scaled = scaler(values)
    assert torch.allclose(scaled[:, :2].std(dim=0), torch.ones(2), atol=1e-4)
    assert scaled[:, 2].abs().max() == 0
    assert torch.allclose(scaler.back(scaled), values, atol=1e-5)


def test_acting_needs_no_dream_and_a_dream_is_one_of_the_actions() -> None:
    windows = _windows(5)
    model = _model(_windows())
    for weight in model.parameters():  # as first made, what the point of the flow does is nothing
        torch.nn.init.normal_(weight, std=0.2)
    context, point = model.look(windows.seen), torch.rand(5)
    actions, future = torch.randn(5, SMALL.chunk, JOINTS), torch.randn(5, 2, JOINTS + AROUND)
    alone, nothing = model.flow(context, point, actions)
    both, ahead = model.flow(context, point, actions, future)
    assert nothing is None
    assert torch.allclose(alone, both, atol=1e-5)
    _, other = model.flow(context, point, actions + 1.0, future)
    assert ahead is not None
    assert other is not None
    assert (ahead - other).abs().max() > 1e-3


def test_it_learns_what_follows_from_what_is_seen(tmp_path: Path) -> None:
    windows = _windows(2000)
    best = train(_model(windows), windows, LoopSettings(steps=500, batch=64, check_every=500), tmp_path)
    assert best.step == 500
    model, _ = load_model(tmp_path / BEST)
    fresh = _windows(50)
    chunk = model.act(fresh.seen, torch.randn(50, SMALL.chunk, JOINTS))
    assert (chunk - fresh.actions).square().mean() < 0.15  # of a variance of 1
    dream = model.dream(fresh.seen, fresh.actions, torch.randn(50, 2, JOINTS + AROUND))
    assert (dream - fresh.future)[:, :, :JOINTS].square().mean() < 0.3


class Killed(BaseException):
    pass


@pytest.mark.parametrize("horizons", [(2, 4), ()])
def test_a_killed_training_goes_on_and_ends_with_the_same_bits(tmp_path: Path, horizons: tuple[int, ...]) -> None:
    size = ModelSettings(**{**vars(SMALL), "horizons": horizons})
    windows = _windows()
    if not horizons:
        windows = Windows(windows.seen, windows.actions, torch.zeros(len(windows), 0, JOINTS + AROUND))
    loop = LoopSettings(steps=60, batch=16, check_every=20)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    shares = iter([0.5, 0.75, 0.25])

    def check(_: WorldActionModel) -> float:
        torch.rand(7)  # what a check draws must not show
        return next(shares)

    best = train(_model(windows, size), windows, loop, whole, check=check)
    assert (best.step, best.success) == (40, 0.75)

    def dies(_: WorldActionModel) -> float:
        raise Killed

    shares = iter([0.5])
    for stop in (check, dies):
        with pytest.raises((Killed, StopIteration)):
            train(_model(windows, size), windows, loop, broken, check=stop)
    shares = iter([0.75, 0.25])
    assert train(_model(windows, size), windows, loop, broken, check=check) == best
    for name in (BEST, "latest.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    lines = [(folder / METRICS).read_text().replace(" ", "") for folder in (whole, broken)]
    without_time = [[part.split(',"seconds"')[0] for part in text.splitlines()] for text in lines]
    assert without_time[0] == without_time[1]


def test_other_settings_start_anew(tmp_path: Path) -> None:
    windows = _windows()
    train(_model(windows), windows, LoopSettings(steps=20, batch=8, check_every=20), tmp_path)
    first = (tmp_path / BEST).read_bytes()
    train(_model(windows), windows, LoopSettings(steps=20, batch=8, check_every=20, seed=1), tmp_path)
    assert (tmp_path / BEST).read_bytes() != first
    assert (tmp_path / METRICS).read_text().count('"success"') == 0


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "other"])
def test_what_is_no_policy_is_an_input_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "pölicy.safetensors"
    save(path, _model(_windows()), {})
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("no policy")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="is no readable policy"):
        load_model(path)


def test_windows_stay_at_the_end_and_actions_are_told_from_where_the_arm_is() -> None:
    frames = 6
    state = np.arange(frames * 3, dtype=np.float32).reshape(frames, 3)
    action = state + np.array([0.5, -0.5, 0.0], dtype=np.float32)
    around = np.arange(frames, dtype=np.float32)[:, None] * np.ones((1, 12), dtype=np.float32)
    names = ("a", "b", "gripper")
    episode = Episode("do it", "pick x", 10.0, state, names, action, names, extra={COLUMN: around})
    made = windows_of(episode, 4, (2, 100))
    assert made.seen[STATE].shape == (frames, 2, 3)
    assert torch.equal(made.seen[STATE][0, 0], made.seen[STATE][0, 1])
    assert torch.equal(made.seen[STATE][3, 0], torch.from_numpy(state[2]))
    assert made.actions[0, 0].tolist() == [0.5, -0.5, 2.0]
    assert made.actions[0, 2].tolist() == [6.5, 5.5, 8.0]  # joints from where they are, the gripper as it is
    assert torch.equal(made.actions[-1, 0], made.actions[-1, 3])
    assert made.future[0, 0, 3:].tolist() == [2.0] * 12
    assert torch.equal(
        made.future[0, 1], torch.from_numpy(np.concatenate([state[5] - state[0], around[5] - around[0]]))
    )

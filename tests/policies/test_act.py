"""Action chunking with transformers: that it learns, goes on where it was killed, and is one of the policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from app.bundle_stage import open_bundle
from policies.act import ChunkingModel, ChunkingSettings
from policies.checkpoint import HEADER, POLICIES, load_model, save
from policies.features import STATE
from policies.files import BEST, LATEST, METRICS
from policies.model import WorldActionModel
from policies.train import LoopSettings, train
from policies.windows import POSE, Windows
from reconstruction.errors import InputError
from simulation.privileged import BOX, COLUMN
from simulation.robots import robot_of
from tests.bundles import make_bundle, model, seen

SMALL = ChunkingSettings(width=32, heads=2, encoder_layers=1, decoder_layers=2, chunk=4, style_layers=1, style=8)
STATES, AROUND = 3, 2 * BOX


def _windows(count: int, *, sides: bool = False) -> Windows:
    """An arm that is told to go where the first thing is, or 2 m beside it: to one of two `sides`."""
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(count, 1, STATES, generator=rng).repeat(1, 2, 1)
    around = torch.randn(count, AROUND, generator=rng)
    to = around[:, :3].clone()
    if sides:
        to[:, 0] += 4.0 * torch.randint(2, (count,), generator=rng) - 2.0
    axes = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5]).repeat(count, 1)
    actions = torch.cat([to, axes], dim=1)[:, None].repeat(1, SMALL.chunk, 1)
    return Windows({STATE: states, COLUMN: around}, actions, torch.zeros(count, 0, POSE + AROUND))


def _model(windows: Windows, settings: ChunkingSettings = SMALL) -> ChunkingModel:
    torch.manual_seed(0)
    made = ChunkingModel(settings, "state", STATES, AROUND)
    made.fit(windows)
    return made


def test_it_learns_what_follows_from_what_is_seen(tmp_path: Path) -> None:
    windows = _windows(2000)
    train(_model(windows), windows, LoopSettings(steps=250, batch=64, check_every=250), tmp_path)
    made, _ = load_model(tmp_path / BEST)
    assert isinstance(made, ChunkingModel)
    fresh = _windows(50)
    chunk = made.act(fresh.seen, torch.zeros(50, SMALL.chunk, POSE))
    assert (chunk - fresh.actions)[..., :3].square().mean() < 0.15  # of a variance of 1


def test_a_style_tells_apart_what_the_observation_does_not(tmp_path: Path) -> None:
    """Where a chunk may go to either of two sides, its style says to which."""
    windows = _windows(1000, sides=True)
    cheap = ChunkingSettings(**{**vars(SMALL), "divergence": 0.01})
    train(_model(windows, cheap), windows, LoopSettings(steps=400, batch=64, check_every=400), tmp_path)
    made, _ = load_model(tmp_path / BEST)
    assert isinstance(made, ChunkingModel)
    fresh = windows.some(torch.arange(100))
    tokens = made.encoder(fresh.seen)
    truth = made.action_scaler(made.encoder.hand(fresh.seen).poses(fresh.actions))
    style, _ = made.style_of(tokens[:, 0], truth)
    off = (made.decide(tokens, style) - truth)[..., :3].square().mean()
    blind = (made.decide(tokens, torch.zeros_like(style)) - truth)[..., :3].square().mean()
    assert off < 0.5 * blind


def test_a_killed_training_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    windows, loop = _windows(200), LoopSettings(steps=40, batch=16, check_every=20)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    shares = iter([0.5, 0.75])
    train(_model(windows), windows, loop, whole, check=lambda _: next(shares))
    shares = iter([0.5])
    with pytest.raises(StopIteration):
        train(_model(windows), windows, loop, broken, check=lambda _: next(shares))
    shares = iter([0.75])
    train(_model(windows), windows, loop, broken, check=lambda _: next(shares))
    for name in (BEST, LATEST):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name


def test_who_learnt_before_does_not_go_on_as_another_kind(tmp_path: Path) -> None:
    windows, loop = _windows(100), LoopSettings(steps=4, batch=8, check_every=4)
    sizes = WorldActionModel.sizes(**{name: getattr(SMALL, name) for name in ("width", "heads", "chunk", "patch")})
    torch.manual_seed(0)
    other = WorldActionModel(sizes, "state", STATES, AROUND)
    future = torch.zeros(len(windows), 3, POSE + AROUND)
    train(other, Windows(windows.seen, windows.actions, future), loop, tmp_path)
    train(_model(windows), windows, loop, tmp_path)
    assert isinstance(load_model(tmp_path / BEST)[0], ChunkingModel)
    assert len((tmp_path / METRICS).read_text().splitlines()) == 1


def _changed(path: Path, **network: object) -> None:
    """Write a checkpoint again that says other things of its network, and nothing of what is None."""
    with safe_open(str(path), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        about = json.loads(file.metadata()[HEADER])
    about["network"] = {name: value for name, value in {**about["network"], **network}.items() if value is not None}
    save_file(tensors, path, {HEADER: json.dumps(about)})


def test_checkpoints_say_which_kind_they_are_and_old_ones_are_world_action_models(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    save(path, _model(_windows(10)), {})
    assert type(load_model(path)[0]) is POLICIES["act"]
    _changed(path, kind="oracle")
    with pytest.raises(InputError, match="is no readable policy"):
        load_model(path)
    save(path, model(), {})
    _changed(path, kind=None)
    made, _ = load_model(path)
    assert type(made) is WorldActionModel
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in model().state_dict().items())


def test_a_bundle_of_it_decides_as_it_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = ChunkingModel(ChunkingSettings(width=32, heads=2), "state", 8, AROUND)
    made.encoder.arm.describe(robot_of("panda").chain)
    made.eval().requires_grad_(False)
    bundle = open_bundle(make_bundle(tmp_path / "bundle", made))  # it has been compared with the policy
    assert bundle.manifest.document["policy"]["parity"] < 1e-4
    told = {name: torch.from_numpy(values[:1]) for name, values in seen().items()}
    wanted = made.act(told, torch.zeros(1, 16, POSE))[0].numpy()
    found = bundle.decide({name: values[0] for name, values in seen().items()}).poses
    assert abs(found - wanted).max() < 1e-4
    assert abs(made.act(told, torch.ones(1, 16, POSE))[0].numpy() - wanted).max() > 1e-4  # noise is a style

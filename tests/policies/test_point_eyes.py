"""Eyes for clouds of points, and what stands around a place."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from unittest import mock

import pytest
import torch

from policies.checkpoint import load_model
from policies.encoders import AROUND, GLANCE, GLANCE_SIZE, PointEncoder
from policies.episodes import Dataset
from policies.export import trials_of
from policies.features import STATE, Extra, Features
from policies.files import BEST
from policies.hand import Hand
from policies.model import ModelSettings, WorldActionModel
from policies.point_eyes import NOISE_M, NOWHERE_M, OFF_M, Points, changed, points_on
from policies.precision import Precision, computing
from policies.surroundings import AHEAD_M, BEHIND_M, CELL_M, CELLS, SIZE, surroundings
from policies.train import LoopSettings, train
from policies.windows import POSE, TICK, Windows, check_columns
from reconstruction.errors import UsageError
from simulation.pointcloud import CLOUD, OF_A_POINT, UNIT_M
from simulation.privileged import BOX, COLUMN

STATES = 3
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")
SMALL = ModelSettings(width=32, heads=2, encoder_layers=1, decoder_layers=2, chunk=4, patch=2, horizons=(2,))


def _clouds(count: int) -> Windows:
    """A flat and a high block, the things of the task, and a third one, all of one colour, on a table."""
    rng = torch.Generator().manual_seed(count)
    half = torch.tensor([[0.03, 0.03, 0.01], [0.02, 0.02, 0.04], [0.04, 0.01, 0.02]])
    middle = torch.rand(count, 3, 3, generator=rng) * 0.5 + torch.tensor([0.2, -0.25, 0.0])
    middle[..., 2] = half[:, 2]
    on = middle[:, :, None] + half[:, None] * (2.0 * torch.rand(count, 3, 60, 3, generator=rng) - 1.0)
    table = torch.rand(count, 100, 3, generator=rng) * torch.tensor([0.7, 0.7, 0.0])
    places = torch.cat([on.flatten(1, 2), table + torch.tensor([0.1, -0.35, 0.0])], dim=1)
    rows = torch.cat([places / UNIT_M, torch.full_like(places, 120.0)], dim=-1)
    edges = torch.diag_embed(half).flatten(1).expand(count, 3, 9)
    heavy = torch.zeros(count, 3, 3)
    heavy[..., 2] = -0.3 * half[:, 2]
    around = torch.cat([middle, edges, heavy], dim=-1)[:, :2].flatten(1)
    seen = {
        STATE: torch.zeros(count, 2, STATES),
        COLUMN: around,
        CLOUD: rows.round().short().flatten(1),
        TICK: torch.zeros(count, dtype=torch.int64),
    }
    future = torch.cat([torch.zeros(count, POSE), around], dim=1)[:, None]
    return Windows(seen, torch.zeros(count, SMALL.chunk, POSE), future)


def test_eyes_learn_to_tell_things_by_their_shape(tmp_path: Path) -> None:
    windows, fresh = _clouds(200), _clouds(40)
    torch.manual_seed(0)
    model = WorldActionModel(SMALL, "pointcloud", STATES, fresh.around)
    model.fit(windows)
    truth = fresh.seen[COLUMN].unflatten(1, (2, BOX))
    blind = model.encoder.seen_once(fresh, 4).seen[GLANCE][..., :3]
    loop = LoopSettings(part="see", steps=120, batch=8, learning_rate=3e-3, matrix_rate=0.02, check_every=120)
    train(model, windows, loop, tmp_path)
    model, _ = load_model(tmp_path / BEST)
    seen = model.encoder.seen_once(fresh, 4).seen
    assert seen.keys() == {STATE, COLUMN, GLANCE, AROUND}
    wrong = (seen[GLANCE][..., :3] - truth[..., :3]).norm(dim=-1)
    assert wrong.median() < 0.1 * (blind - truth[..., :3]).norm(dim=-1).median()
    assert seen[GLANCE][..., GLANCE_SIZE].mean() > 0.8  # and it knows that it sees them
    assert seen[AROUND].shape == (40, 3, SIZE)


def test_a_changed_cloud_shows_the_same() -> None:
    windows = _clouds(8)
    points, around = Points.of(windows.seen[CLOUD]), windows.seen[COLUMN]
    hand = Hand(torch.randn(8, 3), torch.linalg.qr(torch.randn(8, 3, 3))[0])
    torch.manual_seed(0)
    other, moved, there = changed(points, hand, around, torch.tensor([0.45, 0.0]))
    assert (moved.position - hand.position).norm(dim=-1).min() > 1e-3
    for (middle, shape), (then, same) in zip(hand.things(around), moved.things(there), strict=True):
        assert torch.allclose(middle, then, atol=1e-5)
        assert shape is not None
        assert same is not None
        assert torch.allclose(shape, same, atol=1e-5)
    kept = other.place[..., 0] < NOWHERE_M / 2
    assert 0.5 < kept.float().mean() < 0.95
    off = (hand.points(points.place) - moved.points(other.place))[kept].norm(dim=-1)
    assert 0.0 < off.mean() < 3 * (OFF_M + NOISE_M)
    assert (points_on(points.place[:, :180], around) >= 60).all()  # and it may be that others touch them
    assert (points_on(points.place + 1.0, around) == 0).all()


def test_eyes_see_about_the_same_in_bf16() -> None:
    windows, found = _clouds(6), list[tuple[torch.Tensor, torch.Tensor]]()
    torch.manual_seed(0)
    encoder = PointEncoder(STATES, windows.around, 32)
    encoder.fit(windows.seen)
    for weight in list(encoder.eyes.said.parameters()):
        torch.nn.init.normal_(weight, std=0.1)
    for precision in PRECISIONS:
        torch.manual_seed(0)
        with computing(precision, torch.device("cpu")):
            loss = encoder.learn_to_see(windows)
            found.append((loss, encoder.eyes(windows.seen, encoder.hand(windows.seen))[0].middle))
    (exact, there), (rough, near) = found
    assert (exact - rough).abs() < 0.02 * exact.abs()
    assert 0.0 < (there - near).abs().max() < 0.01


def test_demonstrations_without_clouds_are_refused() -> None:
    states = ("one.pos", "gripper.pos")
    told = {COLUMN: Extra("float32", 2 * BOX)}
    features = Features(10.0, states, states, {"front": (32, 32), "wrist": (32, 32)}, told)
    flat = mock.Mock(Dataset, folder=Path("shown"), features=features)
    with pytest.raises(UsageError, match="shown has no clouds of points") as refused:
        check_columns(flat, PointEncoder.cameras, PointEncoder.columns)
    assert "--cameras points" in refused.value.remedy
    flat.features = dataclasses.replace(features, extra={**told, CLOUD: Extra("int16", 6144)})
    check_columns(flat, PointEncoder.cameras, PointEncoder.columns)


def test_exported_networks_are_compared_on_clouds_of_points_that_there_are() -> None:
    clouds = _clouds(20).seen[CLOUD].numpy()
    there = {tuple(point) for point in clouds.reshape(-1, OF_A_POINT)}
    shares = []
    for number, trial in enumerate(trials_of({CLOUD: clouds}, SMALL.chunk, count=4)):
        made = trial[CLOUD]
        assert (made.shape, made.dtype) == ((1, clouds.shape[1]), clouds.dtype)
        assert {tuple(point) for point in made.reshape(-1, OF_A_POINT)} <= there
        same = (made.reshape(-1, OF_A_POINT) == clouds.reshape(len(clouds), -1, OF_A_POINT)).all(axis=-1)
        shares.append((number % 3, same.mean(axis=1).max()))
    assert all(share == 1.0 for kind, share in shares if kind == 0)
    assert all(0.3 < share < 0.8 for kind, share in shares if kind == 1)
    assert all(share < 0.3 for kind, share in shares if kind == 2)


def test_a_zone_has_no_shape_and_is_found_all_the_same() -> None:
    windows = _clouds(4)
    around = windows.seen[COLUMN][:, : BOX + 3]
    encoder = PointEncoder(STATES, BOX + 3, 32)
    encoder.fit({COLUMN: around})
    loss = encoder.learn_to_see(Windows({**windows.seen, COLUMN: around}, windows.actions, windows.future))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad is not None for weight in encoder.eyes.parameters())


def test_a_map_shows_how_far_things_come_up_to_the_hand() -> None:
    looks_down = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    hand = Hand(torch.tensor([[0.4, 0.1, 0.2]]), looks_down[None])
    floor = (0.2 - 2 * AHEAD_M) * torch.ones(1, 5, 3)
    assert not surroundings(floor, hand).any()
    ahead = 0.02
    post = torch.tensor([[[0.4 + 2 * CELL_M, 0.1 - CELL_M, 0.2 - ahead]]])
    found = surroundings(torch.cat([floor, post], dim=1), hand).unflatten(1, (CELLS, CELLS))[0]
    middle = CELLS // 2
    assert (found > 1e-3).nonzero().tolist() == [[middle + 2, middle + 1]]
    assert abs(found.max().item() - (AHEAD_M - ahead) / (AHEAD_M + BEHIND_M)) < 1e-4
    # It is the same wherever that is, and whichever way it looks.
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    crowd = hand.position + 0.05 * torch.randn(1, 200, 3)
    turned = Hand(hand.position @ turn.T, turn @ hand.rotation)
    assert torch.allclose(surroundings(crowd, hand), surroundings(crowd @ turn.T, turned), atol=1e-4)
    # And it does not jump.
    assert (surroundings(crowd, hand) - surroundings(crowd + 1e-6, hand)).abs().max() < 1e-3

"""The world-action model: what it is made of, and that it learns."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from policies.checkpoint import load_model, save
from policies.deploy.bundle import MEMORY
from policies.deploy.guard import Guard, Limits
from policies.encoders import GLANCE, GLANCE_SIZE, RgbEncoder, Scaler
from policies.eyes import Camera, Eyes, Look
from policies.features import STATE, image_key
from policies.files import BEST, METRICS
from policies.hand import Arm, Hand
from policies.model import ModelSettings, WorldActionModel
from policies.precision import Precision, computing
from policies.train import LoopSettings, train
from policies.windows import POSE, TICK, Windows, tool_poses, windows_of
from reconstruction.errors import InputError
from simulation.calibration import CALIBRATION, calibration
from simulation.episode import Episode
from simulation.optics import Optics
from simulation.privileged import BOX, COLUMN, POINTS
from simulation.robots import robot_of
from tests.toy_training import AROUND, SMALL, STATES, small_model, toy_windows


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
    windows = toy_windows(5)
    model = small_model(toy_windows())
    for weight in model.parameters():  # as first made, what the point of the flow does is nothing
        torch.nn.init.normal_(weight, std=0.2)
    context, point = model.look(windows.seen), torch.rand(5)
    actions, future = torch.randn(5, SMALL.chunk, POSE), torch.randn(5, *model.future_scaler.mean.shape)
    alone, nothing = model.flow(context, point, actions)
    both, ahead = model.flow(context, point, actions, future)
    assert nothing is None
    assert torch.allclose(alone, both, atol=1e-5)
    _, other = model.flow(context, point, actions + 1.0, future)
    assert ahead is not None
    assert other is not None
    assert (ahead - other).abs().max() > 1e-3


def test_it_learns_what_follows_from_what_is_seen(tmp_path: Path) -> None:
    windows = toy_windows(2000)
    best = train(small_model(windows), windows, LoopSettings(steps=500, batch=64, check_every=500), tmp_path)
    assert best.step == 500
    model, _ = load_model(tmp_path / BEST)
    fresh = toy_windows(50)
    chunk = model.act(fresh.seen, torch.randn(50, SMALL.chunk, POSE))
    assert (chunk - fresh.actions)[..., :3].square().mean() < 0.15  # of a variance of 1
    dream = model.dream(fresh.seen, fresh.actions, torch.randn(50, *model.future_scaler.mean.shape))
    assert (dream - model.outlook(fresh.seen, fresh.future))[..., :3].square().mean() < 0.3


def test_places_are_told_and_foretold_in_the_base_frame() -> None:
    windows = toy_windows(6)
    model = small_model(toy_windows())
    seen = {**windows.seen, COLUMN: torch.randn(6, AROUND)}
    then = torch.randn(6, 2, POSE + AROUND)
    found = model.whereabouts_then(seen, model.outlook(seen, then))
    assert torch.allclose(model.whereabouts(seen)[:, 1:], seen[COLUMN].unflatten(1, (2, BOX))[..., :3], atol=1e-5)
    assert torch.allclose(found[:, :, 0], then[..., :3], atol=1e-4)
    assert torch.allclose(found[:, :, 1:], then[..., POSE:].unflatten(2, (2, BOX))[..., :3], atol=1e-4)


def test_a_dream_beside_acting_changes_no_action() -> None:
    windows, noise = toy_windows(5), torch.randn(5, SMALL.chunk, POSE)
    model = small_model(toy_windows())
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    poses, dream = model.foresee(windows.seen, noise, torch.zeros(5, 2, model.foretold))
    assert torch.allclose(poses, model.act(windows.seen, noise), atol=1e-4)
    assert dream.shape == (5, 2, 3, 3)


def test_what_is_seen_from_the_hand_is_the_same_wherever_it_happens() -> None:
    chain = robot_of("panda").chain
    rng = np.random.default_rng(0)
    q = np.array([*robot_of("panda").home, 0.5]) + 0.1 * rng.normal(size=(4, 8))
    things = rng.normal(size=(4, 10, 3)) * 0.2 + np.array([0.4, 0.0, 0.2])
    turned_q, angle = q.copy(), 0.7
    turned_q[:, 0] += angle
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    model = WorldActionModel(SMALL, "state", 8, AROUND)
    model.encoder.arm.describe(chain)

    def seen(q: np.ndarray, things: np.ndarray) -> dict[str, torch.Tensor]:
        states = np.stack([q - 0.01 * np.arange(8), q], axis=1)
        return {
            STATE: torch.tensor(states, dtype=torch.float32),
            COLUMN: torch.tensor(things.reshape(4, -1), dtype=torch.float32),
        }

    noise = torch.randn(4, SMALL.chunk, POSE)
    here = model.act(seen(q, things), noise)
    there = model.act(seen(turned_q, things @ turn.T), noise)
    back = torch.tensor(turn, dtype=torch.float32)
    for part in (slice(0, 3), slice(3, 6), slice(6, 9)):
        assert torch.allclose(there[..., part] @ back, here[..., part], atol=1e-4)
    assert torch.allclose(there[..., 9], here[..., 9], atol=1e-4)
    # A box's edges have no order and no sign.
    other = things[:, [0, 3, 1, 2, 4, 5, 6, 7, 8, 9]] * np.array([1, -1, 1, 1, 1, 1, 1, 1, 1, 1])[:, None]
    assert torch.allclose(model.act(seen(q, other), noise), here, atol=1e-4)
    # But one of its ends is the heavier one.
    other = things * np.array([1, 1, 1, 1, -1, 1, 1, 1, 1, 1])[:, None]
    assert not torch.allclose(model.act(seen(q, other), noise), here, atol=1e-2)


def test_poses_go_to_the_hand_and_back() -> None:
    hand = Hand(torch.randn(3, 3), torch.linalg.qr(torch.randn(3, 3, 3))[0])
    poses = torch.randn(3, 5, POSE)
    seen = hand.poses(poses)
    assert not torch.allclose(seen[..., :9], poses[..., :9], atol=0.1)
    assert torch.allclose(hand.poses_back(seen), poses, atol=1e-5)


@pytest.mark.parametrize("name", ["panda", "xarm6"])
def test_joints_are_found_that_bring_the_tool_along(name: str) -> None:
    robot = robot_of(name)
    path = np.array([*robot.home, 1.0]) + np.linspace(0, 0.6, 9)[:, None] * np.array([*np.sin(robot.home), -1.0])
    guard = Guard(robot.chain, Limits.of(robot.chain, robot.speed), 10.0, path[0])
    found = guard.joint_actions(path[0], tool_poses(robot.chain, path.astype(np.float32))[1:].astype(float))
    assert np.abs(robot.chain.tool(found[:, :-1])[:, :3, 3] - robot.chain.tool(path[1:, :-1])[:, :3, 3]).max() < 1e-3
    assert np.allclose(found[:, -1], path[1:, -1], atol=1e-6)
    broken = np.full((2, POSE), np.nan)
    assert np.isnan(guard.joint_actions(path[0], broken)).all()


def _pictures(count: int, side: int = 32) -> Windows:
    """A red and a green square, each before a grey wall that is all there is, and an arm that goes to the red one."""
    rng = torch.Generator().manual_seed(1)
    at = torch.randint(1, side // 4 - 1, (count, 2, 2), generator=rng)
    picture = torch.full((count, side, side, 3), 128, dtype=torch.uint8)
    for number in range(count):
        for thing, (right, down) in enumerate(at[number].tolist()):
            picture[number, 4 * down : 4 * down + 4, 4 * right : 4 * right + 4] = torch.tensor([200, 0, 0]).roll(thing)
    where = (at + 0.5) / (side / 8) - 1.0
    around = torch.zeros(count, 2, BOX)
    around[..., :2], around[..., 2], around[..., 3:12:4] = 0.2 * where, 0.5, 0.02
    axes = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5]).repeat(count, 1)
    told = torch.cat([around[:, 0, :3], axes], dim=1)
    points = torch.cat([where, torch.full((count, 2, 1), 0.5)], dim=2).flatten(1).repeat(1, 2)
    looks_up = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 2.5, 0.0])
    turned = looks_up * torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0])
    around = around.flatten(1)
    seen = {
        STATE: torch.zeros(count, 2, STATES),
        COLUMN: around,
        POINTS: points,
        image_key("front"): picture,
        image_key("wrist"): picture.flip(1, 2),  # another camera sees it upside down
        CALIBRATION: torch.cat([looks_up, turned]).repeat(count, 1),
        TICK: torch.zeros(count, dtype=torch.int64),  # an episode each
    }
    seen[POINTS][:, 6:] *= torch.tensor([-1.0, -1.0, 1.0]).repeat(2)
    future = torch.cat([told, around], dim=1)[:, None].repeat(1, 2, 1)
    return Windows(seen, told[:, None].repeat(1, SMALL.chunk, 1), future)


def test_eyes_learn_where_things_are_and_it_acts_on_what_they_see(tmp_path: Path) -> None:
    windows, fresh = _pictures(400), _pictures(450).some(torch.arange(400, 450))
    torch.manual_seed(0)
    model = WorldActionModel(SMALL, "rgb", STATES, AROUND)
    model.fit(windows)
    blind = model.encoder.seen_once(fresh, 8).seen[GLANCE][..., :3]
    loop = LoopSettings(part="see", steps=300, batch=32, learning_rate=3e-3, matrix_rate=0.02, check_every=300)
    train(model, windows, loop, tmp_path / "eyes")
    model, _ = load_model(tmp_path / "eyes" / BEST)
    glance = model.encoder.seen_once(fresh, 8).seen[GLANCE]
    truth = fresh.seen[COLUMN].unflatten(1, (2, BOX))[..., :3]
    assert (glance[..., :3] - truth).norm(dim=-1).median() < 0.3 * (blind - truth).norm(dim=-1).median()
    assert glance[..., GLANCE_SIZE:].mean() > 0.8  # and it knows that it sees them
    windows = model.encoder.seen_once(windows, 8)
    assert not {name for name in windows.seen if "images" in name}
    model.fit(windows)
    eyes = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("encoder.eyes.")}
    train(model, windows, LoopSettings(steps=300, batch=64, check_every=300), tmp_path / "acting")
    model, _ = load_model(tmp_path / "acting" / BEST)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in eyes.items())
    told = {name: fresh.seen[name] for name in model.encoder.needs}
    told[MEMORY] = torch.zeros(len(fresh), model.encoder.remembers())
    chunk = model.act(model.encoder.made_out(told)[0], torch.zeros(len(fresh), SMALL.chunk, POSE))
    off = (chunk - fresh.actions)[..., :3].norm(dim=-1).median()
    assert off < 0.3 * (fresh.actions[..., :3] - fresh.actions[..., :3].mean(dim=0)).norm(dim=-1).median()


PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


def test_eyes_see_about_the_same_in_bf16() -> None:
    windows = _pictures(30)
    torch.manual_seed(0)
    model = WorldActionModel(SMALL, "rgb", STATES, AROUND)
    model.fit(windows)
    losses = []
    for precision in PRECISIONS:
        torch.manual_seed(1)  # the same light, and cameras that are as far off
        with computing(precision, torch.device("cpu")):
            losses.append(model.encoder.learn_to_see(windows))
        model.zero_grad()
        losses[-1].backward()
        assert all(bool(weight.grad.isfinite().all()) for weight in model.encoder.eyes.parameters())
    exact, rough = (loss.item() for loss in losses)
    assert exact != rough
    assert rough == pytest.approx(exact, rel=0.02)


def _known(pose: np.ndarray, optics: Optics) -> torch.Tensor:
    return torch.tensor(calibration(pose, optics), dtype=torch.float32)[None]


@pytest.mark.parametrize("lens", [-0.08, 0.0, 0.08])
def test_a_line_of_sight_through_where_a_thing_is_seen_hits_it(lens: float) -> None:
    rng = np.random.default_rng(0)
    pose, hand_pose = np.eye(4), np.eye(4)
    pose[:3, :3], hand_pose[:3, :3] = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    pose[:3, :3] *= np.linalg.det(pose[:3, :3])
    pose[:3, 3], hand_pose[:3, 3] = rng.normal(size=3), rng.normal(size=3)
    hand = Hand(*(torch.tensor(part, dtype=torch.float32)[None] for part in (hand_pose[:3, 3], hand_pose[:3, :3])))
    optics = Optics(120.0, (96, 96), lens)
    at = np.array([[0.1, -0.2, 0.7], [-0.3, 0.1, 1.5]])  # in the camera's frame
    where = torch.tensor(optics.seen_at(at), dtype=torch.float32)[None]
    for carrier, base_from_camera in ((None, pose), (hand, hand_pose @ pose)):
        camera = Camera.told(_known(pose, optics), carrier)
        points = camera.place.position[:, None] + camera.rays(where) * torch.tensor(at[:, 2:], dtype=torch.float32)
        assert np.abs(points[0].numpy() - (at @ base_from_camera[:3, :3].T + base_from_camera[:3, 3])).max() < 1e-4


def test_of_what_two_cameras_say_the_surer_counts_more() -> None:
    """Each knows well where a thing is across its line of sight, and badly how far away it is."""
    encoder = RgbEncoder(STATES, AROUND, 32)
    truth = torch.tensor([0.1, 0.2, 0.3]).expand(1, 2, 3)

    def look(axis: int) -> Look:
        along = torch.eye(3)[axis].expand(1, 2, 3)
        doubt = torch.tensor([-3.0, 1.0]).expand(1, 2, 2)
        return Look(torch.zeros(1, 2, 5), torch.zeros(1, 2, 2), truth + 0.2 * along, along, torch.zeros(1, 2, 6), doubt)

    with mock.patch.object(Eyes, "look", return_value={"front": look(0), "wrist": look(2)}):
        sight, _ = encoder.eyes({}, Hand(torch.zeros(1, 3), torch.eye(3)[None]))
    assert 0.0 < (sight.middle - truth).norm(dim=-1).max() < 0.005


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("horizons", "rate"), [((2, 4), 0.0), ((), 0.0), ((2, 4), 0.02)])
def test_a_killed_training_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, horizons: tuple[int, ...], rate: float
) -> None:
    size = ModelSettings(**{**vars(SMALL), "horizons": horizons})
    windows = toy_windows()
    if not horizons:
        windows = Windows(windows.seen, windows.actions, torch.zeros(len(windows), 0, POSE + AROUND))
    loop = LoopSettings(steps=60, batch=16, matrix_rate=rate, check_every=20)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    shares = iter([0.5, 0.75, 0.25])

    def check(_: WorldActionModel) -> float:
        torch.rand(7)  # what a check draws must not show
        return next(shares)

    best = train(small_model(windows, size), windows, loop, whole, check=check)
    assert (best.step, best.success) == (40, 0.75)

    def dies(_: WorldActionModel) -> float:
        raise Killed

    shares = iter([0.5])
    for stop in (check, dies):
        with pytest.raises((Killed, StopIteration)):
            train(small_model(windows, size), windows, loop, broken, check=stop)
    shares = iter([0.75, 0.25])
    assert train(small_model(windows, size), windows, loop, broken, check=check) == best
    for name in (BEST, "latest.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    lines = [(folder / METRICS).read_text().replace(" ", "") for folder in (whole, broken)]
    without_time = [[part.split(',"seconds"')[0] for part in text.splitlines()] for text in lines]
    assert without_time[0] == without_time[1]


def test_other_settings_start_anew(tmp_path: Path) -> None:
    windows = toy_windows()
    train(small_model(windows), windows, LoopSettings(steps=20, batch=8, check_every=20), tmp_path)
    first = (tmp_path / BEST).read_bytes()
    train(small_model(windows), windows, LoopSettings(steps=20, batch=8, check_every=20, seed=1), tmp_path)
    assert (tmp_path / BEST).read_bytes() != first
    assert (tmp_path / METRICS).read_text().count('"success"') == 0


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "other"])
def test_what_is_no_policy_is_an_input_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "pölicy.safetensors"
    save(path, small_model(toy_windows()), {})
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


def test_windows_stay_at_the_end_and_tell_where_the_tool_is_to_be() -> None:
    frames, robot = 6, robot_of("xarm6")
    state = (np.array([*robot.home, 1.0]) + 0.02 * np.arange(frames)[:, None]).astype(np.float32)
    action = state + np.float32(0.02)
    around = np.arange(frames, dtype=np.float32)[:, None] * np.ones((1, BOX), dtype=np.float32)
    names = robot.action_names
    episode = Episode("do it", "pick x", 10.0, state, names, action, names, extra={COLUMN: around})
    made = windows_of(episode, robot.chain, 4, (2, 100))
    assert made.seen[STATE].shape == (frames, 2, 7)
    assert torch.equal(made.seen[STATE][0, 0], made.seen[STATE][0, 1])
    assert torch.equal(made.seen[STATE][3, 0], torch.from_numpy(state[2]))
    tool = robot.chain.tool(action[2, :-1].astype(np.float64))
    assert made.actions[0, 2].tolist() == pytest.approx([*tool[:3, 3], *tool[:3, 0], *tool[:3, 1], 1.06], abs=1e-5)
    assert torch.equal(made.actions[-1, 0], made.actions[-1, 3])
    assert made.future[0, 0, POSE:].tolist() == [2.0] * BOX
    assert made.future[0, 1].tolist() == [*tool_poses(robot.chain, state)[5].tolist(), *around[5].tolist()]


def test_who_waits_is_taught_to_go_on_and_at_the_end_to_stay() -> None:
    robot = robot_of("panda")
    home = np.array([*robot.home, 1.0], dtype=np.float32)
    moves = np.cumsum([0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0])  # what is told: on, twice; wait; on; wait
    action = home + np.float32(0.05) * moves[:, None].astype(np.float32)
    state = np.vstack([home, action[:-1]])  # it gets there a tick later
    extra = {COLUMN: np.arange(12, dtype=np.float32)[:, None] * np.ones((1, BOX), dtype=np.float32)}
    names = robot.action_names
    made = windows_of(Episode("do it", "pick x", 10.0, state, names, action, names, extra=extra), robot.chain, 3, (2,))
    tools = torch.from_numpy(tool_poses(robot.chain, action))
    # Told at 3, and got there at 4: at rest in 4, 5 and 6, and told anew at 7.
    follows = [0, 1, 2, 3, 7, 7, 7, 7, 8, 9, 10, 11]
    for frame, first in enumerate(follows):
        wanted = tools[[min(first + step, 11) for step in range(3)]]
        assert torch.allclose(made.actions[frame], wanted, atol=1e-6), frame
        assert made.future[frame, 0, -1].item() == min(first + 2, 11), frame


def test_how_fast_the_arm_moves_does_not_tell_it_what_to_do() -> None:
    windows = toy_windows(4)
    model = small_model(toy_windows())
    noise = torch.zeros(4, SMALL.chunk, POSE)
    told = model.act(windows.seen, noise)
    states = windows.seen[STATE].clone()
    states[:, 0, :-1] += 0.1
    assert torch.equal(model.act({**windows.seen, STATE: states}, noise), told)
    states[:, 0, -1] += 0.1  # how fast the gripper closes does
    assert not torch.allclose(model.act({**windows.seen, STATE: states}, noise), told, atol=1e-6)

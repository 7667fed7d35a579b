"""Clouds of points: what cameras see in depth, in the frame of the robot's base; and what sensors make of depth."""

from __future__ import annotations

import numpy as np
import pytest

from policies.deploy.bundle import PICTURES, PointSource
from policies.features import IMAGES
from policies.rollout import observed
from simulation.calibration import calibration
from simulation.demonstrations import Stage
from simulation.depth_sensor import EDGE_LOST, NEAREST_M, NOISE_M, measured
from simulation.filming import CAMERAS
from simulation.glances import glances
from simulation.optics import Optics
from simulation.pointcloud import (
    ABOVE_M,
    BELOW_M,
    CLOUD,
    COARSE_M,
    COUNT,
    FINE_M,
    OF_A_POINT,
    RISES_M,
    UNIT_M,
    Bounds,
    cloud,
)
from simulation.privileged import BOX, COLUMN
from tests.robot_bench import few_forms, job

ANYWHERE = Bounds(0.0, 0.9)


def _pose(rng: np.random.Generator) -> np.ndarray:
    """Of a camera about a metre above the table that looks down, more or less."""
    pose = np.eye(4)
    pose[:3, :3] = np.linalg.qr(np.diag([1.0, -1.0, -1.0]) + 0.2 * rng.normal(size=(3, 3)))[0]
    pose[:3, :3] *= np.sign(np.diag(pose[:3, :3].T @ np.diag([1.0, -1.0, -1.0])))
    pose[:3, 3] = [0.4, 0.1, 0.9]
    return pose


@pytest.mark.parametrize("lens", [-0.08, 0.0, 0.08])
def test_a_point_is_seen_where_its_pixel_is(lens: float) -> None:
    rng = np.random.default_rng(0)
    tool, pose, optics = np.eye(4), _pose(rng), Optics(50.0, (40, 32), lens)
    tool[:3, :3], tool[:3, 3] = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(size=3)
    depth = rng.uniform(0.8, 1.0, (32, 40)).astype(np.float32)
    colors = np.arange(32 * 40 * 3).reshape(32, 40, 3).astype(np.uint8)
    fixed = cloud({"front": colors}, {"front": depth}, calibration(pose, optics), tool, ANYWHERE)
    carried = calibration(np.linalg.inv(tool) @ pose, optics)
    assert np.array_equal(cloud({"wrist": colors}, {"wrist": depth}, carried, tool, ANYWHERE), fixed)
    points = fixed.reshape(COUNT, OF_A_POINT)
    at = np.linalg.inv(pose) @ np.append(UNIT_M * points[:, :3], np.ones((COUNT, 1)), axis=1)[..., None]
    place = (optics.seen_at(at[:, :3, 0]) + 1.0) * [20.0, 16.0] - 0.5
    pixel = np.rint(place).astype(int)
    assert np.abs(place - pixel).max() < 0.02
    assert np.abs(depth[pixel[:, 1], pixel[:, 0]] - at[:, 2, 0]).max() < 2 * UNIT_M
    assert np.array_equal(colors[pixel[:, 1], pixel[:, 0]], points[:, 3:])


def test_points_are_few_within_bounds_and_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    pose, optics = _pose(rng), Optics(400.0, (400, 400))
    depth = rng.uniform(0.4, 1.2, (400, 400)).astype(np.float32)
    depth[:, :8], depth[:, 8:16], depth[:, 16:24] = 0.0, np.nan, np.inf
    colors = np.zeros((400, 400, 3), dtype=np.uint8)
    known, bounds = calibration(pose, optics), Bounds(0.05, 0.55)
    once, again = (cloud({"front": colors}, {"front": depth}, known, np.eye(4), bounds) for _ in range(2))
    assert np.array_equal(once, again)
    points = UNIT_M * once.reshape(COUNT, OF_A_POINT)[:, :3].astype(float)
    height = points[:, 2] - bounds.table_m
    assert height.min() > -BELOW_M - UNIT_M
    assert height.max() < ABOVE_M + UNIT_M
    assert np.linalg.norm(points[:, :2], axis=1).max() < bounds.reach_m + 2 * UNIT_M
    for some, edge_m in ((height > RISES_M + UNIT_M, FINE_M), (height < RISES_M - UNIT_M, COARSE_M)):
        # None twice in a cube; rounded, some may have come into the next one.
        assert some.sum() > 50
        assert len(np.unique(np.floor(points[some] / edge_m), axis=0)) > 0.95 * some.sum()


def test_where_little_is_seen_points_come_again_and_of_nothing_all_lie_in_the_base() -> None:
    pose, optics = _pose(np.random.default_rng(0)), Optics(50.0, (32, 32))
    depth, colors = np.zeros((32, 32), dtype=np.float32), np.full((32, 32, 3), 7, dtype=np.uint8)
    told = calibration(pose, optics)
    assert not cloud({"front": colors}, {"front": depth}, told, np.eye(4), ANYWHERE).any()
    depth[16, 15:17] = 0.85
    points = cloud({"front": colors}, {"front": depth}, told, np.eye(4), ANYWHERE).reshape(COUNT, OF_A_POINT)
    assert len(np.unique(points, axis=0)) == 2
    assert (points[:, 3:] == 7).all()


def test_what_does_not_fit_together_is_refused() -> None:
    colors, depth = {"front": np.zeros((8, 8, 3), np.uint8)}, {"front": np.zeros((8, 4), np.float32)}
    with pytest.raises(ValueError, match="of front are"):
        cloud(colors, depth, np.zeros(11), np.eye(4), ANYWHERE)
    with pytest.raises(ValueError, match="11 numbers are known"):
        cloud(colors, depth, np.zeros(22), np.eye(4), ANYWHERE)


def test_a_sensor_is_noisy_and_has_holes() -> None:
    rng = np.random.default_rng(0)
    depth, white = np.full((200, 200), 0.4, dtype=np.float32), np.full((200, 200, 3), 200, dtype=np.uint8)
    flat = measured(depth, white, rng)
    assert abs(flat.mean() - 0.4) < NOISE_M / 20
    assert 0.9 * NOISE_M < flat.std() < 1.1 * NOISE_M
    assert measured(5.0 * depth, white, rng).std() > 3 * flat.std()
    steps = depth.copy()
    steps[:, ::4] = 0.6  # three columns of four lie beside an edge
    assert abs((measured(steps, white, rng) == 0.0).mean() - EDGE_LOST * 3 / 4) < 0.02
    assert (measured(depth, np.zeros_like(white), rng) == 0.0).mean() > 0.3
    assert not measured(np.full_like(depth, 0.9 * NEAREST_M), white, rng).any()


@pytest.fixture(scope="module")
def stage():  # type: ignore[no-untyped-def]
    with Stage(job(few_forms(), "place block_1 in bowl_1", cameras=CAMERAS, size=64, points=True)) as made:
        yield made


def _first(stage: Stage) -> int:
    return next(index for index in range(50) if not stage.enter(index))


def test_points_lie_on_what_is_there_whoever_makes_them(stage: Stage) -> None:
    index = _first(stage)
    made = glances(stage, index, 4).episode
    stage.enter(index + 1)
    again = glances(stage, index, 4).episode
    assert made is not None
    assert again is not None
    assert made.extra[CLOUD].dtype == np.int16
    assert np.array_equal(made.extra[CLOUD], again.extra[CLOUD])
    stage.enter(index)
    seen = observed(stage, (CLOUD, COLUMN), stage.cell.arm.positions())
    points = UNIT_M * seen[CLOUD].reshape(COUNT, OF_A_POINT)[:, :3].astype(float)
    assert points[:, 2].min() > -0.02  # nothing lies below the table
    for thing in seen[COLUMN].reshape(2, BOX).astype(float):
        edges = thing[3:12].reshape(3, 3)
        length = np.linalg.norm(edges, axis=1)
        off = np.abs((points - thing[:3]) @ (edges / length[:, None]).T) - length
        assert (off < 0.004).all(axis=1).sum() >= 8
    # The runner makes the same of what a robot measures.
    assert PICTURES == IMAGES
    source = PointSource(CAMERAS, Bounds.of(stage.cell.mount, stage.cell.robot.reach_m))
    measures = observed(stage, source.measures, stage.cell.arm.positions())
    arm = stage.cell.arm.positions()[:-1].astype(np.float32).astype(np.float64)
    assert np.array_equal(source.cloud(measures, stage.cell.robot.chain.tool(arm)), seen[CLOUD])

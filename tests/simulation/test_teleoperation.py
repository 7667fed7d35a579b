"""A person's commands, and what was shown once done again in other cousins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from reconstruction.errors import UsageError
from simulation.bank import Bank, Wardrobe
from simulation.cousins import Cousin, dress
from simulation.demonstrations import Stage
from simulation.episode import Episode
from simulation.mimic import Sketch
from simulation.teleoperation import MOVE_M_S, Command, Session
from tests.robot_bench import few_forms, five_joints, job, small_bench

FloatArray = npt.NDArray[np.float64]
Family = tuple[Wardrobe, Bank]


@pytest.fixture(scope="module")
def family() -> Family:
    return few_forms()


class Person:
    """Looks where the hand is and steers it to where it should be, with keys that know only all or nothing."""

    def __init__(self, session: Session) -> None:
        self.session, self.closed = session, False

    def to(self, place: FloatArray, near_m: float = 0.008, most: int = 120) -> None:
        axes = self.session.jog._axes
        for _ in range(most):
            offset = axes.T @ (place - self.session.cell.arm.tool()[:3, 3])
            if np.abs(offset).max() < near_m:
                break
            way = np.clip(offset / 0.06, -1.0, 1.0)
            self.session.tick(Command(tuple(way.tolist()), closed=self.closed))  # type: ignore[arg-type]
        self.wait(2)

    def turn(self, wanted_y: FloatArray) -> None:
        """The line between the fingers along `wanted_y`, level."""
        for _ in range(60):
            y = self.session.cell.arm.tool()[:2, 1]
            angle = float(np.arctan2(y[0] * wanted_y[1] - y[1] * wanted_y[0], y @ wanted_y[:2]))
            angle = (angle + np.pi / 2) % np.pi - np.pi / 2
            if abs(angle) < 0.05:
                break
            self.session.tick(Command(turn=(0.0, 0.0, float(np.clip(angle / 0.3, -1, 1))), closed=self.closed))
        self.wait(2)

    def wait(self, ticks: int) -> None:
        for _ in range(ticks):
            self.session.tick(Command(closed=self.closed))


def _shown(session: Session, what: str, where: str) -> Episode:
    """A block brought into a bowl, as a person would."""
    person, world = Person(session), session.cell.world
    pose = world.pose(what)
    place = pose[:3, 3].copy()
    person.to(place + [0.0, 0.0, 0.12])
    person.turn(pose[:3, 0])
    person.to(place + [0.0, 0.0, 0.01])
    person.closed = True
    person.wait(5)
    person.to(place + [0.0, 0.0, 0.2])
    bowl = world.pose(where)[:3, 3]
    person.to(bowl + [0.0, 0.0, 0.2])
    person.to(bowl + [0.0, 0.0, 0.08], most=20)
    person.closed = False
    person.wait(5)
    person.to(bowl + [0.0, 0.0, 0.25])
    person.wait(8)
    return session.episode()


def test_what_was_shown_is_done_in_other_cousins(family: Family) -> None:
    order = job(family, "place block_1 in bowl_1")
    sketches, shown = [], []
    with Stage(order) as stage:
        session = Session(stage, 0, 32)
        while len(sketches) < 3 and session.index < 12:
            episode = _shown(session, "block_1", "bowl_1")
            shown.append(episode.success)
            if episode.success:
                cousin = Cousin.from_json(episode.recipe)
                sketches.append(Sketch.of(episode, order.task, dress(cousin, order.wardrobe.bare())))
            session.next()
    assert len(sketches) == 3, shown
    assert all(len(sketch.taking) > 4 and len(sketch.bringing) > 2 for sketch in sketches)
    with Stage(replace(order, shown=tuple(sketches))) as stage:
        tried = [stage.attempt(index).episode for index in range(100, 140)]
    done = [episode.success for episode in tried if episode is not None]
    assert len(done) >= 20  # of fewer, a share says little
    assert np.mean(done) >= 0.6, [episode.reason for episode in tried if episode is not None]


def test_commands_move_the_hand_as_they_are_seen(family: Family) -> None:
    with Stage(job(family, "pick block_1")) as stage:
        session = Session(stage, 0, 32)
        right = session._take.views([session.cell.moment()])["front"].scene_from_camera[:3, 0]
        for command, ahead in (((1, 0, 0), right), ((0, 0, 1), np.array([0.0, 0.0, 1.0]))):
            session.again()
            before = session.cell.arm.tool()
            for _ in range(6):
                session.tick(Command(command))
            moved = session.cell.arm.tool()[:3, 3] - before[:3, 3]
            assert moved @ ahead > 0.3 * MOVE_M_S * 0.6
            assert moved @ ahead > 0.95 * np.linalg.norm(moved)
            assert np.allclose(session.cell.arm.tool()[:3, :3], before[:3, :3], atol=0.05)
        session.again()
        for _ in range(8):
            session.tick(Command(turn=(0.0, 0.0, 1.0)))
        assert np.allclose(session.cell.arm.tool()[:3, 3], before[:3, 3], atol=0.01)
        cosine = session.cell.arm.tool()[:3, 1] @ before[:3, 1]
        assert 0.4 < float(np.arccos(cosine)) < 1.2


def test_no_command_breaks_the_arms_rules_or_goes_through_the_table(family: Family) -> None:
    rng = np.random.default_rng(0)
    with Stage(job(family, "pick block_1")) as stage:
        session = Session(stage, 0, 32)
        start = session.cell.arm.tool()[2, 3]
        lowest = np.inf
        for k in range(120):
            move = [*rng.uniform(-3, 3, 2), -2.0] if k < 60 else rng.uniform(-9, 9, 3)
            turn = rng.uniform(-9, 9, 3)
            session.tick(Command(tuple(move), tuple(turn), bool(rng.random() < 0.5)))  # type: ignore[arg-type]
            lowest = min(lowest, float(session.cell.arm.tool()[2, 3]))
        assert not session.cell.faults
        assert not session.episode().reason.startswith(("joint", "speed", "self"))
    assert lowest > -0.005
    assert lowest < start - 0.05


def test_nothing_is_recorded_before_the_first_command(family: Family) -> None:
    with Stage(job(family, "pick block_1")) as stage:
        session = Session(stage, 0, 32)
        for _ in range(3):
            session.tick(Command())
        assert session.recording.actions == []
        session.tick(Command((1.0, 0.0, 0.0)))
        assert len(session.recording.actions) == 1
        assert session.episode().reason == "not done"


def _without(name: str) -> Callable[[Episode], Episode]:
    return lambda episode: replace(episode, extra={k: v for k, v in episode.extra.items() if k != name})


def test_what_shows_nothing_is_refused(family: Family) -> None:
    order = job(family, "place block_1 in bowl_1")
    with Stage(order) as stage:
        session = Session(stage, 0, 32)
        for _ in range(4):
            session.tick(Command((1.0, 0.0, 0.0)))
        episode = session.episode()
        scene = dress(Cousin.from_json(episode.recipe), order.wardrobe.bare())
    for changed in (episode, _without("tool_pose")(episode), _without("target_pose")(episode)):
        with pytest.raises(UsageError) as caught:
            Sketch.of(changed, order.task, scene)
        assert caught.value.code == "bad_dataset"


def test_an_arm_of_five_joints_goes_where_it_is_told(tmp_path: Path) -> None:
    toml = five_joints(tmp_path)
    with Stage(job(few_forms(small_bench()), "pick block_1", str(toml))) as stage:
        session = Session(stage, 0, 32)
        for way in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, -1)):
            session.again()
            before = session.cell.arm.tool()[:3, 3]
            for _ in range(6):
                session.tick(Command(tuple(0.4 * np.array(way))))  # type: ignore[arg-type]
            moved = session.cell.arm.tool()[:3, 3] - before
            wanted = session.jog._axes @ np.array(way, dtype=float)
            assert moved @ wanted > 0.9 * np.linalg.norm(moved)
            assert moved @ wanted > 0.02

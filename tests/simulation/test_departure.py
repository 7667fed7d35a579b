"""How far cousins are from the scanned scene."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulation.cousins import Cousin, Placed
from simulation.departure import departures
from simulation.variations import VARIATIONS, strengths_of
from tests.robot_bench import bench

NAMES = ("block_1", "bowl_1")
STILL = (0, 0, 0, 10_000_000)


def _cousin(*vary: str, index: int = 0) -> Cousin:
    objects = {
        item.name: Placed(item.name, 0, (*(round(1e6 * x) for x in item.scene_from_object[:3, 3].tolist()), *STILL))
        for item in bench().objects
    }
    return Cousin("", 1, index, 0, strengths_of(vary or ("all=0",)), objects)


def test_as_scanned_nothing_departs() -> None:
    assert departures(_cousin(), bench(), NAMES) == {}
    near = departures(_cousin("pose", "swap", "clutter"), bench(), NAMES)
    assert near == {"pose": 0.0, "swap": 0.0, "clutter": 0.0}


def test_places_swaps_and_clutter_are_counted() -> None:
    cousin = _cousin("pose", "swap", "clutter")
    there = cousin.objects["block_1"]
    x, y, *rest = there.pose
    moved = replace(there, source="block_1~box_2", pose=(x + 30_000, y - 40_000, *rest))
    more = {**cousin.objects, "block_1": moved, "extra_1": there}
    del more["can_1"]
    found = departures(replace(cousin, objects=more), bench(), NAMES)
    assert found == {"pose": pytest.approx(0.05), "swap": 1.0, "clutter": 2.0}


@pytest.mark.parametrize("name", sorted(set(VARIATIONS) - {"pose", "shape", "swap", "clutter"}))
def test_what_is_drawn_is_measured_against_its_ranges(name: str) -> None:
    far = [departures(_cousin(name, index=index), bench(), NAMES) for index in range(40)]
    assert all(set(found) == {name} for found in far)
    values = [found[name] for found in far]
    assert 0.0 <= min(values) < max(values) <= 1.0
    weak = departures(_cousin(f"{name}=0.25"), bench(), NAMES)[name]
    assert weak == pytest.approx(values[0] / 4, abs=1e-5)

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconstruction.errors import InputError
from simulation.check import check_scene
from tests.small_scenes import ball, box, cylinder, lifted, lying, scene_of, thing

REST = (0.0, 0.0, 0.001)


def test_a_scene_at_rest_passes_on_its_table_and_on_a_plain_floor(tmp_path: Path) -> None:
    scene_of(
        lifted(thing("box", box(0.06, 0.04, 0.1)), REST),
        lifted(thing("can", lying(0.033, 0.1), (0.2, 0, 0)), REST),
        lifted(thing("ball", ball(0.03), (-0.2, 0, 0)), REST),
        lifted(thing("plate", cylinder(0.1, 0.01), (0, 0.3, 0)), REST),
    ).save(tmp_path)
    for ground in (False, True):
        report = check_scene(tmp_path, ground=ground)
        assert report.passed
        assert report.restless == ()
        assert max(item.moved_mm for item in report.drift) < 0.2
        assert [item.name for item in report.drift] == ["ball", "box", "can", "plate"]


@pytest.mark.parametrize("depth_mm", [0.5, 3.0])
def test_overlap_is_measured(tmp_path: Path, depth_mm: float) -> None:
    first = lifted(thing("a", box(0.05, 0.05, 0.05)), REST)
    gap = 0.05 + 0.002 - depth_mm / 1000  # hulls keep 1 mm round them each
    second = lifted(thing("b", box(0.05, 0.05, 0.05), (gap, 0, 0)), REST)
    scene_of(first, second).save(tmp_path)
    report = check_scene(tmp_path, 0.1)
    deepest = max(report.overlaps, key=lambda item: item.depth_mm)
    assert deepest.names == ("a", "b")
    assert deepest.depth_mm == pytest.approx(depth_mm, abs=0.02)
    assert report.passed == (depth_mm < 1)
    assert set(report.restless) == (set() if depth_mm < 1 else {"a", "b"})


def test_hovering_and_tipping_fail_and_the_energy_says_so(tmp_path: Path) -> None:
    tipping = thing("rod", cylinder(0.01, 0.2), (0.2, 0, 0))
    pose = tipping.scene_from_object.copy()
    from simulation.world import pose_from_quaternion

    pose[:3, :3] = pose_from_quaternion([0, 0, 0], [0.1, 0, 0, 1])[:3, :3]
    pose[2, 3] += 0.003
    from dataclasses import replace

    scene_of(lifted(thing("box", box(0.05, 0.05, 0.05)), (0, 0, 0.05)), replace(tipping, scene_from_object=pose)).save(
        tmp_path
    )
    report = check_scene(tmp_path, 2.0)
    drift = {item.name: item for item in report.drift}
    assert not report.passed
    assert drift["box"].moved_mm == pytest.approx(49, abs=1)
    assert drift["rod"].turned_deg > 60
    assert report.restless == ("box", "rod")
    assert report.times_s == pytest.approx([0.1 * k for k in range(21)])
    assert report.energy[1].kinetic_j > 0.01
    assert report.energy[-1].kinetic_j < 0.01
    assert report.energy[-1].potential_j < report.energy[0].potential_j - 0.2 * 9.81 * 0.04


def test_the_summary_is_json_and_repeats_exactly(tmp_path: Path) -> None:
    scene_of(lifted(thing("box", box(0.05, 0.05, 0.05)), REST), thing("b", ball(0.03), (0.2, 0, 0))).save(tmp_path)
    texts = {json.dumps(check_scene(tmp_path, 1.0).summary(), allow_nan=False) for _ in range(2)}
    assert len(texts) == 1
    summary = json.loads(texts.pop())
    assert set(summary["drift"]) == {"b", "box"}
    assert summary["max_penetration_mm"] == pytest.approx(1.0, abs=0.01)


def test_a_scene_without_objects_is_at_rest(tmp_path: Path) -> None:
    scene_of().save(tmp_path)
    report = check_scene(tmp_path, 0.2)
    assert report.passed
    assert report.drift == ()


def test_progress_ends_at_one_and_may_stop_it(tmp_path: Path) -> None:
    scene_of(lifted(thing("box", box(0.05, 0.05, 0.05)), REST)).save(tmp_path)
    told: list[float] = []
    check_scene(tmp_path, 0.5, progress=lambda fraction, message: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0

    def stop(fraction: float, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_scene(tmp_path, 0.5, progress=stop)


def test_no_scene_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scene"):
        check_scene(tmp_path)

"""Advice: said where it is due, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reconstruction.capture import Capture
from reconstruction.decomposition import Parts
from reconstruction.mesh import Mesh
from reconstruction.poses import RefinedPoses
from reconstruction.quality import (
    EXPORT_AGAIN,
    MOST_SIDES,
    advice,
    best_azimuth_deg,
    neighbour,
    scan_advice,
    side_in_picture,
    typical_distance,
    unseen,
    unseen_side,
    unseen_sides,
    with_remedies,
)
from reconstruction.scene import SceneObject
from reconstruction.views import DepthView
from tests.small_scenes import TABLE, box, thing
from tests.table_views import capture_of, orbit, table, views_of


def good_capture() -> Capture:
    return capture_of(views_of([table()], orbit()[:2], (32, 24)))


def poses(error_mm: float = 2.0) -> RefinedPoses:
    return RefinedPoses(np.array([np.eye(4)] * 2), True, 3.0, error_mm, 0, 0, 1.0, 0.1, 0.0, "")


def mug(missing: tuple[float, float, float] | None = None, x_m: float = 0.0, name: str = "mug_1") -> SceneObject:
    """A cube with many faces whose surface was not seen where it looks along `missing`."""
    solid = box(0.1, 0.1, 0.1)
    for _ in range(4):
        solid = solid.subdivide()
    item = thing(name, solid, (x_m, 0.0, 0.0))
    corners = item.visual.vertices[item.visual.faces].reshape(-1, 3)  # each face its own, or "seen" would bleed
    normals = np.repeat(solid.face_normals, 3, axis=0)
    seen = np.ones(len(corners), np.float32)
    if missing is not None:
        seen[normals @ np.array(missing) > 0.9] = 0
    return replace(item, visual=Mesh(corners, np.arange(len(corners)).reshape(-1, 3), seen=seen))


def said_of(item: SceneObject, others: list[SceneObject], azimuth_deg: float) -> str | None:
    measured = unseen(item)
    assert measured is not None
    return unseen_side(item, measured, others, azimuth_deg)


def parts(*notes: str) -> Parts:
    return replace(_empty_parts(), notes=notes)


def _empty_parts() -> Parts:
    return Parts((), 0.0, 0.0, "hull")


def test_a_good_scan_gets_no_advice() -> None:
    assert advice(good_capture(), poses(), 0.8, [TABLE], [mug()], [parts()]) == ()


def test_nobody_is_sent_to_see_the_bottom() -> None:
    assert advice(good_capture(), poses(), 0.8, [TABLE], [mug((0, 0, -1))], [parts()]) == ()


def test_what_is_wrong_with_the_scan_is_said() -> None:
    capture = good_capture()
    blind = replace(capture, metric=False, frames=[replace(frame, read_rgb=None) for frame in capture.frames])
    said = " ".join(advice(blind, poses(14.0), 0.8, [], [], []))
    for words in ("not metric", "No level surface", "no colour", "14 mm"):
        assert words in said
    assert "No loose object" in " ".join(advice(capture, poses(), 0.8, [TABLE], [], []))


def test_notes_of_the_parts_name_their_object() -> None:
    said = advice(good_capture(), poses(), 0.8, [TABLE], [mug()], [parts("made of one hull")])
    assert len(said) == 1
    assert said[0].startswith("mug_1 may collide less exactly than it looks (made of one hull): scan it again")


def test_depth_of_a_wrong_unit_is_named_and_a_room_with_things_is_not() -> None:
    for distance_m in (0.08, 8.0):
        assert f"{distance_m:.2g} m away" in " ".join(advice(good_capture(), poses(), distance_m, [TABLE], [], []))
    assert advice(good_capture(), poses(), 8.0, [TABLE], [mug()], [parts()]) == ()


def test_the_typical_distance_leaves_out_what_was_not_measured() -> None:
    views = [
        DepthView(n, np.array([[0.0, 0.0, depth]], np.float32), np.eye(3), None, np.eye(4))
        for n, depth in enumerate((0.5, 0.7, 2.0))
    ]
    assert typical_distance(views) == pytest.approx(0.7)


def test_what_an_importer_notes_comes_with_what_to_do() -> None:
    capture = good_capture()
    assert scan_advice(capture) == ()
    folder = capture.source / "rgbd"
    notes = (
        "no confidence",
        "direction of gravity unknown",
        "3 of 8 recorded moments have no depth image",
        f"1 damaged frame(s) left out (4): {folder}/depth/4.png is cut off.",
        "rgb.mp4 lacks its last frame",
    )
    said = scan_advice(replace(capture, source=folder, missing=notes))
    assert said == with_remedies(notes, folder)
    assert said[0].startswith("No confidence. Doubtful depth counts like the rest: export")
    assert said[1].startswith("Direction of gravity unknown. The level surface")
    assert said[2] == f"{notes[2]}. {EXPORT_AGAIN}"
    assert said[3].startswith("1 damaged frame(s) left out (4): depth/4.png is cut off. Export")
    assert said[4].startswith("rgb.mp4 lacks")
    assert set(said) <= set(advice(replace(capture, source=folder, missing=notes), poses(), 0.8, [TABLE], [], []))


def test_what_the_capture_itself_shows_is_said_once() -> None:
    blind = [replace(frame, read_rgb=None) for frame in good_capture().frames]
    notes = ("no colour: rgb.mp4 is missing", "scale unknown: poses were found from pictures")
    said = scan_advice(replace(good_capture(), metric=False, frames=blind, missing=notes))
    assert len(said) == 2
    assert "not metric" in said[0]
    assert "no colour" in said[1]


def test_unseen_is_measured_without_the_bottom() -> None:
    nothing = unseen(mug((0, 0, -1)))
    assert nothing is not None
    assert nothing.share == pytest.approx(0.0, abs=1e-6)
    left = unseen(mug((-1, 0, 0)))
    assert left is not None
    assert left.share == pytest.approx(0.2, abs=0.001)  # one of five faces that can be seen
    assert left.sideways == pytest.approx([-0.01, 0.0], abs=1e-6)
    assert unseen(replace(mug(), visual=replace(mug().visual, seen=None))) is None


def test_advice_names_the_side_and_the_neighbour() -> None:
    item, bowl = mug((0, 1, 0)), thing("bowl_1", box(0.1, 0.1, 0.1), (0.02, 0.2, 0.0))
    tail = "20 % of it was not seen."
    assert said_of(item, [item, bowl], -90.0) == (
        f"Walk round the far side of mug_1 (as report.html shows it, towards bowl_1): {tail}"
    )
    for azimuth_deg, side in ((90.0, "near"), (0.0, "right"), (180.0, "left")):
        assert said_of(item, [item], azimuth_deg) == (
            f"Walk round the {side} side of mug_1 (as report.html shows it): {tail}"
        )
    assert said_of(mug((0, 0, 1)), [], 0.0) == f"Hold the phone higher over mug_1: {tail}"
    assert said_of(mug((0, 0, -1)), [], 0.0) is None
    blind = replace(item, visual=replace(item.visual, seen=np.zeros(len(item.visual.vertices), dtype=np.float32)))
    assert said_of(blind, [], 0.0) == "Walk all the way round mug_1: 100 % of it was not seen."
    assert neighbour(item, [item, bowl], -90.0) is None


def test_turned_objects_are_judged_where_they_stand() -> None:
    item = mug((1, 0, 0))
    quarter = item.scene_from_object.copy()
    quarter[:2, :2] = [[0, -1], [1, 0]]
    turned = replace(item, scene_from_object=quarter)  # its +x looks along the scene's +y
    assert "the far side" in (said_of(turned, [], -90.0) or "")
    assert best_azimuth_deg([turned]) == pytest.approx(-90.0)
    assert best_azimuth_deg([]) == best_azimuth_deg([mug((0, 0, -1))])


def test_the_least_seen_comes_first_and_many_are_told_in_one() -> None:
    blind = mug(name="mug_0")
    blind = replace(blind, visual=replace(blind.visual, seen=np.zeros(len(blind.visual.vertices), dtype=np.float32)))
    items = [mug((0, 1, 0), 0.5 * number, f"mug_{number + 1}") for number in range(MOST_SIDES + 1)]
    said = unseen_sides([*items, blind])
    assert "mug_0" in said[0]
    assert said[-1] == "Walk all the way round everything: 2 more objects were seen in part."
    assert len(said) == MOST_SIDES + 1


def test_sides() -> None:
    assert [side_in_picture(turn) for turn in (0, 360, 90, -90, 270, 180, -180, 540)] == [
        "near", "near", "right", "left", "left", "far", "far", "far",
    ]  # fmt: skip

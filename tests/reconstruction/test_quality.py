"""Advice: said where it is due, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reconstruction.capture import Capture
from reconstruction.decomposition import Parts
from reconstruction.mesh import Mesh
from reconstruction.poses import RefinedPoses
from reconstruction.quality import advice, typical_distance
from reconstruction.scene import SceneObject
from reconstruction.views import DepthView
from tests.small_scenes import TABLE, box, thing
from tests.table_views import capture_of, orbit, table, views_of

SIDES = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "south": (0, -1)}


def good_capture() -> Capture:
    return capture_of(views_of([table()], orbit()[:2], (32, 24)))


def poses(error_mm: float = 2.0) -> RefinedPoses:
    return RefinedPoses(np.array([np.eye(4)] * 2), True, 3.0, error_mm, 0, 0, 1.0, 0.1, 0.0, "")


def seen_but(side: tuple[float, float] | None) -> SceneObject:
    """A box of which the half towards `side` was completed."""
    item = thing("block_1", box(0.1, 0.1, 0.1).subdivide().subdivide())
    seen = np.ones(len(item.visual.vertices), np.float32)
    if side is not None:
        seen[item.visual.vertices[:, :2] @ np.array(side) > -0.03] = 0
    return replace(item, visual=Mesh(item.visual.vertices, item.visual.faces, seen=seen))


def parts(*notes: str) -> Parts:
    return replace(_empty_parts(), notes=notes)


def _empty_parts() -> Parts:
    return Parts((), 0.0, 0.0, "hull")


def test_a_good_scan_gets_no_advice() -> None:
    assert advice(good_capture(), poses(), 0.8, [TABLE], [seen_but(None)], [parts()]) == ()


@pytest.mark.parametrize(("name", "side"), SIDES.items())
def test_the_unseen_side_is_named(name: str, side: tuple[float, float]) -> None:
    said = advice(good_capture(), poses(), 0.8, [TABLE], [seen_but(side)], [parts()])
    assert len(said) == 1
    assert f"{name} (" in said[0]
    assert "block_1" in said[0]


def test_nobody_is_sent_to_see_the_bottom() -> None:
    item = seen_but(None)
    seen = np.where(item.visual.vertices[:, 2] < item.visual.vertices[:, 2].min() + 1e-6, 0, 1).astype(np.float32)
    hidden = replace(item, visual=replace(item.visual, seen=seen))
    assert advice(good_capture(), poses(), 0.8, [TABLE], [hidden], [parts()]) == ()


def test_what_is_wrong_with_the_scan_is_said() -> None:
    capture = good_capture()
    blind = replace(capture, metric=False, frames=[replace(frame, read_rgb=None) for frame in capture.frames])
    said = " ".join(advice(blind, poses(14.0), 0.8, [], [], []))
    for words in ("not metric", "No level surface", "no colour", "14 mm"):
        assert words in said
    assert "No loose object" in " ".join(advice(capture, poses(), 0.8, [TABLE], [], []))


def test_notes_of_the_parts_name_their_object() -> None:
    said = advice(good_capture(), poses(), 0.8, [TABLE], [seen_but(None)], [parts("made of one hull")])
    assert said == ("block_1: made of one hull",)


def test_depth_of_a_wrong_unit_is_named_and_a_room_with_things_is_not() -> None:
    for distance_m in (0.08, 8.0):
        assert f"{distance_m:.2g} m away" in " ".join(advice(good_capture(), poses(), distance_m, [TABLE], [], []))
    assert advice(good_capture(), poses(), 8.0, [TABLE], [seen_but(None)], [parts()]) == ()


def test_the_typical_distance_leaves_out_what_was_not_measured() -> None:
    views = [
        DepthView(n, np.array([[0.0, 0.0, depth]], np.float32), np.eye(3), None, np.eye(4))
        for n, depth in enumerate((0.5, 0.7, 2.0))
    ]
    assert typical_distance(views) == pytest.approx(0.7)

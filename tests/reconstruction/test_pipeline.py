"""From a small virtual scan to a scene: whole, the same whatever the number of processes, and stoppable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconstruction.capture import Capture
from reconstruction.errors import ReconstructionError
from reconstruction.mesh import to_trimesh
from reconstruction.pipeline import ReconstructSettings, reconstruct
from reconstruction.scene import Scene
from reconstruction.texture import TextureSettings
from simulation.recording import VirtualPhone, record
from simulation.virtual_world import random_world
from tests.table_views import (
    at,
    box,
    capture_of,
    cylinder,
    floor,
    looking,
    orbit,
    size_of,
    table,
    views_of,
    wall,
    watertight,
)

QUICK = ReconstructSettings(texture=TextureSettings(max_size=128))


def virtual_capture() -> Capture:
    """A phone's walk round a bottle and a plate, with its noise and drift."""
    rng = np.random.default_rng(3)
    phone = VirtualPhone(frames=24, fps=2.0, rgb_size=(160, 120), depth_size=(128, 96))
    return record(random_world(rng, objects=2, chairs=False), phone, rng).capture()


def exact_capture() -> Capture:
    things = [at(box(0.1, 0.06, 0.08), -0.12, 0.0), at(cylinder(0.035, 0.1), 0.12, 0.05)]
    return capture_of(views_of([table(), floor(), *things]), up=np.array([0.0, 0.0, 1.0]))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_same_scene_with_any_number_of_processes(tmp_path: Path) -> None:
    for name, jobs in (("one", 1), ("two", 2)):
        made = reconstruct(virtual_capture(), QUICK, jobs=jobs)
        made.scene.save(tmp_path / name)
        assert len(made.scene.objects) == 2
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []


def test_a_scene_is_whole_and_true() -> None:
    heard: list[float] = []
    made = reconstruct(exact_capture(), QUICK, lambda fraction, message: heard.append(fraction))
    scene = made.scene
    assert [item.support for item in scene.objects] == ["table", "table"]
    assert [support.name for support in scene.supports][0] == "table"
    sizes = sorted((size_of(item.visual).tolist() for item in scene.objects), key=lambda size: size[0])
    assert sizes[0] == pytest.approx([0.07, 0.07, 0.1], abs=0.005)
    assert sizes[1] == pytest.approx([0.1, 0.06, 0.08], abs=0.005)
    assert len({item.name for item in scene.objects}) == 2
    for item in scene.objects:
        assert watertight(item.visual)
        assert item.visual.texture is not None
        assert item.convex_parts
        assert to_trimesh(item.visual).center_mass == pytest.approx([0, 0, 0], abs=0.02)
        assert item.mass_interval_kg[0] < item.mass_kg < item.mass_interval_kg[1]
        assert (np.linalg.eigvalsh(item.inertia) > 0).all()
        assert item.scene_from_object[2, 3] + item.visual.vertices[:, 2].min() == pytest.approx(0.0, abs=0.002)
    up = scene.scene_from_capture[:3, :3] @ (0, 0, 1)
    assert up == pytest.approx([0, 0, 1], abs=2e-3)
    # The capture's own world already had the table top at z = 0.
    assert scene.scene_from_capture[2, 3] == pytest.approx(0.0, abs=1e-3)
    assert scene.background is not None
    assert heard == sorted(heard)
    assert heard[0] >= 0
    assert heard[-1] <= 1.0
    assert set(made.timings) >= {"keyframes", "poses", "import", "fusion", "segmentation", "shape", "texture", "parts"}
    assert made.figures["frames"] == 28


def test_a_scan_of_a_bare_wall_is_a_scene_without_objects() -> None:
    eyes = [np.array([x, 0.0, 0.1 * (number % 3)]) for number, x in enumerate(np.linspace(-0.4, 0.4, 12))]
    poses = [looking(eye, eye + np.array([0.1, 1.0, 0.05])) for eye in eyes]
    made = reconstruct(capture_of(views_of([wall()], poses), up=np.array([0.0, 0.0, 1.0])), QUICK)
    assert made.scene.objects == ()
    assert made.scene.supports == ()
    assert made.scene.background is not None
    assert any("No level surface" in text for text in made.scene.warnings)


def test_a_bare_table_says_that_nothing_lies_on_it(tmp_path: Path) -> None:
    made = reconstruct(capture_of(views_of([table(), floor()], orbit(16))), QUICK)
    assert made.scene.objects == ()
    assert any("No loose object" in text for text in made.scene.warnings)
    made.scene.save(tmp_path)
    assert Scene.load(tmp_path).supports[0].name == "table"


def test_without_colour_objects_are_found_all_the_same() -> None:
    capture = exact_capture()
    grey = replace(capture, frames=[replace(frame, read_rgb=None) for frame in capture.frames])
    made = reconstruct(grey, QUICK)
    assert len(made.scene.objects) == 2
    assert any("no colour" in text for text in made.scene.warnings)


def test_a_scan_without_depth_is_an_error_with_a_remedy() -> None:
    capture = exact_capture()
    blind = replace(capture, frames=[replace(frame, read_depth=None, depth_size=None) for frame in capture.frames])
    with pytest.raises(ReconstructionError) as error:
        reconstruct(blind, QUICK)
    assert error.value.remedy


def test_progress_can_stop_it() -> None:
    class StopError(Exception):
        pass

    def stop(fraction: float, message: str) -> None:
        if fraction > 0.05:
            raise StopError

    with pytest.raises(StopError):
        reconstruct(exact_capture(), QUICK, stop)


def test_things_on_a_shelf_and_on_a_lower_table_are_found_and_the_leg_between_is_not() -> None:
    lower = at(box(0.7, 0.6, 0.03), 0.0, 0.7, -0.33)  # a second table, 30 cm lower, with a post up to the shelf over it
    shelf, post = at(box(0.7, 0.2, 0.02), 0.0, 0.95, 0.1), at(box(0.03, 0.03, 0.4), -0.3, 0.9, -0.3)
    things = [
        at(box(0.1, 0.06, 0.08), -0.12, 0.0),
        at(cylinder(0.035, 0.1), 0.12, 0.6, -0.3),
        at(box(0.06, 0.08, 0.07), 0.1, 0.95, 0.12),
    ]
    poses = []
    for middle in (np.array([0.0, 0.0, 0.02]), np.array([0.0, 0.65, -0.25]), np.array([0.0, 0.95, 0.12])):
        for pose in orbit(24, 0.6):
            poses.append(pose.copy())
            poses[-1][:3, 3] += middle
    made = reconstruct(
        capture_of(views_of([table(), lower, shelf, post, *things], poses), up=np.array([0, 0, 1.0])), QUICK
    )
    placed = sorted(
        (round(float(item.scene_from_object[2, 3]), 2), round(float(np.ptp(item.visual.vertices[:, 2])), 2))
        for item in made.scene.objects
    )
    to_scene = made.scene.scene_from_capture
    expected = sorted(
        (round(float((to_scene[:3, :3] @ middle + to_scene[:3, 3])[2]), 2), tall)
        for middle, tall in (
            (np.array([-0.12, 0.0, 0.04]), 0.08),
            (np.array([0.12, 0.6, -0.25]), 0.1),
            (np.array([0.1, 0.95, 0.155]), 0.07),
        )
    )
    assert len(placed) == 3, placed
    for found, true in zip(placed, expected, strict=True):
        assert found == pytest.approx(true, abs=0.015)
    supports = {support.name: support.polygon[:, 2].mean() for support in made.scene.supports}
    for item in made.scene.objects:
        low = float(
            (item.visual.vertices @ item.scene_from_object[:3, :3].T)[:, 2].min() + item.scene_from_object[2, 3]
        )
        assert low == pytest.approx(supports[item.support], abs=0.006)

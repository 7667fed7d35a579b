"""``pocketworld mount``: the robot's place in a scene, given by hand or by the scan's tag, and kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from app.mounting import mount_by_tag
from app.project import Project, StageKey, StageNotes, content_hash
from reconstruction.errors import InputError, UsageError
from reconstruction.scene import Scene
from reconstruction.tags import TagSettings
from simulation.phone_formats import WRITERS
from simulation.virtual_phone import VirtualScanSettings, virtual_scan
from tests.app.scans import fake_scan, half_written
from tests.conftest import ROOT, Run

Shell = Callable[..., Run]


def scene_of(project: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((project / "scene" / "scene.json").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "resources" / "scene.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    return document


@pytest.fixture
def project(tmp_path: Path, shell: Shell) -> Path:
    done = shell("reconstruct", fake_scan(tmp_path / "scans" / "bench"), "--out", tmp_path, "--json")
    assert done.code == 0, done.stderr
    return tmp_path / "bench"


def again(shell: Shell, project: Path, *words: object) -> dict[str, Any]:
    done = shell("reconstruct", project.parent / "scans" / "bench", "--out", project.parent, "--json", *words)
    assert done.code == 0, done.stderr
    result: dict[str, Any] = done.result["projects"][0]
    return result


def test_a_typed_place_is_written_and_nothing_else_changes(project: Path, shell: Shell) -> None:
    before = scene_of(project)
    done = shell("mount", project, "--xyz", 0.1, -0.3, 0, "--yaw-deg", 90, "--json")
    assert done.code == 0, done.stderr
    after = scene_of(project)
    assert after.pop("mounted_by") == done.result["mounted_by"] == "hand"
    pose = [[0, -1, 0, 0.1], [1, 0, 0, -0.3], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert np.allclose(done.result["robot_mount"], pose, atol=1e-9)
    assert np.allclose(after["robot_mount"], pose, atol=1e-9)
    assert {**after, "robot_mount": None} == before
    assert np.allclose(Scene.load(project / "scene").robot_mount, pose, atol=1e-9)
    assert half_written(project) == set()
    cleared = shell("mount", project, "--clear", "--json")
    assert cleared.result["robot_mount"] is cleared.result["mounted_by"] is None
    assert scene_of(project) == before


def test_later_stages_see_it(project: Path, shell: Shell) -> None:
    words = ("cousins", project, "--count", 2, "--vary", "pose", "light", "--json")
    assert shell(*words).result["status"] == "done"
    assert shell(*words).result["status"] == "unchanged"
    assert shell("mount", project, "--xyz", 0.1, -0.45, 0, "--yaw-deg", 90).code == 0
    assert shell(*words).result["status"] == "done"


def test_a_typed_place_outlives_the_scene_but_not_the_scan(project: Path, shell: Shell) -> None:
    shell("mount", project, "--xyz", 0.1, -0.3, 0, "--yaw-deg", 90)
    typed = (project / "scene" / "scene.json").read_bytes()
    assert again(shell, project)["status"] == "unchanged"
    assert (project / "scene" / "scene.json").read_bytes() == typed
    assert again(shell, project, "--fusion.voxel-m", 0.013)["status"] == "done"
    moved = scene_of(project)
    # The stand-in's scene moves along x by its voxels, of 3 mm before: the robot stays where it is in the room.
    assert moved["mounted_by"] == "hand"
    assert np.allclose(np.array(moved["robot_mount"])[:3, 3], (0.11, -0.3, 0), atol=1e-8)
    plan = project.parent / "scans" / "bench" / "fake.json"
    plan.write_text(json.dumps({"objects": 1}), encoding="utf-8")
    changed = again(shell, project)
    assert scene_of(project)["robot_mount"] is None
    assert any("another scan" in warning for warning in changed["warnings"])


@pytest.mark.parametrize(
    "words",
    [
        ("--xyz", "nan", "0", "0"), ("--xyz", "1e9", "0", "0"), ("--xyz", "0", "0", "-inf"), ("--xyz", "0", "0"),
        ("--xyz", "0", "0", "0", "--yaw-deg", "nan"), ("--yaw-deg", "3"), (), ("--clear", "--from-tag"),
        ("--xyz", "0", "0", "0", "--clear"),
    ],
)  # fmt: skip
def test_words_that_name_no_place_are_refused(project: Path, shell: Shell, words: tuple[str, ...]) -> None:
    before = (project / "scene" / "scene.json").read_bytes()
    done = shell("mount", project, "--json", *words)
    assert done.code == 2
    assert len(done.errors) == 1
    assert done.errors[0]["remedy"]
    assert (project / "scene" / "scene.json").read_bytes() == before


def test_a_damaged_scene_or_none_at_all(project: Path, shell: Shell, tmp_path: Path) -> None:
    (project / "scene" / "scene.json").write_text('{"format": "other"}', encoding="utf-8")
    assert shell("mount", project, "--clear", "--json").errors[0]["code"] == "bad_scene"
    assert shell("mount", tmp_path / "scans", "--clear", "--json").errors[0]["code"] == "no_project"
    shutil.rmtree(project / "scene")
    assert shell("mount", project, "--clear", "--json").errors[0]["code"] == "no_stage"


def test_a_scene_that_cannot_be_written_stays_as_it_is(project: Path, shell: Shell) -> None:
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("nothing stops the administrator")
    before = (project / "scene" / "scene.json").read_bytes()
    (project / "scene").chmod(0o500)
    done = shell("mount", project, "--clear", "--json")
    (project / "scene").chmod(0o700)
    assert done.code == 5
    assert (project / "scene" / "scene.json").read_bytes() == before


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A project whose scene is empty, of a scan with a tag, and where the tag truly is in the scene."""
    folder = tmp_path_factory.mktemp("tagged")
    recording = virtual_scan(VirtualScanSettings(seed=5, frames=16, objects=1, tag=True, drift_m=0.001, rgb_width=480))
    WRITERS["record3d"](recording, folder / "bench.r3d")
    project, key = Project(folder / "bench"), StageKey({}, {"scan": content_hash(folder / "bench.r3d")}, "")
    assert recording.world.tag is not None
    scene = Scene(scene_from_capture=np.linalg.inv(recording.capture_from_world))

    def made(place: Path) -> StageNotes:
        scene.save(place)
        return StageNotes()

    with project.being_made(folder / "bench.r3d"):
        project.run_stage("scene", key, made)
    return project.folder, recording.world.tag.world_from_tag


def test_from_the_tag(tagged: tuple[Path, np.ndarray]) -> None:
    folder, scene_from_tag = tagged
    made = mount_by_tag(Project(folder), TagSettings(offset=(-0.1, 0.02, 0.0, 30.0)))
    turn = np.radians(30)
    offset = np.eye(4)
    offset[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    offset[:2, 3] = -0.1, 0.02
    error = np.linalg.inv(scene_from_tag @ offset) @ made.robot_mount
    assert np.linalg.norm(error[:3, 3]) < 0.003
    assert abs(np.degrees(np.arctan2(error[1, 0], error[0, 0]))) < 0.5
    assert made.warnings == ()
    assert made.tag is not None
    assert made.tag["scale"] == pytest.approx(1.0, abs=0.01)
    document = scene_of(folder)
    assert document["mounted_by"] == "tag"
    assert np.allclose(document["robot_mount"], made.robot_mount, atol=1e-8)
    # Upright, whatever hair the tag leans by.
    assert np.array_equal(np.array(document["robot_mount"])[2, :3], [0, 0, 1])


def test_from_a_tag_that_is_not_there(tagged: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(InputError) as caught:
        mount_by_tag(Project(tagged[0]), TagSettings(id=9))
    assert "(0)" in caught.value.message  # the one that is there is named
    with pytest.raises(InputError) as caught:
        mount_by_tag(Project(tagged[0]), TagSettings(family="aruco_5x5"))
    assert caught.value.code == "no_tag"
    with pytest.raises(UsageError):
        mount_by_tag(Project(tagged[0]), replace(TagSettings(), rescale=True))
    with pytest.raises(UsageError):
        mount_by_tag(Project(tagged[0]), TagSettings(id=100_000))


def test_from_a_scan_that_is_gone_or_another(tagged: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tagged[0], tmp_path / "bench"))
    document = json.loads((folder / "project.json").read_text(encoding="utf-8"))
    for scan, code in ((tmp_path / "none.r3d", "not_found"), (fake_scan(tmp_path / "other.zip"), "other_scan")):
        (folder / "project.json").write_text(json.dumps({**document, "scan": str(scan)}), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            mount_by_tag(Project(folder), TagSettings())
        assert caught.value.code == code

"""Where a project's robot stands: typed, found from the scan's tag, or left open. Written into its ``scene.json``."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.project import Project, content_hash
from app.stages import SceneSettings, scene_document
from app.worker import from_json
from reconstruction.errors import InputError, PocketworldError, UsageError
from reconstruction.pipeline import ReconstructSettings
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import write_mount
from reconstruction.tags import TagSettings

FloatArray = npt.NDArray[np.float64]
FARTHEST_M = 50.0


@dataclass(frozen=True)
class Mounted:
    """Where the robot stands now.

    Attributes:
        project: the project's folder.
        scene: its ``scene.json``.
        robot_mount: ``(4, 4)`` `scene_from_robot`, or None: wherever suits the scene.
        mounted_by: ``"hand"``, ``"tag"`` or None.
        tag: what was measured of the tag (`reconstruction.tag_pose.Tag.as_json`), or None.
        warnings: plain sentences with advice.
    """

    project: str
    scene: str
    robot_mount: FloatArray | None
    mounted_by: str | None
    tag: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        mount = None if self.robot_mount is None else (np.round(self.robot_mount, 9) + 0.0).tolist()
        return {**dataclasses.asdict(self), "robot_mount": mount, "warnings": list(self.warnings)}


def mount_by_hand(project: Project, xyz_m: tuple[float, float, float], yaw_deg: float) -> Mounted:
    """The robot's base at a place of the scene, upright, its x axis turned by `yaw_deg` from the scene's.

    Raises:
        UsageError: no scene, or a place that is none.
    """
    from reconstruction.tag_pose import pose_at

    if not np.isfinite([*xyz_m, yaw_deg]).all() or max(map(abs, xyz_m)) > FARTHEST_M or abs(yaw_deg) > 3600.0:
        raise UsageError(
            f"The robot cannot stand at {' '.join(f'{value:g}' for value in xyz_m)}, turned by {yaw_deg:g}°.",
            remedy=f"Give --xyz in metres, at most {FARTHEST_M:g} from the scene's origin, and --yaw-deg in degrees.",
            code="bad_value",
        )
    return _written(project, pose_at(np.array(xyz_m), yaw_deg), "hand")


def clear_mount(project: Project) -> Mounted:
    """The robot stands wherever suits the scene.

    Raises:
        UsageError: the project has no scene yet.
    """
    return _written(project, None, None)


def mount_by_tag(project: Project, settings: TagSettings, progress: Progress = silent) -> Mounted:
    """The robot where the tag in the project's scan says, as `reconstruct` does it.

    Raises:
        UsageError: no scene, or no such tag.
        InputError: the scan is gone or changed, or the tag is not in it, or leans.
    """
    from reconstruction.capture import scaled_capture
    from reconstruction.conventions import check_convention
    from reconstruction.importers import read_capture
    from reconstruction.importers.damage import DamagedImages
    from reconstruction.pipeline import tagged_poses
    from reconstruction.quality import tag_advice
    from reconstruction.tag_pose import mount_from_tag

    if settings.rescale:
        raise UsageError(
            "A scene that is made already is not rescaled.",
            remedy="Run `pocketworld reconstruct` on the scan with --tag.rescale.",
            code="bad_value",
        )
    project.require("scene")
    document = scene_document(project)
    scan = project.scan()
    if scan is None or content_hash(scan) != project.record("scene").get("inputs", {}).get("scan"):
        raise InputError(
            f"{scan or 'The scan'} is no longer the scan that {project.folder} was made from.",
            remedy="Run `pocketworld reconstruct` on it again, or give the place with --xyz.",
            code="other_scan",
        )
    capture = DamagedImages().forgiven(check_convention(read_capture(scan)))
    capture = scaled_capture(capture, float(document.get("capture_scale", 1.0)))
    wanted = dataclasses.replace(_recorded(project), tag=dataclasses.replace(settings, search=True))
    found = tagged_poses(capture, wanted, part(progress, 0.0, 0.98))
    mount, lean_deg = None, None
    if found.tag is not None:
        scene_from_capture = np.array(document["scene_from_capture"], dtype=np.float64).reshape(4, 4)
        mount, lean_deg = mount_from_tag(found.tag, scene_from_capture, settings.offset)
    said = tag_advice(found.sightings, found.tag, lean_deg if mount is None else None, settings, capture.metric)
    if mount is None:
        raise InputError(
            said[0] if said else f"The tag {settings.id} of {settings.family} is in none of the scan's pictures.",
            remedy="Check --tag.family and --tag.id, or give the place with --xyz.",
            code="no_tag",
        )
    mounted = _written(project, mount, "tag")
    figures = None if found.tag is None else found.tag.as_json()
    return dataclasses.replace(mounted, tag=figures, warnings=said)


def _recorded(project: Project) -> ReconstructSettings:
    """The settings that the scene was made with; the defaults where an older Pocketworld recorded others."""
    with contextlib.suppress(PocketworldError, KeyError, TypeError, ValueError, StopIteration):
        return from_json(SceneSettings, project.record("scene")["settings"]).reconstruct
    return ReconstructSettings()


def _written(project: Project, mount: FloatArray | None, by: str | None) -> Mounted:
    with project.locked():
        folder = project.require("scene")
        write_mount(folder, mount, by)
    return Mounted(str(project.folder), str(folder / "scene.json"), mount, by)

"""The stages from a scan to a scene, each: load, call, save into the project folder."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.pictures import write_picture
from app.project import (
    Project,
    StageKey,
    StageNotes,
    as_settings_json,
    code_hash,
    content_hash,
    is_folder,
    read_json,
    real_path,
)
from reconstruction.disk import writing_to
from reconstruction.errors import PocketworldError, UsageError
from reconstruction.mesh import Mesh, write_obj
from reconstruction.pipeline import ReconstructSettings
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import EDITED, LEARNT
from simulation.settle import SettleSettings

if TYPE_CHECKING:
    from reconstruction.capture import Capture
    from reconstruction.inspection import Inspection
    from reconstruction.scene import Scene

FORGOTTEN = "What recorded runs had taught is not in the new scene: give them to `pocketworld learn-from` again."
PACKAGES = Path(__file__).resolve().parent.parent
SOURCES = (
    "reconstruction",
    "simulation/settle.py",
    "simulation/repair.py",
    "simulation/check.py",
    "simulation/world.py",
    "resources/materials.json",
)


@dataclass(frozen=True)
class SceneSettings:
    """Settings of the scene stage: everything between the scan and scene.json."""

    reconstruct: ReconstructSettings = field(default_factory=ReconstructSettings)
    settle: SettleSettings = field(default_factory=SettleSettings)


@dataclass(frozen=True)
class ScanResult:
    """What became of one scan, as the command line reports it.

    Attributes:
        scan: the scan as it was named.
        project: its project folder.
        scene: the ``scene.json``.
        objects: how many objects were found.
        seconds: wall time of this run.
        status: ``"done"``, or ``"unchanged"`` where nothing had to be run.
        warnings: plain sentences with advice.
    """

    scan: str
    project: str
    scene: str
    objects: int
    seconds: float
    status: str
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return {**asdict(self), "warnings": list(self.warnings)}


def reconstruct_scan(
    scan: Path,
    folder: Path,
    settings: SceneSettings,
    progress: Progress = silent,
    *,
    jobs: int = 1,
    again: bool = False,
) -> ScanResult:
    """From a scan to a project folder with a scene and a report; does only what is missing or changed.

    Nothing is written before the scan has proved readable, and a new folder is taken away again if it fails.

    Args:
        scan: file or folder as the phone exported it.
        folder: the project folder.
        settings: of the scene stage.
        progress: is told about all of it.
        jobs: processes that the steps inside may use; never changes the result.
        again: make the scene anew though nothing has changed: what was edited in it by hand is then not in it.

    Raises:
        PocketworldError: the scan is bad, or the folder cannot be written.
    """
    started = time.perf_counter()
    project = Project(folder)
    _keep_apart(scan, folder)
    progress(0.0, "reading the scan")
    keys = stage_keys(content_hash(scan), settings)
    status = "unchanged"
    if again or not _all_fresh(project, keys):
        status = "done"
        _run(project, scan, keys, settings, part(progress, 0.02, 0.95), jobs, again)
    warnings = _report(project, part(progress, 0.95, 1.0))
    record = project.record("scene")
    progress(1.0, "done")
    return ScanResult(
        scan=str(scan),
        project=str(folder),
        scene=str(project.stage_folder("scene") / "scene.json"),
        objects=int(record["figures"]["objects"]),
        seconds=round(time.perf_counter() - started, 3),
        status=status,
        warnings=(*record["warnings"], *warnings),
    )


def stage_keys(scan_hash: str, settings: SceneSettings) -> dict[str, StageKey]:
    """What each stage depends on."""
    code = code_hash(*(PACKAGES / name for name in SOURCES if (PACKAGES / name).exists()))
    return {
        "capture": StageKey({}, {"scan": scan_hash}, code),
        "scene": StageKey(as_settings_json(settings), {"scan": scan_hash}, code),
    }


def _keep_apart(scan: Path, folder: Path) -> None:
    if is_folder(scan) and real_path(folder).is_relative_to(real_path(scan)):
        raise UsageError(
            f"The project {folder} would lie inside the scan {scan}.",
            remedy="Choose an --out folder outside of the scan.",
            code="out_inside_scan",
        )


def _all_fresh(project: Project, keys: dict[str, StageKey]) -> bool:
    if not project.is_project:
        return False
    with project.locked():
        project.recover()
        return all(project.is_fresh(stage, key) for stage, key in keys.items())


def _run(
    project: Project,
    scan: Path,
    keys: dict[str, StageKey],
    settings: SceneSettings,
    progress: Progress,
    jobs: int,
    again: bool,
) -> None:
    from reconstruction.conventions import check_convention
    from reconstruction.importers import read_capture
    from reconstruction.inspection import inspect_capture

    capture = check_convention(read_capture(scan))
    inspection = inspect_capture(capture, part(progress, 0.0, 0.08))
    with project.being_made(real_path(scan)):
        project.recover()
        if not project.is_fresh("capture", keys["capture"]):
            project.run_stage("capture", keys["capture"], lambda folder: _save_capture(folder, capture, inspection))
        if again or not project.is_fresh("scene", keys["scene"]):
            scene_progress = part(progress, 0.1, 1.0)
            project.run_stage(
                "scene",
                keys["scene"],
                lambda folder: _make_scene(
                    project, folder, capture, keys["scene"].inputs, settings, scene_progress, jobs
                ),
            )


def _save_capture(folder: Path, capture: Capture, inspection: Inspection) -> StageNotes:
    from reconstruction.inspection import contact_sheet
    from reconstruction.quality import scan_advice

    document = inspection.as_json()
    (folder / "inspection.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_picture(folder / "contact_sheet.jpg", contact_sheet(capture))
    warnings = scan_advice(replace(capture, missing=inspection.missing))
    return StageNotes(warnings=warnings, figures={"frames": len(capture.frames)})


def _make_scene(
    project: Project,
    folder: Path,
    capture: Capture,
    inputs: dict[str, str],
    settings: SceneSettings,
    progress: Progress,
    jobs: int,
) -> StageNotes:
    from reconstruction.importers.damage import DamagedImages
    from reconstruction.pipeline import reconstruct
    from reconstruction.quality import best_azimuth_deg, with_remedies
    from simulation.settle import settle

    kept = _kept_mount(project)
    damaged = DamagedImages()
    made = reconstruct(
        damaged.forgiven(capture),
        settings.reconstruct,
        part(progress, 0.0, 0.9),
        cache_folder=project.folder / ".cache",
        jobs=jobs,
    )
    started = time.perf_counter()
    scene = settle(made.scene, settings.settle, part(progress, 0.9, 1.0))
    scene = replace(scene, warnings=(*scene.warnings, *with_remedies(damaged.sentences(), capture.source)))
    scene = scene if kept is None else kept.applied(scene, inputs["scan"])
    before = read_json(project.stage_folder("scene") / "scene.json") or {}
    if LEARNT in before:
        scene = replace(scene, warnings=(*scene.warnings, FORGOTTEN))
    if EDITED in before:
        kept_scene = _keep_edited(project)
        scene = replace(
            scene, warnings=(*scene.warnings, f"What was edited by hand is not in the new scene: {kept_scene}")
        )
    timings = {**made.timings, "settle": time.perf_counter() - started}
    scene.save(folder)
    fused: Mesh | None = getattr(made, "fused", None)
    if fused is not None:
        write_obj(folder / "fused.obj", fused)
    figures = {
        "objects": len(scene.objects),
        "peak_memory_mb": peak_memory_mb(),
        # As the warnings saw it: a thing that tipped over while it settled would turn the picture and their sides.
        "picture_azimuth_deg": round(best_azimuth_deg(made.scene.objects), 3),
        **made.figures,
    }
    return StageNotes(scene.warnings, timings, figures)


def _keep_edited(project: Project) -> str:
    """Copy a scene that was edited by hand to where it stays; returns a sentence that says where."""
    number = 1
    while (place := project.folder / f"scene_edited_{number}").exists():
        number += 1
    partial = place.with_name(f"{place.name}.partial")
    with writing_to(project.folder):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(project.stage_folder("scene"), partial)
        partial.rename(place)
    return f"the edited one is kept in {place.name}."


@dataclass(frozen=True)
class _KeptMount:
    """A robot's place that was given by hand: it outlives the scene it was given in, as long as the scan is the same.

    Attributes:
        scan: content hash of that scan.
        capture_from_robot: ``(4, 4)`` in the scan's own metres.
    """

    scan: str
    capture_from_robot: npt.NDArray[np.float64]

    def applied(self, scene: Scene, scan: str) -> Scene:
        """`scene`, newly made from `scan`, with the robot where it was, upright in the new scene."""
        from reconstruction.tag_pose import pose_at

        if scan != self.scan:
            lost = "The robot's place was given for another scan: give it again with `pocketworld mount`."
            return replace(scene, warnings=(*scene.warnings, lost))
        placed = np.array(self.capture_from_robot)
        placed[:3, 3] *= scene.extra.get("capture_scale", 1.0)
        placed = scene.scene_from_capture @ placed
        mount = pose_at(placed[:3, 3], float(np.degrees(np.arctan2(placed[1, 0], placed[0, 0]))))
        return replace(scene, robot_mount=mount, extra={**scene.extra, "mounted_by": "hand"})


def _kept_mount(project: Project) -> _KeptMount | None:
    """The place given by hand in the scene that is about to be made anew; None without one, or in a damaged scene."""
    document = read_json(project.stage_folder("scene") / "scene.json") or {}
    if document.get("mounted_by") != "hand":
        return None
    try:
        scan = str(project.record("scene")["inputs"]["scan"])
        placed = np.linalg.inv(np.array(document["scene_from_capture"], dtype=np.float64)) @ document["robot_mount"]
        placed[:3, 3] /= float(document.get("capture_scale", 1.0))
    except (KeyError, TypeError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None
    return _KeptMount(scan, placed)


def _report(project: Project, progress: Progress) -> tuple[str, ...]:
    """Write the report if it is missing or old; a fault of ours in it is a warning, for the scene is made.

    Raises:
        PocketworldError: no space, no permission: the user can mend it and run the same command again.
    """
    from app.console import internal_error
    from app.report import write_report

    try:
        write_report(project, progress)
    except PocketworldError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        return (f"report.html was not written. {internal_error(error, project.folder)}",)
    return ()


def peak_memory_mb() -> int | None:
    """The most memory that this process has held so far, MB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))


def scene_document(project: Project) -> dict[str, Any]:
    """The project's ``scene.json`` as it lies there.

    Raises:
        UsageError: there is none.
    """
    return read_json(project.require("scene") / "scene.json") or {}

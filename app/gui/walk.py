"""What has been done of a project, and what is out of date: read from its folder, without computing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QCoreApplication

from app.policy_folder import evaluation_file
from app.project import Project, content_hash, read_json
from policies.deploy.bundle import MANIFEST
from policies.files import BEST

STEPS = ("scan", "scene", "cousins", "policy", "robot")
LEAST = 0.8
"""The share of tries in which a policy must succeed to be exported: `SkillSettings.least`, whose import takes long."""

SELDOM = 0.5
"""Of a bundle that succeeds in a smaller share of unseen cousins, little is to be expected."""


@dataclass(frozen=True)
class Standing:
    """Where a step stands.

    Attributes:
        kind: ``"empty"`` (not done; `text` says what it needs), ``"done"`` or ``"stale"`` (done, but of something
            that has changed since) or ``"weak"`` (done, but of too little use to go on with).
        text: one line for people.
    """

    kind: str
    text: str


def standing(project: Project | None) -> dict[str, Standing]:
    """Where each of `STEPS` stands. Reads small files only."""
    if project is None or not project.is_project:
        hints = (
            _tr("what the phone saw"),
            _tr("things with physics"),
            _tr("thousands like it"),
            _tr("what is learnt"),
            _tr("drives the arm"),
        )
        return {step: Standing("empty", hint) for step, hint in zip(STEPS, hints, strict=True)}
    return {
        "scan": _scan(project),
        "scene": _scene(project),
        "cousins": _cousins(project),
        "policy": _policy(project),
        "robot": _robot(project),
    }


def next_step(stands: Mapping[str, Standing]) -> str:
    """Where a person goes on: the first step that is not done; a scene that is still to be made is made of the scan."""
    step = next((step for step in STEPS if stands[step].kind != "done"), STEPS[-1])
    return "scan" if step == "scene" and stands[step].kind == "empty" else step


def scene_hash(project: Project) -> str | None:
    """Of the scene as it is now; None without one."""
    path = project.stage_folder("scene") / "scene.json"
    return content_hash(path) if path.is_file() else None


def _scan(project: Project) -> Standing:
    record = project.record("capture")
    if not record:
        return Standing("empty", _tr("The scan has not been read yet."))
    return Standing("done", _tr("{0} frames").format(record.get("figures", {}).get("frames", "?")))


def _scene(project: Project) -> Standing:
    record = project.record("scene")
    if not record:
        return Standing("empty", _tr("Needs a scan."))
    document = read_json(project.stage_folder("scene") / "scene.json") or {}
    objects = document.get("objects")
    count = len(objects) if isinstance(objects, list) else 0
    text = _tr("{0} objects").format(count)
    scan = project.scan()
    if scan is not None and _newer(scan, project.stage_folder("scene") / "stage.json"):
        return Standing("stale", _tr("{0}, the scan has changed since").format(text))
    return Standing("done", text)


def _newer(path: Path, than: Path) -> bool:
    """Whether a file was changed after another one was written; a folder's own time changes with what is in it."""
    try:
        return path.stat().st_mtime > than.stat().st_mtime
    except (OSError, ValueError):
        return False


def _cousins(project: Project) -> Standing:
    record = project.record("cousins")
    if not record:
        return Standing("empty", _tr("Needs a scene.") if not project.record("scene") else _tr("Not made yet."))
    text = _tr("{0} cousins").format(record.get("figures", {}).get("count", "?"))
    if record.get("inputs", {}).get("scene") != scene_hash(project):
        return Standing("stale", _tr("{0}, the scene has changed since").format(text))
    return Standing("done", text)


def policies(project: Project) -> list[Path]:
    """The files of a project's policies, the newest first."""
    found = (project.folder / "policy").glob(f"*/{BEST}")
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _policy(project: Project) -> Standing:
    found = policies(project)
    if not found:
        return Standing("empty", _tr("Needs a scene.") if not project.record("scene") else _tr("None trained yet."))
    evaluation = read_json(evaluation_file(found[0])) or {}
    count, successes = evaluation.get("count"), evaluation.get("successes")
    if not isinstance(count, int) or not isinstance(successes, int) or count < 1:
        return Standing("done", _tr("Trained, not evaluated"))
    share = _tr("{0} % success").format(round(100 * successes / count))
    if is_weak(project, found[0], successes, count):
        return Standing("weak", _tr("{0}: weak").format(share))
    return Standing("done", share)


def is_weak(project: Project, policy: Path, successes: int, count: int) -> bool:
    """Whether a policy never succeeds, or too seldom to be exported, and has not been exported all the same."""
    exported = project.folder / "bundle" / policy.parent.name / MANIFEST
    return not successes or (successes < LEAST * count and not _newer(exported, policy))


def bundles(project: Project) -> list[Path]:
    """The project's bundles, the newest first."""
    found = (path.parent for path in (project.folder / "bundle").glob(f"*/{MANIFEST}"))
    return sorted(found, key=lambda path: (path / MANIFEST).stat().st_mtime, reverse=True)


def _robot(project: Project) -> Standing:
    found = bundles(project)
    if not found:
        return Standing("empty", _tr("Needs a trained policy."))
    newer = [path for path in policies(project) if path.parent.name == found[0].name and _newer(path, found[0])]
    if newer:
        return Standing("stale", _tr("The policy was trained again since"))
    said = _tr("1 bundle") if len(found) == 1 else _tr("{0} bundles").format(len(found))
    tried = (read_json(found[0] / MANIFEST) or {}).get("evaluation")
    count, done = (tried.get(name) if isinstance(tried, dict) else None for name in ("count", "successes"))
    if isinstance(count, int) and isinstance(done, int) and count > 0 and done < SELDOM * count:
        return Standing("weak", _tr("{0}: {1} % success").format(said, round(100 * done / count)))
    return Standing("done", said)


def _tr(text: str) -> str:
    return QCoreApplication.translate("Walk", text)

"""Quick stand-ins for the steps of the pipeline, so that the shell round them can be tested in seconds.

A fake scan is a folder or a zip with ``fake.json``: ``{"objects": 2, "do": ...}``. `do` says how the step misbehaves:
"kill" (SIGKILL to itself), "abort" (a native crash), "fail" (a scan without a scene), "internal" (a bug of ours),
"hang" (never ends), "child" (starts a process that never ends, then hangs), "full" (the disk is full while writing).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from reconstruction.capture import Capture
from reconstruction.errors import InputError, ReconstructionError
from reconstruction.mesh import Mesh
from reconstruction.scene import HULL_MARGIN_M, Scene, SceneObject, Support

EYE = np.eye(4)


def box(size_m: float) -> Mesh:
    """A closed cube round the origin, all of its vertices seen but the lower ones."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
    faces += [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    return Mesh(
        signs * size_m / 2,
        np.array(faces),
        colors=np.full((8, 3), 180, dtype=np.uint8),
        seen=np.array([0, 1] * 4, dtype=np.float32),
    )


def cube(name: str, x_m: float, size_m: float = 0.05) -> SceneObject:
    """A wooden cube that stands on the table at ``x_m``."""
    pose = EYE.copy()
    pose[0, 3], pose[2, 3] = x_m, size_m / 2 + HULL_MARGIN_M
    mesh, mass = box(size_m), 700 * size_m**3
    inertia = np.eye(3) * mass * size_m**2 / 6
    return SceneObject(
        name, pose, mesh, (Mesh(mesh.vertices, mesh.faces),), mass, np.zeros(3), inertia, 0.5, 0.1, "wood",
        size_m**3, 0.6, (0.8 * mass, 1.2 * mass), "table",
    )  # fmt: skip


def scene_of(objects: int, warnings: tuple[str, ...] = ()) -> Scene:
    """A table with cubes side by side."""
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], dtype=np.float64)
    table = Support("table", np.array([0.0, 0.0, 1.0, 0.0]), corners)
    ground = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), colors=np.full((4, 3), 120, dtype=np.uint8))
    cubes = tuple(cube(f"object_{number + 1:02d}", 0.1 * number) for number in range(objects))
    return Scene(EYE, (table,), ground, cubes, warnings=warnings)


@dataclass(frozen=True)
class Fusion:
    """Fusing."""

    voxel_m: float = 0.003
    """Edge of a voxel, metres; smaller is finer and slower."""
    range_m: tuple[float, float] = (0.1, 4.0)
    """Nearest and farthest depth that counts, metres."""


@dataclass(frozen=True)
class ReconstructSettings:
    """All steps."""

    fusion: Fusion = field(default_factory=Fusion)


@dataclass(frozen=True)
class SettleSettings:
    """Coming to rest."""

    near_mm: float = 3.5
    """Millimetres."""
    flatten_mm: tuple[float, ...] = (0.5, 1.0)
    """Millimetres, tried in order."""


@dataclass(frozen=True)
class Reconstruction:
    scene: Scene
    timings: dict[str, float]
    figures: dict[str, Any]
    fused: Mesh | None = None


@dataclass(frozen=True)
class Inspection:
    frames: int
    missing: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"format": "fake", "frames": self.frames}

    def text(self) -> str:
        return f"format: fake\nframes: {self.frames}"


def matches(tree: Any) -> bool:
    return "fake.json" in tree.names


def read(tree: Any) -> Capture:
    plan = json.loads(tree.read("fake.json"))
    if plan.get("do") == "unreadable":
        raise InputError("fake.json is damaged.", remedy="Export it again.", code="damaged")
    return Capture("fake", "fake", Path(), json.dumps(plan), (), missing=tuple(plan.get("missing", ())))


def reconstruct(
    capture: Capture, settings: ReconstructSettings, progress: Any, *, cache_folder: Path, jobs: int = 1
) -> Reconstruction:
    plan = json.loads(capture.device)
    os.write(1, b"native chatter on stdout\n")
    for step in range(4):
        progress(step / 4, f"step {step}")
        time.sleep(plan.get("seconds", 0.0) / 4)
    cache_folder.mkdir(exist_ok=True)
    misbehave(plan.get("do"))
    moved = EYE.copy()
    moved[0, 3] = settings.fusion.voxel_m  # another setting, another frame: by a little, as with the real steps
    scene = replace(scene_of(plan["objects"], ("no up",)), scene_from_capture=moved)
    figures = {"voxel_m": settings.fusion.voxel_m}
    return Reconstruction(scene, {"fuse": 0.1}, figures, scene.background)


def misbehave(how: str | None) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "abort":
        os.write(2, b"Assertion failed: native library\n")
        os.abort()
    elif how == "fail":
        raise ReconstructionError("Nothing can be seen in the scan.", remedy="Scan again in the light.", code="empty")
    elif how == "internal":
        raise ZeroDivisionError("a bug")
    elif how == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    elif how == "child":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if how in ("hang", "child"):
        time.sleep(600)


def install() -> None:
    """Put the stand-ins in the place of the steps, and the fake format beside the real ones."""
    from reconstruction import importers

    this = sys.modules[__name__]
    importers.IMPORTERS["fake"] = this
    importers._LABELS["fake"] = "Fake"
    modules = {
        "reconstruction.pipeline": {"ReconstructSettings": ReconstructSettings, "reconstruct": reconstruct},
        "reconstruction.conventions": {"check_convention": lambda capture: capture},
        "reconstruction.inspection": {
            "inspect_capture": lambda capture, progress: Inspection(len(capture.frames), capture.missing),
            "contact_sheet": lambda capture: np.full((30, 40, 3), 90, dtype=np.uint8),
        },
        "simulation.settle": {"SettleSettings": SettleSettings, "settle": lambda scene, settings, progress: scene},
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        vars(module).update(contents)
        sys.modules[name] = module
    _quick_reports_and_constant_code()


class _GreyPicture:
    """In the place of the ray caster."""

    def __init__(self, shapes: Any, *, shadows: bool = True) -> None:
        pass

    def draw(self, view: Any, size: tuple[int, int], *, by_seen: bool = False) -> Any:
        return np.full((4, 6, 4), 90, dtype=np.uint8)

    def draw_as(self, view: Any, size: tuple[int, int], by_seen: tuple[bool, ...]) -> Any:
        return [self.draw(view, size) for _ in by_seen]


def _quick_reports_and_constant_code() -> None:
    """Grey pictures, and a key that does not change while someone edits the real steps."""
    from app import report, stages

    stages.SOURCES = ()
    vars(report)["Picture"] = _GreyPicture

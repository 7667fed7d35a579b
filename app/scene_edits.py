"""What can be changed in a scene by hand, one class an edit; `app.scene_document.SceneDocument.apply` makes them.

Places and poses are of the scene's frame, metres. A refusal is a `PocketworldError` with a remedy, and changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app import scene_places
from app.scene_draft import Draft
from app.scene_shapes import halves, merged, scaled, scaled_pose
from reconstruction.errors import UsageError
from reconstruction.material import Override, materials, physical_properties
from reconstruction.scene import Scene, SceneObject
from reconstruction.tag_pose import pose_at

FloatArray = npt.NDArray[np.float64]
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
NO_NAMES = frozenset({"a", "an", "the", "up", "table", "zone", "ground", "robot"})
"""Words that a task's sentence means otherwise (`simulation.tasks.task_of`), or that physics uses itself."""
MASSES_KG = (0.001, 1000.0)
FRICTIONS = (0.0, 10.0)
FACTORS = (0.1, 10.0)
NOT_METRIC = "The scan is not metric"
"""So a warning begins (`reconstruction.quality.scan_advice`) that is no longer true once the scale is given."""


# --- one thing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rename:
    """Give a thing another name. ``Red mug`` becomes ``red_mug``."""

    name: str
    to: str

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Rename {self.name} to {plain_name(self.to)}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        entry, to = draft.entry(self.name), plain_name(self.to)
        _check_name(draft, to, self.name)
        entry["name"] = to
        for about in (draft.document.get("settling", {}), draft.learnt):
            renamed = {to if name == self.name else name: value for name, value in about.items()}
            about.clear()
            about.update(renamed)


@dataclass(frozen=True)
class Move:
    """Put a thing elsewhere, exactly there; `app.scene_places.snapped` finds where it stands."""

    name: str
    pose: FloatArray

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Move {self.name}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        entry = draft.entry(self.name)
        pose = scene_places.checked_pose(self.pose, self.name)
        entry["scene_from_object"] = _listed(pose)
        middle = pose[:3, :3] @ np.array(entry["center_of_mass"]) + pose[:3, 3]
        entry["support"] = _support_name(draft, middle)


@dataclass(frozen=True)
class Delete:
    """Take a thing out of the scene."""

    name: str

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Delete {self.name}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        draft.remove(self.name)


@dataclass(frozen=True)
class Duplicate:
    """Put a copy of a thing beside it, or on top of what is there where no place is free."""

    name: str

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Duplicate {self.name}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        item = draft.thing(self.name)
        pose = scene_places.beside(draft, item.convex_parts, item.scene_from_object, item.center_of_mass, draft.names)
        draft.add(_placed(draft, replace(item, name=free_name(draft, self.name)), pose))


@dataclass(frozen=True)
class SetMaterial:
    """Say what a thing is made of: its mass, friction and restitution are estimated for that."""

    name: str
    material: str

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Make {self.name} of {self.material}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        entry = draft.entry(self.name)
        if self.material not in materials():
            raise UsageError(
                f"No material is named {self.material!r}.",
                remedy=f"Choose one of: {', '.join(sorted(materials()))}.",
                code="unknown_material",
            )
        known = physical_properties(draft.thing(self.name).visual, override=Override(material=self.material))
        entry["material"] = self.material
        entry["friction"], entry["restitution"] = _number(known.friction), _number(known.restitution)
        _weigh(entry, known.mass_kg, known.mass_interval_kg)
        _overrule(draft, self.name, "mass_kg", "friction")


@dataclass(frozen=True)
class SetMass:
    """Say what a thing weighs, as a kitchen scale shows it."""

    name: str
    mass_kg: float

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Set the mass of {self.name} to {1000 * self.mass_kg:.4g} g"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        entry = draft.entry(self.name)
        _check_range("mass", self.mass_kg, MASSES_KG, " kg")
        _weigh(entry, self.mass_kg, (self.mass_kg, self.mass_kg))
        _overrule(draft, self.name, "mass_kg")


@dataclass(frozen=True)
class SetFriction:
    """Set a thing's Coulomb coefficient."""

    name: str
    friction: float

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Set the friction of {self.name} to {self.friction:.3g}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        entry = draft.entry(self.name)
        _check_range("friction", self.friction, FRICTIONS)
        entry["friction"] = _number(self.friction)
        _overrule(draft, self.name, "friction")


@dataclass(frozen=True)
class SetRestitution:
    """Set how a thing bounces: 0 not at all, 1 without loss."""

    name: str
    restitution: float

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Set the restitution of {self.name} to {self.restitution:.3g}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        entry = draft.entry(self.name)
        _check_range("restitution", self.restitution, (0.0, 1.0))
        entry["restitution"] = _number(self.restitution)


# --- other things ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merge:
    """Make one thing of two, under the name of the first."""

    first: str
    second: str

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Merge {self.first} and {self.second}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        if self.first == self.second:
            raise UsageError(
                f"{self.first} cannot be merged with itself.", remedy="Choose two things.", code="bad_value"
            )
        one = merged(draft.thing(self.first), draft.thing(self.second), self.first)
        draft.replace(self.first, one)
        draft.remove(self.second)


@dataclass(frozen=True)
class Split:
    """Cut a thing in two with a plane. What lies where the normal points to keeps the name."""

    name: str
    point: FloatArray
    normal: FloatArray

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Split {self.name}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        item = draft.thing(self.name)
        plane = [np.array(each, dtype=np.float64).reshape(-1) for each in (self.point, self.normal)]
        if any(each.shape != (3,) for each in plane):
            raise UsageError("A plane has a point and a normal.", remedy="Give each three numbers.", code="bad_value")
        pair = halves(item, plane[0], plane[1], (self.name, free_name(draft, self.name)))
        draft.replace(self.name, *pair)


@dataclass(frozen=True)
class AddThing:
    """Bring in a thing from a mesh file, standing as it was drawn (z up; y up in glTF).

    Attributes:
        path: ``.obj``, ``.glb``, ``.ply``, ``.stl`` or ``.off``; metres, or millimetres where it would be too large.
        at: ``(x, y)`` where its middle is to be, on top of what is there; None finds a free place on the main support.
        name: None takes the file's.
        material: None guesses it.
    """

    path: Path
    at: tuple[float, float] | None = None
    name: str | None = None
    material: str | None = None

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Add {self.path.name}"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        from simulation.mesh_files import read_thing
        from simulation.relatives import as_object

        if self.name is None:
            name = free_name(draft, _name_of_file(self.path))
        else:
            name = plain_name(self.name)
            _check_name(draft, name)
        item = as_object(name, read_thing(self.path), Override(material=self.material))
        item = replace(item, seen_fraction=0.0)  # no phone has measured it
        start = item.scene_from_object.copy()
        if draft.supports:
            outline = draft.supports[0].polygon
            middle = (outline.min(axis=0) + outline.max(axis=0)) / 2 if self.at is None else np.array([*self.at, 0.0])
            start[:2, 3] += middle[:2]
            start[2, 3] += scene_places.height_at(draft.supports[0], middle)
        elif self.at is not None:
            start[:2, 3] += self.at
        start = scene_places.checked_pose(start, name)
        if self.at is None:
            pose = scene_places.beside(draft, item.convex_parts, start, item.center_of_mass, draft.names)
        else:
            others = [scene_places.corners_of(draft, other) for other in draft.names]
            pose = scene_places.standing(item.convex_parts, start, item.center_of_mass, draft.supports, others)
        draft.add(_placed(draft, item, pose))


# --- the whole scene -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Give the scene its true size, by a length that was measured in it and is known.

    Guessed masses grow with the cube; one that was weighed (by hand, or by recorded runs) is right already, and stays.
    """

    measured_m: float
    true_m: float

    @property
    def label(self) -> str:
        """See `Edit`."""
        return f"Scale the scene: {1000 * self.measured_m:.4g} mm are {1000 * self.true_m:.4g} mm"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        for length in (self.measured_m, self.true_m):
            _check_range("length", length, (1e-4, 100.0), " m")
        factor = round(self.true_m / self.measured_m, 9)
        _check_range("scale", factor, FACTORS)
        document, learnt = draft.document, draft.learnt
        weighed = frozenset(name for name in draft.names if _is_weighed(draft.entry(name), learnt.get(name, {})))
        written = draft.write(scaled(Scene.load(draft.folder), factor, weighed))
        for key in ("metric", "scene_from_capture", "robot_mount", "supports", "background", "objects"):
            document[key] = written[key]
        document["capture_scale"] = round(factor * float(document.get("capture_scale", 1.0)), 9)
        document["warnings"] = [said for said in document.get("warnings", []) if not said.startswith(NOT_METRIC)]
        if "front_camera" in document:
            camera = document["front_camera"]
            camera["scene_from_camera"] = _listed(scaled_pose(np.array(camera["scene_from_camera"]), factor))
        for record in document.get("settling", {}).values():
            for key in {"moved_mm", "base_cut_mm", "center_shift_mm"} & record.keys():
                record[key] = round(factor * record[key], 3)
        for about in learnt.values():
            said = about["scanned"]
            said["mass_kg"] = _number(factor**3 * said["mass_kg"])
            said["mass_interval_kg"] = _listed(factor**3 * np.array(said["mass_interval_kg"]))
            said["inertia"] = _listed(factor**5 * np.array(said["inertia"]), 12)


@dataclass(frozen=True)
class PlaceRobot:
    """Say where the robot's base stands, upright; None: wherever suits the scene. As `pocketworld mount` does it."""

    pose: FloatArray | None

    @property
    def label(self) -> str:
        """See `Edit`."""
        return "Free the robot's place" if self.pose is None else "Place the robot"

    def change(self, draft: Draft) -> None:
        """See `Edit`."""
        document = draft.document
        mount = None if self.pose is None else scene_places.checked_pose(self.pose, "The robot")
        if mount is not None:
            if mount[2, 2] < 1.0 - 1e-6:
                raise UsageError(
                    "The robot cannot stand there: its base leans.", remedy="Turn it about z alone.", code="bad_value"
                )
            mount = pose_at(mount[:3, 3], float(np.degrees(np.arctan2(mount[1, 0], mount[0, 0]))))
        document["robot_mount"] = None if mount is None else _listed(mount)
        document.pop("mounted_by", None)
        if mount is not None:
            document["mounted_by"] = "hand"


# --- names -----------------------------------------------------------------------------------------------------------


def plain_name(text: str) -> str:
    """A name as it is written in the scene: small letters, ``_`` for blanks and hyphens."""
    return re.sub(r"[\s\-]+", "_", text.strip()).lower()


def free_name(draft: Draft, wanted: str) -> str:
    """`wanted`, or the same with the first free number."""
    taken = _taken(draft)
    stem, number = re.sub(r"_?\d+$", "", wanted)[:50] or "thing", 2
    if wanted not in taken:
        return wanted
    while f"{stem}_{number}" in taken:
        number += 1
    return f"{stem}_{number}"


def _taken(draft: Draft, but: str | None = None) -> set[str]:
    used = {name.lower() for name in draft.names if name != but}
    return used | {support.name.lower() for support in draft.supports} | NO_NAMES


def _check_name(draft: Draft, name: str, now: str | None = None) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(
            f"A thing cannot be named {name!r}.",
            remedy="Use letters from a to z, digits and _, at most 60, a letter first.",
            code="bad_name",
        )
    if name in _taken(draft, now):
        raise UsageError(
            f"The name {name!r} is taken.",
            remedy=f"Choose another, such as {free_name(draft, name)}.",
            code="name_is_taken",
        )


def _name_of_file(path: Path) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")[:60].rstrip("_")
    return plain if NAME.fullmatch(plain) else f"thing_{plain}"[:60].rstrip("_")


# --- entries ---------------------------------------------------------------------------------------------------------


def _placed(draft: Draft, item: SceneObject, pose: FloatArray) -> SceneObject:
    middle = pose[:3, :3] @ item.center_of_mass + pose[:3, 3]
    return replace(item, scene_from_object=pose, support=_support_name(draft, middle))


def _support_name(draft: Draft, point: FloatArray) -> str:
    support = scene_places.support_under(draft.supports, point)
    return "" if support is None else support.name


def _check_range(what: str, value: float, ends: tuple[float, float], unit: str = "") -> None:
    if not (np.isfinite(value) and ends[0] <= value <= ends[1]):
        raise UsageError(
            f"A {what} of {value:g}{unit} is not possible.",
            remedy=f"Give a number from {ends[0]:g} to {ends[1]:g}{unit}.",
            code="bad_value",
        )


def _weigh(entry: dict[str, Any], mass_kg: float, interval_kg: tuple[float, float]) -> None:
    """Another mass: the inertia goes with it, the centre of mass stays."""
    entry["inertia"] = _listed(np.array(entry["inertia"]) * (mass_kg / entry["mass_kg"]), 12)
    entry["mass_kg"], entry["mass_interval_kg"] = _number(mass_kg), _listed(interval_kg)


def _is_weighed(entry: dict[str, Any], learnt: dict[str, Any]) -> bool:
    low, high = entry["mass_interval_kg"]
    return bool(low == high == entry["mass_kg"]) or "mass_kg" in learnt


def _overrule(draft: Draft, name: str, *quantities: str) -> None:
    """What is set by hand counts as scanned, not as learnt: forgetting what was learnt must not take it back."""
    about, entry = draft.learnt.get(name), draft.entry(name)
    if about is None:
        return
    for quantity in quantities:
        about.pop(quantity, None)
        about.pop(f"{quantity}_interval", None)
        keys = ("mass_kg", "mass_interval_kg", "inertia") if quantity == "mass_kg" else (quantity,)
        about["scanned"].update({key: entry[key] for key in keys})
    if not about.keys() & {"mass_kg", "friction"}:
        del draft.learnt[name]
        draft.tidy_learnt()


def _listed(array: npt.ArrayLike, digits: int = 9) -> Any:
    """As `reconstruction.scene` writes numbers: rounded, no -0."""
    return (np.round(np.asarray(array, dtype=np.float64), digits) + 0.0).tolist()


def _number(value: float) -> float:
    return float(_listed(value))

"""Where to walk next time: which side of an object the phone did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.scene import SceneObject

FloatArray = npt.NDArray[np.float64]

WORTH_SAYING = 0.15
WORTH_A_ROUND = 0.25
ONE_SIDED = 0.5
STANDS_WITHIN_M = 0.015
NEIGHBOUR_M = 0.30
DEFAULT_AZIMUTH_DEG = -60.0


@dataclass(frozen=True)
class Unseen:
    """What of an object's surface was completed rather than measured. What it stands on does not count.

    Attributes:
        share: of the surface's area, 0 … 1.
        sideways: ``(2,)`` m², the horizontal normals of the unseen area added up, scene frame.
        sideways_area: m², the same with their lengths added up.
        above: m² of unseen area that looks up.
        below: m² of unseen area that looks down.
    """

    share: float
    sideways: FloatArray
    sideways_area: float
    above: float
    below: float


def unseen(item: SceneObject) -> Unseen | None:
    """Measure `item`; None where it is not recorded what was seen."""
    mesh = item.visual.moved(item.scene_from_object)
    if mesh.seen is None or not len(mesh.faces):
        return None
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a) / 2  # area times unit normal
    area = np.linalg.norm(normals, axis=1)
    lowest = mesh.vertices[:, 2].min()
    stands = (normals[:, 2] < -0.5 * area) & ((a + b + c)[:, 2] / 3 < lowest + STANDS_WITHIN_M)
    counted = np.where(stands, 0.0, area)
    missing = 1.0 - mesh.seen[mesh.faces].astype(np.float64).mean(axis=1)
    weight = np.where(stands, 0.0, missing)
    lengths = np.linalg.norm(normals[:, :2], axis=1)
    return Unseen(
        share=float((counted * missing).sum() / max(counted.sum(), 1e-12)),
        sideways=(normals[:, :2] * weight[:, None]).sum(axis=0),
        sideways_area=float((lengths * weight).sum()),
        above=float((np.maximum(normals[:, 2], 0) * weight).sum()),
        below=float((np.maximum(-normals[:, 2], 0) * weight).sum()),
    )


def best_azimuth_deg(objects: Sequence[SceneObject]) -> float:
    """From where a picture shows most of what was seen: opposite to the unseen sides; degrees about z from +x."""
    found = [measured for item in objects if (measured := unseen(item)) is not None]
    total = np.sum([measured.sideways for measured in found], axis=0) if found else np.zeros(2)
    if np.linalg.norm(total) < 0.2 * sum(measured.sideways_area for measured in found) + 1e-5:
        return DEFAULT_AZIMUTH_DEG
    return float(np.degrees(np.arctan2(-total[1], -total[0])))


def advice(item: SceneObject, others: Sequence[SceneObject], azimuth_deg: float) -> str | None:
    """One sentence on how to scan `item` better, or None where enough of it was seen.

    Args:
        item: the object.
        others: all objects of the scene; the neighbour on the unseen side is named.
        azimuth_deg: from where the report's picture looks; sides are named as they appear in it.
    """
    measured = unseen(item)
    if measured is None or measured.share < WORTH_SAYING:
        return None
    tail = f"{round(100 * measured.share)} % unseen."
    if measured.above > max(measured.sideways_area, measured.below):
        return f"Hold the phone higher over the {spoken(item.name)}: {tail}"
    if measured.below > measured.sideways_area:
        return f"Hold the phone lower beside the {spoken(item.name)}: {tail}"
    if np.linalg.norm(measured.sideways) < ONE_SIDED * measured.sideways_area:
        return f"Walk all the way round the {spoken(item.name)}: {tail}" if measured.share >= WORTH_A_ROUND else None
    bearing = float(np.degrees(np.arctan2(measured.sideways[1], measured.sideways[0])))
    side = side_in_picture(bearing - azimuth_deg)
    near = neighbour(item, others, bearing)
    towards = f" (towards the {spoken(near)})" if near else ""
    return f"Walk round the {side} side of the {spoken(item.name)}{towards}: {tail}"


def side_in_picture(turn_deg: float) -> str:
    """How a direction appears to a viewer; `turn_deg` counter-clockwise from above, 0 = towards the viewer."""
    turn = (turn_deg + 180.0) % 360.0 - 180.0
    if abs(turn) <= 45.0:
        return "near"
    if abs(turn) >= 135.0:
        return "far"
    return "right" if turn > 0 else "left"


def neighbour(item: SceneObject, others: Sequence[SceneObject], bearing_deg: float) -> str | None:
    """The nearest other object within 40° of a bearing, at most `NEIGHBOUR_M` away; None without one."""
    nearest, name = NEIGHBOUR_M, None
    for other in others:
        step = (other.scene_from_object - item.scene_from_object)[:2, 3]
        distance = float(np.linalg.norm(step))
        turn = (np.degrees(np.arctan2(step[1], step[0])) - bearing_deg + 180.0) % 360.0 - 180.0
        if other.name != item.name and distance < nearest and abs(turn) < 40.0:
            nearest, name = distance, other.name
    return name


def spoken(name: str) -> str:
    """``object_01`` as people say it: "object 01"."""
    return name.replace("_", " ")

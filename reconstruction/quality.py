"""What a user should know about a scene: plain sentences with advice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reconstruction.capture import Capture, FloatArray
from reconstruction.decomposition import Parts
from reconstruction.poses import RefinedPoses
from reconstruction.scene import SceneObject, Support
from reconstruction.views import DepthView

BENCH_M = 0.15, 4.0
"""Depth (m) that a scan of things on a support shows."""
SIDES = ("east (+x)", "north (+y)", "west (-x)", "south (-y)")


def advice(
    capture: Capture,
    refined: RefinedPoses,
    distance_m: float,
    supports: Sequence[Support],
    objects: Sequence[SceneObject],
    parts: Sequence[Parts],
) -> tuple[str, ...]:
    """Warnings, the gravest first; `distance_m` as from `typical_distance`."""
    warnings: list[str] = []
    if not objects and not BENCH_M[0] < distance_m < BENCH_M[1]:
        warnings.append(
            f"The depth images show things {distance_m:.2g} m away, which is no scan of a bench: scan from 0.3 to 2 m, "
            "or check the unit of the depth images."
        )
    if not capture.metric:
        warnings.append("The scan is not metric: sizes and masses are guesses until a known length is given.")
    if not supports:
        warnings.append("No level surface was found: scan the table or floor that the things stand on.")
    elif not objects:
        warnings.append("No loose object was found on the support: everything became background.")
    if not capture.has_rgb:
        warnings.append("The scan has no colour: objects are grey, and their materials are guessed from shape alone.")
    if refined.error_after_mm > 8.0:
        warnings.append(
            f"Depth images disagree by {refined.error_after_mm:.0f} mm: walk slower, stay within 1.5 m, avoid glass."
        )
    warnings += [text for item in objects if (text := _unseen_side(item)) is not None]
    for item, solid in zip(objects, parts, strict=True):
        warnings += [f"{item.name}: {note}" for note in solid.notes]
    return tuple(warnings)


def typical_distance(views: Sequence[DepthView]) -> float:
    """Median over the views of their median depth (m)."""
    return float(np.median([np.median(view.depth_m[view.depth_m > 0]) for view in views]))


def _unseen_side(item: SceneObject, least: float = 0.30) -> str | None:
    """Advice for an object of which a good part of the flanks and top was completed rather than seen."""
    mesh = item.visual
    if mesh.seen is None or len(mesh.faces) == 0:
        return None
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(normal, axis=1)
    normal = normal / np.maximum(2.0 * area, 1e-12)[:, None]
    unseen = area * (1.0 - mesh.seen[mesh.faces].mean(axis=1))
    # Nobody can see the face it stands on.
    visible = normal[:, 2] > -0.5
    share = float(unseen[visible].sum() / max(float(area[visible].sum()), 1e-12))
    if share < least:
        return None
    toward: FloatArray = (unseen[visible, None] * normal[visible]).sum(axis=0)
    side = SIDES[int(np.round(np.arctan2(toward[1], toward[0]) / (np.pi / 2))) % 4]
    return f"Walk round to the {side} side of {item.name}: {100 * share:.0f} % of it was not seen."

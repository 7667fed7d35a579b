"""What a user should know about a scan and its scene: plain sentences with advice, in this one place.

The command line, ``scene.json``, ``stage.json`` and the report all show these sentences as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reconstruction.capture import Capture, FloatArray
from reconstruction.decomposition import Parts
from reconstruction.poses import RefinedPoses
from reconstruction.scene import SceneObject, Support
from reconstruction.tag_pose import Tag
from reconstruction.tags import Sightings, TagSettings
from reconstruction.views import DepthView

BENCH_M = 0.15, 4.0
"""Depth (m) that a scan of things on a support shows."""
WORTH_SAYING = 0.15
WORTH_A_ROUND = 0.25
ONE_SIDED = 0.5
MOST_SIDES = 10
STANDS_WITHIN_M = 0.015
NEIGHBOUR_M = 0.30
DEFAULT_AZIMUTH_DEG = -60.0
SCALE_TOLERANCE = 0.02
"""A scan may be off by this share: about what LiDAR and an ordinary print are."""

SAID_OTHERWISE = ("no colour", "scale unknown")
"""Starts of an importer's notes that `scan_advice` says from the capture itself."""
REMEDIES = {
    "no depth": "Scan with an app that records LiDAR depth, and export it with the rest.",
    "no confidence": "Doubtful depth counts like the rest: export confidence too where the app can (Record3D: .r3d).",
    "no camera motion": "Scan with the camera at the back, and walk round the things.",
    "no camera-intrinsics": "Add that file, with the figures of the camera that was used.",
    "depth left out": "",  # says itself what to do
    "direction of gravity": "The level surface that was found is taken as level: have much of the table in view.",
}
"""What to do about an importer's note (`Capture.missing`) that starts so."""
EXPORT_AGAIN = "Export the scan again, whole; scan again where that changes nothing."


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
    if not supports:
        warnings.append("No level surface was found: scan the table or floor that the things stand on.")
    elif not objects:
        warnings.append(
            "No loose object was found on the support, everything became background: scan from 0.3 to 2 m, all the way "
            "round things of 2 cm and more."
        )
    warnings += scan_advice(capture)
    if refined.error_after_mm > 8.0:
        warnings.append(
            f"Depth images disagree by {refined.error_after_mm:.0f} mm: walk slower, stay within 1.5 m, avoid glass."
        )
    warnings += unseen_sides(objects)
    for item, solid in zip(objects, parts, strict=True):
        warnings += [
            f"{item.name} may collide less exactly than it looks ({note.rstrip('.')}): scan it again from all sides, "
            "or give more time with --parts.coacd-time-limit-s."
            for note in solid.notes
        ]
    return tuple(warnings)


def scan_advice(capture: Capture) -> tuple[str, ...]:
    """What the scan itself lacks, before anything is made of it."""
    said = []
    if not capture.metric:
        said.append(
            "The scan is not metric, sizes and masses are guesses: scan with an app that records LiDAR depth, or hold "
            "a ruler to one thing."
        )
    if not capture.has_rgb:
        said.append(
            "The scan has no colour, objects are grey and their materials guessed from shape alone: record and export "
            "the colour pictures too."
        )
    return (*said, *with_remedies(capture.missing, capture.source))


def with_remedies(notes: Sequence[str], source: Path) -> tuple[str, ...]:
    """What importers noted about the scan at `source`, as sentences that say what to do."""
    # Where the scan lay is nobody's business who gets the scene, and the same scan gives the same scene anywhere.
    placeless = [note.replace(f"{source}/", "") for note in notes]
    return tuple(_with_remedy(note) for note in placeless if not note.startswith(SAID_OTHERWISE))


def _with_remedy(note: str) -> str:
    remedy = next((text for start, text in REMEDIES.items() if note.startswith(start)), EXPORT_AGAIN)
    is_file = "." in note.split(" ", 1)[0]
    sentence = note if is_file else note[:1].upper() + note[1:]
    return f"{sentence.rstrip('.')}. {remedy}".rstrip()


def tag_advice(
    sightings: Sightings, tag: Tag | None, lean_deg: float | None, settings: TagSettings, metric: bool = True
) -> tuple[str, ...]:
    """What the user should know about the tag: plain sentences with advice; none where all is well or no tag is seen.

    Args:
        sightings: what was found.
        tag: what was measured, or None.
        lean_deg: of a tag from which no mount could be made; None where one was.
        settings: of the tag.
        metric: whether the scan says of itself that it is in metres.
    """
    if tag is None:
        return _missed(sightings, settings)
    said = []
    if lean_deg is not None:
        said.append(
            f"The robot's tag leans by {min(lean_deg, 180 - lean_deg):.0f}°, so no robot was placed: lay it flat on "
            "the bench, stick it on an upright face, or give the robot's place with `pocketworld mount`."
        )
    off = tag.scale - 1.0
    if abs(off) > max(SCALE_TOLERANCE, 2.0 * tag.scale_sigma):
        said.append(_scale_sentence(tag, settings, metric))
    return tuple(said)


def _scale_sentence(tag: Tag, settings: TagSettings, metric: bool) -> str:
    word = "large" if tag.scale > 1 else "small"
    percent, sigma = 100 * abs(tag.scale - 1), 200 * tag.scale_sigma
    amount = (
        f"{percent:.1f} % (±{max(sigma, 0.1):.1f} %) too {word}"
        if tag.scale < 2
        else f"{tag.scale:.3g} times too large"
    )
    depth = (
        "" if tag.depth_scale is None else f" ({1e-3 * settings.size_mm * tag.depth_scale * 1e3:.1f} mm by depth alone)"
    )
    return (
        f"The scan is {amount}: the black square of its tag measures {1e3 * tag.side_m:.1f} mm{depth} instead of "
        f"{settings.size_mm:g} mm. Measure the print with a ruler and give what it says as --tag.size-mm; if it is "
        f"right, reconstruct with --tag.rescale{'' if metric else ', which makes the scan metric'}."
    )


def _missed(sightings: Sightings, settings: TagSettings) -> tuple[str, ...]:
    if sightings.seen:
        return (
            f"The robot's tag is in {len(sightings.seen)} of {sightings.looked} pictures, which do not tell where it "
            "is: walk round it, with the whole tag in view from several sides, or give the robot's place with "
            "`pocketworld mount`.",
        )
    if sightings.others:
        numbers = ", ".join(str(number) for number in sightings.others[:5])
        return (
            f"The scan shows tags of {settings.family} with other numbers ({numbers}) than the robot's {settings.id}: "
            "if one of them is the robot's, name it with --tag.id.",
        )
    return ()


def typical_distance(views: Sequence[DepthView]) -> float:
    """Median over the views of their median depth (m)."""
    return float(np.median([np.median(view.depth_m[view.depth_m > 0]) for view in views]))


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


def unseen_sides(objects: Sequence[SceneObject]) -> list[str]:
    """Where to walk next time, the least seen object first."""
    azimuth_deg = best_azimuth_deg(objects)
    found = [
        (measured.share, sentence)
        for item in objects
        if (measured := unseen(item)) is not None
        and (sentence := unseen_side(item, measured, objects, azimuth_deg)) is not None
    ]
    said = [sentence for _, sentence in sorted(found, key=lambda entry: -entry[0])]
    if len(said) > MOST_SIDES:
        said[MOST_SIDES:] = [
            f"Walk all the way round everything: {len(said) - MOST_SIDES} more objects were seen in part."
        ]
    return said


def unseen_side(item: SceneObject, measured: Unseen, others: Sequence[SceneObject], azimuth_deg: float) -> str | None:
    """One sentence on how to scan `item` better, or None where enough of it was seen.

    Args:
        item: the object.
        measured: what of it was not seen.
        others: all objects of the scene; the neighbour on the unseen side is named.
        azimuth_deg: from where the report's picture looks; sides are named as they appear in it.
    """
    if measured.share < WORTH_SAYING:
        return None
    tail = f"{round(100 * measured.share)} % of it was not seen."
    if measured.above > max(measured.sideways_area, measured.below):
        return f"Hold the phone higher over {item.name}: {tail}"
    if measured.below > measured.sideways_area:
        return f"Hold the phone lower beside {item.name}: {tail}"
    if np.linalg.norm(measured.sideways) < ONE_SIDED * measured.sideways_area:
        return f"Walk all the way round {item.name}: {tail}" if measured.share >= WORTH_A_ROUND else None
    bearing = float(np.degrees(np.arctan2(measured.sideways[1], measured.sideways[0])))
    side = side_in_picture(bearing - azimuth_deg)
    near = neighbour(item, others, bearing)
    towards = f", towards {near}" if near else ""
    return f"Walk round the {side} side of {item.name} (as report.html shows it{towards}): {tail}"


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

"""A capture becomes a scene. Reads like the table of contents of this package."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from reconstruction.background import BackgroundSettings, background_mesh, support_outlines, with_tops
from reconstruction.capture import Capture, FloatArray, scaled_capture
from reconstruction.decomposition import DecompositionSettings, Parts, convex_parts
from reconstruction.errors import ReconstructionError
from reconstruction.fusion import Box, Fusion, FusionSettings, fuse
from reconstruction.heightmap import Ground, GroundSettings, HeightMap, find_ground, height_map
from reconstruction.keyframes import KeyframeSettings, select_keyframes, select_views
from reconstruction.material import MaterialSettings, physical_properties
from reconstruction.mesh import Mesh
from reconstruction.objects import Shape, ShapeSettings, shape_objects
from reconstruction.photogrammetry.settings import PhotoSettings
from reconstruction.poses import PoseSettings, RefinedPoses, kept_poses, phone_poses, refine_poses
from reconstruction.progress import Progress, part, silent
from reconstruction.quality import advice, tag_advice, typical_distance
from reconstruction.registration import Registration, RegistrationSettings, registered
from reconstruction.scene import Scene, SceneObject, Support
from reconstruction.segmentation import segment
from reconstruction.segments import Segment, SegmentationSettings
from reconstruction.supports import SupportSettings, place_scene, support_boxes
from reconstruction.tabletop import Tabletop, tabletops
from reconstruction.tag_pose import Tag, measure_tag, mount_from_tag
from reconstruction.tags import Sightings, TagSettings, find_tag
from reconstruction.texture import TextureSettings, TextureView, texture_meshes
from reconstruction.thin_parts import ThinPartSettings, with_thin_parts
from reconstruction.views import DepthView, ViewSettings, load_views

Result = TypeVar("Result")


@dataclass(frozen=True)
class ReconstructSettings:
    """All settings of a reconstruction, a group a step."""

    photos: PhotoSettings = field(default_factory=PhotoSettings)
    """How poses and depth are found from photos or a video (`reconstruction.photogrammetry`)."""
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    """When colour is moved onto depth."""
    tag: TagSettings = field(default_factory=TagSettings)
    """The printed tag that stands for the robot's base."""
    keyframes: KeyframeSettings = field(default_factory=KeyframeSettings)
    """Which frames are used."""
    poses: PoseSettings = field(default_factory=PoseSettings)
    """How drift is taken out."""
    views: ViewSettings = field(default_factory=ViewSettings)
    """How depth is read."""
    supports: SupportSettings = field(default_factory=SupportSettings)
    """What is level."""
    fusion: FusionSettings = field(default_factory=FusionSettings)
    """How depth is fused."""
    ground: GroundSettings = field(default_factory=GroundSettings)
    """What things stand on."""
    segmentation: SegmentationSettings = field(default_factory=SegmentationSettings)
    """What is an object."""
    shape: ShapeSettings = field(default_factory=ShapeSettings)
    """How an object's solid is made."""
    thin: ThinPartSettings = field(default_factory=ThinPartSettings)
    """How shafts and handles that depth misses are found in colour."""
    texture: TextureSettings = field(default_factory=TextureSettings)
    """How objects are coloured."""
    parts: DecompositionSettings = field(default_factory=DecompositionSettings)
    """How objects become convex parts."""
    material: MaterialSettings = field(default_factory=MaterialSettings)
    """How mass and friction are guessed."""
    background: BackgroundSettings = field(default_factory=BackgroundSettings)
    """What stays where it is."""


@dataclass(frozen=True)
class Reconstruction:
    """What `reconstruct` returns.

    Attributes:
        scene: not settled yet (`simulation.settle`).
        timings: seconds of each step, in order.
        figures: numbers for the report: frames, errors, counts.
        fused: everything that was seen as one coarse surface in the scene frame, or None: the "before" picture.
    """

    scene: Scene
    timings: dict[str, float]
    figures: dict[str, Any]
    fused: Mesh | None


@dataclass(frozen=True)
class Bench:
    """One support with what stands on it, all in the scene frame."""

    heights: HeightMap
    ground: Ground
    segments: list[Segment]
    shapes: list[Shape]
    tops: list[Tabletop]


@dataclass(frozen=True)
class TaggedPoses:
    """What is known of a scan before anything is made of it.

    Attributes:
        capture: with colour laid onto depth and, where that was asked for, the tag's scale.
        registration: how colour was laid.
        keyframes: positions in ``capture.frames``.
        refined: poses of all frames.
        sightings: of the robot's tag.
        tag: where it is, under the refined poses, or None.
        factor: what the scan's lengths were multiplied by.
    """

    capture: Capture
    registration: Registration | None
    keyframes: list[int]
    refined: RefinedPoses
    sightings: Sightings
    tag: Tag | None
    factor: float


class _Steps:
    """Runs the steps one after another: their share of the progress and their seconds."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.done, self.timings = progress, 0.0, dict[str, float]()

    def run(self, name: str, share: float, step: Callable[[Progress], Result]) -> Result:
        started = time.perf_counter()
        result = step(part(self.progress, self.done, min(1.0, self.done + share)))
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - started
        self.done += share
        return result


def reconstruct(
    capture: Capture,
    settings: ReconstructSettings | None = None,
    progress: Progress = silent,
    *,
    cache_folder: Path | None = None,
    jobs: int = 1,
) -> Reconstruction:
    """Turn `capture` into a scene of separate, solid, textured, weighed objects.

    Args:
        capture: as an importer returns it.
        settings: None takes the defaults.
        progress: called with fractions of the whole and messages.
        cache_folder: where convex decompositions are kept between runs, or None.
        jobs: processes for the decomposition; the result does not depend on it.

    Raises:
        ReconstructionError: no frame has both depth and a pose.
    """
    s = settings or ReconstructSettings()
    steps = _Steps(progress)
    tagged = _tagged_poses(capture, s, steps)
    capture, keys, poses = tagged.capture, tagged.keyframes, tagged.refined.capture_from_camera
    views = steps.run("import", 0.05, lambda p: load_views(capture, keys, poses[keys], s.views, p))
    if not views:
        raise ReconstructionError(
            f"{capture.source}: no frame has usable depth.",
            remedy="Scan again with LiDAR depth switched on, from 0.3 to 2 m, or check the unit of the depth images.",
            code="no_depth",
        )
    placement = steps.run("supports", 0.03, lambda p: place_scene(views, capture.up, s.supports))
    views = [view.moved(placement.scene_from_world) for view in views]
    coarse = steps.run("fusion", 0.05, lambda p: fuse(views, s.fusion, s.fusion.background_voxel_m, None, p))
    benches: list[Bench] = []
    boxes = support_boxes(placement, s.supports)
    for box, height_m in boxes:
        first = sum(len(b.ground.nominal_m) for b in benches)
        bench = _bench(views, box, height_m, first, s, steps, 1.0 / len(boxes))
        benches += [] if bench is None else [bench]
    pictures = steps.run(
        "thin parts", 0.01, lambda p: _pictures(capture, keys, poses, placement.scene_from_world, benches, s, p)
    )
    benches = steps.run("thin parts", 0.04, lambda p: _with_thin_parts(pictures, benches, s, p))
    lift = np.eye(4)
    if benches and benches[0].ground.nominal_m:
        lift[2, 3] = -benches[0].ground.nominal_m[0]
    shapes = [replace(shape, mesh=shape.mesh.moved(lift)) for bench in benches for shape in bench.shapes]
    scene_from_capture = lift @ placement.scene_from_world
    supports = support_outlines(placement, [(b.heights, b.ground) for b in benches], lift)
    rest = steps.run("background", 0.06, lambda p: _background(coarse, benches, lift, s))
    meshes = [shape.mesh for shape in shapes]
    tops = [top for bench in benches for top in bench.tops]
    colored = steps.run(
        "texture",
        0.13,
        lambda p: _textured(pictures, meshes, tops, lift, rest, s, p),
    )
    parts = steps.run("parts", 0.15, lambda p: convex_parts(meshes, s.parts, jobs, cache_folder, p))
    objects = steps.run("material", 0.02, lambda p: assemble(shapes, colored[: len(meshes)], parts, supports, s))
    mount, lean_deg = (
        (None, None) if tagged.tag is None else mount_from_tag(tagged.tag, scene_from_capture, s.tag.offset)
    )
    said = tag_advice(tagged.sightings, tagged.tag, lean_deg if mount is None else None, s.tag, capture.metric)
    extra: dict[str, Any] = {} if mount is None else {"mounted_by": "tag"}
    if tagged.factor != 1.0:
        extra["capture_scale"] = tagged.factor
    scene = Scene(
        scene_from_capture=scene_from_capture,
        supports=supports,
        background=with_tops(rest, colored[len(meshes) :]),
        objects=objects,
        metric=capture.metric,
        warnings=(*said, *advice(capture, tagged.refined, typical_distance(views), supports, objects, parts)),
        robot_mount=mount,
        extra=extra,
    )
    everything = background_mesh(coarse, [], s.background)
    return Reconstruction(
        scene,
        steps.timings,
        _figures(tagged, views, coarse, benches),
        None if everything is None else everything.moved(lift),
    )


def tagged_poses(
    capture: Capture, settings: ReconstructSettings | None = None, progress: Progress = silent
) -> TaggedPoses:
    """The first steps of `reconstruct`: better poses, and the robot's tag under them.

    Raises:
        ReconstructionError: no frame has both depth and a pose.
        UsageError: there is no such tag.
    """
    return _tagged_poses(capture, settings or ReconstructSettings(), _Steps(progress))


def _tagged_poses(capture: Capture, s: ReconstructSettings, steps: _Steps) -> TaggedPoses:
    laid: Registration | None = None
    if not capture.adjusted:
        capture, laid = steps.run("registration", 0.02, lambda p: registered(capture, s.registration, p))
    sightings = steps.run("tag", 0.02, lambda p: find_tag(capture, s.tag, p))
    capture, factor = _rescaled(capture, sightings, s.tag)
    keys = steps.run("keyframes", 0.02, lambda p: select_keyframes(capture, s.keyframes, p))
    if capture.adjusted:
        refined = kept_poses(capture, "Poses come of a bundle adjustment: kept.")
    else:
        refined = steps.run("poses", 0.2, lambda p: refine_poses(capture, keys, s.poses, p))
    measure = functools.partial(measure_tag, sightings=sightings, settings=s.tag)
    tag = steps.run("tag", 0.0, lambda p: measure(capture, poses=refined.capture_from_camera))
    if (s.tag.rescale or factor != 1.0) and tag is not None:
        # Better poses tell the scale better than the phone's, which were only to bring it into reach of the settings.
        rest = round(1.0 / tag.scale, 6)
        capture, factor, poses = scaled_capture(capture, rest), round(factor * rest, 6), refined.capture_from_camera
        poses = np.concatenate([poses[..., :3], poses[..., 3:] * np.array([rest, rest, rest, 1.0])[:, None]], axis=-1)
        refined = replace(refined, capture_from_camera=poses)
        tag = measure(capture, poses=poses)
    return TaggedPoses(capture, laid, keys, refined, sightings, tag, factor)


def _rescaled(capture: Capture, sightings: Sightings, settings: TagSettings) -> tuple[Capture, float]:
    """The scan in the tag's metres, where that was asked for, and what its lengths were multiplied by.

    Photos have no scale of their own: there the tag is asked whenever it is seen.

    Raises:
        ReconstructionError: it was asked for, and the tag does not tell.
    """
    photos = capture.adjusted and not capture.metric
    if not (settings.rescale or photos):
        return capture, 1.0
    tag = measure_tag(capture, sightings, phone_poses(capture), settings)
    if tag is None and not settings.rescale:
        return capture, 1.0
    if tag is None:
        raise ReconstructionError(
            f"{capture.source}: the scan cannot be rescaled, its tag was seen in {len(sightings.seen)} pictures, which "
            "do not tell its size.",
            remedy="Scan the tag whole and from several sides, check --tag.family and --tag.id, or leave out "
            "--tag.rescale.",
            code="no_tag",
        )
    factor = round(1.0 / tag.scale, 6)
    return replace(scaled_capture(capture, factor), metric=True), factor


def _bench(
    views: Sequence[DepthView],
    box: Box,
    height_m: float,
    first_support: int,
    s: ReconstructSettings,
    steps: _Steps,
    share: float,
) -> Bench | None:
    fine = steps.run("fusion", 0.1 * share, lambda p: fuse(views, s.fusion, s.fusion.voxel_m, box, p))
    if fine.blocks == 0:
        return None

    def separate(progress: Progress) -> tuple[HeightMap, Ground, list[Segment]] | None:
        heights = height_map(fine.volume(), s.ground.min_weight)
        ground = find_ground(heights, s.ground, height_m)
        if ground is None:
            return None
        return heights, ground, segment(heights, ground, s.segmentation, ceiling_m=float(box.high[2]))

    separated = steps.run("segmentation", 0.03 * share, separate)
    if separated is None:
        return None
    heights, ground, segments = separated
    shapes = steps.run(
        "shape", 0.17 * share, lambda p: shape_objects(views, heights, ground, segments, s.shape, p, first_support)
    )
    return Bench(heights, ground, segments, shapes, tabletops(heights, ground, segments, s.background.tabletop))


def _background(coarse: Fusion, benches: Sequence[Bench], lift: FloatArray, s: ReconstructSettings) -> Mesh | None:
    solids = [shape.mesh for bench in benches for shape in bench.shapes]
    tops = [(bench.heights, bench.ground, top) for bench in benches for top in bench.tops]
    rest = background_mesh(coarse, solids, s.background, tops)
    return None if rest is None else rest.moved(lift)


def _pictures(
    capture: Capture,
    keys: Sequence[int],
    poses: FloatArray,
    scene_from_capture: FloatArray,
    benches: Sequence[Bench],
    s: ReconstructSettings,
    progress: Progress,
) -> list[TextureView]:
    """The pictures in which colours are looked up; none where there is nothing to colour."""
    if not any(bench.shapes or bench.tops for bench in benches):
        return []
    return [
        TextureView(
            capture.frames[position].rgb,
            capture.frames[position].size,
            capture.frames[position].intrinsics,
            scene_from_capture @ poses[position],
        )
        for position in select_views(capture, keys, s.keyframes, progress)
    ]


def _with_thin_parts(
    pictures: Sequence[TextureView], benches: Sequence[Bench], s: ReconstructSettings, progress: Progress
) -> list[Bench]:
    result, first = [], 0
    for number, bench in enumerate(benches):
        now = part(progress, number / len(benches), (number + 1) / len(benches))
        shapes = with_thin_parts(pictures, bench.heights, bench.ground, bench.shapes, s.thin, now, first)
        result.append(replace(bench, shapes=shapes))
        first += len(bench.ground.nominal_m)
    return result


def _textured(
    pictures: Sequence[TextureView],
    objects: Sequence[Mesh],
    tops: Sequence[Tabletop],
    lift: FloatArray,
    rest: Mesh | None,
    s: ReconstructSettings,
    progress: Progress,
) -> list[Mesh]:
    meshes = [*objects, *(top.mesh.moved(lift) for top in tops)]
    if not meshes:
        return []
    views = [replace(view, scene_from_camera=lift @ view.scene_from_camera) for view in pictures]
    occluders = [] if rest is None else [rest]
    doubtful = [None] * len(objects) + [top.doubts for top in tops]
    return texture_meshes(meshes, views, s.texture, progress, occluders, doubtful)


def assemble(
    shapes: Sequence[Shape],
    colored: Sequence[Mesh],
    parts: Sequence[Parts],
    supports: tuple[Support, ...],
    s: ReconstructSettings,
) -> tuple[SceneObject, ...]:
    """The scene's objects: weighed, with the origin of each in its centre of mass, named by their form and place."""
    objects = []
    counts: dict[str, int] = {}
    for shape, surface, solid in zip(shapes, colored, parts, strict=True):
        surface = replace(surface, seen=shape.mesh.seen)
        properties = physical_properties(surface, s.material)
        kind = _NAMES.get(properties.shape, "object")
        counts[kind] = counts.get(kind, 0) + 1
        object_from_scene = np.eye(4)
        object_from_scene[:3, 3] = -properties.center_of_mass
        objects.append(
            SceneObject(
                name=f"{kind}_{counts[kind]}",
                scene_from_object=np.asarray(np.linalg.inv(object_from_scene), dtype=np.float64),
                visual=surface.moved(object_from_scene),
                convex_parts=tuple(piece.moved(object_from_scene) for piece in solid.parts),
                mass_kg=properties.mass_kg,
                center_of_mass=np.zeros(3),
                inertia=properties.inertia,
                friction=properties.friction,
                restitution=properties.restitution,
                material=properties.material,
                volume_m3=properties.volume_m3,
                seen_fraction=shape.seen_fraction,
                mass_interval_kg=properties.mass_interval_kg,
                support=supports[shape.support].name if shape.support < len(supports) else "",
            )
        )
    return tuple(objects)


_NAMES = {"open": "container", "flat": "flat", "long": "stick", "block": "block", "round": "ball", "bottle": "bottle"}


def _figures(
    tagged: TaggedPoses, views: Sequence[DepthView], coarse: Fusion, benches: Sequence[Bench]
) -> dict[str, Any]:
    capture, laid, keys, refined = tagged.capture, tagged.registration, tagged.keyframes, tagged.refined
    return {
        "frames": len(capture.frames),
        "keyframes": len(keys),
        "views": len(views),
        "color_scale": 1.0 if laid is None else round(laid.scale, 3),
        "color_shift": [0.0, 0.0] if laid is None else [round(share, 4) for share in laid.shift],
        "pose_error_before_mm": round(refined.error_before_mm, 3),
        "pose_error_after_mm": round(refined.error_after_mm, 3),
        "poses_refined": refined.accepted,
        "loop_closures": refined.loop_closures,
        "largest_correction_mm": round(refined.largest_correction_mm, 2),
        "tag": None if tagged.tag is None else tagged.tag.as_json(),
        "tag_pictures": len(tagged.sightings.seen),
        "blocks": coarse.blocks,
        "ground_noise_mm": [round(1e3 * bench.ground.noise_m, 2) for bench in benches],
    }

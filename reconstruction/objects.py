"""From a segment of the bench to a solid: where its cells end, what was measured there, and the closed mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reconstruction.completion import Ceiling, CompletionSettings, complete
from reconstruction.fusion import Box
from reconstruction.heightmap import Ground, HeightMap
from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent
from reconstruction.refusion import Grid, Measured, RefusionSettings, highest_hits, measure
from reconstruction.segments import Segment
from reconstruction.views import DepthView


@dataclass(frozen=True)
class ShapeSettings:
    """How the solid of each object is made."""

    refusion: RefusionSettings = field(default_factory=RefusionSettings)
    """Measuring each object again at full resolution."""
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    """Making up what was not seen."""
    slack_m: float = 0.006
    """Measured surface may stand out this far (m) beyond the object's cells, but never into a neighbour's."""
    margin_m: float = 0.02
    """Room (m) left round an object in its grid."""


@dataclass(frozen=True)
class Shape:
    """A solid in the scene frame.

    Attributes:
        mesh: closed, with `seen` for each vertex.
        seen_fraction: share of its surface that was measured.
        support: number of the scene's support it belongs to.
    """

    mesh: Mesh
    seen_fraction: float
    support: int


def shape_objects(
    views: Sequence[DepthView],
    heights: HeightMap,
    ground: Ground,
    segments: Sequence[Segment],
    settings: ShapeSettings,
    progress: Progress = silent,
    first_support: int = 0,
) -> list[Shape]:
    """The solids of all segments of which something is left, in their order (views in the scene frame).

    `first_support` is the scene's number of the bench's level 0.
    """
    shapes = []
    for number, item in enumerate(segments):
        progress(number / max(len(segments), 1), f"shaping object {number + 1} of {len(segments)}")
        shape = shape_object(views, heights, segments, number, settings)
        if shape is not None:
            shapes.append(replace(_flattened(shape, item, ground), support=first_support + item.level))
    progress(1.0, f"{len(shapes)} objects shaped")
    return shapes


def shape_object(
    views: Sequence[DepthView], heights: HeightMap, segments: Sequence[Segment], number: int, settings: ShapeSettings
) -> Shape | None:
    """The solid of one segment, or None where nothing solid is left of it."""
    item = segments[number]
    x, y = np.nonzero(item.mask | item.hidden)
    low = heights.origin + heights.cell_m * np.array([x.min(), y.min()]) - settings.margin_m
    high = heights.origin + heights.cell_m * np.array([x.max(), y.max()]) + settings.margin_m
    box = Box(np.append(low, item.base_m - 0.012), np.append(high, item.top_m + settings.margin_m))
    measured = measure(views, box, settings.refusion)
    outside = outside_distance(heights, segments, number, measured, settings)
    ceiling = _hidden_ceiling(heights, item, measured)
    top = highest_hits(views, measured, outside < 0.0)
    result = complete(measured, outside, item.base_m, settings.completion, ceiling, top)
    if result is None:
        return None
    mesh, trusted = result
    seen = _seen(mesh, measured, trusted)
    faces = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]), axis=1)
    fraction = float((area * seen[mesh.faces].mean(axis=1)).sum() / max(area.sum(), 1e-12))
    return Shape(replace(mesh, seen=seen), fraction, item.level)


def outside_distance(
    heights: HeightMap, segments: Sequence[Segment], number: int, measured: Measured, settings: ShapeSettings
) -> Grid:
    """``(X, Y)`` distance beyond where `segments[number]` may reach, negative inside, on the grid of `measured`.

    Towards the free support the limit lies `slack_m` outside its cells; towards neighbours halfway between the two, and
    in a vessel at the cells.
    """
    from scipy import ndimage

    item = segments[number]
    own = item.mask | item.hidden
    others = np.zeros_like(own)
    for index, other in enumerate(segments):
        # What stands on this one, or carries it, is above or below, not beside.
        if index != number and other.on != number and item.on != index:
            others |= other.mask | other.hidden
    own = (ndimage.binary_fill_holes(own) & ~others) | own
    cell = heights.cell_m
    to_own = ndimage.distance_transform_edt(~own)
    distance = (to_own - ndimage.distance_transform_edt(own)) * cell - 0.5 * cell * np.where(own, -1, 1)
    to_others = ndimage.distance_transform_edt(~others) if others.any() else np.full(own.shape, 1e3)
    halfway = np.where(own, -0.5 * (to_others - 0.5) * cell, 0.5 * (to_own - to_others) * cell)
    # What lies in a vessel is bounded by it: beyond its own cells from above all is the vessel.
    inside = item.on >= 0 and segments[item.on].top_m > item.base_m + settings.slack_m
    limit = np.maximum(distance - (0.0 if inside else settings.slack_m), halfway)
    x, y = (
        (measured.origin[axis] + measured.voxel_m * np.arange(measured.sdf_m.shape[axis]) - heights.origin[axis]) / cell
        for axis in (0, 1)
    )
    where = np.stack(np.meshgrid(x, y, indexing="ij"))
    return np.asarray(ndimage.map_coordinates(limit, where, order=1, mode="nearest"), dtype=np.float32)


def _hidden_ceiling(heights: HeightMap, item: Segment, measured: Measured) -> Ceiling | None:
    """What stands on the object, as a limit for its own solid; None where nothing does."""
    from scipy import ndimage

    if not item.hidden.any():
        return None
    limited = item.hidden
    if item.top_m - item.hidden_top_m < 0.008:
        # The foot of what stands on a flat top is smeared over the top round it.
        limited = ndimage.binary_dilation(item.hidden, iterations=4)
    index = [
        np.clip(
            np.round(
                (
                    measured.origin[axis]
                    + measured.voxel_m * np.arange(measured.sdf_m.shape[axis])
                    - heights.origin[axis]
                )
                / heights.cell_m
            ).astype(int),
            0,
            item.hidden.shape[axis] - 1,
        )
        for axis in (0, 1)
    ]
    return Ceiling(item.hidden[np.ix_(*index)], limited[np.ix_(*index)], item.hidden_top_m)


def _seen(mesh: Mesh, measured: Measured, trusted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """1 for vertices that lie where the surface was measured, 0 elsewhere."""
    from scipy import ndimage

    where = ((mesh.vertices - measured.origin) / measured.voxel_m).T
    near = ndimage.map_coordinates(trusted.astype(np.float32), where, order=1, mode="nearest")
    value = ndimage.map_coordinates(measured.sdf_m, where, order=1, mode="nearest")
    return np.asarray((near > 0.5) & (np.abs(value) < 2.0 * measured.voxel_m), dtype=np.float32)


def _flattened(shape: Shape, item: Segment, ground: Ground) -> Shape:
    """The shape moved vertically so that its bent ground becomes its level's plane."""
    level_height = ground.nominal_m[item.level]
    local = float(np.median(ground.height_m[item.mask | item.hidden]))
    vertices = shape.mesh.vertices + np.array([0.0, 0.0, level_height - local])
    return replace(shape, mesh=replace(shape.mesh, vertices=vertices))

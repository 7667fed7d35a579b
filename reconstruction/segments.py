"""What segmentation is told and what it returns: settings, parts of a blob, objects' cells."""

from __future__ import annotations

from dataclasses import dataclass

from reconstruction.heightmap import BoolGrid


@dataclass(frozen=True)
class SegmentationSettings:
    """What counts as an object."""

    min_height_m: float = 0.005
    """A blob rises at least this much (m) over the ground somewhere; thinner things stay part of the support."""
    min_area_m2: float = 4e-4
    """Smallest footprint (m²)."""
    thin_m: float = 0.012
    """Blobs lower than this (m) need `min_thin_area_m2`, for the bending of a scan looks like them."""
    min_thin_area_m2: float = 2.0e-3
    """Smallest footprint (m²) of a thin blob."""
    end_rise_m: float = 0.001
    """A thin end of a thing (a screwdriver's shaft) rises at least this much (m) in the mean of all views …"""
    end_foot_m: float = 0.009
    """… beyond the smeared foot of the thing, this wide (m) …"""
    min_end_m: float = 0.024
    """… reaches at least this far (m) from it …"""
    end_radius_m: float = 0.015
    """… is no thicker than this radius (m) as a phone smears it …"""
    end_slender: float = 3.0
    """… nor than a third of how far it reaches …"""
    end_share: float = 0.8
    """… and covers at most this share of the thing's own cells."""
    max_extent_m: float = 0.6
    """Longer blobs (m) are furniture."""
    groove_width_m: float = 0.028
    """Gaps up to this width (m) between low things are looked for as grooves …"""
    groove_below_m: float = 0.04
    """… between things lower than this (m) …"""
    min_groove_part_m2: float = 1.2e-3
    """… of at least this footprint (m²) each."""
    neck_ratio: float = 0.62
    """Two thick parts are two things if the neck between them is narrower than this share of the thinner part …"""
    colored_neck_ratio: float = 0.85
    """… or than this where they differ in colour by more than `other_color` …"""
    hollow_neck_ratio: float = 0.72
    """… or than this where both are hollow: one thing rarely has two wide holes …"""
    same_neck_ratio: float = 0.6
    """… or than this where they differ by less than `same_color`; a long neck (a bar) then joins them anyhow."""
    same_color: float = 10.0
    """Parts whose mean colours are nearer than this (CIE L*a*b*, lightness halved) may be one thing …"""
    other_color: float = 24.0
    """… and parts farther apart than this are two."""
    bar_length: float = 2.0
    """A neck this many times longer than where two things touch is a bar between two ends of one thing."""
    min_neck_area_m2: float = 8e-4
    """Smallest footprint (m²) of a thing that a neck parts from another: less is a spout or a handle."""
    min_colored_area_m2: float = 1.2e-3
    """Smallest footprint (m²) of a thing that only colour parts from another: less is a lid or a label."""
    simpler_by: float = 0.06
    """What only colour parts is two things if they fill their convex outlines by so much more than both together."""
    least_floor_m: float = 0.007
    """Thickness (m) believed of the bottom of a vessel that is hidden under what lies in it."""
    moat_share: float = 0.35
    """A top of which more than this share is neither flat nor covered by what stands on it is the rim of a vessel."""
    wall_depth_m: float = 0.012
    """What is nearer than this (m) to the outline of a vessel is its wall; what lies in the vessel may touch it."""
    flush_share: float = 0.5
    """What rises from a flat top of its own colour and ends flush with it along this share of its outline is part of
    it, where the two together are no more than one convex form from above: a bracket's upright, a toy car's cabin."""
    slender_share: float = 0.7
    """So is a plate of whatever colour that is flush like that, spans the top and is thinner than this share of its
    height over it: it could hardly stand there by itself."""
    border_m: float = 0.024
    """Cells this near (m) to the border of two things that touch may change owner …"""
    border_ratio: float = 0.6
    """… where they are unlike their own side's cells farther off and like those of the other: distance in colour and
    height less than this share."""
    min_part_radius_m: float = 0.011
    """Parts thinner than this radius (m) are handles and spouts, never things of their own."""
    min_ledge_area_m2: float = 1.5e-3
    """Smallest flat top (m²) that can carry another thing."""
    min_raised_area_m2: float = 7e-4
    """Smallest footprint (m²) of a thing that stands on another: less is a knob or a button."""
    ledge_step_m: float = 0.016
    """How far (m) something must rise above a flat top to be another thing that stands on it."""
    min_ledge_share: float = 0.5
    """Something stands *beside* a flat top only if that top is at least this share of the lower thing."""
    side_step_m: float = 0.012
    """The same for a thing that stands beside the flat top rather than on it."""
    wall_gap_m: float = 0.03
    """Pieces of a thin wall are one thing across gaps up to this wide (m) if together they enclose something."""
    headroom_m: float = 0.02
    """Objects end at least this far (m) below where the space that was looked at ends."""
    inside_share: float = 0.55
    """Share of an object's footprint that must lie on the support: the rest may hang over its edge."""


@dataclass(frozen=True)
class Segment:
    """One object's cells.

    Attributes:
        mask: ``(X, Y)`` bool cells whose highest surface belongs to it.
        hidden: ``(X, Y)`` bool cells that it fills under something that stands on it.
        hidden_top_m: z of its top there.
        base_m: z of what it stands on (scene frame).
        top_m: z of its highest cell.
        level: number of the support level, see `Ground`.
        on: position in the list of the segment it stands on, or -1.
    """

    mask: BoolGrid
    hidden: BoolGrid
    hidden_top_m: float
    base_m: float
    top_m: float
    level: int
    on: int = -1


@dataclass(frozen=True)
class Part:
    """One thing of a blob, in the blob's window; heights over the ground.

    Attributes:
        mask: cells whose highest surface belongs to it.
        hidden: cells that it fills under another part.
        hidden_top_m: its height there.
        base_m: height of what it stands on: 0 for the ground.
        on: position in the list of the part that carries it, or -1.
    """

    mask: BoolGrid
    hidden: BoolGrid
    hidden_top_m: float = 0.0
    base_m: float = 0.0
    on: int = -1

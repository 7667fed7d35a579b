"""How things stand: the poses in which an object, or one on another, stays where it is, found in physics once each.

A cousin is put together from stances, like a table that is set: what stands by itself stands anywhere on a level
support, and what stands apart from the rest is not moved by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from reconstruction.scene import HULL_MARGIN_M, SceneObject, Support, support_slab
from simulation.forms import in_scene, outline
from simulation.world import World, pose_change

FloatArray = npt.NDArray[np.float64]
LOW_M = 0.012
"""Parts that begin this far above the lowest point play no part in how a thing stands."""


@dataclass(frozen=True)
class StanceSettings:
    """When something counts as standing."""

    settle_steps: int = 240
    """It has so many steps (1/240 s) to come to rest."""
    look_steps: int = 30
    """It is looked at every so many steps."""
    copies: int = 8
    """Then so many copies, each turned another way, are watched …"""
    stack_copies: int = 12
    """… (of things on each other so many) …"""
    mass: tuple[float, ...] = (1.0, 0.7, 1.45)
    """… in turn with these times their mass, one member at a time …"""
    hold_steps: int = 120
    """… for so many steps …"""
    moved_mm: float = 0.25
    """… in which none may move more than this …"""
    turned_deg: float = 0.2
    """… or this. What rocks shows it by then: so did those that rocked of about 70 single things watched for 5 s."""
    lean_deg: float = 12.0
    """It still stands the way it was put if its up direction changed by less than this."""
    slippery: float = 0.75
    """Tried with this share of its friction, so that it also stands where friction is varied down to that."""
    bouncy: float = 0.1
    """… and with this much more restitution, for the same reason."""
    level_deg: float = 0.5
    """What does not hold at this tilt is not trusted on a level support either: it is about to tip or to roll."""
    margin: float = 1.5
    """The tilt at which something holds, divided by this is what it is trusted with …"""
    stack_margin: float = 4.0
    """… or, things on each other, this: they creep at times, and then at tilts that hold at other times."""
    most: int = 3
    """Different sides an object is put on, at most."""
    least_share: float = 0.05
    """Sides on which a dropped thing comes to lie more rarely than this are not tried."""


@dataclass(frozen=True)
class Member:
    """One object of a stance.

    Attributes:
        name: of the object that stands there.
        source: what it is made from, and which form of that it has.
        form: see `source`.
        pose: ``(4, 4)`` in the stance's frame: z up, what it stands on at z = 0, the origin under the first member.
    """

    name: str
    source: str
    form: int
    pose: FloatArray


@dataclass(frozen=True)
class Stance:
    """Objects that stand, by themselves or on each other, on something level.

    Attributes:
        members: the carrier first.
        outline: ``(K, 2)`` corners of the convex hull of all of it in plan, margin not counted.
        height_m: of its top.
        tilt_deg: it stays where it is on a support that leans by this.
    """

    members: tuple[Member, ...]
    outline: FloatArray
    height_m: float
    tilt_deg: float


def stance_of(
    posed: Sequence[SceneObject], forms: Sequence[tuple[str, int]], tilt_deg: float, floor_m: float = 0.0
) -> Stance:
    """Things at rest over a floor at `floor_m` as a stance; `forms` are source and form of each."""
    points = np.vstack([in_scene(item) for item in posed])
    shift = np.eye(4)
    shift[:2, 3] = -posed[0].scene_from_object[:2, 3]
    shift[2, 3] = -floor_m
    members = tuple(
        Member(item.name, source, form, np.round(shift @ item.scene_from_object, 7))
        for item, (source, form) in zip(posed, forms, strict=True)
    )
    corners = np.round(outline(points[:, :2] + shift[:2, 3]), 6)
    return Stance(members, corners, round(float(points[:, 2].max()) - floor_m, 6), tilt_deg)


class Rig:
    """A support in physics on which stances are tried; use it as a context manager."""

    def __init__(
        self,
        support: Support,
        settings: StanceSettings = StanceSettings(),  # noqa: B008 - frozen
        lean_deg: float = 0.0,
    ) -> None:
        """Start a world with `support` alone; it is tried which stances hold on it when it leans by `lean_deg`.

        It is the scene's own support, not just any floor: how PyBullet finds the points of contact depends on the whole
        shape of both bodies.
        """
        self.settings = settings
        self.tilts_deg = sorted({max(settings.margin * lean_deg, settings.level_deg), settings.level_deg}, reverse=True)
        self._world = World()
        self._world.add_fixed("floor", support_slab(support, HULL_MARGIN_M))
        corners = support.polygon[:, :2]
        self._middle = np.append((corners.min(axis=0) + corners.max(axis=0)) / 2, support.polygon[:, 2].mean())
        turn = 2.4 * np.arange(settings.stack_copies)  # the golden angle: any number of them is spread evenly
        out = 0.6 * np.sqrt((np.arange(settings.stack_copies) + 0.5) / settings.stack_copies)
        half = np.ptp(corners, axis=0) / 2
        self._spots = np.round(out[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1) * half, 4)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self._world.close()

    def stands(self, items: Sequence[SceneObject], forms: Sequence[tuple[str, int]]) -> Stance | None:
        """Let `items` (posed, just over the floor or each other) go; how they stand then, or None where they do not.

        Args:
            items: the carrier first, each with a name of its own.
            forms: source and form of each, for the stance's members.
        """
        world, s = self._world, self.settings
        slippery = [
            replace(item, friction=item.friction * s.slippery, restitution=min(item.restitution + s.bouncy, 0.6))
            for item in items
        ]
        shapes = [world.add_shape(_low_parts(item) if len(items) == 1 else item.convex_parts) for item in items]
        try:
            slippery = [replace(item, scene_from_object=self._on_support(item.scene_from_object)) for item in slippery]
            for item, shape in zip(slippery, shapes, strict=True):
                world.add_solid(item.name, shape, item)
            rested = self._at_rest(slippery)
            if rested is None:
                return None
            posed = [replace(item, scene_from_object=self._on_support(rested[item.name], -1.0)) for item in slippery]
            tilt_deg = self._holds(posed, shapes)
        finally:
            world.tilt(0.0)
            for name in world.names:
                world.remove(name)
        if tilt_deg is None:
            return None
        return stance_of(posed, forms, tilt_deg)

    def _on_support(self, pose: FloatArray, sign: float = 1.0) -> FloatArray:
        """A pose over z = 0 as one over the middle of the support, or back."""
        moved = pose.copy()
        moved[:3, 3] += sign * self._middle
        return moved

    def _at_rest(self, items: Sequence[SceneObject]) -> dict[str, FloatArray] | None:
        world, s = self._world, self.settings
        before = world.poses()
        for _ in range(0, s.settle_steps, s.look_steps):
            world.step(s.look_steps)
            after = world.poses()
            for item in items:
                lean = item.scene_from_object[2, :3] @ after[item.name][2, :3]
                if np.degrees(np.arccos(min(max(float(lean), -1.0), 1.0))) > s.lean_deg:
                    return None  # it fell over: no need to see where it ends
            if self._same(before, after, 0.5):
                return after
            before = after
        return None

    def _holds(self, posed: Sequence[SceneObject], shapes: Sequence[int]) -> float | None:
        """The largest of `tilts_deg` at which it stands however it is turned; None where there is none.

        Copies are watched side by side, each turned another way: which way a body faces decides in PyBullet, too, how
        it rocks and creeps, and downhill is another direction for each.
        """
        world, s = self._world, self.settings
        for name in world.names:
            world.remove(name)
        start: dict[str, FloatArray] = {}
        copies = s.copies if len(posed) == 1 else s.stack_copies
        for copy in range(copies):
            frame = _turned(2.0 * np.pi * copy / copies + 0.35)
            frame[:3, 3] = self._middle
            frame[:2, 3] += self._spots[copy]
            for number, (item, shape) in enumerate(zip(posed, shapes, strict=True)):
                name, mass = f"{item.name} {copy}", s.mass[(copy + number) % len(s.mass)]
                start[name] = frame @ _centered(posed[0], item.scene_from_object)
                heavier = replace(item, mass_kg=item.mass_kg * mass, inertia=item.inertia * mass)
                world.add_solid(name, shape, replace(heavier, name=name, scene_from_object=start[name]))
                world.set_layer(name, copy)
        for tilt_deg in self.tilts_deg:
            for name, pose in start.items():
                world.set_pose(name, pose)
            world.tilt(tilt_deg)
            still = True
            for _ in range(0, s.hold_steps, s.look_steps):
                world.step(s.look_steps)
                still = still and self._same(start, world.poses())
                if not still:
                    break
            if still:
                return round(tilt_deg / (s.margin if len(posed) == 1 else s.stack_margin), 6)
        return None

    def _same(self, before: Mapping[str, FloatArray], after: Mapping[str, FloatArray], share: float = 1.0) -> bool:
        s = self.settings
        for name, pose in before.items():
            moved_m, turned_deg = pose_change(pose, after[name])
            if moved_m * 1e3 > share * s.moved_mm or turned_deg > share * s.turned_deg:
                return False
        return True


def _low_parts(item: SceneObject) -> tuple[Mesh, ...]:
    """The parts with which something can touch the floor before it has fallen over."""
    pose = item.scene_from_object
    low = [float(((part.vertices * pose[2, :3]).sum(axis=1)).min()) for part in item.convex_parts]
    return tuple(part for part, z in zip(item.convex_parts, low, strict=True) if z < min(low) + LOW_M)


def _turned(angle: float) -> FloatArray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose


def _centered(first: SceneObject, pose: FloatArray) -> FloatArray:
    moved = pose.copy()
    moved[:2, 3] -= first.scene_from_object[:2, 3]
    return moved


def upright(item: SceneObject, up: FloatArray, lift_m: float = 0.0005) -> SceneObject:
    """`item` turned the shortest way so that `up` ``(3,)`` of its own frame points up, just over z = 0."""
    from scipy.spatial.transform import Rotation

    up = up / np.linalg.norm(up)
    axis = np.cross(up, [0.0, 0.0, 1.0])
    angle = np.arctan2(np.linalg.norm(axis), up[2])
    if np.linalg.norm(axis) < 1e-9:
        axis = np.array([1.0, 0.0, 0.0])
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    posed = replace(item, scene_from_object=pose)
    pose = pose.copy()
    pose[2, 3] = HULL_MARGIN_M + lift_m - float(in_scene(posed)[:, 2].min())
    return replace(item, scene_from_object=pose)


def sides(item: SceneObject, settings: StanceSettings = StanceSettings()) -> list[FloatArray]:  # noqa: B008
    """Directions ``(3,)`` in the object's frame that can point up: as scanned first, then the likeliest others.

    Candidates are the faces of its convex hull, as likely as the solid angle under which the centre of mass sees each
    (Boothroyd & Ho, "Natural resting aspects of parts for automatic handling", 1977); physics has the last word.
    """
    from scipy.spatial import ConvexHull, QhullError

    found = [np.asarray(item.scene_from_object[2, :3], dtype=np.float64)]
    points = np.vstack([part.vertices for part in item.convex_parts]) - item.center_of_mass
    try:
        hull = ConvexHull(np.unique(np.round(points, 4), axis=0))
    except (QhullError, ValueError):
        return found
    normals, share = hull.equations[:, :3], _solid_angles(hull.points[hull.simplices]) / (4 * np.pi)
    left = np.ones(len(share), dtype=bool)
    while left.any():
        # Faces that are all but parallel are one side.
        first = int(np.argmax(np.where(left, share, -1.0)))
        near = left & (normals @ normals[first] > np.cos(np.deg2rad(8.0)))
        left &= ~near
        up = -(normals[near] * share[near, None]).sum(axis=0)
        up /= max(float(np.linalg.norm(up)), 1e-12)
        distinct = all(up @ other < np.cos(np.deg2rad(20.0)) for other in found)
        if share[near].sum() >= settings.least_share and distinct and len(found) < settings.most:
            found.append(up)
    return found


def _solid_angles(triangles: FloatArray) -> FloatArray:
    """``(N,)`` solid angles of ``(N, 3, 3)`` triangles from the origin (Van Oosterom & Strackee, 1983)."""
    a, b, c = (triangles[:, corner] for corner in range(3))
    la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    top = np.abs(np.einsum("ij,ij->i", a, np.cross(b, c)))
    below = (
        la * lb * lc
        + np.einsum("ij,ij->i", a, b) * lc
        + np.einsum("ij,ij->i", b, c) * la
        + np.einsum("ij,ij->i", c, a) * lb
    )
    return np.asarray(2.0 * np.abs(np.arctan2(top, below)))

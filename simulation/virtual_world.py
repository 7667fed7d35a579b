"""A true world for the virtual phone: a room, a table, and things on it whose poses and masses are known.

World frame: metres, z up, the table's top at z = 0, the floor at z = -0.73.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.errors import UsageError
from reconstruction.mesh import Mesh
from simulation.household import KINDS, HouseholdObject, furniture, make, paint
from simulation.household.solids import rotation

FloatArray = npt.NDArray[np.float64]
FLAT_BASES = ("magazine", "book", "box")
STACKS = {  # what may stand on or lie in what
    "magazine": ("mug", "cup", "can", "bottle", "apple"),
    "book": ("mug", "cup", "can", "tape_roll", "orange"),
    "box": ("can", "block", "tape_roll"),
    "bowl": ("apple", "orange"),
    "tray": ("block", "can"),
}


@dataclass(frozen=True)
class WorldObject:
    """A thing and where it is.

    Attributes:
        name: unique in its world, e.g. ``"mug_2"``.
        thing: shape, material and mass.
        world_from_object: ``(4, 4)``; the object's frame stands on z = 0 (see `HouseholdObject`).
        support: ``"table"``, ``"floor"``, ``"shelf"`` or the name of the object that carries it.
    """

    name: str
    thing: HouseholdObject
    world_from_object: FloatArray
    support: str

    @property
    def world_mesh(self) -> Mesh:
        """The mesh in the world frame."""
        return self.thing.mesh.moved(self.world_from_object)


@dataclass(frozen=True)
class PlacedTag:
    """A printed tag and where it is.

    Attributes:
        family: kind of tag (`reconstruction.tags.FAMILIES`).
        id: its number.
        size_mm: side of its black square.
        world_from_tag: ``(4, 4)``; the tag frame of `reconstruction.tags`.
    """

    family: str
    id: int
    size_mm: float
    world_from_tag: FloatArray


@dataclass(frozen=True)
class VirtualWorld:
    """Objects and everything else.

    Attributes:
        name: kind of world.
        objects: what can be picked up.
        background: what cannot, world frame.
        target: ``(3,)`` what the phone looks at.
        spread_m: how far the things lie round the target, metres.
        tour: ``(S, 2, 3)`` where to stand and what to look at on the way, or None to walk round the target.
        tag: the printed tag that lies on the table (`simulation.tag_on_table`), or None; its mesh is in `background`.
    """

    name: str
    objects: tuple[WorldObject, ...]
    background: tuple[Mesh, ...]
    target: FloatArray
    spread_m: float
    tour: FloatArray | None = None
    tag: PlacedTag | None = None

    @property
    def meshes(self) -> list[Mesh]:
        """Everything, world frame: objects first, in order."""
        return [item.world_mesh for item in self.objects] + list(self.background)


def random_world(
    rng: np.random.Generator,
    objects: int = 8,
    touching: bool = False,
    stacked: bool = False,
    clearance_m: float = 0.02,
    chairs: bool = True,
) -> VirtualWorld:
    """A random table in a random room with `objects` things on it, none intersecting.

    Args:
        rng: chance.
        objects: how many.
        touching: push some pairs into contact (gap 0.2–0.5 mm).
        stacked: let some stand on or in others.
        clearance_m: gap between the footprints of the others; it shrinks where the table is too full for it.
        chairs: put chairs at the table whose backs rise behind its edge.
    """
    shape = str(rng.choice(["rectangle", "rectangle", "round", "trestle"]))
    size = (rng.uniform(0.95, 1.5), rng.uniform(0.65, 0.85))
    if shape == "round":
        size = (rng.uniform(0.85, 1.1),) * 2
    area = (min(size[0] * 0.5 - 0.12, 0.42), min(size[1] * 0.5 - 0.1, 0.28))
    if shape == "round":
        area = (size[0] * 0.31, size[0] * 0.31)
    things = _random_things(rng, objects, stacked)
    items = arrange(rng, things, area, touching, clearance_m)
    background = [*furniture.room(rng), *furniture.table(rng, size, shape)]
    if chairs:
        for _ in range(int(rng.integers(1, 3))):
            side = int(rng.integers(0, 2)) * 2 - 1
            background += furniture.chair(
                rng, rng.uniform(-0.3, 0.3), side * (size[1] / 2 + rng.uniform(0.16, 0.3)), -90.0 * side
            )
            if len(background) > 40:
                break
    return VirtualWorld("random", tuple(items), tuple(background), np.array([0.0, 0.0, 0.04]), float(np.hypot(*area)))


def _random_things(rng: np.random.Generator, count: int, stacked: bool) -> list[tuple[HouseholdObject, int | None]]:
    """Things to place, each with the number of the one that carries it, or None."""
    chosen: list[tuple[str, int | None]] = []
    if stacked:
        for base in rng.permutation(sorted(STACKS))[: max(1, count // 4)]:
            if len(chosen) + 2 <= count:
                chosen += [(str(base), None), (str(rng.choice(STACKS[str(base)])), len(chosen))]
    kinds = list(rng.permutation(sorted(KINDS)))
    flat = sum(name in ("magazine", "book", "tray", "plate") for name, _ in chosen)
    while len(chosen) < count:
        kind = str(kinds.pop()) if kinds else str(rng.choice(sorted(KINDS)))
        wide = kind in ("magazine", "book", "tray", "plate")
        if wide and flat >= 2:
            continue
        flat += wide
        chosen.append((kind, None))
    return [(make(kind, rng), base) for kind, base in chosen]


def arrange(
    rng: np.random.Generator,
    things: list[tuple[HouseholdObject, int | None]],
    area: tuple[float, float],
    touching: bool,
    clearance_m: float,
) -> list[WorldObject]:
    """Places for things on the table, |x| and |y| of their footprints' centres within `area`; large ones first."""
    items: dict[int, WorldObject] = {}
    names = _names([thing.kind for thing, _ in things])
    order = sorted(range(len(things)), key=lambda i: (things[i][1] is not None, -_reach(things[i][0].mesh)))
    carriers = {base for _, base in things if base is not None}
    for number in order:
        thing, base = things[number]
        if base is not None:
            pose, support = _stacked_pose(rng, items[base], thing), items[base].name
        else:
            push = touching and number not in carriers and len(items) > 0 and rng.uniform() < 0.5
            pose, support = _free_pose(rng, thing.mesh, list(items.values()), area, clearance_m, push), "table"
        items[number] = WorldObject(names[number], thing, pose, support)
    return [items[number] for number in range(len(things))]


def _names(kinds: list[str]) -> list[str]:
    return [f"{kind}_{kinds[:number].count(kind) + 1}" for number, kind in enumerate(kinds)]


def _reach(mesh: Mesh) -> float:
    return float(np.linalg.norm(mesh.vertices[:, :2], axis=1).max())


def _pose(x: float, y: float, z: float, turn_deg: float) -> FloatArray:
    pose = np.eye(4)
    pose[:3, :3] = rotation("z", turn_deg)
    pose[:3, 3] = (x, y, z)
    return pose


def _free_pose(
    rng: np.random.Generator,
    mesh: Mesh,
    others: list[WorldObject],
    area: tuple[float, float],
    clearance_m: float,
    push: bool,
) -> FloatArray:
    outlines = [_outline(item.world_mesh.vertices) for item in others]
    grow = 1.0
    for attempt in range(4000):
        if attempt % 400 == 399:
            grow, clearance_m = min(grow * 1.06, 1.25), clearance_m * 0.85
        pose = _pose(
            rng.uniform(-area[0], area[0]) * grow, rng.uniform(-area[1], area[1]) * grow, 0.0, rng.uniform(0, 360)
        )
        outline = _outline(mesh.moved(pose).vertices)
        gaps = [_gap(outline, other) for other in outlines]
        if all(gap > clearance_m for gap in gaps):
            if not push:
                return pose
            touched = _pushed(rng, mesh, pose, others[int(np.argmin(gaps))], others)
            if touched is not None:
                return touched
    raise UsageError("So many things do not fit on the table.", remedy="Ask for fewer --objects.", code="bad_setting")


def _outline(vertices: FloatArray) -> FloatArray:
    from scipy.spatial import ConvexHull

    flat = vertices[:, :2]
    return np.asarray(flat[ConvexHull(flat).vertices])


def _gap(first: FloatArray, second: FloatArray) -> float:
    """Separation of two convex outlines along the best of their edge normals (negative: overlap), metres."""
    best = -np.inf
    for a, b in ((first, second), (second, first)):
        edges = np.roll(a, -1, axis=0) - a
        normals = np.column_stack([edges[:, 1], -edges[:, 0]]) / np.linalg.norm(edges, axis=1, keepdims=True)
        gaps = (b @ normals.T).min(axis=0) - np.einsum("ij,ij->i", a, normals)
        best = max(best, float(gaps.max()))
    return best


def _solid(mesh: Mesh) -> object:
    import manifold3d

    return manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices, mesh.faces.astype(np.uint64)))


def overlap_m3(first: Mesh, second: Mesh) -> float:
    """Volume that two closed meshes share."""
    return float((_solid(first) ^ _solid(second)).volume())  # type: ignore[operator]


def _pushed(
    rng: np.random.Generator, mesh: Mesh, pose: FloatArray, partner: WorldObject, others: list[WorldObject]
) -> FloatArray | None:
    """`pose` slid towards `partner` until the two all but touch; None where something else is in the way."""
    solids = [_solid(item.world_mesh) for item in others]
    target = _solid(partner.world_mesh)
    step = partner.world_from_object[:3, 3] - pose[:3, 3]
    step[2] = 0.0

    def hits(share: float, solid: object) -> bool:
        moved = pose.copy()
        moved[:3, 3] += share * step
        return bool((_solid(mesh.moved(moved)) ^ solid).volume() > 0)  # type: ignore[operator]

    low, high = 0.0, 1.0
    if not hits(high, target):
        return None
    for _ in range(22):
        middle = (low + high) / 2
        low, high = (low, middle) if hits(middle, target) else (middle, high)
    gap = rng.uniform(0.0002, 0.0005)
    share = low - gap / float(np.linalg.norm(step))
    if any(hits(share, solid) for solid in solids):
        return None
    moved = pose.copy()
    moved[:3, 3] += share * step
    return moved


def _stacked_pose(rng: np.random.Generator, base: WorldObject, thing: HouseholdObject) -> FloatArray:
    """On the top of a flat carrier, or lowered into an open one until it touches."""
    carrier = base.world_mesh
    x, y = base.world_from_object[:2, 3]
    if base.thing.kind in FLAT_BASES:
        x, y = x + rng.uniform(-0.01, 0.01), y + rng.uniform(-0.01, 0.01)
        return _pose(x, y, float(carrier.vertices[:, 2].max()) + 1e-4, rng.uniform(0, 360))
    turn = rng.uniform(0, 360)
    solid = _solid(carrier)
    low, high = 0.0, float(carrier.vertices[:, 2].max()) + 0.01
    for _ in range(22):
        middle = (low + high) / 2
        moved = _solid(thing.mesh.moved(_pose(x, y, middle, turn)))
        low, high = (middle, high) if (moved ^ solid).volume() > 0 else (low, middle)  # type: ignore[operator]
    return _pose(x, y, high + 1e-4, turn)


def _put(name: str, seed: int, x: float, y: float, z: float, turn_deg: float, support: str) -> WorldObject:
    kind = name.rsplit("_", 1)[0]
    return WorldObject(name, make(kind, np.random.default_rng(seed)), _pose(x, y, z, turn_deg), support)


def _top_m(item: WorldObject) -> float:
    return float(item.world_mesh.vertices[:, 2].max()) + 1e-4


def sample_world() -> VirtualWorld:
    """The bundled desk: a dozen everyday things, a mug on a magazine, an apple in a bowl, two that touch."""
    magazine = _put("magazine_1", 21, -0.27, 0.08, 0.0, 12.0, "table")
    book = _put("book_1", 5, 0.34, 0.14, 0.0, -25.0, "table")
    bowl = _put("bowl_1", 2, 0.06, 0.15, 0.0, 0.0, "table")
    rng = np.random.default_rng(40)
    apple = make("apple", np.random.default_rng(1))
    items = [
        magazine,
        _put("mug_1", 11, -0.29, 0.10, _top_m(magazine), -120.0, "magazine_1"),
        bowl,
        WorldObject("apple_1", apple, _stacked_pose(rng, bowl, apple), "bowl_1"),
        book,
        _put("tape_roll_1", 6, 0.35, 0.16, _top_m(book), 0.0, "book_1"),
        _put("bottle_1", 8, -0.10, 0.19, 0.0, 60.0, "table"),
        _put("box_1", 3, 0.28, -0.10, 0.0, 18.0, "table"),
        _put("screwdriver_1", 9, 0.03, -0.15, 0.0, 35.0, "table"),
        _put("banana_1", 4, -0.13, -0.07, 0.0, -15.0, "table"),
        _put("controller_1", 14, -0.33, -0.15, 0.0, 160.0, "table"),
        _put("can_1", 12, 0.12, -0.01, 0.0, 0.0, "table"),
    ]
    block = make("block", np.random.default_rng(17))
    start = _pose(-0.02, 0.02, 0.0, 20.0)
    touched = _pushed(rng, block.mesh, start, items[-1], items)
    items.append(WorldObject("block_1", block, start if touched is None else touched, "table"))
    chance = np.random.default_rng(77)
    background = [*furniture.room(chance), *furniture.table(chance, (1.3, 0.75), "rectangle")]
    background += furniture.chair(chance, 0.15, 0.62, -90.0)
    return VirtualWorld("sample", tuple(items), tuple(background), np.array([0.0, 0.02, 0.04]), 0.45)


def bare_wall(rng: np.random.Generator) -> VirtualWorld:
    """Nothing but a painted wall, three metres wide: no support, no objects."""
    wall = paint.plain(rng, paint.color(rng, (0.05, 0.3), (0.7, 0.9)), (512, 768), 0.05)
    panel = furniture.slab(np.array([-3.0, 0.0, -2.0]), np.array([3.0, 0.1, 2.0]), {"*": wall})
    across = np.linspace(-0.5, 0.5, 7)
    sway = rng.uniform(-0.15, 0.15, (7, 4))
    eyes = np.column_stack([across, -1.1 + sway[:, 0], sway[:, 1]])
    aims = np.column_stack([0.6 * across + sway[:, 2], np.zeros(7), sway[:, 3]])
    return VirtualWorld("bare_wall", (), (panel,), np.zeros(3), 0.5, np.stack([eyes, aims], axis=1))


def room_world(rng: np.random.Generator, objects: int = 16) -> VirtualWorld:
    """A whole room: a table with things, a shelf with things, things on the floor, chairs, pictures.

    Half of the `objects` lie on the table, the rest on the boards of the shelf and on the floor. The tour leads round
    the table, along the walls and past the shelf.
    """
    on_table = max(1, objects // 2)
    items = arrange(rng, _random_things(rng, on_table, False), (0.42, 0.25), False, 0.02)
    taken = [item.thing.kind for item in items]
    shelf_x, floor = 2.28, -furniture.TABLE_HEIGHT_M
    spots = [
        (shelf_x, y, floor + 0.05 + 0.35 * board, f"shelf_{board + 1}")
        for board in (1, 2, 3)
        for y in (-0.24, 0.02, 0.26)
    ]
    spots.insert(2, (-1.5, -1.2, floor, "floor"))
    spots.insert(5, (-1.3, 1.3, floor, "floor"))
    kinds = [kind for kind in sorted(KINDS) if kind not in ("magazine", "book", "tray", "plate", "teapot", "jug")]
    for x, y, z, support in spots[: objects - on_table]:
        kind = str(rng.choice(kinds))
        taken.append(kind)
        pose = _pose(x, y, z, 90.0 if kind in ("banana", "screwdriver") else rng.uniform(0, 360))
        items.append(WorldObject(f"{kind}_{taken.count(kind)}", make(kind, rng), pose, support))
    background = [
        *furniture.room(rng, (5.0, 4.4)),
        *furniture.table(rng, (1.3, 0.8)),
        *furniture.shelf(rng, shelf_x, 0.0, 180.0),
    ]
    for side in (-1, 1):
        background += furniture.chair(rng, rng.uniform(-0.3, 0.3), side * 0.68, -90.0 * side)
    return VirtualWorld("room", tuple(items), tuple(background), np.array([0.0, 0.0, 0.04]), 0.5, _room_tour())


def _room_tour() -> FloatArray:
    """Round the table, then along the walls looking outwards and down, then past the shelf."""
    stops = []
    for turn in np.radians(np.arange(0, 361, 30)):
        out = np.array([np.cos(turn), np.sin(turn), 0.0])
        stops.append((0.85 * out * [1.15, 1, 1] + [0, 0, 0.5 + 0.1 * np.cos(3 * turn)], 0.1 * out + [0, 0, 0.03]))
    for turn in np.radians(np.arange(0, 361, 24)):
        out = np.array([np.cos(turn), np.sin(turn), 0.0])
        stops.append((out * [1.25, 1.2, 0] + [0, 0, 0.7], out * [2.3, 2.0, 0] + [0, 0, -0.2 + 0.5 * np.sin(2 * turn)]))
    for y, z in ((-0.45, 0.55), (0.0, 0.45), (0.45, 0.5), (0.35, 0.1), (0.0, 0.05), (-0.35, 0.1)):
        stops.append((np.array([1.45, y, z + 0.25]), np.array([2.25, 0.7 * y, z - 0.1])))
    return np.array(stops, dtype=np.float64)

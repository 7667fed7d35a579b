"""What a robot can be asked for in a scene, and whether it has done it.

A task is named by words like ``place block_1 in container_1``; lengths are metres, times seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.errors import UsageError
from reconstruction.scene import Scene, Support
from simulation.cell import Cell
from simulation.forms import in_scene, outline
from simulation.hollows import Hollow, level_m, sides, within
from simulation.layout import NORMALS, Ground
from simulation.packing import Spot, packed
from simulation.variations import unit

FloatArray = npt.NDArray[np.float64]
LIFT_M = 0.06
BESIDE_M = (0.005, 0.12)
MOVED_M = 0.03
"""What is brought beside another thing must have come from at least this far away."""
ZONE_M = 0.06
PUSH_M = (0.1, 0.22)
SHORT_PUSH_M = (0.08, 0.14)
"""… for an arm that reaches no farther than `layout.SHORT_M`."""
ASIDE_M = 0.08
"""Nothing is nearer than this to the middle of a push's way."""
ROOM_M = 0.008
"""A thing goes into a vessel whose inside is wider by this."""


@dataclass(frozen=True)
class Task:
    """One job.

    Attributes:
        kind: a key of `TASKS`.
        what: the thing that is moved; several for ``clear``.
        where: the thing that it is brought to, "" where there is none.
    """

    kind: str
    what: tuple[str, ...]
    where: str = ""

    @property
    def words(self) -> str:
        """How the task is written on a command line, with the scene's own names."""
        if self.kind == "clear":
            return f"clear table into {self.where}"
        kind, relation, *_ = TASKS[self.kind].words
        return f"{kind} {self.what[0]} {relation} {self.where}".strip()

    @property
    def sentence(self) -> str:
        """What a person would say: ``put the block in the container``."""
        what, where = (re.sub(r"_?\d+$", "", name).replace("_", " ") for name in (self.what[0], self.where))
        return TASKS[self.kind].sentence.format(what=what, where=where)

    @property
    def names(self) -> tuple[str, ...]:
        """The things that must be there."""
        return (*self.what, *((self.where,) if self.where else ()))


@dataclass(frozen=True)
class Kind:
    """How one kind of task is said and judged.

    Attributes:
        words: the verb and the preposition on the command line.
        sentence: what a person would say.
        done: whether it is done now: (cell, task) -> bool.
        help: one line.
    """

    words: tuple[str, str]
    sentence: str
    done: Callable[[Cell, Task], bool]
    help: str


def picked(cell: Cell, task: Task) -> bool:
    """X hangs in the gripper, 6 cm over where it was."""
    name = task.what[0]
    lifted = cell.world.pose(name)[2, 3] - cell.start[name][2, 3]
    return bool(lifted > LIFT_M and cell.arm.holds(cell.world.body(name)))


def placed_in(cell: Cell, task: Task) -> bool:
    """X lies in Y by itself: its centre over Y's opening, its lowest point below Y's rim, on no table."""
    name = task.what[0]
    if not _left_alone(cell, name) or _carriers(cell, name) & set(cell.world.fixed_names):
        return False
    return _inside(cell, name, task.where)


def placed_on(cell: Cell, task: Task) -> bool:
    """X lies on Y by itself and on nothing else."""
    name, under = task.what[0], task.where
    if not _left_alone(cell, name):
        return False
    over = _center(cell, name)[2] > _center(cell, under)[2]
    return bool(over and _carriers(cell, name) == {under})


def placed_beside(cell: Cell, task: Task) -> bool:
    """X stands by itself, on what Y stands on, within 12 cm of Y and not touching it."""
    name, other = task.what[0], task.where
    if not _left_alone(cell, name) or not _carriers(cell, name) <= set(cell.world.fixed_names):
        return False
    gap = min((contact.distance_m for contact in cell.world.gaps(name, other, BESIDE_M[1])), default=np.inf)
    return bool(BESIDE_M[0] < gap < BESIDE_M[1] and _moved(cell, name) > MOVED_M)


def pushed(cell: Cell, task: Task) -> bool:
    """X lies in its zone by itself, and was never lifted."""
    name = task.what[0]
    if not _left_alone(cell, name):
        return False
    zone = zone_of(cell, name)
    return bool(zone is not None and np.linalg.norm(_center(cell, name)[:2] - zone[:2]) < ZONE_M)


def cleared(cell: Cell, task: Task) -> bool:
    """All things that the gripper can hold and that fit into Y together lie in it, or on others that do."""
    names = to_clear(cell, task)
    settled = {name for name in names if placed_in(cell, Task("place-in", (name,), task.where))}
    for _ in names:
        heaped = {name for name in names if _left_alone(cell, name) and _carriers(cell, name) & settled}
        settled |= {name for name in heaped if not _carriers(cell, name) & set(cell.world.fixed_names)}
    return bool(names) and settled == set(names)


def to_clear(cell: Cell, task: Task) -> dict[str, Spot]:
    """The things that can be brought into Y and fit there together, as they are best brought, and where to; found out
    once a cousin.
    """
    key = ("clear", task.where)
    if key not in cell.notes:
        single = [Task("place-in", (name,), task.where) for name in task.what if name in cell.start]
        cell.notes[key] = packed(cell, [each.what[0] for each in single if not unsuitable(cell, each)], task.where)
    found = cell.notes[key]
    assert isinstance(found, dict)
    return found


def moved(cell: Cell, task: Task) -> str:
    """The thing that a task moves; of several, the first that can be brought."""
    return next(iter(to_clear(cell, task))) if task.kind == "clear" else task.what[0]


TASKS: dict[str, Kind] = {
    "pick": Kind(("pick", ""), "pick up the {what}", picked, "Lift a thing off what it stands on."),
    "place-in": Kind(("place", "in"), "put the {what} in the {where}", placed_in, "Put a thing into a vessel."),
    "place-on": Kind(("place", "on"), "put the {what} on the {where}", placed_on, "Put a thing onto another."),
    "place-beside": Kind(
        ("place", "next to"), "put the {what} next to the {where}", placed_beside, "Put a thing beside another."
    ),
    "push": Kind(("push", ""), "push the {what} into the zone", pushed, "Push a thing into a zone on the table."),
    "stack": Kind(("stack", "on"), "stack the {what} on the {where}", placed_on, "Put a thing onto one like it."),
    "clear": Kind(("clear", "into"), "clear the table into the {where}", cleared, "Put all things into a vessel."),
}


def task_of(words: str, scene: Scene) -> Task:
    """The task that a person means: ``pick mug``, ``put the block_1 in container_1``, ``clear the table into bowl``.

    Things go by their names in the scene; the number may be left out where there is only one.

    Raises:
        UsageError: it is none of the kinds, or names what is not there.
    """
    text = " ".join(words.lower().replace("-", " ").split())
    text = re.sub(r"\b(the|a|an|up)\b ?", "", text)
    patterns = (
        ("clear", r"clear (?:table )?(?:into|in|to) (?P<where>.+)"),
        ("pick", r"(?:pick|lift|grasp) (?P<what>.+)"),
        ("stack", r"stack (?P<what>.+?) (?:on|onto) (?:top of )?(?P<where>.+)"),
        ("place-in", r"(?:place|put|drop) (?P<what>.+?) (?:in|into|inside) (?P<where>.+)"),
        ("place-on", r"(?:place|put) (?P<what>.+?) (?:on|onto) (?:top of )?(?P<where>.+)"),
        ("place-beside", r"(?:place|put) (?P<what>.+?) (?:next to|beside|by) (?P<where>.+)"),
        ("push", r"push (?P<what>.+?)(?: (?:in|into|to) zone)?"),
    )
    for kind, pattern in patterns:
        found = re.fullmatch(pattern, text)
        if found is None:
            continue
        parts = found.groupdict()
        where = _name_of(parts["where"], scene) if parts.get("where") else ""
        if kind == "clear":
            return Task(kind, tuple(item.name for item in scene.objects if item.name != where), where)
        what = _name_of(parts["what"], scene)
        if what == where:
            raise UsageError(f"{what} cannot go to itself.", remedy="Name two things.", code="bad_task")
        return Task(kind, (what,), where)
    said = [kind.words for name, kind in TASKS.items() if name != "clear"]
    forms = ", ".join(f"{verb} X {relation} Y" if relation else f"{verb} X" for verb, relation in said)
    raise UsageError(
        f"--task {words!r} is no task.",
        remedy=f"Use one of: {forms}, clear table into Y; X and Y are things of the scene.",
        code="bad_task",
    )


def _name_of(word: str, scene: Scene) -> str:
    names = [item.name for item in scene.objects]
    wanted = word.replace(" ", "_")
    exact = [name for name in names if name.lower() == wanted]
    alike = exact or [name for name in names if re.sub(r"_?\d+$", "", name.lower()) == wanted]
    if len(alike) == 1:
        return alike[0]
    what = f"has {' and '.join(alike)}" if alike else f"has no {word!r}"
    raise UsageError(f"The scene {what}.", remedy=f"Name one of: {', '.join(names)}.", code="bad_task")


def zone_of(cell: Cell, name: str) -> FloatArray | None:
    """Middle ``(3,)`` of the zone that a thing is to be pushed to, drawn for each cousin; None where there is none.

    It is a free place on the support, 10 … 22 cm (for a short arm 8 … 14 cm) from the thing, that the arm reaches and
    with nothing on the way.
    """
    key = ("zone", name)
    if key not in cell.notes:
        cell.notes[key] = _draw_zone(cell, name)
    found = cell.notes[key]
    return None if found is None else np.asarray(found)


def _draw_zone(cell: Cell, name: str) -> FloatArray | None:
    cousin, pose = cell.cousin, cell.start[name]
    ground = Ground.of(_support(cell, name), 1.0)
    others = [outline(in_scene(item, cell.start[item.name])[:, :2]) for item in cell.scene.objects if item.name != name]
    short = cell.robot.short
    near_m, far_m = SHORT_PUSH_M if short else PUSH_M
    back_m, beyond_m, aside_m = (0.07, 0.04, 0.06) if short else (0.12, 0.06, ASIDE_M)
    for n in range(60):
        u, v = (unit(cousin.seed, cousin.index, "zone", name, n, axis) for axis in "uv")
        far, turn = near_m + u * (far_m - near_m), 2 * np.pi * v
        at = pose[:2, 3] + far * np.array([np.cos(turn), np.sin(turn)])
        # The hand stands behind the thing first, and over the zone at last.
        way = pose[:2, 3] + np.linspace(-back_m / far, 1.0 + beyond_m / far, 12)[:, None] * (at - pose[:2, 3])
        if any(within(corners, way).max() > -aside_m for corners in others):
            continue
        ends = [cell.reaches(np.array([*way[end], ground.height_m + 0.02]), down=True) for end in (0, -1)]
        if all(ends) and ground.holds(at[None], np.zeros((1, len(NORMALS))), ZONE_M)[0]:
            return np.array([*at, ground.height_m])
    return None


def unsuitable(cell: Cell, task: Task) -> str:
    """Why a cousin is none to try a task in, whoever tries; "" where it is one."""
    if task.kind == "clear":
        return "" if task.where in cell.start and to_clear(cell, task) else "nothing can be cleared"
    for name in task.names:
        if name not in cell.start:
            return f"{name} is not there"
        if not cell.reaches(cell.start[name][:3, 3]):
            return f"{name} is out of reach"
    if TASKS[task.kind].done(cell, task):
        return "done already"
    name, where = task.what[0], task.where
    if any(name in _carriers(cell, other) for other in cell.start if other != name):
        return f"something stands on {name}"
    if task.kind == "push":
        if not _carriers(cell, name) <= set(cell.world.fixed_names):
            return f"{name} stands on something"
        return "" if zone_of(cell, name) is not None else "no free way to push"
    if not cell.grasps(name).level(cell.start[name][:3, :3]).any():
        return f"{name} is too wide for the gripper"
    return _no_room(cell, task.kind, name, where)


def _no_room(cell: Cell, kind: str, name: str, where: str) -> str:
    points = in_scene(cell.item(name), cell.start[name])
    _, middle, _ = np.sort([np.ptp(points[:, 2]), *sides(points[:, :2])])
    if kind == "place-in":
        hollow = Hollow.of(cell, where)
        if len(hollow.rim) < 3:
            return f"{where} is not open above"
        inside = [
            in_scene(item, cell.start[item.name])
            for item in cell.scene.objects
            if item.name not in (name, where) and _inside(cell, item.name, where)
        ]
        if hollow.room(inside) < middle + ROOM_M:
            return f"{name} does not fit into {where}"
    if kind in ("place-on", "stack"):
        if any(where in _carriers(cell, other) for other in cell.start if other != where):
            return f"something stands on {where}"
        if level_m(cell.item(where), cell.start[where]) < max(0.4 * middle, 0.02):
            return f"{where} has no level top"
    return ""


def _support(cell: Cell, name: str) -> Support:
    """What a thing stands on, or nearly."""
    low = float(in_scene(cell.item(name), cell.start[name])[:, 2].min())
    return min(cell.scene.supports, key=lambda support: abs(float(support.polygon[:, 2].mean()) - low))


def _inside(cell: Cell, name: str, where: str) -> bool:
    low_m = float(in_scene(cell.item(name), cell.world.pose(name))[:, 2].min())
    return Hollow.of(cell, where).contains(_center(cell, name), low_m, cell.world.pose(where))


def _center(cell: Cell, name: str) -> FloatArray:
    """Centre of mass ``(3,)`` of a thing in the scene."""
    pose = cell.world.pose(name)
    return np.asarray(pose[:3, :3] @ cell.item(name).center_of_mass + pose[:3, 3])


def _moved(cell: Cell, name: str) -> float:
    return float(np.linalg.norm(cell.world.pose(name)[:2, 3] - cell.start[name][:2, 3]))


def _left_alone(cell: Cell, name: str) -> bool:
    return cell.still(name) and not cell.touched(name)


def _carriers(cell: Cell, name: str) -> set[str]:
    """What a thing rests on."""
    found = set()
    for contact in cell.world.contacts(name):
        if contact.force_n > 0.01:
            found.update(set(contact.names) - {name})
    return found

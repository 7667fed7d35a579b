"""A small bench with things to pick, place, push and stack, its family of cousins, and a small arm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.demonstrate_stage import DemonstrateSettings, demonstrate
from app.project import Project, StageKey, StageNotes
from reconstruction.scene import Scene
from simulation.bank import Bank, Wardrobe, build
from simulation.cousins import CousinSettings, wardrobe_of
from simulation.demonstrations import Job
from simulation.robots import robot_of
from simulation.tasks import task_of
from simulation.variations import strengths_of
from tests.small_scenes import bowl, box, cylinder, scene_of, textured, thing

VARY = ("pose=0.6", "physics", "light", "camera", "mount=0.5")
SEED = 3


def bench() -> Scene:
    dish, parts = bowl(0.08, 0.05, 0.006, 16)
    things = [
        thing("block_1", box(0.045, 0.06, 0.05), (-0.15, 0.1, 0.001)),
        thing("bowl_1", dish, (0.1, 0.15, 0.001), parts=parts),
        thing("box_1", box(0.11, 0.12, 0.06), (0.15, -0.1, 0.001)),
        thing("can_1", cylinder(0.03, 0.09, 20), (-0.1, -0.12, 0.001)),
    ]
    return scene_of(*(replace(item, visual=textured(item.visual)) for item in things))


def project_at(folder: Path) -> Project:
    """A project with the bench as its finished scene."""
    made = Project(folder)
    made.create(Path("none"))

    def work(place: Path) -> StageNotes:
        bench().save(place)
        return StageNotes()

    made.run_stage("scene", StageKey({}, {}, ""), work)
    return made


TASK = "place block_1 in bowl_1"


def demonstrated_at(folder: Path, count: int, jobs: int = 1) -> Project:
    """A project with the bench and so many unfilmed demonstrations of `TASK`."""
    project = project_at(folder)
    demonstrate(project, DemonstrateSettings(task=TASK, vary=VARY, count=count, cameras="none"), jobs=jobs)
    return project


def few_forms(scene: Scene | None = None) -> tuple[Wardrobe, Bank]:
    wardrobe = replace(wardrobe_of(scene or bench(), SEED, strengths_of(VARY)), forms=3)
    return wardrobe, build(wardrobe.bare())


def job(family: tuple[Wardrobe, Bank], words: str, robot: str = "panda", **more: object) -> Job:
    wardrobe, bank = family
    task, arm = task_of(words, wardrobe.scene), robot_of(robot)
    wardrobe = replace(wardrobe, scene=arm.mounted(wardrobe.scene))
    reach_m = arm.reach_m if arm.short else CousinSettings.reach_m
    settings = CousinSettings(seed=SEED, vary=VARY, gap_mm=15.0, keep=task.names, reach_m=reach_m)
    return replace(Job(wardrobe, bank, settings, task, arm), **more)  # type: ignore[arg-type]


def small_bench() -> Scene:
    """Things for an arm that reaches 30 cm, around its base."""
    dish, parts = bowl(0.045, 0.035, 0.005, 16)
    things = [
        thing("block_1", box(0.025, 0.035, 0.03), (0.02, 0.06, 0.001), mass_kg=0.03),
        thing("bowl_1", dish, (0.06, -0.07, 0.001), parts=parts, mass_kg=0.1),
        thing("box_1", box(0.06, 0.07, 0.03), (-0.03, -0.06, 0.001), mass_kg=0.15),
        thing("can_1", cylinder(0.016, 0.05, 20), (-0.06, 0.05, 0.001), mass_kg=0.04),
    ]
    return scene_of(*(replace(item, visual=textured(item.visual)) for item in things))


def five_joints(folder: Path) -> Path:
    """Writes an arm of five joints, one of whose jaws turns about a pin while the other stays; its description."""

    def link(name: str, *boxes: str) -> str:
        shapes = []
        for row in boxes:
            size, at, *rpy = row.split("|")
            geometry = (
                f'<origin xyz="{at}" rpy="{rpy[0] if rpy else "0 0 0"}"/><geometry><box size="{size}"/></geometry>'
            )
            shapes.append(f"<visual>{geometry}</visual><collision>{geometry}</collision>")
        inertia = " ".join(f'{axis}="{6e-5 if axis[1] == axis[2] else 0}"' for axis in _INERTIA)
        mass = f'<inertial><mass value="0.08"/><inertia {inertia}/></inertial>'
        return f'<link name="{name}">{mass}{"".join(shapes)}</link>'

    def joint(name: str, parent: str, child: str, at: str, axis: str, low: float, high: float) -> str:
        return (
            f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
            f'<origin xyz="{at}"/><axis xyz="{axis}"/>'
            f'<limit lower="{low}" upper="{high}" effort="8" velocity="6"/></joint>'
        )

    parts = [
        link("foot", "0.09 0.08 0.05|0 0 0.025"),
        link("column", "0.05 0.05 0.06|-0.005 0 0.025"),
        link("upper", "0.025 0.04 0.1|0 0 0.055"),
        link("fore", "0.11 0.03 0.025|0.065 0 0"),
        link("wrist", "0.05 0.03 0.03|0.02 0 0"),
        link("hand", "0.03 0.06 0.03|0.015 0.008 0", "0.08 0.008 0.014|0.064 -0.004 0"),
        link("jaw", "0.083 0.008 0.014|0.0408 -0.0087 0|0 0 -0.304"),
        # Turned the other way round than the arm's place, as in some arms of this kind.
        joint("pan", "foot", "column", "0.03 0 0.055", "0 0 -1", -1.9, 1.9),
        joint("lift", "column", "upper", "0 0 0.06", "0 1 0", -1.75, 1.75),
        joint("elbow", "upper", "fore", "0 0 0.115", "0 1 0", -1.7, 1.7),
        joint("flex", "fore", "wrist", "0.135 0 0", "0 1 0", -1.66, 1.66),
        joint("roll", "wrist", "hand", "0.06 0 0", "1 0 0", -2.8, 2.8),
        joint("gripper", "hand", "jaw", "0.025 0.024 0", "0 0 1", 0.0, 1.7),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "five.urdf").write_text(f'<robot name="five">{"".join(parts)}</robot>')
    described = folder / "five.toml"
    described.write_text(
        """
        urdf = "five.urdf"
        arm = ["pan", "lift", "elbow", "flex", "roll"]
        tool_link = "hand"
        tool_xyz = [0.098, 0.0, 0.0]
        tool_rpy = [0.0, 1.5707963, 0.0]
        home = [0.0, -0.2, 0.2, 1.57, 0.0]
        [gripper]
        open = { gripper = 0.85 }
        closed = { gripper = 0.0 }
        fingers = ["hand", "jaw"]
        reach_m = 0.006
        force = 1.0
        """
    )
    return described


_INERTIA = ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")

"""What the cameras of a robot's cell see: one fixed before it, one on its wrist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reconstruction.scene import Scene
from simulation.bank import Wardrobe
from simulation.cell import Moment
from simulation.cousin_pictures import BACKDROP, backdrop, light_of, optics_of
from simulation.cousins import Cousin, dress, tilt_of
from simulation.drawable import Drawable
from simulation.renderer import Optics, Pictures, Renderer
from simulation.robot_meshes import drawn_links
from simulation.robots import Robot

FloatArray = npt.NDArray[np.float64]
CAMERAS = ("front", "wrist")
WRIST_FIELD_DEG = 75.0
ROBOT = "robot/"


@dataclass(frozen=True)
class View:
    """One camera during an episode.

    Attributes:
        scene_from_camera: ``(4, 4)``, or ``(F, 4, 4)`` where it moves; x right, y down, z forward.
        optics: its lens and sensor.
    """

    scene_from_camera: FloatArray
    optics: Optics


class Film:
    """Films episodes in the cousins of one scene; what they share is made ready once."""

    def __init__(self, wardrobe: Wardrobe, robot: Robot, size: int) -> None:
        """Get ready.

        Args:
            wardrobe: with textures (not `Wardrobe.bare`).
            robot: who is filmed, and carries a camera.
            size: width and height of the pictures, pixels.
        """
        self.wardrobe, self.robot, self.size = wardrobe, robot, size
        self._backdrop: Drawable | None = None

    def views(self, cousin: Cousin, scene: Scene, moments: Sequence[Moment]) -> dict[str, View]:
        """The cameras by name in a cousin, which is `scene`."""
        look = scene.extra["cousin"]
        height = look["camera"]["size"][1]
        front = optics_of(look, round(look["camera"]["size"][0] * self.size / height))
        # The middle of the cousin's picture, as high as that.
        front = replace(front, size=(self.size, self.size))
        focal = self.size / 2 / np.tan(np.deg2rad(WRIST_FIELD_DEG / 2)) * cousin.values("camera")["focal"]
        tools = np.array([moment.links[self.robot.tool_link] @ self.robot.link_from_tool for moment in moments])
        return {
            "front": View(np.array(look["camera"]["scene_from_camera"]), front),
            "wrist": View(tools @ self.robot.tool_from_camera, replace(front, focal_px=float(focal))),
        }

    def shoot(
        self, cousin: Cousin, moments: Sequence[Moment], mount: FloatArray, cameras: Sequence[str] = CAMERAS
    ) -> dict[str, Pictures]:
        """Pictures of every moment by each camera, the same bits wherever they are made.

        Args:
            cousin: in which it happened.
            moments: how things stood.
            mount: `scene_from_robot` ``(4, 4)``.
            cameras: of `CAMERAS`.
        """
        scene = dress(cousin, self.wardrobe)
        bodies: dict[str, Drawable] = {}
        poses: dict[str, FloatArray] = {}
        if self._backdrop is None:
            self._backdrop = Drawable(backdrop(self.wardrobe.scene))
        bodies[BACKDROP], poses[BACKDROP] = self._backdrop, tilt_of(cousin)
        for item in scene.objects:
            bodies[item.name] = Drawable(item.visual)
            poses[item.name] = np.array([moment.objects[item.name] for moment in moments])
        for link, drawn in drawn_links(self.robot.urdf).items():
            bodies[ROBOT + link] = drawn
            known = link in moments[0].links
            poses[ROBOT + link] = np.array([moment.links[link] for moment in moments]) if known else mount
        renderer = Renderer(bodies)
        light, views = light_of(scene.extra["cousin"]), self.views(cousin, scene, moments)
        return {
            name: renderer.render(
                poses,
                views[name].scene_from_camera,
                views[name].optics,
                light,
                seed=(cousin.seed, cousin.index, number),
            )
            for number, name in enumerate(CAMERAS)
            if name in cameras
        }

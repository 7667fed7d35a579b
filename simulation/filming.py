"""What the cameras of a robot's cell see: one fixed before it, one on its wrist."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from reconstruction.scene import Scene
from simulation.bank import Wardrobe
from simulation.calibration import calibration
from simulation.cell import Moment
from simulation.cousin_pictures import BACKDROP, backdrop, light_of, optics_of
from simulation.cousins import Cousin, dress, tilt_of
from simulation.depth_sensor import measured
from simulation.drawable import Drawable
from simulation.layout import usual_camera, usual_mount
from simulation.optics import Optics
from simulation.pointcloud import Bounds, cloud
from simulation.renderer import Pictures, Renderer
from simulation.robot_meshes import drawn_links
from simulation.robots import Robot
from simulation.tasks import ZONE_M

FloatArray = npt.NDArray[np.float64]
CAMERAS = ("front", "wrist")
WRIST_FIELD_DEG = 75.0
ROBOT = "robot/"
DEPTH_STREAM = 6151
ZONE = "zone/"
SHEET_M = 0.004
SHEET_RGB = (60, 150, 70)


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
    """Films what happens in the cousins of one scene; what they share is made ready once."""

    def __init__(self, wardrobe: Wardrobe, robot: Robot, size: int) -> None:
        """Get ready.

        Args:
            wardrobe: with textures (not `Wardrobe.bare`).
            robot: who is filmed, and carries a camera.
            size: width and height of the pictures, pixels.
        """
        self.wardrobe, self.robot, self.size = wardrobe, robot, size
        self._backdrop: Drawable | None = None

    def take(self, cousin: Cousin, mount: FloatArray, zone: FloatArray | None = None) -> Take:
        """Get ready for one cousin.

        Args:
            cousin: in which it happens.
            mount: `scene_from_robot` ``(4, 4)``.
            zone: ``(3,)`` middle of the zone that a thing is to be pushed to: a green sheet lies there.
        """
        scene = dress(cousin, self.wardrobe)
        if self._backdrop is None:
            self._backdrop = Drawable(backdrop(self.wardrobe.scene))
        still: dict[str, tuple[Drawable, FloatArray]] = {BACKDROP: (self._backdrop, tilt_of(cousin))}
        if zone is not None:
            place = np.eye(4)
            place[:3, 3] = zone
            still[ZONE] = _sheet(), place
        return Take(self.robot, self.size, cousin, scene, mount, still)


class Take:
    """Films one cousin."""

    def __init__(
        self,
        robot: Robot,
        size: int,
        cousin: Cousin,
        scene: Scene,
        mount: FloatArray,
        still: dict[str, tuple[Drawable, FloatArray]],
    ) -> None:
        """Made by `Film.take`; `still` is what does not move, with its pose."""
        self._robot, self._size, self._cousin, self._scene, self._mount = robot, size, cousin, scene, mount
        self._still = {name: pose for name, (_, pose) in still.items()}
        self._told_mount, self._known = mount, dict[str, FloatArray]()
        links = drawn_links(robot.urdf)
        self._links = tuple(links)
        bodies = {name: body for name, (body, _) in still.items()}
        bodies.update({item.name: Drawable(item.visual) for item in scene.objects})
        bodies.update({ROBOT + link: drawn for link, drawn in links.items()})
        self._renderer = Renderer(bodies)

    def otherwise(self, told_mount: FloatArray, front: FloatArray, wrist: FloatArray, noise: float) -> Take:
        """The same cousin filmed by cameras that are not quite what they are believed to be.

        Args:
            told_mount: `scene_from_robot` ``(4, 4)`` as it is believed to be.
            front: ``(4, 4)`` from where that camera is believed to be to where it is.
            wrist: likewise.
            noise: of pictures, beside what a camera has anyway (a share of full white).
        """
        found = copy.copy(self)
        found._told_mount, found._known = told_mount, self._calibrations(told_mount)
        look = self._scene.extra["cousin"]
        pose = np.array(look["camera"]["scene_from_camera"]) @ front
        camera = {**look["camera"], "scene_from_camera": pose.tolist(), "noise": look["camera"]["noise"] + noise}
        found._scene = replace(self._scene, extra={"cousin": {**look, "camera": camera}})
        found._robot = replace(self._robot, tool_from_camera=self._robot.tool_from_camera @ wrist)
        return found

    def views(self, moments: Sequence[Moment]) -> dict[str, View]:
        """The cameras by name."""
        look, robot = self._scene.extra["cousin"], self._robot
        front, wrist = self._optics()
        tools = np.array([moment.links[robot.tool_link] @ robot.link_from_tool for moment in moments])
        return {
            "front": View(np.array(look["camera"]["scene_from_camera"]), front),
            "wrist": View(tools @ robot.tool_from_camera, wrist),
        }

    def _optics(self) -> tuple[Optics, Optics]:
        """Of the fixed camera and of that on the wrist."""
        look = self._scene.extra["cousin"]
        front = optics_of(look, round(look["camera"]["size"][0] * self._size / look["camera"]["size"][1]))
        # The middle of the cousin's picture, as high as that.
        front = replace(front, size=(self._size, self._size))
        focal = self._size / 2 / np.tan(np.deg2rad(WRIST_FIELD_DEG / 2)) * self._cousin.values("camera")["focal"]
        return front, replace(front, focal_px=float(focal))

    def calibration(self, cameras: Sequence[str] = CAMERAS) -> FloatArray:
        """``(cameras · 11,)`` what is known of the cameras (`simulation.calibration`)."""
        known = self._known or self._calibrations(self._mount)
        return np.concatenate([known[name] for name in CAMERAS if name in cameras])

    def _calibrations(self, mount: FloatArray) -> dict[str, FloatArray]:
        front, wrist = self._optics()
        place = np.linalg.inv(mount) @ np.array(self._scene.extra["cousin"]["camera"]["scene_from_camera"])
        return {
            "front": calibration(place, front),
            "wrist": calibration(np.asarray(self._robot.tool_from_camera), wrist),
        }

    def shoot(
        self,
        moments: Sequence[Moment],
        cameras: Sequence[str] = CAMERAS,
        first_frame: int = 0,
        smooth: bool = True,
    ) -> dict[str, Pictures]:
        """Pictures of every moment by each camera, the same bits wherever they are made, one by one or together.

        Args:
            moments: how things stood, one or more.
            cameras: of `CAMERAS`.
            first_frame: number of the first moment in the episode.
            smooth: edges are smoothed.
        """
        poses = dict(self._still)
        for item in self._scene.objects:
            poses[item.name] = np.array([moment.objects[item.name] for moment in moments])
        for link in self._links:
            known = link in moments[0].links
            poses[ROBOT + link] = np.array([moment.links[link] for moment in moments]) if known else self._mount
        light, views = light_of(self._scene.extra["cousin"]), self.views(moments)
        return {
            name: self._renderer.render(
                poses,
                views[name].scene_from_camera,
                views[name].optics,
                light,
                seed=(self._cousin.seed, self._cousin.index, number),
                first_frame=first_frame,
                smooth=smooth,
            )
            for number, name in enumerate(CAMERAS)
            if name in cameras
        }

    def depths_m(self, shots: Mapping[str, Pictures], first_frame: int = 0) -> dict[str, npt.NDArray[np.float32]]:
        """``(F, H, W)`` of each camera, as depth cameras would measure it: metres, 0 where they measure nothing.

        Args:
            shots: of `shoot`.
            first_frame: number of the first moment in the episode.
        """
        own = self._cousin.seed, self._cousin.index, DEPTH_STREAM
        return {
            name: np.stack(
                [
                    measured(depth, rgb, np.random.default_rng([*own, CAMERAS.index(name), first_frame + frame]))
                    for frame, (depth, rgb) in enumerate(zip(shot.depth_m, shot.rgb, strict=True))
                ]
            )
            for name, shot in shots.items()
        }

    def clouds(
        self, moments: Sequence[Moment], shots: Mapping[str, Pictures], first_frame: int = 0
    ) -> npt.NDArray[np.int16]:
        """``(F, n)`` the clouds of points that all cameras together see (`simulation.pointcloud`).

        Args:
            moments: how things stood.
            shots: of `shoot`, at those moments.
            first_frame: number of the first moment in the episode.
        """
        depths, chain = self.depths_m(shots, first_frame), self._robot.chain
        # Rounded as robots tell it, and datasets.
        known = self.calibration(tuple(shots)).astype(np.float32)
        states = np.array([moment.state[:-1] for moment in moments], dtype=np.float32)
        tools, bounds = chain.tool(states.astype(np.float64)), self.bounds
        return np.stack(
            [
                cloud(
                    {name: shot.rgb[frame] for name, shot in shots.items()},
                    {name: depths[name][frame] for name in shots},
                    known,
                    tool,
                    bounds,
                )
                for frame, tool in enumerate(tools)
            ]
        )

    @property
    def bounds(self) -> Bounds:
        """Of clouds of points."""
        return Bounds.of(self._told_mount, self._robot.reach_m)

    def image_points(
        self, moments: Sequence[Moment], points: FloatArray, cameras: Sequence[str] = CAMERAS
    ) -> FloatArray:
        """Where points are in the pictures: ``(F, cameras, P, 3)``, right and down (the picture is −1 … 1), depth in m.

        Args:
            moments: how things stood.
            points: ``(F, P, 3)`` of the scene at those moments.
            cameras: of `CAMERAS`.
        """
        views, found = self.views(moments), []
        for name in cameras:
            camera = np.linalg.inv(views[name].scene_from_camera).reshape(-1, 1, 4, 4)
            seen = (camera[..., :3, :3] @ points[..., None])[..., 0] + camera[..., :3, 3]
            found.append(np.concatenate([views[name].optics.seen_at(seen), seen[..., 2:]], axis=-1))
        return np.stack(found, axis=1)


def camera_facts(scene: Scene, robot: Robot, size: int) -> dict[str, dict[str, Any]]:
    """By name where the cameras are and how they see, as filmed where nothing varies: numbers for JSON.

    Args:
        scene: with the robot's mount, or that it may be seen from the usual place.
        robot: who carries one.
        size: width and height of the pictures, pixels.
    """
    mount = usual_mount(scene) if scene.robot_mount is None else scene.robot_mount
    front = usual_camera(scene, mount)
    wrist = size / 2 / np.tan(np.deg2rad(WRIST_FIELD_DEG / 2))
    place = np.linalg.inv(mount) @ front.scene_from_camera
    share = round(front.size[0] * size / front.size[1]) / front.size[0]
    return {
        "front": {"size": [size, size], "focal_px": front.focal_px * share, "base_from_camera": place.tolist()},
        "wrist": {
            "size": [size, size],
            "focal_px": float(wrist),
            "tool_from_camera": robot.tool_from_camera.tolist(),
        },
    }


def _sheet() -> Drawable:
    """The zone: a round green sheet, thick enough to lie over what a scan leaves of a table's roughness."""
    import trimesh

    disc = trimesh.creation.cylinder(ZONE_M, SHEET_M, sections=48)
    vertices = np.asarray(disc.vertices) + [0.0, 0.0, SHEET_M / 2]
    color = np.tile(np.array(SHEET_RGB, dtype=np.uint8), (len(vertices), 1))
    return Drawable(Mesh(vertices, np.asarray(disc.faces, dtype=np.int64), colors=color))

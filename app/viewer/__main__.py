"""The drawing process: takes commands, advances physics, draws. What it is told is in `app.viewer`'s docstring."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.console import JsonConsole, StdoutError, internal_error, open_console
from app.viewer.canvas import OPTIONS, RESTS, Canvas
from app.viewer.files import read_cloud, read_document
from app.viewer.frames import Frames
from app.viewer.play import Play
from app.viewer.robot import Stand
from app.viewer.view import View
from reconstruction.errors import InputError, PocketworldError, UsageError

FloatArray = npt.NDArray[np.float64]
Words = Mapping[str, Any]
STILL_AFTER_S = 0.2
"""A picture that has not moved for so long is drawn in full."""
FASTEST_S = 1.0 / 60.0
LOOKS_S = 0.05
"""How often it is looked whether a large background has been read."""
LARGEST, LARGEST_THUMBNAIL = 16_384, 1024


class Viewer:
    """What the commands do, and when which picture is drawn."""

    def __init__(self, frames: Frames, console: JsonConsole) -> None:
        self._frames, self._console = frames, console
        self._canvas = Canvas()
        self._play: Play | None = None
        self._robot = ""
        self._driven = ""
        self._told_arm: dict[str, object] = {}
        self._stand = Stand(self._canvas, console, self._change)
        self._stale = False
        """Whether the picture is not what it would be now …"""
        self._still = True
        """… and whether what was drawn last was drawn in full."""
        self._moved = 0.0
        self._thumbnail = (0, 0)
        self._commands: dict[str, Callable[[Words], None]] = {
            "scene": self._scene,
            "reload": self._reload,
            "points": self._points,
            "clear": self._clear,
            "camera": self._camera,
            "size": self._size,
            "colors": self._colors,
            "options": self._options,
            "select": self._select,
            "pose": self._pose,
            "cut": self._cut,
            "thumbnails": self._thumbnails,
            "pick": self._pick,
            "play": self._play_on,
            "pause": self._pause,
            "reset": self._reset,
            "grab": self._grab,
            "drag": self._drag,
            "release": self._release,
            "drive": self._drive,
            "jog": self._jog,
            "joints": self._joints,
            "robot": self._put_robot,
        }

    def serve(self, waiting: queue.SimpleQueue[bytes]) -> None:
        """Take commands for ever."""
        self._say("ready")
        while True:
            for line in _all_of(waiting, self._patience()):
                self._obey(line)
            if self._play is not None and self._play.running:
                self._follow(self._play.advance())
                self._follow_arm()
            self._draw()
            if self._canvas.unfinished:  # after a picture, so that no two pieces keep the user waiting
                self._canvas.prepare()
            self._take_background()
            self._stand.advance()
            if waiting.empty() and self._idle:
                self._draw_thumbnail()

    def _take_background(self) -> None:
        try:
            if self._canvas.arrived():
                self._change()
        except PocketworldError as error:
            self._console.error(error, about="scene")

    @property
    def _idle(self) -> bool:
        """Whether nothing moves or waits to be drawn."""
        plays = self._play is not None and self._play.running
        return self._still and not (self._stale or plays or self._canvas.unfinished)

    def _draw_thumbnail(self) -> None:
        """One, so that whatever comes next waits no longer than for that."""
        name = self._canvas.undrawn if all(self._thumbnail) else ""
        if not name:
            return
        import cv2

        started = time.monotonic()
        try:
            picture = self._canvas.thumbnail(name, *self._thumbnail)
            png = cv2.imencode(".png", picture[..., [2, 1, 0, 3]])[1].tobytes()
        except Exception as error:  # noqa: BLE001 - as for commands; it is not tried again
            self._console.error(internal_error(error, None), about="thumbnails")
            return
        seconds = round(time.monotonic() - started, 4)
        self._say("thumbnail", name=name, png=base64.b64encode(png).decode("ascii"), seconds=seconds)

    def _patience(self) -> float | None:
        """For how long nothing is to be done unless a command comes; None: for ever."""
        if self._stale or self._canvas.unfinished or (self._idle and all(self._thumbnail) and self._canvas.undrawn):
            return 0.0
        if self._play is not None and self._play.running:
            return FASTEST_S
        if self._canvas.reading or self._stand.busy:
            return LOOKS_S
        if not self._still and not self._canvas.empty:
            return max(0.0, self._moved + STILL_AFTER_S - time.monotonic())
        return None

    def _follow(self, poses: Mapping[str, FloatArray]) -> None:
        """Show things where physics has them."""
        for name, pose in poses.items():
            item = self._canvas.items.get(name)
            if item is not None and np.abs(pose - item.pose).max() > RESTS:
                item.move(pose)
                self._motion()

    def _follow_arm(self) -> None:
        """Show the arm where physics has it, and say where it is."""
        driver = None if self._play is None else self._play.driver
        if driver is None:
            return
        if self._canvas.pose_robot(driver.arm.link_poses()) or not self._canvas.is_plumbed:
            self._canvas.plumb(driver.arm.tool()[:3, 3])
            self._motion()
        said = {"joints": np.round(driver.goal, 4).tolist(), "blocked": driver.blocked}
        if said != self._told_arm:
            self._told_arm = said
            self._say("arm", **said)

    def _obey(self, line: bytes) -> None:
        about = ""
        try:
            words = json.loads(line)
            about = str(words["do"])
            if about not in self._commands:
                raise UsageError(f"There is no command {about!r}.", remedy="See app.viewer.", code="bad_command")
            self._commands[about](words)
        except PocketworldError as error:
            self._console.error(error, about=about)
        except StdoutError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            said = UsageError(f"The view was told nonsense: {error!r}.", remedy="Report this.", code="bad_command")
            self._console.error(said, about=about)
        except Exception as error:  # noqa: BLE001 - one bad scene must not take the view away
            self._console.error(internal_error(error, None), about=about)

    def _say(self, event: str, **details: object) -> None:
        self._console.say(event, "", **details)

    def _motion(self) -> None:
        self._stale, self._moved = True, time.monotonic()

    def _change(self) -> None:
        """Something that is not in motion is otherwise: draw it well at once."""
        self._stale, self._moved = True, -STILL_AFTER_S

    def _draw(self) -> None:
        if self._canvas.empty:
            self._stale = False
            return
        rested = time.monotonic() - self._moved >= STILL_AFTER_S
        if not self._stale and (self._still or not rested):
            return
        started = time.monotonic()
        picture = self._canvas.draw(still=rested)
        slot, number = self._frames.put(picture)
        self._stale, self._still = False, rested
        height, width = picture.shape[:2]
        seconds = round(time.monotonic() - started, 4)
        more = {"number": number, "still": rested, "camera": self._canvas.view.words(), "seconds": seconds}
        self._say("frame", slot=slot, width=width, height=height, **more)
        time.sleep(max(0.0, started + FASTEST_S - time.monotonic()))

    def _scene(self, words: Words) -> None:
        folder = Path(words["folder"])
        self._end_play()
        try:
            document = read_document(folder)
            if self._canvas.document is not None and self._canvas.document.folder != document.folder:
                self._canvas.clear()
            self._canvas.show(document)
        except PocketworldError:
            self._canvas.clear()
            raise
        self._canvas.selected &= self._canvas.items.keys()
        self._canvas.view = self._canvas.good_view()
        self._loaded(again=False)

    def _reload(self, words: Words) -> None:
        if self._canvas.document is None:
            return
        self._end_play()
        self._canvas.show(read_document(self._canvas.document.folder))
        self._canvas.selected &= self._canvas.items.keys()
        self._loaded(again=True)

    def _loaded(self, *, again: bool, kind: str = "scene") -> None:
        canvas = self._canvas
        objects = [
            {"name": name, "pose": item.home.tolist(), "low": item.low.tolist(), "high": item.high.tolist()}
            for name, item in canvas.items.items()
        ]
        box = {"low": canvas.low.tolist(), "high": canvas.high.tolist()}
        self._say("loaded", kind=kind, again=again, objects=objects, camera=canvas.good_view().words(), **box)
        self._stand.scene(canvas.document)
        self._change()

    def _points(self, words: Words) -> None:
        cloud = read_cloud(Path(words["path"]))
        self._end_play()
        again = self._canvas.document is None and not self._canvas.empty
        self._canvas.show_cloud(cloud)
        if not again:
            self._canvas.view = self._canvas.good_view()
        self._loaded(again=again, kind="points")

    def _clear(self, words: Words) -> None:
        self._end_play()
        self._canvas.clear()
        self._stand.scene(None)

    def _camera(self, words: Words) -> None:
        self._canvas.view = View.of(words)
        self._motion()

    def _size(self, words: Words) -> None:
        width, height = int(words["width"]), int(words["height"])
        if not (0 < width <= LARGEST and 0 < height <= LARGEST):
            raise ValueError(f"no picture is {width} x {height}")
        self._canvas.size = (width, height)
        self._motion()

    def _colors(self, words: Words) -> None:
        self._canvas.color(words["top"], words["bottom"])
        self._change()

    def _options(self, words: Words) -> None:
        for name in OPTIONS:
            if name in words:
                self._canvas.options[name] = bool(words[name])
        if "robot" in words:
            self._robot = str(words["robot"] or "")
            self._place_robot()
        if "reach" in words:
            self._stand.tell_reach(bool(words["reach"]))
        self._change()

    def _place_robot(self) -> None:
        """Show the robot at home, and where it stands; the driven one goes first."""
        self._stand.choose(self._driven or self._robot)
        self._stand.home()

    def _put_robot(self, words: Words) -> None:
        pose = None if words["pose"] is None else np.array(words["pose"], dtype=np.float64).reshape(4, 4)
        if pose is not None and not np.isfinite(pose).all():
            raise ValueError("a pose has numbers that are not finite")
        self._stand.put(pose)
        self._motion()

    def _select(self, words: Words) -> None:
        self._canvas.selected = {str(name) for name in words["names"]}
        self._change()

    def _pose(self, words: Words) -> None:
        item = self._canvas.items.get(str(words["name"]))
        if item is None:
            return
        pose = item.home if words["pose"] is None else np.array(words["pose"], dtype=np.float64).reshape(4, 4)
        if not np.isfinite(pose).all():
            raise ValueError("a pose has numbers that are not finite")
        item.move(pose)
        self._motion()

    def _cut(self, words: Words) -> None:
        name = words["name"]
        if name is None:
            self._canvas.cut(None)
        else:
            point, normal = (np.array(words[key], dtype=np.float64).reshape(3) for key in ("point", "normal"))
            length = float(np.linalg.norm(normal))
            if not np.isfinite([*point, length]).all() or not length:
                raise ValueError("this is no plane")
            met = self._canvas.cut((str(name), point, normal / length))
            self._say("cut", name=name, met=met)
        self._motion()

    def _thumbnails(self, words: Words) -> None:
        width, height = int(words["width"]), int(words["height"])
        if not (0 <= width <= LARGEST_THUMBNAIL and 0 <= height <= LARGEST_THUMBNAIL):
            raise ValueError(f"no thumbnail is {width} x {height}")
        self._thumbnail = (width, height)
        self._canvas.forget_thumbnails()

    def _pick(self, words: Words) -> None:
        hit = self._canvas.pick(float(words["x"]), float(words["y"]))
        point, normal = (None if array is None else array.tolist() for array in (hit.point, hit.normal))
        self._say("picked", id=words.get("id"), kind=hit.kind, name=hit.name, point=point, normal=normal)

    def _play_on(self, words: Words) -> None:
        document = self._canvas.document
        if document is None:
            raise InputError("There is no scene to play with.", remedy="Open a scene first.", code="no_scene")
        if self._play is None:
            self._play = Play(document.folder)
            self._take_arm()
        self._play.run()
        self._say("physics", state="playing")

    def _take_arm(self) -> None:
        """Put the arm that is to be driven into the world, if there is one."""
        if self._play is None or not self._driven:
            return
        self._play.drive(self._driven, self._stand.place(self._driven))
        assert self._play.driver is not None
        robot, chain = self._play.driver.robot, self._play.driver.robot.chain
        self._told_arm = {}
        limits = [
            {"name": name, "low": float(low), "high": float(high)}
            for name, low, high in zip(robot.arm, chain.low, chain.high, strict=True)
        ]
        self._say("driven", robot=robot.name, joints=limits)

    def _drive(self, words: Words) -> None:
        """Drive this robot, none: no longer; physics begins anew, for nothing can be taken out of it."""
        running = self._play is not None and self._play.running
        self._end_play()
        for item in self._canvas.items.values():
            item.move(item.home)
        self._driven = str(words["robot"] or "")
        self._place_robot()
        self._change()
        if running:
            self._play_on(words)

    def _jog(self, words: Words) -> None:
        from simulation.teleoperation import Command  # slow to import, and most scenes are only looked at

        driver = None if self._play is None else self._play.driver
        if driver is None:
            return
        x, y, z = (float(value) for value in words["move"])
        roll, pitch, yaw = (float(value) for value in words["turn"])
        if not np.isfinite([x, y, z, roll, pitch, yaw]).all():
            raise ValueError("this is no motion")
        driver.jog(Command((x, y, z), (roll, pitch, yaw)), self._canvas.view.axes()[0])

    def _joints(self, words: Words) -> None:
        driver = None if self._play is None else self._play.driver
        if driver is None:
            return
        if "joint" in words:
            number, value = int(words["joint"]), float(words["value"])
            if not (0 <= number < len(driver.goal) - 1 and np.isfinite(value)):
                raise ValueError("this is no joint of the arm")
            driver.go(number, value)
        if "opening" in words:
            opening = float(words["opening"])
            if not np.isfinite(opening):
                raise ValueError("this is no opening")
            driver.grip(opening)

    def _pause(self, words: Words) -> None:
        if self._play is not None:
            self._play.pause()
            self._say("physics", state="paused")

    def _reset(self, words: Words) -> None:
        self._end_play()
        self._place_robot()
        for item in self._canvas.items.values():
            item.move(item.home)
        self._change()

    def _end_play(self) -> None:
        if self._play is not None:
            self._play.close()
            self._play = None
            self._canvas.plumb(None)
            self._say("physics", state="reset")

    def _grab(self, words: Words) -> None:
        hit = self._canvas.pick(float(words["x"]), float(words["y"]))
        held = False
        if self._play is not None and self._play.running and hit.kind == "object" and hit.point is not None:
            view = self._canvas.view
            held = self._play.grab(hit.name, hit.point, float((hit.point - view.position) @ view.axes()[2]))
        self._say("grabbed", name=hit.name if held else "")

    def _drag(self, words: Words) -> None:
        if self._play is not None:
            view = self._canvas.view
            way = view.ray(float(words["x"]), float(words["y"]), self._canvas.aspect)
            self._play.drag(view.position, way, view.axes()[2])

    def _release(self, words: Words) -> None:
        if self._play is not None:
            self._play.release()


def _all_of(waiting: queue.SimpleQueue[bytes], patience: float | None) -> list[bytes]:
    """All commands that wait, after at most `patience` seconds."""
    found = []
    with contextlib.suppress(queue.Empty):
        found.append(waiting.get(block=patience != 0.0, timeout=patience))
        while True:
            found.append(waiting.get_nowait())
    return found


def _listen(waiting: queue.SimpleQueue[bytes]) -> None:
    """Take lines from stdin until it is closed, and end with it: the window is gone, whatever is going on here."""
    for line in sys.stdin.buffer:
        if line.strip():
            waiting.put(line)
    os._exit(0)


def main() -> int:
    """Serve the window whose frame file is the only word."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m app.viewer FRAMES\n")
        return 2
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)  # the window comes first where there are few processors
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(waiting,), daemon=True).start()
    with open_console(as_json=True) as console, contextlib.suppress(StdoutError, KeyboardInterrupt):
        assert isinstance(console, JsonConsole)
        path = Path(sys.argv[1])
        frames = Frames(path, write=True)
        with contextlib.suppress(OSError):  # the window has it open too: it goes with us, however we end
            path.unlink()
        Viewer(frames, console).serve(waiting)
    return 0


if __name__ == "__main__":
    sys.exit(main())

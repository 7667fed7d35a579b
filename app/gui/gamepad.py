"""A gamepad, read through SDL (the optional package pygame-ce), which knows the layout of most of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Protocol

from reconstruction.errors import MissingToolError, UsageError
from simulation.teleoperation import Command

DEAD = 0.12
"""Sticks do not rest at exactly zero."""


class Controller(Protocol):
    """What is used of `pygame._sdl2.controller.Controller`: axes -32768 … 32767, triggers 0 … 32767, SDL's layout."""

    def get_axis(self, axis: int) -> int:
        """Where a stick or trigger is."""

    def get_button(self, button: int) -> bool:
        """Whether a button is down."""


# SDL_GameControllerAxis and SDL_GameControllerButton of SDL 2.
LEFT_X, LEFT_Y, RIGHT_X, RIGHT_Y, TRIGGER_LEFT, TRIGGER_RIGHT = range(6)
A, B, X, Y = range(4)
SHOULDER_LEFT, SHOULDER_RIGHT = 9, 10
BUTTONS = {A: "grip", X: "keep", B: "again", Y: "next"}


@dataclass
class Gamepad:
    """Left stick: over the table. Right stick: turn and tilt. Triggers: up, down. A: grip, X: keep, B: again, Y: next.

    Attributes:
        controller: an open one.
    """

    controller: Controller
    _down: set[int] = field(default_factory=set)

    def read(self) -> tuple[Command, list[str]]:
        """The sticks' command (its `closed` says nothing), and which buttons have been pressed since the last call."""
        axis = [_share(self.controller.get_axis(number)) for number in range(6)]
        roll = float(self.controller.get_button(SHOULDER_RIGHT)) - float(self.controller.get_button(SHOULDER_LEFT))
        down = {number for number in BUTTONS if self.controller.get_button(number)}
        pressed = [BUTTONS[number] for number in sorted(down - self._down)]
        self._down = down
        lift = axis[TRIGGER_RIGHT] - axis[TRIGGER_LEFT]
        command = Command((axis[LEFT_X], -axis[LEFT_Y], lift), (roll, axis[RIGHT_Y], -axis[RIGHT_X]))
        return command, pressed


def _share(value: int) -> float:
    share = max(-1.0, min(1.0, value / 32767))
    return share if abs(share) > DEAD else 0.0


def open_gamepad() -> Gamepad:
    """The first gamepad that is connected.

    Raises:
        MissingToolError: pygame-ce is not installed.
        UsageError: none is connected.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")  # the window is Qt's, not SDL's
    try:
        import pygame
        from pygame._sdl2 import controller
    except ImportError:
        raise MissingToolError(
            "A gamepad needs the package pygame-ce.", remedy="pip install 'pocketworld[gamepad]'", code="no_pygame"
        ) from None
    controller.init()
    numbers = [number for number in range(controller.get_count()) if controller.is_controller(number)]
    if not numbers:
        raise UsageError("No gamepad is connected.", remedy="Connect one, or leave out --gamepad.", code="no_gamepad")
    return Gamepad(_Pumped(controller.Controller(numbers[0]), pygame))


class _Pumped:
    """A controller whose state is brought up to date before it is read."""

    def __init__(self, controller: Any, pygame: Any) -> None:
        self._controller, self._pygame = controller, pygame

    def get_axis(self, axis: int) -> int:
        if axis == 0:  # once a reading
            self._pygame.event.pump()
        return int(self._controller.get_axis(axis))

    def get_button(self, button: int) -> bool:
        return bool(self._controller.get_button(button))

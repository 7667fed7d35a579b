"""Real arms, by the kind of their driver: ``--robot KIND:TYPE``."""

from __future__ import annotations

from collections.abc import Callable

from policies.deploy.bundle import Manifest
from policies.deploy.drivers.arm import ArmSettings, RealArm
from policies.deploy.drivers.lerobot import open_lerobot

DRIVERS: dict[str, Callable[[Manifest, str, ArmSettings], RealArm]] = {"lerobot": open_lerobot}
"""How an arm of each kind is opened, from a bundle's manifest, its type and what a user says of it.

What is opened is not connected yet. It raises `arm.ArmError` where that arm cannot do what the bundle asks for.
"""

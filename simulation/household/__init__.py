"""Procedural household things: watertight, textured, of believable size, standing at rest on z = 0.

`KINDS` maps a name to ``fn(rng) -> Mesh``; `make` adds what a mesh does not say: the material and the true mass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reconstruction.mesh import Mesh
from simulation.household import kitchen, things
from simulation.household.solids import volume_m3

KINDS: dict[str, Callable[[np.random.Generator], Mesh]] = {
    "mug": kitchen.mug,
    "cup": kitchen.cup,
    "bowl": kitchen.bowl,
    "plate": kitchen.plate,
    "bottle": kitchen.bottle,
    "can": kitchen.can,
    "jug": kitchen.jug,
    "teapot": kitchen.teapot,
    "tray": kitchen.tray,
    "box": things.box,
    "book": things.book,
    "magazine": things.magazine,
    "block": things.block,
    "screwdriver": things.screwdriver,
    "tape_roll": things.tape_roll,
    "controller": things.controller,
    "apple": things.apple,
    "orange": things.orange,
    "banana": things.banana,
}

_MATERIALS: dict[str, tuple[str, float]] = {  # material, mean density of the solid in kg/m³ (contents included)
    "mug": ("ceramic", 2300.0),
    "cup": ("ceramic", 2300.0),
    "bowl": ("ceramic", 2300.0),
    "plate": ("ceramic", 2300.0),
    "bottle": ("plastic", 980.0),
    "can": ("steel", 1050.0),
    "jug": ("ceramic", 2300.0),
    "teapot": ("ceramic", 900.0),
    "tray": ("wood", 650.0),
    "box": ("cardboard", 350.0),
    "book": ("paper", 750.0),
    "magazine": ("paper", 900.0),
    "block": ("wood", 600.0),
    "screwdriver": ("plastic", 1250.0),
    "tape_roll": ("plastic", 950.0),
    "controller": ("plastic", 620.0),
    "apple": ("fruit", 830.0),
    "orange": ("fruit", 900.0),
    "banana": ("fruit", 960.0),
}


@dataclass(frozen=True)
class HouseholdObject:
    """One procedural thing.

    Attributes:
        kind: key of `KINDS`.
        mesh: watertight and textured, in its own frame: standing on z = 0, centred on the z axis, metres.
        material: key of ``resources/materials.json``.
        mass_kg: true mass.
    """

    kind: str
    mesh: Mesh
    material: str
    mass_kg: float


def make(kind: str, rng: np.random.Generator) -> HouseholdObject:
    """One thing of `kind`; the same generator state gives the same thing."""
    mesh = KINDS[kind](rng)
    material, density = _MATERIALS[kind]
    return HouseholdObject(kind, mesh, material, density * volume_m3(mesh))

"""Which things fit into a vessel side by side, and where each of them goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.cell import Cell
from simulation.forms import in_scene, outline
from simulation.hollows import Hollow, sides

FloatArray = npt.NDArray[np.float64]
SPARE_M = 0.006
"""Things and wall are at least this far apart: an arm does not put them down more exactly."""
TURNS = np.arange(4) * np.pi / 4
"""Of a thing about the upright that are tried."""


@dataclass(frozen=True)
class Spot:
    """Where a thing goes in a vessel.

    Attributes:
        middle: ``(2,)`` of the box about it, scene frame, the vessel standing as at the start.
        turn: about z, from how the thing stood at the start, rad.
    """

    middle: FloatArray
    turn: float


def packed(cell: Cell, names: Sequence[str], where: str) -> dict[str, Spot]:
    """What of `names` fits into a vessel together, and where: as many as go, each as far out as it goes, in the order
    in which they are best brought, low ones first: a hand has no room beside what is tall.

    Nothing is turned over: a thing takes up the room that it takes up where it stands. What is longer than the vessel
    is wide, and would lean over its rim, counts only where nothing else fits.
    """
    hollow = Hollow.of(cell, where)
    plans = {name: outline(in_scene(cell.item(name), cell.start[name])[:, :2]) for name in names}
    taken = [
        outline(points[:, :2])
        for item in cell.scene.objects
        if item.name not in (*names, where)
        and (points := in_scene(item, cell.start[item.name]))[:, 2].max() > hollow.floor_m
    ]
    found: dict[str, Spot] = {}
    for name in sorted(names, key=lambda name: (float(np.prod(sides(plans[name]))), name)):
        for turn in TURNS:
            c, s = np.cos(turn), np.sin(turn)
            turned = plans[name] @ np.array([[c, s], [-s, c]])
            turned = turned - (turned.min(axis=0) + turned.max(axis=0)) / 2
            places = hollow.places(turned, taken, SPARE_M)
            if len(places):
                found[name] = Spot(places[0], float(turn))
                taken.append(turned + places[0])
                break
    if names and not found:
        least = min(names, key=lambda name: (min(sides(plans[name])), name))
        return {least: Spot((hollow.rim.min(axis=0) + hollow.rim.max(axis=0)) / 2, 0.0)}
    tall = {name: float(np.ptp(in_scene(cell.item(name), cell.start[name])[:, 2])) for name in found}
    return {name: found[name] for name in sorted(found, key=lambda name: (tall[name], name))}

"""What recorded runs have taught about a scene: the masses and frictions of its things, and the delays of its arms.

It stands in ``scene.json`` under ``learnt`` (`Scene.extra`; docs/on-disk.md): the things themselves already have what
was learnt, and here is how sure that is, where it comes from, and what the scan had said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reconstruction.scene import LEARNT, Scene
from simulation.variations import VARIATIONS, Values

PYBULLET_LAG_S = 0.01
"""An arm in PyBullet, as it is driven here (`robots.POSITION_GAIN`), is so late by itself (measured: `delay_of`)."""


def of_thing(extra: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What was learnt about a thing: ``mass_kg``, ``friction`` …; nothing where nothing was."""
    found = _entry(_entry(extra, LEARNT), "things")
    return _entry(found, name)


def delay_of_arm(scene: Scene, robot: str) -> tuple[float, float]:
    """Dead time and lag (s) of a robot of this name, beyond those that it has in PyBullet anyway; 0 where unknown."""
    found = _entry(_entry(_entry(scene.extra, LEARNT), "arms"), robot)
    dead, lag = (_number(found.get(key)) for key in ("dead_s", "lag_s"))
    if dead is None or lag is None:
        return 0.0, 0.0
    short = max(0.0, PYBULLET_LAG_S - lag)
    return max(0.0, dead - short), max(0.0, lag - PYBULLET_LAG_S)


def narrowed(values: Values, learnt: Mapping[str, Any]) -> dict[str, float]:
    """Values of the variation ``physics`` for a thing, nearer to 1 the surer its mass and its friction are."""
    found = dict(values)
    for value, key in (("mass", "mass_kg"), ("friction", "friction")):
        span = VARIATIONS["physics"].ranges[value]
        interval = learnt.get(f"{key}_interval") if _number(learnt.get(key)) else None
        if not isinstance(interval, list) or len(interval) != 2:
            continue
        low, high = (_number(end) for end in interval)
        if low and high and 0.0 < low < high:
            share = math.log(high / low) / math.log(span.high / span.low)
            found[value] = round(values[value] ** min(1.0, share), 9)
    return found


def than_scanned(scene: Scene, name: str) -> tuple[float, float]:
    """By how much mass and friction of a thing are more than those that the scan had said; 1 where nothing is learnt.

    What stands in for reality is otherwise than the scan, whatever has been learnt since.
    """
    learnt = of_thing(scene.extra, name)
    scanned = _entry(learnt, "scanned")
    shares = []
    for key in ("mass_kg", "friction"):
        now, then = _number(learnt.get(key)), _number(scanned.get(key))
        shares.append(now / then if now and then else 1.0)
    return shares[0], shares[1]


def _entry(place: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = place.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) and value >= 0.0 else None  # type: ignore[arg-type, operator]

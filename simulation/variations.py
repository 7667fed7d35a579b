"""What can be varied in a cousin, by how much, and how a drawn value changes an object or a scene.

A parameter's value is its `Range` read at a number in [0, 1) that is hashed from seed, number of the cousin and
name of the parameter. So every value can be had again by itself, on any machine, in any order, and no recipe holds it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconstruction.errors import UsageError

Values = Mapping[str, float]


def unit(*key: object) -> float:
    """A number in [0, 1) that looks random and depends on `key` alone."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def spread(number: int, count: int, *key: object) -> float:
    """As `unit`, for number `number` of `count` that together are spread evenly over [0, 1): one in each `count`-th.

    One axis of a Latin hypercube (McKay, Beckman & Conover, 1979): few draws, and still the whole range.
    """
    mine = unit(*key, "rank", number)
    rank = sum(unit(*key, "rank", other) < mine for other in range(count))
    return (rank + unit(*key, number)) / count


@dataclass(frozen=True)
class Range:
    """How far a parameter goes at strength 1.

    Attributes:
        low: least value.
        usual: the value at strength 0: as scanned.
        high: greatest value.
        log: even in the logarithm: for factors.
    """

    low: float
    usual: float
    high: float
    log: bool = False

    def at(self, share: float, strength: float) -> float:
        """The value at `share` in [0, 1] of the range that `strength` in [0, 1] leaves; the same on every machine."""
        low, usual, high = (math.log(v) if self.log else v for v in (self.low, self.usual, self.high))
        low, high = usual + strength * (low - usual), usual + strength * (high - usual)
        value = low + share * (high - low)
        return round(math.exp(value) if self.log else value, 9)


@dataclass(frozen=True)
class Variation:
    """One way in which cousins differ.

    Attributes:
        help: one line for the command line.
        ranges: its parameters; units in their names.
        each: whether every object has values of its own.
    """

    help: str
    ranges: Mapping[str, Range]
    each: bool = False

    def values(self, strength: float, *key: object) -> dict[str, float]:
        """The parameters of one cousin (and object) that `key` names."""
        return {name: span.at(unit(*key, name), strength) for name, span in self.ranges.items()}

    def spread(self, strength: float, number: int, count: int, *key: object) -> dict[str, float]:
        """The parameters of one of `count` forms that together cover all ranges evenly."""
        return {name: span.at(spread(number, count, *key, name), strength) for name, span in self.ranges.items()}


def factor(low: float, high: float) -> Range:
    """A range of factors, even in the logarithm, that are usually 1."""
    return Range(low, 1.0, high, log=True)


VARIATIONS: dict[str, Variation] = {
    "pose": Variation(
        "Where things stand, how they are turned, on which side they lie, stacked or spread.",
        {
            "x": Range(0, 0.5, 1),
            "y": Range(0, 0.5, 1),
            "turn_deg": Range(-180, 0, 180),
            "side": Range(0, 0, 1),
            "support": Range(0, 0, 1),
        },
        each=True,
    ),
    "shape": Variation(
        "Size and proportions of each thing; what is hollow stays hollow.",
        {
            "size": factor(0.88, 1.14),
            "width": factor(0.92, 1.09),
            "depth": factor(0.92, 1.09),
            "height": factor(0.86, 1.16),
            "lattice": Range(0.0, 0.0, 0.05),
        },
        each=True,
    ),
    "swap": Variation(
        "Another thing of the same kind in its place.", {"share": Range(0, 0, 1), "which": Range(0, 0.5, 1)}, each=True
    ),
    "clutter": Variation("Things added and taken away.", {"added": Range(0, 0, 3.999), "removed": Range(0, 0, 0.5)}),
    "appearance": Variation(
        "Colours and contrast of each thing.",
        {
            "hue_deg": Range(-40, 0, 40),
            "saturation": factor(0.5, 1.6),
            "brightness": factor(0.65, 1.35),
            "contrast": factor(0.75, 1.3),
        },
        each=True,
    ),
    "light": Variation(
        "From where the light comes, its colour and strength, how hard the shadows are.",
        {
            "azimuth_deg": Range(-180, 0, 180),
            "elevation_deg": Range(30, 60, 85),
            "warmth_k": Range(2800, 5200, 7500),
            "strength": factor(0.6, 1.5),
            "ambient": Range(0.25, 0.45, 0.7),
            "softness": Range(0.0, 0.3, 1.0),
        },
    ),
    "camera": Variation(
        "Where the camera stands, its focal length, exposure, noise and lens.",
        {
            "x_m": Range(-0.04, 0, 0.04),
            "y_m": Range(-0.04, 0, 0.04),
            "z_m": Range(-0.04, 0, 0.04),
            "pan_deg": Range(-3, 0, 3),
            "pitch_deg": Range(-3, 0, 3),
            "roll_deg": Range(-3, 0, 3),
            "focal": factor(0.94, 1.06),
            "exposure": factor(0.7, 1.4),
            "noise": Range(0.0, 0.005, 0.03),
            "lens": Range(-0.08, 0, 0.08),
        },
    ),
    "physics": Variation(
        "Mass, centre of mass, friction and bounce of each thing.",
        {
            "mass": factor(0.7, 1.45),
            "center_x": Range(-0.25, 0, 0.25),
            "center_y": Range(-0.25, 0, 0.25),
            "center_z": Range(-0.1, 0, 0.1),
            "friction": factor(0.75, 1.3),
            "bounce": Range(-0.1, 0, 0.1),
        },
        each=True,
    ),
    "gripper": Variation("Friction of the gripper's fingers.", {"friction": factor(0.6, 1.5)}),
    "support": Variation(
        "Height, tilt and size of what things stand on.",
        {
            "height_m": Range(-0.06, 0, 0.06),
            "tilt_deg": Range(0.0, 0.0, 1.0),
            "azimuth_deg": Range(-180, 0, 180),
            "size": factor(0.85, 1.0),
        },
    ),
    "mount": Variation(
        "Where the robot stands.",
        {"x_m": Range(-0.04, 0, 0.04), "y_m": Range(-0.04, 0, 0.04), "turn_deg": Range(-8, 0, 8)},
    ),
}


def strengths_of(words: Iterable[str]) -> dict[str, float]:
    """The strength of every variation from words like ``pose=0.5``, ``light`` or ``all=0.3``, the last one counting.

    Without words all are 1; a variation that is not named, where others are, is 0.

    Raises:
        UsageError: no such variation, or its strength is not in 0 … 1.
    """
    words = tuple(words)
    found = dict.fromkeys(VARIATIONS, 0.0 if words else 1.0)
    for word in words:
        name, _, text = word.partition("=")
        try:
            strength = float(text) if text else 1.0
        except ValueError:
            strength = -1.0
        if name not in (*VARIATIONS, "all") or not 0.0 <= strength <= 1.0 or word.endswith("="):
            raise UsageError(
                f"--vary does not understand {word!r}.",
                remedy=f"Use NAME or NAME=STRENGTH with 0 … 1; the names are: all, {', '.join(VARIATIONS)}.",
                code="bad_value",
            )
        found.update(dict.fromkeys(VARIATIONS if name == "all" else (name,), strength))
    return found

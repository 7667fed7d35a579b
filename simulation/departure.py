"""How far a cousin is from the scanned scene, variation by variation: where a policy that fails begins to fail."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reconstruction.scene import Scene
from simulation.cousins import Cousin
from simulation.variations import VARIATIONS, Range


def departures(cousin: Cousin, scene: Scene, names: Sequence[str]) -> dict[str, float]:
    """How far each variation that is switched on went in a cousin.

    Metres for ``pose``, how many of `names` for ``swap``, how many things for ``clutter``; for the others the root
    mean square of all that was drawn: 0 as scanned, 1 where all parameters are at their ends. ``shape`` is left out:
    forms share it.

    Args:
        cousin: any.
        scene: its parent.
        names: the things that matter.
    """
    at = {item.name: item.scene_from_object[:3, 3] for item in scene.objects}
    there = [name for name in names if name in cousin.objects and name in at]
    found: dict[str, float] = {}
    for variation, strength in cousin.strengths.items():
        if not strength or variation == "shape" or not there:
            continue
        if variation == "pose":
            moved = [np.linalg.norm(cousin.objects[name].matrix()[:3, 3] - at[name]) for name in there]
            found[variation] = float(max(moved))
        elif variation == "swap":
            found[variation] = float(sum(cousin.objects[name].source != name for name in there))
        elif variation == "clutter":
            found[variation] = float(len(set(cousin.objects) ^ set(at)))
        else:
            each = [(name,) for name in there] if VARIATIONS[variation].each else [()]
            drawn = [cousin.values(variation, *key) for key in each]
            ranges = VARIATIONS[variation].ranges
            shares = [_share(ranges[name], value) for values in drawn for name, value in values.items()]
            found[variation] = math.sqrt(sum(share * share for share in shares) / len(shares))
    return {name: round(value, 6) for name, value in found.items()}


def _share(span: Range, value: float) -> float:
    """How far a value went from the usual one towards an end, 0 … 1."""
    low, usual, high, here = (math.log(v) if span.log else v for v in (span.low, span.usual, span.high, value))
    end = high if here > usual else low
    return 0.0 if here == usual else (here - usual) / (end - usual)

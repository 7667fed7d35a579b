"""What of a policy goes over the wire, as its manifest says: what it looks at, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.deploy.bundle import DREAM, MEMORY, PLACES, POLICY, POSE, POSES, REMEMBERED, Decision, Manifest
from policies.deploy.wire import Layout, Part

MOST_PLACES = 256
"""A policy tells of the places of so many things at most."""


def policy_digest(manifest: Manifest) -> bytes:
    """SHA-256 of a bundle's network, which was found to be so when the bundle was read, 32 bytes."""
    return bytes.fromhex(manifest.document["files"][POLICY])


def look_layout(manifest: Manifest) -> Layout:
    """What a robot's computer sends for a decision: every input, and what is remembered.

    Raises:
        ValueError: that is too much for a message.
    """
    parts = {name: Part(entry.dtype, entry.shape[1:]) for name, entry in manifest.inputs.items()}
    if manifest.memory:
        parts[MEMORY] = Part("float32", (manifest.memory,))
    return Layout(parts)


def answer_layout(manifest: Manifest, places: int) -> Layout:
    """What it gets: a decision, with so many places where the policy dreams.

    Raises:
        ValueError: that is too much for a message.
    """
    parts = {POSES: Part("float32", (manifest.length, POSE))}
    if manifest.trust is not None:
        parts[PLACES] = Part("float32", (places, 3))
        parts[DREAM] = Part("float32", (len(manifest.trust.horizons), places, 3))
    if manifest.memory:
        parts[REMEMBERED] = Part("float32", (manifest.memory,))
    return Layout(parts)


def answer_arrays(decision: Decision) -> dict[str, npt.NDArray[Any]]:
    """A decision as it is sent. The network's numbers are single precision: nothing is lost."""
    found = {POSES: decision.poses, PLACES: decision.places, DREAM: decision.dream, REMEMBERED: decision.memory}
    return {name: array for name, array in found.items() if array is not None}


def decision_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Decision:
    """A decision as it came."""
    places, dream = (arrays[name].astype(np.float64) if name in arrays else None for name in (PLACES, DREAM))
    remembered = arrays.get(REMEMBERED, np.zeros(0, dtype=np.float32))
    return Decision(arrays[POSES].astype(np.float64), places, dream, remembered)

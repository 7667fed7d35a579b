"""Things of a kitchen: vessels turned on a lathe, with handles and spouts. All sizes in metres."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from simulation.household import paint
from simulation.household.solids import (
    difference,
    grounded,
    lathe,
    placed,
    rounded_box,
    rounded_profile,
    texture_from,
    tube,
    union,
)

FloatArray = npt.NDArray[np.float64]
Point = tuple[float, float]
DECORS = ("plain", "stripes", "dip", "dots", "waves")


def _vessel(outer: FloatArray, wall: float, base: float, edge: float = 0.004) -> FloatArray:
    """Profile of an open vessel: `outer` from its foot up to the lip, hollowed to `wall`, floor `base` thick."""
    steps = np.diff(outer, axis=0)
    normals = np.column_stack([steps[:, 1], -steps[:, 0]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    corner = np.vstack([normals[:1], (normals[:-1] + normals[1:]) / 2, normals[-1:]])
    inner = outer - wall * corner
    inner = inner[(inner[:, 1] > base * 1.2) & (inner[:, 0] > 0.002)][::-1]
    inner[0, 1] = outer[-1, 1]
    floor_radius = max(float(np.interp(base, outer[:, 1], outer[:, 0])) - wall, 0.003)
    points = np.vstack([[0.0, 0.0], outer, inner, [floor_radius, base], [0.0, base]])
    return rounded_profile(points, edge)


def _handle(rng: np.random.Generator, low: Point, high: Point, reach: float, tone: FloatArray) -> Mesh:
    """A handle in the xz plane between two points (radius, height) inside the wall, which it leaves at right angles."""
    t = np.linspace(0.0, np.pi, 25)
    share = (1 - np.cos(t)) / 2
    across = low[0] + (high[0] - low[0]) * share + reach * np.sin(t) ** 0.7
    curve = np.column_stack([across, np.zeros_like(t), low[1] + (high[1] - low[1]) * share])
    step = np.array([[0.004, 0.0, 0.0]])
    curve = np.vstack([curve[:1], curve[:1] + step, curve[2:-2], curve[-1:] + step, curve[-1:]])
    thick = rng.uniform(0.0045, 0.0065)
    return tube(curve, np.full(len(curve), thick), paint.plain(rng, tone), flat=rng.uniform(0.9, 1.4))


def _inside_wall(outer: FloatArray, level: float, wall: float) -> Point:
    """The middle of a vessel's wall at a height."""
    return float(np.interp(level, outer[:, 1], outer[:, 0])) - 0.5 * wall, level


def mug(rng: np.random.Generator) -> Mesh:
    """A mug with a handle, hollow, 8–11 cm tall."""
    radius, height, wall = rng.uniform(0.036, 0.044), rng.uniform(0.08, 0.108), rng.uniform(0.0032, 0.0046)
    foot = radius * rng.uniform(0.78, 1.0)
    tone, inside = (paint.color(rng), paint.pale(rng)) if rng.uniform() < 0.7 else (paint.pale(rng), paint.color(rng))
    levels = np.linspace(0, 1, 5)
    outer = np.column_stack([foot + (radius - foot) * np.sqrt(levels), height * levels])
    body = lathe(_vessel(outer, wall, 0.005), paint.glaze(rng, tone, inside, str(rng.choice(DECORS)), height))
    low, high = 0.22 * height, 0.82 * height
    start, end = _inside_wall(outer, low, wall), _inside_wall(outer, high, wall)
    handle = _handle(rng, start, end, rng.uniform(0.026, 0.034), tone)
    return grounded(union(body, handle))


def cup(rng: np.random.Generator) -> Mesh:
    """A tumbler without handle, hollow, walls leaning outwards."""
    radius, height, wall = rng.uniform(0.032, 0.042), rng.uniform(0.075, 0.125), rng.uniform(0.003, 0.004)
    outer = np.array([[radius * rng.uniform(0.65, 0.85), 0.0], [radius * 0.93, height * 0.5], [radius, height]])
    inside = paint.pale(rng)
    return grounded(
        lathe(_vessel(outer, wall, 0.004), paint.glaze(rng, paint.color(rng), inside, str(rng.choice(DECORS)), height))
    )


def bowl(rng: np.random.Generator) -> Mesh:
    """A round bowl on a foot, 11–18 cm wide."""
    radius, height, wall = rng.uniform(0.055, 0.088), rng.uniform(0.05, 0.07), rng.uniform(0.0035, 0.005)
    foot = radius * rng.uniform(0.42, 0.5)
    t = np.linspace(0.0, 1.0, 12)
    outer = np.column_stack([foot + (radius - foot) * np.sin(t * np.pi / 2) ** 0.9, height * t**1.35])
    inside = paint.pale(rng) if rng.uniform() < 0.6 else paint.color(rng, (0.2, 0.5), (0.6, 0.95))
    return grounded(
        lathe(
            _vessel(outer, wall, 0.006), paint.glaze(rng, paint.color(rng), inside, str(rng.choice(DECORS)), height), 96
        )
    )


def plate(rng: np.random.Generator) -> Mesh:
    """A flat plate with a raised rim, 15–22 cm wide, 2 cm tall."""
    radius, height = rng.uniform(0.078, 0.11), rng.uniform(0.016, 0.022)
    outer = np.array([[radius * 0.6, 0.0], [radius * 0.72, height * 0.25], [radius, height]])
    return grounded(
        lathe(_vessel(outer, 0.0045, 0.005), paint.glaze(rng, paint.pale(rng), paint.pale(rng), "plain", height), 96)
    )


def bottle(rng: np.random.Generator) -> Mesh:
    """A closed bottle with shoulder, neck, cap and label, 16–25 cm tall."""
    radius, height = rng.uniform(0.028, 0.037), rng.uniform(0.16, 0.245)
    shoulder, neck = height * rng.uniform(0.6, 0.7), rng.uniform(0.011, 0.015)
    cap = height - 0.02
    points = np.array([
        [0.0, 0.0], [radius, 0.0], [radius, shoulder], [radius * 0.8, shoulder + 0.25 * (cap - shoulder)],
        [neck, shoulder + 0.75 * (cap - shoulder)], [neck, cap], [neck + 0.003, cap], [neck + 0.003, height],
        [0.0, height],
    ])  # fmt: skip
    skin = paint.label(
        rng, paint.color(rng, (0.3, 0.8), (0.2, 0.8)), paint.color(rng), 0.2 * shoulder, 0.9 * shoulder, cap
    )
    return grounded(lathe(rounded_profile(points, 0.006), skin))


def can(rng: np.random.Generator) -> Mesh:
    """A closed can or jar with a printed skin."""
    radius, height = rng.uniform(0.028, 0.048), rng.uniform(0.06, 0.125)
    points = np.array([
        [0.0, 0.0], [radius - 0.003, 0.0], [radius, 0.004], [radius, height - 0.004], [radius - 0.003, height],
        [radius - 0.005, height - 0.003], [0.0, height - 0.003],
    ])  # fmt: skip
    metal = np.full(3, 0.72)
    return grounded(
        lathe(rounded_profile(points, 0.002, 3), paint.label(rng, metal, metal, 0.06 * height, 0.94 * height, 1.0))
    )


def jug(rng: np.random.Generator) -> Mesh:
    """A hollow belly-shaped jug with a handle, 12–17 cm tall."""
    height, belly = rng.uniform(0.12, 0.17), rng.uniform(0.042, 0.055)
    wall = rng.uniform(0.0036, 0.005)
    t = np.linspace(0, 1, 14)
    outer = np.column_stack(
        [belly * (0.70 + 0.30 * np.sin(np.pi * np.clip(t * 1.15, 0, 1) ** 0.9) - 0.03 * t), height * t]
    )
    tone = paint.color(rng)
    body = lathe(_vessel(outer, wall, 0.006), paint.glaze(rng, tone, paint.pale(rng), str(rng.choice(DECORS)), height))
    low, high = 0.25 * height, 0.85 * height
    start, end = _inside_wall(outer, low, wall), _inside_wall(outer, high, wall)
    return grounded(union(body, _handle(rng, start, end, rng.uniform(0.034, 0.042), tone)))


def teapot(rng: np.random.Generator) -> Mesh:
    """A closed teapot: belly, lid with knob, spout, handle."""
    belly, height = rng.uniform(0.05, 0.062), rng.uniform(0.085, 0.11)
    tone = paint.color(rng)
    t = np.linspace(0, 1, 16)
    side = np.column_stack([belly * np.sqrt(np.clip(1 - (1.7 * t - 0.8) ** 2 * 0.85, 0.05, 1)), height * t])
    lid = np.array([[0.008, height + 0.004], [0.007, height + 0.008], [0.011, height + 0.016], [0.0, height + 0.021]])
    profile = np.vstack([[0.0, 0.0], side, lid])
    body = lathe(profile, paint.glaze(rng, tone, tone, str(rng.choice(DECORS)), height))
    s = np.linspace(0, 1, 14)
    curve = np.column_stack([-(belly * 0.6 + 0.062 * s), np.zeros_like(s), height * (0.38 + 0.55 * s**1.6)])
    spout = tube(curve, 0.015 - 0.0075 * s, paint.plain(rng, tone))
    grip = _handle(rng, (belly * 0.8, 0.3 * height), (belly * 0.7, 0.8 * height), 0.05, tone)
    return grounded(union(body, spout, grip))


def tray(rng: np.random.Generator) -> Mesh:
    """An open box: 4 mm walls, 3–6 cm tall."""
    size = np.array([rng.uniform(0.13, 0.22), rng.uniform(0.10, 0.15), rng.uniform(0.03, 0.06)])
    wall = 0.004
    if rng.uniform() < 0.5:
        picture = paint.wood(rng, (0.2, 0.06), texel_m=0.0005)
    else:
        picture = paint.plain(rng, paint.color(rng), (96, 96))
    inner = texture_from(picture.astype(np.float64) / 255.0 * 0.92)
    body = rounded_box(size, 0.003, {"*": picture})
    hollow = rounded_box(size - np.array([2 * wall, 2 * wall, 0.0]), 0.002, {"*": inner})
    return grounded(difference(body, placed(hollow, (0.0, 0.0, wall))))

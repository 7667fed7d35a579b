"""Things of a desk: boxes, books, blocks, tools, fruit. All sizes in metres, each lying or standing as it would."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from simulation.household import paint
from simulation.household.solids import (
    LathePaint,
    Texture,
    grounded,
    lathe,
    placed,
    rotation,
    rounded_box,
    rounded_profile,
    texture_from,
    tube,
    union,
)

FloatArray = npt.NDArray[np.float64]


def _package(rng: np.random.Generator, size: FloatArray) -> dict[str, Texture]:
    ground = paint.color(rng)
    x, y, z = size
    return {
        "+x": paint.printed(rng, (y, z), ground), "-x": paint.printed(rng, (y, z), ground),
        "+y": paint.printed(rng, (x, z), ground), "-y": paint.printed(rng, (x, z), ground),
        "+z": paint.printed(rng, (x, y), ground), "-z": paint.plain(rng, ground),
    }  # fmt: skip


def box(rng: np.random.Generator) -> Mesh:
    """A printed cardboard package."""
    size = np.array([rng.uniform(0.06, 0.19), rng.uniform(0.05, 0.12), rng.uniform(0.04, 0.18)])
    return grounded(rounded_box(size, 0.002, _package(rng, size)))


def _bound(rng: np.random.Generator, size: FloatArray, edge: float) -> Mesh:
    x, y, z = size
    front = paint.cover(rng, (x, y))
    spine = texture_from(np.broadcast_to(front[4, 4] / 255.0, (8, 64, 3)).astype(np.float64))
    sheets = paint.pages(rng, (y, z))
    sides = {"+z": front, "-z": front[::-1, ::-1].copy(), "-x": spine, "+x": sheets, "+y": sheets, "-y": sheets}
    return grounded(rounded_box(size, edge, sides))


def book(rng: np.random.Generator) -> Mesh:
    """A book lying flat, 12–20 mm thick."""
    return _bound(rng, np.array([rng.uniform(0.11, 0.16), rng.uniform(0.17, 0.23), rng.uniform(0.012, 0.02)]), 0.001)


def magazine(rng: np.random.Generator) -> Mesh:
    """A magazine lying flat, 8–10 mm thick."""
    return _bound(rng, np.array([rng.uniform(0.15, 0.18), rng.uniform(0.21, 0.245), rng.uniform(0.008, 0.01)]), 0.0008)


def block(rng: np.random.Generator) -> Mesh:
    """A wooden building block, 3–7 cm, plain or painted."""
    size = rng.uniform(0.03, 0.07, 3)
    tone = paint.color(rng) if rng.uniform() < 0.5 else None
    sides = {key: paint.wood(rng, (0.06, 0.06), tone, 0.0005) for key in ("+x", "-x", "+y", "-y", "+z", "-z")}
    return grounded(rounded_box(size, 0.003, sides))


def screwdriver(rng: np.random.Generator) -> Mesh:
    """A screwdriver lying on its handle, 17–24 cm long."""
    grip, shaft, radius = rng.uniform(0.085, 0.11), rng.uniform(0.085, 0.125), rng.uniform(0.014, 0.017)
    tone, second = paint.color(rng, (0.6, 0.95), (0.5, 0.9)), np.full(3, 0.12)

    def skin(angle: FloatArray, across: FloatArray, height: FloatArray, arc: FloatArray) -> FloatArray:
        rubber = (np.mod(angle / (2 * np.pi) * 6, 1.0) < 0.45) & (height > 0.015) & (height < grip * 0.75)
        rgb = np.where(rubber[..., None], second, tone)
        rgb = np.where((height > grip)[..., None], np.full(3, 0.66), rgb)
        return np.asarray(rgb * (1 + 0.06 * np.sin(9 * height / grip + 3 * angle))[..., None])

    points = np.array([
        [0.0, 0.0], [radius * 0.9, 0.0], [radius, 0.012], [radius, grip * 0.8], [radius * 0.62, grip * 0.9],
        [radius * 0.7, grip], [0.0036, grip], [0.0036, grip + shaft - 0.01], [0.002, grip + shaft], [0.0, grip + shaft],
    ])  # fmt: skip
    body = lathe(rounded_profile(points, 0.003, 3), skin, 36)
    angle = np.arctan2(body.vertices[:, 1], body.vertices[:, 0])
    inside = (body.vertices[:, 2] < grip * 0.85)[:, None]
    flute = 1.0 - 0.06 * np.cos(6 * angle)[:, None] * inside  # six ridges, of which it lies on two
    vertices = body.vertices * np.hstack([flute, flute, np.ones_like(flute)])
    turned = Mesh(vertices, body.faces, body.corner_uv, body.texture)
    return grounded(placed(turned, turn=rotation("y", 90.0)))


def tape_roll(rng: np.random.Generator) -> Mesh:
    """A roll of adhesive tape lying flat."""
    outer, width = rng.uniform(0.035, 0.055), rng.uniform(0.018, 0.048)
    inner = outer * rng.uniform(0.6, 0.75)
    tone, core = paint.color(rng, (0.1, 0.7), (0.5, 0.95)), np.array([0.68, 0.55, 0.38])

    def skin(angle: FloatArray, radius: FloatArray, height: FloatArray, arc: FloatArray) -> FloatArray:
        rings = 1.0 + 0.05 * np.sin(radius * 2 * np.pi / 0.0018)
        return np.where((radius < inner + 0.004)[..., None], core, tone * rings[..., None])

    ring = np.array([[inner, 0.0], [outer, 0.0], [outer, width], [inner, width], [inner, 0.0]])
    return grounded(lathe(ring, skin))


def controller(rng: np.random.Generator) -> Mesh:
    """A game controller: body, two grips, two sticks, four buttons."""
    tone = paint.color(rng) if rng.uniform() < 0.6 else np.full(3, rng.uniform(0.1, 0.9))
    dark = np.full(3, 0.13)
    body = rounded_box(np.array([0.125, 0.062, 0.034]), 0.015, {"*": paint.plain(rng, tone, (96, 160), 0.02)}, 5)
    parts = [placed(body, (0.0, 0.0, 0.017))]
    s = np.linspace(-1, 1, 17)
    for side in (-1.0, 1.0):
        curve = np.column_stack([side * (0.051 + 0.004 * (1 - s)), -0.036 + 0.042 * s, 0.0225 - 0.001 * (1 - s)])
        radii = 0.0195 * np.sqrt(np.clip(1 - 0.97 * np.abs(s) ** 3, 0.02, 1)) * (1 + 0.12 * s)
        parts.append(tube(curve, radii, paint.plain(rng, tone, mottle=0.02)))
        knob = np.array([[0.0, 0.0], [0.007, 0.0], [0.005, 0.008], [0.009, 0.010], [0.009, 0.013], [0.0, 0.012]])
        stick = lathe(knob, paint.single(dark), 24)
        parts.append(placed(stick, (side * 0.026, -0.013, 0.031)))
    for number, (dx, dy) in enumerate(((0.009, 0.0), (-0.009, 0.0), (0.0, 0.009), (0.0, -0.009))):
        ink = paint.color(np.random.default_rng(number), (0.7, 0.9), (0.7, 0.9))
        dome = np.array([[0.0, 0.0], [0.0042, 0.0], [0.0042, 0.006], [0.003, 0.0075], [0.0, 0.008]])
        button = lathe(dome, paint.single(ink), 16)
        parts.append(placed(button, (0.046 + dx, 0.008 + dy, 0.0295)))
    return grounded(union(*parts))


def _fruit_skin(rng: np.random.Generator, tone: FloatArray, blush: FloatArray, speckle: float) -> LathePaint:
    seed = int(rng.integers(2**31))

    def skin(angle: FloatArray, radius: FloatArray, height: FloatArray, arc: FloatArray) -> FloatArray:
        chance = np.random.default_rng(seed)
        side = 0.5 + 0.5 * np.cos(angle - 1.0) + 0.3 * smooth(chance, angle.shape)
        streak = 0.15 * paint.smooth_noise(chance, angle.shape, (2, 40))
        share = np.clip(side + streak, 0, 1)[..., None]
        dots = speckle * paint.smooth_noise(chance, angle.shape, (60, 90))[..., None]
        return (tone * (1 - share) + blush * share) * (1 + dots)

    def smooth(chance: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
        return paint.smooth_noise(chance, (shape[0], shape[1]), (3, 4))

    return skin


def apple(rng: np.random.Generator) -> Mesh:
    """An apple with dimples and a stalk, 6.5–8.5 cm."""
    radius = rng.uniform(0.033, 0.042)
    t = np.linspace(0.0, np.pi, 40)
    across = radius * np.sin(t) * (1 + 0.06 * np.cos(t) * -1)
    level = radius * (-0.92 * np.cos(t) - 0.22 * np.exp(-((t - np.pi) ** 2) / 0.12) + 0.12 * np.exp(-(t**2) / 0.08))
    across[0] = across[-1] = 0.0
    red = rng.uniform() < 0.6
    tone = np.array([0.75, 0.72, 0.25]) if red else np.array([0.55, 0.72, 0.22])
    blush = np.array([0.72, 0.12, 0.10]) if red else np.array([0.70, 0.75, 0.30])
    body = lathe(np.column_stack([across, level]), _fruit_skin(rng, tone, blush, 0.05))
    s = np.linspace(0, 1, 6)
    top = float(level[-1])
    stalk = tube(np.column_stack([0.003 * s**2, 0 * s, top - 0.004 + 0.016 * s]), 0.0016 + 0.0006 * s,
                 paint.plain(rng, np.array([0.33, 0.22, 0.12])), 10)  # fmt: skip
    return grounded(union(body, stalk))


def orange(rng: np.random.Generator) -> Mesh:
    """An orange or lemon-like fruit, 6–8.5 cm."""
    radius, long = rng.uniform(0.03, 0.041), rng.uniform(0.93, 1.05)
    t = np.linspace(0.0, np.pi, 36)
    profile = np.column_stack([radius * np.sin(t), -long * radius * np.cos(t)])
    profile[0, 0] = profile[-1, 0] = 0.0
    tone = np.array([0.95, rng.uniform(0.5, 0.62), 0.10])
    return grounded(lathe(profile, _fruit_skin(rng, tone, tone * np.array([0.97, 0.9, 0.9]), 0.06)))


def banana(rng: np.random.Generator) -> Mesh:
    """A banana lying on its side, 15–20 cm."""
    length, bend = rng.uniform(0.16, 0.21), rng.uniform(1.1, 1.5)
    radius = length / bend
    t = np.linspace(-bend / 2, bend / 2, 48)
    s = np.linspace(0, 1, 48)
    thick = rng.uniform(0.015, 0.019)
    swell = thick * np.clip(np.minimum(1.0, np.minimum((s + 0.02) / 0.22, (1.03 - s) / 0.16)), 0.2, 1) ** 0.6
    swell[s < 0.09] = np.minimum(swell[s < 0.09], 0.0055)
    curve = np.column_stack([radius * np.sin(t), radius * np.cos(t), np.zeros_like(t)])
    ripe = np.array([0.93, 0.78, 0.20])
    image = np.broadcast_to(ripe, (64, 320, 3)).copy()
    spots = paint.smooth_noise(rng, (64, 320), (14, 70)) > 0.75
    image[spots] *= 0.62
    image[:, :22] *= np.array([0.6, 0.62, 0.6])
    image[:, -10:] *= 0.3
    image *= 1 + 0.05 * paint.smooth_noise(rng, (64, 320), (5, 3))[..., None]
    return grounded(tube(curve, swell, texture_from(image), 24))
